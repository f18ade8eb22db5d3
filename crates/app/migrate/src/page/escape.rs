//! Text from reports as HTML. A report may hold anything: markup, quotes, control characters.

use imgconv_model::is_hidden;

/// Returns a text for the content of an element or for an attribute in double quotes. Characters that
/// move a cursor, are invisible, or change the direction of text are shown as escapes.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_hidden(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Returns a text with escapes for its hidden characters, as [`html`] shows them.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// Returns at most that many characters of a text, the last ones, with `…` for the rest: names of one
/// place have their beginning in common.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    match count > most {
        true => {
            let left_out = count - most + 1;
            ['…']
                .into_iter()
                .chain(text.chars().skip(left_out))
                .collect()
        }
        false => text.to_owned(),
    }
}

/// Returns a number with a comma between groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns a number of bytes with a decimal unit.
pub(super) fn human(bytes: u64) -> String {
    let mut unit = 1u64;
    for name in ["B", "kB", "MB", "GB", "TB", "PB"] {
        if bytes < unit.saturating_mul(1000) || name == "PB" {
            let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
            return match name {
                "B" => format!("{bytes} B"),
                _ => format!("{}.{} {name}", tenths / 10, tenths % 10),
            };
        }
        unit = unit.saturating_mul(1000);
    }
    unreachable!("the last unit ends the loop")
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
    fn sizes_and_long_names_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_250_000, "1.3 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(shortened("éabc", 3), "…bc");
        assert_eq!(shortened("éab", 3), "éab");
        assert_eq!(shortened(&visible("abc\u{202e}"), 5), "…02e}");
        assert_eq!(
            [1, 999, 1000, 1_234_567].map(grouped),
            ["1", "999", "1,000", "1,234,567"]
        );
    }
}
