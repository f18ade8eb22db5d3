//! The exact way back of old docker images: what is kept of an archive from before Docker 1.10 or of a schema 1
//! manifest that becomes OCI, and which records make an OCI image such an archive or manifest again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    ptr,
    sync::Arc,
};

use imgconv_format_docker_v2s1::{DOCKER_V2S1, manifest_digest};
use imgconv_model::{
    Bundle, Code, Compression, Digest, Document, DocumentFormat, Error, FormatFamily, FormatId,
    Image, Name, Report, Result, Transport as _, quote,
};
use imgconv_pipeline::{LayerStep, Options as LayerOptions, Plan as LayerPlan, Sealer};
use imgconv_transport_docker_archive::DOCKER_ARCHIVE;

use super::{
    data::{DockerKeepsake, KeptArchive, PlannedDocker},
    reversal::check_kept,
};
use crate::{
    check::some_of,
    choose::{
        docker_record::{check_record, ends, is_kept, of_target, restored_manifest},
        platforms::is_wanted,
        request::Request,
    },
    read::{
        docker_record::{DockerRecord, Kind, among},
        node::{ImageNode, Node},
        root::SourceRoot,
        spec::spec_of,
    },
};

/// The words for an image that is written because no record gives back the original.
pub(crate) const ANEW: &str = "the image is written anew";
/// The words for an older original, which is restored because the newest record is damaged.
pub(crate) const OLDER: &str = "an original is restored that was converted earlier";

/// Returns what a record keeps of an old docker image, if the user asked for records and the image is one.
///
/// # Errors
/// [`Code::Unsupported`] if there is no record of such an image, or the destination can't hold the record;
/// [`Code::Usage`] if the layers would be changed beside.
pub(super) fn keepsake(
    node: &ImageNode,
    root: &SourceRoot<'_>,
    (target, plan): (&'static dyn DocumentFormat, &LayerPlan),
    archives: &mut Archives,
    request: &Request<'_>,
) -> Result<Option<DockerKeepsake>> {
    if !request.options.reversible || node.aci.is_some() {
        return Ok(None);
    }
    if node.format.facts().family == FormatFamily::Oci {
        return Ok(None);
    }
    let digest = node.child.as_ref().map(|child| child.digest);
    if node.format.id() == FormatId::DOCKER_V2S1 {
        check_kept("the layers of an image", target, request)?;
        return schema1(node, plan, request).map(Some);
    }
    let kept = digest.map(|digest| archives.of(&digest, root));
    let Some(kept) = kept.transpose()?.flatten() else {
        let message = "`--reversible` keeps the way back to ACIs, to docker archives from before Docker 1.10 and to \
                       manifests of schema 1 only";
        return Err(Error::new(Code::Unsupported, message)
            .hint("leave `--reversible` out for other sources"));
    };
    check_kept("the files of an archive", target, request)?;
    Ok(Some(DockerKeepsake::Archive(kept)))
}

/// The docker archives of which records are kept, by their locators, with the images that are planned.
#[derive(Debug, Default)]
pub(super) struct Archives(BTreeMap<String, (Arc<KeptArchive>, BTreeSet<Digest>)>);

impl Archives {
    /// The archive of an image; `None` if it is of another kind.
    fn of(&mut self, image: &Digest, root: &SourceRoot<'_>) -> Result<Option<Arc<KeptArchive>>> {
        let locator = root.holder().locator();
        if let Some((kept, planned)) = self.0.get_mut(&locator) {
            planned.insert(*image);
            return Ok(Some(Arc::clone(kept)));
        }
        let Some(whole) = root.holder().whole(image)? else {
            return Ok(None);
        };
        let scheme = DOCKER_ARCHIVE.place().scheme;
        let path = locator.strip_prefix(scheme);
        let path = path.and_then(|path| path.strip_prefix(':'));
        let name = Path::new(path.unwrap_or(&locator)).file_name();
        let name = name.and_then(|name| name.to_str());
        let name = name.filter(|name| *name != "-" && !name.chars().any(char::is_control));
        let file = name.map(str::to_owned);
        let kept = Arc::new(KeptArchive { whole, file });
        self.0
            .insert(locator, (Arc::clone(&kept), BTreeSet::from([*image])));
        Ok(Some(kept))
    }

    /// Refuses archives of which an image is not converted: a record is about all of them.
    ///
    /// # Errors
    /// [`Code::Unsupported`].
    pub(super) fn check(&self) -> Result<()> {
        for (locator, (kept, planned)) in &self.0 {
            let images = kept.whole.images.iter();
            let left_out = images.filter(|image| !planned.contains(&image.root));
            let told = left_out.map(|image| match image.names.first() {
                Some(name) => quote(name),
                None => image.root.to_string(),
            });
            let unreadable = kept.whole.unreadable.iter().map(|id| quote(id.as_str()));
            let told: Vec<String> = told.chain(unreadable).collect();
            if !told.is_empty() {
                let message = format!(
                    "`--reversible` keeps the way back to a docker archive with all of its images, and these are not \
                     converted: {}",
                    some_of(&told, 10)
                );
                return Err(Error::new(Code::Unsupported, message).at(locator).hint(
                    "convert all images of the archive at once, or leave `--reversible` out",
                ));
            }
        }
        Ok(())
    }
}

fn schema1(node: &ImageNode, plan: &LayerPlan, request: &Request<'_>) -> Result<DockerKeepsake> {
    let mut originals = node.image.originals.iter();
    let own = originals.find(|it| it.format == FormatId::DOCKER_V2S1 && it.role == "manifest");
    let document = own
        .expect("a decoded image has its manifest")
        .document
        .clone();
    let env = request.env;
    let options = LayerOptions::default();
    let back = Sealer::plan(
        &node.image.layers,
        &DOCKER_V2S1.facts().capabilities,
        &options,
        env,
    )?;
    if !kept(plan) || !kept(&back) {
        let message = "`--reversible` keeps the layers of a schema 1 image as they are, and a layer would be compressed anew";
        let asked = request.options.layers.compression.is_some() || request.options.layers.force;
        return Err(match asked {
            true => Error::new(Code::Usage, message).hint("leave `--compression` out"),
            false => Error::new(Code::Unsupported, message).hint("leave `--reversible` out"),
        });
    }
    if !is_kept(&node.image, &document, env)? {
        let message = "`--reversible` can't keep the way back to this manifest: its layers are named by tar sums, which \
                       only their registry knows";
        return Err(Error::new(Code::Unsupported, message).hint("leave `--reversible` out"));
    }
    let digest = manifest_digest(&document.bytes)?;
    Ok(DockerKeepsake::Schema1(document, digest))
}

/// Says whether every layer keeps its stored bytes.
fn kept(plan: &LayerPlan) -> bool {
    let mut steps = plan.steps.iter();
    steps.all(|step| matches!(step, LayerStep::Keep(_)))
}

/// An artifact with its root and its digest, or the fault of its manifest.
type Found<'s> = (&'s SourceRoot<'s>, Digest, Result<DockerRecord, String>);

/// The artifacts of old docker images among the roots that the destination may get back.
#[derive(Debug, Default)]
pub(super) struct DockerRecords<'s> {
    kind: Option<Kind>,
    by_subject: BTreeMap<Digest, Vec<Found<'s>>>,
    /// The names of each image in the source. The original of one name is not that of another.
    names: BTreeMap<Digest, Vec<Name>>,
    /// The images that are converted.
    wanted: BTreeMap<Option<Digest>, (&'s ImageNode, &'s SourceRoot<'s>)>,
    /// The archives that the artifacts are about, oldest first.
    archives: Vec<Candidate<'s>>,
    /// The choice among the archives, once it is made.
    choice: Option<Arc<Choice<'s>>>,
    /// The artifacts by which an original is made again, and those whose fault was told.
    used: BTreeSet<Digest>,
    /// The reasons why the originals of the other artifacts are not made again, where a reason is known.
    unused: BTreeMap<Digest, String>,
}

/// A docker archive that may be restored: the artifacts with its record, each about an image.
#[derive(Clone, Debug)]
struct Candidate<'s> {
    records: Vec<DockerRecord>,
    /// The places that have the record.
    bundles: Vec<&'s dyn Bundle>,
}

/// A record that is damaged or foreign: its artifacts, and the error.
type Bad = (Vec<DockerRecord>, String);

/// The choice among the archives that the converted images were made of.
#[derive(Debug)]
struct Choice<'s> {
    /// The records by which the archive may be restored, the best last.
    planned: Arc<[PlannedDocker<'s>]>,
    /// The records that do not give back their archives, and are newer than one that does.
    bad: Vec<Bad>,
    /// The artifacts that are passed over, and the images that are missing for them.
    incomplete: Vec<(Digest, Vec<Digest>)>,
    /// The text of the warning about several archives.
    several: Option<String>,
}

impl<'s> DockerRecords<'s> {
    pub(super) fn of(roots: &'s [SourceRoot<'s>], request: &Request<'_>) -> Self {
        let mut records = Self {
            kind: of_target(request),
            ..Self::default()
        };
        let platforms = &request.options.platforms;
        for root in roots {
            let name = root.name().ok().flatten();
            // A tag alone tells no name.
            let name = name.filter(|name| name.repository.is_some());
            for (image, listed) in root.node.images() {
                let digest = image.child.as_ref().map(|child| child.digest);
                if is_wanted(platforms, &spec_of(image, listed)) {
                    records.wanted.entry(digest).or_insert((image, root));
                }
                if let (Some(digest), Some(name)) = (digest, &name) {
                    records.names.entry(digest).or_default().push(name.clone());
                }
            }
        }
        let nodes = roots.iter().map(|root| &*root.node);
        for (position, child, read) in among(nodes, &request.env.limits) {
            let root = &roots[position];
            if let Ok(record) = &read
                && record.kind == Kind::Archive
            {
                records.add(record.clone(), root.holder());
            }
            let subject = match &read {
                Ok(record) if Some(record.kind) != records.kind => None,
                Ok(record) => Some(record.subject),
                Err(_) => root.node.subject(),
            };
            if let Some(subject) = subject {
                let read = read.map_err(|error| error.to_string());
                let found = records.by_subject.entry(subject).or_default();
                found.push((root, child.digest, read));
            }
        }
        records
    }

    /// Adds an artifact to the archives. The last artifact of an archive gives its place in the order.
    fn add(&mut self, record: DockerRecord, bundle: &'s dyn Bundle) {
        let is_same = |one: &Candidate<'_>| {
            let of = |record: &DockerRecord| (record.record.digest, record.original);
            of(&one.records[0]) == of(&record) && one.records[0].images == record.images
        };
        let known = self.archives.iter().position(is_same);
        let mut candidate = match known {
            Some(known) => self.archives.remove(known),
            None => Candidate {
                records: Vec::new(),
                bundles: Vec::new(),
            },
        };
        candidate.records.push(record);
        let mut known = candidate.bundles.iter();
        if !known.any(|known| ptr::addr_eq(*known, bundle)) {
            candidate.bundles.push(bundle);
        }
        self.archives.push(candidate);
    }

    /// The images of an archive that are not converted.
    fn missing(&self, candidate: &Candidate<'_>) -> Vec<Digest> {
        let images = candidate.records[0].images.iter();
        let missing = images.filter(|image| !self.wanted.contains_key(&Some(**image)));
        missing.copied().collect()
    }

    /// Says whether an artifact is used, so that nothing of it is lost, or whether its fault was told.
    pub(super) fn is_used(&self, digest: &Digest) -> bool {
        self.used.contains(digest)
    }

    /// Says whether a document under the tag that names its subject is such an artifact, or a list of such artifacts
    /// only, and all of them are used.
    pub(super) fn are_all_used(&self, node: &Node) -> bool {
        let is_used =
            |node: &Node| matches!(node, Node::Opaque { child, .. } if self.is_used(&child.digest));
        match node {
            Node::Index { children, .. } => {
                let mut children = children.iter();
                children.len() > 0 && children.all(|child| child.as_deref().is_some_and(is_used))
            }
            node => is_used(node),
        }
    }

    /// The reason why the original of an artifact is not made again, if a reason is known.
    pub(super) fn why_not(&self, digest: &Digest) -> Option<&str> {
        self.unused.get(digest).map(String::as_str)
    }

    /// Notes the reason why an original is not made again.
    fn leave(&mut self, kind: Kind, records: &[DockerRecord], why: &str) {
        let why = format!("{} is not restored, because {why}", kind.original());
        let records = records.iter();
        self.unused
            .extend(records.map(|record| (record.digest, why.clone())));
    }

    /// The records of an image, oldest first, for a destination of that kind. An error of a record's manifest is a
    /// warning.
    ///
    /// # Errors
    /// If the user wants nothing else than the original, and there is no way to it.
    fn about(
        &mut self,
        kind: Kind,
        node: &ImageNode,
        request: &Request<'_>,
        report: &mut Report,
    ) -> Result<Vec<(&'s SourceRoot<'s>, DockerRecord)>> {
        let only = request.options.exact;
        let is_schema1 = node.format.id() == FormatId::DOCKER_V2S1;
        if self.kind != Some(kind) || (kind == Kind::Schema1 && is_schema1) {
            return Ok(Vec::new());
        }
        let found_digest = node.child.as_ref().map(|child| child.digest);
        let found = found_digest.and_then(|digest| self.by_subject.get(&digest));
        let mut records = Vec::new();
        for (root, digest, read) in found.into_iter().flatten() {
            match read {
                Ok(record) => records.push((*root, record.clone())),
                Err(message) if only => {
                    let message =
                        format!("the record of {} is damaged: {message}", kind.original());
                    return Err(Error::new(Code::Mismatch, message));
                }
                Err(message) => {
                    self.used.insert(*digest);
                    not_used(kind, ANEW, ("reversal", message), report);
                }
            }
        }
        let is_listed = |candidate: &Candidate<'_>| {
            let images = &candidate.records[0].images;
            kind == Kind::Archive && found_digest.is_some_and(|digest| images.contains(&digest))
        };
        if only && records.is_empty() && !self.archives.iter().any(is_listed) {
            let message = format!(
                "`--exact` needs a record of {} that the image was made of, and there is none",
                kind.original()
            );
            return Err(Error::new(Code::Missing, message).hint(
                "`--reversible` makes the record when an old docker image is converted to OCI; without `--exact` the image is \
                 written anew",
            ));
        }
        Ok(records)
    }

    /// The names of an image in the source.
    fn names_of(&self, node: &ImageNode) -> &[Name] {
        let names = node
            .child
            .as_ref()
            .and_then(|child| self.names.get(&child.digest));
        names.map_or(&[], |names| &**names)
    }

    /// Plans the ways in which an image becomes the archive again that it was made of, with all other images of the
    /// archive.
    ///
    /// # Errors
    /// If the user wants nothing else and there is no such way.
    pub(super) fn archives(
        &mut self,
        node: &ImageNode,
        request: &Request<'_>,
        report: &mut Report,
    ) -> Result<(Arc<[PlannedDocker<'s>]>, Report)> {
        self.about(Kind::Archive, node, request, report)?;
        let mut told = Report::default();
        if self.kind != Some(Kind::Archive) {
            return Ok((Arc::default(), told));
        }
        let choice = match &self.choice {
            Some(choice) => Arc::clone(choice),
            None => {
                let choice = Arc::new(self.choose(request)?);
                self.choice = Some(Arc::clone(&choice));
                choice
            }
        };
        let digest = node.child.as_ref().map(|child| child.digest);
        let restored = !choice.planned.is_empty();
        let (instead, bad) = match restored {
            true => (OLDER, &mut told),
            false => (ANEW, &mut *report),
        };
        for (records, error) in &choice.bad {
            let own = records
                .iter()
                .filter(|record| Some(record.subject) == digest);
            for record in own {
                let at = format!("artifact {}", record.digest);
                not_used(Kind::Archive, instead, (&at, error), bad);
            }
        }
        if let Some(message) = choice.several.as_ref().filter(|_| restored) {
            told.warn("several-records", "reversal", message.clone());
        }
        for (artifact, missing) in choice.incomplete.iter().filter(|_| !restored) {
            let own = self.by_subject.get(&digest.unwrap_or(*artifact));
            if own.is_some_and(|own| own.iter().any(|(_, digest, _)| digest == artifact)) {
                let message = format!(
                    "{ANEW}, because the docker archive had other images too, which are not selected: {}",
                    list(missing)
                );
                report.warn(
                    "incomplete-archive",
                    format!("artifact {artifact}"),
                    message,
                );
            }
        }
        Ok((Arc::clone(&choice.planned), told))
    }

    /// Chooses among the archives that the converted images were made of. All of them are restored as one archive, or each is
    /// written anew.
    fn choose(&mut self, request: &Request<'_>) -> Result<Choice<'s>> {
        let exact = request.options.exact;
        let mut archives = self.archives.clone();
        archives.retain(|one| {
            let mut images = one.records[0].images.iter();
            images.any(|image| self.wanted.contains_key(&Some(*image)))
        });
        let chosen = by_user(&archives, request)?;
        for other in archives.iter().zip(&chosen).filter(|(_, chosen)| !**chosen) {
            // The user does not want it.
            let records = other.0.records.iter();
            self.used.extend(records.map(|record| record.digest));
        }
        let mut chosen = chosen.into_iter();
        archives.retain(|_| chosen.next().unwrap_or(true));
        let (mut incomplete, mut why) = (Vec::new(), None);
        let mut left: Vec<(Vec<DockerRecord>, String)> = Vec::new();
        archives.retain(|one| {
            let missing = self.missing(one);
            if missing.is_empty() && self.wanted.len() > one.records[0].images.len() {
                let more = self.more(one);
                left.push((one.records.clone(), more.text.clone()));
                why = Some(more);
                return false;
            }
            if !missing.is_empty() {
                let others = format!("its other images are not selected: {}", list(&missing));
                left.push((one.records.clone(), others));
            }
            let records = one.records.iter().filter(|_| !missing.is_empty());
            incomplete.extend(records.map(|record| (record.digest, missing.clone())));
            missing.is_empty()
        });
        // The original of one name is not that of another, unless the user gives the name or chooses the record. A
        // registry and a rename give an image another name: then the original comes back with its own names, and a warning.
        let given = request.given_name()?.is_some();
        let named = |one: &Candidate<'s>| -> (usize, BTreeMap<Digest, String>) {
            let (mut held, mut missing) = (0, BTreeMap::new());
            for record in &one.records {
                let root = self.wanted.get(&Some(record.subject));
                let renamed = root.is_some_and(|(_, root)| root.renamed.is_some());
                let own = self
                    .names
                    .get(&record.subject)
                    .filter(|_| !given && !renamed);
                for name in own.into_iter().flatten() {
                    match alike(record, name) {
                        true => held += 1,
                        false => {
                            missing.entry(record.subject).or_insert(name.to_string());
                        }
                    }
                }
            }
            (held, missing)
        };
        let mut archives: Vec<_> = archives.into_iter().map(|one| (named(&one), one)).collect();
        let most = archives.iter().map(|((held, _), _)| *held).max();
        let most = most
            .filter(|_| request.options.record.is_none())
            .unwrap_or(0);
        archives.retain(|((held, _), one)| {
            let best = most == 0 || *held == most;
            if !best {
                let others = "another archive has more of the names of its images".to_owned();
                left.push((one.records.clone(), others));
            }
            best
        });
        let (mut planned, mut bad, mut older): (Vec<PlannedDocker<'s>>, Vec<Bad>, Vec<Bad>) =
            Default::default();
        for ((_, missing), one) in archives {
            let Candidate { records, bundles } = one;
            let images = records[0].images.iter();
            let images: Vec<&ImageNode> =
                images.map(|image| self.wanted[&Some(*image)].0).collect();
            let change = match missing.values().next() {
                Some(name) if most > 0 => Some(Why::option(format!("the name `{name}`"))),
                _ => self.change(&records, request)?,
            };
            let (mut good, mut fault) = (Vec::new(), None);
            for bundle in bundles {
                let dry = request.options.dry_run;
                match check_record(&records[0], dry, bundle, &images, request.env) {
                    Ok(()) => good.push(bundle),
                    Err(error) if ends(&error, exact) => return Err(error),
                    Err(error) => fault = fault.or(Some(error)),
                }
            }
            if let Some(error) = fault.filter(|_| good.is_empty()) {
                bad.push((records, error.to_string()));
                continue;
            }
            if let Some(change) = change {
                left.push((records, change.text.clone()));
                why = Some(change);
                continue;
            }
            self.used.extend(records.iter().map(|record| record.digest));
            // A record that is damaged matters only if it is newer than the one that is used.
            older.append(&mut bad);
            planned.push(PlannedDocker {
                records,
                bundles: good,
                images,
                missing,
            });
        }
        let none = planned.is_empty() && bad.is_empty();
        if let (Some((_, missing)), Some(option), true) = (incomplete.first(), only(request), none)
        {
            let message = format!(
                "`{option}` restores the docker archive with all of its images, and these are not selected: {}",
                list(missing)
            );
            let hint = format!(
                "select all images of the archive; without `{option}` the image is written anew"
            );
            return Err(Error::new(Code::Missing, message).hint(hint));
        }
        refuse_change(Kind::Archive, none, why, request)?;
        if let Some((records, error)) = bad.first().filter(|_| exact) {
            let at = format!("artifact {}", records[0].digest);
            return Err(damage(Kind::Archive, error, at));
        }
        for (records, _) in older.iter().chain(&bad) {
            self.used.extend(records.iter().map(|record| record.digest));
        }
        for (records, why) in left {
            self.leave(Kind::Archive, &records, &why);
        }
        let told = incomplete.iter().filter(|_| planned.is_empty());
        self.used.extend(told.map(|(artifact, _)| *artifact));
        let last = planned.last().map(|one| one.records[0].original);
        let several = planned
            .iter()
            .any(|one| Some(one.records[0].original) != last);
        let texts: Vec<String> = planned.iter().map(|one| text(&one.records)).collect();
        Ok(Choice {
            several: several.then(|| {
                format!(
                    "the image was made of several archives, and the last of them is restored: {}; `--record` with a file \
                     name or a digest restores another",
                    some_of(&texts, 10)
                )
            }),
            planned: planned.into(),
            bad,
            incomplete,
        })
    }

    /// The change of an archive by images that it does not have.
    fn more(&self, candidate: &Candidate<'_>) -> Why {
        let own = &candidate.records[0].images;
        let more = self.wanted.iter();
        let more = more.filter(|(digest, _)| !digest.is_some_and(|digest| own.contains(&digest)));
        let more: Vec<String> = more
            .map(|(digest, (_, root))| {
                digest.map_or_else(|| root.text.clone(), |it| it.to_string())
            })
            .collect();
        let text = format!(
            "images that it does not have are selected too: {}",
            some_of(&more, 10)
        );
        Why {
            text,
            hint: "select the images of the archive only",
        }
    }

    /// Returns what the user wants that makes another archive of the images.
    fn change(&self, records: &[DockerRecord], request: &Request<'_>) -> Result<Option<Why>> {
        for (digest, (_, root)) in &self.wanted {
            let own = records
                .iter()
                .find(|record| Some(record.subject) == *digest);
            let names = own.map_or(&[][..], |record| &record.names);
            if let Some(why) = change(root, &[], request, |name| named(names, name))? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Finds the manifest that an image was made of. The image becomes the one that the manifest describes.
    ///
    /// # Errors
    /// If the user wants nothing else and there is no such manifest.
    pub(super) fn manifest(
        &mut self,
        (node, root): (&ImageNode, &SourceRoot<'_>),
        request: &Request<'_>,
        image: &mut Image,
        report: &mut Report,
    ) -> Result<Option<Document>> {
        let records = self.about(Kind::Schema1, node, request, report)?;
        let (mut why, mut bad) = (None, Vec::new());
        // The last record of a list is the newest.
        for (holder, record) in records.into_iter().rev() {
            let bundles = (holder.holder(), root.holder());
            let restored = restored_manifest(&record, bundles, &node.image, request.env);
            let (document, mut found) = match restored {
                Ok(restored) => restored,
                Err(error) if ends(&error, request.options.exact) => return Err(error),
                Err(error) => {
                    bad.push((record, error));
                    continue;
                }
            };
            let layers = &request.options.layers;
            let capabilities = &DOCKER_V2S1.facts().capabilities;
            let plan = Sealer::plan(&found.layers, capabilities, layers, request.env)?;
            let own = found.name.clone();
            let same = |name: &Name| {
                let given = Image {
                    name: Some(name.clone()),
                    ..found.clone()
                };
                own.is_some() && is_kept(&given, &document, request.env).unwrap_or(false)
            };
            why = change(root, self.names_of(node), request, same)?;
            if why.is_none() && !kept(&plan) {
                why = Some(Why::option("a layer that is compressed anew".to_owned()));
            }
            if let Some(why) = &why {
                self.leave(Kind::Schema1, &[record], &why.text);
                continue;
            }
            self.used.insert(record.digest);
            found.name = own;
            *image = found;
            report.losses.clear();
            self.refuse_bad((Kind::Schema1, OLDER), bad, request, report)?;
            return Ok(Some(document));
        }
        refuse_change(Kind::Schema1, bad.is_empty(), why, request)?;
        self.refuse_bad((Kind::Schema1, ANEW), bad, request, report)?;
        Ok(None)
    }

    /// Warns about records that do not give back the original, or refuses them where the user wants nothing else.
    fn refuse_bad(
        &mut self,
        (kind, instead): (Kind, &str),
        bad: Vec<(DockerRecord, Error)>,
        request: &Request<'_>,
        report: &mut Report,
    ) -> Result<()> {
        for (record, error) in bad {
            let at = format!("artifact {}", record.digest);
            if request.options.exact {
                return Err(damage(kind, &error.to_string(), at));
            }
            self.used.insert(record.digest);
            not_used(kind, instead, (&at, &error.to_string()), report);
        }
        Ok(())
    }
}

/// Says of each archive whether the user named it: by the name of the file, or by the digest of the archive or its start.
/// Without a choice all are named.
///
/// # Errors
/// [`Code::Missing`] if there are none.
fn by_user(archives: &[Candidate<'_>], request: &Request<'_>) -> Result<Vec<bool>> {
    let Some(wanted) = &request.options.record else {
        return Ok(vec![true; archives.len()]);
    };
    let is_named = |one: &Candidate<'_>| {
        let id = one.records[0].original.to_string();
        let mut files = one.records.iter().map(|record| &record.file);
        files.any(|file| file.as_ref() == Some(wanted))
            || wanted.len() > "sha256:".len() && id.starts_with(wanted)
    };
    let named: Vec<bool> = archives.iter().map(is_named).collect();
    if named.contains(&true) {
        return Ok(named);
    }
    let all: Vec<String> = archives.iter().map(|one| text(&one.records)).collect();
    let message = format!("there is no record of the docker archive {}", quote(wanted));
    Err(
        Error::new(Code::Missing, message).hint(match all.is_empty() {
            true => "the image has no record of a docker archive".to_owned(),
            false => format!("the image has records of: {}", some_of(&all, 10)),
        }),
    )
}

/// The archive in messages.
fn text(records: &[DockerRecord]) -> String {
    let original = records[0].original;
    match records.iter().find_map(|record| record.file.as_ref()) {
        Some(file) => format!("{} ({original})", quote(file)),
        None => original.to_string(),
    }
}

/// Digests in messages.
fn list(digests: &[Digest]) -> String {
    let list: Vec<String> = digests.iter().map(ToString::to_string).collect();
    some_of(&list, 10)
}

/// The error of a record that does not give back the original, whatever shows the damage.
fn damage(kind: Kind, error: &str, at: String) -> Error {
    let message = format!("the record does not give back {}: {error}", kind.original());
    Error::new(Code::Mismatch, message).at(at)
}

/// Warns about a record that does not give back the original.
fn not_used(kind: Kind, instead: &str, (at, error): (&str, &str), report: &mut Report) {
    let message = format!(
        "{instead}, because the record does not give back {}: {error}",
        kind.original()
    );
    report.warn("bad-record", at.to_owned(), message);
}

/// The reason why an original is not made again, as the end of a sentence about the original.
#[derive(Debug)]
struct Why {
    text: String,
    hint: &'static str,
}

impl Why {
    /// The reason is an option or a name.
    fn option(what: String) -> Self {
        Self {
            text: format!("{what} changes it"),
            hint: "leave one of the two out",
        }
    }
}

/// The option by which the user wants nothing else than the original, if there is one.
fn only(request: &Request<'_>) -> Option<&'static str> {
    match (request.options.exact, &request.options.record) {
        (true, _) => Some("--exact"),
        (false, Some(_)) => Some("--record"),
        (false, None) => None,
    }
}

/// Refuses a change of the original where the user wants nothing else.
fn refuse_change(kind: Kind, none: bool, why: Option<Why>, request: &Request<'_>) -> Result<()> {
    match (why, only(request)) {
        (Some(Why { text, hint }), Some(option)) if none => {
            let original = kind.original();
            let message = format!("`{option}` restores {original} as it was, and {text}");
            Err(Error::new(Code::Usage, message).hint(hint))
        }
        _ => Ok(()),
    }
}

/// Says whether a record has a name, at whatever host. An archive without names has every name.
fn alike(record: &DockerRecord, name: &Name) -> bool {
    let local = |name: &Name| {
        let name = name.qualified();
        let repository = name.repository.unwrap_or_default();
        let path = repository.split_once('/').map(|(_, path)| path.to_owned());
        (path.unwrap_or(repository), name.tag)
    };
    let read = |text: &String| Name::parse_reference(text).ok();
    let mut all = record.names.iter().filter_map(read);
    record.names.is_empty() || all.any(|own| local(&own) == local(name))
}

/// Says whether a name is one of an archive's.
pub(crate) fn named(names: &[String], name: &Name) -> bool {
    let read = |text: &String| Name::parse_reference(text).ok();
    let mut all = names.iter().filter_map(read);
    all.any(|own| own.qualified() == name.qualified())
}

/// Returns what the user wants that makes another original of the image. `own` are the names of the image in the
/// source, which count unless the user gives a name. `has` says whether a name is one of the original's.
fn change(
    root: &SourceRoot<'_>,
    own: &[Name],
    request: &Request<'_>,
    has: impl Fn(&Name) -> bool,
) -> Result<Option<Why>> {
    let options = request.options;
    let layers = &options.layers;
    let compressed = layers.compression.is_some_and(|it| it != Compression::None);
    let is_archive = of_target(request) == Some(Kind::Archive);
    for (given, option) in [
        (layers.squash.is_some(), "--squash"),
        (layers.clamp_mtime.is_some(), "--clamp-mtime"),
        (layers.force, "--force"),
        (layers.toc || is_archive && compressed, "--compression"),
        (options.sign_key.is_some(), "--sign-key"),
        (options.preserve_digests, "--preserve-digests"),
    ] {
        if given {
            return Ok(Some(Why::option(format!("`{option}`"))));
        }
    }
    let given = request.given_name()?;
    let more = options.more_names.iter();
    let more = more.map(|text| Name::parse_reference(text));
    let more = more.collect::<Result<Vec<Name>>>()?;
    let own = own
        .iter()
        .filter(|_| given.is_none() && root.renamed.is_none());
    let mut names = given.iter().chain(&more).chain(&root.renamed).chain(own);
    match names.find(|name| !has(name)) {
        Some(name) => Ok(Some(Why::option(format!("the name `{name}`")))),
        None => Ok(None),
    }
}
