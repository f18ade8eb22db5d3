//! An ACI that went through the model, perhaps through another format, and comes back.

use imgconv_format_aci::FORMAT;
use imgconv_model::{Image, Name, Platform, Port};

use crate::build::{SMALL, aci, decode, encode, losses, manifest_of};

const EXAMPLE: &str = include_str!("example.json");

/// What another format gives back of an ACI: no extensions, a reference as name, the original.
fn abroad(image: &Image) -> Image {
    let mut image = image.clone();
    image.extensions.clear();
    let name = image.name.take().unwrap();
    let reference = name
        .to_reference(&mut imgconv_model::Report::default())
        .unwrap();
    image.name = Some(Name::parse_reference(&reference).unwrap());
    image
}

/// The example without what belongs to its rootfs.
fn free() -> String {
    let mut value: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
    value.as_object_mut().unwrap().shift_remove("dependencies");
    value.as_object_mut().unwrap().shift_remove("pathWhitelist");
    format!("{value:#}\n")
}

#[test]
fn an_unchanged_manifest_comes_back_byte_for_byte() {
    let names = ["busybox", "example.com/my~app", "a/b/c", "coreos.com/etcd"];
    let manifests = [SMALL.to_owned(), EXAMPLE.to_owned(), free()];
    let manifests = manifests
        .into_iter()
        .chain(names.map(|name| SMALL.replace("example.com/app", name)));
    for manifest in manifests {
        let bytes = aci(&manifest, &["rootfs/a=1"]);
        let image = decode(&bytes).unwrap().image;
        let (again, report) = encode(&image).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(again, bytes);
        if manifest == EXAMPLE {
            continue;
        }
        let (again, report) = encode(&abroad(&image)).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(again, bytes, "{manifest}");
    }
}

#[test]
fn dependencies_and_whitelist_come_back_only_with_the_image() {
    let bytes = aci(EXAMPLE, &[]);
    let image = decode(&bytes).unwrap().image;
    let (again, report) = encode(&abroad(&image)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let text = manifest_of(&again);
    assert!(
        !text.contains("dependencies") && !text.contains("pathWhitelist"),
        "{text}"
    );
    assert!(
        text.contains("supplementaryGids") && text.contains("post-stop"),
        "{text}"
    );
    // Put there by whoever makes a stack of ACIs.
    let mut image = abroad(&image);
    let list = r#"[{"imageName":"x"}]"#;
    image
        .extensions
        .insert((FORMAT, "dependencies".into()), list.into());
    image
        .extensions
        .insert((FORMAT, "pathWhitelist".into()), r#"["/a"]"#.into());
    let text = manifest_of(&encode(&image).unwrap().0);
    assert!(
        text.contains(r#""dependencies":[{"imageName":"x"}]"#),
        "{text}"
    );
    assert!(text.contains(r#""pathWhitelist":["/a"]"#), "{text}");
}

/// (change, what stands in the manifest then, losses): all else is as it was.
#[test]
fn only_what_changed_is_written() {
    type Change = fn(&mut Image);
    let table: &[(Change, &str, &str, &[&str])] = &[
        (
            |image| image.name.as_mut().unwrap().tag = Some("2".into()),
            r#""value":"1.0.0""#,
            r#""value":"2""#,
            &[],
        ),
        (
            |image| image.name.as_mut().unwrap().repository = Some("example.com/other".into()),
            "example.com/worker",
            "example.com/other",
            &[],
        ),
        (
            |image| image.platform = Platform::new("linux", "arm64"),
            r#""value":"amd64""#,
            r#""value":"aarch64""#,
            &[],
        ),
        (
            |image| image.config.user = Some("5:6".into()),
            r#""user":"100","group":"300""#,
            r#""user":"5","group":"6""#,
            &[],
        ),
        (
            |image| image.config.env = vec!["X=1".into()],
            r#"{"name":"WORKER_DEBUG","value":"true"}"#,
            r#"{"name":"X","value":"1"}"#,
            &[],
        ),
        (
            |image| image.config.working_dir = None,
            r#""workingDirectory":"/opt/work","#,
            "",
            &[],
        ),
        (
            |image| image.name.as_mut().unwrap().repository = Some("example.com/Other".into()),
            "example.com/worker",
            "example.com/other",
            &["name approximated"],
        ),
        (
            |image| drop(image.config.ports.remove(1)),
            r#"{"name":"ftp-data","port":20000,"count":1000,"protocol":"tcp"},"#,
            "",
            &[],
        ),
        (
            |image| {
                // What another format makes of a range, and one port more.
                let range = image.config.ports.remove(1);
                for number in range.number..range.number + range.count {
                    image.config.ports.push(Port {
                        number,
                        count: 1,
                        protocol: "tcp".into(),
                    });
                }
                image.config.ports.push(Port {
                    number: 7,
                    count: 1,
                    protocol: "udp".into(),
                });
            },
            r#"{"name":"53-udp","port":53,"protocol":"udp"}"#,
            r#"{"name":"53-udp","port":53,"protocol":"udp"},{"name":"7-udp","protocol":"udp","port":7,"count":1}"#,
            &[],
        ),
        (
            |image| image.config.volumes.push("/new".into()),
            r#"{"name":"volume-data","path":"/data"}"#,
            r#"{"name":"volume-data","path":"/data"},{"name":"volume-new","path":"/new"}"#,
            &[],
        ),
        (
            |image| drop(image.config.volumes.remove(0)),
            r#"{"name":"work","path":"/var/lib/work","readOnly":true},"#,
            "",
            &[],
        ),
        (
            |image| drop(image.config.labels.insert("a".into(), "b".into())),
            r#"{"tier":"back"}"#,
            r#"{"a":"b","tier":"back"}"#,
            &[],
        ),
        (
            |image| drop(image.annotations.remove("appc.io/label/env")),
            r#",{"name":"env","value":"canary"}"#,
            "",
            &[],
        ),
        (
            |image| {
                drop(
                    image
                        .annotations
                        .insert("org.opencontainers.image.url".into(), "https://y".into()),
                )
            },
            r#""https://example.com"}"#,
            r#""https://y"}"#,
            &[],
        ),
        (
            |image| drop(image.annotations.remove("Any Key")),
            r#""userAnnotations":{"Any Key":"any value"},"#,
            "",
            &[],
        ),
        (
            |image| drop(image.annotations.remove("org.opencontainers.image.version")),
            "",
            "",
            &["annotations.\"org.opencontainers.image.version\" synthesised"],
        ),
        (
            |image| image.author = None,
            r#"{"name":"authors","value":"Carly \u003ccarly@example.com\u003e"},"#,
            "",
            &[],
        ),
    ];
    let manifest = free();
    let compact: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let compact = String::from_utf8(imgconv_json::canonical(&compact)).unwrap();
    for (i, (change, before, after, expected)) in table.iter().enumerate() {
        let mut image = abroad(&decode(&aci(&manifest, &[])).unwrap().image);
        change(&mut image);
        // Following a change in what it repeats is not what is tested here.
        if i == 0 {
            image
                .annotations
                .insert("org.opencontainers.image.version".into(), "2".into());
        }
        if i == table.len() - 1 {
            image.annotations.remove("org.opencontainers.image.authors");
        }
        let (bytes, report) = encode(&image).unwrap();
        assert_eq!(losses(&report), *expected, "row {i}");
        let found = manifest_of(&bytes);
        if before.is_empty() {
            assert_eq!(found, manifest, "row {i}");
        } else {
            assert!(compact.contains(before), "row {i}");
            assert_eq!(found, compact.replacen(before, after, 1), "row {i}");
        }
    }
}

#[test]
fn a_changed_command_line() {
    let mut image = abroad(&decode(&aci(&free(), &[])).unwrap().image);
    image.config.exec.as_mut().unwrap().cmd = vec!["more".into()];
    let (bytes, report) = encode(&image).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let again = decode(&bytes).unwrap().image;
    assert_eq!(again.config.exec, image.config.exec);
    assert_eq!(again.annotations, image.annotations);
    image.config.exec = None;
    let again = decode(&encode(&image).unwrap().0).unwrap().image;
    assert_eq!(again.config.exec, None);
    assert_eq!(again.config.user, image.config.user);
}

#[test]
fn an_image_without_a_name_has_that_of_its_original() {
    let mut image = decode(&aci(SMALL, &[])).unwrap().image;
    for name in [None, Some(Name::default())] {
        image.name = name;
        assert_eq!(manifest_of(&encode(&image).unwrap().0), SMALL);
    }
}

#[test]
fn a_broken_original_is_not_restored() {
    let mut image = decode(&aci(SMALL, &[])).unwrap().image;
    image.originals[0].document.bytes = b"{}".as_slice().into();
    let (bytes, report) = encode(&image).unwrap();
    assert_eq!(report.warnings[0].code, "bad-original");
    assert!(manifest_of(&bytes).contains("appc.io/docker/originalname"));
}

#[test]
fn ports_and_mounts_keep_their_names_without_an_original() {
    let mut image = decode(&aci(&free(), &[])).unwrap().image;
    image.originals.clear();
    let (bytes, report) = encode(&image).unwrap();
    assert!(losses(&report).is_empty(), "{report:?}");
    let text = manifest_of(&bytes);
    for kept in [
        r#""name":"health""#,
        r#""socketActivated":true"#,
        r#""name":"work""#,
        r#""readOnly":true"#,
        "pre-start",
    ] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
}
