//! A zip of files in memory, as wheels need it: deflated or stored, Unix modes, one time for all.
//!
//! There is no crate for it: a zip without encryption, splitting and 64-bit sizes is the 60 lines below.
//! The format is that of APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16.

use flate2::Crc;
use libdeflater::{CompressionLvl, Compressor};

use super::tree::Tree;
use crate::process::Result;

/// 1 January 1980, 0:00, the earliest time that a zip can hold. Installers do not keep times.
const TIME: [u8; 4] = [0, 0, 0x21, 0];
const DEFLATED: u16 = 8;
/// Version 2.0 of the format, made on Unix.
const MADE_BY: u16 = 3 << 8 | 20;

/// Writes the files in their order.
///
/// # Errors
/// A file or the zip is larger than 4 GiB.
pub(super) fn zip(tree: &Tree) -> Result<Vec<u8>> {
    let (mut out, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    for (path, mode, bytes) in tree.files() {
        let mut compressor = Compressor::new(CompressionLvl::best());
        let mut deflated = vec![0; compressor.deflate_compress_bound(bytes.len())];
        let length = compressor.deflate_compress(bytes, &mut deflated);
        deflated.truncate(length.map_err(|e| e.to_string())?);
        let mut crc = Crc::new();
        crc.update(bytes);
        // The fields that both headers have.
        let mut shared = Vec::new();
        for number in [20, 0, DEFLATED] {
            shared.extend(u16::to_le_bytes(number));
        }
        shared.extend(TIME);
        for number in [crc.sum(), small(deflated.len())?, small(bytes.len())?] {
            shared.extend(number.to_le_bytes());
        }
        shared.extend(
            u16::try_from(path.len())
                .map_err(|e| e.to_string())?
                .to_le_bytes(),
        );
        shared.extend([0; 2]);
        directory.extend(b"PK\x01\x02");
        directory.extend(MADE_BY.to_le_bytes());
        directory.extend(&shared);
        // No comment, disk 0, no hint about the content; a regular file with its mode; its place.
        directory.extend([0; 6]);
        directory.extend(((0o100_000 | mode) << 16).to_le_bytes());
        directory.extend(small(out.len())?.to_le_bytes());
        directory.extend(path.bytes());
        out.extend(b"PK\x03\x04");
        out.extend(shared);
        out.extend(path.bytes());
        out.extend(deflated);
        count += 1;
    }
    let start = small(out.len())?;
    let size = small(directory.len())?;
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    Ok(out)
}

fn small(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| format!("{number} bytes are too many for a zip"))
}
