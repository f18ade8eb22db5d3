//! Numbers of the instructions: seven bits a byte, the lowest bits first, and a set highest bit in every
//! byte but the last (LEB128, unsigned).

use std::io::{self, Read};

use imgconv_model::{Code, Error, Result};

/// Appends a number.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number.
///
/// # Errors
/// [`Code::BadManifest`] for a number above 2^64 - 1 or one with needless bytes, and if the source ends.
pub(crate) fn get(source: &mut impl Read) -> Result<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        source.read_exact(&mut byte).map_err(ended)?;
        let bits = u64::from(byte[0] & 0x7f);
        let fits = bits << shift >> shift == bits;
        let needless = bits == 0 && shift > 0 && byte[0] & 0x80 == 0;
        if !fits || needless {
            break;
        }
        number |= bits << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Error::new(Code::BadManifest, "a number is malformed"))
}

/// Names the end of a record that comes too early.
pub(crate) fn ended(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof if error.get_ref().is_none_or(|it| !it.is::<Error>()) => {
            Error::new(Code::BadManifest, "the record ends too early")
        }
        _ => Error::from_io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for (number, bytes) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (
                u64::MAX,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            let mut out = Vec::new();
            put(&mut out, number);
            assert_eq!(out, bytes);
            assert_eq!(get(&mut &*out).ok(), Some(number));
        }
        let long = [0x80; 11];
        let big = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        for bad in [&[][..], &[0x80], &[0x80, 0], &long, &big] {
            assert_eq!(
                get(&mut &*bad).map_err(|error| error.code()),
                Err(Code::BadManifest)
            );
        }
    }
}
