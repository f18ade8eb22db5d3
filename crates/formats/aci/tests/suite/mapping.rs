//! The field mapping, both ways, as tables; and that every loss is listed.

use std::collections::BTreeMap;

use imgconv_format_aci::FORMAT;
use imgconv_model::{
    Document, Exec, FormatId, History, Image, Name, Original, Platform, Port, check,
};

use crate::build::{aci, decode, encode, losses, manifest_of};

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

pub(crate) fn image() -> Image {
    Image {
        name: Some(Name {
            repository: Some("example.com/app".into()),
            tag: Some("1.0".into()),
            digest: None,
        }),
        platform: Platform::new("linux", "amd64"),
        ..Image::default()
    }
}

/// The fields of a manifest that is written for an image without an original, without those of
/// origin.
fn written(image: &Image) -> serde_json::Value {
    let (bytes, _) = encode(image).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&manifest_of(&bytes)).unwrap();
    let origin = ["originalname", "registryurl", "repository", "tag"]
        .map(|key| format!("appc.io/docker/{key}"));
    let annotations = value["annotations"].as_array_mut().unwrap();
    annotations.retain(|pair| !origin.iter().any(|name| pair["name"] == **name));
    value
}

/// (field, what the image has, the fields of the manifest)
#[test]
fn from_docker_and_oci() {
    let app = |text: &str| format!(r#"{{"exec":[],"user":"0","group":"0",{text}}}"#);
    type Change = fn(&mut Image);
    let table: &[(Change, &str, String)] = &[
        (|_| {}, "name", r#""example.com/app""#.into()),
        (|image| image.name.as_mut().unwrap().repository = Some("localhost:5000/My_App".into()), "name", r#""localhost_5000/my_app""#.into()),
        (|_| {}, "labels", r#"[{"name":"arch","value":"amd64"},{"name":"os","value":"linux"},{"name":"version","value":"1.0"}]"#.into()),
        (
            |image| (image.platform, image.name.as_mut().unwrap().tag) = (Platform::parse("linux/arm/v7").unwrap(), None),
            "labels",
            r#"[{"name":"arch","value":"armv7l"},{"name":"os","value":"linux"}]"#.into(),
        ),
        (|image| image.platform = Platform::default(), "labels", r#"[{"name":"version","value":"1.0"}]"#.into()),
        (|_| {}, "app", "null".into()),
        (|image| image.config.env = strings(&["B=2", "A=1=1", "C="]), "app", app(r#""environment":[{"name":"B","value":"2"},{"name":"A","value":"1=1"},{"name":"C","value":""}]"#)),
        (|image| image.config.working_dir = Some("/srv".into()), "app", app(r#""workingDirectory":"/srv""#)),
        (
            |image| image.config.ports = vec![port(8080, 1, "tcp"), port(53, 1, "udp"), port(80, 11, "tcp")],
            "app",
            app(r#""ports":[{"name":"53-udp","protocol":"udp","port":53,"count":1},{"name":"80-90-tcp","protocol":"tcp","port":80,"count":11},{"name":"8080-tcp","protocol":"tcp","port":8080,"count":1}]"#),
        ),
        (
            |image| image.config.volumes = strings(&["/data", "/a/b", "/a-b"]),
            "app",
            app(r#""mountPoints":[{"name":"volume-a-b","path":"/a-b"},{"name":"volume-a-b-1","path":"/a/b"},{"name":"volume-data","path":"/data"}]"#),
        ),
        (|image| image.config.labels = [("k".into(), "v".into())].into(), "app", app(r#""userLabels":{"k":"v"}"#)),
        (|image| image.config.user = Some("u:g".into()), "app", r#"{"exec":[],"user":"u","group":"g"}"#.into()),
        (|image| image.config.user = Some("1000".into()), "app", r#"{"exec":[],"user":"1000","group":"0"}"#.into()),
        (|image| image.config.user = Some("1000".into()), "annotations", r#"[{"name":"appc.io/docker/user","value":"1000"}]"#.into()),
        (|image| image.config.user = Some(":".into()), "app", r#"{"exec":[],"user":"0","group":"0"}"#.into()),
        (|image| image.config.exec = Some(exec(&["/a", "-x"], &["y"])), "app", r#"{"exec":["/a","-x","y"],"user":"0","group":"0"}"#.into()),
        (
            |image| image.config.exec = Some(exec(&["/a"], &["y<"])),
            "annotations",
            r#"[{"name":"appc.io/docker/cmd","value":"[\"y\\u003c\"]"},{"name":"appc.io/docker/entrypoint","value":"[\"/a\"]"}]"#.into(),
        ),
        (
            |image| (image.created, image.author) = (Some("2020-01-02T03:04:05Z".into()), Some("me".into())),
            "annotations",
            r#"[{"name":"authors","value":"me"},{"name":"created","value":"2020-01-02T03:04:05Z"}]"#.into(),
        ),
        (
            |image| {
                for (key, value) in [
                    ("org.opencontainers.image.url", "https://x"),
                    ("com.example.a", "1"),
                    ("Maintainer", "m"),
                    ("created", "c"),
                    ("appc.io/label/env", "canary"),
                ] {
                    image.annotations.insert(key.into(), value.into());
                }
            },
            "annotations",
            r#"[{"name":"com.example.a","value":"1"},{"name":"homepage","value":"https://x"}]"#.into(),
        ),
        (|image| image.annotations = [("Maintainer".into(), "m".into()), ("created".into(), "c".into())].into(), "app", app(r#""userAnnotations":{"Maintainer":"m","created":"c"}"#)),
    ];
    for (change, field, expected) in table {
        let mut image = image();
        change(&mut image);
        assert_eq!(check(&image), Vec::<String>::new());
        let found = written(&image)[*field].clone();
        assert_eq!(found.to_string(), *expected, "{field}");
        assert_honest(&image);
    }
    let docker = Image {
        name: Some(Name {
            repository: Some("docker.io/library/busybox".into()),
            tag: Some("1".into()),
            digest: None,
        }),
        ..image()
    };
    let text = manifest_of(&encode(&docker).unwrap().0);
    for (key, value) in [
        ("originalname", "docker.io/library/busybox:1"),
        ("registryurl", "docker.io"),
        ("repository", "library/busybox"),
        ("tag", "1"),
    ] {
        assert!(
            text.contains(&format!(
                r#"{{"name":"appc.io/docker/{key}","value":"{value}"}}"#
            )),
            "{text}"
        );
    }
}

pub(crate) fn port(number: u16, count: u16, protocol: &str) -> Port {
    Port {
        number,
        count,
        protocol: protocol.into(),
    }
}

fn exec(entrypoint: &[&str], cmd: &[&str]) -> Exec {
    Exec {
        entrypoint: strings(entrypoint),
        cmd: strings(cmd),
    }
}

/// What is written and read again is the image, except for what the report lists; and every field
/// that it lists differs.
#[track_caller]
pub(crate) fn assert_honest(image: &Image) {
    let (bytes, report) = encode(image).unwrap();
    let again = decode(&bytes).unwrap().image;
    assert_eq!(check(&again), Vec::<String>::new());
    let mut differences: Vec<String> = Vec::new();
    let mut compare = |field: &str, differs: bool| {
        if differs {
            differences.push(field.to_owned());
        }
    };
    let (own, read) = (&image.config, &again.config);
    let (name, read_name) = (
        image.name.clone().unwrap_or_default(),
        again.name.clone().unwrap_or_default(),
    );
    compare("name", name.repository != read_name.repository);
    compare("tag", name.tag != read_name.tag);
    compare("platform", image.platform != again.platform);
    compare("created", image.created != again.created);
    compare("author", image.author != again.author);
    compare("config.Entrypoint", own.exec != read.exec);
    compare("config.User", own.user != read.user);
    compare("config.Env", own.env != read.env);
    compare("config.WorkingDir", own.working_dir != read.working_dir);
    let sorted = |ports: &[Port]| {
        let mut ports = ports.to_vec();
        ports.sort();
        ports
    };
    compare(
        "config.ExposedPorts",
        sorted(&own.ports) != sorted(&read.ports),
    );
    let sorted = |texts: &[String]| {
        let mut texts = texts.to_vec();
        texts.sort();
        texts
    };
    compare(
        "config.Volumes",
        sorted(&own.volumes) != sorted(&read.volumes),
    );
    compare("config.Labels", own.labels != read.labels);
    compare("config.StopSignal", own.stop_signal != read.stop_signal);
    compare("history", image.history != again.history);
    compare("annotations", image.annotations != again.annotations);
    for (key, value) in &image.extensions {
        compare(&key.1, again.extensions.get(key) != Some(value));
    }
    differences.sort();
    let mut listed: Vec<String> = report
        .losses
        .iter()
        .map(|loss| {
            let (field, _) = loss
                .field
                .split_at(loss.field.find("[\"").unwrap_or(loss.field.len()));
            let kept = field.starts_with("annotations.") || field.starts_with("config.Labels.");
            if kept {
                field.split('.').next().unwrap().to_owned()
            } else {
                field.to_owned()
            }
        })
        .collect();
    listed.sort();
    listed.dedup();
    assert_eq!(differences, listed, "{:#?}", report.losses);
}

/// Images that an ACI can't hold whole: (what, change, losses).
#[test]
fn what_is_lost_is_listed_and_nothing_else() {
    type Change = fn(&mut Image);
    let table: &[(Change, &[&str])] = &[
        (|_| {}, &[]),
        (
            |image| image.config.stop_signal = Some("SIGTERM".into()),
            &["config.StopSignal dropped"],
        ),
        (
            |image| {
                image.history = vec![History {
                    empty_layer: true,
                    ..History::default()
                }];
            },
            &["history dropped"],
        ),
        (
            |image| image.created = Some("yesterday".into()),
            &["created dropped"],
        ),
        (
            |image| image.name.as_mut().unwrap().repository = Some("A//b".into()),
            &["name approximated"],
        ),
        (
            |image| image.platform = Platform::new("linux", "arm"),
            &["platform approximated"],
        ),
        (
            |image| image.platform = Platform::parse("linux/amd64/v2").unwrap(),
            &["platform approximated"],
        ),
        (
            |image| {
                drop(
                    image
                        .extensions
                        .insert((FormatId("oci"), "config.Healthcheck".into()), "{}".into()),
                )
            },
            &["config.Healthcheck dropped"],
        ),
        (
            |image| {
                drop(
                    image
                        .extensions
                        .insert((FORMAT, "app.ports[x].name".into()), "{}".into()),
                )
            },
            &["app.ports[x].name dropped"],
        ),
        (
            |image| {
                drop(image.extensions.insert(
                    (FORMAT, "app.isolators".into()),
                    r#"[{"name":"a","value":1}]"#.into(),
                ))
            },
            &[],
        ),
        (|image| image.config.user = Some("0:0".into()), &[]),
        (|image| image.config.user = Some("root".into()), &[]),
        (|image| image.config.exec = Some(exec(&[], &["sh"])), &[]),
        (|image| image.config.exec = Some(exec(&["sh"], &[])), &[]),
        (
            |image| {
                for key in [
                    "org.opencontainers.image.version",
                    "appc.io/docker/cmd",
                    "imgconv.oci.config",
                    "appc.io/label/x",
                    "homepage",
                ] {
                    image.annotations.insert(key.into(), "x".into());
                }
            },
            &[],
        ),
    ];
    for (i, (change, expected)) in table.iter().enumerate() {
        let mut image = image();
        change(&mut image);
        let (_, report) = encode(&image).unwrap();
        assert_eq!(losses(&report), *expected, "row {i}: {:?}", report.losses);
        assert_honest(&image);
    }
}

#[test]
fn oci_documents_are_kept_for_the_way_back() {
    let mut image = image();
    let documents = [
        (
            "manifest",
            r#"{"schemaVersion":2,"mediaType":"m","config":{"mediaType":"c"}}"#,
        ),
        ("config", "{\"a\": 1}\n"),
    ];
    for (role, text) in documents {
        image.originals.push(Original {
            format: FormatId("oci"),
            role,
            document: Document {
                kind: "k".into(),
                bytes: text.as_bytes().into(),
            },
        });
    }
    image
        .extensions
        .insert((FormatId("oci"), "config.Healthcheck".into()), "{}".into());
    let (bytes, report) = encode(&image).unwrap();
    assert!(
        report.losses[0].why.contains("imgconv.oci.config"),
        "{report:?}"
    );
    let again = decode(&bytes).unwrap().image;
    assert_eq!(again.annotations, BTreeMap::new());
    let kept: Vec<_> = again
        .originals
        .iter()
        .map(|original| {
            (
                original.format,
                original.role,
                &*original.document.kind,
                &*original.document.bytes,
            )
        })
        .collect();
    let oci = FormatId("oci");
    assert_eq!(kept[0], (oci, "manifest", "m", documents[0].1.as_bytes()));
    assert_eq!(kept[1], (oci, "config", "c", documents[1].1.as_bytes()));
    assert_eq!((kept[2].0, kept[2].1), (FORMAT, "manifest"));
}

#[test]
fn from_an_aci() {
    let decoded = decode(&aci(include_str!("example.json"), &[])).unwrap();
    let image = decoded.image;
    assert_eq!(check(&image), Vec::<String>::new());
    assert_eq!(image.name.unwrap().to_string(), "example.com/worker:1.0.0");
    assert_eq!(image.platform, Platform::new("linux", "amd64"));
    assert_eq!(
        image.created.as_deref(),
        Some("2014-10-27T19:32:27.67021798Z")
    );
    assert_eq!(image.author.as_deref(), Some("Carly <carly@example.com>"));
    assert_eq!(
        image.config.exec,
        Some(exec(&["/usr/bin/worker", "--quiet"], &[]))
    );
    assert_eq!(image.config.user.as_deref(), Some("100:300"));
    assert_eq!(image.config.env, ["WORKER_DEBUG=true"]);
    assert_eq!(image.config.working_dir.as_deref(), Some("/opt/work"));
    assert_eq!(
        image.config.ports,
        [
            port(4000, 1, "tcp"),
            port(20_000, 1000, "tcp"),
            port(53, 1, "udp")
        ]
    );
    assert_eq!(image.config.volumes, ["/var/lib/work", "/data"]);
    assert_eq!(image.config.labels, [("tier".into(), "back".into())].into());
    let annotations: Vec<String> = image
        .annotations
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        annotations,
        [
            "Any Key=any value",
            "appc.io/executor/supports-systemd-notify=false",
            "appc.io/label/env=canary",
            "org.opencontainers.image.authors=Carly <carly@example.com>",
            "org.opencontainers.image.created=2014-10-27T19:32:27.67021798Z",
            "org.opencontainers.image.documentation=https://example.com/docs",
            "org.opencontainers.image.url=https://example.com",
            "org.opencontainers.image.version=1.0.0",
        ]
    );
    let extensions: Vec<&str> = image
        .extensions
        .keys()
        .map(|(format, path)| {
            assert_eq!(*format, FORMAT);
            &**path
        })
        .collect();
    assert_eq!(
        extensions,
        [
            "app.eventHandlers",
            "app.isolators",
            "app.mountPoints[work].name",
            "app.mountPoints[work].readOnly",
            "app.ports[ftp-data].name",
            "app.ports[health].name",
            "app.ports[health].socketActivated",
            "app.supplementaryGIDs",
            "dependencies",
            "pathWhitelist",
        ]
    );
    assert_eq!(
        image.extensions[&(FORMAT, "app.supplementaryGIDs".into())],
        "[400,500]"
    );
}

#[test]
fn docker_annotations_split_exec_only_while_they_join() {
    let manifest = |exec: &str, cmd: &str| {
        format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x","app":{{"exec":{exec},"user":"0","group":"0"}},"annotations":[{{"name":"appc.io/docker/entrypoint","value":"[\"/a\"]"}},{{"name":"appc.io/docker/cmd","value":{cmd}}}]}}"#
        )
    };
    let image = |exec: &str, cmd: &str| decode(&aci(&manifest(exec, cmd), &[])).unwrap().image;
    let joined = image(r#"["/a","b"]"#, r#""[\"b\"]""#);
    assert_eq!(joined.config.exec, Some(exec(&["/a"], &["b"])));
    assert!(joined.annotations.is_empty());
    for cmd in [r#""[\"c\"]""#, r#""not JSON""#, r#""""#] {
        let edited = image(r#"["/a","b"]"#, cmd);
        assert_eq!(edited.config.exec, Some(exec(&["/a", "b"], &[])), "{cmd}");
        assert_eq!(
            edited.annotations.len(),
            2,
            "they are visible as what they are"
        );
    }
    assert_eq!(image("[]", r#""[]""#).config.exec, None);
}
