//! The forms in which an image can be asked for, and the results of making them, each made once.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use imgconv_model::{Digest, Error, FormatId, Result};

/// The form in which an image is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Want {
    /// The format; `None` for the one that a conversion to a registry chooses.
    pub(super) format: Option<FormatId>,
    /// True for one platform of an index.
    pub(super) one: bool,
}

impl Want {
    /// The image as a conversion to a registry makes it.
    pub(super) const USUAL: Self = Self {
        format: None,
        one: false,
    };
}

/// The result of making one thing, such as one form of one image. Whoever makes it holds the lock.
#[derive(Debug)]
pub(super) struct Slot<T = Digest> {
    /// Counts the attempts, so that those who waited for a failed one do not repeat it.
    attempts: AtomicU64,
    made: Mutex<Option<Result<T, Error>>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            attempts: AtomicU64::default(),
            made: Mutex::default(),
        }
    }
}

impl<T: Clone> Slot<T> {
    /// Returns the result, or makes it; a failed attempt is repeated by the next caller that did not wait
    /// for it.
    pub(super) fn once(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.attempts.load(Ordering::Acquire);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(Ok(made)) => return Ok(made.clone()),
            Some(Err(error)) if self.attempts.load(Ordering::Acquire) != before => {
                return Err(error.again());
            }
            _ => {}
        }
        let result = make();
        self.attempts.fetch_add(1, Ordering::AcqRel);
        let told = match &result {
            Ok(made) => Ok(made.clone()),
            Err(error) => Err(error.again()),
        };
        *made = Some(told);
        result
    }

    /// Returns the result if it is there.
    pub(super) fn ready(&self) -> Option<T> {
        let made = self.made.try_lock().ok()?;
        made.as_ref()?.as_ref().ok().cloned()
    }

    /// Forgets the result, so that the next caller makes it again.
    pub(super) fn forget(&self) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
