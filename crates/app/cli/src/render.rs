//! How results are printed. Names from images are made safe for a terminal, and no message has a
//! secret of the user in it.

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use imgconv::{Inspection, Listed, Outcome, Verdict};
use imgconv_model::{Error, Result, Secrets, is_hidden};
use serde::Serialize;

use crate::args::Shared;

/// The secrets that no message may show, once the environment is known.
static SECRETS: OnceLock<Secrets> = OnceLock::new();

/// Says what no message may show from now on.
pub(crate) fn keep_secret(secrets: &Secrets) {
    // It is called once; a second call would be for the same run.
    let _ = SECRETS.set(secrets.clone());
}

/// Takes secrets out of a message.
pub(crate) fn concealed(text: &str) -> String {
    match SECRETS.get() {
        Some(secrets) => secrets.conceal(text),
        None => text.to_owned(),
    }
}

/// Escapes what could move the cursor, end a line, or change the direction of text.
pub(crate) fn clean(text: &str) -> String {
    escape_if(text, is_hidden, |c| c.escape_default().to_string())
}

/// The same for a text of several lines: its own line ends stay.
fn clean_lines(text: &str) -> String {
    escape_if(
        text,
        |c| c != '\n' && is_hidden(c),
        |c| c.escape_default().to_string(),
    )
}

/// Escapes in a JSON document what a terminal or a viewer would act on, as JSON allows for every
/// character of a string (RFC 8259, section 7). Outside of strings a document has no such character
/// but its line ends.
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
/// [`Code::Io`](imgconv_model::Code::Io) if a result could not be written; a closed pipe is the
/// reader's choice and no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    print_bytes(clean_lines(text).as_bytes())
}

/// Prints bytes as they are.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io(error, "standard output"))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error. There is nowhere to say that this did not work, so it is tried
/// and no more (`eprintln!` would panic).
pub(crate) fn say(line: &str) {
    let _ = io::stderr()
        .lock()
        .write_all(format!("{}\n", clean_lines(&concealed(line))).as_bytes());
}

/// Writes a JSON document as a line to standard error; its values have no secret in them.
pub(crate) fn say_json(value: &serde_json::Value) {
    let line = format!("{}\n", clean_json(&value.to_string()));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Prints a JSON document that is kept as bytes.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_document(bytes: &[u8]) -> Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) => print_bytes(clean_json(text).as_bytes()),
        Err(_) => print_bytes(bytes),
    }
}

/// Prints a value as one JSON document.
///
/// # Errors
/// As [`print`].
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    print_bytes(document(value).as_bytes())
}

/// Makes the JSON document of a result.
pub(crate) fn document(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .expect("results are maps with text keys, numbers and text");
    text.push('\n');
    clean_json(&text)
}

/// Prints a line for each image, and what was lost to standard error. If the image itself was
/// `piped` to standard output, the lines go to standard error too.
pub(crate) fn outcome(outcome: &Outcome, piped: bool, shared: &Shared) -> Result<()> {
    if !shared.quiet {
        for image in &outcome.images {
            let name = clean(image.name.as_deref().unwrap_or(&image.source));
            let most = if shared.verbose > 0 { usize::MAX } else { 20 };
            for loss in image.losses.iter().take(most) {
                say(&format!(
                    "loss: {name}: {} {}: {}",
                    clean(&loss.field),
                    loss.outcome,
                    clean(&loss.why)
                ));
            }
            for w in image.warnings.iter().take(most) {
                say(&format!(
                    "warning[{}]: {name}: {}: {}",
                    w.code,
                    clean(&w.at),
                    clean(&w.message)
                ));
            }
            let hidden =
                image.losses.len().saturating_sub(most) + image.warnings.len().saturating_sub(most);
            if hidden > 0 {
                say(&format!(
                    "{name}: {hidden} more losses and warnings: `-v` or `--report FILE`"
                ));
            }
        }
    }
    if shared.json {
        return json(outcome);
    }
    let mut text = String::new();
    for image in &outcome.images {
        let name = clean(image.name.as_deref().unwrap_or("-"));
        match (&image.digest, &image.plan) {
            (Some(digest), _) => text.push_str(&format!("{name} {digest}\n")),
            (None, Some(plan)) => text.push_str(&format!("{name} would be written: {plan}\n")),
            (None, None) => text.push_str(&format!("{name} -\n")),
        }
    }
    if !piped {
        return print(&text);
    }
    if !shared.quiet {
        say(text.trim_end());
    }
    Ok(())
}

/// Says of which images nothing was changed, where a change was asked for.
pub(crate) fn unchanged(outcome: &Outcome) {
    for image in &outcome.images {
        let kept = image.digest.is_some() && image.digest == image.source_digest;
        if kept {
            let name = clean(image.name.as_deref().unwrap_or(&image.source));
            say(&match &image.platform {
                Some(platform) => format!(
                    "unchanged: {name} ({}): its layers are what was asked for already",
                    clean(platform)
                ),
                None => format!("unchanged: {name}: it is no image, and was copied as it is"),
            });
        }
    }
}

/// Prints a table of images.
pub(crate) fn list(lines: &[Listed], shared: &Shared) -> Result<()> {
    if shared.json {
        return json(&serde_json::json!({ "images": lines }));
    }
    let rows: Vec<[String; 5]> = lines
        .iter()
        .map(|line| {
            [
                clean(line.name.as_deref().unwrap_or("-")),
                clean(line.platform.as_deref().unwrap_or("-")),
                clean(&line.format),
                line.digest.clone().unwrap_or_else(|| "-".to_owned()),
                line.size.to_string(),
            ]
        })
        .collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    let printed = print(&text);
    for line in lines {
        if let Some(error) = &line.error {
            say(&format!("error: {}", clean(error)));
        }
    }
    printed
}

/// Prints what images are, field by field.
pub(crate) fn inspections(inspections: &[Inspection], shared: &Shared) -> Result<()> {
    if shared.json {
        return json(&serde_json::json!({ "images": inspections }));
    }
    let mut text = String::new();
    for (i, inspection) in inspections.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let value = serde_json::to_value(inspection).expect("an inspection is plain data");
        fields("", &value, &mut text);
    }
    print(&text)
}

/// Writes every field with a value as `path: value`. The depth is that of our own structs.
fn fields(path: &str, value: &serde_json::Value, text: &mut String) {
    use serde_json::Value;
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                fields(&format!("{path}{dot}{key}"), value, text);
            }
        }
        Value::Array(values) => {
            for (i, value) in values.iter().enumerate() {
                fields(&format!("{path}[{i}]"), value, text);
            }
        }
        Value::String(value) => text.push_str(&format!("{}: {}\n", clean(path), clean(value))),
        other => text.push_str(&format!("{}: {other}\n", clean(path))),
    }
}

/// Prints what a check found.
pub(crate) fn verdict(verdict: &Verdict, shared: &Shared) -> Result<()> {
    if shared.json {
        return json(verdict);
    }
    if !shared.quiet {
        for w in &verdict.warnings {
            say(&format!(
                "warning[{}]: {}: {}",
                w.code,
                clean(&w.at),
                clean(&w.message)
            ));
        }
    }
    let mut text = String::new();
    for problem in &verdict.problems {
        let at = if problem.at.is_empty() {
            String::new()
        } else {
            format!("{}: ", problem.at)
        };
        text.push_str(&format!(
            "{}: {}{}\n",
            problem.code,
            clean(&at),
            clean(&problem.message)
        ));
    }
    for signed in &verdict.signatures {
        let by = match &signed.user_ids[..] {
            [] => signed.fingerprint.clone(),
            names => format!("{} ({})", names.join(", "), signed.fingerprint),
        };
        text.push_str(&format!("signed: {}: {}\n", clean(&signed.at), clean(&by)));
    }
    let wrong = verdict.problems.len();
    let summary = if wrong == 0 {
        "nothing wrong".to_owned()
    } else {
        format!("{wrong} wrong")
    };
    text.push_str(&format!("{} checked, {summary}\n", verdict.checked));
    print(&text)
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
        assert_eq!(back, value);
    }
}
