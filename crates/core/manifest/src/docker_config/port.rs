//! The keys of `ExposedPorts`: `PORT`, `PORT/PROTOCOL`, and Docker's ranges `FIRST-LAST/PROTOCOL`.

use imgconv_model::Port;

/// Reads a key. `None` if the key is not a port: zero, out of range, backwards, or other text.
pub(super) fn read(key: &str) -> Option<Port> {
    let (numbers, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let letters = |b: u8| b.is_ascii_alphanumeric();
    if protocol.is_empty() || protocol.len() > 16 || !protocol.bytes().all(letters) {
        return None;
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last) = (number(first)?, number(last)?);
    Some(Port {
        number: first,
        count: last.checked_sub(first)?.checked_add(1)?,
        protocol: protocol.to_ascii_lowercase(),
    })
}

/// Reads 1 to 65535 in plain digits.
fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())?
        .filter(|&number| number > 0)
}

/// Prints a port as the keys of the specification: one for each number of a range.
pub(super) fn keys(port: &Port) -> impl Iterator<Item = String> {
    let Port {
        number,
        count,
        protocol,
    } = port;
    let last = u32::from(*number) + u32::from(*count);
    (u32::from(*number)..last.min(65_536)).map(move |number| format!("{number}/{protocol}"))
}
