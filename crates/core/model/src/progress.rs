//! What happens during long work, told to whoever wants to show it.

/// Something that happened. Libraries tell; only the command line draws.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A piece of work begins: a number that names it from now on, what it is, and its size in
    /// bytes where that is known.
    Begin {
        /// The number of the piece of work, unique in a run.
        id: u64,
        /// What it is, such as `layer 1/4 sha256:…`.
        what: &'a str,
        /// Its size in bytes, if known.
        bytes: Option<u64>,
    },
    /// So many more bytes of it are done.
    Advance {
        /// The number of the piece of work.
        id: u64,
        /// Bytes done since the last time.
        bytes: u64,
    },
    /// Many images are about to be done.
    Images {
        /// How many.
        count: u64,
        /// Bytes of their distinct layers.
        bytes: u64,
    },
    /// One of them is done.
    Image {
        /// Its name.
        name: &'a str,
        /// What became of it, such as `done` or `failed`.
        status: &'a str,
        /// Bytes of the layers that it alone has, or has first.
        bytes: u64,
    },
    /// It is done.
    End {
        /// The number of the piece of work.
        id: u64,
    },
}

/// Takes events. Called from several threads.
pub trait Progress: std::fmt::Debug + Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// Takes events and shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
