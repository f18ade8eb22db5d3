//! The options that refuse, allow or only predict a change.

use std::path::PathBuf;

use clap::Args;

/// Options that refuse, allow or only predict the changes of a conversion.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Safety {
    /// Fail if there is a loss or a warning (exit code 3)
    #[arg(long)]
    pub(crate) strict: bool,
    /// Replace existing ACIs and archives
    ///
    /// Without this option an existing file is an error. Layouts, registries and sites are always
    /// added to.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Fail if an image or index would get another digest
    ///
    /// The error names the changes. Entries of a Docker archive have no digest, so there the config
    /// and the layers must stay the same.
    #[arg(long, hide_short_help = true)]
    pub(crate) preserve_digests: bool,
    /// To docker-v2s1: sign the manifest with a private key, a JWK such as docker's `key.json`
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) sign_key: Option<PathBuf>,
    /// Print what would be done, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
