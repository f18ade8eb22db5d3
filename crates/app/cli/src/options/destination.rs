//! The options that state the format and the distribution of a destination apart from its locator, and
//! the destinations that the pair commands accept.

use std::path::Path;

use clap::Args;
use imgconv::{Code, Error, FormatFamily, FormatId, Locator, Result};

/// Format and distribution of the destination.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Places")]
pub(crate) struct Destination {
    /// Format to write at the destination
    #[arg(long, value_name = "FORMAT")]
    dest_format: Option<String>,
    /// Distribution of the destination: `file`, `registry`, or any scheme
    ///
    /// The argument for the destination is then the part of a locator that follows the scheme.
    #[arg(long, value_name = "DISTRIBUTION")]
    dest_distribution: Option<String>,
}

/// The destinations and formats of a pair command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The family of the formats.
    pub(crate) family: FormatFamily,
    /// The schemes of the destinations; the first one is assumed for a bare path.
    schemes: &'static [&'static str],
    /// The formats, in order of preference.
    formats: &'static [FormatId],
}

impl Target {
    /// The target of `…-to-aci`.
    pub(crate) const ACI: Self = Self {
        family: FormatFamily::Aci,
        schemes: &["aci"],
        formats: &[FormatId::ACI],
    };
    /// The target of `…-to-docker`.
    pub(crate) const DOCKER: Self = Self {
        family: FormatFamily::Docker,
        schemes: &["docker-archive", "dir", "docker", "docker-daemon"],
        formats: &[
            FormatId::DOCKER_ARCHIVE,
            FormatId::DOCKER_V2S2,
            FormatId::DOCKER_V2S1,
        ],
    };
    /// The target of `…-to-oci`.
    pub(crate) const OCI: Self = Self {
        family: FormatFamily::Oci,
        schemes: &["oci", "oci-archive", "docker"],
        formats: &[FormatId::OCI],
    };
}

impl Destination {
    /// Parses the locator of a destination.
    ///
    /// # Errors
    /// [`Code::Usage`] if the locator is malformed or contradicts the options.
    pub(crate) fn locator(&self, text: &str) -> Result<Locator> {
        let (format, distribution) = self.parts();
        Locator::destination_as(format, distribution, text)
    }

    /// Parses the locator of the destination of a pair command. The command decides the format, so
    /// that the format does not depend on the source. For ACIs every path except a `.aci` file is a
    /// directory, which is made if it is missing.
    ///
    /// # Errors
    /// As [`Destination::locator`], and if the locator names a format that the command does not write.
    pub(crate) fn locator_of(&self, text: &str, target: &Target) -> Result<Locator> {
        let (format, distribution) = self.parts();
        let mut locator = Locator::destination_of(format, distribution, text, target.schemes)?;
        let possible = locator.transport.place().formats();
        let formats = target.formats;
        match locator.format {
            Some(asked) if possible.contains(&asked) && !formats.contains(&asked) => {
                let message = format!("this command does not write {asked}");
                let formats: Vec<&str> = formats.iter().map(|id| id.0).collect();
                let hint = format!(
                    "the command writes {}; `imgconv convert` writes every format",
                    formats.join(", ")
                );
                return Err(Error::new(Code::Usage, message).at(text).hint(hint));
            }
            // A place that holds one format only needs no choice.
            None if possible.len() > 1 => {
                locator.format = formats.iter().copied().find(|id| possible.contains(id));
            }
            _ => {}
        }
        let location = &mut locator.location;
        let is_file = location.ends_with(".aci") || location == "-";
        if target.family == FormatFamily::Aci && !is_file && !location.ends_with('/') {
            location.push('/');
        }
        Ok(locator)
    }

    /// Parses the locator of a destination in order to read it, for `diff`.
    ///
    /// # Errors
    /// As [`Destination::locator`].
    pub(crate) fn source(&self, text: &str) -> Result<Locator> {
        let (format, distribution) = self.parts();
        Locator::source_as(format, distribution, text)
    }

    fn parts(&self) -> (Option<&str>, Option<&str>) {
        let (format, distribution) = (&self.dest_format, &self.dest_distribution);
        (format.as_deref(), distribution.as_deref())
    }
}

/// Refuses `-` as the argument of a command that makes a directory.
///
/// # Errors
/// [`Code::Usage`] if the directory is `-`.
pub(crate) fn refuse_stream(command: &str, directory: &Path) -> Result<()> {
    if directory != Path::new("-") {
        return Ok(());
    }
    let message = format!("`{command}` makes a directory, but `-` means standard output");
    Err(Error::new(Code::Usage, message).hint("a directory with the name `-` is written `./-`"))
}
