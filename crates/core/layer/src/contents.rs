//! Reading many bodies of a frozen spool: small bodies that stand near each other are read together.
//!
//! A tree is written in the order of its names, which is mostly that of the tar that the bodies came
//! from. So a few windows grow over the places that are read on, and a system call serves many
//! bodies.

use std::{io, sync::Arc};

use crate::FrozenSpool;

/// Bytes of the first read at a place, and the most that are read at once.
const FIRST: usize = 4 << 10;
const MOST: usize = 256 << 10;

/// Reads of this size and more need no window.
const DIRECT: usize = 64 << 10;

/// The number of windows. Layers lie over each other, so several places are read in turn.
const WINDOWS: usize = 8;

/// A reader of one body after the other.
#[derive(Debug)]
pub(crate) struct Contents {
    spool: Arc<FrozenSpool>,
    windows: Vec<Window>,
    /// The number of reads so far, for finding the window that was not used for the longest time.
    turn: u64,
    /// The position in the current body, and the bytes that are left of the body.
    at: u64,
    left: u64,
}

/// Bytes of the spool from a key on.
#[derive(Debug)]
struct Window {
    key: u64,
    bytes: Vec<u8>,
    used: u64,
}

impl Window {
    fn end(&self) -> u64 {
        self.key + self.bytes.len() as u64
    }

    /// Returns the bytes of the window from a key on.
    fn from(&self, key: u64) -> Option<&[u8]> {
        let skipped = usize::try_from(key.checked_sub(self.key)?).ok()?;
        self.bytes.get(skipped..).filter(|bytes| !bytes.is_empty())
    }
}

impl Contents {
    /// Makes a reader before the first body.
    pub(crate) fn new(spool: Arc<FrozenSpool>) -> Self {
        Self {
            spool,
            windows: Vec::new(),
            turn: 0,
            at: 0,
            left: 0,
        }
    }

    /// Starts the body of a key.
    pub(crate) fn start(&mut self, key: u64, size: u64) {
        (self.at, self.left) = (key, size);
    }

    /// Reads on in the current body; 0 is its end.
    ///
    /// # Errors
    /// The errors of [`FrozenSpool::read_exact_at`].
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        if wanted == 0 {
            return Ok(0);
        }
        let n = if wanted >= DIRECT {
            self.spool.read_exact_at(&mut buf[..wanted], self.at)?;
            wanted
        } else {
            let bytes = self.window(wanted)?;
            let n = bytes.len().min(wanted);
            buf[..n].copy_from_slice(&bytes[..n]);
            n
        };
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }

    /// Returns some bytes at the current position, of which `wanted` are needed.
    fn window(&mut self, wanted: usize) -> io::Result<&[u8]> {
        self.turn += 1;
        let (key, turn) = (self.at, self.turn);
        if let Some(i) = self
            .windows
            .iter()
            .position(|window| window.from(key).is_some())
        {
            let window = &mut self.windows[i];
            window.used = turn;
            return Ok(window.from(key).unwrap_or_default());
        }
        let i = self.victim(key);
        let window = &mut self.windows[i];
        // A place that was read to its end is read on in larger steps.
        let goes_on = key
            .checked_sub(window.end())
            .is_some_and(|gap| gap < MOST as u64);
        let size = match goes_on && !window.bytes.is_empty() {
            true => (2 * window.bytes.len()).min(MOST),
            false => FIRST,
        };
        let there = usize::try_from(self.spool.after(key)).unwrap_or(usize::MAX);
        window.used = turn;
        window.key = key;
        window
            .bytes
            .resize(size.max(wanted).min(there.max(wanted)), 0);
        if let Err(error) = self.spool.read_exact_at(&mut window.bytes, key) {
            window.bytes.clear();
            return Err(error);
        }
        Ok(&window.bytes)
    }

    /// Chooses the window that is filled anew: the one that ends shortly before the key, or a new
    /// one, or the one that was not used for the longest time.
    fn victim(&mut self, key: u64) -> usize {
        let ends_before = |window: &Window| {
            key.checked_sub(window.end())
                .is_some_and(|gap| gap < MOST as u64)
        };
        if let Some(i) = self.windows.iter().position(ends_before) {
            return i;
        }
        if self.windows.len() < WINDOWS {
            self.windows.push(Window {
                key,
                bytes: Vec::new(),
                used: 0,
            });
            return self.windows.len() - 1;
        }
        let oldest = (0..WINDOWS).min_by_key(|i| self.windows[*i].used);
        oldest.unwrap_or(0)
    }
}
