//! Texts and numbers of a page, in the length that fits.

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
    use imgconv_model::visible;

    use super::*;

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
