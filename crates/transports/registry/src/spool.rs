//! The bytes of a blob in a temporary file, from which they can be sent more than once.

use std::{
    fs::File,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use imgconv_fs::HeldFile;
use imgconv_model::{Env, Error, Limits, Open, Reader, Result, quote_path};

/// An unnamed file in `env.tmpdir` with the bytes of one blob.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Arc<File>,
    size: u64,
    env: Env,
    /// The number of times that the bytes were opened.
    opened: AtomicU64,
}

impl Spool {
    /// Makes an empty file.
    pub(crate) fn new(env: &Env) -> Result<Self> {
        let file = tempfile::tempfile_in(&env.tmpdir).map_err(|error| failed(error, env))?;
        Ok(Self {
            file: Arc::new(file),
            size: 0,
            env: env.clone(),
            opened: AtomicU64::new(0),
        })
    }

    /// Adds bytes at the end; the limit of an image bounds their number.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.env.check_cancelled()?;
        self.size += bytes.len() as u64;
        let limit = self.env.limits.image_bytes;
        if self.size > limit {
            return Err(Limits::exceeded("image_bytes", limit, "a blob"));
        }
        let written = (&*self.file).write_all(bytes);
        written.map_err(|error| failed(error, &self.env))
    }

    /// Returns the number of bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the number of times that the bytes were opened: of attempts to send them.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

/// Adds to an error of the file why the file is needed.
fn failed(error: io::Error, env: &Env) -> Error {
    let place = format!("temporary directory {}", quote_path(&env.tmpdir));
    Error::io(error, place).hint(
        "the registry takes no blobs in chunks, so each larger blob is stored there before it is \
         sent; `--tmpdir DIR` names another directory",
    )
}

impl Open for Spool {
    fn open(&self) -> Result<Reader> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Polled {
            inner: HeldFile(Arc::clone(&self.file)).open()?,
            env: self.env.clone(),
        }))
    }
}

/// A reader that ends with the run: one request sends the whole blob.
struct Polled {
    inner: Reader,
    env: Env,
}

impl Read for Polled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.env.check_cancelled()?;
        self.inner.read(buffer)
    }
}
