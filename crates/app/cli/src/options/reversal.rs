//! The options about the exact way back of an ACI or an old docker image.

use clap::Args;

/// Options about the way from an ACI or an old docker image to OCI and back to the same.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct Reversal {
    /// To OCI: keep a record that gives back the same ACI or old docker image
    ///
    /// The record is an OCI artifact about the image. It holds what the image does not keep of an ACI, with its
    /// signature, of a `docker save` file from before Docker 1.10, or of a schema 1 manifest.
    #[arg(long, hide_short_help = true)]
    pub(crate) reversible: bool,
    /// From OCI: fail unless the original ACI or old docker image is restored exactly
    ///
    /// Without this option an image without a good record is written anew. The exit code is 4 for a
    /// damaged record, and 1 without one.
    #[arg(long, hide_short_help = true)]
    pub(crate) exact: bool,
    /// To ACI, docker archive: the original to restore, if several
    ///
    /// The name of the file, or an image ID, a digest of a record, or its start. Of an index, the images that have this record
    /// get it; the others get their newest originals. An error if no image has it, and in a migration if any image lacks it.
    #[arg(long, value_name = "NAME|IMAGE-ID", hide_short_help = true)]
    pub(crate) record: Option<String>,
}
