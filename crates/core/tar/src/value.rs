//! The values of PAX records.

use imgconv_model::{Code, Error, Result, quote};

use crate::{Time, number};

/// Makes the error of a value that its key does not take.
fn bad_value(key: &[u8], value: &[u8], expected: &str) -> Error {
    let key = String::from_utf8_lossy(key);
    let message = format!(
        "the PAX value of `{key}` is {}, expected {expected}",
        quote(value)
    );
    Error::new(Code::BadTar, message)
}

/// Reads a value that is a number of digits only.
pub(crate) fn decimal(key: &[u8], value: &[u8]) -> Result<u64> {
    number::decimal(value).ok_or_else(|| bad_value(key, value, "digits, at most 2^63 - 1"))
}

/// Reads a value that names something: without NUL, and not empty.
pub(crate) fn name(key: &[u8], value: &[u8]) -> Result<Vec<u8>> {
    if value.is_empty() {
        return Err(bad_value(key, value, "a name"));
    }
    without_nul(key, value)
}

/// Reads a value without NUL, which may be empty.
pub(crate) fn without_nul(key: &[u8], value: &[u8]) -> Result<Vec<u8>> {
    if value.contains(&0) {
        return Err(bad_value(key, value, "no NUL"));
    }
    Ok(value.to_vec())
}

/// Reads the number of a user or a group.
pub(crate) fn id(key: &[u8], value: &[u8]) -> Result<u32> {
    let id = number::decimal(value).and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| bad_value(key, value, "digits, at most 2^32 - 1"))
}

/// Reads a time in seconds, perhaps with a fraction.
pub(crate) fn time(key: &[u8], value: &[u8]) -> Result<Time> {
    number::time(value).ok_or_else(|| bad_value(key, value, "a decimal number of seconds"))
}
