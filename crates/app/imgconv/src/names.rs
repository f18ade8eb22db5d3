//! The names of a source at a destination: those that it can hold, and the losses of the others.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_layout::is_name;
use imgconv_model::{
    Child, Code, Digest, Error, FormatId, Name, Names, Outcome as LossKind, Publication, Report,
    Result, quote,
};
use imgconv_transport_registry::Location;

use crate::{
    locator::{Locator, Reference},
    options::Options,
    policy::SCHEMA1,
    run::{Item, Run, SourceRoot},
    source::Node,
};

impl Run<'_> {
    /// Brings the digest in a name up to date, where there is one: it names the image as it is
    /// written, or nothing.
    ///
    /// # Errors
    /// [`Code::Mismatch`] if the user gave a name with another digest.
    pub(crate) fn of_digest(
        &self,
        name: Option<Name>,
        root: &SourceRoot<'_>,
        child: &Child,
        report: &mut Report,
    ) -> Result<Option<Name>> {
        let Some(mut name) = name else {
            return Ok(None);
        };
        if self.options.name.is_none()
            && root.renamed.is_none()
            && let Some(tag) = root.image_id_as_tag()
        {
            let why = format!(
                "the image has no version, and `{tag}` is the start of its label `dockerimageid`"
            );
            report.lose("tag", LossKind::Synthesised, why);
        }
        let held = self.names && !self.tags_only();
        let Some(digest) = name.digest.filter(|_| held) else {
            return Ok(Some(name));
        };
        if self.options.name.is_some() && !root.is_referrer() {
            // An image that is not written yet has no digest.
            return match self.destination {
                Some(_) if digest != child.digest => {
                    let what = "the digest in the name that was given";
                    Err(Error::mismatch(what, digest, child.digest))
                }
                _ => Ok(Some(name)),
            };
        }
        let source = source_digest(root);
        if source == Some(child.digest) {
            return Ok(Some(name));
        }
        if source == Some(digest) {
            let why = format!("it holds {digest}, and the image was written anew");
            report.lose("name", LossKind::Approximated, why);
            name.digest = Some(child.digest);
            return Ok(Some(name));
        }
        let why = format!(
            "{} holds the digest of something else, and the image was written anew",
            quote(name.to_string())
        );
        report.lose("name", LossKind::Dropped, why);
        let by_digest = name.is_by_digest();
        name.digest = None;
        Ok(Some(name).filter(|_| !by_digest))
    }

    /// Says what a root is called at the destination, as text; reports what can't be held there.
    pub(crate) fn shown(
        &self,
        name: Option<&Name>,
        root: &SourceRoot<'_>,
        report: &mut Report,
    ) -> Option<String> {
        // Schema 1 has the name inside.
        if !self.names && self.target.id() != SCHEMA1 {
            let lost = name.map(|name| {
                let text = name.to_full_reference(&mut Report::default());
                text.unwrap_or_else(|| name.to_string())
            });
            for name in lost.into_iter().chain(texts(root, name)) {
                let why = format!("the destination has no names, and this is {name}");
                report.lose("name", LossKind::Dropped, why);
            }
            return None;
        }
        if self.tags_only() {
            return self.tagged_name(name, root, report);
        }
        let text = name.map(|name| {
            let text = name.to_full_reference(report);
            text.unwrap_or_else(|| name.to_string())
        });
        // A text that is no name stays where descriptors are written, if it stands in one.
        if self.descriptors {
            let listed = |text: &String| annotations(root).any(|own| own == text);
            for lost in texts(root, name).filter(|text| !listed(text)) {
                let why = format!("{} is no name of a repository", quote(&lost));
                report.lose("name", LossKind::Dropped, why);
            }
        }
        let kept = || annotations(root).next().filter(|_| self.descriptors);
        text.or_else(|| kept().cloned())
    }

    /// Says whether a name there is a repository and a tag, and nothing else.
    fn tags_only(&self) -> bool {
        self.target.id() == FormatId::DOCKER_ARCHIVE
    }

    /// [`Run::shown`] where a name is a repository and a tag.
    fn tagged_name(
        &self,
        name: Option<&Name>,
        root: &SourceRoot<'_>,
        report: &mut Report,
    ) -> Option<String> {
        let mut lose = |text: &str, kind| {
            let why = format!(
                "`RepoTags` holds `REPOSITORY:TAG`, and this is {}; `--name` gives another",
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
        match (&name.repository, name.digest) {
            (None, _) => lose(&name.to_string(), LossKind::Dropped),
            (Some(_), Some(_)) if name.is_by_digest() => {
                lose(&name.to_string(), LossKind::Dropped);
            }
            (Some(_), Some(_)) => lose(&name.to_string(), LossKind::Approximated),
            (Some(_), None) => {}
        }
        name.to_reference(report)
    }
}

/// The texts that the list of entry points calls a root by, if it has no name: in its annotations,
/// or, where there are none, the ID of an image.
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

/// The texts in the annotations that are for names.
fn annotations<'r>(root: &'r SourceRoot<'_>) -> impl Iterator<Item = &'r String> {
    let listed = root.entry.child.iter().flat_map(|child| &child.annotations);
    let names = listed.filter(|(key, text)| is_name(key) && !text.is_empty());
    names.map(|(_, text)| text)
}

/// The digest that a root has in the source.
fn source_digest(root: &SourceRoot<'_>) -> Option<Digest> {
    let of_node = match &*root.node {
        Node::Image(image) => image.child.as_ref(),
        Node::Index { child, .. } | Node::Opaque { child, .. } => Some(child),
    };
    let listed = root.entry.child.as_ref();
    listed.or(of_node).map(|child| child.digest)
}

/// Puts a digest in the place of a version: an ACI has nowhere else for it, and two images of one
/// repository must not have one name.
pub(crate) fn digest_as_version(name: &mut Name, report: &mut Report) {
    let Some(digest) = name.digest.take() else {
        return;
    };
    let why = match &name.tag {
        Some(_) => format!("an ACI's name holds no digest, and this is {digest}"),
        None => {
            let version = digest.hex()[..12].to_owned();
            let why = format!("an ACI's name holds no digest; {digest} is the version `{version}`");
            name.tag = Some(version);
            why
        }
    };
    report.lose("name", LossKind::Approximated, why);
}

/// Refuses two different images that would get one name, before anything is written.
///
/// # Errors
/// [`Code::Ambiguous`] with both.
pub(crate) fn refuse_one_name(items: &[Item]) -> Result<()> {
    let mut known: BTreeMap<Name, &Item> = BTreeMap::new();
    for item in items {
        let Some(name) = &item.publication.name else {
            continue;
        };
        let name = name.qualified();
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
            quote(name.to_string()),
            both.join(" and ")
        );
        return Err(Error::new(Code::Ambiguous, message).hint(
            "convert them one by one: `@DIGEST` as the REF chooses one, `--name` or a REF of the \
             destination gives it another name",
        ));
    }
    Ok(())
}

/// Refuses a destination and `--name` that give an image two names.
///
/// # Errors
/// [`Code::Usage`] with both.
pub(crate) fn check_given(destination: &Locator, options: &Options) -> Result<()> {
    let Some(text) = options.name.as_deref() else {
        return Ok(());
    };
    let name = Name::parse_reference(text)?;
    let (place, agree) = match (
        &destination.reference,
        destination.transport.place().names(),
    ) {
        (_, Some(Names::Location)) => {
            let location = Location::parse(&destination.location)?;
            let repository = format!("{}/{}", location.host, location.repository);
            let tags = [&location.tag, &name.tag];
            let agree = name.repository.as_deref() == Some(&*repository)
                && (tags.contains(&&None) || tags[0] == tags[1]);
            (
                destination.location.trim_start_matches('/').to_owned(),
                agree,
            )
        }
        (Some(Reference::Name(given)), names) => {
            // A word is a tag in a layout, and a repository for docker.
            let word = names != Some(Names::Repositories) && !given.contains(['/', ':', '@']);
            let agree = match Name::parse_reference(given) {
                _ if word && Name::is_tag(given) => {
                    name.tag.as_deref().is_none_or(|tag| tag == given)
                }
                Ok(given) => given.qualified() == name.qualified(),
                Err(_) => false,
            };
            (given.clone(), agree)
        }
        _ => return Ok(()),
    };
    if agree {
        return Ok(());
    }
    let message = format!(
        "the destination and `--name` give the image two names: {} and {}",
        quote(place),
        quote(text)
    );
    Err(Error::new(Code::Usage, message).hint("leave one of them out"))
}

/// The name under which a place of a registry was written.
pub(crate) fn in_registry(place: &str) -> Option<&str> {
    place.strip_prefix("docker://")
}

/// The place of a publication in a registry, before it is written.
pub(crate) fn predicted_place(destination: &Locator, publication: &Publication) -> Option<String> {
    if destination.transport.place().names() != Some(Names::Location) {
        return None;
    }
    let location = Location::parse(&destination.location).ok()?;
    let own = publication.name.clone().unwrap_or_default();
    let end = match (location.tag, location.digest.or(own.digest), own.tag) {
        (Some(tag), ..) => format!(":{tag}"),
        (None, Some(digest), None) => format!("@{digest}"),
        (None, None, None) => ":latest".to_owned(),
        (None, _, Some(tag)) => match location.digest {
            Some(digest) => format!("@{digest}"),
            None => format!(":{tag}"),
        },
    };
    Some(format!(
        "docker://{}/{}{end}",
        location.host, location.repository
    ))
}
