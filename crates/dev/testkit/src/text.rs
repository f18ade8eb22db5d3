//! The tokens of a recipe line: words and quoted strings over bytes, and how they are printed.
//!
//! Names in archives are bytes. A recipe is UTF-8 text, so unprintable bytes are written `\xNN`.
//! This module does not interpret entries.

use std::fmt::Write as _;

/// Reads one line from left to right.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        let mut cursor = Self {
            rest: line.as_bytes(),
        };
        cursor.skip_spaces();
        cursor
    }

    fn skip_spaces(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The rest of the line, for messages.
    pub(crate) fn rest(&self) -> String {
        String::from_utf8_lossy(self.rest).into_owned()
    }

    /// The first byte that has not been read.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes the next word, escapes resolved. A quote ends it, so that `a="b"` is a word and a
    /// string.
    pub(crate) fn word(&mut self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'"' => break,
                b'\\' => out.push(self.escape()?),
                _ => {
                    out.push(byte);
                    self.rest = &self.rest[1..];
                }
            }
        }
        if out.is_empty() {
            return Err("a word is missing".into());
        }
        if self.peek() != Some(b'"') {
            self.skip_spaces();
        }
        Ok(out)
    }

    /// Takes a string in double quotes.
    pub(crate) fn string(&mut self) -> Result<Vec<u8>, String> {
        let [b'"', rest @ ..] = self.rest else {
            return Err(format!(
                "expected a string in quotes, found `{}`",
                self.rest()
            ));
        };
        self.rest = rest;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => return Err("a string is not closed".into()),
                Some(b'"') => {
                    self.rest = &self.rest[1..];
                    self.skip_spaces();
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(byte) => {
                    out.push(byte);
                    self.rest = &self.rest[1..];
                }
            }
        }
    }

    /// Takes `expected` if it is the next word.
    pub(crate) fn accept(&mut self, expected: &str) -> bool {
        let mut ahead = self.clone();
        if ahead.word().is_ok_and(|word| word == expected.as_bytes()) {
            *self = ahead;
            return true;
        }
        false
    }

    fn escape(&mut self) -> Result<u8, String> {
        let (byte, length) = match self.rest {
            [b'\\', b'x', high, low, ..] => {
                let pair = [*high, *low];
                let value = std::str::from_utf8(&pair)
                    .ok()
                    .and_then(|text| u8::from_str_radix(text, 16).ok());
                (value.ok_or("`\\x` needs two hex digits")?, 4)
            }
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b'0', ..] => (0, 2),
            [b'\\', byte @ (b'\\' | b'"'), ..] => (*byte, 2),
            _ => return Err("unknown escape: use \\n \\t \\r \\0 \\\\ \\\" or \\xNN".into()),
        };
        self.rest = &self.rest[length..];
        Ok(byte)
    }
}

/// Prints bytes as a word that [`Cursor::word`] reads back.
pub(crate) fn word(bytes: &[u8]) -> String {
    escaped(bytes, true)
}

/// Prints bytes as a string in quotes that [`Cursor::string`] reads back.
pub(crate) fn string(bytes: &[u8]) -> String {
    format!("\"{}\"", escaped(bytes, false))
}

fn escaped(bytes: &[u8], space: bool) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\\' | '"' => out.extend(['\\', c]),
                ' ' if space => out.push_str("\\x20"),
                ' '..='~' => out.push(c),
                c if c.is_alphanumeric() => out.push(c),
                c => hex(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        hex(&mut out, chunk.invalid());
    }
    out
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(out, "\\x{byte:02x}").expect("writing to a string does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for bytes in [
            &b"usr/bin"[..],
            b"a b",
            b"n\xff\x00\n",
            b"\"\\",
            "é\u{202e}".as_bytes(),
        ] {
            let text = format!("{} {}", word(bytes), string(bytes));
            let mut cursor = Cursor::new(&text);
            assert_eq!(cursor.word().unwrap(), bytes, "{text}");
            assert_eq!(cursor.string().unwrap(), bytes, "{text}");
            assert!(cursor.is_at_end());
        }
        assert_eq!(word(b"a b\xff"), r"a\x20b\xff");
        assert_eq!(string(b"hi\n"), r#""hi\n""#);
    }

    #[test]
    fn bad_escapes_and_open_strings_are_refused() {
        assert!(Cursor::new(r"a\xg0").word().is_err());
        assert!(Cursor::new(r"a\q").word().is_err());
        assert!(Cursor::new("\"abc").string().is_err());
        assert!(Cursor::new("").word().is_err());
    }
}
