//! The image configuration: robustness C11 and C12, and what a rewrite changes.

use std::collections::BTreeMap;

use imgconv_json::{Value, canonical, parse};
use imgconv_manifest::docker_config::{Defaults, ImageConfig, decode, encode, loadable};
use imgconv_model::{Code, Exec, History, Limits, Outcome, Platform, Port, Report};

const ID_A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const ID_B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn value(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::default(), "config").unwrap()
}

/// A configuration of one layer with more fields.
fn with(fields: &str) -> Value {
    value(&format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{ID_A}"]}}{fields}}}"#
    ))
}

fn read(fields: &str) -> ImageConfig {
    let mut report = Report::default();
    let config = decode(&with(fields), &mut report).unwrap();
    assert_eq!(report, Report::default(), "{fields}");
    config
}

fn refuse(fields: &str, code: Code, part: &str) {
    let error = decode(&with(fields), &mut Report::default()).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error} lacks {part}");
}

fn write(original: Option<&Value>, wanted: &ImageConfig) -> (String, bool, Report) {
    let limits = Limits::default();
    let platform = Platform::new("plan9", "mips");
    let defaults = Defaults {
        platform: &platform,
        created: None,
        limits: &limits,
    };
    let mut report = Report::default();
    let (value, changed) = encode(original, wanted, &defaults, &mut report).unwrap();
    (
        String::from_utf8(canonical(&value)).unwrap(),
        changed,
        report,
    )
}

/// Decodes and encodes without a change, and expects none.
fn copies(value: &Value) {
    let wanted = decode(value, &mut Report::default()).unwrap();
    let (text, changed, report) = write(Some(value), &wanted);
    assert!(!changed, "{text}");
    assert_eq!(text.as_bytes(), canonical(value));
    assert_eq!(report, Report::default());
}

#[test]
fn c11a_null_is_absent_and_is_kept() {
    let plain = read("");
    for fields in [
        r#","config":null"#,
        r#","config":{"Cmd":null,"Entrypoint":null,"Env":null,"Volumes":null,"ExposedPorts":null}"#,
        r#","config":{"Labels":null,"OnBuild":null,"PortSpecs":null,"User":null,"WorkingDir":null}"#,
        r#","history":null,"created":null,"author":null,"variant":null,"config":{}"#,
    ] {
        assert_eq!(read(fields), plain, "{fields}");
        copies(&with(fields));
    }
    let empty =
        value(r#"{"os":"linux","architecture":"arm","rootfs":{"type":"layers","diff_ids":null}}"#);
    assert_eq!(decode(&empty, &mut Report::default()).unwrap().diff_ids, []);
    copies(&empty);
}

#[test]
fn c11b_old_spellings() {
    let config = read(r#","created":"","config":{"Entrypoint":"/init","Cmd":"a b"}"#);
    let exec = Exec {
        entrypoint: vec!["/init".into()],
        cmd: vec!["a b".into()],
    };
    assert_eq!(config.config.exec, Some(exec));
    assert_eq!(config.created, None);
    assert_eq!(read(r#","created":"0001-01-01T00:00:00Z""#).created, None);
    let fields =
        r#","x":[1.50],"config":{"Healthcheck":{"Test":["CMD","x"]},"Shell":["sh"],"new":10.0}"#;
    let extensions: BTreeMap<String, String> = [
        ("x", "[1.50]"),
        ("config.Healthcheck", r#"{"Test":["CMD","x"]}"#),
        ("config.Shell", r#"["sh"]"#),
        ("config.new", "10.0"),
    ]
    .map(|(path, raw)| (path.to_owned(), raw.to_owned()))
    .into();
    assert_eq!(read(fields).extensions, extensions);
    copies(&with(fields));
    refuse(
        r#","created":"yesterday""#,
        Code::BadManifest,
        "field created: expected a date",
    );
    refuse(
        r#","config":{"Cmd":7}"#,
        Code::BadManifest,
        "field config.Cmd",
    );
}

#[test]
fn c11c_an_absent_platform_warns_and_stays_absent_in_a_copy() {
    let text = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{ID_A}"]}}}}"#);
    let mut report = Report::default();
    let mut config = decode(&value(&text), &mut report).unwrap();
    assert_eq!(report.warnings[0].code, "missing-platform");
    assert_eq!(config.platform, Platform::default());
    copies(&value(&text));
    config.config.user = Some("u".into());
    let (written, _, report) = write(Some(&value(&text)), &config);
    assert!(
        written.contains(r#""architecture":"mips","os":"plan9""#),
        "{written}"
    );
    assert_eq!(report.warnings[0].code, "assumed-platform");
    assert_eq!(
        (&*report.losses[0].field, report.losses[0].outcome),
        ("platform", Outcome::Synthesised)
    );
}

#[test]
fn c12a_users_are_text() {
    for user in [
        "2147483648",
        "4294967296",
        "-1",
        "0:99999999999",
        ":",
        "a:b:c",
        "1000:",
        &"x".repeat(1 << 20),
    ] {
        let fields = format!(r#","config":{{"User":"{user}"}}"#);
        assert_eq!(read(&fields).config.user.as_deref(), Some(user));
        copies(&with(&fields));
    }
    assert_eq!(read(r#","config":{"User":""}"#).config.user, None);
}

#[test]
fn c12e_c12j_ports() {
    let port = |number, count, protocol: &str| Port {
        number,
        count,
        protocol: protocol.into(),
    };
    let rows = [
        ("80", port(80, 1, "tcp")),
        ("80/tcp", port(80, 1, "tcp")),
        ("80/TCP", port(80, 1, "tcp")),
        ("53/udp", port(53, 1, "udp")),
        ("80-90/tcp", port(80, 11, "tcp")),
        ("65535/sctp", port(65535, 1, "sctp")),
        ("1-65535", port(1, 65535, "tcp")),
    ];
    for (key, port) in rows {
        let fields = format!(r#","config":{{"ExposedPorts":{{"{key}":{{}}}}}}"#);
        assert_eq!(read(&fields).config.ports, [port], "{key}");
        assert!(read(&fields).extensions.is_empty());
        copies(&with(&fields));
    }
    for key in [
        "0/tcp",
        "65536/tcp",
        "99999999999999999999/tcp",
        "a/tcp",
        "80/",
        "80/x/y",
        "90-80/tcp",
        "+80",
        "",
    ] {
        let fields = format!(r#","config":{{"ExposedPorts":{{"{key}":{{}}}}}}"#);
        assert_eq!(read(&fields).config.ports, [], "{key}");
        assert_eq!(read(&fields).extensions.len(), 1, "{key}");
        copies(&with(&fields));
    }
    // Two spellings of the same port are one port, and a copy keeps both spellings.
    let twice = r#","config":{"ExposedPorts":{"80":{},"80/tcp":{}}}"#;
    assert_eq!(read(twice).config.ports.len(), 1);
    copies(&with(twice));
}

#[test]
fn c12j_odd_values_are_kept() {
    let fields = r#","config":{"Env":["NOEQ","=x","A=1","A=2\nB"],"Volumes":{"/../../etc":{},"":{},"rel":{}},"WorkingDir":"rel"}"#;
    let config = read(fields).config;
    assert_eq!(config.env, ["NOEQ", "=x", "A=1", "A=2\nB"]);
    assert_eq!(config.volumes, ["/../../etc", "", "rel"]);
    assert_eq!(config.working_dir.as_deref(), Some("rel"));
    copies(&with(fields));
}

#[test]
fn c12k_the_file_system_is_of_layers() {
    let rootfs = |text: &str| {
        value(&format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{text}}}"#
        ))
    };
    let rows = [
        (
            r#"{"type":"Layers","diff_ids":[]}"#,
            "field rootfs.type: expected \"layers\"",
        ),
        (r#"{"diff_ids":[]}"#, "field rootfs.type"),
        ("null", "field rootfs: is required"),
        (
            r#"{"type":"layers","diff_ids":[1]}"#,
            "field rootfs.diff_ids[0]",
        ),
    ];
    for (text, part) in rows {
        let error = decode(&rootfs(text), &mut Report::default()).unwrap_err();
        assert_eq!(error.code(), Code::BadManifest);
        assert!(error.to_string().contains(part), "{error}");
    }
    let bad = rootfs(r#"{"type":"layers","diff_ids":["sha256:x"]}"#);
    let error = decode(&bad, &mut Report::default()).unwrap_err();
    assert_eq!(error.code(), Code::BadDigest, "{error}");
}

#[test]
fn c12l_a_history_that_does_not_fit() {
    let original = with(r#","history":[{"created_by":"a"},{"created_by":"b"}]"#);
    let mut report = Report::default();
    let mut config = decode(&original, &mut report).unwrap();
    assert_eq!(report.warnings[0].code, "history-mismatch");
    assert!(
        report.warnings[0]
            .message
            .contains("names 2 layers, but the image has 1")
    );
    assert_eq!(config.history, []);
    copies(&original);
    config.author = Some("me".into());
    let (written, changed, _) = write(Some(&original), &config);
    assert!(changed && !written.contains("history"), "{written}");
    // A history that fits the layers only before the change does not stay either.
    let original = with(r#","history":[{"created_by":"a"}]"#);
    let mut config = decode(&original, &mut Report::default()).unwrap();
    config
        .diff_ids
        .push(imgconv_model::Digest::parse(ID_B).unwrap());
    let (written, _, report) = write(Some(&original), &config);
    assert!(!written.contains("history"), "{written}");
    assert_eq!(report.losses[0].field, "history");
}

#[test]
fn c10_misspelt_fields() {
    refuse(r#","Config":{}"#, Code::BadJson, "\"Config\"");
    refuse(r#","hi\u017ftory":[]"#, Code::BadJson, "`history`");
    refuse(r#","config":{"cmd":[]}"#, Code::BadJson, "field config");
    refuse(
        r#","config":{"healthcheck":{}}"#,
        Code::BadJson,
        "`Healthcheck`",
    );
    refuse(
        r#","history":[{"Created":""}]"#,
        Code::BadJson,
        "field history[0]",
    );
}

#[test]
fn zero_values_of_dockers_own_fields_say_nothing() {
    let fields = r#","config":{"Hostname":"","Domainname":"","AttachStdin":false,"Tty":false,"Image":"","OnBuild":[],"Memory":0,"mine":""}"#;
    let extensions = read(fields).extensions;
    assert_eq!(extensions.into_keys().collect::<Vec<_>>(), ["config.mine"]);
    copies(&with(fields));
}

#[test]
fn a_change_touches_only_its_field() {
    let original = with(
        r#","docker_version":"1","config":{"Labels":{"z":"1"},"Cmd":"x","Healthcheck":{},"Shell":["s"],"ExposedPorts":{"80":{},"0/x":{}}},"created":"2020-01-01T00:00:00Z""#,
    );
    let mut wanted = decode(&original, &mut Report::default()).unwrap();
    wanted.config.user = Some("u".into());
    wanted.config.ports.push(Port {
        number: 9000,
        count: 2,
        protocol: "udp".into(),
    });
    wanted.created = None;
    let (written, changed, report) = write(Some(&original), &wanted);
    assert!(changed);
    assert_eq!(
        written,
        format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{ID_A}"]}},"docker_version":"1","config":{{"User":"u","Labels":{{"z":"1"}},"Cmd":"x","Healthcheck":{{}},"Shell":["s"],"ExposedPorts":{{"80":{{}},"0/x":{{}},"9000/udp":{{}},"9001/udp":{{}}}}}}}}"#
        )
    );
    let losses: Vec<_> = report
        .losses
        .iter()
        .map(|loss| (&*loss.field, loss.outcome))
        .collect();
    assert_eq!(losses, [("ports", Outcome::Approximated)]);
}

#[test]
fn a_new_config_has_the_fields_in_the_order_of_the_specification() {
    let wanted = ImageConfig {
        platform: Platform::parse("linux/arm/v7").unwrap(),
        created: Some("2015-10-31T22:22:56Z".into()),
        author: Some("me".into()),
        config: imgconv_model::RunConfig {
            exec: Some(Exec {
                entrypoint: vec!["/a".into()],
                cmd: vec!["b".into()],
            }),
            user: Some("1:2".into()),
            env: vec!["A=<b>".into()],
            working_dir: Some("/w".into()),
            ports: vec![Port {
                number: 80,
                count: 1,
                protocol: "tcp".into(),
            }],
            volumes: vec!["/v".into()],
            labels: [("k".to_owned(), "v".to_owned())].into(),
            stop_signal: Some("SIGINT".into()),
        },
        diff_ids: vec![imgconv_model::Digest::parse(ID_A).unwrap()],
        history: vec![
            History {
                created_by: Some("x".into()),
                ..History::default()
            },
            History {
                empty_layer: true,
                comment: Some("c".into()),
                ..History::default()
            },
        ],
        extensions: [
            ("config.Healthcheck", "{\"Retries\":1}"),
            ("os.version", "\"10\""),
        ]
        .map(|(path, raw)| (path.to_owned(), raw.to_owned()))
        .into(),
    };
    let (written, changed, report) = write(None, &wanted);
    assert!(changed);
    assert_eq!(report, Report::default());
    assert_eq!(
        written,
        format!(
            r#"{{"created":"2015-10-31T22:22:56Z","author":"me","architecture":"arm","os":"linux","variant":"v7","config":{{"User":"1:2","ExposedPorts":{{"80/tcp":{{}}}},"Env":["A=\u003cb\u003e"],"Entrypoint":["/a"],"Cmd":["b"],"Volumes":{{"/v":{{}}}},"WorkingDir":"/w","Labels":{{"k":"v"}},"StopSignal":"SIGINT","Healthcheck":{{"Retries":1}}}},"rootfs":{{"type":"layers","diff_ids":["{ID_A}"]}},"history":[{{"created_by":"x"}},{{"comment":"c","empty_layer":true}}],"os.version":"10"}}"#
        )
    );
    assert_eq!(
        decode(&value(&written), &mut Report::default()).unwrap(),
        wanted
    );
}

#[test]
fn extensions_without_a_place_are_reported() {
    let paths = [
        "config.Cmd",
        "Config",
        "config.cmd",
        "rootfs.type",
        "config.ExposedPorts.80/tcp",
        "a.b.c",
        "",
        "config.bad",
    ];
    for path in paths {
        let mut wanted = read("");
        let raw = if path == "config.bad" { "{" } else { "1" };
        wanted.extensions.insert(path.into(), raw.into());
        let (_, _, report) = write(None, &wanted);
        let losses: Vec<_> = report
            .losses
            .iter()
            .map(|loss| (&*loss.field, loss.outcome))
            .collect();
        assert_eq!(losses, [(path, Outcome::Dropped)]);
    }
}

// robustness K36
#[test]
fn k36_members_of_the_wrong_type() {
    let rows = [
        (r#","os.features":"x""#, "os.features", ""),
        (r#","os.version":1"#, "os.version", ""),
        (r#","docker_version":{}"#, "docker_version", ""),
        (r#","Size":1.5"#, "Size", ""),
        (r#","container_config":[]"#, "container_config", ""),
        (
            r#","container_config":{"Env":"x"}"#,
            "container_config.Env",
            r#","container_config":{}"#,
        ),
        (
            r#","config":{"Volumes":{"/a":1}}"#,
            "config.Volumes./a",
            r#","config":{"Volumes":{"/a":{}}}"#,
        ),
        (
            r#","config":{"ExposedPorts":{"80/tcp":[]}}"#,
            "config.ExposedPorts.80/tcp",
            r#","config":{"ExposedPorts":{"80/tcp":{}}}"#,
        ),
        (
            r#","config":{"Healthcheck":{"Test":["NONE"],"Interval":"30s"}}"#,
            "config.Healthcheck.Interval",
            r#","config":{"Healthcheck":{"Test":["NONE"]}}"#,
        ),
        (
            r#","config":{"Healthcheck":[]}"#,
            "config.Healthcheck",
            r#","config":{}"#,
        ),
        (
            r#","config":{"OnBuild":"RUN x"}"#,
            "config.OnBuild",
            r#","config":{}"#,
        ),
        (
            r#","config":{"OnBuild":[1]}"#,
            "config.OnBuild",
            r#","config":{}"#,
        ),
        (
            r#","config":{"Shell":1}"#,
            "config.Shell",
            r#","config":{}"#,
        ),
        (
            r#","config":{"StopTimeout":"10"}"#,
            "config.StopTimeout",
            r#","config":{}"#,
        ),
        (
            r#","config":{"StopTimeout":1e1}"#,
            "config.StopTimeout",
            r#","config":{}"#,
        ),
        (
            r#","config":{"Tty":"yes"}"#,
            "config.Tty",
            r#","config":{}"#,
        ),
        (
            r#","config":{"Hostname":7}"#,
            "config.Hostname",
            r#","config":{}"#,
        ),
    ];
    for (fields, member, mended) in rows {
        let config = with(fields);
        let mut report = Report::default();
        decode(&config, &mut report).unwrap();
        assert_eq!(report.warnings.len(), 1, "{fields}: {report:?}");
        assert_eq!(report.warnings[0].code, "config-type");
        let said = report.warnings[0].message.replace('\\', "");
        assert!(said.contains(member), "{said}");
        let (mut written, mut report) = (config.clone(), Report::default());
        assert!(loadable(&mut written, false, &mut report));
        assert_eq!(written, with(mended), "{fields}");
        assert_eq!(report.losses.len(), 1, "{fields}");
        assert_eq!(report.losses[0].field, member);
        // A copy is a copy.
        let (mut written, mut report) = (config.clone(), Report::default());
        assert!(!loadable(&mut written, true, &mut report));
        assert_eq!((written, report.warnings.len()), (config.clone(), 1));
        copies(&config);
    }
    // Values that Go reads.
    for fields in [
        r#","os.features":null,"container_config":null"#,
        r#","config":{"Volumes":{"/a":null,"/b":{"x":1}},"OnBuild":[null,"x"],"Shell":"sh"}"#,
        r#","config":{"Healthcheck":{"Test":null,"Interval":30000000000},"StopTimeout":null}"#,
        r#","config":{"Image":"","Tty":false,"ArgsEscaped":true}"#,
    ] {
        read(fields);
    }
    // `null` in a list is an empty text, and in the history an empty step.
    let config = read(r#","config":{"Env":["A=b",null],"Cmd":[null]},"history":[null]"#);
    assert_eq!(config.config.env, ["A=b", ""]);
    assert_eq!(config.config.exec.unwrap().cmd, [""]);
    assert_eq!(config.history, [History::default()]);
    // An extension of the wrong type has no place in a new config.
    let mut wanted = read("");
    let bad = [
        ("config.OnBuild", "1"),
        ("os.features", "{}"),
        ("Size", "true"),
    ];
    for (path, raw) in bad {
        wanted.extensions.insert(path.into(), raw.into());
    }
    wanted
        .extensions
        .insert("config.StopTimeout".into(), "3".into());
    let (text, _, report) = write(None, &wanted);
    assert!(text.contains(r#""config":{"StopTimeout":3}"#), "{text}");
    let lost: Vec<&str> = report.losses.iter().map(|loss| &*loss.field).collect();
    assert_eq!(lost, ["Size", "config.OnBuild", "os.features"]);
}
