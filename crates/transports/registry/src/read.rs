//! Reading: tags are resolved once, and everything else is found and verified by its digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_http::Request;
use imgconv_json::{Value, parse, within};
use imgconv_manifest::{self as manifest, descriptor, embedded};
use imgconv_model::{
    Algorithm, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Extras, Facts, Limits,
    Listing, Name, Referrers, Result, Root, RootEntry, quote,
};
use imgconv_registry::Location;
use imgconv_stream::{digest, read_to_limit};

use crate::{
    blob::RemoteBlob,
    referrers::{self, Pages, fallback_tag},
    session::{Session, failure},
    sources::Sources,
};

/// The default tag.
const LATEST: &str = "latest";

/// The number of tags in one page of the list.
const PAGE: &str = "1000";

/// The descriptors of the resolved tags of a repository.
pub(crate) type Resolved = Arc<Mutex<BTreeMap<String, Child>>>;

/// A repository that is read.
#[derive(Debug)]
pub(crate) struct RegistryBundle {
    location: Location,
    sources: Arc<Sources>,
    env: Env,
    /// The descriptors of the resolved tags.
    resolved: Resolved,
    /// Manifests, by the digests of their bytes.
    documents: Mutex<BTreeMap<Digest, Document>>,
    /// The registry's answer about the referrers of each document, of which it was asked once.
    referrers: Mutex<BTreeMap<Digest, Result<Vec<Child>>>>,
    /// The places that gave the manifests.
    places: Mutex<BTreeMap<Digest, usize>>,
    roots: Mutex<Option<Vec<RootEntry>>>,
}

impl RegistryBundle {
    /// Opens a repository, of which some tags may be resolved already. Connects at the first read.
    pub(crate) fn open(location: Location, resolved: Resolved, env: &Env) -> Result<Self> {
        Ok(Self {
            sources: Arc::new(Sources::of(&location, env)?),
            location,
            env: env.clone(),
            resolved,
            documents: Mutex::default(),
            referrers: Mutex::default(),
            places: Mutex::default(),
            roots: Mutex::default(),
        })
    }

    /// Fetches a manifest by tag or digest, of at most the limit, with its type. Also returns the
    /// digest in the registry's response, which is not verified.
    fn manifest(&self, session: &Session, reference: &str) -> Result<(Document, Option<Digest>)> {
        let url = session.url(&format!("manifests/{reference}"));
        let limits = &self.env.limits;
        let request = Request::get(&url).header("accept", manifest::KINDS.join(", "));
        let response = session.send(&request.whole(limits.manifest), &url)?;
        if response.status() != 200 {
            return Err(failure(response));
        }
        let said = response.header("content-type").unwrap_or_default();
        let said = said.split(';').next().unwrap_or_default().trim();
        let said = manifest::KINDS.contains(&said).then(|| said.to_owned());
        let name = response.header("docker-content-digest");
        let name = name.and_then(|name| Digest::parse(name).ok());
        let bytes = response.into_bytes(("manifest", limits.manifest))?;
        let kind = match said {
            Some(kind) => kind,
            None => manifest::kind_of(&bytes, limits, &format!("manifest {reference}"))?,
        };
        let bytes = bytes.into();
        Ok((Document { kind, bytes }, name))
    }

    /// Fetches and verifies a manifest by its digest.
    fn manifest_by_digest(&self, wanted: &Digest, facts: &Facts) -> Result<Document> {
        let known = self.documents().get(wanted).cloned();
        let what = format!("manifest {wanted}");
        let of_claimed_size = |document: Document| {
            let size = document.bytes.len() as u64;
            match facts.size.filter(|claimed| *claimed != size) {
                Some(claimed) => Err(Error::mismatch(format!("size of {what}"), claimed, size)),
                None => Ok(document),
            }
        };
        if let Some(document) = known {
            return of_claimed_size(document);
        }
        let found = self.sources.first(|session| {
            let (document, _) = self.manifest(session, &wanted.to_string())?;
            let found = digest(wanted.algorithm(), &document.bytes);
            if found != *wanted {
                // The digest of a signed manifest in a registry does not cover its signatures.
                let payload = imgconv_manifest::payload(&document.bytes, &self.env.limits);
                let payload = payload.map(|payload| digest(wanted.algorithm(), &payload));
                if !payload.is_ok_and(|payload| payload == *wanted) {
                    return Err(Error::mismatch(format!("digest of {what}"), wanted, found));
                }
            }
            of_claimed_size(document)
        })?;
        self.documents().insert(*wanted, found.value.clone());
        self.places().insert(*wanted, found.at);
        self.sources.prefer(found.at);
        Ok(found.value)
    }

    fn places(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, usize>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn documents(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Document>> {
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves a tag, once.
    fn tag(&self, tag: &str) -> Result<Child> {
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = resolved.get(tag) {
            return Ok(child.clone());
        }
        let found = self
            .sources
            .resolve(|session| self.manifest(session, tag))?;
        let (document, name) = found.value;
        let child = describe(&document, name.as_ref());
        self.places().insert(child.digest, found.at);
        self.documents().insert(child.digest, document);
        resolved.insert(tag.to_owned(), child.clone());
        Ok(child)
    }

    /// The image that the locator means, and its referrers.
    fn meant(&self) -> Result<Vec<RootEntry>> {
        let (name, texts, child) = match &self.location.digest {
            Some(wanted) => {
                let facts = Facts::default();
                let document = self.manifest_by_digest(wanted, &facts)?;
                let child = describe(&document, Some(wanted));
                self.documents().insert(child.digest, document);
                // The digest of a signed manifest is another one here.
                let place = self.places().get(wanted).copied();
                self.places()
                    .extend(place.map(|place| (child.digest, place)));
                let tag = self.location.tag.as_deref();
                (tag.map(|tag| self.location.name(tag)), Vec::new(), child)
            }
            None => {
                let tag = self.location.tag.as_deref().unwrap_or(LATEST);
                let name = self.location.name(tag);
                let texts = vec![tag.to_owned(), name.to_string()];
                (Some(name), texts, self.tag(tag)?)
            }
        };
        let subject = child.digest;
        let mut entries = vec![RootEntry {
            position: 0,
            name,
            texts,
            child: Some(child),
            error: None,
            ambiguous: None,
        }];
        match self.referrers_of(subject) {
            Ok(referrers) => {
                let first = entries.len();
                let entry = |(i, referrer)| RootEntry {
                    position: first + i,
                    ..RootEntry::only(Some(referrer))
                };
                entries.extend(referrers.into_iter().enumerate().map(entry));
            }
            // The error belongs to the list alone, which has this tag where it has any.
            Err(error) if !matches!(error.code(), Code::Cancelled | Code::Limit) => {
                let tag = fallback_tag(&subject);
                entries.push(RootEntry {
                    position: entries.len(),
                    name: Some(self.location.name(&tag)),
                    texts: vec![tag],
                    error: Some(Arc::new(error)),
                    ..RootEntry::only(None)
                });
            }
            Err(error) => return Err(error),
        }
        Ok(entries)
    }

    /// Asks the place that gave an image for the referrers of one document, once.
    fn ask_referrers(&self, subject: &Digest, place: usize) -> Result<Vec<Child>> {
        let known = || {
            self.referrers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let again = |known: &Result<Vec<Child>>| known.as_ref().map_err(Error::again).cloned();
        if let Some(known) = known().get(subject) {
            return again(known);
        }
        let list = |session: &Session| referrers::list(session, subject, &self.env);
        let found = self.sources.about(place, list);
        let told = again(&found);
        if !told
            .as_ref()
            .is_err_and(|error| error.code() == Code::Cancelled)
        {
            known().insert(*subject, found);
        }
        told
    }

    /// Lists the referrers of a document, of the documents that it lists, and of those referrers:
    /// each once, after its subject.
    fn referrers_of(&self, root: Digest) -> Result<Vec<Child>> {
        let limits = &self.env.limits;
        let place = self.places().get(&root).copied().unwrap_or_default();
        let mut found: Vec<Child> = Vec::new();
        let mut refused = None;
        let mut subjects = vec![(root, 0)];
        // Documents that are no new subject, and referrers that are listed already.
        let (mut asked, mut listed) = (BTreeSet::from([root]), BTreeSet::from([root]));
        // A referrer may name the root by a digest of another algorithm: a registry may list a
        // tag's manifest under several.
        let bytes = self.documents().get(&root).map(|it| Arc::clone(&it.bytes));
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            if let Some(bytes) = bytes.as_deref().filter(|_| algorithm != root.algorithm()) {
                subjects.push((digest(algorithm, bytes), 0));
            }
        }
        let mut next = 0;
        while let Some((subject, depth)) = subjects.get(next).copied() {
            self.env.check_cancelled()?;
            next += 1;
            let mut below = Vec::new();
            let listed_here = match self.ask_referrers(&subject, place) {
                // A registry that forbids the question may have lists under tags, for some of the documents.
                Err(error) if error.code() == Code::Denied => {
                    refused.get_or_insert(error);
                    Vec::new()
                }
                answer => answer?,
            };
            for referrer in listed_here {
                if listed.insert(referrer.digest) {
                    below.push(referrer.clone());
                    found.push(referrer);
                }
            }
            if depth >= limits.index_depth && !below.is_empty() {
                let what = "the number of referrers that refer to each other";
                return Err(Limits::exceeded("index_depth", limits.index_depth, what));
            }
            // A document that is no index, or is missing, lists nothing.
            let known = self.documents().get(&subject).cloned();
            if let Some(document) = known.filter(|_| depth < limits.index_depth) {
                below.extend(children(&document, limits)?);
            }
            for child in below {
                if !asked.insert(child.digest) {
                    continue;
                }
                if manifest::is_index(&child.kind) {
                    match self.manifest_by_digest(&child.digest, &child.facts()) {
                        Err(error) if error.code() != Code::Missing => return Err(error),
                        Err(_) => {
                            if let Some(bytes) = embedded(&child, limits)? {
                                let kind = child.kind.clone();
                                let document = Document { kind, bytes };
                                self.documents().insert(child.digest, document);
                            }
                        }
                        Ok(_) => {}
                    }
                }
                subjects.push((child.digest, depth + 1));
            }
            let count = (subjects.len() + found.len()) as u64;
            if count > limits.graph_nodes {
                let what = "the number of documents";
                return Err(Limits::exceeded("graph_nodes", limits.graph_nodes, what));
            }
        }
        match refused.filter(|_| found.is_empty()) {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// Lists every tag, sorted.
    fn tags(&self, session: &Session) -> Result<Vec<String>> {
        let first = session.url("tags/list").with_query([("n", PAGE)]);
        let mut pages = Pages::new(first, &self.env);
        let mut tags = Vec::new();
        let mut total = 0;
        while let Some(url) = pages.next()? {
            let limits = &self.env.limits;
            let response = session.send(&Request::get(&url).whole(limits.manifest), &url)?;
            if response.status() != 200 {
                return Err(failure(response));
            }
            pages.follow(session, &response)?;
            let bytes = response.into_bytes(("manifest", limits.manifest))?;
            // The limit of all pages together is that of a layout's index with the same tags.
            total += bytes.len() as u64;
            let what = "the list of tags";
            within(total, ("root_index", limits.root_index), what)?;
            let page = parse(&bytes, limits, "list of tags")?;
            let listed = match page.get("tags") {
                None | Some(Value::Null) => &[][..],
                Some(Value::Array(listed)) => listed,
                Some(_) => return Err(Error::new(Code::BadManifest, "`tags` is not a list")),
            };
            for tag in listed {
                let tag = tag.as_str().unwrap_or_default();
                if !Name::is_tag(tag) {
                    let message = format!(
                        "the registry lists {}, which is not a valid tag",
                        quote(tag)
                    );
                    return Err(Error::new(Code::BadName, message));
                }
                tags.push(tag.to_owned());
            }
        }
        tags.sort();
        tags.dedup();
        Ok(tags)
    }
}

/// The descriptors in an index; empty for any other document.
fn children(document: &Document, limits: &Limits) -> Result<Vec<Child>> {
    let value = parse(&document.bytes, limits, "document")?;
    let listed = value.get("manifests").and_then(Value::as_array);
    // Malformed descriptors are reported when the index is decoded.
    let child = |listed: &Value| Some(descriptor(listed, "manifests", limits).ok()?.child);
    Ok(listed.into_iter().flatten().filter_map(child).collect())
}

/// Makes the descriptor of a manifest: with the requested digest, if that is a digest of the bytes
/// (the digest of a signed manifest does not cover its signatures).
fn describe(document: &Document, called: Option<&Digest>) -> Child {
    let is_own = |name: &&Digest| digest(name.algorithm(), &document.bytes) == **name;
    let own = || digest(Algorithm::Sha256, &document.bytes);
    Child {
        kind: document.kind.clone(),
        digest: called.filter(is_own).copied().unwrap_or_else(own),
        size: document.bytes.len() as u64,
        platform: None,
        annotations: BTreeMap::new(),
        raw: String::new(),
    }
}

impl Bundle for RegistryBundle {
    fn locator(&self) -> String {
        self.location.to_string()
    }

    /// The image that the locator means, `latest` without a tag; then its referrers.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(roots) = &*roots {
            return Ok(roots.clone());
        }
        Ok(roots.insert(self.meant()?).clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        let entry = self.resolve(entry)?;
        let Some(child) = &entry.child else {
            return Err(Error::new(
                Code::Missing,
                "an image here has a tag or a digest",
            ));
        };
        let mut document = self.manifest_by_digest(&child.digest, &child.facts())?;
        if !child.kind.is_empty() {
            document.kind.clone_from(&child.kind);
        }
        Ok(Root::Document(document))
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let Some(wanted) = facts.digest else {
            let message = "a document of a registry is found by its digest, and none is known";
            return Err(Error::new(Code::Missing, message));
        };
        let what = format!("document {wanted}");
        if let Some(size) = facts.size.filter(|size| *size > limit.1) {
            return Err(Limits::exceeded(
                limit.0,
                limit.1,
                format!("{what} of {size} bytes"),
            ));
        }
        if manifest::KINDS.contains(&kind) {
            let bytes = self.manifest_by_digest(&wanted, facts)?.bytes;
            let kind = kind.to_owned();
            return Ok(Document { kind, bytes });
        }
        let blob = self.blob(facts)?;
        let bytes = match blob.open() {
            Ok(reader) => read_to_limit(reader, limit, &what)?.into(),
            // An index may list a manifest of an unknown type.
            Err(error) if error.code() == Code::Missing => {
                let document = self.manifest_by_digest(&wanted, facts);
                document.map_err(|_| error)?.bytes
            }
            Err(error) => return Err(error),
        };
        let kind = kind.to_owned();
        Ok(Document { kind, bytes })
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        if facts.digest.is_none() {
            let message = "a blob of a registry is found by its digest, and none is known";
            return Err(Error::new(Code::Missing, message));
        }
        let retries = self.env.limits.retries;
        let bytes = Arc::new(RemoteBlob::new(&self.sources, facts, retries));
        Ok(Blob {
            facts: facts.clone(),
            bytes,
        })
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            listing: Some(self),
            referrers: Some(self),
            ..Extras::default()
        }
    }
}

impl Referrers for RegistryBundle {
    fn referrers(&self, entry: &RootEntry) -> Result<Vec<RootEntry>> {
        let entry = Listing::resolve(self, entry)?;
        let Some(child) = &entry.child else {
            return Ok(Vec::new());
        };
        // The document tells which others it lists, and has a digest of each algorithm.
        self.manifest_by_digest(&child.digest, &child.facts())?;
        let found = self.referrers_of(child.digest)?.into_iter();
        let at = |referrer| RootEntry {
            position: entry.position,
            ..RootEntry::only(Some(referrer))
        };
        Ok(found.map(at).collect())
    }
}

impl Listing for RegistryBundle {
    fn listing(&self) -> Result<Vec<RootEntry>> {
        if self.location.tag.is_some() || self.location.digest.is_some() {
            return self.roots();
        }
        let tags = self.sources.list(|session| self.tags(session))?;
        let entry = |(position, tag): (usize, String)| {
            let name = self.location.name(&tag);
            let texts = vec![tag, name.to_string()];
            RootEntry {
                position,
                name: Some(name),
                texts,
                child: None,
                error: None,
                ambiguous: None,
            }
        };
        Ok(tags.into_iter().enumerate().map(entry).collect())
    }

    fn resolve(&self, entry: &RootEntry) -> Result<RootEntry> {
        entry.check()?;
        let mut entry = entry.clone();
        let tag = entry.name.as_ref().and_then(|name| name.tag.as_deref());
        if let (None, Some(tag)) = (&entry.child, tag) {
            entry.child = Some(self.tag(tag)?);
        }
        Ok(entry)
    }
}
