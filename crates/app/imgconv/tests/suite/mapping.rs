//! Every row of `docs/mapping.md` is true: its example is converted, and the result and the losses
//! are what the row says.

use std::{fs, path::Path};

use imgconv::{ImageOutcome, Locator, Options, convert};
use imgconv_model::{Algorithm, Env, Platform};
use imgconv_stream::digest;
use imgconv_tar::{END, Entry, EntryKind, head, padding};
use serde_json::{Map, Value, json};

/// The rows of the table below a heading, as their cells without backticks.
fn rows(heading: &str) -> Vec<(String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/mapping.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, part) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading}"));
    let part = part.split("\n## ").next().unwrap();
    let table = part.lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<_> = table
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            let cells = cells.map(|cell| cell.trim().trim_matches('`').to_owned());
            (line.to_owned(), cells.collect())
        })
        .collect();
    assert!(!rows.is_empty(), "no rows below {heading}");
    rows
}

fn member(path: &str, kind: EntryKind, body: &[u8]) -> Vec<u8> {
    let directory = kind == EntryKind::Directory;
    let entry = Entry {
        mode: if directory { 0o755 } else { 0o644 },
        uid: 100,
        gid: 101,
        size: body.len() as u64,
        ..Entry::new(path, kind)
    };
    let mut out = head(&entry).unwrap();
    out.extend(body);
    out.resize(out.len() + padding(entry.size), 0);
    out
}

/// Writes an ACI that holds the file `/bin/app`.
pub(crate) fn write_aci(path: &Path, manifest: &str) {
    let mut tar = member("manifest", EntryKind::Regular, manifest.as_bytes());
    tar.extend(member("rootfs", EntryKind::Directory, b""));
    tar.extend(member("rootfs/bin", EntryKind::Directory, b""));
    tar.extend(member("rootfs/bin/app", EntryKind::Regular, b"app"));
    tar.extend(END);
    fs::write(path, tar).unwrap();
}

/// Writes a layout of one image and returns its manifest and config.
pub(crate) fn write_layout(folder: &Path, image: &Value) -> [String; 2] {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = digest(Algorithm::Sha256, bytes).to_string();
        fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let mut layer = member("bin/app", EntryKind::Regular, b"app");
    layer.extend(END);
    let layer = put("application/vnd.oci.image.layer.v1.tar", &layer);
    let mut config = image.as_object().unwrap().clone();
    let mut manifest = config.shift_remove("manifest").unwrap();
    let reference = config.shift_remove("reference").unwrap();
    config["rootfs"]["diff_ids"] = json!([layer["digest"]]);
    let config = Value::Object(config).to_string();
    manifest["config"] = put(
        "application/vnd.oci.image.config.v1+json",
        config.as_bytes(),
    );
    manifest["layers"] = json!([layer]);
    let manifest = manifest.to_string();
    let mut root = put(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.as_bytes(),
    );
    root["annotations"] = json!({ "org.opencontainers.image.ref.name": reference });
    let index = json!({ "schemaVersion": 2, "manifests": [root] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    [manifest, config]
}

fn read_layout(folder: &Path) -> Value {
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.join(path)).unwrap()).unwrap()
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        read(&format!("blobs/{}", digest.replace(':', "/")))
    };
    let index = read("index.json");
    let root = &index["manifests"][0];
    let manifest = blob(root);
    let mut image = blob(&manifest["config"]);
    image["manifest"] = manifest;
    image["reference"] = root["annotations"]["io.containerd.image.name"].clone();
    image
}

fn aci_base() -> Value {
    let pair = |name: &str, value: &str| json!({ "name": name, "value": value });
    json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/app",
        "labels": [pair("version", "1.0"), pair("os", "linux"), pair("arch", "amd64")],
        "app": { "exec": ["/bin/app"], "user": "0", "group": "0" },
    })
}

pub(crate) fn oci_base() -> Value {
    json!({
        "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/bin/app"] },
        "rootfs": { "type": "layers" },
        "manifest": { "schemaVersion": 2 },
        "reference": "example.com/app:1.0",
    })
}

/// Splits `a.b[c.d]` to `a`, `b` and `c.d`; `os.version` is one name.
fn parts(path: &str) -> Vec<&str> {
    let (path, key) = match path.strip_suffix(']').and_then(|path| path.split_once('[')) {
        Some((path, key)) => (path, Some(key)),
        None => (path, None),
    };
    let names = if path.starts_with("os.") {
        vec![path]
    } else {
        path.split('.').collect()
    };
    names.into_iter().chain(key).collect()
}

/// Sets a field; `null` removes it. In a list of pairs the one of that name is set.
fn set(document: &mut Value, path: &[&str], value: Value, pairs: bool) {
    let (first, rest) = path.split_first().unwrap();
    if let Some(list) = document.as_array_mut() {
        list.retain(|pair| pair["name"] != **first);
        if !value.is_null() {
            list.push(json!({ "name": first, "value": value }));
        }
        return;
    }
    let map = document.as_object_mut().unwrap();
    if rest.is_empty() {
        match value {
            Value::Null => drop(map.shift_remove(*first)),
            value => drop(map.insert((*first).to_owned(), value)),
        }
        return;
    }
    let list = pairs && ["labels", "annotations"].contains(first);
    let empty = || {
        if list {
            json!([])
        } else {
            Value::Object(Map::new())
        }
    };
    let inner = map.entry((*first).to_owned()).or_insert_with(empty);
    set(inner, rest, value, pairs);
}

fn get(document: &Value, path: &[&str]) -> Option<Value> {
    let mut found = document.clone();
    for name in path {
        found = match &found {
            Value::Array(list) => list.iter().find(|pair| pair["name"] == **name)?["value"].clone(),
            other => other.get(name)?.clone(),
        };
    }
    Some(found)
}

/// The result of the conversion of an image.
struct Converted {
    document: Value,
    losses: Vec<String>,
}

fn losses(image: &ImageOutcome) -> Vec<String> {
    let line = |loss: &imgconv::LossOutcome| format!("{} {}", loss.outcome, loss.field);
    let mut lines: Vec<String> = image.losses.iter().map(line).collect();
    lines.sort();
    lines
}

/// Converts, after a dry run that must report the same losses.
fn run(folder: &Path, from: &str, to: &str) -> Result<Converted, String> {
    let text = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let destination = Locator::destination(&text(to)).unwrap();
    let env = || Env::new(folder, Platform::new("linux", "amd64"));
    let call = |dry_run: bool| {
        let source = Locator::source(&text(from)).unwrap();
        let options = Options {
            deps: fs::exists(folder.join("deps"))
                .unwrap()
                .then(|| text("deps"))
                .into_iter()
                .collect(),
            dry_run,
            ..Options::default()
        };
        convert(&[source], &destination, &options, &env()).map_err(|e| e.to_string())
    };
    let (predicted, done) = (call(true)?, call(false)?);
    let [image] = &done.images[..] else {
        panic!("{} images", done.images.len());
    };
    let losses = losses(image);
    assert_eq!(
        self::losses(&predicted.images[0]),
        losses,
        "predicted losses and real ones"
    );
    let document = if to.ends_with(".aci") {
        let locator = Locator::source(&text(to)).unwrap();
        serde_json::from_slice(&imgconv::raw(&locator, &env()).unwrap()).unwrap()
    } else {
        read_layout(&folder.join(to))
    };
    Ok(Converted { document, losses })
}

fn from_aci(manifest: &Value) -> Result<Converted, String> {
    let folder = tempfile::tempdir().unwrap();
    let deps = folder.path().join("deps");
    fs::create_dir(&deps).unwrap();
    let base = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/base"}"#;
    write_aci(&deps.join("base.aci"), base);
    write_aci(&folder.path().join("in.aci"), &manifest.to_string());
    run(folder.path(), "in.aci", "out")
}

/// Returns the source's manifest and config too.
fn to_aci(image: &Value) -> Result<(Converted, [String; 2]), String> {
    let folder = tempfile::tempdir().unwrap();
    let documents = write_layout(&folder.path().join("layout"), image);
    let converted = run(folder.path(), "layout", "out.aci")?;
    Ok((converted, documents))
}

fn json_of(cell: &str) -> Value {
    serde_json::from_str(cell).unwrap_or_else(|error| panic!("{cell}: {error}"))
}

fn losses_of(cell: &str) -> Vec<String> {
    if cell == "-" {
        return Vec::new();
    }
    cell.split("`, `").map(str::to_owned).collect()
}

/// The error of a row, if there is one.
fn wrong(cells: &[String], converted: &Converted, verbatim: &[String]) -> Option<String> {
    let found = get(&converted.document, &parts(&cells[2]));
    let right = match &*cells[3] {
        "absent" => found.is_none(),
        "verbatim" => matches!(&found, Some(Value::String(text)) if verbatim.contains(text)),
        text => found == Some(json_of(text)),
    };
    if right && losses_of(&cells[4]) == converted.losses {
        return None;
    }
    let found = found.map_or("absent".to_owned(), |value| value.to_string());
    Some(format!("found {found}, losses {:?}", converted.losses))
}

fn fail(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn from_aci_to_oci() {
    let mut problems = Vec::new();
    for (line, cells) in rows("ACI to OCI") {
        let mut manifest = aci_base();
        set(&mut manifest, &parts(&cells[0]), json_of(&cells[1]), true);
        let text = manifest.to_string();
        let problem = match from_aci(&manifest) {
            Ok(converted) => wrong(&cells, &converted, &[text]),
            Err(error) => Some(error),
        };
        problems.extend(problem.map(|problem| format!("{line}\n    {problem}")));
    }
    fail(&problems);
}

#[test]
fn from_oci_to_aci() {
    let mut problems = Vec::new();
    for (line, cells) in rows("OCI to ACI") {
        let mut image = oci_base();
        set(&mut image, &parts(&cells[0]), json_of(&cells[1]), false);
        let problem = match to_aci(&image) {
            Ok((converted, documents)) => wrong(&cells, &converted, &documents),
            Err(error) => Some(error),
        };
        problems.extend(problem.map(|problem| format!("{line}\n    {problem}")));
    }
    fail(&problems);
}

#[test]
fn platforms() {
    let mut problems = Vec::new();
    for (line, cells) in rows("Platforms") {
        let (labels, direction, platform) = (&cells[0], &*cells[1], &cells[2]);
        assert!(["->", "<-", "<->"].contains(&direction), "{line}");
        let mut add = |found: String| problems.push(format!("{line}\n    {found}"));
        if direction != "<-" {
            let mut manifest = aci_base();
            let (os, arch) = labels.split_once(' ').unwrap();
            set(&mut manifest, &["labels", "os"], os.into(), true);
            set(&mut manifest, &["labels", "arch"], arch.into(), true);
            let image = from_aci(&manifest).unwrap();
            let found: Vec<String> = ["os", "architecture", "variant"]
                .iter()
                .filter_map(|name| Some(get(&image.document, &[name])?.as_str()?.to_owned()))
                .collect();
            if found.join("/") != *platform || image.losses != losses_of(&cells[3]) {
                add(format!("to OCI: {}, {:?}", found.join("/"), image.losses));
            }
        }
        if direction != "->" {
            let wanted = Platform::parse(platform).unwrap();
            let mut image = oci_base();
            image["os"] = wanted.os.into();
            image["architecture"] = wanted.architecture.into();
            if let Some(variant) = wanted.variant {
                image["variant"] = variant.into();
            }
            let found = match to_aci(&image) {
                Ok((aci, _)) => {
                    let label = |name| get(&aci.document, &["labels", name]).unwrap();
                    let found = ["os", "arch"].map(|name| label(name).as_str().unwrap().to_owned());
                    (found.join(" "), aci.losses)
                }
                Err(error) if error.contains(&**platform) => ("refused".to_owned(), Vec::new()),
                Err(error) => (error, Vec::new()),
            };
            if found != (labels.clone(), losses_of(&cells[3])) {
                add(format!("to ACI: {found:?}"));
            }
        }
    }
    fail(&problems);
}

#[test]
fn every_field_of_the_schemas_has_a_row() {
    let aci = "acKind acVersion name labels[version] labels[os] labels[arch] app app.exec app.user \
               app.group app.supplementaryGIDs app.eventHandlers app.workingDirectory \
               app.environment app.isolators app.mountPoints app.ports app.userAnnotations \
               app.userLabels dependencies pathWhitelist annotations[created] annotations[authors] \
               annotations[homepage] annotations[documentation]";
    let oci = "reference os architecture variant os.version os.features created author config.User \
               config.ExposedPorts config.Env config.Entrypoint config.Cmd config.Volumes \
               config.WorkingDir config.Labels config.StopSignal config.ArgsEscaped config.Memory \
               config.MemorySwap config.CpuShares config.Healthcheck history rootfs.type \
               manifest.schemaVersion manifest.mediaType manifest.artifactType manifest.subject";
    for (heading, fields) in [("ACI to OCI", aci), ("OCI to ACI", oci)] {
        let rows = rows(heading);
        for field in fields.split_whitespace() {
            let there = rows.iter().any(|(_, cells)| cells[0] == field);
            assert!(there, "{heading}: `{field}` has no row");
        }
    }
}

#[test]
fn an_aci_for_any_platform_is_given_one() {
    let mut manifest = aci_base();
    set(&mut manifest, &["labels", "os"], Value::Null, true);
    set(&mut manifest, &["labels", "arch"], Value::Null, true);
    let image = from_aci(&manifest).unwrap();
    assert_eq!(image.losses, ["synthesised platform"]);
    assert_eq!(image.document["os"], "linux");
}
