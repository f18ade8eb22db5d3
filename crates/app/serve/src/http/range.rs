//! The part of a blob that a client asks for, by its header `Range` (RFC 9110, 14.1.2).

/// The part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole blob: there is no header, or the server ignores the header.
    Whole,
    /// The bytes from the first number on, as many as the second number.
    Some(u64, u64),
    /// A part beyond the end of the blob.
    Unsatisfiable,
}

/// Reads the header for a blob of `size` bytes. Several ranges, and anything else that is not one range
/// of bytes, are ignored, as RFC 9110 allows.
pub(super) fn part(header: Option<&str>, size: u64) -> Part {
    let Some(range) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else {
        return Part::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large is beyond every end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => match number(last) {
            None => Part::Whole,
            Some(0) => Part::Unsatisfiable,
            Some(_) if size == 0 => Part::Unsatisfiable,
            Some(count) => {
                let count = count.min(size);
                Part::Some(size - count, count)
            }
        },
        (first, last) => {
            let end = match last {
                "" => Some(u64::MAX),
                last => number(last),
            };
            match (number(first), end) {
                (Some(first), Some(end)) if first > end => Part::Whole,
                (Some(first), Some(_)) if first >= size => Part::Unsatisfiable,
                (Some(first), Some(end)) => Part::Some(first, end.min(size - 1) - first + 1),
                _ => Part::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_a_part_and_everything_else_the_whole() {
        for (header, expected) in [
            ("bytes=0-9", Part::Some(0, 10)),
            ("bytes=10-", Part::Some(10, 90)),
            ("bytes=-10", Part::Some(90, 10)),
            ("bytes=-200", Part::Some(0, 100)),
            ("bytes=99-99", Part::Some(99, 1)),
            ("bytes=90-18446744073709551615", Part::Some(90, 10)),
            ("bytes=90-99999999999999999999999", Part::Some(90, 10)),
            ("bytes=100-", Part::Unsatisfiable),
            ("bytes=18446744073709551616-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=9-0", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=+1-5", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=", Part::Whole),
            ("items=0-1", Part::Whole),
        ] {
            assert_eq!(part(Some(header), 100), expected, "{header}");
        }
        assert_eq!(part(None, 100), Part::Whole);
        assert_eq!(part(Some("bytes=0-"), 0), Part::Unsatisfiable);
        assert_eq!(part(Some("bytes=-5"), 0), Part::Unsatisfiable);
    }
}
