//! Image tags files and published sites: the tags of a repository become image tags, and a tag that moves
//! changes only the image tags file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::sandbox::{LABELS, Sandbox, labels, state};
use imgconv_testkit::{
    Head, ImageRecipe, build, recipe,
    registry::Registry,
    server::{Reply, Server},
    snapshot, stores,
};
use serde_json::{Value, json};

/// A repository of ten tags over four images, each for two platforms.
const TAGS: [(&str, &str); 10] = [
    ("1", "a"),
    ("1.0", "a"),
    ("1.0.0", "a"),
    ("1.1.0", "b"),
    ("stable", "b"),
    ("2.0.0-rc1", "c"),
    ("next", "c"),
    ("latest", "d"),
    ("2", "d"),
    ("2.0.0", "d"),
];

/// Writes a layout of tags, each an index of two platforms whose contents are those of `image`.
fn repository(sandbox: &Sandbox, folder: &str, tags: &[(&str, &str)]) {
    let mut images = Vec::new();
    for (tag, image) in tags {
        for arch in ["amd64", "arm64"] {
            let head = Head {
                name: "registry.example/team/app".into(),
                version: (*tag).into(),
                os: "linux".into(),
                arch: arch.into(),
                ..Head::default()
            };
            let rootfs = format!("dir etc\nfile etc/image \"{image} {arch}\"");
            images.push(ImageRecipe {
                head,
                layers: vec![recipe::parse(&rootfs, folder).unwrap()],
                manifest: None,
            });
        }
    }
    build::layout(&images, &sandbox.path(folder)).unwrap();
}

/// [`TAGS`] with one tag moved.
fn moved(tag: &str, image: &'static str) -> Vec<(&'static str, &'static str)> {
    let at =
        |(name, old): (&'static str, &'static str)| (name, if name == tag { image } else { old });
    TAGS.into_iter().map(at).collect()
}

fn json_of(sandbox: &Sandbox, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.ok(&[args, &["--json"]].concat())).unwrap()
}

/// The labels of an ACI.
fn labels_of(sandbox: &Sandbox, file: &str) -> BTreeMap<String, String> {
    let raw: Value = serde_json::from_str(&sandbox.ok(&["inspect", "--raw", file])).unwrap();
    let text = |label: &Value, key: &str| label[key].as_str().unwrap().to_owned();
    let labels = raw["labels"].as_array().unwrap().iter();
    labels
        .map(|label| (text(label, "name"), text(label, "value")))
        .collect()
}

/// The content of a file of an ACI's root file system.
fn content(sandbox: &Sandbox, file: &str) -> String {
    let out = format!("unpacked-{}", file.replace('/', "-"));
    sandbox.ok(&["unpack", file, &out]);
    fs::read_to_string(sandbox.path(&out).join("etc/image")).unwrap()
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The lines that only one of two snapshots has.
fn changed(before: &[String], after: &[String]) -> BTreeSet<String> {
    let before: BTreeSet<&String> = before.iter().collect();
    let after: BTreeSet<&String> = after.iter().collect();
    let path = |line: &&String| line.split(' ').nth(1).unwrap().to_owned();
    before.symmetric_difference(&after).map(path).collect()
}

#[test]
fn every_tag_of_a_repository_finds_its_image() {
    let sandbox = Sandbox::new();
    repository(&sandbox, "oci", &TAGS);
    sandbox.ok(&["oci-to-aci", "oci", "acis", "--image-tags"]);

    let file = "acis/registry.example-team-app.json";
    let mut acis = names(&sandbox.path("acis"));
    assert!(acis.remove("registry.example-team-app.json"));
    assert_eq!(acis.len(), 8, "four images, two platforms: {acis:?}");
    assert_eq!(
        fs::read_to_string(sandbox.path(file)).unwrap(),
        sandbox.ok(&["tags", "export", "oci"]),
        "the file beside the ACIs is what is exported"
    );
    sandbox.ok(&["tags", "validate", file]);

    let known: Vec<(String, BTreeMap<String, String>)> = acis
        .iter()
        .map(|name| format!("acis/{name}"))
        .map(|path| (path.clone(), labels_of(&sandbox, &path)))
        .collect();
    for (path, labels) in &known {
        assert!(!labels.contains_key("version"), "{path}");
        assert_eq!(labels["dockerimageid"].len(), 64, "{path}");
        assert!(path.contains(&labels["dockerimageid"]), "{path}");
    }
    for (tag, image) in TAGS {
        for (arch, go) in [("amd64", "amd64"), ("aarch64", "arm64")] {
            let asked = ["--label", "os=linux", "--label", &format!("arch={arch}")];
            let resolved = json_of(
                &sandbox,
                &[&["tags", "resolve", file, tag], &asked[..]].concat(),
            );
            let wanted: BTreeMap<String, String> =
                serde_json::from_value(resolved["labels"].clone()).unwrap();
            let found: Vec<&String> = known
                .iter()
                .filter(|(_, labels)| *labels == wanted)
                .map(|(path, _)| path)
                .collect();
            assert_eq!(found.len(), 1, "{tag} {arch}: {wanted:?}");
            let text = format!("{image} {go}");
            if !sandbox
                .path(&format!("unpacked-{}", found[0].replace('/', "-")))
                .exists()
            {
                assert_eq!(content(&sandbox, found[0]), text, "{tag} {arch}");
            }
        }
    }
}

#[test]
fn the_aliases_of_a_repository_follow_one_rule() {
    let sandbox = Sandbox::new();
    repository(&sandbox, "oci", &TAGS);
    sandbox.ok(&["oci-to-aci", "oci", "acis", "--image-tags"]);
    let lines = json_of(
        &sandbox,
        &["tags", "list", "acis/registry.example-team-app.json"],
    );
    let alias = |tag: &str| -> Value {
        let lines = lines["tags"].as_array().unwrap();
        let line = lines.iter().find(|line| line["tag"] == tag).unwrap();
        assert_eq!(line["labels"].as_object().unwrap().len(), 1, "{tag}");
        line["alias"].clone()
    };
    for (tag, expected) in [
        ("1", json!("1.0.0")),
        ("1.0", json!("1.0.0")),
        ("1.0.0", Value::Null),
        ("stable", json!("1.1.0")),
        ("next", json!("2.0.0-rc1")),
        ("latest", json!("2.0.0")),
        ("2", json!("2.0.0")),
    ] {
        assert_eq!(alias(tag), expected, "{tag}");
    }
    let text = sandbox.ok(&["tags", "list", "acis/registry.example-team-app.json"]);
    assert!(text.contains("latest  -> 2.0.0  dockerimageid="), "{text}");
}

#[test]
fn a_tag_that_moves_changes_the_tags_file_alone() {
    let sandbox = Sandbox::new();
    repository(&sandbox, "one", &TAGS);
    repository(&sandbox, "two", &moved("latest", "b"));
    sandbox.ok(&["oci-to-aci", "one", "acis", "--image-tags"]);
    let before = state(&sandbox.path("acis"));
    sandbox.ok(&["oci-to-aci", "two", "acis", "--image-tags"]);
    let after = state(&sandbox.path("acis"));
    assert_eq!(
        changed(&before, &after),
        BTreeSet::from(["registry.example-team-app.json".to_owned()])
    );
    let resolved = json_of(
        &sandbox,
        &[
            "tags",
            "resolve",
            "acis/registry.example-team-app.json",
            "latest",
        ],
    );
    assert_eq!(resolved["chain"], json!(["latest", "1.1.0"]));
}

#[test]
fn tags_of_an_earlier_conversion_stay() {
    let sandbox = Sandbox::new();
    repository(&sandbox, "all", &TAGS);
    sandbox.ok(&["oci-to-aci", "all:1.0.0", "acis", "--image-tags"]);
    sandbox.ok(&["oci-to-aci", "all:stable", "acis", "--image-tags"]);
    let lines = json_of(
        &sandbox,
        &["tags", "list", "acis/registry.example-team-app.json"],
    );
    let tags: Vec<&Value> = lines["tags"].as_array().unwrap().iter().collect();
    let tags: Vec<&str> = tags
        .iter()
        .map(|line| line["tag"].as_str().unwrap())
        .collect();
    assert_eq!(tags, ["1.0.0", "stable"]);
}

#[test]
fn an_image_of_one_platform_is_its_config_and_says_its_platform() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "example.com/a", &["dir etc"]);
    let index: Value =
        serde_json::from_slice(&fs::read(sandbox.path("oci/index.json")).unwrap()).unwrap();
    let blob = index["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .replace(':', "/");
    let manifest: Value =
        serde_json::from_slice(&fs::read(sandbox.path("oci/blobs").join(blob)).unwrap()).unwrap();
    let config = manifest["config"]["digest"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:");
    assert_eq!(
        sandbox.ok(&["tags", "export", "oci"]),
        format!(
            "{{\"labels\":{{\"1.0\":{{\"arch\":\"amd64\",\"dockerimageid\":\"{}\",\"os\":\"linux\"}}}}}}\n",
            config.unwrap()
        )
    );
    // The same image in a file of `docker save` has the same ID.
    sandbox.ok(&["convert", "oci", "docker-archive:a.tar"]);
    assert_eq!(
        sandbox.ok(&["tags", "export", "a.tar"]),
        sandbox.ok(&["tags", "export", "oci"])
    );
    // The version of an ACI becomes a tag that stands for the label `version`.
    sandbox.aci("a.aci", "example.com/b", LABELS, "dir etc");
    assert_eq!(
        sandbox.ok(&["tags", "export", "a.aci"]),
        "{\"labels\":{\"1.0\":{\"version\":\"1.0\"}}}\n"
    );
    sandbox.ok(&["aci-to-oci", "a.aci", "kept"]);
    sandbox.ok(&["oci-to-aci", "kept", "back", "--image-tags"]);
    let back = names(&sandbox.path("back"));
    let aci = back.iter().find(|name| name.ends_with(".aci")).unwrap();
    assert_eq!(
        labels_of(&sandbox, &format!("back/{aci}"))["version"],
        "1.0"
    );
}

#[test]
fn layers_of_their_own_are_told_apart_by_the_image_id() {
    let sandbox = Sandbox::new();
    sandbox.layout(
        "oci",
        "example.com/a",
        &["dir a\nfile a/x \"1\"", "file a/y \"2\""],
    );
    sandbox.ok(&["oci-to-aci", "oci", "acis", "--image-tags", "--no-squash"]);
    let acis = names(&sandbox.path("acis"));
    let base = acis.iter().find(|name| name.contains("layer-1")).unwrap();
    let id = &labels_of(&sandbox, &format!("acis/{base}"))["dockerimageid"];
    let top = acis
        .iter()
        .find(|name| name.ends_with(".aci") && !name.contains("layer-1"))
        .unwrap();
    assert_eq!(
        labels_of(&sandbox, &format!("acis/{top}"))["dockerimageid"],
        *id
    );
    sandbox.ok(&["unpack", &format!("acis/{top}"), "out", "--deps", "acis"]);
    assert_eq!(fs::read_to_string(sandbox.path("out/a/y")).unwrap(), "2");
}

#[test]
fn image_tags_need_a_directory_of_acis() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "example.com/a", &["dir etc"]);
    for destination in ["aci:a.aci", "aci:-", "oci-archive:a.tar"] {
        sandbox.fails(
            &["convert", "oci", destination, "--image-tags"],
            2,
            &["--image-tags", "aci:DIR/"],
        );
    }
    fs::create_dir(sandbox.path("acis")).unwrap();
    fs::write(
        sandbox.path("acis/example.com-a.json"),
        "{\"aliases\":{\"x\":\"y\"}}",
    )
    .unwrap();
    sandbox.fails(
        &["oci-to-aci", "oci", "acis", "--image-tags"],
        1,
        &["image tags of \"example.com/a\"", "tag \"x\""],
    );
}

#[test]
fn hostile_tags_files_are_named_and_not_resolved() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.path("circle.json"),
        r#"{"aliases":{"a":"b","b":"a"}}"#,
    )
    .unwrap();
    sandbox.fails(
        &["tags", "resolve", "circle.json", "a"],
        1,
        &["in a circle", r#""b" → "a""#],
    );
    sandbox.fails(
        &["tags", "resolve", "circle.json", "c"],
        1,
        &["no such tag", "a, b"],
    );
    let output = sandbox.run(&["tags", "validate", "circle.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("cycle: tag \"a\"")
    );
    let output = sandbox.run(&["tags", "list", "circle.json"]);
    assert_eq!(output.status.code(), Some(1));

    fs::write(sandbox.path("odd.json"), r#"{"labels":{"a":{"X":"1"}}}"#).unwrap();
    let output = sandbox.run(&["tags", "validate", "odd.json", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["problems"][0]["code"], "bad-name");

    fs::write(
        sandbox.path("good.json"),
        r#"{"labels":{"a":{"os":"linux"}}}"#,
    )
    .unwrap();
    assert_eq!(
        sandbox.ok(&["tags", "resolve", "good.json", "a", "--label", "x=\u{202e}"]),
        "os=linux\nx=\\u{202e}\n"
    );
    sandbox.fails(
        &["tags", "resolve", "good.json", "a", "--label", "x"],
        2,
        &["NAME=VALUE"],
    );
    sandbox.fails(
        &["tags", "validate", "good.json", "--limit", "image_tags=5"],
        1,
        &[],
    );
    sandbox.fails(&["tags", "fetch", "./none.json"], 1, &["none.json"]);
    assert_eq!(
        sandbox.ok(&["tags", "fetch", "good.json"]),
        "{\"labels\":{\"a\":{\"os\":\"linux\"}}}\n"
    );
}

#[test]
fn the_tag_of_a_dependency_is_honoured() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("deps")).unwrap();
    for version in ["1.0", "2.0"] {
        let rootfs = format!("dir etc\nfile etc/base \"{version}\"");
        let file = format!("deps/base-{version}.aci");
        sandbox.aci(
            &file,
            "example.com/base",
            &labels(version, "amd64"),
            &rootfs,
        );
    }
    let depends = |tag: &str| {
        let dependency = format!(r#"{{"imageName":"example.com/base","tag":"{tag}"}}"#);
        let fields = format!(r#"{LABELS},"dependencies":[{dependency}]"#);
        sandbox.aci("app.aci", "example.com/app", &fields, "dir app");
    };
    let base = |out: &str| {
        sandbox.ok(&["unpack", "app.aci", out, "--deps", "deps"]);
        fs::read_to_string(sandbox.path(out).join("etc/base")).unwrap()
    };
    // Without image tags the tag is the version.
    depends("1.0");
    assert_eq!(base("as-version"), "1.0");
    let tags = r#"{"aliases":{"latest":"new"},"labels":{"new":{"version":"2.0"}}}"#;
    fs::write(sandbox.path("deps/example.com-base.json"), tags).unwrap();
    depends("latest");
    assert_eq!(base("as-tag"), "2.0");
    depends("1.0");
    sandbox.fails(
        &["unpack", "app.aci", "none", "--deps", "deps"],
        1,
        &["\"example.com/base\" tagged \"1.0\"", "no such tag"],
    );
    // Two image tags files that contradict each other are an error.
    fs::create_dir_all(sandbox.path("deps/site/aci/example.com/base")).unwrap();
    fs::write(
        sandbox.path("deps/site/aci/example.com/base/imagetags.json"),
        r#"{"labels":{"latest":{"version":"1.0"}}}"#,
    )
    .unwrap();
    depends("latest");
    sandbox.fails(
        &["unpack", "app.aci", "none", "--deps", "deps"],
        1,
        &["two files have image tags of"],
    );
}

/// The files of a site, without what cannot differ: modes and owners.
fn files(sandbox: &Sandbox, site: &str) -> BTreeSet<String> {
    let lines = state(&sandbox.path(site)).into_iter();
    let files = lines.filter(|line| line.starts_with("file "));
    files
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect()
}

/// Renders a template as a client does.
fn render(template: &str, name: &str, labels: &BTreeMap<String, String>, ext: &str) -> String {
    let mut url = template.replace("{name}", name).replace("{ext}", ext);
    for (label, value) in labels {
        url = url.replace(&format!("{{{label}}}"), value);
    }
    url
}

/// The contents of the meta tags of that name.
fn metas(page: &str, meta: &str, prefix: &str) -> Vec<String> {
    let start = format!("<meta name=\"{meta}\" content=\"{prefix} ");
    page.lines()
        .filter_map(|line| Some(line.strip_prefix(&start)?.strip_suffix("\">")?.to_owned()))
        .collect()
}

#[test]
fn a_site_leads_every_tag_to_its_image() {
    let sandbox = Sandbox::new();
    repository(&sandbox, "oci", &TAGS);
    fs::write(sandbox.path("key.pub"), "a public key").unwrap();
    let publish = [
        "publish",
        "oci",
        "site",
        "--image-tags",
        "--host",
        "example.com",
    ];
    sandbox.ok(&[&publish[..], &["--pubkeys", "key.pub"]].concat());

    let name = "example.com/team/app";
    let page = fs::read_to_string(sandbox.path("site/team/app/index.html")).unwrap();
    let images = metas(&page, "ac-discovery", name);
    assert_eq!(
        images,
        ["https://example.com/aci/{name}/{dockerimageid}-{os}-{arch}.{ext}"]
    );
    let tags = metas(&page, "ac-discovery-imagetags", name);
    assert_eq!(tags, ["https://example.com/aci/{name}/imagetags.{ext}"]);
    assert_eq!(
        metas(&page, "ac-discovery-pubkeys", name),
        ["https://example.com/pubkeys.gpg"]
    );
    assert_eq!(
        fs::read(sandbox.path("site/pubkeys.gpg")).unwrap(),
        b"a public key"
    );
    let local = |url: &str| url.replace("https://example.com/", "site/");
    let file = local(&render(&tags[0], name, &BTreeMap::new(), "json"));
    for (tag, _) in TAGS {
        for arch in ["amd64", "aarch64"] {
            let asked = ["--label", "os=linux", "--label", &format!("arch={arch}")];
            let resolved = json_of(
                &sandbox,
                &[&["tags", "resolve", &file, tag], &asked[..]].concat(),
            );
            let labels: BTreeMap<String, String> =
                serde_json::from_value(resolved["labels"].clone()).unwrap();
            let aci = local(&render(&images[0], name, &labels, "aci"));
            assert_eq!(labels_of(&sandbox, &aci), labels, "{tag} {arch}");
        }
    }
    assert_eq!(files(&sandbox, "site").len(), 8 + 3);
    sandbox.ok(&[
        "verify",
        &format!("site/aci/{name}/{}", {
            let acis = names(&sandbox.path(&format!("site/aci/{name}")));
            acis.into_iter()
                .find(|file| file.ends_with(".aci"))
                .unwrap()
        }),
    ]);
}

#[test]
fn publishing_again_changes_only_what_changed() {
    let sandbox = Sandbox::new();
    repository(&sandbox, "one", &TAGS);
    repository(&sandbox, "two", &moved("latest", "b"));
    let publish = |source: &str| {
        sandbox.ok(&[
            "publish",
            source,
            "site",
            "--image-tags",
            "--host",
            "example.com",
        ]);
        // Times are compared too: unchanged files are not written again.
        let mut lines = snapshot(&sandbox.path("site")).unwrap();
        lines.retain(|line| line.starts_with("file "));
        lines
    };
    let first = publish("one");
    assert_eq!(changed(&first, &publish("one")), BTreeSet::new());
    assert_eq!(
        changed(&first, &publish("two")),
        BTreeSet::from(["aci/example.com/team/app/imagetags.json".to_owned()])
    );
}

#[test]
fn an_aci_is_published_byte_for_byte_with_its_signature() {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", LABELS, "dir etc");
    sandbox.aci(
        "b.aci",
        "example.com/a",
        r#","labels":[{"name":"version","value":"2"},{"name":"channel","value":"beta"}]"#,
        "dir etc",
    );
    fs::write(sandbox.path("a.aci.asc"), "a signature").unwrap();
    let lines = sandbox.ok(&["publish", "a.aci", "b.aci", "site"]);
    assert!(
        lines.starts_with("example.com/a:1.0  site/aci/example.com/a/1.0-linux-amd64.aci"),
        "{lines}"
    );
    let read = |path: &str| fs::read(sandbox.path(path)).unwrap();
    let place = "site/aci/example.com/a/1.0-linux-amd64.aci";
    assert_eq!(read(place), read("a.aci"));
    assert_eq!(read(&format!("{place}.asc")), b"a signature");
    assert_eq!(read("site/aci/example.com/a/2-beta.aci"), read("b.aci"));
    let page = fs::read_to_string(sandbox.path("site/a/index.html")).unwrap();
    assert_eq!(
        metas(&page, "ac-discovery", "example.com/a"),
        [
            "https://example.com/aci/{name}/{version}-{os}-{arch}.{ext}",
            "https://example.com/aci/{name}/{version}-{channel}.{ext}",
        ]
    );
    assert_eq!(
        metas(&page, "ac-discovery-imagetags", "example.com/a"),
        [""; 0]
    );

    // An ACI with other bytes loses its signature.
    fs::remove_file(sandbox.path("a.aci.asc")).unwrap();
    sandbox.aci(
        "a.aci",
        "example.com/a",
        LABELS,
        "dir etc\nfile etc/new \"x\"",
    );
    let output = sandbox.run(&["publish", "a.aci", "site"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("warning[replaced]"),
        "{said}"
    );
    assert_eq!(read(place), read("a.aci"));
    assert!(!sandbox.path(&format!("{place}.asc")).exists());
    assert!(sandbox.path("site/aci/example.com/a/2-beta.aci").exists());
}

// K53
#[test]
fn every_aci_of_a_folder_or_store_is_published() {
    let sandbox = Sandbox::new();
    let acis = [
        ("a.aci", "example.com/a"),
        ("sub/b.aci", "example.com/team/b"),
        ("c.aci", "example.com/c"),
    ];
    for (file, name) in acis {
        for folder in ["acis", "mixed"] {
            sandbox.aci(&format!("{folder}/{file}"), name, LABELS, "dir etc");
        }
    }
    sandbox.layout("mixed/oci", "example.com/d", &["dir etc"]);
    let read = |path: &str| fs::read(sandbox.path(path)).unwrap();
    let on_site = |site: &str, name: &str| format!("{site}/aci/{name}/1.0-linux-amd64.aci");
    for folder in ["acis", "mixed"] {
        fs::write(sandbox.path(&format!("{folder}/a.aci.asc")), "a signature").unwrap();
    }
    for (i, source) in ["acis", "tree:acis", "aci-tree:acis", "mixed"]
        .iter()
        .enumerate()
    {
        let site = format!("site-{i}");
        let args = ["publish", source, &site];
        let images = 3 + usize::from(*source == "mixed");
        let planned = sandbox.ok(&[&args[..], &["--dry-run"]].concat());
        assert_eq!(planned.matches("linux/amd64").count(), images, "{planned}");
        assert!(!sandbox.path(&site).exists());
        let lines = sandbox.ok(&args);
        assert_eq!(lines.lines().count(), images, "{lines}");
        for (file, name) in acis {
            let published = on_site(&site, name);
            assert_eq!(read(&published), read(&format!("acis/{file}")), "{source}");
        }
        let signature = format!("{}.asc", on_site(&site, "example.com/a"));
        assert_eq!(read(&signature), b"a signature", "{source}");
    }
    assert!(sandbox.path(&on_site("site-3", "example.com/d")).is_file());

    // ACIs of another host get the host of the site, and the others keep their bytes.
    sandbox.aci("acis/e.aci", "other.example/e", LABELS, "dir etc");
    sandbox.fails(&["publish", "acis", "no-site"], 2, &["other.example"]);
    let args = ["publish", "acis", "renamed", "--host", "example.com"];
    let output = sandbox.run(&args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("warning[renamed]").count(), 1, "{said}");
    assert!(sandbox.path(&on_site("renamed", "example.com/e")).is_file());
    for (file, name) in acis {
        assert_eq!(
            read(&on_site("renamed", name)),
            read(&format!("acis/{file}"))
        );
    }

    let image = |name: &str| ImageRecipe {
        head: Head {
            name: format!("example.com/{name}"),
            version: "1.0".into(),
            os: "linux".into(),
            arch: "amd64".into(),
            ..Head::default()
        },
        layers: vec![recipe::parse("dir etc", name).unwrap()],
        manifest: None,
    };
    let keys = stores::rkt(&["x", "y"].map(image), &sandbox.path("rkt")).unwrap();
    let lines = sandbox.ok(&["publish", "rkt:rkt", "from-rkt"]);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for (name, key) in ["x", "y"].iter().zip(keys) {
        let stored = format!("rkt/cas/blob/sha512/{}/{key}", &key[7..9]);
        let published = on_site("from-rkt", &format!("example.com/{name}"));
        assert_eq!(read(&published), read(&stored), "{name}");
    }
}

#[test]
fn what_can_not_be_published_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "localhost:5000/a", &["dir etc"]);
    sandbox.aci("a.aci", "example.com/a", LABELS, "dir etc");
    sandbox.aci("b.aci", "other.example/b", LABELS, "dir etc");
    sandbox.aci(
        "c.aci",
        "example.com/c",
        &labels("../x", "amd64"),
        "dir etc",
    );
    sandbox.aci(
        "d.aci",
        "example.com/a",
        r#","labels":[{"name":"version","value":"1.0-linux"},{"name":"arch","value":"amd64"}]"#,
        "dir etc",
    );
    fs::write(
        sandbox.path("broken.aci"),
        &fs::read(sandbox.path("a.aci")).unwrap()[..1500],
    )
    .unwrap();
    sandbox.ok(&["publish", "a.aci", "site"]);
    for (args, exit, text) in [
        (&["a.aci", "b.aci", "site"][..], 2, "one host"),
        (&["a.aci", "b.aci", "new"], 2, "one host"),
        (&["oci", "site"], 2, "can't be the name of a host"),
        (&["c.aci", "site"], 1, "label version is \"../x\""),
        (&["d.aci", "site"], 1, "another image with this file name"),
        (&["broken.aci", "site"], 1, "broken.aci"),
        (&["a.aci", "site", "--url", "ftp://x"], 2, "no URL"),
        (
            &["a.aci", "site", "--url", "https://x/\"><script>"],
            2,
            "no URL",
        ),
        (&["a.aci", "site", "--pubkeys", "none"], 1, "none"),
        (&["a.aci", "a.aci/site"], 1, "a.aci"),
    ] {
        let args = [&["publish"], args].concat();
        sandbox.fails(&args, exit, &[text]);
    }
    let before = state(sandbox.folder.path());
    let said = sandbox.ok(&[
        "publish",
        "oci",
        "a.aci",
        "new",
        "--host",
        "example.com",
        "--dry-run",
    ]);
    assert!(
        said.contains("  would be written: publish unchanged"),
        "{said}"
    );
    assert!(said.contains("squash 1 layers"), "{said}");
    assert_eq!(state(sandbox.folder.path()), before);
    sandbox.fails(&["publish", "a.aci", "a.aci"], 1, &["is the source"]);
}

#[test]
fn a_tag_that_leads_to_no_image_is_not_exported() {
    let sandbox = Sandbox::new();
    let registry = Registry::start();
    registry.stored().referrers = false;
    let image = registry.stored().image("app", "1", b"layer");
    let other = registry.stored().referrer("app", &image, "a note");
    let key = |name: &str| ("app".to_owned(), name.to_owned());
    let (kind, note) = registry.stored().manifests[&key(&other)].clone();
    registry.stored().manifest("app", "note", &kind, &note);
    let place = registry.locator("app");
    for more in [&[][..], &["--json"]] {
        let output = sandbox.run(&[&["tags", "export", &place], more].concat());
        let [said, told] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        assert!(output.status.success(), "{told}");
        assert!(
            !said.contains("sha256-") && !said.contains("note"),
            "{said}"
        );
        assert_eq!(said.matches("dockerimageid").count(), 1, "{said}");
        assert_eq!(told.matches("warning[tag-left-out]").count(), 2, "{told}");
        for tag in ["note", &*image.replace(':', "-")] {
            assert!(told.contains(&format!("/app:{tag}: ")), "{told}");
        }
    }
}

#[test]
fn image_tags_are_fetched_from_a_url() {
    let sandbox = Sandbox::new();
    repository(&sandbox, "oci", &TAGS);
    let exported = sandbox.ok(&["tags", "export", "oci"]);
    let served = exported.clone();
    let server = Server::start(move |request| match request.path() {
        "/tags.json" => Reply::ok(served.clone()),
        _ => Reply::status(404),
    });
    let (url, gone) = (server.url("/tags.json"), server.url("/gone"));
    let plain = ["--plain-http", &server.authority()];
    let fetched = sandbox.ok(&[&["tags", "fetch", &url], &plain[..]].concat());
    assert_eq!(fetched, exported);
    fs::write(sandbox.path("tags.json"), fetched).unwrap();
    sandbox.ok(&["tags", "validate", "tags.json"]);
    let args = [&["tags", "fetch", &gone], &plain[..]].concat();
    sandbox.fails(&args, 1, &["404"]);
}
