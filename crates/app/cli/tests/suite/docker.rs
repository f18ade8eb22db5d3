//! Options about single images: `--preserve-digests`, `--missing`, `--foreign` and `--sign-key`; and
//! losses of signatures.

use std::{fs, path::Path};

use crate::sandbox::{LABELS, Sandbox, labels, state};
use imgconv_testkit::sha256_hex;
use serde_json::{Value, json};

/// The key of RFC 7515, appendix A.3.
pub(crate) const KEY: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;

const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
const URL: &str = "https://example.com/layer";

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn digest(value: &Value) -> String {
    value["digest"].as_str().unwrap().to_owned()
}

/// The stored document of a descriptor.
fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = digest(descriptor);
    read(&layout.join("blobs").join(digest.replace(':', "/")))
}

fn put(layout: &Path, descriptor: &mut Value, document: &Value) {
    let text = document.to_string();
    let hex = sha256_hex(text.as_bytes());
    fs::write(layout.join("blobs/sha256").join(&hex), &text).unwrap();
    descriptor["digest"] = json!(format!("sha256:{hex}"));
    descriptor["size"] = json!(text.len());
}

/// Changes the one root document of a layout.
fn edit(layout: &Path, change: impl FnOnce(&mut Value)) {
    let mut top = read(&layout.join("index.json"));
    let mut document = blob(layout, &top["manifests"][0]);
    change(&mut document);
    put(layout, &mut top["manifests"][0], &document);
    fs::write(layout.join("index.json"), top.to_string()).unwrap();
}

/// The one root document of a layout, and its descriptor.
fn root(layout: &Path) -> (Value, Value) {
    let top = read(&layout.join("index.json"));
    let descriptor = top["manifests"][0].clone();
    (blob(layout, &descriptor), descriptor)
}

/// The one image of `--json`.
fn image(sandbox: &Sandbox, args: &[&str]) -> Value {
    let text = sandbox.ok(&[args, &["--json"]].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["images"].as_array().unwrap().len(), 1);
    document["images"][0].clone()
}

/// A layout `oci` with an image of three layers.
fn three_layers(sandbox: &Sandbox) {
    let layers = [
        "dir etc\nfile etc/a \"a\"",
        "file etc/b \"b\"",
        "file etc/c \"c\"",
    ];
    sandbox.layout("oci", "example.com/a", &layers);
}

/// Makes layer 1 of the layout `oci` foreign, its blob elsewhere, with a history of all layers.
fn make_foreign(sandbox: &Sandbox) {
    three_layers(sandbox);
    let layout = sandbox.path("oci");
    edit(&layout, |manifest| {
        let mut config = blob(&layout, &manifest["config"]);
        let step = |by: &str, empty: bool| json!({"created_by": by, "empty_layer": empty});
        config["history"] = json!([
            step("a", false),
            step("env", true),
            step("b", false),
            step("c", false)
        ]);
        put(&layout, &mut manifest["config"], &config);
        let layer = &mut manifest["layers"][1];
        layer["mediaType"] = json!(FOREIGN);
        layer["urls"] = json!([URL]);
        manifest["layers"][2]["com.example.field"] = json!("of layer 2");
        let hex = digest(&manifest["layers"][1]).replace(':', "/");
        fs::remove_file(layout.join("blobs").join(hex)).unwrap();
    });
}

/// A layout `oci` with an index of two platforms; returns the descriptor of the second.
fn two_platforms(sandbox: &Sandbox) -> Value {
    for arch in ["amd64", "aarch64"] {
        let rootfs = format!("dir etc\nfile etc/arch \"{arch}\"");
        let file = format!("{arch}.aci");
        sandbox.aci(&file, "example.com/a", &labels("1.0", arch), &rootfs);
    }
    sandbox.ok(&["aci-to-oci", "amd64.aci", "aarch64.aci", "oci"]);
    let (index, _) = root(&sandbox.path("oci"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    index["manifests"][1].clone()
}

fn remove(layout: &Path, descriptor: &Value) {
    let path = digest(descriptor).replace(':', "/");
    fs::remove_file(layout.join("blobs").join(path)).unwrap();
}

#[test]
fn b2_b5a_inspect_tells_whether_a_manifest_is_signed() {
    let sandbox = Sandbox::new();
    three_layers(&sandbox);
    fs::write(sandbox.path("key.json"), KEY).unwrap();
    sandbox.ok(&["convert", "oci", "docker-v2s1+dir:plain"]);
    let signed = ["convert", "oci", "docker-v2s1+dir:signed"];
    sandbox.ok(&[&signed[..], &["--sign-key", "key.json"]].concat());

    let plain = image(&sandbox, &["inspect", "dir:plain"]);
    assert_eq!(plain["signature"], "unsigned");
    let text = sandbox.ok(&["inspect", "dir:signed"]);
    let line = text.lines().find(|line| line.starts_with("signature: "));
    let key = line.unwrap().strip_prefix("signature: valid ").unwrap();
    // Twelve groups of four.
    assert_eq!((key.len(), key.split(':').count()), (59, 12), "{key}");
    assert!(!sandbox.ok(&["inspect", "oci"]).contains("signature"));
    sandbox.ok(&["verify", "dir:signed"]);

    let document = read(&sandbox.path("signed/manifest.json"));
    let header = &document["signatures"][0]["header"];
    assert_eq!(header["jwk"]["kid"], key);
    // Only the signatures differ, and a second run gives the same bytes.
    let mut rest = document.clone();
    rest.as_object_mut().unwrap().remove("signatures");
    assert_eq!(rest, read(&sandbox.path("plain/manifest.json")));
    let again = ["convert", "oci", "docker-v2s1+dir:again"];
    sandbox.ok(&[&again[..], &["--sign-key", "key.json"]].concat());
    assert_eq!(
        state(&sandbox.path("signed")),
        state(&sandbox.path("again"))
    );
    // A copy keeps the signature, as it keeps the bytes.
    sandbox.ok(&[
        "convert",
        "dir:signed",
        "docker-v2s1+dir:copy",
        "--preserve-digests",
    ]);
    assert_eq!(state(&sandbox.path("signed")), state(&sandbox.path("copy")));
}

#[test]
fn b5b_a_bad_signature_is_a_problem() {
    let sandbox = Sandbox::new();
    three_layers(&sandbox);
    fs::write(sandbox.path("key.json"), KEY).unwrap();
    let args = ["convert", "oci", "docker-v2s1+dir:signed"];
    sandbox.ok(&[&args[..], &["--sign-key", "key.json"]].concat());
    let path = sandbox.path("signed/manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("amd64"));
    fs::write(&path, text.replacen("amd64", "arm64", 1)).unwrap();

    let output = sandbox.run(&["verify", "dir:signed"]);
    assert_eq!(output.status.code(), Some(4));
    let verdict = String::from_utf8(output.stdout).unwrap();
    assert!(verdict.starts_with("bad-signature: "), "{verdict}");
    let texts = ["error[bad-signature]"];
    sandbox.fails(&["inspect", "dir:signed"], 4, &texts);
    sandbox.fails(&["convert", "dir:signed", "oci:out"], 4, &texts);
}

#[test]
fn a_key_signs_schema_1_alone() {
    let sandbox = Sandbox::new();
    three_layers(&sandbox);
    fs::write(sandbox.path("key.json"), KEY).unwrap();
    fs::write(sandbox.path("public.json"), KEY.replace("\"d\"", "\"e\"")).unwrap();
    let fails = |target: &str, key: &str, exit: i32, texts: &[&str]| {
        let args = ["convert", "oci", target, "--sign-key", key];
        sandbox.fails(&args, exit, texts);
    };
    fails("oci:out", "key.json", 2, &["error[usage]", "docker-v2s1"]);
    fails("docker-archive:out.tar", "key.json", 2, &["error[usage]"]);
    fails("docker-v2s1+dir:out", "none.json", 1, &["none.json"]);
    fails(
        "docker-v2s1+dir:out",
        "oci/index.json",
        2,
        &["oci/index.json"],
    );
    fails("docker-v2s1+dir:out", "public.json", 2, &["public.json"]);
    // A manifest that is signed already is not signed again, because that would replace its signature.
    let args = ["convert", "oci", "docker-v2s1+dir:signed"];
    sandbox.ok(&[&args[..], &["--sign-key", "key.json"]].concat());
    let args = ["convert", "dir:signed", "dir:out", "--sign-key", "key.json"];
    sandbox.fails(&args, 2, &["signed already", "leave out `--sign-key`"]);
}

#[test]
fn every_document_keeps_its_digest_algorithm() {
    let sandbox = Sandbox::new();
    three_layers(&sandbox);
    let (manifest, descriptor) = root(&sandbox.path("oci"));
    let was: Vec<Value> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].clone())
        .collect();
    let sources = |image: &Value| -> Vec<Value> {
        let layers = image["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer["source"].clone()).collect()
    };
    let kept = image(&sandbox, &["convert", "oci", "oci:kept"]);
    assert_eq!(kept["source_digest"], descriptor["digest"]);
    assert_eq!(kept["source_config"], manifest["config"]["digest"]);
    assert_eq!(kept["source_config"], kept["config"]);
    assert_eq!(sources(&kept), was);
    assert_eq!(kept["layers"][1]["digest"], was[1]);

    let args = ["convert", "oci", "oci:zstd", "--compression", "zstd"];
    let zstd = image(&sandbox, &args);
    assert_eq!(sources(&zstd), was);
    assert_ne!(zstd["layers"][1]["digest"], was[1]);
    assert_eq!(zstd["source_config"], manifest["config"]["digest"]);

    let squashed = image(&sandbox, &["convert", "oci", "oci:squashed", "--squash"]);
    assert_eq!(sources(&squashed), [Value::Null]);
    assert_ne!(squashed["config"], squashed["source_config"]);
}

#[test]
fn preserve_digests_names_the_refused_changes() {
    let sandbox = Sandbox::new();
    three_layers(&sandbox);
    let refused = |source: &str, target: &str, more: &[&str], texts: &[&str]| {
        let args = [&["convert", source, target, "--preserve-digests"], more].concat();
        let texts = [&["error[denied]"], texts].concat();
        sandbox.fails(&args, 1, &texts);
        sandbox.fails(&[&args[..], &["--dry-run"]].concat(), 1, &texts);
    };
    refused(
        "oci",
        "docker-v2s2+dir:out",
        &[],
        &["oci becomes docker-v2s2", "manifest"],
    );
    refused(
        "oci",
        "docker-archive:out.tar",
        &[],
        &["oci becomes docker-archive"],
    );
    refused("oci", "aci:out.aci", &[], &["manifest"]);
    let zstd = ["--compression", "zstd"];
    refused(
        "oci",
        "oci:out",
        &zstd,
        &["layer 0 (sha256:", "layer 2", "zstd"],
    );
    refused("oci", "oci:out", &["--squash"], &["merged to one"]);
    sandbox.aci("a.aci", "example.com/a", LABELS, "dir etc");
    refused("a.aci", "oci:out", &[], &["aci becomes oci"]);

    let kept = image(
        &sandbox,
        &["convert", "oci", "oci:kept", "--preserve-digests"],
    );
    assert_eq!(kept["digest"], kept["source_digest"]);
    // The compression of the layers does not matter.
    for how in ["gzip", "zstd", "none"] {
        let (a, b) = (format!("oci:{how}"), format!("oci:{how}-b"));
        sandbox.ok(&["convert", "oci", &a, "--compression", how]);
        sandbox.ok(&["convert", &a, &b, "--preserve-digests"]);
        let (a, b) = (sandbox.path(how), sandbox.path(&format!("{how}-b")));
        assert_eq!(root(&a), root(&b));
    }
    for format in ["docker-v2s2", "docker-v2s1"] {
        let to = format!("{format}+dir:{format}");
        sandbox.ok(&["convert", "oci", &to]);
        let (a, b) = (format!("dir:{format}"), format!("dir:{format}-b"));
        sandbox.ok(&["convert", &a, &b, "--preserve-digests"]);
        let (a, b) = (sandbox.path(format), sandbox.path(&format!("{format}-b")));
        assert_eq!(state(&a), state(&b));
    }
    // The name stands in the manifest.
    let name = ["--name", "example.com/other:1"];
    refused("dir:docker-v2s1", "dir:out", &name, &["the manifest"]);
    // An archive has no manifest with a digest, so the config and the layers are compared.
    sandbox.ok(&["convert", "oci", "docker-archive:a.tar"]);
    let args = [
        "convert",
        "a.tar",
        "docker-archive:b.tar",
        "--preserve-digests",
    ];
    let archive = image(&sandbox, &args);
    assert_eq!(archive["config"], archive["source_config"]);
}

#[test]
fn preserve_digests_keeps_an_index_whole() {
    let sandbox = Sandbox::new();
    let second = two_platforms(&sandbox);
    let args = ["convert", "oci", "oci:out", "--preserve-digests"];
    let one = ["--platform", "linux/amd64"];
    let texts = ["error[denied]", "the index"];
    sandbox.fails(&[&args[..], &one].concat(), 1, &texts);
    let archive = [
        "convert",
        "oci",
        "docker-v2s1+dir:out",
        "--preserve-digests",
    ];
    sandbox.fails(&[&archive[..], &one].concat(), 1, &["error[denied]"]);
    sandbox.ok(&args);
    assert_eq!(root(&sandbox.path("out")), root(&sandbox.path("oci")));
    // D11b
    remove(&sandbox.path("oci"), &second);
    let args = ["convert", "oci", "oci:out2", "--preserve-digests"];
    let texts = ["error[missing]", "--missing keep", &digest(&second)];
    sandbox.fails(&args, 1, &texts);
    sandbox.ok(&[&args[..], &["--missing", "keep"]].concat());
    assert_eq!(root(&sandbox.path("out2")), root(&sandbox.path("oci")));
}

#[test]
fn d11b_missing_keep_writes_a_sparse_index() {
    let sandbox = Sandbox::new();
    let second = two_platforms(&sandbox);
    let whole = root(&sandbox.path("oci"));
    remove(&sandbox.path("oci"), &second);

    let args = ["convert", "oci", "oci:kept", "--missing", "keep"];
    let kept = image(&sandbox, &args);
    assert_eq!(kept["warnings"][0]["code"], "missing-child");
    assert_eq!(root(&sandbox.path("kept")), whole, "byte for byte");
    // The default leaves it out.
    sandbox.ok(&["convert", "oci", "oci:dropped"]);
    let (index, _) = root(&sandbox.path("dropped"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    sandbox.fails(
        &["convert", "oci", "oci:out", "--missing", "fail"],
        1,
        &["error[missing]", &digest(&second)],
    );
    // An index that changes is written anew and still lists the missing manifest.
    let args = ["convert", "oci", "oci:zstd", "--missing", "keep"];
    sandbox.ok(&[&args[..], &["--compression", "zstd"]].concat());
    let (index, _) = root(&sandbox.path("zstd"));
    assert_ne!(index["manifests"][0], whole.0["manifests"][0]);
    assert_eq!(index["manifests"][1], second);
    // A missing manifest of a platform that is not selected is no problem.
    let args = ["convert", "oci", "oci:one", "--missing", "keep"];
    sandbox.ok(&[&args[..], &["--platform", "linux/amd64"]].concat());
    let (index, _) = root(&sandbox.path("one"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    // No other format can take what can't be read, and some have no index at all.
    let fails = |target: &str, exit: i32, texts: &[&str]| {
        sandbox.fails(
            &["convert", "oci", target, "--missing", "keep"],
            exit,
            texts,
        );
    };
    let texts = ["error[missing]", "can't be converted", "--missing drop"];
    fails("docker-v2s2+dir:out", 1, &texts);
    fails("docker-archive:out.tar", 2, &["error[usage]"]);
    fails("aci:out.aci", 2, &["error[usage]"]);
}

#[test]
fn c6a_a_foreign_layer_is_kept_refused_or_left_out() {
    let sandbox = Sandbox::new();
    make_foreign(&sandbox);
    let (before, _) = root(&sandbox.path("oci"));
    let kept = image(&sandbox, &["convert", "oci", "oci:kept"]);
    assert_eq!(kept["warnings"][0]["code"], "foreign-layer");
    assert_eq!(root(&sandbox.path("kept")).0, before);
    let unstored = [
        "layer 1",
        "foreign and not stored with its image",
        "`--foreign fetch`",
    ];
    sandbox.fails(&["convert", "oci", "docker-archive:out.tar"], 1, &unstored);

    let fails = |target: &str| {
        let texts = ["error[denied]", "layer 1 (sha256:", URL, "--foreign"];
        sandbox.fails(&["convert", "oci", target, "--foreign", "fail"], 1, &texts);
    };
    fails("oci:out");
    fails("docker-archive:out.tar");
    fails("aci:out.aci");

    let args = ["convert", "oci", "oci:dropped", "--foreign", "drop"];
    let planned = image(&sandbox, &[&args[..], &["--dry-run"]].concat());
    let dropped = image(&sandbox, &args);
    assert_eq!(planned["losses"], dropped["losses"]);
    let loss = &dropped["losses"][0];
    assert_eq!(dropped["losses"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&loss["field"], &loss["outcome"]),
        (&json!("layers[1]"), &json!("dropped"))
    );
    assert!(loss["why"].as_str().unwrap().contains(URL));
    let (manifest, _) = root(&sandbox.path("dropped"));
    let layers = [&before["layers"][0], &before["layers"][2]];
    assert_eq!(manifest["layers"], json!(layers));
    let layout = sandbox.path("oci");
    let was = blob(&layout, &before["config"]);
    let config = blob(&sandbox.path("dropped"), &manifest["config"]);
    let ids = &was["rootfs"]["diff_ids"];
    assert_eq!(config["rootfs"]["diff_ids"], json!([ids[0], ids[2]]));
    let history = config["history"].as_array().unwrap();
    let by: Vec<&Value> = history.iter().map(|step| &step["created_by"]).collect();
    assert_eq!(by, ["a", "env", "c"]);
    sandbox.ok(&["verify", "oci:dropped"]);
    // An image that can't be converted with its foreign layer can be converted without it.
    sandbox.fails(&["convert", "oci", "aci:out.aci"], 1, &["error[missing]"]);
    sandbox.ok(&["convert", "oci", "aci:out.aci", "--foreign", "drop"]);
    sandbox.fails(
        &["convert", "oci", "oci:out", "--foreign", "drop", "--strict"],
        3,
        &["layers[1] dropped"],
    );
    // An image without foreign layers does not change.
    let other = Sandbox::new();
    three_layers(&other);
    for how in ["fail", "drop"] {
        let to = format!("oci:{how}");
        other.ok(&[
            "convert",
            "oci",
            &to,
            "--foreign",
            how,
            "--preserve-digests",
        ]);
    }
}

#[test]
fn format_and_distribution_are_given_apart_to_every_command_with_a_locator() {
    let sandbox = Sandbox::new();
    sandbox.aci("a:b.aci", "example.com/a", LABELS, "dir etc");
    let oci = ["--src-distribution", "oci", "--src-format", "oci"];
    let aci = ["--src-distribution", "file", "--src-format", "aci"];
    let to = |distribution| ["--dest-distribution", distribution];
    let run = |args: &[&str], more: &[&[&str]]| sandbox.ok(&[args, &more.concat()].concat());
    run(&["aci-to-oci", "a:b.aci", "l"], &[&aci, &to("oci")]);
    run(
        &["oci-to-aci", "l:example.com/a:1.0", "acis"],
        &[&oci, &to("aci")],
    );
    run(
        &["oci-to-docker", "l", "d"],
        &[&oci, &to("dir"), &["--dest-format", "docker-v2s2"]],
    );
    run(
        &["docker-to-oci", "d", "o"],
        &[&["--src-distribution", "dir"], &to("oci-archive")],
    );
    run(&["squash", "l", "s"], &[&oci, &to("oci-archive")]);
    run(&["recompress", "l", "r"], &[&oci, &to("oci-archive")]);
    run(&["inspect", "l:1.0"], &[&oci]);
    run(
        &["ls", "d"],
        &[&["--src-format", "docker-v2s2", "--src-distribution", "dir"]],
    );
    run(&["verify", "a:b.aci"], &[&aci]);
    run(
        &["diff", "a:b.aci", "l"],
        &[&aci, &to("oci"), &["--dest-format", "oci"]],
    );
    run(&["unpack", "l:#0", "root"], &[&oci]);
    run(&["tags", "export", "l"], &[&oci]);
    run(&["publish", "a:b.aci", "site"], &[&aci]);
    for (args, exit, text) in [
        (
            &["convert", "l", "x", "--src-format", "aci"][..],
            4,
            "the format",
        ),
        (
            &["inspect", "oci:l", "--src-format", "nope"],
            2,
            "there is no format",
        ),
        (
            &["verify", "l", "--src-distribution", "nope"],
            1,
            "not supported",
        ),
        (
            &["unpack", "aci+file:a:b.aci", "x", "--src-format", "oci"],
            2,
            "says `aci`",
        ),
        (
            &["aci-to-oci", "a:b.aci", "x", "--dest-distribution", "dir"],
            2,
            "does not write to",
        ),
    ] {
        sandbox.fails(args, exit, &[text]);
    }
}
