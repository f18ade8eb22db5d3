//! The parts of zstd:chunked: the table, the tar-split and a footer, each in a skippable frame (RFC
//! 8878 section 3.1.2) after the tar; see pkg/chunked/internal/minimal/compression.go of
//! containers/storage.

use std::collections::BTreeMap;

use imgconv_model::{Algorithm, Code, Error, Result};
use imgconv_stream::{PieceEncoder, digest};

use crate::{cut::Cutter, output::Output, scheme::CHECKSUM, toc};

/// The annotation `OFFSET:LENGTH:UNCOMPRESSED:TYPE` of the table.
const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// The annotation `OFFSET:LENGTH:UNCOMPRESSED` of the tar-split.
const TAR_SPLIT_POSITION: &str = "io.github.containers.zstd-chunked.tarsplit-position";

/// The type of the table: that of CRFS, the only one.
const CRFS: u64 = 1;
/// The last bytes of the footer.
const MAGIC: &[u8; 8] = b"GNUlInUx";

/// Writes the frames after the tar.
pub(crate) fn finish(
    cutter: &mut Cutter<'_>,
    pieces: &PieceEncoder,
    output: &mut Output<'_>,
) -> Result<BTreeMap<String, String>> {
    let tar_split = std::mem::take(&mut cutter.tar_split).finish(pieces)?;
    let json = toc::json(&cutter.rows, tar_split.as_ref().map(|split| split.digest))?;
    let table = pieces.compress(&json)?;
    let checksum = digest(Algorithm::Sha256, &table).to_string();
    let [offset, length] = skippable(&table, output)?;
    let uncompressed = json.len() as u64;
    let position = format!("{offset}:{length}:{uncompressed}:{CRFS}");
    let mut annotations = BTreeMap::from([
        (CHECKSUM.to_owned(), checksum),
        (POSITION.to_owned(), position),
    ]);
    let mut footer = vec![offset, length, uncompressed, CRFS];
    match tar_split {
        Some(split) => {
            let [offset, length] = skippable(&split.bytes, output)?;
            let position = format!("{offset}:{length}:{}", split.uncompressed);
            annotations.insert(TAR_SPLIT_POSITION.to_owned(), position);
            footer.extend([offset, length, split.uncompressed]);
        }
        None => footer.extend([0; 3]),
    }
    let mut footer: Vec<u8> = footer.into_iter().flat_map(u64::to_le_bytes).collect();
    footer.extend_from_slice(MAGIC);
    skippable(&footer, output)?;
    Ok(annotations)
}

/// Writes bytes in a skippable frame; returns their offset and their length.
fn skippable(bytes: &[u8], output: &mut Output<'_>) -> Result<[u64; 2]> {
    let length = u32::try_from(bytes.len()).map_err(|_| {
        let message = "the table of contents is longer than a zstd frame can skip";
        Error::new(Code::Limit, message)
    })?;
    output.write(&[0x50, 0x2a, 0x4d, 0x18])?;
    output.write(&length.to_le_bytes())?;
    let offset = output.size;
    output.write(bytes)?;
    Ok([offset, u64::from(length)])
}
