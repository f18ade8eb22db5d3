//! Writing schema 1.

use imgconv_format_docker_v2s1::DOCKER_V2S1;
use imgconv_model::{
    Code, Compression, Digest, DocumentFormat, Exec, FormatId, History, Image, Name, Outcome,
    Platform, Report, RunConfig, SealedLayer, Step,
};
use imgconv_testkit::laws::layer;

use crate::{
    build::{EMPTY, blob, manifest, v1},
    bundle::{UNSIGNED, decode_with, encode, env, fails, image, kept, memory, root, text},
};

fn sealed(digest: &str) -> SealedLayer {
    SealedLayer {
        digest: Digest::parse(digest).unwrap(),
        size: 9,
        compression: Compression::Gzip,
        diff_id: Digest::parse(&blob('d')).unwrap(),
        step: Step::Keep,
        annotations: Default::default(),
    }
}

fn foreign() -> Image {
    let step = |by: &str, empty_layer| History {
        created: Some("2020-01-01T00:00:00Z".into()),
        created_by: Some(by.into()),
        empty_layer,
        ..History::default()
    };
    Image {
        name: Some(Name::parse_reference("busybox:1.0").unwrap()),
        platform: Platform::new("linux", "arm64"),
        created: Some("2020-01-01T00:00:00Z".into()),
        config: RunConfig {
            exec: Some(Exec {
                entrypoint: vec![],
                cmd: vec!["sh".into()],
            }),
            ..RunConfig::default()
        },
        layers: vec![layer(&blob('1'))],
        history: vec![step("ADD <x>", false), step("CMD", true)],
        ..Image::default()
    }
}

fn losses(report: &Report) -> Vec<(&str, Outcome)> {
    report
        .losses
        .iter()
        .map(|loss| (&*loss.field, loss.outcome))
        .collect()
}

// The ids by hand, with `sha256sum`: that of the base is of "1" × 64 and a space, that of the top
// of a3ed95ca…, a space, the base's id, a space and the configuration.
#[test]
fn a_new_manifest() {
    let (root, documents, report) = encode(&foreign(), &[sealed(&blob('1'))]);
    assert_eq!(losses(&report), []);
    assert_eq!(root.kind, UNSIGNED);
    assert_eq!(
        text(&root),
        r#"{
   "schemaVersion": 1,
   "name": "library/busybox",
   "tag": "1.0",
   "architecture": "arm64",
   "fsLayers": [
      {
         "blobSum": "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
      },
      {
         "blobSum": "sha256:1111111111111111111111111111111111111111111111111111111111111111"
      }
   ],
   "history": [
      {
         "v1Compatibility": "{\"architecture\":\"arm64\",\"config\":{\"Cmd\":[\"sh\"]},\"container_config\":{\"Cmd\":[\"CMD\"]},\"created\":\"2020-01-01T00:00:00Z\",\"id\":\"06fd71693ae37b08439b9ed6d81e146cf9b4e8fa912d702e67c994488c7d8f03\",\"os\":\"linux\",\"parent\":\"bda74966eceb530b60c369b5aa325fc6806898f8908149bfdee5200c4efc6bb5\",\"throwaway\":true}"
      },
      {
         "v1Compatibility": "{\"id\":\"bda74966eceb530b60c369b5aa325fc6806898f8908149bfdee5200c4efc6bb5\",\"created\":\"2020-01-01T00:00:00Z\",\"container_config\":{\"Cmd\":[\"ADD \\u003cx\\u003e\"]}}"
      }
   ]
}"#
    );
    let [empty] = &documents[..] else {
        panic!("the empty layer is missing");
    };
    assert_eq!(empty.bytes.len(), 32);
    let digest = imgconv_stream::digest(imgconv_model::Algorithm::Sha256, &empty.bytes);
    assert_eq!(digest.to_string(), EMPTY);
    let back = image(text(&root));
    assert_eq!(back.history, foreign().history);
    assert_eq!(back.config, foreign().config);
    assert_eq!(back.name, foreign().name);
}

#[test]
fn without_empty_steps_there_is_no_extra_document() {
    let mut image = foreign();
    image.history.pop();
    let (_, documents, report) = encode(&image, &[sealed(&blob('1'))]);
    assert!(documents.is_empty());
    assert_eq!(losses(&report), []);
}

#[test]
fn an_image_without_history_gets_one() {
    for layers in [0, 2] {
        let image = Image {
            layers: vec![layer(&blob('1')); layers],
            history: Vec::new(),
            ..foreign()
        };
        let (root, documents, report) = encode(&image, &vec![sealed(&blob('1')); layers]);
        assert_eq!(losses(&report), [("history", Outcome::Synthesised)]);
        assert_eq!(documents.len(), usize::from(layers == 0));
        assert_eq!(crate::bundle::image(text(&root)).layers.len(), layers);
    }
}

#[test]
fn what_is_lost_is_said() {
    let mut image = foreign();
    image.annotations.insert("a".into(), "b".into());
    image.layers[0].urls.push("https://x".into());
    image.layers[0].annotations.insert("a".into(), "b".into());
    image.history[1].author = Some("other".into());
    let mut extend = |format, path: &str, raw: &str| {
        let key = (FormatId(format), path.to_owned());
        image.extensions.insert(key, raw.into());
    };
    extend("oci", "config.Healthcheck", "{\"Test\":[]}");
    extend("oci", "manifest.subject", "{}");
    extend("oci", "size", "1");
    extend("docker-v2s2", "container_config", "5");
    extend("docker-v2s2", "docker_version", "\"20\"");
    extend("docker-v1", "id", "\"x\"");
    extend("aci", "app.isolators", "[]");
    let (root, _, report) = encode(&image, &[sealed(&blob('1'))]);
    assert_eq!(
        losses(&report),
        [
            ("layers.0.urls", Outcome::Dropped),
            ("layers.0.annotations", Outcome::Dropped),
            ("annotations.a", Outcome::Dropped),
            ("app.isolators", Outcome::Dropped),
            ("id", Outcome::Approximated),
            ("container_config", Outcome::Dropped),
            ("manifest.subject", Outcome::Dropped),
            ("size", Outcome::Dropped),
            ("history", Outcome::Approximated),
        ]
    );
    let back = crate::bundle::image(text(&root));
    let get = |path: &str| back.extensions.get(&(FormatId("docker-v2s1"), path.into()));
    assert_eq!(get("config.Healthcheck").unwrap(), "{\"Test\":[]}");
    assert_eq!(get("docker_version").unwrap(), "\"20\"");
}

#[test]
fn what_cannot_be_written() {
    let mut zstd = sealed(&blob('1'));
    zstd.compression = Compression::Zstd;
    let write = |image: &Image, layers: &[SealedLayer]| {
        DOCKER_V2S1.encode(image, layers, &env(), &mut Report::default())
    };
    fails(write(&foreign(), &[zstd]), Code::Unsupported, "found zstd");
    fails(write(&foreign(), &[]), Code::Usage, "1 layers, but 0");
    let mut image = foreign();
    image.platform.os = "a/b".into();
    let result = write(&image, &[sealed(&blob('1'))]);
    fails(result, Code::BadName, "new manifest");
}

#[test]
fn more_layers_than_docker_takes() {
    let count = |layers: usize| {
        let image = Image {
            layers: vec![layer(&blob('1')); layers],
            history: Vec::new(),
            ..foreign()
        };
        let (_, _, report) = encode(&image, &vec![sealed(&blob('1')); layers]);
        report
            .warnings
            .iter()
            .filter(|w| w.code == "many-layers")
            .count()
    };
    assert_eq!((count(127), count(128)), (0, 1));
}

#[test]
fn names() {
    let name = |name: Option<Name>| {
        let image = Image { name, ..foreign() };
        let (root, _, _) = encode(&image, &[sealed(&blob('1'))]);
        let lines: Vec<String> = text(&root)
            .lines()
            .skip(2)
            .take(2)
            .map(str::to_owned)
            .collect();
        lines.join("").replace("   ", "")
    };
    let parsed = |text| Some(Name::parse_reference(text).unwrap());
    assert_eq!(name(None), r#""name": "","tag": "","#);
    assert_eq!(
        name(parsed("h.example:5000/a/b")),
        r#""name": "a/b","tag": "latest","#
    );
    let tag = Name {
        tag: Some("t".into()),
        ..Name::default()
    };
    assert_eq!(name(Some(tag)), r#""name": "","tag": "t","#);
}

#[test]
fn a_changed_image_keeps_what_the_lower_entries_say() {
    let more = r#","container_config":{"Cmd":["a","b"],"Memory":1},"docker_version":"0.6""#;
    let document = manifest(&[
        (EMPTY.into(), v1('b', Some('a'), r#","os":"linux""#)),
        (blob('1'), v1('a', None, more)),
    ]);
    let mut before = image(&document);
    let (same, documents, report) = encode(&before, &kept(&before));
    assert_eq!(text(&same), document);
    assert!(report.is_clean());
    assert_eq!(documents.len(), 1);
    // Another blob: other ids, the rest stays.
    let (root, _, report) = encode(&before, &[sealed(&blob('2'))]);
    let listed = losses(&report);
    assert_eq!(
        listed,
        [
            ("id", Outcome::Approximated),
            ("parent", Outcome::Approximated)
        ]
    );
    let after = image(text(&root));
    let key = (FormatId("docker-v2s1"), "v1Compatibility".to_owned());
    assert_eq!(after.extensions[&key], before.extensions[&key]);
    assert_eq!(after.history, before.history);
    // Another chain: what was said of a step is not said of another.
    before.history.insert(
        0,
        History {
            empty_layer: true,
            ..History::default()
        },
    );
    let (_, _, report) = encode(&before, &kept(&before));
    assert!(losses(&report).contains(&("v1Compatibility", Outcome::Approximated)));
}

#[test]
fn an_original_that_is_none_is_not_used() {
    let document = manifest(&[(blob('1'), v1('a', None, r#","os":"linux""#))]);
    let mut before = image(&document);
    before.originals[0].document.bytes = b"{".as_slice().into();
    let (root, _, report) = encode(&before, &kept(&before));
    assert_eq!(report.warnings[0].code, "bad-original");
    let root = self::root(UNSIGNED, &root.bytes);
    decode_with(&memory(), &root, &env()).unwrap();
}
