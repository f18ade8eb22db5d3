//! Inputs and readers of the tests: known bytes, encoders of every format, awkward readers.

use std::io::{self, Read, Write};

use imgconv_model::{Code, Compression, Error, Limits, Notes, Report};
use imgconv_stream::Decoder;

/// Text, then noise, then text: the same bytes for ever.
pub(crate) fn content(size: usize) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "layer",
        "image",
        "/usr/lib/",
        "the",
        "root",
        "\n",
        "0755",
        "config",
        "a",
        "digest",
        ".so",
        "= ",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        // From 2 to 4 MiB the bytes are noise, over whole blocks.
        if (2 << 20..4 << 20).contains(&bytes.len()) {
            bytes.push(next() as u8);
        } else {
            bytes.extend_from_slice(WORDS[next() % WORDS.len()].as_bytes());
            bytes.push(if next() % 7 == 0 { next() as u8 } else { b' ' });
        }
    }
    bytes.truncate(size);
    bytes
}

/// Compresses with an independent encoder, to one member, frame or stream.
pub(crate) fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let level = flate2::Compression::new(6);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Bzip2 => {
            let level = bzip2::Compression::new(1);
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// The compressions that have a format.
pub(crate) const FORMATS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Zstd,
    Compression::Bzip2,
    Compression::Xz,
];

/// Decodes bytes with the default limits.
pub(crate) fn unpack(bytes: &[u8]) -> Result<(Vec<u8>, Report), Error> {
    unpack_with(bytes, &Limits::default())
}

/// Decodes bytes, in reads of several sizes, which must all give the same.
pub(crate) fn unpack_with(bytes: &[u8], limits: &Limits) -> Result<(Vec<u8>, Report), Error> {
    let decode = |cut: usize, size: usize| {
        let notes = Notes::default();
        let source = Box::new(Cut::new(bytes.to_vec(), cut));
        let mut decoder = Decoder::new(source, limits, &notes, "layer 1")?;
        let mut out = Vec::new();
        let mut buffer = vec![0; size];
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => out.extend_from_slice(&buffer[..n]),
                Err(error) => {
                    let text = error.to_string();
                    let again = decoder.read(&mut buffer).unwrap_err();
                    assert_eq!(again.to_string(), text, "it keeps failing");
                    return Err(Error::from_io(error));
                }
            }
        }
        assert_eq!(decoder.read(&mut buffer).unwrap(), 0, "it stays at its end");
        Ok((out, notes.take()))
    };
    let whole = decode(usize::MAX, 1 << 20);
    if bytes.len() < 1 << 20 {
        for (cut, size) in [(1, 4096), (7, 1 << 20), (usize::MAX, 3)] {
            match (&whole, decode(cut, size)) {
                (Ok(whole), Ok(other)) => assert!(*whole == other, "cut {cut}, read {size}"),
                (Err(whole), Err(other)) => assert_eq!(whole.code(), other.code(), "cut {cut}"),
                (whole, other) => panic!("{whole:?} but {other:?} for cut {cut}, read {size}"),
            }
        }
    }
    whole
}

/// Checks that decoding fails with that code and names all of that.
#[track_caller]
pub(crate) fn fails(bytes: &[u8], code: Code, names: &[&str]) {
    fails_with(bytes, &Limits::default(), code, names);
}

/// Checks that decoding under limits fails with that code and names all of that.
#[track_caller]
pub(crate) fn fails_with(bytes: &[u8], limits: &Limits, code: Code, names: &[&str]) {
    let error = unpack_with(bytes, limits)
        .map(|(out, _)| out.len())
        .unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    let text = error.to_string();
    for name in ["layer 1"].iter().chain(names) {
        assert!(text.contains(name), "{text:?} lacks {name:?}");
    }
}

/// Hands bytes over in pieces of at most `cut`.
pub(crate) struct Cut {
    bytes: Vec<u8>,
    at: usize,
    cut: usize,
}

impl Cut {
    pub(crate) fn new(bytes: Vec<u8>, cut: usize) -> Self {
        Self { bytes, at: 0, cut }
    }
}

impl Read for Cut {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = buf.len().min(self.cut).min(self.bytes.len() - self.at);
        buf[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Hands bytes over and then fails.
pub(crate) struct Breaks {
    bytes: io::Cursor<Vec<u8>>,
    error: fn() -> io::Error,
}

impl Breaks {
    pub(crate) fn new(bytes: Vec<u8>, error: fn() -> io::Error) -> Self {
        let bytes = io::Cursor::new(bytes);
        Self { bytes, error }
    }
}

impl Read for Breaks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(buf)? {
            0 => Err((self.error)()),
            n => Ok(n),
        }
    }
}

/// Reads hex digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}
