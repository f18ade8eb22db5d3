//! Version 2, the distribution project's `registry/storage/paths.go`: below `docker/registry/v2`,
//! `blobs/ALGORITHM/XX/HEX/data` has every blob and every manifest, and
//! `repositories/NAME/_manifests` has a `link` (a file with a digest) for each manifest
//! (`revisions/ALGORITHM/HEX`) and each tag (`tags/TAG/current`).
//!
//! Only the manifest itself has its type. Of schema 1 only the signed text is stored; registries
//! before 2.6 stored its signatures as separate blobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_fs::Directory;
use imgconv_json::{Value, parse};
use imgconv_manifest::{
    kind_of,
    media_type::{DOCKER_CONFIG, OCI_CONFIG},
};
use imgconv_model::{Algorithm, Child, Code, Digest, Env, Facts, Limits, Name, Result};
use imgconv_stream::{Verified, read_to_limit};

use crate::{
    head::{Head, Source, name},
    paths::{BASE, CANONICAL, blob_path, read_link},
};

/// The most bytes that the name of a repository has.
const LONGEST_NAME: usize = 255;
/// The number of characters of a digest in the tag of a list of referrers.
const LIST_HEX: usize = 64;
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The contents of a storage.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The tags by repository and name, then the manifests without a tag by digest.
    pub(crate) heads: Vec<Head>,
    /// The blobs that are signatures of schema 1 manifests.
    pub(crate) signatures: BTreeSet<Digest>,
    /// Every repository that has manifests.
    pub(crate) repositories: Vec<String>,
}

/// Says whether there is such a storage.
pub(crate) fn is_there(directory: &Directory) -> Result<bool> {
    Ok(directory.is_directory(&format!("{BASE}/repositories"))?
        || directory.is_directory(&format!("{BASE}/blobs"))?)
}

/// Lists every blob.
pub(crate) fn blobs(directory: &Directory) -> Result<Vec<Digest>> {
    let mut found = Vec::new();
    for algorithm in ALGORITHMS {
        let base = format!("{BASE}/blobs/{}", algorithm.as_str());
        let prefixes = directory.directories(&base)?;
        let is_prefix = |name: &&String| {
            let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
            name.len() == 2 && name.bytes().all(digit)
        };
        for prefix in prefixes.iter().filter(is_prefix) {
            let names = directory.directories(&format!("{base}/{prefix}"))?;
            found.extend(
                names
                    .iter()
                    .filter_map(|hex| Digest::from_hex(algorithm, hex)),
            );
        }
    }
    found.sort();
    Ok(found)
}

/// Lists the entry points.
pub(crate) fn heads(directory: &Directory, host: Option<&str>, env: &Env) -> Result<Listed> {
    let mut reading = Reading {
        directory,
        host,
        limits: &env.limits,
        manifests: BTreeMap::new(),
        revisions: BTreeMap::new(),
        unread: BTreeSet::new(),
        listed: Listed::default(),
    };
    let mut open = vec![String::new()];
    while let Some(repository) = open.pop() {
        env.check_cancelled()?;
        let path = match &*repository {
            "" => format!("{BASE}/repositories"),
            name => format!("{BASE}/repositories/{name}"),
        };
        let last = repository.rsplit('/').next().unwrap_or_default();
        let below = match last.is_empty() || Name::is_component(last) {
            true => reading.directories(&path),
            // No registry makes such a folder, but file systems and file servers do, such as
            // `lost+found`, `.snapshot` and `@eaDir`; some of these can't be listed.
            false => directory.directories(&path).ok(),
        };
        let Some(below) = below else {
            continue;
        };
        if below.iter().any(|name| name == "_manifests") {
            reading.tags(&repository, &path);
            reading.revisions(&repository, &path);
            reading.listed.repositories.push(repository.clone());
        }
        let nested = below.iter().filter(|name| !name.starts_with('_')).rev();
        open.extend(
            nested
                .map(|name| match &*repository {
                    "" => name.clone(),
                    outer => format!("{outer}/{name}"),
                })
                .filter(|name| name.len() <= LONGEST_NAME),
        );
    }
    reading.untagged();
    // A list of referrers replaces the older ones, which have no tag, so it comes after them.
    let heads = &mut reading.listed.heads;
    heads.sort_by_key(|head| head.name.as_ref().is_some_and(is_list));
    Ok(reading.listed)
}

/// The facts of a manifest that are needed to find the entry points.
#[derive(Debug)]
struct Manifest {
    child: Child,
    /// The digests in the manifest, if it is an index.
    listed: Vec<Digest>,
    /// True for an image or an index of images, and not for a document about an image.
    is_image: bool,
    /// The digest under which the manifest is stored.
    stored: Digest,
}

#[derive(Debug)]
struct Reading<'a> {
    directory: &'a Directory,
    host: Option<&'a str>,
    limits: &'a Limits,
    manifests: BTreeMap<Digest, Manifest>,
    /// The repositories of every manifest.
    revisions: BTreeMap<Digest, Vec<String>>,
    /// The repositories with tags that the file system could not read, so that it is not known which
    /// manifests have no tag.
    unread: BTreeSet<String>,
    listed: Listed,
}

impl Reading<'_> {
    /// Lists a directory; an unreadable directory becomes an entry with the error.
    fn directories(&mut self, path: &str) -> Option<Vec<String>> {
        match self.directory.directories(path) {
            Ok(names) => Some(names),
            Err(error) => {
                self.listed.heads.push(Head {
                    name: None,
                    texts: vec![path.to_owned()],
                    child: None,
                    source: Source::Broken(Arc::new(error)),
                    repositories: Vec::new(),
                });
                None
            }
        }
    }

    fn tags(&mut self, repository: &str, path: &str) {
        let tags = format!("{path}/_manifests/tags");
        let listed = self.directories(&tags);
        if listed.is_none() {
            self.unread.insert(repository.to_owned());
        }
        for tag in listed.unwrap_or_default() {
            let link = format!("{tags}/{tag}/current/link");
            // A folder without a link whose name is no tag was not made by a registry, see above.
            if !Name::is_tag(&tag) && !matches!(self.directory.file(&link), Ok(Some(_))) {
                continue;
            }
            let mut texts = vec![format!("{repository}:{tag}")];
            let (child, source) = match read_link(self.directory, &link, self.limits) {
                Ok(digest) => {
                    texts.push(format!("{repository}@{digest}"));
                    let child = self.manifest(digest, path).child.clone();
                    (Some(child), Source::Manifest(digest))
                }
                Err(error) => {
                    if error.code() == Code::Io {
                        self.unread.insert(repository.to_owned());
                    }
                    (None, Source::Broken(Arc::new(error)))
                }
            };
            self.listed.heads.push(Head {
                name: Some(name(self.host, repository, &tag)),
                texts,
                child,
                source,
                repositories: vec![repository.to_owned()],
            });
        }
    }

    /// Records the manifests of a repository. A deleted manifest has no link.
    fn revisions(&mut self, repository: &str, path: &str) {
        for algorithm in ALGORITHMS {
            let base = format!("{path}/_manifests/revisions/{}", algorithm.as_str());
            for hex in self.directories(&base).unwrap_or_default() {
                let Some(digest) = Digest::from_hex(algorithm, &hex) else {
                    continue;
                };
                let folder = format!("{base}/{hex}");
                if matches!(self.directory.file(&format!("{folder}/link")), Ok(None)) {
                    continue;
                }
                self.signatures(&folder);
                self.manifest(digest, path);
                self.revisions
                    .entry(digest)
                    .or_default()
                    .push(repository.to_owned());
            }
        }
    }

    fn signatures(&mut self, folder: &str) {
        for algorithm in ALGORITHMS {
            let base = format!("{folder}/signatures/{}", algorithm.as_str());
            let names = self.directory.directories(&base).unwrap_or_default();
            let digests = names
                .iter()
                .filter_map(|hex| Digest::from_hex(algorithm, hex));
            self.listed.signatures.extend(digests);
        }
    }

    /// Reads a manifest once. Errors of the manifest are reported when it is read as an image.
    /// `path` is a repository that has the manifest.
    fn manifest(&mut self, digest: Digest, path: &str) -> &Manifest {
        let (directory, limits) = (self.directory, self.limits);
        self.manifests.entry(digest).or_insert_with(|| {
            let stored = stored_as(directory, &digest, path, limits);
            let bytes = read_blob(directory, &digest, &stored, limits).unwrap_or_default();
            let value = parse(&bytes, limits, "manifest").unwrap_or(Value::Null);
            Manifest {
                child: Child::new(
                    kind_of(&bytes, limits, "manifest").unwrap_or_default(),
                    digest,
                    bytes.len() as u64,
                ),
                listed: listed_in(&value),
                is_image: is_image(&value),
                stored,
            }
        })
    }

    /// Adds the manifests that neither a tag nor an index leads to.
    fn untagged(&mut self) {
        let tagged = self
            .listed
            .heads
            .iter()
            .filter_map(|head| head.child.as_ref());
        let mut reached: BTreeSet<Digest> = tagged.map(|child| child.digest).collect();
        reached.extend(
            self.manifests
                .values()
                .flat_map(|manifest| &manifest.listed),
        );
        // A manifest that was pushed by a digest of another algorithm is listed under that digest,
        // and not under the one of its stored blob.
        let manifests = self.manifests.iter();
        let other = manifests.filter(|(digest, manifest)| manifest.stored != **digest);
        let stored_names: BTreeSet<Digest> = other.map(|(_, manifest)| manifest.stored).collect();
        for (digest, repositories) in &self.revisions {
            let unknown = repositories.iter().all(|one| self.unread.contains(one));
            if unknown || reached.contains(digest) || stored_names.contains(digest) {
                continue;
            }
            let Manifest {
                stored, is_image, ..
            } = self.manifests[digest];
            // An image has a name in each of its repositories, which docker prints as `REPOSITORY@DIGEST`; another
            // document has none.
            let groups = match is_image {
                true => repositories.chunks(1),
                false => repositories.chunks(repositories.len().max(1)),
            };
            for repositories in groups {
                let mut texts = Vec::new();
                for repository in repositories {
                    texts.push(format!("{repository}@{digest}"));
                    if stored != *digest && !reached.contains(&stored) {
                        texts.push(format!("{repository}@{stored}"));
                    }
                }
                let first = repositories.first().filter(|_| is_image);
                let name = first.map(|repository| Name {
                    tag: None,
                    digest: Some(*digest),
                    ..name(self.host, repository, "latest")
                });
                self.listed.heads.push(Head {
                    name,
                    texts,
                    child: Some(self.manifests[digest].child.clone()),
                    source: Source::Manifest(*digest),
                    repositories: repositories.to_vec(),
                });
            }
        }
    }
}

/// Says whether a manifest is that of an image, or an index: not an artifact, and not about another document.
fn is_image(manifest: &Value) -> bool {
    let absent = |key: &str| manifest.get(key).is_none_or(Value::is_null);
    let config = manifest
        .pointer("/config/mediaType")
        .and_then(Value::as_str);
    let entries = manifest.get("manifests").and_then(Value::as_array);
    let of_image = match (config, entries) {
        (Some(kind), _) => [OCI_CONFIG, DOCKER_CONFIG].contains(&kind),
        // The entries of a list of referrers have the types of the artifacts.
        (None, Some(entries)) => entries
            .iter()
            .all(|entry| entry.get("artifactType").is_none()),
        (None, None) => !absent("fsLayers"),
    };
    of_image && absent("subject") && absent("artifactType")
}

/// Says whether a tag is the one of a list of referrers (distribution-spec, "Referrers Tag Schema").
fn is_list(name: &Name) -> bool {
    let digest = name.tag.as_deref().and_then(|tag| tag.split_once('-'));
    digest.is_some_and(|(algorithm, hex)| {
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let is_known = ALGORITHMS.iter().any(|one| one.as_str() == algorithm);
        is_known && is_hex && hex.len() == LIST_HEX
    })
}

/// Returns the digest under which the manifest of a repository is stored: the digest in its link,
/// unless there is a blob of the given digest.
fn stored_as(directory: &Directory, digest: &Digest, path: &str, limits: &Limits) -> Digest {
    if digest.algorithm() == CANONICAL || matches!(directory.file(&blob_path(digest)), Ok(Some(_)))
    {
        return *digest;
    }
    let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
    let link = format!("{path}/_manifests/revisions/{algorithm}/{hex}/link");
    read_link(directory, &link, limits).unwrap_or(*digest)
}

fn read_blob(
    directory: &Directory,
    digest: &Digest,
    stored: &Digest,
    limits: &Limits,
) -> Option<Vec<u8>> {
    let (file, _) = directory.file(&blob_path(stored)).ok()??;
    let facts = Facts::of(*digest);
    let reader = Verified::new(file, &facts, "manifest");
    read_to_limit(reader, ("manifest", limits.manifest), "manifest").ok()
}

/// Returns the digests in an index; formats check the index.
fn listed_in(value: &Value) -> Vec<Digest> {
    let listed = value.get("manifests").and_then(Value::as_array);
    let digest = |child: &Value| Digest::parse(child.get("digest")?.as_str()?).ok();
    listed.into_iter().flatten().filter_map(digest).collect()
}
