//! Files and directories, reached by descriptors. Links inside a store are refused by default; links in a path of the
//! user are followed.
//!
//! **Reading.** [`Directory`] reads the files below a directory: only regular files are opened, and
//! links are refused unless the caller trusts them ([`Links`]). [`StoredBlob`] is a blob that is
//! such a file, [`HeldFile`] a file that stays open. [`open_regular`], [`open_given`] and [`open_nonblocking`] open files that the user
//! names; [`is_directory`] and its like say what is there, and [`is_place`] whether a directory has the form of a
//! store. A [`Stamp`] shows whether the bytes of a file may have changed, and [`same_bytes`] compares two
//! files. [`own_directory`] and [`open_own_file`] open only what no other user can have written.
//!
//! **Writing.** [`Stage`] is a private directory for blobs that are written and not yet visible,
//! and [`Partial`] is a directory that becomes the user's. [`rename_file`] and [`rename_directory`]
//! give final names without replacing, [`sync`] and [`sync_directory`] make names durable,
//! [`share`] makes hard links and clones. A [`WholeFile`] is a file of the user that is written at once.
//!
//! **Locks.** [`lock_directory`] holds on one machine, [`lock_file_at`] and [`try_lock_file`] between the
//! machines that share a file system. [`refresh`] makes a machine look again at what it has cached.
//!
//! **Leftovers.** Processes hold locks on their stages and partial directories. [`Stale`],
//! [`sweep`] and [`Partial::remove_leftovers`] find and remove those that killed processes left;
//! [`remove_contents`] empties a directory of any depth.

#![deny(missing_docs)]

mod blob;
mod compare;
mod descriptor;
mod directory;
mod examine;
mod given;
mod held;
mod lock;
mod own;
mod own_lock;
mod partial;
mod path;
mod place;
mod remove;
mod rename;
mod share;
mod stage;
mod stale;
mod state;
mod whole_file;

pub use blob::{HeldFile, StoredBlob};
pub use compare::same_bytes;
pub use descriptor::{
    is_empty, jobs_within_limit, open_directory, open_directory_at, path_of, set_mode,
};
pub use directory::{Directory, Links, Near, make_directory_at, open_file_at};
pub use examine::{
    is_directory, is_file, is_out_of_reach, is_there, metadata, or_nothing, or_other_kind,
};
pub use given::{
    open_given, open_nonblocking, open_regular, read_given, set_blocking, standard_output,
};
pub use held::{held, warn_if_held};
pub use lock::{lock_directory, lock_file_at, refresh, try_lock_file};
pub use own::{make_own_directory, open_own_file, own_directory};
pub use partial::Partial;
pub use path::parent;
pub use place::is_place;
pub use remove::remove_contents;
pub use rename::{rename_directory, rename_file, sync, sync_directory};
pub use share::{Link, share};
pub use stage::{Stage, Staged};
pub use stale::{Stale, sweep};
pub use state::{Stamp, file_state};
pub use whole_file::WholeFile;
