//! Refusing what is not right: robustness C1 to C4, C5b, C9, C10, C12k, C13a.

use imgconv_format_oci::OCI;
use imgconv_model::{Algorithm, Artifact, Code, DocumentFormat, FormatId};
use imgconv_stream::digest;
use imgconv_testkit::laws::bad_digests;

use crate::{
    bundle::{CONFIG, DOCUMENTS, INDEX, MANIFEST, Memory, decode, image, refuse, root},
    fixtures::{edited, minimal},
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
    DOCUMENTS.c1_fields_of_another_kind();
    // Called one thing, looking like the other.
    let (memory, plain) = edited("{", "{");
    refuse(&memory, INDEX, &plain, Code::Ambiguous, "\"config\"");
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    refuse(&memory, MANIFEST, index, Code::Ambiguous, "\"manifests\"");
}

#[test]
fn c2a_media_types_that_differ() {
    DOCUMENTS.c2a_media_types_that_differ();
    let (memory, text) = edited("{", &format!("{{\"mediaType\":\"{INDEX}\","));
    refuse(&memory, "", &text, Code::Ambiguous, "config");
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
fn c3a_digests_everywhere() {
    DOCUMENTS.c3_digests_everywhere();
    for digest in bad_digests() {
        let subject = format!(r#"{{"subject":{{"digest":"{digest}","size":1}},"#);
        let (memory, text) = edited("{", &subject);
        let part = "field subject.digest";
        refuse(&memory, MANIFEST, &text, Code::BadDigest, part);
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
    }
}

#[test]
fn c4a_c4b_sizes() {
    DOCUMENTS.c4_sizes();
}

#[test]
fn c5b_data_too_large() {
    let (memory, text) = edited("{", &format!("{{\"x\":\"{}\",", "A".repeat(5 << 20)));
    refuse(&memory, MANIFEST, &text, Code::Limit, "`manifest`");
}

#[test]
fn c9a_c9b_c9d_strict_json() {
    DOCUMENTS.c9_strict_json();
}

#[test]
fn c10_misspelt_fields() {
    DOCUMENTS.c10_misspelt_fields();
    let text = r#"{"schemaVersion":2,"LAYERS":[]}"#;
    for kind in [MANIFEST, ""] {
        refuse(&Memory::default(), kind, text, Code::BadJson, "\"LAYERS\"");
    }
}

#[test]
fn the_head_is_checked() {
    DOCUMENTS.the_head_is_checked();
}

#[test]
fn c12k_c13a_layers_that_do_not_fit() {
    DOCUMENTS.c12k_c13a_layers_that_do_not_fit();
}

#[test]
fn documents_that_are_missing() {
    DOCUMENTS.documents_that_are_missing();
}

#[test]
fn no_damage_of_a_manifest_is_fatal() {
    DOCUMENTS.no_damage_is_fatal();
}

#[test]
fn every_member_of_every_document_is_strict() {
    DOCUMENTS.manifest_is_strict();
    DOCUMENTS.index_is_strict();
    DOCUMENTS.config_is_strict();
}
