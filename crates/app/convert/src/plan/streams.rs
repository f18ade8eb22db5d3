//! Planning for destinations of streams: every image below the roots becomes one stream,
//! such as an ACI.

use std::collections::{BTreeMap, btree_map::Entry};

use imgconv_manifest::describes_bytes;
use imgconv_model::{
    Child, Code, Digest, Error, FormatId, Image, Outcome as LossKind, Report, Result, StreamFacts,
};
use imgconv_pipeline::Options as LayerOptions;
use imgconv_stream::{Encoding, Level};
use imgconv_tags::Labels;

use super::{
    data::{Outputs, Plan, PlannedStream, StreamStep},
    documents::assume_platform,
    foreign, lost,
    reversal::Records,
    stream_names,
};
use crate::{
    choose::{
        platforms::{chosen, is_wanted},
        request::Request,
    },
    options::digests_change,
    read::{
        node::{ImageNode, Node, platform_of},
        root::SourceRoot,
        spec::spec_of,
    },
    tags,
};

/// What tells one ACI from the others: the repository, the labels of the tag, and the config.
type Identity = (Option<String>, Labels, Digest);

/// Plans a stream of every image that is wanted.
///
/// # Errors
/// If an image can't be written as a stream, or an option forbids it.
pub(super) fn plan<'s>(roots: &'s [SourceRoot<'s>], request: &Request<'_>) -> Result<Plan<'s>> {
    let facts = request.stream_format().stream_facts();
    check_options(request, facts)?;
    if request.options.preserve_digests {
        let what = format!(
            "the manifest, the config and the layers ({} has its own)",
            facts.noun
        );
        return Err(digests_change(&what));
    }
    let mut planner = Planner {
        request,
        facts,
        no_image: format!("{} can't hold documents that are not images", facts.noun),
        no_descriptors: format!("{} has no descriptors", facts.noun),
        streams: Vec::new(),
        left_behind: Report::default(),
        tagged: Vec::new(),
        known: BTreeMap::new(),
        records: Records::of(roots, request),
    };
    for root in roots {
        planner.root(root).map_err(|error| error.at(&*root.text))?;
    }
    let Planner {
        streams,
        mut left_behind,
        tagged,
        records,
        no_image,
        ..
    } = planner;
    if !streams.is_empty() {
        records.check_wanted(request)?;
    }
    records.lost(&no_image, &mut left_behind);
    Ok(Plan {
        outputs: Outputs::Streams(streams),
        left_behind,
        tagged,
    })
}

struct Planner<'r, 's> {
    request: &'r Request<'r>,
    facts: &'static StreamFacts,
    /// The reason of the loss of documents that are not images.
    no_image: String,
    /// Why what descriptors say is lost.
    no_descriptors: String,
    streams: Vec<PlannedStream<'s>>,
    left_behind: Report,
    tagged: Vec<(String, String, Labels)>,
    /// The images that have an ACI already: the digest of the manifest that the ACI is made of, and
    /// the annotations of that manifest.
    known: BTreeMap<Identity, (Digest, BTreeMap<String, String>)>,
    /// The records of the ACIs that images were made of.
    records: Records<'s>,
}

impl<'s> Planner<'_, 's> {
    fn root(&mut self, root: &'s SourceRoot<'s>) -> Result<()> {
        if root.tagged_subject().is_some() && self.records.are_all_of(&root.node) {
            return Ok(());
        }
        if root.is_tagged_document() {
            let field = root.tagged_field();
            self.left_behind
                .lose(field, LossKind::Dropped, &*self.no_image);
            return Ok(());
        }
        for (node, _) in root.node.walk() {
            self.leave_behind(node)?;
        }
        let identity = match self.request.options.image_tags {
            true => tags::identity(&root.node, &self.request.env.limits),
            false => None,
        };
        let (options, one_file) = (self.request.options, self.request.one_file);
        for (node, listed) in root.node.images() {
            if !is_wanted(&options.platforms, &spec_of(node, listed)) {
                self.records.leave_out(node);
            }
        }
        let wanted = chosen(root, &options.platforms, one_file, &mut self.left_behind);
        for (node, listed) in wanted {
            let stream = self.image(root, (node, listed), identity.as_ref())?;
            self.streams.extend(stream);
        }
        Ok(())
    }

    /// Plans one ACI; `None` if another tag of the same image has it already.
    fn image(
        &mut self,
        root: &'s SourceRoot<'s>,
        (node, listed): (&'s ImageNode, Option<&'s Child>),
        identity: Option<&Labels>,
    ) -> Result<Option<PlannedStream<'s>>> {
        let request = self.request;
        let mut report = node.report.clone();
        let mut image = node.image.clone();
        image.platform = platform_of(node, listed);
        let digest = node.child.as_ref().map(|child| child.digest);
        let foreign = request.options.foreign;
        foreign::apply(&mut image, foreign, &root.place, request.env, &mut report)?;
        lose_layer_descriptors(&image, &self.no_descriptors, &mut report);
        for field in root.bundle.duplicate_listings(&root.entry) {
            let field = format!("index.{field}");
            report.lose(field, LossKind::Dropped, &*self.no_descriptors);
        }
        let mut unlisted = Report::default();
        for listed in [root.entry.child.as_ref(), listed].into_iter().flatten() {
            lost::descriptor(
                listed,
                &root.node,
                &self.no_descriptors,
                request.env,
                &mut unlisted,
            )?;
        }
        report.merge(unlisted.clone());
        assume_platform(&mut image, &request.options.platforms);
        let known = request.name_of(root)?;
        image.name = match self.facts.describes {
            true => {
                let name = stream_names::name(request, root, &image, digest, &mut report)?;
                Some(name)
            }
            false => known.clone(),
        };
        let repository = image.name.as_ref().and_then(|name| name.repository.clone());
        let tag = known.and_then(|name| name.tag);
        if let Some(identity) = identity {
            if let (Some(repository), Some(tag)) = (&repository, tag) {
                let tagged = (repository.clone(), tag, identity.clone());
                self.tagged.push(tagged);
            }
            if self.is_known(node, repository, identity) {
                return Ok(None);
            }
            let own = stream_names::kept_name(&image, request.env);
            tags::identify(&mut image, own.as_ref(), identity);
        }
        let step = match unchanged(request, node, &image) {
            _ if request.options.no_squash && image.layers.len() > 1 => StreamStep::Stack,
            true => StreamStep::Keep(node.aci.as_ref().expect("an unchanged ACI is one")),
            false => StreamStep::Squash,
        };
        let exact = match (&step, request.target.id() == FormatId::ACI) {
            (StreamStep::Squash | StreamStep::Stack, true) => {
                let reports = (&unlisted, &mut report);
                self.records.exact(node, root, request, reports)?
            }
            _ => Vec::new(),
        };
        Ok(Some(PlannedStream {
            node,
            text: &root.text,
            image,
            report,
            step,
            exact,
        }))
    }

    /// Says whether an image has an ACI already: other tags of one image are the same ACI, those of
    /// one manifest and those of manifests that have a config, and with it the image ID, in common.
    fn is_known(&mut self, node: &ImageNode, repository: Option<String>, tag: &Labels) -> bool {
        let Some(digest) = node.child.as_ref().map(|child| child.digest) else {
            return false;
        };
        let annotations = node.image.annotations.clone();
        let config = node.config_digest(&self.request.env.limits);
        let key = (repository, tag.clone(), config.unwrap_or(digest));
        match self.known.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert((digest, annotations));
                false
            }
            Entry::Occupied(entry) => {
                let (first, said) = entry.get();
                if *first != digest && *said != annotations {
                    let why = format!(
                        "the manifest is of the same image as {first} (the image IDs are equal), \
                         and the ACI gets the annotations of that manifest"
                    );
                    let field = format!("manifest {digest} annotations");
                    self.left_behind.lose(field, LossKind::Dropped, why);
                }
                true
            }
        }
    }

    /// Reports documents that are not images, and missing documents; an image with layers that are
    /// no tars is an error.
    fn leave_behind(&mut self, node: &Node) -> Result<()> {
        match node {
            Node::Image(_) => Ok(()),
            Node::Index {
                index,
                child,
                children,
            } => {
                let place = format!("index {}", child.digest);
                let mut report = Report::default();
                let why = lost::no_index(self.request);
                lost::index(index, &why, self.request.env, &mut report)?;
                for (listed, child) in index.children.iter().zip(children) {
                    if child.is_none() {
                        lost::missing_child(listed, &place, self.request, &mut report)?;
                    }
                }
                self.left_behind.merge(report);
                Ok(())
            }
            Node::Opaque { opaque, child } if opaque.image => {
                let message = format!("{} can be copied, but not converted", opaque.what);
                Err(Error::new(Code::Unsupported, message).at(child.digest.to_string()))
            }
            Node::Opaque { child, .. } if self.records.has(child) => Ok(()),
            Node::Opaque { opaque, child } => {
                let field = format!("{} {}", opaque.what, child.digest);
                self.left_behind
                    .lose(field, LossKind::Dropped, &*self.no_image);
                Ok(())
            }
        }
    }
}

/// Says whether an image is such a stream of which nothing is to change, perhaps but its compression.
fn unchanged(request: &Request<'_>, node: &ImageNode, image: &Image) -> bool {
    let layers = LayerOptions {
        compression: None,
        level: Level::default(),
        force: false,
        ..request.options.layers
    };
    let same = image.name == node.image.name && image.platform == node.image.platform;
    let asked = layers != LayerOptions::default() || request.options.image_tags;
    same && !asked && node.aci.is_some() && node.format.id() == request.target.id()
}

/// Returns how the one stream of an image is compressed.
pub(crate) fn encoding(request: &Request<'_>) -> Encoding {
    let layers = &request.options.layers;
    Encoding {
        compression: layers
            .compression
            .unwrap_or(request.capabilities.compressions[0]),
        level: layers.level,
    }
}

/// Refuses options that the format has no place for.
fn check_options(request: &Request<'_>, facts: &StreamFacts) -> Result<()> {
    let possible = request.capabilities.compressions;
    let noun = facts.noun;
    if request.options.no_squash && !facts.describes {
        let message = format!(
            "`--no-squash` needs dependencies between the outputs, and {noun} can't have any"
        );
        return Err(Error::new(Code::Usage, message));
    }
    if request.options.layers.toc {
        let message = format!("{noun} can't hold a table of contents");
        return Err(Error::new(Code::Unsupported, message)
            .hint("OCI has one: write to `oci:PATH` or `oci-archive:PATH`"));
    }
    match request.options.layers.compression {
        Some(wanted) if !possible.contains(&wanted) => {
            let names: Vec<String> = possible.iter().map(ToString::to_string).collect();
            let message = format!("{noun} can't be compressed with {wanted}");
            Err(Error::new(Code::Unsupported, message)
                .hint(format!("it can be: {}", names.join(", "))))
        }
        _ => encoding(request).check(),
    }
}

/// Reports what only the descriptors of layers say.
fn lose_layer_descriptors(image: &Image, why: &str, report: &mut Report) {
    let mut lose = |field: String| report.lose(field, LossKind::Dropped, why);
    for (i, layer) in image.layers.iter().enumerate() {
        let keys = layer.annotations.keys();
        for key in keys.filter(|key| !describes_bytes(key)) {
            lose(format!("layers.{i}.annotations.{key}"));
        }
        if !layer.urls.is_empty() {
            lose(format!("layers.{i}.urls"));
        }
    }
}
