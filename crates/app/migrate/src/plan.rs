//! The plan of a migration: the images, their names at the destination, and the groups of images
//! that are written together. Planning reads documents, never layers, and keeps a few lines for
//! each image.
//!
//! Two different images of one name are an error here, before anything is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_model::{
    Algorithm, Child, Code, Digest, Env, Error, FormatId, Image, Limits, Name, Report, Result,
    RootEntry, quote,
};
use imgconv_stream::digest;

use imgconv_convert::{
    choose::dependencies::needs_rendering,
    options::Options,
    plan::stream_names::{digest_as_version, file_name, on_host},
    read::{
        cosign::Signed,
        decode::Memo,
        node::{ImageNode, Node, platform_of},
        root::SourceRoot,
        search::{Unread, list_field, unread_list},
        source::Source,
    },
    some_of, tags,
};

use super::{destination::Destination, key, rules::Rules};

/// The planned work, in the order of the store.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    /// The images that can't be read, or can't get a name.
    pub(super) refused: Vec<Refused>,
    /// The images that are left out because another file has the same bytes.
    pub(super) copies: Vec<Refused>,
    /// The referrers that the source does not list, at positions after those of its list.
    referrers: Vec<RootEntry>,
    /// The digest of the whole plan: shares of one plan have the same digest.
    pub(super) digest: String,
    /// Bytes of all distinct layers.
    pub(super) bytes: u64,
}

impl Plan {
    /// The entry at a position of a job.
    pub(super) fn entry<'p>(&'p self, source: &'p Source, position: usize) -> &'p RootEntry {
        let listed = source.entries.get(position);
        listed.unwrap_or_else(|| &self.referrers[position - source.entries.len()])
    }
}

/// Images that are written together: one image, under all its names and with its referrers; or the
/// platforms of one name that are files of their own.
#[derive(Debug)]
pub(super) struct Job {
    /// The positions of the entries, see [`Plan::entry`], each with its new name if a rule renames it.
    pub(super) entries: Vec<(usize, Option<Name>)>,
    /// The job's place in the source, for messages.
    pub(super) text: String,
    /// The name at the destination, or in the store if the image gets no name.
    pub(super) name: String,
    /// The names that the entries get; empty if an entry has no name of its own yet.
    pub(super) names: BTreeSet<Name>,
    /// The place of the output, see [`Destination::place`].
    pub(super) place: String,
    /// The job's key in the journal: it changes when the source, the options or the names do.
    /// `None` if a change of the source can't be detected.
    pub(super) key: Option<String>,
    /// The job's key without the documents about its images: for a run that can't ask for them.
    pub(super) key_of_images: Option<String>,
    /// Whether there are documents about the images of the job.
    pub(super) has_about: bool,
    /// The lists of referrers that the source does not give.
    pub(super) unread: Vec<Unread>,
    /// The lowest layer: images with a common base are in few shares, see `shares.rs`.
    pub(super) base: String,
    /// The bytes of the layers that no earlier job has.
    pub(super) bytes: u64,
}

/// An image that can't be migrated.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) text: String,
    pub(super) name: String,
    pub(super) error: Error,
}

/// The known facts of one entry.
struct Seen {
    position: usize,
    text: String,
    /// The entry's name in the store.
    own: String,
    renamed: Option<Name>,
    name: Option<Name>,
    /// The text that identifies the image, as far as it is known without reading the layers.
    identity: Option<String>,
    base: String,
    /// The image's platform, if the image is a file of its own.
    platform: Option<String>,
    /// Whether the entry is about another one.
    is_about: bool,
}

impl Seen {
    /// The line of the entry in the key of its job.
    fn key(&self) -> String {
        let name = self.name.as_ref().map(ToString::to_string);
        let name = key::quoted(&name.unwrap_or_default());
        let platform = self.platform.as_deref().unwrap_or("-");
        let identity = self.identity.as_deref().unwrap_or_default();
        format!("{name} {platform} {identity}")
    }
}

/// Reads the whole store and plans.
///
/// # Errors
/// [`Code::Ambiguous`] if two images would have one name, with all such names; if the run is
/// cancelled.
pub(super) fn plan(
    source: &Source,
    destination: &Destination,
    rules: &Rules,
    options: &Options,
    env: &Env,
) -> Result<Plan> {
    let mut planner = Planner {
        source,
        destination,
        rules,
        options,
        env,
        plan: Plan::default(),
        seen: Vec::new(),
        jobs: Vec::new(),
        by_root: BTreeMap::new(),
        by_name: BTreeMap::new(),
        by_file: BTreeMap::new(),
        layers: BTreeSet::new(),
        clashes: Vec::new(),
        signed: Signed::default(),
        ambiguous: ambiguous(source, rules),
        carried: BTreeMap::new(),
        unlisted: Vec::new(),
        store: Vec::new(),
    };
    // A referrer comes after the documents that it may be about.
    let mut late = Vec::new();
    // A list of referrers that can't be read is a loss of its image, if its image is migrated.
    let mut lists = Vec::new();
    let mut memo = source.memo();
    for (position, entry) in source.entries.iter().enumerate() {
        env.check_cancelled()?;
        match planner.entry(position, entry, &mut memo) {
            Ok(found) => late.extend(found),
            Err(error) => match list_field(entry) {
                Some(field) if error.code() != Code::Cancelled => {
                    lists.push((field, entry, error));
                }
                _ => planner.refuse(entry, error)?,
            },
        }
    }
    for at in after_subjects(&late) {
        env.check_cancelled()?;
        let entry = &source.entries[late[at].position];
        if let Err(error) = planner.referrer(&late[at], entry, &mut memo) {
            planner.refuse(entry, error)?;
        }
    }
    for (field, entry, error) in lists {
        let mut told = planner.jobs.iter().flat_map(|job| &job.unread);
        if !told.any(|unread| unread.field == field) {
            planner.refuse(entry, error)?;
        }
    }
    for (job, entry) in std::mem::take(&mut planner.unlisted) {
        env.check_cancelled()?;
        if let Err(error) = planner.unlisted(job, &entry, &mut memo) {
            planner.refuse_wanted(&entry, error)?;
        }
    }
    planner.finish()
}

/// An entry about another document.
struct Late {
    position: usize,
    /// The text of the subject's digest, or its start.
    subject: String,
    /// The entry's own digests.
    digests: Vec<Digest>,
}

/// Returns the positions in `late` so that a referrer of a referrer comes after its subject.
fn after_subjects(late: &[Late]) -> Vec<usize> {
    let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, one) in late.iter().enumerate() {
        for digest in &one.digests {
            owners.entry(digest.to_string()).or_default().push(at);
        }
    }
    let mut entered = vec![false; late.len()];
    let mut order = Vec::new();
    for first in 0..late.len() {
        let mut open = vec![(first, false)];
        while let Some((at, done)) = open.pop() {
            if done {
                order.push(at);
            } else if !std::mem::replace(&mut entered[at], true) {
                open.push((at, true));
                let subjects = owners.get(&late[at].subject).into_iter().flatten();
                open.extend(subjects.map(|subject| (*subject, false)));
            }
        }
    }
    order
}

/// Names an entry for messages: in a folder by the place there that holds it.
pub(super) fn text(source: &Source, entry: &RootEntry) -> String {
    if source.is_registry() {
        return source.entry_text(entry);
    }
    let part = source.bundle.part(entry).ok().flatten();
    match (part, &entry.name) {
        (Some((part, _)), Some(name)) => format!("{}:{name}", part.locator()),
        (Some((part, _)), None) => part.locator(),
        (None, _) => source.entry_text(entry),
    }
}

/// Decodes an entry.
///
/// # Errors
/// If the entry is malformed or missing.
pub(super) fn decoded<'s>(
    source: &'s Source,
    entry: &RootEntry,
    env: &Env,
    memo: &mut Memo,
) -> Result<SourceRoot<'s>> {
    let text = text(source, entry);
    let node = source.decode_entry(entry, env, memo);
    let node = node.map_err(|error| error.at(text.clone()))?;
    let mut root = SourceRoot::new(source, entry, node);
    root.text = text;
    Ok(root)
}

/// The name of an entry in the store, before anything of the entry is read.
fn called(source: &Source, entry: &RootEntry) -> Option<String> {
    let name = entry.name.as_ref().and_then(reference);
    name.or_else(|| entry.texts.first().cloned())
        .or_else(|| Some(format!("@{}", entry.child.as_ref()?.digest)))
        .or_else(|| (source.entries.len() > 1).then(|| format!("#{}", entry.position)))
}

/// The other texts for an entry in the store. An entry with a name is not selected by its digest,
/// unless another entry has that name too.
fn others(entry: &RootEntry) -> Vec<String> {
    let by_digest = entry.name.as_ref().is_some_and(Name::is_by_digest);
    let named = entry.name.is_some() && !by_digest;
    let texts = entry.texts.iter().cloned();
    let mut others: Vec<String> = texts.filter(|text| !named || !text.contains('@')).collect();
    if let (Some(_), Some(child)) = (&entry.ambiguous, &entry.child) {
        others.push(format!("@{}", child.digest));
    }
    others
}

/// The name of an entry in the store, and its other texts.
fn texts(source: &Source, entry: &RootEntry) -> Vec<String> {
    let own = called(source, entry).unwrap_or_else(|| text(source, entry));
    std::iter::once(own).chain(others(entry)).collect()
}

/// The entries whose name another entry that is wanted has too: both are refused, and the rest of the
/// store is migrated.
fn ambiguous(source: &Source, rules: &Rules) -> BTreeMap<usize, Arc<Error>> {
    type Wanted = (Vec<usize>, BTreeSet<Digest>);
    let mut groups: BTreeMap<*const Error, Wanted> = BTreeMap::new();
    for (position, entry) in source.entries.iter().enumerate() {
        let (Some(error), Some(child)) = (&entry.ambiguous, &entry.child) else {
            continue;
        };
        if rules.wants(&texts(source, entry)) {
            let (positions, digests) = groups.entry(Arc::as_ptr(error)).or_default();
            positions.push(position);
            digests.insert(child.digest);
        }
    }
    let several = groups
        .into_values()
        .filter(|(_, digests)| digests.len() > 1);
    let positions = several.flat_map(|(positions, _)| positions);
    positions
        .filter_map(|at| Some((at, source.entries[at].ambiguous.clone()?)))
        .collect()
}

/// A name as text: the full reference where it can be one.
fn reference(name: &Name) -> Option<String> {
    let text = name.to_reference(&mut Report::default());
    text.or_else(|| Some(name.to_string()).filter(|text| !text.is_empty()))
}

/// The text that identifies the bytes of an entry, as far as it is known without reading them.
fn identity(source: &Source, entry: &RootEntry, node: &Node) -> Result<Option<String>> {
    let state = source.bundle.state(entry)?;
    let root = node.root_digest().map(|digest| digest.to_string());
    Ok(match (root, state) {
        (Some(root), Some(state)) => Some(format!("{root} {state}")),
        (root, state) => root.or(state),
    })
}

fn digest_of(lines: &[String]) -> String {
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    digest(Algorithm::Sha256, text.as_bytes()).to_string()
}

struct Planner<'a> {
    source: &'a Source,
    destination: &'a Destination,
    rules: &'a Rules,
    options: &'a Options,
    env: &'a Env,
    plan: Plan,
    seen: Vec<Seen>,
    jobs: Vec<Draft>,
    /// The jobs of each document that may be a subject, or that has several names.
    by_root: BTreeMap<String, Vec<usize>>,
    /// The job that a name belongs to.
    by_name: BTreeMap<String, usize>,
    /// The job that a file belongs to, at destinations where files get their names from images.
    by_file: BTreeMap<String, usize>,
    layers: BTreeSet<Digest>,
    clashes: Vec<String>,
    /// Finds the image that a signature is about.
    signed: Signed,
    /// The positions of wanted entries that share their name with another entry.
    ambiguous: BTreeMap<usize, Arc<Error>>,
    /// The jobs of each root, and of each document of an index of referrers.
    carried: BTreeMap<String, Vec<usize>>,
    /// The referrers that the source does not list, with the jobs of their subjects.
    unlisted: Vec<(usize, RootEntry)>,
    /// The identity of each entry of the store.
    store: Vec<String>,
}

/// A job that more entries may belong to.
#[derive(Default)]
struct Draft {
    place: String,
    /// Positions in [`Planner::seen`].
    entries: Vec<usize>,
    bytes: u64,
    /// Whether the job needs other images of the store too.
    renders: bool,
    /// The lists of referrers that the source does not give.
    unread: Vec<Unread>,
}

impl Planner<'_> {
    /// Takes one entry, unless it is about another document: such an entry is returned.
    fn entry(
        &mut self,
        position: usize,
        entry: &RootEntry,
        memo: &mut Memo,
    ) -> Result<Option<Late>> {
        if self.source.is_registry() && !self.wants_listed(entry) {
            return Ok(None);
        }
        let mut root = decoded(self.source, entry, self.env, memo)?;
        root.find_signed(&mut self.signed, self.env)?;
        if let Some(subject) = about(&root) {
            let digests = root.node.digests();
            return Ok(Some(Late {
                position,
                subject,
                digests,
            }));
        }
        self.take(position, &root, &[None])?;
        Ok(None)
    }

    /// Takes an entry about another document. Without a name it belongs to every job of its subject.
    fn referrer(&mut self, late: &Late, entry: &RootEntry, memo: &mut Memo) -> Result<()> {
        let root = decoded(self.source, entry, self.env, memo)?;
        let mut jobs = self.jobs_about(&late.subject);
        if root.known_name(false).is_ok_and(|name| name.is_some()) {
            jobs.truncate(1);
        }
        let mut abouts: Vec<_> = jobs.into_iter().map(Some).collect();
        if abouts.is_empty() {
            abouts.push(None);
        }
        self.take(late.position, &root, &abouts)
    }

    /// Takes a referrer that the source does not list, unless its document is at the place of its
    /// subject already: under a tag, or in the index of a fallback tag.
    fn unlisted(&mut self, job: usize, entry: &RootEntry, memo: &mut Memo) -> Result<()> {
        let place = &self.jobs[job].place;
        let digest = entry.child.as_ref().map(|child| child.digest.to_string());
        let carried = digest.and_then(|digest| self.carried.get(&digest));
        let mut carried = carried.into_iter().flatten();
        if carried.any(|other| self.jobs[*other].place == *place) {
            return Ok(());
        }
        let position = self.source.entries.len() + self.plan.referrers.len();
        self.plan.referrers.push(entry.clone());
        let root = decoded(self.source, entry, self.env, memo)?;
        self.take(position, &root, &[Some(job)])
    }

    /// Takes a decoded entry, for each job that it is about, and finds its referrers.
    fn take(
        &mut self,
        position: usize,
        root: &SourceRoot<'_>,
        abouts: &[Option<usize>],
    ) -> Result<()> {
        let at = |error: Error| error.at(&*root.text);
        let mut identity = identity(self.source, &root.entry, &root.node).map_err(at)?;
        if self.options.reversible
            && root.node.aci().is_some()
            && let Some(identity) = &mut identity
            && let Some(signature) = root.holder().signature(&self.env.limits).map_err(at)?
        {
            let signature = digest(Algorithm::Sha256, &signature.bytes);
            identity.push_str(&format!(" signature {signature}"));
        }
        self.store.extend(identity.clone());
        let is_listed = position < self.source.entries.len();
        let found = match is_listed {
            true => self.source.bundle.referrers(&root.entry),
            false => Ok(Vec::new()),
        };
        let (unlisted, unread) = match found {
            Ok(unlisted) => (unlisted, None),
            Err(error) => {
                let subject = root.entry.child.as_ref().map(|child| child.digest);
                let subject = subject.or_else(|| root.node.root_digest());
                (Vec::new(), Some(unread_list(subject, error).map_err(at)?))
            }
        };
        // A list of referrers is no subject itself.
        let unread = unread.filter(|_| !is_list_about(root));
        for about in abouts {
            let job = self.add(position, root, *about, identity.clone());
            if let Some(job) = job.map_err(at)? {
                let unlisted = unlisted.iter().cloned();
                self.unlisted.extend(unlisted.map(|entry| (job, entry)));
                let known = &mut self.jobs[job].unread;
                // An image has one list, whatever its names are.
                let is_new = |unread: &&Unread| known.iter().all(|it| it.field != unread.field);
                let unread = unread.as_ref().filter(is_new).map(Unread::again);
                known.extend(unread);
            }
        }
        Ok(())
    }

    /// Says whether a tag of a registry is wanted: its name is known before its image is asked for.
    fn wants_listed(&self, entry: &RootEntry) -> bool {
        let is_named = entry.name.as_ref().and_then(reference).is_some();
        !is_named || self.rules.wants(&texts(self.source, entry))
    }

    /// Records an image that can't be migrated, if it is wanted.
    fn refuse(&mut self, entry: &RootEntry, error: Error) -> Result<()> {
        let is_wanted = self.rules.wants(&texts(self.source, entry));
        match is_wanted || error.code() == Code::Cancelled {
            true => self.refuse_wanted(entry, error),
            false => Ok(()),
        }
    }

    /// Records an image that is wanted and can't be migrated.
    fn refuse_wanted(&mut self, entry: &RootEntry, error: Error) -> Result<()> {
        if error.code() == Code::Cancelled {
            return Err(error);
        }
        let text = text(self.source, entry);
        let name = called(self.source, entry).unwrap_or_else(|| text.clone());
        self.plan.refused.push(Refused { text, name, error });
        Ok(())
    }

    /// Adds a decoded entry to the job that it belongs to, with its name and its place. `about` is the
    /// job of its subject. Returns the job, unless the entry is left out.
    fn add(
        &mut self,
        position: usize,
        root: &SourceRoot<'_>,
        about: Option<usize>,
        identity: Option<String>,
    ) -> Result<Option<usize>> {
        // The store reports an invalid name as an error; a rule may give another name.
        let given = root.known_name(!self.destination.has_files());
        let known = given.as_ref().ok().and_then(Option::as_ref);
        let own = known
            .and_then(reference)
            .or_else(|| called(self.source, &root.entry))
            .unwrap_or_else(|| root.text.clone());
        let mut texts = others(&root.entry);
        texts.insert(0, own.clone());
        // A referrer without a name is wanted as its subject is.
        let is_wanted = match (about, known) {
            (Some(_), None) => !self.rules.excludes(&texts),
            // So is the list of referrers that a registry without an API for them keeps under a tag.
            (Some(_), Some(_)) if is_list_about(root) => !self.rules.excludes(&texts),
            _ => self.rules.wants(&texts),
        };
        if !is_wanted {
            return Ok(None);
        }
        if let Some(error) = self.ambiguous.get(&position) {
            return Err(error.again().hint(
                "`--only` or `--exclude` with `@DIGEST` chooses one of them for the name; \
                 `imgconv convert` with `@DIGEST` and `--name` gives another one",
            ));
        }
        let (name, is_new) = self.name(given, &own, about.is_some())?;
        let place = match (about, &name) {
            (Some(job), None) => self.jobs[job].place.clone(),
            _ => self.destination.place(name.as_ref()),
        };
        let found = Found::below(&root.node, &self.env.limits);
        let is_file = root.entry.child.is_none();
        let unique = name
            .as_ref()
            .map_or_else(|| root.text.clone(), Name::to_string);
        let seen = Seen {
            position,
            text: root.text.clone(),
            own,
            renamed: name.clone().filter(|_| is_new),
            identity,
            base: found.base.map_or(unique, |base| base.to_string()),
            platform: found.platform.clone().filter(|_| is_file),
            name,
            is_about: about.is_some(),
        };
        let text = seen.name.as_ref().and_then(reference);
        let files = match self.destination.has_files() {
            true => self.files(root, seen.name.as_ref()),
            false => Vec::new(),
        };
        let named = text.as_ref().and_then(|text| self.by_name.get(text));
        let named = named.copied();
        let job = about
            .filter(|job| self.jobs[*job].place == place)
            .or_else(|| self.job_of_image(&found, &place))
            .or_else(|| self.job_of_files(root, &files))
            // Files of one name are the platforms of one image.
            .or_else(|| named.filter(|job| is_file && self.is_other_platform(*job, &seen)));
        if let (Some(name), Some(other)) = (&text, named)
            && job != Some(other)
        {
            if is_file && self.is_copy(other, &seen, root)? {
                let other = &self.first(other).text;
                let message = format!("the image has the same bytes as {other}");
                let error = Error::new(Code::Ambiguous, message);
                let (text, name) = (seen.text.clone(), seen.text);
                self.plan.copies.push(Refused { text, name, error });
                return Ok(None);
            }
            self.clash(name, other, &seen);
        }
        for file in files.iter().filter(|_| named.is_none()) {
            let other = self.by_file.get(file).copied();
            if let Some(other) = other.filter(|other| job != Some(*other)) {
                self.clash(file, other, &seen);
            }
        }
        let job = job.unwrap_or_else(|| {
            self.jobs.push(Draft {
                place,
                ..Draft::default()
            });
            self.jobs.len() - 1
        });
        if let Some(name) = text {
            self.by_name.entry(name).or_insert(job);
        }
        for file in files {
            self.by_file.entry(file).or_insert(job);
        }
        let own = match about {
            Some(_) => found.documents.len(),
            None => root.node.digests().len(),
        };
        for (i, document) in found.documents.into_iter().enumerate() {
            if i < own {
                let carried = self.carried.entry(document.clone()).or_default();
                carried.push(job);
            }
            self.by_root.entry(document).or_default().push(job);
        }
        let layers = found.layers.into_iter();
        let new = layers.filter(|(digest, _)| digest.is_none_or(|it| self.layers.insert(it)));
        let bytes: u64 = new.map(|(_, size)| size).sum();
        self.plan.bytes += bytes;
        self.seen.push(seen);
        let draft = &mut self.jobs[job];
        draft.entries.push(self.seen.len() - 1);
        draft.bytes += bytes;
        draft.renders |= needs_rendering(&root.node);
        Ok(Some(job))
    }

    /// Returns the name at the destination, and whether the entry has to be renamed to get it. `given` is
    /// the name in the store, `own` its text.
    fn name(
        &self,
        given: Result<Option<Name>>,
        own: &str,
        is_about_image: bool,
    ) -> Result<(Option<Name>, bool)> {
        let by_rule = self.rules.renamed(own).map(|text| {
            let at = |error: Error| error.at(format!("`--rename` of {}", quote(own)));
            Name::parse_reference(&text).map_err(at)
        });
        let by_rule = by_rule.transpose()?;
        let is_renamed = by_rule.is_some();
        let before = match by_rule {
            Some(name) => Some(name),
            None => given?,
        };
        let mut name = match &before {
            None if is_about_image => None,
            name => self.destination.name(name.as_ref(), own)?,
        };
        // Files get their names from the image name, which has the host of the site.
        if let (Some(name), Some(host)) = (&mut name, &self.options.host)
            && self.destination.has_files()
        {
            name.repository = name.repository.take().map(|own| on_host(&own, host));
        }
        let is_new = is_renamed || name != before;
        Ok((name, is_new))
    }

    /// The jobs of the document that another one is about, the first one first.
    fn jobs_about(&self, subject: &str) -> Vec<usize> {
        // A tag may hold no more than the start of a digest.
        let found = self.by_root.range(subject.to_owned()..).next();
        let found = found.filter(|(found, _)| found.starts_with(subject));
        let mut jobs = found.map_or_else(Vec::new, |(_, jobs)| jobs.clone());
        let mut seen = BTreeSet::new();
        jobs.retain(|job| seen.insert(*job));
        jobs
    }

    /// The job of an image at a place: an image has one job for all its names.
    fn job_of_image(&self, found: &Found, place: &str) -> Option<usize> {
        let jobs = self.by_root.get(&found.root).filter(|_| !found.is_stream)?;
        let mut jobs = jobs.iter().copied();
        jobs.find(|job| self.jobs[*job].place == place)
    }

    /// The job of an image with the same image ID: with image tags, manifests of one config become one
    /// ACI.
    fn job_of_files(&self, root: &SourceRoot<'_>, files: &[String]) -> Option<usize> {
        let mut jobs = files.iter().filter_map(|file| self.by_file.get(file));
        jobs.next().copied().filter(|_| self.has_image_id(root))
    }

    /// Records that a job and an entry outside of it would have one name or file.
    fn clash(&mut self, name: &str, job: usize, seen: &Seen) {
        let first = &self.first(job).text;
        let clash = format!("{}: {first} and {}", quote(name), seen.text);
        self.clashes.push(clash);
    }

    /// The first entry of a job.
    fn first(&self, job: usize) -> &Seen {
        &self.seen[self.jobs[job].entries[0]]
    }

    /// Says whether a root is identified by its image ID and not by its tag.
    fn has_image_id(&self, root: &SourceRoot<'_>) -> bool {
        let is_image = matches!(&*root.node, Node::Image(image) if image.aci.is_none());
        self.options.image_tags && is_image
    }

    /// The names of the files that the images of a root become, in the form that a case-insensitive
    /// file system compares.
    fn files(&self, root: &SourceRoot<'_>, name: Option<&Name>) -> Vec<String> {
        let tags = self.options.image_tags;
        let identity = tags
            .then(|| tags::identity(&root.node, &self.env.limits))
            .flatten();
        let file = |(node, listed): (&ImageNode, Option<&Child>)| {
            let mut name = name.cloned().or_else(|| node.image.name.clone());
            if let Some(name) = name.as_mut().filter(|_| !tags) {
                digest_as_version(name, &mut Report::default());
            }
            let mut image = Image {
                name,
                platform: platform_of(node, listed),
                annotations: node.image.annotations.clone(),
                ..Image::default()
            };
            if let Some(identity) = &identity {
                tags::identify(&mut image, None, identity);
            }
            file_name(&image, ".aci").to_lowercase()
        };
        root.node.images().map(file).collect()
    }

    /// Says whether a file has the same bytes as another file of the same name and platform. Both
    /// are read.
    fn is_copy(&self, job: usize, seen: &Seen, root: &SourceRoot<'_>) -> Result<bool> {
        let mut others = self.jobs[job].entries.iter().map(|i| &self.seen[*i]);
        let Some(other) = others.find(|other| other.platform == seen.platform) else {
            return Ok(false);
        };
        let entry = self.plan.entry(self.source, other.position);
        let node = self
            .source
            .decode_entry(entry, self.env, &mut self.source.memo())?;
        let id = |node: &Node, text: &str| {
            let aci = node.aci();
            aci.map(|aci| aci.read_to_end(text, self.env)).transpose()
        };
        let (own, its) = (id(&root.node, &seen.text)?, id(&node, &other.text)?);
        Ok(own.is_some() && own == its)
    }

    /// Says whether a file is for another platform than all files of a job.
    fn is_other_platform(&self, job: usize, seen: &Seen) -> bool {
        let mut others = self.jobs[job].entries.iter().map(|i| &self.seen[*i]);
        let is_other = |other: &Seen| other.platform.is_some() && other.platform != seen.platform;
        seen.platform.is_some() && others.all(is_other)
    }

    fn finish(mut self) -> Result<Plan> {
        let store = digest_of(&self.store);
        if !self.clashes.is_empty() {
            let clashes = some_of(&self.clashes, 20);
            let message = format!("different images would have one name or file: {clashes}");
            return Err(Error::new(Code::Ambiguous, message).hint(
                "`--rename 'REGEX=REPLACEMENT'` gives one of them another name, `--exclude` leaves \
                 one out",
            ));
        }
        let locator = &self.destination.locator;
        let conversion = key::conversion(locator.format, self.options, self.env);
        let scheme = locator.transport.place().scheme;
        let mut all = vec![format!("{} {locator}", key::REVISION)];
        for draft in std::mem::take(&mut self.jobs) {
            let seen: Vec<&Seen> = draft.entries.iter().map(|i| &self.seen[*i]).collect();
            let mut lines = vec![
                key::REVISION.to_owned(),
                format!("{scheme} {}", draft.place),
                conversion.clone(),
            ];
            // The dependencies of a rendered image may be anywhere in the store.
            lines.extend(draft.renders.then(|| store.clone()));
            let images = seen.iter().filter(|one| !one.is_about);
            let mut of_images = lines.clone();
            of_images.push("and the documents about them".to_owned());
            of_images.extend(images.map(|one| one.key()));
            lines.extend(seen.iter().map(|one| one.key()));
            let key = digest_of(&lines);
            let is_known = seen.iter().all(|one| one.identity.is_some());
            all.push(key.clone());
            let names = seen.iter().map(|one| one.name.clone());
            let names: Option<BTreeSet<Name>> = names.collect();
            let mut texts = seen.iter().filter_map(|one| reference(one.name.as_ref()?));
            self.plan.jobs.push(Job {
                entries: seen
                    .iter()
                    .map(|one| (one.position, one.renamed.clone()))
                    .collect(),
                text: seen[0].text.clone(),
                name: texts.next().unwrap_or_else(|| seen[0].own.clone()),
                names: names.unwrap_or_default(),
                place: draft.place,
                key: Some(key).filter(|_| is_known),
                key_of_images: Some(digest_of(&of_images)).filter(|_| is_known),
                has_about: seen.iter().any(|one| one.is_about),
                unread: draft.unread,
                base: seen[0].base.clone(),
                bytes: draft.bytes,
            });
        }
        all.extend(self.plan.refused.iter().map(|refused| refused.text.clone()));
        self.plan.digest = digest_of(&all);
        Ok(self.plan)
    }
}

/// Says whether a root is an index that lists referrers under the tag that the distribution specification gives such
/// lists ("Referrers Tag Schema").
fn is_list_about(root: &SourceRoot<'_>) -> bool {
    let is_index = matches!(&*root.node, Node::Index { .. });
    is_index && root.tagged_subject().is_some()
}

/// The subject of a root: from its document, its entry or its tag.
fn about(root: &SourceRoot<'_>) -> Option<String> {
    let said = root.node.subject().map(|digest| digest.to_string());
    said.or_else(|| root.tagged_subject())
}

/// The facts that were found below a root.
#[derive(Default)]
struct Found {
    /// The text that identifies the image.
    root: String,
    is_stream: bool,
    /// The root's document and all listed documents, by every digest.
    documents: Vec<String>,
    layers: Vec<(Option<Digest>, u64)>,
    /// The lowest layer of the first image.
    base: Option<Digest>,
    platform: Option<String>,
}

impl Found {
    fn below(node: &Node, limits: &Limits) -> Self {
        let mut found = Self::default();
        let digests = node.walk().flat_map(|(node, _)| node.digests());
        let digests = digests.map(|digest| digest.to_string());
        found.documents.extend(digests);
        for (image, listed) in node.images() {
            let platform = || platform_of(image, listed).to_string();
            found.platform.get_or_insert_with(platform);
            if let Some(aci) = &image.aci {
                found
                    .layers
                    .push((None, aci.blob.size_to_count().unwrap_or(0)));
                continue;
            }
            for layer in &image.image.layers {
                let facts = &layer.blob.facts;
                let digest = facts.digest.or(layer.diff_id);
                found.base = found.base.or(digest);
                let size = layer.blob.size_to_count();
                found.layers.push((digest, size.unwrap_or(0)));
            }
        }
        match found.documents.first() {
            Some(root) => found.root.clone_from(root),
            None => found.is_stream = true,
        }
        // The config identifies an entry of an archive, which has no bytes of its own.
        if let Node::Image(image) = node
            && image.format.id() == FormatId::DOCKER_ARCHIVE
            && let Some(config) = image.config_digest(limits)
        {
            found.root = config.to_string();
            found.documents.push(found.root.clone());
        }
        found
    }
}
