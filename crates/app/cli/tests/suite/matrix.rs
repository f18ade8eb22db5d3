//! Conversions from every format to every other, through the program. The outcomes are in
//! `testdata/matrix.txt`, from which the README's table is made.
//!
//! The image has two layers, every kind of link, a set-user-ID bit, a whiteout, and a value for
//! every field of the config. The tests of the format crates cover odd input.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use imgconv_testkit::{Compression, ImageRecipe, build, docker, recipe};
use serde_json::Value;

use crate::sandbox::json;

/// The formats, and the locator of an image of each: scheme and suffix of the file name.
const FORMATS: [(&str, &str, &str); 7] = [
    ("aci", "aci:", ".aci"),
    ("oci", "oci:", ""),
    ("docker-v2s2", "docker-v2s2+dir:", ""),
    ("docker-archive", "docker-archive:", ".tar"),
    ("docker-v2s1", "docker-v2s1+dir:", ""),
    ("docker-v1", "docker-v1+docker-archive:", ".tar"),
    ("rootfs", "rootfs:", ".tar"),
];

const BASE: &str = r#"dir etc 0755 0:0 @1000
file etc/gone 0644 0:0 @1000 "gone\n"
file etc/kept 0644 1000:1001 @1000 "kept\n"
dir usr 0755 0:0 @1000
dir usr/bin 0755 0:0 @1000
file usr/bin/su 4755 0:0 @1000 "program\n"
link usr/bin/sudo -> usr/bin/su 4755 0:0 @1000
symlink usr/bin/sh -> su 0777 0:0 @1000"#;

const TOP: &str = r#"dir etc 0755 0:0 @2000
whiteout etc/gone
file etc/new 0600 0:0 @2000 "new\n""#;

const HEAD: &str = r#"name = "example.com/app"
version = "1.0"
compression = "gzip"
created = "2020-02-03T04:05:06Z"
author = "Somebody"
[config]
entrypoint = ["/usr/bin/su", "-c"]
cmd = ["true"]
user = "1000:1001"
env = ["PATH=/usr/bin", "EMPTY="]
working_dir = "/etc"
ports = ["53/udp", "8080/tcp"]
volumes = ["/data"]
labels = { "com.example.team" = "images" }
stop_signal = "SIGINT""#;

/// The manifest of the same image as an ACI.
const MANIFEST: &str = r#"{
  "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/app",
  "labels": [
    { "name": "version", "value": "1.0" }, { "name": "os", "value": "linux" },
    { "name": "arch", "value": "amd64" }
  ],
  "app": {
    "exec": ["/usr/bin/su", "-c", "true"], "user": "1000", "group": "1001",
    "environment": [{ "name": "PATH", "value": "/usr/bin" }, { "name": "EMPTY", "value": "" }],
    "workingDirectory": "/etc",
    "ports": [
      { "name": "dns", "protocol": "udp", "port": 53 },
      { "name": "http", "protocol": "tcp", "port": 8080 }
    ],
    "mountPoints": [{ "name": "data", "path": "/data" }]
  },
  "annotations": [
    { "name": "created", "value": "2020-02-03T04:05:06Z" }, { "name": "authors", "value": "Somebody" }
  ]
}"#;

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

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

/// The images of a command that must work.
fn images(folder: &Path, args: &[&str]) -> Vec<Value> {
    let output = imgconv(folder, &[args, &["--json"]].concat());
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    json(&output)["images"].as_array().unwrap().clone()
}

/// `OUTCOME FIELD` of every loss.
fn losses(image: &Value) -> Vec<String> {
    let word = |loss: &Value, key: &str| loss[key].as_str().unwrap().to_owned();
    let list = image["losses"].as_array().unwrap();
    list.iter()
        .map(|loss| format!("{} {}", word(loss, "outcome"), word(loss, "field")))
        .collect()
}

/// Tells whether a report lists a difference. A report names a field as the documents of the source do.
fn told(losses: &[String], what: &str) -> bool {
    let what = match what {
        "config.healthcheck" => "config.Healthcheck",
        "config.on_build" => "config.OnBuild",
        "config.shell" => "config.Shell",
        "config.stop_signal" => "config.StopSignal",
        "config.stop_timeout" => "config.StopTimeout",
        "config.exec" => "config.Entrypoint",
        "config.user" => "config.User",
        "config.env" => "config.Env",
        "config.working_dir" => "config.WorkingDir",
        "config.ports" => "config.ExposedPorts",
        "config.volumes" => "config.Volumes",
        "config.labels.com.example.team" => "config.Labels.\"com.example.team\"",
        step if step.starts_with("history[") => "history",
        other => other,
    };
    losses.iter().any(|loss| {
        let field = loss.split_once(' ').unwrap().1;
        what == field || what.starts_with(&format!("{field}."))
    })
}

/// The name of the only image of a place.
fn name(folder: &Path, place: &str) -> Value {
    images(folder, &["inspect", place])[0]["name"].clone()
}

/// The differences between two places: config fields, and paths with a slash before them.
fn differences(folder: &Path, a: &str, b: &str) -> Vec<String> {
    let output = imgconv(folder, &["diff", a, b, "--json"]);
    let list = json(&output)["differences"].as_array().unwrap().clone();
    assert_eq!(output.status.code(), Some(i32::from(!list.is_empty())));
    list.iter()
        .map(|difference| difference["what"].as_str().unwrap().to_owned())
        .collect()
}

/// The first line that a command that must fail prints, and its exit code.
fn refusal(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = imgconv(folder, args);
    let stderr = text(&output.stderr);
    (
        output.status.code(),
        stderr.lines().next().unwrap_or_default().to_owned(),
    )
}

/// The image of the matrix under another name, with one more file.
fn image(name: &str, version: &str, file: &str) -> ImageRecipe {
    let sandbox = tempfile::tempdir().unwrap();
    let put = |file: &str, text: &str| fs::write(sandbox.path().join(file), text).unwrap();
    put("image.toml", HEAD);
    put("layer-0.list", BASE);
    put("layer-1.list", &format!("{TOP}\nfile {file} \"x\""));
    let mut image = ImageRecipe::load(sandbox.path()).unwrap();
    image.head.name = name.to_owned();
    image.head.version = version.to_owned();
    image
}

/// Makes the image in every format: from the recipe if the testkit can, else from OCI.
fn make_sources(folder: &Path) {
    let kept = |line: &&str| !line.contains("etc/gone") && *line != "dir etc 0755 0:0 @1000";
    let list: Vec<&str> = BASE.lines().chain(TOP.lines()).filter(kept).collect();
    let aci = ImageRecipe {
        manifest: Some(MANIFEST.to_owned()),
        layers: vec![recipe::parse(&list.join("\n"), "aci").unwrap()],
        ..ImageRecipe::default()
    };
    fs::write(folder.join("aci.aci"), build::aci_bytes(&aci).unwrap()).unwrap();
    let image = image("example.com/app", "1.0", "last");
    let images = std::slice::from_ref(&image);
    build::layout(images, &folder.join("oci")).unwrap();
    let archive = docker::archive(images).unwrap();
    fs::write(folder.join("docker-archive.tar"), archive).unwrap();
    let archive = docker::archive_v1(images).unwrap();
    fs::write(folder.join("docker-v1.tar"), archive).unwrap();
    fs::write(
        folder.join("rootfs.tar"),
        build::tar_bytes(&aci.layers[0]).unwrap(),
    )
    .unwrap();
    for (format, place, end) in FORMATS {
        if ["docker-v2s2", "docker-v2s1"].contains(&format) {
            let to = format!("{place}{format}{end}");
            assert_eq!(self::images(folder, &["convert", "oci:oci", &to]).len(), 1);
        }
    }
}

/// Converts, checks and compares, and returns the outcome in the words of the table.
fn cell(folder: &Path, from: &str, to: &str) -> String {
    let find = |id: &str| FORMATS.into_iter().find(|format| format.0 == id).unwrap();
    // Only the scheme says that a tar is an image.
    let read = |format: &str, path: &str| match format {
        "rootfs" => format!("rootfs:{path}"),
        _ => path.to_owned(),
    };
    let (_, _, end) = find(from);
    let source = read(from, &format!("{from}{end}"));
    let (_, place, end) = find(to);
    let target = format!("{from}-{to}{end}");
    let args = ["convert", &source, &format!("{place}{target}"), "--json"];
    let output = imgconv(folder, &args);
    if !output.status.success() {
        assert!(!folder.join(&target).exists(), "{args:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        return format!("refused {}", error["error"]["code"].as_str().unwrap());
    }
    let found = json(&output);
    let found = found["images"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{args:?}");
    let mut lost = losses(&found[0]);
    let target = read(to, &target);
    let output = imgconv(folder, &["verify", &target]);
    assert!(
        text(&output.stdout).ends_with(" checked, nothing wrong\n"),
        "{args:?}: {}",
        text(&output.stdout)
    );
    for what in differences(folder, &source, &target) {
        assert!(!what.starts_with('/'), "{args:?}: the file {what} differs");
        assert!(
            told(&lost, &what),
            "{args:?}: {what} differs and is not reported in {lost:?}"
        );
    }
    // A `dir:` holds no names, whatever the format; schema 1 has them in the manifest.
    let nameless = place == "rootfs:" || place.ends_with("dir:") && to != "docker-v2s1";
    let named = name(folder, &source) != Value::Null;
    let told = lost.iter().any(|loss| loss == "dropped name");
    assert_eq!(told, nameless && named, "{args:?}");
    lost.retain(|loss| loss != "dropped name");
    if place != "rootfs:"
        && from != "rootfs"
        && !place.ends_with("dir:")
        && !from.starts_with("docker-v2")
    {
        assert_eq!(name(folder, &source), name(folder, &target), "{args:?}");
    }
    match lost.as_slice() {
        [] => "whole".to_owned(),
        lost => lost.join(", "),
    }
}

#[test]
fn every_cell_is_as_the_table_says() {
    let sandbox = tempfile::tempdir().unwrap();
    make_sources(sandbox.path());
    let mut seen = String::new();
    for (from, ..) in FORMATS {
        for (to, ..) in FORMATS {
            seen += &format!("{from} {to} {}\n", cell(sandbox.path(), from, to));
        }
    }
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/matrix.txt");
    let table = fs::read_to_string(table).unwrap();
    let lines = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let (seen_lines, known) = (lines(&seen), lines(&table));
    let new: Vec<&String> = seen_lines.difference(&known).collect();
    let gone: Vec<&String> = known.difference(&seen_lines).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "testdata/matrix.txt says {gone:#?}, seen was {new:#?}, in all:\n{seen}"
    );
}

#[test]
fn what_docker_can_not_hold_is_refused_before_anything_is_written() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    make_sources(folder);
    let mut other = image("example.com/app", "1.0", "last");
    other.head.arch = "arm64".into();
    let both = [image("example.com/app", "1.0", "last"), other];
    build::layout(&both, &folder.join("both")).unwrap();
    let zstd = "the target can't hold layers compressed with zstd";
    for (args, status, code, part) in [
        (
            &["oci", "docker-v1+docker-archive:out"][..],
            2,
            "usage",
            "`docker-archive:` can't hold docker-v1",
        ),
        (
            &["both", "docker-archive:out"],
            1,
            "ambiguous",
            "there are 2 platforms, but docker-archive can hold only one",
        ),
        (
            &["oci", "docker-archive:out", "--compression", "zstd"],
            1,
            "unsupported",
            zstd,
        ),
        (
            &["oci", "docker-v2s2+dir:out", "--compression", "zstd"],
            1,
            "unsupported",
            zstd,
        ),
        (
            &["oci", "docker-v2s1+dir:out", "--compression", "zstd"],
            1,
            "unsupported",
            zstd,
        ),
    ] {
        let (found, line) = refusal(folder, &[&["convert"], args].concat());
        assert!(
            line.starts_with(&format!("error[{code}]: ")) && line.contains(part),
            "{args:?}: {line}"
        );
        assert_eq!(found, Some(status), "{args:?}: {line}");
        assert!(!folder.join("out").exists(), "{args:?}");
    }
    let one = [
        "convert",
        "both",
        "docker-archive:out",
        "--platform",
        "linux/arm64",
    ];
    assert_eq!(images(folder, &one)[0]["platform"], "linux/arm64");
}

/// Several images: two names of one image, a tag that two repositories share, an image without a
/// name.
fn several() -> Vec<ImageRecipe> {
    vec![
        image("example.com/one", "1", "one"),
        image("example.com/one", "latest", "one"),
        image("example.com/team/one", "1", "one"),
        image("example.com/two", "1", "two"),
        image("example.com/two", "2", "three"),
        image("", "", "nameless"),
    ]
}

/// The names of every config in an archive of docker, sorted.
fn names_of_configs(archive: &Path) -> BTreeSet<(String, Vec<String>)> {
    let bytes = fs::read(archive).unwrap();
    let start = b"[{\"Config\"";
    let at = bytes.windows(start.len()).position(|part| part == start);
    let mut values = serde_json::Deserializer::from_slice(&bytes[at.unwrap()..]).into_iter();
    let list: Value = values.next().unwrap().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names = |value: &Value| -> Vec<String> {
        let list = value.as_array();
        let mut names: Vec<String> = list.into_iter().flatten().map(text).collect();
        names.sort();
        names
    };
    let list = list.as_array().unwrap();
    let entry = |entry: &Value| (text(&entry["Config"]), names(&entry["RepoTags"]));
    list.iter().map(entry).collect()
}

/// Every name that a place lists, sorted; images without one are empty.
fn names(folder: &Path, place: &str) -> Vec<String> {
    let mut names: Vec<String> = images(folder, &["ls", place])
        .iter()
        .map(|image| image["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    names
}

const NAMES: [&str; 6] = [
    "",
    "example.com/one:1",
    "example.com/one:latest",
    "example.com/team/one:1",
    "example.com/two:1",
    "example.com/two:2",
];

#[test]
fn a1_to_a8_every_image_of_an_archive_comes_back_with_every_name() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let archive = docker::archive(&several()).unwrap();
    fs::write(folder.join("in.tar"), archive).unwrap();
    images(folder, &["docker-to-oci", "in.tar", "layout"]);
    assert_eq!(names(folder, "layout"), NAMES);
    images(folder, &["oci-to-docker", "layout", "out.tar"]);
    let (before, after) = (
        names_of_configs(&folder.join("in.tar")),
        names_of_configs(&folder.join("out.tar")),
    );
    assert_eq!(before.len(), 4);
    assert_eq!(before, after);
    for name in &NAMES[1..] {
        let (a, b) = (
            format!("docker-archive:in.tar:{name}"),
            format!("docker-archive:out.tar:{name}"),
        );
        assert_eq!(differences(folder, &a, &b), Vec::<String>::new());
    }
}

#[test]
fn every_image_of_an_archive_from_before_1_10_keeps_its_names() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let archive = docker::archive_v1(&several()).unwrap();
    fs::write(folder.join("in.tar"), archive).unwrap();
    images(folder, &["docker-to-oci", "in.tar", "layout"]);
    assert_eq!(names(folder, "layout"), NAMES);
    images(folder, &["oci-to-docker", "layout", "out.tar"]);
    let after = names_of_configs(&folder.join("out.tar"));
    let all: Vec<&String> = after.iter().flat_map(|(_, names)| names).collect();
    assert_eq!((after.len(), all.len()), (4, 5), "{after:?}");
}

#[test]
fn docker_to_aci_and_back_loses_only_the_reported_fields() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    make_sources(folder);
    for source in ["docker-archive.tar", "docker-v1.tar"] {
        let (aci, back) = (format!("{source}.aci"), format!("back-{source}"));
        let mut lost = losses(&images(folder, &["docker-to-aci", source, &aci])[0]);
        lost.extend(losses(&images(folder, &["aci-to-docker", &aci, &back])[0]));
        for what in differences(folder, source, &back) {
            assert!(told(&lost, &what), "{source}: {what} is not in {lost:?}");
        }
        assert_eq!(name(folder, source), name(folder, &back));
    }
}

/// Layers that are uncompressed already are not changed.
#[test]
fn plain_layers_of_a_layout_go_to_an_archive() {
    let sandbox = tempfile::tempdir().unwrap();
    let folder = sandbox.path();
    let mut plain = image("example.com/app", "1.0", "last");
    plain.head.compression = Compression::None;
    build::layout(&[plain], &folder.join("plain")).unwrap();
    let found = images(folder, &["oci-to-docker", "plain", "plain.tar"]);
    assert_eq!(found[0]["layers"][0]["step"], "keep");
    assert_eq!(
        differences(folder, "plain", "plain.tar"),
        Vec::<String>::new()
    );
}
