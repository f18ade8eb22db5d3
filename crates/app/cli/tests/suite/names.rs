//! Rows K15, K16, K18, K22, N12 and N16: a locator is read literally, or the error says what to write
//! instead.

use std::fs;

use crate::sandbox::{LABELS, Sandbox};
use imgconv_testkit::{registry::Registry, sha256_hex};
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn read(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// An ACI, a layout and a file of `docker save`.
fn places() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", LABELS, "file a \"1\"");
    sandbox.layout("in", "example.com/a", &["file a \"1\""]);
    sandbox.ok(&["convert", "in", "docker-archive:d.tar"]);
    sandbox
}

#[test]
fn k15_a_word_that_is_no_scheme_is_no_path() {
    let sandbox = places();
    let podman = "`podman load -i FILE.tar`";
    let near = "perhaps `docker-archive:d.tar` is meant";
    for (args, text) in [
        (&["convert", "in", "podman:busybox"][..], podman),
        (&["convert", "podman:busybox", "oci:o"], podman),
        (&["convert", "in", "docker-archve:d.tar"], near),
        (&["ls", "docker-archve:d.tar"], near),
        (&["inspect", "podman:x"], "`podman save"),
        (&["verify", "ctr:x"], "`ctr images export"),
        (&["diff", "in", "sif:x"], "skopeo"),
        (&["unpack", "in", "docker-archve:d.tar"], near),
        (&["unpack", "in", "oci:o"], "`./oci:o`"),
        (&["publish", "a.aci", "podman:x"], podman),
        (&["publish", "podman:x", "site"], podman),
        (&["publish", "a.aci", "oci:site"], "`./oci:site`"),
        (&["migrate", "in", "podman:x"], podman),
        (&["migrate", "docker-archve:d.tar", "oci:o"], near),
        (&["layout", "gc", "docker-archve:d.tar"], near),
        (&["tags", "export", "docker-archve:d.tar"], near),
        (&["squash", "in", "docker-archve:d.tar"], near),
        (&["recompress", "docker-archve:d.tar", "oci:o"], near),
        (&["aci-to-oci", "a.aci", "docker-archve:d.tar"], near),
        (
            &["convert", "a.aci", "oci:o", "--deps", "docker-archve:d.tar"],
            near,
        ),
        (&["convert", "in", "new:1.0"], "`./new:1.0`"),
    ] {
        sandbox.fails(
            args,
            2,
            &["there is no scheme", text].map(|it| match it {
                "there is no scheme" if text.starts_with("`./o") => "expected a directory",
                it => it,
            }),
        );
    }
    sandbox.fails(
        &["convert", "in", "oci+docker-archve:d.tar"],
        1,
        &["perhaps `docker-archive` is meant"],
    );
    // `./PATH` and an existing path are paths.
    sandbox.ok(&["convert", "in", "./new:1.0"]);
    sandbox.ok(&["convert", "in", "new:2.0"]);
    assert_eq!(sandbox.ok(&["ls", "new"]).lines().count(), 2);
    sandbox.ok(&["unpack", "in", "./oci:o"]);
    assert!(sandbox.path("oci:o/a").is_file());
}

#[test]
fn k18_a_registry_without_a_repository_is_asked_nothing() {
    let sandbox = places();
    for host in [
        "127.0.0.1:1",
        "[::1]:1",
        "localhost",
        "registry.example.com",
        "MYHOST:1",
    ] {
        let named = format!("\"{host}\" is a registry, and names no repository");
        for suffix in ["", "/"] {
            let place = format!("docker://{host}{suffix}");
            for args in [
                &["inspect", &place][..],
                &["verify", &place],
                &["unpack", &place, "o"],
                &["diff", "in", &place],
                &["squash", &place, "oci:o"],
                &["docker-to-oci", &place, "o"],
                &["convert", &place, "oci:o"],
                &["convert", &place, "aci:o/", "--image-tags"],
                &["publish", &place, "o"],
                &["tags", "export", &place],
                &["convert", "in", &place],
                &["migrate", "in", &place],
                &["convert", &format!("oci://{host}{suffix}"), "o"],
            ] {
                sandbox.fails(args, 1, &[&named]);
            }
        }
    }
}

#[test]
fn k22_a_pair_command_reads_what_it_says() {
    let sandbox = places();
    sandbox.ok(&["convert", "in", "oci-archive:o.tar"]);
    sandbox.ok(&["convert", "in", "docker-v2s2+dir:v2s2"]);
    sandbox.ok(&["convert", "in", "dir:oci"]);
    let places = [
        ("aci", &["a.aci", "aci:a.aci", "file:a.aci"][..]),
        (
            "oci",
            &["in", "oci:in", "o.tar", "oci-archive:o.tar", "dir:oci"],
        ),
        ("docker", &["d.tar", "docker-archive:d.tar", "dir:v2s2"]),
    ];
    for (from, to) in [
        ("aci", "oci"),
        ("aci", "docker"),
        ("oci", "aci"),
        ("oci", "docker"),
        ("docker", "aci"),
        ("docker", "oci"),
    ] {
        let command = format!("{from}-to-{to}");
        let out = match to {
            "docker" => "out.tar",
            "aci" => "out/",
            _ => "out",
        };
        for (family, sources) in places {
            for source in sources {
                let args = [&*command, source, out];
                if family == from {
                    let dry = ["--dry-run", "--name", "example.com/a:1"];
                    sandbox.ok(&[&args[..], &dry].concat());
                    continue;
                }
                let right = match family == to {
                    true => "`imgconv convert SRC DST`".to_owned(),
                    false => format!("`imgconv {family}-to-{to}`"),
                };
                sandbox.fails(&args, 2, &[&format!("`{command}` does not read a"), &right]);
            }
        }
    }
    // One bad name among several is enough for a refusal, also through a pipe.
    sandbox.fails(
        &["aci-to-oci", "a.aci", "d.tar", "out"],
        2,
        &["docker-to-oci"],
    );
    let file = fs::File::open(sandbox.path("a.aci")).unwrap();
    let mut piped = sandbox.command(&["docker-to-oci", "-", "out"]);
    let output = piped.stdin(file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("aci-to-oci"));
}

/// A layout `win` with an index in an index of images for Windows; returns their digests.
fn windows(sandbox: &Sandbox, versions: &[(&str, &str)]) -> Vec<String> {
    let mut children = Vec::new();
    for (version, features) in versions {
        let place = format!("w{version}{features}");
        sandbox.layout(
            &place,
            "example.com/win",
            &[&format!("file v \"{version}{features}\"")],
        );
        let mut child = read(&sandbox.path(&place).join("index.json"))["manifests"][0].take();
        child.as_object_mut().unwrap().remove("annotations");
        let mut platform = json!({"architecture": "amd64", "os": "linux", "os.version": version});
        if !features.is_empty() {
            platform["os.features"] = json!([features]);
        }
        child["platform"] = platform;
        children.push(child);
        for blob in fs::read_dir(sandbox.path(&place).join("blobs/sha256")).unwrap() {
            let blob = blob.unwrap();
            let to = sandbox.path("win/blobs/sha256");
            fs::create_dir_all(&to).unwrap();
            fs::copy(blob.path(), to.join(blob.file_name())).unwrap();
        }
    }
    let digests = children
        .iter()
        .map(|it| it["digest"].as_str().unwrap().to_owned());
    let digests = digests.collect();
    let mut list = Value::Array(children);
    for _ in 0..2 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list}).to_string();
        let hex = sha256_hex(index.as_bytes());
        fs::write(sandbox.path("win/blobs/sha256").join(&hex), &index).unwrap();
        list =
            json!([{"mediaType": INDEX, "digest": format!("sha256:{hex}"), "size": index.len()}]);
    }
    list[0]["annotations"] = json!({"org.opencontainers.image.ref.name": "example.com/win:1"});
    let top = json!({"schemaVersion": 2, "manifests": list});
    fs::write(sandbox.path("win/index.json"), top.to_string()).unwrap();
    fs::write(
        sandbox.path("win/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    digests
}

#[test]
fn k16_a_version_of_the_system_and_a_digest_choose() {
    let sandbox = Sandbox::new();
    let digests = windows(
        &sandbox,
        &[
            ("10.0.17763.1", ""),
            ("10.0.20348.5", ""),
            ("10.0.20348", ""),
            ("10.0.20348.6", "win32k"),
        ],
    );
    // Windows has such versions; the rule is the same for the configs of this test.
    let first = "linux(10.0.17763.1)/amd64";
    let convert = |platform: &str| -> String {
        let args = [
            "convert",
            "win",
            "docker-archive:x.tar",
            "--platform",
            platform,
            "--json",
        ];
        let output = sandbox.run(&args);
        let text = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        let _ = fs::remove_file(sandbox.path("x.tar"));
        String::from_utf8(text).unwrap()
    };
    let all = convert("linux/amd64");
    for text in [
        first,
        "linux(10.0.20348.5)/amd64",
        "linux(10.0.20348.6+win32k)/amd64",
    ] {
        assert!(all.contains(text), "{text}: {all}");
    }
    for (platform, chosen) in [
        (first, 0),
        ("linux(10.0.17763)/amd64", 0),
        ("linux/amd64:10.0.17763", 0),
        ("linux(10.0.20348.5)/amd64", 1),
        ("linux(10.0.20348)/amd64", 2),
        ("linux(+win32k)/amd64", 3),
    ] {
        sandbox.ok(&["unpack", "win", "tree", "--platform", platform]);
        let found = fs::read_to_string(sandbox.path("tree/v")).unwrap();
        fs::remove_dir_all(sandbox.path("tree")).unwrap();
        let wanted = [
            "10.0.17763.1",
            "10.0.20348.5",
            "10.0.20348",
            "10.0.20348.6win32k",
        ][chosen];
        assert_eq!(found, wanted, "{platform}");
        assert!(
            convert(platform).contains("example.com/win:1"),
            "{platform}"
        );
    }
    assert!(
        convert("linux(10.0.1)/amd64").contains(first),
        "the error lists the available images"
    );
    // A child of an index below an index, by its digest, with the name that leads to it.
    for (i, digest) in digests.iter().enumerate() {
        let place = format!("oci:win:@{digest}");
        let lines = sandbox.ok(&["ls", &place]);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(
            lines.contains(digest) && lines.contains("example.com/win:1"),
            "{lines}"
        );
        sandbox.ok(&["convert", &place, &format!("oci:child{i}")]);
        let copy = read(&sandbox.path(&format!("child{i}/index.json")));
        assert_eq!(copy["manifests"][0]["digest"], **digest);
        let raw = sandbox.ok(&["inspect", &place, "--raw"]);
        assert_eq!(format!("sha256:{}", sha256_hex(raw.as_bytes())), *digest);
        sandbox.ok(&["verify", &place]);
        let found: Value =
            serde_json::from_str(&sandbox.ok(&["inspect", &place, "--json"])).unwrap();
        assert_eq!(found["images"][0]["source"], *place);
        sandbox.ok(&["unpack", &place, &format!("tree{i}")]);
    }
    let absent = format!("oci:win:@sha256:{}", "0".repeat(64));
    sandbox.fails(&["convert", &absent, "oci:o"], 1, &["no image"]);
}

#[test]
fn n12_what_inspect_calls_a_source_is_a_locator() {
    let sandbox = places();
    sandbox.ok(&["convert", "in", "dir:flat"]);
    for place in ["oci:in", "d.tar", "a.aci", "dir:flat"] {
        let text = sandbox.ok(&["inspect", place, "--json"]);
        let found: Value = serde_json::from_str(&text).unwrap();
        let source = found["images"][0]["source"].as_str().unwrap().to_owned();
        let again = sandbox.ok(&["inspect", &source, "--json"]);
        assert_eq!(again, text, "{place} is called {source}");
    }
    let registry = Registry::start();
    registry.stored().image("team/app", "1", b"a layer");
    let place = registry.locator("team/app:1");
    let text = sandbox.ok(&["inspect", &place, "--json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["images"][0]["source"], *place);
    let digest = found["images"][0]["digest"].as_str().unwrap();
    let place = format!("{}@{digest}", registry.locator("team/app"));
    let text = sandbox.ok(&["inspect", &place, "--json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["images"][0]["source"], *place);
}

#[test]
fn n16_tags_fetch_takes_a_name_as_convert_does() {
    let sandbox = Sandbox::new();
    let fetch = |from: &str| {
        let output = sandbox.run(&["tags", "fetch", from]);
        String::from_utf8(output.stderr).unwrap()
    };
    let tagged = fetch("appc:example.invalid/app:1");
    assert!(
        tagged.contains("image tags are of a name, `example.invalid/app`"),
        "{tagged}"
    );
    assert!(fetch("appc:A").contains("is no appc image name"));
    fs::write(
        sandbox.path("tags.json"),
        r#"{"aliases":{},"labels":{"1":{"version":"1"}}}"#,
    )
    .unwrap();
    assert!(
        sandbox
            .ok(&["tags", "fetch", "file:tags.json"])
            .contains("version")
    );
}
