//! Entries of docker archives: robustness A7a, A8, A11a, A14, and what is written.

use imgconv_format_docker_v2s2::DOCKER_ARCHIVE;
use imgconv_model::{
    Artifact, Code, Compression, Digest, Document, DocumentFormat, FormatId, Image, Report, Result,
    SealedLayer, Step, check,
};
use std::io::Read;

use crate::bundle::{
    CONFIG, ID_A, ID_B, Memory, documents, engine_config, env, image as v2s2, pushed, root, text,
};

const KIND: &str = "application/vnd.imgconv.docker-archive.image.v1+json";
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

fn memory(members: &[(&str, &str)]) -> Memory {
    let mut memory = Memory::default();
    for (name, text) in members {
        memory
            .members
            .insert((*name).to_owned(), Some(text.as_bytes().to_vec()));
    }
    memory
}

fn config(diff_ids: &[&str]) -> String {
    let quoted: Vec<String> = diff_ids.iter().map(|id| format!("\"{id}\"")).collect();
    let ids = quoted.join(",");
    format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
    )
}

fn decode(memory: &Memory, entry: &str) -> Result<(Image, Report)> {
    let mut report = Report::default();
    match DOCKER_ARCHIVE.decode(&root(KIND, entry), memory, &env(), &mut report)? {
        Artifact::Image(image) => {
            assert_eq!(check(&image), Vec::<String>::new());
            Ok((*image, report))
        }
        other => panic!("{other:?}"),
    }
}

fn refuse(memory: &Memory, entry: &str, code: Code, part: &str) {
    let error = decode(memory, entry).unwrap_err();
    assert_eq!(error.code(), code, "{entry}: {error}");
    assert!(error.to_string().contains(part), "{error} lacks {part}");
}

fn sealed(diff_id: &str, compression: Compression) -> SealedLayer {
    let diff_id = Digest::parse(diff_id).unwrap();
    SealedLayer {
        digest: diff_id,
        size: 1024,
        compression,
        diff_id,
        step: Step::Recompress,
        annotations: Default::default(),
    }
}

fn encode(image: &Image, layers: &[&str]) -> (Document, Document, Report) {
    let layers: Vec<_> = layers
        .iter()
        .map(|id| sealed(id, Compression::None))
        .collect();
    let mut report = Report::default();
    let encoded = DOCKER_ARCHIVE.encode(image, &layers, &env(), &mut report);
    let (config, root) = documents(encoded.unwrap());
    (config, root, report)
}

#[test]
fn recognises_its_own_kind_only() {
    assert!(DOCKER_ARCHIVE.recognise(&root(KIND, "not even JSON")));
    let manifest = "application/vnd.docker.distribution.manifest.v2+json";
    for kind in ["", "application/json", manifest] {
        assert!(!DOCKER_ARCHIVE.recognise(&root(kind, r#"{"Config":"x","Layers":[]}"#)));
    }
}

#[test]
fn an_entry_and_its_config_are_an_image() {
    let text_of = engine_config();
    let memory = memory(&[
        ("c.json", &text_of),
        ("a/layer.tar", "a"),
        ("b/layer.tar", "b"),
    ]);
    let entry = r#"{"Config":"c.json","RepoTags":["x:y"],"Layers":["a/layer.tar","b/layer.tar"],"Parent":"sha256:p","LayerSources":{"x":{}}}"#;
    let (image, report) = decode(&memory, entry).unwrap();
    assert_eq!(report, Report::default());
    assert_eq!(image.name, None);
    assert_eq!(image.config.user.as_deref(), Some("www-data"));
    let ids: Vec<String> = image
        .layers
        .iter()
        .map(|l| l.diff_id.unwrap().to_string())
        .collect();
    assert_eq!(ids, [ID_A, ID_B]);
    assert!(
        image
            .layers
            .iter()
            .all(|layer| layer.blob.facts == Default::default())
    );
    let id = FormatId("docker-archive");
    assert_eq!(
        image.extensions[&(id, "manifest.Parent".into())],
        "\"sha256:p\""
    );
    assert!(image.extensions.contains_key(&(id, "config.Shell".into())));
    assert!(
        !image
            .extensions
            .contains_key(&(id, "manifest.LayerSources".into()))
    );
    assert_eq!(
        (image.originals[0].format, image.originals[0].role),
        (id, "manifest")
    );
    assert_eq!(text(&image.originals[0].document), entry);
    assert_eq!(image.originals[1].document.kind, CONFIG);
    // The layer's bytes are the member's.
    let mut bytes = String::new();
    let mut reader = image.layers[1].blob.open().unwrap();
    reader.read_to_string(&mut bytes).unwrap();
    assert_eq!(bytes, "b");
    // Written again: the same config, hence the same image ID, and plain names.
    let (config, root, report) = encode(&image, &[ID_A, ID_B]);
    assert_eq!(report, Report::default());
    assert_eq!((text(&config), &*config.kind), (&*text_of, CONFIG));
    assert_eq!(root.kind, KIND);
    let id = imgconv_stream::digest(imgconv_model::Algorithm::Sha256, text_of.as_bytes()).hex();
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    assert_eq!(
        text(&root),
        format!(
            r#"{{"Config":"blobs/sha256/{id}","RepoTags":null,"Layers":["blobs/sha256/{a}","blobs/sha256/{b}"],"Parent":"sha256:p"}}"#
        )
    );
}

#[test]
fn a7a_entries_that_are_none() {
    let none = memory(&[]);
    refuse(&none, "null", Code::BadManifest, "entry");
    refuse(
        &none,
        "[]",
        Code::BadManifest,
        "expected an object, found a list",
    );
    refuse(&none, "{}", Code::BadManifest, "field Config: is required");
    refuse(
        &none,
        r#"{"Config":null,"Layers":null}"#,
        Code::BadManifest,
        "field Config",
    );
    refuse(
        &none,
        r#"{"Config":"","Layers":[]}"#,
        Code::BadManifest,
        "field Config",
    );
    refuse(
        &none,
        r#"{"Config":"c","Layers":[""]}"#,
        Code::BadManifest,
        "Layers[0]",
    );
    refuse(
        &none,
        r#"{"Config":"c","Layers":"x"}"#,
        Code::BadManifest,
        "field Layers",
    );
    refuse(
        &none,
        r#"{"Config":"c","RepoTags":[1]}"#,
        Code::BadManifest,
        "RepoTags[0]",
    );
    refuse(
        &none,
        r#"{"config":"c","Layers":[]}"#,
        Code::BadJson,
        "\"config\"",
    );
    refuse(
        &none,
        r#"{"Config":"c","Config":"d"}"#,
        Code::BadJson,
        "occurs twice",
    );
    let one = config(&[ID_A]);
    let memory = memory(&[("c", &one), ("empty", "{}"), ("l", "x")]);
    let entry =
        |config: &str, layers: &str| format!(r#"{{"Config":"{config}","Layers":{layers}}}"#);
    let counts = |n: usize| format!("the config has 1 diff IDs, but the entry has {n} layers");
    refuse(&memory, &entry("c", "[]"), Code::BadManifest, &counts(0));
    refuse(&memory, &entry("c", "null"), Code::BadManifest, &counts(0));
    refuse(
        &memory,
        &entry("c", r#"["l","l"]"#),
        Code::BadManifest,
        &counts(2),
    );
    refuse(
        &memory,
        &entry("empty", "[]"),
        Code::BadManifest,
        "field rootfs",
    );
    let many = format!("[{}]", vec!["\"l\""; 1025].join(","));
    refuse(&memory, &entry("c", &many), Code::Limit, "`layers`");
}

#[test]
fn a7b_members_that_are_not_there() {
    let one = config(&[ID_A]);
    let memory = memory(&[("c", &one)]);
    for name in ["/etc/passwd", "../../etc/passwd"] {
        let entry = format!(r#"{{"Config":"{name}","Layers":["l"]}}"#);
        refuse(&memory, &entry, Code::Missing, "config");
    }
    refuse(
        &memory,
        r#"{"Config":"c","Layers":["l"]}"#,
        Code::Missing,
        "layer 0 (\"l\")",
    );
}

#[test]
fn a8_one_member_at_two_places() {
    let two = config(&[ID_A, ID_B]);
    let same = config(&[ID_A, ID_A]);
    let memory = memory(&[("two", &two), ("same", &same), ("a", "x"), ("b", "x")]);
    refuse(
        &memory,
        r#"{"Config":"two","Layers":["a","a"]}"#,
        Code::Mismatch,
        "layer 1 (\"a\"): the diff ID of a member that is two layers",
    );
    for layers in [r#"["a","b"]"#, r#"["a","a"]"#] {
        let entry = format!(r#"{{"Config":"same","Layers":{layers}}}"#);
        let (image, _) = decode(&memory, &entry).unwrap();
        assert_eq!(image.layers.len(), 2);
        let (_, root, _) = encode(&image, &[ID_A, ID_A]);
        assert_eq!(text(&root).matches(&"a".repeat(64)).count(), 2);
    }
}

#[test]
fn a11a_a_layer_without_bytes() {
    let members = [
        ("old", config(&[EMPTY, ID_A])),
        ("new", config(&[EMPTY_TAR, ID_A])),
    ];
    for (name, config) in &members {
        let memory = memory(&[(name, config), ("none", ""), ("a", "x")]);
        let entry = format!(r#"{{"Config":"{name}","Layers":["none","a"]}}"#);
        let (image, report) = decode(&memory, &entry).unwrap();
        assert_eq!(image.layers[0].diff_id.unwrap().to_string(), EMPTY_TAR);
        let mut bytes = Vec::new();
        for _ in 0..2 {
            bytes.clear();
            let mut reader = image.layers[0].blob.open().unwrap();
            reader.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [0; 1024]);
        }
        let (written, ..) = encode(&image, &[EMPTY_TAR, ID_A]);
        assert!(text(&written).contains(EMPTY_TAR) && !text(&written).contains(EMPTY));
        match *name {
            "old" => {
                assert_eq!(report.warnings[0].code, "empty-layer");
                assert_eq!(report.warnings[0].at, "layer 0 (\"none\")");
                assert!(report.warnings[0].message.contains(EMPTY_TAR));
            }
            _ => {
                assert_eq!(report, Report::default());
                assert_eq!(text(&written), config);
            }
        }
    }
}

#[test]
fn a14_a_member_named_by_a_digest_is_verified() {
    let one = config(&[ID_A]);
    let hex = imgconv_stream::digest(imgconv_model::Algorithm::Sha256, one.as_bytes()).hex();
    let (good, bad) = (
        format!("blobs/sha256/{hex}"),
        format!("blobs/sha256/{}", "1".repeat(64)),
    );
    let memory = memory(&[(&good, &one), (&bad, &one), ("a", "x")]);
    let entry =
        |config: &str, layer: &str| format!(r#"{{"Config":"{config}","Layers":["{layer}"]}}"#);
    refuse(&memory, &entry(&bad, "a"), Code::Mismatch, "config");
    let (image, _) = decode(&memory, &entry(&good, &bad)).unwrap();
    let mut reader = image.layers[0].blob.open().unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(imgconv_model::Error::from_io(error).code(), Code::Mismatch);
}

#[test]
fn c13a_a_config_that_is_too_large() {
    let large = " ".repeat((4 << 20) + 1);
    let memory = memory(&[("c", &large)]);
    refuse(&memory, r#"{"Config":"c"}"#, Code::Limit, "`config`");
}

#[test]
fn from_a_registry_only_what_has_no_place_is_reported() {
    let mut memory = Memory::default();
    let manifest = pushed(&mut memory).replace(", \"vendor\": 1", "");
    let (mut image, _) = v2s2(&memory, &manifest);
    let (written, _, report) = encode(&image, &[ID_A, ID_B]);
    assert_eq!(
        (text(&written), report),
        (&*engine_config(), Report::default())
    );
    image.annotations.insert("a".into(), "b".into());
    image.layers[1].urls.push("https://x/".into());
    let annotations = &mut image.layers[0].annotations;
    annotations.insert("k".into(), "v".into());
    annotations.insert(
        "containerd.io/snapshot/stargz/toc.digest".into(),
        "x".into(),
    );
    for (path, raw) in [
        ("manifest.Layers", "[]"),
        ("manifest.parent", "1"),
        ("manifest.a.b", "1"),
        ("manifest.x", "null"),
    ] {
        let key = (FormatId("docker-archive"), path.to_owned());
        image.extensions.insert(key, raw.into());
    }
    let (_, root, report) = encode(&image, &[ID_A, ID_B]);
    let mut fields: Vec<&str> = report.losses.iter().map(|loss| &*loss.field).collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "annotations.a",
            "layers.0.annotations.k",
            "layers.1.urls",
            "manifest.Layers",
            "manifest.a.b",
            "manifest.parent",
            "manifest.x",
        ]
    );
    assert!(!text(&root).contains("parent"));
}

#[test]
fn a_layer_that_is_compressed_is_refused() {
    let one = config(&[ID_A]);
    let memory = memory(&[("c", &one), ("a", "x")]);
    let (image, _) = decode(&memory, r#"{"Config":"c","Layers":["a"]}"#).unwrap();
    let layers = [sealed(ID_A, Compression::Gzip)];
    let error = DOCKER_ARCHIVE
        .encode(&image, &layers, &env(), &mut Report::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.to_string().starts_with("layer 0: "), "{error}");
}

/// C6d.
#[test]
fn the_urls_of_foreign_layers_come_and_go() {
    let text_of = engine_config();
    let memory = memory(&[("c.json", &text_of), ("a", "a"), ("b", "b")]);
    let source = r#"{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":7,"digest":"sha256:x","urls":["https://example.com/l"]}"#;
    let entry = format!(
        r#"{{"Config":"c.json","Layers":["a","b"],"LayerSources":{{"{ID_A}":{{"size":1}},"{ID_B}":{source}}}}}"#
    );
    let (mut image, report) = decode(&memory, &entry).unwrap();
    assert_eq!(report, Report::default());
    assert!(image.layers[0].urls.is_empty());
    assert_eq!(image.layers[1].urls, ["https://example.com/l"]);
    let (_, root, report) = encode(&image, &[ID_A, ID_B]);
    assert_eq!(report, Report::default());
    let value = |text: &str| imgconv_json::parse(text.as_bytes(), &Default::default(), "").unwrap();
    let source = value(source);
    let sources = value(text(&root))["LayerSources"].clone();
    assert_eq!(
        (sources.as_object().unwrap().len(), &sources[ID_B]),
        (1, &source)
    );
    // A descriptor of OCI becomes docker's.
    image
        .originals
        .retain(|original| original.role != "manifest");
    image.layers[1].kind =
        Some("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into());
    let digest = Digest::parse(ID_A).unwrap();
    image.layers[1].blob.facts = imgconv_model::Facts {
        digest: Some(digest),
        size: Some(7),
    };
    let (_, root, report) = encode(&image, &[ID_A, ID_B]);
    assert_eq!(report, Report::default());
    let found = &value(text(&root))["LayerSources"][ID_B];
    assert_eq!(found["mediaType"], source["mediaType"]);
    assert_eq!(
        (&found["digest"], &found["size"]),
        (&ID_A.into(), &7.into())
    );
    assert_eq!(found["urls"], source["urls"]);
    // Without a digest the layer can't be described.
    image.layers[1].blob.facts = Default::default();
    let (_, root, report) = encode(&image, &[ID_A, ID_B]);
    assert_eq!(report.losses[0].field, "layers.1.urls");
    assert!(!text(&root).contains("LayerSources"));
}
