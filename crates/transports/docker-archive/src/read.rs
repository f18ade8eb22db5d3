//! Reading an archive: its roots, and its members, which formats interpret.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_layout::INDEX_FILE;
use imgconv_manifest::v1_image::Images as _;
use imgconv_model::{
    Blob, Bundle, Code, Digest, Document, Env, Error, Extras, Facts, Limits, ListNotes, Name,
    NamedBlobs, Reader, Report, Result, Root, RootEntry, States, StoredBlobs, TopLevel, Whole,
    WholeArchive, WholeImage, mark_ambiguous,
};
use imgconv_stream::{Verified, read_to_limit};

use crate::{
    both,
    directories::{Directories, V1},
    files::{MANIFEST_FILE, REPOSITORIES_FILE},
    layout,
    legacy::{self, Head},
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
    /// The directories of v1 images.
    directories: Directories,
    /// Names of images that only `repositories` lists, where `manifest.json` lists others.
    others: Vec<String>,
    /// The images without a root document: their positions, and their ids.
    broken: BTreeMap<usize, String>,
    /// The texts in the place of names that are no names, each with its file.
    bad_names: BTreeMap<String, &'static str>,
    /// The own fields of the layout's index.
    top_level: TopLevel,
    /// Whether there is a layout, so that blobs are found by their digests.
    layout: bool,
    limits: Limits,
}

/// The source of a root document.
#[derive(Clone, Debug)]
enum Source {
    /// An entry of `manifest.json`.
    Item(usize),
    /// A chain of v1 images, from this id.
    Chain(String),
}

impl ArchiveBundle {
    /// Reads the lists of images and of members, but no image.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("docker-archive:{rest}");
        let members = Members::open(rest, &locator, env);
        let opened = members.and_then(|members| Self::read(members, &locator, env));
        opened.map_err(|error| error.at(locator))
    }

    /// Copies an archive of at most `limit` bytes, and reads its lists. Messages name the archive by
    /// `locator`.
    pub(crate) fn of_stream(reader: Reader, limit: u64, locator: &str, env: &Env) -> Result<Self> {
        let members = Members::of_stream(reader, limit, locator, env)?;
        Self::read(members, locator, env)
    }

    fn read(members: Members, locator: &str, env: &Env) -> Result<Self> {
        let limits = &env.limits;
        let mut bundle = Self {
            locator: locator.to_owned(),
            members: Arc::new(members),
            roots: Vec::new(),
            sources: BTreeMap::new(),
            items: Vec::new(),
            directories: Directories::default(),
            others: Vec::new(),
            broken: BTreeMap::new(),
            bad_names: BTreeMap::new(),
            top_level: TopLevel::default(),
            layout: false,
            limits: *limits,
        };
        let members = &Arc::clone(&bundle.members);
        bundle.directories = Directories::find(members, limits)?;
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
                let every = manifest::entries(&bundle.items);
                every
                    .into_iter()
                    .map(|(entry, i)| (entry, Some(i)))
                    .collect()
            };
            bundle.list_all(roots, env)?;
            return Ok(bundle);
        }
        if !members.has(REPOSITORIES_FILE) && bundle.directories.is_empty() {
            let message = format!(
                "there is no `{MANIFEST_FILE}` and no `{REPOSITORIES_FILE}`, so this is no docker archive"
            );
            let error = Error::new(Code::Missing, message);
            return Err(match layout::is_layout(members) {
                true => error.hint("it is an OCI layout: `oci-archive:` reads it"),
                false => error,
            });
        }
        let v1 = V1 {
            members,
            directories: &bundle.directories,
        };
        for head in legacy::heads(v1, limits, &env.notes)? {
            bundle.list_head(head);
        }
        mark_ambiguous(&mut bundle.roots, &format!("file {REPOSITORIES_FILE}"));
        Ok(bundle)
    }

    /// Lists the images of `manifest.json` or the layout, and the images that only `repositories`
    /// has.
    fn list_all(&mut self, roots: Vec<(RootEntry, Option<usize>)>, env: &Env) -> Result<()> {
        let v1 = V1 {
            members: &self.members,
            directories: &self.directories,
        };
        let entries: Vec<RootEntry> = roots.iter().map(|(entry, _)| entry.clone()).collect();
        let more = both::compare(v1, &self.items, &entries, &self.limits, &env.notes)?;
        let is_replaced = |name: &Name| more.replaced.contains(&name.qualified());
        for (entry, item) in roots {
            if !entry.name.as_ref().is_some_and(is_replaced) {
                self.list(entry, item.map(Source::Item));
            }
        }
        // The layout's own list marks its ambiguous names.
        if !self.layout {
            mark_ambiguous(&mut self.roots, &format!("file {MANIFEST_FILE}"));
        }
        let listed = self.roots.len();
        let mut positions: BTreeMap<Digest, usize> = BTreeMap::new();
        for entry in &entries {
            if let Some(child) = &entry.child {
                positions.entry(child.digest).or_insert(entry.position);
            }
        }
        let next = self.items.len() + entries.len() + more.heads.len();
        for (k, (text, name, i)) in more.names.into_iter().enumerate() {
            let child = self.items[i].child();
            let own = positions.get(&child.digest);
            let entry = RootEntry {
                position: own.copied().unwrap_or(next + k),
                name: Some(name),
                texts: vec![text],
                child: Some(child),
                error: None,
                ambiguous: None,
            };
            self.list(entry, Some(Source::Item(i)));
        }
        for head in more.heads {
            let text = head.entry.texts.first().cloned();
            self.others.push(text.unwrap_or_else(|| head.id.clone()));
            self.list_head(head);
        }
        let list = format!("file {REPOSITORIES_FILE}");
        mark_ambiguous(&mut self.roots[listed..], &list);
        Ok(())
    }

    fn list_head(&mut self, head: Head) {
        if head.entry.child.is_none() {
            self.broken.insert(head.entry.position, head.id.clone());
        }
        if let Some(text) = head.bad_name {
            self.bad_names.insert(text, REPOSITORIES_FILE);
        }
        self.list(head.entry, Some(Source::Chain(head.id)));
    }

    fn v1(&self) -> V1<'_> {
        V1 {
            members: &self.members,
            directories: &self.directories,
        }
    }

    /// Adds other places of an image to the error of a missing file.
    fn with_others(&self, error: Error) -> Error {
        if self.others.is_empty() || error.code() != Code::Missing {
            return error;
        }
        let others: Vec<String> = self
            .others
            .iter()
            .take(8)
            .map(|text| format!("`{}:{text}`", self.locator))
            .collect();
        error.hint(format!(
            "`{REPOSITORIES_FILE}` names other images, which may be whole: {}",
            others.join(", ")
        ))
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
            Some(Source::Chain(id)) => legacy::document(self.v1(), id, &self.limits).map(Some),
        }
    }

    /// Finds the layers of a v1 image; its names are not among the result yet.
    fn whole_image(&self, root: Digest, walked: &mut u64) -> Result<WholeImage> {
        let Some(Source::Chain(id)) = self.sources.get(&root) else {
            let message = format!("there is no v1 image {root}");
            return Err(Error::new(Code::Missing, message));
        };
        let v1 = self.v1();
        let chain = legacy::chain(v1, id, &self.limits, walked)?;
        let place = |id: &String| {
            let found = self.members.resolve(&v1.layer_name(id), false)?;
            Ok((found.offset, found.size))
        };
        Ok(WholeImage {
            root,
            layers: chain.ids.iter().map(place).collect::<Result<_>>()?,
            names: Vec::new(),
        })
    }

    fn at(&self, error: Error) -> Error {
        error.at(self.locator.clone())
    }
}

impl Bundle for ArchiveBundle {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    /// Lists every name; entries with the same position are one image.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.roots.clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        entry.check().map_err(|error| self.at(error))?;
        let Some(child) = &entry.child else {
            // Making the document again returns the error of the image.
            let document = match self.broken.get(&entry.position) {
                Some(id) => legacy::document(self.v1(), id, &self.limits),
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

    fn extras(&self) -> Extras<'_> {
        Extras {
            members: Some(self),
            top_level: Some(&self.top_level),
            list_notes: Some(self),
            states: Some(self),
            stored: Some(self),
            whole: Some(self),
            ..Extras::default()
        }
    }
}

impl NamedBlobs for ArchiveBundle {
    /// Returns a member by its name, through links to other members. With `manifest.json` a config
    /// verifies the contents of a layer, so a slightly wrong link is accepted (robustness A4b).
    fn member(&self, name: &str, facts: &Facts) -> Result<Blob> {
        let lenient = !self.items.is_empty();
        let blob = self.members.blob(name, lenient, facts);
        blob.map_err(|error| self.at(self.with_others(error)))
    }

    /// Finds a layer by its contents, if the listed member is missing: Docker wrote a layer that an
    /// image has twice as a link, sometimes a broken one (robustness K26).
    fn layer_of(&self, diff_id: &Digest) -> Result<Option<(String, Blob)>> {
        let found = || {
            let Some(name) = self.members.by_content(diff_id)? else {
                return Ok(None);
            };
            let blob = self.members.blob(&name, false, &Facts::default())?;
            Ok(Some((name, blob)))
        };
        found().map_err(|error| self.at(error))
    }
}

impl Whole for ArchiveBundle {
    /// Only archives from before Docker 1.10 are kept: the later ones name their contents by digests.
    fn whole(&self, root: &Digest) -> Result<Option<WholeArchive>> {
        let is_chain = matches!(self.sources.get(root), Some(Source::Chain(_)));
        if !is_chain || !self.items.is_empty() {
            return Ok(None);
        }
        let read = || -> Result<WholeArchive> {
            let mut images: Vec<WholeImage> = Vec::new();
            let (mut places, mut walked) = (BTreeMap::new(), 0);
            for entry in &self.roots {
                let Some(root) = entry.digest() else { continue };
                let place = match places.get(&root) {
                    Some(place) => *place,
                    None => {
                        images.push(self.whole_image(root, &mut walked)?);
                        places.insert(root, images.len() - 1);
                        images.len() - 1
                    }
                };
                let name = entry.name.as_ref();
                let name = name.and_then(|name| name.to_reference(&mut Report::default()));
                let name = name.map(|name| naming::familiar(&name));
                images[place].names.extend(name);
            }
            let unreadable: BTreeSet<&String> = self.broken.values().collect();
            Ok(WholeArchive {
                tar: self.members.whole()?,
                compression: self.members.compression(),
                images,
                unreadable: unreadable.into_iter().cloned().collect(),
            })
        };
        read().map(Some).map_err(|error| self.at(error))
    }
}

impl ListNotes for ArchiveBundle {
    fn bad_name(&self, entry: &RootEntry) -> Option<Error> {
        let mut texts = entry.texts.iter().filter(|_| entry.name.is_none());
        let (text, file) = texts.find_map(|text| self.bad_names.get_key_value(text))?;
        Some(self.at(naming::bad(text).at(format!("file {file}"))))
    }

    /// `RepoTags` hold only the names of an image.
    fn duplicate_listings(&self, _: &RootEntry) -> Vec<String> {
        Vec::new()
    }

    fn is_unusable_record(&self, _: &RootEntry) -> bool {
        false
    }
}

impl States for ArchiveBundle {
    /// Without configs, no digest covers the contents of an image.
    fn state(&self, _: &RootEntry) -> Result<Option<String>> {
        Ok(self.members.state())
    }
}

impl StoredBlobs for ArchiveBundle {
    /// Only a layout names its blobs by their digests.
    fn stored(&self) -> Result<Option<Vec<Digest>>> {
        Ok(self.layout.then(|| self.members.blobs()))
    }

    fn stored_as(&self, digest: &Digest) -> Digest {
        *digest
    }
}
