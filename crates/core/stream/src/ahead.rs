//! Reading ahead in a thread of its own, so that decoding and processing of the bytes overlap.
//!
//! This works outside of the thread pool only: the reader waits on a channel.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, Sender, channel, sync_channel},
    thread,
};

use crate::{BUFFER_SIZE, failure::Failure};

/// The number of buffers that may wait to be read.
const WAITING: usize = 4;

/// Runs `work` over the bytes of `source`, which another thread reads meanwhile, up to 1 MiB ahead.
/// The position of the source afterwards is undefined; the source was read to its end if `work` saw
/// the end.
pub fn ahead<R: Read + Send, T>(source: &mut R, work: impl FnOnce(&mut dyn Read) -> T) -> T {
    let (full, filled) = sync_channel::<io::Result<Piece>>(WAITING);
    let (empty, emptied) = channel::<Box<[u8]>>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut last = false;
            while !last {
                let buffer = emptied.try_recv();
                let mut buffer = buffer.unwrap_or_else(|_| vec![0; BUFFER_SIZE].into());
                // A source of many small files gives a few bytes at a time: a piece is filled, so that
                // the threads wait for each other seldom.
                let (count, end) = fill(source, &mut buffer);
                last = end.is_some();
                let error = end.and_then(io::Result::err);
                let piece = (count > 0).then_some(Piece { buffer, count });
                // The reader is dropped when `work` needs no more bytes.
                for sent in piece.map(Ok).into_iter().chain(error.map(Err)) {
                    if full.send(sent).is_err() {
                        return;
                    }
                }
            }
        });
        let mut ahead = Ahead {
            filled,
            empty,
            piece: Piece {
                buffer: Box::default(),
                count: 0,
            },
            done: 0,
            failure: None,
        };
        work(&mut ahead)
    })
}

/// The bytes that were read at the start of a buffer.
struct Piece {
    buffer: Box<[u8]>,
    count: usize,
}

/// Reads until the buffer is full, and returns the number of bytes and how the source ended, if it did.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Result<()>>) {
    let mut count = 0;
    while count < buffer.len() {
        match source.read(&mut buffer[count..]) {
            Ok(0) => return (count, Some(Ok(()))),
            Ok(n) => count += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (count, Some(Err(error))),
        }
    }
    (count, None)
}

/// The reading side.
struct Ahead {
    filled: Receiver<io::Result<Piece>>,
    empty: Sender<Box<[u8]>>,
    piece: Piece,
    done: usize,
    failure: Option<Failure>,
}

impl Read for Ahead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = &self.failure {
            return Err(failure.again());
        }
        if self.done == self.piece.count {
            match self.filled.recv() {
                Ok(Ok(piece)) => {
                    let old = std::mem::replace(&mut self.piece, piece);
                    self.done = 0;
                    // The reader may be dropped already; the first piece has no buffer.
                    if !old.buffer.is_empty() {
                        let _ = self.empty.send(old.buffer);
                    }
                }
                Ok(Err(error)) => {
                    self.failure = Some(Failure::of(&error));
                    return Err(error);
                }
                // The source has ended.
                Err(_) => return Ok(0),
            }
        }
        let n = buf.len().min(self.piece.count - self.done);
        buf[..n].copy_from_slice(&self.piece.buffer[self.done..self.done + n]);
        self.done += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns numbered bytes, a few at a time, then fails or ends.
    struct Numbers {
        left: usize,
        fails: bool,
    }

    impl Read for Numbers {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 && self.fails {
                return Err(io::Error::other("broken"));
            }
            let n = self.left.min(buf.len()).min(1000);
            for byte in &mut buf[..n] {
                *byte = (self.left % 251) as u8;
                self.left -= 1;
            }
            Ok(n)
        }
    }

    #[test]
    fn the_bytes_and_the_end_are_those_of_the_source() {
        let read = |mut source: Numbers| {
            let mut bytes = Vec::new();
            ahead(&mut source, |reader| reader.read_to_end(&mut bytes)).unwrap();
            (bytes, source.left)
        };
        let mut expected = Vec::new();
        let mut plain = Numbers {
            left: 3_000_001,
            fails: false,
        };
        plain.read_to_end(&mut expected).unwrap();
        let ahead = Numbers {
            left: 3_000_001,
            fails: false,
        };
        assert!(read(ahead) == (expected, 0));
    }

    #[test]
    fn an_error_comes_after_the_bytes_before_it_and_stays() {
        let mut source = Numbers {
            left: 5000,
            fails: true,
        };
        let (count, first, second) = ahead(&mut source, |reader| {
            let mut bytes = Vec::new();
            let first = reader.read_to_end(&mut bytes).unwrap_err();
            let second = reader.read(&mut [0; 8]).unwrap_err();
            (bytes.len(), first.to_string(), second.to_string())
        });
        assert_eq!((count, &*first, &*second), (5000, "broken", "broken"));
    }

    #[test]
    fn who_has_enough_leaves_the_rest() {
        let mut source = Numbers {
            left: 1 << 30,
            fails: false,
        };
        let first = ahead(&mut source, |reader| {
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            byte[0]
        });
        assert_eq!(first, ((1u32 << 30) % 251) as u8);
        assert!(
            source.left > 1 << 29,
            "no more than a few buffers were read"
        );
    }
}
