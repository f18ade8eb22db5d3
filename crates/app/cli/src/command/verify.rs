//! The command `verify`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Result, Verdict};

use crate::{
    exit::{self, Status},
    options::{Access, Common, Source},
    screen::{clean, json, print, warn},
};

const EXAMPLES: &str = "\
Examples:
  imgconv verify out/
  imgconv verify oci:out --json
  imgconv verify https://example.com/app.aci --keyring keys.gpg";

/// Read everything in a place and name every problem
///
/// The exit code is 4 if anything that was read is damaged, and 1 if something could not be read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// Locator of the place
    #[arg(value_name = "LOCATOR")]
    source: String,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    access: Access,
}

impl Verify {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        let verdict = imgconv::verify(&self.from.locator(&self.source)?, &env)?;
        if common.json {
            json(&verdict)?;
        } else {
            if !common.quiet {
                for warning in &verdict.warnings {
                    warn(&warning.code, &warning.at, &warning.message);
                }
            }
            print(&text(&verdict))?;
        }
        Ok(match verdict.problems.is_empty() {
            true => ExitCode::SUCCESS,
            false if verdict.is_damaged() => exit::unsuccessful(Status::Integrity),
            // The place could not be read; no damage is known.
            false => exit::unsuccessful(Status::Failed),
        })
    }
}

/// A line for each problem and each signature, and a summary.
fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    for problem in &verdict.problems {
        let at = match &*problem.at {
            "" => String::new(),
            at => format!("{at}: "),
        };
        let (at, message) = (clean(&at), clean(&problem.message));
        text.push_str(&format!("{}: {at}{message}\n", problem.code));
    }
    for signed in &verdict.signatures {
        let by = match &signed.user_ids[..] {
            [] => signed.fingerprint.clone(),
            names => format!("{} ({})", names.join(", "), signed.fingerprint),
        };
        text.push_str(&format!("signed: {}: {}\n", clean(&signed.at), clean(&by)));
    }
    let summary = match verdict.problems.len() {
        0 => "nothing wrong".to_owned(),
        problems => format!("{problems} wrong"),
    };
    text.push_str(&format!("{} checked, {summary}\n", verdict.checked));
    text
}
