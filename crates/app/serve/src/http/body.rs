//! The bodies of answers: bytes in memory, or a blob that is read while it is sent.
//!
//! A blob is verified while it is sent. The last bytes of an answer leave only when the whole blob has
//! been read and is right: a client never gets a complete answer of wrong bytes.

use std::{
    future::Future as _,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use imgconv_model::{Code, Digest, Error};
use tokio::task::{JoinHandle, spawn_blocking};

use super::server::Server;
use crate::stock::{self, Opened, Stamped};

/// Bytes that are read at once.
const PIECE: u64 = 128 << 10;
/// The most bytes that are read before an answer begins.
const EAGER: u64 = 1 << 20;

/// The body of an answer.
pub(super) enum Body {
    /// Bytes in memory.
    Whole(Option<Bytes>),
    /// A blob.
    Blob(Box<BlobBody>),
}

impl Body {
    /// An answer without a body.
    pub(super) const EMPTY: Self = Self::Whole(None);

    /// Bytes in memory.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

/// A blob on its way.
pub(super) struct BlobBody {
    /// The first piece, if it was read before the answer began.
    first: Option<Bytes>,
    state: State,
    /// The bytes that are still to come.
    left: u64,
    what: String,
    server: Arc<Server>,
}

enum State {
    Idle(Option<Feed>),
    Reading(JoinHandle<(Feed, io::Result<Bytes>)>),
}

/// The reader of a blob.
struct Feed {
    bytes: stock::Bytes,
    /// Bytes before the next wanted one.
    skip: u64,
    /// Wanted bytes that are not read yet.
    left: u64,
    digest: Digest,
}

impl BlobBody {
    /// Makes the body of `length` bytes of a blob, from `start` on.
    pub(super) fn new(
        opened: Opened,
        (start, length): (u64, u64),
        (what, digest): (&str, Digest),
        server: &Arc<Server>,
    ) -> Self {
        let feed = Feed {
            bytes: opened.bytes,
            skip: start,
            left: length,
            digest,
        };
        Self {
            first: None,
            state: State::Idle(Some(feed)),
            left: length,
            what: what.to_owned(),
            server: Arc::clone(server),
        }
    }

    /// Reads the first piece at once, unless much has to be read for it; `size` is that of the blob.
    ///
    /// # Errors
    /// If the blob can't be read, or is all read and wrong.
    pub(super) fn start(&mut self, size: u64) -> io::Result<()> {
        if let State::Idle(Some(feed)) = &mut self.state
            && self.left > 0
            && feed.reads_first(size) <= EAGER
        {
            self.first = Some(feed.next_for(&self.server)?);
        }
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.server
            .watcher
            .failed(&self.what, &Error::from_io(error));
        kind.into()
    }
}

impl Feed {
    /// The bytes that are read for the first piece. For the last piece that is the whole blob.
    fn reads_first(&self, size: u64) -> u64 {
        match self.bytes {
            stock::Bytes::Proven(_) => self.left.min(PIECE),
            stock::Bytes::Unproven(..) if self.left <= PIECE => size,
            stock::Bytes::Unproven(..) => self.skip.saturating_add(PIECE),
        }
    }

    /// Reads the next piece, and tells the server of a file that was verified by that.
    fn next_for(&mut self, server: &Server) -> io::Result<Bytes> {
        let (piece, verified) = self.next()?;
        if let Some(file) = verified {
            server.stock.prove(self.digest, file);
        }
        Ok(piece)
    }

    /// Reads the next piece. The last piece is returned after the end of the blob was seen, since the end
    /// is where the reader says that the blob is wrong. The result also has the file that was verified.
    fn next(&mut self) -> io::Result<(Bytes, Option<Stamped>)> {
        let wanted = self.left.min(PIECE);
        let mut piece = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        let mut verified = None;
        match &mut self.bytes {
            stock::Bytes::Proven(file) => {
                piece.resize(piece.capacity(), 0);
                file.file.read_exact_at(&mut piece, self.skip)?;
                self.skip += wanted;
                self.left -= wanted;
                if !file.is_unchanged() {
                    let message = "the file was changed while it was sent";
                    return Err(Error::new(Code::Mismatch, message).into());
                }
            }
            stock::Bytes::Unproven(reader, file) => {
                if self.skip > 0 {
                    let skipped = io::copy(&mut reader.take(self.skip), &mut io::sink())?;
                    if skipped < self.skip {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.skip = 0;
                }
                reader.take(wanted).read_to_end(&mut piece)?;
                if (piece.len() as u64) < wanted {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.left -= wanted;
                if self.left == 0 {
                    io::copy(reader, &mut io::sink())?;
                    verified = file.take();
                }
            }
        }
        Ok((piece.into(), verified))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = match self.get_mut() {
            Self::Whole(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Blob(body) => body,
        };
        if body.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(piece) = body.first.take() {
            body.left -= piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        loop {
            match &mut body.state {
                State::Idle(feed) => {
                    let Some(mut feed) = feed.take() else {
                        return Poll::Ready(None);
                    };
                    let server = Arc::clone(&body.server);
                    body.state = State::Reading(spawn_blocking(move || {
                        let piece = feed.next_for(&server);
                        (feed, piece)
                    }));
                }
                State::Reading(reading) => {
                    let read = ready!(Pin::new(reading).poll(context));
                    let (feed, piece) = match read {
                        Ok((feed, piece)) => (Some(feed), piece),
                        Err(error) => (None, Err(io::Error::other(error))),
                    };
                    return Poll::Ready(Some(match piece {
                        Ok(piece) => {
                            body.state = State::Idle(feed);
                            body.left -= piece.len() as u64;
                            Ok(Frame::data(piece))
                        }
                        Err(error) => {
                            body.state = State::Idle(None);
                            Err(body.fail(error))
                        }
                    }));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Blob(body) => body.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Blob(body) => body.left,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use imgconv_model::Algorithm;

    use super::*;

    /// Fails where it would report its end.
    struct Wrong(Cursor<Vec<u8>>);

    impl Read for Wrong {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("wrong digest")),
                count => Ok(count),
            }
        }
    }

    fn feed(reader: impl Read + Send + 'static, skip: u64, left: u64) -> Feed {
        Feed {
            bytes: stock::Bytes::Unproven(Box::new(reader), None),
            skip,
            left,
            digest: Digest::new(Algorithm::Sha256, &[0; 32]),
        }
    }

    #[test]
    fn the_last_piece_leaves_when_the_blob_is_verified() {
        let blob = vec![7; 300 << 10];
        let all = blob.len() as u64;
        let mut good = feed(Cursor::new(blob.clone()), 0, all);
        let sizes: Vec<usize> = (0..3).map(|_| good.next().unwrap().0.len()).collect();
        assert_eq!(sizes, [128 << 10, 128 << 10, 44 << 10]);

        let mut wrong = feed(Wrong(Cursor::new(blob.clone())), 0, all);
        assert!(wrong.next().is_ok() && wrong.next().is_ok());
        assert_eq!(wrong.next().unwrap_err().to_string(), "wrong digest");

        // A part of a blob is verified with the rest of the blob.
        let mut part = feed(Wrong(Cursor::new(blob.clone())), 10, 5);
        assert_eq!(part.next().unwrap_err().to_string(), "wrong digest");
        let mut part = feed(Cursor::new((0..100).collect::<Vec<u8>>()), 10, 5);
        assert_eq!(&*part.next().unwrap().0, [10, 11, 12, 13, 14]);
    }

    #[test]
    fn a_blob_that_is_too_short_is_an_error() {
        let mut short = feed(Cursor::new(vec![1; 10]), 0, 11);
        assert_eq!(
            short.next().unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        let mut short = feed(Cursor::new(vec![1; 10]), 11, 1);
        assert_eq!(
            short.next().unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
