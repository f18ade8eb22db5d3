//! Compression: the same bytes whatever the threads and reads, and bytes that never change.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use imgconv_model::{Algorithm, Code, Compression, Env, Error, Event, Platform, Progress};
use imgconv_stream::{Encoded, Encoding, Level, Pool, digest, encode};

use crate::samples::{Breaks, Cut, content, unpack};

const DEFAULT_GZIP: Encoding = Encoding {
    compression: Compression::Gzip,
    level: Level::Default,
};

fn env() -> Env {
    Env::new("/nonexistent", Platform::default())
}

fn encoding(compression: Compression, level: Level) -> Encoding {
    Encoding { compression, level }
}

fn encode_all(bytes: &[u8], cut: usize, encoding: Encoding, jobs: usize) -> (Encoded, Vec<u8>) {
    let mut source = Cut::new(bytes.to_vec(), cut);
    let mut sink = Vec::new();
    let hash = [Algorithm::Sha512, Algorithm::Sha256];
    let pool = Pool::new(jobs).unwrap();
    let encoded = encode(&mut source, &mut sink, &encoding, &hash, &pool, &env(), 1).unwrap();
    (encoded, sink)
}

/// Checks everything that [`encode`] says, for several threads and reads, and that an independent
/// look at the output gives the content back; then compares the digest of the output.
#[track_caller]
fn pinned(bytes: &[u8], compression: Compression, level: Level, expected: &str) {
    let encoding = encoding(compression, level);
    let (first, output) = encode_all(bytes, usize::MAX, encoding, 1);
    assert_eq!(first.content[0], digest(Algorithm::Sha512, bytes));
    assert_eq!(first.content[1], digest(Algorithm::Sha256, bytes));
    assert_eq!(first.content_size, bytes.len() as u64);
    assert_eq!(first.digest, digest(Algorithm::Sha256, &output));
    assert_eq!(first.size, output.len() as u64);
    let (back, report) = unpack(&output).unwrap();
    assert!(back == bytes && report.is_clean());
    for (jobs, cut) in [
        (1, 4093),
        (2, 1 << 20),
        (8, 1),
        (8, usize::MAX),
        (2, 77_777),
    ] {
        let (other, same) = encode_all(bytes, cut, encoding, jobs);
        assert!(same == output, "{jobs} jobs, reads of {cut}");
        assert_eq!(
            (other.digest, other.content),
            (first.digest, first.content.clone())
        );
    }
    assert_eq!(
        first.digest.hex(),
        expected,
        "{compression} {level:?}, {} bytes",
        output.len()
    );
}

// A digest that changes here changes every image that is written: raise ENCODER_REVISION.

#[test]
fn inv8_gzip_default_is_pinned() {
    pinned(
        &content(5_000_000),
        Compression::Gzip,
        Level::Default,
        "5f094f2d7a0466f823d96f44ff848d0267f7e87537f6b6458e8ff2d497f2fa78",
    );
}

#[test]
fn inv8_gzip_fast_is_pinned() {
    pinned(
        &content(5_000_000),
        Compression::Gzip,
        Level::Fast,
        "6ddc7be99c97d99404450afa3c0c3e571f49f4bd174eb88437f58376134604c5",
    );
}

#[test]
fn inv8_gzip_6_is_pinned() {
    pinned(
        &content(5_000_000),
        Compression::Gzip,
        Level::Number(6),
        "86e80d172e4aec2b664342ede2bf050e257b01eb3fc4f9c30f739e2074bb7f86",
    );
}

#[test]
fn inv8_zstd_default_is_pinned() {
    pinned(
        &content(9_000_000),
        Compression::Zstd,
        Level::Default,
        "15122a8b0e5177a1e2a022626c93a27c89d4af4780b589ab8dd1ba1887e6a42b",
    );
}

#[test]
fn inv8_zstd_fast_is_pinned() {
    pinned(
        &content(9_000_000),
        Compression::Zstd,
        Level::Fast,
        "6924e49c6fbb6aca9cdf38d2a428e2fcc64a22f4d28a314b9ff732e26370ba88",
    );
}

#[test]
fn inv8_zstd_19_is_pinned() {
    pinned(
        &content(300_000),
        Compression::Zstd,
        Level::Number(19),
        "7b58bdc30ed3ceade6020234bfec1d00530d37915c0562c3cd4873cf9a7b3838",
    );
}

#[test]
fn inv8_gzip_1_is_pinned() {
    pinned(
        &content(5_000_000),
        Compression::Gzip,
        Level::Number(1),
        "6ddc7be99c97d99404450afa3c0c3e571f49f4bd174eb88437f58376134604c5",
    );
}

#[test]
fn inv8_gzip_12_is_pinned() {
    pinned(
        &content(5_000_000),
        Compression::Gzip,
        Level::Number(12),
        "f0312c346e18ebcae633bbd36bdc515b0d51d190d0581d205dac762414dc8834",
    );
}

#[test]
fn inv8_zstd_1_is_pinned() {
    pinned(
        &content(9_000_000),
        Compression::Zstd,
        Level::Number(1),
        "6924e49c6fbb6aca9cdf38d2a428e2fcc64a22f4d28a314b9ff732e26370ba88",
    );
}

#[test]
fn inv8_zstd_3_is_pinned() {
    pinned(
        &content(9_000_000),
        Compression::Zstd,
        Level::Number(3),
        "15122a8b0e5177a1e2a022626c93a27c89d4af4780b589ab8dd1ba1887e6a42b",
    );
}

#[test]
fn inv8_zstd_9_is_pinned() {
    pinned(
        &content(5_000_000),
        Compression::Zstd,
        Level::Number(9),
        "b381aff75f21a13dd4c7b142c869b726dc22c3d20e36657c878f9c91c170d985",
    );
}

#[test]
fn inv8_no_compression_is_the_content() {
    let bytes = content(3_500_000);
    let digest = digest(Algorithm::Sha256, &bytes).hex();
    pinned(&bytes, Compression::None, Level::Default, &digest);
}

#[test]
fn the_revision_says_which_digests_are_meant() {
    assert_eq!(imgconv_stream::ENCODER_REVISION, 3);
}

#[test]
fn the_content_digests_are_those_asked_for() {
    for compression in [Compression::None, Compression::Gzip] {
        let pool = Pool::new(2).unwrap();
        for hash in [
            &[][..],
            &[Algorithm::Sha512],
            &[Algorithm::Sha256, Algorithm::Sha256],
        ] {
            let encoding = encoding(compression, Level::Default);
            let mut sink = Vec::new();
            let encoded = encode(
                &mut &b"abc"[..],
                &mut sink,
                &encoding,
                hash,
                &pool,
                &env(),
                1,
            )
            .unwrap();
            let expected: Vec<_> = hash.iter().map(|one| digest(*one, b"abc")).collect();
            assert_eq!(encoded.content, expected);
            assert_eq!(encoded.digest, digest(Algorithm::Sha256, &sink));
        }
    }
}

#[test]
fn g3c_our_own_gzip_has_no_time_and_no_name() {
    let bytes = content(5_000_000);
    for level in [Level::Default, Level::Fast, Level::Number(12)] {
        let (_, output) = encode_all(
            &bytes[..1_500_000],
            usize::MAX,
            encoding(Compression::Gzip, level),
            2,
        );
        assert_eq!(output[..10], *b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
    }
    // Members of 1 MiB; the third and fourth are noise, and stored: 17 blocks of 5 bytes more.
    let (_, output) = encode_all(&bytes, usize::MAX, DEFAULT_GZIP, 2);
    let mut rest = &output[..];
    let mut sizes = Vec::new();
    while !rest.is_empty() {
        assert_eq!(rest[..10], *b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
        let mut member = flate2::bufread::GzDecoder::new(rest);
        let content = io::copy(&mut member, &mut io::sink()).unwrap();
        let after = member.into_inner();
        sizes.push((content, rest.len() - after.len()));
        rest = after;
    }
    let contents: Vec<_> = sizes.iter().map(|(content, _)| *content).collect();
    assert_eq!(
        contents,
        [1 << 20, 1 << 20, 1 << 20, 1 << 20, 5_000_000 - (4 << 20)]
    );
    assert_eq!([sizes[2].1, sizes[3].1], [(1 << 20) + 17 * 5 + 18; 2]);
    assert!(sizes[0].1 < 600_000);
}

#[test]
fn no_content_is_one_empty_member_or_frame() {
    let output =
        |compression| encode_all(b"", usize::MAX, encoding(compression, Level::Default), 2);
    assert_eq!(
        output(Compression::Gzip).1,
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\0\0\xff\xff\0\0\0\0\0\0\0\0"
    );
    // Magic, single segment with checksum, size 0, an empty last block, the checksum.
    assert_eq!(
        output(Compression::Zstd).1,
        b"\x28\xb5\x2f\xfd\x24\0\x01\0\0\x99\xe9\xd8\x51"
    );
    let (encoded, nothing) = output(Compression::None);
    assert!(nothing.is_empty());
    assert_eq!((encoded.size, encoded.content_size), (0, 0));
    assert_eq!(
        encoded.digest.hex(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn blocks_end_where_content_ends() {
    for (compression, block, units) in [
        (Compression::Gzip, 1 << 20, 3),
        (Compression::Zstd, 8 << 20, 3),
    ] {
        for (size, expected) in [
            (block * units, units),
            (block * units + 1, units + 1),
            (1, 1),
        ] {
            let bytes = vec![b'x'; size];
            let (_, output) = encode_all(&bytes, usize::MAX, encoding(compression, Level::Fast), 1);
            let magic: &[u8] = match compression {
                Compression::Gzip => b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
                _ => b"\x28\xb5\x2f\xfd",
            };
            let found = output
                .windows(magic.len())
                .filter(|window| *window == magic)
                .count();
            assert_eq!(found, expected, "{compression}, {size} bytes");
            assert!(unpack(&output).unwrap().0 == bytes);
        }
    }
}

#[test]
fn levels_and_targets_that_do_not_exist() {
    let pool = Pool::new(1).unwrap();
    for (compression, level, code) in [
        (Compression::Gzip, Level::Number(-1), Code::Usage),
        (Compression::Gzip, Level::Number(13), Code::Usage),
        (Compression::Zstd, Level::Number(0), Code::Usage),
        (Compression::Zstd, Level::Number(23), Code::Usage),
        (Compression::Bzip2, Level::Default, Code::Unsupported),
        (Compression::Xz, Level::Default, Code::Unsupported),
    ] {
        let mut source = Breaks::new(Vec::new(), || panic!("nothing is read"));
        let mut sink = Vec::new();
        let encoding = encoding(compression, level);
        let error = encode(&mut source, &mut sink, &encoding, &[], &pool, &env(), 1).unwrap_err();
        assert_eq!(error.code(), code);
        assert!(
            error.message().contains(&compression.to_string()),
            "{error}"
        );
        assert!(sink.is_empty());
    }
}

const ALL: [Encoding; 3] = [
    DEFAULT_GZIP,
    Encoding {
        compression: Compression::Zstd,
        level: Level::Default,
    },
    Encoding {
        compression: Compression::None,
        level: Level::Default,
    },
];

#[test]
fn g7_errors_of_the_source_come_out_unchanged() {
    for encoding in ALL {
        for (jobs, size) in [(1, 0), (1, 3_000_000), (2, 9_000_000), (8, 5_000_000)] {
            let error = || Error::new(Code::Mismatch, "wrong").at("blob 3").into();
            let mut source = Breaks::new(content(size), error);
            let pool = Pool::new(jobs).unwrap();
            let mut sink = io::sink();
            let error =
                encode(&mut source, &mut sink, &encoding, &[], &pool, &env(), 1).unwrap_err();
            assert_eq!(
                (error.code(), error.to_string()),
                (Code::Mismatch, "blob 3: wrong".into())
            );
        }
    }
}

/// Takes so many bytes, slowly, and then fails.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        std::thread::sleep(std::time::Duration::from_millis(1));
        if self.0 == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let n = buf.len().min(self.0).min(100_000);
        self.0 -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn g7_a_sink_that_is_slow_and_full_is_reported() {
    let bytes = content(9_000_000);
    for encoding in ALL {
        for jobs in [1, 2, 8] {
            for room in [0, 1_500_000] {
                let pool = Pool::new(jobs).unwrap();
                let mut sink = Full(room);
                let error = encode(&mut &bytes[..], &mut sink, &encoding, &[], &pool, &env(), 1)
                    .unwrap_err();
                assert_eq!(error.code(), Code::Io);
                assert_eq!(error.message(), "no storage space");
            }
        }
    }
}

/// Sets the flag after so many bytes, and never ends by itself.
struct Cancels {
    after: usize,
    cancel: Arc<AtomicBool>,
}

impl Read for Cancels {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.after = self.after.saturating_sub(buf.len());
        self.cancel.store(self.after == 0, Ordering::Relaxed);
        buf.fill(b'x');
        Ok(buf.len())
    }
}

#[test]
fn g7_cancelled_work_ends() {
    for encoding in ALL {
        for jobs in [1, 2, 8] {
            let env = env();
            let mut source = Cancels {
                after: 50_000_000,
                cancel: Arc::clone(&env.cancel),
            };
            let pool = Pool::new(jobs).unwrap();
            let error =
                encode(&mut source, &mut io::sink(), &encoding, &[], &pool, &env, 1).unwrap_err();
            assert_eq!(error.code(), Code::Cancelled);
        }
    }
}

#[derive(Debug, Default)]
struct Sum(AtomicU64);

impl Progress for Sum {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Advance { id: 42, bytes } => self.0.fetch_add(bytes, Ordering::Relaxed),
            other => panic!("{other:?}"),
        };
    }
}

#[test]
fn progress_counts_the_bytes_that_were_read() {
    let bytes = content(2_500_000);
    for encoding in ALL {
        let sum = Arc::new(Sum::default());
        let mut env = env();
        env.progress = sum.clone();
        let pool = Pool::new(2).unwrap();
        encode(
            &mut &bytes[..],
            &mut io::sink(),
            &encoding,
            &[],
            &pool,
            &env,
            42,
        )
        .unwrap();
        assert_eq!(sum.0.load(Ordering::Relaxed), 2_500_000);
    }
}

#[test]
fn lanes_may_share_the_pool() {
    let bytes = content(3_000_000);
    let expected = encode_all(&bytes, usize::MAX, DEFAULT_GZIP, 1).0.digest;
    let pool = Pool::new(3).unwrap();
    let digests = std::sync::Mutex::new(Vec::new());
    pool.install(|| {
        rayon::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|_| {
                    let encoded = encode(
                        &mut &bytes[..],
                        &mut io::sink(),
                        &DEFAULT_GZIP,
                        &[],
                        &pool,
                        &env(),
                        1,
                    );
                    digests.lock().unwrap().push(encoded.unwrap().digest);
                });
            }
        });
    });
    assert_eq!(digests.into_inner().unwrap(), vec![expected; 6]);
}
