//! Times of entries, held below a bound for reproducible layers.

use imgconv_tar::{Entry, Time};

/// The PAX records that hold a time (POSIX pax, section "pax Header Block"; libarchive's own). The
/// time of the last change is not among them: [`Entry::mtime`] has that time.
const TIMES: [&[u8]; 3] = [b"atime", b"ctime", b"LIBARCHIVE.creationtime"];

/// Sets every time of an entry that is later than `epoch`, seconds since 1970, to `epoch`
/// (reproducible-builds.org, SOURCE_DATE_EPOCH). Earlier times, values that are not numbers, and
/// all other fields stay.
pub fn clamp(mut entry: Entry, epoch: i64) -> Entry {
    let most = Time {
        seconds: epoch,
        nanos: 0,
    };
    entry.mtime = entry.mtime.min(most);
    for (key, value) in &mut entry.pax {
        if TIMES.contains(&&key[..]) && is_later(value, epoch) {
            *value = epoch.to_string().into_bytes();
        }
    }
    entry
}

/// Compares a decimal number of seconds, perhaps with a fraction, with a whole number.
fn is_later(value: &[u8], epoch: i64) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let Ok(seconds) = whole.parse::<i128>() else {
        return false;
    };
    let more = fraction.bytes().any(|digit| digit != b'0') && !whole.starts_with('-');
    seconds > i128::from(epoch) || seconds == i128::from(epoch) && more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_compared_with_its_fraction() {
        let rows = [
            ("5", 5, false),
            ("5.0", 5, false),
            ("5.000000001", 5, true),
            ("6", 5, true),
            ("4.9", 5, false),
            ("-1.5", -1, false),
            ("-1.5", -2, true),
            ("-2", -2, false),
            ("99999999999999999999", 5, true),
            ("never", 5, false),
            ("", 5, false),
        ];
        for (value, epoch, expected) in rows {
            let found = is_later(value.as_bytes(), epoch);
            assert_eq!(found, expected, "{value} after {epoch}");
        }
    }
}
