//! Squashes all layers of an image to one layer, and shows progress:
//! `cargo run -p imgconv --example squash -- in out`

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use imgconv::{
    Code, Env, Error, Event, LayerOptions, Locator, Options, Outcome, Platform, Progress, Result,
    Squash, convert,
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(layout)) = (arguments.next(), arguments.next()) else {
        return Err(Error::new(Code::Usage, "expected `squash SOURCE LAYOUT`"));
    };
    squash(&source, &layout, Arc::new(Counter::default())).map(drop)
}

/// Counts the bytes that were worked on, and says so at the end of each piece of work.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    /// The bytes of all pieces of work so far.
    pub(crate) bytes: AtomicU64,
}

impl Progress for Counter {
    // Several threads call this at once, so the count is atomic.
    #[expect(clippy::print_stderr, reason = "a program shows its progress")]
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Begin { what, .. } => eprintln!("{what}"),
            Event::Advance { bytes, .. } => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::End { .. } => eprintln!("{} bytes", self.bytes.load(Ordering::Relaxed)),
            Event::Phase { .. }
            | Event::Images { .. }
            | Event::Image { .. }
            | Event::Chosen { .. }
            | Event::Waiting { .. } => {}
        }
    }
}

/// Writes the images of a place to a layout with one layer each. `progress` gets every event.
pub(crate) fn squash(source: &str, layout: &str, progress: Arc<dyn Progress>) -> Result<Outcome> {
    let env = Env {
        progress,
        ..Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
    };
    let options = Options {
        layers: LayerOptions {
            squash: Some(Squash::All),
            ..LayerOptions::default()
        },
        ..Options::default()
    };
    let destination = Locator::destination(&format!("oci:{layout}"))?;
    convert(&[Locator::source(source)?], &destination, &options, &env)
}
