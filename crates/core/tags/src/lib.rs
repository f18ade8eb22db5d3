//! Image tags: the file that maps the moving tags of one image name to labels (appc/spec pull
//! request 584, `imagetags.md`).
//!
//! Images are static, tags move. A tag is an alias of another tag, or expands to labels, which find
//! the image. [`ImageTags`] is the file; [`merge`] is the step of a client before it searches an
//! image. The crate does no I/O: its callers find the file and check its signature.

#![deny(missing_docs)]

mod file;
mod make;
mod resolve;

use std::collections::BTreeMap;

pub use resolve::{Resolved, merge};

/// Labels of an image: AC Identifier -> value.
pub type Labels = BTreeMap<String, String>;

/// An image tags file. Each tag and label was checked; [`ImageTags::resolve`] and
/// [`ImageTags::problems`] check that aliases end at labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageTags {
    /// Tag -> the tag that it is an alias of.
    pub(crate) aliases: BTreeMap<String, String>,
    /// Tag -> the labels of its image.
    pub(crate) labels: BTreeMap<String, Labels>,
}
