//! Docker v1 images: robustness A1a, A2, A3 and what else a chain may say.

use imgconv_format_docker_v2s1::{DOCKER_V1, DOCKER_V2S1};
use imgconv_model::{Code, DocumentFormat, Env, Image, Report, Result};

use crate::{
    build::{id, quoted, v1},
    bundle::{Memory, V1, decode_with, env, fails, memory, root},
};

fn chain(own: &str, layers: &[(&str, String)]) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|(id, json)| {
            format!(
                r#"{{"id":{},"json":{},"layer":"m/layer.tar"}}"#,
                quoted(id),
                quoted(json)
            )
        })
        .collect();
    format!(
        r#"{{"id":{},"layers":[{}]}}"#,
        quoted(own),
        layers.join(",")
    )
}

fn read_with(text: &str, env: &Env) -> Result<(Image, Report)> {
    let memory = Memory {
        members: [("m/layer.tar".to_owned(), None)].into(),
        ..memory()
    };
    decode_with(&memory, &root(V1, text.as_bytes()), env)
}

fn read(text: &str) -> Result<(Image, Report)> {
    read_with(text, &env())
}

#[test]
fn a_v1_image() {
    let (a, b) = (id('a'), id('b'));
    let text = chain(
        &b,
        &[
            (
                &a,
                v1(
                    'a',
                    None,
                    r#","created":"2013-01-01T00:00:00Z","container_config":{"Cmd":["x","y"]}"#,
                ),
            ),
            (
                &b,
                v1(
                    'b',
                    Some('a'),
                    r#","os":"linux","architecture":"amd64","config":{"Cmd":["run"]}"#,
                ),
            ),
        ],
    );
    assert!(DOCKER_V1.recognise(&root(V1, text.as_bytes())));
    assert!(!DOCKER_V2S1.recognise(&root(V1, text.as_bytes())));
    assert!(!DOCKER_V1.recognise(&root("", text.as_bytes())));
    let (image, report) = read(&text).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.history[0].created_by.as_deref(), Some("x y"));
    assert!(image.history.iter().all(|step| !step.empty_layer));
    assert_eq!(image.config.exec.as_ref().unwrap().cmd, ["run"]);
    let keys: Vec<String> = image
        .extensions
        .keys()
        .map(|(f, p)| format!("{f} {p}"))
        .collect();
    assert_eq!(
        keys,
        [
            "docker-v1 id",
            "docker-v1 parent",
            "docker-v1 v1Compatibility"
        ]
    );
    assert_eq!(&*image.originals[0].document.bytes, text.as_bytes());
    assert_eq!(image.originals[0].format, DOCKER_V1.id());
}

#[test]
fn a1a_ids() {
    let hex = id('a');
    for text in [
        format!("../../../etc/{hex}"),
        String::new(),
        ".".into(),
        "..".into(),
        "/etc/passwd".into(),
        "a/b".into(),
        id('A'),
        hex[1..].into(),
        format!("{hex}a"),
        id('g'),
        format!("{hex}\n"),
        format!("{hex}\0"),
        "a".repeat(1 << 20),
    ] {
        let json = format!(r#"{{"id":{}}}"#, quoted(&text));
        let part = "64 lower-case hex digits";
        fails(read(&chain(&text, &[(&text, json)])), Code::BadName, part);
        let top = chain(&text, &[(&hex, v1('a', None, ""))]);
        fails(read(&top), Code::BadName, "field id");
    }
}

#[test]
fn a2_chains() {
    let (a, b, c) = (id('a'), id('b'), id('c'));
    let own = chain(&a, &[(&a, v1('a', Some('a'), ""))]);
    fails(read(&own), Code::Cycle, &a);
    let two = chain(
        &a,
        &[
            (&a, v1('a', None, "")),
            (&b, v1('b', Some('a'), "")),
            (&a, v1('a', Some('b'), "")),
        ],
    );
    fails(read(&two), Code::Cycle, &a);
    let absent = chain(&b, &[(&b, v1('b', Some('a'), ""))]);
    fails(read(&absent), Code::Missing, &a);
    let wrong = chain(&c, &[(&a, v1('a', None, "")), (&c, v1('c', Some('b'), ""))]);
    fails(read(&wrong), Code::BadManifest, "the parent is");
    let other = chain(&a, &[(&a, v1('b', None, ""))]);
    fails(read(&other), Code::BadManifest, "a/json");
    let end = chain(&b, &[(&a, v1('a', None, ""))]);
    fails(read(&end), Code::BadManifest, "does not end with");
    fails(
        read(&chain(&b, &[])),
        Code::BadManifest,
        "does not end with",
    );
    let mut few = env();
    few.limits.layers = 1;
    let long = chain(&b, &[(&a, v1('a', None, "")), (&b, v1('b', Some('a'), ""))]);
    fails(read_with(&long, &few), Code::Limit, "2 images");
}

#[test]
fn a3_platforms() {
    let a = id('a');
    for field in ["os", "architecture", "variant"] {
        let json = v1('a', None, &format!(r#","{field}":"q/../../escape/pwn""#));
        fails(read(&chain(&a, &[(&a, json)])), Code::BadName, field);
    }
}

#[test]
fn shapes() {
    let a = id('a');
    let good = chain(&a, &[(&a, v1('a', None, ""))]);
    let gone = good.replace("m/layer.tar", "../x");
    fails(read(&gone), Code::Missing, "layer 0 (\"../x\")");
    let null = good.replace("\"m/layer.tar\"", "null");
    fails(read(&null), Code::BadManifest, "layers[0].layer");
    fails(read("{}"), Code::BadManifest, "field id");
    fails(read("[]"), Code::BadManifest, "expected an object");
    let json = chain(&a, &[(&a, "x".into())]);
    fails(read(&json), Code::BadManifest, "it is not JSON");
    let mut small = env();
    small.limits.config = 10;
    fails(read_with(&good, &small), Code::Limit, "`config`");
}

#[test]
fn nothing_is_written() {
    let image = Image::default();
    let result = DOCKER_V1.encode(&image, &[], &env(), &mut Report::default());
    fails(
        result,
        Code::Unsupported,
        "writing docker v1 images is not supported: use docker-archive",
    );
    fails(
        DOCKER_V1.encode_index(&[], None),
        Code::Unsupported,
        "index",
    );
    fails(
        DOCKER_V2S1.encode_index(&[], None),
        Code::Unsupported,
        "index",
    );
}
