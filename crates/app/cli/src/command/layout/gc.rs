//! The command `layout gc`.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::Args;
use imgconv::{Env, Freed, Result, Sweep};

use crate::{
    options::{Common, SymlinkedBlobs},
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

/// Parses a duration.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || {
        "a duration is a number of seconds, or a number with `s`, `m`, `h`, `d` or `w`".to_owned()
    };
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err(wrong()),
    };
    let number = text[..text.len() - unit.len()].parse::<u64>();
    let all = number.ok().and_then(|number| number.checked_mul(seconds));
    all.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("5m", 300),
            ("1h", 3600),
            ("2d", 172_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "-1",
            "1.5h",
            "1y",
            "99999999999999999999",
            "1h30m",
            "1 h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
