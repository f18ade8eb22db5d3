//! Progress as plain lines, for logs.

use std::time::{Duration, Instant};

use super::{tally::Tally, text, ticker::Display};
use crate::screen::say;

/// The time before the first line: short work is not mentioned.
const FIRST: Duration = Duration::from_secs(3);
/// The time between two lines.
const BETWEEN: Duration = Duration::from_secs(10);

/// A line about the whole work, or about its first piece where nothing is known about the whole.
#[derive(Debug, Default)]
pub(super) struct Plain {
    next: Option<Instant>,
    last: String,
}

impl Display for Plain {
    const EVERY: Duration = Duration::from_millis(500);

    fn draw(&mut self, tally: &Tally) {
        let now = Instant::now();
        let next = *self.next.get_or_insert(now + FIRST);
        if now < next {
            return;
        }
        let Some(line) = text::plain(tally, now) else {
            return;
        };
        // A line that says the same again says nothing.
        if line != self.last {
            say(&line);
            self.last = line;
            self.next = Some(now + BETWEEN);
        }
    }

    fn end(&mut self) {}
}
