//! Manifests: the entries of an index are stored before the index, and tags come last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use imgconv_http::{Method, Request, Response};
use imgconv_json::{Object, Value, canonical, parse};
use imgconv_manifest::{
    self as manifest, KINDS, Told, descriptor, descriptors, may_be_json,
    media_type::{OCI_INDEX, REVERSALS},
    told,
};
use imgconv_model::{
    Algorithm, Child, Code, Digest, Document, Error, Name, Outcome, Publication, Report, Result,
    quote,
};
use imgconv_stream::digest;

use crate::{
    referrers::{fallback_index, fallback_tag},
    session::failure,
    sink::RegistrySink,
    upload,
};

/// The documents and the blobs that were stored by one call. A manifest may be both.
#[derive(Debug, Default)]
struct Done {
    documents: BTreeSet<Digest>,
    blobs: BTreeSet<Digest>,
}

/// The tag of an image without a tag.
const LATEST: &str = "latest";

impl RegistrySink {
    /// Makes images visible whose blobs are all stored; returns the place of each image. Can be
    /// called again with more images.
    ///
    /// # Errors
    /// If two images would have one tag, a blob was never written, or the registry refuses. Tags
    /// that were set before stay.
    pub fn publish(&self, publications: &[Publication]) -> Result<Vec<String>> {
        let tags = self.tags(publications)?;
        let mut done = Done::default();
        for publication in publications {
            let kind = &publication.root.kind;
            let document = self.document(&publication.root.digest, kind)?;
            self.below(&document, 0, &mut done)?;
        }
        let mut places = Vec::new();
        for (publication, tag) in publications.iter().zip(tags) {
            self.env.check_cancelled()?;
            let root = publication.root.digest;
            let document = self.document(&root, &publication.root.kind)?;
            let own =
                root.algorithm() == Algorithm::Sha256 || self.put_by_digest(&root, &document)?;
            let name = if own || self.location.digest.is_some() {
                root
            } else {
                // The loss was reported when the name was tried.
                let payload = imgconv_manifest::payload(&document.bytes, &self.env.limits)?;
                digest(Algorithm::Sha256, &payload)
            };
            let reference = tag.clone().unwrap_or_else(|| name.to_string());
            let stored = match &tag {
                None if own && root.algorithm() != Algorithm::Sha256 => root,
                _ => self.put(&document, &reference, &name)?,
            };
            places.push(match tag {
                Some(tag) => format!("docker://{}:{tag}", self.location.qualified()),
                None => format!("docker://{}@{stored}", self.location.qualified()),
            });
        }
        Ok(places)
    }

    /// Stores the roots whose digests are not SHA-256 under these digests, each after everything below the
    /// root; reports the digests that the registry refuses.
    ///
    /// # Errors
    /// The errors of [`RegistrySink::publish`].
    pub(crate) fn name_unusual(&self, publications: &[Publication]) -> Result<Report> {
        let mut report = Report::default();
        let mut done = Done::default();
        for publication in publications {
            let root = publication.root.digest;
            if root.algorithm() == Algorithm::Sha256 {
                continue;
            }
            let document = self.document(&root, &publication.root.kind)?;
            self.below(&document, 0, &mut done)?;
            if !self.put_by_digest(&root, &document)? {
                let why = format!(
                    "the registry accepts no digests of this algorithm, so {root} gets its sha256 \
                     digest there"
                );
                report.lose("digest", Outcome::Dropped, why);
            }
        }
        Ok(report)
    }

    /// Stores a manifest under its own digest, once; false if the registry refuses that digest.
    /// Everything below the manifest is stored already.
    fn put_by_digest(&self, root: &Digest, document: &Document) -> Result<bool> {
        let known = || self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = known().get(root) {
            return Ok(*named);
        }
        let response = self.send(document, &root.to_string())?;
        let named = match response.status() {
            200..=204 => {
                self.stored(document, response, root)?;
                true
            }
            400 | 404 | 405 | 415 | 422 => false,
            _ => return Err(failure(response).at(format!("manifest {root}"))),
        };
        known().insert(*root, named);
        Ok(named)
    }

    /// Finds the tag of each image: the tag of the locator; else its own; else `latest`. One of several
    /// documents that has no name, such as a referrer, has no tag; nor has a document that is named by a digest,
    /// unless the locator has a tag. Such documents are found by their digests.
    fn tags(&self, publications: &[Publication]) -> Result<Vec<Option<String>>> {
        let mut tags: Vec<Option<String>> = Vec::with_capacity(publications.len());
        let mut taken: BTreeMap<String, Digest> = BTreeMap::new();
        for publication in publications {
            let root = publication.root.digest;
            let named = publication.name.is_some() || publication.reference.is_some();
            let own = publication.name.as_ref();
            let own = own.map(|name| name.to_tag(&mut Report::default()));
            let by_digest = publication.name.as_ref().is_some_and(Name::is_by_digest);
            let tag = match (&self.location.tag, &self.location.digest) {
                _ if !named && publications.len() > 1 => None,
                (Some(tag), _) => Some(tag.clone()),
                (None, Some(_)) => None,
                (None, None) if by_digest => None,
                (None, None) => Some(own.unwrap_or_else(|| LATEST.to_owned())),
            };
            if let Some(wanted) = self.location.digest
                && wanted != root
                && named
            {
                return Err(Error::mismatch("the digest of the locator", wanted, root));
            }
            if let Some(tag) = &tag {
                if *taken.entry(tag.clone()).or_insert(root) != root {
                    let message = format!("two images would have the tag {}", quote(tag));
                    return Err(Error::new(Code::Ambiguous, message)
                        .hint("choose one with a REF, or leave the tag out to keep theirs"));
                }
                if !Name::is_tag(tag) {
                    let message = format!("{} can't be a tag", quote(tag));
                    return Err(Error::new(Code::BadName, message).hint("`--name` gives another"));
                }
            }
            tags.push(tag);
        }
        Ok(tags)
    }

    /// Returns a document that this run wrote, or that the registry has.
    fn document(&self, digest: &Digest, kind: &str) -> Result<Document> {
        let bytes = match self.held.get(digest) {
            Some(bytes) => bytes,
            None => self.fetch(digest)?,
        };
        let kind = match told(kind) {
            Told::Nothing => self.shown_kind(&bytes),
            _ => kind.to_owned(),
        };
        Ok(Document { kind, bytes })
    }

    /// Finds the type of a document without a media type; empty if the type can't be detected.
    fn shown_kind(&self, bytes: &[u8]) -> String {
        let limits = &self.env.limits;
        let kind = manifest::kind_of(bytes, limits, "document").unwrap_or_default();
        if !kind.is_empty() {
            return kind;
        }
        let shape = manifest::references("", bytes, limits).ok().flatten();
        shape.map_or("", |shape| shape.kind).to_owned()
    }

    /// Uploads a blob that was held back as a possible manifest.
    fn upload_held(&self, digest: &Digest) -> Result<()> {
        if let Some(bytes) = self.held.get(digest)
            && !upload::exists(&self.session, digest, bytes.len() as u64)?
        {
            upload::monolithic(&self.session, &bytes, digest)?;
        }
        Ok(())
    }

    fn fetch(&self, wanted: &Digest) -> Result<Arc<[u8]>> {
        let limit = ("manifest", self.env.limits.manifest);
        for path in [format!("manifests/{wanted}"), format!("blobs/{wanted}")] {
            let url = self.session.url(&path);
            let request = Request::get(&url).header("accept", manifest::KINDS.join(", "));
            let response = self.session.send(&request, &url)?;
            if response.status() != 200 {
                continue;
            }
            let bytes = response.into_bytes(limit)?;
            if digest(wanted.algorithm(), &bytes) == *wanted {
                let bytes: Arc<[u8]> = bytes.into();
                self.held.put(*wanted, Arc::clone(&bytes));
                return Ok(bytes);
            }
        }
        let message = format!("document {wanted} was never written, so nothing may refer to it");
        Err(Error::new(Code::Missing, message))
    }

    /// Stores everything that a document refers to and that the registry does not have yet. The
    /// depth of this recursion is bounded by `index_depth`.
    fn below(&self, document: &Document, depth: u64, done: &mut Done) -> Result<()> {
        let limits = &self.env.limits;
        if depth > limits.index_depth + 1 {
            let what = "the nesting of indexes";
            return Err(imgconv_model::Limits::exceeded(
                "index_depth",
                limits.index_depth,
                what,
            ));
        }
        let value = parse(&document.bytes, limits, "document")?;
        for listed in list(&value, "manifests") {
            let Ok(child) = descriptor(listed, "manifests", limits) else {
                continue;
            };
            let child = child.child;
            if !done.documents.insert(child.digest) {
                continue;
            }
            // A registry accepts manifests of known types, and any bytes as a blob.
            let is_bytes = match told(&child.kind) {
                Told::Listing => false,
                Told::Nothing => child.size > limits.manifest,
                Told::Other => true,
            };
            if is_bytes {
                self.upload_content(vec![child], may_be_json, done)?;
                continue;
            }
            // A sparse index lists missing manifests (`--missing keep`); the registry decides
            // whether to accept it.
            let document = match self.document(&child.digest, &child.kind) {
                Ok(document) if !KINDS.contains(&&*document.kind) => {
                    self.upload_content(vec![child], may_be_json, done)?;
                    continue;
                }
                Ok(document) => document,
                Err(error) if error.code() == Code::Missing => continue,
                Err(error) => return Err(error),
            };
            self.below(&document, depth + 1, done)?;
            self.put(&document, &child.digest.to_string(), &child.digest)?;
        }
        let config = value.get("config").into_iter();
        let blobs = ["layers", "blobs"]
            .into_iter()
            .flat_map(|name| list(&value, name));
        let blobs = config.chain(blobs);
        let blobs = blobs.filter_map(|listed| descriptor(listed, "blob", limits).ok());
        let lists = |kind: &str| told(kind) == Told::Listing;
        self.upload_content(blobs.map(|blob| blob.child).collect(), lists, done)
    }

    /// Uploads the blobs that were held back as possible manifests, and the blobs that they describe in turn, as far
    /// as the documents among them are of a followed type.
    fn upload_content(
        &self,
        mut left: Vec<Child>,
        is_followed: fn(&str) -> bool,
        done: &mut Done,
    ) -> Result<()> {
        let limits = &self.env.limits;
        while let Some(child) = left.pop() {
            let may_describe = is_followed(&child.kind) && child.size <= limits.manifest;
            let is_held = self.held.get(&child.digest).is_some();
            if !may_describe && !is_held || !done.blobs.insert(child.digest) {
                continue;
            }
            if may_describe {
                match self.document(&child.digest, &child.kind) {
                    Ok(document) => {
                        let value = parse(&document.bytes, limits, "document").ok();
                        left.extend(value.iter().flat_map(|value| descriptors(value, limits)));
                    }
                    // The registry refuses a manifest without its blobs.
                    Err(error) if error.code() == Code::Missing => {}
                    Err(error) => return Err(error),
                }
            }
            self.upload_held(&child.digest)?;
        }
        Ok(())
    }

    fn send(&self, document: &Document, reference: &str) -> Result<Response> {
        let url = self.session.url(&format!("manifests/{reference}"));
        let request = Request::new(Method::Put, &url)
            .header("content-type", &*document.kind)
            .body(&document.bytes);
        self.session.send(&request, &url)
    }

    /// Stores a manifest under a tag or its digest; returns the digest under which the registry
    /// lists it. `name` is the manifest's own digest.
    fn put(&self, document: &Document, reference: &str, name: &Digest) -> Result<Digest> {
        let response = self.send(document, reference)?;
        if !matches!(response.status(), 200..=204) {
            let refused = matches!(response.status(), 400 | 404 | 415);
            let error = failure(response).at(format!("manifest {reference}"));
            return Err(match refused {
                true if name.algorithm() != Algorithm::Sha256 => error.hint(
                    "the registry may accept no digests of this algorithm, and the documents that \
                     refer to the manifest need this digest; `oci:` and `oci-archive:` keep the \
                     digest",
                ),
                true => error.hint(
                    "a registry may not accept every format: `docker-v2s2+docker://…` and \
                     `docker-v2s1+docker://…` write older ones, the last with `--sign-key FILE`",
                ),
                false => error,
            });
        }
        self.stored(document, response, name)
    }

    /// Checks a registry's response to a stored manifest, and lists a referrer in the fallback
    /// index of a registry without the referrers API.
    fn stored(&self, document: &Document, response: Response, name: &Digest) -> Result<Digest> {
        let limits = &self.env.limits;
        let payload = imgconv_manifest::payload(&document.bytes, limits)?;
        let stored = digest(Algorithm::Sha256, &payload);
        upload::check_digest(&response, &stored)?;
        upload::check_digest(&response, &digest(name.algorithm(), &payload))?;
        let knows_referrers = response.header("oci-subject").is_some();
        let value = parse(&document.bytes, limits, "document")?;
        let subject = value.get("subject").filter(|subject| !subject.is_null());
        if let Some(subject) = subject.filter(|_| !knows_referrers) {
            let subject = descriptor(subject, "subject", limits)?.child.digest;
            self.list_referrer(&subject, document, &value, name)?;
        }
        Ok(stored)
    }

    /// Adds a manifest to the fallback index, which replaces the referrers API.
    fn list_referrer(
        &self,
        subject: &Digest,
        document: &Document,
        value: &Value,
        name: &Digest,
    ) -> Result<()> {
        let limits = &self.env.limits;
        let own = digest(name.algorithm(), &document.bytes).to_string();
        let found = fallback_index(&self.session, subject, &self.env)?;
        let mut listed: Vec<Value> = match &found {
            Some(bytes) => {
                let index = parse(bytes, limits, "referrers")?;
                Object::new(&index, "")?.list("manifests")?.to_vec()
            }
            None => Vec::new(),
        };
        let said = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        let text = |value: Option<&Value>| value.cloned().filter(said);
        let kind_of = |listed: &Value| text(listed.get("artifactType"));
        let same = |listed: &Value| listed.get("digest").and_then(Value::as_str) == Some(&*own);
        if let Some(at) = listed.iter().position(same) {
            // Readers take the last record of reversal of an image.
            let kind = kind_of(&listed[at]);
            let is_newer = |other: &Value| is_record(other) && kind_of(other) == kind;
            if !is_record(&listed[at]) || !listed[at + 1..].iter().any(is_newer) {
                return Ok(());
            }
            listed.retain(|listed| !same(listed));
        }
        let of_config = || {
            text(
                value
                    .get("config")
                    .and_then(|config| config.get("mediaType")),
            )
        };
        let kind = text(value.get("artifactType")).or_else(of_config);
        let annotations = value.get("annotations").filter(|it| it.is_object());
        let mut entry = imgconv_json::Map::new();
        entry.insert("mediaType".into(), document.kind.clone().into());
        entry.insert("digest".into(), own.into());
        entry.insert("size".into(), document.bytes.len().into());
        for (name, value) in [
            ("artifactType", kind),
            ("annotations", annotations.cloned()),
        ] {
            if let Some(value) = value {
                entry.insert(name.into(), value);
            }
        }
        listed.push(Value::Object(entry));
        let mut index = imgconv_json::Map::new();
        index.insert("schemaVersion".into(), 2.into());
        index.insert("mediaType".into(), OCI_INDEX.into());
        index.insert("manifests".into(), Value::Array(listed));
        let index = Document {
            kind: OCI_INDEX.to_owned(),
            bytes: canonical(&Value::Object(index)).into(),
        };
        let name = digest(Algorithm::Sha256, &index.bytes);
        self.put(&index, &fallback_tag(subject), &name).map(drop)
    }
}

/// Says whether the entry of a list is a record of reversal.
fn is_record(listed: &Value) -> bool {
    let kind = listed.get("artifactType").and_then(Value::as_str);
    kind.is_some_and(|kind| REVERSALS.contains(&kind))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    let list = value.get(name).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}
