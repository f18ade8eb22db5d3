//! Looks into images without converting them: lists, inspects, compares, verifies, unpacks.

mod diff;
mod fsck;
mod inspect;
mod lint;
mod list;
mod pick;
mod records;
mod unpack;
mod verdict;
mod verify;

pub use diff::{Difference, diff};
pub use inspect::{Config, Inspection, LayerInspection, ReversalInspection, inspect, raw};
pub use list::{Listed, list};
pub use unpack::{LeftOut, Options as UnpackOptions, Outcome as UnpackOutcome, unpack};
pub use verdict::{Finding, SignedBy, Verdict};
pub use verify::verify;
