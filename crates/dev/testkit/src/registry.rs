//! A registry in memory, by the distribution specification 1.1: the part that a client needs, and a
//! hook by which a test makes the registry answer wrongly, refuse or break off.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    server::{Identity, Reply, Request, Server},
    sha256_hex,
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The stored data. Keys are a repository and a digest, or a tag.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Blobs.
    pub blobs: BTreeMap<(String, String), Vec<u8>>,
    /// Manifests with their types, under their digests and tags.
    pub manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// Uploads that were not ended.
    pub uploads: BTreeMap<String, Vec<u8>>,
    /// True if the registry has the referrers API.
    pub referrers: bool,
    /// True if the registry accepts manifests only under their SHA-256 digest, as distribution 2
    /// does.
    pub usual_digests: bool,
    next: u32,
}

impl Stored {
    /// Stores a blob; returns its digest.
    pub fn blob(&mut self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        let key = (repository.to_owned(), digest.clone());
        self.blobs.insert(key, bytes.to_vec());
        digest
    }

    /// Stores a manifest under a tag and its digest; returns the digest.
    pub fn manifest(&mut self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        for reference in [tag, &digest] {
            let key = (repository.to_owned(), reference.to_owned());
            self.manifests
                .insert(key, (kind.to_owned(), bytes.to_vec()));
        }
        digest
    }

    /// Stores an OCI image of one layer; returns the digest of its manifest.
    pub fn image(&mut self, repository: &str, tag: &str, layer: &[u8]) -> String {
        let (kind, bytes) = self.image_of(repository, layer, None);
        self.manifest(repository, tag, &kind, &bytes)
    }

    /// Stores an artifact about a document under its digest alone, and lists the artifact in the
    /// fallback tag of a registry without the referrers API; returns its digest.
    pub fn referrer(&mut self, repository: &str, subject: &str, text: &str) -> String {
        let (kind, document) = &self.manifests[&(repository.to_owned(), subject.to_owned())];
        let subject = json!({ "mediaType": kind, "digest": subject, "size": document.len() });
        let tag = subject["digest"].as_str().unwrap_or_default();
        let tag = tag.replace(':', "-");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "artifactType": "text/x-note",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": self.blob(repository, b"{}"), "size": 2,
            },
            "layers": [{
                "mediaType": "text/plain",
                "digest": self.blob(repository, text.as_bytes()), "size": text.len(),
            }],
            "subject": subject,
        });
        let bytes = manifest.to_string().into_bytes();
        let digest = digest_of(&bytes);
        let listed = json!({ "mediaType": kind, "digest": digest, "size": bytes.len() });
        self.manifest(repository, &digest, kind, &bytes);
        if !self.referrers {
            let known = self.manifests.get(&(repository.to_owned(), tag.clone()));
            let known = known.and_then(|(_, bytes)| serde_json::from_slice(bytes).ok());
            let mut index = known.unwrap_or_else(
                || json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }),
            );
            if let Some(list) = index["manifests"].as_array_mut() {
                list.push(listed);
            }
            self.manifest(repository, &tag, INDEX, index.to_string().as_bytes());
        }
        digest
    }

    /// Stores the config and the layer of an OCI image, and returns its manifest and the manifest's
    /// media type.
    pub fn image_of(
        &mut self,
        repository: &str,
        layer: &[u8],
        subject: Option<Value>,
    ) -> (String, Vec<u8>) {
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [digest_of(layer)] },
        });
        let config = config.to_string();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.blob(repository, config.as_bytes()), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": self.blob(repository, layer), "size": layer.len(),
            }],
        });
        if let Some(subject) = subject {
            manifest["subject"] = subject;
        }
        (kind.to_owned(), manifest.to_string().into_bytes())
    }
}

/// A running registry.
pub struct Registry {
    /// The server of the registry, with all requests.
    pub server: Server,
    stored: Arc<Mutex<Stored>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Registry {
    /// Starts a registry that follows the specification.
    pub fn start() -> Self {
        Self::start_with(None, |_, _| None)
    }

    /// Starts a registry, perhaps with TLS. A reply of `hook` replaces the registry's own.
    pub fn start_with(
        identity: Option<&Identity>,
        hook: impl Fn(&Request, &mut Stored) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let stored = Arc::new(Mutex::new(Stored {
            referrers: true,
            ..Stored::default()
        }));
        let shared = Arc::clone(&stored);
        let handler = move |request: &Request| {
            let mut stored = shared.lock().unwrap_or_else(PoisonError::into_inner);
            hook(request, &mut stored).unwrap_or_else(|| answer(request, &mut stored))
        };
        let server = match identity {
            Some(identity) => Server::start_tls(identity, handler),
            None => Server::start(handler),
        };
        Self { server, stored }
    }

    /// Returns the stored data, to read or to change.
    pub fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `docker://127.0.0.1:PORT/NAME`.
    pub fn locator(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.server.authority())
    }
}

/// Answers by the rules of the specification.
pub fn answer(request: &Request, stored: &mut Stored) -> Reply {
    let path = request.path().to_owned();
    let Some(rest) = path.strip_prefix("/v2/") else {
        return Reply::status(404);
    };
    if rest == "_catalog" {
        return catalog(request, stored);
    }
    for (part, work) in [
        (
            "/blobs/uploads/",
            upload as fn(&Request, &mut Stored, &str, &str) -> Reply,
        ),
        ("/blobs/", blob),
        ("/manifests/", manifest),
        ("/tags/", tags),
        ("/referrers/", referrers),
    ] {
        if let Some((repository, name)) = rest.split_once(part) {
            return work(request, stored, repository, name);
        }
    }
    Reply::ok("{}")
}

/// Returns `sha256:` and the hex digits.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

fn key(repository: &str, name: &str) -> (String, String) {
    (repository.to_owned(), name.to_owned())
}

fn unknown(code: &str) -> Reply {
    let body = json!({ "errors": [{ "code": code, "message": "not here" }] });
    Reply::status(404).body(body.to_string())
}

fn blob(request: &Request, stored: &mut Stored, repository: &str, digest: &str) -> Reply {
    let Some(bytes) = stored.blobs.get(&key(repository, digest)) else {
        return unknown("BLOB_UNKNOWN");
    };
    if request.method == "HEAD" {
        return Reply::status(200).header("content-length", bytes.len().to_string());
    }
    let range = request.header("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let last = last
            .parse()
            .unwrap_or(usize::MAX)
            .min(bytes.len().checked_sub(1)?);
        Some((first.parse::<usize>().ok()?, last))
    });
    match range {
        Some((first, last)) if first <= last => Reply::status(206)
            .header(
                "content-range",
                format!("bytes {first}-{last}/{}", bytes.len()),
            )
            .body(&bytes[first..=last]),
        Some(_) => Reply::status(416),
        None if request.header("range").is_some() && bytes.is_empty() => Reply::status(416),
        None => Reply::ok(bytes.clone()),
    }
}

fn manifest(request: &Request, stored: &mut Stored, repository: &str, name: &str) -> Reply {
    if request.method == "PUT" {
        let unusual = name.contains(':') && name != digest_of(&request.body);
        if stored.usual_digests && unusual {
            return Reply::status(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
        }
        let kind = request.header("content-type").unwrap_or_default();
        let digest = stored.manifest(repository, name, kind, &request.body);
        let value: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let reply = Reply::status(201).header("docker-content-digest", digest);
        return match value["subject"]["digest"].as_str() {
            Some(subject) if stored.referrers => reply.header("oci-subject", subject),
            _ => reply,
        };
    }
    let Some((kind, bytes)) = stored.manifests.get(&key(repository, name)) else {
        return unknown("MANIFEST_UNKNOWN");
    };
    Reply::ok(bytes.clone())
        .header("content-type", kind)
        .header("docker-content-digest", digest_of(bytes))
}

/// Lists the repositories that have a manifest, as distribution does.
fn catalog(request: &Request, stored: &Stored) -> Reply {
    let after = request.query("last").unwrap_or_default();
    let all = stored.manifests.keys().map(|(repository, _)| &**repository);
    let mut left: Vec<&str> = all.filter(|name| **name > *after).collect();
    left.dedup();
    let page = &left[..left.len().min(2)];
    let reply = Reply::ok(json!({ "repositories": page }).to_string());
    match page.last() {
        Some(last) if page.len() < left.len() => {
            let link = format!("</v2/_catalog?n=2&last={last}>; rel=\"next\"");
            reply.header("link", link)
        }
        _ => reply,
    }
}

fn tags(request: &Request, stored: &mut Stored, repository: &str, _: &str) -> Reply {
    let all = stored.manifests.keys();
    let all = all.filter(|(of, name)| of == repository && !name.contains(':'));
    let after = request.query("last").unwrap_or_default();
    let left: Vec<&str> = all
        .map(|(_, tag)| &**tag)
        .filter(|tag| **tag > *after)
        .collect();
    // Pages are short, whatever page size was requested.
    let page = &left[..left.len().min(2)];
    let reply = Reply::ok(json!({ "name": repository, "tags": page }).to_string());
    match page.last() {
        Some(last) if page.len() < left.len() => {
            let link = format!("</v2/{repository}/tags/list?n=2&last={last}>; rel=\"next\"");
            reply.header("link", link)
        }
        _ => reply,
    }
}

fn referrers(_: &Request, stored: &mut Stored, repository: &str, subject: &str) -> Reply {
    if !stored.referrers {
        return Reply::status(404);
    }
    let mut listed = Vec::new();
    for ((of, name), (kind, bytes)) in &stored.manifests {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        if of == repository && name.contains(':') && value["subject"]["digest"] == subject {
            listed.push(json!({ "mediaType": kind, "digest": name, "size": bytes.len() }));
        }
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed });
    Reply::ok(index.to_string()).header("content-type", INDEX)
}

fn upload(request: &Request, stored: &mut Stored, repository: &str, id: &str) -> Reply {
    let place = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}?state=a%20b");
    if request.method == "POST" {
        if let (Some(digest), Some(from)) = (request.query("mount"), request.query("from"))
            && let Some(bytes) = stored.blobs.get(&key(&from, &digest)).cloned()
        {
            stored.blobs.insert(key(repository, &digest), bytes);
            return Reply::status(201).header("docker-content-digest", digest);
        }
        stored.next += 1;
        let id = stored.next.to_string();
        stored.uploads.insert(id.clone(), Vec::new());
        return Reply::status(202).header("location", place(&id));
    }
    let Some(bytes) = stored.uploads.get_mut(id) else {
        return unknown("BLOB_UPLOAD_UNKNOWN");
    };
    let there = |bytes: &[u8]| format!("0-{}", bytes.len().saturating_sub(1));
    match &*request.method {
        "PATCH" => {
            let first = request
                .header("content-range")
                .and_then(|range| range.split_once('-'));
            if first.is_some_and(|(first, _)| first.parse() != Ok(bytes.len())) {
                return Reply::status(416).header("range", there(bytes));
            }
            bytes.extend(&request.body);
            Reply::status(202)
                .header("location", place(id))
                .header("range", there(bytes))
        }
        "PUT" => {
            bytes.extend(&request.body);
            let bytes = std::mem::take(bytes);
            stored.uploads.remove(id);
            let digest = request.query("digest").unwrap_or_default();
            if digest_of(&bytes) != digest {
                return Reply::status(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
            }
            stored.blob(repository, &bytes);
            Reply::status(201).header("docker-content-digest", digest)
        }
        "DELETE" => {
            stored.uploads.remove(id);
            Reply::status(204)
        }
        _ => Reply::status(204)
            .header("location", place(id))
            .header("range", there(bytes)),
    }
}
