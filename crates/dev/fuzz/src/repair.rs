//! Making checksums right, so that changes of an input reach the code behind the checks.

use std::io::Write as _;

/// Bytes of a block of a tar.
const BLOCK: usize = 512;

/// Makes the checksum of each header of a tar right. Bodies are stepped over by the sizes in the headers.
pub fn tar(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = out.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let has_body = !matches!(block[156], b'1'..=b'6');
        if has_body {
            let size = octal(&block[124..136]);
            at = at.saturating_add(size).saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        }
    }
    out
}

fn octal(field: &[u8]) -> usize {
    let digits = field.iter().skip_while(|byte| **byte == b' ');
    let digits = digits.take_while(|byte| (b'0'..=b'7').contains(byte));
    digits.fold(0, |size, digit| size * 8 + usize::from(digit - b'0'))
}

/// Makes the checksums of the meta pages of a bbolt database right.
pub fn bolt(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let pages: Vec<usize> = std::iter::once(0)
        .chain((9..=16).map(|bits| 1 << bits))
        .collect();
    for page in pages {
        let Some(meta) = out.get_mut(page + 16..page + 80) else {
            break;
        };
        if meta[..4] != 0xED0C_DAEDu32.to_le_bytes() {
            continue;
        }
        let sum = meta[..56]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        meta[56..].copy_from_slice(&sum.to_le_bytes());
    }
    out
}

/// Compresses bytes as gzip, quickly.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}
