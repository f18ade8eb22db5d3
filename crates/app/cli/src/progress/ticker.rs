//! A display that a thread draws at regular times.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use imgconv::{Event, Progress};

use super::tally::Tally;

/// A way to show the state of the work.
pub(super) trait Display: Send + 'static {
    /// The time between two drawings.
    const EVERY: Duration;

    /// Shows the state.
    fn draw(&mut self, tally: &Tally);

    /// Ends the display.
    fn end(&mut self);
}

/// A display and the thread that draws it.
pub(super) struct Ticking {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    tally: Mutex<(Tally, bool)>,
    ended: Condvar,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, (Tally, bool)> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticking {
    /// Starts to draw. Without a thread, which the system may refuse, there is no display.
    pub(super) fn new<D: Display>(mut display: D) -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let draw = move || {
            let mut guard = shared.lock();
            loop {
                // A short run may have ended before this thread began, so the flag counts before the wait too.
                let waited = shared
                    .ended
                    .wait_timeout_while(guard, D::EVERY, |(_, ended)| !*ended);
                guard = waited.unwrap_or_else(PoisonError::into_inner).0;
                if guard.1 {
                    break;
                }
                display.draw(&guard.0);
            }
            display.end();
        };
        let thread = thread::Builder::new().name("progress".into()).spawn(draw);
        let thread = thread.ok();
        Self { state, thread }
    }
}

impl Progress for Ticking {
    fn event(&self, event: Event<'_>) {
        self.state.lock().0.add(&event);
    }
}

/// A run that ends early clears its display, so that the error message is not mixed with it.
impl Drop for Ticking {
    fn drop(&mut self) {
        self.state.lock().1 = true;
        self.state.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            // A display that panicked has nothing left to clear.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Ticking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticking")
    }
}
