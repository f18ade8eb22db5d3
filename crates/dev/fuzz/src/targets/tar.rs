//! The framing of tars.

use std::io::{self, Read};

use imgconv_model::{Error, Notes, Result};
use imgconv_tar::{Entry, EntryKind, Reader};
use imgconv_testkit::random;

use crate::{cage, repair};

/// Members with their bodies.
type Members = Vec<(Entry, Vec<u8>)>;

/// Reads all members of a tar with their bodies.
///
/// # Errors
/// The errors of the reader.
pub fn members(tar: impl Read) -> Result<Members> {
    let mut reader = Reader::new(tar, &cage::limits(), &Notes::default(), "tar");
    let (mut members, mut size) = (Vec::new(), 0);
    while let Some(entry) = reader.next_entry()? {
        let mut body = Vec::new();
        let left = cage::limits().layer_bytes - size;
        (&mut reader)
            .take(left)
            .read_to_end(&mut body)
            .map_err(Error::from_io)?;
        size += body.len() as u64;
        if size < cage::limits().layer_bytes {
            assert_eq!(body.len() as u64, entry.size, "the size of a body");
        }
        members.push((entry, body));
    }
    Ok(members)
}

/// Gives bytes in pieces of many sizes.
pub(super) struct Drip<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) step: usize,
}

impl Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.step = self.step % 1021 + 7;
        let size = self.step.min(buf.len()).min(self.bytes.len());
        buf[..size].copy_from_slice(&self.bytes[..size]);
        self.bytes = &self.bytes[size..];
        Ok(size)
    }
}

/// The same members come out whatever the pieces are in which the bytes come in; and the canonical form of a tar that
/// is read has the same members.
pub(super) fn framing(bytes: &[u8]) {
    frame(bytes);
    let repaired = repair::tar(bytes);
    if repaired != bytes {
        frame(&repaired);
    }
}

fn frame(bytes: &[u8]) {
    let whole = members(bytes);
    let dripped = members(Drip { bytes, step: 0 });
    match (&whole, &dripped) {
        (Ok(whole), Ok(dripped)) => assert!(whole == dripped, "pieces change the members"),
        (Err(whole), Err(dripped)) => assert_eq!(whole.to_string(), dripped.to_string()),
        _ => panic!("pieces decide whether a tar is read: {whole:?} {dripped:?}"),
    }
    let Ok(whole) = whole else { return };
    let mut canonical = Vec::new();
    for (entry, body) in &whole {
        let Ok(head) = imgconv_tar::head(entry) else {
            return;
        };
        canonical.extend(head);
        canonical.extend_from_slice(body);
        canonical.resize(canonical.len() + imgconv_tar::padding(body.len() as u64), 0);
    }
    canonical.extend(imgconv_tar::END);
    let again = members(&canonical[..]);
    let again = again.unwrap_or_else(|error| panic!("our own tar is refused: {error}"));
    assert_eq!(again.len(), whole.len());
    for ((old, old_body), (new, new_body)) in whole.iter().zip(&again) {
        assert_eq!(
            plain(new),
            plain(old),
            "the canonical form is another member"
        );
        assert!(old_body == new_body, "the canonical form has another body");
    }
}

/// A member without what the canonical form changes: the offset, the slashes behind the name of a directory, and the
/// order of the records of PAX.
fn plain(entry: &Entry) -> Entry {
    let mut plain = entry.clone();
    plain.offset = 0;
    plain.pax.sort();
    if entry.kind == EntryKind::Directory {
        while plain.path.len() > 1 && plain.path.ends_with(b"/") {
            plain.path.pop();
        }
    }
    plain
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..24)
        .flat_map(|seed| random::image(seed).into_iter().map(|layer| layer.tar()))
        .filter(|tar| tar.len() < 40_000)
        .collect();
    let dozen = imgconv_testkit::dozen::images().into_iter();
    let layers = dozen.take(6).flat_map(|(_, layers)| layers);
    seeds.extend(layers.filter(|tar| tar.len() < 40_000));
    seeds.extend(imgconv_testkit::dozen::sparse().1);
    seeds.sort_by_key(Vec::len);
    seeds.dedup();
    seeds
}
