//! The names of a source at a destination: those that it can hold, and the losses of the others.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_layout::is_name;
use imgconv_locate::locator::Locator;
use imgconv_model::{
    Code, Digest, Error, FormatId, Name, Names, Outcome as LossKind, Publication, Report, Result,
    quote,
};
use imgconv_transport_registry::Location;

use super::output::Item;
use crate::{
    choose::{request::Request, signing::SCHEMA1},
    options::Options,
    read::root::{SourceRoot, reference_text},
};

/// The digest of a root at the destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// The digest.
    pub(super) digest: Digest,
    /// False as long as the root is only planned: then the digest of a changed root is not known.
    pub(super) is_final: bool,
}

/// Updates the digest in a name, if there is one: a digest must be that of the written image.
///
/// # Errors
/// [`Code::Mismatch`] if the user gave a name with another digest.
pub(super) fn of_digest(
    request: &Request<'_>,
    name: Option<Name>,
    root: &SourceRoot<'_>,
    written: Written,
    report: &mut Report,
) -> Result<Option<Name>> {
    let Some(mut name) = name else {
        return Ok(None);
    };
    if request.options.name.is_none()
        && root.renamed.is_none()
        && let Some(tag) = root.image_id_as_tag()
    {
        let why = format!(
            "the image has no version; the tag `{tag}` is the start of its label `dockerimageid`"
        );
        report.lose("tag", LossKind::Synthesised, why);
    }
    let held = request.place.has_names() && !tags_only(request);
    let Some(digest) = name.digest.filter(|_| held) else {
        return Ok(Some(name));
    };
    if request.options.name.is_some() && !root.is_referrer() {
        // An image that is not written yet has no digest.
        let what = "the digest in the given name";
        return match written.is_final && digest != written.digest {
            true => Err(Error::mismatch(what, digest, written.digest)),
            false => Ok(Some(name)),
        };
    }
    let source = source_digest(root);
    if source == Some(written.digest) {
        return Ok(Some(name));
    }
    if source == Some(digest) {
        let why = format!("the name holds {digest}, and the image was rewritten");
        report.lose("name", LossKind::Approximated, why);
        name.digest = Some(written.digest);
        return Ok(Some(name));
    }
    let why = format!(
        "{} holds the digest of another document, and the image was rewritten",
        quote(name.to_string())
    );
    report.lose("name", LossKind::Dropped, why);
    let by_digest = name.is_by_digest();
    name.digest = None;
    Ok(Some(name).filter(|_| !by_digest))
}

/// Returns the text of a root's name at the destination; reports parts that the destination can't
/// hold.
pub(super) fn shown(
    request: &Request<'_>,
    name: Option<&Name>,
    root: &SourceRoot<'_>,
    report: &mut Report,
) -> Option<String> {
    // A schema 1 manifest holds the name itself.
    if !request.place.has_names() && request.target.id() != SCHEMA1 {
        let lost = name.map(reference_text);
        for name in lost.into_iter().chain(texts(root, name)) {
            let why = format!("the destination has no names, so {name} is lost");
            report.lose("name", LossKind::Dropped, why);
        }
        return None;
    }
    if tags_only(request) {
        return tagged_name(name, root, report);
    }
    let text = name.map(|name| {
        let text = name.to_full_reference(report);
        text.unwrap_or_else(|| name.to_string())
    });
    // A text that is no name stays in the annotations that it came from, where descriptors are
    // written.
    if request.place.has_descriptors() {
        let listed = |text: &String| annotations(root).any(|own| own == text);
        for lost in texts(root, name).filter(|text| !listed(text)) {
            let why = format!("{} is not the name of a repository", quote(&lost));
            report.lose("name", LossKind::Dropped, why);
        }
    }
    let kept = || {
        annotations(root)
            .next()
            .filter(|_| request.place.has_descriptors())
    };
    text.or_else(|| kept().cloned())
}

/// Says whether a name at the destination is a repository and a tag, and nothing else.
fn tags_only(request: &Request<'_>) -> bool {
    request.target.id() == FormatId::DOCKER_ARCHIVE
}

/// [`shown`] for a destination where a name is a repository and a tag.
fn tagged_name(name: Option<&Name>, root: &SourceRoot<'_>, report: &mut Report) -> Option<String> {
    let mut lose = |text: &str, kind| {
        let why = format!(
            "`RepoTags` holds only names of the form `REPOSITORY:TAG`, and the name is {}; \
             `--name` gives another name",
            quote(text)
        );
        report.lose("name", kind, why);
    };
    let Some(name) = name else {
        for text in texts(root, None) {
            lose(&text, LossKind::Dropped);
        }
        return None;
    };
    match name.digest {
        _ if name.repository.is_none() || name.is_by_digest() => {
            lose(&name.to_string(), LossKind::Dropped);
        }
        Some(_) => lose(&name.to_string(), LossKind::Approximated),
        None => {}
    }
    name.to_reference(report)
}

/// The texts by which the list of entry points calls a root without a name: its annotations, or,
/// where there are none, the ID of an image.
fn texts(root: &SourceRoot<'_>, name: Option<&Name>) -> impl Iterator<Item = String> {
    let ids = root
        .entry
        .texts
        .iter()
        .filter(|text| Digest::parse(text).is_ok());
    let all = annotations(root).chain(ids).filter(|_| name.is_none());
    let all: BTreeSet<String> = all.cloned().collect();
    all.into_iter()
}

/// The texts in the annotations for names.
fn annotations<'r>(root: &'r SourceRoot<'_>) -> impl Iterator<Item = &'r String> {
    let listed = root.entry.child.iter().flat_map(|child| &child.annotations);
    let names = listed.filter(|(key, text)| is_name(key) && !text.is_empty());
    names.map(|(_, text)| text)
}

/// The digest that a root has in the source.
fn source_digest(root: &SourceRoot<'_>) -> Option<Digest> {
    root.entry.digest().or_else(|| root.node.root_digest())
}

/// Publishes each image once more under each further name that the user gave. A referrer has the names of
/// its subject.
///
/// # Errors
/// [`Code::BadName`] if a name is no reference.
pub(crate) fn add_names(items: &mut Vec<Item>, options: &Options) -> Result<()> {
    if options.more_names.is_empty() {
        return Ok(());
    }
    for item in std::mem::take(items) {
        let is_image = item.images.iter().any(|image| image.platform.is_some());
        let mut all = vec![item];
        for text in options.more_names.iter().filter(|_| is_image) {
            let name = Name::parse_reference(text)?;
            let mut again = all[0].clone();
            let shown = name.to_full_reference(&mut Report::default());
            for image in &mut again.images {
                image.name.clone_from(&shown);
                // The losses are those of the image, which were told with its first name.
                image.losses.clear();
                image.warnings.clear();
            }
            again.publication.name = Some(name);
            all.push(again);
        }
        items.extend(all);
    }
    Ok(())
}

/// Refuses two different images that would get one name, or one tag of a registry's repository, before anything is
/// written.
///
/// # Errors
/// [`Code::Ambiguous`] with both images.
pub(crate) fn refuse_one_name(items: &[Item], destination: &Locator) -> Result<()> {
    let mut known: BTreeMap<String, &Item> = BTreeMap::new();
    for item in items {
        let own = item.publication.name.as_ref();
        let own = own.map(|name| name.as_referred().qualified().to_string());
        let place = predicted_place(destination, &item.publication, items.len() > 1);
        let Some(name) = place.or(own) else {
            continue;
        };
        let Some(other) = known.get(&name) else {
            known.insert(name, item);
            continue;
        };
        let digest = |item: &Item| item.images.first()?.source_digest.clone();
        if other.publication.root.digest == item.publication.root.digest
            || digest(other) == digest(item)
        {
            continue;
        }
        let both = [other, item].map(|item| {
            let source = item.images.first().map(|image| &*image.source);
            let digest = digest(item).map_or_else(String::new, |digest| format!(" (@{digest})"));
            format!("{}{digest}", source.unwrap_or_default())
        });
        let message = format!(
            "two images would get the name {}: {}",
            quote(in_registry(&name).unwrap_or(&name)),
            both.join(" and ")
        );
        return Err(Error::new(Code::Ambiguous, message).hint(
            "convert them one by one: `@DIGEST` as the REF chooses one, `--name` or a REF of the \
             destination gives it another name",
        ));
    }
    Ok(())
}

/// The name under which a place of a registry was written.
pub(crate) fn in_registry(place: &str) -> Option<&str> {
    place.strip_prefix("docker://")
}

/// The place of a publication in a registry, before it is written. One of several documents that has no name, such as a
/// referrer, gets no tag.
pub(crate) fn predicted_place(
    destination: &Locator,
    publication: &Publication,
    is_one_of_several: bool,
) -> Option<String> {
    if destination.transport.place().names() != Some(Names::Location) {
        return None;
    }
    let is_named = publication.name.is_some() || publication.reference.is_some();
    let location = Location::parse(&destination.location).ok()?;
    let own = publication.name.as_ref().map(Name::as_referred);
    let own = own.unwrap_or_default();
    // A tag or digest in the locator counts more than one in the name.
    let own_tag = own.tag.filter(|_| location.digest.is_none());
    let end = match (location.tag.or(own_tag), location.digest.or(own.digest)) {
        _ if is_one_of_several && !is_named => format!("@{}", publication.root.digest),
        (Some(tag), _) => format!(":{tag}"),
        (None, Some(digest)) => format!("@{digest}"),
        (None, None) => ":latest".to_owned(),
    };
    Some(format!(
        "docker://{}/{}{end}",
        location.host, location.repository
    ))
}
