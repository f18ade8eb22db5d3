//! SHA-256 and SHA-512 as hex digits, computed by the packages directly, without the crates under
//! test.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256, Sha512};

/// Returns the SHA-256 of `bytes` as 64 lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns the SHA-512 of `bytes` as 128 lower-case hex digits.
pub fn sha512_hex(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

/// Reads to the end and returns the number of bytes and their SHA-256.
pub fn sha256_of(reader: &mut dyn Read) -> io::Result<(u64, String)> {
    let (mut hash, mut count) = (Sha256::new(), 0u64);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((count, hex(&hash.finalize()))),
            n => {
                hash.update(&buffer[..n]);
                count += n as u64;
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_empty_input_has_its_known_digest() {
        let known = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(super::sha256_hex(b""), known);
        assert_eq!(super::sha256_of(&mut &b""[..]).unwrap(), (0, known.into()));
        assert!(super::sha512_hex(b"").starts_with("cf83e1357eefb8bdf1542850d66d8007"));
    }
}
