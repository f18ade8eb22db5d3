//! Builds tar streams field by field, without the crate under test, and reads them in every way.

use imgconv_model::{Code, Error, Limits, Notes, Warning};
use imgconv_tar::{Entry, Reader};
use std::io::{self, ErrorKind, Read};

pub(crate) const USTAR: &[u8; 8] = b"ustar\x0000";
pub(crate) const GNU: &[u8; 8] = b"ustar  \0";
pub(crate) const V7: &[u8; 8] = &[0; 8];
pub(crate) const END: [u8; 1024] = [0; 1024];

/// Octal digits and a NUL.
pub(crate) fn octal(value: u64, width: usize) -> Vec<u8> {
    format!("{value:0digits$o}\0", digits = width - 1).into_bytes()
}

/// Base-256: two's complement with the first bit set.
pub(crate) fn b256(value: i128, width: usize) -> Vec<u8> {
    let mut bytes = value.to_be_bytes()[16 - width..].to_vec();
    bytes[0] |= 0x80;
    bytes
}

/// Fills the last block.
pub(crate) fn pad(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(bytes.len().next_multiple_of(512), 0);
    out
}

/// A header block with its body; every field can be set to any bytes.
#[derive(Clone)]
pub(crate) struct Block {
    bytes: [u8; 512],
    data: Vec<u8>,
    sum: Option<i64>,
}

/// A header without data.
pub(crate) fn hdr(name: &[u8], size: u64) -> Block {
    let block = Block {
        bytes: [0; 512],
        data: Vec::new(),
        sum: None,
    };
    block
        .put(0, name, 100)
        .put(100, &octal(0o644, 8), 8)
        .put(108, &octal(0, 8), 8)
        .put(116, &octal(0, 8), 8)
        .put(124, &octal(size, 12), 12)
        .put(136, &octal(0, 12), 12)
        .put(156, b"0", 1)
        .magic(USTAR)
}

/// A header with its data.
pub(crate) fn ent(name: &[u8], data: &[u8]) -> Block {
    let mut block = hdr(name, data.len() as u64);
    block.data = pad(data);
    block
}

impl Block {
    fn put(mut self, offset: usize, bytes: &[u8], width: usize) -> Self {
        let length = bytes.len().min(width);
        self.bytes[offset..offset + width].fill(0);
        self.bytes[offset..offset + length].copy_from_slice(&bytes[..length]);
        self
    }
    pub(crate) fn mode(self, raw: &[u8]) -> Self {
        self.put(100, raw, 8)
    }
    pub(crate) fn uid(self, raw: &[u8]) -> Self {
        self.put(108, raw, 8)
    }
    pub(crate) fn gid(self, raw: &[u8]) -> Self {
        self.put(116, raw, 8)
    }
    pub(crate) fn size(self, raw: &[u8]) -> Self {
        self.put(124, raw, 12)
    }
    pub(crate) fn mtime(self, raw: &[u8]) -> Self {
        self.put(136, raw, 12)
    }
    pub(crate) fn flag(self, flag: u8) -> Self {
        self.put(156, &[flag], 1)
    }
    pub(crate) fn link(self, link: &[u8]) -> Self {
        self.put(157, link, 100)
    }
    /// Sets the magic; with a magic that is not blank, the device fields are 0, not blank.
    pub(crate) fn magic(self, magic: &[u8; 8]) -> Self {
        let zero = if magic == V7 { vec![] } else { octal(0, 8) };
        self.put(257, magic, 8)
            .put(329, &zero, 8)
            .put(337, &zero, 8)
    }
    pub(crate) fn owner(self, uname: &[u8], gname: &[u8]) -> Self {
        self.put(265, uname, 32).put(297, gname, 32)
    }
    pub(crate) fn device(self, major: &[u8], minor: &[u8]) -> Self {
        self.put(329, major, 8).put(337, minor, 8)
    }
    pub(crate) fn prefix(self, prefix: &[u8]) -> Self {
        self.put(345, prefix, 155)
    }
    /// Sets the bytes from offset 345 on.
    pub(crate) fn tail(self, tail: &[u8]) -> Self {
        self.put(345, tail, tail.len())
    }
    /// Sets the checksum, right or wrong.
    pub(crate) fn sum(mut self, sum: i64) -> Self {
        self.sum = Some(sum);
        self
    }
    /// Sums the block up over signed bytes, as some old writers did.
    pub(crate) fn signed_sum(mut self) -> Self {
        let block = self.clone().bytes();
        let field = 148..156;
        let other = (0..512).filter(|i| !field.contains(i));
        let sum: i64 = other.map(|i| i64::from(block[i] as i8)).sum();
        self.sum = Some(sum + 8 * 32);
        self
    }
    /// Returns header and data.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.bytes[148..156].fill(b' ');
        let sum = self.bytes.iter().map(|b| i64::from(*b)).sum();
        let sum = format!("{:06o}\0 ", self.sum.unwrap_or(sum));
        self.bytes[148..156].copy_from_slice(sum.as_bytes());
        [&self.bytes[..], &self.data].concat()
    }
}

/// A PAX record, which counts its own length.
pub(crate) fn rec(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let body = [b" ", key.as_ref(), b"=", value.as_ref(), b"\n"].concat();
    let length = (1..).find(|n: &usize| n.to_string().len() + body.len() == *n);
    let length = length.expect("some length counts itself");
    [length.to_string().as_bytes(), &body].concat()
}

/// A PAX header with the given payload.
pub(crate) fn pax_block(payload: &[u8]) -> Block {
    ent(b"PaxHeaders.0/x", payload).flag(b'x')
}

/// A PAX header with the given records.
pub(crate) fn pax(records: &[Vec<u8>]) -> Vec<u8> {
    pax_block(&records.concat()).bytes()
}

/// A global PAX header.
pub(crate) fn global(records: &[Vec<u8>]) -> Vec<u8> {
    pax_block(&records.concat()).flag(b'g').bytes()
}

/// A GNU long name (`L`) or long link target (`K`).
pub(crate) fn gnul(payload: &[u8], flag: u8) -> Vec<u8> {
    ent(b"././@LongLink", payload).flag(flag).magic(GNU).bytes()
}

/// A member that hides in the body of another one.
pub(crate) fn inner() -> Vec<u8> {
    ent(b"evil", b"x").bytes()
}

/// The hidden member, a member after it, and the end.
pub(crate) fn tail() -> Vec<u8> {
    [inner(), ent(b"after", b"a").bytes(), END.to_vec()].concat()
}

/// A plain member and the end.
pub(crate) fn raw() -> Vec<u8> {
    [ent(b"raw", b"a").bytes(), END.to_vec()].concat()
}

/// The same with GNU magic.
pub(crate) fn raw_gnu() -> Vec<u8> {
    [ent(b"raw", b"a").magic(GNU).bytes(), END.to_vec()].concat()
}

/// The map slots of old GNU sparse headers.
pub(crate) fn slots(chunks: &[(u64, u64)]) -> Vec<u8> {
    let slot = |(offset, length): &(u64, u64)| [octal(*offset, 12), octal(*length, 12)].concat();
    chunks.iter().flat_map(slot).collect()
}

/// An old GNU sparse member `sp` whose map fits into its header.
pub(crate) fn old_sparse(data: &[u8], chunks: &[(u64, u64)], real: u64) -> Block {
    old_sparse_raw(data, &slots(chunks), false, &octal(real, 12))
}

/// The same with raw slots, the mark of an extension block, and a raw size.
pub(crate) fn old_sparse_raw(data: &[u8], slots: &[u8], extended: bool, real: &[u8]) -> Block {
    let mut tail = [0; 167];
    tail[41..41 + slots.len()].copy_from_slice(slots);
    tail[137] = u8::from(extended);
    tail[138..138 + real.len()].copy_from_slice(real);
    ent(b"sp", data).flag(b'S').magic(GNU).tail(&tail)
}

/// An extension block with up to 21 slots.
pub(crate) fn extension(slots: &[u8], extended: bool) -> Vec<u8> {
    let mut block = [0; 512];
    block[..slots.len()].copy_from_slice(slots);
    block[504] = u8::from(extended);
    block.to_vec()
}

/// The complete result of reading a stream once.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) members: Vec<(Entry, Vec<u8>)>,
    pub(crate) error: Option<(Code, String)>,
    pub(crate) warnings: Vec<Warning>,
}

impl Outcome {
    pub(crate) fn entry(&self) -> &Entry {
        &self.members[0].0
    }
}

/// Reads members and bodies with a buffer of that size (0: bodies are skipped).
fn read_with<R: Read>(source: R, limits: &Limits, buffer: usize) -> Outcome {
    let notes = Notes::default();
    let mut reader = Reader::new(source, limits, &notes, "layer 3");
    let mut members = Vec::new();
    let error = loop {
        match reader.next_entry() {
            Ok(None) => break None,
            Err(error) => break Some(error),
            Ok(Some(entry)) => {
                let mut body = Vec::new();
                let error = (buffer > 0).then(|| read_body(&mut reader, buffer, &mut body));
                members.push((entry, body));
                if let Some(Err(error)) = error {
                    break Some(Error::from_io(error));
                }
            }
        }
    };
    match (&error, reader.next_entry()) {
        (None, again) => assert_eq!(again.expect("the end stays the end"), None),
        (Some(_), again) => assert!(again.is_err(), "an error stays an error"),
    }
    let error = error.map(|error| (error.code(), error.to_string()));
    let warnings = notes.take().warnings;
    Outcome {
        members,
        error,
        warnings,
    }
}

fn read_body(reader: &mut impl Read, buffer: usize, body: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = vec![0; buffer];
    loop {
        assert_eq!(reader.read(&mut [])?, 0, "an empty buffer reads nothing");
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            n => body.extend_from_slice(&buffer[..n]),
        }
    }
}

/// A source of a few bytes at a time, interrupted before each read.
struct Slow<'a> {
    bytes: &'a [u8],
    most: usize,
    interrupt: bool,
}

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(ErrorKind::Interrupted.into());
        }
        let n = buf.len().min(self.most);
        self.bytes.read(&mut buf[..n])
    }
}

/// Reads a stream in pieces of at most `most` bytes, with interruptions.
pub(crate) fn read_slowly(bytes: &[u8], most: usize, limits: &Limits) -> Outcome {
    let interrupt = false;
    let slow = Slow {
        bytes,
        most,
        interrupt,
    };
    read_with(slow, limits, 7000)
}

/// Reads a stream in one piece, byte by byte with interruptions, and without its bodies: each time
/// the result has to be the same (case E12). A member `evil` is never seen.
pub(crate) fn read_limited(bytes: &[u8], limits: &Limits) -> Outcome {
    let whole = read_with(bytes, limits, 1 << 16);
    let slow = read_slowly(bytes, 1, limits);
    assert_eq!(whole.members.len(), slow.members.len());
    assert!(whole == slow, "reads of one byte give another result");
    let skipped = read_with(bytes, limits, 0);
    let entries = |outcome: &Outcome| {
        outcome
            .members
            .iter()
            .map(|m| m.0.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        entries(&skipped),
        entries(&whole),
        "skipping bodies gives other entries"
    );
    let code = |outcome: &Outcome| outcome.error.as_ref().map(|(code, _)| *code);
    assert_eq!(
        code(&skipped),
        code(&whole),
        "skipping bodies gives another end"
    );
    assert_eq!(skipped.warnings, whole.warnings);
    for (entry, body) in &whole.members {
        assert_ne!(entry.path, b"evil", "a hidden member was seen");
        assert!(entry.size == body.len() as u64 || whole.error.is_some());
    }
    whole
}

/// Reads a stream with the default limits.
pub(crate) fn read(bytes: &[u8]) -> Outcome {
    read_limited(bytes, &Limits::default())
}

/// Asserts exactly these members, no error, no warning.
#[track_caller]
pub(crate) fn works(bytes: &[u8], expected: &[(&str, u64)]) -> Outcome {
    let outcome = works_with_warnings(bytes, expected);
    assert_eq!(outcome.warnings, []);
    outcome
}

/// Asserts the exact members, and exactly one warning with the code.
#[track_caller]
pub(crate) fn warns(bytes: &[u8], expected: &[(&str, u64)], code: &str) -> Outcome {
    let outcome = works_with_warnings(bytes, expected);
    let codes: Vec<_> = outcome
        .warnings
        .iter()
        .map(|warning| warning.code)
        .collect();
    assert_eq!(codes, [code]);
    assert!(outcome.warnings[0].at.starts_with("layer 3 › "));
    outcome
}

#[track_caller]
fn works_with_warnings(bytes: &[u8], expected: &[(&str, u64)]) -> Outcome {
    let outcome = read(bytes);
    assert_eq!(outcome.error, None);
    let name = |entry: &Entry| String::from_utf8_lossy(&entry.path).into_owned();
    let seen: Vec<_> = outcome
        .members
        .iter()
        .map(|m| (name(&m.0), m.0.size))
        .collect();
    let expected: Vec<_> = expected.iter().map(|m| (m.0.to_owned(), m.1)).collect();
    assert_eq!(seen, expected);
    outcome
}

/// Asserts an error with that code, whose text has `message` in it.
#[track_caller]
pub(crate) fn fails(bytes: &[u8], code: Code, message: &str) -> Outcome {
    fails_limited(bytes, &Limits::default(), code, message)
}

/// The same with other limits.
#[track_caller]
pub(crate) fn fails_limited(bytes: &[u8], limits: &Limits, code: Code, message: &str) -> Outcome {
    let outcome = read_limited(bytes, limits);
    let (found, text) = outcome.error.clone().expect("the stream has to be refused");
    assert_eq!(found, code, "{text}");
    assert!(text.contains(message), "{message:?} is not in {text:?}");
    assert!(text.contains("offset "), "no offset in {text:?}");
    outcome
}
