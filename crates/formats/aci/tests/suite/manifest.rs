//! Rows H3c, H5b and H6: the manifest.

use imgconv_format_aci::manifest::{self, Manifest};
use imgconv_model::{Code, Error, Limits, Notes};
use imgconv_testkit::laws::StrictJson;

fn parse(text: &str) -> Result<(Manifest, Vec<&'static str>), Error> {
    let notes = Notes::default();
    let manifest = manifest::parse(text.as_bytes(), &Limits::default(), &notes)?;
    let warnings = notes.take().warnings;
    Ok((
        manifest,
        warnings.iter().map(|warning| warning.code).collect(),
    ))
}

/// A manifest with one more field, as JSON text.
fn with(field: &str) -> String {
    format!(r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app",{field}}}"#)
}

/// A manifest with one more field of the app.
fn with_app(field: &str) -> String {
    with(&format!(
        r#""app":{{"exec":["/a"],"user":"0","group":"0",{field}}}"#
    ))
}

#[track_caller]
fn refused(text: &str, code: Code, names: &str) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.code(), code, "{text:.200}: {error:.200}");
    let message = error.to_string();
    assert!(message.starts_with("manifest"), "{message:.200}");
    assert!(message.contains(names), "{message:.200} in {text:.200}");
    assert!(message.len() < 1000, "a message is bounded");
}

#[test]
fn h6a_impossible_values() {
    let base = with(r#""x":0"#);
    refused(
        &base.replace("ImageManifest", "PodManifest"),
        Code::BadManifest,
        "field acKind: expected `ImageManifest`, found \"PodManifest\"",
    );
    refused(
        &base.replace("acKind", "other"),
        Code::BadManifest,
        "field acKind",
    );
    for version in ["", "1", "0.8", "v0.8.11", "0.8.11\\n"] {
        refused(
            &base.replace("0.8.11", version),
            Code::BadManifest,
            "field acVersion",
        );
    }
    for port in [
        "0",
        "65536",
        "-1",
        "1e3",
        "80.0",
        "\"80\"",
        "null",
        "99999999999999999999",
    ] {
        let field = format!(r#""ports":[{{"name":"p","protocol":"tcp","port":{port}}}]"#);
        refused(
            &with_app(&field),
            Code::BadManifest,
            "field app.ports[0].port",
        );
    }
    for (port, count) in [(65_535, "2"), (1, "65536"), (80, "-1"), (80, "1.5")] {
        let field =
            format!(r#""ports":[{{"name":"p","protocol":"tcp","port":{port},"count":{count}}}]"#);
        refused(
            &with_app(&field),
            Code::BadManifest,
            "field app.ports[0].count",
        );
    }
    for date in ["", "yesterday", "2015-05-18", "2015-02-30T00:00:00Z"] {
        let field = format!(r#""annotations":[{{"name":"created","value":"{date}"}}]"#);
        refused(
            &with(&field),
            Code::BadManifest,
            "field annotations[created]",
        );
    }
    for name in ["homepage", "documentation"] {
        let field = format!(r#""annotations":[{{"name":"{name}","value":"ftp://x"}}]"#);
        refused(
            &with(&field),
            Code::BadManifest,
            &format!("field annotations[{name}]: \"ftp://x\""),
        );
    }
    for (field, names) in [
        (r#""user":"""#, "field app.user: is required"),
        (r#""group":null"#, "field app.group: is required"),
        (r#""user":5"#, "field app.user: expected a string"),
    ] {
        let key = field.split('"').nth(1).unwrap();
        let text = with_app(r#""x":0"#).replace(&format!(r#""{key}":"0""#), field);
        refused(&text, Code::BadManifest, names);
    }
    for (field, names) in [
        (
            r#""workingDirectory":"rel""#,
            "field app.workingDirectory: \"rel\"",
        ),
        (
            r#""supplementaryGIDs":[1,-1]"#,
            "field app.supplementaryGIDs[1]",
        ),
        (
            r#""supplementaryGIDs":["1"]"#,
            "field app.supplementaryGIDs[0]",
        ),
        (
            r#""eventHandlers":[{"name":"pre-stop","exec":[]}]"#,
            "found \"pre-stop\"",
        ),
        (
            r#""isolators":[{"name":"a"}]"#,
            "field app.isolators[0].value",
        ),
        (
            r#""mountPoints":[{"name":"a"}]"#,
            "field app.mountPoints[0].path",
        ),
        (
            r#""mountPoints":[{"name":"a","path":"/a","readOnly":"no"}]"#,
            "readOnly",
        ),
        (r#""userLabels":{"a":1}"#, "field app.userLabels.a"),
        (
            r#""environment":"A=1""#,
            "field app.environment: expected a list",
        ),
    ] {
        refused(&with_app(field), Code::BadManifest, names);
    }
    refused(
        &with(r#""app":[]"#),
        Code::BadManifest,
        "field app: expected an object",
    );
    refused("[]", Code::BadManifest, "expected an object");
}

#[test]
fn h6b_odd_versions_and_platforms_pass_with_a_warning() {
    for version in ["0.0.0", "1.0.0", "0.9.0"] {
        let (manifest, warnings) = parse(&with(r#""x":0"#).replace("0.8.11", version)).unwrap();
        assert_eq!(
            (&*manifest.ac_version, &*warnings),
            (version, &["unknown-version"][..])
        );
    }
    for version in ["0.1.0", "0.8.11", "0.8.11+git"] {
        let (_, warnings) = parse(&with(r#""x":0"#).replace("0.8.11", version)).unwrap();
        assert!(warnings.is_empty(), "{version}");
    }
    for (os, arch) in [("plan9", "mips"), ("linux", "riscv64"), ("darwin", "amd64")] {
        let labels = format!(
            r#""labels":[{{"name":"os","value":"{os}"}},{{"name":"arch","value":"{arch}"}}]"#
        );
        let (manifest, warnings) = parse(&with(&labels)).unwrap();
        assert_eq!(warnings, ["unknown-platform"], "{os}/{arch}");
        assert_eq!(
            (manifest.label("os"), manifest.label("arch")),
            (Some(os), Some(arch))
        );
    }
}

#[test]
fn h6c_names() {
    for name in ["", "App", "a\\n", "-a", "a-", "é", "a b", "a/../b"] {
        let text = with(r#""x":0"#).replace("example.com/app", name);
        refused(&text, Code::BadName, "field name");
    }
    let long = with(r#""x":0"#).replace("example.com/app", &"a".repeat(1 << 20));
    refused(&long, Code::BadName, "field name");
    refused(
        &with(r#""labels":[{"name":"name","value":"x"}]"#),
        Code::BadName,
        "a label can't be called `name`",
    );
    for (field, names) in [
        (
            r#""labels":[{"name":"A","value":"x"}]"#,
            "field labels[0].name",
        ),
        (
            r#""annotations":[{"name":"a b","value":"x"}]"#,
            "field annotations[0].name",
        ),
        (
            r#""dependencies":[{"imageName":"A"}]"#,
            "field dependencies[0].imageName",
        ),
        (
            r#""dependencies":[{"imageName":"a","labels":[{"name":"B","value":""}]}]"#,
            "field dependencies[0].labels[0].name",
        ),
    ] {
        refused(&with(field), Code::BadName, names);
    }
    for (field, names) in [
        (
            r#""mountPoints":[{"name":"a","path":""}]"#,
            "field app.mountPoints[0].path",
        ),
        (
            r#""mountPoints":[{"name":"a","path":"/../x"}]"#,
            "field app.mountPoints[0].path",
        ),
        (
            r#""environment":[{"name":"1A","value":""}]"#,
            "field app.environment: \"1A\"",
        ),
    ] {
        refused(&with_app(field), Code::BadName, names);
    }
    let error = parse(&with(r#""x":0"#).replace("example.com/app", "Example.com/App")).unwrap_err();
    assert_eq!(error.advice(), Some("`example.com/app` would be valid"));
}

#[test]
fn h6d_duplicates() {
    let two =
        |key: &str, rest: &str| format!(r#""{key}":[{{"name":"a",{rest}}},{{"name":"a",{rest}}}]"#);
    refused(
        &with(&two("labels", r#""value":"x""#)),
        Code::Ambiguous,
        "field labels[1].name: \"a\" occurs twice",
    );
    refused(
        &with(&two("annotations", r#""value":"x""#)),
        Code::Ambiguous,
        "field annotations[1].name",
    );
    refused(
        &with_app(&two("environment", r#""value":"x""#)),
        Code::Ambiguous,
        "field app.environment[1].name",
    );
    refused(
        &with_app(&two("mountPoints", r#""path":"/a""#)),
        Code::Ambiguous,
        "there are two mount points `a`",
    );
    let handlers = two("eventHandlers", r#""exec":[]"#).replace("\"a\"", "\"pre-start\"");
    refused(
        &with_app(&handlers),
        Code::Ambiguous,
        "two event handlers `pre-start`",
    );
    let gids = r#""supplementaryGIDs":[1],"supplementaryGids":[2]"#;
    refused(
        &with_app(gids),
        Code::Ambiguous,
        "field app.supplementaryGIDs",
    );
}

#[test]
fn h6e_isolators_and_unknown_fields_are_kept() {
    for value in [
        "null",
        "1e400",
        "\"x\"",
        "[]",
        r#"{"set":["CAP_SYS_ADMIN"]}"#,
    ] {
        let value = value.replace("1e400", "1.50");
        let text = with_app(&format!(
            r#""isolators":[{{"name":"any/thing","value":{value}}}],"foo":{{"a":[1]}}"#
        ));
        let (manifest, warnings) = parse(&text).unwrap();
        assert_eq!(manifest.app.unwrap().isolators, ["any/thing"]);
        assert_eq!(manifest.unknown[0].0, "app.foo");
        assert_eq!(imgconv_json::canonical(&manifest.raw), text.as_bytes());
        assert!(warnings.is_empty());
    }
}

#[test]
fn h6f_strict_json() {
    refused(&format!("\u{feff}{}", with(r#""x":0"#)), Code::BadJson, "");
    refused(&with(r#""name":"b""#), Code::BadJson, "name");
    refused(&with(r#""x":{"a":1,"a":2}"#), Code::BadJson, "");
    for field in [r#""Labels":[]"#, r#""pathwhitelist":[]"#] {
        refused(&with(field), Code::BadJson, "non-canonical field name");
    }
    refused(&with_app(r#""Exec":[]"#), Code::BadJson, "\"Exec\"");
}

#[test]
fn h3c_image_ids_are_whole() {
    let hex = "0a".repeat(64);
    let dependency = |id: &str| {
        with(&format!(
            r#""dependencies":[{{"imageName":"base","imageID":"{id}"}}]"#
        ))
    };
    let (manifest, _) = parse(&dependency(&format!("sha512-{hex}"))).unwrap();
    assert_eq!(
        manifest.dependencies[0].image_id.unwrap().image_id(),
        format!("sha512-{hex}")
    );
    for id in [
        String::new(),
        format!("sha512-{}", &hex[..64]),
        format!("sha512-{}", hex.to_uppercase()),
        format!("sha256-{}", &hex[..64]),
        format!("sha512:{hex}"),
    ] {
        refused(
            &dependency(&id),
            Code::BadDigest,
            "field dependencies[0].imageID",
        );
    }
    for size in ["-1", "1.5", "\"1\"", "9223372036854775808"] {
        let text = with(&format!(
            r#""dependencies":[{{"imageName":"base","size":{size}}}]"#
        ));
        refused(&text, Code::BadManifest, "field dependencies[0].size");
    }
}

#[test]
fn a_dependency_may_have_a_tag() {
    let tagged = |tag: &str| {
        with(&format!(
            r#""dependencies":[{{"imageName":"b","tag":{tag}}}]"#
        ))
    };
    let (manifest, _) = parse(&tagged(r#""latest""#)).unwrap();
    assert_eq!(manifest.dependencies[0].tag.as_deref(), Some("latest"));
    assert!(manifest.unknown.is_empty());
    let (manifest, _) = parse(&tagged(r#""""#)).unwrap();
    assert_eq!(manifest.dependencies[0].tag, None);
    refused(&tagged("1"), Code::BadManifest, "field dependencies[0].tag");
}

#[test]
fn h5a_h5b_the_whitelist() {
    let list = |paths: &str| with(&format!(r#""pathWhitelist":{paths}"#));
    let (manifest, _) = parse(&list(r#"["/a//b/","foo","/a/./c/../d"]"#)).unwrap();
    assert_eq!(manifest.path_whitelist, ["a/b", "foo", "a/d"]);
    for absent in ["[]", "null"] {
        assert!(parse(&list(absent)).unwrap().0.path_whitelist.is_empty());
    }
    for bad in ["/../etc", "a/../../b", "/a\\u0000"] {
        refused(
            &list(&format!(r#"["/ok","{bad}"]"#)),
            Code::BadName,
            "field pathWhitelist[1]",
        );
    }
}

#[test]
fn every_fault_is_named() {
    let text = with(r#""labels":[{"name":"A"}],"app":{"user":"","workingDirectory":"x"}"#);
    let value = imgconv_json::parse(text.as_bytes(), &Limits::default(), "x").unwrap();
    let found: Vec<String> = manifest::violations(&value)
        .iter()
        .map(|error| error.places()[1].clone())
        .collect();
    assert_eq!(
        found,
        [
            "field labels[0].name",
            "field labels[0].value",
            "field app.user",
            "field app.group",
            "field app.workingDirectory"
        ]
    );
}

#[test]
fn the_example_of_the_specification_is_read_whole() {
    let (manifest, warnings) = parse(include_str!("example.json")).unwrap();
    assert!(warnings.is_empty() && manifest.unknown.is_empty());
    let app = manifest.app.as_ref().unwrap();
    assert_eq!(app.exec, ["/usr/bin/worker", "--quiet"]);
    assert_eq!((&*app.user, &*app.group), ("100", "300"));
    assert_eq!(app.supplementary_gids, [400, 500]);
    assert_eq!(app.event_handlers.len(), 2);
    assert_eq!(app.working_directory.as_deref(), Some("/opt/work"));
    assert_eq!(app.isolators.len(), 2);
    assert!(app.mount_points[0].read_only && app.ports[0].socket_activated);
    assert_eq!((app.ports[1].port, app.ports[1].count), (20_000, 1000));
    assert_eq!(app.user_labels["tier"], "back");
    assert_eq!(manifest.dependencies[0].size, Some(22_017_258));
    assert_eq!(
        manifest.path_whitelist,
        ["etc/ca/crt", "etc/systemd/system"]
    );
    assert_eq!(
        manifest.annotation("authors"),
        Some("Carly <carly@example.com>")
    );
}

#[test]
fn every_member_of_the_example_is_strict() {
    let read = |text: &str| {
        let (mut manifest, warnings) = parse(text)?;
        manifest.raw = imgconv_json::Value::Null;
        Ok(format!("{manifest:?} {warnings:?}"))
    };
    let mut example: serde_json::Value =
        serde_json::from_str(include_str!("example.json")).unwrap();
    // Isolators are kept as they are: the manifest has their names only.
    example["app"]["isolators"] = serde_json::json!([]);
    let example = StrictJson {
        text: &example.to_string(),
        read: &read,
        free: &["app.userLabels", "app.userAnnotations"],
        dropped: &[],
    };
    example.is_strict();
}
