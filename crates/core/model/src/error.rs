//! The one error type of the workspace: a stable code, a place, and what was expected.
//!
//! One type is enough instead of an enum per crate: callers act on the [`Code`] (exit status, JSON
//! output, tests), and people read the place and the sentence.

use std::{error, fmt, io, path::Path};

/// The result type of every fallible operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The stable code of an error, as users and scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// A name, tag, path token or reference is not well formed.
    BadName,
    /// A digest is not well formed.
    BadDigest,
    /// A digest, size or diff ID differs from the bytes.
    Mismatch,
    /// A document is not the strict JSON that is accepted.
    BadJson,
    /// A document has the wrong shape or an impossible meaning.
    BadManifest,
    /// A tar stream is malformed.
    BadTar,
    /// A compressed stream is malformed.
    BadCompression,
    /// A signature is malformed or wrong.
    BadSignature,
    /// Two conforming readers would see different images, or a name fits several things.
    Ambiguous,
    /// A limit was exceeded.
    Limit,
    /// A referenced file, document, blob or name is missing.
    Missing,
    /// A chain of references comes back to itself.
    Cycle,
    /// A path leaves its tree.
    Escape,
    /// The input is recognised, but not supported.
    Unsupported,
    /// A policy refuses the input or the action.
    Denied,
    /// The network failed.
    Net,
    /// The file system failed.
    Io,
    /// The call was wrong.
    Usage,
    /// `--strict` was given and something would be lost.
    Strict,
    /// The run was cancelled.
    Cancelled,
}

impl Code {
    /// Returns the code as it is printed, such as `bad-tar`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadName => "bad-name",
            Self::BadDigest => "bad-digest",
            Self::Mismatch => "mismatch",
            Self::BadJson => "bad-json",
            Self::BadManifest => "bad-manifest",
            Self::BadTar => "bad-tar",
            Self::BadCompression => "bad-compression",
            Self::BadSignature => "bad-signature",
            Self::Ambiguous => "ambiguous",
            Self::Limit => "limit",
            Self::Missing => "missing",
            Self::Cycle => "cycle",
            Self::Escape => "escape",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::Net => "net",
            Self::Io => "io",
            Self::Usage => "usage",
            Self::Strict => "strict",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of this project: the code, the message, the places, and advice for the next action.
///
/// `Display` prints the place from outside in and then the sentence, for example
/// `layer 3 › entry "usr/bin/x" › offset 10240: header checksum is 1, computed 2`.
///
/// `Debug` prints the same line, the code in brackets, and the advice on a line of its own, because
/// Rust prints an error that `main` returns with `Debug`. Hidden characters are escaped there.
/// `{:#?}` prints the fields.
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    places: Vec<String>,
    message: String,
    hint: Option<String>,
    source: Option<io::Error>,
}

impl Error {
    /// Makes an error. The message is lower case, without a full stop; [`quote`] quotes values of an input, and words
    /// of the command line stand in backticks.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (places, hint, source) = (Vec::new(), None, None);
        Self(Box::new(Inner {
            code,
            places,
            message: message.into(),
            hint,
            source,
        }))
    }

    /// Makes a [`Code::Mismatch`] error that shows both values.
    pub fn mismatch(
        what: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        let message = format!("{what} does not match: expected {expected}, found {found}");
        Self::new(Code::Mismatch, message)
    }

    /// Adds a place around the existing places: the outermost place is added last.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.places.insert(0, place.into());
        self
    }

    /// Adds advice: the next action for the user, such as an option that helps.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Makes the error for a file that exists and must not be replaced.
    pub fn exists(place: impl Into<String>) -> Self {
        let message = "the file is there already, and is not replaced";
        Self::new(Code::Denied, message)
            .at(place)
            .hint("`--overwrite` replaces it")
    }

    /// Wraps an I/O error met while doing `what` (a path, or an action on one).
    ///
    /// An [`Error`] that travelled inside the `io::Error` comes back as it was, with `what` as an
    /// outer place.
    pub fn io(error: io::Error, what: impl Into<String>) -> Self {
        Self::from_io(error).at(what)
    }

    /// Takes an [`Error`] back out of an `io::Error` without adding a place.
    pub fn from_io(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            let inner = error.into_inner().expect("checked by get_ref above");
            return *inner
                .downcast::<Self>()
                .expect("checked by is::<Self> above");
        }
        let message = error.to_string();
        let (code, places, hint) = (Code::Io, Vec::new(), None);
        Self(Box::new(Inner {
            code,
            places,
            message,
            hint,
            source: Some(error),
        }))
    }

    /// Returns the error with every text changed by `change`: places, message and hint.
    #[must_use]
    pub fn map_texts(mut self, change: impl Fn(&str) -> String) -> Self {
        let inner = &mut *self.0;
        let texts = inner.places.iter_mut().chain([&mut inner.message]);
        for text in texts.chain(inner.hint.as_mut()) {
            *text = change(text);
        }
        self
    }

    /// Returns the same error again, without the cause from the system: for an error of one entry
    /// that is reported whenever a caller asks for the entry.
    #[must_use]
    pub fn again(&self) -> Self {
        let Inner {
            code,
            places,
            message,
            hint,
            source: _,
        } = &*self.0;
        Self(Box::new(Inner {
            code: *code,
            places: places.clone(),
            message: message.clone(),
            hint: hint.clone(),
            source: None,
        }))
    }

    /// Returns the code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Returns the advice, if there is any.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the places, from outside in.
    pub fn places(&self) -> &[String] {
        &self.0.places
    }

    /// Returns the error of the call that failed, if the cause is one of the system.
    pub fn cause(&self) -> Option<&io::Error> {
        self.0.source.as_ref()
    }

    /// Returns the sentence without its place.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, place) in self.0.places.iter().enumerate() {
            if i > 0 {
                f.write_str(" › ")?;
            }
            f.write_str(place)?;
        }
        if !self.0.places.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f.debug_tuple("Error").field(&self.0).finish();
        }
        write_visible(f, &format!("{self} [{}]", self.0.code))?;
        let Some(hint) = &self.0.hint else {
            return Ok(());
        };
        f.write_str("\n  hint: ")?;
        write_visible(f, hint)
    }
}

/// Writes a text with its hidden characters escaped.
fn write_visible(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    use fmt::Write as _;
    for c in text.chars() {
        match is_hidden(c) {
            true => write!(f, "{}", c.escape_default())?,
            false => f.write_char(c)?,
        }
    }
    Ok(())
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

/// An [`Error`] can travel through `Read` and `Write`; [`Error::io`] and [`Error::from_io`] take it
/// out again.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// Quotes a value from an input for a message: in double quotes, escaped as by [`escape`], cut
/// after 200 characters.
pub fn quote(value: impl AsRef<[u8]>) -> String {
    format!("\"{}\"", escaped(value.as_ref(), 200))
}

/// Quotes a path for a message, as [`quote`] does.
pub fn quote_path(path: &Path) -> String {
    quote(path.as_os_str().as_encoded_bytes())
}

/// Returns true for a character that is invisible, or that changes how other characters are shown: controls (C0, DEL, C1),
/// ends of lines and paragraphs, characters that change the direction of text or have no width, and
/// tags.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Makes a value from an input safe to print, whole: control characters, bidirectional overrides,
/// quotes, backslashes and bytes that are not UTF-8 are escaped. Different values stay different.
pub fn escape(value: impl AsRef<[u8]>) -> String {
    escaped(value.as_ref(), usize::MAX)
}

fn escaped(value: &[u8], most: usize) -> String {
    use fmt::Write as _;
    let mut out = String::new();
    let mut chars = 0usize;
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            chars += 1;
            if chars > most {
                break;
            }
            if c == '"' || c == '\\' {
                out.push('\\');
                out.push(c);
            } else if is_hidden(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            chars += 1;
            if chars <= most {
                write!(out, "\\x{byte:02x}").expect("writing to a string does not fail");
            }
        }
        if chars > most {
            out.push('…');
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_printed_from_outside_in() {
        let error = Error::new(Code::BadTar, "header checksum is `1`, computed `2`")
            .at("offset 512")
            .at("layer 3");
        assert_eq!(
            error.to_string(),
            "layer 3 › offset 512: header checksum is `1`, computed `2`"
        );
        assert_eq!(error.code().as_str(), "bad-tar");
    }

    #[test]
    fn debug_is_what_main_prints() {
        let error = Error::new(Code::Denied, "\u{1b}[2J is there already")
            .at("out")
            .hint("`--overwrite` replaces it");
        assert_eq!(
            format!("{error:?}"),
            "out: \\u{1b}[2J is there already [denied]\n  hint: `--overwrite` replaces it"
        );
        let error = Error::new(Code::Limit, "too long");
        assert_eq!(format!("{error:?}"), "too long [limit]");
        let fields = format!("{error:#?}");
        assert!(
            fields.contains("code: Limit") && fields.contains("hint: None"),
            "{fields}"
        );
    }

    #[test]
    fn an_error_survives_the_way_through_io() {
        let io: io::Error = Error::new(Code::Limit, "too long").into();
        let back = Error::io(io, "layer 1");
        assert_eq!(back.code(), Code::Limit);
        assert_eq!(back.to_string(), "layer 1: too long");
    }

    #[test]
    fn quote_hides_nothing_and_executes_nothing() {
        assert_eq!(quote("a\"b"), r#""a\"b""#);
        assert_eq!(quote(b"x\x1b[2J\xff"), r#""x\u{1b}[2J\xff""#);
        assert_eq!(quote("\u{202e}x"), r#""\u{202e}x""#);
        assert_eq!(quote("a".repeat(300)).chars().count(), 203);
    }
}
