//! The command `layout rm`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Removed, Result};

use super::names::joined;
use crate::{
    documents::RemovedEntries,
    options::{Common, SymlinkedBlobs},
    screen::{clean, say, show},
};

const EXAMPLES: &str = "\
Examples:
  imgconv layout rm out example.com/app:0.9
  imgconv layout rm out 0.8 0.9
  imgconv layout rm out '#0'";

/// Remove images from the index of a layout
///
/// One entry of the index is removed for each REF. If a REF selects no entry or several entries, nothing
/// is removed. Other names of the same image stay. Blobs stay too: `imgconv layout gc` frees the space.
///
/// REF is a full reference, a tag that is unique in the layout, `@sha256:…`, or `#N`, a position from 0
/// (quoted: `'#0'`). Other programs take no lock when they write a layout, so such a program that runs
/// at the same time may overwrite the change.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rm {
    /// Directory of the layout
    layout: String,
    /// Reference of an entry to remove
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
    #[command(flatten)]
    blobs: SymlinkedBlobs,
}

impl Rm {
    pub(crate) fn run(&self, common: &Common, mut env: Env) -> Result<ExitCode> {
        self.blobs.apply(&mut env);
        let removed = imgconv::remove_from_layout(&self.layout, &self.references, &env)?;
        if !common.quiet {
            for entry in &removed {
                self.warn(entry);
            }
        }
        let document = RemovedEntries { removed };
        let lines: String = document.removed.iter().map(line).collect();
        show(common.json, &document, &lines)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Warns about referrers that keep the blobs of a removed image.
    fn warn(&self, removed: &Removed) {
        let digest = removed.digest.as_deref().unwrap_or("-");
        for referrer in &removed.kept_by {
            say(&format!(
                "warning[kept]: {digest}: {referrer} refers to it and keeps its blobs; `imgconv layout \
                 rm {} @{referrer}` removes the referrer too",
                clean(&self.layout)
            ));
        }
    }
}

fn line(removed: &Removed) -> String {
    let last = if removed.last {
        " (its last entry)"
    } else {
        ""
    };
    let digest = removed.digest.as_deref().unwrap_or("-");
    format!("{} {digest}{last}\n", joined(&removed.names))
}
