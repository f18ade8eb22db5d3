//! The part of a [`Run`](crate::run::Run) that writes what holds other documents, or is no image:
//! indexes, several platforms of one name, artifacts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_model::{
    Child, Code, Digest, Error, Index, Name, Opaque, Outcome as LossKind, Report, Result,
};
use imgconv_pipeline::write_document;
use imgconv_wire::{Object, join};

use crate::{
    nearest::{repeated, warn_second},
    options::Missing,
    outcome::ImageOutcome,
    run::{Item, Run, SourceRoot, platform_of},
    source::Node,
};

/// Reads what a tag is about: `sha256-HEX.sig`, `.att` or `.sbom` as cosign names what it signs, or
/// `sha256-HEX` alone (distribution-spec, "Referrers Tag Schema").
pub(crate) fn subject_of_tag(tag: &str) -> Option<Digest> {
    let stem = [".sig", ".att", ".sbom"]
        .iter()
        .find_map(|suffix| tag.strip_suffix(suffix))
        .unwrap_or(tag);
    let (algorithm, hex) = stem.split_once('-')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

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
                let images: Vec<_> = group.into_iter().flat_map(|item| item.images).collect();
                return Err(self.one_platform(&images));
            }
            let children: Vec<Child> = group
                .iter()
                .map(|item| item.publication.root.clone())
                .collect();
            let document = self.target.encode_index(&children, None)?;
            let mut publication = group[0].publication.clone();
            publication.root = self.store(&document)?;
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
                if subject.is_some() != late {
                    continue;
                }
                // What is about an image goes with that image.
                let unwanted = subject.is_none()
                    && listed
                        .platform
                        .as_ref()
                        .is_some_and(|p| !p.os.is_empty() && !self.wanted(p));
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
                    if self.wanted(&platform) && !converted.contains_key(&listed.digest) {
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
                *slot = new.map(|new| Child {
                    platform: listed.platform.clone().or(new.platform),
                    annotations: listed.annotations.clone(),
                    raw: listed.raw.clone(),
                    ..new
                });
            }
        }
        let kept: Vec<Child> = kept.into_iter().flatten().collect();
        if kept.is_empty() {
            return Ok((None, Vec::new()));
        }
        match images.first_mut() {
            Some(first) => first.add_report(report),
            None => self.left_behind.merge(report),
        }
        if !self.capabilities.index {
            let [one] = &kept[..] else {
                return Err(self.one_platform(&images));
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
        let document = self.target.encode_index(&kept, Some(index))?;
        let stored = self.store(&document)?;
        self.preserve_index(child, Some(&stored))?;
        Ok((Some(stored), images))
    }

    /// The error for several platforms where the target can hold one.
    fn one_platform(&self, images: &[ImageOutcome]) -> Error {
        let there: Vec<&str> = images
            .iter()
            .filter_map(|i| i.platform.as_deref())
            .collect();
        let target = self.target.id();
        let message = format!(
            "there are {} platforms and {target} can hold one",
            there.len().max(2)
        );
        Error::new(Code::Ambiguous, message).hint(format!(
            "choose one with `--platform`: {}",
            there.join(", ")
        ))
    }

    /// Reports what only an index itself says, where none is written.
    pub(crate) fn lose_index(&self, index: &Index, report: &mut Report) -> Result<()> {
        let value = imgconv_wire::parse(&index.document.bytes, &self.env.limits, "index")?;
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
        match self.memo.get(&subject) {
            Some((Some(child), _)) if child.digest == subject => true,
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

    /// Says why what is about `subject` is about nothing any more; `None` if it still is, or always
    /// was.
    fn outdated(&self, subject: Digest) -> Option<String> {
        match self.memo.get(&subject)? {
            (Some(new), _) if new.digest == subject => None,
            (Some(_), _) => Some(format!("it is about {subject}, which was written anew")),
            (None, _) => Some(format!("it is about {subject}, which was not wanted")),
        }
    }

    /// Converts what is about `subject` by its tag. It is no image, whatever its documents look
    /// like: it is copied, or left behind with what it is about.
    pub(crate) fn tagged(
        &mut self,
        subject: Digest,
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
        if !self.capabilities.opaque && !opaque.image {
            let field = format!("{} {}", opaque.what, child.digest);
            let why = format!("{} can't hold what is no image", self.target.id());
            self.left_behind.lose(field, LossKind::Dropped, why);
            return Ok((None, Vec::new()));
        }
        let changes = layers.squash.is_some()
            || layers.compression.is_some()
            || layers.force
            || layers.clamp_mtime.is_some();
        if opaque.image && (changes || !self.capabilities.opaque) {
            let message = format!("{} can be copied and not changed", opaque.what);
            return Err(Error::new(Code::Unsupported, message)
                .at(child.digest.to_string())
                .hint("`convert` without options for layers copies it"));
        }
        let outcome = ImageOutcome {
            format: self.target.id().to_string(),
            digest: Some(child.digest.to_string()),
            source_digest: Some(child.digest.to_string()),
            ..ImageOutcome::default()
        };
        if let Some(why) = opaque.subject.and_then(|subject| self.outdated(subject)) {
            let field = format!("{} {}", opaque.what, child.digest);
            self.left_behind.lose(field, LossKind::Dropped, why);
            return Ok((None, Vec::new()));
        }
        if let Some((sink, sealer)) = self.destination {
            for blob in &opaque.blobs {
                sealer.copy(&root.bundle.blob(&blob.facts())?, self.env)?;
            }
            write_document(sink, &opaque.document)?;
        }
        Ok((Some(child.clone()), vec![outcome]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_say_what_it_is_about() {
        let hex = "ab".repeat(32);
        let about = |tag: &str| subject_of_tag(tag).map(|digest| digest.to_string());
        for suffix in [".sig", ".att", ".sbom", ""] {
            let tag = format!("sha256-{hex}{suffix}");
            assert_eq!(about(&tag), Some(format!("sha256:{hex}")), "{tag}");
        }
        for tag in ["latest", "sha256-ab.sig", "3.11-alpine", "sha256-.sig"] {
            assert_eq!(about(tag), None, "{tag}");
        }
    }
}
