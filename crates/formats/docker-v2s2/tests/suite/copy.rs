//! Copies change no byte; what changes is written with Docker's types and without annotations.

use imgconv_format_docker_v2s2::DOCKER_V2S2;
use imgconv_model::{
    Artifact, Code, Compression, Digest, Document, DocumentFormat, FormatId, Original, Outcome,
    Report, Step,
};

use crate::bundle::{
    CONFIG, DOCUMENTS, ID_B, LIST, MANIFEST, Memory, TAR_GZIP, decode, edited, encode, env, image,
    kept, minimal, pushed, text,
};

#[test]
fn a_copy_of_an_image_keeps_every_byte() {
    DOCUMENTS.a_copy_keeps_every_byte(&[minimal, pushed]);
}

#[test]
fn a_list_keeps_every_byte_until_a_child_changes() {
    let mut memory = Memory::default();
    let manifest = minimal(&mut memory);
    let child = memory.put(manifest.as_bytes());
    let list = format!(
        r#"{{
   "schemaVersion": 2, "mediaType": "{LIST}",
   "manifests": [
      {{"mediaType": "{MANIFEST}", {child}, "platform": {{"architecture":"arm","os":"linux","variant":"v7","features":["x"]}}}}
   ]
}}"#
    );
    let (artifact, _) = decode(&memory, LIST, &list).unwrap();
    let Artifact::Index(index) = artifact else {
        panic!("{artifact:?}")
    };
    let again = DOCKER_V2S2
        .encode_index(&index.children, Some(&index))
        .unwrap();
    assert_eq!((text(&again), &*again.kind), (&*list, LIST));
    let mut children = index.children.clone();
    children[0].digest = Digest::parse(ID_B).unwrap();
    let new = DOCKER_V2S2.encode_index(&children, Some(&index)).unwrap();
    assert_eq!(
        text(&new),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{LIST}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{ID_B}","size":{},"platform":{{"architecture":"arm","os":"linux","variant":"v7","features":["x"]}}}}]}}"#,
            manifest.len()
        )
    );
}

#[test]
fn configs_by_other_names_are_configs() {
    for kind in [
        "application/octet-stream",
        "application/json",
        "text/html",
        "application/vnd.oci.image.config.v1+json",
    ] {
        let (memory, manifest) = edited(CONFIG, kind);
        let (image, _) = image(&memory, &manifest);
        assert_eq!(text(&encode(&image, &kept(&image)).1), manifest);
    }
    let (memory, plugin) = edited(CONFIG, "application/vnd.docker.plugin.v1+json");
    let (artifact, _) = decode(&memory, MANIFEST, &plugin).unwrap();
    let Artifact::Opaque(opaque) = artifact else {
        panic!("{artifact:?}")
    };
    assert_eq!(
        opaque.what,
        "artifact application/vnd.docker.plugin.v1+json"
    );
    assert_eq!((opaque.blobs.len(), opaque.image), (2, false));
}

#[test]
fn a_new_manifest_has_the_types_of_docker() {
    let (memory, manifest) = edited("\"layers\"", "\"vendor\":{},\"layers\"");
    let (mut image, _) = image(&memory, &manifest);
    let mut layers = kept(&image);
    for (compression, kind) in [
        (Compression::Gzip, TAR_GZIP),
        (
            Compression::None,
            "application/vnd.docker.image.rootfs.diff.tar",
        ),
    ] {
        layers[0].digest = Digest::parse(ID_B).unwrap();
        (layers[0].compression, layers[0].step) = (compression, Step::Recompress);
        let (_, root, report) = encode(&image, &layers);
        let found = format!(r#""layers":[{{"mediaType":"{kind}","digest":"{ID_B}","size":7}}]"#);
        assert!(text(&root).contains(&found), "{}", text(&root));
        assert!(text(&root).contains("\"vendor\":{}"));
        assert_eq!(report, Report::default());
    }
    // Read, but never written.
    image.originals.clear();
    layers[0].compression = Compression::Zstd;
    let error = DOCKER_V2S2
        .encode(&image, &layers, &env(), &mut Report::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    assert_eq!(
        error.to_string(),
        "layer 0: Docker has no layers compressed with zstd"
    );
}

#[test]
fn c6a_foreign_layers_keep_their_urls() {
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let (mut memory, manifest) = edited(TAR_GZIP, foreign);
    let manifest = manifest.replace("\"size\":7", "\"size\":7,\"urls\":[\"https://x/\"]");
    memory.forget(b"layer a");
    let (image, _) = image(&memory, &manifest);
    assert_eq!(image.layers[0].urls, ["https://x/"]);
    let error = image.layers[0].blob.open().err().unwrap();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("https://x/"), "{error}");
    let (_, root, report) = encode(&image, &kept(&image));
    assert_eq!((text(&root), report), (&*manifest, Report::default()));
}

#[test]
fn c14_other_layer_types() {
    let zstd = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    let (memory, manifest) = edited(TAR_GZIP, zstd);
    assert_eq!(
        image(&memory, &manifest).0.layers[0].kind.as_deref(),
        Some(zstd)
    );
    let (memory, manifest) = edited(TAR_GZIP, "application/octet-stream");
    let (artifact, _) = decode(&memory, MANIFEST, &manifest).unwrap();
    assert!(
        matches!(&artifact, Artifact::Opaque(opaque) if opaque.image),
        "{artifact:?}"
    );
}

#[test]
fn annotations_are_reported_unless_the_original_has_them() {
    let (memory, manifest) = edited("{", "{\"annotations\":{\"own\":\"1\"},");
    let manifest = manifest.replace("\"size\":7", "\"size\":7,\"annotations\":{\"k\":\"v\"}");
    let (mut image, _) = image(&memory, &manifest);
    let (_, root, report) = encode(&image, &kept(&image));
    assert_eq!((text(&root), report), (&*manifest, Report::default()));
    image.annotations.insert("new".into(), "2".into());
    image.annotations.insert("own".into(), "3".into());
    image.layers[0].annotations.insert("l".into(), "".into());
    let (_, root, report) = encode(&image, &kept(&image));
    let fields: Vec<&str> = report.losses.iter().map(|loss| &*loss.field).collect();
    assert_eq!(
        fields,
        [
            "annotations.new",
            "annotations.own",
            "layers.0.annotations.l"
        ]
    );
    assert!(
        report
            .losses
            .iter()
            .all(|loss| loss.outcome == Outcome::Dropped)
    );
    assert_eq!(report.losses[0].why, "Docker manifests have no annotations");
    assert!(!text(&root).contains("new") && !text(&root).contains("own"));
    assert!(text(&root).contains(r#""annotations":{"k":"v"}"#));
}

#[test]
fn what_only_an_aci_says_is_reported_and_its_manifest_is_not_kept() {
    let (memory, manifest) = edited("{", "{");
    let (mut image, _) = image(&memory, &manifest);
    image.originals.push(Original {
        format: FormatId("aci"),
        role: "manifest",
        document: Document {
            kind: "x".into(),
            bytes: b"{\"acKind\":\"ImageManifest\"}".as_slice().into(),
        },
    });
    let path = (FormatId("aci"), "app.isolators".to_owned());
    image.extensions.insert(path, "[]".into());
    let (_, root, report) = encode(&image, &kept(&image));
    assert_eq!(text(&root), manifest);
    assert_eq!(report.losses.len(), 1);
    assert_eq!(report.losses[0].field, "app.isolators");
    assert_eq!(report.losses[0].why, "Docker has no field for this value");
}

#[test]
fn c13a_more_layers_than_engines_run() {
    let mut memory = Memory::default();
    let manifest = minimal(&mut memory);
    let (mut image, _) = image(&memory, &manifest);
    for (count, warned) in [(127, false), (128, true)] {
        image.layers = vec![image.layers[0].clone(); count];
        let (_, _, report) = encode(&image, &kept(&image));
        let found = report.warnings.iter().find(|w| w.code == "many-layers");
        assert_eq!(found.is_some(), warned);
        if let Some(warning) = found {
            assert!(warning.message.contains("128 layers"), "{warning:?}");
        }
    }
}
