//! Refusing what is not right, in Docker's documents: robustness C1 to C4, C9, C10, C12k, C13a.

use imgconv_format_docker_v2s2::DOCKER_V2S2;
use imgconv_model::DocumentFormat;

use crate::bundle::{CONFIG, DOCUMENTS, LIST, MANIFEST, Memory, image, root};

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
    DOCUMENTS.c1_fields_of_another_kind();
}

#[test]
fn c2a_media_types_that_differ() {
    DOCUMENTS.c2a_media_types_that_differ();
}

#[test]
fn c3a_c3c_digests_everywhere() {
    DOCUMENTS.c3_digests_everywhere();
}

#[test]
fn c4a_c4b_sizes() {
    DOCUMENTS.c4_sizes();
}

#[test]
fn c9a_c9b_c9d_strict_json() {
    DOCUMENTS.c9_strict_json();
}

#[test]
fn c10_misspelt_fields() {
    DOCUMENTS.c10_misspelt_fields();
}

#[test]
fn the_head_is_checked() {
    DOCUMENTS.the_head_is_checked();
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
