//! The encoder and the decoder: 32 MiB of text-like content, one thread and two.

use std::io::{self, Read};

use divan::{Bencher, counter::BytesCount};
use imgconv_model::{Algorithm, Compression, Env, Limits, Notes, Platform};
use imgconv_stream::{Decoder, Encoding, Level, Pool, encode};

const SIZE: usize = 32 << 20;

fn main() {
    divan::main();
}

/// Words of different lengths, never twice in the same order.
fn content() -> Vec<u8> {
    let mut state = 1u64;
    let mut bytes = Vec::with_capacity(SIZE + 32);
    while bytes.len() < SIZE {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let word = (state >> 52) * 0x9e37_79b9;
        bytes.extend_from_slice(format!("{word:x} ").as_bytes());
    }
    bytes.truncate(SIZE);
    bytes
}

fn run(content: &[u8], compression: Compression, level: Level, jobs: usize) -> Vec<u8> {
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    let pool = Pool::new(jobs).expect("threads");
    let encoding = Encoding { compression, level };
    let mut output = Vec::new();
    let hash = [Algorithm::Sha256];
    encode(
        &mut &content[..],
        &mut output,
        &encoding,
        &hash,
        &pool,
        &env,
        0,
    )
    .expect("it encodes");
    output
}

#[divan::bench(sample_count = 10, args = [
    (Compression::Gzip, Level::Default, 1), (Compression::Gzip, Level::Default, 2),
    (Compression::Gzip, Level::Fast, 2), (Compression::Zstd, Level::Default, 1),
    (Compression::Zstd, Level::Default, 2), (Compression::Zstd, Level::Fast, 2),
    (Compression::None, Level::Default, 2),
])]
fn encoding(bencher: Bencher<'_, '_>, (compression, level, jobs): (Compression, Level, usize)) {
    let content = content();
    bencher
        .counter(BytesCount::new(SIZE))
        .bench_local(|| run(&content, compression, level, jobs));
}

#[divan::bench(sample_count = 10, args = [Compression::Gzip, Compression::Zstd])]
fn decoding(bencher: Bencher<'_, '_>, compression: Compression) {
    let packed = run(&content(), compression, Level::Default, 2);
    bencher.counter(BytesCount::new(SIZE)).bench_local(|| {
        let source: Box<dyn Read + Send> = Box::new(io::Cursor::new(packed.clone()));
        let decoder = Decoder::new(source, &Limits::default(), &Notes::default(), "bench");
        io::copy(&mut decoder.expect("it is compressed"), &mut io::sink()).expect("it decodes")
    });
}
