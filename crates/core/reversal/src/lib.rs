//! Records of reversal: all that the layer of an image does not keep of the tar (an ACI) that the layer
//! was made of, so that both together give the same tar again, byte for byte.
//!
//! A record is a list of instructions: bytes that stand in the record, and ranges of the uncompressed
//! layer, in the order of the tar and of the layer. [`Recorder`] makes the list while the tar streams by,
//! [`Record`] reads it. An archive of images has a record of its own kind ([`ArchiveRecord`]), since its layers
//! are whole members in any order. `docs/reversal.md` describes the format for other programs.
//!
//! This crate does not depend on the place where a record is stored, and knows nothing of manifests.

#![deny(missing_docs)]

mod archive;
mod header;
mod number;
mod read;
mod spool;
mod trace;

pub use archive::{ArchiveHeader, ArchiveRecord, Member, OpenLayer, Part, record_archive};
pub use header::{Copied, Header};
pub use read::Record;
pub use trace::{Content, Recorder};
