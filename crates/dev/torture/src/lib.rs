//! Random images through random chains of conversions, compared with a slow and simple model.
//!
//! [`subject`] makes a place with random images, whose layers come from the testkit's generator.
//! [`chain`] lets the program go from place to place: conversions, merging, compression, unpacking.
//! After each step, [`place`] reads what is there by the bytes, and compares it with what the model
//! expects: the tree ([`tree`], whose first lines state the rules and the clauses that they follow),
//! the config ([`facts`]), the layers, the artifacts, and the losses, of which each must be reported
//! and none may be reported falsely. [`shrink`] makes a failed chain small.
//!
//! The model shares no code with the product: [`tar`] is a reader of its own, whiteouts are applied
//! by [`tree`], documents are read by `serde_json`. The testkit writes the tars; what the generator
//! meant is compared with what the model reads, so that neither is believed alone.

pub mod belief;
pub mod case;
pub mod chain;
mod compare;
pub mod disk;
pub mod facts;
pub mod outcome;
pub mod place;
pub mod recipe;
pub mod run;
pub mod shrink;
mod step;
pub mod subject;
pub mod tar;
pub mod tree;
mod walk;

pub use imgconv_testkit::{Failure, Result};
