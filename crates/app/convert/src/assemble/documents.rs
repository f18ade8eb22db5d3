//! Assembling documents: images, the indexes over them, artifacts, and referrers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imgconv_format_docker_v2s1::sign;
use imgconv_layout::{is_name, is_platform};
use imgconv_manifest::media_type::WHOLE_ARCHIVE;
use imgconv_model::{
    Algorithm, Child, Code, Digest, Document, Encoded, Env, Error, FormatId, Image, Index, Notes,
    Outcome as LossKind, Publication, Report, Result, SealedLayer, quote,
};
use imgconv_pipeline::{LayerStep, Plan as LayerPlan, Reason};
use imgconv_reversal::Content;

use super::{
    descriptors,
    join::{join_platforms, one_platform},
    names,
    output::{ArchiveImage, Assembled, Item, Output, RecordOf, nothing, squash_layers},
    preserve, subject,
    written::{Known, Written},
};
use crate::{
    check::some_of,
    choose::{docker_record::ends, request::Request, restored::stops, signing::SCHEMA1},
    options::{Missing, digests_change},
    outcome::{
        BAD_RECORD, ChangeOutcome, ImageOutcome, LayerOutcome, PlannedDocument, PlannedLayer,
        PlannedOutcome, ReversalOutcome,
    },
    plan::{
        data::{
            DockerKeepsake, KeptArchive, PlannedArtifact, PlannedDocker, PlannedImage,
            PlannedIndex, PlannedNode, PlannedRoot, PlannedWhole, What,
        },
        docker_record::{ANEW, OLDER, named},
        lost,
    },
    read::{
        node::{ImageNode, Node, algorithm_in},
        reversal::holds_record,
        search::UNREAD,
        spec::spec_of,
    },
};

/// Assembles planned roots; images of one name that came as single files become an index.
///
/// # Errors
/// The first root that can't be written, or that an option forbids.
pub(crate) fn documents<'s>(
    roots: &[PlannedRoot<'s>],
    left_behind: &Report,
    request: &Request<'_>,
    output: &dyn Output,
) -> Result<Assembled<'s>> {
    let mut assembler = Assembler {
        request,
        output,
        known: Known::default(),
        left_behind: left_behind.clone(),
        records: Vec::new(),
        archives: Vec::new(),
        wholes: BTreeMap::new(),
        copied: Vec::new(),
    };
    let mut items: BTreeMap<usize, (Item, bool)> = BTreeMap::new();
    for planned in roots {
        let item = assembler.root(planned);
        let single = planned.root.entry.child.is_none();
        if let Some(item) = item.map_err(|error| error.at(&*planned.root.text))? {
            items.insert(planned.position, (item, single));
        }
    }
    assembler.warn_incomplete();
    let items = items.into_values().collect();
    let mut items = join_platforms(items, request, output)?;
    assembler.archive_records(&mut items)?;
    // A record comes after the image that it is about.
    items.append(&mut assembler.records);
    let (left_behind, known) = (assembler.left_behind, assembler.known);
    Ok(Assembled::new(items, &left_behind, known))
}

struct Assembler<'a, 's> {
    request: &'a Request<'a>,
    output: &'a dyn Output,
    known: Known<'s>,
    /// The losses of documents that are not written.
    left_behind: Report,
    /// The records of reversal of the written images, each once.
    records: Vec<Item>,
    /// The docker archives of which a record is kept, each with its written images by their root documents.
    archives: Vec<(Arc<KeptArchive>, BTreeMap<Digest, ArchiveImage>)>,
    /// The restored archives by their records: all images of an archive are one.
    wholes: BTreeMap<Digest, Restored>,
    /// The copied records of docker archives of several images, each with these images.
    copied: Vec<(Digest, Vec<Digest>)>,
}

/// Digest and size of a restored archive, or why its record does not give it back.
type Restored = Result<(Digest, u64), String>;

impl<'s> Assembler<'_, 's> {
    fn root(&mut self, planned: &PlannedRoot<'s>) -> Result<Option<Item>> {
        let root = planned.root;
        let (child, mut images) = match &planned.about {
            Some(subject) => self.about(subject, planned)?,
            None => self.node(&planned.node)?,
        };
        let Some(mut child) = child else {
            return Ok(None);
        };
        let mut report = Report::default();
        let written = names::Written {
            digest: child.digest,
            is_final: self.output.is_final(),
        };
        if child.kind == WHOLE_ARCHIVE {
            let own = self.request.name_of(root)?;
            let own = own.filter(|name| match &planned.node.what {
                What::Whole(whole) => {
                    let image = planned.node.node.root_digest();
                    whole.exact.iter().any(|it| named(it.names_of(image), name))
                }
                _ => false,
            });
            let own = own.and_then(|name| name.to_full_reference(&mut Report::default()));
            for image in &mut images {
                image.name = own.clone().or(image.name.take());
                image.source.clone_from(&root.text);
            }
            return Ok(Some(Item {
                publication: Publication {
                    root: child,
                    name: None,
                    reference: None,
                    file_name: None,
                },
                images,
            }));
        }
        // Only names of written roots are read, because other roots may have an invalid name.
        let name = self.request.name_of(root)?;
        let name = names::of_digest(self.request, name, root, written, &mut report)?;
        let shown = names::shown(self.request, name.as_ref(), root, &mut report);
        for field in root.bundle.duplicate_listings(&root.entry) {
            let twice = root.entry.listed_twice();
            let why = format!("{twice}, and only the first entry is used");
            report.lose(format!("index.{field}"), LossKind::Dropped, why);
        }
        self.usual_digest(&child, &mut report)?;
        if let Some(listed) = &root.entry.child {
            let env = self.request.env;
            if self.request.place.has_descriptors() {
                let config = images.first().and_then(|image| image.config.clone());
                child = descriptors::carry(child, listed, env, &mut report)?;
                // A name replaces an annotation that holds a digest.
                if name.is_none() {
                    descriptors::renew_digests(&mut child, listed, config, &mut report);
                }
            } else {
                let why = "the destination has no descriptors";
                lost::descriptor(listed, &root.node, why, env, &mut report)?;
                if let Node::Image(image) = &*root.node {
                    lost::variant(listed, image, why, &mut report);
                }
            }
        }
        for image in &mut images {
            image.name.clone_from(&shown);
            image.source.clone_from(&root.text);
            image.add_report(report.clone());
        }
        let publication = Publication {
            name,
            ..Publication::of(child)
        };
        Ok(Some(Item {
            publication,
            images,
        }))
    }

    /// Reports, or refuses, that the destination knows a root by another digest than the one by
    /// which it was read.
    fn usual_digest(&self, child: &Child, report: &mut Report) -> Result<()> {
        let algorithm = child.digest.algorithm();
        if self.request.place.has_any_digest() || algorithm == Algorithm::Sha256 {
            return Ok(());
        }
        let digest = child.digest;
        if self.request.options.preserve_digests {
            let what =
                format!("the digest {digest} (the destination addresses images by sha256 only)");
            return Err(digests_change(&what));
        }
        let why = format!(
            "the destination addresses images by sha256 only, so {digest} gets another digest there"
        );
        report.lose("digest", LossKind::Dropped, why);
        Ok(())
    }

    /// Assembles a document that names `subject` in its tag: the document is copied, or left behind
    /// with its subject.
    fn about(&mut self, subject: &str, planned: &PlannedRoot<'s>) -> Result<Written> {
        if let Some(why) = self.known.outdated(subject) {
            let field = planned.root.tagged_field();
            self.left_behind.lose(field, LossKind::Dropped, why);
            return Ok((None, Vec::new()));
        }
        match &planned.node.what {
            What::Artifact(artifact) => self.artifact(artifact),
            _ => self.node(&planned.node),
        }
    }

    /// Assembles a node and all nodes below it, once.
    fn node(&mut self, planned: &Arc<PlannedNode<'s>>) -> Result<Written> {
        if let Some(written) = self.known.of(planned) {
            return Ok(written.clone());
        }
        let written = match (&planned.what, &*planned.node) {
            (What::Image(image), Node::Image(node)) => {
                let (child, outcome) = self.image(image, node)?;
                (Some(child), vec![outcome])
            }
            (What::Whole(whole), Node::Image(node)) => {
                let (child, outcome) = self.whole(whole, node)?;
                (Some(child), vec![outcome])
            }
            (
                What::Index(planned),
                Node::Index {
                    index,
                    child,
                    children,
                },
            ) => self.index(planned, index, child, children)?,
            (What::Artifact(artifact), _) => self.artifact(artifact)?,
            (What::Lost { field, why }, node) => {
                // A document about an image that is not wanted is left out with the image.
                let subject = node.subject().map(|subject| subject.to_string());
                if !subject.is_some_and(|subject| self.known.is_left_out(&subject)) {
                    self.left_behind.lose(field, LossKind::Dropped, why);
                }
                (None, Vec::new())
            }
            (What::Unwanted, node) => {
                self.known.leave_out(node);
                (None, Vec::new())
            }
            // An image is planned as an image, and an index as an index.
            (What::Image(_) | What::Whole(_) | What::Index(_), _) => (None, Vec::new()),
        };
        self.known.note(planned, &written);
        Ok(written)
    }

    fn image(&mut self, planned: &PlannedImage, node: &ImageNode) -> Result<(Child, ImageOutcome)> {
        let request = self.request;
        let (mut report, mut image) = (planned.report.clone(), planned.image.clone());
        let subject = node.subject().map(|subject| subject.to_string());
        if let Some(why) = subject.and_then(|subject| self.known.outdated(&subject)) {
            subject::drop_of_image(&mut image, node.format.id(), &why, request.env, &mut report)?;
        }
        let env = &planned.env(node, request.env);
        let (sealed, content) = self.output.layers(planned, node, env)?;
        let blobs = planned.layers.steps.iter().map(|step| match step {
            LayerStep::Keep(i) | LayerStep::Recompress(i, _) => image.layers[*i].blob.facts.digest,
            LayerStep::Squash(..) => None,
        });
        let layers = sealed.iter().zip(blobs);
        let layers = layers
            .map(|(layer, blob)| LayerOutcome::new(layer, blob))
            .collect();
        let source_image = request.options.preserve_digests.then(|| image.clone());
        if let Some(LayerStep::Squash(from, _)) = planned.layers.steps.last() {
            lost::merged_layers(&image.layers, *from, &mut report);
            squash_layers(&mut image, *from, nothing());
        }
        let target = planned.target;
        let before = node.child.as_ref();
        subject::drop_soci_index(&mut image, before, (target, &sealed), env, &mut report)?;
        let Encoded { documents, root } = target.encode(&image, &sealed, env, &mut report)?;
        if let Some(restored) = planned
            .restored
            .as_ref()
            .filter(|it| it.bytes != root.bytes)
        {
            let digests = [&restored.bytes, &root.bytes]
                .map(|bytes| imgconv_stream::digest(Algorithm::Sha256, bytes));
            let what = "the restored manifest";
            return Err(Error::mismatch(what, digests[0], digests[1]));
        }
        // Schema 1 has no config: the documents beside a schema 1 manifest are layers.
        let has_config = target.id() != SCHEMA1;
        let mut config = None;
        let limits = &request.env.limits;
        for document in &documents {
            let algorithm = algorithm_in(&root, document, limits);
            let stored = self.output.document(document, algorithm)?;
            if has_config {
                config.get_or_insert(stored.digest);
            }
        }
        let mut child = self.store_root(&self.signed(root)?, node.child.as_ref())?;
        let mut reversal = match content {
            Some(content) => Some(self.reversal(planned, (node, &child), &sealed, content)?),
            None => None,
        };
        match &planned.docker {
            None => {}
            Some(DockerKeepsake::Archive(kept)) => self.keep(kept, node, &child, &sealed),
            Some(DockerKeepsake::Schema1(document, digest)) => {
                let stored = self.output.manifest_record(&child, (document, digest))?;
                reversal = stored.map(|(artifact, size)| self.add_record(artifact, size));
            }
        }
        if planned.docker.is_some() {
            // The record holds the documents of the image as they are.
            report
                .losses
                .retain(|loss| loss.outcome != LossKind::Dropped);
        }
        if planned.restored.is_some() {
            // The manifest says all that it said before.
            report.losses.clone_from(&planned.report.losses);
        }
        if let Some(image) = &source_image {
            let written = (&child, config);
            preserve::image(
                request,
                (node, target.id()),
                image,
                &planned.layers,
                written,
            )?;
        }
        // The platform of the config: the given one, the assumed one, or none.
        let assumed = report.losses.iter().any(|loss| loss.field == "platform");
        child.platform = match &image.platform {
            platform if assumed && !platform.is_complete() => Some(platform.completed(&env.host)),
            // Readers refuse such a descriptor of a layout (robustness K13). The descriptor of a
            // copy had no platform before.
            platform if !is_platform(platform) => {
                let copied = node.child.as_ref().map(|old| old.digest) == Some(child.digest);
                let why = format!(
                    "a descriptor can't have the platform {}; only the config keeps the platform",
                    quote(platform.to_string())
                );
                if request.place.has_descriptors() && !copied {
                    report.lose("index.manifests.platform", LossKind::Dropped, why);
                }
                None
            }
            platform if !platform.os.is_empty() => Some(platform.clone()),
            _ => None,
        };
        let platform = child.platform.as_ref().unwrap_or(&image.platform);
        let mut outcome = ImageOutcome {
            format: target.id().to_string(),
            platform: Some(platform.to_string()),
            digest: Some(child.digest.to_string()),
            source_digest: node.child.as_ref().map(|child| child.digest.to_string()),
            source_config: node.config_digest(limits).map(|it| it.to_string()),
            config: config.map(|digest| digest.to_string()),
            image_id: node.image_id().map(|id| id.image_id()),
            reversal,
            exact: planned.restored.is_some() && self.output.is_final(),
            layers,
            ..ImageOutcome::default()
        };
        if self.output.is_final() {
            let bytes = sealed.iter().map(|layer| layer.size).sum();
            let change = || ChangeOutcome::new(&planned.image, sealed.len(), bytes);
            outcome.change = request.options.change.then(change);
        } else {
            outcome.plan = Some(match &planned.restored {
                Some(_) => "restore the manifest exactly".to_owned(),
                None => planned.layers.to_string(),
            });
            let manifest = node.child.as_ref().map(|child| child.digest);
            let kept = |before: Option<Digest>, now| before.filter(|before| Some(*before) == now);
            let config_before = node.config_digest(limits);
            let mut documents = Vec::new();
            if config.is_some() {
                documents.push(PlannedDocument::new("config", kept(config_before, config)));
            }
            let now = Some(child.digest);
            documents.push(PlannedDocument::new("manifest", kept(manifest, now)));
            outcome.planned = Some(PlannedOutcome {
                documents,
                layers: planned_layers(&planned.image, &planned.layers, &sealed),
            });
            (outcome.digest, outcome.config, outcome.layers) = (None, None, Vec::new());
        }
        report.merge(env.notes.snapshot());
        outcome.add_report(report);
        Ok((child, outcome))
    }

    /// Stores the record of the ACI that became an image.
    fn reversal(
        &mut self,
        planned: &PlannedImage,
        (node, subject): (&ImageNode, &Child),
        sealed: &[SealedLayer],
        content: Content,
    ) -> Result<ReversalOutcome> {
        let keepsake = planned.reversal.clone().unwrap_or_default();
        let own = sealed.last().expect("an ACI has a layer");
        let record = RecordOf {
            subject,
            node,
            diff_id: own.diff_id,
        };
        let (artifact, size) = self.output.reversal(record, content, &keepsake)?;
        Ok(self.add_record(artifact, size))
    }

    /// Notes a written image of a docker archive: the record is made when all images of the archive are written.
    fn keep(
        &mut self,
        kept: &Arc<KeptArchive>,
        node: &ImageNode,
        subject: &Child,
        sealed: &[SealedLayer],
    ) {
        let Some(root) = node.child.as_ref().map(|child| child.digest) else {
            return;
        };
        let image = ArchiveImage {
            subject: subject.clone(),
            layers: node.image.layers.clone(),
            sealed: sealed.to_vec(),
        };
        let known = self.archives.iter_mut();
        let known = known
            .into_iter()
            .find(|(known, _)| Arc::ptr_eq(known, kept));
        match known {
            Some((_, images)) => drop(images.insert(root, image)),
            None => {
                let images = BTreeMap::from([(root, image)]);
                self.archives.push((Arc::clone(kept), images));
            }
        }
    }

    /// Stores the records of docker archives, after all their images.
    fn archive_records(&mut self, items: &mut [Item]) -> Result<()> {
        for (kept, mut images) in std::mem::take(&mut self.archives) {
            let own = kept.whole.images.iter();
            let own: Vec<ArchiveImage> = own.filter_map(|it| images.remove(&it.root)).collect();
            let own: Vec<&ArchiveImage> = own.iter().collect();
            let env = &self.request.env.with_notes(&Notes::default());
            let Some((artifacts, size)) = self.output.archive_record(&kept, &own, env)? else {
                continue;
            };
            let mut report = env.notes.take();
            for (image, artifact) in own.iter().zip(artifacts) {
                let reversal = self.add_record(artifact, size);
                let digest = Some(image.subject.digest.to_string());
                let outcomes = items.iter_mut().flat_map(|item| &mut item.images);
                for outcome in outcomes.filter(|outcome| outcome.digest == digest) {
                    outcome.reversal = Some(reversal.clone());
                    outcome.add_report(std::mem::take(&mut report));
                }
            }
        }
        Ok(())
    }

    /// Adds an artifact to those that are published, each once: the last record of an image is the newest.
    fn add_record(&mut self, artifact: Child, size: u64) -> ReversalOutcome {
        let digest = artifact.digest;
        self.records
            .retain(|item| item.publication.root.digest != digest);
        self.records.push(Item {
            publication: Publication::of(artifact),
            images: Vec::new(),
        });
        ReversalOutcome {
            digest: digest.to_string(),
            size,
        }
    }

    /// Writes the archive that an image was made of, or the image anew if no record gives the archive back.
    fn whole(
        &mut self,
        planned: &PlannedWhole<'_>,
        node: &ImageNode,
    ) -> Result<(Child, ImageOutcome)> {
        let request = self.request;
        let env = &planned.image.env(node, request.env);
        let digest = node.child.as_ref().map(|child| child.digest);
        // The last record of a list is the newest.
        let (mut failed, mut found) = (Vec::new(), None);
        for exact in planned.exact.iter().rev() {
            match self.restore(exact, env)? {
                Ok(whole) => {
                    found = Some((exact, whole));
                    break;
                }
                Err(error) => failed.push((exact, error)),
            }
        }
        // An older record is used if the newest is damaged, which is told.
        let (instead, mut bad) = match found {
            Some(_) => (OLDER, planned.told.clone()),
            None => (ANEW, Report::default()),
        };
        for (exact, error) in failed {
            let record = format!("artifact {}", exact.record_of(digest).digest);
            if request.options.exact {
                // Damage, whatever shows it.
                let message = format!("the record does not give back the archive: {error}");
                return Err(Error::new(Code::Mismatch, message).at(record));
            }
            let message =
                format!("{instead}, because the record does not give back its archive: {error}");
            bad.warn(BAD_RECORD, record, message);
        }
        let Some((exact, whole)) = found else {
            for warning in bad.warnings {
                env.notes.warn(warning.code, warning.at, warning.message);
            }
            return self.image(&planned.image, node);
        };
        let (child, mut outcome) = self.restored(planned, exact, node, whole);
        outcome.add_report(bad);
        Ok((child, outcome))
    }

    /// Restores an archive, once for all of its images.
    ///
    /// # Errors
    /// If the run ends.
    fn restore(&mut self, exact: &PlannedDocker<'_>, env: &Env) -> Result<Restored> {
        let record = exact.records[0].digest;
        if let Some(restored) = self.wholes.get(&record) {
            return Ok(restored.clone());
        }
        let restored = match self.output.whole(exact, env) {
            Err(error) if ends(&error, self.request.options.exact) => return Err(error),
            restored => restored.map_err(|error| error.to_string()),
        };
        self.wholes.insert(record, restored.clone());
        Ok(restored)
    }

    /// Describes a restored archive.
    fn restored(
        &self,
        planned: &PlannedWhole<'_>,
        exact: &PlannedDocker<'_>,
        node: &ImageNode,
        (digest, size): (Digest, u64),
    ) -> (Child, ImageOutcome) {
        let limits = &self.request.env.limits;
        let source = node.child.as_ref().map(|child| child.digest);
        let names = exact.names_of(source);
        let child = Child::new(WHOLE_ARCHIVE, digest, size);
        let is_final = self.output.is_final();
        let mut outcome = ImageOutcome {
            format: FormatId::DOCKER_V1.to_string(),
            platform: Some(planned.image.image.platform.to_string()),
            digest: is_final.then(|| digest.to_string()),
            source_digest: node.child.as_ref().map(|child| child.digest.to_string()),
            source_config: node.config_digest(limits).map(|it| it.to_string()),
            name: names.first().cloned(),
            exact: is_final,
            plan: (!is_final).then(|| "restore the archive exactly".to_owned()),
            ..ImageOutcome::default()
        };
        // The archive has all fields of the image, so the losses of a new archive do not hold.
        let mut report = Report::default();
        for warning in &node.report.warnings {
            report.warn(warning.code, warning.at.clone(), warning.message.clone());
        }
        if let Some(name) = source.and_then(|source| exact.missing.get(&source)) {
            let names = names.join(", ");
            let message = format!("the restored archive names the image {names}, and not {name}");
            let at = format!("artifact {}", exact.record_of(source).digest);
            report.warn("other-name", at, message);
        }
        outcome.add_report(report);
        (child, outcome)
    }

    /// Assembles the entries of an index, and the index over them.
    fn index(
        &mut self,
        planned: &PlannedIndex<'s>,
        index: &Index,
        child: &Child,
        children: &[Option<Arc<Node>>],
    ) -> Result<Written> {
        if children.is_empty() && self.request.options.platforms.is_empty() {
            return self.empty_index(index, child);
        }
        let mut report = planned.report.clone();
        let place = format!("index {}", child.digest);
        let mut kept: Vec<Option<Child>> = vec![None; children.len()];
        let mut images: Vec<ImageOutcome> = Vec::new();
        // An image that is listed again, here or below, is reported once (robustness C7b).
        let mut told = BTreeSet::new();
        let all: BTreeSet<Digest> = index.children.iter().map(|child| child.digest).collect();
        let planned_at: BTreeSet<usize> = planned.entries.iter().map(|it| it.position).collect();
        for (position, child) in children.iter().enumerate() {
            if let Some(child) = child.as_ref().filter(|_| !planned_at.contains(&position)) {
                self.known.leave_out(child);
            }
        }
        for entry in &planned.entries {
            let listed = &index.children[entry.position];
            let subject = entry.subject.as_ref();
            let keeps_missing = self.request.options.missing == Missing::Keep;
            if (entry.node.is_some() || keeps_missing)
                && let Some(subject) = subject
                && !self.known.survives(subject, &all, listed, &mut report)
            {
                continue;
            }
            let Some(node) = &entry.node else {
                lost::missing_child(listed, &place, self.request, &mut report)?;
                if keeps_missing {
                    self.known.note_missing(listed);
                    kept[entry.position] = Some(listed.clone());
                }
                continue;
            };
            let (new, outcomes) = self.node(node)?;
            images.extend(outcomes.into_iter().filter(|outcome| {
                let source = outcome.source_digest.clone();
                source.is_none_or(|source| told.insert(source))
            }));
            kept[entry.position] = match new {
                // A platform that was read from an image serves for choosing; an unchanged entry
                // keeps its text.
                Some(new) if new.digest == listed.digest => Some(listed.clone()),
                Some(new) => Some(descriptors::of_entry(
                    new,
                    listed,
                    self.request,
                    &mut report,
                )?),
                None => None,
            };
        }
        let platforms = match self.request.capabilities.index {
            true => Vec::new(),
            false => platforms(index, children, &kept),
        };
        let first = kept.iter().position(Option::is_some).unwrap_or_default();
        let kept: Vec<Child> = kept.into_iter().flatten().collect();
        if kept.is_empty() {
            self.left_behind.merge(report);
            return Ok((None, Vec::new()));
        }
        let subject = index.subject.map(|subject| subject.to_string());
        let outdated = subject.and_then(|subject| self.known.outdated(&subject));
        let changed;
        let index = match outdated.filter(|_| self.request.capabilities.index) {
            Some(why) => {
                changed = subject::drop_of_index(index, &why, self.request.env, &mut report)?;
                &changed
            }
            None => index,
        };
        let root = if self.request.capabilities.index {
            let stored = self.store_index(&kept, index, child)?;
            let same = Some(child.digest).filter(|digest| *digest == stored.digest);
            for planned in images.iter_mut().filter_map(|image| image.planned.as_mut()) {
                let document = PlannedDocument::new("index", same);
                planned.documents.push(document);
            }
            preserve::index(self.request, child, Some(&stored))?;
            stored
        } else {
            let [one] = &kept[..] else {
                return Err(one_platform(self.request, &platforms));
            };
            let node = children[first].as_deref();
            report.merge(self.lost_index(index, child, (&index.children[first], node))?);
            one.clone()
        };
        match images.first_mut() {
            Some(first) => first.add_report(report),
            None => self.left_behind.merge(report),
        }
        Ok((Some(root), images))
    }

    /// Reports what is lost if only the one image of an index is written.
    fn lost_index(
        &self,
        index: &Index,
        child: &Child,
        (listed, node): (&Child, Option<&Node>),
    ) -> Result<Report> {
        let env = self.request.env;
        preserve::index(self.request, child, None)?;
        let mut report = Report::default();
        let why = lost::no_index(self.request);
        lost::index(index, &why, env, &mut report)?;
        for key in listed.annotations.keys().filter(|key| is_name(key)) {
            let field = format!("index.manifests.annotations.{key}");
            report.lose(field, LossKind::Dropped, &*why);
        }
        if let Some(node) = node {
            lost::descriptor(listed, node, &why, env, &mut report)?;
        }
        if let Some(Node::Image(image)) = node {
            lost::variant(listed, image, &why, &mut report);
        }
        Ok(report)
    }

    /// Writes an index over the written entries. An index with unchanged entries keeps its bytes,
    /// whichever family it is of, unless the user named a format.
    fn store_index(&self, kept: &[Child], index: &Index, child: &Child) -> Result<Child> {
        let document = match !self.request.asked && kept == index.children {
            true => index.document.clone(),
            false => self
                .request
                .documents_format()
                .encode_index(kept, Some(index))?,
        };
        self.store_root(&document, Some(child))
    }

    /// Copies an index without entries.
    fn empty_index(&mut self, index: &Index, child: &Child) -> Result<Written> {
        if !self.request.capabilities.index {
            let field = format!("index {}", child.digest);
            self.left_behind
                .lose(field, LossKind::Dropped, lost::no_index(self.request));
            return Ok((None, Vec::new()));
        }
        let stored = self.store_index(&[], index, child)?;
        preserve::index(self.request, child, Some(&stored))?;
        let outcome = ImageOutcome {
            format: self.request.target.id().to_string(),
            digest: Some(stored.digest.to_string()),
            source_digest: Some(child.digest.to_string()),
            ..ImageOutcome::default()
        };
        Ok((Some(stored), vec![outcome]))
    }

    fn artifact(&mut self, planned: &PlannedArtifact<'_>) -> Result<Written> {
        let PlannedArtifact {
            opaque,
            child,
            kind,
            bundle: _,
            images,
        } = planned;
        let subject = opaque.subject.map(|subject| subject.to_string());
        // A document about an image that is not wanted is left out with the image.
        if subject
            .as_ref()
            .is_some_and(|it| self.known.is_left_out(it))
        {
            return Ok((None, Vec::new()));
        }
        if let Some(why) = subject.and_then(|subject| self.known.outdated(&subject)) {
            let field = format!("{} {}", opaque.what, child.digest);
            self.left_behind.lose(field, LossKind::Dropped, why);
            return Ok((None, Vec::new()));
        }
        match self.output.artifact(planned) {
            Ok(()) => {}
            // The image is whole without its record.
            Err(error) if holds_record(opaque) && !stops(&error) => {
                let field = format!("{} {}", opaque.what, child.digest);
                let why = format!("{UNREAD}: {error}");
                self.left_behind.lose(field, LossKind::Dropped, why);
                return Ok((None, Vec::new()));
            }
            Err(error) => return Err(error),
        }
        self.copied.push((child.digest, images.clone()));
        let outcome = ImageOutcome {
            format: self.request.target.id().to_string(),
            digest: Some(child.digest.to_string()),
            source_digest: Some(child.digest.to_string()),
            ..ImageOutcome::default()
        };
        let mut child = child.clone();
        if child.kind.is_empty() {
            child.kind.clone_from(kind);
        }
        Ok((Some(child), vec![outcome]))
    }

    /// Warns about copied records of docker archives whose images are not all copied: all roots are assembled.
    fn warn_incomplete(&mut self) {
        for (artifact, images) in &self.copied {
            let missing = images.iter().filter(|image| !self.known.is_kept(image));
            let missing: Vec<String> = missing.map(ToString::to_string).collect();
            if !missing.is_empty() {
                let message = format!(
                    "the record gives back a docker archive of several images only together with all of them, and these \
                     are not copied along as they are: {}",
                    some_of(&missing, 10)
                );
                let at = format!("artifact {artifact}");
                self.left_behind.warn("incomplete-archive", at, message);
            }
        }
    }

    /// Stores the document that `before` became: under the same digest if the bytes are the same,
    /// whatever the algorithm.
    fn store_root(&self, document: &Document, before: Option<&Child>) -> Result<Child> {
        let algorithm = before.map(|before| before.digest.algorithm());
        let same = algorithm.filter(|algorithm| {
            let now = imgconv_stream::digest(*algorithm, &document.bytes);
            before.is_some_and(|before| before.digest == now)
        });
        self.output
            .document(document, same.unwrap_or(Algorithm::Sha256))
    }

    /// Signs the manifest that is about to be stored, if there is a key.
    fn signed(&self, root: Document) -> Result<Document> {
        let Some(key) = &self.request.key else {
            return Ok(root);
        };
        let bytes = sign(&root.bytes, key).map_err(|error| match error.code() {
            Code::Usage => error.hint("leave out `--sign-key`: the manifest keeps its signatures"),
            _ => error,
        })?;
        Ok(Document {
            kind: imgconv_format_docker_v2s1::SIGNED.to_owned(),
            bytes: bytes.into(),
        })
    }
}

/// The platforms and digests of the images below the entries of an index that are written.
fn platforms(
    index: &Index,
    children: &[Option<Arc<Node>>],
    written: &[Option<Child>],
) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for ((listed, node), written) in index.children.iter().zip(children).zip(written) {
        let Some(node) = node.as_deref().filter(|_| written.is_some()) else {
            continue;
        };
        for (image, below) in node.images() {
            let digest = image.child.as_ref().map(|child| child.digest.to_string());
            found.push((spec_of(image, below.or(Some(listed))).to_string(), digest));
        }
    }
    found
}

/// Describes what would become of each layer of an image.
fn planned_layers(image: &Image, plan: &LayerPlan, expected: &[SealedLayer]) -> Vec<PlannedLayer> {
    let steps = plan.steps.iter().zip(&plan.reasons).zip(expected);
    let tell = |((step, reason), expected): ((&LayerStep, &Reason), &SealedLayer)| {
        let from = match step {
            LayerStep::Keep(i) | LayerStep::Recompress(i, _) => vec![*i],
            LayerStep::Squash(from, _) => (*from..image.layers.len()).collect(),
        };
        let source = match from[..] {
            [one] => image.layers[one].blob.facts.digest,
            _ => None,
        };
        PlannedLayer {
            from,
            source: source.map(|digest| digest.to_string()),
            step: expected.step.to_string(),
            compression: expected.compression.to_string(),
            why: reason.to_string(),
        }
    };
    steps.map(tell).collect()
}
