//! The options about blobs that share their bytes with others. Validates only; touches nothing.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use imgconv::Sharing;

/// How a blob that stays as it is gets into a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// A clone, else a hard link, else a copy
    Auto,
    /// A hard link, or fail
    Hard,
    /// A clone, which shares blocks until one of both is written to, or fail
    Reflink,
    /// A copy
    Copy,
}

/// What blobs of a layout share their bytes with.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct LinkArgs {
    /// To an OCI layout: how blobs get there that stay as they are and are files already
    ///
    /// Every blob is hashed first, however it gets there. What is hard-linked is one file with two
    /// names: whatever damages it damages both layouts. Use `copy` where the new layout is meant
    /// as a second copy, for safety. Only files of your own that nobody else can write to are
    /// hard-linked, none through a symbolic link.
    #[arg(long, value_enum, default_value_t = Link::Auto, value_name = "HOW", help_heading = "Output")]
    pub(crate) link: Link,
    /// To an OCI layout: a directory of blobs that many layouts share
    ///
    /// It is of the shape of a layout's `blobs` and made if it is missing. Blobs that are there come
    /// from it and new ones are put there too, as `--link` says. Nothing is ever removed from it.
    #[arg(
        long,
        value_name = "DIR",
        hide_short_help = true,
        help_heading = "Output"
    )]
    pub(crate) blob_pool: Option<PathBuf>,
}

impl LinkArgs {
    /// Says the same in the words of the library.
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
