//! A piece of work as progress tells it.

use std::{
    io::{self, Read},
    sync::{Arc, atomic::Ordering},
};

use crate::{Counted, Env, Event, Progress, Reader};

/// A piece of work that has begun. Its end is told when the value is dropped, also after an error.
#[derive(Debug)]
pub struct Work {
    progress: Arc<dyn Progress>,
    id: u64,
}

impl Work {
    /// Tells that a piece of work begins.
    pub fn begin(what: &str, counted: Counted, bytes: Option<u64>, env: &Env) -> Self {
        let id = env.next_id.fetch_add(1, Ordering::Relaxed);
        env.progress.event(Event::Begin {
            id,
            image: env.image.as_deref(),
            what,
            counted,
            bytes,
        });
        let progress = Arc::clone(&env.progress);
        Self { progress, id }
    }

    /// Returns the number of the piece, for events that other code sends.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Tells that more bytes are done.
    pub fn advance(&self, bytes: u64) {
        let id = self.id;
        self.progress.event(Event::Advance { id, bytes });
    }

    /// Returns a reader that counts what is read from `inner`. The work ends with the reader.
    pub fn reading(self, inner: Reader) -> Reader {
        Box::new(WorkReader { inner, work: self })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.progress.event(Event::End { id: self.id });
    }
}

/// A stream whose reading is a piece of work.
struct WorkReader {
    inner: Reader,
    work: Work,
}

impl Read for WorkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.work.advance(count as u64);
        Ok(count)
    }
}
