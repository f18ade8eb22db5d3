//! The steps of layers between two formats: a plan, made by a pure function, and the run that
//! keeps, recompresses or squashes layers in parallel.
//!
//! Only this crate makes a [`SealedLayer`](imgconv_model::SealedLayer). It depends on no format and
//! no place; it reads [`Layer`](imgconv_model::Layer)s and writes blobs to a
//! [`BundleSink`](imgconv_model::BundleSink).

#![deny(missing_docs)]

mod budget;
mod clamp;
mod done;
mod expected;
mod lanes;
mod levels;
mod look;
mod plan;
mod seal;
mod squash;
mod stores;
mod watch;

pub use budget::{Budget, Tar};
pub use clamp::clamp;
pub use done::{Done, Memory};
pub use expected::expected;
pub use levels::listed;
pub use look::labelled;
pub use plan::{Known, LayerStep, Options, Plan, Reason, Squash, plan};
pub use seal::{Sealer, write_document};
pub use squash::{Merged, apply, flatten, merge, refuse_windows, squash, squash_above};
pub use watch::watch;
