//! How to compress: the compression and the level.

use std::fmt;

use imgconv_model::Compression;

/// How to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// What to write: gzip, zstd, or none.
    pub compression: Compression,
    /// How much work to put into it; without meaning where nothing is compressed.
    pub level: Level,
}

/// The compression level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Level {
    /// The project's choice: gzip 2, zstd 3.
    #[default]
    Default,
    /// The fastest that is still worth it: gzip 1, zstd 1.
    Fast,
    /// A level of the library: gzip 0 (stored) to 12, zstd 1 to 22.
    Number(i32),
}

impl fmt::Display for Level {
    /// `default`, `fast` or the number: stable text, which journals hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Fast => f.write_str("fast"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}
