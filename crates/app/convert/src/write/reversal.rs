//! Recording what a layer does not keep of an ACI, while the layer is written, and storing the record.

use std::{
    io::{Read, Write as _},
    sync::Arc,
};

use imgconv_format_aci::traced_layer;
use imgconv_json::{Map, Value};
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
        reversal::{EMPTY, artifact, listed},
    },
    plan::data::Keepsake,
    read::{
        node::AciPart,
        reversal::{FILE, FILE_DIGEST, IMAGE_ID},
    },
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
    let (_, reader, _) = content.into_record(image_id, compression, record.diff_id)?;
    let stored = put(sink, REVERSAL_RECORD, reader, env)?;
    let signature = keepsake.signature.as_deref();
    let signature = signature.map(|bytes| put(sink, SIGNATURE, bytes, env));
    let signature = signature.transpose()?;
    let mut annotations = Map::new();
    annotations.insert(IMAGE_ID.into(), image_id.image_id().into());
    if let Some(file) = &keepsake.file {
        annotations.insert(FILE.into(), (&**file).into());
    }
    // A signature is of the compressed file, and the image ID is the digest of the file without compression.
    if signature.is_some() && compression != Compression::None {
        let file = Cancellable::new(aci.blob.open()?, env);
        let hashing = HashingReader::new(file, &[Algorithm::Sha256]);
        let (digests, _) = hashing.finish().map_err(Error::from_io)?;
        let digest = digests
            .first()
            .map(|digest| (FILE_DIGEST.into(), digest.to_string().into()));
        annotations.extend(digest);
    }
    let blobs: Vec<&Child> = [&stored].into_iter().chain(&signature).collect();
    put_artifact(sink, REVERSAL, record.subject, &blobs, annotations)
}

/// Stores the artifact about an image. The blobs, the first of which is the record, are stored already.
pub(super) fn put_artifact(
    sink: &dyn BundleSink,
    kind: &str,
    subject: &Child,
    blobs: &[&Child],
    annotations: Map<String, Value>,
) -> Result<Stored> {
    let config = Document {
        kind: OCI_EMPTY.to_owned(),
        bytes: EMPTY.into(),
    };
    let config = write_document(sink, &config, Algorithm::Sha256)?;
    let document = artifact(kind, subject, (&config, blobs), annotations);
    let manifest = write_document(sink, &document, Algorithm::Sha256)?;
    let all = [&manifest, &config]
        .into_iter()
        .chain(blobs.iter().copied());
    Ok(Stored {
        size: blobs.first().map_or(0, |record| record.size),
        blobs: all.map(|child| (child.digest, child.size)).collect(),
        artifact: listed(manifest, kind),
    })
}

/// Writes a blob; returns its descriptor.
pub(super) fn put(
    sink: &dyn BundleSink,
    kind: &str,
    mut reader: impl Read,
    env: &Env,
) -> Result<Child> {
    let mut writer = sink.writer()?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        env.check_cancelled()?;
        let count = reader.read(&mut buffer).map_err(Error::from_io)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        writer.write_all(&buffer[..count]).map_err(Error::from_io)?;
        size += count as u64;
    }
    let digest = hasher.finish();
    writer.finish(&digest, size)?;
    Ok(Child::new(kind, digest, size))
}

/// The compression of a file.
pub(super) fn compression(blob: &Blob) -> Result<Compression> {
    let mut first = Vec::new();
    let read = blob.open()?.take(6).read_to_end(&mut first);
    read.map_err(Error::from_io)?;
    Ok(sniff(&first))
}
