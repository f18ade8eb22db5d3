//! Content addressing: every digest algorithm for every document and blob, content that a descriptor
//! embeds, and the links of a registry's storage (robustness K01 to K05).

use std::{fs, path::PathBuf};

use imgconv_testkit::{build, recipe, registry::Registry, sha256_hex, sha512_hex};
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Standard base64 of bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63] as char;
            text.push(if i > group.len() { '=' } else { digit });
        }
    }
    text
}

fn digest(bytes: &[u8], algorithm: &str) -> String {
    match algorithm {
        "sha256" => format!("sha256:{}", sha256_hex(bytes)),
        "sha512" => format!("sha512:{}", sha512_hex(bytes)),
        other => panic!("{other} is not computed"),
    }
}

/// A layout that is made by hand.
struct Layout<'a> {
    sandbox: &'a Sandbox,
    folder: &'a str,
    listed: Vec<Value>,
}

impl<'a> Layout<'a> {
    fn new(sandbox: &'a Sandbox, folder: &'a str) -> Self {
        fs::create_dir_all(sandbox.path(folder).join("blobs/sha256")).unwrap();
        let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write(sandbox.path(folder).join("oci-layout"), marker).unwrap();
        Self {
            sandbox,
            folder,
            listed: Vec::new(),
        }
    }

    fn put(&self, bytes: &[u8], kind: &str, algorithm: &str) -> Value {
        let digest = digest(bytes, algorithm);
        let path = blob(self.sandbox, self.folder, &digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// Takes a blob away again, and returns its descriptor with the content in it.
    fn embed(&self, mut child: Value) -> Value {
        let path = blob(self.sandbox, self.folder, text(&child["digest"]));
        child["data"] = base64(&fs::read(&path).unwrap()).into();
        fs::remove_file(path).unwrap();
        child
    }

    /// Stores an image of one layer; the algorithms are those of manifest, config, layer, diff ID.
    fn image(&self, algorithms: [&str; 4]) -> Value {
        let [manifest, config, layer, diff_id] = algorithms;
        let tar = layer_tar();
        let document = json!({
            "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/bin/x"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&tar, diff_id)] },
        });
        let config = self.put(document.to_string().as_bytes(), CONFIG, config);
        let layer = self.put(&tar, LAYER, layer);
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
        });
        self.put(document.to_string().as_bytes(), MANIFEST, manifest)
    }

    /// Stores an artifact with one file.
    fn artifact(&self, algorithm: &str, more: Value) -> Value {
        let mut document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "a/b",
            "config": self.put(b"{}", EMPTY, "sha256"),
            "layers": [self.put(b"hello", "text/plain", "sha256")],
        });
        for (key, value) in more.as_object().unwrap() {
            document[key] = value.clone();
        }
        self.put(document.to_string().as_bytes(), MANIFEST, algorithm)
    }

    fn index(&self, children: Value, algorithm: &str) -> Value {
        let document = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
        self.put(document.to_string().as_bytes(), INDEX, algorithm)
    }

    fn list(&mut self, mut child: Value, name: &str) -> &mut Self {
        if !name.is_empty() {
            child["annotations"][REF_NAME] = name.into();
        }
        self.listed.push(child);
        self
    }

    fn write(&self) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.listed });
        let path = self.sandbox.path(self.folder).join("index.json");
        fs::write(path, index.to_string()).unwrap();
    }
}

/// The tar of a layer with one file.
fn layer_tar() -> Vec<u8> {
    build::tar_bytes(&recipe::parse("dir etc\nfile etc/a \"a\"", "layer").unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn blob(sandbox: &Sandbox, layout: &str, digest: &str) -> PathBuf {
    let path = format!("blobs/{}", digest.replace(':', "/"));
    sandbox.path(layout).join(path)
}

fn entries(sandbox: &Sandbox, layout: &str) -> Vec<Value> {
    let bytes = fs::read(sandbox.path(layout).join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

/// Reads the document of a descriptor; its bytes have to fit its digest.
fn document(sandbox: &Sandbox, layout: &str, child: &Value) -> Value {
    let name = text(&child["digest"]);
    let bytes = fs::read(blob(sandbox, layout, name)).unwrap_or_else(|_| panic!("no {name}"));
    let (algorithm, _) = name.split_once(':').unwrap();
    assert_eq!(digest(&bytes, algorithm), name);
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

/// Demands that everything an image refers to is there; returns the digests of manifest, config and
/// layers.
fn whole(sandbox: &Sandbox, layout: &str, child: &Value) -> Vec<String> {
    let manifest = document(sandbox, layout, child);
    let mut all = vec![text(&child["digest"]).to_owned()];
    let layers = manifest["layers"].as_array().unwrap();
    for below in std::iter::once(&manifest["config"]).chain(layers) {
        document(sandbox, layout, below);
        all.push(text(&below["digest"]).to_owned());
    }
    all
}

fn losses(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let said = sandbox.ok(&[args, &["--json"]].concat());
    let said: Value = serde_json::from_str(&said).unwrap();
    let images = said["images"].as_array().unwrap().iter();
    let losses = images.flat_map(|image| image["losses"].as_array().unwrap());
    losses.map(|loss| text(&loss["field"]).to_owned()).collect()
}

// robustness K01
#[test]
fn k01_every_document_and_blob_keeps_its_algorithm() {
    let sandbox = Sandbox::new();
    for bits in 0..16 {
        let of = |bit: usize| ["sha256", "sha512"][bits >> bit & 1];
        let algorithms = [of(0), of(1), of(2), of(3)];
        let (folder, out) = (format!("in{bits}"), format!("out{bits}"));
        let mut layout = Layout::new(&sandbox, &folder);
        let image = layout.image(algorithms);
        layout.list(image.clone(), "example.com/s:1").write();
        let target = format!("oci:{out}");
        sandbox.ok(&[
            "convert",
            &folder,
            &target,
            "--strict",
            "--preserve-digests",
        ]);
        let copied = entries(&sandbox, &out);
        let before = whole(&sandbox, &folder, &image);
        assert_eq!(whole(&sandbox, &out, &copied[0]), before, "{algorithms:?}");
        sandbox.ok(&["verify", &target]);
    }
    // Through an archive; and of a manifest that is written anew the config keeps its name.
    let before = whole(&sandbox, "in6", &entries(&sandbox, "in6")[0]);
    sandbox.ok(&["convert", "in6", "oci-archive:a.tar", "--strict"]);
    sandbox.ok(&["convert", "a.tar", "oci:back", "--platform", "linux/amd64"]);
    let copied = entries(&sandbox, "back");
    assert_eq!(whole(&sandbox, "back", &copied[0]), before);
    sandbox.ok(&["recompress", "in6", "oci:zstd", "--compression", "zstd"]);
    let copied = entries(&sandbox, "zstd");
    let after = whole(&sandbox, "zstd", &copied[0]);
    assert_eq!(after[1], before[1]);
    assert!(after[1].starts_with("sha512:") && after[2].starts_with("sha256:"));
    sandbox.ok(&["convert", "in7", "oci+dir:d"]);
    sandbox.ok(&["verify", "dir:d"]);
}

// robustness K02
#[test]
fn k02_a_root_keeps_the_name_that_it_was_read_under() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let image = layout.image(["sha512", "sha256", "sha256", "sha256"]);
    let nested = layout.index(json!([layout.index(json!([image]), "sha512")]), "sha512");
    let artifact = layout.artifact("sha512", json!({ "subject": image }));
    layout
        .list(image.clone(), "example.com/s:1")
        .list(nested, "example.com/n:1")
        .list(artifact, "")
        .write();
    sandbox.ok(&["convert", "in", "oci:out", "--strict", "--preserve-digests"]);
    let digests = |layout: &str| -> Vec<String> {
        let list = entries(&sandbox, layout);
        list.iter().map(|one| text(&one["digest"]).into()).collect()
    };
    assert_eq!(digests("out"), digests("in"));
    assert!(digests("in").iter().all(|one| one.starts_with("sha512:")));
    sandbox.ok(&["verify", "oci:out"]);
    let name = text(&image["digest"]);
    let said = sandbox.ok(&["inspect", "--json", &format!("oci:out:@{name}")]);
    assert!(said.contains(name));
    // No directory of plain files says which algorithm names its manifest.
    let args = ["convert", "in:example.com/s:1", "oci+dir:d"];
    sandbox.fails(&[&args[..], &["--preserve-digests"]].concat(), 1, &[name]);
    assert!(losses(&sandbox, &args).contains(&"digest".to_owned()));
}

// robustness K02
#[test]
fn k02_what_is_about_another_name_of_an_image_goes_with_it() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let image = layout.image(["sha256"; 4]);
    let bytes = fs::read(blob(&sandbox, "in", text(&image["digest"]))).unwrap();
    let mut subject = image.clone();
    subject["digest"] = digest(&bytes, "sha512").into();
    let referrer = layout.artifact("sha256", json!({ "subject": subject }));
    let tagged = layout.artifact("sha256", json!({}));
    let tag = format!("sha512-{}", &sha512_hex(&bytes)[..64]);
    layout
        .list(image, "example.com/s:1")
        .list(referrer, "")
        .list(tagged, &tag)
        .write();
    sandbox.ok(&["convert", "in", "oci:same", "--strict"]);
    assert_eq!(entries(&sandbox, "same").len(), 3);
    let args = ["recompress", "in", "oci:new", "--compression", "zstd"];
    let lost = losses(&sandbox, &args);
    assert_eq!(entries(&sandbox, "new").len(), 1);
    assert!(lost.contains(&format!("tag {tag}")), "{lost:?}");
    assert!(lost.iter().any(|field| field.starts_with("artifact a/b")));
}

// robustness K02
#[test]
fn k02_a_registry_keeps_the_name_or_tells_that_it_does_not() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let image = layout.image(["sha512", "sha256", "sha256", "sha256"]);
    layout.list(image.clone(), "example.com/s:1").write();
    let name = text(&image["digest"]);
    let registry = Registry::start();
    let target = registry.locator("a/b:1");
    assert_eq!(losses(&sandbox, &["convert", "in", &target]), [""; 0]);
    let pinned = registry.locator(&format!("a/b@{name}"));
    sandbox.ok(&["convert", &pinned, "oci:back"]);
    assert_eq!(text(&entries(&sandbox, "back")[0]["digest"]), name);
    // Older registries compute the usual digest only.
    registry.stored().usual_digests = true;
    let target = registry.locator("a/c:1");
    let args = ["convert", "in", &*target];
    sandbox.fails(&[&args[..], &["--strict"]].concat(), 3, &["digest", name]);
    let keep = [&args[..], &["--preserve-digests"]].concat();
    sandbox.fails(&keep, 1, &[name]);
    assert_eq!(losses(&sandbox, &args), ["digest"]);
    sandbox.ok(&["verify", &target]);
}

/// A registry's storage that is made by hand.
struct Storage<'a>(&'a Sandbox);

impl Storage<'_> {
    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path("reg/docker/registry/v2").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let hex = sha256_hex(bytes);
        self.put(&format!("blobs/sha256/{}/{hex}/data", &hex[..2]), bytes);
        format!("sha256:{hex}")
    }

    fn link(&self, repository: &str, path: &str, stored: &str) {
        let path = format!("repositories/{repository}/{path}/link");
        self.put(&path, stored.as_bytes());
    }

    /// Stores a manifest; `algorithm` is that of the name that its tag has.
    fn manifest(&self, repository: &str, bytes: &[u8], algorithm: &str) -> String {
        let stored = self.blob(bytes);
        let name = digest(bytes, algorithm);
        let path = format!("_manifests/revisions/{}", name.replace(':', "/"));
        self.link(repository, &path, &stored);
        self.link(repository, "_manifests/tags/1/current", &name);
        name
    }
}

// robustness K03
#[test]
fn k03_a_storage_is_asked_by_the_links_of_every_algorithm() {
    let sandbox = Sandbox::new();
    let storage = Storage(&sandbox);
    let push = |repository: &str, bytes: &[u8], kind: &str| {
        let name = digest(bytes, "sha512");
        let path = format!("_layers/{}", name.replace(':', "/"));
        storage.link(repository, &path, &storage.blob(bytes));
        json!({ "mediaType": kind, "digest": name, "size": bytes.len() })
    };
    let tar = layer_tar();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [digest(&tar, "sha256")] },
    });
    let mut names = Vec::new();
    for (repository, algorithm) in [("p/a", "sha256"), ("p/b", "sha512")] {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "annotations": { "in": repository },
            "config": push(repository, config.to_string().as_bytes(), CONFIG),
            "layers": [push(repository, &tar, LAYER)],
        });
        let bytes = manifest.to_string();
        names.push(storage.manifest(repository, bytes.as_bytes(), algorithm));
    }
    let said = sandbox.run(&["verify", "registry-storage:reg"]);
    let warnings = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && warnings.is_empty(), "{warnings}");
    sandbox.ok(&["convert", "registry-storage:reg", "oci:out", "--strict"]);
    let listed = entries(&sandbox, "out");
    let digests: Vec<&str> = listed.iter().map(|one| text(&one["digest"])).collect();
    assert_eq!(digests, names);
    for child in &listed {
        whole(&sandbox, "out", child);
    }
    // A link that leads to another blob is not another name of the layer.
    let path = format!("_layers/sha512/{}", sha512_hex(&tar));
    for repository in ["p/a", "p/b"] {
        storage.link(repository, &path, &storage.blob(b"something else"));
    }
    let args = ["convert", "registry-storage:reg:p/a:1", "oci:bad"];
    sandbox.fails(&args, 4, &["error[mismatch]", &sha512_hex(&tar)]);
}

// robustness K04
#[test]
fn k04_a_tar_sum_means_what_the_link_of_its_repository_says() {
    let sandbox = Sandbox::new();
    let storage = Storage(&sandbox);
    let sums = ["tarsum.v1+sha256:0a", "tarsum+sha256:0b"];
    let paths = ["tarsum/v1/sha256/0a", "tarsum/v0/sha256/0b"];
    let ids = ["1".repeat(64), "2".repeat(64)];
    let step = |i: usize| {
        let mut step = json!({ "id": ids[i], "architecture": "amd64", "os": "linux" });
        if i > 0 {
            step["parent"] = ids[i - 1].as_str().into();
        }
        json!({ "v1Compatibility": step.to_string() })
    };
    let manifest = json!({
        "schemaVersion": 1, "name": "js/npm", "tag": "1", "architecture": "amd64",
        "fsLayers": [{ "blobSum": sums[1] }, { "blobSum": sums[0] }],
        "history": [step(1), step(0)],
    });
    let manifest = manifest.to_string();
    let tar = layer_tar();
    let other = [&tar[..], &[0; 512]].concat();
    // The same manifest in three repositories: one tar sum, and other stored bytes or none.
    for (repository, layers) in [("js/a", [&tar, &tar]), ("js/b", [&tar, &other])] {
        storage.manifest(repository, manifest.as_bytes(), "sha256");
        for (path, layer) in paths.iter().zip(layers) {
            storage.link(repository, &format!("_layers/{path}"), &storage.blob(layer));
        }
    }
    storage.manifest("js/bare", manifest.as_bytes(), "sha256");
    let layers = |repository: &str| -> Vec<String> {
        let source = format!("registry-storage:reg:{repository}:1");
        sandbox.ok(&["verify", &source]);
        let out = repository.replace('/', "-");
        sandbox.ok(&["convert", &source, &format!("oci:{out}")]);
        let child = &entries(&sandbox, &out)[0];
        whole(&sandbox, &out, child);
        let manifest = document(&sandbox, &out, child);
        let config = document(&sandbox, &out, &manifest["config"]);
        let ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter();
        ids.map(|id| text(id).to_owned()).collect()
    };
    let [a, b] = [&tar, &other].map(|tar| digest(tar, "sha256"));
    assert_eq!(layers("js/a"), [a.clone(), a.clone()]);
    assert_eq!(layers("js/b"), [a, b]);
    let bare = ["convert", "registry-storage:reg:js/bare:1", "oci:bare"];
    sandbox.fails(&bare, 1, &["error[unsupported]", sums[0], "_layers/tarsum"]);
    // All at once each repository has its own.
    let said = sandbox.run(&["ls", "registry-storage:reg"]);
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    // The sum is not written again.
    let copy = [
        "convert",
        "registry-storage:reg:js/a:1",
        "docker-v2s1+dir:d",
    ];
    sandbox.fails(&[&copy[..], &["--strict"]].concat(), 3, &["fsLayers"]);
}

// robustness K05
#[test]
fn k05_what_a_descriptor_embeds_stands_in_for_the_blob() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let usual = ["sha256"; 4];
    let child = layout.embed(layout.image(["sha512", "sha256", "sha256", "sha256"]));
    let index = layout.index(json!([child]), "sha256");
    let root = layout.embed(layout.image(usual));
    let empty = layout.embed(layout.put(b"{}", EMPTY, "sha256"));
    let file = layout.embed(layout.put(b"only here", "text/plain", "sha512"));
    let artifact = layout.artifact("sha256", json!({ "config": empty, "layers": [file] }));
    fs::remove_file(blob(&sandbox, "in", text(&empty["digest"]))).unwrap();
    layout
        .list(index, "example.com/i:1")
        .list(root, "example.com/r:1")
        .list(artifact, "example.com/a:1")
        .write();
    let before = fs::read_dir(sandbox.path("in/blobs/sha256"))
        .unwrap()
        .count();
    sandbox.ok(&["verify", "oci:in"]);
    sandbox.ok(&["ls", "oci:in"]);
    // The artifact's file of before is the only one that nothing refers to.
    sandbox.ok(&["layout", "gc", "in", "--min-age", "0"]);
    let after = fs::read_dir(sandbox.path("in/blobs/sha256"))
        .unwrap()
        .count();
    assert_eq!(after, before - 1);
    sandbox.ok(&["convert", "in", "oci:out", "--strict", "--preserve-digests"]);
    let listed = entries(&sandbox, "out");
    let index = document(&sandbox, "out", &listed[0]);
    whole(&sandbox, "out", &index["manifests"][0]);
    whole(&sandbox, "out", &listed[1]);
    whole(&sandbox, "out", &listed[2]);
    // The descriptor repeats the manifest, so nothing is lost where no descriptor is written.
    let args = ["convert", "in:example.com/r:1", "docker-archive:r.tar"];
    assert_eq!(losses(&sandbox, &args), [""; 0]);
}

// robustness K05
#[test]
fn k05_embedded_content_that_is_another_is_refused_wherever_it_stands() {
    let sandbox = Sandbox::new();
    let usual = ["sha256"; 4];
    let wrong = |mut child: Value| {
        child["data"] = base64(b"{}").into();
        child
    };
    let place = |folder: &str, list: &dyn Fn(&mut Layout<'_>, Value)| {
        let mut layout = Layout::new(&sandbox, folder);
        let image = layout.image(usual);
        list(&mut layout, image);
        layout.write();
    };
    place("root", &|layout, image| {
        layout.list(image.clone(), "example.com/a:1");
        layout.list(wrong(image), "example.com/b:1");
    });
    place("child", &|layout, image| {
        let index = layout.index(json!([wrong(image)]), "sha256");
        layout.list(index, "example.com/b:1");
    });
    place("subject", &|layout, image| {
        let artifact = layout.artifact("sha256", json!({ "subject": wrong(image) }));
        layout.list(artifact, "example.com/b:1");
    });
    place("text", &|layout, image| {
        layout.list(image.clone(), "example.com/a:1");
        let mut bad = image;
        bad["data"] = "%".into();
        layout.list(bad, "example.com/b:1");
    });
    for folder in ["root", "child", "subject", "text"] {
        let source = format!("{folder}:example.com/b:1");
        let target = format!("oci:out-{folder}");
        let exit = if folder == "text" { 1 } else { 4 };
        sandbox.fails(&["convert", &source, &target], exit, &["data"]);
        let verdict = sandbox.run(&["verify", folder]);
        assert_eq!(verdict.status.code(), Some(4), "{folder}");
        sandbox.fails(&["layout", "gc", folder, "--min-age", "0"], exit, &["data"]);
        let tag = [
            "layout",
            "tag",
            folder,
            "example.com/b:1",
            "example.com/c:1",
        ];
        if ["root", "text"].contains(&folder) {
            sandbox.fails(&tag, exit, &["data"]);
            // Only that entry is wrong.
            let good = format!("{folder}:example.com/a:1");
            sandbox.ok(&["convert", &good, &target]);
        }
    }
}

// robustness K05
#[test]
fn k05_a_subject_that_is_only_embedded_need_not_be_whole() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let subject = layout.embed(layout.image(["sha256"; 4]));
    let artifact = layout.artifact("sha256", json!({ "subject": subject }));
    layout.list(artifact, "example.com/a:1").write();
    // The blobs that it refers to exist, and stay.
    let before = fs::read_dir(sandbox.path("in/blobs/sha256"))
        .unwrap()
        .count();
    sandbox.ok(&["layout", "gc", "in", "--min-age", "0"]);
    let after = fs::read_dir(sandbox.path("in/blobs/sha256"))
        .unwrap()
        .count();
    assert_eq!(after, before);
    sandbox.ok(&["convert", "in", "oci:out", "--strict"]);
    sandbox.ok(&["verify", "oci:out"]);
    sandbox.ok(&["layout", "gc", "out", "--min-age", "0"]);
}
