//! Refusing what is not right: robustness C1 to C4, C5b, C9, C10, C13a.

use imgconv_format_oci::OCI;
use imgconv_model::{Algorithm, Artifact, Code, DocumentFormat, FormatId};
use imgconv_stream::digest;

use crate::{
    bundle::{CONFIG, INDEX, MANIFEST, Memory, TAR_GZIP, decode, image, refuse, root},
    fixtures::{ID_A, edited, minimal},
};

#[test]
fn recognises_oci_documents_only() {
    let manifest = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let typed = |kind: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","layers":[]}}"#);
    let yes = [
        (MANIFEST, manifest.to_owned()),
        (INDEX, "not even JSON".into()),
        ("", manifest.into()),
        ("application/json; charset=utf-8", manifest.into()),
        ("Text/Plain", r#"{"schemaVersion":2,"manifests":[]}"#.into()),
        ("application/octet-stream", typed(MANIFEST)),
        (
            "APPLICATION/vnd.oci.image.manifest.v1+json;charset=utf-8",
            manifest.into(),
        ),
        ("", r#"{"schemaVersion":2,"LAYERS":[]}"#.into()),
        ("", typed(INDEX)),
    ];
    for (kind, text) in yes {
        assert!(OCI.recognise(&root(kind, &text)), "{kind} {text}");
    }
    let no = [
        (docker, manifest.to_owned()),
        (CONFIG, manifest.into()),
        ("", typed(docker)),
        (
            "",
            r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.into(),
        ),
        (
            "",
            r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x"}"#.into(),
        ),
        ("", "{}".into()),
        ("", "[]".into()),
        ("", "{".into()),
        (
            "",
            r#"{"schemaVersion":2,"mediaType":7,"layers":[]}"#.into(),
        ),
    ];
    for (kind, text) in no {
        assert!(!OCI.recognise(&root(kind, &text)), "{kind} {text}");
    }
}

#[test]
fn c1_fields_of_another_kind() {
    let (memory, plain) = edited("\"schemaVersion\"", "\"schemaVersion\"");
    for field in [
        "manifests",
        "Manifests",
        "manife\u{17f}t\u{17f}",
        "fsLayers",
        "FSLAYERS",
        "history",
    ] {
        for kind in [MANIFEST, ""] {
            for media_type in ["", &format!("\"mediaType\":\"{MANIFEST}\",")] {
                let text = plain.replacen('{', &format!("{{{media_type}\"{field}\":[],"), 1);
                refuse(&memory, kind, &text, Code::Ambiguous, "");
            }
        }
    }
    for field in ["layers", "config", "Config", "fsLayers", "hi\u{17f}tory"] {
        for kind in [INDEX, ""] {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[],"{field}":[]}}"#);
            refuse(
                &memory,
                kind,
                &text,
                Code::Ambiguous,
                "belongs to another kind",
            );
        }
    }
    // Called one thing, looking like the other.
    refuse(&memory, INDEX, &plain, Code::Ambiguous, "\"config\"");
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    refuse(&memory, MANIFEST, index, Code::Ambiguous, "\"manifests\"");
}

#[test]
fn c2a_media_types_that_differ() {
    let with = |kind: &str| edited("{", &format!("{{\"mediaType\":\"{kind}\","));
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    for other in [INDEX, docker, "x"] {
        let (memory, text) = with(other);
        refuse(&memory, MANIFEST, &text, Code::Ambiguous, "calls itself");
    }
    let (memory, text) = with(INDEX);
    refuse(&memory, "", &text, Code::Ambiguous, "config");
    let (memory, text) = with(MANIFEST);
    decode(&memory, MANIFEST, &text).unwrap();
    decode(&memory, "application/json", &text).unwrap();
}

#[test]
fn c2b_kinds_with_parameters_or_without_meaning() {
    let (memory, text) = edited("{", "{");
    for kind in [
        "",
        "text/plain",
        "application/json; charset=utf-8",
        &MANIFEST.to_uppercase(),
        &format!("{MANIFEST}; charset=utf-8"),
    ] {
        let (artifact, _) = decode(&memory, kind, &text).unwrap();
        assert!(matches!(artifact, Artifact::Image(_)), "{kind}");
    }
}

#[test]
fn c3_digests_everywhere() {
    let a = "a".repeat(64);
    let long = "a".repeat(1 << 20);
    let bad = [
        "",
        "sha256",
        "sha256:",
        &format!(":{a}"),
        &format!("sha256:{}", &a[1..]),
        &format!("sha256:{a}a"),
        &format!("sha256:{}", a.to_uppercase()),
        &format!("SHA256:{a}"),
        "sha256:../../../../x",
        &format!("sha256:{a}/../.."),
        &format!("sha256:{a}?x=1"),
        &format!("sha256:{a}%2f"),
        &format!("sha256:{a}\\n"),
        &format!("sha512:{a}"),
        &long,
    ];
    let (memory, plain) = edited("{", "{");
    let parsed: imgconv_json::Value = plain.parse().unwrap();
    for digest in bad {
        for field in ["config", "layers"] {
            let value = if field == "config" {
                &parsed["config"]
            } else {
                &parsed["layers"][0]
            };
            let text = plain.replacen(value["digest"].as_str().unwrap(), digest, 1);
            refuse(
                &memory,
                MANIFEST,
                &text,
                Code::BadDigest,
                &format!("field {field}"),
            );
        }
        let text = plain.replacen(
            '{',
            &format!(r#"{{"subject":{{"digest":"{digest}","size":1}},"#),
            1,
        );
        refuse(
            &memory,
            MANIFEST,
            &text,
            Code::BadDigest,
            "field subject.digest",
        );
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{digest}","size":1}}]}}"#
        );
        refuse(
            &memory,
            INDEX,
            &text,
            Code::BadDigest,
            "field manifests[0].digest",
        );
        let mut memory = Memory::default();
        let config = memory.put(
            format!(r#"{{"os":"linux","architecture":"x","rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#).as_bytes(),
        );
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}",{config}}},"layers":[]}}"#
        );
        refuse(
            &memory,
            MANIFEST,
            &text,
            Code::BadDigest,
            "rootfs.diff_ids[0]",
        );
    }
}

#[test]
fn c3b_sha512() {
    let mut memory = Memory::default();
    let text = minimal(&mut memory);
    let bytes = b"sbom";
    let long = digest(Algorithm::Sha512, bytes);
    let text = text.replacen(
        '{',
        &format!(r#"{{"subject":{{"mediaType":"x","digest":"{long}","size":4}},"#),
        1,
    );
    image(&memory, &text);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{long}","size":4}}]}}"#
    );
    let (artifact, _) = decode(&memory, INDEX, &index).unwrap();
    let Artifact::Index(index) = artifact else {
        panic!("{artifact:?}")
    };
    assert_eq!(index.children[0].digest, long);
}

#[test]
fn c3c_unknown_algorithms() {
    for digest in ["sha256+b64u:abc", "blake3:ab", "md5:00", "sha1:00"] {
        let (memory, text) = edited(
            "{",
            &format!(r#"{{"subject":{{"digest":"{digest}","size":1}},"#),
        );
        let (image, _) = image(&memory, &text);
        let subject = &image.extensions[&(FormatId("oci"), "manifest.subject".to_owned())];
        assert!(subject.contains(digest));
        let layer = format!(r#"{{"mediaType":"{TAR_GZIP}","digest":"{digest}","size":1}}"#);
        let (memory, text) = edited("\"layers\":[", &format!("\"layers\":[{layer},"));
        refuse(
            &memory,
            MANIFEST,
            &text,
            Code::Unsupported,
            "field layers[0].digest",
        );
    }
}

#[test]
fn c4a_sizes() {
    for size in [
        "-1",
        "9223372036854775808",
        "18446744073709551616",
        "1.0",
        "1e3",
        "\"1\"",
        "null",
        "true",
    ] {
        let (memory, text) = edited("\"size\":7", &format!("\"size\":{size}"));
        refuse(
            &memory,
            MANIFEST,
            &text,
            Code::BadManifest,
            "field layers[0].size",
        );
    }
    let (memory, text) = edited(",\"size\":7", "");
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::BadManifest,
        "field layers[0].size",
    );
    for size in ["9007199254740993", "9223372036854775807"] {
        let (memory, text) = edited("\"size\":7", &format!("\"size\":{size}"));
        refuse(&memory, MANIFEST, &text, Code::Limit, "layers[0].size");
    }
}

#[test]
fn c4b_a_size_that_is_wrong() {
    let (memory, text) = edited("\"size\":7", "\"size\":8");
    refuse(&memory, MANIFEST, &text, Code::Mismatch, "layer 0");
}

#[test]
fn c5b_data_too_large() {
    let (memory, text) = edited("{", &format!("{{\"x\":\"{}\",", "A".repeat(5 << 20)));
    refuse(&memory, MANIFEST, &text, Code::Limit, "`manifest`");
}

#[test]
fn c9_strict_json() {
    let (memory, text) = edited("{", "{\"layers\":[],");
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::BadJson,
        "\"layers\" stands twice",
    );
    refuse(&memory, MANIFEST, "{}{}", Code::BadJson, "line 1, column 3");
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64));
    refuse(&memory, MANIFEST, &deep, Code::Limit, "json_depth");
    let mut memory = Memory::default();
    let config = memory.put(br#"{"config":{"Labels":{"a":"","a":""}}}"#);
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}",{config}}},"layers":[]}}"#
    );
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::BadJson,
        "config › line 1, column 29",
    );
}

#[test]
fn c10_misspelt_fields() {
    let memory = Memory::default();
    refuse(
        &memory,
        MANIFEST,
        r#"{"schemaVersion":2,"LAYERS":[]}"#,
        Code::BadJson,
        "\"LAYERS\"",
    );
    refuse(
        &memory,
        "",
        r#"{"schemaVersion":2,"LAYERS":[]}"#,
        Code::BadJson,
        "\"LAYERS\"",
    );
    let (memory, text) = edited("schemaVersion", "\u{17f}chemaVersion");
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::BadJson,
        "non-canonical field name",
    );
    let (memory, text) = edited("\"size\":7", "\"Size\":7");
    refuse(&memory, MANIFEST, &text, Code::BadJson, "field layers[0]");
}

#[test]
fn the_head_is_checked() {
    for version in ["1", "3", "\"2\"", "2.0", "null"] {
        let (memory, text) = edited(
            "\"schemaVersion\":2",
            &format!("\"schemaVersion\":{version}"),
        );
        refuse(&memory, MANIFEST, &text, Code::BadManifest, "schemaVersion");
    }
    let (memory, text) = edited(&format!("\"mediaType\":\"{TAR_GZIP}\","), "");
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::BadManifest,
        "field layers[0]: the descriptor has no mediaType",
    );
    let memory = Memory::default();
    refuse(
        &memory,
        MANIFEST,
        r#"{"schemaVersion":2}"#,
        Code::BadManifest,
        "field config: is required",
    );
    refuse(
        &memory,
        MANIFEST,
        "[]",
        Code::BadManifest,
        "expected an object",
    );
}

#[test]
fn c13a_too_many_layers_or_bytes() {
    let layer = format!(r#"{{"mediaType":"{TAR_GZIP}","digest":"{ID_A}","size":1}}"#);
    let many = vec![layer; 1025].join(",");
    let (memory, text) = edited("\"layers\":[", &format!("\"layers\":[{many},"));
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::Limit,
        "the list of 1026 layers exceeds the limit `layers` of 1024",
    );
    let mut memory = Memory::default();
    let config = memory.put(&vec![b' '; (4 << 20) + 1]);
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}",{config}}},"layers":[]}}"#
    );
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::Limit,
        "the config of 4194305 bytes exceeds the limit `config`",
    );
    let (memory, text) = edited("{", &format!("{{{}", " ".repeat(4 << 20)));
    refuse(&memory, MANIFEST, &text, Code::Limit, "`manifest`");
}
