//! Standard output and standard error. Names from images are made safe for a terminal, and no message
//! shows a secret of the user.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

pub(crate) use imgconv::visible as clean;
use imgconv::{Document, Error, Result, Secrets, is_hidden};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::environment;

/// The secrets that no message may show; set when the arguments and the environment have been read.
static SECRETS: OnceLock<Secrets> = OnceLock::new();

/// Sets the secrets that no message may show from now on. Secrets that are added later are hidden
/// too.
pub(crate) fn keep_secret(secrets: &Secrets) {
    // Only the first call has an effect; a second call would be for the same run.
    let _ = SECRETS.set(secrets.clone());
}

/// Replaces the secrets in a message.
pub(crate) fn concealed(text: &str) -> String {
    match SECRETS.get() {
        Some(secrets) => secrets.conceal(text),
        None => text.to_owned(),
    }
}

/// Escapes the same characters, except line ends.
fn clean_lines(text: &str) -> String {
    escape_if(
        text,
        |c| c != '\n' && is_hidden(c),
        |c| c.escape_default().to_string(),
    )
}

/// Escapes in a JSON document the characters on which a terminal or a viewer would act. JSON allows
/// escapes for every character of a string (RFC 8259, section 7). Outside of strings, a document has
/// no such character except line ends.
pub(crate) fn clean_json(text: &str) -> String {
    let escape = |c: char| {
        let mut units = [0; 2];
        let units = c.encode_utf16(&mut units).iter();
        units.map(|unit| format!("\\u{unit:04x}")).collect()
    };
    escape_if(text, |c| c >= '\u{7f}' && is_hidden(c), escape)
}

fn escape_if(text: &str, hidden: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match hidden(c) {
            true => out.push_str(&escape(c)),
            false => out.push(c),
        }
    }
    out
}

/// Prints text to standard output.
///
/// # Errors
/// [`Code::Io`](imgconv::Code::Io) if the text can't be written. A closed pipe is no error,
/// because the reader has chosen to stop.
pub(crate) fn print(text: &str) -> Result<()> {
    print_bytes(clean_lines(text).as_bytes())
}

/// Prints bytes as they are.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    // Both streams are often one terminal.
    let mut drawn = drawn();
    erase_drawn(&mut drawn);
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io(error, "standard output"))
        }
        _ => Ok(()),
    }
}

/// Lays rows out in columns that are separated by two or more spaces.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Writes a line to standard error. A failure is ignored, because there is no other place to report
/// it; `eprintln!` would panic.
pub(crate) fn say(line: &str) {
    say_bytes(format!("{}\n", clean_lines(&concealed(line))).as_bytes());
}

/// The kind of a message, which a terminal shows as a colour of the message's first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// The command failed.
    Error,
    /// A warning or a loss.
    Warning,
    /// Advice.
    Hint,
}

impl Label {
    /// The codes that begin the colour (ECMA-48, SGR): those that the help pages of clap use.
    fn code(self) -> &'static str {
        match self {
            Self::Error => "\x1b[1;31m",
            Self::Warning => "\x1b[1;33m",
            Self::Hint => "\x1b[32m",
        }
    }
}

/// Writes a line to standard error that begins with a word and a colon. The word is coloured where a
/// terminal has colours and the user has not refused them.
pub(crate) fn say_as(label: Label, word: &str, text: &str) {
    let (begin, end) = match environment::has_colour(&io::stderr()) {
        true => (label.code(), "\x1b[0m"),
        false => ("", ""),
    };
    let (word, text) = (clean(&concealed(word)), clean_lines(&concealed(text)));
    // Leading spaces stay before the colour.
    let shown = word.trim_start();
    let indent = &word[..word.len() - shown.len()];
    say_bytes(format!("{indent}{begin}{shown}:{end} {text}\n").as_bytes());
}

/// Writes a JSON document as one line to standard error. The caller makes sure that no value contains
/// a secret.
pub(crate) fn say_json(value: &impl Serialize) {
    say_bytes(format!("{}\n", line(value)).as_bytes());
}

fn say_bytes(bytes: &[u8]) {
    let mut drawn = drawn();
    erase_drawn(&mut drawn);
    let _ = io::stderr().lock().write_all(bytes);
}

/// The lines of progress on the terminal of standard error: the message of one bar, while they are there. The
/// lock keeps other output from going between the lines.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

type Drawn = MutexGuard<'static, Option<ProgressBar>>;

fn drawn() -> Drawn {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn erase_drawn(drawn: &mut Drawn) {
    if let Some(bar) = drawn.take() {
        bar.finish_and_clear();
    }
}

/// Draws lines of progress on the terminal of standard error, instead of those before. The caller makes
/// sure that each fits its width.
pub(crate) fn draw(lines: &[String]) {
    let mut drawn = drawn();
    if lines.is_empty() {
        erase_drawn(&mut drawn);
        return;
    }
    let bar = drawn.get_or_insert_with(|| {
        let style = ProgressStyle::with_template("{msg}");
        let style = style.expect("the template above is well formed");
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
    });
    let lines: Vec<String> = lines.iter().map(|line| clean(&concealed(line))).collect();
    bar.set_message(lines.join("\n"));
}

/// Removes the lines of progress.
pub(crate) fn erase() {
    erase_drawn(&mut drawn());
}

/// Returns the columns and rows of the terminal of standard error; 80 and 24 if the terminal does not tell.
pub(crate) fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    match size {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => (80, 24),
    }
}

/// Returns the number of columns of a text. Letters of East Asia take two columns, and so do, by this
/// count, all characters behind the Hangul letters: a line may become too short, but never too long.
pub(crate) fn width(text: &str) -> usize {
    text.chars()
        .map(|c| 1 + usize::from(c >= '\u{1100}' && c != '…'))
        .sum()
}

/// Makes a line of JSON.
pub(crate) fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value);
    clean_json(&text.expect("results are maps with text keys, numbers and text"))
}

/// Prints the bytes of a JSON document.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_document(bytes: &[u8]) -> Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => print_bytes(clean_json(text).as_bytes()),
        Err(_) => print_bytes(bytes),
    }
}

/// Prints a result as one JSON document.
///
/// # Errors
/// As [`print`].
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    print_bytes(document(value).as_bytes())
}

/// Prints a result: as one JSON document, or as text.
///
/// # Errors
/// As [`print`].
pub(crate) fn show(as_json: bool, document: &impl Serialize, text: &str) -> Result<()> {
    match as_json {
        true => json(document),
        false => print(text),
    }
}

/// Writes a warning to standard error.
pub(crate) fn warn(code: &str, at: &str, message: &str) {
    let text = format!("{}: {}", clean(at), clean(message));
    say_as(Label::Warning, &format!("warning[{code}]"), &text);
}

/// Makes the JSON document of a result, with its version.
pub(crate) fn document(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(&Document::new(value))
        .expect("results are maps with text keys, numbers and text");
    text.push('\n');
    clean_json(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // K45
    #[test]
    fn what_a_terminal_acts_on_is_escaped_in_text_and_in_json() {
        let hostile = "a\u{9b}31m\u{7f}\u{202e}\u{2028}\u{2029}\u{ad}\u{e0041}\u{1b}[b";
        assert_eq!(
            clean(hostile),
            "a\\u{9b}31m\\u{7f}\\u{202e}\\u{2028}\\u{2029}\\u{ad}\\u{e0041}\\u{1b}[b"
        );
        assert_eq!(clean_lines("a\n\u{85}b\n"), "a\n\\u{85}b\n");
        let value = serde_json::json!({ "k": hostile, "plain": "é\u{1f600}" });
        let text = document(&value);
        assert!(text.contains(r"a\u009b31m\u007f\u202e\u2028\u2029\u00ad\udb40\udc41\u001b[b"));
        assert!(text.contains("é\u{1f600}"));
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({ "version": 1, "k": hostile, "plain": "é\u{1f600}" });
        assert_eq!(back, expected);
    }
}
