//! `cargo xtask floor STEPS FILE... --out PATH`: the least work of a job in one process. No tar is read and no
//! document is written: only bytes are hashed, packed, unpacked and written, by the same libraries.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest, Sha256, Sha512};

use crate::process::{Result, operands, value};

/// Bytes that are read at once, and of a gzip member.
const BLOCK: usize = 1 << 20;
/// Bytes of a zstd frame.
const FRAME: usize = 8 << 20;
/// The levels of the program, and the fast level of both.
const GZIP: i32 = 2;
const ZSTD: i32 = 3;
const FAST: i32 = 1;

/// One step over blocks of bytes.
enum Step {
    Sha256(Sha256),
    Sha512(Sha512),
    Deflate(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
    Write(File),
}

/// Runs the steps, which are joined by commas, over each file. `inflate` comes first if at all, because the
/// decoder reads the file.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let out = value(arguments, "--out")?.unwrap_or("/dev/null");
    let words = operands("floor", arguments)?;
    let [steps, files @ ..] = words.as_slice() else {
        return Err("floor needs steps".into());
    };
    for file in files {
        pass(steps, file, out).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

fn pass(steps: &str, file: &str, out: &str) -> io::Result<()> {
    let mut before = Vec::new();
    let mut after = Vec::new();
    let mut inflates = false;
    for name in steps.split(',') {
        if name == "inflate" {
            inflates = true;
            continue;
        }
        let list = if inflates { &mut after } else { &mut before };
        list.push(step(name, out)?);
    }
    let size = match after
        .iter()
        .chain(&before)
        .any(|step| matches!(step, Step::Zstd(_)))
    {
        true => FRAME,
        false => BLOCK,
    };
    let packed = Hashed {
        inner: File::open(file)?,
        steps: before,
    };
    if inflates {
        drain(
            MultiGzDecoder::new(BufReader::with_capacity(BLOCK, packed)),
            size,
            after,
        )
    } else {
        let Hashed { inner, steps } = packed;
        drain(inner, size, steps)
    }
}

fn step(name: &str, out: &str) -> io::Result<Step> {
    let level = |level| CompressionLvl::new(level).map_err(|_| io::Error::other("no such level"));
    Ok(match name {
        "sha256" => Step::Sha256(Sha256::new()),
        "sha512" => Step::Sha512(Sha512::new()),
        "deflate" => Step::Deflate(Compressor::new(level(GZIP)?)),
        "deflate-fast" => Step::Deflate(Compressor::new(level(FAST)?)),
        "zstd" => Step::Zstd(zstd::bulk::Compressor::new(ZSTD)?),
        "zstd-fast" => Step::Zstd(zstd::bulk::Compressor::new(FAST)?),
        "write" => Step::Write(File::options().create(true).append(true).open(out)?),
        other => return Err(io::Error::other(format!("there is no step `{other}`"))),
    })
}

/// A file whose bytes go through the steps while they are read.
struct Hashed {
    inner: File,
    steps: Vec<Step>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        through(&mut self.steps, &buffer[..count])?;
        Ok(count)
    }
}

fn drain(mut reader: impl Read, size: usize, mut steps: Vec<Step>) -> io::Result<()> {
    let mut block = Vec::with_capacity(size);
    loop {
        block.clear();
        reader.by_ref().take(size as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        through(&mut steps, &block)?;
    }
    for step in &steps {
        if let Step::Write(file) = step {
            file.sync_all()?;
        }
    }
    Ok(())
}

fn through(steps: &mut [Step], block: &[u8]) -> io::Result<()> {
    let mut bytes = std::borrow::Cow::Borrowed(block);
    for step in steps {
        match step {
            Step::Sha256(hash) => hash.update(&bytes),
            Step::Sha512(hash) => hash.update(&bytes),
            Step::Write(file) => file.write_all(&bytes)?,
            Step::Zstd(library) => bytes = library.compress(&bytes)?.into(),
            Step::Deflate(library) => {
                let mut packed = vec![0; library.gzip_compress_bound(bytes.len())];
                let size = library
                    .gzip_compress(&bytes, &mut packed)
                    .map_err(io::Error::other)?;
                packed.truncate(size);
                bytes = packed.into();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_bytes_are_unpacked_again() {
        let work = tempfile::tempdir().unwrap();
        let at = |name: &str| work.path().join(name).to_string_lossy().into_owned();
        let (raw, packed, back) = (at("raw"), at("packed"), at("back"));
        std::fs::write(&raw, vec![7; 3 << 20]).unwrap();
        run(&["sha256,deflate,sha256,write", &raw, "--out", &packed]).unwrap();
        run(&["sha256,inflate,sha512,write", &packed, "--out", &back]).unwrap();
        assert!(std::fs::read(&packed).unwrap().len() < 100_000);
        assert_eq!(std::fs::read(&raw).unwrap(), std::fs::read(&back).unwrap());
        run(&["zstd,write", &raw, "--out", &at("zstd")]).unwrap();
        let unpacked = zstd::decode_all(File::open(at("zstd")).unwrap()).unwrap();
        assert_eq!(unpacked, std::fs::read(&raw).unwrap());
        assert!(run(&["melt", &raw]).is_err());
    }
}
