//! The state of the work, counted from events.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use imgconv::{Counted, Event, Phase};

use crate::screen::clean;

/// The time that work has to take before its rate is shown: the rate of a moment means nothing.
const RATE_MINIMUM: Duration = Duration::from_secs(1);

/// The state of a command.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) phase: Option<Phase>,
    pub(super) images: Option<Images>,
    /// The pieces of work that have begun and not ended.
    pub(super) work: BTreeMap<u64, Piece>,
    /// Bytes of the source that were read for images that are not done, by image.
    unfinished: BTreeMap<String, u64>,
    /// Bytes of the images that are done, also of those that an earlier run had finished.
    finished: u64,
    /// Bytes of the source that this run has read.
    read: u64,
    /// The time at which the work on images began.
    began: Option<Instant>,
}

/// The images of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Images {
    pub(super) count: u64,
    /// The number of bytes of all images, if known.
    pub(super) bytes: Option<u64>,
    pub(super) done: u64,
    pub(super) failed: u64,
}

/// A piece of work.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) image: Option<String>,
    pub(super) what: String,
    pub(super) counted: Counted,
    pub(super) bytes: Option<u64>,
    pub(super) done: u64,
    pub(super) began: Instant,
}

/// The speed of work, and the time that is left at that speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    /// Bytes in a second; 0 if the rate is not known yet.
    pub(super) bytes: u64,
    /// The time that is left, if the end is known and not reached.
    pub(super) left: Option<Duration>,
}

impl Rate {
    /// Computes the rate of bytes that took some time, and the time for the bytes that are left.
    pub(super) fn of(bytes: u64, took: Duration, left: Option<u64>) -> Self {
        if took < RATE_MINIMUM || bytes == 0 {
            return Self::default();
        }
        let rate = bytes as f64 / took.as_secs_f64();
        let left = left.filter(|left| *left > 0).map(|left| left as f64 / rate);
        Self {
            bytes: rate as u64,
            left: left.and_then(|left| Duration::try_from_secs_f64(left).ok()),
        }
    }
}

impl Tally {
    /// Counts an event.
    pub(super) fn add(&mut self, event: &Event<'_>) {
        match *event {
            Event::Phase { phase } => self.phase = Some(phase),
            Event::Images { count, bytes } => {
                self.images = Some(Images {
                    count,
                    bytes,
                    done: 0,
                    failed: 0,
                });
                self.began = Some(Instant::now());
            }
            Event::Image {
                name,
                status,
                bytes,
            } => {
                self.unfinished.remove(name);
                self.finished += bytes;
                if let Some(images) = &mut self.images {
                    images.done += 1;
                    images.failed += u64::from(status == "failed");
                }
            }
            Event::Begin {
                id,
                image,
                what,
                counted,
                bytes,
            } => {
                let piece = Piece {
                    image: image.map(str::to_owned),
                    what: clean(what),
                    counted,
                    bytes,
                    done: 0,
                    began: Instant::now(),
                };
                self.work.insert(id, piece);
            }
            Event::Advance { id, bytes } => {
                let Some(piece) = self.work.get_mut(&id) else {
                    return;
                };
                piece.done += bytes;
                if piece.counted == Counted::Source {
                    self.read += bytes;
                    let image = piece.image.clone().unwrap_or_default();
                    *self.unfinished.entry(image).or_default() += bytes;
                }
            }
            Event::End { id } => {
                self.work.remove(&id);
            }
            Event::Chosen { .. } | Event::Waiting { .. } => {}
        }
    }

    /// Returns the number of bytes of all images that are done so far; never more than there are.
    pub(super) fn done(&self) -> u64 {
        let done = self.finished + self.unfinished.values().sum::<u64>();
        let all = self.images.and_then(|images| images.bytes);
        all.map_or(done, |all| done.min(all))
    }

    /// Returns the rate of this run: what an earlier run had done does not count.
    pub(super) fn rate(&self, now: Instant) -> Rate {
        let Some(began) = self.began else {
            return Rate::default();
        };
        let all = self.images.and_then(|images| images.bytes);
        let left = all.map(|all| all - self.done());
        Rate::of(self.read, now.saturating_duration_since(began), left)
    }
}

impl Piece {
    /// Returns the rate of the piece.
    pub(super) fn rate(&self, now: Instant) -> Rate {
        let left = self.bytes.map(|all| all.saturating_sub(self.done));
        Rate::of(self.done, now.saturating_duration_since(self.began), left)
    }
}
