//! The forms in which an image can be asked for, and the results of making them, each made once.

use std::sync::{
    Mutex, OnceLock, PoisonError,
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
    /// The first digest: a later one is the same, or an error.
    first: OnceLock<Digest>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            attempts: AtomicU64::default(),
            made: Mutex::default(),
            first: OnceLock::default(),
        }
    }
}

impl<T: Clone> Slot<T> {
    /// Returns the result, or makes it; a failed attempt is repeated by the next caller that did not wait
    /// for it.
    pub(super) fn once(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        self.standing(|| Ok(true), make)
    }

    /// As [`once`](Self::once). `stands` says whether an earlier result still has all its parts.
    fn standing(
        &self,
        stands: impl FnOnce() -> Result<bool>,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let before = self.attempts.load(Ordering::Acquire);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(Ok(made)) if stands()? => return Ok(made.clone()),
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

    /// As [`once`](Self::once), for files: `stands` says whether the files of an earlier result are still
    /// there. If they are made again, they have the same `digest`, or the result is an error.
    pub(super) fn same(
        &self,
        stands: impl FnOnce() -> Result<bool>,
        make: impl FnOnce() -> Result<T>,
        digest: impl FnOnce(&T) -> Digest,
    ) -> Result<T> {
        self.standing(stands, || {
            let made = make()?;
            let digest = digest(&made);
            let first = *self.first.get_or_init(|| digest);
            match first == digest {
                true => Ok(made),
                false => {
                    let what = "the image that is made of a source";
                    let error = Error::mismatch(what, first, digest);
                    Err(error.hint("the source has changed: start the server again"))
                }
            }
        })
    }

    /// Returns the result if it is there.
    pub(super) fn ready(&self) -> Option<T> {
        let made = self.made.try_lock().ok()?;
        made.as_ref()?.as_ref().ok().cloned()
    }
}

#[cfg(test)]
mod tests {
    use imgconv_model::{Algorithm, Code};

    use super::*;

    #[test]
    fn a_result_is_made_again_if_it_does_not_stand_and_stays_the_same() {
        let slot = Slot::default();
        let digest = |byte| Digest::new(Algorithm::Sha256, &[byte; 32]);
        let unused = || -> Result<Digest> { panic!("nothing is to be made") };
        assert_eq!(
            slot.same(|| Ok(true), || Ok(digest(1)), |it| *it).ok(),
            Some(digest(1))
        );
        assert_eq!(
            slot.same(|| Ok(true), unused, |it| *it).ok(),
            Some(digest(1))
        );
        let full = || Err(Error::new(Code::Io, "no space"));
        assert!(slot.same(|| Ok(false), full, |it| *it).is_err());
        assert_eq!(slot.ready(), None);
        let error = slot
            .same(|| Ok(true), || Ok(digest(2)), |it| *it)
            .unwrap_err();
        assert_eq!(error.code(), Code::Mismatch);
        assert_eq!(
            slot.same(|| Ok(true), || Ok(digest(1)), |it| *it).ok(),
            Some(digest(1))
        );
        assert_eq!(slot.ready(), Some(digest(1)));
    }
}
