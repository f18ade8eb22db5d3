//! Writes a merged [`Tree`] to a directory, so that no file outside of it can be changed.
//!
//! The tree was resolved in memory: every link, whiteout and `..` of the archives is gone, and the
//! result is a list of real directories with names in them. This crate creates those names one by
//! one: every system call gets the descriptor of a directory that was opened without following
//! links, and one component. All entries are written to `<target>.partial-<random>` beside the
//! target, which is renamed when it is complete.
//!
//! These entries and attributes are written or left out:
//!
//! * Owners are set as root. Otherwise an owner other than `0:0` is recorded in the extended
//!   attribute `user.rootlesscontainers` (the convention of rootless container tools), if the file
//!   system supports that; symbolic links, FIFOs and devices can't have the attribute.
//! * Devices are only created as root and on request. FIFOs need no privilege and are always
//!   created, unless the file system does not support them.
//! * setuid and setgid bits and file capabilities are only kept on request, and never on a file
//!   whose owner root could not set: the file would run with root's rights.
//! * Of extended attributes only `user.*` and `security.capability` are set. ACLs are not.
//!
//! Each of these, where it applies, is one warning with a count and the first few names.
//!
//! The crate does not read archives, does not resolve links, and does not make sparse files.
//! Contents are not flushed to the disk one by one: after a power failure unwritten contents may be
//! missing, as after any other extraction.

mod attributes;
mod destination;
mod notices;
mod options;
mod path;
mod walker;
mod write;

use std::{path::Path, sync::Arc};

use imgconv_layer::{FrozenSpool, Tree};
use imgconv_model::{Counted, Env, Result, Work};

pub use crate::options::{LeftOut, Options, Outcome};
use crate::{destination::Destination, write::Writer};

/// Writes `tree`, whose file contents are in `contents`, to the directory `target`, which must not
/// exist or be empty.
///
/// The root's own metadata is applied to the target (0755, 0:0 and time 0 if no layer has an entry
/// for the root). Entries and attributes that could not be written are in `env.notes`.
///
/// # Errors
/// [`Denied`](imgconv_model::Code::Denied) if the target exists and is not an empty directory,
/// [`Ambiguous`](imgconv_model::Code::Ambiguous) if two different names are the same name to the
/// file system, [`Cancelled`](imgconv_model::Code::Cancelled), or an I/O error that names the
/// entry. Then the target is unchanged, and the partial directory is removed.
pub fn unpack(
    tree: &Tree,
    contents: &Arc<FrozenSpool>,
    target: &Path,
    options: &Options,
    env: &Env,
) -> Result<Outcome> {
    let destination = Destination::create(target)?;
    let what = format!("files in {}", destination.shown());
    let work = Work::begin(&what, Counted::Result, Some(tree.content_bytes()), env);
    let written = Writer::new(tree, destination.top(), contents, options, env, work.id()).run();
    drop(work);
    match written {
        Ok((outcome, notices)) => {
            let shown = destination.shown().to_owned();
            destination.publish()?;
            notices.report(&env.notes, &shown);
            Ok(Outcome {
                left_out: notices.left_out(),
                ..outcome
            })
        }
        Err(error) => Err(destination.abandon(error)),
    }
}
