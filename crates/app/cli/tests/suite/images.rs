//! Layouts as other tools write them: images without names, with several names, with a tag only, sparse
//! indexes, artifacts, wrong labels; and a dry run reports the same losses as the real run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use imgconv_testkit::{ImageRecipe, build, recipe, sha256_hex};
use serde_json::{Value, json};

use crate::sandbox::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

fn imgconv(folder: &Path, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_imgconv"))
        .args(args)
        .current_dir(folder)
        .env_remove("SOURCE_DATE_EPOCH")
        .env("CONTAINERS_REGISTRIES_CONF", "/dev/null")
        .output()
        .unwrap();
    json::check(args, folder, &output);
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn ok(folder: &Path, args: &[&str]) -> String {
    let output = imgconv(folder, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The images of `--json`.
fn images(folder: &Path, args: &[&str]) -> Vec<Value> {
    let args = [args, &["--json"]].concat();
    let document: Value = serde_json::from_str(&ok(folder, &args)).unwrap();
    document["images"].as_array().unwrap().clone()
}

fn losses(image: &Value) -> Vec<String> {
    let list = image["losses"].as_array().unwrap();
    let word = |loss: &Value, key: &str| loss[key].as_str().unwrap().to_owned();
    list.iter()
        .map(|loss| format!("{} {}", word(loss, "outcome"), word(loss, "field")))
        .collect()
}

/// A layout that is written by hand.
struct Layout(PathBuf);

impl Layout {
    fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(
            folder.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        Self(folder.to_owned())
    }

    fn put(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = format!("sha256:{}", sha256_hex(bytes));
        let path = self.0.join("blobs").join(digest.replace(':', "/"));
        fs::write(path, bytes).unwrap();
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    }

    /// An image of one uncompressed layer with one file of that name.
    fn image(&self, file: &str, config: &Value, more: &[Value]) -> Value {
        let list = recipe::parse(&format!("file {file} \"x\""), file).unwrap();
        let tar = build::tar_bytes(&list).unwrap();
        let layer = self.put(LAYER, &tar);
        let mut config = config.clone();
        let mut ids = vec![layer["digest"].clone()];
        ids.extend(more.iter().map(|layer| layer["digest"].clone()));
        config["rootfs"] = json!({ "type": "layers", "diff_ids": ids });
        let config = self.put(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        let layers = [&[layer], more].concat();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        self.put(MANIFEST, manifest.to_string().as_bytes())
    }

    fn index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
    }
}

fn amd64() -> Value {
    json!({ "os": "linux", "architecture": "amd64" })
}

fn named(mut child: Value, name: &str) -> Value {
    child["annotations"] = json!({ REF_NAME: name });
    child
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn c8d_images_without_a_name_are_called_by_their_digests() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    let (a, b) = (
        layout.image("a", &amd64(), &[]),
        layout.image("b", &amd64(), &[]),
    );
    layout.index(&[a.clone(), b.clone()]);
    let found = images(folder, &["oci-to-aci", "in", "acis"]);
    assert_eq!(losses(&found[0]), ["synthesised name", "synthesised tag"]);
    let mut wanted: Vec<String> = [a, b]
        .iter()
        .map(|child| {
            let hex = child["digest"]
                .as_str()
                .unwrap()
                .strip_prefix("sha256:")
                .unwrap();
            format!("in-{}-linux-amd64.aci", &hex[..12])
        })
        .collect();
    wanted.sort();
    assert_eq!(files(&folder.join("acis")), wanted);
    let output = imgconv(folder, &["unpack", "in", "rootfs"]);
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("error[ambiguous]") && stderr.contains("in:@sha256:"),
        "{stderr}"
    );
}

#[test]
fn an_image_with_a_tag_only_is_called_as_its_layout() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("app"));
    layout.index(&[named(layout.image("a", &amd64(), &[]), "3.11")]);
    let found = images(folder, &["oci-to-aci", "oci:app:3.11", "acis"]);
    assert_eq!(found[0]["name"], "app:3.11");
    assert_eq!(losses(&found[0]), ["synthesised name"]);
    assert_eq!(files(&folder.join("acis")), ["app-3.11-linux-amd64.aci"]);
}

#[test]
fn an_aci_with_a_new_tag_keeps_its_repository() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/my~app","labels":[{"name":"version","value":"1.0+x"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}]}"#;
    let image = ImageRecipe {
        manifest: Some(manifest.to_owned()),
        layers: vec![recipe::parse("file a \"x\"", "a").unwrap()],
        ..ImageRecipe::default()
    };
    fs::write(folder.join("a.aci"), build::aci_bytes(&image).unwrap()).unwrap();
    let found = images(folder, &["aci-to-oci", "a.aci", "out"]);
    assert_eq!(
        losses(&found[0]),
        ["approximated labels.version", "approximated name"]
    );
    let index: Value =
        serde_json::from_slice(&fs::read(folder.join("out/index.json")).unwrap()).unwrap();
    Layout(folder.join("out")).index(&[named(index["manifests"][0].clone(), "2.0")]);
    ok(folder, &["oci-to-aci", "out", "acis/"]);
    assert_eq!(
        files(&folder.join("acis")),
        ["example.com-my~app-2.0-linux-amd64.aci"]
    );
    // A loss of the name alone is a reason for `--strict` to refuse, before anything is written.
    let output = imgconv(folder, &["aci-to-oci", "--strict", "a.aci", "strict"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(!folder.join("strict").exists());
}

#[test]
fn what_the_label_says_and_what_the_bytes_are() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    let child = layout.image("a", &amd64(), &[]);
    let digest = child["digest"].as_str().unwrap();
    let path = folder.join("in/blobs").join(digest.replace(':', "/"));
    let lying = fs::read_to_string(path)
        .unwrap()
        .replace(LAYER, &format!("{LAYER}+gzip"));
    layout.index(&[layout.put(MANIFEST, lying.as_bytes())]);
    let found = images(folder, &["inspect", "in"]);
    assert_eq!(found[0]["layers"][0]["media_type"], format!("{LAYER}+gzip"));
    assert_eq!(found[0]["layers"][0]["compression"], "none");
    let found = images(
        folder,
        &["convert", "oci:in", "out", "--compression", "gzip"],
    );
    assert_eq!(found[0]["layers"][0]["step"], "recompress");
    assert_eq!(found[0]["warnings"][0]["code"], "mislabelled-layer");
    let output = imgconv(folder, &["verify", "in"]);
    assert!(output.status.success(), "it is odd, not wrong");
    let warning = "warning[mislabelled-layer]: oci:in:@sha256:";
    assert!(
        text(&output.stderr).starts_with(warning),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_copy_of_an_image_without_a_platform_invents_none() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    let child = layout.image("a", &json!({}), &[]);
    layout.index(std::slice::from_ref(&child));
    let found = images(folder, &["convert", "in", "out"]);
    assert_eq!(
        (&found[0]["digest"], &found[0]["platform"]),
        (&child["digest"], &json!("unknown/unknown"))
    );
    assert_eq!(losses(&found[0]), Vec::<String>::new());
    let index: Value =
        serde_json::from_slice(&fs::read(folder.join("out/index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["platform"], Value::Null);
}

#[test]
fn a_missing_platform_of_an_index_is_listed_with_a_warning() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    let mut here = layout.image("a", &amd64(), &[]);
    here["platform"] = amd64();
    let digest = format!("sha256:{}", "c".repeat(64));
    let gone = json!({ "mediaType": MANIFEST, "digest": digest, "size": 3, "platform": { "os": "linux", "architecture": "arm64" } });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [here, gone] });
    layout.index(&[named(
        layout.put(INDEX, index.to_string().as_bytes()),
        "example.com/s:1",
    )]);
    let output = imgconv(folder, &["inspect", "in", "--platform", "linux/s390x"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("no image for linux/s390x") && stderr.contains("available: linux/amd64")
    );
    let lines = ok(folder, &["ls", "in"]);
    assert!(
        lines.contains("linux/arm64  missing") && lines.contains(&digest),
        "{lines}"
    );
    let found = images(folder, &["oci-to-aci", "in", "acis"]);
    assert_eq!(found[0]["warnings"][0]["code"], "missing-child");
    let output = imgconv(folder, &["oci-to-aci", "--missing", "fail", "in", "others"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("error[missing]"));
}

#[test]
fn an_artifact_about_an_image_that_changes_is_a_loss() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    let image = layout.image("a", &amd64(), &[]);
    let empty = layout.put("application/vnd.oci.empty.v1+json", b"{}");
    let blob = layout.put("application/spdx+json", b"{\"x\":1}");
    let artifact = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/spdx+json",
        "config": empty, "layers": [blob], "subject": image,
    });
    let artifact = layout.put(MANIFEST, artifact.to_string().as_bytes());
    layout.index(&[artifact.clone(), named(image, "example.com/a:1")]);
    let copied = images(folder, &["convert", "in", "copy"]);
    assert_eq!(copied.len(), 2);
    assert!(copied.iter().all(|image| losses(image).is_empty()));
    let change = ["convert", "in", "out", "--compression", "zstd"];
    let dry = images(folder, &[&change[..], &["--dry-run"]].concat());
    let real = images(folder, &change);
    assert_eq!(dry[0]["losses"], real[0]["losses"]);
    assert_eq!(real.len(), 1, "what is not written has no line");
    let digest = artifact["digest"].as_str().unwrap();
    assert_eq!(
        losses(&real[0]),
        [format!("dropped artifact application/spdx+json {digest}")]
    );
    let strict = [
        &change[..2],
        &["other", "--compression", "zstd", "--strict"],
    ]
    .concat();
    assert_eq!(imgconv(folder, &strict).status.code(), Some(3));
    assert!(!folder.join("other").exists());
}

#[test]
fn c6a_a_foreign_layer_is_listed_and_not_carried() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    let foreign = json!({
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": format!("sha256:{}", "b".repeat(64)), "size": 7, "urls": ["https://example.com/l"],
    });
    layout.index(&[layout.image("a", &amd64(), std::slice::from_ref(&foreign))]);
    for compression in ["keep", "zstd"] {
        let found = images(
            folder,
            &["convert", "in", compression, "--compression", compression],
        );
        assert_eq!(found[0]["warnings"][0]["code"], "foreign-layer");
        assert_eq!(found[0]["layers"][1]["step"], "keep");
        let raw: Value =
            serde_json::from_str(&ok(folder, &["inspect", "--raw", compression])).unwrap();
        assert_eq!(raw["layers"][1], foreign, "{compression}");
        assert!(ok(folder, &["verify", compression]).contains("nothing wrong"));
    }
    let output = imgconv(folder, &["oci-to-aci", "in", "acis"]);
    assert!(text(&output.stderr).contains("https://example.com/l"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_bare_destination_takes_a_ref_and_a_tar_is_an_archive() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    layout.index(&[named(layout.image("a", &amd64(), &[]), "example.com/a:1")]);
    let found = images(folder, &["convert", "in", "./out:two"]);
    assert_eq!(found[0]["name"], "two");
    assert!(folder.join("out/index.json").exists());
    ok(folder, &["oci-to-aci", "out:two", "two.aci"]);
    ok(folder, &["aci-to-oci", "two.aci", "two.tar"]);
    assert!(folder.join("two.tar").is_file());
    assert_eq!(ok(folder, &["diff", "two.aci", "two.tar"]), "");
    let output = imgconv(folder, &["convert", "in", "in.tar"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("`oci-archive:in.tar`"));
}

#[test]
fn losses_are_told_when_the_image_goes_to_standard_output() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    layout.index(&[layout.image("a", &amd64(), &[])]);
    let output = imgconv(folder, &["oci-to-aci", "in", "-"]);
    assert!(output.status.success());
    assert!(
        text(&output.stderr).contains("loss: in:"),
        "{}",
        text(&output.stderr)
    );
    let output = imgconv(folder, &["oci-to-aci", "in", "-", "--json"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "two documents can't share standard output"
    );
    assert_eq!(output.stdout, b"");
}

/// Every recipe, every way, with options that change what is lost.
#[test]
fn a_dry_run_tells_the_losses_of_the_real_run() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/images");
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let mut compared = 0;
    for name in files(&testdata) {
        let image = ImageRecipe::load(&testdata.join(&name)).unwrap();
        let mut sources = Vec::new();
        let layout = format!("{name}-layout");
        if build::layout(std::slice::from_ref(&image), &folder.join(&layout)).is_ok() {
            sources.push(layout);
        }
        if let Ok(bytes) = build::aci_bytes(&image) {
            fs::write(folder.join(format!("{name}.aci")), bytes).unwrap();
            sources.push(format!("{name}.aci"));
        }
        for source in &sources {
            for (i, options) in [
                &[][..],
                &["--compression", "none"],
                &["--squash"],
                &["--no-squash"],
                &["--no-squash", "--max-layers", "2"],
                &["--keep-base", "1"],
                &["--clamp-mtime", "0"],
            ]
            .iter()
            .enumerate()
            {
                for kind in ["oci:", "aci:"] {
                    let target = format!("{kind}out-{source}-{i}/");
                    let args =
                        [&["convert", source, &*target, "--deps", "."][..], options].concat();
                    let real = imgconv(folder, &[&args[..], &["--json"]].concat());
                    let args = [&args[..], &["--dry-run", "--json"]].concat();
                    let dry = imgconv(folder, &args);
                    if !real.status.success() {
                        continue;
                    }
                    let parse = |output: &Output| -> Value {
                        serde_json::from_slice(&output.stdout).unwrap()
                    };
                    let (real, dry) = (parse(&real), parse(&dry));
                    let list = |document: &Value| -> Vec<Value> {
                        let images = document["images"].as_array().unwrap();
                        images.iter().map(|image| image["losses"].clone()).collect()
                    };
                    assert_eq!(list(&dry), list(&real), "{args:?}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 40, "only {compared} conversions worked");
}

#[test]
fn l15_of_two_equal_matches_the_first_is_taken() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    let index = |name: &str, images: [(&str, Value); 2]| {
        let manifests = images.map(|(file, platform)| {
            let mut image = layout.image(file, &amd64(), &[]);
            image["platform"] = platform;
            image
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        named(layout.put(INDEX, index.to_string().as_bytes()), name)
    };
    let mut other = amd64();
    other["os.version"] = json!("10.0.1");
    layout.index(&[
        index("example.com/s:1", [("z", amd64()), ("a", amd64())]),
        index("example.com/s:2", [("z", amd64()), ("b", other)]),
    ]);
    let asked = ["--platform", "linux/amd64"];
    for (command, to, tree) in [
        ("oci-to-aci", "one.aci", "tree-aci"),
        ("convert", "docker-archive:one.tar", "tree-docker"),
    ] {
        let args = [&[command, "oci:in:example.com/s:1", to], &asked[..]].concat();
        let found = images(folder, &args);
        assert_eq!(found.len(), 1, "{to}");
        assert_eq!(found[0]["warnings"][0]["code"], "second-match", "{to}");
        ok(folder, &["unpack", to, tree]);
        assert_eq!(files(&folder.join(tree)), ["z"], "{to}");
    }
    let unpack = |from: &str, to: &str| {
        let args = [&["unpack", from, to], &asked[..]].concat();
        imgconv(folder, &args)
    };
    let output = unpack("oci:in:example.com/s:1", "tree");
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("left out"));
    assert_eq!(files(&folder.join("tree")), ["z"]);
    // The images differ in a field that was not selected, or nothing was selected.
    let output = unpack("oci:in:example.com/s:2", "no");
    assert!(text(&output.stderr).contains("error[ambiguous]"));
    let output = imgconv(folder, &["oci-to-aci", "oci:in:example.com/s:1", "no.aci"]);
    assert!(text(&output.stderr).contains("error[ambiguous]"));
    let output = imgconv(
        folder,
        &[
            &["oci-to-aci", "oci:in:example.com/s:1", "no.aci", "--strict"],
            &asked[..],
        ]
        .concat(),
    );
    assert!(text(&output.stderr).contains("error[strict]"));
    // A destination that can hold both images holds both.
    let args = ["convert", "oci:in:example.com/s:1", "oci:copy"];
    ok(folder, &[&args, &asked[..]].concat());
    assert_eq!(images(folder, &["inspect", "copy"]).len(), 2);
}

#[test]
fn a_distribution_point_is_read() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let layout = Layout::new(&folder.join("in"));
    layout.index(&[named(layout.image("a", &amd64(), &[]), "1")]);
    let path = folder.join("in");
    let escaped = path.to_str().unwrap().replace('/', "%2F");
    let point = format!("cimd:oci-image-layout:v=0:file%3A%2F%2F{escaped}?ref=1");
    let (found, read) = (
        images(folder, &["inspect", "oci:in:1"]),
        images(folder, &["inspect", &point]),
    );
    assert_eq!(read[0]["digest"], found[0]["digest"]);
    // The output contains no path of this machine, so that it is the same on every machine.
    assert!(found[0].get("distribution_point").is_none());
}
