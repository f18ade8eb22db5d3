//! A listener that tells a test when a run waits.

use std::sync::{Arc, mpsc};

use imgconv_model::{Event, Progress};

#[derive(Debug)]
struct Waits(mpsc::Sender<String>);

impl Progress for Waits {
    fn event(&self, event: Event<'_>) {
        if let Event::Waiting { what } = event {
            // A test that expects no more texts may have dropped the receiver.
            let _ = self.0.send(what.to_owned());
        }
    }
}

/// Makes a listener for the environment of a run, and the receiver of the texts of what the run waits for.
pub fn waits() -> (Arc<dyn Progress>, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel();
    (Arc::new(Waits(sender)), receiver)
}
