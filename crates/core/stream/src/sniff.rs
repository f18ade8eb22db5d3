//! Recognising a compression by its magic bytes. Names and media types are never used.

use imgconv_model::Compression;

/// The number of bytes that [`sniff`] needs.
pub(crate) const SNIFF_SIZE: usize = 6;

/// Returns the compression of a stream by its first bytes. Six bytes are enough; pass all bytes of
/// a shorter stream.
///
/// Zstandard is also recognised by a skippable frame (RFC 8878 section 3.1.2) and by the magic
/// bytes of its versions before 0.8, which the decoder then refuses by name. bzip2 needs, if they
/// are present, the digit and the block magic after `BZh`, since a tar may begin with such a name.
pub fn sniff(prefix: &[u8]) -> Compression {
    match prefix {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0x22..=0x27, 0xb5, 0x2f, 0xfd, ..] | [0xfd, 0x2f, 0xb5, 0x1e, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [b'B', b'Z', b'h', rest @ ..] if bzip2_follows(rest) => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// Returns true if bytes can stand after `BZh`: the block size, then the magic of a block or of the
/// end.
fn bzip2_follows(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b'1'..=b'9'] => true,
        [b'1'..=b'9', second] => matches!(second, 0x31 | 0x17),
        [b'1'..=b'9', second, third, ..] => matches!((second, third), (0x31, 0x41) | (0x17, 0x72)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_bytes_decide() {
        let cases: &[(&[u8], Compression)] = &[
            (b"\x1f\x8b", Compression::Gzip),
            (b"\x1f\x8b\x08\0\0\0", Compression::Gzip),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"\x50\x2a\x4d\x18\0\0", Compression::Zstd),
            (b"\x5f\x2a\x4d\x18", Compression::Zstd),
            (b"\x27\xb5\x2f\xfd", Compression::Zstd),
            (b"\xfd\x2f\xb5\x1e", Compression::Zstd),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"BZh", Compression::Bzip2),
            (b"BZh91A", Compression::Bzip2),
            (b"BZh9\x17\x72", Compression::Bzip2),
            (b"BZhello", Compression::None),
            (b"BZh0", Compression::None),
            (b"BZh9ab", Compression::None),
            (b"", Compression::None),
            (b"\x1f", Compression::None),
            (b"\x60\x2a\x4d\x18", Compression::None),
            (b"\xfd7zXZ", Compression::None),
            (b"rootfs", Compression::None),
        ];
        for (prefix, expected) in cases {
            assert_eq!(sniff(prefix), *expected, "{prefix:02x?}");
        }
    }
}
