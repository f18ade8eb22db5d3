//! Events during long work, for a receiver that shows progress.

/// An event. Libraries only send events; the command line draws the progress.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A piece of work begins: a number that identifies the piece in later events, a description,
    /// and the size in bytes if known.
    Begin {
        /// The number of the piece of work, unique in a run.
        id: u64,
        /// A description, such as `layer 1/4 sha256:…`.
        what: &'a str,
        /// The size in bytes, if known.
        bytes: Option<u64>,
    },
    /// More bytes of a piece of work are done.
    Advance {
        /// The number of the piece of work.
        id: u64,
        /// The number of bytes since the last event.
        bytes: u64,
    },
    /// Work on many images begins.
    Images {
        /// The number of images.
        count: u64,
        /// The number of bytes of their distinct layers.
        bytes: u64,
    },
    /// An image is done.
    Image {
        /// The name of the image.
        name: &'a str,
        /// The result of the image, such as `done` or `failed`.
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
