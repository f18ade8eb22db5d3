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

/// The result of making one form of one image. Whoever makes it holds the lock.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Counts the attempts, so that those who waited for a failed one do not repeat it.
    attempts: AtomicU64,
    made: Mutex<Option<Result<Digest, Error>>>,
}

impl Slot {
    /// Returns the result, or makes it; a failed attempt is repeated by the next caller that did not wait
    /// for it. `stands` says whether an earlier result still has all its parts.
    pub(super) fn once(
        &self,
        stands: impl FnOnce() -> Result<bool>,
        make: impl FnOnce() -> Result<Digest>,
    ) -> Result<Digest> {
        let before = self.attempts.load(Ordering::Acquire);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(Ok(digest)) if stands()? => return Ok(*digest),
            Some(Err(error)) if self.attempts.load(Ordering::Acquire) != before => {
                return Err(error.again());
            }
            _ => {}
        }
        let result = make();
        self.attempts.fetch_add(1, Ordering::AcqRel);
        let told = match &result {
            Ok(digest) => Ok(*digest),
            Err(error) => Err(error.again()),
        };
        *made = Some(told);
        result
    }

    /// Returns the result if it is there.
    pub(super) fn ready(&self) -> Option<Digest> {
        let made = self.made.try_lock().ok()?;
        made.as_ref()?.as_ref().ok().copied()
    }
}
