//! Bars on a terminal: a line for the whole work, and a line for each piece of work.

use std::time::{Duration, Instant};

use super::{tally::Tally, text, ticker::Display};
use crate::screen;

/// The display on a terminal.
pub(super) struct Bars;

impl Display for Bars {
    const EVERY: Duration = Duration::from_millis(100);

    fn draw(&mut self, tally: &Tally) {
        let lines = text::lines(tally, screen::size(), Instant::now());
        screen::draw(&lines);
    }

    fn end(&mut self) {
        screen::erase();
    }
}
