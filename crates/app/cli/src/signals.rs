//! Signals that end the work.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// The signal that ended the work, or 0.
static RECEIVED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Makes the first signal set the returned flag, so that the work ends cleanly, and the second one
/// end the process at once.
pub(crate) fn cancel_on_signals() -> Arc<AtomicBool> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal).unwrap_or(0);
        // If a handler can't be registered, the signal keeps its default action: it ends the process.
        let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&cancel));
        let _ = flag::register_usize(signal, Arc::clone(&RECEIVED), number);
        let _ = flag::register(signal, Arc::clone(&cancel));
    }
    cancel
}

/// The exit code of a process that a signal ended, as shells count: 130 for Ctrl-C, 143 for `kill`.
/// `None` if no signal was received.
pub(crate) fn received() -> Option<u8> {
    let signal = RECEIVED.load(Ordering::Relaxed);
    let signal = u8::try_from(signal).ok().filter(|signal| *signal > 0);
    signal.and_then(|signal| signal.checked_add(128))
}
