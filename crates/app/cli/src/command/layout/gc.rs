//! The command `layout gc`.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::Args;
use imgconv::{Env, Freed, Result, Sweep};

use crate::{
    options::{Common, SymlinkedBlobs, duration},
    screen::{clean, show},
};

const EXAMPLES: &str = "\
Examples:
  imgconv layout gc out --dry-run
  imgconv layout gc out --min-age 1d";

/// Remove the blobs of a layout that nothing refers to
///
/// Every blob that `index.json` leads to stays: nested indexes, manifests of every kind, configs,
/// layers, blobs of artifacts, and subjects of listed referrers. A signature or an SBOM stays if the
/// index lists it, and keeps its subject; a referrer that is not listed can't be found and is removed.
/// Files that are no blobs stay.
///
/// If a document or blob that `index.json` leads to is malformed, damaged or missing, the command names
/// it and removes nothing.
///
/// Other runs of imgconv may write to the layout at the same time and lose nothing. Other programs take
/// no lock, so blobs that are younger than `--min-age` stay. Files that killed runs of imgconv left
/// behind are removed if their lock is free.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Gc {
    /// Directory of the layout
    layout: String,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Minimum age of a blob to remove: seconds, or a number with `s`, `m`, `h`, `d` or `w`
    ///
    /// The age counts from the last time at which the blob was written, renamed or linked.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    min_age: Duration,
    #[command(flatten)]
    blobs: SymlinkedBlobs,
}

impl Gc {
    pub(crate) fn run(&self, common: &Common, mut env: Env) -> Result<ExitCode> {
        self.blobs.apply(&mut env);
        #[expect(
            clippy::disallowed_methods,
            reason = "the command line asks for the time"
        )]
        let now = SystemTime::now();
        let sweep = Sweep {
            now,
            min_age: self.min_age,
            dry_run: self.dry_run,
        };
        let freed = imgconv::gc_layout(&self.layout, &sweep, &env)?;
        show(common.json, &freed, &text(&freed))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A line for each blob and each directory, and a summary.
fn text(freed: &Freed) -> String {
    let mut text = String::new();
    for blob in &freed.blobs {
        text.push_str(&format!("{} {}\n", blob.digest, blob.size));
    }
    for directory in &freed.directories {
        text.push_str(&format!("{}\n", clean(directory)));
    }
    let what = match freed.dry_run {
        true => "would be removed",
        false => "removed",
    };
    let young = match freed.young {
        0 => String::new(),
        young => format!("; {young} that nothing refers to are younger than `--min-age`"),
    };
    let (blobs, bytes) = (freed.blobs.len(), freed.total);
    text.push_str(&format!("{blobs} blobs, {bytes} bytes {what}{young}\n"));
    text
}
