//! The options about layers: compression, merging, foreign layers.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use imgconv::{LayerOptions, Level, Squash};

/// The compression of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compression {
    /// Keep the compression of the source; new layers get gzip
    Keep,
    /// gzip
    Gzip,
    /// Zstandard (OCI only)
    Zstd,
    /// Zstandard with a table of contents, for runtimes that fetch single files (OCI only)
    #[value(name = "zstd:chunked")]
    ZstdChunked,
    /// gzip with a table of contents; adds files to each layer (OCI only)
    Estargz,
    /// No compression
    None,
}

/// The treatment of layers with `urls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Foreign {
    /// Keep the descriptor, with a warning if the source does not store the layer
    Keep,
    /// Fail
    Fail,
    /// Leave the layer out, together with its history entry
    Drop,
    /// Fetch the layer if the source does not store it (https, no credentials), and write it as an
    /// ordinary layer
    Fetch,
}

/// How layers are written.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Layers")]
pub(crate) struct Layers {
    /// Treatment of layers with `urls` (foreign or non-distributable layers)
    #[arg(long, value_enum, default_value_t = Foreign::Keep, value_name = "HOW", hide_short_help = true)]
    foreign: Foreign,
    /// Compression of layers; to ACI: of the file
    #[arg(long, value_enum, default_value_t = Compression::Keep, value_name = "HOW")]
    compression: Compression,
    /// Compression level: a number, or `fast` (gzip: 0 to 12, zstd: 1 to 22)
    #[arg(long, value_name = "N", value_parser = level, allow_negative_numbers = true)]
    level: Option<Level>,
    /// Compress layers again even if they have the requested compression
    #[arg(long, hide_short_help = true)]
    force: bool,
    /// Set later modification times to EPOCH, in seconds since 1970; rewrites every layer
    #[arg(
        long,
        value_name = "EPOCH",
        allow_negative_numbers = true,
        hide_short_help = true
    )]
    clamp_mtime: Option<i64>,
}

/// Which layers are merged; at most one of the options.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
#[command(next_help_heading = "Layers")]
pub(crate) struct Merge {
    /// Merge the last N layers into one
    #[arg(long, value_name = "N")]
    last: Option<NonZeroUsize>,
    /// Merge all layers except the first N into one
    #[arg(long, value_name = "N")]
    keep_base: Option<usize>,
    /// Merge as many of the last layers as needed to leave at most N
    #[arg(long, value_name = "N")]
    max_layers: Option<NonZeroUsize>,
}

/// Whether a conversion merges layers.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Layers")]
pub(crate) struct Squashing {
    /// Merge layers: all, or those that the next three options select
    #[arg(long, conflicts_with = "no_squash")]
    squash: bool,
    #[command(flatten)]
    merge: Merge,
    /// To ACI: write one ACI for each layer, linked by dependencies
    #[arg(long)]
    pub(crate) no_squash: bool,
}

impl Layers {
    /// Returns the same options in the types of the library, without merging.
    pub(crate) fn options(&self) -> LayerOptions {
        use imgconv::Compression as Model;
        LayerOptions {
            compression: match self.compression {
                Compression::Keep => None,
                Compression::Gzip | Compression::Estargz => Some(Model::Gzip),
                Compression::Zstd | Compression::ZstdChunked => Some(Model::Zstd),
                Compression::None => Some(Model::None),
            },
            toc: matches!(
                self.compression,
                Compression::Estargz | Compression::ZstdChunked
            ),
            level: self.level.unwrap_or_default(),
            force: self.force,
            clamp_mtime: self.clamp_mtime,
            squash: None,
        }
    }

    /// Returns the treatment of layers with `urls` in the type of the library.
    pub(crate) fn foreign(&self) -> imgconv::Foreign {
        match self.foreign {
            Foreign::Keep => imgconv::Foreign::Keep,
            Foreign::Fail => imgconv::Foreign::Fail,
            Foreign::Drop => imgconv::Foreign::Drop,
            Foreign::Fetch => imgconv::Foreign::Fetch,
        }
    }
}

impl Merge {
    /// Returns which layers are merged, if one of the options is given.
    pub(crate) fn squash(self) -> Option<Squash> {
        let last = self.last.map(Squash::Last);
        let base = self.keep_base.map(Squash::KeepBase);
        last.or(base).or(self.max_layers.map(Squash::AtMost))
    }
}

impl Squashing {
    /// Returns which layers are merged, if any.
    pub(crate) fn squash(self) -> Option<Squash> {
        let all = self.squash.then_some(Squash::All);
        self.merge.squash().or(all)
    }
}

/// Parses a level. Which levels are valid also depends on the compression.
fn level(text: &str) -> Result<Level, String> {
    match text {
        "fast" => Ok(Level::Fast),
        number => match number.parse() {
            Ok(number @ 0..=22) => Ok(Level::Number(number)),
            _ => Err("a level is `fast` or a number from 0 to 22".to_owned()),
        },
    }
}
