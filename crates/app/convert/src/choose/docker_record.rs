//! Old docker images that are restored from a record and an image, and the check that they are the ones that the
//! image was made of.
//!
//! The digest of an image says nothing about its referrers, and a record states the digest of what it makes. So
//! the restored image is read like any other and compared with the image that the record is about.

use std::{collections::BTreeMap, fmt, io};

use imgconv_format_docker_v2s1::{DOCKER_V1, DOCKER_V2S1, manifest_digest};
use imgconv_format_oci::OCI;
use imgconv_manifest::find_blob;
use imgconv_model::{
    Algorithm, Artifact, Bundle, Code, Compression, Digest, Document, DocumentFormat, Env, Error,
    FormatId, Image, Layer, Notes, Reader, Report, Result, Root, SealedLayer, Shape, Step,
};
use imgconv_pipeline::{Budget, Tar, labelled};
use imgconv_reversal::ArchiveRecord;
use imgconv_stream::{Cancellable, HashingReader, read_to_limit};
use imgconv_transport_docker_archive::open_stream;

use super::request::Request;
use crate::read::{
    docker_record::{DockerRecord, Kind},
    node::ImageNode,
};

/// The largest size of a record that is believed before the record was read: so small a record makes 128 MiB of its own at
/// most. A larger one is read to its end first, because an artifact can state any size.
const SMALL: u64 = 64 << 10;

/// The kind that a destination gets back, if there is one: a file gets an archive, and an engine does not.
pub(crate) fn of_target(request: &Request<'_>) -> Option<Kind> {
    match request.target.id() {
        FormatId::DOCKER_ARCHIVE if request.place.shape == Shape::File => Some(Kind::Archive),
        FormatId::DOCKER_V2S1 => Some(Kind::Schema1),
        _ => None,
    }
}

/// A docker archive that was restored, in a private copy.
pub struct RestoredArchive {
    /// The archive.
    bundle: Box<dyn Bundle>,
    /// The digest of an image's root document there.
    root: Digest,
    /// The bytes of the archive.
    pub size: u64,
}

impl fmt::Debug for RestoredArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoredArchive")
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

impl RestoredArchive {
    /// Opens the bytes of the archive.
    ///
    /// # Errors
    /// If the private copy can't be read.
    pub fn open(&self) -> Result<Reader> {
        let whole = self.bundle.whole(&self.root)?;
        whole.ok_or_else(no_archive)?.tar.open()
    }
}

fn no_archive() -> Error {
    let message = "the record makes no docker archive from before Docker 1.10";
    Error::new(Code::Mismatch, message)
}

/// Says whether a record belongs to its images, by what is known without restoring the archive: by its header, and where
/// `whole` is true by all of its instructions.
///
/// # Errors
/// As [`restored_archive`].
pub(crate) fn check_record(
    record: &DockerRecord,
    whole: bool,
    bundle: &dyn Bundle,
    images: &[&ImageNode],
    env: &Env,
) -> Result<()> {
    let checked = opened((record, whole), bundle, images, env);
    let checked = checked.and_then(|(opened, _)| match whole {
        true => opened.check(),
        false => Ok(()),
    });
    checked.map_err(|error| error.at(format!("record {}", record.record.digest)))
}

/// Opens the record of an archive, and finds the layers that it uses. The archive has each of them as often as all its
/// images together at most: that bounds what a hostile record can make, and so does the size of the record, which is
/// verified where `whole` is true.
fn opened(
    (record, whole): (&DockerRecord, bool),
    bundle: &dyn Bundle,
    images: &[&ImageNode],
    env: &Env,
) -> Result<(ArchiveRecord, Vec<Layer>)> {
    let blob = find_blob(bundle, &record.record, &env.limits)?;
    let opened = ArchiveRecord::open(blob.open()?, &env.limits, "header")?;
    if whole && record.record.size > SMALL {
        let mut blob = Cancellable::new(blob.open()?, env);
        io::copy(&mut blob, &mut io::sink()).map_err(Error::from_io)?;
    }
    let header = opened.header();
    equal(
        "the digest of the archive",
        &record.original,
        &header.digest,
    )?;
    if header.composed != record.composed {
        let message = "the record has a digest of another kind than the artifact says";
        return Err(Error::new(Code::Mismatch, message));
    }
    let mut known: BTreeMap<Digest, (&Layer, u64)> = BTreeMap::new();
    for layer in images.iter().flat_map(|node| &node.image.layers) {
        if let Some(diff_id) = layer.diff_id {
            known.entry(diff_id).or_insert((layer, 0)).1 += 1;
        }
    }
    let (mut layers, mut uses) = (Vec::new(), Vec::new());
    for part in &opened.header().layers {
        let (layer, count) = known.get(&part.diff_id).ok_or_else(|| {
            let message = format!(
                "the record is about a layer with the diff ID {}, which the image does not have",
                part.diff_id
            );
            Error::new(Code::Mismatch, message)
        })?;
        layers.push((*layer).clone());
        uses.push(*count);
    }
    Ok((opened.bounded(record.record.size, uses)?, layers))
}

/// Says whether an error ends the run, and is no damage of a record. A record that needs more than a limit allows
/// is refused if the user wants nothing else.
pub(crate) fn ends(error: &Error, exact: bool) -> bool {
    match error.code() {
        Code::Cancelled | Code::Io | Code::Net => true,
        Code::Limit => exact,
        _ => false,
    }
}

/// Restores the docker archive that images were made of. `records` are artifacts with one record, at least one, and
/// `bundle` holds the record; `images` are those of the archive, in its order.
///
/// # Errors
/// [`Code::Mismatch`] if the record makes another archive, or one of other images, and the errors of the record
/// and of the layers.
pub fn restored_archive(
    records: &[DockerRecord],
    bundle: &dyn Bundle,
    images: &[&ImageNode],
    env: &Env,
) -> Result<RestoredArchive> {
    let record = &records[0];
    let what = format!("record {}", record.record.digest);
    // The warnings about the archive were given when the image was made of it.
    let env = &env.with_notes(&Notes::default());
    let restore = || -> Result<RestoredArchive> {
        let (opened, layers) = opened((record, true), bundle, images, env)?;
        let length = opened.header().length;
        let own = env.clone();
        let open = move |place: usize| -> Result<Reader> {
            let tar = Tar::open(&layers[place], &Budget::default(), &own, "layer")?;
            Ok(Box::new(tar))
        };
        let tar = Box::new(Cancellable::new(opened.rebuild(Box::new(open))?, env));
        let archive = open_stream(tar, length, "the restored archive", env)?;
        let roots = archive.roots()?;
        let first = roots.first().ok_or_else(no_archive)?;
        let root = first.digest().ok_or_else(no_archive)?;
        let whole = archive.whole(&root)?.ok_or_else(no_archive)?;
        let mut names: BTreeMap<&Digest, &[String]> = BTreeMap::new();
        names.extend(
            record
                .images
                .iter()
                .zip(whole.images.iter().map(|it| &*it.names)),
        );
        let named = |record: &DockerRecord| names.get(&record.subject) == Some(&&*record.names);
        if whole.images.len() != images.len()
            || !whole.unreadable.is_empty()
            || whole.tar.facts.size != Some(length)
            || !records.iter().all(named)
        {
            let message = "the record makes an archive of other images or names than it says";
            return Err(Error::new(Code::Mismatch, message));
        }
        let mut hashed = BTreeMap::new();
        for (restored, node) in whole.images.iter().zip(images) {
            let entry = roots
                .iter()
                .find(|entry| entry.digest() == Some(restored.root));
            let Root::Document(document) = archive.root(entry.ok_or_else(no_archive)?)? else {
                return Err(no_archive());
            };
            let found = decoded(&DOCKER_V1, &document, &*archive, env)?;
            let expected = &node.image;
            let places = (&*found.layers, &*restored.layers);
            same_layers(places, &expected.layers, &mut hashed, env)?;
            same_description(&found, expected, env)?;
        }
        Ok(RestoredArchive {
            bundle: archive,
            root,
            size: length,
        })
    };
    restore().map_err(|error| error.at(what.clone()))
}

/// Restores the schema 1 manifest that an image was made of. `bundle` holds the record, and `holder` the layers.
/// Returns the manifest, and the image as the manifest describes it.
///
/// # Errors
/// [`Code::Mismatch`] if the record is another manifest, or one of another image; the errors of the record, and
/// of its signatures.
pub fn restored_manifest(
    record: &DockerRecord,
    (bundle, holder): (&dyn Bundle, &dyn Bundle),
    image: &Image,
    env: &Env,
) -> Result<(Document, Image)> {
    let what = format!("record {}", record.record.digest);
    let env = &env.with_notes(&Notes::default());
    let restore = || -> Result<(Document, Image)> {
        let blob = find_blob(bundle, &record.record, &env.limits)?;
        let limit = ("manifest", env.limits.manifest);
        let bytes = read_to_limit(blob.open()?, limit, &what)?;
        let document = Document {
            kind: record.media_type.clone(),
            bytes: bytes.into(),
        };
        let whole = imgconv_stream::digest(Algorithm::Sha256, &document.bytes);
        equal(
            "the SHA-256 of the record",
            &record.whole.unwrap_or(whole),
            &whole,
        )?;
        let digest = manifest_digest(&document.bytes)?;
        equal("the digest of the manifest", &record.original, &digest)?;
        if !DOCKER_V2S1.recognise(&document) {
            let message = "the record is no manifest of schema 1";
            return Err(Error::new(Code::Mismatch, message));
        }
        let mut found = decoded(&DOCKER_V2S1, &document, holder, env)?;
        let digests = |layers: &[Layer]| -> Vec<Option<Digest>> {
            layers.iter().map(|layer| layer.blob.facts.digest).collect()
        };
        if digests(&found.layers) != digests(&image.layers) {
            let message = "the record names other layers than the image";
            return Err(Error::new(Code::Mismatch, message));
        }
        same_description(&found, image, env)?;
        for (layer, known) in found.layers.iter_mut().zip(&image.layers) {
            layer.blob = known.blob.clone();
            layer.diff_id = known.diff_id;
        }
        if !is_kept(&found, &document, env)? {
            let message = "the manifest of the record can't be written again as it is";
            return Err(Error::new(Code::Mismatch, message));
        }
        Ok((document, found))
    };
    restore().map_err(|error| error.at(what.clone()))
}

/// Says whether an image that a schema 1 manifest describes is written as that very manifest, if no layer changes.
///
/// # Errors
/// If schema 1 can't express the image.
pub(crate) fn is_kept(image: &Image, document: &Document, env: &Env) -> Result<bool> {
    let env = &env.with_notes(&Notes::default());
    // Schema 1 has layers compressed with gzip only, and no type of a layer says so.
    let Some(layers) = sealed(&image.layers, |_| Compression::Gzip) else {
        return Ok(false);
    };
    let written = DOCKER_V2S1.encode(image, &layers, env, &mut Report::default())?;
    Ok(written.root.bytes == document.bytes)
}

fn equal(what: &str, expected: &Digest, found: &Digest) -> Result<()> {
    match expected == found {
        true => Ok(()),
        false => Err(Error::mismatch(what, expected, found)),
    }
}

fn decoded(
    format: &dyn DocumentFormat,
    document: &Document,
    bundle: &dyn Bundle,
    env: &Env,
) -> Result<Image> {
    match format.decode(document, bundle, env, &mut Report::default())? {
        Artifact::Image(image) => Ok(*image),
        Artifact::Index(_) | Artifact::Opaque(_) => {
            let message = "the record makes a document that is no image";
            Err(Error::new(Code::Mismatch, message))
        }
    }
}

/// Compares the layers of a restored image with those of the image, by their contents. `hashed` has the digests of layers
/// by their places in the archive: images may share them.
fn same_layers(
    (found, places): (&[Layer], &[(u64, u64)]),
    expected: &[Layer],
    hashed: &mut BTreeMap<((u64, u64), Algorithm), Digest>,
    env: &Env,
) -> Result<()> {
    if found.len() != expected.len() {
        let what = "the number of layers of the restored image";
        return Err(Error::mismatch(what, expected.len(), found.len()));
    }
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let what = format!("layer {i}");
        let expected = expected.diff_id.ok_or_else(|| {
            let message = "the layer of the image has no diff ID";
            Error::new(Code::Missing, message).at(&*what)
        })?;
        let algorithm = expected.algorithm();
        let place = places.get(i).map(|place| (*place, algorithm));
        let known = place.and_then(|place| hashed.get(&place).copied());
        let found = match known {
            Some(known) => known,
            None => {
                let tar = Tar::open(found, &Budget::default(), env, &what)?;
                let reader = HashingReader::new(tar, &[algorithm]);
                let (digests, _) = reader.finish().map_err(Error::from_io)?;
                digests[0]
            }
        };
        hashed.extend(place.map(|place| (place, found)));
        equal(&format!("the diff ID of {what}"), &expected, &found)?;
    }
    Ok(())
}

/// Compares what a restored image and the image say about running it, and their histories: the restored image
/// has to become the same config, or to say the same.
fn same_description(found: &Image, image: &Image, env: &Env) -> Result<()> {
    let is_config = |found: &&imgconv_model::Original| found.role == "config";
    let config = image.originals.iter().find(is_config);
    let written = sealed(&image.layers, labelled).and_then(|layers| {
        let stubs = Image {
            layers: image.layers.clone(),
            ..found.clone()
        };
        let written = OCI.encode(&stubs, &layers, env, &mut Report::default());
        written.ok()?.documents.into_iter().next()
    });
    let same = config
        .zip(written)
        .is_some_and(|(config, written)| config.document.bytes == written.bytes);
    let alike = found.platform == image.platform
        && found.created == image.created
        && found.author == image.author
        && found.config == image.config
        && found.history == image.history;
    match same || alike {
        true => Ok(()),
        false => {
            let message = "the record makes an image with another configuration or history";
            Err(Error::new(Code::Mismatch, message))
        }
    }
}

/// The layers of an image as they are stored; `None` if a digest is not known.
fn sealed(
    layers: &[Layer],
    compression: impl Fn(&Layer) -> Compression,
) -> Option<Vec<SealedLayer>> {
    let one = |layer: &Layer| {
        let digest = layer.blob.facts.digest?;
        Some(SealedLayer {
            digest,
            size: layer.blob.facts.size.unwrap_or(0),
            compression: compression(layer),
            // Schema 1 has no diff IDs.
            diff_id: layer.diff_id.unwrap_or(digest),
            step: Step::Keep,
            annotations: Default::default(),
        })
    };
    layers.iter().map(one).collect()
}
