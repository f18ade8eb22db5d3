//! The command `unpack`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use imgconv::{Env, LeftOut, Result, UnpackOptions};

use crate::{
    documents::Unpacked,
    options::{Access, Common, Dependencies, Platforms, Source},
    progress::human,
    screen::{clean, json, print, warn},
};

const EXAMPLES: &str = "\
Examples:
  imgconv unpack app.aci rootfs/
  imgconv unpack oci:out:app:1.0 rootfs/ --platform linux/arm64
  imgconv unpack app.aci rootfs/ --deps acis/";

/// Write the root file system of an image to a new directory, safely
///
/// Without root privileges, owners are set as far as the system allows. A line at the end counts the entries,
/// and what was left out: owners, devices, set-user-ID bits, extended attributes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Unpack {
    /// Locator of the image
    #[arg(value_name = "SRC")]
    source: String,
    /// Directory to write; missing or empty
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Keep set-user-ID bits, set-group-ID bits and capabilities
    #[arg(long)]
    preserve_privileges: bool,
    /// Make device nodes (root only)
    #[arg(long)]
    allow_devices: bool,
    #[command(flatten)]
    platforms: Platforms,
    #[command(flatten)]
    dependencies: Dependencies,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    access: Access,
}

impl Unpack {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        let options = UnpackOptions {
            preserve_privileges: self.preserve_privileges,
            allow_devices: self.allow_devices,
        };
        let directory = match self.directory.to_str() {
            Some(text) => imgconv::directory(text)?.into(),
            None => self.directory.clone(),
        };
        let locator = self.from.locator(&self.source)?;
        let platforms = self.platforms.specs()?;
        let deps = &self.dependencies.deps;
        let (outcome, report) =
            imgconv::unpack(&locator, &directory, &platforms, deps, &options, &env)?;
        if !common.quiet {
            for warning in &report.warnings {
                warn(warning.code, &warning.at, &warning.message);
            }
        }
        if common.json {
            json(&Unpacked {
                directory: directory.display().to_string(),
                outcome,
                warnings: report.warnings.into_iter().map(Into::into).collect(),
            })?;
        } else if !common.quiet {
            let directory = clean(&directory.to_string_lossy());
            let (entries, size) = (outcome.entries, human(outcome.bytes));
            let left_out = summary(&outcome.left_out);
            print(&format!(
                "{directory}  {entries} entries  {size}  {left_out}\n"
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Says what was left out, in a few words; warnings say more.
fn summary(left_out: &LeftOut) -> String {
    let owners = match left_out.recorded_owners {
        0 => "owners".to_owned(),
        recorded => format!("owners, {recorded} of them recorded in an attribute"),
    };
    let kinds = [
        (left_out.owners, &*owners),
        (left_out.special_files, "devices"),
        (left_out.privileges, "set-user-ID bits and capabilities"),
        (left_out.attributes, "extended attributes"),
        (left_out.modes, "permissions of special files"),
        (left_out.times, "times"),
    ];
    let kinds = kinds.iter().filter(|(count, _)| *count > 0);
    let kinds: Vec<String> = kinds
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    match kinds.is_empty() {
        true => "nothing left out".to_owned(),
        false => format!("left out: {}", kinds.join("; ")),
    }
}
