//! Between Docker and OCI: the config keeps its bytes, the manifest is written anew, and what only
//! one manifest can say is reported.

use imgconv_format_docker_v2s2::{DOCKER_ARCHIVE, DOCKER_V2S2};
use imgconv_manifest::{self as manifest, Family};
use imgconv_model::{
    Artifact, Compression, Digest, Document, DocumentFormat, FormatId, Image, Outcome, Report,
};

use crate::bundle::{
    CONFIG, LIST, MANIFEST, Memory, TAR_GZIP, decode, documents, edited, encode, engine_config,
    env, image, kept, minimal, pushed, root, text,
};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";

/// As the crate for OCI has it: no format depends on another, tests included.
const OCI: Family = Family {
    id: FormatId("oci"),
    name: "OCI",
    manifest: OCI_MANIFEST,
    index: OCI_INDEX,
    artifact: None,
    config: OCI_CONFIG,
    config_aliases: &[],
    layers: &[(Compression::Gzip, OCI_GZIP)],
    foreign_layers: &[(Compression::Gzip, OCI_FOREIGN)],
    annotations: true,
    untyped: true,
    usual_layers: None,
};

fn to_oci(image: &Image) -> (Document, Document, Report) {
    let mut report = Report::default();
    let encoded = manifest::encode(&OCI, image, &kept(image), &env(), &mut report);
    let (config, root) = documents(encoded.unwrap());
    (config, root, report)
}

fn from_oci(memory: &Memory, text: &str) -> Image {
    let root = root(OCI_MANIFEST, text);
    let mut report = Report::default();
    match manifest::decode(&OCI, &root, memory, &env(), &mut report).unwrap() {
        Artifact::Image(image) => *image,
        other => panic!("{other:?}"),
    }
}

#[test]
fn docker_to_oci_and_back_keeps_the_config_and_reports_nothing() {
    let mut memory = Memory::default();
    let manifest = pushed(&mut memory).replace(", \"vendor\": 1", "");
    let (image, _) = image(&memory, &manifest);
    for path in [
        "config.Healthcheck",
        "config.Shell",
        "config.OnBuild",
        "config.StopTimeout",
    ] {
        let key = (FormatId("docker-v2s2"), path.to_owned());
        assert!(image.extensions.contains_key(&key), "{path}");
    }
    let (config, root, report) = to_oci(&image);
    assert_eq!(report, Report::default());
    assert_eq!(
        (text(&config), &*config.kind),
        (&*engine_config(), OCI_CONFIG)
    );
    assert_eq!(root.kind, OCI_MANIFEST);
    assert!(!text(&root).contains("docker"), "{}", text(&root));
    assert_eq!(text(&root).matches(OCI_GZIP).count(), 2);
    let (config, root, report) = encode(&from_oci(&memory, text(&root)), &kept(&image));
    assert_eq!(report, Report::default());
    assert_eq!((text(&config), &*config.kind), (&*engine_config(), CONFIG));
    let value = |text: &str| text.parse::<imgconv_json::Value>().unwrap();
    assert_eq!(value(text(&root)), value(&manifest));
    assert_eq!(root.kind, MANIFEST);
}

#[test]
fn extensions_alone_cross_too() {
    // As after a detour that kept the fields but not the documents.
    let mut memory = Memory::default();
    let manifest = pushed(&mut memory).replace(", \"vendor\": 1", "");
    let (mut image, _) = image(&memory, &manifest);
    image.originals.clear();
    let (config, _, report) = to_oci(&image);
    let lost: Vec<&str> = report.losses.iter().map(|loss| &*loss.field).collect();
    assert_eq!(lost, ["history[1].more"]);
    for part in [
        r#""Shell":["/bin/bash","-c"]"#,
        r#""StopTimeout":7"#,
        r#""OnBuild":["RUN x"]"#,
    ] {
        assert!(text(&config).contains(part), "{}", text(&config));
    }
    // Two formats that say different things: the target's own word counts.
    let shell = |format| (FormatId(format), "config.Shell".to_owned());
    image.extensions.insert(shell("oci"), r#"["own"]"#.into());
    let (config, _, report) = to_oci(&image);
    assert!(text(&config).contains(r#""Shell":["own"]"#));
    assert_eq!(report.losses.len(), 2);
    assert_eq!(report.losses[0].field, "config.Shell");
}

#[test]
fn what_only_one_manifest_says_is_reported() {
    let mut memory = Memory::default();
    let manifest = pushed(&mut memory);
    let (_, _, report) = to_oci(&image(&memory, &manifest).0);
    assert_eq!(report.losses.len(), 1);
    assert_eq!(report.losses[0].field, "manifest.layers.1.vendor");
    let oci = minimal(&mut memory)
        .replace(MANIFEST, OCI_MANIFEST)
        .replace(CONFIG, OCI_CONFIG)
        .replace(TAR_GZIP, OCI_GZIP)
        .replacen(
            '{',
            "{\"artifactType\":\"x/y\",\"annotations\":{\"a\":\"b\"},",
            1,
        );
    let image = from_oci(&memory, &oci);
    let (config, root, report) = encode(&image, &kept(&image));
    assert_eq!(config.bytes, image.originals[1].document.bytes);
    let mut lost: Vec<_> = report
        .losses
        .iter()
        .map(|l| (&*l.field, l.outcome))
        .collect();
    lost.sort();
    assert_eq!(
        lost,
        [
            ("annotations.a", Outcome::Dropped),
            ("manifest.artifactType", Outcome::Dropped)
        ]
    );
    assert_eq!(
        text(&root).replace("\"digest\"", "").matches("oci").count(),
        0
    );
    assert!(text(&root).starts_with(&format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config""#
    )));
}

#[test]
fn c11c_a_platform_that_is_missing_is_assumed_in_a_conversion_only() {
    let mut memory = Memory::default();
    let config = memory.put(br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{CONFIG}",{config}}},"layers":[]}}"#
    );
    let (image, report) = image(&memory, &manifest);
    assert_eq!(report.warnings[0].code, "missing-platform");
    let (config, _, report) = encode(&image, &[]);
    assert!(report.is_clean() && !text(&config).contains("amd64"));
    let (config, _, report) = to_oci(&image);
    assert!(text(&config).contains(r#""architecture":"amd64","os":"linux""#));
    assert_eq!(report.warnings[0].code, "assumed-platform");
    assert_eq!(
        (&*report.losses[0].field, report.losses.len()),
        ("platform", 1)
    );
}

#[test]
fn foreign_layers_are_foreign_on_the_other_side() {
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let (memory, manifest) = edited(TAR_GZIP, foreign);
    let manifest = manifest.replace("\"size\":7", "\"size\":7,\"urls\":[\"https://x/\"]");
    let (image, _) = image(&memory, &manifest);
    let (_, oci, report) = to_oci(&image);
    assert_eq!(report, Report::default());
    assert!(text(&oci).contains(OCI_FOREIGN), "{}", text(&oci));
    assert!(text(&oci).contains(r#""urls":["https://x/"]"#));
    let (_, back, _) = encode(&from_oci(&memory, text(&oci)), &kept(&image));
    assert!(text(&back).contains(foreign) && text(&back).contains("urls"));
    // Without URLs nobody could fetch it, so it is a layer like others; so is a new blob.
    let mut layers = kept(&image);
    layers[0].digest = Digest::parse(crate::bundle::ID_B).unwrap();
    let (_, root, _) = encode(&from_oci(&memory, text(&oci)), &layers);
    assert!(text(&root).contains(TAR_GZIP) && !text(&root).contains("urls"));
}

#[test]
fn a_list_becomes_an_index_and_back() {
    let mut memory = Memory::default();
    let manifest = minimal(&mut memory);
    let child = memory.put(manifest.as_bytes());
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{LIST}","manifests":[{{"mediaType":"{MANIFEST}",{child},"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#
    );
    let (artifact, _) = decode(&memory, LIST, &list).unwrap();
    let Artifact::Index(index) = artifact else {
        panic!("{artifact:?}")
    };
    let mut children = index.children.clone();
    children[0].kind = OCI_MANIFEST.into();
    let oci = manifest::encode_index(&OCI, &children, Some(&index)).unwrap();
    assert_eq!(oci.kind, OCI_INDEX);
    assert!(!text(&oci).contains("docker"), "{}", text(&oci));
    // Even if no child changes, the family does.
    let mixed = manifest::encode_index(&OCI, &index.children, Some(&index)).unwrap();
    assert!(text(&mixed).contains(OCI_INDEX) && !text(&mixed).contains(LIST));
    let back = DOCKER_V2S2
        .encode_index(&index.children, Some(&index))
        .unwrap();
    assert_eq!(text(&back), list);
    let error = DOCKER_ARCHIVE.encode_index(&children, None).unwrap_err();
    assert_eq!(error.code(), imgconv_model::Code::Unsupported);
}
