//! Writing a layout directory: a new one that appears at once, or more images in an existing one.
//!
//! A new layout is built in a private directory beside its place and renamed. In an existing
//! layout, blobs get their names first and `index.json` is replaced last, under the layout's lock,
//! starting from its text at that moment: several runs of imgconv, on one machine or on several, can
//! add to one layout at once. Other writers do not take that lock. No blob is ever opened for writing.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_fs::{
    Link, Stage, open_directory, parent, refresh, rename_directory, share, sync, sync_directory,
};
use imgconv_json::parse;
use imgconv_layout::{
    Index, Item, Listed, MARKER, Moved, Names, RefName, Taken, address, describe,
};
use imgconv_model::{
    Adopted, Adoption, BlobWriter, BundleSink, Child, Code, Digest, EarlyBlobs, Env, Error,
    Publication, Reader, Report, Result, SinkExtras, TopLevel, quote, quote_path,
};
use imgconv_stream::read_document;
use rustix::{fs::Dir, io::Errno};

use crate::{
    directory::{Directory, make_directory},
    files::{BLOBS, Files, INDEX_FILE, LAYOUT_FILE, check_layout, read_index},
    gc::check_complete,
    growing::{Growing, GrowingWriter},
    hold::Holds,
    leftovers::remove_leftovers,
    lock::{lock, lock_to_commit},
    pool::Pool,
    shared::{Shared, Sharing},
};

/// A layout directory that is written.
#[derive(Debug)]
pub struct LayoutSink {
    path: PathBuf,
    locator: String,
    /// The directory, if it exists.
    existing: Option<Directory>,
    stage: Arc<Stage>,
    /// The blobs that get their final names at once, if they do not wait for the commit.
    growing: Option<Arc<Growing>>,
    link: Link,
    pool: Option<Arc<Pool>>,
    ref_name: RefName,
    top_level: TopLevel,
    env: Env,
    /// The blobs that were there before.
    holds: Holds,
}

impl LayoutSink {
    /// Opens a destination: a path where nothing exists, an empty directory, or a layout.
    ///
    /// # Errors
    /// [`Code::Denied`] if something else is there, [`Code::Io`] if the directory can't be written,
    /// and the errors of reading a damaged layout.
    pub fn create(path: &str, env: &Env) -> Result<Self> {
        if path.is_empty() || path == "-" {
            let message = "an OCI layout is a directory, and needs a path";
            return Err(Error::new(Code::Usage, message).hint("`oci-archive:-` writes to a pipe"));
        }
        let locator = format!("oci:{path}");
        let shown = quote(path);
        let destination = PathBuf::from(path);
        let (existing, stage) = match fs::metadata(&destination) {
            Ok(metadata) if metadata.is_dir() => {
                let directory = Directory::open_to_change(&destination)?;
                look(&directory, &destination, env).map_err(|error| error.at(locator.clone()))?;
                let stage = Stage::new(&destination, Stage::PREFIX, true)?;
                (Some(directory), stage)
            }
            Ok(_) => {
                let message =
                    "an OCI layout is a directory, but the path exists and is not a directory";
                return Err(Error::new(Code::Denied, message)
                    .hint("`oci-archive:` writes one file")
                    .at(shown));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Anything else was made since the first look, by another run: the commit finds that.
                if fs::symlink_metadata(&destination).is_ok_and(|at| at.is_symlink()) {
                    let message = "a symbolic link that leads nowhere is there";
                    return Err(Error::new(Code::Denied, message).at(shown));
                }
                let prefix = Stage::prefix_beside(&destination);
                (None, Stage::new(parent(&destination), &prefix, true)?)
            }
            Err(error) => return Err(Error::io(error, shown)),
        };
        // Leftovers that can't be found or removed now are left to a later run.
        let _ = remove_leftovers(&destination);
        Ok(Self {
            path: destination,
            locator,
            existing,
            stage,
            growing: None,
            link: Link::default(),
            pool: None,
            ref_name: RefName::default(),
            top_level: TopLevel::default(),
            env: env.clone(),
            holds: Holds::default(),
        })
    }

    /// Opens a destination as [`LayoutSink::create`] does, makes its directory, and gives blobs
    /// their final names as soon as they are complete. Only the commit makes images visible.
    ///
    /// # Errors
    /// As [`LayoutSink::create`].
    pub fn growing(path: &str, env: &Env) -> Result<Self> {
        let failed = |error| Error::io(error, quote(path));
        match fs::create_dir(path) {
            Ok(()) => {
                sync_directory(parent(Path::new(path)))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let sink = Self::create(path, env)?;
        let Some(directory) = &sink.existing else {
            return Err(Error::new(Code::Io, "the directory disappeared").at(quote(path)));
        };
        let growing = Growing::new(directory, &sink.path, &sink.stage, env)?;
        Ok(Self {
            growing: Some(Arc::new(growing)),
            ..sink
        })
    }

    /// Sets the files that blobs share their bytes with.
    ///
    /// # Errors
    /// If the pool can't be opened.
    pub fn with_sharing(mut self, sharing: &Sharing) -> Result<Self> {
        self.link = sharing.link;
        if let Some(path) = &sharing.pool {
            self.pool = Some(Arc::new(Pool::open(path, sharing.link, &self.env)?));
        }
        let pool = self.pool.clone();
        let growing = self.growing.take().and_then(Arc::into_inner);
        self.growing = growing.map(|growing| Arc::new(growing.with_pool(pool)));
        Ok(self)
    }

    /// Sets the form of `org.opencontainers.image.ref.name` where the user gave no reference.
    #[must_use]
    pub fn with_ref_name(mut self, ref_name: RefName) -> Self {
        self.ref_name = ref_name;
        self
    }

    /// Says whether a blob was written in this run.
    fn written(&self, digest: &Digest, size: u64) -> bool {
        let placed = |growing: &Arc<Growing>| growing.has(digest, size);
        self.stage.has(digest, size) || self.growing.as_ref().is_some_and(placed)
    }

    /// Moves the whole new layout to its place; false if something is there meanwhile.
    fn rename_new(&self) -> Result<bool> {
        let name = self
            .path
            .file_name()
            .ok_or_else(|| Error::new(Code::Usage, "the path of the layout has no last part"))?;
        let shown = || quote_path(&self.path);
        let above = open_directory(parent(&self.path))?;
        match rename_directory(self.stage.descriptor(), NEW, &above, name) {
            Ok(()) => sync(&above, shown()).map(|()| true),
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                // The machine may remember that there was nothing.
                refresh(&above, &name.to_string_lossy());
                Ok(false)
            }
            Err(error) => Err(Error::io(error.into(), shown())),
        }
    }
}

/// The name of a new layout while it is in the stage.
const NEW: &str = "layout";

/// Reads the index of a layout; `None` if the directory is empty, or holds only the leftovers of a
/// run that was killed while it made a layout there.
fn load(directory: &Directory, env: &Env) -> Result<Option<Index>> {
    let has = |name: &str| directory.open(&[name]).map(|found| found.is_some());
    let mut made = has(LAYOUT_FILE)? || has(INDEX_FILE)?;
    if !made {
        let failed = |error: Errno| Error::io(error.into(), "directory");
        for entry in Dir::read_from(directory.descriptor()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            // Another run of imgconv is making a layout here.
            if name == LAYOUT_FILE.as_bytes() || name == INDEX_FILE.as_bytes() {
                made = true;
                continue;
            }
            // A killed run leaves `blobs` behind first.
            let ours = name.starts_with(Stage::PREFIX.as_bytes()) || name == BLOBS.as_bytes();
            if name != b"." && name != b".." && !ours {
                let message = format!(
                    "the directory is no OCI layout and not empty: it holds {}",
                    quote(name)
                );
                return Err(Error::new(Code::Denied, message)
                    .hint("name a directory that is empty or does not exist"));
            }
        }
    }
    if !made {
        return Ok(None);
    }
    check_layout(directory, &env.limits)?;
    if !has(INDEX_FILE)? {
        return Ok(None);
    }
    let index = read_index(directory, &env.limits)?;
    // A link in place of a directory is an error before anything is written.
    directory.blobs()?;
    Ok(Some(index))
}

/// Looks whether a directory can be written to. A machine that has cached the size of a file that another
/// one replaces may see half of the file: then the lock decides.
fn look(directory: &Directory, path: &Path, env: &Env) -> Result<()> {
    load(directory, env).map(drop).or_else(|error| {
        let again = lock(directory, path, env).and_then(|_lock| load(directory, env));
        again.map(drop).map_err(|_| error)
    })
}

/// The commit, in a new or an existing directory.
struct Commit<'a> {
    stage: &'a Stage,
    env: &'a Env,
    listed: &'a [Listed],
    top_level: &'a TopLevel,
    /// Returns whether a blob was written in this run.
    written: &'a dyn Fn(&Digest, u64) -> bool,
    holds: &'a Holds,
}

impl Commit<'_> {
    /// Puts blobs and descriptors into a layout, or makes a layout in an empty directory. `moved`
    /// is the path of that directory below the stage, if it is there.
    fn apply(&self, directory: &Directory, moved: Option<&str>) -> Result<()> {
        let found = load(directory, self.env)?;
        for one in self.listed {
            let (digest, size) = (&one.child.digest, one.child.size);
            let there = || self.holds.has(directory, self.stage, digest, size);
            if !(self.written)(digest, size) && !there()? {
                return Err(Stage::never_written(digest));
            }
        }
        let is_new = found.is_none();
        let index = self.merged(directory, found)?;
        self.env.check_cancelled()?;
        self.holds.restore(directory, self.stage)?;
        self.place_blobs(directory, moved)?;
        let target = directory.descriptor();
        let place = |name: &str, bytes: &[u8], keep: bool| {
            let staged = self.stage.write(bytes)?;
            let placed = self.stage.rename(&staged, target, name, keep);
            placed.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    Error::new(Code::Denied, "the file is there already")
                }
                _ => Error::io(error, format!("file {name}")),
            })
        };
        // The lock of a directory has made the file already.
        if is_new && directory.open(&[LAYOUT_FILE])?.is_none() {
            place(LAYOUT_FILE, MARKER.as_bytes(), false)?;
        }
        match index.map(|bytes| place(INDEX_FILE, &bytes, is_new)) {
            // Another machine has made the index, and this one remembered that there was none: making a
            // file without replacing another asks the server.
            Some(Err(error)) if is_new && error.code() == Code::Denied => {
                refresh(target, INDEX_FILE);
                let found = load(directory, self.env)?;
                if let Some(bytes) = self.merged(directory, Some(found.ok_or(error)?))? {
                    place(INDEX_FILE, &bytes, false)?;
                }
            }
            placed => placed.unwrap_or(Ok(()))?,
        }
        sync(target, "layout directory")
    }

    /// Returns the bytes of the index with the new entries; `None` if the index that was found has them.
    fn merged(&self, directory: &Directory, found: Option<Index>) -> Result<Option<Vec<u8>>> {
        let is_new = found.is_none();
        if !is_new && *self.top_level != TopLevel::default() {
            let message = "another program made a layout here at the same time; its index would \
                           replace the annotations of the new index";
            return Err(Error::new(Code::Denied, message).hint("run it again"));
        }
        let mut index = found.unwrap_or_else(|| {
            let mut index = Index::empty();
            index.set_top_level(self.top_level);
            index
        });
        let merged = index.merge(self.listed, &self.env.limits)?;
        self.tell_moved(&index, &merged.moved);
        let mut subject = subjects(Some(directory), Some(self.stage), self.env);
        let changed = index.renew_records(self.listed, &mut subject) || merged.changed;
        let bytes = index.render();
        let limit = self.env.limits.root_index;
        if bytes.len() as u64 > limit {
            let what = format!("file {INDEX_FILE} of {} bytes", bytes.len());
            return Err(imgconv_model::Limits::exceeded("root_index", limit, what));
        }
        Ok((is_new || changed).then_some(bytes))
    }

    /// Warns about images that lost a name to the new images.
    fn tell_moved(&self, index: &Index, moved: &[Moved]) {
        let mut left = BTreeSet::new();
        if !moved.is_empty() {
            left.extend(index.items.iter().filter_map(Item::digest));
        }
        for one in moved {
            let names: Vec<String> = one.names.iter().map(quote).collect();
            let state = match (one.kept, left.contains(&one.digest)) {
                (true, _) => "; it has no other name and stays in the index without a name",
                (false, true) => "",
                (false, false) => "; it has no other name, and the index no longer lists it",
            };
            let message = format!("{} was called {}{state}", one.digest, names.join(" = "));
            self.env.notes.warn("moved", INDEX_FILE, message);
        }
    }

    fn place_blobs(&self, directory: &Directory, moved: Option<&str>) -> Result<()> {
        let blobs = make_directory(directory.descriptor(), BLOBS, BLOBS)?;
        let mut algorithms: BTreeMap<&str, OwnedFd> = BTreeMap::new();
        // Readers expect the directory of SHA-256 even if it is empty.
        let usual = imgconv_model::Algorithm::Sha256.as_str();
        let shown = |algorithm: &str| format!("{BLOBS}/{algorithm}");
        algorithms.insert(usual, make_directory(&blobs, usual, &shown(usual))?);
        for (digest, staged) in self.stage.list() {
            let algorithm = digest.algorithm().as_str();
            let target = match algorithms.entry(algorithm) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(make_directory(&blobs, algorithm, &shown(algorithm))?)
                }
            };
            let hex = digest.hex();
            rustix::fs::renameat(self.stage.descriptor(), &*staged.path, &*target, &*hex)
                .map_err(|error| Error::io(error.into(), format!("blob {digest}")))?;
            if let Some(below) = moved {
                let path = format!("{below}/{BLOBS}/{algorithm}/{hex}");
                self.stage.moved(&digest, path);
            }
        }
        for (algorithm, target) in &algorithms {
            sync(target, shown(algorithm))?;
        }
        sync(&blobs, BLOBS)
    }
}

/// Says whether a layout lists all publications already, as they would be listed now. Removes what
/// killed writers left in it, as the one does that would list them.
///
/// # Errors
/// If there is a layout whose index can't be read, or a publication can't be listed.
pub fn lists(
    path: &str,
    publications: &[Publication],
    ref_name: RefName,
    env: &Env,
) -> Result<bool> {
    // Leftovers that can't be found or removed now are left to a later run.
    let _ = remove_leftovers(Path::new(path));
    let (listed, _) = list(publications, ref_name, env, path)?;
    let directory = Directory::open_to_change(Path::new(path))?;
    let index = load(&directory, env).map_err(|error| error.at(format!("oci:{path}")))?;
    let mut subject = subjects(Some(&directory), None, env);
    let Some(mut index) = index else {
        return Ok(false);
    };
    let merged = index.merge(&listed, &env.limits)?;
    Ok(!merged.changed && !index.renew_records(&listed, &mut subject))
}

/// Finds the images that records of reversal are about, in a layout or the stage of its writer; `None` for a record whose
/// manifest can't be read.
pub(crate) fn subjects<'a>(
    directory: Option<&'a Directory>,
    stage: Option<&'a Stage>,
    env: &'a Env,
) -> impl FnMut(&Child) -> Option<Digest> + 'a {
    let staged = LazyCell::new(move || {
        let all = stage.map(Stage::list).unwrap_or_default();
        all.into_iter().collect::<BTreeMap<_, _>>()
    });
    move |child| {
        let reader: Reader = match (staged.get(&child.digest), stage) {
            (Some(staged), Some(stage)) => Box::new(stage.open(&staged.path).ok()?),
            _ => directory?.blob(&child.digest).ok()??.0,
        };
        let limit = ("manifest", env.limits.manifest);
        let document = read_document(reader, &child.kind, &child.facts(), limit, "record").ok()?;
        let value = parse(&document.bytes, &env.limits, "record").ok()?;
        Digest::parse(value.pointer("/subject/digest")?.as_str()?).ok()
    }
}

/// Returns the descriptors that publications get, and the locator of each.
pub(crate) fn list(
    publications: &[Publication],
    ref_name: RefName,
    env: &Env,
    locator: &str,
) -> Result<(Vec<Listed>, Vec<String>)> {
    let mut listed: Vec<Listed> = Vec::with_capacity(publications.len());
    let mut places = Vec::with_capacity(publications.len());
    let mut taken = Taken::default();
    for publication in publications {
        let mut report = Report::default();
        let names = Names::write(publication, ref_name, &mut report)?;
        for loss in report.losses {
            env.notes.lose(loss.field, loss.outcome, loss.why);
        }
        let digest = publication.root.digest;
        if let Some(other) = taken.give(&names, digest) {
            let message = format!(
                "two images would get the name {}: {other} and {digest}",
                names.show()
            );
            return Err(Error::new(Code::Ambiguous, message)
                .hint("convert them one by one, each with `--name` or a reference"));
        }
        places.push(format!("{locator}:{}", address(&names, &digest)));
        listed.push(describe(publication, &names, &env.limits)?);
    }
    Ok((listed, places))
}

impl BundleSink for LayoutSink {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    /// A blob that was there before is read once and compared with its name; a damaged one counts
    /// as absent, and is replaced when it is written (robustness D5).
    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        if self.written(digest, size) {
            return Ok(true);
        }
        let work = || -> Result<bool> {
            if let Some(directory) = &self.existing
                && self.holds.has(directory, &self.stage, digest, size)?
            {
                return Ok(true);
            }
            match &self.pool {
                Some(pool) if pool.get(digest, size, &self.stage)? => {}
                _ => return Ok(false),
            }
            match &self.growing {
                Some(growing) => growing.place(digest).map(|()| true),
                None => Ok(true),
            }
        };
        work().map_err(|error| error.at(self.locator.clone()))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        let inner = self.stage.writer()?;
        Ok(match &self.growing {
            Some(growing) => Box::new(GrowingWriter {
                inner,
                growing: Arc::clone(growing),
            }),
            None => inner,
        })
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras {
            adoption: Some(self),
            early_blobs: Some(self),
            ..SinkExtras::default()
        }
    }

    fn set_top_level(&mut self, top_level: TopLevel) {
        self.top_level = top_level;
    }

    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        let at = |error: Error| error.at(self.locator.clone());
        let (listed, places) =
            list(publications, self.ref_name, &self.env, &self.locator).map_err(at)?;
        let commit = Commit {
            stage: &self.stage,
            env: &self.env,
            listed: &listed,
            top_level: &self.top_level,
            written: &|digest, size| self.written(digest, size),
            holds: &self.holds,
        };
        if let Some(pool) = &self.pool {
            for (digest, staged) in self.stage.list() {
                pool.put(&digest, &staged, &self.stage).map_err(at)?;
            }
        }
        let apply = |directory: &Directory| -> Result<()> {
            let lock = lock_to_commit(directory, &self.path, &self.stage, &self.env)?;
            let work = || -> Result<()> {
                if self.growing.is_some() {
                    check_complete(directory, &listed, &self.env)?;
                }
                commit.apply(directory, None)
            };
            work().inspect_err(|_| lock.undo(directory))
        };
        if let Some(directory) = &self.existing {
            apply(directory).map_err(at)?;
            return Ok(places);
        }
        let new = make_directory(self.stage.descriptor(), NEW, NEW).map_err(at)?;
        let new = Directory::from(new);
        commit.apply(&new, Some(NEW)).map_err(at)?;
        if !self.rename_new().map_err(at)? {
            // Another program made a layout here meanwhile: the images are added to that layout.
            let directory = Directory::open_to_change(&self.path)?;
            apply(&directory).map_err(at)?;
        }
        Ok(places)
    }
}

impl Adoption for LayoutSink {
    fn adopt(&self, file: Option<&File>) -> Result<Option<Box<dyn Adopted>>> {
        let Some(name) = share(file, &self.stage, self.link)? else {
            return Ok(None);
        };
        let shared = Shared::new(&self.stage, self.growing.as_ref(), name)?;
        Ok(Some(Box::new(shared)))
    }
}

impl EarlyBlobs for LayoutSink {
    fn settle(&self) -> Result<()> {
        match &self.growing {
            Some(growing) => growing.settle().map_err(|error| error.at(&*self.locator)),
            None => Ok(()),
        }
    }
}
