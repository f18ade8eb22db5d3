//! Compression in parallel blocks, with the digests of both sides computed on the way.
//!
//! The output depends on the content and the [`Encoding`] alone: not on the number of threads, and
//! not on the sizes of the source's reads. `block.rs` determines the output of a block; this file
//! splits the content into blocks, keeps their order and bounds the memory.
//!
//! Two batches of blocks alternate: while the blocks of one are compressed, the other's output is
//! hashed and written and its blocks are filled again. Streams that are encoded at the same time
//! share one bound on the content in flight: 12 MiB for each thread with gzip, 24 MiB with zstd,
//! and at most as much output; only the first block of a batch is always granted. All waiting is in
//! rayon's `join`.

use std::io::{ErrorKind, Read, Write};

use imgconv_model::{Algorithm, Digest, Env, Error, Event, Result};
use rayon::prelude::*;

use crate::{
    Hasher, Pool,
    block::{Compressors, Method},
    encoding::Encoding,
    pool::InFlight,
};

impl Encoding {
    /// Checks that the encoding can be written.
    ///
    /// # Errors
    /// [`Code::Usage`](imgconv_model::Code::Usage) for a level that does not exist,
    /// [`Code::Unsupported`](imgconv_model::Code::Unsupported) for bzip2 and xz.
    pub fn check(&self) -> Result<()> {
        Method::of(self).map(drop)
    }
}

/// What came out of [`encode`].
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The digests of the uncompressed bytes, in the requested order.
    pub content: Vec<Digest>,
    /// The uncompressed size in bytes.
    pub content_size: u64,
    /// The SHA-256 of the written bytes; equal to the content's if they are not compressed.
    pub digest: Digest,
    /// The written size in bytes.
    pub size: u64,
}

/// Reads `source` to its end, hashes it, compresses it in parallel blocks, hashes and writes the
/// output.
///
/// gzip is written as members of 1 MiB of content each (no name, no time), zstd as frames of 8 MiB
/// with checksum and content size; no content gives one empty member or frame. Reports the bytes
/// read as [`Event::Advance`] of `id`.
///
/// # Errors
/// [`Code::Usage`](imgconv_model::Code::Usage) for a level that does not exist,
/// [`Code::Unsupported`](imgconv_model::Code::Unsupported) for bzip2 and xz,
/// [`Code::Cancelled`](imgconv_model::Code::Cancelled) once `env.cancel` is set, which is looked at
/// for every block. Errors of the source and the sink come out unchanged. After an error the sink
/// holds a part of the output.
pub fn encode(
    source: &mut (dyn Read + Send),
    sink: &mut (dyn Write + Send),
    encoding: &Encoding,
    hash: &[Algorithm],
    pool: &Pool,
    env: &Env,
    id: u64,
) -> Result<Encoded> {
    let method = Method::of(encoding)?;
    let compressors = Compressors::new(method);
    let compress = |content: &[u8], packed: &mut Vec<u8>| compressors.compress(content, packed);
    let shape = Shape {
        block_size: method.block_size(),
        most: method.in_flight() * pool.jobs(),
        copies: method == Method::Copy,
    };
    let reading = Reading::new(source, env, id, &shape, pool.in_flight());
    pool.install(|| run(reading, sink, hash, &shape, &compress))
}

/// Copies `source` to its end without hashing, reading and writing at the same time; returns the
/// number of bytes. This is for sources that verify their bytes themselves, since one hash of each
/// byte is enough. Reports the bytes read as [`Event::Advance`] of `id`.
///
/// # Errors
/// [`Code::Cancelled`](imgconv_model::Code::Cancelled) once `env.cancel` is set. Errors of the source
/// and the sink come out unchanged. After an error the sink holds a part of the bytes.
pub fn copy(
    source: &mut (dyn Read + Send),
    sink: &mut (dyn Write + Send),
    pool: &Pool,
    env: &Env,
    id: u64,
) -> Result<u64> {
    let method = Method::Copy;
    let shape = Shape {
        block_size: method.block_size(),
        most: method.in_flight() * pool.jobs(),
        copies: true,
    };
    let reading = Reading::new(source, env, id, &shape, pool.in_flight());
    pool.install(|| pass(reading, sink))
}

fn pass(mut reading: Reading<'_>, sink: &mut (dyn Write + Send)) -> Result<u64> {
    let mut current = Batch::new(reading.in_flight);
    let mut other = Batch::new(reading.in_flight);
    let mut size = 0;
    reading.fill(&mut current, &mut [])?;
    while !current.blocks.is_empty() {
        let (written, filled) = rayon::join(
            || write(&current, sink, None),
            || reading.fill(&mut other, &mut []),
        );
        // The order of the errors is that of the stream.
        size += written?;
        filled?;
        std::mem::swap(&mut current, &mut other);
    }
    sink.flush().map_err(Error::from_io)?;
    Ok(size)
}

/// The sizes and the mode of the work.
#[derive(Clone, Copy)]
struct Shape {
    block_size: usize,
    /// The bytes of content that may be in flight, in all streams; a batch has at most half of
    /// them.
    most: usize,
    /// True if the content is written uncompressed; then hashing is the work that overlaps with
    /// input and output.
    copies: bool,
}

/// Makes the output of a block from its content.
type Compress<'a> = dyn Fn(&[u8], &mut Vec<u8>) -> Result<()> + Sync + 'a;

/// A piece of the content and its output. Buffers are reused.
#[derive(Default)]
struct Block {
    content: Vec<u8>,
    packed: Vec<u8>,
}

/// Blocks that are compressed together, and their share of the bound.
struct Batch<'a> {
    blocks: Vec<Block>,
    in_flight: &'a InFlight,
    counted: usize,
}

impl<'a> Batch<'a> {
    fn new(in_flight: &'a InFlight) -> Self {
        Self {
            blocks: Vec::new(),
            in_flight,
            counted: 0,
        }
    }

    fn release(&mut self) {
        self.in_flight.remove(self.counted);
        self.counted = 0;
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

fn run(
    mut reading: Reading<'_>,
    sink: &mut (dyn Write + Send),
    hash: &[Algorithm],
    shape: &Shape,
    compress: &Compress<'_>,
) -> Result<Encoded> {
    let env = reading.env;
    let mut hashers: Vec<Hasher> = hash.iter().copied().map(Hasher::new).collect();
    // The output needs a hash too: if the content is copied, one of the content's hashers can serve
    // both.
    let digest_at = match hash.iter().position(|one| *one == Algorithm::Sha256) {
        Some(position) if shape.copies => position,
        _ => {
            hashers.push(Hasher::new(Algorithm::Sha256));
            hash.len()
        }
    };
    let mut output = (!shape.copies).then(|| hashers.pop()).flatten();
    let mut size = 0u64;

    // Content is hashed where it is read, unless hashing is the only work.
    let read_with = if shape.copies { 0 } else { hashers.len() };
    let (beside, alone) = hashers.split_at_mut(read_with);
    let mut current = Batch::new(reading.in_flight);
    let mut other = Batch::new(reading.in_flight);
    reading.fill(&mut current, beside)?;
    while !(current.blocks.is_empty() && other.blocks.is_empty()) {
        let ((written, filled), worked) = rayon::join(
            || {
                let written = write(&other, sink, output.as_mut());
                let filled = match written {
                    Ok(_) => reading.fill(&mut other, beside),
                    Err(_) => Ok(()),
                };
                (written, filled)
            },
            || {
                if shape.copies {
                    alone.par_iter_mut().for_each(|hasher| {
                        for block in &current.blocks {
                            hasher.update(&block.content);
                        }
                    });
                    Ok(())
                } else {
                    compress_all(&mut current, compress, env)
                }
            },
        );
        // The order of the errors is that of the stream: the written batch comes before the
        // compressed batch, and that before the filled batch.
        size += written?;
        worked?;
        filled?;
        std::mem::swap(&mut current, &mut other);
    }
    sink.flush().map_err(Error::from_io)?;

    let mut digests: Vec<Digest> = hashers.into_iter().map(Hasher::finish).collect();
    let digest = match output {
        Some(output) => output.finish(),
        None => digests[digest_at],
    };
    digests.truncate(hash.len());
    Ok(Encoded {
        content: digests,
        content_size: reading.size,
        digest,
        size,
    })
}

/// Compresses every block of a batch; the error is that of the first bad block, whatever the
/// timing.
fn compress_all(batch: &mut Batch<'_>, compress: &Compress<'_>, env: &Env) -> Result<()> {
    let results: Vec<Result<()>> = batch
        .blocks
        .par_iter_mut()
        .with_max_len(1)
        .map(|block| {
            env.check_cancelled()?;
            compress(&block.content, &mut block.packed)
        })
        .collect();
    results.into_iter().collect()
}

/// Writes the output of a batch and returns its size. Without a hasher the content is the output.
fn write(batch: &Batch<'_>, sink: &mut dyn Write, mut hasher: Option<&mut Hasher>) -> Result<u64> {
    let mut size = 0;
    for block in &batch.blocks {
        let bytes = match &mut hasher {
            Some(hasher) => {
                hasher.update(&block.packed);
                &block.packed
            }
            None => &block.content,
        };
        sink.write_all(bytes).map_err(Error::from_io)?;
        size += bytes.len() as u64;
    }
    Ok(size)
}

/// The source, and the number of bytes that were read.
struct Reading<'a> {
    source: &'a mut (dyn Read + Send),
    env: &'a Env,
    id: u64,
    shape: Shape,
    in_flight: &'a InFlight,
    size: u64,
    ended: bool,
}

impl<'a> Reading<'a> {
    fn new(
        source: &'a mut (dyn Read + Send),
        env: &'a Env,
        id: u64,
        shape: &Shape,
        in_flight: &'a InFlight,
    ) -> Self {
        Self {
            source,
            env,
            id,
            shape: *shape,
            in_flight,
            size: 0,
            ended: false,
        }
    }

    /// Fills a batch as far as the source and the bound allow, and hashes it. Only the very first
    /// block may be empty.
    fn fill(&mut self, batch: &mut Batch<'_>, hashers: &mut [Hasher]) -> Result<()> {
        batch.release();
        let Shape {
            block_size, most, ..
        } = self.shape;
        let mut filled = 0;
        while !self.ended {
            self.env.check_cancelled()?;
            if filled == 0 {
                self.in_flight.add(block_size);
            } else if 2 * (filled + 1) * block_size > most
                || !self.in_flight.try_add(block_size, most)
            {
                break;
            }
            batch.counted += block_size;
            if filled == batch.blocks.len() {
                batch.blocks.push(Block::default());
            }
            let content = &mut batch.blocks[filled].content;
            content.resize(block_size, 0);
            let n = self.read_block(content)?;
            content.truncate(n);
            if n == 0 && self.size > 0 {
                break;
            }
            for hasher in &mut *hashers {
                hasher.update(content);
            }
            filled += 1;
            self.size += n as u64;
            let (id, bytes) = (self.id, n as u64);
            self.env.progress.event(Event::Advance { id, bytes });
        }
        // Unused buffers are freed, since other streams may need their share of the bound.
        batch.blocks.truncate(filled);
        Ok(())
    }

    /// Reads a whole block unless the source ends before, whatever the sizes of its reads.
    fn read_block(&mut self, block: &mut [u8]) -> Result<usize> {
        let mut n = 0;
        while n < block.len() && !self.ended {
            match self.source.read(&mut block[n..]) {
                Ok(0) => self.ended = true,
                Ok(more) => n += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_io(error)),
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
