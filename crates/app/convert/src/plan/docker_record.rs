//! The exact way back of old docker images: what is kept of an archive from before Docker 1.10 or of a schema 1
//! manifest that becomes OCI, and which records make an OCI image such an archive or manifest again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use imgconv_format_docker_v2s1::{DOCKER_V2S1, manifest_digest};
use imgconv_model::{
    Code, Compression, Digest, Document, DocumentFormat, Error, FormatFamily, FormatId, Image,
    Name, Report, Result,
};
use imgconv_pipeline::{LayerStep, Options as LayerOptions, Plan as LayerPlan, Sealer};

use super::{
    data::{DockerKeepsake, PlannedDocker},
    reversal::check_kept,
};
use crate::{
    choose::{
        docker_record::{check_record, ends, is_kept, of_target, restored_manifest},
        request::Request,
    },
    read::{
        docker_record::{DockerRecord, Kind, among},
        node::ImageNode,
        root::SourceRoot,
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
    let whole = digest.map(|digest| root.holder().whole(&digest));
    let Some(whole) = whole.transpose()?.flatten() else {
        let message = "`--reversible` keeps the way back to ACIs, to docker archives from before Docker 1.10 and to \
                       manifests of schema 1 only";
        return Err(Error::new(Code::Unsupported, message)
            .hint("leave `--reversible` out for other sources"));
    };
    check_kept("the files of an archive", target, request)?;
    if whole.images != 1 {
        let message = format!(
            "`--reversible` keeps the way back to a docker archive of one image, and this one has {}",
            whole.images
        );
        return Err(Error::new(Code::Unsupported, message)
            .hint("save each image to an archive of its own, or leave `--reversible` out"));
    }
    let locator = root.holder().locator();
    let name = Path::new(&locator)
        .file_name()
        .and_then(|name| name.to_str());
    let name = name.map(|name| name.rsplit_once(':').map_or(name, |(_, name)| name));
    let name = name.filter(|name| *name != "-" && !name.chars().any(char::is_control));
    Ok(Some(DockerKeepsake::Archive(
        Box::new(whole),
        name.map(str::to_owned),
    )))
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
    /// The artifacts by which an original is made again, and those whose fault was told.
    used: BTreeSet<Digest>,
}

impl<'s> DockerRecords<'s> {
    pub(super) fn of(roots: &'s [SourceRoot<'s>], request: &Request<'_>) -> Self {
        let mut records = Self {
            kind: of_target(request),
            ..Self::default()
        };
        for root in roots {
            let name = root.name().ok().flatten();
            // A tag alone tells no name.
            let name = name.filter(|name| name.repository.is_some());
            for (image, _) in root.node.images() {
                if let (Some(child), Some(name)) = (&image.child, &name) {
                    let names = records.names.entry(child.digest).or_default();
                    names.push(name.clone());
                }
            }
        }
        let nodes = roots.iter().map(|root| &*root.node);
        for (position, child, read) in among(nodes, &request.env.limits) {
            let root = &roots[position];
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

    /// Says whether an artifact is used, so that nothing of it is lost, or whether its fault was told.
    pub(super) fn is_used(&self, digest: &Digest) -> bool {
        self.used.contains(digest)
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
        let found = node.child.as_ref().map(|child| child.digest);
        let found = found.and_then(|digest| self.by_subject.get(&digest));
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
        if only && records.is_empty() {
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

    /// Plans the ways in which an image becomes the archive again that it was made of. `alone` is true if no other
    /// image is written.
    ///
    /// # Errors
    /// If the user wants nothing else and there is no such way.
    pub(super) fn archives(
        &mut self,
        (node, root): (&ImageNode, &SourceRoot<'_>),
        alone: bool,
        request: &Request<'_>,
        report: &mut Report,
    ) -> Result<(Vec<PlannedDocker<'s>>, Report)> {
        let mut planned = Vec::new();
        let mut records = self.about(Kind::Archive, node, request, report)?;
        // The original of one name is not that of another, unless the user gives the name. A registry and a rename
        // give an image another name: then the original comes back with its own names, and a warning.
        let mut own = self.names_of(node).to_vec();
        if request.given_name()?.is_some() || root.renamed.is_some() {
            own.clear();
        }
        let held = |record: &DockerRecord| own.iter().filter(|name| alike(record, name)).count();
        let most = records.iter().map(|(_, record)| held(record)).max();
        let most = most.unwrap_or(0);
        records.retain(|(_, record)| held(record) == most);
        let (mut why, mut bad, mut older) = (None, Vec::new(), Vec::new());
        for (holder, record) in records {
            let missing = own.iter().find(|name| !alike(&record, name));
            let change = match (alone, missing) {
                (false, _) => Some("an archive of several images".to_owned()),
                (true, Some(name)) if most > 0 => Some(format!("the name `{name}`")),
                (true, _) => change(root, &[], request, |name| named(&record.names, name))?,
            };
            let whole = request.options.dry_run;
            match check_record(&record, whole, holder.holder(), &node.image, request.env) {
                Ok(()) => {}
                Err(error) if ends(&error, request.options.exact) => return Err(error),
                Err(error) => {
                    bad.push((record, error));
                    continue;
                }
            }
            if change.is_some() {
                why = change;
                continue;
            }
            self.used.insert(record.digest);
            // A record that is damaged matters only if it is newer than the one that is used.
            older.append(&mut bad);
            planned.push(PlannedDocker {
                missing: missing.map(ToString::to_string),
                record,
                bundle: holder.holder(),
            });
        }
        refuse_change(
            Kind::Archive,
            planned.is_empty() && bad.is_empty(),
            why,
            request,
        )?;
        self.used
            .extend(older.iter().map(|(record, _)| record.digest));
        let mut told = Report::default();
        let Some(last) = planned.last().map(|one| one.record.original) else {
            self.refuse_bad((Kind::Archive, ANEW), bad, request, report)?;
            return Ok((planned, told));
        };
        self.refuse_bad((Kind::Archive, OLDER), bad, request, &mut told)?;
        if planned.iter().any(|one| one.record.original != last) {
            let message = "the image was made of several archives, and the last of them is restored; the other archives \
                           stay in the source alone";
            told.warn("several-records", "reversal", message);
        }
        Ok((planned, told))
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
                why = Some("a layer that is compressed anew".to_owned());
            }
            if why.is_some() {
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
                // Damage, whatever shows it.
                let message = format!("the record does not give back {}: {error}", kind.original());
                return Err(Error::new(Code::Mismatch, message).at(at));
            }
            self.used.insert(record.digest);
            not_used(kind, instead, (&at, &error.to_string()), report);
        }
        Ok(())
    }
}

/// Warns about a record that does not give back the original.
fn not_used(kind: Kind, instead: &str, (at, error): (&str, &str), report: &mut Report) {
    let message = format!(
        "{instead}, because the record does not give back {}: {error}",
        kind.original()
    );
    report.warn("bad-record", at.to_owned(), message);
}

/// Refuses a change of the original where the user wants nothing else.
fn refuse_change(kind: Kind, none: bool, why: Option<String>, request: &Request<'_>) -> Result<()> {
    match why {
        Some(why) if none && request.options.exact => {
            let message = format!(
                "`--exact` restores {} as it was, and {why} changes it",
                kind.original()
            );
            Err(Error::new(Code::Usage, message).hint("leave one of the two out"))
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
) -> Result<Option<String>> {
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
            return Ok(Some(format!("`{option}`")));
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
        Some(name) => Ok(Some(format!("the name `{name}`"))),
        None => Ok(None),
    }
}
