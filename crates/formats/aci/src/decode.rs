//! From a manifest to the neutral model. This module does no I/O: other modules read the archive.
//!
//! All values that the model has no field for go to [`Image::extensions`], under the manifest's own
//! names, so that every target can report them as losses.

use std::collections::BTreeMap;

use imgconv_json::{Value, canonical, join};
use imgconv_manifest::media_type;
use imgconv_model::{Algorithm, Document, Exec, FormatId, Image, Name, Original, Port, RunConfig};
use imgconv_stream::digest;

use crate::{
    manifest::{App, Manifest, Pair, Renamed, find},
    platform, run,
};

/// The identity of this format.
pub const FORMAT: FormatId = FormatId::ACI;
/// The content type of an image manifest.
pub const MANIFEST_KIND: &str = media_type::APPC_MANIFEST;

/// The prefix of docker2aci's annotations.
pub(crate) const DOCKER: &str = "appc.io/docker/";
/// Annotation: the entry point, a JSON list.
pub(crate) const ENTRYPOINT: &str = "appc.io/docker/entrypoint";
/// Annotation: the default arguments, a JSON list.
pub(crate) const CMD: &str = "appc.io/docker/cmd";
/// Annotation: the user as Docker writes it, if `user` and `group` do not imply it.
pub(crate) const USER: &str = "appc.io/docker/user";
/// Annotation: the group that was found for a user without a group, in the image's `/etc/passwd`.
pub(crate) const LOOKED_UP: &str = "imgconv.docker.group";
/// The prefix of the annotation for a label that is not a field of the model.
pub const LABEL: &str = "appc.io/label/";
/// Label: the ID of an image in Docker, in hex (appc/spec pull request 584).
pub const DOCKER_IMAGE_ID: &str = "dockerimageid";
/// The annotation of the model for the label [`DOCKER_IMAGE_ID`].
pub const IMAGE_ID: &str = "appc.io/label/dockerimageid";

const VERSION: &str = "org.opencontainers.image.version";
const CREATED: &str = "org.opencontainers.image.created";
const AUTHORS: &str = "org.opencontainers.image.authors";
/// Annotations that have one name in an ACI and another in OCI.
pub(crate) const RENAMED: [(&str, &str); 2] = [
    ("homepage", "org.opencontainers.image.url"),
    ("documentation", "org.opencontainers.image.documentation"),
];

/// A document of another format that an ACI carries, verbatim, for the conversion back.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The format of the document.
    pub(crate) format: FormatId,
    /// The role of the document in the format.
    pub(crate) role: &'static str,
    /// The annotation that holds the document.
    pub(crate) annotation: &'static str,
    /// The content type, unless the document or another document names one.
    kind: &'static str,
}

const fn carried(
    format: &'static str,
    role: &'static str,
    annotation: &'static str,
    kind: &'static str,
) -> Carried {
    Carried {
        format: FormatId(format),
        role,
        annotation,
        kind,
    }
}

/// All documents that an ACI may carry; the manifest of a format comes before its config, because
/// the manifest has the type of the config.
pub(crate) const CARRIED: [Carried; 8] = [
    carried(
        "oci",
        "manifest",
        "imgconv.oci.manifest",
        media_type::OCI_MANIFEST,
    ),
    carried(
        "oci",
        "config",
        "imgconv.oci.config",
        media_type::OCI_CONFIG,
    ),
    carried(
        "docker-v2s2",
        "manifest",
        "imgconv.docker-v2s2.manifest",
        media_type::DOCKER_MANIFEST,
    ),
    carried(
        "docker-v2s2",
        "config",
        "imgconv.docker-v2s2.config",
        media_type::DOCKER_CONFIG,
    ),
    carried(
        "docker-archive",
        "manifest",
        "imgconv.docker-archive.manifest",
        media_type::ARCHIVE_IMAGE,
    ),
    carried(
        "docker-archive",
        "config",
        "imgconv.docker-archive.config",
        media_type::DOCKER_CONFIG,
    ),
    // The document itself shows whether it has signatures.
    carried(
        "docker-v2s1",
        "manifest",
        "imgconv.docker-v2s1.manifest",
        "",
    ),
    carried(
        "docker-v1",
        "manifest",
        "imgconv.docker-v1.manifest",
        media_type::V1_IMAGE,
    ),
];

/// Returns true if an annotation holds a carried document.
pub(crate) fn is_carried(name: &str) -> bool {
    CARRIED.iter().any(|carried| carried.annotation == name)
}

/// The source of an annotation of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The annotation of that name.
    Annotation(String),
    /// The user annotation of that key.
    User(String),
    /// The label of that name.
    Label(String),
    /// Another field of the manifest, repeated for readers that use only annotations.
    Implied,
}

/// A decoded manifest.
#[derive(Clone, Debug)]
pub(crate) struct Decoded {
    /// The image, without layers.
    pub(crate) image: Image,
    /// The source of each annotation.
    pub(crate) sources: BTreeMap<String, Source>,
}

/// Decodes a manifest. `user` replaces `app.user` and `app.group` where these are paths.
pub(crate) fn decode(manifest: &Manifest, user: Option<(&str, &str)>) -> Decoded {
    let mut image = Image {
        name: Some(Name {
            repository: Some(manifest.name.clone()),
            tag: manifest.label("version").map(str::to_owned),
            digest: None,
        }),
        platform: platform::from_labels(manifest.label("os"), manifest.label("arch")),
        created: manifest.annotation("created").map(str::to_owned),
        author: manifest.annotation("authors").map(str::to_owned),
        ..Image::default()
    };
    image.originals = originals(manifest);
    if let Some(app) = &manifest.app {
        image.config = config(manifest, app, user);
        extend_app(&mut image, manifest, app);
    }
    for key in ["dependencies", "pathWhitelist"] {
        extend_raw(&mut image, &manifest.raw, key, key);
    }
    for (path, value) in &manifest.unknown {
        extend(&mut image, path, value);
    }
    for renamed in &manifest.renamed {
        let list = manifest
            .raw
            .get("app")
            .and_then(|app| app.get(renamed.list));
        if let Some(entry) = list.and_then(|list| list.get(renamed.index)) {
            extend(&mut image, &renamed_path(renamed), entry);
        }
    }
    let sources = annotations(&mut image, manifest);
    Decoded { image, sources }
}

/// Returns the path of a field whose name the rules forbid, with that name.
pub(crate) fn renamed_path(renamed: &Renamed) -> String {
    let Renamed { list, was, .. } = renamed;
    let plain = was
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"[].\"".contains(&b));
    match plain {
        true => format!("app.{list}[{was}].name"),
        false => format!("{}.name", join(&format!("app.{list}"), was)),
    }
}

/// Keeps a value that no field of the model holds.
fn extend(image: &mut Image, path: &str, value: &Value) {
    // Canonical text is UTF-8: it is made of strings.
    let text = String::from_utf8_lossy(&canonical(value)).into_owned();
    image.extensions.insert((FORMAT, path.to_owned()), text);
}

fn extend_raw(image: &mut Image, object: &Value, key: &str, path: &str) {
    match object.get(key) {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) if list.is_empty() => {}
        Some(value) => extend(image, path, value),
    }
}

/// Returns true if an annotation is consumed: another field of the model holds its value.
fn is_consumed(manifest: &Manifest, pair: &Pair, implied: &[Pair]) -> bool {
    let exec = manifest.app.as_ref().map(|app| &*app.exec);
    match &*pair.name {
        "created" | "authors" => true,
        name if is_carried(name) => true,
        ENTRYPOINT | CMD => exec.is_some_and(|exec| split_exec(manifest, exec).is_some()),
        USER => manifest.app.as_ref().is_some_and(|app| {
            let group = manifest.annotation(LOOKED_UP);
            let text = run::user_text(&app.user, &app.group, Some(&pair.value), group);
            text.as_ref() == Some(&pair.value)
        }),
        LOOKED_UP => true,
        name => find(implied, name) == Some(&pair.value),
    }
}

/// Returns docker2aci's annotations of the origin of an image, if they follow from its name and
/// from the carried documents.
pub(crate) fn provenance(name: &str, tag: Option<&str>, originals: &[Original]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: String| {
        pairs.push(Pair {
            name: format!("{DOCKER}{key}"),
            value,
        });
    };
    let original = match tag {
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    };
    add("originalname", original);
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            add("registryurl", host.to_owned());
            add("repository", path.to_owned());
        }
        _ => add("repository", name.to_owned()),
    }
    if let Some(tag) = tag {
        add("tag", tag.to_owned());
    }
    for (key, value) in identity(originals) {
        add(key, value);
    }
    pairs
}

/// Returns the identity of an image in docker, by its documents. The ID of an image with a config
/// is the config's digest; the older chains have ids of their own. For an image of an archive
/// docker2aci writes the ID also as the hash of the manifest, since there is no other hash.
fn identity(originals: &[Original]) -> Vec<(&'static str, String)> {
    let find = |role: &str| {
        let carried = |original: &&Original| {
            CARRIED.iter().any(|carried| {
                carried.role == role && (carried.format, role) == (original.format, original.role)
            })
        };
        originals.iter().find(carried)
    };
    let hash =
        |original: &Original| digest(Algorithm::Sha256, &original.document.bytes).to_string();
    let mut found = Vec::new();
    let mut add = |key, value: Option<String>| found.extend(value.map(|value| (key, value)));
    let config = find("config").map(hash);
    let Some(manifest) = find("manifest") else {
        add("imageid", config);
        return found;
    };
    let limits = imgconv_model::Limits::default();
    let value = imgconv_json::parse(&manifest.document.bytes, &limits, "manifest");
    let value = value.unwrap_or_default();
    match manifest.format.0 {
        "docker-archive" => {
            let parent = value.get("Parent").and_then(Value::as_str);
            let parent = parent.filter(|parent| !parent.is_empty());
            add("imageid", config.clone());
            add("parentimageid", parent.map(str::to_owned));
            add("manifesthash", config);
        }
        "docker-v2s1" => {
            let top = value.get("history").and_then(|history| history.get(0));
            let text = top.and_then(|top| top.get("v1Compatibility")?.as_str());
            let (id, parent) = text.map(|text| v1_ids(text, &limits)).unwrap_or_default();
            add("imageid", id);
            add("parentimageid", parent);
            add("manifesthash", Some(hash(manifest)));
        }
        "docker-v1" => {
            let layers = value.get("layers").and_then(Value::as_array);
            let text = layers.and_then(|layers| layers.last()?.get("json")?.as_str());
            let (id, parent) = text.map(|text| v1_ids(text, &limits)).unwrap_or_default();
            add("imageid", id.clone());
            add("parentimageid", parent);
            add("manifesthash", id);
        }
        _ => {
            add("imageid", config);
            add("manifesthash", Some(hash(manifest)));
        }
    }
    found
}

/// Returns the ids in the JSON of a v1 image: its own and its parent's.
fn v1_ids(text: &str, limits: &imgconv_model::Limits) -> (Option<String>, Option<String>) {
    let value = imgconv_json::parse(text.as_bytes(), limits, "v1 image").unwrap_or_default();
    let id = |key: &str| {
        let id = value.get(key).and_then(Value::as_str);
        id.filter(|id| !id.is_empty()).map(str::to_owned)
    };
    (id("id"), id("parent"))
}

/// Returns the documents that a manifest carries.
fn originals(manifest: &Manifest) -> Vec<Original> {
    let limits = imgconv_model::Limits::default();
    let mut config_kind: Option<(FormatId, String)> = None;
    let mut originals = Vec::new();
    for carried in &CARRIED {
        let Some(text) = manifest.annotation(carried.annotation) else {
            continue;
        };
        let mut kind = carried.kind.to_owned();
        if carried.role == "config" {
            let known = config_kind.take();
            let known = known.filter(|(format, _)| *format == carried.format);
            kind = known.map_or(kind, |(_, kind)| kind);
        } else if let Ok(value) = imgconv_json::parse(text.as_bytes(), &limits, carried.annotation)
        {
            let media_type = |value: &Value| value.get("mediaType")?.as_str().map(str::to_owned);
            kind = media_type(&value).unwrap_or(kind);
            let config = value.get("config").and_then(media_type);
            config_kind = config.map(|kind| (carried.format, kind));
        }
        originals.push(Original {
            format: carried.format,
            role: carried.role,
            document: Document {
                kind,
                bytes: text.as_bytes().into(),
            },
        });
    }
    originals
}

/// Returns the two parts of `exec`, if their annotations exist and still join to `exec`.
fn split_exec(manifest: &Manifest, exec: &[String]) -> Option<Exec> {
    let part = |name: &str| -> Option<Vec<String>> {
        let Some(text) = manifest.annotation(name) else {
            return Some(Vec::new());
        };
        serde_json::from_str(text).ok()
    };
    if manifest.annotation(ENTRYPOINT).is_none() && manifest.annotation(CMD).is_none() {
        return None;
    }
    let (entrypoint, cmd) = (part(ENTRYPOINT)?, part(CMD)?);
    let joined = entrypoint.iter().chain(&cmd).eq(exec);
    (joined && !exec.is_empty()).then_some(Exec { entrypoint, cmd })
}

fn config(manifest: &Manifest, app: &App, user: Option<(&str, &str)>) -> RunConfig {
    let whole = || Exec {
        entrypoint: app.exec.clone(),
        cmd: Vec::new(),
    };
    let exec = split_exec(manifest, &app.exec).unwrap_or_else(whole);
    let (user, group) = user.unwrap_or((&app.user, &app.group));
    let mut volumes = Vec::new();
    for point in &app.mount_points {
        let path = match point.path.strip_prefix('/') {
            Some(_) => point.path.clone(),
            None => format!("/{}", point.path),
        };
        if !volumes.contains(&path) {
            volumes.push(path);
        }
    }
    RunConfig {
        exec: (!app.exec.is_empty()).then_some(exec),
        user: run::user_text(
            user,
            group,
            manifest.annotation(USER),
            manifest.annotation(LOOKED_UP),
        ),
        env: app
            .environment
            .iter()
            .map(|Pair { name, value }| format!("{name}={value}"))
            .collect(),
        working_dir: app.working_directory.clone(),
        ports: app.ports.iter().map(port).collect(),
        volumes,
        labels: app.user_labels.clone(),
        stop_signal: None,
    }
}

/// Returns a port as a value of the model.
pub(crate) fn port(port: &crate::manifest::AppPort) -> Port {
    Port {
        number: port.port,
        count: port.count,
        protocol: port.protocol.to_lowercase(),
    }
}

/// Keeps values that the model has no field for: names that no other field implies, and fields that
/// only ACIs have.
fn extend_app(image: &mut Image, manifest: &Manifest, app: &App) {
    let Some(raw) = manifest.raw.get("app") else {
        return;
    };
    for (key, value) in [("user", &app.user), ("group", &app.group)] {
        if value.starts_with('/') {
            extend(image, &format!("app.{key}"), &Value::from(&**value));
        }
    }
    for key in ["isolators", "eventHandlers", "supplementaryGIDs"] {
        extend_raw(image, raw, key, &format!("app.{key}"));
    }
    extend_raw(image, raw, "supplementaryGids", "app.supplementaryGIDs");
    let entry = |list: &str, i: usize| raw.get(list).and_then(|list| list.get(i));
    for (i, found) in app.ports.iter().enumerate() {
        let Some(entry) = entry("ports", i) else {
            continue;
        };
        let implied = run::port_name(&port(found));
        let odd = [
            ("name", found.name != implied),
            ("socketActivated", found.socket_activated),
            ("protocol", found.protocol != found.protocol.to_lowercase()),
        ];
        for (field, _) in odd.into_iter().filter(|(_, odd)| *odd) {
            extend(image, &format!("app.ports[{}].{field}", found.name), entry);
        }
    }
    let implied = run::mount_points(&image.config.volumes).unwrap_or_default();
    for (i, found) in app.mount_points.iter().enumerate() {
        let Some(entry) = entry("mountPoints", i) else {
            continue;
        };
        let named = implied
            .iter()
            .any(|(name, path)| *name == found.name && *path == found.path);
        let odd = [("name", !named), ("readOnly", found.read_only)];
        for (field, _) in odd.into_iter().filter(|(_, odd)| *odd) {
            extend(
                image,
                &format!("app.mountPoints[{}].{field}", found.name),
                entry,
            );
        }
    }
}

/// Fills in the annotations: first those of the manifest, then the user's, then other labels, then
/// those that other fields imply. Of two under one name the first counts, the other is kept as an
/// extension.
fn annotations(image: &mut Image, manifest: &Manifest) -> BTreeMap<String, Source> {
    let mut sources = BTreeMap::new();
    let mut lost = Vec::new();
    let originals = std::mem::take(&mut image.originals);
    let mut add = |key: &str, value: &str, source: Source, path: String| {
        let vacant = !sources.contains_key(key);
        if vacant {
            image.annotations.insert(key.to_owned(), value.to_owned());
            sources.insert(key.to_owned(), source);
        } else if source != Source::Implied {
            lost.push((path, value.to_owned()));
        }
    };
    let renamed = |name: &str| RENAMED.iter().find(|(own, _)| *own == name);
    let implied = provenance(&manifest.name, manifest.label("version"), &originals);
    let kept = |pair: &&Pair| !is_consumed(manifest, pair, &implied);
    let (plain, other): (Vec<&Pair>, Vec<&Pair>) = manifest
        .annotations
        .iter()
        .filter(kept)
        .partition(|pair| renamed(&pair.name).is_none());
    for pair in plain.into_iter().chain(other) {
        let key = renamed(&pair.name).map_or(&*pair.name, |(_, key)| key);
        let source = Source::Annotation(pair.name.clone());
        add(
            key,
            &pair.value,
            source,
            format!("annotations[{}]", pair.name),
        );
    }
    if let Some(app) = &manifest.app {
        for (key, value) in &app.user_annotations {
            let path = join("app.userAnnotations", key);
            add(key, value, Source::User(key.clone()), path);
        }
    }
    for label in &manifest.labels {
        if !["version", "os", "arch"].contains(&&*label.name) {
            let key = format!("{LABEL}{}", label.name);
            let source = Source::Label(label.name.clone());
            add(
                &key,
                &label.value,
                source,
                format!("labels[{}]", label.name),
            );
        }
    }
    // An image from Docker or OCI has its own annotations already.
    let native = !manifest
        .annotations
        .iter()
        .any(|pair| pair.name.starts_with(DOCKER));
    for (key, value) in [
        (VERSION, manifest.label("version")),
        (CREATED, manifest.annotation("created")),
        (AUTHORS, manifest.annotation("authors")),
    ] {
        if let Some(value) = value.filter(|_| native) {
            add(key, value, Source::Implied, String::new());
        }
    }
    image.originals = originals;
    for (path, value) in lost {
        extend(image, &path, &Value::from(value));
    }
    sources
}
