//! Records of whole archives: all bytes of a tar but the layers in it, which are whole members there.
//!
//! An archive of images (`docker save` before Docker 1.10) has its layers in any order, and may have a layer
//! more than once. So a record lists the layers by their digests, and an instruction takes a whole one. The
//! record is hostile input: every number is checked before it is used, and the memory is fixed. The last byte of the
//! tar is given only after everything was compared: the record itself with the composed digest of the header, and
//! each layer with its diff ID. Version 1 has the SHA-256 of the tar in place of the composed digest; such records
//! are read, and not made.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, BufRead as _, BufReader, Cursor, Read},
    ops::Range,
};

use imgconv_model::{
    Algorithm, Code, Compression, Digest, Env, Error, Facts, Limits, ReadAt, Reader, Result,
};
use imgconv_stream::{Decoder, Hasher, Level, PieceEncoder, Verified};

use crate::{
    header::{COMPRESSIONS, code},
    number::{self, ended},
    read::{check_length, instructions, part as fitting},
    spool::Spool,
};

/// The first bytes of a record.
const MAGIC: [u8; 8] = *b"\x89SAVREV\n";
/// The version of the format.
const VERSION: u16 = 2;
/// The version whose digest is that of the tar.
const OF_TAR: u16 = 1;
/// The bytes of the header in front of the list of layers.
const SIZE: usize = 64;
/// The bytes of one layer in the list.
const LAYER: usize = 40;
/// The bytes of instructions in one frame.
const PIECE: usize = 4 << 20;
/// The longest run of literal bytes of one instruction.
const RUN: u64 = 256 << 10;
/// The bytes that every record may hold itself, and how many more for each byte of the record: headers and padding
/// compress well, but a small record with many bytes is a bomb.
const HELD: u64 = 64 << 20;
const HELD_RATIO: u64 = 1000;

/// The most bytes that a record of that size may hold itself.
fn most_held(size: u64) -> u64 {
    size.saturating_mul(HELD_RATIO).saturating_add(HELD)
}

/// The facts about a record of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// The digest by which the record names its archive.
    pub digest: Digest,
    /// Whether the digest is composed of the layers' digests and of the other bytes, as in version 2; or else it is the
    /// SHA-256 of the tar.
    pub composed: bool,
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

impl Part {
    fn to_bytes(self) -> [u8; LAYER] {
        let mut bytes = [0; LAYER];
        bytes[..32].copy_from_slice(self.diff_id.hash());
        bytes[32..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }
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
        let version = if self.composed { VERSION } else { OF_TAR };
        put(8, &version.to_le_bytes());
        put(10, &[code(&COMPRESSIONS, &self.compression)]);
        put(12, &place(self.layers.len()).to_le_bytes());
        put(16, &self.length.to_le_bytes());
        put(32, self.digest.hash());
        for layer in &self.layers {
            bytes.extend_from_slice(&layer.to_bytes());
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
        if !(OF_TAR..=VERSION).contains(&version) {
            let message = format!("the record has version {version}, expected at most {VERSION}");
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
        let (mut layers, mut known): (Vec<Part>, _) = (Vec::new(), BTreeSet::new());
        for _ in 0..count {
            let mut one = [0; LAYER];
            source.read_exact(&mut one).map_err(ended)?;
            bytes.extend_from_slice(&one);
            let layer = Part {
                diff_id: Digest::new(Algorithm::Sha256, &one[..32]),
                size: u64::from_le_bytes(part(&one[32..])),
            };
            if !known.insert(layer.diff_id) || layer.size == 0 {
                return Err(bad(
                    "the header lists a layer twice, or a layer without bytes",
                ));
            }
            layers.push(layer);
        }
        let header = Self {
            digest: Digest::new(Algorithm::Sha256, &bytes[32..64]),
            composed: version == VERSION,
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

/// The composed digest of an archive: the SHA-256 over the header's facts, and for each layer and the end of the tar
/// the bytes in front of it, their number, and the place of the layer. So the digest depends neither on the compression of the
/// record nor on how its runs of bytes are cut.
struct Composed {
    hasher: Hasher,
    /// The bytes since the last layer.
    run: u64,
}

impl Composed {
    fn begin(length: u64, layers: &[Part]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&MAGIC);
        hasher.update(&VERSION.to_le_bytes());
        hasher.update(&length.to_le_bytes());
        hasher.update(&place(layers.len()).to_le_bytes());
        for layer in layers {
            hasher.update(&layer.to_bytes());
        }
        Self { hasher, run: 0 }
    }

    fn literal(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.run += bytes.len() as u64;
    }

    /// Notes a layer by its place, counted from 1; the end of the tar has the place 0.
    fn layer(&mut self, place: u32) {
        self.hasher.update(&self.run.to_le_bytes());
        self.hasher.update(&place.to_le_bytes());
        self.run = 0;
    }

    fn finish(mut self) -> Digest {
        self.layer(0);
        self.hasher.finish()
    }
}

/// A place in the list of layers. Longer lists than 2^32 are not read or made.
fn place(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Makes the record of an archive. `tar` is the whole uncompressed archive of `length` bytes; `members` are the layers
/// that need not be in the record, by rising offsets. The layers are not read: the caller knows that their bytes have these
/// digests, and `tar` has to refuse bytes that changed since. Returns the header, the record and its size.
///
/// # Errors
/// [`Code::BadManifest`] if layers overlap or end behind the archive, [`Code::Unsupported`] for so many bytes of no
/// layer that no reader takes the record, and the errors of reading.
pub fn record_archive(
    tar: &dyn ReadAt,
    length: u64,
    members: &[Member],
    compression: Compression,
    env: &Env,
) -> Result<(ArchiveHeader, Reader, u64)> {
    let misplaced = || {
        let message = "layers of the archive overlap, or have no bytes";
        Error::new(Code::BadManifest, message)
    };
    let mut layers: Vec<Part> = Vec::new();
    let mut places = Vec::with_capacity(members.len());
    let mut known: BTreeMap<Digest, usize> = BTreeMap::new();
    for Member { part, .. } in members {
        let place = *known.entry(part.diff_id).or_insert(layers.len());
        if place == layers.len() {
            layers.push(*part);
        }
        if layers[place] != *part {
            return Err(misplaced());
        }
        places.push(place);
    }
    let mut maker = Maker {
        tar,
        held: 0,
        composed: Composed::begin(length, &layers),
        encoder: PieceEncoder::new(Compression::Zstd, Level::Fast)?,
        piece: Vec::new(),
        frames: Spool::new(env.tmpdir.clone()),
    };
    let mut position = 0;
    for (Member { offset, part }, number) in members.iter().zip(places) {
        if *offset < position || part.size == 0 {
            return Err(misplaced());
        }
        maker.literal(position..*offset, place(number + 1), env)?;
        position = offset.checked_add(part.size).ok_or_else(misplaced)?;
    }
    if position > length {
        return Err(misplaced());
    }
    if position < length {
        maker.literal(position..length, 0, env)?;
    }
    maker.pack()?;
    let header = ArchiveHeader {
        digest: maker.composed.finish(),
        composed: true,
        length,
        compression,
        layers,
    };
    let begin = header.to_bytes();
    let size = begin.len() as u64 + maker.frames.size();
    if maker.held > most_held(size) {
        let held = maker.held;
        let message = format!(
            "{held} bytes of the archive belong to no layer and compress to {size}, which readers of records refuse"
        );
        return Err(Error::new(Code::Unsupported, message).hint("leave `--reversible` out"));
    }
    let rest = maker.frames.into_reader()?;
    Ok((header, Box::new(Cursor::new(begin).chain(rest)), size))
}

/// Makes the instructions.
struct Maker<'a> {
    tar: &'a dyn ReadAt,
    /// The bytes that the record itself holds.
    held: u64,
    composed: Composed,
    encoder: PieceEncoder,
    piece: Vec<u8>,
    frames: Spool,
}

impl Maker<'_> {
    /// Puts bytes of the archive into the record, and then the place of a layer, or 0.
    fn literal(&mut self, range: Range<u64>, layer: u32, env: &Env) -> Result<()> {
        self.held += range.end - range.start;
        let mut at = range.start;
        loop {
            env.check_cancelled()?;
            let run = RUN.min(range.end - at);
            number::put(&mut self.piece, run);
            let begin = self.piece.len();
            self.piece.resize(begin + run as usize, 0);
            let read = self.tar.read_exact_at(&mut self.piece[begin..], at);
            read.map_err(Error::from_io)?;
            self.composed.literal(&self.piece[begin..]);
            at += run;
            let last = at == range.end;
            number::put(&mut self.piece, if last { u64::from(layer) } else { 0 });
            if self.piece.len() >= PIECE {
                self.pack()?;
            }
            if last {
                if layer > 0 {
                    self.composed.layer(layer);
                }
                return Ok(());
            }
        }
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
    /// How often each layer may still be used; no bound for a layer that is not in the list.
    uses: Vec<u64>,
    /// The most bytes that the record may hold itself.
    most: u64,
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
        check_length(header.length, limits).map_err(|error| error.at(what))?;
        Ok(Self {
            header,
            body: record,
            uses: Vec::new(),
            most: u64::MAX,
            limits: *limits,
            what: what.to_owned(),
        })
    }

    /// Returns the facts of the header.
    pub fn header(&self) -> &ArchiveHeader {
        &self.header
    }

    /// Bounds what the record may make by what a true record of the image makes: each layer at most as often as the
    /// image has the layer, `uses` by the position in the header, and as many bytes of its own as a record of `size`
    /// bytes may hold. The caller knows that the record has this size.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the archive is said to be larger.
    pub fn bounded(mut self, size: u64, uses: Vec<u64>) -> Result<Self> {
        let layers = self.header.layers.iter().zip(&uses);
        let layers = layers.map(|(part, uses)| u128::from(part.size) * u128::from(*uses));
        self.most = most_held(size);
        let most = layers.sum::<u128>() + u128::from(self.most);
        let length = self.header.length;
        if u128::from(length) > most {
            let message = format!(
                "the record says that the archive has {length} bytes, but its layers and the record give {most} at most"
            );
            return Err(Error::new(Code::BadManifest, message).at(self.what));
        }
        self.uses = uses;
        Ok(self)
    }

    /// Returns the tar, made of the record and of the uncompressed layers, which `open` opens by their position
    /// in the header. The last bytes of the tar are an error unless the record has the digest of its header, and each
    /// layer its diff ID and its size. A tar whose record has the tar's own SHA-256 ends with an error if it has another.
    ///
    /// # Errors
    /// [`Code::BadCompression`] if the instructions are not compressed with zstd.
    pub fn rebuild(self, open: OpenLayer) -> Result<Reader> {
        let facts = Facts {
            digest: (!self.header.composed).then_some(self.header.digest),
            size: Some(self.header.length),
        };
        let rebuilt = self.instructed(Some(open))?;
        Ok(Box::new(Verified::new(rebuilt, &facts, "the archive")))
    }

    /// Reads all instructions without the layers. A record of version 2 that passes makes the archive that its header
    /// names, or none; one of version 1 may still make another archive.
    ///
    /// # Errors
    /// The first fault of the record.
    pub fn check(self) -> Result<()> {
        let mut rebuilt = self.instructed(None)?;
        io::copy(&mut rebuilt, &mut io::sink()).map_err(Error::from_io)?;
        Ok(())
    }

    /// Returns the tar as the instructions make it, without a check of the tar's own digest. Without layers, their bytes are left
    /// out.
    fn instructed(self, open: Option<OpenLayer>) -> Result<Rebuilt> {
        let Self {
            header,
            body,
            uses,
            most,
            limits,
            what,
        } = self;
        let composed = header.composed.then(|| {
            let composed = Composed::begin(header.length, &header.layers);
            (header.digest, composed)
        });
        Ok(Rebuilt {
            composed,
            first: 0,
            body: instructions(body, &limits, &what)?,
            open,
            left: header.length,
            layers: header.layers,
            uses,
            most,
            state: State::Between,
            what,
        })
    }
}

/// Opens an uncompressed layer by its position in the header of a record.
pub type OpenLayer = Box<dyn FnMut(usize) -> Result<Reader> + Send>;

/// The tar.
struct Rebuilt {
    body: BufReader<Decoder>,
    /// `None` if the bytes of the layers are left out.
    open: Option<OpenLayer>,
    layers: Vec<Part>,
    /// How often each layer may still be used.
    uses: Vec<u64>,
    /// The most bytes that the record may still hold itself.
    most: u64,
    /// The digest that the record has to have, and its state; `None` in version 1, and at the end.
    composed: Option<(Digest, Composed)>,
    /// The layers that were used: they are listed in the order of their first use.
    first: usize,
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
    Layer(Box<Verified<Reader>>, u64),
    /// The record is refused.
    Failed,
}

impl Rebuilt {
    fn advance(&mut self, out: &mut [u8]) -> Result<usize> {
        let bad = |message: &str| Error::new(Code::BadManifest, message);
        let large = || bad("the record makes more bytes than its header says");
        loop {
            match &mut self.state {
                State::Between if self.left == 0 => {
                    let more = self.body.fill_buf().map_err(Error::from_io)?;
                    if !more.is_empty() {
                        return Err(bad("the record goes on after the end of the tar"));
                    }
                    if let Some((expected, composed)) = self.composed.take() {
                        let found = composed.finish();
                        if self.first != self.layers.len() {
                            return Err(bad(
                                "the header lists a layer that the record does not use",
                            ));
                        }
                        if found != expected {
                            return Err(Error::mismatch("the composed digest", expected, found));
                        }
                    }
                    return Ok(0);
                }
                State::Between => {
                    let count = number::get(&mut self.body)?;
                    if count > self.left {
                        return Err(large());
                    }
                    self.most = self.most.checked_sub(count).ok_or_else(|| {
                        bad("the record holds more bytes itself than a record of its size may hold")
                    })?;
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
                    if self.composed.is_some() && place > self.first {
                        return Err(bad(
                            "the header lists the layers in another order than the record uses them",
                        ));
                    }
                    self.first = self.first.max(place + 1);
                    if let Some((_, composed)) = &mut self.composed {
                        composed.layer(crate::archive::place(place + 1));
                    }
                    if let Some(uses) = self.uses.get_mut(place) {
                        let left = uses.checked_sub(1);
                        *uses = left.ok_or_else(|| {
                            bad("the record uses a layer more often than the image has the layer")
                        })?;
                    }
                    self.state = match &mut self.open {
                        Some(open) => {
                            let facts = Facts {
                                digest: Some(self.layers[place].diff_id),
                                size: Some(size),
                            };
                            let layer = Verified::new(open(place)?, &facts, "a layer");
                            State::Layer(Box::new(layer), size)
                        }
                        None => {
                            self.left -= size;
                            State::Between
                        }
                    };
                }
                State::Literal(left, _) => {
                    let most = fitting(out, *left);
                    let read = self.body.read(&mut out[..most]).map_err(Error::from_io)?;
                    if read == 0 {
                        return Err(bad("the record ends too early"));
                    }
                    *left -= read as u64;
                    self.left -= read as u64;
                    if let Some((_, composed)) = &mut self.composed {
                        composed.literal(&out[..read]);
                    }
                    return Ok(read);
                }
                State::Layer(layer, left) => {
                    if *left == 0 {
                        // The layer is read to its end, where it is verified: a longer one is an error there.
                        let _ = layer.read(&mut [0]).map_err(Error::from_io)?;
                        self.state = State::Between;
                        continue;
                    }
                    let most = fitting(out, *left);
                    // A layer that is too short is an error at its end.
                    let read = layer.read(&mut out[..most]).map_err(Error::from_io)?;
                    *left -= read as u64;
                    self.left -= read as u64;
                    return Ok(read);
                }
                State::Failed => return Err(bad("the record was refused before")),
            }
        }
    }

    /// Reads on, and also to the end of the record behind the last bytes of the tar, so that these bytes are given only if
    /// everything is verified.
    fn verified(&mut self, out: &mut [u8]) -> Result<usize> {
        let count = self.advance(out)?;
        if self.left == 0 && count > 0 {
            self.advance(&mut [0])?;
        }
        Ok(count)
    }
}

impl Read for Rebuilt {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.verified(out).map_err(|error| {
            self.state = State::Failed;
            error.at(&*self.what).into()
        })
    }
}
