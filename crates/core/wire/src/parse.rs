//! The only JSON reader: strict I-JSON (RFC 7493), as the OCI image specification asks for in
//! considerations.md, into `serde_json` values.
//!
//! Why not `serde_json`'s own parser: it takes the last of two equal keys, recurses on depth,
//! rounds numbers, and reads one special key of its own as a number. Whatever two readers could
//! see differently is an error here.

use imgconv_model::{Code, Error, Limits, Result, quote};
use serde_json::{Map, Number, Value};

/// No document may be nested deeper than this, whatever the limit says: values are dropped by
/// recursion, and the stack must hold that.
const DEEPEST: u64 = 1024;

/// Parses one strict JSON value and nothing after it but white space. `what` names the document in
/// errors.
///
/// Refused are: bytes that are not UTF-8, a byte order mark, equal keys in one object (compared
/// after escapes are decoded), lone surrogates, numbers beyond what a double can hold, and
/// everything that RFC 8259 refuses. A number keeps its own digits, so that printing the value
/// again does not change an integer of thirty of them; only an exponent gets its sign (`1E3` is
/// printed as `1e+3`).
///
/// # Errors
/// [`Code::Limit`] if the nesting exceeds the limit `json_depth`; [`Code::BadJson`] with line and
/// column (both from 1, columns in bytes) for everything else.
pub fn parse(bytes: &[u8], limits: &Limits, what: &str) -> Result<Value> {
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
}

/// A container that is not closed yet.
enum Open {
    Array(Vec<Value>),
    Object {
        map: Map<String, Value>,
        key: String,
    },
}

impl Parser<'_> {
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
                        let key = self.key(&stack, None)?;
                        let map = Map::new();
                        stack.push(Open::Object { map, key });
                        continue;
                    }
                }
                Some(b'[') => {
                    self.enter(&stack)?;
                    self.skip_space();
                    if self.take(b']') {
                        Value::Array(Vec::new())
                    } else {
                        stack.push(Open::Array(Vec::new()));
                        continue;
                    }
                }
                Some(b'"') => Value::String(self.string()?),
                Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
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
                    Some(Open::Array(mut items)) => {
                        items.push(value);
                        if self.take(b',') {
                            stack.push(Open::Array(items));
                            break;
                        }
                        if !self.take(b']') {
                            return Err(self.unexpected("`,` or `]`"));
                        }
                        value = Value::Array(items);
                    }
                    Some(Open::Object { mut map, key }) => {
                        map.insert(key, value);
                        if self.take(b',') {
                            self.skip_space();
                            let key = self.key(&stack, Some(&map))?;
                            stack.push(Open::Object { map, key });
                            break;
                        }
                        if !self.take(b'}') {
                            return Err(self.unexpected("`,` or `}`"));
                        }
                        value = Value::Object(map);
                    }
                }
            }
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
            let message = format!("the key {} stands twice in {}", quote(&key), path(stack));
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
            // Both ends stand beside ASCII bytes, so the slice is cut between characters.
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

    /// Reads what follows `\u`, and the second half of a surrogate pair.
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

/// Names the container that `stack` leads to, as `/layers/2`.
fn path(stack: &[Open]) -> String {
    if stack.is_empty() {
        return "the document".into();
    }
    let parts = stack.iter().map(|open| match open {
        Open::Array(items) => format!("/{}", items.len()),
        Open::Object { key, .. } => format!("/{key}"),
    });
    quote(parts.collect::<String>())
}
