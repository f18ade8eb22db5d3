//! The options of every command that writes images, and their conversion into the options of the
//! library.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use imgconv::{Env, Options, Result};

use super::{
    access::Access,
    dependencies::Dependencies,
    layers::{Layers, Squashing},
    links::Links,
    names::Names,
    platforms::Platforms,
    reversal::Reversal,
    safety::Safety,
    source::Source,
};

/// The treatment of manifests that an index lists and the source does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Missing {
    /// Leave the manifests out of the index, with a warning
    Drop,
    /// Keep the manifests in the index, with a warning: a sparse index
    Keep,
    /// Fail
    Fail,
}

/// Options of every command that converts.
#[derive(Clone, Debug, Args)]
pub(crate) struct Conversion {
    #[command(flatten)]
    squashing: Squashing,
    #[command(flatten)]
    reversal: Reversal,
    #[command(flatten)]
    pub(crate) writing: Writing,
}

/// Options of every command that writes images.
#[derive(Clone, Debug, Args)]
pub(crate) struct Writing {
    #[command(flatten)]
    layers: Layers,
    #[command(flatten)]
    platforms: Platforms,
    #[command(flatten)]
    dependencies: Dependencies,
    /// Treatment of manifests that an index lists and the source does not hold
    #[arg(
        long,
        value_enum,
        default_value_t = Missing::Drop,
        value_name = "HOW",
        hide_short_help = true,
        help_heading = "Input"
    )]
    missing: Missing,
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    pub(crate) safety: Safety,
    #[command(flatten)]
    links: Links,
    /// Write the result as JSON to a file
    ///
    /// The result has every loss and every warning.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,
    /// Write the digest of each written image and index to a file, a line each
    ///
    /// The digest of an index stands before those of its images.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Output",
        hide_short_help = true
    )]
    pub(crate) digestfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    access: Access,
}

impl Conversion {
    /// Returns the options in the types of the library.
    ///
    /// # Errors
    /// As [`Writing::options`].
    pub(crate) fn options(&self) -> Result<Options> {
        let mut options = self.writing.options()?;
        options.layers.squash = self.squashing.squash();
        options.no_squash = self.squashing.no_squash;
        options.reversible = self.reversal.reversible;
        options.exact = self.reversal.exact;
        options.record.clone_from(&self.reversal.record);
        Ok(options)
    }
}

impl Writing {
    /// Returns the options in the types of the library.
    ///
    /// # Errors
    /// [`Code::BadName`](imgconv::Code::BadName) if a platform is malformed.
    pub(crate) fn options(&self) -> Result<Options> {
        Ok(Options {
            platforms: self.platforms.specs()?,
            layers: self.layers.options(),
            name: self.names.name.first().cloned(),
            more_names: self.names.name.iter().skip(1).cloned().collect(),
            image_tags: self.names.image_tags,
            ref_name: self.names.ref_name.into(),
            deps: self.dependencies.deps.clone(),
            strict: self.safety.strict,
            dry_run: self.safety.dry_run,
            missing: match self.missing {
                Missing::Drop => imgconv::Missing::Drop,
                Missing::Keep => imgconv::Missing::Keep,
                Missing::Fail => imgconv::Missing::Fail,
            },
            foreign: self.layers.foreign(),
            preserve_digests: self.safety.preserve_digests,
            sign_key: self.safety.sign_key.clone(),
            sharing: self.links.sharing(),
            ..Options::default()
        })
    }

    /// Sets the options about places and servers in an environment.
    ///
    /// # Errors
    /// As [`Access::apply`].
    pub(crate) fn env(&self, env: Env) -> Result<Env> {
        self.access.apply(env)
    }
}
