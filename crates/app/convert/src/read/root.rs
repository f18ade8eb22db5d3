//! One entry of a source with everything below it: a root of a conversion.

use std::sync::Arc;

use imgconv_format_aci::DOCKER_IMAGE_ID;
use imgconv_model::{Bundle, Digest, Env, Name, Opaque, Report, Result, RootEntry};

use super::{
    cosign::{self, Signed},
    node::Node,
    source::Source,
    spec::spec_of,
    unknown::is_blob,
};

/// An entry of a source, decoded.
#[derive(Debug)]
pub struct SourceRoot<'a> {
    /// The entry for messages.
    pub text: String,
    /// The path of the place.
    pub place: String,
    /// The place of the root.
    pub bundle: &'a dyn Bundle,
    /// The part of the place that holds the entry, if the place is made of several.
    part: Option<Arc<dyn Bundle>>,
    /// The entry.
    pub entry: RootEntry,
    /// The new name, if a rule renames the root.
    pub renamed: Option<Name>,
    /// The image that the root is about, if the list of a layout names it, see [`cosign`].
    pub signed: Option<Digest>,
    /// The decoded root.
    pub node: Arc<Node>,
}

impl<'a> SourceRoot<'a> {
    /// Describes a decoded entry of a source.
    pub fn new(source: &'a Source, entry: &RootEntry, node: Arc<Node>) -> Self {
        Self {
            text: source.entry_text(entry),
            place: source.location.clone(),
            bundle: &*source.bundle,
            // An error of the part was returned when the entry was decoded.
            part: source
                .part(source.listed(entry))
                .ok()
                .flatten()
                .map(|(part, _)| part),
            entry: entry.clone(),
            renamed: None,
            signed: None,
            node,
        }
    }

    /// Finds the image that the root is about, if the list of a layout names it.
    ///
    /// # Errors
    /// If the signed text can't be read.
    pub fn find_signed(&mut self, known: &mut Signed, env: &Env) -> Result<()> {
        let found = known.subject(&self.entry, &self.node, self.bundle, env);
        self.signed = found.map_err(|error| error.at(&*self.text))?;
        Ok(())
    }
}

impl SourceRoot<'_> {
    /// The root's new name, or the name that the place or the image itself gives; an error if the
    /// place's name is invalid.
    pub(crate) fn name(&self) -> Result<Option<Name>> {
        self.known_name(false)
    }

    /// The same for a `reference`: where only the label `dockerimageid` distinguishes an
    /// image from others of its name, as on a site with image tags, the start of the label's value
    /// replaces the tag. As `latest`, each image would replace the one before it.
    pub fn known_name(&self, reference: bool) -> Result<Option<Name>> {
        if self.renamed.is_some() {
            return Ok(self.renamed.clone());
        }
        if let Some(error) = self.bundle.bad_name(&self.entry) {
            return Err(error.hint("`--name REFERENCE` gives the image another name"));
        }
        let own = || {
            let mut name = self.node.as_image()?.image.name.clone()?;
            if name.tag.is_none() {
                let fetched = self.bundle.fetched();
                name.tag = fetched.and_then(|fetched| fetched.tag.clone());
            }
            if name.tag.is_none() && reference {
                name.tag = self.image_id_as_tag();
            }
            Some(name)
        };
        Ok(self.entry.name.clone().or_else(own))
    }

    /// The tag of an ACI that has no version and was not requested by a tag.
    pub(crate) fn image_id_as_tag(&self) -> Option<String> {
        let aci = self.node.aci().filter(|_| self.entry.name.is_none())?;
        let is_known = aci.manifest.label("version").is_some()
            || self.bundle.fetched().is_some_and(|it| it.tag.is_some());
        let id = aci.manifest.label(DOCKER_IMAGE_ID).filter(|_| !is_known)?;
        let start: String = id.chars().take(12).collect();
        Some(start).filter(|tag| Name::is_tag(tag))
    }

    /// The subject that only the tag or the entry names: the text of a digest, or its start.
    pub fn tagged_subject(&self) -> Option<String> {
        let tag = || subject_of_tag(self.entry.tag()?);
        self.signed.map(|digest| digest.to_string()).or_else(tag)
    }

    /// Says whether the root is no image, and its tag or its entry names the image that it is about: a list of referrers,
    /// or a document of cosign.
    pub fn is_tagged_document(&self) -> bool {
        self.tagged_subject().is_some() && !matches!(&*self.node, Node::Image(_))
    }

    /// The name of a document with a subject in its tag or its entry, for reports.
    pub(crate) fn tagged_field(&self) -> String {
        let field = self.signed.and_then(|_| cosign::field(&self.entry));
        field.unwrap_or_else(|| {
            let name = self.entry.name.as_ref();
            format!("tag {}", name.map_or_else(String::new, reference_text))
        })
    }

    /// The place that holds the root's blobs.
    pub fn holder(&self) -> &dyn Bundle {
        self.part.as_deref().unwrap_or(self.bundle)
    }

    /// Says whether the root is a referrer, which is found by way of its subject, or a blob of an
    /// unknown type. A name never means such a root.
    pub(crate) fn is_referrer(&self) -> bool {
        let aside = |opaque: &Opaque, child| opaque.subject.is_some() || is_blob(opaque, child);
        self.signed.is_some()
            || matches!(&*self.node, Node::Opaque { opaque, child } if aside(opaque, child))
    }

    /// The platforms of all images below the root.
    pub fn platforms(&self) -> Vec<String> {
        let images = self.node.images();
        images
            .map(|(node, listed)| spec_of(node, listed).to_string())
            .collect()
    }
}

/// The most characters of a digest's encoded part in a tag (distribution-spec, "Referrers Tag
/// Schema").
const TAG_HEX: usize = 64;

/// Reads the subject in a tag: `sha256-HEX.sig`, `.att` or `.sbom`, the tags of cosign, or
/// `sha256-HEX` alone (distribution-spec, "Referrers Tag Schema"). Returns the text of the digest;
/// for a digest that is longer than a tag can hold, its start.
pub fn subject_of_tag(tag: &str) -> Option<String> {
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

/// The tag of the list of the referrers of a document (distribution-spec, "Referrers Tag Schema").
pub(super) fn list_tag(subject: &Digest) -> String {
    let hex: String = subject.hex().chars().take(TAG_HEX).collect();
    format!("{}-{hex}", subject.algorithm().as_str())
}

/// The printed form of a name: a reference where possible.
pub fn reference_text(name: &Name) -> String {
    name.to_full_reference(&mut Report::default())
        .unwrap_or_else(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_name_its_subject() {
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
