//! Durations in the values of options.

use std::time::Duration;

/// Parses a duration: seconds, or a number with `s`, `m`, `h`, `d` or `w`.
///
/// # Errors
/// A sentence that says what a duration is.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        "a duration is a number of seconds, or a number with `s`, `m`, `h`, `d` or `w`".to_owned()
    };
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err(wrong()),
    };
    let number = text[..text.len() - unit.len()].parse::<u64>();
    let all = number.ok().and_then(|number| number.checked_mul(seconds));
    all.map(Duration::from_secs).ok_or_else(wrong)
}

/// Parses a duration that can't be zero, such as a time limit.
///
/// # Errors
/// As [`duration`], and for a duration of zero.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("the duration must be one second or more".to_owned()),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("5m", 300),
            ("1h", 3600),
            ("2d", 172_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "-1",
            "1.5h",
            "1y",
            "99999999999999999999",
            "1h30m",
            "1 h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(some_duration("0s").is_err());
        assert_eq!(some_duration("1"), Ok(Duration::from_secs(1)));
    }
}
