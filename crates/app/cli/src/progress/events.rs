//! Progress as JSON events, for programs: one object a line.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use imgconv::{Counted, Document, Event, Progress};
use serde::Serialize;

use super::tally::Tally;
use crate::screen::{concealed, say_json};

/// The time between two events about one piece of work that goes on.
const BETWEEN: Duration = Duration::from_millis(200);

/// A line of `--progress json`. A reader ignores events and members that it does not know.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ProgressLine {
    /// The seconds since the start of the command, with three decimals.
    pub(crate) time: f64,
    /// The event.
    #[serde(flatten)]
    pub(crate) event: ProgressEvent,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum ProgressEvent {
    /// The next part of the command begins.
    Phase {
        /// `reading`, `writing` or `committing`.
        phase: String,
    },
    /// The work on images begins.
    Images {
        /// The number of images.
        count: u64,
        /// The bytes of their distinct layers as the source stores them; null if unknown.
        bytes: Option<u64>,
    },
    /// A piece of work begins.
    Begin(ProgressWork),
    /// A piece of work goes on.
    Advance(ProgressWork),
    /// A piece of work is done, or has failed.
    End(ProgressWork),
    /// An image is done.
    Image {
        /// The name of the image, with its platform if that is known.
        name: String,
        /// The result: `done`, `kept`, `failed`, `planned` or `left-out`.
        status: String,
        /// The bytes of the layers that no earlier image had.
        bytes: u64,
        /// The images that are done, with those that failed.
        images_done: u64,
        /// The images that failed.
        images_failed: u64,
        /// The number of images.
        images: u64,
        /// The bytes of all images that are done.
        all_done: u64,
        /// The bytes of all images; null if unknown.
        all_bytes: Option<u64>,
    },
    /// A choice of the program, such as a mirror.
    Chosen {
        /// A sentence.
        what: String,
    },
    /// The run waits for another one, already for some time.
    Waiting {
        /// A sentence.
        what: String,
    },
}

/// A piece of work in an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ProgressWork {
    /// The number of the piece, unique in a run.
    pub(crate) id: u64,
    /// The image that the work is for; null if the work is for no single image.
    pub(crate) image: Option<String>,
    /// The digest of a blob, or a description.
    pub(crate) what: String,
    /// `source`: bytes of the source, which count for the whole. `result`: bytes that are made of them.
    pub(crate) counted: String,
    /// The bytes that are done.
    pub(crate) done: u64,
    /// The bytes of the piece; null if unknown.
    pub(crate) bytes: Option<u64>,
    /// The bytes of all images that are done.
    pub(crate) all_done: u64,
    /// The bytes of all images; null if unknown.
    pub(crate) all_bytes: Option<u64>,
}

/// Writes the events.
#[derive(Debug)]
pub(super) struct Events {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    /// The time of the last event of each piece of work.
    told: BTreeMap<u64, Instant>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            state: Mutex::default(),
        }
    }
}

impl Progress for Events {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A piece is described by its last state before it ends.
        let ended = match event {
            Event::End { id } => state.work(id),
            _ => None,
        };
        state.tally.add(&event);
        let event = match event {
            Event::Phase { phase } => ProgressEvent::Phase {
                phase: phase.to_string(),
            },
            Event::Images { count, bytes } => ProgressEvent::Images { count, bytes },
            Event::Image {
                name,
                status,
                bytes,
            } => {
                let images = state.tally.images;
                ProgressEvent::Image {
                    name: concealed(name),
                    status: status.to_owned(),
                    bytes,
                    images_done: images.map_or(0, |images| images.done),
                    images_failed: images.map_or(0, |images| images.failed),
                    images: images.map_or(0, |images| images.count),
                    all_done: state.tally.done(),
                    all_bytes: images.and_then(|images| images.bytes),
                }
            }
            Event::Chosen { what } => ProgressEvent::Chosen {
                what: concealed(what),
            },
            Event::Waiting { what } => ProgressEvent::Waiting {
                what: concealed(what),
            },
            Event::Begin { id, .. } => {
                state.told.insert(id, Instant::now());
                match state.work(id) {
                    Some(work) => ProgressEvent::Begin(work),
                    None => return,
                }
            }
            Event::Advance { id, .. } => {
                let now = Instant::now();
                let last = state.told.get(&id).copied();
                match state.work(id) {
                    Some(work) if last.is_none_or(|last| now - last >= BETWEEN) => {
                        state.told.insert(id, now);
                        ProgressEvent::Advance(work)
                    }
                    _ => return,
                }
            }
            Event::End { id } => {
                state.told.remove(&id);
                match ended {
                    Some(work) => ProgressEvent::End(work),
                    None => return,
                }
            }
        };
        let milliseconds = self.began.elapsed().as_millis() as f64;
        let time = milliseconds / 1000.0;
        // The lock is held, so that the lines are in the order of their times.
        say_json(&Document::new(ProgressLine { time, event }));
    }
}

impl State {
    fn work(&self, id: u64) -> Option<ProgressWork> {
        let piece = self.tally.work.get(&id)?;
        Some(ProgressWork {
            id,
            image: piece.image.as_deref().map(concealed),
            what: concealed(&piece.what),
            counted: match piece.counted {
                Counted::Source => "source",
                Counted::Result => "result",
            }
            .to_owned(),
            done: piece.done,
            bytes: piece.bytes,
            all_done: self.tally.done(),
            all_bytes: self.tally.images.and_then(|images| images.bytes),
        })
    }
}
