//! Recording what a layer does not keep of an ACI, while the layer is written, and storing the record.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use imgconv_format_aci::traced_layer;
use imgconv_manifest::media_type::{OCI_EMPTY, REVERSAL, REVERSAL_RECORD, SIGNATURE};
use imgconv_model::{
    Algorithm, Blob, BundleSink, Child, Code, Compression, Digest, Document, Env, Error, Facts,
    Layer, Result,
};
use imgconv_pipeline::{Budget, Tar, write_document};
use imgconv_reversal::{Content, Recorder};
use imgconv_stream::{Cancellable, Hasher, HashingReader, sniff};

use crate::{
    assemble::{
        output::RecordOf,
        reversal::{Blobs, EMPTY, Said, listed, manifest},
    },
    plan::data::Keepsake,
    read::node::AciPart,
};

/// The recording of one ACI.
#[derive(Debug)]
pub(super) struct Recording {
    /// The layers of the image, the last of which is recorded when it is read.
    layers: Vec<Layer>,
    recorder: Recorder,
    /// True if a whitelist changed the layer: it has the files in another order, and without some of them.
    changed: bool,
}

impl Recording {
    /// Prepares the layers of an ACI for recording.
    pub(super) fn new(aci: &AciPart, layers: &[Layer], env: &Env) -> Self {
        let mut layers = layers.to_vec();
        let own = layers.last_mut();
        let same = |own: &&mut Layer| Arc::ptr_eq(&own.blob.bytes, &aci.layer);
        match own.filter(same) {
            Some(own) => {
                let recorder = Recorder::new(env);
                *own = traced(aci, &recorder, own, env);
                Self {
                    layers,
                    recorder,
                    changed: false,
                }
            }
            None => Self {
                layers,
                recorder: Recorder::alone(env),
                changed: true,
            },
        }
    }

    /// The layers to write.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns the record after the layers were written. The ACI of a changed layer is read once more.
    pub(super) fn content(&self, aci: &AciPart, env: &Env) -> Result<Content> {
        if let Some(own) = self.layers.last().filter(|_| self.changed) {
            let layer = traced(aci, &self.recorder, own, env);
            let mut tar = Tar::open(&layer, &Budget::default(), env, &aci.what)?;
            let mut buffer = vec![0; 1 << 20];
            while tar.read(&mut buffer).map_err(Error::from_io)? > 0 {}
            let message =
                "the whitelist of the ACI changed its layer, so the record holds all files";
            env.notes.warn("large-record", aci.what.clone(), message);
        }
        self.recorder.take().ok_or_else(|| {
            let message = "the ACI was not read to its end, so there is no record of it";
            Error::new(Code::Missing, message).at(aci.what.clone())
        })
    }
}

/// The layer of an ACI, recorded when it is read.
fn traced(aci: &AciPart, recorder: &Recorder, layer: &Layer, env: &Env) -> Layer {
    let stacked = !aci.manifest.dependencies.is_empty();
    let recorder = Arc::new(recorder.clone());
    let bytes = traced_layer(&aci.blob, &aci.what, stacked, &aci.image_id, recorder, env);
    Layer {
        blob: Blob {
            facts: Facts::default(),
            bytes,
        },
        ..layer.clone()
    }
}

/// A stored record.
pub(super) struct Stored {
    /// The artifact that holds the record.
    pub(super) artifact: Child,
    /// The bytes of the record.
    pub(super) size: u64,
    /// Digest and size of everything that was stored.
    pub(super) blobs: Vec<(Digest, u64)>,
}

/// Stores the record of an ACI and what is kept beside it.
pub(super) fn store(
    sink: &dyn BundleSink,
    record: RecordOf<'_>,
    content: Content,
    keepsake: &Keepsake,
    env: &Env,
) -> Result<Stored> {
    let aci = record.node.aci.as_ref().expect("only an ACI is recorded");
    let image_id = aci.read_to_end(&aci.what, env)?;
    let compression = compression(&aci.blob)?;
    let (_, mut reader, size) = content.into_record(image_id, compression, record.diff_id)?;
    let mut writer = sink.writer()?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 256 << 10];
    loop {
        env.check_cancelled()?;
        let count = reader.read(&mut buffer).map_err(Error::from_io)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        writer.write_all(&buffer[..count]).map_err(Error::from_io)?;
    }
    let digest = hasher.finish();
    writer.finish(&digest, size)?;
    let stored = Child::new(REVERSAL_RECORD, digest, size);
    let blob = |kind: &str, bytes: &[u8]| {
        let document = Document {
            kind: kind.to_owned(),
            bytes: bytes.into(),
        };
        write_document(sink, &document, Algorithm::Sha256)
    };
    let signature = keepsake.signature.as_deref();
    let signature = signature.map(|bytes| blob(SIGNATURE, bytes)).transpose()?;
    let config = blob(OCI_EMPTY, EMPTY)?;
    let blobs = Blobs {
        config: &config,
        record: &stored,
        signature: signature.as_ref(),
    };
    let file_digest = match (&signature, compression) {
        (Some(_), Compression::Gzip | Compression::Bzip2 | Compression::Xz | Compression::Zstd) => {
            let file = Cancellable::new(aci.blob.open()?, env);
            let hashing = HashingReader::new(file, &[Algorithm::Sha256]);
            let (digests, _) = hashing.finish().map_err(Error::from_io)?;
            digests.first().copied()
        }
        // The image ID is the digest of the file.
        (Some(_), Compression::None) | (None, _) => None,
    };
    let said = Said {
        image_id: &image_id,
        file: keepsake.file.as_deref(),
        file_digest: file_digest.as_ref(),
    };
    let document = manifest(record.subject, &blobs, &said);
    let artifact = write_document(sink, &document, Algorithm::Sha256)?;
    let all = [&artifact, &config, &stored].into_iter().chain(&signature);
    let blobs = all.map(|child| (child.digest, child.size)).collect();
    Ok(Stored {
        artifact: listed(artifact, REVERSAL),
        size,
        blobs,
    })
}

/// The compression of a file.
pub(super) fn compression(blob: &Blob) -> Result<Compression> {
    let mut first = Vec::new();
    let read = blob.open()?.take(6).read_to_end(&mut first);
    read.map_err(Error::from_io)?;
    Ok(sniff(&first))
}
