//! A tar that is made while it is read: head, body and padding of one member after the other, and
//! the end.
//!
//! [`Members`] supplies the members.

use std::io::{self, Read};

use imgconv_model::{Code, Error, Result};
use imgconv_tar::{END, padding};

/// A source of members.
pub(crate) trait Members {
    /// Appends the header blocks of the next member to `head` and returns the size of its body.
    /// After `None` the method is not called again.
    fn next(&mut self, head: &mut Vec<u8>) -> Result<Option<u64>>;

    /// Reads on in the body of the current member; `buf` is never longer than the rest of the body.
    fn body(&mut self, buf: &mut [u8]) -> io::Result<usize>;
}

/// The tar of some members. Memory is one header.
#[derive(Debug)]
pub(crate) struct Emit<M> {
    members: M,
    /// Bytes that come before the body.
    head: Vec<u8>,
    /// The number of bytes of `head` that were read.
    head_done: usize,
    /// Bytes of the body that are left.
    body: u64,
    /// NUL bytes that follow the body.
    padding: usize,
    ended: bool,
    /// An error that was met after bytes had been read in the same call.
    failure: Option<io::Error>,
    failed: bool,
}

impl<M: Members> Emit<M> {
    /// Starts before the first member.
    pub(crate) fn new(members: M) -> Self {
        Self {
            members,
            head: Vec::new(),
            head_done: 0,
            body: 0,
            padding: 0,
            ended: false,
            failure: None,
            failed: false,
        }
    }

    /// Returns the source of the members.
    pub(crate) fn into_inner(self) -> M {
        self.members
    }

    /// Reads some bytes; 0 means the end of the archive.
    fn some(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let head = &self.head[self.head_done..];
            if !head.is_empty() {
                let n = head.len().min(buf.len());
                buf[..n].copy_from_slice(&head[..n]);
                self.head_done += n;
                return Ok(n);
            }
            if self.body > 0 {
                let most = buf
                    .len()
                    .min(usize::try_from(self.body).unwrap_or(usize::MAX));
                let n = self.members.body(&mut buf[..most])?;
                if n == 0 {
                    let message = format!("the content ends {} bytes early", self.body);
                    return Err(Error::new(Code::BadTar, message).into());
                }
                self.body -= n as u64;
                return Ok(n);
            }
            if self.padding > 0 {
                let n = self.padding.min(buf.len());
                buf[..n].fill(0);
                self.padding -= n;
                return Ok(n);
            }
            if self.ended {
                return Ok(0);
            }
            self.head_done = 0;
            self.head.clear();
            if let Some(body) = self.members.next(&mut self.head)? {
                self.body = body;
                self.padding = padding(body);
            } else {
                self.head.extend_from_slice(&END);
                self.ended = true;
            }
        }
    }
}

impl<M: Members> Read for Emit<M> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.failed {
            return Err(io::Error::other("the archive could not be read before"));
        }
        let mut done = 0;
        while done < buf.len() {
            match self.some(&mut buf[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    if done == 0 {
                        return Err(error);
                    }
                    self.failure = Some(error);
                    break;
                }
            }
        }
        Ok(done)
    }
}
