//! Making written images visible, and reporting what became of each image.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use imgconv_fs::is_there;
use imgconv_layout::INDEX_FILE;
use imgconv_locate::locator::{Locator, Reference};
use imgconv_manifest::media_type::{DOCKER_LIST, OCI_INDEX};
use imgconv_model::{
    Algorithm, BundleSink, Document, Env, Notes, Outcome as LossKind, Publication, Report, Result,
    Shape, TopLevel, quote_path,
};
use imgconv_pipeline::write_document;
use imgconv_tags::ImageTags;
use serde_json::Value;

use crate::{
    assemble::{
        descriptors::Room,
        names,
        output::{Assembled, Item},
    },
    options::{Options, digests_change},
    outcome::{Outcome, SIGNATURE_REMOVED, TagsOutcome},
    plan::data::Plan,
    tags,
};

/// Removes the subject of a list if the subject's document has changed.
pub(crate) fn stale_subject(expected: &Assembled<'_>, top_level: &mut TopLevel) -> Report {
    const SUBJECT: &str = "subject";
    let mut report = Report::default();
    let digest = top_level.properties.get(SUBJECT).and_then(|text| {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(value.get("digest")?.as_str()?.to_owned())
    });
    if let Some(why) = digest.and_then(|digest| expected.outdated(&digest)) {
        top_level.properties.remove(SUBJECT);
        report.lose("index.subject", LossKind::Dropped, why);
    }
    report
}

/// Reports losses of the whole list with the first image.
pub(crate) fn tell_first(items: &mut [Item], report: &Report) {
    if let Some(image) = items.iter_mut().find_map(|item| item.images.first_mut()) {
        image.add_report(report.clone());
    }
}

/// Gives roots the names that only the destination can refuse, and reports refused names.
///
/// # Errors
/// If digests have to stay and a name is refused, or the destination can't be asked.
pub fn name_roots(sink: &dyn BundleSink, items: &mut [Item], options: &Options) -> Result<()> {
    for item in items {
        let publication = std::slice::from_ref(&item.publication);
        let report = sink.name_roots(publication)?;
        if let (true, Some(loss)) = (options.preserve_digests, report.losses.first()) {
            return Err(digests_change(&loss.why));
        }
        if let Some(first) = item.images.first_mut() {
            first.add_report(report);
        }
    }
    Ok(())
}

/// Reports the digests under which a place lists images that it describes itself, and those of indexes.
pub fn note_digests(items: &mut [Item], publications: &[Publication]) {
    for (item, publication) in items.iter_mut().zip(publications) {
        if item.publication.root.digest != publication.root.digest
            && let [image] = &mut item.images[..]
        {
            image.digest = Some(publication.root.digest.to_string());
        }
        if [OCI_INDEX, DOCKER_LIST].contains(&&*publication.root.kind) {
            for image in &mut item.images {
                image.index = Some(publication.root.digest.to_string());
            }
        }
        item.publication = publication.clone();
    }
}

/// The image tags files that go beside the ACIs of a run, by image name. A file that is there
/// already keeps its other tags.
pub(crate) fn image_tags(
    plan: &Plan<'_>,
    destination: &Locator,
    env: &Env,
) -> Result<Vec<(String, ImageTags)>> {
    let directory = Path::new(&destination.location);
    tags::files(&plan.tagged, &|name| {
        let path = directory.join(tags::file_name(name));
        let there = is_there(&path)?;
        let read = || tags::read(&path.to_string_lossy(), env);
        there.then(read).transpose()
    })
}

/// Returns the publications: the items, and the image tags files beside them, which are written
/// here.
///
/// # Errors
/// If an image tags file can't be written.
pub(crate) fn publications(
    items: &[Item],
    tags: &[(String, ImageTags)],
    destination: &Locator,
    sink: &dyn BundleSink,
) -> Result<Vec<Publication>> {
    let reference = match &destination.reference {
        Some(Reference::Name(text)) => Some(text.clone()),
        _ => None,
    };
    let of_item = |item: &Item| {
        let mut publication = item.publication.clone();
        // A referrer that was found by way of an image has no name of its own.
        let image = item.images.iter().any(|image| image.platform.is_some());
        let named = image || item.publication.name.is_some() || items.len() == 1;
        publication.reference = reference.clone().filter(|_| named);
        publication
    };
    let mut publications: Vec<_> = items.iter().map(of_item).collect();
    for (name, tags) in tags {
        let document = Document {
            kind: String::new(),
            bytes: tags.to_bytes().into(),
        };
        publications.push(Publication {
            file_name: Some(tags::file_name(name)),
            ..Publication::of(write_document(sink, &document, Algorithm::Sha256)?)
        });
    }
    Ok(publications)
}

/// The signatures that stand where files of a run may come to stand: such a signature goes if its file gets other
/// bytes.
pub fn signatures(items: &[Item], destination: &Locator) -> BTreeSet<PathBuf> {
    if destination.transport.place().shape != Shape::File || destination.location == "-" {
        return BTreeSet::new();
    }
    let place = Path::new(&destination.location);
    let names = items.iter().map(|item| item.publication.file_name.as_ref());
    let paths = names.flatten().map(|name| place.join(name));
    let paths = paths.chain([place.to_owned()]).map(|path| beside(&path));
    paths
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".asc");
    name.into()
}

/// Reports the signatures that went with the old bytes of a replaced file. `before` were there.
pub fn tell_removed(items: &mut [Item], places: &[String], before: &BTreeSet<PathBuf>) {
    for (item, place) in items.iter_mut().zip(places) {
        let path = beside(Path::new(place));
        if !before.contains(&path) || path.symlink_metadata().is_ok() {
            continue;
        }
        let mut report = Report::default();
        let (code, message) = SIGNATURE_REMOVED;
        report.warn(code, quote_path(&path), message);
        if let Some(image) = item.images.first_mut() {
            image.add_report(report);
        }
    }
}

/// Reports the warnings of the destination, which found them while it took over the images.
pub(crate) fn tell_last(items: &mut [Item], notes: &Notes) {
    let mut report = notes.take();
    // The plan knows the losses.
    report.losses.clear();
    if let Some(image) = items.iter_mut().find_map(|item| item.images.first_mut()) {
        image.add_report(report);
    }
}

/// Reports what became of each image. `places` are where the publications are, none in a dry run.
pub(crate) fn outcome(
    items: Vec<Item>,
    tags: Vec<(String, ImageTags)>,
    destination: &Locator,
    places: &[String],
) -> Outcome {
    let image_tags = tags.into_iter().enumerate().map(|(i, (name, tags))| {
        let place = places.get(items.len() + i);
        let place = place.cloned().unwrap_or_else(|| destination.to_string());
        TagsOutcome::new(&name, place, &tags)
    });
    let image_tags = image_tags.collect();
    let mut images = Vec::new();
    let several = items.len() > 1;
    for (i, item) in items.into_iter().enumerate() {
        let place = places.get(i).cloned();
        let predicted = || names::predicted_place(destination, &item.publication, several);
        let place = place.or_else(predicted);
        let referred = item.publication.reference.clone();
        for mut image in item.images {
            image.destination = place.clone().unwrap_or_else(|| destination.to_string());
            // A REF is written as it stands, and is then the name of the image there; in a registry
            // the place is the name.
            match (
                &destination.reference,
                names::in_registry(&image.destination),
            ) {
                (Some(Reference::Name(text)), _) if referred.is_some() || places.is_empty() => {
                    image.name = Some(text.clone());
                }
                (_, Some(name)) if place.is_some() => image.name = Some(name.to_owned()),
                _ => {}
            }
            images.push(image);
        }
    }
    Outcome { images, image_tags }
}

/// Returns the room that a destination has for the own fields of the sources' lists.
pub fn room(destination: &Locator, env: &Env) -> Room {
    if !destination.transport.place().has_descriptors() {
        return Room::None("the destination has no index of its own");
    }
    // An archive is a file, and always new.
    let there = Path::new(&destination.location).join(INDEX_FILE);
    if matches!(is_there(&there), Ok(false)) {
        return Room::New;
    }
    // An index that is damaged, or can't be examined, is an error of the sink, which reads it too.
    let opened = destination.transport.open(&destination.location, env);
    Room::There(opened.map(|bundle| bundle.top_level()).unwrap_or_default())
}

/// Opens the destination for writing.
pub(crate) fn create(
    destination: &Locator,
    options: &Options,
    env: &Env,
) -> Result<Box<dyn BundleSink>> {
    use imgconv_transport_oci_layout::{LayoutSink, create_archive_with};
    let place = destination.transport.place();
    match place.shape {
        Shape::Directory if place.layout => {
            let sink = LayoutSink::create(&destination.location, env)?;
            let sink = sink.with_ref_name(options.ref_name);
            Ok(Box::new(sink.with_sharing(&options.sharing)?))
        }
        Shape::File if place.layout => {
            create_archive_with(&destination.location, env, options.ref_name)
        }
        _ => destination.transport.create(&destination.location, env),
    }
}
