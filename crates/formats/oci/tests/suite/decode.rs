//! Reading what a right document says: robustness C5, C6, C7, C8f, C11, C12, C14, D11a.

use imgconv_model::{Artifact, Code, Document, Exec, FormatId, History, Opaque, Platform, Port};

use crate::{
    bundle::{CONFIG, ID_A, ID_B, INDEX, MANIFEST, Memory, TAR_GZIP, decode, image, refuse},
    fixtures::{dockerish, edited, with_subject},
};

const EMPTY: &str = r#""mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2"#;

fn opaque(memory: &Memory, text: &str) -> Opaque {
    match decode(memory, MANIFEST, text).unwrap().0 {
        Artifact::Opaque(opaque) => opaque,
        other => panic!("expected something opaque, found {other:?}"),
    }
}

#[test]
fn every_field_arrives() {
    let mut memory = Memory::default();
    let text = dockerish(&mut memory);
    let (image, _) = image(&memory, &text);
    assert_eq!(image.name, None);
    assert_eq!(image.platform, Platform::parse("linux/arm64/v8").unwrap());
    assert_eq!(
        image.created.as_deref(),
        Some("2016-01-02T03:04:05.678901234Z")
    );
    assert_eq!(image.author.as_deref(), Some("A <a@b>"));
    let config = &image.config;
    assert_eq!(
        config.exec,
        Some(Exec {
            entrypoint: vec!["/init".into()],
            cmd: vec![]
        })
    );
    assert_eq!(config.user.as_deref(), Some("www-data"));
    assert_eq!(config.env, ["PATH=/bin"]);
    assert_eq!(config.working_dir.as_deref(), Some("/w"));
    let port = |number| Port {
        number,
        count: 1,
        protocol: "tcp".into(),
    };
    assert_eq!(config.ports, [port(80), port(8443)]);
    assert_eq!(config.volumes, ["/data"]);
    assert_eq!(config.labels["z"], "1");
    assert_eq!(config.stop_signal.as_deref(), Some("SIGTERM"));
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.layers[1].diff_id.unwrap().to_string(), ID_B);
    assert_eq!(image.layers[1].kind.as_deref(), Some(TAR_GZIP));
    assert_eq!(image.layers[1].annotations["k"], "v");
    assert_eq!(image.layers[0].blob.facts.size, Some(7));
    assert_eq!(image.history.len(), 3);
    let env = History {
        created_by: Some("ENV".into()),
        empty_layer: true,
        ..History::default()
    };
    assert_eq!(image.history[1], env);
    assert_eq!(image.annotations["org.opencontainers.image.url"], "u");
    assert_eq!(image.annotations.len(), 3);
    let extensions: Vec<&str> = image.extensions.keys().map(|(_, path)| &**path).collect();
    assert_eq!(
        extensions,
        [
            "\"moby.buildkit.buildinfo.v1\"",
            "config.ExposedPorts.no/port",
            "config.Healthcheck",
            "config.Hostname",
            "config.Shell",
            "config.Unknown",
            "container_config",
            "docker_version",
            "history[1].more",
            "id",
            "manifest.config.annotations",
            "manifest.layers.0.x",
            "manifest.vendor",
            "os.version",
            "rootfs.base_layer",
        ]
    );
    let at = |path: &str| &*image.extensions[&(FormatId("oci"), path.to_owned())];
    assert_eq!(at("config.Unknown"), r#"{"x":1.50}"#);
    assert_eq!(at("manifest.vendor"), r#"{"deep":[1,{"er":null}]}"#);
    let roles: Vec<_> = image
        .originals
        .iter()
        .map(|o| (o.format.0, o.role))
        .collect();
    assert_eq!(roles, [("oci", "manifest"), ("oci", "config")]);
    assert_eq!(&*image.originals[0].document.bytes, text.as_bytes());
}

#[test]
fn c5a_embedded_data() {
    let config = format!(
        r#"{{"os":"linux","architecture":"x","rootfs":{{"type":"layers","diff_ids":["{ID_A}"]}}}}"#
    );
    let mut memory = Memory::default();
    let fields = memory.put(config.as_bytes());
    let layer = memory.put(b"abc");
    memory.forget(config.as_bytes());
    memory.forget(b"abc");
    let text = |config: &str, layer_data: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}",{fields},"data":"{config}"}},"layers":[{{"mediaType":"{TAR_GZIP}",{layer},"data":"{layer_data}"}}]}}"#
        )
    };
    let encoded = base64(config.as_bytes());
    let (image, _) = image(&memory, &text(&encoded, "YWJj"));
    let mut bytes = Vec::new();
    image.layers[0]
        .blob
        .open()
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, b"abc");
    assert_eq!(&*image.originals[1].document.bytes, config.as_bytes());
    // K10: an empty text is no data.
    let empty = text(&encoded, "");
    refuse(
        &memory,
        MANIFEST,
        &empty,
        Code::Missing,
        "referenced by the manifest",
    );
    for (config, layer, part) in [
        (&*encoded, "YWJk", "field layers[0].data"),
        (
            &encoded,
            "YWI=",
            "size of field layers[0].data does not match: expected 3, found 2",
        ),
        ("YWJj", "YWJj", "field config.data"),
    ] {
        refuse(
            &memory,
            MANIFEST,
            &text(config, layer),
            Code::Mismatch,
            part,
        );
    }
    refuse(
        &memory,
        MANIFEST,
        &text(&encoded, "YWJj "),
        Code::BadJson,
        "field layers[0].data",
    );
    let wrong = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{ID_A}","size":2}},"layers":[]}}"#
    );
    refuse(
        &memory,
        MANIFEST,
        &wrong,
        Code::Mismatch,
        "field config, which has the type of `{}`",
    );
}

use std::io::Read as _;

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let mut whole = [0; 4];
        whole[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(whole);
        for i in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]);
            out.push(if i > group.len() { '=' } else { digit });
        }
    }
    out
}

#[test]
fn c6a_foreign_layers_are_not_fetched() {
    let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let (mut memory, text) = edited(
        &format!("\"mediaType\":\"{TAR_GZIP}\""),
        &format!(
            r#""mediaType":"{kind}","urls":["https://169.254.169.254/x","file:///etc/passwd"]"#
        ),
    );
    // The blob is there: it is used (C14c).
    let (with, _) = image(&memory, &text);
    assert_eq!(with.layers[0].kind.as_deref(), Some(kind));
    memory.forget(b"layer a");
    let (without, _) = image(&memory, &text);
    assert_eq!(without.layers[0].urls.len(), 2);
    let error = without.layers[0].blob.open().err().unwrap();
    assert_eq!(error.code(), Code::Missing);
    assert!(
        error.to_string().contains("https://169.254.169.254/x"),
        "{error}"
    );
    // An ordinary layer must be there, whatever urls it has.
    let (mut memory, text) = edited("\"size\":7", "\"size\":7,\"urls\":[\"https://x/\"]");
    memory.forget(b"layer a");
    refuse(&memory, MANIFEST, &text, Code::Missing, "layer 0");
}

#[test]
fn c8f_a_name_inside_is_ignored() {
    let (memory, text) = edited(
        "{",
        r#"{"annotations":{"org.opencontainers.image.ref.name":"v1"},"#,
    );
    assert_eq!(image(&memory, &text).0.name, None);
}

#[test]
fn c11a_null_layers() {
    let mut memory = Memory::default();
    let config = memory.put(br#"{"os":"linux","architecture":"x","rootfs":{"type":"layers","diff_ids":null},"config":null,"history":null}"#);
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}",{config}}},"layers":null}}"#
    );
    assert!(image(&memory, &text).0.layers.is_empty());
}

#[test]
fn c11c_an_absent_platform_warns() {
    let mut memory = Memory::default();
    let config = memory.put(br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#);
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{CONFIG}",{config}}},"layers":[]}}"#
    );
    let (_, report) = image(&memory, &text);
    assert_eq!(report.warnings[0].code, "missing-platform");
}

#[test]
fn c12k_diff_ids_and_layers() {
    let (memory, text) = edited(
        "\"layers\":[",
        &format!("\"layers\":[{{\"mediaType\":\"{TAR_GZIP}\",\"digest\":\"{ID_A}\",\"size\":1}},"),
    );
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::BadManifest,
        "the config has 1 diff IDs, but the manifest has 2 layers",
    );
}

#[test]
fn d11a_blobs_that_are_absent() {
    let (mut memory, text) = edited("{", "{");
    memory.forget(b"layer a");
    refuse(
        &memory,
        MANIFEST,
        &text,
        Code::Missing,
        "referenced by the manifest",
    );
    refuse(
        &Memory::default(),
        MANIFEST,
        &text,
        Code::Missing,
        "config, which the manifest refers to",
    );
}

#[test]
fn c14b_layers_of_unknown_types_are_carried() {
    let rows = [
        ("application/octet-stream", true),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            true,
        ),
        ("application/vnd.in-toto+json", false),
        ("application/vnd.dev.cosign.simplesigning.v1+json", false),
    ];
    for (kind, is_image) in rows {
        let (memory, text) = edited(TAR_GZIP, kind);
        let opaque = opaque(&memory, &text);
        assert_eq!(opaque.image, is_image, "{kind}");
        assert!(opaque.what.contains(kind), "{}", opaque.what);
        assert_eq!(opaque.blobs.len(), 2);
        assert_eq!(&*opaque.document.unwrap().bytes, text.as_bytes());
    }
    // One layer that could be a tar is enough.
    let other = format!(r#""layers":[{{"mediaType":"application/x","digest":"{ID_B}","size":1}},"#);
    let (memory, text) = edited("\"layers\":[", &other);
    assert!(opaque(&memory, &text).image);
}

#[test]
fn c14c_types_that_are_read() {
    for kind in [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ] {
        let (memory, text) = edited(TAR_GZIP, kind);
        assert_eq!(
            image(&memory, &text).0.layers[0].kind.as_deref(),
            Some(kind)
        );
    }
}

#[test]
fn artifacts_are_carried() {
    let memory = Memory::default();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"application/spdx+json","config":{{{EMPTY}}},"layers":[{{"mediaType":"application/spdx+json","digest":"{ID_A}","size":1}}],"subject":{{"mediaType":"{MANIFEST}","digest":"{ID_B}","size":2}}}}"#
    );
    let found = opaque(&memory, &text);
    assert_eq!(found.what, "artifact application/spdx+json");
    assert_eq!(found.subject.unwrap().to_string(), ID_B);
    assert!(!found.image);
    assert_eq!(found.blobs[1].digest.to_string(), ID_A);
    assert_eq!(found.document.unwrap().kind, MANIFEST);
    // A chart: its own config type, layers that are tars.
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{ID_A}","size":1}},"layers":[{{"mediaType":"{TAR_GZIP}","digest":"{ID_B}","size":1}}]}}"#
    );
    let found = opaque(&memory, &text);
    assert_eq!(
        (&*found.what, found.image),
        ("artifact application/vnd.cncf.helm.config.v1+json", false)
    );
    // The withdrawn artifact manifest.
    let kind = "application/vnd.oci.artifact.manifest.v1+json";
    let text = format!(
        r#"{{"mediaType":"{kind}","artifactType":"application/x","blobs":[{{"mediaType":"y","digest":"{ID_A}","size":1}}]}}"#
    );
    let (artifact, _) = decode(&memory, kind, &text).unwrap();
    let Artifact::Opaque(found) = artifact else {
        panic!("{artifact:?}")
    };
    assert_eq!(
        (&*found.what, found.blobs.len()),
        ("artifact application/x", 1)
    );
}

#[test]
fn a_subject_does_not_make_an_image_an_artifact() {
    let mut memory = Memory::default();
    let text = with_subject(&mut memory);
    let (image, _) = image(&memory, &text);
    let at = |path: &str| &*image.extensions[&(FormatId("oci"), path.to_owned())];
    assert!(at("manifest.subject").contains(ID_B));
    assert_eq!(at("manifest.artifactType"), "\"application/x\"");
}

#[test]
fn an_index_lists_its_children() {
    let memory = Memory::default();
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"{MANIFEST}","digest":"{ID_A}","size":1,"platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},
            {{"mediaType":"{INDEX}","digest":"{ID_B}","size":2,"annotations":{{"a":"b"}},"new":[]}}]}}"#
    );
    let (artifact, _) = decode(&memory, INDEX, &text).unwrap();
    let Artifact::Index(index) = artifact else {
        panic!("{artifact:?}")
    };
    assert_eq!(index.children.len(), 2);
    assert_eq!(
        index.children[0].platform,
        Some(Platform::parse("linux/arm/v7").unwrap())
    );
    assert_eq!(
        (index.children[0].size, &*index.children[1].kind),
        (1, INDEX)
    );
    assert_eq!(index.children[1].annotations["a"], "b");
    assert!(index.children[1].raw.contains("\"new\":[]"));
    let document = Document {
        kind: INDEX.into(),
        bytes: text.as_bytes().into(),
    };
    assert_eq!(index.document, document);
}

#[test]
fn c7b_one_manifest_20_000_times() {
    let child = format!(r#"{{"mediaType":"{MANIFEST}","digest":"{ID_A}","size":1}}"#);
    let text = |count| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            vec![&*child; count].join(",")
        )
    };
    let (artifact, _) = decode(&Memory::default(), INDEX, &text(20_000)).unwrap();
    assert!(matches!(artifact, Artifact::Index(index) if index.children.len() == 20_000));
    refuse(
        &Memory::default(),
        INDEX,
        &text(40_000),
        Code::Limit,
        "`manifest`",
    );
}
