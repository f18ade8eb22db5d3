//! Recording old docker images beside the OCI images that they become, and restoring them.

use imgconv_json::Map;
use imgconv_manifest::media_type::WHOLE_ARCHIVE;
use imgconv_model::{
    Algorithm, BundleSink, Code, Compression, Counted, Digest, Env, Error, Result, SealedLayer,
    Work,
};
use imgconv_reversal::{Member, Part, record_archive};

use super::reversal::{Stored, compression, put, put_artifact};
use crate::{
    assemble::output::RecordOf,
    choose::docker_record::restored_archive,
    plan::data::{DockerKeepsake, PlannedDocker},
    read::{
        docker_record::{DIGEST, FILE, FILE_DIGEST, IDENTITY, Kind, MEDIA_TYPE, NAMES},
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
    let (kind, stored) = match keepsake {
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
            let tar = whole.tar.bytes.positioned()?.ok_or_else(|| {
                let message = "the archive can't be read by position, so there is no record of it";
                Error::new(Code::Unsupported, message)
            })?;
            let (header, reader, _) =
                record_archive(&*tar, length, &members, whole.compression, env)?;
            note(IDENTITY, &header.digest.to_string());
            note(NAMES, &whole.names.join(" "));
            if let Some(file) = file {
                note(FILE, file);
            }
            let stored = put(sink, Kind::Archive.record_type(), reader, env)?;
            (Kind::Archive, stored)
        }
        DockerKeepsake::Schema1(document, digest) => {
            note(DIGEST, &digest.to_string());
            let whole = imgconv_stream::digest(Algorithm::Sha256, &document.bytes);
            note(FILE_DIGEST, &whole.to_string());
            note(MEDIA_TYPE, &document.kind);
            let stored = put(sink, Kind::Schema1.record_type(), &*document.bytes, env)?;
            (Kind::Schema1, stored)
        }
    };
    let kind = kind.artifact_type();
    put_artifact(sink, kind, record.subject, &[&stored], annotations)
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
    let put = put(sink, WHOLE_ARCHIVE, work.reading(archive.open()?), env)?;
    Ok((put.digest, put.size))
}
