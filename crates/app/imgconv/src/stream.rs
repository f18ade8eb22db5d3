//! The part of a [`Run`](crate::run::Run) that writes images as single streams: ACIs.

use std::{
    collections::{BTreeSet, btree_map::Entry},
    sync::atomic::Ordering,
};

use imgconv_format_aci::{FORMAT, IMAGE_ID, identifier, manifest, platform};
use imgconv_layer::Semantics;
use imgconv_manifest::describes_compression;
use imgconv_model::{
    Algorithm, Blob, BundleSink, Child, Code, Compression, Digest, Env, Error, Event, Image, Name,
    Notes, Open, Outcome as LossKind, Publication, Reader, Report, Result, quote,
};
use imgconv_pipeline::{Options as LayerOptions, squash};
use imgconv_stream::{Decoder, Encoding, Level, encode};

use crate::{
    descriptors,
    names::digest_as_version,
    nearest::{second_matches, warn_second},
    outcome::ImageOutcome,
    policy::digests_change,
    run::{Item, Run, SourceRoot, images, nothing, platform_of, squash_layers, walk},
    source::{AciPart, ImageNode, Node},
    spec::spec_of,
    stack, tags,
    users::group_of_user,
};

impl Run<'_> {
    /// Converts every image below the roots to a stream of its own.
    pub(crate) fn streams(&mut self, roots: &[SourceRoot<'_>]) -> Result<Vec<Item>> {
        self.check_compression()?;
        if self.options.preserve_digests {
            let what = "the manifest, the config and the layers (an ACI has its own)";
            return Err(digests_change(what));
        }
        let mut items = Vec::new();
        for root in roots {
            let before = items.len();
            self.root(root, &mut items)
                .map_err(|error| error.at(&*root.text))?;
            for image in items[before..].iter_mut().flat_map(|item| &mut item.images) {
                image.source.clone_from(&root.text);
            }
        }
        Ok(items)
    }

    fn root(&mut self, root: &SourceRoot<'_>, items: &mut Vec<Item>) -> Result<()> {
        if root.tagged_subject().is_some() && !matches!(&*root.node, Node::Image(_)) {
            let why = "an ACI can't hold what is no image";
            self.left_behind
                .lose(root.tagged_field(), LossKind::Dropped, why);
            return Ok(());
        }
        self.leave_behind(&root.node)?;
        let identity = match self.options.image_tags {
            true => tags::identity(&root.node, &self.env.limits),
            false => None,
        };
        let mut found: Vec<(&ImageNode, Option<&Child>)> = Vec::new();
        let mut known = BTreeSet::new();
        images(&root.node, None, &mut |node, listed| {
            let wanted = self.wanted(&spec_of(node, listed));
            if wanted && known.insert(std::ptr::from_ref(node)) {
                found.push((node, listed));
            }
        });
        if self.one_file && !self.options.platforms.is_empty() {
            let second = second_matches(&root.node);
            let second: BTreeSet<*const ImageNode> =
                second.into_iter().map(std::ptr::from_ref).collect();
            found.retain(|(node, listed)| {
                let first = !second.contains(&std::ptr::from_ref(*node));
                if !first {
                    let platform = platform_of(node, *listed);
                    warn_second(&mut self.left_behind, &root.text, node, &platform);
                }
                first
            });
        }
        for (node, listed) in found {
            let mut report = node.report.clone();
            let mut image = node.image.clone();
            image.platform = platform_of(node, listed);
            let digest = node.child.as_ref().map(|child| child.digest);
            self.foreign(&mut image, &root.place, &mut report)?;
            lose_descriptors(&image, &mut report);
            for field in root.bundle.duplicate_listings(&root.entry) {
                report.lose(format!("index.{field}"), LossKind::Dropped, NO_DESCRIPTORS);
            }
            for listed in [root.entry.child.as_ref(), listed].into_iter().flatten() {
                descriptors::lose(listed, NO_DESCRIPTORS, self.env, &mut report)?;
            }
            self.assume_platform(&mut image);
            let name = self.name(root, &image, digest, &mut report)?;
            let repository = name.repository.clone();
            let tag = self.name_of(root)?;
            let tag = tag.and_then(|name| name.tag);
            image.name = Some(name);
            if let Some(identity) = &identity {
                if let (Some(repository), Some(tag)) = (&repository, tag) {
                    self.tagged
                        .push((repository.clone(), tag, identity.clone()));
                }
                // Other tags of one image are the same ACI: those of one manifest, and those of
                // manifests that have a config, and with it the image ID, in common.
                let annotations = node.image.annotations.clone();
                if let Some(digest) = digest {
                    let config = node.config_digest(&self.env.limits).unwrap_or(digest);
                    let key = (repository, identity.clone(), config);
                    match self.streamed.entry(key) {
                        Entry::Vacant(entry) => drop(entry.insert((digest, annotations))),
                        Entry::Occupied(entry) => {
                            let (first, said) = entry.get();
                            if *first != digest && *said != annotations {
                                let why = format!(
                                    "it is the same image as {first}, by its image ID, and the ACI \
                                     says what that manifest says of itself"
                                );
                                let field = format!("manifest {digest} annotations");
                                self.left_behind.lose(field, LossKind::Dropped, why);
                            }
                            continue;
                        }
                    }
                }
                let own = kept_name(&image, self.env);
                tags::identify(&mut image, own.as_ref(), identity);
            }
            if self.options.no_squash && image.layers.len() > 1 {
                items.extend(stack::unsquashed(self, node, &image, report)?);
            } else {
                items.push(self.squashed(node, image, report)?);
            }
        }
        Ok(())
    }

    /// Reports what is no image, and what is missing; an image with layers that are no tars is an
    /// error.
    fn leave_behind(&mut self, node: &Node) -> Result<()> {
        let mut all = Vec::new();
        walk(node, None, &mut |node, _| all.push(node));
        all.into_iter()
            .try_for_each(|node| self.leave_one_behind(node))
    }

    fn leave_one_behind(&mut self, node: &Node) -> Result<()> {
        match node {
            Node::Image(_) => Ok(()),
            Node::Index {
                index,
                child,
                children,
            } => {
                let place = format!("index {}", child.digest);
                let mut report = Report::default();
                self.lose_index(index, &mut report)?;
                for (listed, child) in index.children.iter().zip(children) {
                    if child.is_none() {
                        self.missing(listed, &place, &mut report)?;
                    }
                }
                self.left_behind.merge(report);
                Ok(())
            }
            Node::Opaque { opaque, child } if opaque.image => {
                let message = format!("{} can be copied and not converted", opaque.what);
                Err(Error::new(Code::Unsupported, message).at(child.digest.to_string()))
            }
            Node::Opaque { opaque, child } => {
                let field = format!("{} {}", opaque.what, child.digest);
                let why = "an ACI can't hold what is no image";
                self.left_behind.lose(field, LossKind::Dropped, why);
                Ok(())
            }
        }
    }

    /// Writes one image with all its layers merged; one that is an ACI already, and of which nothing
    /// was asked, as it is.
    fn squashed(&self, node: &ImageNode, mut image: Image, report: Report) -> Result<Item> {
        if let Some(aci) = self.unchanged(node, &image) {
            return self.kept(node, aci, &image, report);
        }
        let env = &Env {
            notes: node.notes.clone(),
            ..self.env.clone()
        };
        let mut report = report;
        let (merged, group) = match self.destination {
            Some(_) => {
                let layers = self.clamped(&image.layers, env)?;
                let merged = squash(&layers, semantics(node), env)?;
                let group = group_of_user(&image, &merged, env, &mut report)?;
                (merged.into_layer(), group)
            }
            None => (nothing(), None),
        };
        squash_layers(&mut image, 0, merged);
        self.one(node, &image, group, report)
    }

    /// Writes one image of one layer. `group` is that of a user that the image names without one.
    pub(crate) fn one(
        &self,
        node: &ImageNode,
        image: &Image,
        group: Option<u32>,
        report: Report,
    ) -> Result<Item> {
        let written = self.one_with_id(node, image, group, report);
        written.map(|(item, _)| item)
    }

    /// Writes one image of one layer; returns its image ID too, unless this is a prediction.
    pub(crate) fn one_with_id(
        &self,
        node: &ImageNode,
        image: &Image,
        group: Option<u32>,
        mut report: Report,
    ) -> Result<(Item, Option<Digest>)> {
        let env = &Env {
            notes: node.notes.clone(),
            ..self.env.clone()
        };
        let format = self.target.stream();
        let format = format.expect("streams are written in a format of streams");
        let open = format.encode(image, group, env, &mut report)?;
        let written = match self.destination {
            Some((sink, _)) => Some(self.compress(&*open, &self.encoding(), sink, image, env)?),
            None => None,
        };
        report.merge(env.notes.snapshot());
        let plan = format!("squash {} layers to one", node.image.layers.len());
        Ok(self.item(node, image, written, plan, report))
    }

    /// An image that is an ACI, if nothing of it is to change: perhaps but its compression.
    fn unchanged<'n>(&self, node: &'n ImageNode, image: &Image) -> Option<&'n AciPart> {
        let layers = LayerOptions {
            compression: None,
            level: Level::default(),
            force: false,
            ..self.options.layers
        };
        let same = image.name == node.image.name && image.platform == node.image.platform;
        let aci = node.aci.as_ref()?;
        (same && layers == LayerOptions::default() && !self.options.image_tags).then_some(aci)
    }

    /// Writes an ACI as it is stored, or its tar in another compression: its image ID stays.
    fn kept(
        &self,
        node: &ImageNode,
        aci: &AciPart,
        image: &Image,
        mut report: Report,
    ) -> Result<Item> {
        let env = &Env {
            notes: node.notes.clone(),
            ..self.env.clone()
        };
        let written = match self.destination {
            None => None,
            Some((sink, _)) => {
                let name = image.name.clone().unwrap_or_default().to_string();
                // All of it is looked at, as if it were made anew.
                let id = aci.read_to_end(&name, env)?;
                let stored = aci.blob.bytes.as_ref();
                let written = match self.options.layers.compression {
                    None => {
                        let encoding = Encoding {
                            compression: Compression::None,
                            level: Level::default(),
                        };
                        let copied = self.compress(stored, &encoding, sink, image, env)?;
                        (copied.0, copied.1, id)
                    }
                    Some(_) => {
                        let tar = Unpacked {
                            blob: aci.blob.clone(),
                            env: env.clone(),
                        };
                        self.compress(&tar, &self.encoding(), sink, image, env)?
                    }
                };
                if written.2 != id {
                    let (expected, found) = (id.image_id(), written.2.image_id());
                    return Err(Error::mismatch("the image ID", expected, found));
                }
                Some(written)
            }
        };
        report.merge(env.notes.snapshot());
        let plan = match self.options.layers.compression {
            None => "keep the file".to_owned(),
            Some(compression) => format!("recompress the file as {compression}"),
        };
        Ok(self.item(node, image, written, plan, report).0)
    }

    /// Tells of an image that was written as a stream: the digest and size of the file, and the image
    /// ID; or that would be.
    fn item(
        &self,
        node: &ImageNode,
        image: &Image,
        written: Option<(Digest, u64, Digest)>,
        plan: String,
        report: Report,
    ) -> (Item, Option<Digest>) {
        let name = image.name.clone().unwrap_or_default();
        let mut outcome = ImageOutcome {
            name: Some(name.to_string()),
            format: self.target.id().to_string(),
            platform: Some(image.platform.to_string()),
            source_digest: node.child.as_ref().map(|child| child.digest.to_string()),
            source_config: node
                .config_digest(&self.env.limits)
                .map(|it| it.to_string()),
            ..ImageOutcome::default()
        };
        let mut root = Child {
            kind: String::new(),
            digest: Digest::new(Algorithm::Sha256, &[0; 32]),
            size: 0,
            platform: Some(image.platform.clone()),
            annotations: std::collections::BTreeMap::new(),
            raw: String::new(),
        };
        let mut id = None;
        if let Some((digest, size, image_id)) = written {
            (root.digest, root.size) = (digest, size);
            outcome.digest = Some(digest.to_string());
            outcome.image_id = Some(image_id.image_id());
            id = Some(image_id);
        } else {
            outcome.plan = Some(plan);
        }
        outcome.add_report(report);
        let file_name = Some(file_name(image));
        let publication = Publication {
            root,
            name: Some(name),
            reference: None,
            file_name,
        };
        let images = vec![outcome];
        (
            Item {
                publication,
                images,
            },
            id,
        )
    }

    /// Writes a stream; returns the digest and size of the file and the hash of the stream, which is
    /// the image ID of a tar.
    fn compress(
        &self,
        open: &dyn Open,
        encoding: &Encoding,
        sink: &dyn BundleSink,
        image: &Image,
        env: &Env,
    ) -> Result<(Digest, u64, Digest)> {
        let id = env.next_id.fetch_add(1, Ordering::Relaxed);
        let what = image.name.clone().unwrap_or_default().to_string();
        env.progress.event(Event::Begin {
            id,
            what: &what,
            bytes: None,
        });
        let mut source = open.open()?;
        let mut writer = sink.writer()?;
        let hash = [Algorithm::Sha512];
        let encoded = encode(
            &mut *source,
            &mut writer,
            encoding,
            &hash,
            self.pool,
            env,
            id,
        );
        env.progress.event(Event::End { id });
        let encoded = encoded?;
        writer.finish(&encoded.digest, encoded.size)?;
        Ok((encoded.digest, encoded.size, encoded.content[0]))
    }

    fn check_compression(&self) -> Result<()> {
        let possible = self.capabilities.compressions;
        if self.options.layers.toc {
            let message = "an ACI has no place for a table of contents";
            return Err(Error::new(Code::Unsupported, message)
                .hint("OCI has one: write to `oci:PATH` or `oci-archive:PATH`"));
        }
        match self.options.layers.compression {
            Some(wanted) if !possible.contains(&wanted) => {
                let names: Vec<String> = possible.iter().map(ToString::to_string).collect();
                let message = format!("an ACI can't be compressed with {wanted}");
                Err(Error::new(Code::Unsupported, message)
                    .hint(format!("it can be: {}", names.join(", "))))
            }
            _ => self.encoding().check(),
        }
    }

    /// How the one stream is compressed.
    fn encoding(&self) -> Encoding {
        let layers = &self.options.layers;
        Encoding {
            compression: layers.compression.unwrap_or(Compression::Gzip),
            level: layers.level,
        }
    }

    /// The name of an ACI: what the user gave, what the place or the image says, else the file
    /// name of the place, which is reported.
    fn name(
        &self,
        root: &SourceRoot<'_>,
        image: &Image,
        digest: Option<Digest>,
        report: &mut Report,
    ) -> Result<Name> {
        if let Some(mut name) = self.given_name()?.or_else(|| root.renamed.clone()) {
            // In a migration this has the host already.
            digest_as_version(&mut name, report);
            return Ok(name);
        }
        // Fails if what the place says is no name.
        root.name()?;
        let mut name = self.known_name(root, image, digest, report);
        if let (Some(host), Some(repository)) = (&self.options.host, &mut name.repository) {
            *repository = on_host(repository, host);
        }
        match self.options.image_tags {
            // The label `dockerimageid` tells it from the others of its name.
            true => name.digest = None,
            false => digest_as_version(&mut name, report),
        }
        Ok(name)
    }

    /// The name that is known without the user.
    fn known_name(
        &self,
        root: &SourceRoot<'_>,
        image: &Image,
        digest: Option<Digest>,
        report: &mut Report,
    ) -> Name {
        let own = kept_name(image, self.env).or_else(|| image.name.clone());
        let listed = root.entry.name.clone();
        match (own, listed) {
            (Some(own), None) => own,
            // The ACI's own spelling, if the reference is still what became of it.
            (Some(own), Some(listed)) if same_name(&own, &listed) => own,
            (_, Some(listed)) if listed.repository.is_some() => listed,
            // Tagged anew: the repository is still what it was.
            (
                Some(Name {
                    repository: Some(repository),
                    ..
                }),
                Some(listed),
            ) => Name {
                repository: Some(repository),
                tag: listed.tag,
                digest: listed.digest,
            },
            (_, listed) => {
                let repository = sanitised_file_name(&root.place);
                let why = format!(
                    "the source names no repository; it is {}",
                    quote(&repository)
                );
                report.lose("name", LossKind::Synthesised, why);
                let tag = listed.and_then(|name| name.tag).or_else(|| {
                    if self.options.image_tags {
                        return None;
                    }
                    // Images without any name must not all get the same (robustness C8d).
                    let tag = digest?.hex()[..12].to_owned();
                    let why = format!("the source names no tag; it is {}", quote(&tag));
                    report.lose("tag", LossKind::Synthesised, why);
                    Some(tag)
                });
                Name {
                    repository: Some(repository),
                    tag,
                    digest: None,
                }
            }
        }
    }
}

/// The tar of an ACI.
#[derive(Debug)]
struct Unpacked {
    blob: Blob,
    env: Env,
}

impl Open for Unpacked {
    fn open(&self) -> Result<Reader> {
        let stored = self.blob.open()?;
        let (limits, notes) = (&self.env.limits, &self.env.notes);
        Ok(Box::new(Decoder::new(stored, limits, notes, "the ACI")?))
    }
}

const NO_DESCRIPTORS: &str = "an ACI has no descriptors";

/// Reports what only the descriptors of layers say.
fn lose_descriptors(image: &Image, report: &mut Report) {
    let mut lose = |field: String| report.lose(field, LossKind::Dropped, NO_DESCRIPTORS);
    for (i, layer) in image.layers.iter().enumerate() {
        let keys = layer.annotations.keys();
        for key in keys.filter(|key| !describes_compression(key)) {
            lose(format!("layers.{i}.annotations.{key}"));
        }
        if !layer.urls.is_empty() {
            lose(format!("layers.{i}.urls"));
        }
    }
}

/// A repository at another host.
pub(crate) fn on_host(repository: &str, host: &str) -> String {
    let path = match repository.split_once('/') {
        Some((own, path)) if own.contains(['.', ':']) || own == "localhost" => path,
        _ => repository,
    };
    format!("{host}/{path}")
}

/// The last part of a path without what says that it is an archive, as the name of an ACI.
fn sanitised_file_name(place: &str) -> String {
    let base = std::path::Path::new(place)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let suffixes = [".gz", ".zst", ".xz", ".bz2", ".tgz", ".tar", ".aci", ".oci"];
    let stem = suffixes.iter().fold(base, |base, suffix| {
        base.strip_suffix(suffix).unwrap_or(base)
    });
    identifier::sanitise(stem).unwrap_or_else(|| "image".to_owned())
}

/// The name in the ACI manifest that was kept when an ACI became this image.
fn kept_name(image: &Image, env: &Env) -> Option<Name> {
    let kept = image
        .originals
        .iter()
        .find(|kept| kept.format == FORMAT && kept.role == "manifest")?;
    let manifest = manifest::parse(&kept.document.bytes, &env.limits, &Notes::default()).ok()?;
    let tag = manifest.label("version").map(str::to_owned);
    Some(Name {
        repository: Some(manifest.name),
        tag,
        digest: None,
    })
}

/// Says whether a reference is what an ACI's name and version become.
fn same_name(own: &Name, listed: &Name) -> bool {
    let mut ignored = Report::default();
    let tag = || own.to_tag(&mut Report::default());
    match &listed.repository {
        Some(_) if listed.is_by_digest() => false,
        Some(_) => own.to_reference(&mut ignored) == listed.to_reference(&mut Report::default()),
        None => listed.tag.as_deref() == Some(&*tag()),
    }
}

/// How the layers of an image are stacked.
pub(crate) fn semantics(node: &ImageNode) -> Semantics {
    if node.child.is_none() {
        Semantics::Aci
    } else if node.image.platform.os.eq_ignore_ascii_case("windows") {
        Semantics::Windows
    } else {
        Semantics::Layer
    }
}

/// `NAME-VERSION-OS-ARCH.aci`, in the words of the ACI's labels; `dockerimageid` stands where the
/// version does.
pub(crate) fn file_name(image: &Image) -> String {
    let name = image.name.clone().unwrap_or_default();
    let (os, arch) = platform::to_labels(&image.platform).unwrap_or_default();
    let image_id = image.annotations.get(IMAGE_ID).cloned();
    let parts = [name.repository, name.tag, image_id, os, arch];
    let parts: Vec<String> = parts
        .iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .map(|part| file_token(part))
        .collect();
    let mut stem = parts.join("-");
    if stem.starts_with('.') {
        stem.replace_range(..1, "-");
    }
    format!("{stem}.aci")
}

/// A text as a part of a file name: `/`, and what a shell or another system could misread, is `-`.
pub(crate) fn file_token(text: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || "._-+~".contains(c);
    text.chars()
        .map(|c| if valid(c) { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgconv_model::Platform;

    #[test]
    fn a_file_is_named_by_name_version_and_labels() {
        let mut image = Image {
            name: Some(Name {
                repository: Some("example.com/a/app".into()),
                tag: Some("1.0+x".into()),
                digest: None,
            }),
            platform: Platform::new("linux", "arm64"),
            ..Image::default()
        };
        assert_eq!(
            file_name(&image),
            "example.com-a-app-1.0+x-linux-aarch64.aci"
        );
        image.name = Some(Name {
            repository: Some("app".into()),
            ..Name::default()
        });
        image.platform = Platform::new("linux", "amd64");
        assert_eq!(file_name(&image), "app-linux-amd64.aci");
    }

    #[test]
    fn a_reference_finds_back_to_the_name_it_came_from() {
        let name = |repository: Option<&str>, tag: Option<&str>| Name {
            repository: repository.map(str::to_owned),
            tag: tag.map(str::to_owned),
            digest: None,
        };
        let own = name(Some("busybox"), None);
        assert!(same_name(
            &own,
            &name(Some("docker.io/library/busybox"), Some("latest"))
        ));
        assert!(same_name(&own, &name(None, Some("latest"))));
        assert!(!same_name(
            &own,
            &name(Some("example.com/busybox"), Some("latest"))
        ));
    }
}
