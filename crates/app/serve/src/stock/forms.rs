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

/// The result of making one form of one image. Whoever makes it holds the lock.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Counts the attempts, so that those who waited for a failed one do not repeat it.
    attempts: AtomicU64,
    made: Mutex<Option<Result<Digest, Error>>>,
    /// The first result: a later one is the same, or an error.
    first: OnceLock<Digest>,
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
        let result = make().and_then(|digest| {
            let first = *self.first.get_or_init(|| digest);
            match first == digest {
                true => Ok(digest),
                false => {
                    let what = "the image that is made of a source";
                    let error = Error::mismatch(what, first, digest);
                    Err(error.hint("the source has changed: start the server again"))
                }
            }
        });
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
            slot.once(|| Ok(true), || Ok(digest(1))).ok(),
            Some(digest(1))
        );
        assert_eq!(slot.once(|| Ok(true), unused).ok(), Some(digest(1)));
        let full = || Err(Error::new(Code::Io, "no space"));
        assert!(slot.once(|| Ok(false), full).is_err());
        assert_eq!(slot.ready(), None);
        let error = slot.once(|| Ok(true), || Ok(digest(2))).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch);
        assert_eq!(
            slot.once(|| Ok(true), || Ok(digest(1))).ok(),
            Some(digest(1))
        );
        assert_eq!(slot.ready(), Some(digest(1)));
    }
}
