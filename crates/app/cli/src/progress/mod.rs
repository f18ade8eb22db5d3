//! Progress on standard error: bars on a terminal, lines or JSON events elsewhere.
//!
//! `tally.rs` counts, `text.rs` makes lines of what was counted, and `screen.rs` of the program puts lines
//! on a terminal. A thread draws at regular times, so that counting costs little.

mod bars;
mod events;
mod plain;
mod tally;
mod text;
mod ticker;

use std::sync::Arc;

use clap::ValueEnum;
use imgconv::{Event, Progress, Silent};

#[cfg(test)]
pub(crate) use self::events::ProgressLine;
pub(crate) use self::text::human;
use self::{bars::Bars, events::Events, plain::Plain, ticker::Ticking};
use crate::screen::{clean, say};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    /// Bars on a terminal, plain lines elsewhere
    Auto,
    /// Bars
    Bar,
    /// A line every ten seconds for work that takes long
    Plain,
    /// JSON events, one per line
    Json,
    /// No progress
    None,
}

/// Makes the progress display of a style. `Auto` is resolved by the caller, who knows the terminal. A line tells that
/// the run waits for another one and, with `verbose`, each choice of the program.
pub(crate) fn make(style: Style, verbose: bool) -> Arc<dyn Progress> {
    let progress: Arc<dyn Progress> = match style {
        Style::None if verbose => Arc::new(Silent),
        Style::None => return Arc::new(Silent),
        Style::Json => return Arc::new(Events::default()),
        Style::Plain => Arc::new(Ticking::new(Plain::default())),
        Style::Auto | Style::Bar => Arc::new(Ticking::new(Bars)),
    };
    Arc::new(Telling { progress, verbose })
}

/// A display with a line for what the run waits for and, if it is verbose, for each choice of the program.
#[derive(Debug)]
struct Telling {
    progress: Arc<dyn Progress>,
    verbose: bool,
}

impl Progress for Telling {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Waiting { what } => say(&clean(what)),
            Event::Chosen { what } if self.verbose => say(&clean(what)),
            event => self.progress.event(event),
        }
    }
}
