//! Layers that are merged to one, and layers with other times.

use std::io;

use imgconv_layer::{Discard, Semantics};
use imgconv_model::{Code, Compression, Facts, Step};
use imgconv_pipeline::{Options, Sealer, Squash, clamp, merge, squash};

use crate::{
    memory::{Memory, env, layer, sha, tar, with_bytes},
    seal::{TARGET, run},
};

const SQUASH: Options = Options {
    compression: Some(Compression::None),
    toc: false,
    level: imgconv_stream::Level::Default,
    force: false,
    clamp_mtime: None,
    squash: Some(Squash::All),
};

#[test]
fn the_merged_layer_has_no_hidden_paths() {
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

fn partly(keep: usize) -> Options {
    Options {
        squash: Some(Squash::KeepBase(keep)),
        ..SQUASH
    }
}

#[test]
fn f5_the_base_stays_and_the_layers_above_are_merged() {
    let layers = [
        layer(&tar(&[("a", "1"), ("b", "1")]), Compression::Gzip),
        layer(&tar(&[("c", "2")]), Compression::Gzip),
        layer(&tar(&[(".wh.a", ""), (".wh.c", "")]), Compression::Zstd),
    ];
    let sink = Memory::default();
    let options = Options {
        compression: None,
        ..partly(1)
    };
    let sealed = run(&layers, options, &sink, &env()).unwrap();
    let steps: Vec<Step> = sealed.iter().map(|layer| layer.step).collect();
    assert_eq!(steps, [Step::Keep, Step::Squash]);
    assert_eq!(sealed[0].digest, layers[0].blob.facts.digest.unwrap());
    assert_eq!(sealed[1].compression, Compression::Gzip);
    let sealed = run(&layers, partly(1), &sink, &env()).unwrap();
    assert_eq!(sink.get(&sealed[1].digest), tar(&[(".wh.a", "")]));
}

#[test]
fn f5c_the_content_of_a_kept_layer_is_fetched_for_a_link() {
    let many: Vec<(String, String)> = (0..50)
        .map(|i| (format!("f{i:02}"), format!("content of {i}")))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(a, b)| (&**a, &**b)).collect();
    let mut link = Vec::new();
    for (name, target) in [("x", "f33"), ("y", "f07")] {
        let entry = imgconv_tar::Entry {
            mtime: imgconv_tar::Time::default(),
            link: target.into(),
            ..imgconv_tar::Entry::new(name, imgconv_tar::EntryKind::HardLink)
        };
        link.extend(imgconv_tar::head(&entry).unwrap());
    }
    link.extend(imgconv_tar::END);
    let layers = [
        layer(&tar(&many[..20]), Compression::Gzip),
        layer(&tar(&many[20..]), Compression::Gzip),
        layer(&tar(&[("own", "of the upper layer")]), Compression::Gzip),
        layer(&link, Compression::Gzip),
    ];
    let sink = Memory::default();
    let sealed = run(&layers, partly(2), &sink, &env()).unwrap();
    let stored = sink.get(&sealed[2].digest);
    let text = String::from_utf8_lossy(&stored);
    for content in ["content of 33", "content of 7\0", "of the upper layer"] {
        assert!(text.contains(content), "{content}");
    }
    assert_eq!(text.matches("content of").count(), 2);
}

#[test]
fn a_wrong_diff_id_of_a_kept_layer_is_found_too() {
    let mut layers = [
        layer(&tar(&[("a", "1")]), Compression::Gzip),
        layer(&tar(&[("b", "2")]), Compression::Gzip),
    ];
    layers[0].diff_id = Some(sha(b"another"));
    let error = run(&layers, partly(1), &Memory::default(), &env()).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    assert!(error.to_string().starts_with("layer 0 ("), "{error}");
}

#[test]
fn times_are_clamped_and_the_claims_of_the_source_are_verified() {
    let mut entry = Vec::new();
    for (name, seconds) in [("early", 5), ("late", 50)] {
        let entry_of = imgconv_tar::Entry {
            mtime: imgconv_tar::Time { seconds, nanos: 7 },
            pax: vec![
                (b"atime".to_vec(), b"49.5".to_vec()),
                (b"comment".to_vec(), b"99".to_vec()),
                (b"ctime".to_vec(), b"3".to_vec()),
            ],
            ..imgconv_tar::Entry::new(name, imgconv_tar::EntryKind::Fifo)
        };
        entry.extend(imgconv_tar::head(&entry_of).unwrap());
    }
    entry.extend(imgconv_tar::END);
    let layers = [layer(&entry, Compression::Gzip)];
    let options = Options {
        clamp_mtime: Some(40),
        ..Options::default()
    };
    let sink = Memory::default();
    let clamped = clamp(&layers, 40, &env()).unwrap();
    let pool = imgconv_stream::Pool::new(2).unwrap();
    let plan = Sealer::plan(&layers, &TARGET, &options, &env()).unwrap();
    let sealer = Sealer::new(&sink, &pool);
    let sealed = sealer
        .run(&clamped, &plan, Semantics::Layer, &env())
        .unwrap();
    assert_ne!(sealed[0].diff_id, layers[0].diff_id.unwrap());
    let stored = sink.get(&sealed[0].digest);
    let read = imgconv_stream::Decoder::new(
        Box::new(io::Cursor::new(stored)),
        &env().limits,
        &env().notes,
        "layer",
    );
    let (limits, notes) = (env().limits, env().notes);
    let mut tar = imgconv_tar::Reader::new(read.unwrap(), &limits, &notes, "layer");
    let mut seen = Vec::new();
    while let Some(entry) = tar.next_entry().unwrap() {
        let value = |i: usize| String::from_utf8(entry.pax[i].1.clone()).unwrap();
        seen.push((
            entry.mtime.seconds,
            entry.mtime.nanos,
            value(0),
            value(1),
            value(2),
        ));
    }
    let row = |seconds, nanos| (seconds, nanos, "40".into(), "99".into(), "3".into());
    assert_eq!(seen, [row(5, 7), row(40, 0)]);

    let mut wrong = layers.clone();
    wrong[0].diff_id = Some(sha(b"another"));
    let wrong = clamp(&wrong, 40, &env()).unwrap();
    let error = sealer
        .run(&wrong, &plan, Semantics::Layer, &env())
        .unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    assert!(
        error.to_string().contains("the tar of layer 0 ("),
        "{error}"
    );
}
