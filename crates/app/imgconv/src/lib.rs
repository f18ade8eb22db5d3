//! Reads every container image format and writes any other: the library behind the command
//! `imgconv`.
//!
//! [`convert()`] is the main job. [`catalog`] lists all that can be plugged in. Nothing here prints,
//! reads the environment or exits.

#![deny(missing_docs)]

mod candidates;
mod carried;
pub mod catalog;
mod convert;
mod cosign;
mod dependencies;
mod descriptors;
mod diff;
mod family;
mod fetched;
mod foreign;
mod fsck;
mod graph;
mod inspect;
mod layout;
mod lint;
mod list;
mod locator;
mod migrate;
mod names;
mod nearest;
mod nested;
mod options;
mod outcome;
mod pick;
mod policy;
mod publish;
mod run;
mod select;
mod site;
mod source;
mod spec;
mod stack;
mod stream;
mod subject;
mod tags;
mod tree;
mod unknown;
mod unpack;
mod users;
mod verify;
mod whole_file;

pub use convert::convert;
pub use diff::{Difference, diff};
pub use imgconv_http::CertificateDirectory;
pub use imgconv_model::FormatFamily;
pub use imgconv_pipeline::{Options as LayerOptions, Squash};
pub use imgconv_stream::Level;
pub use imgconv_tags::{ImageTags, Labels};
pub use inspect::{Config, Inspection, LayerInspection, inspect, raw};
pub use layout::{
    Freed, FreedBlob, MovedFrom, Removed, Sweep, Tagged, gc as gc_layout,
    remove as remove_from_layout, tag as tag_in_layout,
};
pub use list::{Listed, list};
pub use locator::{Locator, Reference, directory};
pub use migrate::{
    Failure, Merged, MigrateOptions, Migrated, Migration, Notes, Rules, Shard, Status, Totals,
    merge_reports, migrate,
};
pub use options::{Foreign, Link, Missing, Options, RefName, Sharing};
pub use outcome::{ImageOutcome, LayerOutcome, LossOutcome, Outcome, TagsOutcome, WarningOutcome};
pub use publish::{PublishOptions, Signing, SiteOptions, publish};
pub use tags::{
    Exported, Resolution, TagLine, export as export_tags, fetch as fetch_tags, list_tags,
    read as read_tags, resolve_tag,
};
pub use unpack::{Options as UnpackOptions, Outcome as UnpackOutcome, unpack};
pub use verify::{Finding, SignedBy, Verdict, verify};
pub use whole_file::WholeFile;
