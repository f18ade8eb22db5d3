//! Waits that end when the run is cancelled.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use imgconv_model::{Code, Error, Result};

/// How often a wait looks whether the run was cancelled.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Fails if the run was cancelled.
pub(crate) fn check_cancelled(cancel: &AtomicBool) -> Result<()> {
    match cancel.load(Ordering::Relaxed) {
        true => Err(Error::new(Code::Cancelled, "interrupted")),
        false => Ok(()),
    }
}

/// Waits, but no longer than the run.
pub(crate) fn pause(wait: Duration, cancel: &AtomicBool) -> Result<()> {
    let until = Instant::now() + wait;
    loop {
        check_cancelled(cancel)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(TICK));
    }
}
