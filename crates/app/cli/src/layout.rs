//! The commands of `layout`: their arguments, a call of the library, and its result to the screen.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::Subcommand;
use imgconv::{Freed, Removed, Sweep, Tagged};
use imgconv_model::{Env, Result};

use crate::{
    args::{RefName, Shared},
    render::{clean, json, print, say},
};

const REFERENCES: &str = "\
REF is a full reference, a tag that is unique there, `@sha256:…`, or `#N`, a position from 0 (quote
it: `'#0'`). Writers of other programs may lose what is changed here at the same time, because they
take no lock.";

/// The commands of `layout`.
#[derive(Debug, Subcommand)]
pub(crate) enum Layout {
    /// Take images out of the index of a layout
    ///
    /// One entry for each REF goes, and if one means nothing or several entries, none does. Other
    /// names of the same image stay. No blob is removed: `imgconv layout gc` frees the space.
    #[command(after_long_help = REFERENCES)]
    Rm {
        /// The layout, a directory
        layout: String,
        /// Which entries
        #[arg(value_name = "REF", required = true)]
        references: Vec<String>,
    },
    /// Give an image of a layout one more name
    ///
    /// An image that has the name loses it. If that was its only entry in the index, the entry stays
    /// without a name, so that no image is dropped by giving another one a name.
    #[command(after_long_help = REFERENCES)]
    Tag {
        /// The layout, a directory
        layout: String,
        /// Which image
        #[arg(value_name = "REF")]
        reference: String,
        /// A full reference, or a tag: that of the image's repository
        #[arg(value_name = "NEWNAME")]
        name: String,
        /// What `org.opencontainers.image.ref.name` holds
        #[arg(long, value_enum, default_value_t = RefName::Full, value_name = "WHAT")]
        ref_name: RefName,
    },
    /// Remove the blobs of a layout that nothing refers to
    ///
    /// What `index.json` leads to stays: indexes in indexes, manifests of every kind, configs, layers,
    /// the blobs of artifacts, and what a listed document is about (its `subject`). A signature or
    /// an SBOM stays if it is listed, and keeps its image; nobody can find one that is not listed.
    /// Files that are no blobs stay too.
    ///
    /// If anything that `index.json` leads to is malformed, damaged or missing, it is named and
    /// nothing is removed.
    ///
    /// Writers of this program may work at the same time: they lose nothing. Others take no lock, so
    /// blobs that are younger than `--min-age` stay. What killed runs of this program left behind is
    /// removed if its lock says that nobody works there.
    Gc {
        /// The layout, a directory
        layout: String,
        /// Say what would go; remove nothing
        #[arg(long)]
        dry_run: bool,
        /// How old a blob has to be: seconds, or a number with `s`, `m`, `h`, `d` or `w`
        ///
        /// What counts is when it was written, or got its name or another link.
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
        min_age: Duration,
    },
}

/// Runs one of the commands.
pub(crate) fn run(command: &Layout, shared: &Shared, env: &Env) -> Result<ExitCode> {
    match command {
        Layout::Rm { layout, references } => {
            let removed = imgconv::remove_from_layout(layout, references, env)?;
            show_removed(layout, &removed, shared)?;
        }
        Layout::Tag {
            layout,
            reference,
            name,
            ref_name,
        } => {
            let ref_name = (*ref_name).into();
            let tagged = imgconv::tag_in_layout(layout, reference, name, ref_name, env)?;
            show_tagged(&tagged, shared)?;
        }
        Layout::Gc {
            layout,
            dry_run,
            min_age,
        } => {
            #[expect(
                clippy::disallowed_methods,
                reason = "the command line asks for the time"
            )]
            let now = SystemTime::now();
            let sweep = Sweep {
                now,
                min_age: *min_age,
                dry_run: *dry_run,
            };
            show_freed(&imgconv::gc_layout(layout, &sweep, env)?, shared)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_removed(layout: &str, removed: &[Removed], shared: &Shared) -> Result<()> {
    if !shared.quiet {
        for one in removed {
            for referrer in &one.kept_by {
                say(&format!(
                    "warning[kept]: {}: {referrer} is about it, and keeps its blobs; `imgconv \
                     layout rm {} @{referrer}` takes that out too",
                    one.digest.as_deref().unwrap_or("-"),
                    clean(layout)
                ));
            }
        }
    }
    if shared.json {
        return json(&serde_json::json!({ "removed": removed }));
    }
    let line = |one: &Removed| {
        let last = if one.last { " (its last entry)" } else { "" };
        let digest = one.digest.as_deref().unwrap_or("-");
        format!("{} {digest}{last}\n", name_of(&one.names))
    };
    print(&removed.iter().map(line).collect::<String>())
}

fn show_tagged(tagged: &Tagged, shared: &Shared) -> Result<()> {
    let name = clean(&tagged.name);
    if !shared.quiet {
        for loss in &tagged.losses {
            let (field, why) = (clean(&loss.field), clean(&loss.why));
            say(&format!("loss: {name}: {field} {}: {why}", loss.outcome));
        }
        for one in &tagged.moved_from {
            let kept = match one.kept_without_name {
                true => "; it had no other, and stays listed without one",
                false => "",
            };
            let names = name_of(&one.names);
            say(&format!(
                "warning[moved]: {name}: {} was called {names}{kept}",
                one.digest
            ));
        }
    }
    match shared.json {
        true => json(tagged),
        false => print(&format!("{name} {}\n", tagged.digest)),
    }
}

fn show_freed(freed: &Freed, shared: &Shared) -> Result<()> {
    if shared.json {
        return json(freed);
    }
    let mut text = String::new();
    for blob in &freed.blobs {
        text.push_str(&format!("{} {}\n", blob.digest, blob.size));
    }
    for directory in &freed.directories {
        text.push_str(&format!("{}\n", clean(directory)));
    }
    let what = if freed.dry_run {
        "would be removed"
    } else {
        "removed"
    };
    let young = match freed.young {
        0 => String::new(),
        young => format!("; {young} that nothing refers to are younger than `--min-age`"),
    };
    text.push_str(&format!(
        "{} blobs, {} bytes {what}{young}\n",
        freed.blobs.len(),
        freed.total
    ));
    print(&text)
}

fn name_of(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        names => clean(&names.join(" = ")),
    }
}

/// Reads a duration.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || "it is no number of seconds, and none with `s`, `m`, `h`, `d` or `w`".to_owned();
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
