//! The command `migrate merge-reports`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use imgconv::Result;

use super::show::{exit_code, show};
use crate::{exit::Status, options::Common, screen::say};

const EXAMPLES: &str = "\
Examples:
  imgconv migrate merge-reports 1.json 2.json 3.json 4.json
  imgconv migrate merge-reports *.json --json > all.json";

/// Merge the reports of all shares, and name the shares without a report
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MergeReports {
    /// Report files that `migrate --report` wrote
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,
}

impl MergeReports {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode> {
        let merged = imgconv::merge_reports(&self.reports)?;
        show(&merged, &merged.migration, common)?;
        for share in &merged.missing {
            say(&format!("error: there is no report of the share {share}"));
        }
        Ok(match merged.missing[..] {
            [] => exit_code(&merged.migration, false),
            _ => Status::Failed.into(),
        })
    }
}
