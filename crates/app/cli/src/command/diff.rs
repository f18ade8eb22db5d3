//! The command `diff`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Difference, Env, Result};

use crate::{
    documents::Differences,
    exit,
    options::{Access, Common, Dependencies, Destination, Platforms, Source},
    screen::{clean, show},
};

const EXAMPLES: &str = "\
Examples:
  imgconv diff app.aci oci:out
  imgconv diff oci:a:app:1.0 docker-archive:saved.tar:app:1.0
  imgconv diff docker://registry.example.com/app:1.0 oci:out --platform linux/amd64";

/// Print how two images differ in config and files, whatever their formats
///
/// The exit code is 1 if the images differ. `--src-format` and `--src-distribution` apply to A,
/// `--dest-format` and `--dest-distribution` to B, so that the same options as for a conversion compare
/// its source and its destination.
///
/// The config covers the platform with `os.version` and `os.features`, the date, the author, the
/// comment, the history, the annotations, and all members of `config`, also those that only Docker uses.
/// A missing value equals an empty one, `0` and `false`. The comparison leaves out names and IDs of
/// images and layers, fields that only an ACI or a manifest can hold (isolators, annotations of layers),
/// and notes about the build (`container`, `container_config`, `docker_version`, `parent`). It covers
/// the numbers of the owners of files, but not their names.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Diff {
    /// Locator of the first image
    a: String,
    /// Locator of the second image
    b: String,
    #[command(flatten)]
    platforms: Platforms,
    #[command(flatten)]
    dependencies: Dependencies,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    to: Destination,
    #[command(flatten)]
    access: Access,
}

impl Diff {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        let (a, b) = (self.from.locator(&self.a)?, self.to.source(&self.b)?);
        let platforms = self.platforms.specs()?;
        let found = imgconv::diff(&a, &b, &platforms, &self.dependencies.deps, &env)?;
        let document = Differences { differences: found };
        let lines: String = document.differences.iter().map(text).collect();
        show(common.json, &document, &lines)?;
        Ok(exit::by_result(document.differences.is_empty()))
    }
}

/// The value in A after `-` and the value in B after `+`; a value that is missing has no line.
fn text(difference: &Difference) -> String {
    let line = |sign: char, value: &Option<String>| match value {
        Some(value) => format!("{sign} {}: {}\n", clean(&difference.what), clean(value)),
        None => String::new(),
    };
    line('-', &difference.a) + &line('+', &difference.b)
}
