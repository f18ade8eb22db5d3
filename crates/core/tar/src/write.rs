//! The canonical header blocks of a member.
//!
//! One entry has one spelling: ustar, and a PAX header before it only if a value does not fit. The
//! caller writes the body, its padding and the end of the archive.
//!
//! Decisions, each held by a test against other readers:
//! - A name is written as bytes into the ustar fields if it fits there, split at the last possible
//!   slash if it has to be; else it is a PAX `path`.
//! - If a name in a PAX record is not UTF-8, a record `hdrcharset=BINARY` marks that. Without it
//!   bsdtar fails on the member; with it Go, Python, GNU tar (which warns of an unknown record) and
//!   bsdtar return the same bytes.
//! - A number that does not fit is a PAX record, and the header field has it in base-256 too, so
//!   that a reader that supports only one of them reads the same number.
//! - PAX records are in the byte order of their keys.

use crate::{BLOCK, Entry, EntryKind, number, pax};
use imgconv_model::{Code, Error, Limits, Result, quote};
use std::borrow::Cow;
use tar::{Header, UstarHeader};

/// Readers refuse a longer PAX header (Go does, from 1 MiB on).
const PAX_MAX: usize = 1 << 20;

type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Makes the header blocks of a member: a PAX header where one is needed, then the ustar header.
/// The length is a multiple of 512 bytes.
///
/// A directory's name gets exactly one final slash. `offset` is ignored.
///
/// # Errors
/// [`Code::BadTar`] if the entry cannot be written so that every reader sees it: an empty name, a
/// NUL in a name, a regular file with a final slash, a size on a member without a body, a link
/// without target, a record in `pax` whose key belongs to a field or occurs twice. [`Code::Limit`]
/// if the PAX header would be above 1 MiB.
pub fn head(entry: &Entry) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(BLOCK);
    put_head(entry, &mut out)?;
    Ok(out)
}

/// Appends the header blocks of a member, see [`head`]. After an error `out` is unchanged.
///
/// # Errors
/// The errors of [`head`].
pub fn put_head(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    blocks(entry, out).map_err(|error| error.at(format!("entry {}", quote(&entry.path))))
}

fn blocks(entry: &Entry, out: &mut Vec<u8>) -> Result<()> {
    check(entry)?;
    let (header, mut records) = ustar(entry);
    if records
        .iter()
        .any(|(_, value)| str::from_utf8(value).is_err())
    {
        records.push((b"hdrcharset".to_vec(), b"BINARY".to_vec()));
    }
    records.extend_from_slice(&entry.pax);
    if records.is_empty() {
        out.extend_from_slice(header.as_bytes());
        return Ok(());
    }
    records.sort();
    let mut payload = Vec::new();
    for (key, value) in &records {
        pax::put(&mut payload, key, value);
    }
    if payload.len() > PAX_MAX {
        let what = format!("a PAX header of {} bytes", payload.len());
        return Err(Limits::exceeded("pax_header", PAX_MAX as u64, what));
    }
    let size = payload.len();
    out.extend_from_slice(pax_header(&entry.path, size as u64).as_bytes());
    out.append(&mut payload);
    out.resize(out.len() + crate::padding(size as u64), 0);
    out.extend_from_slice(header.as_bytes());
    Ok(())
}

fn refuse(message: impl Into<String>) -> Result<()> {
    Err(Error::new(Code::BadTar, message))
}

/// Refuses entries that could not be read back.
fn check(entry: &Entry) -> Result<()> {
    let Entry {
        path,
        kind,
        link,
        size,
        device,
        mtime,
        ..
    } = entry;
    if path.is_empty() {
        return refuse("the name is empty");
    }
    let names = [
        ("name", path),
        ("target", link),
        ("uname", &entry.uname),
        ("gname", &entry.gname),
    ];
    if let Some((what, name)) = names.into_iter().find(|(_, name)| name.contains(&0)) {
        return refuse(format!("the {what} {} has a NUL", quote(name)));
    }
    let is_regular = *kind == EntryKind::Regular;
    if is_regular && path.ends_with(b"/") {
        return refuse("a regular file has a name with a final slash");
    }
    if !is_regular && *size != 0 {
        return refuse(format!("only a regular file has a size, found {size}"));
    }
    if i64::try_from(*size).is_err() {
        return refuse(format!("the size {size} is above 2^63 - 1"));
    }
    let is_link = matches!(kind, EntryKind::HardLink | EntryKind::Symlink);
    if is_link == link.is_empty() {
        return refuse("a link has a target, and nothing else has");
    }
    let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    if !is_device && *device != (0, 0) {
        return refuse("only a device has device numbers");
    }
    if entry.mode > 0o7777 {
        return refuse(format!("the mode {:o} is above 7777", entry.mode));
    }
    if mtime.nanos >= 1_000_000_000 {
        return refuse(format!("the time has {} nanoseconds", mtime.nanos));
    }
    check_records(&entry.pax)
}

fn check_records(records: &Records) -> Result<()> {
    let mut keys = Vec::with_capacity(records.len());
    for (key, value) in records {
        if let Some(problem) = pax::bad_key(key) {
            return refuse(format!("the PAX record {} {problem}", quote(key)));
        }
        if pax::is_field(key) {
            return refuse(format!(
                "the PAX record {} belongs to a field of the entry",
                quote(key)
            ));
        }
        pax::check_other(key, value)?;
        keys.push(key);
    }
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => refuse(format!("the PAX record {} occurs twice", quote(pair[0]))),
    }
}

/// Makes the ustar header, and records of the values that do not fit there.
fn ustar(entry: &Entry) -> (Header, Records) {
    let mut records = Records::new();
    let mut record = |key: &str, value: Vec<u8>| records.push((key.into(), value));
    let mut header = Header::new_ustar();
    let fields = view(&mut header);
    fields.typeflag[0] = match entry.kind {
        EntryKind::Regular => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };

    let path = spelled_path(entry);
    if let Some((prefix, name)) = split(&path) {
        put_text(&mut fields.prefix, prefix);
        put_text(&mut fields.name, name);
    } else {
        put_text(&mut fields.name, shortened(&path));
        record("path", path.into_owned());
    }
    if entry.link.len() <= fields.linkname.len() {
        put_text(&mut fields.linkname, &entry.link);
    } else {
        put_text(&mut fields.linkname, shortened(&entry.link));
        record("linkpath", entry.link.clone());
    }
    for (key, field, name) in [
        ("uname", &mut fields.uname, &entry.uname),
        ("gname", &mut fields.gname, &entry.gname),
    ] {
        // These fields end with a NUL. Half of a name would be another owner, so a long name is
        // left out.
        if name.len() < field.len() {
            put_text(field, name);
        } else {
            record(key, name.clone());
        }
    }

    for (key, field, id) in [
        ("uid", &mut fields.uid, entry.uid),
        ("gid", &mut fields.gid, entry.gid),
    ] {
        if !number::put(field, i64::from(id)) {
            record(key, id.to_string().into_bytes());
        }
    }
    let size = i64::try_from(entry.size).expect("checked by `check`");
    if !number::put(&mut fields.size, size) {
        record("size", size.to_string().into_bytes());
    }
    let fits = number::put(&mut fields.mtime, entry.mtime.seconds);
    if !fits || entry.mtime.nanos != 0 {
        record("mtime", number::spell_time(entry.mtime).into_bytes());
    }
    number::put(&mut fields.mode, i64::from(entry.mode));
    number::put(&mut fields.dev_major, i64::from(entry.device.0));
    number::put(&mut fields.dev_minor, i64::from(entry.device.1));
    sum(&mut header);
    (header, records)
}

/// Makes the header of a PAX header. Its name is for readers that do not support PAX and for
/// people; the name has only printable ASCII.
fn pax_header(path: &[u8], size: u64) -> Header {
    let end = path
        .iter()
        .rposition(|b| *b != b'/')
        .map_or(0, |last| last + 1);
    let start = path[..end]
        .iter()
        .rposition(|b| *b == b'/')
        .map_or(0, |slash| slash + 1);
    let mut name = b"PaxHeaders.0/".to_vec();
    name.extend(
        path[start..end]
            .iter()
            .map(|b| if b.is_ascii_graphic() { *b } else { b'_' }),
    );
    name.truncate(100);
    let mut header = Header::new_ustar();
    let fields = view(&mut header);
    fields.typeflag[0] = b'x';
    put_text(&mut fields.name, &name);
    number::put(&mut fields.mode, 0o644);
    for field in [
        &mut fields.uid,
        &mut fields.gid,
        &mut fields.dev_major,
        &mut fields.dev_minor,
    ] {
        number::put(field, 0);
    }
    number::put(&mut fields.mtime, 0);
    number::put(
        &mut fields.size,
        i64::try_from(size).expect("at most `PAX_MAX`"),
    );
    sum(&mut header);
    header
}

/// Fills in the checksum: six digits, a NUL and a space, as in POSIX archives.
fn sum(header: &mut Header) {
    header.as_old_mut().cksum = [b' '; 8];
    let sum = number::byte_sum(header.as_bytes());
    let field = &mut header.as_old_mut().cksum;
    // 512 bytes of 255 need six digits.
    number::put(&mut field[..7], i64::from(sum));
}

fn view(header: &mut Header) -> &mut UstarHeader {
    header.as_ustar_mut().expect("made by `new_ustar`")
}

/// Returns the name with the one final slash of a directory.
fn spelled_path(entry: &Entry) -> Cow<'_, [u8]> {
    let mut path = Cow::Borrowed(&entry.path[..]);
    let slashes = path.iter().rev().take_while(|byte| **byte == b'/').count();
    if entry.kind == EntryKind::Directory && slashes != 1 {
        let path = path.to_mut();
        path.truncate(path.len() - slashes);
        path.push(b'/');
    }
    path
}

/// Splits a name into prefix and name field, with the longest prefix that fits.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The slash between them is not stored; neither part may be empty. Beside another slash some
    // readers would drop one slash.
    let last = path.len().min(157) - 2;
    let slash = (1..=last)
        .rev()
        .find(|i| path[*i] == b'/' && path[i - 1] != b'/' && path[i + 1] != b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (name.len() <= 100).then_some((prefix, name))
}

/// Returns the part of a too long name that goes into its field of 100 bytes, for readers that do
/// not support PAX: whole characters, and no slash at the end, where some readers would see a
/// directory.
fn shortened(name: &[u8]) -> &[u8] {
    let mut end = 100;
    while end > 1 && name[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    while end > 1 && name[end - 1] == b'/' {
        end -= 1;
    }
    &name[..end]
}

fn put_text(field: &mut [u8], text: &[u8]) {
    field[..text.len()].copy_from_slice(text);
}
