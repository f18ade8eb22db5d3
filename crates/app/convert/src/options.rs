//! What the user asked of a conversion.

use std::path::PathBuf;

use imgconv_model::{Code, Error, FormatFamily, PlatformSpec, Result};
use imgconv_pipeline::Options as LayerOptions;
pub use imgconv_transport_oci_layout::{Link, RefName, Sharing};

/// What to do with children of an index that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Leave them out of the index, and warn (robustness D11b).
    #[default]
    Drop,
    /// List them as they are, and warn: a sparse index.
    Keep,
    /// Fail.
    Fail,
}

/// What to do with layers that say where else they can be had (`urls`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Foreign {
    /// List them as they are; no connection is opened (robustness C6a).
    #[default]
    Keep,
    /// Fail.
    Fail,
    /// Leave them out, with their step of the history, and report the loss.
    Drop,
    /// Fetch those that are not stored with their image, and list them as ordinary layers.
    Fetch,
}

/// What the user asked of a conversion. Everything can be defaulted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What may be read and is written, where the command says it.
    pub pair: Option<(FormatFamily, FormatFamily)>,
    /// The platforms that are wanted; empty means all.
    pub platforms: Vec<PlatformSpec>,
    /// What happens to layers.
    pub layers: LayerOptions,
    /// One ACI for each layer, linked by dependencies, instead of one squashed ACI.
    pub no_squash: bool,
    /// The name of the result, instead of the source's.
    pub name: Option<String>,
    /// A file that describes root file systems, which have no description of their own: an OCI image
    /// config or an ACI manifest.
    pub config: Option<PathBuf>,
    /// The host of the names of ACIs that are made of other images, instead of their registry's.
    pub host: Option<String>,
    /// To ACI: a tag is no version. The ACI gets the label `dockerimageid`, and the tags go to an
    /// image tags file beside it.
    pub image_tags: bool,
    /// What `org.opencontainers.image.ref.name` holds.
    pub ref_name: RefName,
    /// Where the dependencies of ACIs are: ACIs, and directories of them.
    pub deps: Vec<String>,
    /// Layers are what the user wants to change: refuse if there is no image, which has some.
    pub change: bool,
    /// Refuse if anything would be lost or was irregular.
    pub strict: bool,
    /// Say what would happen, and write nothing.
    pub dry_run: bool,
    /// What to do with missing children of an index.
    pub missing: Missing,
    /// What to do with foreign layers.
    pub foreign: Foreign,
    /// Refuse to write an image or index under another digest than it was read.
    pub preserve_digests: bool,
    /// The private key (a JSON Web Key) that schema 1 manifests are signed with.
    pub sign_key: Option<PathBuf>,
    /// What blobs of a layout that is written share their bytes with.
    pub sharing: Sharing,
}

impl Options {
    /// Only a layout directory has blobs that can share their bytes with others.
    ///
    /// # Errors
    /// [`Code::Usage`] if something else is written, and they must.
    pub fn check_sharing(&self, layout: bool) -> Result<()> {
        let forced = matches!(self.sharing.link, Link::Hard | Link::Reflink);
        if layout || !forced && self.sharing.pool.is_none() {
            return Ok(());
        }
        let what = if forced { "--link" } else { "--blob-pool" };
        let message = format!("`{what}` is for OCI layouts in directories");
        Err(Error::new(Code::Usage, message).hint("write to `oci:DIR`"))
    }
}

/// The error for what `--preserve-digests` forbids.
pub(crate) fn digests_change(what: &str) -> Error {
    let message = format!("`--preserve-digests` refuses: this would change: {what}");
    Error::new(Code::Denied, message).hint("`--dry-run` without it shows what would be done")
}
