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
    spool::Spool,
};

/// The bytes of one chunk. A blob that fits in one chunk is sent in one request.
const CHUNK: usize = 8 << 20;

/// The number of answers in a row that confirm no byte of a chunk, after which another way is tried.
const STUCK: u64 = 2;

/// A blob that is being uploaded.
///
/// The blob is sent in chunks while it is made, which needs no room and goes on after an interruption. Not
/// every registry takes chunks: some refuse the first, which is too large for them, or the second, and some
/// report a number of received bytes that does not change. So the first chunk is kept until the registry
/// has taken bytes after it. If the registry refuses, the blob is stored in a temporary file, and the
/// whole of it is sent in one request when it is complete.
pub(crate) struct Upload {
    session: Arc<Session>,
    held: Arc<Held>,
    env: Env,
    /// The bytes that are neither confirmed by the registry nor in the temporary file, at most a chunk.
    chunk: Vec<u8>,
    /// The URL for the next bytes, after the first request.
    place: Option<Url>,
    /// The fewest bytes of a chunk that is not the last, by the registry.
    least: u64,
    /// The number of bytes that are confirmed, or in the temporary file.
    sent: u64,
    /// The confirmed bytes, as long as another way may need them.
    first: Vec<u8>,
    /// All bytes, for a registry that takes no chunks.
    spool: Option<Spool>,
}

/// An answer about a chunk.
enum Answer {
    /// The registry has this number of bytes, and takes the next bytes at the URL.
    Taken(Url, u64),
    /// The registry takes no such chunk, or reports what can't be.
    Refused(Error),
}

impl Upload {
    pub(crate) fn new(session: &Arc<Session>, held: &Arc<Held>, env: &Env) -> Self {
        Self {
            session: Arc::clone(session),
            held: Arc::clone(held),
            env: env.clone(),
            chunk: Vec::new(),
            place: None,
            least: 0,
            sent: 0,
            first: Vec::new(),
            spool: None,
        }
    }

    /// Sends the chunk, or stores it for the request with the whole blob.
    fn flush_chunk(&mut self, is_last: bool) -> Result<()> {
        let refused = self.held.takes_chunks() == Some(false);
        let whole = self.spool.is_some() || refused && self.has_all();
        if !whole && self.send_chunks(is_last)? {
            return Ok(());
        }
        let mut spool = match self.spool.take() {
            Some(spool) => spool,
            None => {
                self.cancel();
                let mut spool = Spool::new(&self.env)?;
                spool.append(&std::mem::take(&mut self.first))?;
                spool
            }
        };
        spool.append(&self.chunk)?;
        self.sent = spool.size();
        self.chunk.clear();
        self.spool = Some(spool);
        Ok(())
    }

    /// Sends the chunk; false if the registry takes no chunks and all bytes are still here. After an
    /// interruption the registry reports the number of received bytes, and the rest is sent.
    fn send_chunks(&mut self, is_last: bool) -> Result<bool> {
        let mut place = match &self.place {
            Some(place) => place.clone(),
            None => {
                let place;
                (place, self.least) = start(&self.session)?;
                place
            }
        };
        // An upload that is given up is cancelled at this URL.
        self.place = Some(place.clone());
        if self.least > CHUNK as u64 {
            // Larger chunks would need more memory.
            self.held.note_chunks(false);
            return Ok(false);
        }
        let (mut failures, mut stuck) = (0, 0);
        while !self.chunk.is_empty() && (is_last || self.chunk.len() as u64 >= self.least) {
            self.env.check_cancelled()?;
            let (next, there) = match self.send_chunk(&place) {
                Ok(Answer::Taken(next, there)) => {
                    let is_part = there < self.sent + self.chunk.len() as u64;
                    failures += u64::from(is_part);
                    if failures > self.env.limits.retries {
                        let message = format!(
                            "the registry takes only parts of a chunk: {} bytes of the last one",
                            there - self.sent
                        );
                        return Err(Error::new(Code::Net, message));
                    }
                    (next, there)
                }
                Ok(Answer::Refused(_)) if self.has_all() => {
                    self.held.note_chunks(false);
                    return Ok(false);
                }
                Ok(Answer::Refused(error)) => return Err(error),
                Err(error) if error.code() == Code::Net && failures < self.env.limits.retries => {
                    failures += 1;
                    match status(&self.session, &place) {
                        Ok(Answer::Taken(next, there)) if self.fits(there) => {
                            stuck = if there == self.sent { stuck + 1 } else { 0 };
                            if stuck >= STUCK && self.has_all() {
                                // A server may close the connection instead of answering that the chunk
                                // is too large.
                                return Ok(false);
                            }
                            (next, there)
                        }
                        // The registry lost the upload, or does not say what it has.
                        Ok(_) if self.has_all() => return Ok(false),
                        _ => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            };
            self.confirm(there);
            self.place = Some(next.clone());
            place = next;
        }
        Ok(true)
    }

    fn send_chunk(&self, place: &Url) -> Result<Answer> {
        let end = self.sent + self.chunk.len() as u64;
        let request = Request::new(Method::Patch, place)
            .header("content-type", "application/octet-stream")
            .header("content-range", format!("{}-{}", self.sent, end - 1))
            .body(&self.chunk)
            .once();
        let response = self.session.send(&request, place)?;
        match response.status() {
            // Some registries answer 201 instead of 202.
            201 | 202 | 204 => {
                let next = next_place(&self.session, &response, place)?;
                // A registry that reports no number has received all bytes.
                let there = match received(&response) {
                    Ok(there) => there.unwrap_or(end),
                    Err(error) => return Ok(Answer::Refused(error)),
                };
                if there > self.sent && self.fits(there) {
                    return Ok(Answer::Taken(next, there));
                }
                let message = format!(
                    "the registry has {there} bytes of an upload after the bytes {} to {}",
                    self.sent,
                    end - 1
                );
                Ok(Answer::Refused(Error::new(Code::Net, message)))
            }
            // The registry expects another offset, and is asked for it; or the chunk is too large.
            416 => {
                let error = failure(response);
                match status(&self.session, place)? {
                    Answer::Taken(next, there) if there > self.sent && self.fits(there) => {
                        Ok(Answer::Taken(next, there))
                    }
                    _ => Ok(Answer::Refused(error)),
                }
            }
            400 | 405 | 413 | 501 => Ok(Answer::Refused(failure(response))),
            _ => Err(failure(response)),
        }
    }

    /// Says whether all bytes up to now are still here, so that another way is open.
    fn has_all(&self) -> bool {
        self.first.len() as u64 == self.sent
    }

    /// Says whether the registry may have this number of bytes.
    fn fits(&self, there: u64) -> bool {
        (self.sent..=self.sent + self.chunk.len() as u64).contains(&there)
    }

    /// Drops the bytes that the registry has, unless another way may need them. Bytes that the registry took
    /// after the first ones show that it takes chunks.
    fn confirm(&mut self, there: u64) {
        let new = usize::try_from(there - self.sent).unwrap_or(usize::MAX);
        let new = self.chunk.drain(..new);
        let sent = std::mem::replace(&mut self.sent, there);
        if sent == 0 && self.held.takes_chunks() != Some(true) {
            self.first = new.collect();
        } else if there > sent {
            drop(new);
            self.first = Vec::new();
            if sent > 0 {
                self.held.note_chunks(true);
            }
        }
    }

    /// Ends the upload with the rest of the bytes.
    fn complete(&mut self, digest: &Digest, size: u64) -> Result<()> {
        if self.place.is_some() || self.spool.is_some() {
            self.flush_chunk(true)?;
        }
        if let Some(spool) = self.spool.take() {
            return self.send_whole(&spool, digest, size);
        }
        let place = match self.place.take() {
            Some(place) => place,
            None => start(&self.session)?.0,
        };
        put(&self.session, &place, &self.chunk, digest, size)
    }

    /// Sends a whole blob in one request, after an interruption again and to a new URL.
    fn send_whole(&mut self, spool: &Spool, digest: &Digest, size: u64) -> Result<()> {
        loop {
            self.env.check_cancelled()?;
            let (place, _) = start(&self.session)?;
            let url = end_of(&place, digest);
            self.place = Some(place);
            let request = Request::new(Method::Put, &url)
                .header("content-type", "application/octet-stream")
                .streamed(spool, size)
                .once();
            let sent = self.session.send(&request, &url);
            let cut = sent.as_ref().err().filter(|e| e.code() == Code::Net);
            if cut.is_some() && spool.opened() < self.env.limits.retries {
                if exists(&self.session, digest, size)? {
                    self.place = None;
                    return Ok(());
                }
                self.cancel();
                continue;
            }
            stored(&self.session, sent, digest, size)?;
            self.place = None;
            return Ok(());
        }
    }

    /// Cancels the upload at the registry, which would delete an abandoned one some day. A failure does no
    /// harm.
    fn cancel(&mut self) {
        if let Some(place) = self.place.take() {
            let request = Request::new(Method::Delete, &place).once();
            let _ = self.session.send(&request, &place);
        }
    }
}

/// Uploads a whole blob in one request.
pub(crate) fn monolithic(session: &Session, bytes: &[u8], digest: &Digest) -> Result<()> {
    let (place, _) = start(session)?;
    put(session, &place, bytes, digest, bytes.len() as u64)
}

/// Starts an upload; returns the URL for its bytes, and the fewest bytes of a chunk.
fn start(session: &Session) -> Result<(Url, u64)> {
    let url = session.url("blobs/uploads/");
    let response = session.send(&Request::new(Method::Post, &url), &url)?;
    match response.status() {
        202 => {
            let least = response.header("oci-chunk-min-length");
            let least = least.and_then(|text| text.trim().parse().ok());
            Ok((location(session, &response)?, least.unwrap_or(0)))
        }
        _ => Err(failure(response)),
    }
}

/// Asks for the number of received bytes of an upload.
fn status(session: &Session, place: &Url) -> Result<Answer> {
    let response = session.send(&Request::get(place), place)?;
    match response.status() {
        200 | 202 | 204 => {
            let next = next_place(session, &response, place)?;
            Ok(match received(&response) {
                Ok(there) => Answer::Taken(next, there.unwrap_or(0)),
                Err(error) => Answer::Refused(error),
            })
        }
        _ => Ok(Answer::Refused(failure(response))),
    }
}

/// Sends the last bytes and the digest.
fn put(session: &Session, place: &Url, bytes: &[u8], digest: &Digest, size: u64) -> Result<()> {
    let url = end_of(place, digest);
    let request = Request::new(Method::Put, &url)
        .header("content-type", "application/octet-stream")
        .body(bytes)
        .once();
    let sent = session.send(&request, &url);
    stored(session, sent, digest, size)
}

/// Returns the URL of the request that ends an upload.
fn end_of(place: &Url, digest: &Digest) -> Url {
    place.with_query([("digest", &*digest.to_string())])
}

/// Reads the answer to the request that ends an upload.
fn stored(session: &Session, sent: Result<Response>, digest: &Digest, size: u64) -> Result<()> {
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

/// Returns the URL for the next bytes: the URL of the last ones, if the registry names no other.
fn next_place(session: &Session, response: &Response, place: &Url) -> Result<Url> {
    match response.header("location") {
        Some(_) => location(session, response),
        None => Ok(place.clone()),
    }
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
            self.flush_chunk(false)?;
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
        let is_unsent = self.place.is_none() && self.spool.is_none();
        if is_unsent && self.held.wants(&self.chunk, &self.env.limits) {
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
        self.cancel();
    }
}
