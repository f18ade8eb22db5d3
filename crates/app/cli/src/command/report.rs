//! The command `report`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use imgconv::{Env, Result};

use crate::outcome::open_page;

const EXAMPLES: &str = "\
Examples:
  imgconv report report.json report.html
  imgconv report all.json all.html            of the joined reports of `migrate merge-reports --json`";

/// Write the report of a migration as an HTML page
///
/// The page needs no other file and no network: it shows what failed and why, what was lost, bytes before
/// and after, what sharing layers saved, and the old and the new digest of every image, to search and to
/// sort. `migrate --report-html` writes the same page.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Report {
    /// Report that `migrate --report` or `migrate merge-reports --json` wrote
    #[arg(value_name = "REPORT.json")]
    report: PathBuf,
    /// File to write; a file that exists is replaced
    #[arg(value_name = "FILE.html")]
    page: PathBuf,
}

impl Report {
    pub(crate) fn run(&self, env: &Env) -> Result<ExitCode> {
        let file = open_page(&self.page, "FILE.html", env)?;
        let report = imgconv::read_report(&self.report)?;
        file.write(imgconv::report_page(&report)?.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
