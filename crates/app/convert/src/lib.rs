//! The engine of every conversion: locate, read, choose, plan, write, commit.
//!
//! [`convert::convert`] is the story in one function. [`read`] decodes what is at a place,
//! [`choose`] picks what is meant, [`plan`] decides what becomes of every layer and document,
//! [`expect`] says what the plan will give, and [`write`] is the only part with threads.

mod assemble;
mod check;
pub mod choose;
mod commit;
pub mod convert;
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
    check::{no_image, not_held, refuse_losses, refuse_same_place},
    commit::{name_roots, note_digests, room},
};
