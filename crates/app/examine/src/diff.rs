//! The differences between two images, whatever their formats: in the config, and in every file.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_json::{Value, split};
use imgconv_layer::{Fingerprints, Node as File, Tree};
use imgconv_model::{Env, Exec, FormatId, History, Image, PlatformSpec, Result, escape};
use imgconv_pipeline::merge;
use imgconv_tar::{EntryKind, Time};
use serde::Serialize;

use crate::pick::{Picked, pick};
use imgconv_convert::read::node::semantics;
use imgconv_locate::locator::Locator;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Difference {
    /// A config field, such as `config.env`, or a path with a slash before it.
    pub what: String,
    /// The value in the first image; null if the first image has none.
    pub a: Option<String>,
    /// The value in the second image; null if the second image has none.
    pub b: Option<String>,
}

/// Compares two images. `deps` are the places of the dependencies of ACIs.
///
/// # Errors
/// If an image can't be read, or a locator means several images.
pub fn diff(
    a: &Locator,
    b: &Locator,
    platforms: &[PlatformSpec],
    deps: &[String],
    env: &Env,
) -> Result<Vec<Difference>> {
    let pick = |locator| pick(locator, platforms, deps, env);
    let (a, b) = (pick(a)?, pick(b)?);
    let mut found = Vec::new();
    let fields = |picked: &Picked| fields(&picked.node.image, env);
    compare_maps(fields(&a), fields(&b), &mut found);
    let (a_files, b_files) = (files(&a, env)?, files(&b, env)?);
    compare_files(&a_files, &b_files, &mut found);
    Ok(found)
}

/// Docker's own members of `config`, which OCI images have too, each with its name in the result.
const DOCKER: [(&str, &str); 24] = [
    ("ArgsEscaped", "args_escaped"),
    ("AttachStderr", "attach_stderr"),
    ("AttachStdin", "attach_stdin"),
    ("AttachStdout", "attach_stdout"),
    ("CpuShares", "cpu_shares"),
    ("Cpuset", "cpuset"),
    ("Domainname", "domainname"),
    ("Entitlements", "entitlements"),
    ("Healthcheck", "healthcheck"),
    ("Hostname", "hostname"),
    ("Image", "image"),
    ("MacAddress", "mac_address"),
    ("Memory", "memory"),
    ("MemoryReservation", "memory_reservation"),
    ("MemorySwap", "memory_swap"),
    ("NetworkDisabled", "network_disabled"),
    ("OnBuild", "on_build"),
    ("OpenStdin", "open_stdin"),
    ("PortSpecs", "port_specs"),
    ("Shell", "shell"),
    ("StdinOnce", "stdin_once"),
    ("StopTimeout", "stop_timeout"),
    ("Tty", "tty"),
    ("VolumesFrom", "volumes_from"),
];

/// Members beside `config` that do not count: they describe the build, the layers, or the place in
/// a chain of v1 images, and a conversion can change them. Those of BuildKit have a prefix.
const BUILD: [&str; 12] = [
    "Size",
    "container",
    "container_config",
    "docker_version",
    "history",
    "id",
    "layer_id",
    "parent",
    "parent_id",
    "rootfs",
    "throwaway",
    "v1Compatibility",
];
const BUILDKIT: &str = "moby.buildkit.";

/// The fields that mean the same in every format, as text.
fn fields(image: &Image, env: &Env) -> BTreeMap<String, String> {
    let config = &image.config;
    // Values are not shortened: two long values with one beginning must not look equal.
    let list = |values: &[String]| {
        let words = values.iter().map(|value| format!("\"{}\"", escape(value)));
        words.collect::<Vec<_>>().join(" ")
    };
    let mut out = BTreeMap::new();
    let mut put = |field: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.insert(field.to_owned(), value);
        }
    };
    let platform = Some(&image.platform).filter(|platform| !platform.os.is_empty());
    put("platform", platform.map(ToString::to_string));
    put("created", image.created.clone());
    put("author", image.author.clone());
    let joined = |exec: &Exec| list(&[&exec.entrypoint[..], &exec.cmd[..]].concat());
    put("config.exec", config.exec.as_ref().map(joined));
    // A missing user is the superuser: docker writes nothing, appc writes `0`.
    let user = config
        .user
        .as_deref()
        .filter(|user| !matches!(*user, "0" | "0:0" | "root"));
    put("config.user", user.map(str::to_owned));
    put("config.env", Some(list(&config.env)));
    put(
        "config.working_dir",
        config.working_dir.clone().filter(|dir| dir != "/"),
    );
    let mut ports: Vec<String> = config
        .ports
        .iter()
        .flat_map(|port| {
            let last = port.number.saturating_add(port.count.saturating_sub(1));
            (port.number..=last).map(|number| format!("{number}/{}", port.protocol))
        })
        .collect();
    ports.sort();
    put("config.ports", Some(ports.join(" ")));
    let mut volumes = config.volumes.clone();
    volumes.sort();
    put("config.volumes", Some(list(&volumes)));
    put("config.stop_signal", config.stop_signal.clone());
    // The fields of an ACI alone have no counterpart in an image that was made of it.
    let shared = |format: &FormatId| *format != FormatId::ACI;
    for ((_, path), text) in image.extensions.iter().filter(|((id, _), _)| shared(id)) {
        if let Some(field) = counted(path) {
            put(&field, meaning(path, text, env));
        }
    }
    // The commands that made the layers, whether the layers are still there or were merged since.
    let merged = |step: &&History| step.created_by.as_deref() == Some(History::SQUASH);
    let steps = image.history.iter().filter(|step| !merged(step));
    for (i, step) in steps.enumerate() {
        put(&format!("history[{i}]"), Some(describe_step(step)));
    }
    for (key, value) in &config.labels {
        put(&format!("config.labels.{key}"), Some(escape(value)));
    }
    for (key, value) in &image.annotations {
        put(&format!("annotations.{key}"), Some(escape(value)));
    }
    out
}

/// The name in the result of a field that the model has no place for; `None` if the field does not
/// count: if it stands outside the config, or describes the build.
fn counted(path: &str) -> Option<String> {
    if ["comment", "os.features", "os.version"].contains(&path) {
        return Some(path.to_owned());
    }
    let keys = split(path)?;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    match keys[..] {
        ["config", key] => {
            let known = DOCKER.iter().find(|(own, _)| *own == key);
            // Another member may have the name of a field of the model: the prefix keeps both.
            Some(known.map_or_else(
                || format!("extensions.{path}"),
                |(_, name)| format!("config.{name}"),
            ))
        }
        ["config", ..] => Some(format!("extensions.{path}")),
        [key] if !BUILD.contains(&key) && !key.starts_with(BUILDKIT) => {
            Some(format!("extensions.{path}"))
        }
        _ => None,
    }
}

/// The value of such a field as text; `None` for a zero value, which engines read as a missing one.
/// The order of the keys of an object and of OS features has no meaning.
fn meaning(path: &str, text: &str, env: &Env) -> Option<String> {
    let Ok(mut value) = imgconv_json::parse(text.as_bytes(), &env.limits, "field") else {
        return Some(escape(text));
    };
    match (path, &mut value) {
        ("os.features", Value::Array(features)) => {
            features.sort_by_key(Value::to_string);
            features.dedup();
        }
        ("config.Healthcheck", Value::Object(check)) => check.retain(|_, value| !is_zero(value)),
        _ => {}
    }
    if is_zero(&value) {
        // The keys of a set are its content, and their values are empty.
        let keys = split(path).unwrap_or_default();
        let in_set =
            matches!(&keys[..], [config, set, _] if config == "config" && set == "ExposedPorts");
        return in_set.then(|| "{}".to_owned());
    }
    value.sort_all_objects();
    Some(value.to_string())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// All fields of a history step, except whether the step made a layer.
fn describe_step(step: &History) -> String {
    let History {
        created,
        created_by,
        author,
        comment,
        empty_layer: _, // a step that is merged makes none any more
    } = step;
    let parts = [
        ("", created_by),
        ("at ", created),
        ("by ", author),
        ("# ", comment),
    ];
    let said = parts.into_iter().filter_map(|(word, part)| {
        let part = part.as_deref().filter(|part| !part.is_empty())?;
        Some(format!("{word}{}", escape(part)))
    });
    // An empty step still counts as a step.
    let said: Vec<String> = said.collect();
    if said.is_empty() {
        "-".to_owned()
    } else {
        said.join(", ")
    }
}

fn compare_maps(
    mut a: BTreeMap<String, String>,
    mut b: BTreeMap<String, String>,
    found: &mut Vec<Difference>,
) {
    let keys: BTreeSet<String> = a.keys().chain(b.keys()).cloned().collect();
    for what in keys {
        let (a, b) = (a.remove(&what), b.remove(&what));
        if a != b {
            found.push(Difference { what, a, b });
        }
    }
}

/// The files of an image with the digests of their contents.
struct Files {
    tree: Tree,
    contents: Fingerprints,
    /// The bytewise first path of each group of hard links.
    first: BTreeMap<u64, Vec<u8>>,
}

fn files(picked: &Picked, env: &Env) -> Result<Files> {
    let env = &env.with_notes(&picked.node.notes);
    let mut contents = Fingerprints::default();
    let layers = &picked.node.image.layers;
    let tree = merge(layers, semantics(&picked.node), &mut contents, env)
        .map_err(|error| error.at(&*picked.text))?;
    let mut first = BTreeMap::new();
    for (path, node) in tree.iter() {
        if node.links > 1 && node.kind != EntryKind::Directory {
            first.entry(node.inode).or_insert(path);
        }
    }
    Ok(Files {
        tree,
        contents,
        first,
    })
}

fn compare_files(a: &Files, b: &Files, found: &mut Vec<Difference>) {
    let before = found.len();
    let mut compare = |path: &[u8], x: Option<File<'_>>, y: Option<File<'_>>| {
        let side = |files: &Files, node: Option<File<'_>>| match node {
            Some(node) => Some(describe(&node, files)),
            // A root directory without an entry in any layer has the attributes that every reader
            // gives it.
            None if path.is_empty() => Some("dir 0755 0:0 @0".to_owned()),
            None => None,
        };
        let (a, b) = (side(a, x), side(b, y));
        if a != b {
            let what = format!("/{}", escape(path));
            found.push(Difference { what, a, b });
        }
    };
    compare(b"", a.tree.get(b""), b.tree.get(b""));
    for (path, x) in a.tree.iter().filter(|(path, _)| !path.is_empty()) {
        compare(&path, Some(x), b.tree.get(&path));
    }
    for (path, y) in b.tree.iter().filter(|(path, _)| !path.is_empty()) {
        if a.tree.get(&path).is_none() {
            compare(&path, None, Some(y));
        }
    }
    found[before..].sort_by(|x, y| x.what.cmp(&y.what));
}

/// A time as a decimal number of seconds; the nanoseconds of a time before 1970 count upward.
fn seconds(time: Time) -> String {
    if time.nanos == 0 {
        return time.seconds.to_string();
    }
    let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, rest) = (nanos.abs() / 1_000_000_000, nanos.abs() % 1_000_000_000);
    format!("{sign}{whole}.{rest:09}")
}

/// Every attribute of a file, as one line.
fn describe(node: &File<'_>, files: &Files) -> String {
    let kind = match node.kind {
        EntryKind::Regular | EntryKind::HardLink => "file",
        EntryKind::Symlink => "symlink",
        EntryKind::CharDevice => "char",
        EntryKind::BlockDevice => "block",
        EntryKind::Directory => "dir",
        EntryKind::Fifo => "fifo",
    };
    let mut out = kind.to_owned();
    if node.kind != EntryKind::Symlink {
        out.push_str(&format!(" {:04o}", node.mode));
    }
    let (user, group, time) = (node.uid, node.gid, seconds(node.mtime));
    out.push_str(&format!(" {user}:{group} @{time}"));
    match node.kind {
        EntryKind::Regular | EntryKind::HardLink => {
            let index = usize::try_from(node.content).ok().filter(|_| node.size > 0);
            let hash = index.and_then(|index| files.contents.digests.get(index));
            let bytes = hash.iter().flat_map(|hash| &hash[..8]);
            let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
            out.push_str(&format!(" {} bytes {hex}", node.size));
        }
        EntryKind::Symlink => out.push_str(&format!(" -> \"{}\"", escape(node.link))),
        EntryKind::CharDevice | EntryKind::BlockDevice => {
            out.push_str(&format!(" {},{}", node.device.0, node.device.1));
        }
        EntryKind::Directory | EntryKind::Fifo => {}
    }
    if let Some(first) = files.first.get(&node.inode) {
        out.push_str(&format!(" linked with \"{}\"", escape(first)));
    }
    let mut records: Vec<String> = node
        .pax
        .iter()
        .filter(|(key, _)| key.starts_with(b"SCHILY.") || key.starts_with(b"LIBARCHIVE."))
        .map(|(key, value)| format!(" {}={}", escape(key), escape(value)))
        .collect();
    records.sort();
    out.extend(records);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_printed_as_they_are() {
        let time = |seconds, nanos| self::seconds(Time { seconds, nanos });
        assert_eq!(time(5, 0), "5");
        assert_eq!(time(-2, 500_000_000), "-1.500000000");
        assert_eq!(time(-1, 999_999_999), "-0.000000001");
        assert_eq!(time(1, 1), "1.000000001");
    }
}
