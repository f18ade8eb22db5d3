//! PAX extension headers: splitting a payload into records, and reading the records.
//!
//! Records are split by their length alone; values are bytes and are never decoded. Sparse maps in
//! records are collected here and read in `gnu`.

use crate::{
    Time,
    gnu::SparseRecords,
    number,
    value::{decimal, id, name, time, without_nul},
};
use imgconv_model::{Code, Error, Result, quote};

/// A key and its value.
pub(crate) type Record<'a> = (&'a [u8], &'a [u8]);

/// The values of one `x` header for the member after it.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) uname: Option<Vec<u8>>,
    pub(crate) gname: Option<Vec<u8>>,
    pub(crate) mtime: Option<Time>,
    pub(crate) sparse: SparseRecords,
    /// All other records, in archive order.
    pub(crate) others: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extended {
    /// Reads the payload of an `x` header.
    ///
    /// # Errors
    /// [`Code::BadTar`] if a record is malformed or a value is not valid for its key;
    /// [`Code::Ambiguous`] if a key occurs twice.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self> {
        let records = records(payload)?;
        refuse_duplicates(&records)?;
        let mut extended = Self::default();
        for (key, value) in records {
            extended.add(key, value)?;
        }
        Ok(extended)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"path" => self.path = Some(name(key, value)?),
            b"linkpath" => self.link = Some(name(key, value)?),
            b"size" => self.size = Some(decimal(key, value)?),
            b"uid" => self.uid = Some(id(key, value)?),
            b"gid" => self.gid = Some(id(key, value)?),
            b"uname" => self.uname = Some(without_nul(key, value)?),
            b"gname" => self.gname = Some(without_nul(key, value)?),
            b"mtime" => self.mtime = Some(time(key, value)?),
            b"hdrcharset" => check_charset(value)?,
            _ if key.starts_with(b"GNU.sparse.") => self.sparse.add(key, value)?,
            _ => {
                check_other(key, value)?;
                self.others.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(())
    }
}

/// Returns true if the key belongs to a field of an entry, and so never stands in `Entry::pax`.
pub(crate) fn is_field(key: &[u8]) -> bool {
    matches!(
        key,
        b"path"
            | b"linkpath"
            | b"size"
            | b"uid"
            | b"gid"
            | b"uname"
            | b"gname"
            | b"mtime"
            | b"hdrcharset"
    ) || key.starts_with(b"GNU.sparse.")
}

/// Checks a record that is kept verbatim: readers parse these times too, and refuse bad ones.
pub(crate) fn check_other(key: &[u8], value: &[u8]) -> Result<()> {
    if matches!(key, b"atime" | b"ctime") && !value.is_empty() {
        time(key, value)?;
    }
    Ok(())
}

/// Returns the reason why a key is not valid: empty, an equals sign, a NUL, or a blank in front,
/// which GNU tar reads as part of the gap after the length.
pub(crate) fn bad_key(key: &[u8]) -> Option<&'static str> {
    match key.first() {
        None => Some("has an empty key"),
        Some(b' ' | b'\t') => Some("has a key that starts with a blank"),
        Some(_) if key.contains(&0) => Some("has a NUL in its key"),
        Some(_) if key.contains(&b'=') => Some("has an equals sign in its key"),
        Some(_) => None,
    }
}

/// Splits a payload into its records.
pub(crate) fn records(payload: &[u8]) -> Result<Vec<Record<'_>>> {
    let mut records = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (record, after) = cut(rest).map_err(|problem| {
            let message = format!(
                "the record {} {problem}",
                quote(&rest[..rest.len().min(60)])
            );
            let at = payload.len() - rest.len();
            Error::new(Code::BadTar, message).at(format!("byte {at} of the PAX header"))
        })?;
        records.push(record);
        rest = after;
    }
    Ok(records)
}

/// Splits off the first record: its length in decimal (which includes itself), a space, key, `=`,
/// value, and a newline.
fn cut(payload: &[u8]) -> std::result::Result<(Record<'_>, &[u8]), &'static str> {
    let digits = payload
        .iter()
        .position(|b| !b.is_ascii_digit())
        .ok_or("has no space after its length")?;
    if digits == 0 || payload[digits] != b' ' {
        return Err("does not start with its length and a space");
    }
    let length = number::decimal(&payload[..digits]).ok_or("has a length that is not a number")?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= payload.len())
        .ok_or("is longer than what is left of the header")?;
    let (record, after) = payload.split_at(length);
    let body = record.get(digits + 1..).unwrap_or_default();
    let (last, body) = body
        .split_last()
        .ok_or("is shorter than its own length field")?;
    if *last != b'\n' {
        return Err("does not end with a newline where its length says");
    }
    let equals = body
        .iter()
        .position(|b| *b == b'=')
        .ok_or("has no equals sign")?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    match bad_key(key) {
        None => Ok(((key, value), after)),
        Some(problem) => Err(problem),
    }
}

/// Refuses a key that occurs twice, except the two of sparse form 0.0, which alternate.
fn refuse_duplicates(records: &[Record<'_>]) -> Result<()> {
    let repeats = |key: &[u8]| matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
    let mut keys: Vec<&[u8]> = records.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    match keys
        .windows(2)
        .find(|pair| pair[0] == pair[1] && !repeats(pair[0]))
    {
        None => Ok(()),
        Some(pair) => {
            let message = format!("the PAX key {} occurs twice in one header", quote(pair[0]));
            Err(Error::new(Code::Ambiguous, message))
        }
    }
}

/// Returns true if a key of a global header describes the archive and not a member: its writer
/// (star), and its volume.
fn is_of_archive(key: &[u8]) -> bool {
    matches!(key, b"comment" | b"SCHILY.release" | b"SCHILY.archtype")
        || key.starts_with(b"SCHILY.volhdr.")
        || key.starts_with(b"GNU.volume.")
}

/// Checks the payload of a global header: it may only hold records that change no member; names are
/// bytes in each of the two character sets that POSIX names. Returns the keys that do not describe
/// the archive itself, and so need a warning.
///
/// # Errors
/// [`Code::Ambiguous`] for a key that some readers apply to every member, and others ignore.
pub(crate) fn check_global(payload: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut ignored = Vec::new();
    for (key, value) in records(payload)? {
        let charset = key == b"hdrcharset" && check_charset(value).is_ok();
        if charset || is_of_archive(key) {
            continue;
        }
        let changes_members = is_field(key)
            || matches!(key, b"atime" | b"ctime")
            || key.starts_with(b"SCHILY.")
            || key.starts_with(b"LIBARCHIVE.");
        if changes_members {
            let message = format!(
                "a global PAX header sets {}, which only some readers apply to the members after it",
                quote(key)
            );
            return Err(Error::new(Code::Ambiguous, message));
        }
        ignored.push(key.to_vec());
    }
    Ok(ignored)
}

/// Appends a record.
pub(crate) fn put(payload: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body;
    while body + length.to_string().len() != length {
        length = body + length.to_string().len();
    }
    payload.extend_from_slice(length.to_string().as_bytes());
    payload.push(b' ');
    payload.extend_from_slice(key);
    payload.push(b'=');
    payload.extend_from_slice(value);
    payload.push(b'\n');
}

/// Takes the two character sets that POSIX names; names are bytes in either.
fn check_charset(value: &[u8]) -> Result<()> {
    if matches!(value, b"BINARY" | b"ISO-IR 10646 2000 UTF-8") {
        return Ok(());
    }
    let message = format!("the PAX character set {} is not supported", quote(value));
    Err(Error::new(Code::Unsupported, message))
}
