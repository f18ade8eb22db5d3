//! The part of a [`Run`](crate::run::Run) that writes what holds other documents, or is no image:
//! indexes, several platforms of one name, artifacts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_json::{Object, join};
use imgconv_manifest::{family_of, find_blob};
use imgconv_model::{
    Algorithm, Child, Code, Digest, Error, Index, Name, Opaque, Outcome as LossKind, PlatformSpec,
    Report, Result,
};
use imgconv_pipeline::write_document;

use crate::{
    nearest::{repeated, warn_second},
    options::Missing,
    outcome::ImageOutcome,
    run::{Item, Run, SourceRoot, images as each_image, platform_of},
    source::Node,
    spec::{spec_listed, spec_of, told_apart},
    subject,
};

/// The most characters of a digest's encoded part in a tag (distribution-spec, "Referrers Tag
/// Schema").
const TAG_HEX: usize = 64;

/// Reads what a tag is about: `sha256-HEX.sig`, `.att` or `.sbom` as cosign names what it signs, or
/// `sha256-HEX` alone (distribution-spec, "Referrers Tag Schema"). Returns the text of the digest; of
/// a longer one than a tag can hold its start.
pub(crate) fn subject_of_tag(tag: &str) -> Option<String> {
    let stem = [".sig", ".att", ".sbom"]
        .iter()
        .find_map(|suffix| tag.strip_suffix(suffix))
        .unwrap_or(tag);
    let (algorithm, hex) = stem.split_once('-')?;
    let text = format!("{algorithm}:{hex}");
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let cut = algorithm == "sha512" && hex.len() == TAG_HEX && hex.bytes().all(is_hex);
    (cut || Digest::parse(&text).is_ok()).then_some(text)
}

/// The descriptor of what a document became, if it was written, and what was told of its images.
type Written = (Option<Child>, Vec<ImageOutcome>);

impl Run<'_> {
    /// Makes one index of single images that have one name and several platforms.
    pub(crate) fn join_platforms(&self, items: Vec<(Item, bool)>) -> Result<Vec<Item>> {
        let mut joined: Vec<Vec<Item>> = Vec::new();
        let mut by_name: BTreeMap<Name, usize> = BTreeMap::new();
        for (item, single) in items {
            let name = item.publication.name.clone().filter(|_| single);
            let at = name.map(|name| *by_name.entry(name).or_insert(joined.len()));
            match at.and_then(|at| joined.get_mut(at)) {
                Some(group) => group.push(item),
                None => joined.push(vec![item]),
            }
        }
        let mut items = Vec::new();
        for mut group in joined {
            // The same image given twice is one image.
            let mut seen = BTreeSet::new();
            group.retain(|item| seen.insert(item.publication.root.digest));
            if group.len() == 1 {
                items.append(&mut group);
                continue;
            }
            group.sort_by(|a, b| {
                a.publication
                    .root
                    .platform
                    .cmp(&b.publication.root.platform)
            });
            for pair in group.windows(2) {
                let [a, b] = [&pair[0], &pair[1]];
                if a.publication.root.platform == b.publication.root.platform {
                    let sources = [a, b]
                        .map(|item| item.images[0].source.clone())
                        .join(" and ");
                    let message = format!(
                        "{sources} are different images of one name and platform, {}",
                        a.images[0].name.as_deref().unwrap_or("?")
                    );
                    return Err(Error::new(Code::Ambiguous, message)
                        .hint("convert them one at a time, with `--name`"));
                }
            }
            if !self.capabilities.index {
                let images = group.into_iter().flat_map(|item| item.images);
                let there = images.map(|image| (image.platform.unwrap_or_default(), image.digest));
                return Err(self.one_platform(&there.collect::<Vec<_>>()));
            }
            let children: Vec<Child> = group
                .iter()
                .map(|item| item.publication.root.clone())
                .collect();
            let document = self.documents_format().encode_index(&children, None)?;
            let mut publication = group[0].publication.clone();
            publication.root = self.store(&document, Algorithm::Sha256)?;
            let images = group.into_iter().flat_map(|item| item.images).collect();
            items.push(Item {
                publication,
                images,
            });
        }
        Ok(items)
    }

    /// Converts what an index lists, and writes the index over it.
    pub(crate) fn index(
        &mut self,
        index: &Index,
        child: &Child,
        children: &[Option<Arc<Node>>],
        root: &SourceRoot<'_>,
    ) -> Result<(Option<Child>, Vec<ImageOutcome>)> {
        let mut report = Report::default();
        let place = format!("index {}", child.digest);
        let mut kept: Vec<Option<Child>> = vec![None; children.len()];
        let mut images: Vec<ImageOutcome> = Vec::new();
        // What is listed again, here or below, is one image and is told once (robustness C7b).
        let mut converted: BTreeMap<Digest, Option<Child>> = BTreeMap::new();
        let mut told = BTreeSet::new();
        if children.is_empty() && self.options.platforms.is_empty() {
            return self.empty_index(index, child);
        }
        if !children.is_empty() && children.iter().all(Option::is_none) {
            let message = "every image that the index lists is missing";
            return Err(Error::new(Code::Missing, message).at(place));
        }
        // Where one image is written, it is the first of equal ones.
        let first_only = !self.capabilities.index && !self.options.platforms.is_empty();
        let repeated = repeated(index, children);
        let all: BTreeSet<Digest> = index.children.iter().map(|child| child.digest).collect();
        for late in [false, true] {
            let entries = index.children.iter().zip(children).zip(&repeated);
            for (slot, ((listed, node), repeated)) in kept.iter_mut().zip(entries) {
                let subject = listed.annotations.get("vnd.docker.reference.digest");
                let about = node.as_ref().is_some_and(|node| node.subject().is_some());
                if (about || subject.is_some()) != late {
                    continue;
                }
                // What is about an image goes with that image.
                let unwanted = subject.is_none()
                    && listed.platform.as_ref().is_some_and(|platform| {
                        let spec = match node.as_deref() {
                            Some(Node::Image(image)) => spec_of(image, Some(listed)),
                            _ => spec_listed(listed),
                        };
                        let platform = platform.clone();
                        !platform.os.is_empty() && !self.wanted(&PlatformSpec { platform, ..spec })
                    });
                let Some(node) = node else {
                    let keep = self.options.missing == Missing::Keep;
                    let gone = keep
                        && (unwanted
                            || subject.is_some_and(|subject| {
                                !self.survives(subject, &all, listed, &mut report)
                            }));
                    if gone {
                        continue;
                    }
                    self.missing(listed, &place, &mut report)?;
                    if keep {
                        let same = (Some(listed.clone()), Vec::new());
                        self.digests
                            .insert(listed.digest.to_string(), listed.digest);
                        self.memo.insert(listed.digest, same);
                        *slot = Some(listed.clone());
                    }
                    continue;
                };
                if let Some(subject) = subject
                    && !self.survives(subject, &all, listed, &mut report)
                {
                    continue;
                }
                if unwanted {
                    continue;
                }
                if let Node::Image(image) = &**node
                    && first_only
                    && *repeated
                {
                    let platform = platform_of(image, Some(listed));
                    if self.wanted(&spec_of(image, Some(listed)))
                        && !converted.contains_key(&listed.digest)
                    {
                        warn_second(&mut report, &place, image, &platform);
                    }
                    continue;
                }
                let new = match converted.get(&listed.digest) {
                    Some(new) => new.clone(),
                    None => {
                        let (new, outcomes) = self.document(node, Some(listed), root)?;
                        images.extend(outcomes.into_iter().filter(|outcome| {
                            let source = outcome.source_digest.clone();
                            source.is_none_or(|source| told.insert(source))
                        }));
                        converted.insert(listed.digest, new.clone());
                        new
                    }
                };
                *slot = new.map(|new| match new.digest == listed.digest {
                    // What was learnt of an image that stays is for choosing, not for writing.
                    true => listed.clone(),
                    false => Child {
                        platform: listed.platform.clone().or(new.platform),
                        annotations: listed.annotations.clone(),
                        raw: listed.raw.clone(),
                        ..new
                    },
                });
            }
        }
        let mut there = Vec::new();
        for ((listed, node), kept) in index.children.iter().zip(children).zip(&kept) {
            let Some(node) = node.as_deref().filter(|_| kept.is_some()) else {
                continue;
            };
            each_image(node, Some(listed), &mut |image, listed| {
                let digest = image.child.as_ref().map(|child| child.digest.to_string());
                there.push((spec_of(image, listed).to_string(), digest));
            });
        }
        let kept: Vec<Child> = kept.into_iter().flatten().collect();
        if kept.is_empty() {
            self.left_behind.merge(report);
            return Ok((None, Vec::new()));
        }
        let subject = index.subject.map(|subject| subject.to_string());
        let outdated = subject.and_then(|subject| self.outdated(&subject));
        let changed;
        let index = match outdated.filter(|_| self.capabilities.index) {
            Some(why) => {
                changed = subject::drop_of_index(index, &why, self.env, &mut report)?;
                &changed
            }
            None => index,
        };
        match images.first_mut() {
            Some(first) => first.add_report(report),
            None => self.left_behind.merge(report),
        }
        if !self.capabilities.index {
            let [one] = &kept[..] else {
                return Err(self.one_platform(&there));
            };
            self.preserve_index(child, None)?;
            let mut report = Report::default();
            self.lose_index(index, &mut report)?;
            for key in one.annotations.keys() {
                let why = self.no_index();
                let field = format!("index.manifests.annotations.{key}");
                report.lose(field, LossKind::Dropped, why);
            }
            match images.first_mut() {
                Some(first) => first.add_report(report),
                None => self.left_behind.merge(report),
            }
            return Ok((Some(one.clone()), images));
        }
        let stored = self.store_index(&kept, index, child)?;
        self.preserve_index(child, Some(&stored))?;
        Ok((Some(stored), images))
    }

    /// Writes an index over what has become of its entries. One that lists the same as before keeps
    /// its bytes, whichever family it is of, unless the user named a format.
    fn store_index(&self, kept: &[Child], index: &Index, child: &Child) -> Result<Child> {
        let document = match !self.asked && kept == index.children {
            true => index.document.clone(),
            false => self.documents_format().encode_index(kept, Some(index))?,
        };
        self.store_root(&document, Some(child))
    }

    /// Copies an index that lists nothing.
    fn empty_index(
        &mut self,
        index: &Index,
        child: &Child,
    ) -> Result<(Option<Child>, Vec<ImageOutcome>)> {
        if !self.capabilities.index {
            let field = format!("index {}", child.digest);
            self.left_behind
                .lose(field, LossKind::Dropped, self.no_index());
            return Ok((None, Vec::new()));
        }
        let stored = self.store_index(&[], index, child)?;
        self.preserve_index(child, Some(&stored))?;
        let outcome = ImageOutcome {
            format: self.target.id().to_string(),
            digest: Some(stored.digest.to_string()),
            source_digest: Some(child.digest.to_string()),
            ..ImageOutcome::default()
        };
        Ok((Some(stored), vec![outcome]))
    }

    /// The error for several platforms where the target can hold one.
    fn one_platform(&self, there: &[(String, Option<String>)]) -> Error {
        let target = self.target.id();
        let message = format!(
            "there are {} platforms and {target} can hold one",
            there.len().max(2)
        );
        Error::new(Code::Ambiguous, message).hint(format!(
            "choose one with `--platform`, or by its digest with the REF `@DIGEST`: {}",
            told_apart(there).join(", ")
        ))
    }

    /// Reports what only an index itself says, where none is written.
    pub(crate) fn lose_index(&self, index: &Index, report: &mut Report) -> Result<()> {
        let value = imgconv_json::parse(&index.document.bytes, &self.env.limits, "index")?;
        let top = Object::new(&value, "index")?;
        let mut fields: Vec<String> = Vec::new();
        for (key, value) in top.map() {
            match &**key {
                "schemaVersion" | "mediaType" | "manifests" => {}
                _ if value.is_null() => {}
                "annotations" => {
                    let annotations = top.string_map(key)?;
                    let path = |key: &String| format!("index.annotations.{key}");
                    fields.extend(annotations.keys().map(path));
                }
                key => fields.push(join("index", key)),
            }
        }
        for field in fields {
            report.lose(field, LossKind::Dropped, self.no_index());
        }
        Ok(())
    }

    fn no_index(&self) -> String {
        format!("{} has no index", self.target.id())
    }

    /// Deals with a child of an index that is not there.
    pub(crate) fn missing(&self, listed: &Child, place: &str, report: &mut Report) -> Result<()> {
        let what = format!("{} is listed and not there", listed.digest);
        match self.options.missing {
            Missing::Drop if self.options.preserve_digests => {
                Err(Error::new(Code::Missing, what).at(place).hint(
                    "`--missing keep` leaves the index as it is; without \
                     `--preserve-digests` it is written without it",
                ))
            }
            Missing::Keep => {
                if !self.capabilities.root_kinds.contains(&&*listed.kind) {
                    let target = self.target.id();
                    let message = format!("{what}, and can't be converted to {target}");
                    return Err(Error::new(Code::Missing, message)
                        .at(place)
                        .hint("`--missing drop` leaves it out of the index"));
                }
                let message = format!("{what}; the index lists it all the same");
                report.warn("missing-child", place, message);
                Ok(())
            }
            Missing::Drop => {
                report.warn(
                    "missing-child",
                    place,
                    format!("{what}; the index is written without it"),
                );
                Ok(())
            }
            Missing::Fail => Err(Error::new(Code::Missing, what)
                .at(place)
                .hint("`--missing drop` leaves it out of the index")),
        }
    }

    /// Says whether what is about `subject` (an attestation) still is about something. What is about
    /// an image that the index never listed stays, as it was.
    fn survives(
        &self,
        subject: &str,
        all: &BTreeSet<Digest>,
        listed: &Child,
        report: &mut Report,
    ) -> bool {
        let Ok(subject) = Digest::parse(subject) else {
            return true;
        };
        let (known, became) = match self.became(&subject.to_string()) {
            Some((known, became)) => (known, Some(became)),
            None => (subject, None),
        };
        match became {
            Some((Some(child), _)) if child.digest == known => true,
            Some((Some(_), _)) => {
                let why = format!("it is about {subject}, which was written anew");
                report.lose(
                    format!("attestation {}", listed.digest),
                    LossKind::Dropped,
                    why,
                );
                false
            }
            // Not wanted, or missing: whoever left the image out left this out with it.
            Some((None, _)) => false,
            None => !all.contains(&subject),
        }
    }

    /// Returns what became of a document, and the digest by which it is known, from the text of any
    /// of its digests, or the start of that.
    fn became(&self, text: &str) -> Option<(Digest, &Written)> {
        let (found, known) = self.digests.range(text.to_owned()..).next()?;
        let became = self.memo.get(known).filter(|_| found.starts_with(text))?;
        Some((*known, became))
    }

    /// Says why what is about `subject` is about nothing any more; `None` if it still is, or always
    /// was.
    pub(crate) fn outdated(&self, subject: &str) -> Option<String> {
        let (known, became) = self.became(subject)?;
        match became {
            (Some(new), _) if new.digest == known => None,
            (Some(_), _) => Some(format!("it is about {subject}, which was written anew")),
            (None, _) => Some(format!("it is about {subject}, which was not wanted")),
        }
    }

    /// Converts what is about `subject` by its tag. It is no image, whatever its documents look
    /// like: it is copied, or left behind with what it is about.
    pub(crate) fn tagged(
        &mut self,
        subject: &str,
        root: &SourceRoot<'_>,
    ) -> Result<(Option<Child>, Vec<ImageOutcome>)> {
        if let Some(why) = self.outdated(subject) {
            self.left_behind
                .lose(root.tagged_field(), LossKind::Dropped, why);
            return Ok((None, Vec::new()));
        }
        match &*root.node {
            Node::Opaque { opaque, child } => {
                let opaque = Opaque {
                    image: false,
                    ..opaque.clone()
                };
                self.opaque(&opaque, child, root)
            }
            Node::Image(_) | Node::Index { .. } => self.document(&root.node, None, root),
        }
    }

    pub(crate) fn opaque(
        &mut self,
        opaque: &Opaque,
        child: &Child,
        root: &SourceRoot<'_>,
    ) -> Result<(Option<Child>, Vec<ImageOutcome>)> {
        let layers = &self.options.layers;
        let kind = match &opaque.document {
            Some(document) => &document.kind,
            None => &child.kind,
        };
        // Who names a format gets no document of another.
        let foreign = self.asked && family_of(kind).is_some_and(|family| family != self.family());
        let held = self.capabilities.opaque && !foreign;
        if !held && !opaque.image {
            let field = format!("{} {}", opaque.what, child.digest);
            let why = match foreign {
                true => format!(
                    "it is of type {kind}, which is none of {}",
                    self.target.id()
                ),
                false => format!("{} can't hold what is no image", self.target.id()),
            };
            self.left_behind.lose(field, LossKind::Dropped, why);
            return Ok((None, Vec::new()));
        }
        let changes = layers.squash.is_some()
            || layers.compression.is_some()
            || layers.force
            || layers.clamp_mtime.is_some();
        if opaque.image && (changes || !held) {
            let (message, hint) = match foreign {
                true => (
                    format!(
                        "{} can be copied and not converted to {}",
                        opaque.what,
                        self.target.id()
                    ),
                    "without a format of the destination it is copied as it is",
                ),
                false => (
                    format!("{} can be copied and not changed", opaque.what),
                    "`convert` without options for layers copies it",
                ),
            };
            return Err(Error::new(Code::Unsupported, message)
                .at(child.digest.to_string())
                .hint(hint));
        }
        let outcome = ImageOutcome {
            format: self.target.id().to_string(),
            digest: Some(child.digest.to_string()),
            source_digest: Some(child.digest.to_string()),
            ..ImageOutcome::default()
        };
        if let Some(why) = opaque
            .subject
            .and_then(|subject| self.outdated(&subject.to_string()))
        {
            let field = format!("{} {}", opaque.what, child.digest);
            self.left_behind.lose(field, LossKind::Dropped, why);
            return Ok((None, Vec::new()));
        }
        let mut child = child.clone();
        if let Some((sink, sealer)) = self.destination {
            // Before the blobs: what is of an unknown type is one of them too.
            if let Some(document) = &opaque.document {
                write_document(sink, document, child.digest.algorithm())?;
            }
            for blob in &opaque.blobs {
                if !(opaque.document.is_some() && blob.digest == child.digest) {
                    let blob = find_blob(root.bundle, blob, &self.env.limits)?;
                    sealer.copy(&blob, self.env)?;
                }
            }
        }
        if child.kind.is_empty() {
            child.kind.clone_from(kind);
        }
        Ok((Some(child), vec![outcome]))
    }

    /// The family of the documents that are written, as [`family_of`] calls it.
    fn family(&self) -> &'static str {
        let kind = self.capabilities.root_kinds.first();
        kind.and_then(|kind| family_of(kind)).unwrap_or("docker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_say_what_it_is_about() {
        let hex = "ab".repeat(32);
        let about = subject_of_tag;
        for suffix in [".sig", ".att", ".sbom", ""] {
            let tag = format!("sha256-{hex}{suffix}");
            assert_eq!(about(&tag), Some(format!("sha256:{hex}")), "{tag}");
        }
        // K02: the tag of a longer digest holds its start.
        assert_eq!(
            about(&format!("sha512-{hex}")),
            Some(format!("sha512:{hex}"))
        );
        let whole = format!("sha512:{hex}{hex}");
        assert_eq!(about(&format!("sha512-{hex}{hex}.sig")), Some(whole));
        let long = format!("sha512-{}", "A".repeat(64));
        assert_eq!(about(&long), None);
        for tag in ["latest", "sha256-ab.sig", "3.11-alpine", "sha256-.sig"] {
            assert_eq!(about(tag), None, "{tag}");
        }
    }
}
