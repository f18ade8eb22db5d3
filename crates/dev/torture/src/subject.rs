//! Random places to start from: images, indexes with several platforms, artifacts about images.
//!
//! The layers are those of the testkit's generator ([`random`]); this file adds configs, names,
//! compressions, indexes and artifacts, each within what image-spec 1.1 allows (config.md,
//! manifest.md, image-index.md, annotations.md).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use imgconv_testkit::random::{self, Layer, Random};
use imgconv_testkit::{Failure, Item, build, recipe, sha256_hex, sha512_hex, write_file};
use serde_json::{Map, Value, json};

use crate::Result;
use crate::tar::{Kind, Member};
use crate::tree::{Tree, plain};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The form of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An OCI layout, a directory.
    Layout,
    /// A `docker save` file; it has no indexes and no annotations.
    DockerArchive,
    /// A directory of ACIs.
    Acis,
}

/// An ACI (appc 0.8.11, aci.md).
#[derive(Clone, Debug)]
pub struct Aci {
    /// The name, without a version.
    pub name: String,
    /// The label `version`; empty if there is none.
    pub version: String,
    /// The other members of the manifest.
    pub manifest: Map<String, Value>,
    /// The members below `rootfs` and the manifest, whose body is written anew.
    pub layer: Layer,
    /// Bytes at the end: 0 a usual end, 1 no end, 2 bytes behind the end.
    pub ending: usize,
    /// True if the file is compressed by gzip.
    pub is_packed: bool,
    /// The positions of the ACIs that the ACI depends on, each below its own.
    pub dependencies: Vec<usize>,
    /// True if the dependencies are pinned by their image IDs.
    pub pins: bool,
    /// The paths of `pathWhitelist`, as text.
    pub whitelist: Vec<String>,
}

/// A layer and its compression.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The members.
    pub layer: Layer,
    /// `none`, `gzip` or `zstd`.
    pub compression: &'static str,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The config without `rootfs` and `history`.
    pub config: Map<String, Value>,
    /// True if the config has a history that fits the layers.
    pub history: bool,
    /// The annotations of the manifest.
    pub annotations: Map<String, Value>,
    /// The layers, base first.
    pub layers: Vec<Stored>,
}

/// A named image, or a named index of images for several platforms.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `HOST/REPOSITORY:TAG`.
    pub name: String,
    /// The images; one if the entry is no index.
    pub images: Vec<Image>,
    /// True for an index.
    pub is_index: bool,
    /// True if the index lists an attestation of its first image, as buildkit writes it.
    pub attested: bool,
    /// The texts of artifacts about the root document, which the layout lists.
    pub artifacts: Vec<String>,
}

/// A whole place.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The form.
    pub form: Form,
    /// The images and indexes.
    pub entries: Vec<Entry>,
    /// The ACIs, if these are the form.
    pub acis: Vec<Aci>,
}

impl Subject {
    /// The images of all entries.
    pub(crate) fn images_mut(&mut self) -> Vec<&mut Image> {
        let entries = self.entries.iter_mut();
        entries.flat_map(|entry| &mut entry.images).collect()
    }

    /// Makes a place of at most `most` entries.
    pub fn random(random: &mut Random, most: usize) -> Self {
        let form = match random.below(10) {
            0..2 => Form::DockerArchive,
            2..5 => Form::Acis,
            _ => Form::Layout,
        };
        let count = 1 + random.below(most);
        if form == Form::Acis {
            let mut acis = Vec::new();
            for at in 0..count {
                let next = aci(random, at, &acis);
                acis.push(next);
            }
            let entries = Vec::new();
            return Self {
                form,
                entries,
                acis,
            };
        }
        let mut shared = Vec::new();
        let entries = (0..count)
            .map(|at| entry(random, form, at, &mut shared))
            .collect();
        let acis = Vec::new();
        Self {
            form,
            entries,
            acis,
        }
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.entries.iter().map(|entry| entry.images.len()).sum()
    }

    /// Writes the place at a path.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        match self.form {
            Form::Layout => self.layout(path),
            Form::DockerArchive => write_file(path, &self.docker_archive()?),
            Form::Acis => {
                for (at, bytes) in self.aci_files()?.iter().enumerate() {
                    write_file(&path.join(format!("{at}.aci")), bytes)?;
                }
                Ok(())
            }
        }
    }

    fn layout(&self, folder: &Path) -> Result<()> {
        let mut listed = Vec::new();
        for entry in &self.entries {
            let images: Result<Vec<Value>> = entry
                .images
                .iter()
                .map(|image| image.manifest(folder))
                .collect();
            let mut root = match images? {
                images if entry.is_index => entry.index(images, folder)?,
                mut images => images.remove(0),
            };
            for text in &entry.artifacts {
                let artifact = artifact(&root, text, folder)?;
                listed.push(artifact);
            }
            root["annotations"] = json!({ "org.opencontainers.image.ref.name": entry.name });
            listed.push(root);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed });
        write_file(&folder.join("index.json"), index.to_string().as_bytes())?;
        write_file(
            &folder.join("oci-layout"),
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )
    }

    fn docker_archive(&self) -> Result<Vec<u8>> {
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        let mut list: Vec<Value> = Vec::new();
        for entry in &self.entries {
            let image = &entry.images[0];
            let mut paths = Vec::new();
            for stored in &image.layers {
                let tar = stored.layer.tar();
                let path = format!("{}/layer.tar", sha256_hex(&tar));
                paths.push(path.clone());
                files.push((path, tar));
            }
            let config = image.config_document();
            let path = format!("{}.json", sha256_hex(config.as_bytes()));
            files.push((path.clone(), config.into_bytes()));
            match list.iter_mut().find(|item| item["Config"] == *path) {
                Some(item) => {
                    if let Some(tags) = item["RepoTags"].as_array_mut() {
                        tags.push(json!(entry.name));
                    }
                }
                None => {
                    list.push(json!({ "Config": path, "RepoTags": [entry.name], "Layers": paths }));
                }
            }
        }
        files.push((
            "manifest.json".to_owned(),
            json!(list).to_string().into_bytes(),
        ));
        let (mut items, mut known): (Vec<Item>, Vec<String>) = (Vec::new(), Vec::new());
        for (path, body) in files {
            if !known.contains(&path) {
                let mut item = recipe::parse(&format!("file {path}"), "archive")?.remove(0);
                item.entry.size = body.len() as u64;
                item.body = body;
                items.push(item);
                known.push(path);
            }
        }
        build::tar_bytes(&items)
    }

    /// The files of the ACIs; those that others depend on come first.
    fn aci_files(&self) -> Result<Vec<Vec<u8>>> {
        let (mut files, mut ids): (Vec<Vec<u8>>, Vec<String>) = (Vec::new(), Vec::new());
        for aci in &self.acis {
            let tar = aci.tar(&self.acis, &ids);
            ids.push(format!("sha512-{}", sha512_hex(&tar)));
            files.push(match aci.is_packed {
                true => compress("gzip", tar)?.1,
                false => tar,
            });
        }
        Ok(files)
    }

    /// The place as text: each entry, image and member on lines of its own.
    pub fn text(&self) -> String {
        let mut out = format!("{:?}\n", self.form);
        for aci in &self.acis {
            let manifest = json!(aci.manifest);
            let (name, version, below) = (&aci.name, &aci.version, &aci.dependencies);
            let _ = writeln!(
                out,
                "aci {name}:{version} dependencies={below:?} pins={}",
                aci.pins
            );
            let _ = writeln!(
                out,
                "  whitelist {:?} ending {} packed={}",
                aci.whitelist, aci.ending, aci.is_packed
            );
            let _ = writeln!(out, "  manifest {manifest}");
            for line in aci.layer.lines() {
                let _ = writeln!(out, "    {line}");
            }
        }
        for entry in &self.entries {
            let kind = if entry.is_index { "index" } else { "image" };
            let (name, artifacts) = (&entry.name, &entry.artifacts);
            let attested = entry.attested;
            let _ = writeln!(
                out,
                "{kind} {name} artifacts={artifacts:?} attested={attested}"
            );
            for image in &entry.images {
                let config = json!(image.config);
                let _ = writeln!(out, "  config {config} history={}", image.history);
                let _ = writeln!(out, "  annotations {}", json!(image.annotations));
                for stored in &image.layers {
                    let _ = writeln!(out, "  layer {}", stored.compression);
                    for line in stored.layer.lines() {
                        let _ = writeln!(out, "    {line}");
                    }
                }
            }
        }
        out
    }
}

impl Aci {
    fn tar(&self, all: &[Self], ids: &[String]) -> Vec<u8> {
        let mut manifest = Map::new();
        manifest.insert("acKind".into(), json!("ImageManifest"));
        manifest.insert("acVersion".into(), json!("0.8.11"));
        manifest.insert("name".into(), json!(self.name));
        let mut labels = vec![
            json!({ "name": "os", "value": "linux" }),
            json!({ "name": "arch", "value": "amd64" }),
        ];
        if !self.version.is_empty() {
            labels.push(json!({ "name": "version", "value": self.version }));
        }
        manifest.insert("labels".into(), json!(labels));
        let below: Vec<Value> = self
            .dependencies
            .iter()
            .map(|at| {
                let mut dependency = json!({ "imageName": all[*at].name });
                if !all[*at].version.is_empty() {
                    dependency["labels"] =
                        json!([{ "name": "version", "value": all[*at].version }]);
                }
                if self.pins {
                    dependency["imageID"] = json!(ids[*at]);
                }
                dependency
            })
            .collect();
        if !below.is_empty() {
            manifest.insert("dependencies".into(), json!(below));
        }
        if !self.whitelist.is_empty() {
            manifest.insert("pathWhitelist".into(), json!(self.whitelist));
        }
        manifest.extend(self.manifest.clone());
        let text = Value::Object(manifest).to_string();
        let mut layer = self.layer.clone();
        layer.change(|item| {
            if item.entry.path == b"manifest" {
                item.body = text.clone().into_bytes();
                item.entry.size = item.body.len() as u64;
            }
        });
        let mut tar = layer.tar();
        match self.ending {
            1 => tar.truncate(tar.len() - 1024),
            2 => tar.extend_from_slice(b"bytes behind the end"),
            _ => {}
        }
        tar
    }

    /// The members below `rootfs`, as members of the model.
    pub fn members(&self) -> Vec<Member> {
        let inside = |path: &[u8]| path.strip_prefix(b"rootfs/").map(<[u8]>::to_vec);
        let below = self.layer.items().map(member).filter_map(|mut member| {
            member.path = inside(&member.path)?;
            if member.kind == Kind::HardLink {
                member.link = inside(&member.link)?;
            }
            Some(member)
        });
        below.collect()
    }

    /// The tree after the dependencies were put below and the whitelist was applied (ace.md,
    /// "Filesystem Setup"; aci.md, `dependencies` and `pathWhitelist`).
    ///
    /// # Errors
    /// If an entry means nothing.
    pub fn rendered(&self, all: &[Self]) -> Result<Tree> {
        let mut tree = Tree::default();
        for at in &self.dependencies {
            tree.overlay(&all[*at].rendered(all)?);
        }
        tree.add_all(&self.members())?;
        if !self.whitelist.is_empty() {
            let listed: Vec<_> = self
                .whitelist
                .iter()
                .map(|path| plain(path.as_bytes()))
                .collect();
            tree.keep(&listed);
            tree.name_empty();
        }
        Ok(tree)
    }
}

impl Entry {
    fn index(&self, mut images: Vec<Value>, folder: &Path) -> Result<Value> {
        if self.attested {
            let about = images[0]["digest"].clone();
            let statement = json!({ "_type": "https://in-toto.io/Statement/v0.1" }).to_string();
            let config = json!({
                "architecture": "unknown", "os": "unknown", "config": {},
                "rootfs": { "type": "layers", "diff_ids": [
                    format!("sha256:{}", sha256_hex(statement.as_bytes())),
                ] },
            });
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST,
                "config": put(folder, CONFIG, config.to_string().as_bytes())?,
                "layers": [put(folder, "application/vnd.in-toto+json", statement.as_bytes())?],
            });
            let mut listed = put(folder, MANIFEST, manifest.to_string().as_bytes())?;
            listed["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
            listed["annotations"] = json!({
                "vnd.docker.reference.digest": about,
                "vnd.docker.reference.type": "attestation-manifest",
            });
            images.push(listed);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": images });
        put(folder, INDEX, index.to_string().as_bytes())
    }
}

impl Image {
    fn config_document(&self) -> String {
        let ids: Vec<String> = self
            .layers
            .iter()
            .map(|stored| format!("sha256:{}", sha256_hex(&stored.layer.tar())))
            .collect();
        let mut config = self.config.clone();
        config.insert(
            "rootfs".into(),
            json!({ "type": "layers", "diff_ids": ids }),
        );
        if self.history {
            let mut steps = Vec::new();
            for at in 0..ids.len() {
                steps.push(json!({ "created": "2020-01-01T00:00:00Z", "created_by": format!("step {at}") }));
                if at % 2 == 0 {
                    steps.push(
                        json!({ "created_by": "ENV A=1", "comment": "c", "empty_layer": true }),
                    );
                }
            }
            config.insert("history".into(), json!(steps));
        }
        Value::Object(config).to_string()
    }

    fn manifest(&self, folder: &Path) -> Result<Value> {
        let mut layers = Vec::new();
        for stored in &self.layers {
            let (suffix, bytes) = compress(stored.compression, stored.layer.tar())?;
            layers.push(put(folder, &format!("{LAYER}{suffix}"), &bytes)?);
        }
        let config = put(folder, CONFIG, self.config_document().as_bytes())?;
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        if !self.annotations.is_empty() {
            manifest["annotations"] = json!(self.annotations);
        }
        let mut listed = put(folder, MANIFEST, manifest.to_string().as_bytes())?;
        listed["platform"] = json!({
            "architecture": self.config["architecture"], "os": self.config["os"],
        });
        if let Some(variant) = self.config.get("variant") {
            listed["platform"]["variant"] = variant.clone();
        }
        Ok(listed)
    }

    /// The tree by the members themselves, without the bytes of a tar: what the generator meant.
    ///
    /// # Errors
    /// If an entry means nothing.
    pub fn tree(&self) -> Result<Tree> {
        let members = |stored: &Stored| stored.layer.items().map(member).collect::<Vec<_>>();
        let layers: Vec<Vec<Member>> = self.layers.iter().map(members).collect();
        Tree::of_layers(layers.iter().map(|layer| &layer[..]))
    }
}

/// A member of the model, of a member of the generator.
fn member(item: &Item) -> Member {
    let entry = &item.entry;
    // The letters of `recipe` name the kind, so that no type of the product is needed here.
    let line = recipe::line(entry, &recipe::Body::Bytes(Vec::new()));
    let kind = match line.split(' ').next().unwrap_or_default() {
        "dir" => Kind::Directory,
        "symlink" => Kind::Symlink,
        "link" => Kind::HardLink,
        "fifo" => Kind::Fifo,
        "char" => Kind::CharDevice,
        "block" => Kind::BlockDevice,
        _ => Kind::File,
    };
    let xattrs = entry.pax.iter().filter_map(|(key, value)| {
        Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone()))
    });
    Member {
        path: entry.path.clone(),
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: (entry.mtime.seconds, entry.mtime.nanos),
        link: entry.link.clone(),
        device: entry.device,
        xattrs: xattrs.collect(),
        body: item.body.clone(),
        is_sparse: false,
    }
}

fn artifact(subject: &Value, text: &str, folder: &Path) -> Result<Value> {
    let about = json!({
        "mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"],
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.note",
        "config": put(folder, "application/vnd.oci.empty.v1+json", b"{}")?,
        "layers": [put(folder, "text/plain", text.as_bytes())?],
        "subject": about,
    });
    let mut listed = put(folder, MANIFEST, manifest.to_string().as_bytes())?;
    listed["artifactType"] = json!("application/vnd.example.note");
    Ok(listed)
}

fn compress(how: &str, tar: Vec<u8>) -> Result<(&'static str, Vec<u8>)> {
    let wrong = |error: std::io::Error| Failure::new(error.to_string());
    match how {
        "gzip" => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&tar).map_err(wrong)?;
            Ok(("+gzip", encoder.finish().map_err(wrong)?))
        }
        "zstd" => Ok(("+zstd", zstd::encode_all(&tar[..], 1).map_err(wrong)?)),
        _ => Ok(("", tar)),
    }
}

fn put(folder: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let hex = sha256_hex(bytes);
    write_file(&folder.join("blobs/sha256").join(&hex), bytes)?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() }))
}

fn entry(random: &mut Random, form: Form, at: usize, shared: &mut Vec<Stored>) -> Entry {
    let is_index = form == Form::Layout && random.percent(20);
    let platforms: &[&[&str]] = &[
        &["amd64"],
        &["arm64"],
        &["arm", "v7"],
        &["386"],
        &["ppc64le"],
    ];
    let count = if is_index { 1 + random.below(3) } else { 1 };
    let first = random.below(platforms.len());
    let images = (0..count).map(|more| {
        let platform = platforms[(first + more) % platforms.len()];
        image(random, form, platform, shared)
    });
    let images: Vec<Image> = images.collect();
    let repository = random.pick(&[
        "example.com/app",
        "example.com/team/x_y",
        "docker.io/library/busybox",
    ]);
    let tag = random.pick(&["1", "v2.0-rc.1", "latest"]);
    let artifacts = match form == Form::Layout && random.percent(15) {
        true => (0..=random.below(2))
            .map(|n| format!("note {at}.{n}"))
            .collect(),
        false => Vec::new(),
    };
    Entry {
        name: format!("{repository}{at}:{tag}"),
        attested: is_index && random.percent(30),
        images,
        is_index,
        artifacts,
    }
}

fn aci(random: &mut Random, at: usize, all: &[Aci]) -> Aci {
    let dependencies: Vec<usize> = (0..all.len()).filter(|_| random.percent(30)).collect();
    // Readers that render ACIs one by one, and those that merge their members, differ where a link
    // of one ACI is a directory of another.
    let layer = loop {
        let mut layer = random::aci_layer(random.next(), "{}");
        layer.retain(|item| at + 1 == 4 || item.entry.link.is_empty());
        layer.make_sparse(random);
        if layer.items().count() > 1 {
            break layer;
        }
    };
    let mut aci = Aci {
        name: format!(
            "{}{at}",
            random.pick(&["example.com/aci", "example.com/team/a-b"])
        ),
        version: random.pick(&["1.0.0", "2", "1.0-rc", ""]).to_owned(),
        manifest: Map::new(),
        layer,
        ending: random.below(4),
        is_packed: random.percent(60),
        pins: random.percent(40),
        dependencies,
        whitelist: Vec::new(),
    };
    if random.percent(25)
        && let Ok(tree) = aci.rendered(all)
    {
        let paths = tree.paths().filter(|path| !path.is_empty());
        let text = paths.filter_map(|path| String::from_utf8(path.clone()).ok());
        let text: Vec<String> = text.map(|path| format!("/{path}")).collect();
        aci.whitelist = text.into_iter().filter(|_| random.percent(60)).collect();
    }
    for (key, value) in [
        (
            "annotations",
            json!([
                { "name": "created", "value": "2020-01-02T03:04:05Z" },
                { "name": "authors", "value": "A" },
                { "name": "homepage", "value": "https://x.example" },
                { "name": "example.com/note", "value": "n\n\u{e9}" },
            ]),
        ),
        ("vendor", json!({ "x": [1, null] })),
    ] {
        if random.percent(30) {
            aci.manifest.insert(key.into(), value);
        }
    }
    if random.percent(80) {
        let app = app(random);
        aci.manifest.insert("app".into(), app);
    }
    aci
}

fn app(random: &mut Random) -> Value {
    let mut app = json!({
        "exec": random.pick(&[json!(["/bin/app"]), json!(["/bin/app", "-v", ""])]),
        "user": random.pick(&["0", "1000", "www"]),
        "group": random.pick(&["0", "5"]),
    });
    let fields = [
        ("workingDirectory", json!("/srv")),
        (
            "environment",
            json!([{ "name": "B", "value": "2" }, { "name": "A", "value": "" }]),
        ),
        ("supplementaryGIDs", json!([10, 20])),
        (
            "eventHandlers",
            json!([{ "name": "pre-start", "exec": ["/x"] }]),
        ),
        (
            "isolators",
            json!([{ "name": "resource/cpu", "value": { "limit": "1" } }]),
        ),
        (
            "mountPoints",
            random.pick(&[
                json!([{ "name": "volume-data", "path": "/data" }]),
                json!([{ "name": "work", "path": "/w", "readOnly": true }]),
            ]),
        ),
        (
            "ports",
            random.pick(&[
                json!([{ "name": "80-tcp", "protocol": "tcp", "port": 80 }]),
                json!([{ "name": "http", "protocol": "tcp", "port": 80 }]),
            ]),
        ),
        ("userAnnotations", json!({ "note": "n" })),
        ("userLabels", json!({ "team": "t" })),
    ];
    for (key, value) in fields {
        if random.percent(25) {
            app[key] = value;
        }
    }
    app
}

fn image(random: &mut Random, form: Form, platform: &[&str], shared: &mut Vec<Stored>) -> Image {
    let mut layers = Vec::new();
    // A base that several images share, as in a real store.
    if let Some(base) = shared.first()
        && random.percent(30)
    {
        layers.push(base.clone());
    } else {
        for mut layer in random::image(random.next()) {
            layer.make_sparse(random);
            let compression = match form {
                Form::Layout => random.pick(&["none", "gzip", "zstd", "gzip"]),
                Form::DockerArchive | Form::Acis => "none",
            };
            layers.push(Stored { layer, compression });
        }
        shared.extend(layers.first().cloned());
    }
    let mut config = Map::new();
    config.insert("architecture".into(), json!(platform[0]));
    config.insert("os".into(), json!("linux"));
    if let Some(variant) = platform.get(1) {
        config.insert("variant".into(), json!(variant));
    }
    let run = run_config(random);
    for (key, value) in [
        ("created", json!("2021-02-03T04:05:06.789Z")),
        ("author", json!("Someone <someone@example.com>")),
        ("config", run),
        ("comment", json!("a comment")),
        ("os.version", json!("10.0")),
        ("os.features", json!(["f"])),
        ("vendor.extension", json!({ "x": [1, "2", null] })),
    ] {
        let chance = match key {
            "config" => 90,
            "created" | "author" => 60,
            _ => 10,
        };
        if random.percent(chance) {
            config.insert(key.into(), value);
        }
    }
    let mut annotations = Map::new();
    if form == Form::Layout {
        for (key, value) in [
            ("org.example.note", "n"),
            ("org.opencontainers.image.title", "title"),
            ("org.opencontainers.image.url", "https://example.com/x"),
            ("Upper", "u\u{e9}\n"),
        ] {
            if random.percent(20) {
                annotations.insert(key.into(), json!(value));
            }
        }
    }
    Image {
        config,
        history: random.percent(50),
        annotations,
        layers,
    }
}

fn run_config(random: &mut Random) -> Value {
    let mut run = Map::new();
    let fields = [
        (
            "User",
            vec![
                json!("1000"),
                json!("1000:1001"),
                json!("www"),
                json!("root:root"),
                json!("0"),
            ],
        ),
        (
            "ExposedPorts",
            vec![json!({"80/tcp": {}}), json!({"53/udp": {}, "8080/tcp": {}})],
        ),
        (
            "Env",
            vec![
                json!(["PATH=/bin:/usr/bin"]),
                json!(["A=1", "B=x=y z", "EMPTY="]),
                json!(["A=1", "A=2"]),
                json!(["UNICODE=\u{e9}\u{4e2d}", "NL=a\nb"]),
            ],
        ),
        (
            "Entrypoint",
            vec![
                json!(["/bin/app"]),
                json!(["/bin/app", "-v", ""]),
                json!(["/bin/sh", "-c"]),
            ],
        ),
        (
            "Cmd",
            vec![
                json!(["--help"]),
                json!(["/bin/sh"]),
                json!(["/bin/echo", "a b", "\u{e9}"]),
            ],
        ),
        (
            "Volumes",
            vec![json!({"/data": {}}), json!({"/var/lib/a_b": {}, "/d": {}})],
        ),
        (
            "WorkingDir",
            vec![json!("/srv"), json!("/"), json!("/a/../b")],
        ),
        (
            "Labels",
            vec![
                json!({"a": "b"}),
                json!({"com.example.x": "", "B": "\u{e9}"}),
            ],
        ),
        ("StopSignal", vec![json!("SIGTERM"), json!("9")]),
        (
            "Healthcheck",
            vec![json!({"Test": ["CMD", "/t"], "Interval": 1_000_000_000_u64})],
        ),
        ("Shell", vec![json!(["/bin/bash", "-c"])]),
        ("OnBuild", vec![json!(["RUN x"])]),
        ("ArgsEscaped", vec![json!(true)]),
        ("Memory", vec![json!(1024)]),
        ("Unknown.Member", vec![json!([1, {"a": null}])]),
    ];
    for (key, values) in fields {
        let chance = match key {
            "Cmd" | "Entrypoint" | "Env" | "Labels" | "User" => 50,
            _ => 15,
        };
        if random.percent(chance) {
            run.insert(key.into(), random.pick(&values));
        }
    }
    Value::Object(run)
}
