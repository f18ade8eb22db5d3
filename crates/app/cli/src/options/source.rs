//! The options that state the format and the distribution of a source apart from its locator.

use clap::Args;
use imgconv::{Locator, Result};

/// Format and distribution of the source.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Places")]
pub(crate) struct Source {
    /// Required format of the source, as in `FORMAT+DISTRIBUTION:…`
    #[arg(long, value_name = "FORMAT")]
    src_format: Option<String>,
    /// Distribution of the source: `file`, `registry`, `https`, or any scheme
    ///
    /// The argument for the source is then the part of a locator that follows the scheme.
    #[arg(long, value_name = "DISTRIBUTION")]
    src_distribution: Option<String>,
}

impl Source {
    /// Parses the locator of a source.
    ///
    /// # Errors
    /// [`Code::Usage`](imgconv::Code::Usage) if the locator is malformed or contradicts the
    /// options.
    pub(crate) fn locator(&self, text: &str) -> Result<Locator> {
        let (format, distribution) = (&self.src_format, &self.src_distribution);
        Locator::source_as(format.as_deref(), distribution.as_deref(), text)
    }

    /// Parses the locators of several sources.
    ///
    /// # Errors
    /// As [`Source::locator`].
    pub(crate) fn locators(&self, texts: &[String]) -> Result<Vec<Locator>> {
        texts.iter().map(|text| self.locator(text)).collect()
    }
}
