//! The upload of a blob to a registry (distribution-spec, "Pushing a blob in chunks"): the digest
//! is sent at the end, so that the bytes need not be stored first.

use std::{
    io::{self, Write},
    sync::Arc,
};

use imgconv_http::{Method, Request, Response, Url};
use imgconv_model::{BlobWriter, Code, Digest, Env, Error, Result, quote};

use crate::{
    held::Held,
    session::{Session, failure},
};

/// The bytes of one chunk. A blob that fits in one chunk is sent in one request.
const CHUNK: usize = 8 << 20;

/// A blob that is being uploaded.
pub(crate) struct Upload {
    session: Arc<Session>,
    held: Arc<Held>,
    env: Env,
    /// The bytes that the registry has not confirmed, at most a chunk.
    chunk: Vec<u8>,
    /// The URL for the next bytes, after the first request.
    place: Option<Url>,
    /// The number of confirmed bytes.
    sent: u64,
}

impl Upload {
    pub(crate) fn new(session: &Arc<Session>, held: &Arc<Held>, env: &Env) -> Self {
        Self {
            session: Arc::clone(session),
            held: Arc::clone(held),
            env: env.clone(),
            chunk: Vec::new(),
            place: None,
            sent: 0,
        }
    }

    /// Sends the chunk. After an interruption the registry reports the number of received bytes,
    /// and the rest is sent.
    fn flush_chunk(&mut self) -> Result<()> {
        let mut place = match &self.place {
            Some(place) => place.clone(),
            None => start(&self.session)?,
        };
        let mut failures = 0;
        while !self.chunk.is_empty() {
            // An upload that is given up is cancelled at this URL.
            self.place = Some(place.clone());
            self.env.check_cancelled()?;
            let (next, there) = match self.send_chunk(&place) {
                Ok(sent) => sent,
                Err(error) if error.code() == Code::Net && failures < self.env.limits.retries => {
                    failures += 1;
                    status(&self.session, &place).map_err(|_| error)?
                }
                Err(error) => return Err(error),
            };
            self.confirm(there)?;
            place = next;
        }
        self.place = Some(place);
        Ok(())
    }

    fn send_chunk(&self, place: &Url) -> Result<(Url, u64)> {
        let last = self.sent + self.chunk.len() as u64 - 1;
        let request = Request::new(Method::Patch, place)
            .header("content-type", "application/octet-stream")
            .header("content-range", format!("{}-{last}", self.sent))
            .body(&self.chunk)
            .once();
        let response = self.session.send(&request, place)?;
        match response.status() {
            202 | 204 => {
                let next = location(&self.session, &response)?;
                // A registry that reports no number has received all bytes.
                let there = received(&response)?.unwrap_or(last + 1);
                Ok((next, there))
            }
            // The registry expects another offset, and will be asked for it.
            416 => Err(Error::new(
                Code::Net,
                "the registry does not want this chunk",
            )),
            _ => Err(failure(response)),
        }
    }

    /// Drops the bytes that the registry has.
    fn confirm(&mut self, there: u64) -> Result<()> {
        let last = self.sent + self.chunk.len() as u64;
        if !(self.sent..=last).contains(&there) {
            let message = format!(
                "the registry has {there} bytes of an upload, which continues at {}",
                self.sent
            );
            return Err(Error::new(Code::Net, message));
        }
        let new = usize::try_from(there - self.sent).unwrap_or(usize::MAX);
        self.chunk.drain(..new);
        self.sent = there;
        Ok(())
    }

    /// Ends the upload with the rest of the bytes.
    fn complete(&mut self, digest: &Digest, size: u64) -> Result<()> {
        if self.place.is_some() {
            self.flush_chunk()?;
        }
        let place = match self.place.take() {
            Some(place) => place,
            None => start(&self.session)?,
        };
        put(&self.session, &place, &self.chunk, digest, size)
    }
}

/// Uploads a whole blob in one request.
pub(crate) fn monolithic(session: &Session, bytes: &[u8], digest: &Digest) -> Result<()> {
    let place = start(session)?;
    put(session, &place, bytes, digest, bytes.len() as u64)
}

/// Starts an upload; returns the URL for its bytes.
fn start(session: &Session) -> Result<Url> {
    let url = session.url("blobs/uploads/");
    let response = session.send(&Request::new(Method::Post, &url), &url)?;
    match response.status() {
        202 => location(session, &response),
        _ => Err(failure(response)),
    }
}

/// Asks for the number of received bytes of an upload.
fn status(session: &Session, place: &Url) -> Result<(Url, u64)> {
    let response = session.send(&Request::get(place), place)?;
    match response.status() {
        202 | 204 => {
            let next = location(session, &response)?;
            Ok((next, received(&response)?.unwrap_or(0)))
        }
        _ => Err(failure(response)),
    }
}

/// Sends the last bytes and the digest.
fn put(session: &Session, place: &Url, bytes: &[u8], digest: &Digest, size: u64) -> Result<()> {
    let url = place.with_query([("digest", &*digest.to_string())]);
    let request = Request::new(Method::Put, &url)
        .header("content-type", "application/octet-stream")
        .body(bytes)
        .once();
    let sent = session.send(&request, &url);
    let response = match sent {
        Ok(response) => response,
        // The response may have been lost although the blob was stored.
        Err(error) if error.code() == Code::Net && exists(session, digest, size)? => return Ok(()),
        Err(error) => return Err(error),
    };
    match response.status() {
        201 | 204 => check_digest(&response, digest),
        _ => Err(failure(response)),
    }
}

/// Says whether the registry has a blob.
pub(crate) fn exists(session: &Session, digest: &Digest, size: u64) -> Result<bool> {
    let url = session.url(&format!("blobs/{digest}"));
    let response = session.send(&Request::new(Method::Head, &url), &url)?;
    match response.status() {
        // A response without a size is accepted; every known registry sends the size.
        200 => Ok(response.length().is_none_or(|length| length == size)),
        404 => Ok(false),
        // A user who may write but not read gets this response.
        401 | 403 => Ok(false),
        _ => Err(failure(response)),
    }
}

/// Requests a blob from another repository of the same registry; returns whether this repository
/// has it now.
pub(crate) fn mount(session: &Session, digest: &Digest, from: &str) -> Result<bool> {
    let url = session.url("blobs/uploads/");
    let url = url.with_query([("mount", &*digest.to_string()), ("from", from)]);
    let response = session.send(&Request::new(Method::Post, &url), &url)?;
    match response.status() {
        201 => check_digest(&response, digest).map(|()| true),
        202 => {
            // The registry began an upload instead, which is not needed; a failure to cancel it
            // does no harm.
            if let Ok(place) = location(session, &response) {
                let _ = session.send(&Request::new(Method::Delete, &place).once(), &place);
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// Compares the digest in the registry's response.
pub(crate) fn check_digest(response: &Response, expected: &Digest) -> Result<()> {
    let said = response.header("docker-content-digest");
    let Some(Ok(said)) = said.map(Digest::parse) else {
        return Ok(());
    };
    if said.algorithm() == expected.algorithm() && said != *expected {
        return Err(Error::mismatch(
            "the digest that the registry stored",
            expected,
            said,
        ));
    }
    Ok(())
}

fn location(session: &Session, response: &Response) -> Result<Url> {
    let Some(location) = response.header("location") else {
        let message = "the registry does not say where to upload to";
        return Err(Error::new(Code::Net, message));
    };
    session.follow(response.url(), location)
}

/// Reads the number of received bytes: `Range: 0-LAST`, with or without `bytes=`.
fn received(response: &Response) -> Result<Option<u64>> {
    let Some(range) = response.header("range") else {
        return Ok(None);
    };
    let bare = range.trim().trim_start_matches("bytes=");
    let last = bare
        .strip_prefix("0-")
        .and_then(|last| last.parse::<u64>().ok());
    match last {
        // For no bytes registries answer `0-0` too, which can't be distinguished from one byte;
        // only the last chunk can have one byte.
        Some(0) => Ok(Some(0)),
        Some(last) => Ok(Some(last + 1)),
        None => {
            let message = format!("the registry has the range {} of an upload", quote(range));
            Err(Error::new(Code::Net, message))
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() >= CHUNK {
            self.flush_chunk()?;
        }
        let room = CHUNK - self.chunk.len();
        let taken = bytes.len().min(room);
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// The bytes of a chunk wait until the chunk is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobWriter for Upload {
    fn finish(mut self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        let count = self.sent + self.chunk.len() as u64;
        if count != size {
            let what = format!("size of blob {digest} as it was written");
            return Err(Error::mismatch(what, size, count));
        }
        if self.held.knows(digest, size) {
            // Another image of this run has the same config.
            return Ok(());
        }
        if self.place.is_none() && self.held.wants(&self.chunk, &self.env.limits) {
            self.held
                .put(*digest, std::mem::take(&mut self.chunk).into());
            return Ok(());
        }
        let place = format!("upload of {digest}");
        self.complete(digest, size)
            .map_err(|error| error.at(place))?;
        self.held.note(*digest, size);
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The registry would delete an abandoned upload some day; cancelling it now is better.
        if let Some(place) = self.place.take() {
            let _ = self
                .session
                .send(&Request::new(Method::Delete, &place).once(), &place);
        }
    }
}
