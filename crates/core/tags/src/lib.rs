//! Image tags: the file that maps the moving tags of one image name to labels (appc/spec pull
//! request 584, `imagetags.md`).
//!
//! Images are static, tags move. A tag is an alias of another tag, or expands to labels, which
//! find the image. [`ImageTags`] is the file, [`merge`] what a client does with it before it looks
//! for an image. Pure: where the file comes from, and who signed it, is not known here.

#![deny(missing_docs)]

mod file;
mod make;
mod resolve;

use std::collections::BTreeMap;

pub use resolve::{Resolved, merge};

/// Labels of an image: AC Identifier -> value.
pub type Labels = BTreeMap<String, String>;

/// An image tags file. What it says was checked one by one; that aliases end at labels is for
/// [`ImageTags::resolve`] and [`ImageTags::problems`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageTags {
    /// Tag -> the tag that it is another word for.
    pub(crate) aliases: BTreeMap<String, String>,
    /// Tag -> the labels of the image that it means.
    pub(crate) labels: BTreeMap<String, Labels>,
}
