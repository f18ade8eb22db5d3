//! The options about the exact way back of an ACI.

use clap::Args;

/// Options about the way from an ACI to documents and back to the same ACI.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Reversal {
    /// From ACI: keep a record that gives back the same ACI
    ///
    /// The record is an OCI artifact about the image. It holds what the image does not keep of the ACI,
    /// with its signature.
    #[arg(long, hide_short_help = true)]
    pub(crate) reversible: bool,
    /// To ACI: fail if an image does not become the very ACI that it was made of
    ///
    /// Without this option an image without a good record becomes a new ACI. The exit code is 4 for a
    /// damaged record, and 1 without one.
    #[arg(long, hide_short_help = true)]
    pub(crate) exact: bool,
    /// To ACI: the ACI to restore, if the image was made of several
    #[arg(long, value_name = "FILE|IMAGE-ID", hide_short_help = true)]
    pub(crate) record: Option<String>,
}
