//! The options about blobs of a layout that share their bytes with other files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use imgconv::Sharing;

/// How an unchanged blob gets into a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Link {
    /// A clone; else a hard link; else a copy
    Auto,
    /// A hard link, or an error
    Hard,
    /// A clone, which shares blocks until one of the files is changed, or an error
    Reflink,
    /// A copy
    Copy,
}

/// With which files the blobs of a layout share their bytes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Links {
    /// To an OCI layout: how to place unchanged blobs that are files already
    ///
    /// Every blob is hashed before it is placed. A hard-linked blob is one file with two names, so
    /// damage to the file damages both layouts; use `copy` if the new layout is a backup. Only
    /// files that you own and that nobody else can write to are hard-linked, and never through a
    /// symbolic link.
    #[arg(long, value_enum, default_value_t = Link::Auto, value_name = "HOW", hide_short_help = true)]
    link: Link,
    /// To an OCI layout: directory of blobs that many layouts share
    ///
    /// The directory has the form of a layout's `blobs` and is made if it is missing. A blob that is
    /// in it is taken from there, and a new blob is also placed there, as `--link` says. Nothing is
    /// ever removed from the directory.
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    blob_pool: Option<PathBuf>,
}

impl Links {
    /// Returns the same options in the types of the library.
    pub(crate) fn sharing(&self) -> Sharing {
        Sharing {
            link: match self.link {
                Link::Auto => imgconv::Link::Auto,
                Link::Hard => imgconv::Link::Hard,
                Link::Reflink => imgconv::Link::Reflink,
                Link::Copy => imgconv::Link::Copy,
            },
            pool: self.blob_pool.clone(),
        }
    }
}
