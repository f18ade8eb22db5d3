//! What is inside a layer: paths, whiteouts, the merged tree.
//!
//! - [`clean`] and [`marker`]: what the name of an entry means.
//! - [`Rewrite`]: a tar whose entries are changed while it streams by, such as by [`clamp()`].
//! - [`Tree`]: layers applied one over the other, in memory, and written as one tar, all of it or what
//!   differs from its [`Base`]; bodies are kept in a [`ContentStore`].
//!
//! Input and output are uncompressed tars. Compression, digests and which layers an image has are
//! other crates' business; nothing here creates, follows or changes a file of the host but one
//! unlinked temporary file.

mod clamp;
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
pub use store::{ContentStore, Discard, Fingerprints, FrozenSpool, Spool};
pub use tree::{Base, Node, Semantics, Tree};
