//! The extended attributes among an entry's PAX records, and the attribute that records an owner.
//!
//! Two dialects are read: `SCHILY.xattr.NAME` with the plain value (star, GNU tar, Go) and
//! `LIBARCHIVE.xattr.NAME` with a percent-encoded name and the value in base64 (bsdtar, which
//! usually writes both). ACLs and file flags are found, to be reported, and not decoded.

use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The attribute that holds file capabilities.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// The attribute that records the owner of a file where the owner itself could not be set.
pub(crate) const OWNER: &[u8] = b"user.rootlesscontainers";

/// Returns the attributes by name; a value that can't be decoded is `None`, and so is that of an
/// ACL or of file flags.
pub(crate) fn attributes(pax: &[(Vec<u8>, Vec<u8>)]) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for (key, value) in pax {
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            found.insert(percent_decoded(name), base64_decoded(value));
        } else if key.starts_with(b"SCHILY.acl.") || key == b"SCHILY.fflags" {
            found.insert(key.clone(), None);
        }
    }
    for (key, value) in pax {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            found.insert(name.to_vec(), Some(value.clone()));
        }
    }
    found
}

/// Returns the value of [`OWNER`]: a protobuf message, field 1 the user, field 2 the group, both
/// `uint32`; a zero is left out, as proto3 does.
pub(crate) fn owner_record(uid: u32, gid: u32) -> Vec<u8> {
    let mut record = Vec::new();
    for (tag, mut value) in [(0x08, uid), (0x10, gid)] {
        if value == 0 {
            continue;
        }
        record.push(tag);
        while value >= 0x80 {
            record.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        record.push(value as u8);
    }
    record
}

/// Decodes `%` and two hex digits; all other bytes stay.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|&byte| (byte as char).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        if text[at] == b'%'
            && let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2))
        {
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(text[at]);
            at += 1;
        }
    }
    decoded
}

/// Base64 as tar programs write it: the bits after the last byte may be other than zero.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes base64, padded or not; `None` if it is not base64.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|&byte| byte != b'=');
    LENIENT.decode(&text[..end.map_or(0, |end| end + 1)]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_are_read_and_the_plain_one_wins() {
        let record = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
        let pax = [
            record(b"SCHILY.xattr.user.both", b"plain\n\0"),
            record(b"LIBARCHIVE.xattr.user.both", b"b3RoZXI"),
            record(b"LIBARCHIVE.xattr.user.a%3Db%2", b"AP8="),
            record(b"LIBARCHIVE.xattr.user.bad", b"A"),
            record(b"SCHILY.acl.access", b"user::rw-"),
            record(b"comment", b"x"),
        ];
        let found: Vec<_> = attributes(&pax).into_iter().collect();
        let expected = [
            (b"SCHILY.acl.access".to_vec(), None),
            (b"user.a=b%2".to_vec(), Some(vec![0, 255])),
            (b"user.bad".to_vec(), None),
            (b"user.both".to_vec(), Some(b"plain\n\0".to_vec())),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn base64_of_every_length() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg", b"f"),
            ("Zg==", b"f"),
            ("Zm8", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg", b"foob"),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(base64_decoded(text.as_bytes()).unwrap(), bytes, "{text}");
        }
        for text in ["Z", "Zm9vY", "Zm 9v", "Z=g", "-_"] {
            assert_eq!(base64_decoded(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn owners_are_noted_as_two_varints() {
        assert_eq!(owner_record(1000, 0), [0x08, 0xe8, 0x07]);
        assert_eq!(owner_record(0, 5), [0x10, 5]);
        assert_eq!(
            owner_record(u32::MAX, 128),
            [0x08, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x10, 0x80, 0x01]
        );
    }
}
