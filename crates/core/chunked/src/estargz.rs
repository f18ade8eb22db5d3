//! The parts of eStargz: a landmark at the start of the tar, the table at its end, and a footer;
//! see docs/estargz.md of containerd/stargz-snapshotter.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
};

use imgconv_layer::{Rewrite, clean};
use imgconv_model::{Algorithm, Env, Result, quote};
use imgconv_stream::{PieceEncoder, digest};
use imgconv_tar::{END, Entry, EntryKind, head, padding};

use crate::{cut::Cutter, output::Output, scheme::TOC_DIGEST, toc};

/// The annotation with the size of the tar, for containers/storage.
const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";

/// The table, the last file of the tar.
const TABLE: &str = "stargz.index.json";
/// The landmark without prefetch: no list of files to fetch first is known.
const NO_PREFETCH: &str = ".no.prefetch.landmark";
/// The landmark after the files to fetch first.
const PREFETCH: &str = ".prefetch.landmark";

/// Makes the tar without its table: the entries of the source, written canonically, after the
/// landmark. The files of an earlier eStargz are left out, with a warning.
pub(crate) fn tar<'a>(
    source: &'a mut (dyn Read + Send),
    env: &'a Env,
    what: &'a str,
) -> Result<Box<dyn Read + Send + 'a>> {
    let keep = move |entry: Entry| {
        let name = clean(&entry.path, &env.limits).unwrap_or_default();
        let reserved = [TABLE, NO_PREFETCH, PREFETCH];
        if !reserved.iter().any(|one| one.as_bytes() == name) {
            return Ok(Some(entry));
        }
        let message = format!(
            "the entry {} has a name that eStargz reserves; it is left out",
            quote(&entry.path)
        );
        env.notes.warn("stargz-entry", what, message);
        Ok(None)
    };
    let entries = Rewrite::new(source, &env.limits, &env.notes, what, keep);
    let mut landmark = file(NO_PREFETCH, 1)?;
    landmark.push(0xf);
    landmark.extend_from_slice(&END[..padding(1)]);
    Ok(Box::new(Cursor::new(landmark).chain(entries)))
}

/// Writes the table, the end of the tar and the footer.
pub(crate) fn finish(
    cutter: &mut Cutter<'_>,
    pieces: &PieceEncoder,
    output: &mut Output<'_>,
) -> Result<BTreeMap<String, String>> {
    let json = toc::json(&cutter.rows, None)?;
    let toc_digest = digest(Algorithm::Sha256, &json);
    let mut member = file(TABLE, json.len() as u64)?;
    member.extend_from_slice(&json);
    member.extend_from_slice(&END[..padding(json.len() as u64)]);
    member.extend_from_slice(&END);
    cutter.count(&member);
    let offset = output.size;
    output.write(&pieces.compress(&member)?)?;
    output.write(&footer(offset))?;
    let annotation = |key: &str, value: String| (key.to_owned(), value);
    Ok(BTreeMap::from([
        annotation(TOC_DIGEST, toc_digest.to_string()),
        annotation(UNCOMPRESSED_SIZE, cutter.content_size.to_string()),
    ]))
}

/// Makes the header of a file that is not from the source.
fn file(name: &str, size: u64) -> Result<Vec<u8>> {
    head(&Entry {
        size,
        ..Entry::new(name.as_bytes().to_vec(), EntryKind::Regular)
    })
}

/// Makes the footer: a gzip member without content, whose extra field has the offset of the table.
fn footer(offset: u64) -> Vec<u8> {
    // ID1, ID2, CM = deflate, FLG = FEXTRA, MTIME = 0, XFL = 0, OS = 255, RFC 1952 section 2.3.
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
    // XLEN; the subfield SG, and its length.
    footer.extend_from_slice(&[26, 0, b'S', b'G', 22, 0]);
    footer.extend_from_slice(format!("{offset:016x}STARGZ").as_bytes());
    // An empty stored block, and the checksum and size of no bytes.
    footer.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    footer.extend_from_slice(&[0; 8]);
    footer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footer_has_51_bytes() {
        let footer = footer(0xabc);
        assert_eq!(footer.len(), 51);
        assert_eq!(&footer[16..38], b"0000000000000abcSTARGZ");
    }
}
