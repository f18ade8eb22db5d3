//! Reads every container image format and writes any other: the library behind the command
//! `imgconv`.
//!
//! [`convert()`] is the main job. [`catalog`] lists all that can be plugged in. Nothing here prints,
//! reads the environment or exits.

#![deny(missing_docs)]

mod carried;
pub mod catalog;
mod convert;
mod dependencies;
mod descriptors;
mod diff;
mod graph;
mod inspect;
mod list;
mod locator;
mod options;
mod outcome;
mod pick;
mod policy;
mod run;
mod select;
mod source;
mod stack;
mod stream;
mod tree;
mod unpack;
mod verify;

pub use convert::convert;
pub use diff::{Difference, diff};
pub use imgconv_pipeline::{Options as LayerOptions, Squash};
pub use imgconv_stream::Level;
pub use inspect::{Config, Inspection, LayerInspection, inspect, raw};
pub use list::{Listed, list};
pub use locator::{Locator, Reference};
pub use options::{Foreign, Missing, Options, RefName};
pub use outcome::{ImageOutcome, LayerOutcome, LossOutcome, Outcome, WarningOutcome};
pub use unpack::{Options as UnpackOptions, Outcome as UnpackOutcome, unpack};
pub use verify::{Finding, Verdict, verify};
