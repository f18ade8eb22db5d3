//! Reading an archive: its roots, and its members for whoever knows what they mean.

use std::{collections::BTreeMap, sync::Arc};

use imgconv_model::{
    Blob, Bundle, Code, Digest, Document, Env, Error, Facts, Limits, Name, Result, Root, RootEntry,
    TopLevel, quote,
};
use imgconv_stream::{Verified, read_to_limit};
use imgconv_wire::layout::INDEX_FILE;

use crate::{
    MANIFEST_FILE, REPOSITORIES_FILE, layout, legacy,
    manifest::{self, Item},
    members::{Members, blob_name, limit},
    naming,
};

/// An archive that is read.
#[derive(Debug)]
pub(crate) struct ArchiveBundle {
    locator: String,
    members: Arc<Members>,
    roots: Vec<RootEntry>,
    /// The root documents that are no blobs, by their digests.
    sources: BTreeMap<Digest, Source>,
    items: Vec<Item>,
    /// The images that no root document can be made of: their places, and their ids.
    broken: BTreeMap<usize, String>,
    /// What stands where a name belongs and is none, and the file where.
    bad_names: BTreeMap<String, &'static str>,
    /// What the index of the layout says of itself.
    top_level: TopLevel,
    /// Whether there is a layout, so that blobs are found by their digests.
    layout: bool,
    limits: Limits,
}

/// Where a root document comes from.
#[derive(Clone, Debug)]
enum Source {
    /// An entry of `manifest.json`.
    Item(usize),
    /// A chain of v1 images, from this id.
    Chain(String),
}

impl ArchiveBundle {
    /// Reads the lists of images and of members; the images themselves are not looked at.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("docker-archive:{rest}");
        Self::read(rest, &locator, env).map_err(|error| error.at(locator.clone()))
    }

    fn read(rest: &str, locator: &str, env: &Env) -> Result<Self> {
        let members = Members::open(rest, locator, env)?;
        let limits = &env.limits;
        let mut bundle = Self {
            locator: locator.to_owned(),
            members: Arc::new(members),
            roots: Vec::new(),
            sources: BTreeMap::new(),
            items: Vec::new(),
            broken: BTreeMap::new(),
            bad_names: BTreeMap::new(),
            top_level: TopLevel::default(),
            layout: false,
            limits: *limits,
        };
        let members = &Arc::clone(&bundle.members);
        if members.has(MANIFEST_FILE) {
            let most =
                limit(MANIFEST_FILE, limits).unwrap_or(("archive_json", limits.archive_json));
            bundle.items = manifest::parse(&members.read_name(MANIFEST_FILE, most)?, limits)?;
            bundle.layout = layout::is_layout(members);
            let bad = bundle.items.iter().flat_map(|item| &item.bad_names);
            bundle.bad_names = bad.map(|text| (text.clone(), MANIFEST_FILE)).collect();
            let roots = if bundle.layout {
                let index = layout::index(members, limits)?;
                let bad = index.bad_names().map(|text| (text, INDEX_FILE));
                bundle.bad_names.extend(bad);
                bundle.top_level = index.top_level();
                layout::roots(members, &index, &bundle.items, env)?
            } else {
                let every = entries(&bundle.items);
                every
                    .into_iter()
                    .map(|(entry, i)| (entry, Some(i)))
                    .collect()
            };
            for (entry, item) in roots {
                bundle.list(entry, item.map(Source::Item));
            }
            if !bundle.layout {
                mark_ambiguous(&mut bundle.roots, MANIFEST_FILE);
            }
            return Ok(bundle);
        }
        let of_v1 = |name: &str| {
            name.strip_suffix("/json")
                .is_some_and(imgconv_wire::v1_image::is_id)
        };
        if !members.has(REPOSITORIES_FILE) && !members.names().any(of_v1) {
            let message = format!(
                "there is no `{MANIFEST_FILE}` and no `{REPOSITORIES_FILE}`, so this is no docker archive"
            );
            let error = Error::new(Code::Missing, message);
            return Err(match layout::is_layout(members) {
                true => error.hint("it is an OCI layout: `oci-archive:` reads it"),
                false => error,
            });
        }
        for head in legacy::heads(members, limits)? {
            if head.entry.child.is_none() {
                bundle.broken.insert(head.entry.position, head.id.clone());
            }
            if head.entry.name.is_none()
                && let [text, _] = &head.entry.texts[..]
            {
                bundle.bad_names.insert(text.clone(), REPOSITORIES_FILE);
            }
            bundle.list(head.entry, Some(Source::Chain(head.id)));
        }
        mark_ambiguous(&mut bundle.roots, REPOSITORIES_FILE);
        Ok(bundle)
    }

    fn list(&mut self, entry: RootEntry, source: Option<Source>) {
        if let (Some(child), Some(source)) = (&entry.child, source) {
            self.sources.insert(child.digest, source);
        }
        self.roots.push(entry);
    }

    /// Makes the root document of that digest, unless it is a blob of the layout.
    fn make(&self, digest: &Digest) -> Result<Option<Document>> {
        match self.sources.get(digest) {
            None => Ok(None),
            Some(Source::Item(i)) => Ok(Some(self.items[*i].document())),
            Some(Source::Chain(id)) => legacy::document(&self.members, id, &self.limits).map(Some),
        }
    }

    fn at(&self, error: Error) -> Error {
        error.at(self.locator.clone())
    }
}

/// Lists the entry points that `manifest.json` has, one for each name, with the place of their entry.
pub(crate) fn entries(items: &[Item]) -> Vec<(RootEntry, usize)> {
    let mut seen: BTreeMap<Name, usize> = BTreeMap::new();
    let mut roots = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let mut push = |name: Option<&Name>, texts| {
            let entry = RootEntry {
                position,
                name: name.cloned(),
                texts,
                child: Some(item.child()),
                error: None,
                ambiguous: None,
            };
            roots.push((entry, position));
        };
        if item.names.is_empty() && item.bad_names.is_empty() {
            push(None, item.id.clone().into_iter().collect());
        }
        for (text, name) in &item.names {
            // The name of two different images is listed with both: only it is ambiguous.
            let first = *seen.entry(name.qualified()).or_insert(position);
            if first == position || !items[first].same(item) {
                push(Some(name), vec![text.clone()]);
            }
        }
        for text in &item.bad_names {
            push(None, vec![text.clone()]);
        }
    }
    roots
}

/// Says of the entries of one name that are different images that the name does not tell which is
/// meant.
fn mark_ambiguous(roots: &mut [RootEntry], file: &str) {
    let mut by_name: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
    for (at, entry) in roots.iter().enumerate() {
        if let Some(name) = &entry.name {
            by_name.entry(name.qualified()).or_default().push(at);
        }
    }
    for (name, group) in by_name {
        let digest = |at: usize| roots[at].child.as_ref().map(|child| child.digest);
        let first = group[0];
        let Some(other) = group
            .iter()
            .copied()
            .find(|at| digest(*at) != digest(first))
        else {
            continue;
        };
        let show = |at: usize| {
            let digest = digest(at).map_or_else(String::new, |digest| format!(" {digest}"));
            format!("#{}{digest}", roots[at].position)
        };
        let name = quote(name.to_string());
        let message = format!(
            "two images have the name {name}: {} and {}",
            show(first),
            show(other)
        );
        let error = Arc::new(Error::new(Code::Ambiguous, message).at(format!("file {file}")));
        for at in group {
            roots[at].ambiguous = Some(Arc::clone(&error));
        }
    }
}

impl Bundle for ArchiveBundle {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    /// Lists every name; the images of one position are one image.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.roots.clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        let Some(child) = &entry.child else {
            // What is wrong with it is found again.
            let document = match self.broken.get(&entry.position) {
                Some(id) => legacy::document(&self.members, id, &self.limits),
                None => {
                    let message = format!("entry #{} has no descriptor", entry.position);
                    Err(Error::new(Code::Missing, message))
                }
            };
            return document.map(Root::Document).map_err(|error| self.at(error));
        };
        let limit = ("manifest", self.limits.manifest);
        self.document(&child.kind, &child.facts(), limit)
            .map(Root::Document)
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let made = facts.digest.map_or(Ok(None), |digest| self.make(&digest));
        if let Some(document) = made.map_err(|error| self.at(error))? {
            return Ok(document);
        }
        let what = |digest: &Digest| format!("document {digest}");
        if let (Some(size), Some(digest)) = (facts.size, &facts.digest)
            && size > limit.1
        {
            let what = format!("{} of {size} bytes", what(digest));
            return Err(self.at(Limits::exceeded(limit.0, limit.1, what)));
        }
        let blob = self.blob(facts)?;
        let what = facts.digest.as_ref().map_or(String::new(), what);
        let bytes = blob
            .open()
            .and_then(|reader| read_to_limit(Verified::new(reader, facts, &*what), limit, &what))
            .map_err(|error| self.at(error))?;
        Ok(Document {
            kind: kind.to_owned(),
            bytes: bytes.into(),
        })
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        let Some(digest) = &facts.digest else {
            let message = "a blob is found by its digest, and none is known";
            return Err(self.at(Error::new(Code::Missing, message)));
        };
        let name = blob_name(digest);
        if !self.members.has(&name) {
            let message = format!("blob {digest} is not in the archive");
            return Err(self.at(Error::new(Code::Missing, message)));
        }
        let blob = self.members.blob(&name, false, facts);
        blob.map_err(|error| self.at(error))
    }

    /// Returns a member by its name, through links to other members. With `manifest.json` a config
    /// verifies what a layer holds, so a link may be a little wrong (robustness A4b).
    fn member(&self, name: &str, facts: &Facts) -> Result<Blob> {
        let lenient = !self.items.is_empty();
        let blob = self.members.blob(name, lenient, facts);
        blob.map_err(|error| self.at(error))
    }

    fn top_level(&self) -> TopLevel {
        self.top_level.clone()
    }

    fn bad_name(&self, entry: &RootEntry) -> Option<Error> {
        let mut texts = entry.texts.iter().filter(|_| entry.name.is_none());
        let (text, file) = texts.find_map(|text| self.bad_names.get_key_value(text))?;
        Some(self.at(naming::bad(text).at(format!("file {file}"))))
    }

    /// Before there were configs, no digest said what an image holds.
    fn state(&self, _: &RootEntry) -> Result<Option<String>> {
        Ok(self.members.state())
    }

    /// Only a layout names its blobs by their digests.
    fn stored(&self) -> Result<Option<Vec<Digest>>> {
        Ok(self.layout.then(|| self.members.blobs()))
    }
}
