//! Numbers in tar headers: octal and base-256 header fields, decimal PAX values, PAX times.
//!
//! Only spellings on which readers agree are read. Text that is out of range or not a number is
//! `None`; the caller makes the error, which names the field.

use crate::Time;

const NANOS: u32 = 1_000_000_000;

/// Reads a header field: octal digits, or two's complement when the first bit is set.
pub(crate) fn field(bytes: &[u8]) -> Option<i64> {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => base256(bytes),
        _ => i64::try_from(octal(bytes)?).ok(),
    }
}

/// Reads an octal field: spaces, digits, then only spaces and NULs. A blank field is 0.
pub(crate) fn octal(bytes: &[u8]) -> Option<u64> {
    let start = bytes.iter().position(|b| *b != b' ').unwrap_or(bytes.len());
    let rest = &bytes[start..];
    let digits = rest
        .iter()
        .position(|b| !matches!(b, b'0'..=b'7'))
        .unwrap_or(rest.len());
    if rest[digits..].iter().any(|b| !matches!(b, b' ' | 0)) {
        return None;
    }
    rest[..digits].iter().try_fold(0u64, |value, digit| {
        value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))
    })
}

/// Returns true if the lenient octal reading of Go accepts the field: blanks and NULs around it are
/// trimmed, and the bytes after an inner NUL are ignored.
pub(crate) fn is_lenient_octal(bytes: &[u8]) -> bool {
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let Some(start) = bytes.iter().position(|b| !blank(b)) else {
        return true;
    };
    let end = bytes.iter().rposition(|b| !blank(b)).unwrap_or(start);
    let mut text = bytes[start..=end].split(|b| *b == 0);
    text.next()
        .is_some_and(|text| text.iter().all(|b| matches!(b, b'0'..=b'7')))
}

/// Reads two's complement, most significant byte first; the first bit only marks the form. The
/// first byte holds only mark and sign: with other bits in it, some readers do not accept the
/// number.
fn base256(bytes: &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    let mut value = match first {
        0x80 => 0i128,
        0xff => -1,
        _ => return None,
    };
    for byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    i64::try_from(value).ok()
}

/// Reads a decimal number: digits only, at least one, at most 2^63 - 1.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let value = text.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    i64::try_from(value).is_ok().then_some(value)
}

/// Reads a PAX time: a decimal number, which may be negative and may have a fraction. Digits below
/// a nanosecond are cut toward minus infinity.
pub(crate) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = text.iter().position(|b| *b == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    if whole.is_empty() || !text.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
        return None;
    }
    let whole = whole.iter().try_fold(0i128, |value, digit| {
        value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
    })?;
    if fraction.contains(&b'.') {
        return None;
    }
    let mut nanos = 0u32;
    for i in 0..9 {
        nanos = nanos * 10 + fraction.get(i).map_or(0, |digit| u32::from(digit - b'0'));
    }
    if !negative {
        let seconds = i64::try_from(whole).ok()?;
        return Some(Time { seconds, nanos });
    }
    if fraction.iter().skip(9).any(|digit| *digit != b'0') {
        nanos += 1;
    }
    let (mut seconds, mut upward) = (-whole, 0);
    if nanos > 0 {
        (seconds, upward) = (seconds - 1, NANOS - nanos);
    }
    let seconds = i64::try_from(seconds).ok()?;
    Some(Time {
        seconds,
        nanos: upward,
    })
}

/// Prints a PAX time; a fraction has no zeros at its end.
pub(crate) fn spell_time(time: Time) -> String {
    let Time { seconds, nanos } = time;
    if nanos == 0 {
        return seconds.to_string();
    }
    let text = if seconds < 0 {
        format!("-{}.{:09}", (seconds + 1).unsigned_abs(), NANOS - nanos)
    } else {
        format!("{seconds}.{nanos:09}")
    };
    text.trim_end_matches('0').to_owned()
}

/// Writes a header field: octal with a final NUL if it fits, else base-256. Returns true if the
/// value fits into octal.
pub(crate) fn put(field: &mut [u8], value: i64) -> bool {
    let digits = field.len() - 1;
    if let Ok(positive) = u64::try_from(value)
        && positive >> (3 * digits) == 0
    {
        let mut rest = positive;
        for digit in field[..digits].iter_mut().rev() {
            *digit = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
        field[digits] = 0;
        return true;
    }
    let bytes = value.to_be_bytes();
    let start = field.len() - bytes.len();
    field[..start].fill(if value < 0 { 0xff } else { 0 });
    field[start..].copy_from_slice(&bytes);
    field[0] |= 0x80;
    false
}

/// Adds up the bytes of a header block, eight at a time: the sum is needed for every header that is read or written.
pub(crate) fn byte_sum(block: &[u8; 512]) -> u32 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    // Four sums of 16 bits: 64 times two bytes are at most 32 640.
    let mut sums = 0u64;
    for eight in block.as_chunks::<8>().0 {
        let eight = u64::from_le_bytes(*eight);
        sums += (eight & EVEN) + (eight >> 8 & EVEN);
    }
    (0..4)
        .map(|lane| (sums >> (16 * lane)) as u32 & 0xffff)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_takes_only_what_readers_agree_on() {
        assert_eq!(field(b"0000644\0"), Some(0o644));
        assert_eq!(field(b"   644 \0"), Some(0o644));
        assert_eq!(field(b"00000644"), Some(0o644));
        assert_eq!(field(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(field(b"        "), Some(0));
        for bad in [
            &b"000000 1"[..],
            b"\x000000001",
            b"1\x00777777",
            b"-0000001",
            b"+1",
            b"8",
            b"0x1",
        ] {
            assert_eq!(field(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn base_256_is_twos_complement_within_64_bits() {
        assert_eq!(field(&[0xff; 12]), Some(-1));
        assert_eq!(field(b"\x80\0\0\0\0\0\0\x01"), Some(1));
        assert_eq!(field(b"\x81\0\0\0\0\0\0\x01"), None);
        assert_eq!(field(b"\xc0\0\0\0\0\0\0\x01"), None);
        assert_eq!(
            field(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            Some(i64::MAX)
        );
        assert_eq!(field(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
        assert_eq!(field(b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0"), Some(i64::MIN));
        assert_eq!(
            field(b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
    }

    #[test]
    fn fields_are_read_as_written() {
        for value in [
            0,
            1,
            0o77_7777_7777,
            1 << 33,
            1 << 40,
            i64::MAX,
            -1,
            i64::MIN,
        ] {
            let mut bytes = [b'x'; 12];
            put(&mut bytes, value);
            assert_eq!(field(&bytes), Some(value));
        }
        for value in [0, 0o777_7777, 1 << 21, i64::from(u32::MAX)] {
            let mut bytes = [b'x'; 8];
            assert_eq!(put(&mut bytes, value), value < 1 << 21);
            assert_eq!(field(&bytes), Some(value));
        }
    }

    #[test]
    fn times_are_cut_toward_minus_infinity() {
        let at = |seconds, nanos| Some(Time { seconds, nanos });
        assert_eq!(time(b"5"), at(5, 0));
        assert_eq!(time(b"5."), at(5, 0));
        assert_eq!(time(b"1.5"), at(1, 500_000_000));
        assert_eq!(time(b"-1.5"), at(-2, 500_000_000));
        assert_eq!(time(b"-0.5"), at(-1, 500_000_000));
        assert_eq!(time(b"1.1234567899"), at(1, 123_456_789));
        assert_eq!(time(b"-1.1234567890"), at(-2, 876_543_211));
        assert_eq!(time(b"-1.1234567891"), at(-2, 876_543_210));
        assert_eq!(time(b"-0.9999999999"), at(-1, 0));
        assert_eq!(time(b"-9223372036854775808"), at(i64::MIN, 0));
        for bad in [
            &b""[..],
            b".5",
            b"+1",
            b"1e9",
            b"nan",
            b"1.2.3",
            b"--1",
            b"-9223372036854775808.1",
            b"9223372036854775808",
        ] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_are_read_as_spelled() {
        assert_eq!(
            spell_time(Time {
                seconds: -2,
                nanos: 500_000_000
            }),
            "-1.5"
        );
        assert_eq!(
            spell_time(Time {
                seconds: -1,
                nanos: 1
            }),
            "-0.999999999"
        );
        for seconds in [0, 1, -1, -2, i64::MIN, i64::MAX] {
            for nanos in [0, 1, 999_999_999, 500_000_000] {
                let value = Time { seconds, nanos };
                assert_eq!(time(spell_time(value).as_bytes()), Some(value));
            }
        }
    }

    #[test]
    fn bytes_are_added_up() {
        let blocks = [
            [255; 512],
            [0; 512],
            std::array::from_fn(|i| (i * 7 % 256) as u8),
        ];
        for block in blocks {
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            assert_eq!(byte_sum(&block), sum);
        }
    }
}
