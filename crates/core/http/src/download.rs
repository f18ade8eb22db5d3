//! A body whose download continues where a connection was cut.

use std::{
    io::{self, Read},
    sync::Arc,
};

use imgconv_model::{Code, Error, Reader, Result, quote};

use crate::message::Response;

/// The number of bytes after which the count of attempts starts anew.
const PROGRESS: u64 = 1 << 20;

/// The first bytes of a body, which one small request brings: enough to detect the kind of a blob, which
/// is often all that is needed.
#[derive(Clone, Debug)]
pub struct Beginning(Arc<[u8]>);

impl Beginning {
    /// The number of bytes of the first request.
    const MOST: u64 = 4 << 10;

    /// Requests the first bytes, anew where the connection breaks; `ask` and `retries` are those of
    /// [`Download::new`].
    ///
    /// # Errors
    /// The errors of `ask`, and [`Code::Net`] if the connection breaks in each attempt.
    pub fn request(
        mut ask: impl FnMut(Option<&str>) -> Result<Response>,
        retries: u64,
    ) -> Result<Self> {
        let range = format!("bytes=0-{}", Self::MOST - 1);
        let mut attempts = 1;
        loop {
            let response = ask(Some(&range))?;
            let mut bytes = Vec::new();
            // An empty body has no first byte, so its range can't be met.
            if response.status() == 416 {
                return Ok(Self(bytes.into()));
            }
            let read = response
                .into_reader()
                .take(Self::MOST)
                .read_to_end(&mut bytes);
            match read.map_err(Error::from_io) {
                Ok(_) => return Ok(Self(bytes.into())),
                Err(error) if error.code() == Code::Net && attempts < retries => attempts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the whole body: the first bytes, then a [`Download`] of the rest, if there is more. The
    /// arguments are those of [`Download::new`].
    pub fn and_rest<A>(&self, ask: A, size: Option<u64>, retries: u64) -> Reader
    where
        A: FnMut(Option<&str>) -> Result<Response> + Send + 'static,
    {
        let count = self.0.len() as u64;
        let first = io::Cursor::new(Arc::clone(&self.0));
        let is_whole = match size {
            Some(size) => count >= size,
            None => count < Self::MOST,
        };
        if is_whole {
            return Box::new(first);
        }
        Box::new(first.chain(Download::new(ask, size, retries).from(count)))
    }
}

/// Reads the body of a `GET` to its end, with further requests if a connection is cut.
///
/// The reader does not verify the bytes; put it in a [`Verified`](imgconv_stream::Verified) reader.
/// The digest of the whole decides whether the pieces belong together (robustness L9).
pub struct Download<A> {
    ask: A,
    /// The number of attempts without progress.
    retries: u64,
    size: Option<u64>,
    /// The size that the server states for the whole body.
    stated: Option<u64>,
    position: u64,
    /// The `ETag` of the file that the bytes before `position` are from.
    etag: Option<String>,
    reader: Option<Reader>,
    /// True if the answer marks its own end: its reader reports an early end as an error.
    framed: bool,
    failures: u64,
    /// The position of the last cut.
    cut: u64,
    restarted: bool,
}

impl<A> std::fmt::Debug for Download<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("position", &self.position)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl<A: FnMut(Option<&str>) -> Result<Response> + Send> Download<A> {
    /// Makes a reader that sends its first request when it is first read. `ask` sends the `GET`,
    /// with the value of a `Range` header if one is given, and returns an answer whose status is
    /// 200, 206 or 416. `size` is the number of bytes of the whole body, if known; `retries` is the
    /// number of consecutive attempts without progress.
    pub fn new(ask: A, size: Option<u64>, retries: u64) -> Self {
        Self {
            ask,
            retries,
            size,
            stated: None,
            position: 0,
            etag: None,
            reader: None,
            framed: false,
            failures: 0,
            cut: 0,
            restarted: false,
        }
    }

    /// Returns the number of bytes of the whole body, if the caller or the server has stated it: a number
    /// to show.
    pub fn length(&self) -> Option<u64> {
        self.size.or(self.stated)
    }

    /// Starts at a position instead of 0.
    #[must_use]
    pub fn from(mut self, position: u64) -> Self {
        (self.position, self.cut) = (position, position);
        self
    }

    fn open(&mut self) -> Result<Reader> {
        if self.position == 0 {
            return self.start();
        }
        let range = format!("bytes={}-", self.position);
        let response = self.ask(Some(&range))?;
        match response.status() {
            206 if self.continues(&response) => Ok(response.into_reader()),
            200 => self.skip(response.into_reader()),
            206 | 416 if !self.restarted => {
                self.restarted = true;
                let reader = self.start()?;
                self.skip(reader)
            }
            _ => {
                let message = format!("the server can't continue at byte {}", self.position);
                Err(Error::new(Code::Net, message))
            }
        }
    }

    /// Sends a request. A request that fails has had its attempts, so this error is final.
    fn ask(&mut self, range: Option<&str>) -> Result<Response> {
        let response = (self.ask)(range).inspect_err(|_| self.failures = self.retries)?;
        let framing = ["content-length", "transfer-encoding"];
        self.framed = framing.iter().any(|name| response.header(name).is_some());
        Ok(response)
    }

    /// Requests the whole body.
    fn start(&mut self) -> Result<Reader> {
        let response = self.ask(None)?;
        if response.status() != 200 {
            let message = format!(
                "the server answered {} to a request for the whole body",
                response.status()
            );
            return Err(Error::new(Code::Net, message));
        }
        self.etag = response.header("etag").map(str::to_owned);
        let length = response.header("content-length");
        self.stated = length.and_then(|length| length.parse().ok());
        Ok(response.into_reader())
    }

    /// Returns true if a partial answer continues the bytes that were read.
    fn continues(&self, response: &Response) -> bool {
        let range = response.header("content-range").map(content_range);
        let Some(Ok((first, _, size))) = range else {
            return false;
        };
        let sizes_fit = match (size, self.size) {
            (Some(found), Some(wanted)) => found == wanted,
            _ => true,
        };
        let same = match (response.header("etag"), &self.etag) {
            (Some(found), Some(known)) => found == known,
            _ => true,
        };
        first == self.position && sizes_fit && same
    }

    /// Skips the bytes that were read already.
    fn skip(&self, mut reader: Reader) -> Result<Reader> {
        let skipped = io::copy(&mut (&mut reader).take(self.position), &mut io::sink());
        let skipped = skipped.map_err(Error::from_io)?;
        if skipped < self.position {
            return Err(Error::new(
                Code::Net,
                "the body from the server became shorter",
            ));
        }
        Ok(reader)
    }

    fn advance(&mut self, buf: &mut [u8]) -> Result<usize> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let reader = self.open()?;
                self.reader.insert(reader)
            }
        };
        let n = reader.read(buf).map_err(Error::from_io)?;
        // If the server sends a shorter body as a whole, the digest finds the difference.
        if n == 0 && !self.framed && self.size.is_some_and(|size| self.position < size) {
            return Err(Error::new(Code::Net, "the response ended too early"));
        }
        self.position += n as u64;
        Ok(n)
    }
}

impl<A: FnMut(Option<&str>) -> Result<Response> + Send> Read for Download<A> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match self.advance(buf) {
                Ok(n) => return Ok(n),
                Err(error) if error.code() == Code::Net => {
                    self.reader = None;
                    if self.position >= self.cut + PROGRESS && self.failures < self.retries {
                        self.failures = 0;
                    }
                    (self.cut, self.failures) = (self.position, self.failures + 1);
                    if self.failures >= self.retries {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads the parameters of a `Content-Range`: first byte, last byte, whole size if known.
fn content_range(text: &str) -> Result<(u64, u64, Option<u64>)> {
    let bad = || Error::new(Code::Net, format!("the range {} is malformed", quote(text)));
    let digits = |text: &str| -> Option<u64> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| plain)
    };
    let (range, size) = text
        .strip_prefix("bytes ")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(bad)?;
    let (first, last) = range.split_once('-').ok_or_else(bad)?;
    let (first, last) = (
        digits(first).ok_or_else(bad)?,
        digits(last).ok_or_else(bad)?,
    );
    let size = match size {
        "*" => None,
        size => Some(digits(size).ok_or_else(bad)?),
    };
    if first > last || size.is_some_and(|size| last >= size) {
        return Err(bad());
    }
    Ok((first, last, size))
}
