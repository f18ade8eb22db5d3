//! Converting: open and decode every source, let a [`Run`] say what would happen, then let another
//! do it, and publish. Everything that a pair command does.

use std::path::Path;

use imgconv_layout::INDEX_FILE;
use imgconv_model::{
    Algorithm, BundleSink, Code, Document, Env, Error, Format, FormatFamily, FormatId, Name, Names,
    Outcome as LossKind, PlatformSpec, Publication, Report, Result, Shape, TopLevel, quote,
};
use imgconv_pipeline::{Sealer, write_document};
use imgconv_stream::Pool;
use imgconv_tags::ImageTags;
use imgconv_transport_file::overlaps;
use imgconv_transport_registry::Location;
use serde_json::Value;

use crate::{
    catalog,
    cosign::Signed,
    dependencies,
    descriptors::{self, Room},
    family,
    locator::{Locator, Reference},
    names,
    nearest::nearest,
    options::{Missing, Options},
    outcome::{Outcome, TagsOutcome},
    policy::{digests_change, signing_key},
    run::{Item, Run, SourceRoot},
    source::{Node, Source},
    spec::told_apart,
    tags,
};

/// Converts every image that the sources mean to one destination.
///
/// Nothing is visible at the destination before everything has been written and verified.
///
/// # Errors
/// The first thing that went wrong, with its place; [`Code::Strict`] if something would be lost and
/// that was forbidden.
pub fn convert(
    sources: &[Locator],
    destination: &Locator,
    options: &Options,
    env: &Env,
) -> Result<Outcome> {
    if destination.location != "-" && destination.transport.place().is_local() {
        refuse_same_place(sources, Path::new(&destination.location))?;
    }
    if destination.transport.place().writes.is_none() {
        // What is only read says so itself.
        destination.transport.create(&destination.location, env)?;
    }
    dependencies::check(&options.deps)?;
    names::check_given(destination, options)?;
    let mut options = given(destination, options)?;
    let mut opened = Vec::new();
    for locator in sources {
        let source = match options.image_tags {
            // A repository's tags go together.
            true => Source::open_all(locator, env)?,
            false => Source::open(locator, env)?,
        };
        opened.push((locator, source));
    }
    let mut roots = Vec::new();
    for (locator, source) in &opened {
        let mut signed = Signed::default();
        for (entry, node) in source.decode(env)? {
            let signed = signed.subject(&entry, &node, &*source.bundle, env);
            let signed = signed.map_err(|error| error.at(source.entry_text(&entry)))?;
            let text = source.entry_text(&entry);
            let place = locator.location.clone();
            roots.push(SourceRoot {
                text,
                place,
                bundle: &*source.bundle,
                entry,
                renamed: None,
                signed,
                node,
            });
        }
    }
    family::check(options.pair, sources, &roots)?;
    options.platforms = nearest(&options.platforms, &roots);
    let options = &options;
    let target = target(destination, &roots)?;
    check_image_tags(target, destination, options)?;
    let writes = destination.transport.place().writes;
    options.check_sharing(writes.is_some_and(|writes| writes.shares_blobs))?;
    let key = signing_key(options, target.id())?;
    if options.missing == Missing::Keep && !target.capabilities().index {
        let message = format!(
            "`--missing keep` needs an index, and {} has none",
            target.id()
        );
        return Err(Error::new(Code::Usage, message));
    }
    if !target.is_stream() {
        dependencies::render(&mut roots, options, env)?;
    }
    check_naming(&roots, destination, options)?;
    let pool = Pool::new(env.jobs)?;
    // Everything that can be known before a byte is written.
    let names = destination.transport.place().has_names();
    let listing = destination.transport.place().has_descriptors();
    let any_digest = destination.transport.place().has_any_digest();
    let room = room(destination, env);
    let (mut top_level, lost) = descriptors::top_level(opened.iter().map(|(_, one)| one), &room);
    let one_file = target.is_stream() && !is_directory(destination);
    let mut run = Run::predict(target, options, env, &pool)
        .signing(key.as_ref())
        .naming(names)
        .listing(listing, &lost)
        .addressing(any_digest)
        .for_destination(destination)
        .into_one_file(one_file);
    let mut predicted = run.all(&roots)?;
    let stale = stale_subject(&run, &mut top_level);
    tell_first(&mut predicted, &stale);
    let tags = image_tags(&run, destination, env)?;
    if predicted.is_empty() {
        return Err(nothing_left(&roots, options, &run.left_behind));
    }
    if options.change {
        refuse_unchangeable(&predicted, &roots)?;
    }
    refuse_one_file(&predicted, one_file, destination)?;
    if target.is_stream() {
        refuse_same_file(&predicted, sources, destination)?;
    } else if names {
        names::refuse_one_name(&predicted)?;
    }
    if options.strict {
        refuse_losses(&predicted)?;
    }
    if options.dry_run {
        return Ok(outcome(predicted, tags, destination, &[]));
    }
    let mut sink = create(destination, options, env)?;
    sink.set_top_level(top_level);
    for (_, source) in &opened {
        sink.comes_from(&source.text);
    }
    let sealer = Sealer::new(&*sink, &pool);
    let mut items = Run::write(target, options, env, &pool, &*sink, &sealer)
        .signing(key.as_ref())
        .naming(names)
        .listing(listing, &lost)
        .addressing(any_digest)
        .for_destination(destination)
        .into_one_file(one_file)
        .all(&roots)?;
    tell_first(&mut items, &stale);
    name_roots(&*sink, &mut items, options)?;
    if options.strict {
        refuse_losses(&items)?;
    }
    env.check_cancelled()?;
    let reference = match &destination.reference {
        Some(Reference::Name(text)) => Some(text.clone()),
        _ => None,
    };
    let mut publications: Vec<_> = items
        .iter()
        .map(|item| {
            let mut publication = item.publication.clone();
            // What is found by way of an image has no name of its own.
            let image = item.images.iter().any(|image| image.platform.is_some());
            let named = image || item.publication.name.is_some() || items.len() == 1;
            publication.reference = reference.clone().filter(|_| named);
            publication
        })
        .collect();
    for (name, tags) in &tags {
        let document = Document {
            kind: String::new(),
            bytes: tags.to_bytes().into(),
        };
        publications.push(Publication {
            root: write_document(&*sink, &document, Algorithm::Sha256)?,
            name: None,
            reference: None,
            file_name: Some(tags::file_name(name)),
        });
    }
    let places = sink.finish(&mut publications)?;
    note_digests(&mut items, &publications);
    Ok(outcome(items, tags, destination, &places))
}

/// Takes the subject of a list away, if the document that it is about has become another.
fn stale_subject(run: &Run<'_>, top_level: &mut TopLevel) -> Report {
    const SUBJECT: &str = "subject";
    let mut report = Report::default();
    let digest = top_level.properties.get(SUBJECT).and_then(|text| {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(value.get("digest")?.as_str()?.to_owned())
    });
    if let Some(why) = digest.and_then(|digest| run.outdated(&digest)) {
        top_level.properties.remove(SUBJECT);
        report.lose("index.subject", LossKind::Dropped, why);
    }
    report
}

/// Reports losses of the whole list with the first image.
fn tell_first(items: &mut [Item], report: &Report) {
    if let Some(image) = items.iter_mut().find_map(|item| item.images.first_mut()) {
        image.add_report(report.clone());
    }
}

/// Gives roots the names that only the destination can refuse, and tells what it refused.
///
/// # Errors
/// If digests have to stay and one is refused, or the destination can't be asked.
pub(crate) fn name_roots(
    sink: &dyn BundleSink,
    items: &mut [Item],
    options: &Options,
) -> Result<()> {
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

/// Tells the digests by which a place lists images that it describes itself.
pub(crate) fn note_digests(items: &mut [Item], publications: &[Publication]) {
    for (item, publication) in items.iter_mut().zip(publications) {
        if item.publication.root.digest != publication.root.digest
            && let [image] = &mut item.images[..]
        {
            image.digest = Some(publication.root.digest.to_string());
        }
        item.publication = publication.clone();
    }
}

/// The image tags files that go beside the ACIs of a run, by image name. One that is there already
/// keeps its other tags.
fn image_tags(run: &Run<'_>, destination: &Locator, env: &Env) -> Result<Vec<(String, ImageTags)>> {
    let directory = Path::new(&destination.location);
    tags::files(&run.tagged, &|name| {
        let path = directory.join(tags::file_name(name));
        let there = path.symlink_metadata().is_ok();
        let read = || tags::read(&path.to_string_lossy(), env);
        there.then(read).transpose()
    })
}

/// Image tags are a file beside ACIs.
fn check_image_tags(target: Format, destination: &Locator, options: &Options) -> Result<()> {
    if !options.image_tags {
        return Ok(());
    }
    let message = if !target.is_stream() {
        "`--image-tags` is for ACIs: other formats have tags"
    } else if destination.location == "-" || destination.location.ends_with(".aci") {
        "`--image-tags` writes a file beside the ACIs"
    } else {
        return Ok(());
    };
    Err(Error::new(Code::Usage, message)
        .at(destination.to_string())
        .hint("write to a directory of ACIs, `aci:DIR/`"))
}

fn outcome(
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
    for (i, item) in items.into_iter().enumerate() {
        let place = places.get(i).cloned();
        let place = place.or_else(|| names::predicted_place(destination, &item.publication));
        let referred = item.publication.reference.clone();
        for mut image in item.images {
            image.destination = place.clone().unwrap_or_else(|| destination.to_string());
            // A REF is written as it stands, and is then what the image is called there; in a
            // registry the place is the name.
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

/// The format that the destination is written in: the one that was asked for; else the sources'
/// own, if the place takes it; else the one of the same family; else the place's default.
pub(crate) fn target(destination: &Locator, roots: &[SourceRoot<'_>]) -> Result<Format> {
    let possible = destination.transport.place().formats();
    let known = |id: FormatId| catalog::format(id.0).expect("the catalog names its own formats");
    if let Some(asked) = destination.format {
        if possible.contains(&asked) {
            return Ok(known(asked));
        }
        let names: Vec<&str> = possible.iter().map(|id| id.0).collect();
        let scheme = destination.transport.place().scheme;
        let message = format!("`{scheme}:` can't hold {asked}");
        return Err(
            Error::new(Code::Usage, message).hint(format!("it can hold: {}", names.join(", ")))
        );
    }
    let own = roots.first().and_then(|root| root.node.format());
    let same = own.filter(|own| roots.iter().all(|root| root.node.format() == Some(*own)));
    let docker = |id: FormatId| known(id).facts().family == FormatFamily::Docker;
    let family = possible
        .iter()
        .copied()
        .find(|id| same.is_some_and(docker) && docker(*id));
    let chosen = same
        .filter(|own| possible.contains(own))
        .or(family)
        .unwrap_or(possible[0]);
    Ok(known(chosen))
}

/// Says what a destination does with what the source's list of entry points says of itself.
pub(crate) fn room(destination: &Locator, env: &Env) -> Room {
    if !destination.transport.place().has_descriptors() {
        return Room::None("the destination has no index of its own");
    }
    // An archive is a file, and always new.
    let there = Path::new(&destination.location).join(INDEX_FILE);
    if there.symlink_metadata().is_err() {
        return Room::New;
    }
    // An index that is damaged is an error of the sink, which reads it too.
    let opened = destination.transport.open(&destination.location, env);
    Room::There(opened.map(|bundle| bundle.top_level()).unwrap_or_default())
}

/// The options with the name that the destination itself gives: an image that gets a tag of a registry
/// gets its name too (schema 1 says it inside), and the REF of a docker archive is a name.
fn given(destination: &Locator, options: &Options) -> Result<Options> {
    let mut options = options.clone();
    match (
        destination.transport.place().names(),
        &destination.reference,
    ) {
        (Some(Names::Location), _) => {
            let location = Location::parse(&destination.location)?;
            if let Some(tag) = &location.tag {
                options.name = Some(format!("{}/{}:{tag}", location.host, location.repository));
            }
        }
        (Some(Names::Repositories), Some(Reference::Name(text))) => {
            if Name::parse_reference(text)?.digest.is_some() {
                let message = format!("{} holds a digest, and `RepoTags` has tags", quote(text));
                return Err(Error::new(Code::BadName, message)
                    .at(destination.to_string())
                    .hint("write it as `REPOSITORY:TAG`"));
            }
            options.name = Some(text.clone());
        }
        _ => {}
    }
    Ok(options)
}

/// Opens the destination for writing.
fn create(destination: &Locator, options: &Options, env: &Env) -> Result<Box<dyn BundleSink>> {
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

/// Refuses to write onto what is read, which a rename at the end would replace, or into it
/// (robustness D13b).
pub(crate) fn refuse_same_place(sources: &[Locator], output: &Path) -> Result<()> {
    let local = |source: &&Locator| source.location != "-" && source.transport.place().is_local();
    for source in sources.iter().filter(local) {
        if overlaps(Path::new(&source.location), output) {
            let message = format!("the output is the source {source}, or lies in it");
            return Err(Error::new(Code::Denied, message)
                .at(quote(output.as_os_str().as_encoded_bytes()))
                .hint("write to another place"));
        }
    }
    Ok(())
}

/// The same for the files that get their names from their images.
fn refuse_same_file(items: &[Item], sources: &[Locator], destination: &Locator) -> Result<()> {
    let directory = Path::new(&destination.location);
    for item in items {
        if let Some(name) = &item.publication.file_name {
            let file = directory.join(name);
            if file.symlink_metadata().is_ok() {
                refuse_same_place(sources, &file)?;
            }
        }
    }
    Ok(())
}

/// One name for several images would make them one.
fn check_naming(roots: &[SourceRoot<'_>], destination: &Locator, options: &Options) -> Result<()> {
    let roots: Vec<&SourceRoot<'_>> = roots.iter().filter(|root| !root.is_referrer()).collect();
    let several = roots.len() > 1 && !is_one_name(&roots);
    match &destination.reference {
        Some(Reference::Name(text)) if several => {
            let message = format!(
                "{} names one image and the source has {}",
                quote(text),
                roots.len()
            );
            return Err(
                Error::new(Code::Usage, message).hint("leave the REF out to keep the names")
            );
        }
        Some(Reference::Name(_)) | None => {}
        Some(reference) => {
            let message = format!("a destination can't be `{reference}`");
            return Err(Error::new(Code::Usage, message).hint("give a name, or none"));
        }
    }
    if options.name.is_some() && several {
        let message = format!(
            "`--name` names one image and the source has {}",
            roots.len()
        );
        return Err(Error::new(Code::Usage, message).hint("add a REF to the source"));
    }
    Ok(())
}

/// Says whether files go into the destination, and it is none itself.
fn is_directory(destination: &Locator) -> bool {
    let location = &destination.location;
    location.ends_with('/') || Path::new(location).is_dir()
}

/// One file can't hold several streams.
fn refuse_one_file(items: &[Item], one_file: bool, destination: &Locator) -> Result<()> {
    let location = &destination.location;
    if !one_file || items.len() == 1 {
        return Ok(());
    }
    let list = items.iter().flat_map(|item| &item.images).map(|image| {
        let name = image.name.as_deref().unwrap_or("-");
        let text = format!("{name} ({})", image.platform.as_deref().unwrap_or("-"));
        (text, image.source_digest.clone())
    });
    let list = told_apart(&list.collect::<Vec<_>>());
    let message = format!("there are {} images and one ACI can hold one", items.len());
    Err(Error::new(Code::Ambiguous, message)
        .at(destination.to_string())
        .hint(format!(
            "choose one with a REF or `--platform`, or write to a directory (`{location}/`): {}",
            list.join(", ")
        )))
}

/// Says whether the roots are single images of one name: they will be one index.
fn is_one_name(roots: &[&SourceRoot<'_>]) -> bool {
    roots
        .iter()
        .all(|root| root.entry.child.is_none() && root.name().ok() == roots[0].name().ok())
}

fn nothing_left(roots: &[SourceRoot<'_>], options: &Options, left: &Report) -> Error {
    let there: Vec<String> = roots.iter().flat_map(SourceRoot::platforms).collect();
    match not_held(left).filter(|_| there.is_empty()) {
        Some(error) => error,
        None => no_image(&options.platforms, there),
    }
}

/// The error for a run that leaves everything behind: what that is, and why.
pub(crate) fn not_held(left: &Report) -> Option<Error> {
    let told = left.losses.iter().take(10);
    let told: Vec<String> = told
        .map(|loss| format!("{}: {}", loss.field, loss.why))
        .collect();
    let more = left.losses.len().saturating_sub(told.len());
    let more = match more {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    (!told.is_empty()).then(|| {
        let message = format!(
            "nothing here can be written there: {}{more}",
            told.join("; ")
        );
        Error::new(Code::Unsupported, message)
            .hint("`convert` to `oci:DIR` copies everything as it is")
    })
}

/// Refuses to change layers where nothing has any.
fn refuse_unchangeable(items: &[Item], roots: &[SourceRoot<'_>]) -> Result<()> {
    let mut images = items.iter().flat_map(|item| &item.images);
    if images.any(|image| image.platform.is_some()) {
        return Ok(());
    }
    let what = roots.iter().take(10).map(|root| match &*root.node {
        Node::Opaque { opaque, .. } => format!("{} ({})", root.text, opaque.what),
        Node::Image(_) | Node::Index { .. } => root.text.clone(),
    });
    let what: Vec<String> = what.collect();
    let message = format!(
        "there is no image here whose layers could be changed: {}",
        what.join(", ")
    );
    Err(Error::new(Code::Unsupported, message).hint("`convert` copies it as it is"))
}

/// The error for platforms of which there is no image, or for a source without any.
pub(crate) fn no_image(platforms: &[PlatformSpec], mut there: Vec<String>) -> Error {
    there.sort();
    there.dedup();
    if there.is_empty() {
        return Error::new(Code::Missing, "there are no images here");
    }
    let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    Error::new(Code::Missing, format!("no image for {}", wanted.join(", ")))
        .hint(format!("there is: {}", there.join(", ")))
}

/// Refuses what `--strict` forbids: a loss, or a warning.
pub(crate) fn refuse_losses(items: &[Item]) -> Result<()> {
    let mut found = Vec::new();
    for image in items.iter().flat_map(|item| &item.images) {
        found.extend(
            image
                .losses
                .iter()
                .map(|loss| format!("{} {}: {}", loss.field, loss.outcome, loss.why)),
        );
        found.extend(
            image
                .warnings
                .iter()
                .map(|w| format!("{} at {}: {}", w.code, w.at, w.message)),
        );
    }
    if found.is_empty() {
        return Ok(());
    }
    let more = found.len().saturating_sub(10);
    found.truncate(10);
    let mut message = format!("`--strict` refuses: {}", found.join("; "));
    if more > 0 {
        message.push_str(&format!("; and {more} more"));
    }
    Err(Error::new(Code::Strict, message).hint("without `--strict` these become warnings"))
}
