//! The engine: every conversion reads its sources, chooses images, plans, writes and commits.

pub mod candidates;
pub mod carried;
pub mod convert;
pub mod cosign;
pub mod dependencies;
pub mod descriptors;
pub mod family;
pub mod foreign;
pub mod graph;
pub mod names;
pub mod nearest;
pub mod nested;
pub mod options;
pub mod outcome;
pub mod pick;
pub mod policy;
pub mod run;
pub mod source;
pub mod spec;
pub mod stack;
pub mod stream;
pub mod subject;
pub mod tags;
pub mod unknown;
pub mod users;
