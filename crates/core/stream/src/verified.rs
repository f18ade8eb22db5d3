//! Reading bytes while comparing them with their claimed digest and size.
//!
//! A caller that stops before the end has verified nothing: the check is made when the end is
//! reported.

use std::{
    fmt,
    io::{self, Read},
};

use imgconv_model::{Digest, Error, Facts};

use crate::{Hasher, failure::Failure};

/// Verifies `facts`: reads at most size + 1 bytes, and at the end of the stream fails with a
/// [`Mismatch`](imgconv_model::Code::Mismatch) error (inside [`io::Error`]) that names the stream,
/// the expected and the found value.
///
/// A stream that is too long fails as soon as the byte after the claimed size is seen. After an
/// error every further read fails with the same error.
pub struct Verified<R> {
    inner: R,
    what: String,
    size: Option<u64>,
    digest: Option<(Digest, Hasher)>,
    count: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    Verified,
    Failed(Failure),
}

impl<R: Read> Verified<R> {
    /// Wraps a reader of the bytes that `facts` belong to; `what` names them in messages.
    pub fn new(inner: R, facts: &Facts, what: impl Into<String>) -> Self {
        let hash = |digest: Digest| (digest, Hasher::new(digest.algorithm()));
        Self {
            inner,
            what: what.into(),
            size: facts.size,
            digest: facts.digest.map(hash),
            count: 0,
            state: State::Reading,
        }
    }

    fn advance(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = match self.size {
            // One byte more than the rest: enough to detect that the stream is too long.
            Some(size) => usize::try_from(size - self.count)
                .unwrap_or(usize::MAX)
                .saturating_add(1)
                .min(buf.len()),
            None => buf.len(),
        };
        let n = self.inner.read(&mut buf[..most])?;
        if n == 0 {
            self.check_end()?;
            self.state = State::Verified;
            return Ok(0);
        }
        let count = self.count + n as u64;
        if let Some(size) = self.size.filter(|size| count > *size) {
            let found = format!("more than {size} bytes");
            return Err(self.size_mismatch(size, &found).into());
        }
        self.count = count;
        if let Some((_, hasher)) = &mut self.digest {
            hasher.update(&buf[..n]);
        }
        Ok(n)
    }

    fn check_end(&mut self) -> io::Result<()> {
        if let Some(size) = self.size.filter(|size| self.count != *size) {
            let found = format!("{} bytes", self.count);
            return Err(self.size_mismatch(size, &found).into());
        }
        if let Some((expected, hasher)) = self.digest.take() {
            let found = hasher.finish();
            if found != expected {
                let what = format!("digest of {}", self.what);
                return Err(Error::mismatch(what, expected, found).into());
            }
        }
        Ok(())
    }

    fn size_mismatch(&self, expected: u64, found: &str) -> Error {
        let what = format!("size of {}", self.what);
        Error::mismatch(what, format!("{expected} bytes"), found)
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.state {
            State::Failed(failure) => return Err(failure.again()),
            State::Verified => return Ok(0),
            State::Reading if buf.is_empty() => return Ok(0),
            State::Reading => {}
        }
        let result = self.advance(buf);
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.state = State::Failed(Failure::of(error));
        }
        result
    }
}

impl<R> fmt::Debug for Verified<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("what", &self.what)
            .field("size", &self.size)
            .field("digest", &self.digest)
            .field("count", &self.count)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
