//! Layers that stay as they are or are compressed anew.

use std::{io, sync::Arc, thread, time::Duration};

use imgconv_layer::Semantics;
use imgconv_model::{
    Algorithm, Blob, Capabilities, Code, Compression, Env, Error, Facts, Layer, Open, Reader,
    Result, SealedLayer, Step,
};
use imgconv_pipeline::{Options, Plan, Sealer, Squash, write_document};
use imgconv_stream::{Decoder, Pool};

use crate::memory::{Memory, absent, compressed, env, layer, sha, tar, with_bytes};

pub(crate) const TARGET: Capabilities = Capabilities {
    max_layers: None,
    compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
    annotations: true,
    index: true,
    opaque: true,
    root_kinds: &[],
};

pub(crate) fn run(
    layers: &[Layer],
    options: Options,
    sink: &Memory,
    env: &Env,
) -> Result<Vec<SealedLayer>> {
    let pool = Pool::new(env.jobs)?;
    let plan = Sealer::plan(layers, &TARGET, &options, env)?;
    Sealer::new(sink, &pool).run(layers, &plan, Semantics::Layer, env)
}

fn to(compression: Compression) -> Options {
    Options {
        compression: Some(compression),
        ..Options::default()
    }
}

#[test]
fn a_kept_layer_is_the_same_bytes() {
    let (sink, tar) = (Memory::default(), tar(&[("a", "1")]));
    let layers = [layer(&tar, Compression::Zstd)];
    let sealed = run(&layers, Options::default(), &sink, &env()).unwrap();
    assert_eq!(sealed[0].digest, layers[0].blob.facts.digest.unwrap());
    assert_eq!(sealed[0].size, layers[0].blob.facts.size.unwrap());
    assert_eq!(sealed[0].compression, Compression::Zstd);
    assert_eq!((sealed[0].diff_id, sealed[0].step), (sha(&tar), Step::Keep));
    assert_eq!(
        sink.get(&sealed[0].digest),
        compressed(&tar, Compression::Zstd)
    );
}

/// G2d.
#[test]
fn a_plain_tar_with_another_diff_id_is_refused() {
    let tar = tar(&[("a", "1")]);
    let mut layers = [layer(&tar, Compression::None)];
    let kept = run(&layers, Options::default(), &Memory::default(), &env()).unwrap();
    assert_eq!((kept[0].digest, kept[0].step), (sha(&tar), Step::Keep));
    layers[0].diff_id = Some(sha(b"other"));
    let (sink, env) = (Memory::default(), env());
    let error = run(&layers, Options::default(), &sink, &env).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("layer 0") && text.contains("the diff ID"),
        "{text}"
    );
    assert_eq!(sink.len(), 0);
}

#[test]
fn a_missing_diff_id_of_a_kept_layer_is_computed() {
    let (sink, tar) = (Memory::default(), tar(&[("a", "1")]));
    let mut layers = [layer(&tar, Compression::Gzip)];
    layers[0].diff_id = None;
    let sealed = run(&layers, Options::default(), &sink, &env()).unwrap();
    assert_eq!((sealed[0].diff_id, sealed[0].step), (sha(&tar), Step::Keep));
    let mut env = env();
    env.limits.layer_bytes = 600;
    let error = run(&layers, Options::default(), &Memory::default(), &env).unwrap_err();
    assert_eq!(
        error.code(),
        Code::Limit,
        "the budget holds on that way too"
    );
}

#[test]
fn a_recompressed_layer_has_the_same_tar() {
    let (sink, tar) = (Memory::default(), tar(&[("a", "1")]));
    let layers = [layer(&tar, Compression::Gzip)];
    let sealed = run(&layers, to(Compression::Zstd), &sink, &env()).unwrap();
    assert_eq!(sealed[0].compression, Compression::Zstd);
    assert_eq!(
        (sealed[0].diff_id, sealed[0].step),
        (sha(&tar), Step::Recompress)
    );
    let stored = sink.get(&sealed[0].digest);
    let env = env();
    let mut decoder = Decoder::new(
        Box::new(io::Cursor::new(stored)),
        &env.limits,
        &env.notes,
        "x",
    )
    .unwrap();
    let mut found = Vec::new();
    io::copy(&mut decoder, &mut found).unwrap();
    assert_eq!(found, tar);
}

#[test]
fn a_layer_that_images_share_is_written_once() {
    let sink = Memory::default();
    let shared = layer(&tar(&[("a", "1")]), Compression::Gzip);
    let layers = vec![shared; 8];
    for options in [Options::default(), to(Compression::Zstd)] {
        let before = sink.len();
        let sealed = run(&layers, options, &sink, &env()).unwrap();
        assert_eq!(sealed.len(), 8);
        assert_eq!(sink.count(&sealed[0].digest), 1);
        assert_eq!(sink.len() - before, 1, "eight lanes, one blob");
    }
}

#[test]
fn two_claims_of_one_blob_are_checked_both() {
    let (sink, tar) = (Memory::default(), tar(&[("a", "1")]));
    let honest = layer(&tar, Compression::Gzip);
    let mut lying = honest.clone();
    lying.diff_id = Some(sha(b"another tar"));
    let pool = Pool::new(1).unwrap();
    let sealer = Sealer::new(&sink, &pool);
    let seal = |layer: &Layer| {
        let layers = std::slice::from_ref(layer);
        let plan = Sealer::plan(layers, &TARGET, &to(Compression::Zstd), &env())?;
        sealer.run(layers, &plan, Semantics::Layer, &env())
    };
    seal(&honest).unwrap();
    let error = seal(&lying).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    for text in [
        "layer 0",
        "diff ID",
        &sha(&tar).to_string(),
        &sha(b"another tar").to_string(),
    ] {
        assert!(error.to_string().contains(text), "{error} lacks {text}");
    }
}

/// Opens late, and fails.
#[derive(Debug)]
struct Fails {
    after: Duration,
    code: Code,
}

impl Open for Fails {
    fn open(&self) -> Result<Reader> {
        thread::sleep(self.after);
        Err(Error::new(self.code, "this layer is bad"))
    }
}

#[test]
fn the_first_bad_layer_in_image_order_is_named_whichever_fails_first() {
    let good = layer(&tar(&[("a", "1")]), Compression::Gzip);
    let bad = |number: u8, after: u64| {
        let bytes = Fails {
            after: Duration::from_millis(after),
            code: Code::Io,
        };
        Layer {
            blob: Blob {
                facts: Facts {
                    digest: Some(sha(&[number])),
                    size: Some(1),
                },
                bytes: Arc::new(bytes),
            },
            ..good.clone()
        }
    };
    let layers = [good.clone(), bad(1, 60), bad(2, 20), bad(3, 0), bad(4, 0)];
    let plan = Plan {
        steps: (0..5).map(imgconv_pipeline::LayerStep::Keep).collect(),
        reasons: vec![imgconv_pipeline::Reason::Suits; 5],
        toc: false,
    };
    for jobs in [1, 2, 4, 8] {
        let env = Env { jobs, ..env() };
        let (sink, pool) = (Memory::default(), Pool::new(jobs).unwrap());
        let sealer = Sealer::new(&sink, &pool);
        let error = sealer
            .run(&layers, &plan, Semantics::Layer, &env)
            .unwrap_err();
        assert!(
            error.to_string().starts_with("layer 1 ("),
            "{jobs} jobs: {error}"
        );
    }
}

#[test]
fn a_damaged_blob_is_a_mismatch_and_is_not_stored() {
    let tar = tar(&[("a", "1")]);
    let mut bytes = compressed(&tar, Compression::Gzip);
    let facts = Facts {
        digest: Some(sha(&bytes)),
        size: Some(bytes.len() as u64),
    };
    *bytes.last_mut().unwrap() ^= 1;
    let layers = [with_bytes(facts, &bytes, Some(sha(&tar)))];
    for options in [Options::default(), to(Compression::Zstd)] {
        let sink = Memory::default();
        let error = run(&layers, options, &sink, &env()).unwrap_err();
        assert!(
            matches!(error.code(), Code::Mismatch | Code::BadCompression),
            "{error}"
        );
        assert_eq!(sink.len(), 0);
    }
}

#[test]
fn the_budget_counts_over_all_layers() {
    let text = "x".repeat(10_000);
    let big = |name: &str| layer(&tar(&[(name, &text)]), Compression::Gzip);
    let layers = [big("a"), big("b"), big("c")];
    let limited = |name: &str, value| {
        let mut env = env();
        env.limits.set(name, value).unwrap();
        env
    };
    for options in [
        to(Compression::Zstd),
        Options {
            squash: Some(Squash::All),
            ..Options::default()
        },
    ] {
        let run = |env: &Env| run(&layers, options, &Memory::default(), env);
        assert!(run(&limited("layer_bytes", 20_000)).is_ok());
        for (name, value) in [("layer_bytes", 5_000), ("image_bytes", 25_000)] {
            let error = run(&limited(name, value)).unwrap_err();
            assert_eq!(error.code(), Code::Limit);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

#[test]
fn c6a_a_foreign_layer_without_a_blob_is_listed_and_noted() {
    let stored = layer(&tar(&[("a", "1")]), Compression::Gzip);
    let foreign = absent(
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        &["https://example.com/layer"],
    );
    let layers = [foreign.clone(), stored];
    for options in [Options::default(), to(Compression::Zstd)] {
        let (sink, env) = (Memory::default(), env());
        let sealed = run(&layers, options, &sink, &env).unwrap();
        assert_eq!(sealed[0].digest, foreign.blob.facts.digest.unwrap());
        assert_eq!((sealed[0].size, sealed[0].step), (9, Step::Keep));
        assert_eq!(sealed[0].diff_id, foreign.diff_id.unwrap());
        assert_eq!(sealed[0].compression, Compression::Gzip);
        assert_eq!(sink.len(), 1, "only the other layer is written");
        let warnings = env.notes.snapshot().warnings;
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].code, "foreign-layer");
        assert!(warnings[0].at.starts_with("layer 0 (sha256:"));
    }
    let squash = Options {
        squash: Some(Squash::All),
        ..Options::default()
    };
    let error = run(&layers, squash, &Memory::default(), &env()).unwrap_err();
    assert_eq!(error.code(), Code::Missing, "its files are needed");
    assert!(error.to_string().contains("layer 0"), "{error}");
}

#[test]
fn c6a_without_a_url_or_a_diff_id_a_missing_blob_is_an_error() {
    let no_url = absent("application/vnd.oci.image.layer.v1.tar", &[]);
    let mut no_diff_id = absent("application/vnd.oci.image.layer.v1.tar", &["https://x"]);
    no_diff_id.diff_id = None;
    for layer in [no_url, no_diff_id] {
        let error = run(&[layer], Options::default(), &Memory::default(), &env()).unwrap_err();
        assert_eq!(error.code(), Code::Missing);
        assert!(error.to_string().starts_with("layer 0 (sha256:"), "{error}");
    }
}

#[test]
fn a_document_is_stored_once() {
    let sink = Memory::default();
    let document = imgconv_model::Document {
        kind: "application/x".to_owned(),
        bytes: (*b"{}").into(),
    };
    for _ in 0..2 {
        let child = write_document(&sink, &document, Algorithm::Sha256).unwrap();
        assert_eq!((child.digest, child.size), (sha(b"{}"), 2));
        assert_eq!(child.kind, "application/x");
    }
    assert_eq!(sink.len(), 1);
}

#[test]
fn an_interrupted_run_ends_early() {
    let env = env();
    env.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let layers = [layer(&tar(&[("a", "1")]), Compression::Gzip)];
    let error = run(&layers, to(Compression::Zstd), &Memory::default(), &env).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
}
