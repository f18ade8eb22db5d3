//! Rows K17, K29, K30, K31 and K33: manifests that tools of before appc 0.6 wrote, names that the rules
//! forbid and everybody took, and values of isolators.

use imgconv_format_aci::manifest::{self, Manifest};
use imgconv_model::{Code, Error, Limits, Notes};

fn parse(text: &str) -> Result<(Manifest, Vec<String>), Error> {
    let notes = Notes::default();
    let manifest = manifest::parse(text.as_bytes(), &Limits::default(), &notes)?;
    let warnings = notes.take().warnings.into_iter();
    let shown = |warning: imgconv_model::Warning| format!("{} {}", warning.code, warning.message);
    Ok((manifest, warnings.map(shown).collect()))
}

fn with(version: &str, field: &str) -> String {
    format!(
        r#"{{"acKind":"ImageManifest","acVersion":"{version}","name":"example.com/app",{field}}}"#
    )
}

fn with_app(field: &str) -> String {
    let app = format!(r#""app":{{"exec":["/a"],"user":"0","group":"0",{field}}}"#);
    with("0.8.11", &app)
}

/// The example of the specification 0.1.1, with an image ID of today.
fn example(id: &str) -> String {
    with(
        "0.1.1",
        &format!(
            r#""labels":[{{"name":"version","val":"1.0.0"}},{{"name":"os","val":"freebsd"}}],
            "app":{{"exec":["/usr/bin/worker"],"user":"100","group":"300",
                "environment":{{"REDUCE_WORKER_DEBUG":"true"}},
                "isolators":[{{"name":"cpu/shares","val":"20"}},
                    {{"name":"blockIO/readBandwidth","val":"/tmp 1K"}}],
                "mountPoints":[{{"name":"database","path":"/var/lib/db","readOnly":false}}],
                "ports":[{{"name":"health","port":4000,"protocol":"tcp","socketActivated":true}}]}},
            "dependencies":[{{"hash":"{id}","labels":[{{"name":"env","val":"canary"}}],
                "name":"example.com/base","root":"/"}}],
            "annotations":{{"authors":"Carly","created":"2014-10-27T19:32:27Z"}}"#
        ),
    )
}

#[test]
fn k29_k30_a_manifest_of_appc_0_1_is_read_whole() {
    let id = format!("sha512-{}", "0a".repeat(64));
    let (manifest, warnings) = parse(&example(&id)).unwrap();
    assert_eq!(manifest.label("version"), Some("1.0.0"));
    assert_eq!(manifest.label("os"), Some("freebsd"));
    assert_eq!(manifest.annotation("authors"), Some("Carly"));
    assert_eq!(manifest.annotation("created"), Some("2014-10-27T19:32:27Z"));
    let app = manifest.app.as_ref().unwrap();
    assert_eq!(app.environment[0].name, "REDUCE_WORKER_DEBUG");
    assert_eq!(app.environment[0].value, "true");
    assert_eq!(app.isolators, ["cpu/shares", "blockio/readbandwidth"]);
    assert_eq!(app.ports[0].port, 4000);
    let dependency = &manifest.dependencies[0];
    assert_eq!(dependency.image_name, "example.com/base");
    assert_eq!(dependency.image_id.unwrap().image_id(), id);
    assert_eq!(dependency.labels[0].value, "canary");
    assert_eq!(manifest.unknown.len(), 1, "only `root` has no meaning now");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("blockIO/readBandwidth"),
        "{warnings:?}"
    );
    // In the words of today it is one of today.
    let text = imgconv_json::canonical(&manifest.raw);
    let (again, _) = parse(str::from_utf8(&text).unwrap()).unwrap();
    assert!(manifest.old && !again.old);
    assert_eq!(again.raw, manifest.raw);
    assert_eq!(again.ac_version, "0.8.11");
    // The check of an image ID stays.
    let error = parse(&example("sha512-0a")).unwrap_err();
    assert_eq!(error.code(), Code::BadDigest);
}

#[test]
fn k29_a_label_without_a_value_is_refused() {
    for label in [
        r#"{"name":"os"}"#,
        r#"{"name":"os","value":null}"#,
        r#"{"name":"os","val":null}"#,
    ] {
        for text in [
            with("0.1.1", &format!(r#""labels":[{label}]"#)),
            with(
                "0.8.11",
                &format!(r#""dependencies":[{{"imageName":"a","labels":[{label}]}}]"#),
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert_eq!(error.code(), Code::BadManifest, "{text}");
            assert!(
                error.to_string().contains("labels[0].value: is required"),
                "{error}"
            );
        }
    }
    let (manifest, warnings) = parse(&with("0.8.11", r#""annotations":[{"name":"a"}]"#)).unwrap();
    assert_eq!(manifest.annotation("a"), Some(""));
    assert!(warnings[0].starts_with("missing-value"), "{warnings:?}");
    // A value counts before what it was called once, which stays as what nobody knows.
    let both = r#""labels":[{"name":"os","val":"a","value":"linux"}]"#;
    let (manifest, _) = parse(&with("0.8.11", both)).unwrap();
    assert_eq!(manifest.label("os"), Some("linux"));
    assert_eq!(manifest.unknown[0].0, "labels[0].val");
}

#[test]
fn k30_a_dependency_is_named_by_what_it_says() {
    for (item, name) in [
        (r#"{"app":"example.com/base"}"#, "example.com/base"),
        (r#"{"name":"example.com/base"}"#, "example.com/base"),
        (
            r#"{"imageName":"example.com/new","app":"example.com/old"}"#,
            "example.com/new",
        ),
    ] {
        let text = with("0.5.2", &format!(r#""dependencies":[{item}]"#));
        assert_eq!(parse(&text).unwrap().0.dependencies[0].image_name, name);
    }
    // A member that somebody else added means nothing.
    let text = with("0.8.11", r#""dependencies":[{"imageName":"a","hash":"x"}]"#);
    let manifest = parse(&text).unwrap().0;
    assert!(!manifest.old && manifest.dependencies[0].image_id.is_none());
}

#[test]
fn k31_names_of_mount_points_and_ports_are_made_valid() {
    let text = with_app(
        r#""mountPoints":[{"name":"volume-/data","path":"/data"},{"name":"volume-data","path":"/b"},
            {"name":"Volume-Data","path":"/c","readOnly":true},{"name":"/","path":"/d"}],
           "ports":[{"name":"6379/tcp","protocol":"tcp","port":6379},
            {"name":"HTTP","protocol":"tcp","port":80,"count":2}]"#,
    );
    let (manifest, warnings) = parse(&text).unwrap();
    let app = manifest.app.as_ref().unwrap();
    let points: Vec<_> = app
        .mount_points
        .iter()
        .map(|it| (&*it.name, &*it.path))
        .collect();
    assert_eq!(
        points,
        [
            ("volume-data-1", "/data"),
            ("volume-data", "/b"),
            ("volume-data-2", "/c"),
            ("volume", "/d")
        ]
    );
    assert!(app.mount_points[2].read_only);
    let ports: Vec<_> = app
        .ports
        .iter()
        .map(|it| (&*it.name, it.port, it.count))
        .collect();
    assert_eq!(ports, [("6379-tcp", 6379, 1), ("http", 80, 2)]);
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert!(
        warnings.iter().all(|it| it.starts_with("renamed ")),
        "{warnings:?}"
    );
    let same = r#""mountPoints":[{"name":"","path":"/data"}]"#;
    assert_eq!(parse(&with_app(same)).unwrap_err().code(), Code::BadName);
    // To compare each of these names with all others would take minutes.
    let point = |i: usize| format!(r#"{{"name":"A/","path":"/{i:040}"}}"#);
    let many: Vec<String> = (0..40_000).map(point).collect();
    let text = with_app(&format!(r#""mountPoints":[{}]"#, many.join(",")));
    let app = parse(&text).unwrap().0.app.unwrap();
    assert_eq!(app.mount_points[39_999].name, "a-39999");
}

#[test]
fn k17_names_with_separators_side_by_side_are_read() {
    for name in [
        "team/a__b",
        "team/a--b",
        "example.com/~bob/database",
        "a//b",
    ] {
        let text = with("0.8.11", r#""x":0"#).replace("example.com/app", name);
        let (manifest, warnings) = parse(&text).unwrap();
        assert_eq!((&*manifest.name, &*warnings), (name, &[][..]));
        assert!(!manifest.old);
    }
    let text = with_app(r#""mountPoints":[{"name":"volume-data--x","path":"/data/x"}]"#);
    let (manifest, warnings) = parse(&text).unwrap();
    assert_eq!(manifest.app.unwrap().mount_points[0].name, "volume-data--x");
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn k33_values_of_isolators_are_looked_at() {
    let warnings = |name: &str, value: &str| {
        let item = format!(r#""isolators":[{{"name":"{name}","value":{value}}}]"#);
        parse(&with_app(&item)).unwrap().1
    };
    for (name, value) in [
        ("os/linux/cpu-shares", "\"pants\""),
        ("os/linux/cpu-shares", "1"),
        ("os/linux/cpu-shares", "1.5"),
        ("os/linux/oom-score-adj", "1001"),
        ("os/linux/no-new-privileges", "\"true\""),
        ("os/linux/capabilities-retain-set", r#"{"set":[]}"#),
        ("os/linux/capabilities-remove-set", r#"["CAP_KILL"]"#),
        (
            "os/linux/seccomp-remove-set",
            r#"{"set":["a"],"errno":"eperm"}"#,
        ),
        (
            "os/linux/selinux-context",
            r#"{"user":"u","role":"r:","type":"t","level":"s0"}"#,
        ),
        ("os/unix/sysctl", r#"{"kernel.x":1}"#),
        ("resource/memory", r#"{"limit":"1 gig"}"#),
        ("resource/memory", "\"1G\""),
        ("resource/cpu", r#"{"default":true}"#),
        ("resource/block-iops", r#"{"limit":"1"}"#),
        (
            "resource/network-bandwidth",
            r#"{"default":true,"request":"1"}"#,
        ),
    ] {
        let found = warnings(name, value);
        assert_eq!(found.len(), 1, "{name} {value}: {found:?}");
        assert!(
            found[0].starts_with(&format!("bad-isolator isolator `{name}`")),
            "{found:?}"
        );
    }
    for (name, value) in [
        ("os/linux/cpu-shares", "1024"),
        ("os/linux/oom-score-adj", "-1000"),
        ("os/linux/no-new-privileges", "true"),
        (
            "os/linux/capabilities-retain-set",
            r#"{"set":["CAP_KILL"]}"#,
        ),
        (
            "os/linux/seccomp-remove-set",
            r#"{"set":["@docker/default"],"errno":"EPERM"}"#,
        ),
        (
            "os/linux/selinux-context",
            r#"{"user":"u","role":"r","type":"t","level":"s0:c1"}"#,
        ),
        ("os/unix/sysctl", r#"{"kernel.x":"1"}"#),
        (
            "resource/memory",
            r#"{"request":"1G","limit":"2.5Gi","default":false}"#,
        ),
        ("resource/cpu", r#"{"limit":"500m"}"#),
        ("resource/cpu", r#"{"limit":"1e3"}"#),
        ("resource/block-iops", r#"{"default":true,"limit":"1k"}"#),
        ("cpu/shares", "\"pants\""),
    ] {
        assert_eq!(
            warnings(name, value),
            Vec::<String>::new(),
            "{name} {value}"
        );
    }
    let two = r#"{"name":"os/linux/seccomp-remove-set","value":{"set":["a"]}}"#;
    let other = two.replace("remove", "retain");
    for (a, b) in [(two, two), (two, &other)] {
        let text = with_app(&format!(r#""isolators":[{a},{b}]"#));
        let found = parse(&text).unwrap().1;
        assert!(
            found[0].contains("occurs twice") || found[0].contains("beside"),
            "{found:?}"
        );
    }
}
