//! The engine of every conversion: locate, read, choose, plan, write, commit.
//!
//! [`convert::convert`] is the whole conversion in one function. [`read`] decodes the contents of a
//! place, [`choose`] picks the images, [`plan`] decides what becomes of every layer and document,
//! [`expect`] computes what the plan will give, and [`write`] is the only part with threads.

mod assemble;
mod check;
pub mod choose;
mod commit;
pub mod convert;
mod document;
pub mod expect;
pub mod options;
pub mod outcome;
pub mod plan;
pub mod read;
pub mod tags;
pub mod write;

pub use self::{
    assemble::{
        descriptors,
        output::{Assembled, Item},
    },
    check::{no_image, no_image_of, not_held, refuse_losses, refuse_same_place, some_of},
    commit::{name_roots, note_digests, room, signatures, tell_removed},
    document::{DOCUMENT_VERSION, Document},
};
