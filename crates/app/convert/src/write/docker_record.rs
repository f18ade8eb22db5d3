//! Recording old docker images beside the OCI images that they become, and restoring them.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_json::Map;
use imgconv_manifest::media_type::WHOLE_ARCHIVE;
use imgconv_model::{
    Algorithm, BundleSink, Child, Code, Compression, Counted, Digest, Document, Env, Error, Result,
    WholeArchive, WholeImage, Work,
};
use imgconv_reversal::{Member, Part, record_archive};

use super::reversal::{Stored, compression, put, put_artifact};
use crate::{
    assemble::output::ArchiveImage,
    choose::docker_record::{ends, restored_archive},
    plan::data::{KeptArchive, PlannedDocker},
    read::docker_record::{DIGEST, FILE, FILE_DIGEST, IDENTITY, IMAGES, Kind, MEDIA_TYPE, NAMES},
};

/// The bytes of an archive that a record may hold before the user is told, beside a share of the archive.
const LARGE: u64 = 4 << 20;

/// Stores a manifest of schema 1 as the record about the image that it became. The digest is that by which registries serve
/// the manifest.
pub(super) fn store_manifest(
    sink: &dyn BundleSink,
    subject: &Child,
    (document, digest): (&Document, &Digest),
    env: &Env,
) -> Result<Stored> {
    let whole = imgconv_stream::digest(Algorithm::Sha256, &document.bytes);
    let mut annotations = Map::new();
    annotations.insert(DIGEST.into(), digest.to_string().into());
    annotations.insert(FILE_DIGEST.into(), whole.to_string().into());
    annotations.insert(MEDIA_TYPE.into(), (&*document.kind).into());
    let kind = Kind::Schema1;
    let stored = put(sink, kind.record_type(), &*document.bytes, env)?;
    put_artifact(sink, kind.artifact_type(), subject, &[&stored], annotations)
}

/// Stores the record of a docker archive, and an artifact about each of its images, in the order of the archive.
pub(super) fn store_archive(
    sink: &dyn BundleSink,
    kept: &KeptArchive,
    images: &[&ArchiveImage],
    env: &Env,
) -> Result<Vec<Stored>> {
    let whole = &kept.whole;
    let subjects = images.iter().map(|image| image.subject.digest);
    let subjects: Vec<Digest> = subjects.collect();
    if subjects.iter().collect::<BTreeSet<_>>().len() != subjects.len() {
        let message = "two images of the docker archive become the same image, so there is no record of the archive";
        return Err(Error::new(Code::Unsupported, message).hint("leave `--reversible` out"));
    }
    let members = members(whole, images)?;
    let length = whole.tar.facts.size.unwrap_or(0);
    let held = members.iter().map(|member| member.part.size).sum();
    let literal = length.saturating_sub(held);
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
    let (header, reader, _) = record_archive(&*tar, length, &members, whole.compression, env)?;
    let kind = Kind::Archive;
    let stored = put(sink, kind.record_type(), reader, env)?;
    let list: Vec<String> = subjects.iter().map(ToString::to_string).collect();
    let artifact = |(image, own): (&&ArchiveImage, &WholeImage)| {
        let mut annotations = Map::new();
        annotations.insert(IDENTITY.into(), header.digest.to_string().into());
        annotations.insert(NAMES.into(), own.names.join(" ").into());
        if list.len() > 1 {
            annotations.insert(IMAGES.into(), list.join(" ").into());
        }
        if let Some(file) = &kept.file {
            annotations.insert(FILE.into(), (&**file).into());
        }
        put_artifact(
            sink,
            kind.artifact_type(),
            &image.subject,
            &[&stored],
            annotations,
        )
    };
    images.iter().zip(&whole.images).map(artifact).collect()
}

/// The layers of an archive that need not be in its record, by rising offsets. Images may share them.
fn members(whole: &WholeArchive, images: &[&ArchiveImage]) -> Result<Vec<Member>> {
    let mut members = BTreeMap::new();
    for (image, own) in images.iter().zip(&whole.images) {
        let layers = own.layers.iter().zip(&image.sealed).zip(&image.layers);
        for ((&(offset, size), sealed), layer) in layers {
            let diff_id = sealed.diff_id;
            // A member without bytes became an empty tar, and the bytes of a compressed member are not those of the
            // layer's tar.
            let same = size > 0 && diff_id.algorithm() == Algorithm::Sha256;
            if same && compression(&layer.blob)? == Compression::None {
                let part = Part { diff_id, size };
                let known = members.insert(offset, part);
                if known.is_some_and(|known| known != part) {
                    let message = "a layer of the archive was changed while it was read";
                    return Err(Error::new(Code::Mismatch, message)
                        .hint("run it again when nothing writes to it"));
                }
            }
        }
    }
    let members = members.into_iter();
    Ok(members
        .map(|(offset, part)| Member { offset, part })
        .collect())
}

/// Restores the archive that images were made of, and writes it as a blob; returns its digest and size. A place whose copy
/// of the record is damaged or missing is passed over for the next one.
pub(super) fn restore(
    sink: &dyn BundleSink,
    exact: &PlannedDocker<'_>,
    env: &Env,
) -> Result<(Digest, u64)> {
    let PlannedDocker {
        records,
        bundles,
        images,
        ..
    } = exact;
    let mut bundles = bundles.iter();
    let archive = loop {
        let bundle = *bundles.next().expect("a record has a place");
        match restored_archive(records, bundle, images, env) {
            Err(error) if bundles.len() > 0 && !ends(&error, false) => {}
            restored => break restored?,
        }
    };
    let work = Work::begin("the archive", Counted::Result, Some(archive.size), env);
    let put = put(sink, WHOLE_ARCHIVE, work.reading(archive.open()?), env)?;
    Ok((put.digest, put.size))
}
