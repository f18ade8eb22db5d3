//! Hashing of bytes in memory and of bytes while they are read.
//!
//! This file compares no digests: see `verified.rs` for readers that do.

use std::{
    fmt,
    io::{self, Read},
};

use imgconv_model::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

use crate::BUFFER_SIZE;

/// One running hash.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// Starts a hash of no bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Returns the algorithm of the hash.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// Returns the digest of all added bytes.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(hash) => Digest::new(Algorithm::Sha256, &hash.finalize()),
            State::Sha512(hash) => Digest::new(Algorithm::Sha512, &hash.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.algorithm()).finish()
    }
}

/// Returns the digest of bytes in memory.
pub fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

/// Hashes the bytes that are read through it, with one or more algorithms, and counts them.
pub struct HashingReader<R> {
    inner: R,
    hashers: Vec<Hasher>,
    count: u64,
}

impl<R: Read> HashingReader<R> {
    /// Wraps a reader. Without algorithms the reader only counts.
    pub fn new(inner: R, algorithms: &[Algorithm]) -> Self {
        let hashers = algorithms.iter().copied().map(Hasher::new).collect();
        Self {
            inner,
            hashers,
            count: 0,
        }
    }

    /// Returns the number of bytes read so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Reads the rest, then returns the digests in the order of `algorithms` and the byte count.
    ///
    /// # Errors
    /// The errors of the inner reader, unchanged.
    pub fn finish(mut self) -> io::Result<(Vec<Digest>, u64)> {
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let digests = self.hashers.into_iter().map(Hasher::finish).collect();
        Ok((digests, self.count))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        for hasher in &mut self.hashers {
            hasher.update(&buf[..n]);
        }
        self.count += n as u64;
        Ok(n)
    }
}

impl<R> fmt::Debug for HashingReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashingReader")
            .field("hashers", &self.hashers)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
