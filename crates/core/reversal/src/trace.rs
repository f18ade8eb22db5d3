//! Making a record while the tar streams by.
//!
//! The instructions are cut into pieces, and each piece becomes a zstd frame, so that memory does not
//! depend on the size of the tar. A run of bytes that only the record holds is cut too.

use std::{
    fmt,
    io::Cursor,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_model::{Compression, Digest, Env, Reader, Result};
use imgconv_stream::{Level, PieceEncoder};
use imgconv_tar::{Trace, Tracing};

use crate::{
    header::{Copied, Header, SIZE},
    number,
    spool::Spool,
};

/// The bytes of instructions in one frame, at the fastest level: headers are no smaller at the usual one. Larger frames make records of many small files a little smaller.
const PIECE: usize = 4 << 20;
/// The longest run of literal bytes of one instruction.
const RUN: usize = 256 << 10;

/// Makes the record of a tar that is read in one or several passes: the last complete pass counts.
#[derive(Clone, Debug)]
pub struct Recorder {
    directory: PathBuf,
    /// True if no byte is taken from a layer.
    alone: bool,
    done: Arc<Mutex<Option<Content>>>,
}

/// The instructions of a record.
#[derive(Debug)]
pub struct Content {
    frames: Spool,
    length: u64,
    reach: u64,
}

impl Recorder {
    /// Makes a recorder for a tar whose bodies go to a layer.
    pub fn new(env: &Env) -> Self {
        Self {
            directory: env.tmpdir.clone(),
            alone: false,
            done: Arc::default(),
        }
    }

    /// Makes a recorder for a tar of which no layer holds any byte in the order of the tar: the record holds
    /// all bytes, compressed.
    pub fn alone(env: &Env) -> Self {
        Self {
            alone: true,
            ..Self::new(env)
        }
    }

    /// Returns the instructions, if a pass has reached the end of the tar.
    pub fn take(&self) -> Option<Content> {
        self.done
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Tracing for Recorder {
    fn begin(&self) -> Result<Box<dyn Trace>> {
        self.take();
        Ok(Box::new(Pass {
            alone: self.alone,
            done: Arc::clone(&self.done),
            encoder: PieceEncoder::new(Compression::Zstd, Level::Fast)?,
            piece: Vec::new(),
            literal: Vec::new(),
            copy: (0, 0),
            position: 0,
            content: Content {
                frames: Spool::new(self.directory.clone()),
                length: 0,
                reach: 0,
            },
        }))
    }
}

/// One pass over the tar.
struct Pass {
    alone: bool,
    done: Arc<Mutex<Option<Content>>>,
    encoder: PieceEncoder,
    /// Instructions that are not compressed yet.
    piece: Vec<u8>,
    /// The instruction that is being made: literal bytes, then a range of the layer (offset and count).
    literal: Vec<u8>,
    copy: (u64, u64),
    /// The end of the last range of the finished instructions.
    position: u64,
    content: Content,
}

impl Pass {
    /// Ends the instruction.
    fn end(&mut self) -> Result<()> {
        let (offset, count) = self.copy;
        if self.literal.is_empty() && count == 0 {
            return Ok(());
        }
        number::put(&mut self.piece, self.literal.len() as u64);
        self.piece.append(&mut self.literal);
        let gap = match count {
            0 => 0,
            _ => offset - self.position,
        };
        number::put(&mut self.piece, gap);
        number::put(&mut self.piece, count);
        if count > 0 {
            self.position = offset + count;
        }
        self.copy = (0, 0);
        match self.piece.len() >= PIECE {
            true => self.pack(),
            false => Ok(()),
        }
    }

    /// Compresses the instructions so far.
    fn pack(&mut self) -> Result<()> {
        let frame = self.encoder.compress(&self.piece)?;
        self.piece.clear();
        self.content.frames.write(&frame)
    }
}

impl Trace for Pass {
    fn literal(&mut self, bytes: &[u8]) -> Result<()> {
        self.content.length += bytes.len() as u64;
        if self.copy.1 > 0 && !bytes.is_empty() {
            self.end()?;
        }
        for part in bytes.chunks(RUN) {
            self.literal.extend_from_slice(part);
            if self.literal.len() >= RUN {
                self.end()?;
            }
        }
        Ok(())
    }

    fn copied(&mut self, offset: u64, count: u64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.content.length += count;
        let (begin, before) = self.copy;
        if before > 0 && begin + before == offset {
            self.copy.1 += count;
        } else {
            if before > 0 {
                self.end()?;
            }
            self.copy = (offset, count);
        }
        self.content.reach = offset + count;
        Ok(())
    }

    fn keeps_bodies(&self) -> bool {
        self.alone
    }

    fn ended(&mut self) -> Result<()> {
        self.end()?;
        if !self.piece.is_empty() {
            self.pack()?;
        }
        let empty = Content {
            frames: Spool::new(PathBuf::new()),
            length: 0,
            reach: 0,
        };
        let content = std::mem::replace(&mut self.content, empty);
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = Some(content);
        Ok(())
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

impl Content {
    /// Completes the record of the tar with that SHA-512, whose file had that compression. `diff_id` is the
    /// digest of the layer that holds the rest. Returns the header, the record and its size.
    ///
    /// # Errors
    /// If the temporary file can't be read.
    pub fn into_record(
        self,
        image_id: Digest,
        compression: Compression,
        diff_id: Digest,
    ) -> Result<(Header, Reader, u64)> {
        let reach = self.reach;
        let header = Header {
            image_id,
            length: self.length,
            compression,
            layer: (reach > 0).then_some(Copied { diff_id, reach }),
        };
        let size = SIZE as u64 + self.frames.size();
        let begin = Cursor::new(header.to_bytes());
        let rest = self.frames.into_reader()?;
        Ok((header, Box::new(std::io::Read::chain(begin, rest)), size))
    }
}
