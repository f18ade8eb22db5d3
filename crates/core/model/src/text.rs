//! Texts of inputs in lists and pages for people.

use crate::is_hidden;

/// Returns a text with escapes for its hidden characters: those that move a cursor, are invisible, or
/// change the direction of text.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// Returns a text for the content of an HTML element or for an attribute in quotes. Hidden characters
/// are shown as by [`visible`].
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Returns a text with `#` for each number, so that texts about the members of one list are equal.
pub fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_quotes_and_hidden_characters_are_shown() {
        assert_eq!(
            html("<script>'\"&\u{202e}\u{1b}[2J\n\u{e0041}é"),
            "&lt;script&gt;&#39;&quot;&amp;\\u{202e}\\u{1b}[2J\\n\\u{e0041}é"
        );
    }

    #[test]
    fn a_number_of_any_length_is_one_sign() {
        assert_eq!(
            without_numbers("layer 10 of 9: a1b22"),
            "layer # of #: a#b#"
        );
    }
}
