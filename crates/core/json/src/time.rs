//! Dates as RFC 3339 text. Dates stay text; this module neither calculates with dates nor reads a
//! clock.

/// Returns true if a text is a date by RFC 3339 as Go reads it: `T` and `Z` in upper case, no leap
/// second.
pub fn is_rfc3339(text: &str) -> bool {
    check(text).is_some()
}

/// Returns a known date: an empty text and Go's zero time mean "not known".
pub fn known_time(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty() && *text != "0001-01-01T00:00:00Z")
}

fn check(text: &str) -> Option<()> {
    let bytes = text.as_bytes();
    let number = |from: usize, digits: usize| -> Option<u32> {
        let mut value = 0;
        for &byte in bytes.get(from..from + digits)? {
            value = value * 10 + u32::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        Some(value)
    };
    let is = |at: usize, byte: u8| (bytes.get(at) == Some(&byte)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    is(4, b'-')?;
    is(7, b'-')?;
    is(10, b'T')?;
    is(13, b':')?;
    is(16, b':')?;
    let holds = (1..=12).contains(&month)
        && (1..=days_in(i64::from(year), month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    holds.then_some(())?;
    let mut rest = 19;
    if bytes.get(rest) == Some(&b'.') {
        let digits = bytes[rest + 1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        (digits > 0).then_some(())?;
        rest += 1 + digits;
    }
    match bytes.get(rest)? {
        b'Z' => (bytes.len() == rest + 1).then_some(()),
        b'+' | b'-' => {
            is(rest + 3, b':')?;
            let fits = number(rest + 1, 2)? < 24 && number(rest + 4, 2)? < 60;
            (fits && bytes.len() == rest + 6).then_some(())
        }
        _ => None,
    }
}

fn days_in(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Prints seconds since 1970 (UTC) as RFC 3339; `None` outside the years 0 to 9999.
pub fn rfc3339(seconds: i64) -> Option<String> {
    // 0000-01-01 and the end of 9999.
    if !(-62_167_219_200..=253_402_300_799).contains(&seconds) {
        return None;
    }
    let (mut days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Whole 400-year cycles of 146 097 days bring any day into 1970-2369; years and months are
    // then counted, at most 400 and 12 of them.
    let cycles = days.div_euclid(146_097);
    days = days.rem_euclid(146_097);
    let mut year = 1970 + cycles * 400;
    loop {
        let length = (1..=12).map(|month| i64::from(days_in(year, month))).sum();
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= i64::from(days_in(year, month)) {
        days -= i64::from(days_in(year, month));
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    Some(format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        days + 1
    ))
}
