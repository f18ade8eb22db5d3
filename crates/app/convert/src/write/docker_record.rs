//! Recording old docker images beside the OCI images that they become, and restoring them.

use std::io::{Read, Write as _};

use imgconv_json::Map;
use imgconv_manifest::media_type::OCI_EMPTY;
use imgconv_model::{
    Algorithm, BundleSink, Child, Compression, Counted, Digest, Document, Env, Error, Result,
    SealedLayer, Work,
};
use imgconv_pipeline::write_document;
use imgconv_reversal::{Member, Part, record_archive};
use imgconv_stream::Hasher;

use super::reversal::{Stored, compression};
use crate::{
    assemble::{
        output::RecordOf,
        reversal::{EMPTY, artifact, listed},
    },
    choose::docker_record::restored_archive,
    plan::data::{DockerKeepsake, PlannedDocker},
    read::{
        docker_record::{DIGEST, FILE, FILE_DIGEST, Kind, MEDIA_TYPE, NAMES},
        node::ImageNode,
    },
};

/// The bytes of an archive that a record may hold before the user is told, beside a share of the archive.
const LARGE: u64 = 4 << 20;

/// Stores the record of an old docker image.
pub(super) fn store(
    sink: &dyn BundleSink,
    record: RecordOf<'_>,
    sealed: &[SealedLayer],
    keepsake: &DockerKeepsake,
    env: &Env,
) -> Result<Stored> {
    let mut annotations = Map::new();
    let mut note = |key: &str, value: &str| annotations.insert(key.into(), value.into());
    let (kind, (digest, size)) = match keepsake {
        DockerKeepsake::Archive(whole, file) => {
            let members = members(record.node, &whole.layers, sealed)?;
            let length = whole.tar.facts.size.unwrap_or(0);
            let kept = members.iter().map(|member| member.part.size).sum();
            let literal = length.saturating_sub(kept);
            if literal > LARGE && literal > length / 10 {
                let message = format!(
                    "layers of the archive are compressed, or belong to no image, so the record holds {literal} bytes itself"
                );
                env.notes.warn("large-record", "the archive", message);
            }
            let work = Work::begin("the archive", Counted::Result, Some(length), env);
            let tar = work.reading(whole.tar.open()?);
            let (header, reader, _) =
                record_archive(tar, length, &members, whole.compression, env)?;
            note(DIGEST, &header.digest.to_string());
            note(NAMES, &whole.names.join(" "));
            if let Some(file) = file {
                note(FILE, file);
            }
            (Kind::Archive, put(sink, reader, env)?)
        }
        DockerKeepsake::Schema1(document, digest) => {
            note(DIGEST, &digest.to_string());
            let whole = imgconv_stream::digest(Algorithm::Sha256, &document.bytes);
            note(FILE_DIGEST, &whole.to_string());
            note(MEDIA_TYPE, &document.kind);
            (Kind::Schema1, put(sink, &*document.bytes, env)?)
        }
    };
    let stored = Child::new(kind.record_type(), digest, size);
    let config = Document {
        kind: OCI_EMPTY.to_owned(),
        bytes: EMPTY.into(),
    };
    let config = write_document(sink, &config, Algorithm::Sha256)?;
    let document = artifact(
        kind.artifact_type(),
        record.subject,
        (&config, &[&stored]),
        annotations,
    );
    let artifact = write_document(sink, &document, Algorithm::Sha256)?;
    let all = [&artifact, &config, &stored];
    let blobs = all.map(|child| (child.digest, child.size)).into();
    Ok(Stored {
        artifact: listed(artifact, kind.artifact_type()),
        size,
        blobs,
    })
}

/// The layers of an archive that need not be in its record, by rising offsets.
fn members(node: &ImageNode, places: &[(u64, u64)], sealed: &[SealedLayer]) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let layers = places.iter().zip(sealed).zip(&node.image.layers);
    for ((&(offset, size), sealed), layer) in layers {
        let diff_id = sealed.diff_id;
        // A member without bytes became an empty tar, and the bytes of a compressed member are not those of the
        // layer's tar.
        let same = size > 0 && diff_id.algorithm() == Algorithm::Sha256;
        if same && compression(&layer.blob)? == Compression::None {
            let part = Part { diff_id, size };
            members.push(Member { offset, part });
        }
    }
    members.sort_by_key(|member| member.offset);
    members.dedup();
    Ok(members)
}

/// Writes a blob; returns its digest and size.
fn put(sink: &dyn BundleSink, mut reader: impl Read, env: &Env) -> Result<(Digest, u64)> {
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
    Ok((digest, size))
}

/// Restores the archive that an image was made of, and writes it as a blob; returns its digest and size.
pub(super) fn restore(
    sink: &dyn BundleSink,
    exact: &PlannedDocker<'_>,
    node: &ImageNode,
    env: &Env,
) -> Result<(Digest, u64)> {
    let PlannedDocker { record, bundle, .. } = exact;
    let archive = restored_archive(record, *bundle, &node.image, env)?;
    let work = Work::begin("the archive", Counted::Result, Some(archive.size), env);
    let (digest, size) = put(sink, work.reading(archive.open()?), env)?;
    match digest == record.original {
        true => Ok((digest, size)),
        false => Err(Error::mismatch(
            "the digest of the archive",
            record.original,
            digest,
        )),
    }
}
