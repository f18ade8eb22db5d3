//! Events during long work, for a receiver that shows progress.

use std::fmt;

/// A part of a command, in the order in which commands have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Documents are read, and everything is planned.
    Reading,
    /// Layers and documents are read, checked, and written to a private place.
    Writing,
    /// What was written becomes visible.
    Committing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reading => "reading",
            Self::Writing => "writing",
            Self::Committing => "committing",
        })
    }
}

/// The bytes that a piece of work counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Bytes of the source as the source stores them: part of [`Event::Images`].
    Source,
    /// Bytes of a result that is made of bytes that were counted before.
    Result,
}

/// An event. Libraries only send events; the command line draws the progress.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The next part of the command begins.
    Phase {
        /// The part.
        phase: Phase,
    },
    /// A piece of work begins.
    Begin {
        /// The number that identifies the piece in later events, unique in a run.
        id: u64,
        /// The image that the work is for, if the work is for one image.
        image: Option<&'a str>,
        /// The digest of a blob, or a description.
        what: &'a str,
        /// The bytes that are counted.
        counted: Counted,
        /// The number of bytes, if known.
        bytes: Option<u64>,
    },
    /// More bytes of a piece of work are done.
    Advance {
        /// The number of the piece of work.
        id: u64,
        /// The number of bytes since the last event.
        bytes: u64,
    },
    /// Work on images begins.
    Images {
        /// The number of images.
        count: u64,
        /// The number of bytes of their distinct layers as the source stores them, if known.
        bytes: Option<u64>,
    },
    /// An image is done.
    Image {
        /// The name of the image, as [`Event::Begin`] has it.
        name: &'a str,
        /// The result of the image, such as `done`, `kept` (by an earlier run) or `failed`.
        status: &'a str,
        /// The bytes of the layers that no earlier image of the run had.
        bytes: u64,
    },
    /// A choice of the program that is neither a warning nor a result, such as the mirror from which an
    /// image is read.
    Chosen {
        /// A sentence.
        what: &'a str,
    },
    /// The run waits for another one, already for some time.
    Waiting {
        /// A sentence.
        what: &'a str,
    },
    /// A piece of work is done.
    End {
        /// The number of the piece of work.
        id: u64,
    },
}

/// A receiver of events. Several threads may call it.
pub trait Progress: std::fmt::Debug + Send + Sync {
    /// Receives one event.
    fn event(&self, event: Event<'_>);
}

/// A receiver that ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
