//! A tar as a list of members: bytes in, members out, the whole archive in memory.
//!
//! The rules are those of POSIX.1-2017 `pax` (ustar interchange format and its extended headers)
//! and of the GNU tar manual, "Standard Format" and "Sparse Formats":
//!
//! - A header is 512 bytes; numbers are octal, or base 256 where the first byte has its high bit.
//! - Records of an `x` header replace fields of the next member; `L` and `K` give long names.
//! - A sparse member is read as the file that it stands for, with its holes as zeros.
//! - Two blocks of zeros, or the end of the bytes, end the archive.
//!
//! The reader believes that the archive is one that the generator or the program made: it refuses
//! what it does not know, and says nothing about hostile input.

use std::collections::BTreeMap;

use crate::{Failure, Result};

const BLOCK: usize = 512;

/// The kind of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// One more name of an earlier member.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
}

/// One member, its fields taken from the header and the extended headers before the header.
#[derive(Clone, Debug)]
pub struct Member {
    /// The name as it is written.
    pub path: Vec<u8>,
    /// The kind.
    pub kind: Kind,
    /// The lowest twelve bits of the mode.
    pub mode: u32,
    /// The number of the owner.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds that count upward.
    pub mtime: (i64, u32),
    /// The target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes by their names.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The content of a file, holes as zeros.
    pub body: Vec<u8>,
    /// True for a file that is written with its holes.
    pub is_sparse: bool,
}

/// What extended headers said about the next member.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads all members of an archive.
///
/// # Errors
/// If the bytes are no archive of the known forms.
pub fn members(tar: &[u8]) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut extended = Extended::default();
    let mut at = 0;
    while at + BLOCK <= tar.len() {
        let header = &tar[at..at + BLOCK];
        at += BLOCK;
        if header.iter().all(|&byte| byte == 0) {
            break;
        }
        check_sum(header)?;
        let flag = header[156];
        let pax = |key: &str| last(&extended.pax, key);
        let size = match pax("size") {
            Some(text) if !matches!(flag, b'x' | b'g' | b'L' | b'K') => decimal(text)?,
            _ => number(&header[124..136])?,
        };
        let has_body = !matches!(flag, b'1'..=b'6');
        let size = usize::try_from(if has_body { size } else { 0 }).map_err(no)?;
        let extra = sparse_headers(tar, &mut at, header)?;
        let body = tar
            .get(at..at + size)
            .ok_or_else(|| wrong("a body is cut off"))?;
        at += size.next_multiple_of(BLOCK);
        match flag {
            b'x' => extended.pax = records(body)?,
            b'g' => {}
            b'L' => extended.path = Some(until_nul(body).to_vec()),
            b'K' => extended.link = Some(until_nul(body).to_vec()),
            _ => {
                let said = std::mem::take(&mut extended);
                members.push(member(header, &extra, body, said)?);
            }
        }
    }
    Ok(members)
}

fn member(header: &[u8], extra: &[u8], body: &[u8], said: Extended) -> Result<Member> {
    let pax = |key: &str| last(&said.pax, key);
    let is_old_sparse = header[156] == b'S';
    let is_posix = header[257..263] == *b"ustar\0";
    let mut path = until_nul(&header[..100]).to_vec();
    let prefix = until_nul(&header[345..500]);
    if is_posix && !prefix.is_empty() {
        path = [prefix, b"/", &path].concat();
    }
    let named = said.path.as_deref().or(pax("path"));
    if let Some(named) = pax("GNU.sparse.name").or(named) {
        path = named.to_vec();
    }
    let link = said.link.as_deref().or(pax("linkpath"));
    let link = link
        .unwrap_or_else(|| until_nul(&header[157..257]))
        .to_vec();
    let kind = match header[156] {
        0 | b'0' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(wrong(&format!("a member has type {other:#x}"))),
    };
    let id = |key: &str, field: &[u8]| {
        let value = pax(key).map_or_else(|| number(field), decimal)?;
        u32::try_from(value).map_err(no)
    };
    let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    let device = match is_device {
        true => (
            u32::try_from(number(&header[329..337])?).map_err(no)?,
            u32::try_from(number(&header[337..345])?).map_err(no)?,
        ),
        false => (0, 0),
    };
    let mtime = match pax("mtime") {
        Some(text) => time(text)?,
        None => (number(&header[136..148])?, 0),
    };
    let mut xattrs = BTreeMap::new();
    for (key, value) in &said.pax {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            xattrs.insert(name.to_vec(), value.clone());
        }
    }
    let body = match (kind, is_old_sparse) {
        (Kind::File, true) => old_sparse(header, extra, body)?,
        (Kind::File, false) => pax_sparse(&said.pax, body)?,
        _ => Vec::new(),
    };
    Ok(Member {
        kind,
        mode: u32::try_from(number(&header[100..108])? & 0o7777).map_err(no)?,
        uid: id("uid", &header[108..116])?,
        gid: id("gid", &header[116..124])?,
        path,
        mtime,
        link,
        device,
        xattrs,
        body,
        is_sparse: is_old_sparse
            || said
                .pax
                .iter()
                .any(|(key, _)| key.starts_with(b"GNU.sparse.")),
    })
}

/// The blocks with more of the map of an old GNU sparse member, which follow its header.
fn sparse_headers(tar: &[u8], at: &mut usize, header: &[u8]) -> Result<Vec<u8>> {
    let mut extra = Vec::new();
    let mut goes_on = header[156] == b'S' && header[482] != 0;
    while goes_on {
        let block = tar.get(*at..*at + BLOCK);
        let block = block.ok_or_else(|| wrong("a sparse map is cut off"))?;
        *at += BLOCK;
        extra.extend_from_slice(&block[..504]);
        goes_on = block[504] != 0;
    }
    Ok(extra)
}

/// GNU tar manual, "Old GNU Format": pairs of offset and length, and the real size.
fn old_sparse(header: &[u8], extra: &[u8], body: &[u8]) -> Result<Vec<u8>> {
    let mut map = Vec::new();
    for slot in header[386..482].chunks(24).chain(extra.chunks(24)) {
        if slot[0] != 0 {
            map.push((number(&slot[..12])?, number(&slot[12..])?));
        }
    }
    fill(&map, number(&header[483..495])?, body)
}

/// GNU tar manual, "PAX Format, Versions 0.0 and 0.1" and "Version 1.0".
fn pax_sparse(pax: &[(Vec<u8>, Vec<u8>)], body: &[u8]) -> Result<Vec<u8>> {
    let value = |key: &str| last(pax, key).map(decimal).transpose();
    if value("GNU.sparse.major")? == Some(1) {
        let real = value("GNU.sparse.realsize")?.ok_or_else(|| wrong("no real size"))?;
        let mut lines = body.split(|&byte| byte == b'\n');
        let mut used = 0;
        let mut next = || {
            let line = lines.next().unwrap_or_default();
            used += line.len() + 1;
            decimal(line)
        };
        let count = next()?;
        let map: Result<Vec<_>> = (0..count).map(|_| Ok((next()?, next()?))).collect();
        return fill(&map?, real, &body[used.next_multiple_of(BLOCK)..]);
    }
    let Some(real) = value("GNU.sparse.size")? else {
        return Ok(body.to_vec());
    };
    let numbers: Result<Vec<i64>> = match last(pax, "GNU.sparse.map") {
        Some(map) => map.split(|&byte| byte == b',').map(decimal).collect(),
        None => {
            let pairs = pax
                .iter()
                .filter(|(key, _)| key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes");
            pairs.map(|(_, value)| decimal(value)).collect()
        }
    };
    let map: Vec<_> = numbers?
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect();
    fill(&map, real, body)
}

/// Puts the pieces of a body at their offsets in a file of zeros.
fn fill(map: &[(i64, i64)], real: i64, mut body: &[u8]) -> Result<Vec<u8>> {
    let mut file = vec![0; usize::try_from(real).map_err(no)?];
    for (offset, length) in map {
        let offset = usize::try_from(*offset).map_err(no)?;
        let length = usize::try_from(*length).map_err(no)?;
        let piece = body
            .get(..length)
            .ok_or_else(|| wrong("a piece is cut off"))?;
        let place = file.get_mut(offset..offset + length);
        place
            .ok_or_else(|| wrong("a piece lies outside"))?
            .copy_from_slice(piece);
        body = &body[length..];
    }
    Ok(file)
}

/// POSIX `pax`: the sum of all bytes of the header, with the sum itself as spaces.
fn check_sum(header: &[u8]) -> Result<()> {
    let inside = |at: &usize| (148..156).contains(at);
    let bytes = header.iter().enumerate();
    let sum: i64 = bytes
        .map(|(at, byte)| if inside(&at) { 32 } else { i64::from(*byte) })
        .sum();
    match number(&header[148..156])? == sum {
        true => Ok(()),
        false => Err(wrong("a header has a wrong sum")),
    }
}

/// POSIX `pax`: records `LENGTH KEY=VALUE\n`; the length counts the whole record.
fn records(mut body: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut out = Vec::new();
    while !body.is_empty() {
        let space = body.iter().position(|&byte| byte == b' ');
        let space = space.ok_or_else(|| wrong("a record has no length"))?;
        let length = usize::try_from(decimal(&body[..space])?).map_err(no)?;
        let record = body.get(space + 1..length - 1);
        let record = record.ok_or_else(|| wrong("a record is cut off"))?;
        let equals = record.iter().position(|&byte| byte == b'=');
        let equals = equals.ok_or_else(|| wrong("a record has no value"))?;
        out.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        body = &body[length..];
    }
    Ok(out)
}

/// The value of the last record of a key.
fn last<'a>(records: &'a [(Vec<u8>, Vec<u8>)], key: &str) -> Option<&'a [u8]> {
    let mut found = records
        .iter()
        .rev()
        .filter(|(name, _)| name == key.as_bytes());
    found.next().map(|(_, value)| &value[..])
}

/// Octal digits between spaces and NULs, or base 256.
fn number(field: &[u8]) -> Result<i64> {
    if field[0] & 0x80 != 0 {
        let sign: i128 = if field[0] & 0x40 != 0 { -1 } else { 0 };
        let first = i128::from(field[0] & 0x7f) | (sign << 7);
        let value = field[1..]
            .iter()
            .fold(first, |value, byte| value << 8 | i128::from(*byte));
        return i64::try_from(value).map_err(no);
    }
    let text = String::from_utf8_lossy(until_nul(field)).into_owned();
    match text.trim() {
        "" => Ok(0),
        digits => i64::from_str_radix(digits, 8).map_err(no),
    }
}

fn decimal(text: &[u8]) -> Result<i64> {
    String::from_utf8_lossy(text).parse().map_err(no)
}

/// `[-]SECONDS[.FRACTION]`, cut to nanoseconds toward minus infinity.
fn time(text: &[u8]) -> Result<(i64, u32)> {
    let text = String::from_utf8_lossy(text).into_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let is_before = whole.starts_with('-');
    let seconds: i64 = whole.parse().map_err(no)?;
    let nanos: i64 = format!("{fraction:0<9}")[..9].parse().map_err(no)?;
    let (seconds, nanos) = match is_before && nanos > 0 {
        true => (seconds - 1, 1_000_000_000 - nanos),
        false => (seconds, nanos),
    };
    Ok((seconds, u32::try_from(nanos).map_err(no)?))
}

fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0);
    &field[..end.unwrap_or(field.len())]
}

fn no(error: impl std::fmt::Display) -> Failure {
    wrong(&error.to_string())
}

fn wrong(what: &str) -> Failure {
    Failure::new(format!("the model can't read a tar: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgconv_testkit::random;

    #[test]
    fn the_generator_writes_what_the_model_reads() {
        for seed in 0..200 {
            for mut layer in random::image(seed) {
                layer.make_sparse(&mut random::Random::new(seed));
                let read = members(&layer.tar()).unwrap();
                assert_eq!(read.len(), layer.items().count(), "seed {seed}");
                for (member, item) in read.iter().zip(layer.items()) {
                    let entry = &item.entry;
                    let time = (entry.mtime.seconds, entry.mtime.nanos);
                    assert_eq!(member.path, entry.path, "seed {seed}");
                    assert_eq!(member.link, entry.link, "seed {seed}");
                    assert_eq!(member.body, item.body, "seed {seed}");
                    assert_eq!(
                        (member.mode, member.mtime),
                        (entry.mode, time),
                        "seed {seed}"
                    );
                    assert_eq!(
                        (member.uid, member.gid),
                        (entry.uid, entry.gid),
                        "seed {seed}"
                    );
                    assert_eq!(member.device, entry.device, "seed {seed}");
                    assert_eq!(member.xattrs.len(), entry.pax.len(), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn numbers_and_times_are_read_in_every_form() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b"   12 \0\0").unwrap(), 0o12);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0").unwrap(), 256);
        assert_eq!(number(&[0xff; 12]).unwrap(), -1);
        assert_eq!(time(b"-1.5").unwrap(), (-2, 500_000_000));
        assert_eq!(time(b"7").unwrap(), (7, 0));
    }
}
