//! A copy that changes nothing keeps every byte, also of incomplete and unknown documents; and a requested
//! change is made or refused (sections K.2 and K.4 of the robustness document).

use std::{collections::BTreeSet, fs};

use crate::sandbox::Sandbox;
use imgconv_testkit::{registry::Registry, sha256_hex};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// A layout that is written document by document.
struct Layout<'a> {
    sandbox: &'a Sandbox,
    folder: &'a str,
    listed: Vec<Value>,
}

impl<'a> Layout<'a> {
    fn new(sandbox: &'a Sandbox, folder: &'a str) -> Self {
        fs::create_dir_all(sandbox.path(&format!("{folder}/blobs/sha256"))).unwrap();
        let marker = sandbox.path(&format!("{folder}/oci-layout"));
        fs::write(marker, r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self {
            sandbox,
            folder,
            listed: Vec::new(),
        }
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let hex = sha256_hex(bytes);
        let path = format!("{}/blobs/sha256/{hex}", self.folder);
        fs::write(self.sandbox.path(&path), bytes).unwrap();
        json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    fn document(&self, kind: &str, value: &Value) -> Value {
        self.blob(kind, value.to_string().as_bytes())
    }

    /// An image of one layer without entries; `change` edits its manifest.
    fn image(&self, architecture: &str, change: impl FnOnce(&mut Value)) -> Value {
        let layer = [0; 1024];
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256_hex(&layer))] },
        });
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.document(CONFIG, &config),
            "layers": [self.blob(LAYER, &layer)],
        });
        change(&mut manifest);
        self.document(MANIFEST, &manifest)
    }

    /// The same as Docker writes it.
    fn docker_image(&self, architecture: &str) -> Value {
        let mut bytes = Value::Null;
        self.image(architecture, |manifest| {
            manifest["mediaType"] = DOCKER_MANIFEST.into();
            manifest["config"]["mediaType"] = DOCKER_CONFIG.into();
            manifest["layers"][0]["mediaType"] = DOCKER_LAYER.into();
            bytes = manifest.clone();
        });
        self.document(DOCKER_MANIFEST, &bytes)
    }

    fn index(&self, kind: &str, children: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": children });
        self.document(kind, &index)
    }

    /// Lists a document, with a name if it gets one.
    fn list(&mut self, mut child: Value, name: &str) {
        if !name.is_empty() {
            child["annotations"]["org.opencontainers.image.ref.name"] = name.into();
        }
        self.listed.push(child);
    }

    fn write(self) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": self.listed });
        let path = self.sandbox.path(&format!("{}/index.json", self.folder));
        fs::write(path, index.to_string()).unwrap();
    }

    /// Writes a document and all blobs as `dir:` has them.
    fn directory(&self, root: &Value, folder: &str) {
        let to = self.sandbox.path(folder);
        fs::create_dir(&to).unwrap();
        for hex in blobs(self.sandbox, self.folder) {
            let from = format!("{}/blobs/sha256/{hex}", self.folder);
            fs::copy(self.sandbox.path(&from), to.join(&hex)).unwrap();
        }
        fs::rename(to.join(hex(root)), to.join("manifest.json")).unwrap();
    }
}

fn hex(child: &Value) -> String {
    child["digest"].as_str().unwrap().replace("sha256:", "")
}

fn blobs(sandbox: &Sandbox, folder: &str) -> BTreeSet<String> {
    let found = fs::read_dir(sandbox.path(&format!("{folder}/blobs/sha256"))).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    found.map(|it| name(it).into_string().unwrap()).collect()
}

fn listed(sandbox: &Sandbox, folder: &str) -> Vec<Value> {
    let bytes = fs::read(sandbox.path(&format!("{folder}/index.json"))).unwrap();
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

fn digests(sandbox: &Sandbox, folder: &str) -> Vec<String> {
    listed(sandbox, folder).iter().map(hex).collect()
}

fn read(sandbox: &Sandbox, path: &str) -> Value {
    serde_json::from_slice(&fs::read(sandbox.path(path)).unwrap()).unwrap()
}

fn stored(sandbox: &Sandbox, folder: &str, child: &Value) -> Value {
    read(sandbox, &format!("{folder}/blobs/sha256/{}", hex(child)))
}

/// Copies a layout in several ways, and demands that each has the same documents and all blobs.
fn copied(sandbox: &Sandbox, folder: &str, what: &str) {
    let source = format!("oci:{folder}");
    for options in [&[][..], &["--preserve-digests"]] {
        sandbox.ok(&[&["convert", &source, "oci:copy"], options].concat());
        assert_eq!(digests(sandbox, "copy"), digests(sandbox, folder), "{what}");
        let (all, there) = (blobs(sandbox, folder), blobs(sandbox, "copy"));
        assert!(all.is_subset(&there), "{what}: {all:?}, {there:?}");
        fs::remove_dir_all(sandbox.path("copy")).unwrap();
    }
}

/// The losses of a run.
fn losses(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let report: Value = serde_json::from_str(&sandbox.ok(&[args, &["--json"]].concat())).unwrap();
    let images = report["images"].as_array().unwrap().iter();
    let lost = images.flat_map(|image| image["losses"].as_array().unwrap());
    lost.map(|loss| loss["field"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn k06_an_index_whose_entries_have_no_platform_keeps_its_bytes() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let (mut null, absent) = (layout.image("arm64", |_| {}), layout.image("amd64", |_| {}));
    null["platform"] = Value::Null;
    let index = layout.index(INDEX, &[absent.clone(), null]);
    layout.list(index, "example.com/a:1");
    layout.write();
    copied(&sandbox, "in", "no platforms");
    // The config tells the platform; the descriptor stays without one.
    let args = ["convert", "oci:in", "oci:one", "--platform", "linux/amd64"];
    sandbox.ok(&args);
    let one = stored(&sandbox, "one", &listed(&sandbox, "one")[0]);
    assert_eq!(one["manifests"], json!([absent]));
}

#[test]
fn k06_lists_and_mixed_indexes_keep_their_bytes() {
    let sandbox = Sandbox::new();
    let layout = Layout::new(&sandbox, "in");
    let (docker, other) = (layout.docker_image("amd64"), layout.docker_image("arm64"));
    let oci = layout.image("arm64", |_| {});
    let list = layout.index(DOCKER_LIST, &[docker.clone(), other.clone()]);
    let mixed = layout.index(INDEX, &[docker.clone(), oci]);
    let docker_only = layout.index(INDEX, &[docker, other]);
    for (i, root) in [list, mixed, docker_only].iter().enumerate() {
        let (from, to) = (format!("from{i}"), format!("to{i}"));
        layout.directory(root, &from);
        let (from, to) = (format!("dir:{from}"), format!("dir:{to}"));
        sandbox.ok(&["convert", &from, &to, "--preserve-digests", "--strict"]);
        let bytes = fs::read(sandbox.path(&format!("to{i}/manifest.json"))).unwrap();
        assert_eq!(sha256_hex(&bytes), hex(root), "{i}");
        // A named format holds for nested documents too.
        let asked = format!("docker-v2s2+dir:asked{i}");
        sandbox.ok(&["convert", &from, &asked]);
        let index = read(&sandbox, &format!("asked{i}/manifest.json"));
        assert_eq!(index["mediaType"], DOCKER_LIST);
        for child in index["manifests"].as_array().unwrap() {
            assert_eq!(child["mediaType"], DOCKER_MANIFEST);
        }
    }
}

#[test]
fn k07_a_manifest_without_layers_keeps_its_bytes() {
    for (what, layers) in [("absent", None), ("null", Some(Value::Null))] {
        let sandbox = Sandbox::new();
        let mut layout = Layout::new(&sandbox, "in");
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
        });
        let config = layout.document(CONFIG, &config);
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config });
        if let Some(layers) = layers {
            manifest["layers"] = layers;
        }
        let image = layout.document(MANIFEST, &manifest);
        layout.list(image, "example.com/a:1");
        layout.write();
        copied(&sandbox, "in", what);
        // A rewritten manifest has all required fields.
        sandbox.ok(&["squash", "oci:in", "oci:new"]);
        let new = stored(&sandbox, "new", &listed(&sandbox, "new")[0]);
        assert!(new["layers"].is_array(), "{new}");
    }
}

#[test]
fn k08_documents_of_an_unknown_type_are_copied_byte_for_byte() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let far = layout.blob("a/b", b"found by way of it");
    let thing = json!({ "mediaType": "x/y+json", "files": [far] });
    let mut image = layout.image("amd64", |_| {});
    image["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    // Larger than any document that is read.
    let large = layout.blob("application/octet-stream", &vec![b'x'; (4 << 20) + 1]);
    let children = [
        image,
        layout.blob("application/xml", b"<x/>"),
        layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", b"\x1f\x8b"),
        layout.document("application/vnd.example.thing.v1+json", &thing),
        layout.blob("application/octet-stream", b"no JSON"),
        large,
    ];
    let index = layout.index(INDEX, &children);
    layout.list(index, "example.com/a:1");
    let top = layout.blob("application/xml", b"<top/>");
    layout.list(top.clone(), "");
    layout.write();
    copied(&sandbox, "in", "unknown types");
    sandbox.ok(&["convert", "oci:in", "oci-archive:x.tar"]);
    for place in ["oci:in", "oci-archive:x.tar"] {
        let said = sandbox.ok(&["verify", place]);
        assert!(said.contains("7 checked, nothing wrong"), "{said}");
        assert!(
            sandbox
                .ok(&["ls", place])
                .contains("blob of type application/xml")
        );
    }
    sandbox.ok(&["migrate", "oci:in", "oci:moved"]);
    assert_eq!(digests(&sandbox, "moved"), digests(&sandbox, "in"));
    // Every format that can't hold the artifact reports it.
    let lost = losses(&sandbox, &["convert", "oci:in", "docker-archive:y.tar"]);
    let xml = format!(
        "blob of type application/xml {}",
        top["digest"].as_str().unwrap()
    );
    assert!(lost.contains(&xml), "{lost:?}");
    assert_eq!(
        lost.iter()
            .filter(|field| field.starts_with("blob of "))
            .count(),
        6
    );
    let registry = Registry::start();
    let pushed = registry.locator("a:1");
    let lost = losses(&sandbox, &["convert", "oci:in", &pushed]);
    assert_eq!(lost, [xml]);
    sandbox.ok(&["convert", &pushed, "oci:back"]);
    assert_eq!(digests(&sandbox, "back"), digests(&sandbox, "in")[..1]);
    sandbox.ok(&["verify", "oci:back"]);
}

#[test]
fn k09_a_config_that_is_none_makes_an_artifact() {
    let texts = [
        "{}",
        "[]",
        "null",
        "",
        "name: x\n",
        r#"{"rootfs":{}}"#,
        r#"{"name":"x"}"#,
    ];
    for text in texts {
        let sandbox = Sandbox::new();
        let mut layout = Layout::new(&sandbox, "in");
        let config = layout.blob(CONFIG, text.as_bytes());
        let artifact = layout.image("amd64", |manifest| manifest["config"] = config);
        let mut image = layout.image("amd64", |_| {});
        image["platform"] = json!({ "architecture": "amd64", "os": "linux" });
        let index = layout.index(INDEX, &[artifact.clone(), image]);
        layout.list(artifact, "example.com/alone:1");
        layout.list(index, "example.com/index:1");
        layout.write();
        copied(&sandbox, "in", text);
        let said = sandbox.ok(&["ls", "oci:in"]);
        assert!(said.contains("artifact without an image config"), "{said}");
        sandbox.ok(&["verify", "oci:in"]);
        let index = "oci:in:example.com/index:1";
        sandbox.ok(&[
            "convert",
            index,
            "docker-archive:x.tar",
            "--platform",
            "linux/amd64",
        ]);
        let alone = "oci:in:example.com/alone:1";
        let why = ["error[unsupported]", "artifact without an image config"];
        sandbox.fails(&["convert", alone, "docker-archive:y.tar"], 1, &why);
    }
    // A config that only went wrong is none of these.
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let config = layout.blob(CONFIG, br#"{"rootfs":{"type":"x","diff_ids":[]}}"#);
    let image = layout.image("amd64", |manifest| manifest["config"] = config);
    layout.list(image, "example.com/a:1");
    layout.write();
    sandbox.fails(
        &["convert", "oci:in", "oci:out"],
        1,
        &["bad-manifest", "rootfs.type"],
    );
}

#[test]
fn k10_members_that_are_null_or_empty_are_absent() {
    let registry = Registry::start();
    let cases = [
        ("subject", Value::Null),
        ("mediaType", json!("")),
        ("mediaType", Value::Null),
        ("artifactType", json!("")),
        ("artifactType", Value::Null),
        ("annotations", Value::Null),
        ("annotations", json!({})),
    ];
    for (i, (key, value)) in cases.into_iter().enumerate() {
        let sandbox = Sandbox::new();
        let what = format!("{key}: {value}");
        let mut layout = Layout::new(&sandbox, "in");
        let mut image = layout.image("amd64", |manifest| manifest[key] = value.clone());
        image["data"] = json!("");
        image["urls"] = Value::Null;
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [image] });
        let mut index = index;
        index[key] = value;
        let index = layout.document(INDEX, &index);
        layout.list(image, "example.com/a:1");
        layout.list(index, "example.com/b:1");
        let empty = layout.document(
            INDEX,
            &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": null }),
        );
        layout.list(empty, "example.com/c:1");
        layout.write();
        copied(&sandbox, "in", &what);
        for (name, position) in [("a", 0), ("b", 1), ("c", 2)] {
            let pushed = registry.locator(&format!("{name}{i}:1"));
            sandbox.ok(&["convert", &format!("oci:in:example.com/{name}:1"), &pushed]);
            sandbox.ok(&["convert", &pushed, &format!("oci:{name}")]);
            assert_eq!(
                digests(&sandbox, name)[0],
                digests(&sandbox, "in")[position],
                "{what}"
            );
        }
    }
}

#[test]
fn k19_the_format_that_is_asked_for_is_written_or_nothing() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let chart = layout.image("amd64", |manifest| {
        manifest["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into();
    });
    let encrypted = layout.image("amd64", |manifest| {
        manifest["layers"][0]["mediaType"] = format!("{LAYER}+encrypted").into();
    });
    let index = layout.index(INDEX, &[layout.image("amd64", |_| {}), chart.clone()]);
    layout.list(chart.clone(), "example.com/chart:1");
    layout.list(encrypted, "example.com/encrypted:1");
    layout.list(index, "example.com/index:1");
    layout.write();
    for format in ["docker-v2s2", "docker-v2s1"] {
        let destination = format!("{format}+dir:out");
        for (name, why) in [
            ("chart", "artifact application/vnd.cncf.helm"),
            ("encrypted", "encrypted"),
        ] {
            let source = format!("oci:in:example.com/{name}:1");
            let why = ["error[unsupported]", why, format];
            sandbox.fails(&["convert", &source, &destination], 1, &why);
        }
    }
    let args = [
        "convert",
        "oci:in:example.com/index:1",
        "docker-v2s2+dir:out",
    ];
    sandbox.fails(&[&args[..], &["--strict"]].concat(), 3, &["helm"]);
    let lost = losses(&sandbox, &args);
    let chart = chart["digest"].as_str().unwrap();
    assert!(
        lost.iter()
            .any(|field| field.contains("helm") && field.contains(chart)),
        "{lost:?}"
    );
    let list = read(&sandbox, "out/manifest.json");
    assert_eq!(list["mediaType"], DOCKER_LIST);
    assert_eq!(list["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(list["manifests"][0]["mediaType"], DOCKER_MANIFEST);
}

#[test]
fn k19_a_command_that_names_a_kind_writes_that_kind() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let image = layout.image("amd64", |_| {});
    layout.list(image, "example.com/a:1");
    layout.write();
    sandbox.ok(&["oci-to-docker", "in", "dir:docker"]);
    assert_eq!(
        read(&sandbox, "docker/manifest.json")["mediaType"],
        DOCKER_MANIFEST
    );
    sandbox.fails(
        &["oci-to-docker", "in", "oci+dir:x"],
        2,
        &["does not write oci", "docker-v2s2"],
    );
    let registry = Registry::start();
    let pushed = registry.locator("a:1");
    sandbox.ok(&["docker-to-oci", "dir:docker", &pushed]);
    sandbox.ok(&["convert", &pushed, "dir:again"]);
    assert_eq!(read(&sandbox, "again/manifest.json")["mediaType"], MANIFEST);
}

/// A layout of `cosign save`: an image, its signature, and an attestation.
fn saved(sandbox: &Sandbox) -> (String, String) {
    let mut layout = Layout::new(sandbox, "in");
    let image = layout.image("amd64", |_| {});
    let signed = json!({ "critical": { "image": { "docker-manifest-digest": image["digest"] } } });
    let signature = |kind: &str, text: &Value| {
        let layer = layout.document(kind, text);
        layout.image("", |manifest| manifest["layers"] = json!([layer]))
    };
    let signature_kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let (sigs, atts) = (
        signature(signature_kind, &signed),
        signature(
            "application/vnd.dsse.envelope.v1+json",
            &json!({ "payload": "e30=" }),
        ),
    );
    let digest = |child: &Value| child["digest"].as_str().unwrap().to_owned();
    let found = (digest(&sigs), digest(&atts));
    for (mut child, kind) in [(image, "image"), (sigs, "sigs"), (atts, "atts")] {
        child["annotations"]["kind"] = format!("dev.cosignproject.cosign/{kind}").into();
        layout.list(child, "");
    }
    layout.write();
    found
}

#[test]
fn k21_signatures_in_a_saved_layout_go_with_the_digest_that_they_are_about() {
    let sandbox = Sandbox::new();
    let (sigs, atts) = saved(&sandbox);
    copied(&sandbox, "in", "cosign save");
    sandbox.ok(&["convert", "oci:in", "oci:plain", "--strict"]);
    let fields = [
        format!("dev.cosignproject.cosign/atts {atts}"),
        format!("dev.cosignproject.cosign/sigs {sigs}"),
    ];
    for (i, args) in [
        &["recompress", "--compression", "zstd"][..],
        &["squash", "--compression", "gzip"],
        &["migrate", "--compression", "zstd"],
    ]
    .iter()
    .enumerate()
    {
        let out = format!("oci:out{i}");
        let args = [*args, &["oci:in", &out]].concat();
        if args[0] == "migrate" {
            sandbox.ok(&args);
        } else {
            sandbox.fails(&[&args[..], &["--strict"]].concat(), 3, &[&sigs, &atts]);
            assert_eq!(losses(&sandbox, &args), fields, "{args:?}");
        }
        assert_eq!(listed(&sandbox, &format!("out{i}")).len(), 1, "{args:?}");
    }
    // A platform that the source lacks is an error, whatever the referrers are.
    let args = ["convert", "oci:in", "oci:none", "--platform", "linux/s390x"];
    sandbox.fails(&args, 1, &["no image for linux/s390x"]);
}

#[test]
fn k21_the_subject_field_of_a_rewritten_subject_is_lost() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let about = layout.image("amd64", |_| {});
    let image = layout.image("arm64", |manifest| manifest["subject"] = about.clone());
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "subject": about,
        "manifests": [layout.image("s390x", |_| {})],
    });
    let index = layout.document(INDEX, &index);
    // Referrers are listed before their subjects.
    layout.list(image, "example.com/image:1");
    layout.list(index, "example.com/index:1");
    layout.list(about, "example.com/about:1");
    layout.write();
    copied(&sandbox, "in", "subjects");
    let args = ["recompress", "oci:in", "oci:out", "--compression", "zstd"];
    sandbox.fails(&[&args[..], &["--strict"]].concat(), 3, &["subject"]);
    assert_eq!(
        losses(&sandbox, &args),
        ["manifest.subject", "index.subject"]
    );
    for child in &listed(&sandbox, "out")[..2] {
        assert_eq!(stored(&sandbox, "out", child)["subject"], Value::Null);
    }
    sandbox.ok(&["verify", "oci:out"]);
}

#[test]
fn k21_the_subject_of_a_list_is_lost_with_its_image() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let image = layout.image("amd64", |_| {});
    layout.list(image.clone(), "example.com/a:1");
    layout.write();
    let index = |folder: &str| -> Value {
        let text = std::fs::read(sandbox.path(folder).join("index.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let mut top = index("in");
    top["subject"] = image.clone();
    std::fs::write(sandbox.path("in/index.json"), top.to_string()).unwrap();
    sandbox.ok(&["convert", "oci:in", "oci:copy", "--strict"]);
    assert_eq!(index("copy")["subject"], image);
    let args = ["recompress", "oci:in", "oci:out", "--compression", "zstd"];
    assert_eq!(losses(&sandbox, &args), ["index.subject"]);
    assert_eq!(index("out")["subject"], Value::Null);
}

#[test]
fn n19_a_change_that_changes_nothing_says_so() {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox, "in");
    let image = layout.image("amd64", |_| {});
    let artifact = layout.image("amd64", |manifest| {
        manifest["config"]["mediaType"] = "application/vnd.example.thing".into();
    });
    layout.list(image, "example.com/a:1");
    layout.list(artifact, "example.com/artifact:1");
    layout.write();
    for command in ["squash", "recompress"] {
        let alone = "oci:in:example.com/artifact:1";
        let why = [
            "error[unsupported]",
            "artifact application/vnd.example.thing",
            "`convert` copies",
        ];
        sandbox.fails(&[command, alone, "oci:out"], 1, &why);
    }
    let args = ["recompress", "oci:in", "oci:out", "--compression", "none"];
    let output = sandbox.run(&args);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("unchanged: example.com/a:1 (linux/amd64)"),
        "{said}"
    );
    assert!(
        said.contains("unchanged: example.com/artifact:1: not an image"),
        "{said}"
    );
    assert_eq!(digests(&sandbox, "out"), digests(&sandbox, "in"));
}
