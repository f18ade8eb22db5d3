//! Rows of robustness.md that need more than one part: a tar that is merged or compressed anew, and
//! streams that end too early, too late, or not at all.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imgconv_layer::Semantics;
use imgconv_model::{Blob, Code, Compression, Facts, Layer, Open, Reader, Result};
use imgconv_pipeline::{Options, Squash, squash};
use imgconv_testkit::{build, dump::tar_lines, recipe};

use crate::{
    memory::{Memory, compressed, env, layer, sha, tar, with_bytes},
    seal::run,
};

const SQUASH: Options = Options {
    compression: Some(Compression::None),
    toc: false,
    level: imgconv_stream::Level::Default,
    force: false,
    clamp_mtime: None,
    squash: Some(Squash::All),
};

fn recompress(compression: Compression) -> Options {
    Options {
        compression: Some(compression),
        force: true,
        ..Options::default()
    }
}

/// A layer with no facts except the digest of its bytes.
fn raw(bytes: &[u8]) -> Layer {
    let facts = Facts {
        digest: Some(sha(bytes)),
        size: Some(bytes.len() as u64),
    };
    with_bytes(facts, bytes, None)
}

#[test]
fn e2a_a_capability_with_a_newline_survives_squash_and_recompression() {
    let lines = [
        r#"dir bin 0755 0:0 @0"#,
        r#"file bin/x 0755 0:0 @0 "content" xattr security.capability="\x01\x00\x00\x02\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00""#,
        r#"file bin/y 0644 0:0 @0 "next""#,
    ];
    let items = recipe::parse(&lines.join("\n"), "layer").unwrap();
    assert_eq!(items[1].entry.pax[0].1.len(), 20);
    let tar = build::tar_bytes(&items).unwrap();
    let layers = [layer(&tar, Compression::Gzip)];
    for options in [SQUASH, recompress(Compression::None)] {
        let sink = Memory::default();
        let sealed = run(&layers, options, &sink, &env()).unwrap();
        let stored = sink.get(&sealed[0].digest);
        assert_eq!(tar_lines(&mut &stored[..], "stored").unwrap(), lines);
    }
}

#[test]
fn after_end_is_warned_of_and_left_out_of_a_squash() {
    let plain = tar(&[("a", "1")]);
    let more = [&plain[..], &b"GARBAGE".repeat(100)].concat();
    let env = env();
    let sink = Memory::default();
    let sealed = run(&[layer(&more, Compression::Gzip)], SQUASH, &sink, &env).unwrap();
    assert_eq!(sink.get(&sealed[0].digest), plain);
    let warnings = env.notes.take().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].message.contains("700 bytes"),
        "{}",
        warnings[0].message
    );
    // A layer that is only compressed again keeps every byte of its tar.
    let options = recompress(Compression::Zstd);
    let sealed = run(&[layer(&more, Compression::Gzip)], options, &sink, &env).unwrap();
    assert_eq!(sealed[0].diff_id, sha(&more));
}

#[test]
fn g2a_padding_counts_in_the_digest_and_not_in_the_diff_id() {
    let plain = tar(&[("a", "1")]);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut bytes = compressed(&plain, compression);
        bytes.extend([0; 512]);
        let env = env();
        let sink = Memory::default();
        let sealed = run(&[raw(&bytes)], Options::default(), &sink, &env).unwrap();
        assert_eq!(
            (sealed[0].digest, sealed[0].diff_id),
            (sha(&bytes), sha(&plain))
        );
        assert_eq!(env.notes.take().warnings.len(), 1, "{compression}");
    }
}

#[test]
fn truncated_and_g2b_trailing_data_name_the_layer() {
    let good = layer(&tar(&[("a", "1")]), Compression::Gzip);
    let plain = tar(&[("b", &"2".repeat(100_000))]);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let whole = compressed(&plain, compression);
        let cut = &whole[..whole.len() - 5];
        let trailed = [&whole[..], b"garbage!"].concat();
        for bytes in [cut, &trailed] {
            for options in [SQUASH, recompress(Compression::None)] {
                let sink = Memory::default();
                let layers = [good.clone(), raw(bytes)];
                let error = run(&layers, options, &sink, &env()).unwrap_err();
                assert_eq!(error.code(), Code::BadCompression, "{error}");
                assert!(error.to_string().starts_with("layer 1 ("), "{error}");
            }
        }
    }
    // A plain tar has no end of its own but the tar's.
    let error = squash(&[good, raw(&plain[..3000])], Semantics::Layer, &env()).unwrap_err();
    assert_eq!(error.code(), Code::BadTar, "{error}");
    assert!(error.to_string().starts_with("layer 1 ("), "{error}");
}

#[test]
fn g4a_zero_bytes_a_layer_of_skippable_frames_only_is_no_tar() {
    let frames = b"\x50\x2a\x4d\x18\x03\0\0\0abc".repeat(3);
    for bytes in [&frames[..], b""] {
        let error = squash(&[raw(bytes)], Semantics::Layer, &env()).unwrap_err();
        assert_eq!(error.code(), Code::BadTar, "{error}");
        assert!(error.to_string().starts_with("layer 0 ("), "{error}");
    }
}

/// A zstd frame of zeros without end, which counts the bytes that are read (RFC 8878: blocks that
/// repeat one byte).
#[derive(Debug)]
struct Bomb {
    head: Vec<u8>,
    taken: Arc<AtomicU64>,
}

impl Open for Bomb {
    fn open(&self) -> Result<Reader> {
        struct Blocks {
            head: io::Cursor<Vec<u8>>,
            taken: Arc<AtomicU64>,
        }
        impl Read for Blocks {
            fn read(&mut self, mut buf: &mut [u8]) -> io::Result<usize> {
                let n = match self.head.read(buf)? {
                    // Not the last, repeated, 128 KiB; the byte.
                    0 => buf.write(b"\x02\x00\x10\x00")?,
                    n => n,
                };
                self.taken.fetch_add(n as u64, Ordering::Relaxed);
                Ok(n)
            }
        }
        Ok(Box::new(Blocks {
            head: io::Cursor::new(self.head.clone()),
            taken: Arc::clone(&self.taken),
        }))
    }
}

/// A layer of one file of 1 TiB, and the number of its bytes that are read.
fn bomb() -> (Layer, Arc<AtomicU64>) {
    let mut item = recipe::parse("file zeros", "bomb").unwrap().remove(0);
    item.entry.size = 1 << 40;
    let mut header = imgconv_tar::head(&item.entry).unwrap();
    header.resize(header.len().next_multiple_of(512), 0);
    let mut head = compressed(&header, Compression::Zstd);
    head.extend(b"\x28\xb5\x2f\xfd\x00\x38");
    let taken = Arc::new(AtomicU64::new(0));
    let bytes = Bomb {
        head,
        taken: Arc::clone(&taken),
    };
    let layer = Layer {
        blob: Blob {
            facts: Facts::default(),
            bytes: Arc::new(bytes),
        },
        ..raw(b"")
    };
    (layer, taken)
}

#[test]
fn g6b_a_bomb_ends_at_the_budget_and_the_layer_is_named() {
    let good = layer(&tar(&[("a", "1")]), Compression::Gzip);
    for options in [SQUASH, recompress(Compression::Gzip)] {
        let (bomb, taken) = bomb();
        let mut env = env();
        env.limits.layer_bytes = 256 << 20;
        let sink = Memory::default();
        let error = run(&[good.clone(), bomb], options, &sink, &env).unwrap_err();
        assert_eq!(error.code(), Code::Limit, "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("layer 1") && text.contains("`layer_bytes` of 268435456"),
            "{text}"
        );
        // 2048 blocks of 4 bytes, and the bytes that were read ahead.
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken < 4 << 20, "{taken} compressed bytes were read");
    }
}

#[test]
fn g6b_all_layers_share_one_budget() {
    let zeros = "\0".repeat(10 << 20);
    let big = layer(&tar(&[("zeros", &zeros)]), Compression::Zstd);
    let layers = vec![big; 42];
    let mut env = env();
    env.limits.image_bytes = 205 << 20;
    let error = run(&layers, SQUASH, &Memory::default(), &env).unwrap_err();
    assert_eq!(error.code(), Code::Limit, "{error}");
    let text = error.to_string();
    // Each is a little more than 10 MiB: 20 fit.
    assert!(
        text.starts_with("layer 20 (") && text.contains("`image_bytes` of 214958080"),
        "{text}"
    );
}
