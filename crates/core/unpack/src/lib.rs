//! Writes a merged [`Tree`] to a directory, so that nothing outside of it can be touched.
//!
//! The tree was resolved in memory: every link, whiteout and `..` of the archives is gone, and what
//! is left is a list of real directories with names in them. This crate creates those names one by
//! one: every system call gets the descriptor of a directory that was opened without following
//! links, and one component. Everything is written to `<target>.partial-<random>` beside the
//! target, and renamed when it is complete.
//!
//! What is written and what is not:
//!
//! * Owners are set as root. Otherwise an owner other than `0:0` is noted in the extended attribute
//!   `user.rootlesscontainers` (the convention of rootless container tools), where the file system
//!   takes it; symbolic links, FIFOs and devices can't carry one.
//! * Devices are only created as root and when asked for. FIFOs need no privilege and are always
//!   created, unless the file system has none.
//! * setuid and setgid bits and file capabilities are only kept when asked for, and never on a file
//!   whose owner could not be set although root tried: it would lend root's rights.
//! * Of extended attributes only `user.*` and `security.capability` are set. ACLs are not.
//!
//! Each of these, where it applies, is one warning with a count and the first few names.
//!
//! It does not read archives, does not resolve links, and does not make sparse files. Contents are
//! not flushed to the disk one by one: after a power failure the kernel may show what it did not
//! write yet, as after any other extraction.

mod attributes;
mod destination;
mod notices;
mod options;
mod path;
mod walker;
mod write;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use imgconv_layer::{FrozenSpool, Tree};
use imgconv_model::{Env, Event, Result};

pub use crate::options::{Options, Outcome};
use crate::{destination::Destination, write::Writer};

/// Writes `tree`, whose file contents are in `contents`, to the directory `target`, which must not
/// exist or be empty.
///
/// The root's own metadata is applied to the target (0755, 0:0 and time 0 if no layer has an entry
/// for the root). What could not be written as the tree says is in `env.notes`.
///
/// # Errors
/// [`Denied`](imgconv_model::Code::Denied) if the target is there and is not an empty directory,
/// [`Ambiguous`](imgconv_model::Code::Ambiguous) if the file system takes two different names for
/// one, [`Cancelled`](imgconv_model::Code::Cancelled), or an I/O error that names the entry. Then
/// the target is as it was before, and the partial directory is removed.
pub fn unpack(
    tree: &Tree,
    contents: &Arc<FrozenSpool>,
    target: &Path,
    options: &Options,
    env: &Env,
) -> Result<Outcome> {
    let destination = Destination::create(target)?;
    let id = env.next_id.fetch_add(1, Ordering::Relaxed);
    let what = format!("unpack to {}", destination.shown());
    env.progress.event(Event::Begin {
        id,
        what: &what,
        bytes: None,
    });
    let written = Writer::new(tree, destination.top(), contents, options, env, id).run();
    env.progress.event(Event::End { id });
    match written {
        Ok((outcome, notices)) => {
            let shown = destination.shown().to_owned();
            destination.publish()?;
            notices.report(&env.notes, &shown);
            Ok(outcome)
        }
        Err(error) => Err(destination.abandon(error)),
    }
}
