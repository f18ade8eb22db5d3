//! Records of whole archives: all bytes of a tar but the layers in it, which are whole members there.
//!
//! An archive of images (`docker save` before Docker 1.10) has its layers in any order, and may have a layer
//! more than once. So a record lists the layers by their digests, and an instruction takes a whole one. The
//! record is hostile input: every number is checked before it is used, the memory is fixed, and the end of the
//! tar is reported only if its SHA-256 is that of the header.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Cursor, Read},
};

use imgconv_model::{
    Algorithm, Code, Compression, Digest, Env, Error, Facts, Limits, Notes, Reader, Result,
};
use imgconv_stream::{Decoder, Hasher, Level, PieceEncoder, Verified};

use crate::{
    header::{COMPRESSIONS, code},
    number::{self, ended},
    spool::Spool,
};

/// The first bytes of a record.
const MAGIC: [u8; 8] = *b"\x89SAVREV\n";
/// The version of the format.
const VERSION: u16 = 1;
/// The bytes of the header in front of the list of layers.
const SIZE: usize = 64;
/// The bytes of one layer in the list.
const LAYER: usize = 40;
/// The bytes of instructions in one frame.
const PIECE: usize = 4 << 20;
/// The longest run of literal bytes of one instruction.
const RUN: u64 = 256 << 10;
/// The buffers of the record and of the archive.
const BUFFER: usize = 256 << 10;

/// The facts about a record of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// The SHA-256 of the tar.
    pub digest: Digest,
    /// The bytes of the tar.
    pub length: u64,
    /// The compression that the file of the tar had. The way back does not promise it.
    pub compression: Compression,
    /// The layers whose bytes are used, each once, in the order of their first use.
    pub layers: Vec<Part>,
}

/// A layer whose bytes are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The SHA-256 of the uncompressed layer.
    pub diff_id: Digest,
    /// The bytes of the uncompressed layer, above 0.
    pub size: u64,
}

/// A layer in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The offset of its first byte in the tar.
    pub offset: u64,
    /// The layer.
    pub part: Part,
}

impl ArchiveHeader {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(10, &[code(&COMPRESSIONS, &self.compression)]);
        let count = u32::try_from(self.layers.len()).unwrap_or(u32::MAX);
        put(12, &count.to_le_bytes());
        put(16, &self.length.to_le_bytes());
        put(32, self.digest.hash());
        for layer in &self.layers {
            bytes.extend_from_slice(layer.diff_id.hash());
            bytes.extend_from_slice(&layer.size.to_le_bytes());
        }
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`Code::BadManifest`] for what is no header, [`Code::Unsupported`] for another version,
    /// [`Code::Limit`] for more than `limits.layers` layers.
    fn read(source: &mut impl Read, limits: &Limits) -> Result<Self> {
        let bad = |message: &str| Error::new(Code::BadManifest, message);
        let mut bytes = vec![0; SIZE];
        source.read_exact(&mut bytes).map_err(ended)?;
        if bytes[..8] != MAGIC {
            return Err(bad("the bytes are no record of an archive"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            let message = format!("the record has version {version}, expected {VERSION}");
            return Err(Error::new(Code::Unsupported, message)
                .hint("a newer imgconv may read it; without the record the archive is made anew"));
        }
        let compression = COMPRESSIONS.get(usize::from(bytes[10])).copied();
        let compression = compression.ok_or_else(|| bad("the compression is unknown"))?;
        let count = u64::from(u32::from_le_bytes(part(&bytes[12..16])));
        if count > limits.layers {
            let what = format!("the {count} layers of the record");
            return Err(Limits::exceeded("layers", limits.layers, what));
        }
        let mut layers: Vec<Part> = Vec::new();
        for _ in 0..count {
            let mut one = [0; LAYER];
            source.read_exact(&mut one).map_err(ended)?;
            bytes.extend_from_slice(&one);
            let layer = Part {
                diff_id: Digest::new(Algorithm::Sha256, &one[..32]),
                size: u64::from_le_bytes(part(&one[32..])),
            };
            let known = layers.iter().any(|one| one.diff_id == layer.diff_id);
            if known || layer.size == 0 {
                return Err(bad(
                    "the header lists a layer twice, or a layer without bytes",
                ));
            }
            layers.push(layer);
        }
        let header = Self {
            digest: Digest::new(Algorithm::Sha256, &bytes[32..64]),
            length: u64::from_le_bytes(part(&bytes[16..24])),
            compression,
            layers,
        };
        // One header has one spelling: what is not used is zero.
        match header.to_bytes() == bytes && header.length > 0 {
            true => Ok(header),
            false => Err(bad("the header has bytes that mean nothing")),
        }
    }
}

/// Returns the bytes of a number.
fn part<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// Makes the record of an archive. `tar` is the whole uncompressed archive of `length` bytes; `members` are
/// the layers that need not be in the record, by rising offsets. Returns the header, the record and its size.
///
/// # Errors
/// [`Code::Mismatch`] if the archive is not as long, or a layer is another one: the archive was changed
/// while it was read. [`Code::BadManifest`] if layers overlap.
pub fn record_archive(
    tar: Reader,
    length: u64,
    members: &[Member],
    compression: Compression,
    env: &Env,
) -> Result<(ArchiveHeader, Reader, u64)> {
    let mut maker = Maker {
        tar: BufReader::with_capacity(BUFFER, tar),
        whole: Hasher::new(Algorithm::Sha256),
        position: 0,
        encoder: PieceEncoder::new(Compression::Zstd, Level::Fast)?,
        piece: Vec::new(),
        frames: Spool::new(env.tmpdir.clone()),
    };
    let mut layers: Vec<Part> = Vec::new();
    for member in members {
        let Member { offset, part } = *member;
        let before = offset.checked_sub(maker.position).filter(|_| part.size > 0);
        let Some(before) = before else {
            let message = "layers of the archive overlap, or have no bytes";
            return Err(Error::new(Code::BadManifest, message));
        };
        let known = layers.iter().position(|layer| *layer == part);
        let place = known.unwrap_or(layers.len());
        if known.is_none() {
            layers.push(part);
        }
        maker.literal(before, place as u64 + 1, env)?;
        let found = maker.layer(part.size, env)?;
        if found != part.diff_id {
            return Err(Error::mismatch(
                "a layer of the archive",
                part.diff_id,
                found,
            ));
        }
    }
    let rest = length.checked_sub(maker.position);
    let rest = rest.ok_or_else(|| shorter(length, maker.position))?;
    if rest > 0 {
        maker.literal(rest, 0, env)?;
    }
    if !maker.tar.fill_buf().map_err(Error::from_io)?.is_empty() {
        let found = format!("more than {length} bytes");
        return Err(Error::mismatch("the length of the archive", length, found));
    }
    maker.pack()?;
    let header = ArchiveHeader {
        digest: maker.whole.finish(),
        length,
        compression,
        layers,
    };
    let begin = header.to_bytes();
    let size = begin.len() as u64 + maker.frames.size();
    let rest = maker.frames.into_reader()?;
    Ok((header, Box::new(Cursor::new(begin).chain(rest)), size))
}

fn shorter(expected: u64, found: u64) -> Error {
    Error::mismatch("the length of the archive", expected, found)
}

/// Makes the instructions.
struct Maker {
    tar: BufReader<Reader>,
    whole: Hasher,
    position: u64,
    encoder: PieceEncoder,
    piece: Vec<u8>,
    frames: Spool,
}

impl Maker {
    /// Puts the next bytes of the archive into the record, and then the place of a layer, or 0.
    fn literal(&mut self, mut count: u64, layer: u64, env: &Env) -> Result<()> {
        loop {
            let run = count.min(RUN);
            count -= run;
            number::put(&mut self.piece, run);
            self.take(run, env, |piece, bytes| piece.extend_from_slice(bytes))?;
            let last = count == 0;
            number::put(&mut self.piece, if last { layer } else { 0 });
            if self.piece.len() >= PIECE {
                self.pack()?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Passes over a layer, and returns its digest.
    fn layer(&mut self, count: u64, env: &Env) -> Result<Digest> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        self.take(count, env, |_, bytes| hasher.update(bytes))?;
        Ok(hasher.finish())
    }

    /// Reads the next bytes of the archive.
    fn take(
        &mut self,
        count: u64,
        env: &Env,
        mut each: impl FnMut(&mut Vec<u8>, &[u8]),
    ) -> Result<()> {
        let mut left = count;
        while left > 0 {
            env.check_cancelled()?;
            let there = self.tar.fill_buf().map_err(Error::from_io)?;
            if there.is_empty() {
                return Err(shorter(self.position + left, self.position));
            }
            let some = usize::try_from(left).map_or(there.len(), |left| left.min(there.len()));
            self.whole.update(&there[..some]);
            each(&mut self.piece, &there[..some]);
            self.tar.consume(some);
            self.position += some as u64;
            left -= some as u64;
        }
        Ok(())
    }

    /// Compresses the instructions so far.
    fn pack(&mut self) -> Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let frame = self.encoder.compress(&self.piece)?;
        self.piece.clear();
        self.frames.write(&frame)
    }
}

/// A record of an archive whose header was read.
pub struct ArchiveRecord {
    header: ArchiveHeader,
    body: Reader,
    limits: Limits,
    what: String,
}

impl fmt::Debug for ArchiveRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveRecord")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl ArchiveRecord {
    /// Reads the header of a record; `what` names the record in messages.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the header is malformed, [`Code::Unsupported`] for another version,
    /// [`Code::Limit`] if the tar is larger than `image_bytes`, or has more than `layers` layers.
    pub fn open(mut record: Reader, limits: &Limits, what: &str) -> Result<Self> {
        let header = ArchiveHeader::read(&mut record, limits).map_err(|error| error.at(what))?;
        if header.length > limits.image_bytes {
            let limit = limits.image_bytes;
            return Err(Limits::exceeded("image_bytes", limit, "the tar of the record").at(what));
        }
        Ok(Self {
            header,
            body: record,
            limits: *limits,
            what: what.to_owned(),
        })
    }

    /// Returns the facts of the header.
    pub fn header(&self) -> &ArchiveHeader {
        &self.header
    }

    /// Returns the tar, made of the record and of the uncompressed layers, which `open` opens by their position
    /// in the header. The end of the tar is an error unless its length and its SHA-256 are those of the header.
    ///
    /// # Errors
    /// [`Code::BadCompression`] if the instructions are not compressed with zstd.
    pub fn rebuild(self, open: OpenLayer) -> Result<Reader> {
        let Self {
            header,
            body,
            limits,
            what,
        } = self;
        let facts = Facts {
            digest: Some(header.digest),
            size: Some(header.length),
        };
        let body = Decoder::new(body, &limits, &Notes::default(), &what)
            .map_err(|error| error.at(&*what))?;
        if body.compression() != Compression::Zstd {
            let message = "the instructions of the record are not compressed with zstd";
            return Err(Error::new(Code::BadCompression, message).at(what));
        }
        let rebuilt = Rebuilt {
            body: BufReader::with_capacity(64 << 10, body),
            open,
            left: header.length,
            layers: header.layers,
            state: State::Between,
            what,
        };
        Ok(Box::new(Verified::new(rebuilt, &facts, "the archive")))
    }
}

/// Opens an uncompressed layer by its position in the header of a record.
pub type OpenLayer = Box<dyn FnMut(usize) -> Result<Reader> + Send>;

/// The tar.
struct Rebuilt {
    body: BufReader<Decoder>,
    open: OpenLayer,
    layers: Vec<Part>,
    /// The bytes of the tar that are still to be made.
    left: u64,
    state: State,
    what: String,
}

enum State {
    /// The next instruction has to be read.
    Between,
    /// Literal bytes that are left; false if the instruction has none.
    Literal(u64, bool),
    /// The bytes of a layer that are left.
    Layer(Reader, u64),
}

impl Rebuilt {
    fn advance(&mut self, out: &mut [u8]) -> Result<usize> {
        let bad = |message: &str| Error::new(Code::BadManifest, message);
        let large = || bad("the record makes more bytes than its header says");
        loop {
            match &mut self.state {
                State::Between if self.left == 0 => {
                    let more = self.body.fill_buf().map_err(Error::from_io)?;
                    return match more.is_empty() {
                        true => Ok(0),
                        false => Err(bad("the record goes on after the end of the tar")),
                    };
                }
                State::Between => {
                    let count = number::get(&mut self.body)?;
                    if count > self.left {
                        return Err(large());
                    }
                    self.state = State::Literal(count, count > 0);
                }
                State::Literal(0, some) => {
                    let place = number::get(&mut self.body)?;
                    if place == 0 {
                        if !*some {
                            return Err(bad("an instruction of the record makes nothing"));
                        }
                        self.state = State::Between;
                        continue;
                    }
                    let place = usize::try_from(place - 1).ok();
                    let layer = place.and_then(|place| Some((place, self.layers.get(place)?.size)));
                    let Some((place, size)) = layer else {
                        return Err(bad("the record uses a layer that its header does not list"));
                    };
                    if size > self.left {
                        return Err(large());
                    }
                    self.state = State::Layer((self.open)(place)?, size);
                }
                State::Literal(left, _) => {
                    let most = usize::try_from(*left).map_or(out.len(), |left| left.min(out.len()));
                    let read = self.body.read(&mut out[..most]).map_err(Error::from_io)?;
                    if read == 0 {
                        return Err(bad("the record ends too early"));
                    }
                    *left -= read as u64;
                    self.left -= read as u64;
                    return Ok(read);
                }
                State::Layer(layer, left) => {
                    if *left == 0 {
                        // The layer is read to its end, where its reader verifies the layer.
                        if layer.read(&mut [0]).map_err(Error::from_io)? != 0 {
                            return Err(bad("a layer is longer than the header says"));
                        }
                        self.state = State::Between;
                        continue;
                    }
                    let most = usize::try_from(*left).map_or(out.len(), |left| left.min(out.len()));
                    let read = layer.read(&mut out[..most]).map_err(Error::from_io)?;
                    if read == 0 {
                        return Err(bad("a layer is shorter than the header says"));
                    }
                    *left -= read as u64;
                    self.left -= read as u64;
                    return Ok(read);
                }
            }
        }
    }
}

impl Read for Rebuilt {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.advance(out)
            .map_err(|error| error.at(&*self.what).into())
    }
}
