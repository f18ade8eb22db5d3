//! Layers that are merged to one.

use imgconv_layer::{Discard, Semantics};
use imgconv_model::{Code, Compression, Facts, Step};
use imgconv_pipeline::{Options, merge, squash};

use crate::{
    memory::{Memory, env, layer, sha, tar, with_bytes},
    seal::run,
};

const SQUASH: Options = Options {
    compression: Some(Compression::None),
    level: imgconv_stream::Level::Default,
    force: false,
    squash: true,
};

#[test]
fn the_layers_become_one_without_what_is_hidden() {
    let layers = [
        layer(
            &tar(&[("a", "1"), ("b", "2"), ("d/", ""), ("d/x", "3")]),
            Compression::Gzip,
        ),
        layer(
            &tar(&[
                (".wh.a", ""),
                ("b", "new"),
                ("d/", ""),
                ("d/.wh..wh..opq", ""),
            ]),
            Compression::Zstd,
        ),
    ];
    let sink = Memory::default();
    let sealed = run(&layers, SQUASH, &sink, &env()).unwrap();
    assert_eq!(sealed.len(), 1);
    assert_eq!(
        (sealed[0].step, sealed[0].compression),
        (Step::Squash, Compression::None)
    );
    let stored = sink.get(&sealed[0].digest);
    assert_eq!(sealed[0].diff_id, sha(&stored));
    let plain = [layer(&stored, Compression::None)];
    let tree = merge(&plain, Semantics::Layer, &mut Discard, &env()).unwrap();
    let paths: Vec<String> = tree
        .iter()
        .map(|(path, _)| String::from_utf8(path).unwrap())
        .filter(|path| !path.is_empty())
        .collect();
    assert_eq!(paths, ["b", "d"]);
    let text = String::from_utf8_lossy(&stored);
    assert!(text.contains("new") && !text.contains(".wh."));
}

#[test]
fn the_same_bytes_however_many_threads_work() {
    let layers = [
        layer(&tar(&[("a", "1")]), Compression::Gzip),
        layer(&tar(&[("b", "2")]), Compression::Gzip),
    ];
    let digests: Vec<_> = [1, 4]
        .map(|jobs| {
            let env = imgconv_model::Env { jobs, ..env() };
            run(&layers, SQUASH, &Memory::default(), &env).unwrap()[0].digest
        })
        .into();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_wrong_diff_id_is_found_by_merging_too() {
    let mut layers = [
        layer(&tar(&[("a", "1")]), Compression::Gzip),
        layer(&tar(&[("b", "2")]), Compression::Gzip),
    ];
    layers[1].diff_id = Some(sha(b"another"));
    let error = squash(&layers, Semantics::Layer, &env()).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    let text = error.to_string();
    assert!(
        text.starts_with("layer 1 (") && text.contains("diff ID"),
        "{text}"
    );
}

#[test]
fn damage_is_blamed_on_the_bytes_and_not_on_the_tar() {
    let mut bytes = tar(&[("a", "1")]);
    let facts = Facts {
        digest: Some(sha(&bytes)),
        size: Some(bytes.len() as u64),
    };
    bytes[150] ^= 0x40; // the header's checksum
    let layers = [with_bytes(facts, &bytes, None)];
    let error = squash(&layers, Semantics::Layer, &env()).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch, "{error}");
    assert!(error.to_string().starts_with("layer 0 ("), "{error}");
    let honest = [with_bytes(Facts::default(), &bytes, None)];
    let error = squash(&honest, Semantics::Layer, &env()).unwrap_err();
    assert_eq!(error.code(), Code::BadTar, "{error}");
}
