//! Files and directories, reached by descriptors and never through a link that somebody else made.
//!
//! - [`Directory`] reads the files below a directory. No link is followed, and only regular files are
//!   opened.
//! - [`Stage`] is a private directory for blobs that are written and not yet visible. [`Stale`] and
//!   [`sweep`] find and remove the stages that killed processes left.
//! - [`open_given`] opens a file that the user names. [`remove_contents`] empties a directory of any
//!   depth. [`Stamp`] tells whether the bytes of a file may have changed.

#![deny(missing_docs)]

mod descriptor;
mod directory;
mod given;
mod remove;
mod stage;
mod stale;
mod state;

pub use descriptor::{open_directory, set_mode};
pub use directory::Directory;
pub use given::open_given;
pub use remove::remove_contents;
pub use stage::{Stage, Staged};
pub use stale::{Stale, sweep};
pub use state::{Stamp, file_state};
