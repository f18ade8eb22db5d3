//! The options about names of images in the output.

use clap::{Args, builder::TypedValueParser};
use imgconv::RefName;

use super::choice::{Choice, choice};

/// The values of the name annotation of a layout.
const REF_NAMES: &[Choice<RefName>] = &[
    ("full", "The full reference", RefName::Full),
    ("tag", "The tag alone", RefName::Tag),
];

/// Parses the value of `--ref-name`.
pub(crate) fn ref_name() -> impl TypedValueParser<Value = RefName> {
    choice(REF_NAMES)
}

/// How images are named.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Names")]
pub(crate) struct Names {
    /// Name of the result [default: the name in the source]
    ///
    /// The name is a full reference, `HOST/REPOSITORY:TAG`.
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) name: Option<String>,
    /// To ACI: write an image tags file instead of versions
    ///
    /// The image tags file, beside the ACIs, maps each tag to an ACI. An ACI gets the label `dockerimageid` instead
    /// of `version`, so that a tag that moves changes only the image tags file. An existing file
    /// keeps its other tags.
    #[arg(long, hide_short_help = true)]
    pub(crate) image_tags: bool,
    /// Value of the annotation `org.opencontainers.image.ref.name`
    #[arg(long, value_parser = ref_name(), default_value = "full", value_name = "WHAT", hide_short_help = true)]
    pub(crate) ref_name: RefName,
}
