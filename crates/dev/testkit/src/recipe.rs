//! A layer as text: one entry a line, read and printed.
//!
//! ```text
//! # a comment
//! dir      etc 0755 0:0 @0
//! file     usr/bin/hello 4755 0:0 @1000.5 "hi\n" xattr user.a="x" pax comment="y"
//! file     big noise=1000000          (bytes that do not compress, the same each time)
//! file     holes zeros=1000000
//! symlink  a -> b
//! link     usr/bin/hi -> usr/bin/hello
//! fifo     run/pipe 0600
//! char     dev/null 0666 0:0 @0 1:3
//! block    dev/sda 0660 0:6 @0 8:0
//! whiteout etc/old
//! opaque   var/lib
//! ```
//!
//! Mode, owner and time may be left out, in that order from the right. A printed line replaces a
//! long body by `bytes=N sha256=HEX`: enough to compare, not enough to build, so the parser refuses
//! it. This file does not write tar bytes; see [`crate::build`].

use std::fmt;
use std::str::FromStr;

use imgconv_tar::{Entry, EntryKind, Time};

use crate::digest::sha256_hex;
use crate::text::{self, Cursor};

/// The longest body that is printed in full.
const INLINE: usize = 120;
const XATTR: &str = "SCHILY.xattr.";

/// One member of a layer with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The tar member.
    pub entry: Entry,
    /// The body of a regular file, else empty.
    pub body: Vec<u8>,
}

/// A line that is not a recipe line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeError {
    /// The file or other name of the text.
    pub place: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The error.
    pub message: String,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place, self.line, self.message)
    }
}

impl std::error::Error for RecipeError {}

/// Parses the text of one layer; `place` names it in errors.
pub fn parse(text: &str, place: &str) -> Result<Vec<Item>, RecipeError> {
    let mut items = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let item = parse_line(trimmed).map_err(|message| RecipeError {
            place: place.into(),
            line: index + 1,
            message,
        })?;
        items.push(item);
    }
    Ok(items)
}

fn parse_line(line: &str) -> Result<Item, String> {
    let mut cursor = Cursor::new(line);
    let keyword = cursor.word()?;
    let keyword = String::from_utf8_lossy(&keyword).into_owned();
    let mut path = cursor
        .word()
        .map_err(|_| format!("`{keyword}` needs a path"))?;
    let (kind, mode) = match keyword.as_str() {
        "file" | "whiteout" | "opaque" => (EntryKind::Regular, 0o644),
        "dir" => (EntryKind::Directory, 0o755),
        "symlink" => (EntryKind::Symlink, 0o777),
        "link" => (EntryKind::HardLink, 0o644),
        "fifo" => (EntryKind::Fifo, 0o644),
        "char" => (EntryKind::CharDevice, 0o644),
        "block" => (EntryKind::BlockDevice, 0o644),
        _ => return Err(format!("unknown kind `{keyword}`")),
    };
    match keyword.as_str() {
        "whiteout" => path = marker(&path),
        "opaque" => path.extend_from_slice(b"/.wh..wh..opq"),
        "dir" if !path.ends_with(b"/") => path.push(b'/'),
        _ => {}
    }
    let mut entry = Entry {
        mode,
        ..Entry::new(path, kind)
    };
    if matches!(kind, EntryKind::Symlink | EntryKind::HardLink) {
        if !cursor.accept("->") {
            return Err(format!("`{keyword}` needs ` -> TARGET`"));
        }
        entry.link = cursor.word()?;
    }
    if cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        entry.mode = octal(&cursor.word()?)?;
        if cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            (entry.uid, entry.gid) = pair(&cursor.word()?, "an owner `UID:GID`")?;
        }
    }
    if cursor.peek() == Some(b'@') {
        entry.mtime = time(&cursor.word()?)?;
    }
    if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        let numbers = cursor.word().unwrap_or_default();
        entry.device = pair(&numbers, "device numbers `MAJOR:MINOR`")?;
    }
    let mut body = Vec::new();
    if keyword == "file" {
        body = parse_body(&mut cursor, &entry.path)?;
        entry.size = body.len() as u64;
    }
    attributes(&mut cursor, &mut entry)?;
    Ok(Item { entry, body })
}

fn parse_body(cursor: &mut Cursor<'_>, path: &[u8]) -> Result<Vec<u8>, String> {
    if cursor.peek() == Some(b'"') {
        return cursor.string();
    }
    let mut ahead = cursor.clone();
    let Ok(word) = ahead.word() else {
        return Ok(Vec::new());
    };
    let word = String::from_utf8_lossy(&word).into_owned();
    let body = match word.split_once('=') {
        Some(("zeros", count)) => vec![0; number(count)?],
        Some(("noise", count)) => noise(path, number(count)?),
        Some(("bytes", _)) => {
            return Err("a digest has no content: write the body, `zeros=N` or `noise=N`".into());
        }
        _ => return Ok(Vec::new()),
    };
    *cursor = ahead;
    Ok(body)
}

fn attributes(cursor: &mut Cursor<'_>, entry: &mut Entry) -> Result<(), String> {
    while !cursor.is_at_end() {
        let before = cursor.rest();
        let keyword = cursor
            .word()
            .map_err(|_| format!("unexpected `{before}`"))?;
        match keyword.as_slice() {
            b"xattr" | b"pax" => {
                let mut name = cursor.word()?;
                if name.pop() != Some(b'=') {
                    return Err("an attribute is written NAME=\"VALUE\"".into());
                }
                if keyword == b"xattr" {
                    name.splice(0..0, XATTR.bytes());
                }
                entry.pax.push((name, cursor.string()?));
            }
            b"uname" => entry.uname = cursor.string()?,
            b"gname" => entry.gname = cursor.string()?,
            _ => return Err(format!("unexpected `{before}`")),
        }
    }
    Ok(())
}

fn marker(path: &[u8]) -> Vec<u8> {
    let start = path.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
    [&path[..start], b".wh.", &path[start..]].concat()
}

fn utf8(word: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(word).map_err(|_| "a number is not text".to_owned())
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number that fits here"))
}

fn octal(word: &[u8]) -> Result<u32, String> {
    let text = utf8(word)?;
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(format!("`{text}` is not an octal mode up to 7777")),
    }
}

fn pair<A: FromStr, B: FromStr>(word: &[u8], what: &str) -> Result<(A, B), String> {
    let text = utf8(word)?;
    let (a, b) = text
        .split_once(':')
        .ok_or_else(|| format!("expected {what}, found `{text}`"))?;
    Ok((number(a)?, number(b)?))
}

/// `@SECONDS[.FRACTION]`, the fraction of the same sign as the seconds.
fn time(word: &[u8]) -> Result<Time, String> {
    let text = utf8(word)?;
    let wrong = || format!("`{text}` is not a time such as `@-1.5`");
    let digits = text.strip_prefix('@').ok_or_else(wrong)?;
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or((1, digits), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: i128 = whole.parse().map_err(|_| wrong())?;
    let nanos: i128 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    let total = whole
        .checked_mul(1_000_000_000)
        .and_then(|n| n.checked_add(nanos))
        .ok_or_else(wrong)?;
    let total = sign * total;
    Ok(Time {
        seconds: i64::try_from(total.div_euclid(1_000_000_000)).map_err(|_| wrong())?,
        nanos: u32::try_from(total.rem_euclid(1_000_000_000)).expect("below 10^9"),
    })
}

fn print_time(time: Time) -> String {
    let total = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, nanos) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    let fraction = format!("{nanos:09}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("@{sign}{whole}{point}{fraction}")
}

/// Bytes that do not compress and are the same for the same path, by Marsaglia's xorshift64.
fn noise(path: &[u8], count: usize) -> Vec<u8> {
    let mut state = path.iter().fold(0x9e37_79b9_7f4a_7c15u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }) | 1;
    let mut out = Vec::with_capacity(count + 8);
    while out.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(count);
    out
}

/// The form of a body in a printed line.
#[derive(Clone, Debug)]
pub enum Body {
    /// The bytes are at hand.
    Bytes(Vec<u8>),
    /// Only the number of bytes and their SHA-256 (hex) are known.
    Digest(u64, String),
}

/// Prints one member as a line that [`parse`] reads, if the body is short.
pub fn line(entry: &Entry, body: &Body) -> String {
    let mut path = entry.path.as_slice();
    let keyword = match entry.kind {
        EntryKind::Regular => "file",
        EntryKind::HardLink => "link",
        EntryKind::Symlink => "symlink",
        EntryKind::CharDevice => "char",
        EntryKind::BlockDevice => "block",
        EntryKind::Directory => "dir",
        EntryKind::Fifo => "fifo",
    };
    if entry.kind == EntryKind::Directory && path.len() > 1 && path != b"./" {
        path = path.strip_suffix(b"/").unwrap_or(path);
    }
    let mut out = format!("{keyword} {}", text::word(path));
    if matches!(entry.kind, EntryKind::Symlink | EntryKind::HardLink) {
        out += &format!(" -> {}", text::word(&entry.link));
    }
    out += &format!(
        " {:04o} {}:{} {}",
        entry.mode,
        entry.uid,
        entry.gid,
        print_time(entry.mtime)
    );
    if matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        out += &format!(" {}:{}", entry.device.0, entry.device.1);
    }
    if entry.kind == EntryKind::Regular {
        out += &match body {
            Body::Bytes(bytes) if bytes.len() <= INLINE => format!(" {}", text::string(bytes)),
            Body::Bytes(bytes) => format!(" bytes={} sha256={}", bytes.len(), sha256_hex(bytes)),
            Body::Digest(size, hex) => format!(" bytes={size} sha256={hex}"),
        };
    }
    for (keyword, name) in [("uname", &entry.uname), ("gname", &entry.gname)] {
        if !name.is_empty() {
            out += &format!(" {keyword} {}", text::string(name));
        }
    }
    for (key, value) in &entry.pax {
        let (keyword, name) = match key.strip_prefix(XATTR.as_bytes()) {
            Some(name) => ("xattr", name),
            None => ("pax", key.as_slice()),
        };
        out += &format!(" {keyword} {}={}", text::word(name), text::string(value));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Item {
        parse(line, "test").unwrap().remove(0)
    }

    #[test]
    fn every_kind_is_printed_as_it_was_read() {
        for text in [
            r#"file usr/bin/hello 0755 0:0 @1000 "hi\n""#,
            r#"file a\x20b\xff 4755 1:2 @-1.5 "" xattr user.a="x\n\xff" pax comment="c""#,
            "dir etc 1777 0:0 @0",
            "dir ./ 0755 0:0 @0",
            "symlink a -> ../b 0777 0:0 @1.000000001",
            "link usr/bin/hi -> usr/bin/hello 0755 0:0 @0",
            "fifo run/pipe 0600 7:8 @5",
            "char dev/null 0666 0:0 @0 1:3",
            "block dev/sda 0660 0:6 @0 8:0",
            r#"dir x 0755 0:0 @0 uname "root" gname "wheel""#,
        ] {
            let item = one(text);
            assert_eq!(line(&item.entry, &Body::Bytes(item.body)), text);
        }
    }

    #[test]
    fn markers_become_the_names_of_the_layer_format() {
        assert_eq!(one("whiteout etc/old").entry.path, b"etc/.wh.old");
        assert_eq!(one("whiteout old").entry.path, b".wh.old");
        assert_eq!(one("opaque var/lib").entry.path, b"var/lib/.wh..wh..opq");
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let item = one("symlink a -> b");
        assert_eq!((item.entry.mode, item.entry.uid), (0o777, 0));
        assert_eq!(one("dir a").entry.path, b"a/");
        let time = one("file a @-1.5").entry.mtime;
        assert_eq!((time.seconds, time.nanos), (-2, 500_000_000));
    }

    #[test]
    fn bodies_can_be_made() {
        assert_eq!(one("file a zeros=10").body, [0; 10]);
        let noise = one("file a noise=1001").body;
        assert_eq!(noise.len(), 1001);
        assert_eq!(noise, one("file a 0600 noise=1001").body);
        assert_ne!(noise, one("file b noise=1001").body);
        let item = one("file a noise=1001");
        let printed = line(&item.entry, &Body::Bytes(item.body));
        assert!(printed.contains("bytes=1001 sha256="), "{printed}");
    }

    #[test]
    fn errors_name_the_line() {
        for (text, message) in [
            ("\n\nfrob a", "layer-0.list:3: unknown kind `frob`"),
            ("symlink a", "layer-0.list:1: `symlink` needs ` -> TARGET`"),
            ("file", "layer-0.list:1: `file` needs a path"),
            (
                "file a 9999",
                "layer-0.list:1: `9999` is not an octal mode up to 7777",
            ),
            (
                "file a 17777",
                "layer-0.list:1: `17777` is not an octal mode up to 7777",
            ),
            (
                "file a 0644 0",
                "layer-0.list:1: expected an owner `UID:GID`, found `0`",
            ),
            (
                "char a 0644 0:0 @0",
                "layer-0.list:1: expected device numbers `MAJOR:MINOR`, found ``",
            ),
            (
                "file a @x",
                "layer-0.list:1: `@x` is not a time such as `@-1.5`",
            ),
            ("file a \"x\" y", "layer-0.list:1: unexpected `y`"),
            ("dir a \"x\"", "layer-0.list:1: unexpected `\"x\"`"),
            (
                "file a bytes=3 sha256=aa",
                "layer-0.list:1: a digest has no content: write the body, `zeros=N` or `noise=N`",
            ),
            (
                "file a xattr user.a",
                "layer-0.list:1: an attribute is written NAME=\"VALUE\"",
            ),
        ] {
            assert_eq!(
                parse(text, "layer-0.list").unwrap_err().to_string(),
                message
            );
        }
    }
}
