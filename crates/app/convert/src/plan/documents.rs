//! Planning for destinations that store documents: which roots and entries are written, and what
//! becomes of the layers of each image.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_manifest::family_of;
use imgconv_model::{
    Child, Code, Digest, Error, Format, FormatId, Image, Index, Opaque, PlatformSpec, Report,
    Result,
};
use imgconv_pipeline::Sealer;

use super::{
    data::{
        EntrySubject, Outputs, Plan, PlannedArtifact, PlannedEntry, PlannedImage, PlannedIndex,
        PlannedNode, PlannedRoot, PlannedWhole, What,
    },
    docker_record::{self, Archives, DockerRecords},
    foreign, reversal,
};
use crate::{
    choose::{
        platforms::{is_wanted, repeated, warn_second},
        request::Request,
    },
    options::Missing,
    read::{
        carried,
        docker_record::DockerRecord,
        node::{ImageNode, Node, platform_of},
        root::SourceRoot,
        spec::{spec_listed, spec_of},
        unknown::is_blob,
    },
};

/// Plans what becomes of roots at a destination that stores documents.
///
/// # Errors
/// If an image can't be written in the target format, or an option forbids it.
pub(super) fn plan<'s>(roots: &'s [SourceRoot<'s>], request: &Request<'_>) -> Result<Plan<'s>> {
    let mut planner = Planner {
        request,
        known: BTreeMap::new(),
        records: DockerRecords::of(roots, request),
        archives: Archives::default(),
    };
    let mut planned = Vec::new();
    let mut left_behind = Report::default();
    // A referrer comes after the documents that it may refer to.
    let is_late = |root: &SourceRoot<'_>| {
        root.tagged_subject().is_some()
            || root.node.subject().is_some()
            || matches!(&*root.node, Node::Opaque { .. })
    };
    for late in [false, true] {
        for (position, root) in roots.iter().enumerate() {
            if is_late(root) != late {
                continue;
            }
            if let Node::Opaque { opaque, child } = &*root.node
                && !request.place.has_descriptors()
                && is_blob(opaque, child)
            {
                let field = format!("{} {}", opaque.what, child.digest);
                let why = "the destination can list manifests only, not other blobs";
                left_behind.lose(field, imgconv_model::Outcome::Dropped, why);
                continue;
            }
            if root.tagged_subject().is_some() && planner.records.are_all_used(&root.node) {
                continue;
            }
            let is_used = matches!(&*root.node, Node::Opaque { child, .. } if planner.records.is_used(&child.digest));
            if roots.len() > 1 && !request.place.has_names() && is_about(root) && !is_used {
                let why = "the destination holds one image, and nothing about the image";
                if let (Node::Opaque { opaque, child }, None) = (&*root.node, root.tagged_subject())
                {
                    let field = format!("{} {}", opaque.what, child.digest);
                    let why = planner.records.why_not(&child.digest).unwrap_or(why);
                    let why = why.to_owned();
                    let (node, what) = (Arc::clone(&root.node), What::Lost { field, why });
                    planned.push(PlannedRoot {
                        root,
                        position,
                        about: None,
                        node: Arc::new(PlannedNode { node, what }),
                    });
                } else {
                    left_behind.lose(root.tagged_field(), imgconv_model::Outcome::Dropped, why);
                }
                continue;
            }
            let at = |error: Error| error.at(&*root.text);
            planned.push(PlannedRoot {
                root,
                position,
                about: root.tagged_subject(),
                node: planner.root(root).map_err(at)?,
            });
        }
    }
    planner.archives.check()?;
    Ok(Plan {
        outputs: Outputs::Documents(planned),
        left_behind,
        tagged: Vec::new(),
    })
}

/// Says whether a root is a document about an image, and no image itself.
fn is_about(root: &SourceRoot<'_>) -> bool {
    let subject = root.tagged_subject().is_some() || root.node.subject().is_some();
    subject && root.node.images().next().is_none()
}

/// The annotations of an index's entry that hold the digest of the image that the entry is about,
/// and what such an entry is.
const ABOUT: &[(&str, &str)] = &[
    ("vnd.docker.reference.digest", "attestation"),
    // A SOCI index of version 2 has no `subject`.
    ("com.amazon.soci.image-manifest-digest", "SOCI index"),
];

/// Returns the image that an entry of an index is about.
fn subject_of(listed: &Child) -> Option<EntrySubject> {
    ABOUT.iter().find_map(|&(key, what)| {
        let digest = listed.annotations.get(key)?.clone();
        Some(EntrySubject { what, digest })
    })
}

struct Planner<'r, 's> {
    request: &'r Request<'r>,
    /// The plan of each source document. Lists of archives can be alike and mean different images, so
    /// the node is compared too.
    known: BTreeMap<Digest, Arc<PlannedNode<'s>>>,
    /// The records of the old docker images that images were made of.
    records: DockerRecords<'s>,
    /// The docker archives of which records are kept.
    archives: Archives,
}

impl<'s> Planner<'_, 's> {
    fn root(&mut self, root: &'s SourceRoot<'s>) -> Result<Arc<PlannedNode<'s>>> {
        // A document that names its subject in its tag is no image, whatever its media type: the
        // document is copied, or left out.
        if let (Node::Opaque { opaque, child }, Some(_)) = (&*root.node, root.tagged_subject()) {
            let opaque = Opaque {
                image: false,
                ..opaque.clone()
            };
            let what = self.artifact(&opaque, child, root)?;
            let node = Arc::clone(&root.node);
            return Ok(Arc::new(PlannedNode { node, what }));
        }
        self.node(&root.node, None, root)
    }

    /// Plans a node and all nodes below it; the depth was bounded when the node was decoded.
    fn node(
        &mut self,
        node: &Arc<Node>,
        listed: Option<&Child>,
        root: &'s SourceRoot<'s>,
    ) -> Result<Arc<PlannedNode<'s>>> {
        let digest = node.root_digest();
        if let Some(known) = digest.and_then(|digest| self.known.get(&digest))
            && Arc::ptr_eq(&known.node, node)
        {
            return Ok(Arc::clone(known));
        }
        let what = match &**node {
            Node::Image(image) => {
                match is_wanted(&self.request.options.platforms, &spec_of(image, listed)) {
                    true => self.image(image, listed, root)?,
                    false => What::Unwanted,
                }
            }
            Node::Index {
                index,
                child,
                children,
            } => What::Index(self.index(index, child, children, root)?),
            Node::Opaque { opaque, child } => self.artifact(opaque, child, root)?,
        };
        let node = Arc::clone(node);
        let planned = Arc::new(PlannedNode { node, what });
        if let Some(digest) = digest {
            self.known.insert(digest, Arc::clone(&planned));
        }
        Ok(planned)
    }

    fn image(
        &mut self,
        node: &ImageNode,
        listed: Option<&Child>,
        root: &SourceRoot<'_>,
    ) -> Result<What<'s>> {
        let request = self.request;
        let can_stay = |own: FormatId| !request.asked && request.place.formats().contains(&own);
        let target = match (listed, node.format) {
            (Some(_), Format::Documents(own)) if can_stay(own.id()) => own,
            _ => request.documents_format(),
        };
        let mut report = node.report.clone();
        let mut image = node.image.clone();
        if node.aci.is_some() {
            carried::restore(&mut image, request.env, &mut report);
        }
        let foreign = request.options.foreign;
        foreign::apply(&mut image, foreign, &root.place, request.env, &mut report)?;
        assume_platform(&mut image, &request.options.platforms);
        image.name = request.name_of(root)?;
        let at = (node, root);
        let restored = self
            .records
            .manifest(at, request, &mut image, &mut report)?;
        let (exact, told) = self.records.archives(node, request, &mut report)?;
        // The platform to assume if the image is written anew; a copy stays without a platform.
        let assumed = platform_of(node, listed).completed(&request.env.host);
        let reversal = reversal::keepsake(node, root, target, request, &mut report)?;
        let env = &request.env.with_notes(&node.notes);
        let capabilities = &target.facts().capabilities;
        let layers = Sealer::plan(&image.layers, capabilities, &request.options.layers, env)?;
        let archives = &mut self.archives;
        let docker = docker_record::keepsake(node, root, (target, &layers), archives, request)?;
        let image = PlannedImage {
            target,
            image,
            layers,
            assumed,
            report,
            reversal,
            docker,
            restored,
        };
        Ok(match exact.is_empty() {
            true => What::Image(Box::new(image)),
            false => What::Whole(Box::new(PlannedWhole { image, exact, told })),
        })
    }

    fn index(
        &mut self,
        index: &Index,
        child: &Child,
        children: &[Option<Arc<Node>>],
        root: &'s SourceRoot<'s>,
    ) -> Result<PlannedIndex<'s>> {
        let place = format!("index {}", child.digest);
        if !children.is_empty() && children.iter().all(Option::is_none) {
            let message = "every image that the index lists is missing";
            return Err(Error::new(Code::Missing, message).at(place));
        }
        let options = self.request.options;
        let mut report = Report::default();
        let mut entries = Vec::new();
        let mut written = BTreeSet::new();
        // A destination for one image gets the first of several images of one platform.
        let first_only = !self.request.capabilities.index && !options.platforms.is_empty();
        let repeated = repeated(index, children);
        for late in [false, true] {
            let all = index.children.iter().zip(children).zip(&repeated);
            for (position, ((listed, node), repeated)) in all.enumerate() {
                let subject = subject_of(listed);
                let about = node.as_ref().is_some_and(|node| node.subject().is_some());
                if (about || subject.is_some()) != late {
                    continue;
                }
                // An entry about an image is kept or left out with that image.
                let unwanted = subject.is_none() && self.is_unwanted(listed, node.as_deref());
                let left_out = match node {
                    Some(_) => unwanted,
                    // The other policies report, or refuse, a missing document.
                    None => unwanted && options.missing == Missing::Keep,
                };
                if left_out {
                    continue;
                }
                if let Some(Node::Image(image)) = node.as_deref()
                    && first_only
                    && *repeated
                    && subject.is_none()
                {
                    let platform = platform_of(image, Some(listed));
                    if is_wanted(&options.platforms, &spec_of(image, Some(listed)))
                        && !written.contains(&listed.digest)
                    {
                        warn_second(&mut report, &place, image, &platform);
                    }
                    continue;
                }
                let node = match node {
                    Some(node) => Some(self.node(node, Some(listed), root)?),
                    None => None,
                };
                written.extend(node.is_some().then_some(listed.digest));
                entries.push(PlannedEntry {
                    position,
                    subject,
                    node,
                });
            }
        }
        Ok(PlannedIndex { entries, report })
    }

    /// Says whether an entry of an index is for a platform that is not wanted.
    fn is_unwanted(&self, listed: &Child, node: Option<&Node>) -> bool {
        listed.platform.as_ref().is_some_and(|platform| {
            let spec = match node {
                Some(Node::Image(image)) => spec_of(image, Some(listed)),
                _ => spec_listed(listed),
            };
            let platform = platform.clone();
            let known = !platform.os.is_empty();
            let spec = PlatformSpec { platform, ..spec };
            known && !is_wanted(&self.request.options.platforms, &spec)
        })
    }

    fn artifact(
        &self,
        opaque: &Opaque,
        child: &Child,
        root: &'s SourceRoot<'s>,
    ) -> Result<What<'s>> {
        let request = self.request;
        if self.records.is_used(&child.digest) {
            return Ok(What::Unwanted);
        }
        let layers = &request.options.layers;
        let kind = match &opaque.document {
            Some(document) => &document.kind,
            None => &child.kind,
        };
        // If the user named a format, no document of another family is copied.
        let own = request.capabilities.root_kinds.first();
        let own = own.and_then(|kind| family_of(kind)).unwrap_or("docker");
        let foreign = request.asked && family_of(kind).is_some_and(|family| family != own);
        let held = request.capabilities.opaque && !foreign;
        let target = request.target.id();
        if !held && !opaque.image {
            return Ok(What::Lost {
                field: format!("{} {}", opaque.what, child.digest),
                why: match (self.records.why_not(&child.digest), foreign) {
                    (Some(why), _) => why.to_owned(),
                    (None, true) => format!("the type {kind} does not belong to {target}"),
                    (None, false) => format!("{target} can't hold documents that are not images"),
                },
            });
        }
        let changes = layers.squash.is_some()
            || layers.compression.is_some()
            || layers.force
            || layers.clamp_mtime.is_some();
        if opaque.image && (changes || !held) {
            let what = &opaque.what;
            let (message, hint) = match foreign {
                true => (
                    format!("{what} can be copied, but not converted to {target}"),
                    "name no format for the destination: then the document is copied unchanged",
                ),
                false => (
                    format!("{what} can be copied, but not changed"),
                    "`convert` without options for layers copies it",
                ),
            };
            return Err(Error::new(Code::Unsupported, message)
                .at(child.digest.to_string())
                .hint(hint));
        }
        let record = DockerRecord::of(opaque, child, &request.env.limits);
        let record = record.ok().flatten();
        let images = record.map_or(Vec::new(), |record| record.images);
        Ok(What::Artifact(Box::new(PlannedArtifact {
            // An archive of one image needs no other.
            images: if images.len() > 1 { images } else { Vec::new() },
            opaque: opaque.clone(),
            child: child.clone(),
            kind: kind.clone(),
            bundle: root.holder(),
        })))
    }
}

/// Gives an image without a platform, or with half of one, the platform that the user named, if it is a single one.
pub(super) fn assume_platform(image: &mut Image, wanted: &[PlatformSpec]) {
    if let [wanted] = wanted {
        image.platform = image.platform.completed(&wanted.platform);
    }
}
