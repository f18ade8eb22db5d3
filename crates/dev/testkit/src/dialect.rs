//! Members in the spelling of four generations of archivers, so that a reader is tested with more
//! than the one form that the project writes. The bytes are made by hand, without the crates under
//! test.

use imgconv_tar::EntryKind;

use crate::recipe::Item;

const BLOCK: usize = 512;

/// A way of writing a file with holes (GNU tar manual, "Sparse Formats").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// The old form: a member of type `S`, with the map in the header.
    Old,
    /// PAX, version 0.0: a record for each number of the map.
    Pax00,
    /// PAX, version 0.1: the map in one record, the name in another.
    Pax01,
    /// PAX, version 1.0: the map in front of the content.
    Pax10,
}

impl Sparse {
    /// All forms, the oldest first.
    pub const ALL: [Self; 4] = [Self::Old, Self::Pax00, Self::Pax01, Self::Pax10];

    /// Writes a file whose zeros at both ends are holes. `None` if the form can't express the member.
    pub fn member(self, item: &Item) -> Option<Vec<u8>> {
        let body = &item.body;
        let from = body.iter().position(|byte| *byte != 0)?;
        let to = body.iter().rposition(|byte| *byte != 0)? + 1;
        let (length, real) = (to - from, body.len());
        let mut stored = Item {
            entry: item.entry.clone(),
            body: body[from..to].to_vec(),
        };
        let mut put = |key: &str, value: String| {
            stored
                .entry
                .pax
                .push((key.as_bytes().to_vec(), value.into_bytes()));
        };
        let name = item.entry.path.clone();
        match self {
            Self::Old => {
                stored.entry.size = length as u64;
                return old_sparse(&stored, from, real);
            }
            Self::Pax00 => {
                put("GNU.sparse.size", real.to_string());
                put("GNU.sparse.numblocks", "1".to_owned());
                put("GNU.sparse.offset", from.to_string());
                put("GNU.sparse.numbytes", length.to_string());
            }
            Self::Pax01 => {
                put("GNU.sparse.size", real.to_string());
                put("GNU.sparse.numblocks", "1".to_owned());
                put("GNU.sparse.map", format!("{from},{length}"));
            }
            Self::Pax10 => {
                put("GNU.sparse.major", "1".to_owned());
                put("GNU.sparse.minor", "0".to_owned());
                put("GNU.sparse.realsize", real.to_string());
                let mut map = format!("1\n{from}\n{length}\n").into_bytes();
                map.resize(map.len().next_multiple_of(BLOCK), 0);
                stored.body.splice(0..0, map);
            }
        }
        if self != Self::Pax00 {
            stored.entry.pax.push((b"GNU.sparse.name".to_vec(), name));
            stored.entry.path = b"./GNUSparseFile.1/x".to_vec();
        }
        stored.entry.size = stored.body.len() as u64;
        Dialect::Pax.member(&stored)
    }
}

/// Makes the last header before the body that of an old sparse member.
fn old_sparse(stored: &Item, from: usize, real: usize) -> Option<Vec<u8>> {
    let mut tar = Dialect::Gnu.member(stored)?;
    let start = tar.len() - stored.body.len().next_multiple_of(BLOCK) - BLOCK;
    let mut header = Block(tar[start..start + BLOCK].try_into().ok()?);
    header.put(156, b"S");
    let pieces = [from, stored.body.len(), real, 0];
    for (at, number) in pieces.into_iter().enumerate() {
        header.put(386 + 12 * at, &octal(12, i64::try_from(number).ok()?)?);
    }
    header.put(483, &octal(12, i64::try_from(real).ok()?)?);
    tar[start..start + BLOCK].copy_from_slice(&header.finish());
    Some(tar)
}

/// A way of writing headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Seventh Edition Unix: no magic, numbers padded with spaces, a directory is a name with a
    /// final slash, and there are no devices.
    V7,
    /// POSIX.1-1988: long names are split between name and prefix.
    Ustar,
    /// The form of GNU tar: `L` and `K` members before long names, large numbers in base 256.
    Gnu,
    /// POSIX.1-2001: an `x` header for values that ustar can't hold.
    Pax,
}

impl Dialect {
    /// All dialects, the oldest first. The last one can express every member.
    pub const ALL: [Self; 4] = [Self::V7, Self::Ustar, Self::Gnu, Self::Pax];

    /// Writes a member with its body; a bomb declares a longer body than it has. `None` if the
    /// dialect can't express the member.
    pub fn member(self, item: &Item) -> Option<Vec<u8>> {
        let entry = &item.entry;
        if self != Self::Pax && (!entry.pax.is_empty() || entry.mtime.nanos != 0) {
            return None;
        }
        let mut out = Vec::new();
        let mut block = Block([0; BLOCK]);
        match self {
            // Only the slash marks a directory.
            Self::V7 if entry.path.ends_with(b"/") != (entry.kind == EntryKind::Directory) => {
                return None;
            }
            Self::V7 => {
                block.put(156, &[v7_flag(entry.kind)?]);
                block.name(&entry.path)?;
                block.link(&entry.link)?;
            }
            Self::Ustar => {
                block
                    .name(&entry.path)
                    .or_else(|| block.split(&entry.path))?;
                block.link(&entry.link)?;
            }
            Self::Gnu => {
                long(&mut out, b'L', &entry.path);
                long(&mut out, b'K', &entry.link);
                block.put(0, &entry.path[..entry.path.len().min(100)]);
                block.put(157, &entry.link[..entry.link.len().min(100)]);
            }
            Self::Pax => {
                let records = records(item);
                if !records.is_empty() {
                    extension(&mut out, b'x', b"PaxHeaders/x", &records);
                }
                block.put(0, &entry.path[..entry.path.len().min(100)]);
                block.put(157, &entry.link[..entry.link.len().min(100)]);
            }
        }
        if self != Self::V7 {
            block.put(156, &[flag(entry.kind)]);
            block.put(
                257,
                if self == Self::Gnu {
                    b"ustar  \0"
                } else {
                    b"ustar\x0000"
                },
            );
            block.put(265, &entry.uname);
            block.put(297, &entry.gname);
        }
        let is_device = matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let mut numbers = vec![
            (100, 8, i64::from(entry.mode)),
            (108, 8, i64::from(entry.uid)),
            (116, 8, i64::from(entry.gid)),
            (124, 12, i64::try_from(entry.size).ok()?),
            (136, 12, entry.mtime.seconds),
        ];
        if is_device {
            numbers.push((329, 8, i64::from(entry.device.0)));
            numbers.push((337, 8, i64::from(entry.device.1)));
        }
        for (offset, width, value) in numbers {
            let text = match self.number(width, value) {
                Some(text) => text,
                // The PAX record holds the value.
                None if self == Self::Pax && offset != 329 && offset != 337 => octal(width, 0)?,
                None => return None,
            };
            block.put(offset, &text);
        }
        out.extend_from_slice(&block.finish());
        out.extend_from_slice(&item.body);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        Some(out)
    }

    fn number(self, width: usize, value: i64) -> Option<Vec<u8>> {
        match self {
            Self::V7 => {
                let text = format!("{:>1$o} ", u64::try_from(value).ok()?, width - 2);
                (text.len() < width).then(|| text.into_bytes())
            }
            Self::Gnu => octal(width, value).or_else(|| {
                let mut bytes = vec![if value < 0 { 0xff } else { 0 }; width];
                let tail = value.to_be_bytes();
                bytes[width.saturating_sub(8)..].copy_from_slice(&tail[8 - width.min(8)..]);
                bytes[0] |= 0x80;
                Some(bytes)
            }),
            Self::Ustar | Self::Pax => octal(width, value),
        }
    }
}

/// Ends a tar: two blocks of NUL bytes.
pub fn end(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}

fn flag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Regular => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

fn v7_flag(kind: EntryKind) -> Option<u8> {
    match kind {
        EntryKind::Regular | EntryKind::Directory => Some(0),
        EntryKind::HardLink | EntryKind::Symlink => Some(flag(kind)),
        _ => None,
    }
}

/// Octal digits and a NUL; `None` if there is no room.
fn octal(width: usize, value: i64) -> Option<Vec<u8>> {
    let text = format!("{:0>1$o}\0", u64::try_from(value).ok()?, width - 1);
    (text.len() == width).then(|| text.into_bytes())
}

/// The PAX records for the values of a member that ustar can't hold.
fn records(item: &Item) -> Vec<u8> {
    let entry = &item.entry;
    let mut out = Vec::new();
    for (key, text) in [("path", &entry.path), ("linkpath", &entry.link)] {
        if text.len() > 100 {
            record(&mut out, key.as_bytes(), text);
        }
    }
    for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
        if octal(8, i64::from(id)).is_none() {
            record(&mut out, key.as_bytes(), id.to_string().as_bytes());
        }
    }
    let mtime = entry.mtime;
    if mtime.nanos != 0 || octal(12, mtime.seconds).is_none() {
        // In an entry nanoseconds count upward; a written fraction has the sign of the whole.
        let (sign, whole, nanos) = match (mtime.seconds < 0, mtime.nanos) {
            (true, 0) => ("-", -mtime.seconds, 0),
            (true, nanos) => ("-", -(mtime.seconds + 1), 1_000_000_000 - nanos),
            (false, nanos) => ("", mtime.seconds, nanos),
        };
        record(
            &mut out,
            b"mtime",
            format!("{sign}{whole}.{nanos:09}").as_bytes(),
        );
    }
    for (key, value) in &entry.pax {
        record(&mut out, key, value);
    }
    out
}

/// Appends one PAX record, whose length counts its own digits.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = [b" ", key, b"=", value, b"\n"].concat();
    let mut length = body.len();
    while length.to_string().len() + body.len() != length {
        length = length.to_string().len() + body.len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.extend_from_slice(&body);
}

fn long(out: &mut Vec<u8>, flag: u8, text: &[u8]) {
    if text.len() > 100 {
        extension(out, flag, b"././@LongLink", &[text, b"\0"].concat());
    }
}

fn extension(out: &mut Vec<u8>, flag: u8, name: &[u8], body: &[u8]) {
    let mut block = Block([0; BLOCK]);
    block.put(0, name);
    block.put(156, &[flag]);
    block.put(
        257,
        if flag == b'x' {
            b"ustar\x0000"
        } else {
            b"ustar  \0"
        },
    );
    let size = i64::try_from(body.len()).unwrap_or(i64::MAX);
    for (offset, width, value) in [
        (100, 8, 0o644),
        (108, 8, 0),
        (116, 8, 0),
        (124, 12, size),
        (136, 12, 0),
    ] {
        block.put(offset, &octal(width, value).unwrap_or_default());
    }
    out.extend_from_slice(&block.finish());
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// A header block while it is filled.
struct Block([u8; BLOCK]);

impl Block {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn name(&mut self, path: &[u8]) -> Option<()> {
        (path.len() <= 100).then(|| self.put(0, path))
    }

    fn link(&mut self, target: &[u8]) -> Option<()> {
        (target.len() <= 100).then(|| self.put(157, target))
    }

    /// Splits a long name at a slash; neither part may be empty.
    fn split(&mut self, path: &[u8]) -> Option<()> {
        let fits = |&at: &usize| {
            path[at] == b'/'
                && (1..=155).contains(&at)
                && (1..=100).contains(&(path.len() - at - 1))
        };
        let at = (0..path.len()).rev().find(fits)?;
        self.put(345, &path[..at]);
        self.put(0, &path[at + 1..]);
        Some(())
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.put(148, b"        ");
        let sum: u32 = self.0.iter().map(|&byte| u32::from(byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    /// The dialects that can express each line.
    const LINES: &str = r#"
file etc/a 0644 1:2 @1000 "hi\n"
dir d 1777 0:0 @0
link etc/b -> etc/a 0644 1:2 @1000
symlink s\xff -> ../a 0777 0:0 @5
fifo pipe 0600 0:0 @0
char null 0666 0:0 @0 1:3
file x 0644 0:0 @1000.5 "" xattr user.a="\n\x00"
file x 0644 3000000:4294967294 @0 ""
file x 0644 0:0 @-1 ""
file x 0644 0:0 @-1.25 ""
block big 0660 0:6 @0 300:70000"#;
    const SAY: [&str; 11] = [
        "V7 Ustar Gnu Pax",
        "V7 Ustar Gnu Pax",
        "V7 Ustar Gnu Pax",
        "V7 Ustar Gnu Pax",
        "Ustar Gnu Pax",
        "Ustar Gnu Pax",
        "Pax",
        "Gnu Pax",
        "Gnu Pax",
        "Pax",
        "Ustar Gnu Pax",
    ];

    #[test]
    fn what_a_dialect_can_say_is_read_as_it_was_meant() {
        let long = format!(
            "file {0}/{0} 0644 0:0 @0 \"\"\nsymlink l -> {0}{0} 0777 0:0 @0",
            "n".repeat(90)
        );
        let text = format!("{LINES}\n{long}");
        let says: Vec<&str> = SAY
            .iter()
            .copied()
            .chain(["Ustar Gnu Pax", "Gnu Pax"])
            .collect();
        let items = recipe::parse(&text, "test").unwrap();
        let lines: Vec<&str> = text.trim().lines().collect();
        assert_eq!(items.len(), says.len());
        for ((item, line), says) in items.iter().zip(lines).zip(says) {
            let mut able = Vec::new();
            for dialect in Dialect::ALL {
                let Some(mut tar) = dialect.member(item) else {
                    continue;
                };
                end(&mut tar);
                let found = crate::dump::tar_lines(&mut &tar[..], "test").unwrap();
                assert_eq!(found, [line], "{dialect:?}");
                able.push(format!("{dialect:?}"));
            }
            assert_eq!(able.join(" "), says, "{line}");
        }
    }
}
