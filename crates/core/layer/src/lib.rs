//! The content of layers: paths, whiteouts, the merged tree.
//!
//! - [`clean`] and [`marker`]: the meaning of the name of an entry.
//! - [`Rewrite`]: a tar whose entries are changed while it streams by, such as by [`clamp()`].
//! - [`Tree`]: layers applied over each other, in memory, and written as one tar: the whole tree or
//!   its difference from a [`Base`]; bodies are kept in a [`ContentStore`].
//!
//! Input and output are uncompressed tars. Other crates handle compression, digests and the list of
//! layers of an image; this crate creates, follows and changes no file of the host except one
//! unlinked temporary file.

mod clamp;
mod contents;
mod emit;
mod marker;
mod path;
mod rewrite;
mod store;
mod tree;
mod write;

pub use clamp::clamp;
pub use marker::{Marker, marker};
pub use path::clean;
pub use rewrite::Rewrite;
pub use store::{ContentStore, Discard, Fingerprints, FrozenSpool, Spool, SpoolLayer};
pub use tree::{Applying, Base, Batch, Node, Semantics, Tree, scan};
