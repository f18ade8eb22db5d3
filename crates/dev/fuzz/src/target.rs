//! A target, its seeds and its bounds as data.

use std::path::Path;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// The bounds on one input.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of memory for an input of any size.
    pub memory: usize,
    /// Bytes of memory for each byte of input, on top.
    pub per_byte: usize,
    /// CPU time of all threads.
    pub cpu: Duration,
}

impl Bounds {
    /// The bounds of a reader: 64 MiB, 32 bytes for each byte, and 10 seconds of CPU time, also on a busy machine.
    pub const READER: Self = Self {
        memory: 64 * MIB,
        per_byte: 32,
        cpu: Duration::from_secs(10),
    };

    /// The bounds of a whole conversion, whose encoders have buffers: 192 MiB and 20 seconds.
    pub const CONVERSION: Self = Self {
        memory: 192 * MIB,
        per_byte: 32,
        cpu: Duration::from_secs(20),
    };
}

/// A target: a function that reads bytes which may be anything.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, also of the folder in `testdata/fuzz`.
    pub name: &'static str,
    /// Reads the bytes, and panics if a law does not hold.
    pub read: fn(&[u8]),
    /// Makes inputs that are good, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The bounds on one input.
    pub bounds: Bounds,
}

/// Writes the seeds of a target as files, each named by its digest.
///
/// # Errors
/// If a file can't be written.
pub fn write_seeds(target: &Target, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for seed in (target.seeds)() {
        let name = imgconv_testkit::sha256_hex(&seed);
        std::fs::write(folder.join(&name[..16]), seed)?;
    }
    Ok(())
}
