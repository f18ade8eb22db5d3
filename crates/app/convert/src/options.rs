//! The user's options for a conversion.

use std::path::PathBuf;

use imgconv_model::{Code, Error, FormatFamily, PlatformSpec, Result};
use imgconv_pipeline::Options as LayerOptions;
pub use imgconv_transport_oci_layout::{Link, RefName, Sharing};

/// The treatment of index children that are not stored.
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

/// The treatment of layers that name other sources of their bytes (`urls`).
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

/// The user's options for a conversion. Every option has a default.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The families that the command reads and writes, for the pair commands.
    pub pair: Option<(FormatFamily, FormatFamily)>,
    /// The platforms that are wanted; empty means all.
    pub platforms: Vec<PlatformSpec>,
    /// The changes to layers.
    pub layers: LayerOptions,
    /// One ACI for each layer, linked by dependencies, instead of one squashed ACI.
    pub no_squash: bool,
    /// The name of the result, instead of the source's.
    pub name: Option<String>,
    /// Further names of the result, for destinations that can give an image several names.
    pub more_names: Vec<String>,
    /// A file that describes root file systems, which have no description of their own: an OCI image
    /// config or an ACI manifest.
    pub config: Option<PathBuf>,
    /// The host of the names of ACIs that are made of other images, instead of their registry's.
    pub host: Option<String>,
    /// To ACI: a tag does not become a version. The ACI gets the label `dockerimageid`, and the
    /// tags go to an image tags file beside it.
    pub image_tags: bool,
    /// The form of names in `org.opencontainers.image.ref.name`.
    pub ref_name: RefName,
    /// Where the dependencies of ACIs are: ACIs, and directories of them.
    pub deps: Vec<String>,
    /// True if the command changes layers: then a source without any image is refused.
    pub change: bool,
    /// From an ACI or an old docker image to OCI: keep a record of all that the new image does not hold, so that the
    /// old one can be put together again.
    pub reversible: bool,
    /// To an ACI or an old docker image: refuse an image that does not become the very one that it was made of.
    pub exact: bool,
    /// To an ACI or a docker archive: of the records of several originals, the one with that file name or image ID (of an
    /// archive, its digest), which may be the start of one.
    pub record: Option<String>,
    /// To ACI: the written ACIs get new signatures, so an old one that does not fit the new file is left out.
    pub signs_anew: bool,
    /// Refuse if anything would be lost or was irregular.
    pub strict: bool,
    /// Report what would happen, and write nothing.
    pub dry_run: bool,
    /// The treatment of missing children of an index.
    pub missing: Missing,
    /// The treatment of foreign layers.
    pub foreign: Foreign,
    /// Refuse to write an image or index under another digest than the one by which it was read.
    pub preserve_digests: bool,
    /// The private key (a JSON Web Key) that schema 1 manifests are signed with.
    pub sign_key: Option<PathBuf>,
    /// The files that share their bytes with the blobs of a written layout.
    pub sharing: Sharing,
}

impl Options {
    /// Refuses forced sharing for a destination other than a layout directory, since only the blobs
    /// of a layout can share their bytes.
    ///
    /// # Errors
    /// [`Code::Usage`] if the destination is no layout and sharing is required.
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

/// The error for changes that `--preserve-digests` forbids.
pub(crate) fn digests_change(what: &str) -> Error {
    let message = format!("`--preserve-digests` forbids a change of {what}");
    Error::new(Code::Denied, message)
        .hint("`--dry-run` without `--preserve-digests` shows the changes")
}
