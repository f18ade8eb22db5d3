//! Refusing what is not right, in Docker's documents: robustness C1 to C4, C9, C10, C12k, C13a.

use imgconv_format_docker_v2s2::DOCKER_V2S2;
use imgconv_model::{Code, DocumentFormat};

use crate::bundle::{
    CONFIG, ID_B, LIST, MANIFEST, Memory, TAR_GZIP, decode, edited, image, refuse, root,
};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn recognises_docker_documents_only() {
    let typed = |kind: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{kind}"}}"#);
    for (kind, text) in [
        (MANIFEST, "not even JSON".to_owned()),
        (LIST, "{}".into()),
        ("", typed(MANIFEST)),
        ("application/json; charset=utf-8", typed(LIST)),
        (
            "APPLICATION/vnd.docker.distribution.manifest.v2+json;x=y",
            "{}".into(),
        ),
    ] {
        assert!(DOCKER_V2S2.recognise(&root(kind, &text)), "{kind} {text}");
    }
    for (kind, text) in [
        (OCI, typed(MANIFEST)),
        ("", typed(OCI)),
        // Without a word of its own it is OCI's.
        ("", r#"{"schemaVersion":2,"config":{},"layers":[]}"#.into()),
        (
            "",
            r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.into(),
        ),
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "{}".into(),
        ),
        (CONFIG, "{}".into()),
        ("", "[".into()),
    ] {
        assert!(!DOCKER_V2S2.recognise(&root(kind, &text)), "{kind} {text}");
    }
}

#[test]
fn c1_fields_of_another_kind() {
    for field in [
        "manifests",
        "Manifests",
        "manife\u{17f}t\u{17f}",
        "fsLayers",
        "history",
    ] {
        let (memory, text) = edited("{", &format!("{{\"{field}\":[],"));
        for kind in [MANIFEST, ""] {
            refuse(
                &memory,
                kind,
                &text,
                Code::Ambiguous,
                "belongs to another kind",
            );
        }
    }
    let memory = Memory::default();
    for field in ["layers", "config", "Config", "fsLayers", "hi\u{17f}tory"] {
        let text =
            format!(r#"{{"schemaVersion":2,"mediaType":"{LIST}","manifests":[],"{field}":[]}}"#);
        refuse(
            &memory,
            LIST,
            &text,
            Code::Ambiguous,
            "belongs to another kind",
        );
        refuse(
            &memory,
            "",
            &text,
            Code::Ambiguous,
            "belongs to another kind",
        );
    }
}

#[test]
fn c2a_media_types_that_differ() {
    for other in [OCI, LIST, "x"] {
        let (memory, text) = edited(MANIFEST, other);
        refuse(&memory, MANIFEST, &text, Code::Ambiguous, "calls itself");
    }
    let (memory, text) = edited(&format!("\"mediaType\":\"{MANIFEST}\","), "");
    decode(&memory, MANIFEST, &text).unwrap();
}

#[test]
fn c3_digests() {
    let a = "a".repeat(64);
    for digest in [
        "",
        "sha256",
        "sha256:",
        &format!("sha256:{}", &a[1..]),
        &format!("sha256:{}", a.to_uppercase()),
        "sha256:../../../../x",
        &format!("sha256:{a}/../.."),
        &format!("sha512:{a}"),
    ] {
        let layer = format!(r#"{{"mediaType":"{TAR_GZIP}","size":1,"digest":"{digest}"}}"#);
        let (memory, text) = edited("\"layers\":[", &format!("\"layers\":[{layer},"));
        refuse(
            &memory,
            MANIFEST,
            &text,
            Code::BadDigest,
            "field layers[0].digest",
        );
        let list = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","size":1,"digest":"{digest}"}}]}}"#
        );
        refuse(
            &memory,
            LIST,
            &list,
            Code::BadDigest,
            "field manifests[0].digest",
        );
    }
    let layer = format!(r#"{{"mediaType":"{TAR_GZIP}","size":1,"digest":"blake3:ab"}}"#);
    let (memory, text) = edited("\"layers\":[", &format!("\"layers\":[{layer},"));
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::Unsupported,
        "field layers[0].digest",
    );
}

#[test]
fn c4_sizes() {
    for size in ["-1", "9223372036854775808", "1.0", "1e3", "\"1\"", "null"] {
        let (memory, text) = edited("\"size\":7", &format!("\"size\":{size}"));
        refuse(
            &memory,
            MANIFEST,
            &text,
            Code::BadManifest,
            "field layers[0].size",
        );
    }
    let (memory, text) = edited("\"size\":7", "\"size\":9007199254740993");
    refuse(&memory, MANIFEST, &text, Code::Limit, "layers[0].size");
    let (memory, text) = edited("\"size\":7", "\"size\":8");
    refuse(&memory, MANIFEST, &text, Code::Mismatch, "layer 0");
}

#[test]
fn c9_c10_strict_json() {
    let (memory, text) = edited("{", "{\"layers\":[],");
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::BadJson,
        "\"layers\" stands twice",
    );
    let (memory, text) = edited("\"layers\"", "\"LAYERS\"");
    refuse(&memory, MANIFEST, &text, Code::BadJson, "");
    let (memory, text) = edited("\"size\":7", "\"Size\":7");
    refuse(&memory, MANIFEST, &text, Code::BadJson, "field layers[0]");
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64));
    refuse(&memory, MANIFEST, &deep, Code::Limit, "json_depth");
}

#[test]
fn c11a_c11b_null_is_absent_and_a_text_is_a_list_of_one() {
    let mut memory = Memory::default();
    let config = memory.put(
        br#"{"os":"linux","architecture":"x","created":"","history":null,"config":{"Cmd":null,"Entrypoint":"/x","Env":null,"Volumes":null,"ExposedPorts":null,"Labels":null,"OnBuild":null,"PortSpecs":null},"rootfs":{"type":"layers","diff_ids":null}}"#,
    );
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}",{config}}},"layers":null}}"#
    );
    let (image, report) = image(&memory, &text);
    assert!(report.is_clean() && image.extensions.is_empty());
    assert_eq!(image.config.exec.unwrap().entrypoint, ["/x"]);
    assert_eq!(image.created, None);
}

#[test]
fn c12k_c13a_layers_that_do_not_fit() {
    let layer = format!(r#"{{"mediaType":"{TAR_GZIP}","size":1,"digest":"{ID_B}"}}"#);
    let (memory, text) = edited("\"layers\":[", &format!("\"layers\":[{layer},"));
    let counts = "the config has 1 diff IDs and the manifest 2 layers";
    refuse(&memory, MANIFEST, &text, Code::BadManifest, counts);
    let many = vec![layer; 1024].join(",");
    let (memory, text) = edited("\"layers\":[", &format!("\"layers\":[{many},"));
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::Limit,
        "the list of 1025 layers",
    );
    let (memory, text) = edited("{", &format!("{{{}", " ".repeat(4 << 20)));
    refuse(&memory, MANIFEST, &text, Code::Limit, "`manifest`");
    let mut memory = Memory::default();
    let config = memory.put(br#"{"rootfs":{"type":"x","diff_ids":[]}}"#);
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}",{config}}},"layers":[]}}"#
    );
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::BadManifest,
        "expected \"layers\"",
    );
}

#[test]
fn documents_that_are_missing() {
    let mut memory = Memory::default();
    let text = crate::bundle::minimal(&mut memory);
    memory.forget(b"layer a");
    refuse(&memory, MANIFEST, &text, Code::Missing, "layer 0");
    let memory = Memory::default();
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::Missing,
        "config, which the manifest refers to",
    );
}
