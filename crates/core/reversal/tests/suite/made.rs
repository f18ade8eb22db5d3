//! A tar, the layer that is made of it, and the record.

use std::io::{Cursor, Read};

use imgconv_layer::Rewrite;
use imgconv_model::{Algorithm, Compression, Digest, Env, Limits, Notes, Platform, Reader, Result};
use imgconv_reversal::{Header, Record, Recorder};
use imgconv_stream::digest;
use imgconv_tar::{Entry, Tracing as _};

pub(crate) struct Made {
    pub(crate) tar: Vec<u8>,
    pub(crate) layer: Vec<u8>,
    pub(crate) record: Vec<u8>,
}

pub(crate) fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

/// Makes a layer of a tar without the members that `keep` refuses, and records the rest. A tar that the
/// reader refuses gives none.
pub(crate) fn made(tar: &[u8], mut keep: impl FnMut(&Entry) -> bool) -> Option<Made> {
    let recorder = Recorder::new(&env());
    let (limits, notes) = (Limits::default(), Notes::default());
    let map = |entry: Entry| Ok(keep(&entry).then_some(entry));
    let rewrite = Rewrite::new(Cursor::new(tar), &limits, &notes, "tar", map);
    let mut layer = Vec::new();
    let mut rewrite = rewrite.traced(recorder.begin().unwrap());
    rewrite.read_to_end(&mut layer).ok()?;
    let content = recorder.take().unwrap();
    let id = digest(Algorithm::Sha512, tar);
    let diff_id = digest(Algorithm::Sha256, &layer);
    let (header, mut reader, size) = content.into_record(id, Compression::Gzip, diff_id).unwrap();
    assert_eq!(header.length, tar.len() as u64);
    let mut record = Vec::new();
    reader.read_to_end(&mut record).unwrap();
    assert_eq!(record.len() as u64, size);
    Some(Made {
        tar: tar.to_vec(),
        layer,
        record,
    })
}

/// The header of a record, and the tar that it and a layer give.
pub(crate) fn rebuilt(record: &[u8], layer: &[u8]) -> Result<(Header, Vec<u8>)> {
    let reader = |bytes: &[u8]| -> Reader { Box::new(Cursor::new(bytes.to_vec())) };
    let record = Record::open(reader(record), &Limits::default(), "record")?;
    let header = record.header().clone();
    let mut tar = Vec::new();
    let mut made = record.rebuild(reader(layer))?;
    made.read_to_end(&mut tar)
        .map_err(imgconv_model::Error::from_io)?;
    Ok((header, tar))
}

/// Reads a record without the layer.
pub(crate) fn checked(record: &[u8]) -> Result<()> {
    let reader: Reader = Box::new(Cursor::new(record.to_vec()));
    Record::open(reader, &Limits::default(), "record")?.check()
}

impl Made {
    /// Asserts that the tar comes back.
    pub(crate) fn comes_back(&self, what: &str) {
        let (header, tar) = rebuilt(&self.record, &self.layer).unwrap();
        assert!(tar == self.tar, "{what}: other bytes");
        assert_eq!(header.image_id, digest(Algorithm::Sha512, &self.tar));
        assert_eq!(header.compression, Compression::Gzip);
        if let Some(layer) = header.layer {
            let own: Digest = digest(Algorithm::Sha256, &self.layer);
            assert_eq!(layer.diff_id, own);
            assert!(layer.reach <= self.layer.len() as u64);
        }
    }
}
