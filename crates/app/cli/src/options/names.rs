//! The options about names of images in the output.

use clap::{Args, ValueEnum};

/// The value of the name annotation of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RefName {
    /// The full reference
    Full,
    /// The tag alone
    Tag,
}

impl From<RefName> for imgconv::RefName {
    fn from(chosen: RefName) -> Self {
        match chosen {
            RefName::Full => Self::Full,
            RefName::Tag => Self::Tag,
        }
    }
}

/// How images are named.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Names")]
pub(crate) struct Names {
    /// Name of the result, repeatable [default: the name in the source]
    ///
    /// The name is a full reference, `HOST/REPOSITORY:TAG`. Layouts, files for `docker load`, engines and
    /// registries can give an image several names; in a registry all of them are tags of the repository
    /// that the destination names.
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) name: Vec<String>,
    /// To ACI: write an image tags file instead of versions
    ///
    /// The image tags file, beside the ACIs, maps each tag to an ACI. An ACI gets the label `dockerimageid` instead
    /// of `version`, so that a tag that moves changes only the image tags file. An existing file
    /// keeps its other tags.
    #[arg(long, hide_short_help = true)]
    pub(crate) image_tags: bool,
    /// Value of the annotation `org.opencontainers.image.ref.name`
    #[arg(long, value_enum, default_value_t = RefName::Full, value_name = "WHAT", hide_short_help = true)]
    pub(crate) ref_name: RefName,
}
