//! Assembling: the documents, descriptors, names and losses that follow from a plan and the layers as
//! they are stored. The same code runs over expected layers, for `--dry-run` and `--strict`, and over
//! written ones; only the [`Output`](output::Output) differs.

pub mod descriptors;
mod documents;
mod join;
pub(crate) mod names;
pub(crate) mod output;
mod preserve;
pub(crate) mod reversal;
pub(crate) mod stream;
mod subject;
mod written;

pub(crate) use self::{documents::documents, written::Known};
