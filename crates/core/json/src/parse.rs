//! The only JSON reader: strict I-JSON (RFC 7493), as the OCI image specification requires in
//! considerations.md, into `serde_json` values.
//!
//! The parser of `serde_json` is not used, because it takes the last of two equal keys, recurses on
//! depth, rounds numbers, and reads one special key of its own as a number. A text that two readers
//! could read differently is an error here.

use std::mem::size_of;

use imgconv_model::{Code, Error, Limits, Result, quote};
use serde_json::{Map, Number, Value};

/// The deepest nesting of a document, whatever the limit: values are dropped by recursion, and the
/// stack must hold that.
const DEEPEST: u64 = 1024;

/// The memory that values may use whatever the ratio to their text: small documents have small
/// values.
const ALWAYS: u64 = 16 << 20;

/// The bytes of an allocation beside its content, on average.
const ALLOCATION: u64 = 24;

/// The bytes of a member of an object: key, value, hash, and its slot in the hash table.
const MEMBER: u64 = (size_of::<String>() + size_of::<Value>() + 3 * size_of::<usize>()) as u64;

/// Parses one strict JSON value; only white space may follow. `what` names the document in errors.
///
/// Refused are: bytes that are not UTF-8, a byte order mark, equal keys in one object (compared
/// after escapes are decoded), lone surrogates, numbers beyond the range of a double, and every
/// text that RFC 8259 refuses. A number keeps its own digits, so that printing the value again does
/// not change an integer of thirty digits; only an exponent gets its sign (`1E3` is printed as
/// `1e+3`).
///
/// # Errors
/// [`Code::Limit`] if the nesting exceeds the limit `json_depth`, or the values would take more
/// memory than `json_memory` and `json_ratio` allow; [`Code::BadJson`] with line and column (both
/// from 1, columns in bytes) for everything else.
pub fn parse(bytes: &[u8], limits: &Limits, what: &str) -> Result<Value> {
    read(bytes, limits, what, true)
}

/// Checks that [`parse`] would accept a text, without keeping its values: for documents of which
/// only some members are needed, each of which is parsed on its own. The memory used is that of the
/// keys of the open objects.
///
/// # Errors
/// The errors of [`parse`].
pub fn check(bytes: &[u8], limits: &Limits, what: &str) -> Result<()> {
    read(bytes, limits, what, false).map(|_| ())
}

fn read(bytes: &[u8], limits: &Limits, what: &str, keep: bool) -> Result<Value> {
    let fail = |(offset, error): (usize, Error)| {
        let before = &bytes[..offset.min(bytes.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let column = before.len() - start + 1;
        error.at(format!("line {line}, column {column}")).at(what)
    };
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(fail((0, bad("the text starts with a byte order mark"))));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| fail((error.valid_up_to(), bad("the text is not UTF-8"))))?;
    let mut parser = Parser {
        text,
        position: 0,
        deepest: limits.json_depth.min(DEEPEST),
        keep,
        held: 0,
        budget: Budget::new(bytes.len() as u64, limits),
    };
    parser.document().map_err(fail)
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadJson, message)
}

/// An error and the offset where it was found.
type Failure = (usize, Error);

struct Parser<'a> {
    text: &'a str,
    position: usize,
    deepest: u64,
    /// False if the values are dropped.
    keep: bool,
    /// Bytes of memory that the values use.
    held: u64,
    budget: Budget,
}

/// The memory that the values of a document may use, and the limit that defines it.
struct Budget {
    most: u64,
    limit: (&'static str, u64),
}

impl Budget {
    fn new(length: u64, limits: &Limits) -> Self {
        let relative = length.saturating_mul(limits.json_ratio).max(ALWAYS);
        if relative < limits.json_memory {
            Self {
                most: relative,
                limit: ("json_ratio", limits.json_ratio),
            }
        } else {
            Self {
                most: limits.json_memory,
                limit: ("json_memory", limits.json_memory),
            }
        }
    }
}

/// A container that is not closed yet. `before` is the memory count when it was opened.
enum Open {
    Array {
        items: Vec<Value>,
        count: u64,
        before: u64,
    },
    Object {
        map: Map<String, Value>,
        key: String,
        before: u64,
    },
}

impl Parser<'_> {
    /// Adds memory of values to the count.
    fn hold(&mut self, bytes: u64) -> Result<(), Failure> {
        self.held = self.held.saturating_add(bytes);
        if self.held <= self.budget.most {
            return Ok(());
        }
        let (name, limit) = self.budget.limit;
        let what = format!(
            "the memory of the values, over {} bytes for a document of {},",
            self.budget.most,
            self.text.len()
        );
        Err((self.position, Limits::exceeded(name, limit, what)))
    }

    fn document(&mut self) -> Result<Value, Failure> {
        let mut stack: Vec<Open> = Vec::new();
        loop {
            // A value begins here.
            self.skip_space();
            let mut value = match self.peek() {
                Some(b'{') => {
                    self.enter(&stack)?;
                    self.skip_space();
                    if self.take(b'}') {
                        Value::Object(Map::new())
                    } else {
                        let before = self.held;
                        self.hold(2 * ALLOCATION)?;
                        let key = self.key(&stack, None)?;
                        let map = Map::new();
                        stack.push(Open::Object { map, key, before });
                        continue;
                    }
                }
                Some(b'[') => {
                    self.enter(&stack)?;
                    self.skip_space();
                    if self.take(b']') {
                        Value::Array(Vec::new())
                    } else {
                        let before = self.held;
                        self.hold(ALLOCATION)?;
                        stack.push(Open::Array {
                            items: Vec::new(),
                            count: 0,
                            before,
                        });
                        continue;
                    }
                }
                Some(b'"') => {
                    let text = self.string()?;
                    self.hold_text(text.len())?;
                    Value::String(text)
                }
                Some(b'-' | b'0'..=b'9') => {
                    let start = self.position;
                    let number = self.number()?;
                    self.hold_text(self.position - start)?;
                    Value::Number(number)
                }
                Some(b't') => self.word("true", Value::Bool(true))?,
                Some(b'f') => self.word("false", Value::Bool(false))?,
                Some(b'n') => self.word("null", Value::Null)?,
                _ => return Err(self.unexpected("a value")),
            };
            // A value has ended: it goes into its container, which may end too.
            loop {
                self.skip_space();
                match stack.pop() {
                    None => {
                        if self.position < self.text.len() {
                            return Err(self.unexpected("nothing after the document"));
                        }
                        return Ok(value);
                    }
                    Some(Open::Array {
                        mut items,
                        mut count,
                        before,
                    }) => {
                        if self.keep {
                            self.hold(size_of::<Value>() as u64)?;
                            items.push(value);
                        }
                        count += 1;
                        if self.take(b',') {
                            stack.push(Open::Array {
                                items,
                                count,
                                before,
                            });
                            break;
                        }
                        if !self.take(b']') {
                            return Err(self.unexpected("`,` or `]`"));
                        }
                        if self.keep {
                            items.shrink_to_fit();
                        } else {
                            self.held = before;
                        }
                        value = Value::Array(items);
                    }
                    Some(Open::Object {
                        mut map,
                        key,
                        before,
                    }) => {
                        let more = room(map.len() + 1) - room(map.len());
                        self.hold(more * MEMBER + ALLOCATION + key.len() as u64)?;
                        map.insert(key, if self.keep { value } else { Value::Null });
                        if self.take(b',') {
                            self.skip_space();
                            let key = self.key(&stack, Some(&map))?;
                            stack.push(Open::Object { map, key, before });
                            break;
                        }
                        if !self.take(b'}') {
                            return Err(self.unexpected("`,` or `}`"));
                        }
                        if !self.keep {
                            self.held = before;
                            map = Map::new();
                        }
                        value = Value::Object(map);
                    }
                }
            }
        }
    }

    /// Counts a text that is kept.
    fn hold_text(&mut self, length: usize) -> Result<(), Failure> {
        match self.keep {
            true => self.hold(ALLOCATION + length as u64),
            false => Ok(()),
        }
    }

    /// Steps over the opening byte of a container.
    fn enter(&mut self, stack: &[Open]) -> Result<(), Failure> {
        if stack.len() as u64 >= self.deepest {
            let error = Limits::exceeded("json_depth", self.deepest, "the nesting");
            return Err((self.position, error));
        }
        self.position += 1;
        Ok(())
    }

    /// Reads a key and its colon.
    fn key(&mut self, stack: &[Open], map: Option<&Map<String, Value>>) -> Result<String, Failure> {
        let start = self.position;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a key in double quotes"));
        }
        let key = self.string()?;
        if map.is_some_and(|map| map.contains_key(&key)) {
            let message = format!("the key {} occurs twice in {}", quote(&key), path(stack));
            return Err((start, bad(message)));
        }
        self.skip_space();
        if !self.take(b':') {
            return Err(self.unexpected("`:`"));
        }
        Ok(key)
    }

    fn string(&mut self) -> Result<String, Failure> {
        let bytes = self.text.as_bytes();
        self.position += 1;
        let mut out = String::new();
        loop {
            let start = self.position;
            while bytes
                .get(self.position)
                .is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
            {
                self.position += 1;
            }
            // Both ends are next to ASCII bytes, so the slice is cut between characters.
            out.push_str(&self.text[start..self.position]);
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.unexpected("an escaped control character")),
                None => return Err(self.unexpected("the end of the string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Failure> {
        let start = self.position;
        self.position += 1;
        let short = match self.peek() {
            Some(b'u') => {
                self.position += 1;
                return self.unicode_escape(start);
            }
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.unexpected("one of `\"\\/bfnrtu` after `\\`")),
        };
        self.position += 1;
        Ok(short)
    }

    /// Reads the digits after `\u`, and the second half of a surrogate pair.
    fn unicode_escape(&mut self, start: usize) -> Result<char, Failure> {
        let lone = || (start, bad("a lone surrogate is no character"));
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !(self.take(b'\\') && self.take(b'u')) {
                return Err(lone());
            }
            let second = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(lone());
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(lone)
    }

    fn four_digits(&mut self) -> Result<u32, Failure> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("four hex digits after `\\u`"));
            };
            code = code << 4 | digit;
            self.position += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Number, Failure> {
        let start = self.position;
        while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        let text = &self.text[start..self.position];
        // Most numbers are short integers, whose canonical spelling is the same.
        let digits = text.len() < 19 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits
            && (text.len() == 1 || !text.starts_with('0'))
            && let Ok(number) = text.parse::<u64>()
        {
            return Ok(Number::from(number));
        }
        let number = text.parse::<Number>().ok();
        let number =
            number.ok_or_else(|| (start, bad(format!("{} is not a number", quote(text)))))?;
        if !text.parse::<f64>().is_ok_and(f64::is_finite) {
            let message = format!("the number {} is too large", quote(text));
            return Err((start, bad(message)));
        }
        Ok(number)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Failure> {
        if !self.text[self.position..].starts_with(word) {
            return Err(self.unexpected("a value"));
        }
        self.position += word.len();
        Ok(value)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.position += usize::from(there);
        there
    }

    fn unexpected(&self, expected: &str) -> Failure {
        let found = match self.text[self.position..].chars().next() {
            Some(c) => quote(c.encode_utf8(&mut [0; 4])),
            None => "the end of the text".into(),
        };
        let message = format!("expected {expected}, found {found}");
        (self.position, bad(message))
    }
}

/// Returns the capacity of an object of so many members: its hash table has a power of two of
/// slots, and uses seven eighths of them.
fn room(members: usize) -> u64 {
    match members as u64 {
        0 => 0,
        1..=3 => 3,
        4..=7 => 7,
        more => (more * 8).div_ceil(7).next_power_of_two() / 8 * 7,
    }
}

/// Returns the path of the container that `stack` leads to, such as `/layers/2`.
fn path(stack: &[Open]) -> String {
    if stack.is_empty() {
        return "the document".into();
    }
    let parts = stack.iter().map(|open| match open {
        Open::Array { count, .. } => format!("/{count}"),
        Open::Object { key, .. } => format!("/{key}"),
    });
    quote(parts.collect::<String>())
}
