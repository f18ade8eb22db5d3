//! Writing: what a change touches, what is kept, what is said.

use imgconv_format_oci::OCI;
use imgconv_model::{
    Code, Compression, Digest, Document, DocumentFormat, Env, FormatId, Image, Original, Outcome,
    Platform, Report, SealedLayer, Step,
};
use imgconv_testkit::laws::layer;

use crate::{
    bundle::{CONFIG, ID_A, ID_B, MANIFEST, Memory, TAR_GZIP, encode, env, image, kept, text},
    fixtures::{dockerish, minimal, with_subject},
};

const ID_C: &str = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";
const ACI: FormatId = FormatId("aci");

fn sealed(digest: &str, compression: Compression, step: Step) -> SealedLayer {
    SealedLayer {
        digest: Digest::parse(digest).unwrap(),
        size: 9,
        compression,
        diff_id: Digest::parse(ID_A).unwrap(),
        step,
        annotations: Default::default(),
    }
}

/// An image as another format gives it.
fn foreign() -> Image {
    Image {
        platform: Platform::new("linux", "arm64"),
        layers: vec![layer(ID_B)],
        ..Image::default()
    }
}

fn aci(text: &[u8]) -> Original {
    let document = Document {
        kind: "x".into(),
        bytes: text.into(),
    };
    Original {
        format: ACI,
        role: "manifest",
        document,
    }
}

fn losses(report: &Report) -> Vec<(&str, Outcome)> {
    report
        .losses
        .iter()
        .map(|loss| (&*loss.field, loss.outcome))
        .collect()
}

#[test]
fn a_new_image() {
    let layers = [sealed(ID_B, Compression::Gzip, Step::Squash)];
    let (config, root, report) = encode(&foreign(), &layers, &env());
    assert_eq!(
        text(&config),
        format!(
            r#"{{"architecture":"arm64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{ID_A}"]}}}}"#
        )
    );
    let size = config.bytes.len();
    let found = imgconv_stream::digest(imgconv_model::Algorithm::Sha256, &config.bytes);
    assert_eq!(
        text(&root),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{CONFIG}","digest":"{found}","size":{size}}},"layers":[{{"mediaType":"{TAR_GZIP}","digest":"{ID_B}","size":9}}]}}"#
        )
    );
    assert_eq!((&*config.kind, &*root.kind), (CONFIG, MANIFEST));
    assert_eq!(report, Report::default());
}

#[test]
fn each_compression_has_its_type() {
    for (compression, kind) in [
        (Compression::None, "application/vnd.oci.image.layer.v1.tar"),
        (
            Compression::Gzip,
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        (
            Compression::Zstd,
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
    ] {
        let (_, root, _) = encode(&foreign(), &[sealed(ID_C, compression, Step::Keep)], &env());
        assert!(
            text(&root).contains(&format!("\"{kind}\"")),
            "{}",
            text(&root)
        );
    }
    for compression in [Compression::Bzip2, Compression::Xz] {
        let layers = [sealed(ID_C, compression, Step::Keep)];
        let error = OCI
            .encode(&foreign(), &layers, &env(), &mut Report::default())
            .unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.to_string().contains("layer 0"), "{error}");
    }
}

#[test]
fn c11c_a_platform_is_assumed_and_said() {
    let mut image = foreign();
    image.platform = Platform::default();
    let host = Platform::parse("plan9/arm/v6").unwrap();
    let env = Env::new("/nonexistent", host);
    let (config, _, report) = encode(&image, &[sealed(ID_B, Compression::Gzip, Step::Keep)], &env);
    assert!(
        text(&config).starts_with(r#"{"architecture":"arm","os":"plan9","variant":"v6","#),
        "{}",
        text(&config)
    );
    assert_eq!(losses(&report), [("platform", Outcome::Synthesised)]);
    assert_eq!(report.warnings[0].code, "assumed-platform");
    assert!(report.warnings[0].message.contains("plan9/arm/v6"));
}

#[test]
fn a_date_is_written_only_if_there_is_one() {
    let layers = [sealed(ID_B, Compression::Gzip, Step::Keep)];
    let epoch = Env {
        epoch: Some(1_700_000_000),
        ..env()
    };
    let mut image = foreign();
    let (config, _, report) = encode(&image, &layers, &epoch);
    assert!(text(&config).starts_with(r#"{"created":"2023-11-14T22:13:20Z","#));
    assert_eq!(losses(&report), [("created", Outcome::Synthesised)]);
    image.created = Some("2015-10-31T22:22:56+01:00".into());
    let (config, _, report) = encode(&image, &layers, &epoch);
    assert!(text(&config).starts_with(r#"{"created":"2015-10-31T22:22:56+01:00","#));
    assert_eq!(losses(&report), []);
    // A copy is not dated anew.
    let mut memory = Memory::default();
    let manifest = minimal(&mut memory);
    let (image, _) = self::image(&memory, &manifest);
    assert_eq!(text(&encode(&image, &kept(&image), &epoch).1), manifest);
}

#[test]
fn an_aci_manifest_travels_as_an_annotation_and_comes_back() {
    let mut image = foreign();
    let manifest = "{\"acKind\":\"ImageManifest\", \"x\":\"<&>\\u0000é\"}\n";
    image.originals.push(aci(manifest.as_bytes()));
    image
        .extensions
        .insert((ACI, "app.isolators".into()), "[]".into());
    let mut memory = Memory::default();
    memory.put(b"layer a");
    let digest = imgconv_stream::digest(imgconv_model::Algorithm::Sha256, b"layer a");
    let layers = [SealedLayer {
        size: 7,
        ..sealed(&digest.to_string(), Compression::Gzip, Step::Squash)
    }];
    let (config, root, report) = encode(&image, &layers, &env());
    assert_eq!(losses(&report), [("app.isolators", Outcome::Dropped)]);
    assert!(
        report.losses[0]
            .why
            .contains("annotation imgconv.aci.manifest"),
        "{report:?}"
    );
    memory.put(&config.bytes);
    let (back, report) = self::image(&memory, text(&root));
    assert_eq!(report, Report::default());
    assert!(back.annotations.is_empty());
    let carried = &back.originals[2];
    assert_eq!((carried.format, carried.role), (ACI, "manifest"));
    assert_eq!(&*carried.document.bytes, manifest.as_bytes());
    assert_eq!(
        carried.document.kind,
        "application/vnd.imgconv.aci.manifest.v1+json"
    );
    assert_eq!(text(&encode(&back, &kept(&back), &env()).1), text(&root));
}

#[test]
fn an_aci_manifest_that_can_not_travel_is_said() {
    let large = "x".repeat(1 << 20);
    let escaped = "<".repeat(1 << 18);
    for (bytes, part) in [
        (b"\xff".as_slice(), "not UTF-8"),
        (large.as_bytes(), "too large to keep"),
        (escaped.as_bytes(), "too large to keep"),
    ] {
        let mut image = foreign();
        image.originals.push(aci(bytes));
        image
            .extensions
            .insert((ACI, "app.isolators".into()), "[]".into());
        let (_, root, report) = encode(
            &image,
            &[sealed(ID_B, Compression::Gzip, Step::Keep)],
            &env(),
        );
        assert!(!text(&root).contains("imgconv.aci"));
        assert_eq!(
            losses(&report),
            [
                ("manifest", Outcome::Dropped),
                ("app.isolators", Outcome::Dropped)
            ]
        );
        assert!(report.losses[0].why.contains(part), "{report:?}");
        assert_eq!(report.losses[1].why, "OCI has no field for this value");
    }
    // One that somebody wrote all the same is not taken out of a copy.
    let mut memory = Memory::default();
    let manifest = minimal(&mut memory).replacen(
        '{',
        &format!("{{\"annotations\":{{\"imgconv.aci.manifest\":\"{large}\"}},"),
        1,
    );
    let (image, _) = image(&memory, &manifest);
    let (_, root, report) = encode(&image, &kept(&image), &env());
    assert_eq!(text(&root), manifest);
    assert_eq!(report, Report::default());
}

#[test]
fn a_reserved_annotation_is_not_taken_from_the_model() {
    let mut image = foreign();
    image
        .annotations
        .insert("imgconv.aci.manifest".into(), "{}".into());
    let (_, root, report) = encode(
        &image,
        &[sealed(ID_B, Compression::Gzip, Step::Keep)],
        &env(),
    );
    assert!(!text(&root).contains("annotations"));
    assert_eq!(
        losses(&report),
        [("annotations.imgconv.aci.manifest", Outcome::Dropped)]
    );
}

#[test]
fn c14a_a_copy_keeps_a_wrong_label_and_a_rewrite_corrects_it() {
    let mut memory = Memory::default();
    let manifest = dockerish(&mut memory);
    let (mut image, _) = image(&memory, &manifest);
    let mut layers = kept(&image);
    layers[0].compression = Compression::None;
    layers[1].compression = Compression::Zstd;
    assert_eq!(text(&encode(&image, &layers, &env()).1), manifest);
    image.annotations.remove("a");
    let (config, root, report) = encode(&image, &layers, &env());
    let root = text(&root);
    assert!(
        root.contains(r#""mediaType":"application/vnd.oci.image.layer.v1.tar","#),
        "{root}"
    );
    assert!(
        root.contains(r#""mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","#),
        "{root}"
    );
    assert!(
        root.contains(r#""annotations":{"org.opencontainers.image.url":"u","b":"\u003c"}"#),
        "{root}"
    );
    assert!(
        root.contains(r#""vendor":{"deep":[1,{"er":null}]}"#),
        "{root}"
    );
    assert!(root.contains(r#""x":[1]"#), "{root}");
    assert!(root.contains(r#""annotations":{"c":"d"}"#), "{root}");
    // The config did not change at all.
    assert_eq!(config.bytes, image.originals[1].document.bytes);
    assert_eq!(report, Report::default());
}

#[test]
fn a_changed_label_changes_only_that() {
    let mut memory = Memory::default();
    let manifest = dockerish(&mut memory);
    let (mut image, _) = image(&memory, &manifest);
    image.config.labels.insert("new".into(), "1".into());
    let (config, root, report) = encode(&image, &kept(&image), &env());
    let parse = |bytes: &[u8]| imgconv_json::parse(bytes, &Default::default(), "x").unwrap();
    let mut before = parse(&image.originals[1].document.bytes);
    before["config"]["Labels"] = r#"{"a":"2","new":"1","z":"1"}"#.parse().unwrap();
    assert_eq!(parse(&config.bytes), before);
    let mut before = parse(manifest.as_bytes());
    let after = parse(&root.bytes);
    before["config"]["digest"] = after["config"]["digest"].clone();
    before["config"]["size"] = config.bytes.len().into();
    assert_eq!(after, before);
    assert_eq!(report, Report::default());
}

#[test]
fn c15_recompression_drops_the_table_of_contents() {
    let mut memory = Memory::default();
    let manifest = dockerish(&mut memory).replace(
        r#"{"k": "v"}"#,
        r#"{"k":"v","io.github.containers.zstd-chunked.manifest-position":"1:2","containerd.io/snapshot/stargz/toc.digest":"x","io.containers.estargz.uncompressed-size":"3","containerd.io/snapshot/overlaybd/blob-size":"7","containerd.io/uncompressed":"x"}"#,
    );
    let (image, _) = image(&memory, &manifest);
    assert_eq!(text(&encode(&image, &kept(&image), &env()).1), manifest);
    let mut layers = kept(&image);
    layers[1].digest = Digest::parse(ID_C).unwrap();
    layers[1].compression = Compression::Zstd;
    let (config, root, report) = encode(&image, &layers, &env());
    let root = text(&root);
    assert!(
        !root.contains("toc.digest") && !root.contains("zstd-chunked") && !root.contains("estargz"),
        "{root}"
    );
    assert!(root.contains(&format!(
        r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"{ID_C}","size":7,"annotations":{{"k":"v","containerd.io/uncompressed":"{ID_B}"}}}}"#
    )), "{root}");
    // The uncompressed layers are the same, so the config is.
    assert_eq!(config.bytes, image.originals[1].document.bytes);
    assert_eq!(report, Report::default());
}

#[test]
fn a_squashed_image_has_one_layer_and_says_what_went() {
    let mut memory = Memory::default();
    let manifest = dockerish(&mut memory);
    let (mut image, _) = image(&memory, &manifest);
    image.layers = vec![layer(ID_C)];
    image.history.clear();
    let (config, root, report) = encode(
        &image,
        &[sealed(ID_C, Compression::Gzip, Step::Squash)],
        &env(),
    );
    let config = text(&config);
    assert!(
        config.contains(&format!(
            r#""rootfs":{{"type":"layers","diff_ids":["{ID_A}"],"base_layer":"z"}}"#
        )),
        "{config}"
    );
    assert!(
        !config.contains("history") && config.contains("Healthcheck"),
        "{config}"
    );
    let layers = format!(r#""layers":[{{"mediaType":"{TAR_GZIP}","digest":"{ID_C}","size":9}}]"#);
    assert!(text(&root).contains(&layers), "{}", text(&root));
    assert_eq!(
        losses(&report),
        [
            ("history[1].more", Outcome::Dropped),
            ("manifest.layers.0.x", Outcome::Dropped)
        ]
    );
}

#[test]
fn c6a_c14c_foreign_layers() {
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let mut memory = Memory::default();
    let manifest = minimal(&mut memory).replace(TAR_GZIP, foreign);
    let with_urls = manifest.replace("\"size\":7", "\"size\":7,\"urls\":[\"https://x/\"]");
    for (manifest, kind) in [(with_urls, foreign), (manifest, TAR_GZIP)] {
        let (mut image, _) = image(&memory, &manifest);
        assert_eq!(text(&encode(&image, &kept(&image), &env()).1), manifest);
        image.annotations.insert("a".into(), "b".into());
        let root = encode(&image, &kept(&image), &env()).1;
        assert!(text(&root).contains(kind), "{}", text(&root));
        // A new blob is neither foreign nor at the old place.
        let mut layers = kept(&image);
        layers[0].digest = Digest::parse(ID_C).unwrap();
        let root = encode(&image, &layers, &env()).1;
        assert!(
            text(&root).contains(TAR_GZIP) && !text(&root).contains("urls"),
            "{}",
            text(&root)
        );
    }
}

#[test]
fn extensions_alone_restore_their_fields() {
    let mut memory = Memory::default();
    let manifest = with_subject(&mut memory);
    let (mut image, _) = image(&memory, &manifest);
    image.originals.clear();
    let oci = FormatId("oci");
    image
        .extensions
        .insert((oci, "manifest.layers.0.x".into()), "1".into());
    image.extensions.insert(
        (oci, "manifest.config.annotations".into()),
        r#"{"a":"b"}"#.into(),
    );
    image.extensions.insert(
        (oci, "config.Healthcheck".into()),
        r#"{"Test":["NONE"]}"#.into(),
    );
    let (config, root, report) = encode(&image, &kept(&image), &env());
    assert_eq!(report, Report::default());
    memory.put(&config.bytes);
    let (back, _) = self::image(&memory, text(&root));
    assert_eq!(back.extensions, image.extensions);
    for (path, raw) in [
        ("manifest.layers.7.x", "1"),
        ("manifest.layers.0.digest", "1"),
        ("manifest.manifests", "[]"),
        ("manifest.subject", "1"),
        ("manifest.Layers", "[]"),
        ("manifest.x", "{"),
        ("manifest.config.annotations", "{\"a\":1}"),
    ] {
        let mut image = image.clone();
        image.extensions.insert((oci, path.into()), raw.into());
        let (_, _, report) = encode(&image, &kept(&image), &env());
        assert_eq!(losses(&report), [(path, Outcome::Dropped)]);
    }
}

#[test]
fn originals_that_are_none_are_left_aside() {
    let oci = FormatId("oci");
    for bytes in ["{", "{}", "[]"] {
        let mut image = foreign();
        for role in ["manifest", "config"] {
            let document = Document {
                kind: "".into(),
                bytes: bytes.as_bytes().into(),
            };
            image.originals.push(Original {
                format: oci,
                role,
                document,
            });
        }
        let layers = [sealed(ID_B, Compression::Gzip, Step::Keep)];
        let (_, root, report) = encode(&image, &layers, &env());
        let codes: Vec<_> = report.warnings.iter().map(|w| (w.code, &*w.at)).collect();
        assert_eq!(
            codes,
            [("bad-original", "manifest"), ("bad-original", "config")]
        );
        assert_eq!(text(&root), text(&encode(&foreign(), &layers, &env()).1));
    }
}

#[test]
fn an_image_without_layers() {
    let mut image = foreign();
    image.layers.clear();
    let (config, root, report) = encode(&image, &[], &env());
    assert!(text(&root).contains(r#""layers":[]"#));
    assert!(text(&config).contains(r#""diff_ids":[]"#));
    assert_eq!(report, Report::default());
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let mut image = foreign();
    let error = OCI
        .encode(&image, &[], &env(), &mut Report::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::Usage);
    let layers = [sealed(ID_B, Compression::Gzip, Step::Keep)];
    image.config.env.push("x".repeat(4 << 20));
    let error = OCI
        .encode(&image, &layers, &env(), &mut Report::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    assert!(error.to_string().contains("the new config of"), "{error}");
    image.config.env.clear();
    image.annotations.insert("x".into(), "x".repeat(4 << 20));
    let error = OCI
        .encode(&image, &layers, &env(), &mut Report::default())
        .unwrap_err();
    assert!(error.to_string().contains("the new manifest of"), "{error}");
    image.annotations.clear();
    image.layers = vec![layer(ID_B); 1025];
    let layers = vec![layers[0].clone(); 1025];
    let error = OCI
        .encode(&image, &layers, &env(), &mut Report::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::Limit, "{error}");
}
