//! One run over decoded sources. It is done twice: first without a destination, to predict names,
//! plans and losses; then for real.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    sync::Arc,
};

use imgconv_format_aci::DOCKER_IMAGE_ID;
use imgconv_format_docker_v2s1::SigningKey;
use imgconv_layout::is_platform;
use imgconv_model::{
    Algorithm, Blob, Bundle, BundleSink, Capabilities, Child, Compression, Digest, Document,
    DocumentFormat, Encoded, Env, Facts, Format, FormatId, History, Image, Layer, Name, Opaque,
    Outcome as LossKind, Platform, PlatformSpec, Publication, Report, Result, RootEntry,
    SealedLayer, Step, quote,
};
use imgconv_pipeline::{LayerStep, Plan, Sealer, write_document};
use imgconv_stream::{Pool, sniff};
use imgconv_tags::Labels;

use crate::{
    carried, cosign, descriptors,
    graph::subject_of_tag,
    locator::Locator,
    options::Options,
    outcome::{ImageOutcome, LayerOutcome},
    policy::{SCHEMA1, digests_change},
    source::{ImageNode, Node, algorithm_in},
    spec::spec_of,
    stream::semantics,
    subject,
    unknown::is_blob,
};

/// An entry of a source, decoded.
#[derive(Debug)]
pub(crate) struct SourceRoot<'a> {
    /// The entry for messages.
    pub(crate) text: String,
    /// The path of the place.
    pub(crate) place: String,
    /// Where its blobs are.
    pub(crate) bundle: &'a dyn Bundle,
    /// The entry.
    pub(crate) entry: RootEntry,
    /// What it is called from now on, if that is not what it was called.
    pub(crate) renamed: Option<Name>,
    /// The image that it is about, if the list of a layout says so, see [`cosign`].
    pub(crate) signed: Option<Digest>,
    /// What it is.
    pub(crate) node: Arc<Node>,
}

impl SourceRoot<'_> {
    /// The name that it gets, or that the place or the image itself gives; an error if what the
    /// place says is none.
    pub(crate) fn name(&self) -> Result<Option<Name>> {
        self.known_name(false)
    }

    /// The same for a `reference`: an image that only its label `dockerimageid` tells from others of
    /// its name, as a site with image tags has them, has the start of that in the place of the tag.
    /// As `latest` each would take the place of the one before it.
    pub(crate) fn known_name(&self, reference: bool) -> Result<Option<Name>> {
        if self.renamed.is_some() {
            return Ok(self.renamed.clone());
        }
        if let Some(error) = self.bundle.bad_name(&self.entry) {
            return Err(error.hint("`--name REFERENCE` gives the image another one"));
        }
        let own = || match &*self.node {
            Node::Image(node) => {
                let mut name = node.image.name.clone()?;
                if name.tag.is_none() {
                    let fetched = self.bundle.fetched();
                    name.tag = fetched.and_then(|fetched| fetched.tag.clone());
                }
                if name.tag.is_none() && reference {
                    name.tag = self.image_id_as_tag();
                }
                Some(name)
            }
            Node::Index { .. } | Node::Opaque { .. } => None,
        };
        Ok(self.entry.name.clone().or_else(own))
    }

    /// The tag of an ACI that has no version, and no tag that it was asked for by.
    pub(crate) fn image_id_as_tag(&self) -> Option<String> {
        let Node::Image(node) = &*self.node else {
            return None;
        };
        let aci = node.aci.as_ref().filter(|_| self.entry.name.is_none())?;
        let is_known = aci.manifest.label("version").is_some()
            || self.bundle.fetched().is_some_and(|it| it.tag.is_some());
        let id = aci.manifest.label(DOCKER_IMAGE_ID).filter(|_| !is_known)?;
        let start: String = id.chars().take(12).collect();
        Some(start).filter(|tag| Name::is_tag(tag))
    }

    /// What this is about, if its tag or its entry alone says so: the text of a digest, or its start.
    pub(crate) fn tagged_subject(&self) -> Option<String> {
        let tag = || subject_of_tag(self.entry.name.as_ref()?.tag.as_deref()?);
        self.signed.map(|digest| digest.to_string()).or_else(tag)
    }

    /// How a report calls what is about something else by its tag or its entry.
    pub(crate) fn tagged_field(&self) -> String {
        let field = self.signed.and_then(|_| cosign::field(&self.entry));
        field.unwrap_or_else(|| {
            let name = self.entry.name.as_ref();
            format!("tag {}", name.map_or_else(String::new, reference_text))
        })
    }

    /// Says whether it is about another document and is found by way of that, or is ignored by all
    /// who do not know its type. It is none of those that a name can mean.
    pub(crate) fn is_referrer(&self) -> bool {
        let aside = |opaque: &Opaque, child| opaque.subject.is_some() || is_blob(opaque, child);
        self.signed.is_some()
            || matches!(&*self.node, Node::Opaque { opaque, child } if aside(opaque, child))
    }

    /// The platforms of all images below.
    pub(crate) fn platforms(&self) -> Vec<String> {
        let mut found = Vec::new();
        images(&self.node, None, &mut |node, listed| {
            found.push(spec_of(node, listed).to_string());
        });
        found
    }
}

/// Something that becomes visible, with a line for each image in it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) publication: Publication,
    pub(crate) images: Vec<ImageOutcome>,
}

/// What tells one ACI from the others of a run: the repository, the labels of the tag, and the config.
type Streamed = (Option<String>, Labels, Digest);

/// One run.
pub(crate) struct Run<'a> {
    pub(crate) target: Format,
    pub(crate) capabilities: &'static Capabilities,
    pub(crate) options: &'a Options,
    pub(crate) env: &'a Env,
    pub(crate) pool: &'a Pool,
    /// `None` while predicting.
    pub(crate) destination: Option<(&'a dyn BundleSink, &'a Sealer<'a>)>,
    /// What became of each source document: `None` if it was filtered out.
    pub(crate) memo: BTreeMap<Digest, (Option<Child>, Vec<ImageOutcome>)>,
    /// The texts of all digests of those documents, to the one by which they are known above:
    /// something may be about one of them by a digest of another algorithm.
    pub(crate) digests: BTreeMap<String, Digest>,
    /// What was converted under those digests: lists of archives can be alike and mean different
    /// images.
    converted: BTreeMap<Digest, Arc<Node>>,
    /// What is lost with things that are not written at all.
    pub(crate) left_behind: Report,
    /// What manifests are signed with.
    pub(crate) key: Option<&'a SigningKey>,
    /// Whether the destination has a place for names.
    pub(crate) names: bool,
    /// Whether the destination has a list of descriptors.
    pub(crate) descriptors: bool,
    /// Whether roots are found by a digest of whatever algorithm they were read under.
    any_digest: bool,
    /// Whether the user named the format that is written.
    pub(crate) asked: bool,
    /// The formats that images of an index may keep, since the user named none.
    pub(crate) kept_formats: &'static [FormatId],
    /// The tags that became no version: the repository, the tag and the labels that it means.
    pub(crate) tagged: Vec<(String, String, Labels)>,
    /// The target is one file for one image.
    pub(crate) one_file: bool,
    /// The images that have an ACI already: the digest of the manifest that it was made of, and what
    /// that says of itself.
    pub(crate) streamed: BTreeMap<Streamed, (Digest, BTreeMap<String, String>)>,
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<'a> Run<'a> {
    /// Makes a run that writes nothing.
    pub(crate) fn predict(
        target: Format,
        options: &'a Options,
        env: &'a Env,
        pool: &'a Pool,
    ) -> Self {
        Self {
            target,
            capabilities: target.capabilities(),
            options,
            env,
            pool,
            destination: None,
            memo: BTreeMap::new(),
            digests: BTreeMap::new(),
            converted: BTreeMap::new(),
            left_behind: Report::default(),
            key: None,
            names: true,
            descriptors: true,
            any_digest: true,
            asked: false,
            kept_formats: &[],
            tagged: Vec::new(),
            one_file: false,
            streamed: BTreeMap::new(),
        }
    }

    /// Makes a run that writes to a destination.
    pub(crate) fn write(
        target: Format,
        options: &'a Options,
        env: &'a Env,
        pool: &'a Pool,
        sink: &'a dyn BundleSink,
        sealer: &'a Sealer<'a>,
    ) -> Self {
        let destination = Some((sink, sealer));
        Self {
            destination,
            ..Self::predict(target, options, env, pool)
        }
    }

    /// Signs what has signatures with a key.
    pub(crate) fn signing(self, key: Option<&'a SigningKey>) -> Self {
        Self { key, ..self }
    }

    /// Writes to a place that may have no names.
    pub(crate) fn naming(self, names: bool) -> Self {
        Self { names, ..self }
    }

    /// Writes to a place that may have no list of descriptors; `lost` is what it can't say of
    /// itself.
    pub(crate) fn listing(self, descriptors: bool, lost: &Report) -> Self {
        Self {
            descriptors,
            left_behind: lost.clone(),
            ..self
        }
    }

    /// Writes to a place that may know the roots by their usual digests only.
    pub(crate) fn addressing(self, any_digest: bool) -> Self {
        Self { any_digest, ..self }
    }

    /// Writes in the format that the user named for a destination, if one was named; else each image
    /// of an index may keep its own, if the destination takes it.
    pub(crate) fn for_destination(self, destination: &Locator) -> Self {
        let asked = destination.format.is_some();
        let kept_formats = match asked {
            true => &[],
            false => destination.transport.place().formats(),
        };
        Self {
            asked,
            kept_formats,
            ..self
        }
    }

    /// Writes one image: of equal ones the first.
    pub(crate) fn into_one_file(self, one_file: bool) -> Self {
        Self { one_file, ..self }
    }

    /// Returns the format of the documents that are written.
    pub(crate) fn documents_format(&self) -> &'static dyn DocumentFormat {
        let format = self.target.documents();
        format.expect("documents are written in a format of documents")
    }

    /// Converts every root.
    pub(crate) fn all(&mut self, roots: &[SourceRoot<'_>]) -> Result<Vec<Item>> {
        let mut items = if self.target.is_stream() {
            self.streams(roots)?
        } else {
            self.documents(roots)?
        };
        // What is not written has no line of its own; the first one tells it.
        if let Some(first) = items.first_mut().and_then(|item| item.images.first_mut()) {
            first.add_report(std::mem::take(&mut self.left_behind));
        }
        Ok(items)
    }

    /// Converts roots to documents; images of one name that came as single files become an index.
    fn documents(&mut self, roots: &[SourceRoot<'_>]) -> Result<Vec<Item>> {
        let mut slots: Vec<Option<Item>> = roots.iter().map(|_| None).collect();
        // What refers to something comes after what it may refer to.
        let referrer = |root: &SourceRoot<'_>| {
            root.tagged_subject().is_some()
                || root.node.subject().is_some()
                || matches!(&*root.node, Node::Opaque { .. })
        };
        for late in [false, true] {
            for (slot, root) in slots.iter_mut().zip(roots) {
                if referrer(root) != late {
                    continue;
                }
                if let Node::Opaque { opaque, child } = &*root.node
                    && !self.descriptors
                    && is_blob(opaque, child)
                {
                    let field = format!("{} {}", opaque.what, child.digest);
                    let why = "the destination lists manifests only";
                    self.left_behind.lose(field, LossKind::Dropped, why);
                    continue;
                }
                let converted = match root.tagged_subject() {
                    Some(subject) => self.tagged(&subject, root),
                    None => self.document(&root.node, None, root),
                };
                let (child, mut images) = converted.map_err(|error| error.at(&*root.text))?;
                let Some(mut child) = child else { continue };
                let mut report = Report::default();
                let name = self
                    .name_of(root)
                    .and_then(|name| self.of_digest(name, root, &child, &mut report))
                    .map_err(|error| error.at(&*root.text))?;
                let shown = self.shown(name.as_ref(), root, &mut report);
                for field in root.bundle.duplicate_listings(&root.entry) {
                    let why =
                        "the image is listed again under its name, and the first entry counts";
                    report.lose(format!("index.{field}"), LossKind::Dropped, why);
                }
                self.usual_digest(&child, &mut report)
                    .map_err(|error| error.at(&*root.text))?;
                if let Some(listed) = &root.entry.child {
                    if self.descriptors {
                        let config = images.first().and_then(|image| image.config.clone());
                        child = descriptors::carry(child, listed, self.env, &mut report)?;
                        // A name takes the place of such texts.
                        if name.is_none() {
                            descriptors::renew_digests(&mut child, listed, config, &mut report);
                        }
                    } else {
                        let why = "the destination has no descriptors";
                        descriptors::lose(listed, why, self.env, &mut report)?;
                    }
                }
                for image in &mut images {
                    image.name.clone_from(&shown);
                    image.source.clone_from(&root.text);
                    image.add_report(report.clone());
                }
                let publication = Publication {
                    root: child,
                    name,
                    reference: None,
                    file_name: None,
                };
                *slot = Some(Item {
                    publication,
                    images,
                });
            }
        }
        let single: Vec<bool> = roots
            .iter()
            .map(|root| root.entry.child.is_none())
            .collect();
        let items = slots
            .into_iter()
            .zip(single)
            .filter_map(|(item, s)| item.map(|item| (item, s)));
        self.join_platforms(items.collect())
    }

    /// Converts one node and all below it; the depth was bounded when it was decoded.
    pub(crate) fn document(
        &mut self,
        node: &Arc<Node>,
        listed: Option<&Child>,
        root: &SourceRoot<'_>,
    ) -> Result<(Option<Child>, Vec<ImageOutcome>)> {
        let digest = match &**node {
            Node::Image(image) => image.child.as_ref().map(|child| child.digest),
            Node::Index { child, .. } | Node::Opaque { child, .. } => Some(child.digest),
        };
        if let Some(digest) = digest
            && let Some(done) = self.memo.get(&digest)
            && self
                .converted
                .get(&digest)
                .is_some_and(|known| Arc::ptr_eq(known, node))
        {
            return Ok(done.clone());
        }
        let done = match &**node {
            Node::Image(image) if self.wanted(&spec_of(image, listed)) => {
                let (child, outcome) = self.image(image, listed, root)?;
                (Some(child), vec![outcome])
            }
            Node::Image(_) => (None, Vec::new()),
            Node::Index {
                index,
                child,
                children,
            } => self.index(index, child, children, root)?,
            Node::Opaque { opaque, child } => self.opaque(opaque, child, root)?,
        };
        if let Some(digest) = digest {
            let all = node.digests().into_iter();
            self.digests
                .extend(all.map(|one| (one.to_string(), digest)));
            self.memo.insert(digest, done.clone());
            self.converted.insert(digest, Arc::clone(node));
        }
        Ok(done)
    }

    /// Tells, or refuses, that a root is known to the destination by another digest than it was read
    /// by.
    fn usual_digest(&self, child: &Child, report: &mut Report) -> Result<()> {
        let algorithm = child.digest.algorithm();
        if self.any_digest || algorithm == Algorithm::Sha256 {
            return Ok(());
        }
        let digest = child.digest;
        if self.options.preserve_digests {
            let what = format!("the digest {digest} (the destination knows images by sha256 only)");
            return Err(digests_change(&what));
        }
        let why = format!(
            "the destination has no place for it, and {digest} is known there by its sha256"
        );
        report.lose("digest", LossKind::Dropped, why);
        Ok(())
    }

    /// Converts one image to documents.
    fn image(
        &self,
        node: &ImageNode,
        listed: Option<&Child>,
        root: &SourceRoot<'_>,
    ) -> Result<(Child, ImageOutcome)> {
        let mut report = node.report.clone();
        let mut image = node.image.clone();
        let target = match (listed, node.format) {
            (Some(_), Format::Documents(own)) if self.kept_formats.contains(&own.id()) => own,
            _ => self.documents_format(),
        };
        let capabilities = &target.facts().capabilities;
        if let Some(why) = node
            .subject()
            .and_then(|subject| self.outdated(&subject.to_string()))
        {
            subject::drop_of_image(&mut image, node.format.id(), &why, self.env, &mut report)?;
        }
        if node.aci.is_some() {
            carried::restore(&mut image, self.env, &mut report);
        }
        self.foreign(&mut image, &root.place, &mut report)?;
        self.assume_platform(&mut image);
        image.name = self.name_of(root)?;
        // What must be assumed if the image is written anew; a copy stays as silent as it was.
        let assumed = match platform_of(node, listed) {
            platform if platform.os.is_empty() || platform.architecture.is_empty() => {
                self.env.host.clone()
            }
            platform => platform,
        };
        let env = &Env {
            notes: node.notes.clone(),
            host: assumed,
            ..self.env.clone()
        };
        let plan = Sealer::plan(&image.layers, capabilities, &self.options.layers, env)?;
        let sealed = match self.destination {
            Some((_, sealer)) => {
                let layers = self.clamped(&image.layers, env)?;
                sealer.run(&layers, &plan, semantics(node), env)?
            }
            None => pretend(&image, &plan),
        };
        // Before a squash leaves nothing of them.
        let blobs: Vec<Option<Digest>> = plan
            .steps
            .iter()
            .map(|step| match step {
                LayerStep::Keep(i) | LayerStep::Recompress(i, _) => {
                    image.layers[*i].blob.facts.digest
                }
                LayerStep::Squash(..) => None,
            })
            .collect();
        let source_image = self.options.preserve_digests.then(|| image.clone());
        if let Some(LayerStep::Squash(from, _)) = plan.steps.last() {
            squash_layers(&mut image, *from, nothing());
        }
        let Encoded { documents, root } = target.encode(&image, &sealed, env, &mut report)?;
        // Schema 1 has no config: what stands beside it is a layer.
        let has_config = target.id() != SCHEMA1;
        let mut config = None;
        let limits = &self.env.limits;
        for document in &documents {
            let stored = self.store(document, algorithm_in(&root, document, limits))?;
            if has_config {
                config.get_or_insert(stored.digest);
            }
        }
        let mut child = self.store_root(&self.signed(root)?, node.child.as_ref())?;
        if let Some(image) = &source_image {
            self.preserve((node, target.id()), image, &plan, (&child, config))?;
        }
        // What the config says: what it was told, what had to be assumed, or still nothing.
        let assumed = report.losses.iter().any(|loss| loss.field == "platform");
        child.platform = match &image.platform {
            // Readers refuse such a descriptor of a layout (robustness K13). That of a copy was without
            // a platform before.
            platform if !is_platform(platform) => {
                let copied = node.child.as_ref().map(|old| old.digest) == Some(child.digest);
                let why = format!(
                    "{} is no platform that a descriptor can have; the config keeps it",
                    quote(platform.to_string())
                );
                if self.descriptors && !copied {
                    report.lose("index.manifests.platform", LossKind::Dropped, why);
                }
                None
            }
            platform if !platform.os.is_empty() => Some(platform.clone()),
            _ if assumed => Some(env.host.clone()),
            _ => None,
        };
        let mut outcome = ImageOutcome {
            format: target.id().to_string(),
            platform: Some(
                child
                    .platform
                    .as_ref()
                    .unwrap_or(&image.platform)
                    .to_string(),
            ),
            digest: Some(child.digest.to_string()),
            source_digest: node.child.as_ref().map(|child| child.digest.to_string()),
            source_config: node.config_digest(limits).map(|it| it.to_string()),
            config: config.map(|digest| digest.to_string()),
            image_id: node.image_id().map(|id| id.image_id()),
            layers: sealed
                .iter()
                .zip(blobs)
                .map(|(layer, blob)| LayerOutcome::new(layer, blob))
                .collect(),
            ..ImageOutcome::default()
        };
        if self.destination.is_none() {
            outcome.plan = Some(plan.to_string());
            (outcome.digest, outcome.config, outcome.layers) = (None, None, Vec::new());
        }
        report.merge(env.notes.snapshot());
        outcome.add_report(report);
        Ok((child, outcome))
    }

    /// The layers with the times that the user asked for; as they are while predicting.
    pub(crate) fn clamped(&self, layers: &[Layer], env: &Env) -> Result<Vec<Layer>> {
        match (self.options.layers.clamp_mtime, self.destination) {
            (Some(epoch), Some(_)) => imgconv_pipeline::clamp(layers, epoch, env),
            _ => Ok(layers.to_vec()),
        }
    }

    /// An image that names no platform is for the one that the user names, if that is one.
    pub(crate) fn assume_platform(&self, image: &mut Image) {
        if image.platform.os.is_empty()
            && image.platform.architecture.is_empty()
            && let [wanted] = &self.options.platforms[..]
        {
            image.platform = wanted.platform.clone();
        }
    }

    /// Says whether a platform is asked for. One that is not known fits all.
    pub(crate) fn wanted(&self, spec: &PlatformSpec) -> bool {
        let platform = &spec.platform;
        let mut all = self.options.platforms.iter();
        self.options.platforms.is_empty()
            || platform.os.is_empty() && platform.architecture.is_empty()
            || all.any(|wanted| spec.fits(wanted))
    }

    /// The name that the root gets: what the user gave, else its own, which a referrer keeps.
    pub(crate) fn name_of(&self, root: &SourceRoot<'_>) -> Result<Option<Name>> {
        match self.given_name()?.filter(|_| !root.is_referrer()) {
            None => root.known_name(!self.target.is_stream()),
            given => Ok(given),
        }
    }

    /// The name that the user gave.
    pub(crate) fn given_name(&self) -> Result<Option<Name>> {
        self.options
            .name
            .as_deref()
            .map(Name::parse_reference)
            .transpose()
    }

    /// Stores a document that `before` may have become: under the same digest if it is the same,
    /// whatever the algorithm.
    pub(crate) fn store_root(&self, document: &Document, before: Option<&Child>) -> Result<Child> {
        let algorithm = before.map(|before| before.digest.algorithm());
        let same = algorithm.filter(|algorithm| {
            let now = imgconv_stream::digest(*algorithm, &document.bytes);
            before.is_some_and(|before| before.digest == now)
        });
        self.store(document, same.unwrap_or(Algorithm::Sha256))
    }

    /// Stores a document under its digest of that algorithm, or says where it would be.
    pub(crate) fn store(&self, document: &Document, algorithm: Algorithm) -> Result<Child> {
        match self.destination {
            Some((sink, _)) => write_document(sink, document, algorithm),
            None => Ok(Child {
                kind: document.kind.clone(),
                digest: imgconv_stream::digest(algorithm, &document.bytes),
                size: document.bytes.len() as u64,
                platform: None,
                annotations: BTreeMap::new(),
                raw: String::new(),
            }),
        }
    }
}

/// Calls `each` with every image below a node, and the descriptor that lists it.
pub(crate) fn images<'n>(
    node: &'n Node,
    listed: Option<&'n Child>,
    each: &mut dyn FnMut(&'n ImageNode, Option<&'n Child>),
) {
    walk(node, listed, &mut |node, listed| {
        if let Node::Image(image) = node {
            each(image, listed);
        }
    });
}

/// Calls `each` with a node and all below it, and the descriptor that lists it. An index is entered
/// once, however often and deeply it is listed: the time is that of what is written down, not of
/// the paths that lead there (robustness C7b).
pub(crate) fn walk<'n>(
    node: &'n Node,
    listed: Option<&'n Child>,
    each: &mut dyn FnMut(&'n Node, Option<&'n Child>),
) {
    let mut entered = BTreeSet::new();
    let mut open = vec![(node, listed)];
    while let Some((node, listed)) = open.pop() {
        if matches!(node, Node::Index { .. }) && !entered.insert(std::ptr::from_ref(node)) {
            continue;
        }
        each(node, listed);
        if let Node::Index {
            index, children, ..
        } = node
        {
            let both = index.children.iter().zip(children).rev();
            open.extend(
                both.filter_map(|(listed, child)| Some((&**child.as_ref()?, Some(listed)))),
            );
        }
    }
}

/// The platform of an image; the index's word counts where the image itself has none.
pub(crate) fn platform_of(node: &ImageNode, listed: Option<&Child>) -> Platform {
    let own = &node.image.platform;
    match listed.and_then(|listed| listed.platform.as_ref()) {
        Some(platform) if own.os.is_empty() => platform.clone(),
        _ => own.clone(),
    }
}

/// How a name is printed: as a reference where it can be one.
pub(crate) fn reference_text(name: &Name) -> String {
    name.to_full_reference(&mut Report::default())
        .unwrap_or_else(|| name.to_string())
}

/// Sealed layers as they might become: for predicting what an encoder will report.
fn pretend(image: &Image, plan: &Plan) -> Vec<SealedLayer> {
    let nothing = Digest::new(Algorithm::Sha256, &[0; 32]);
    plan.steps
        .iter()
        .map(|step| {
            let (layer, step, compression) = match step {
                LayerStep::Keep(i) => {
                    let layer = &image.layers[*i];
                    (Some(layer), Step::Keep, kept_compression(layer))
                }
                LayerStep::Recompress(i, to) => {
                    (Some(&image.layers[*i]), Step::Recompress, to.compression)
                }
                LayerStep::Squash(_, to) => (None, Step::Squash, to.compression),
            };
            // New bytes have a new digest: what is said of the old ones is about to be lost.
            let kept = layer.filter(|_| step == Step::Keep);
            let facts = kept.map(|layer| layer.blob.facts.clone());
            let facts = facts.unwrap_or_default();
            SealedLayer {
                digest: facts.digest.unwrap_or(nothing),
                size: facts.size.unwrap_or(0),
                compression,
                diff_id: layer.and_then(|layer| layer.diff_id).unwrap_or(nothing),
                step,
                annotations: BTreeMap::new(),
            }
        })
        .collect()
}

/// The compression of a layer that is kept: what its bytes show; its type, if they are not here.
fn kept_compression(layer: &Layer) -> Compression {
    shown_compression(layer).unwrap_or_else(|| imgconv_pipeline::labelled(layer))
}

/// The compression that the first bytes of a stored layer show; `None` if they can't be read.
pub(crate) fn shown_compression(layer: &Layer) -> Option<Compression> {
    let mut first = Vec::new();
    let reader = layer.blob.open().ok()?;
    reader.take(6).read_to_end(&mut first).ok()?;
    Some(sniff(&first))
}

/// A layer without bytes, in the place of one that does not exist yet.
pub(crate) fn nothing() -> Layer {
    let bytes: Arc<[u8]> = Arc::from(&[][..]);
    Layer {
        blob: Blob {
            facts: Facts::default(),
            bytes: Arc::new(bytes),
        },
        diff_id: None,
        kind: None,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

/// Puts one layer in the place of layer `from` and all above it.
pub(crate) fn squash_layers(image: &mut Image, from: usize, merged: Layer) {
    image.layers.truncate(from);
    image.layers.push(merged);
    let steps = std::mem::take(&mut image.history);
    image.history = History::merged(steps, from, image.created.clone());
}
