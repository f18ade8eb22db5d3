//! The part of [`verify`](crate::verify()) that follows every reference of a place that finds blobs
//! by their digests, whatever else is wrong there. It finds blobs that are missing, that do not
//! match their name or their descriptor, that do not belong together, and that nothing refers to.
//!
//! This pass reads no layer's tar and verifies no signature, since that is done for each image.
//! Blobs that were read for an image are not read again, and problems that were reported there are
//! not reported again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    sync::Arc,
};

use imgconv_manifest::{
    KINDS, Part, Reference, References, Told, docker_config, embedded, family_of, find_blob,
    references, told,
};
use imgconv_model::{Child, Code, Digest, Env, Error, Facts, Limits, Opaque, Report, Result};
use imgconv_stream::{Cancellable, read_to_limit};

use crate::verdict::{Finding, Verdict};
use imgconv_convert::read::{node::Node, source::Source};

/// The results of reading the images.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Every digest that an image refers to.
    pub(crate) digests: BTreeSet<Digest>,
    /// Blobs that match their digests, with their sizes where they are known.
    pub(crate) good: BTreeMap<Digest, Option<u64>>,
    /// Manifests whose images could be decoded.
    pub(crate) decoded: BTreeSet<Digest>,
    /// The artifacts, each with the place that messages name.
    pub(crate) artifacts: Vec<(Arc<Node>, String)>,
}

impl Seen {
    /// Records a document or blob that was read and verified.
    pub(crate) fn verified(&mut self, child: &Child) {
        self.digests.insert(child.digest);
        self.good.insert(child.digest, Some(child.size));
    }
}

/// Checks everything that the entries of a place lead to, and everything else that is stored there.
/// Of a place that does not list its blobs, such as a registry, only artifacts are checked: the
/// other documents were read with their images and indexes.
pub(crate) fn check(
    source: &Source,
    all: bool,
    seen: &Seen,
    env: &Env,
    verdict: &mut Verdict,
) -> Result<()> {
    let stored = match source.bundle.stored() {
        Ok(stored) => stored,
        Err(error) => {
            verdict.fault(&error.at(&*source.text));
            return Ok(());
        }
    };
    let mut told = Problems::default();
    for finding in &verdict.problems {
        told.add(finding);
    }
    let mut walk = Walk {
        told,
        source,
        seen,
        env,
        verdict,
        found: BTreeMap::new(),
        reached: seen.digests.clone(),
        known: BTreeSet::new(),
        tasks: Vec::new(),
        complete: true,
    };
    let Some(stored) = stored else {
        for (node, text) in &seen.artifacts {
            env.check_cancelled()?;
            if let Node::Opaque { opaque, .. } = &**node {
                walk.artifact(opaque, text);
            }
        }
        return Ok(());
    };
    for entry in &source.entries {
        let Some(child) = &entry.child else { continue };
        let text = source.entry_text(entry);
        let again = source.bundle.duplicate_listings(entry);
        if !again.is_empty() {
            let message = format!(
                "{}, and the second entry differs in: {}",
                entry.listed_twice(),
                again.join(", ")
            );
            walk.verdict.warn("repeated-entry", text.clone(), message);
        }
        // A fault of the embedded data was reported when the image was read.
        let data = embedded(child, &env.limits).ok().flatten();
        let reference = Reference {
            part: Part::Entry,
            kind: child.kind.clone(),
            digest: child.digest,
            size: Some(child.size),
            dispensable: data.is_some(),
            data,
        };
        walk.refer(&reference, &text);
    }
    while let Some((reference, place)) = walk.tasks.pop() {
        env.check_cancelled()?;
        walk.document(&reference, &place)?;
    }
    if all {
        for digest in &stored {
            env.check_cancelled()?;
            walk.unreferenced(digest);
        }
    }
    Ok(())
}

/// The stored bytes under a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Missing,
    Unreadable,
    /// The size, where it is known, and whether the bytes match the digest.
    Bytes(Option<u64>, bool),
}

struct Walk<'a> {
    source: &'a Source,
    seen: &'a Seen,
    env: &'a Env,
    verdict: &'a mut Verdict,
    found: BTreeMap<Digest, Found>,
    reached: BTreeSet<Digest>,
    /// The documents that were followed, or will be.
    known: BTreeSet<Digest>,
    tasks: Vec<(Reference, String)>,
    /// The reported problems.
    told: Problems,
    /// False if a document that may refer to blobs could not be read.
    complete: bool,
}

/// The reported problems in a form that finds duplicates fast.
#[derive(Default)]
struct Problems {
    /// Codes and messages.
    problems: BTreeSet<(String, String)>,
    /// The digests that are missing, and those that do not match; mismatches also with the expected
    /// value.
    missing: BTreeSet<String>,
    mismatches: BTreeSet<String>,
    sizes: BTreeSet<(String, String)>,
}

impl Problems {
    /// Records a problem; false if the problem was reported already.
    fn add(&mut self, finding: &Finding) -> bool {
        let Finding { code, at, message } = finding;
        match &**code {
            "missing" => self.missing.extend(hexes(at).chain(hexes(message))),
            "mismatch" => {
                let expected = message.split_once("expected ").map(|(_, rest)| rest);
                // The two forms of messages: `expected 5,` of this pass, and `expected 5 bytes` of
                // blob readers.
                let expected = expected.map(|rest| {
                    let digits = rest.bytes().take_while(u8::is_ascii_digit);
                    &rest[..digits.count()]
                });
                for hex in hexes(message) {
                    let sizes = expected.map(|expected| (hex.clone(), expected.to_owned()));
                    self.sizes.extend(sizes);
                    self.mismatches.insert(hex);
                }
            }
            _ => {}
        }
        self.problems.insert((code.clone(), message.clone()))
    }
}

/// The digests in a text, without their algorithms.
fn hexes(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_ascii_hexdigit());
    let digests = words.filter(|word| matches!(word.len(), 64 | 96 | 128));
    digests.map(str::to_owned)
}

impl Walk<'_> {
    /// Checks the target of a reference, and follows the target if it is a document.
    fn refer(&mut self, reference: &Reference, from: &str) {
        let digest = reference.digest;
        self.reached.insert(self.source.bundle.stored_as(&digest));
        let is_document = reference.part == Part::Entry || KINDS.contains(&&*reference.kind);
        let place = match reference.part {
            Part::Entry | Part::Subject => from.to_owned(),
            Part::Config => format!("{from} › config"),
            Part::Blob => format!("{from} › blob {digest}"),
        };
        match self.look(&digest, &place) {
            Found::Missing if reference.dispensable => {
                if is_document && reference.data.is_some() && self.known.insert(digest) {
                    self.tasks.push((reference.clone(), place));
                }
                return;
            }
            Found::Missing => {
                self.complete &= !is_document;
                if !self.told.missing.contains(&digest.hex()) {
                    let message = format!(
                        "a document refers to blob {digest}, but the place does not store it"
                    );
                    self.problem(Error::new(Code::Missing, message).at(place));
                }
                return;
            }
            Found::Unreadable => {
                self.complete &= !is_document;
                return;
            }
            Found::Bytes(size, _) => {
                if let (Some(said), Some(size)) = (reference.size, size)
                    && said != size
                {
                    let error = Error::mismatch(format!("size of blob {digest}"), said, size);
                    self.mismatch(&digest, error, Some(said), &place);
                }
            }
        }
        if is_document && self.known.insert(digest) {
            self.tasks.push((reference.clone(), place));
        }
    }

    /// Reads the bytes under a digest, once, and compares them with the digest.
    fn look(&mut self, digest: &Digest, place: &str) -> Found {
        if let Some(found) = self.found.get(digest) {
            return *found;
        }
        let found = match self.seen.good.get(digest) {
            Some(size) => Found::Bytes(*size, true),
            None => self.read(digest, place),
        };
        self.found.insert(*digest, found);
        found
    }

    fn read(&mut self, digest: &Digest, place: &str) -> Found {
        let facts = Facts::of(*digest);
        let opened = self.source.bundle.blob(&facts).and_then(|blob| blob.open());
        let mut reader = match opened {
            Ok(reader) => Cancellable::new(reader, self.env),
            Err(error) if error.code() == Code::Missing => return Found::Missing,
            Err(error) => {
                self.problem(error.at(place));
                return Found::Unreadable;
            }
        };
        let (mut size, mut buffer) = (0, vec![0; 1 << 18]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Found::Bytes(Some(size), true),
                Ok(count) => size += count as u64,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let error = Error::from_io(error);
                    if error.code() != Code::Mismatch {
                        self.problem(error.at(place));
                        return Found::Unreadable;
                    }
                    self.mismatch(digest, error, None, place);
                    return Found::Bytes(Some(size), false);
                }
            }
        }
    }

    /// Reports that bytes do not match a reference, unless that was reported.
    fn mismatch(&mut self, digest: &Digest, error: Error, said: Option<u64>, place: &str) {
        let told = match said {
            Some(said) => self.told.sizes.contains(&(digest.hex(), said.to_string())),
            None => self.told.mismatches.contains(&digest.hex()),
        };
        if !told {
            self.problem(error.at(place));
        }
    }

    /// Reports a problem, unless the same problem was reported for another place.
    fn problem(&mut self, error: Error) {
        let finding = Finding::of(&error);
        if self.told.add(&finding) {
            self.verdict.problems.push(finding);
        }
    }

    /// Follows a document.
    fn document(&mut self, reference: &Reference, place: &str) -> Result<()> {
        let limits = &self.env.limits;
        let most = ("graph_nodes", limits.graph_nodes);
        Limits::check(self.known.len() as u64, most, "the number of documents")?;
        let digest = reference.digest;
        if matches!(self.found.get(&digest), Some(Found::Bytes(_, false))) {
            // The blob has no media type, so its references are not known.
            self.complete = false;
            return Ok(());
        }
        let facts = Facts::of(digest);
        let limit = ("manifest", limits.manifest);
        let stored = match self.found.get(&digest) {
            Some(Found::Bytes(Some(size), _)) => *size,
            _ => 0,
        };
        match told(&reference.kind) {
            Told::Listing => {}
            // A manifest or index is never longer than this limit.
            Told::Nothing if stored <= limit.1 => {}
            Told::Nothing | Told::Other => return Ok(()),
        }
        let document = self.source.bundle.document(&reference.kind, &facts, limit);
        let bytes = match (document, &reference.data) {
            (Err(error), Some(data)) if error.code() == Code::Missing => Ok(Arc::clone(data)),
            (document, _) => document.map(|document| document.bytes),
        };
        let read = bytes.and_then(|bytes| references(&reference.kind, &bytes, limits));
        match read {
            // A subject may be missing, even if its manifest is embedded in the referrer's
            // descriptor.
            Ok(Some(mut read)) if reference.part == Part::Subject && reference.data.is_some() => {
                let list = read.list.iter_mut();
                list.for_each(|reference| reference.dispensable = true);
                self.follow(&digest, &read, place);
            }
            // No specification asks for the blobs of a document that is the content of an artifact.
            Ok(Some(mut read)) if matches!(reference.part, Part::Config | Part::Blob) => {
                read.list.iter_mut().for_each(Reference::be_content);
                self.follow(&digest, &read, place);
            }
            Ok(Some(read)) => self.follow(&digest, &read, place),
            // The blob is no manifest or index, and refers to nothing.
            Ok(None) => {}
            Err(error) => {
                self.complete = false;
                self.problem(error.at(place));
            }
        }
        Ok(())
    }

    fn follow(&mut self, digest: &Digest, read: &References, place: &str) {
        let own = family_of(read.kind);
        let mut foreign: BTreeSet<&str> = BTreeSet::new();
        for reference in &read.list {
            let other = family_of(&reference.kind);
            if reference.part != Part::Subject && other.is_some() && other != own {
                foreign.insert(&reference.kind);
            }
            let from = match reference.part {
                Part::Entry => format!("{place} › index › {}", reference.digest),
                Part::Subject => format!("{place} › subject"),
                Part::Config | Part::Blob => place.to_owned(),
            };
            // An engine fetches some of the platforms of an index.
            let not_fetched = reference.part == Part::Entry && self.source.bundle.extras().partial;
            let dispensable = reference.dispensable || not_fetched;
            let reference = Reference {
                dispensable,
                ..reference.clone()
            };
            self.refer(&reference, &from);
        }
        for kind in foreign {
            let message = format!(
                "{digest} is of type {} and lists a document of type {kind}, which belongs to the \
                 other family",
                read.kind
            );
            self.verdict
                .warn("mixed-media-types", place.to_owned(), message);
        }
        if !self.seen.decoded.contains(digest) {
            self.config(read, place);
            // The blobs that the tar sums mean were not found out.
            self.complete &= read.tar_sums.is_empty();
        }
    }

    /// Compares a config with the layers of an image that could not be decoded.
    fn config(&mut self, read: &References, place: &str) {
        let is_config = |one: &&Reference| one.part == Part::Config;
        let Some(config) = read.list.iter().find(is_config) else {
            return;
        };
        let intact = matches!(self.found.get(&config.digest), Some(Found::Bytes(_, true)));
        if !intact || family_of(&config.kind).is_none() {
            return;
        }
        let limit = ("config", self.env.limits.config);
        let facts = Facts::of(config.digest);
        let document = (self.source.bundle).document(&config.kind, &facts, limit);
        self.config_of(read, document.map(|it| it.bytes), place);
    }

    /// Compares the bytes of a config with the layers of its manifest.
    fn config_of(&mut self, read: &References, bytes: Result<Arc<[u8]>>, place: &str) {
        let limits = &self.env.limits;
        let mut report = Report::default();
        let bytes = match bytes {
            // An artifact may use the media type of an image's config.
            Ok(bytes) if !docker_config::is_config(&bytes, limits) => return,
            bytes => bytes,
        };
        let decoded = bytes
            .and_then(|bytes| imgconv_json::parse(&bytes, limits, "config"))
            .and_then(|value| docker_config::decode(&value, &mut report));
        let layers = read.list.iter().filter(|one| one.part == Part::Blob);
        let layers = layers.count();
        match decoded {
            Ok(decoded) if decoded.diff_ids.len() != layers => {
                let message = format!(
                    "the config has {} diff IDs, but the manifest has {layers} layers",
                    decoded.diff_ids.len()
                );
                let error = Error::new(Code::BadManifest, message);
                self.problem(error.at("config › field rootfs.diff_ids").at(place));
            }
            Ok(_) => {}
            Err(error) => self.problem(error.at(place)),
        }
        self.verdict.warn_all(place, report);
    }

    /// Checks the config of an artifact, and the blobs that have the type of a manifest or an index.
    /// All of them are read as blobs: a registry stores its documents apart from the blobs.
    fn artifact(&mut self, opaque: &Opaque, place: &str) {
        let (source, seen) = (self.source, self.seen);
        let limits = &self.env.limits;
        let read = opaque.document.as_ref();
        let read = read.map(|it| references(&it.kind, &it.bytes, limits));
        let Some(Ok(Some(read))) = read else { return };
        let bytes = |child: &Child, limit| {
            let reader = find_blob(&*source.bundle, child, limits)?.open()?;
            let bytes = read_to_limit(reader, limit, &format!("blob {}", child.digest))?;
            Ok(Arc::from(bytes))
        };
        let is_config = |child: &Child| {
            let mut list = read.list.iter();
            list.any(|one| one.part == Part::Config && one.digest == child.digest)
        };
        // A blob that could not be read was reported.
        let intact = |child: &&Child| seen.good.contains_key(&child.digest);
        for child in opaque.blobs.iter().filter(intact) {
            if told(&child.kind) == Told::Listing {
                let bytes = bytes(child, ("manifest", limits.manifest));
                let listed = bytes.and_then(|bytes| references(&child.kind, &bytes, limits));
                if let Err(error) = listed {
                    self.problem(error.at(format!("{place} › blob {}", child.digest)));
                }
            }
            if family_of(&child.kind).is_some() && is_config(child) {
                let bytes = bytes(child, ("config", limits.config));
                self.config_of(&read, bytes, place);
            }
        }
    }

    /// Checks a blob that nothing refers to.
    fn unreferenced(&mut self, digest: &Digest) {
        if self.reached.contains(digest) {
            return;
        }
        let text = self.source.text.clone();
        let nothing = match self.complete {
            true => "nothing",
            false => "nothing that can be read",
        };
        let message = format!("{digest} is stored, but {nothing} refers to it");
        self.verdict
            .warn("unreferenced-blob", text.clone(), message);
        // A blob that was removed meanwhile is no fault.
        self.look(digest, &format!("{text} › blob {digest}"));
    }
}
