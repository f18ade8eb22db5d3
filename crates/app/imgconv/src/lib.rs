//! Reads every container image format and writes any other: the library behind the command
//! `imgconv`.
//!
//! [`convert()`] is the main function. [`catalog`] lists all formats and transports. Nothing here
//! prints, reads the environment or exits.

#![deny(missing_docs)]

mod layout;
mod whole_file;

pub use imgconv_convert::tags::read as read_tags;
pub use imgconv_convert::{
    convert::convert,
    options::{Foreign, Link, Missing, Options, RefName, Sharing},
    outcome::{ImageOutcome, LayerOutcome, LossOutcome, Outcome, TagsOutcome, WarningOutcome},
};
pub use imgconv_examine::{
    Config, Difference, Finding, Inspection, LayerInspection, Listed, SignedBy, UnpackOptions,
    UnpackOutcome, Verdict, diff, inspect, list, raw, unpack, verify,
};
pub use imgconv_http::CertificateDirectory;
pub use imgconv_locate::{
    catalog,
    locator::{Locator, Reference, directory},
};
pub use imgconv_migrate::{
    Failure, Merged, MigrateOptions, Migrated, Migration, Notes, Rules, Shard, Status, Totals,
    merge_reports, migrate,
};
pub use imgconv_model::FormatFamily;
pub use imgconv_pipeline::{Options as LayerOptions, Squash};
pub use imgconv_publish::{
    publish::{PublishOptions, Signing, SiteOptions, publish},
    tags::{
        Exported, Resolution, TagLine, export as export_tags, fetch as fetch_tags, list_tags,
        resolve_tag,
    },
};
pub use imgconv_stream::Level;
pub use imgconv_tags::{ImageTags, Labels};
pub use layout::{
    Freed, FreedBlob, MovedFrom, Removed, Sweep, Tagged, gc as gc_layout,
    remove as remove_from_layout, tag as tag_in_layout,
};
pub use whole_file::WholeFile;
