//! The table of contents: a row for each entry of the tar and for each further chunk of a file.
//!
//! Both schemes have the same JSON, that of stargz, with a few fields that only one of them has:
//! see docs/estargz.md of containerd/stargz-snapshotter, and
//! pkg/chunked/internal/minimal/compression.go of containers/storage, which is the only
//! specification of zstd:chunked.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_model::{Algorithm, Code, Digest, Error, Result, quote};
use imgconv_stream::digest;
use imgconv_tar::{Entry, EntryKind, Time};
use serde::{Serialize, Serializer};

use crate::scheme::Scheme;

/// Readers refuse a longer table, packed or not (containers/storage, `maxTocSize`).
const LONGEST: usize = 150 << 20;

/// The table.
#[derive(Debug, Serialize)]
struct Table<'a> {
    version: u32,
    entries: &'a [Row],
    #[serde(rename = "tarSplitDigest", skip_serializing_if = "Option::is_none")]
    tar_split: Option<String>,
}

/// Writes a table as JSON.
///
/// # Errors
/// [`Code::Limit`] if the table is longer than readers accept.
pub(crate) fn json(rows: &[Row], tar_split: Option<Digest>) -> Result<Vec<u8>> {
    let table = Table {
        version: 1,
        entries: rows,
        tar_split: tar_split.map(|digest| digest.to_string()),
    };
    let json = serde_json::to_vec(&table).expect("rows are text and numbers");
    if json.len() > LONGEST {
        let (found, entries) = (json.len(), rows.len());
        let message = format!(
            "the table of contents of {entries} entries has {found} bytes; readers take at most \
             {LONGEST}"
        );
        return Err(Error::new(Code::Limit, message)
            .hint("without a table of contents the layer can be written: `--compression zstd`"));
    }
    Ok(json)
}

/// A row. Fields that are zero or empty are left out, as both schemes require.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The name in the spelling of the tar.
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group_name: String,
    #[serde(rename = "modtime", skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(rename = "accesstime", skip_serializing_if = "Option::is_none")]
    accessed: Option<String>,
    #[serde(rename = "changetime", skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, Base64>,
    /// The digest of a file's whole content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    /// The offset of the member or frame of the (first) chunk in the blob.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) offset: u64,
    /// The end of the last frame of a file in the blob.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) end_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) chunk_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chunk_digest: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Bytes, written as base64.
#[derive(Debug)]
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl Row {
    /// Makes the row of an entry. `header` is its last header block: a table has the numbers of
    /// that block, such as a mode with the bits of the file type; otherwise readers that compare
    /// them report an inconsistent table.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for values that JSON or a date can't hold.
    pub(crate) fn new(entry: &Entry, header: &[u8], scheme: Scheme) -> Result<Self> {
        let number = |from: usize, to: usize| octal(&header[from..to]);
        let is_regular = entry.kind == EntryKind::Regular;
        let estargz = scheme == Scheme::Estargz;
        let owner = |name: &[u8]| match str::from_utf8(name) {
            Ok(name) if estargz => name.to_owned(),
            _ => String::new(),
        };
        let device = |field: Option<u64>, known: u32| match field {
            Some(number) if header[257..262] == *b"ustar" => number,
            _ => u64::from(known),
        };
        let modified = match (scheme, entry.mtime.seconds) {
            (Scheme::Estargz, 0) => None,
            (Scheme::Estargz, seconds) => Some(date(Time { seconds, nanos: 0 })?),
            (Scheme::ZstdChunked, _) => Some(date(entry.mtime)?),
        };
        let other_time = |key: &[u8]| match record(entry, key) {
            Some(value) if !estargz => pax_time(value).map(date).transpose(),
            _ => Ok(None),
        };
        let mut xattrs = BTreeMap::new();
        for (key, value) in &entry.pax {
            if let Some(key) = key.strip_prefix(b"SCHILY.xattr.") {
                let key = text(key, "the name of an extended attribute")?;
                xattrs.insert(key, Base64(value.clone()));
            }
        }
        let is_empty = is_regular && entry.size == 0;
        Ok(Self {
            kind: kind(entry.kind),
            name: text(&entry.path, "the name")?,
            link_name: text(&entry.link, "the target")?,
            mode: Some(number(100, 108).unwrap_or(u64::from(entry.mode))),
            size: match is_regular {
                true => entry.size,
                false => number(124, 136).unwrap_or(0),
            },
            uid: Some(entry.uid),
            gid: Some(entry.gid),
            user_name: owner(&entry.uname),
            group_name: owner(&entry.gname),
            modified,
            accessed: other_time(b"atime")?,
            changed: other_time(b"ctime")?,
            dev_major: device(number(329, 337), entry.device.0),
            dev_minor: device(number(337, 345), entry.device.1),
            xattrs,
            digest: (is_empty && estargz).then(|| digest(Algorithm::Sha256, b"").to_string()),
            ..Self::default()
        })
    }

    /// Makes the row of a further chunk, which starts at an offset of the content.
    pub(crate) fn chunk(name: String, chunk_offset: u64) -> Self {
        Self {
            kind: "chunk",
            name,
            chunk_offset,
            ..Self::default()
        }
    }
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Regular => "reg",
        EntryKind::HardLink => "hardlink",
        EntryKind::Symlink => "symlink",
        EntryKind::CharDevice => "char",
        EntryKind::BlockDevice => "block",
        EntryKind::Directory => "dir",
        EntryKind::Fifo => "fifo",
    }
}

fn record<'a>(entry: &'a Entry, key: &[u8]) -> Option<&'a [u8]> {
    let found = entry.pax.iter().find(|(one, _)| one == key);
    found.map(|(_, value)| value.as_slice())
}

fn text(bytes: &[u8], what: &str) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        let message = format!(
            "{what} {} is not UTF-8: a table of contents can't hold it",
            quote(bytes)
        );
        Error::new(Code::Unsupported, message)
            .hint("`--compression gzip` or `zstd` has no table and keeps every name")
    })
}

/// Reads a number field of a header: octal digits between spaces and NULs. `None` for base-256.
pub(crate) fn octal(field: &[u8]) -> Option<u64> {
    let field = field.split(|b| *b == 0).find(|part| !part.is_empty());
    let digits = str::from_utf8(field.unwrap_or(b"0")).ok()?.trim();
    u64::from_str_radix(digits, 8).ok()
}

/// Reads the time of a PAX record: seconds with a fraction.
fn pax_time(value: &[u8]) -> Option<Time> {
    let (whole, fraction) = str::from_utf8(value)
        .ok()?
        .split_once('.')
        .unwrap_or((str::from_utf8(value).ok()?, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().ok()?;
    Some(match (whole.starts_with('-'), nanos) {
        (true, 1..) => Time {
            seconds: seconds.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        },
        _ => Time { seconds, nanos },
    })
}

/// Writes a time by RFC 3339 in UTC.
fn date(time: Time) -> Result<String> {
    let Some(whole) = imgconv_json::rfc3339(time.seconds) else {
        let message = format!(
            "the time {} (seconds since 1970) is outside the years 0 to 9999: a table of contents \
             can't hold it",
            time.seconds
        );
        return Err(Error::new(Code::Unsupported, message).hint("`--clamp-mtime` changes it"));
    };
    if time.nanos == 0 {
        return Ok(whole);
    }
    let fraction = format!("{:09}", time.nanos);
    let fraction = fraction.trim_end_matches('0');
    Ok(format!("{}.{fraction}Z", whole.trim_end_matches('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let of = |text: &str| date(pax_time(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(of("0"), "1970-01-01T00:00:00Z");
        assert_eq!(of("1.5"), "1970-01-01T00:00:01.5Z");
        assert_eq!(of("-1.25"), "1969-12-31T23:59:58.75Z");
        assert_eq!(of("1700000000.000000001"), "2023-11-14T22:13:20.000000001Z");
        assert!(pax_time(b"x").is_none());
        let never = Time {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert_eq!(date(never).unwrap_err().code(), Code::Unsupported);
    }

    #[test]
    fn numbers_of_a_header_are_octal() {
        assert_eq!(octal(b"0100644\0"), Some(0o100_644));
        assert_eq!(octal(b" 644 \0\0\0"), Some(0o644));
        assert_eq!(octal(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(octal(b"\x80\0\0\0\0\0\0\x01"), None);
    }
}
