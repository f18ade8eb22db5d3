//! The events of `--progress json`: a JSON object on a line of standard error for each.

use serde::Serialize;

/// An event of `--progress json`, on a line of its own.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum EventLine<'a> {
    /// A piece of work begins, such as a layer.
    Begin {
        /// The number of the piece of work, for its other events.
        id: u64,
        /// The work in words.
        what: &'a str,
        /// The bytes of the work; null if they are not known.
        bytes: Option<u64>,
    },
    /// A piece of work goes on.
    Advance {
        /// The number of the piece of work.
        id: u64,
        /// The bytes that are done.
        done: u64,
    },
    /// A piece of work has ended.
    End {
        /// The number of the piece of work.
        id: u64,
        /// The bytes that were done; null for work that did not begin.
        done: Option<u64>,
    },
    /// A command that works on many images knows their number.
    Images {
        /// The number of images.
        count: u64,
        /// The bytes of their distinct layers in the source.
        bytes: u64,
    },
    /// An image of many is finished.
    Image {
        /// The name of the image.
        name: &'a str,
        /// The status of the image, as in the report of a migration.
        status: &'a str,
        /// The bytes of its layers that no earlier image has.
        bytes: u64,
    },
    /// The program chose something of which a user may want to know, such as a mirror.
    Chosen {
        /// The choice in words.
        what: String,
    },
}
