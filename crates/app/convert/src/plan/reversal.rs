//! The exact way back: what is kept of an ACI that becomes documents, and which records make an image an ACI
//! again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::Path,
};

use imgconv_format_aci::{described, manifest_of};
use imgconv_manifest::media_type::OCI_MANIFEST;
use imgconv_model::{
    Child, Code, Compression, Digest, DocumentFormat, Error, FormatId, Image, Outcome as LossKind,
    Report, Result, quote,
};

use imgconv_pipeline::Squash;

use super::{
    data::{Keepsake, PlannedExact},
    stream_names::{kept_name, on_host, same_name},
};
use crate::{
    check::some_of,
    choose::{docker_record::of_target, request::Request},
    outcome::BAD_RECORD,
    read::{
        docker_record::Kind,
        node::{ImageNode, Node},
        reversal::{Reversal, among, field, was_aci},
        root::SourceRoot,
    },
};

/// The loss of an ACI's signature.
const SIGNATURE: &str = "signature";

/// Refuses options about the exact way back that the format of the destination has no use for.
///
/// # Errors
/// [`Code::Usage`] and [`Code::Unsupported`].
pub(super) fn check(request: &Request<'_>) -> Result<()> {
    let (options, target) = (request.options, request.target.id());
    let chosen = target == FormatId::ACI || of_target(request) == Some(Kind::Archive);
    if options.record.is_some() && !chosen {
        let message = format!(
            "`--record` chooses among ACIs and docker archives, and the destination gets {target}"
        );
        return Err(
            Error::new(Code::Usage, message).hint("write to `aci:PATH` or `docker-archive:PATH`")
        );
    }
    if options.exact && target != FormatId::ACI && of_target(request).is_none() {
        let message = format!(
            "`--exact` restores ACIs and old docker images, and the destination gets {target}"
        );
        return Err(Error::new(Code::Usage, message)
            .hint("write to `aci:PATH`, `docker-archive:PATH` or `docker-v2s1+dir:PATH`"));
    }
    // An ACI that stays an ACI is copied.
    if options.reversible && request.target.is_stream() && target != FormatId::ACI {
        return Err(no_artifacts(target));
    }
    // Such a place holds one image, and nothing about the image.
    if options.reversible && !request.target.is_stream() && !request.place.has_names() {
        return Err(no_artifacts(format!("`{}:`", request.place.scheme)));
    }
    Ok(())
}

pub(super) fn no_artifacts(target: impl Display) -> Error {
    let message =
        format!("`--reversible` needs a destination that holds artifacts, and {target} does not");
    Error::new(Code::Unsupported, message)
        .hint("write to `oci:DIR`, `oci-archive:FILE` or `docker://…`")
}

/// Returns what a record of an image gets, if the user asked for records and the image is an ACI.
///
/// # Errors
/// [`Code::Usage`] if the layers would be changed beside, [`Code::Unsupported`] if the destination can't hold
/// the record, and the errors of reading the signature.
pub(super) fn keepsake(
    node: &ImageNode,
    root: &SourceRoot<'_>,
    target: &'static dyn DocumentFormat,
    request: &Request<'_>,
    report: &mut Report,
) -> Result<Option<Keepsake>> {
    if !request.options.reversible {
        return Ok(None);
    }
    if node.aci.is_none() {
        return Ok(None);
    }
    check_kept("the files of an ACI", target, request)?;
    let holder = root.holder();
    let file = holder.extras().signed.and_then(|_| {
        let locator = holder.locator();
        let locator = locator.split(['?', '#']).next().unwrap_or_default();
        let name = Path::new(locator).file_name()?.to_str()?.to_owned();
        (!name.chars().any(char::is_control)).then_some(name)
    });
    let signature = holder.signature(&request.env.limits)?;
    let signature = signature.map(|signature| signature.bytes);
    if signature.is_some() {
        report.losses.retain(|loss| loss.field != SIGNATURE);
    }
    Ok(Some(Keepsake {
        file: file.filter(|file| file != "-"),
        signature,
    }))
}

/// Refuses a destination that can't hold a record, and options that change the files of layers.
///
/// # Errors
/// [`Code::Unsupported`] and [`Code::Usage`].
pub(super) fn check_kept(
    what: &str,
    target: &'static dyn DocumentFormat,
    request: &Request<'_>,
) -> Result<()> {
    let capabilities = &target.facts().capabilities;
    if !capabilities.opaque || !capabilities.root_kinds.contains(&OCI_MANIFEST) {
        return Err(no_artifacts(target.id()));
    }
    let layers = &request.options.layers;
    let estargz = layers.toc && layers.compression == Some(Compression::Gzip);
    let squash = match layers.squash {
        None | Some(Squash::All) => "--squash",
        Some(Squash::Last(_)) => "--last",
        Some(Squash::KeepBase(_)) => "--keep-base",
        Some(Squash::AtMost(_)) => "--max-layers",
    };
    for (given, option) in [
        (layers.squash.is_some(), squash),
        (layers.clamp_mtime.is_some(), "--clamp-mtime"),
        (estargz, "--compression estargz"),
    ] {
        if given {
            let message =
                format!("`--reversible` keeps {what} as they are, and `{option}` changes them");
            return Err(Error::new(Code::Usage, message).hint("leave one of the two options out"));
        }
    }
    Ok(())
}

/// An artifact with its root and its digest, or the fault of its manifest.
type Found<'s> = (&'s SourceRoot<'s>, Digest, Result<Reversal, String>);

/// The artifacts of reversal among the roots.
#[derive(Debug, Default)]
pub(super) struct Records<'s> {
    /// By the image that they are about, in the order of the roots.
    by_subject: BTreeMap<Digest, Vec<Found<'s>>>,
    /// The artifacts themselves, and those among them by which an ACI is made again or whose fault was told.
    all: BTreeMap<Digest, &'s Child>,
    used: BTreeSet<Digest>,
    /// The images of platforms that are not wanted: their artifacts are left out with them.
    unwanted: BTreeSet<Digest>,
    /// Whether an image has the record that the user named, and the records of the images that do not have it.
    has_wanted: bool,
    offered: Vec<String>,
}

impl<'s> Records<'s> {
    pub(super) fn of(roots: &'s [SourceRoot<'s>], request: &Request<'_>) -> Self {
        let mut records = Self::default();
        let nodes = roots.iter().map(|root| &*root.node);
        for (position, child, read) in among(nodes, &request.env.limits) {
            let root = &roots[position];
            records.all.insert(child.digest, child);
            let subject = match &read {
                Ok(reversal) => Some(reversal.subject),
                Err(_) => root.node.subject(),
            };
            if let Some(subject) = subject {
                let read = read.map_err(|error| error.to_string());
                records
                    .by_subject
                    .entry(subject)
                    .or_default()
                    .push((root, child.digest, read));
            }
        }
        records
    }

    /// Says whether a document is such an artifact, of which [`lost`](Self::lost) tells.
    pub(super) fn has(&self, child: &Child) -> bool {
        self.all.contains_key(&child.digest)
    }

    /// Notes an image that is not wanted, whose artifacts are no loss.
    pub(super) fn leave_out(&mut self, image: &ImageNode) {
        self.unwanted.extend(image.digests());
    }

    /// Says whether an index lists such artifacts only, of which [`lost`](Self::lost) tells: a list of referrers under
    /// the tag that names their subject.
    pub(super) fn are_all_of(&self, node: &Node) -> bool {
        let Node::Index {
            index, children, ..
        } = node
        else {
            return false;
        };
        let listed = index.children.iter().zip(children);
        !children.is_empty()
            && listed
                .into_iter()
                .all(|(listed, child)| child.is_some() && self.has(listed))
    }

    /// Reports the artifacts that are left behind.
    pub(super) fn lost(&self, why: &str, report: &mut Report) {
        let about = self.by_subject.iter();
        let unwanted = about.filter(|(subject, _)| self.unwanted.contains(*subject));
        let unwanted: BTreeSet<Digest> = unwanted
            .flat_map(|(_, found)| found)
            .map(|(_, digest, _)| *digest)
            .collect();
        for (digest, child) in &self.all {
            if !self.used.contains(digest) && !unwanted.contains(digest) {
                report.lose(field(child), LossKind::Dropped, why);
            }
        }
    }

    /// Plans the ways in which an image becomes the ACI again that it was.
    ///
    /// # Errors
    /// If the user wants nothing else and there is no such way.
    pub(super) fn exact(
        &mut self,
        node: &ImageNode,
        root: &SourceRoot<'s>,
        request: &Request<'_>,
        (lost, report): (&Report, &mut Report),
    ) -> Result<Vec<PlannedExact<'s>>> {
        let only = request.options.exact;
        let refuse = |code, message: String, hint: &str| match only {
            true => Err(Error::new(code, message).hint(hint)),
            false => Ok(Vec::new()),
        };
        let digests = node.digests();
        let found = digests
            .iter()
            .filter_map(|digest| self.by_subject.get(digest));
        let found: Vec<&Found<'s>> = found.flatten().collect();
        let limits = &request.env.limits;
        let manifest = manifest_of(&node.image, limits).ok().flatten();
        let manifest = manifest.filter(|_| was_aci(node, limits) && !found.is_empty());
        let Some(manifest) = manifest else {
            let message =
                "`--exact` needs a record of the ACI that the image was made of, and there is none";
            let hint = "`--reversible` makes the record when an ACI is converted; without `--exact` the image becomes a new ACI";
            return refuse(Code::Missing, message.to_owned(), hint);
        };
        if let Some(change) = change(request, root, &node.image) {
            let option = match &request.options.record {
                Some(_) if !only => "--record",
                _ => "--exact",
            };
            let message = format!("`{option}` restores an ACI as it was, and {change} changes it");
            return match only || request.options.record.is_some() {
                true => {
                    let error = Error::new(Code::Usage, message);
                    Err(error.hint("leave one of the two options out"))
                }
                false => Ok(Vec::new()),
            };
        }
        let own = described(&manifest);
        let image = Image {
            name: own.name,
            platform: own.platform,
            annotations: own.annotations,
            ..node.image.clone()
        };
        let mut exact = Vec::new();
        for (holder, digest, read) in found {
            match read {
                Ok(reversal) => {
                    self.used.insert(reversal.digest);
                    exact.push(PlannedExact {
                        reversal: reversal.clone(),
                        bundle: holder.holder(),
                        image: image.clone(),
                        report: report_of(node, lost),
                    });
                }
                Err(message) if only => {
                    let message = format!("the record of the ACI is damaged: {message}");
                    return Err(Error::new(Code::Mismatch, message));
                }
                Err(message) => {
                    self.used.insert(*digest);
                    let message =
                        format!("the ACI is made anew, because its record is damaged: {message}");
                    report.warn(BAD_RECORD, "reversal", message);
                }
            }
        }
        self.choose(&mut exact, request);
        Ok(exact)
    }

    /// Chooses the record that the user named for the images that have it. The images of other platforms do not have it,
    /// and get their own newest ACIs.
    fn choose(&mut self, exact: &mut Vec<PlannedExact<'_>>, request: &Request<'_>) {
        if let Some(wanted) = &request.options.record {
            let is_wanted = |one: &PlannedExact<'_>| {
                let id = one.reversal.image_id.image_id();
                one.reversal.file.as_ref() == Some(wanted)
                    || wanted.len() > "sha512-".len() && id.starts_with(wanted)
            };
            match exact.iter().any(is_wanted) {
                true => {
                    self.has_wanted = true;
                    exact.retain(is_wanted);
                }
                false => self.offered.extend(exact.iter().map(text)),
            }
        }
        warn_several(exact);
    }

    /// Refuses a record that no image has.
    ///
    /// # Errors
    /// [`Code::Missing`], with the records that are there.
    pub(super) fn check_wanted(&self, request: &Request<'_>) -> Result<()> {
        let Some(wanted) = request.options.record.as_ref().filter(|_| !self.has_wanted) else {
            return Ok(());
        };
        let message = format!("there is no record of the ACI {}", quote(wanted));
        let hint = match &self.offered[..] {
            [] => "the image has no record of an ACI, so leave `--record` out".to_owned(),
            all => format!("the image has records of: {}", some_of(all, 10)),
        };
        Err(Error::new(Code::Missing, message).hint(hint))
    }
}

/// The ACI of a record in messages.
fn text(exact: &PlannedExact<'_>) -> String {
    let Reversal { file, image_id, .. } = &exact.reversal;
    let id = image_id.image_id();
    match file {
        Some(file) => format!("{} ({id})", quote(file)),
        None => id,
    }
}

/// Warns about records of several ACIs that became one image, of which the last in the list of the place is restored.
/// Records of one ACI are no choice.
fn warn_several(exact: &mut [PlannedExact<'_>]) {
    let Some(last) = exact.last() else {
        return;
    };
    let id = last.reversal.image_id;
    if exact.iter().any(|one| one.reversal.image_id != id) {
        let message = format!(
            "the image was made of several ACIs, and the last of them is restored: {}; `--record` with a file name \
             or an image ID restores another",
            some_of(&exact.iter().map(text).collect::<Vec<String>>(), 10)
        );
        for one in exact {
            one.report
                .warn("several-records", "reversal", message.clone());
        }
    }
}

/// The irregularities of an image, and the losses of what lists it: nothing of the image itself is lost.
fn report_of(node: &ImageNode, lost: &Report) -> Report {
    let mut report = lost.clone();
    for warning in &node.report.warnings {
        report.warn(warning.code, warning.at.clone(), warning.message.clone());
    }
    report
}

/// Returns what the user wants that makes another ACI of the image.
fn change(request: &Request<'_>, root: &SourceRoot<'_>, image: &Image) -> Option<String> {
    let options = request.options;
    let layers = &options.layers;
    for (given, option) in [
        (options.no_squash, "--no-squash"),
        (layers.clamp_mtime.is_some(), "--clamp-mtime"),
        (options.image_tags, "--image-tags"),
    ] {
        if given {
            return Some(format!("`{option}`"));
        }
    }
    let own = kept_name(image, request.env)?;
    if let Ok(Some(given)) = request.given_name()
        && !same_name(&own, &given)
    {
        return Some("`--name`".to_owned());
    }
    if let Some(renamed) = &root.renamed
        && !same_name(&own, renamed)
    {
        return Some(format!("the new name {}", quote(renamed.to_string())));
    }
    let repository = own.repository.unwrap_or_default();
    match &options.host {
        Some(host) if on_host(&repository, host) != repository => Some("`--host`".to_owned()),
        _ => None,
    }
}
