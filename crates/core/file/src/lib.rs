//! One local file that is a whole image; `-` is standard input or output.
//!
//! Nothing here knows what the bytes mean, or how they are compressed: both are a format's. Only regular
//! files and pipes are opened, a file that changes while it is read is an error, and files that are
//! written appear all at once or not at all.

#![deny(missing_docs)]

mod naming;
mod read;
mod write;

pub use naming::file_names;
pub use read::{FileBundle, from_pipe, from_reader};
pub use write::{create, overlaps};
