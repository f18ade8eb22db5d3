//! Freeing unreferenced blobs: a mark from `index.json`, then a sweep.
//!
//! Everything that `index.json` leads to is live: indexes in indexes, manifests of every kind with
//! their configs and layers, the blobs of artifacts, and the subjects of listed documents
//! (`subject`). The image-spec allows blobs in a layout that nothing refers to, and does not
//! mention referrers; no reader can find a referrer that is not listed, so such a referrer is not
//! live, whatever its subject. In a document of an unknown kind every digest counts as a reference.
//!
//! While a migration runs, nothing is removed at all, because its blobs are listed only at its end.
//!
//! Nothing is removed if any live document or blob is malformed, damaged or missing. All work is
//! done under the layout's lock, so that no other run of imgconv can publish anything meanwhile;
//! see `hold.rs` for the protection of blobs that a writer relies on. Writers that take no lock are
//! protected only by the minimum age.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use imgconv_fs::{Stage, Stale, refresh, sync};
use imgconv_json::Value;
use imgconv_layout::Listed;
use imgconv_manifest::{KINDS, Part, Reference, embedded, references};
use imgconv_model::{
    Algorithm, Code, Digest, Env, Error, Facts, Limits, Open as _, Reader, Result, quote,
    quote_path,
};
use imgconv_stream::{Verified, read_to_limit};
use rustix::{
    fs::{AtFlags, Dir, FileType},
    io::Errno,
};

use crate::{
    directory::Directory,
    edit::open,
    files::{ALGORITHMS, Files, INDEX_FILE, read_index},
    growing::GROWING,
    leftovers::Leftover,
    lock::lock,
};

/// The choice of blobs to remove.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The present time.
    pub now: SystemTime,
    /// Blobs that were written, renamed or linked less than this time before `now` stay: a program
    /// that takes no lock may be about to list them.
    pub min_age: Duration,
    /// Report the blobs to remove, and remove nothing.
    pub dry_run: bool,
}

/// The result of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The blobs with their sizes in bytes, in order.
    pub blobs: Vec<(Digest, u64)>,
    /// The number of other unreferenced blobs, which are too young.
    pub young: u64,
    /// The private directories of killed processes.
    pub directories: Vec<String>,
}

/// Removes the blobs of a layout that nothing refers to, and the leftovers of killed writers.
///
/// # Errors
/// The errors of reading the layout; nothing was removed then. [`Code::Io`] if a file can't be
/// removed.
pub fn gc(path: &str, sweep: &Sweep, env: &Env) -> Result<Swept> {
    let work = || -> Result<Swept> {
        let directory = open(path, env)?;
        let _lock = lock(&directory, Path::new(path), env)?;
        refuse_growing(path, &directory)?;
        let read = || directory.read(INDEX_FILE, ("root_index", env.limits.root_index));
        let before = read()?;
        // An unreadable entry may lead to any blob, so all blobs may be live.
        let items = read_index(&directory, &env.limits)?.items;
        let listed = items.iter().map(|item| item.read().cloned());
        let listed: Vec<Listed> = listed.collect::<Result<_>>().map_err(unreadable)?;
        let live = Marker::mark(&directory, &listed, false, env).map_err(|error| {
            error.hint("nothing was removed; `imgconv verify` names every problem")
        })?;
        let mut swept = Swept::default();
        let mut victims = Vec::new();
        for algorithm in ALGORITHMS {
            if let Some(folder) = directory.blobs_of(algorithm)? {
                let found = unmarked(&folder, algorithm, &live, sweep, &mut swept)?;
                victims.push((folder, found));
            }
        }
        let leftovers = Leftover::find(Path::new(path))?;
        swept.directories = leftovers.iter().map(|one| one.path.clone()).collect();
        if sweep.dry_run {
            return Ok(swept);
        }
        env.check_cancelled()?;
        if read()? != before {
            let message =
                "another program, which takes no lock, changed the layout at the same time";
            return Err(Error::new(Code::Io, message).hint("run it again"));
        }
        for (folder, found) in victims {
            for digest in &found {
                rustix::fs::unlinkat(&folder, digest.hex(), AtFlags::empty())
                    .map_err(|error| Error::io(error.into(), format!("blob {digest}")))?;
            }
            if !found.is_empty() {
                sync(&folder, "directory of blobs")?;
            }
        }
        leftovers.into_iter().try_for_each(Leftover::remove)?;
        Ok(swept)
    };
    work().map_err(|error| error.at(format!("oci:{path}")))
}

/// Adds advice to the error of an unreadable entry.
fn unreadable(error: Error) -> Error {
    error.hint(
        "nothing was removed; `imgconv layout rm LAYOUT '#N'` takes the entry at position N out of \
         the index",
    )
}

/// Refuses a layout that a migration writes, since its blobs are listed only at the end.
fn refuse_growing(path: &str, directory: &Directory) -> Result<()> {
    for stage in Stale::others(directory.descriptor(), Stage::PREFIX)? {
        let growing = format!("{stage}/{GROWING}");
        // Another machine may have made the file since this one looked last.
        refresh(directory.descriptor(), &stage);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let found = rustix::fs::statat(directory.descriptor(), growing, flags);
        // The directory of another user's run can't be looked into.
        if !matches!(found, Err(Errno::NOENT | Errno::NOTDIR)) {
            let message = "a migration to this layout is running, or another user's run, and the index \
                           will list its blobs only at the end";
            let place = quote_path(&Path::new(path).join(stage));
            return Err(Error::new(Code::Denied, message).hint(format!(
                "run the command again when the migration has ended; if no migration is running, \
                 remove {place}"
            )));
        }
    }
    Ok(())
}

/// Fails if a document or blob below new descriptors is not in the layout; entries of an index may
/// be absent. The caller has the layout's lock.
pub(crate) fn check_complete(directory: &Directory, listed: &[Listed], env: &Env) -> Result<()> {
    let found = Marker::mark(directory, listed, true, env);
    found.map(drop).map_err(|error| error.hint("run it again"))
}

/// Lists the blobs to remove in a directory, and counts the blobs that are too young.
fn unmarked(
    folder: &imgconv_fs::Directory,
    algorithm: Algorithm,
    live: &BTreeSet<Digest>,
    sweep: &Sweep,
    swept: &mut Swept,
) -> Result<Vec<Digest>> {
    let failed = |error: Errno| Error::io(error.into(), "directory of blobs");
    let mut found = Vec::new();
    for entry in Dir::read_from(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_str().unwrap_or_default();
        let Some(digest) = Digest::from_hex(algorithm, name) else {
            continue;
        };
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        // A link or a directory is no blob.
        let is_blob = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_blob || live.contains(&digest) {
            continue;
        }
        let written = time(stat.st_mtime, stat.st_mtime_nsec);
        // The time of a new hard link or of a renaming counts too.
        let changed = time(stat.st_ctime, stat.st_ctime_nsec);
        let age = sweep.now.duration_since(written.max(changed));
        if sweep.min_age > age.unwrap_or_default() {
            swept.young += 1;
            continue;
        }
        found.push((digest, u64::try_from(stat.st_size).unwrap_or(0)));
    }
    found.sort();
    swept.blobs.extend(&found);
    Ok(found.into_iter().map(|(digest, _)| digest).collect())
}

fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let after = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    SystemTime::UNIX_EPOCH + after + Duration::from_nanos(nanoseconds)
}

/// One more document to be read.
struct Task {
    kind: String,
    facts: Facts,
    digest: Digest,
    /// The document that refers to this one.
    from: String,
    /// True if the document may be missing.
    dispensable: bool,
    /// The role of the document for the referring document.
    part: Part,
}

/// The content of documents that descriptors embed, by their digests.
type Embedded = BTreeMap<Digest, Arc<[u8]>>;

/// The state of following all references.
struct Marker<'a> {
    files: &'a Directory,
    env: &'a Env,
    live: BTreeSet<Digest>,
    /// The documents that were read, or will be.
    known: BTreeSet<Digest>,
    tasks: Vec<Task>,
    /// The documents that need not be stored, because a descriptor embeds them.
    embedded: Embedded,
    /// The documents that were not found.
    missing: BTreeSet<Digest>,
    /// True if entries of an index may be missing.
    sparse: bool,
}

impl<'a> Marker<'a> {
    fn mark(
        files: &'a Directory,
        listed: &[Listed],
        sparse: bool,
        env: &'a Env,
    ) -> Result<BTreeSet<Digest>> {
        let mut marker = Self {
            files,
            env,
            live: BTreeSet::new(),
            known: BTreeSet::new(),
            tasks: Vec::new(),
            embedded: Embedded::new(),
            missing: BTreeSet::new(),
            sparse,
        };
        for one in listed {
            let data = embedded(&one.child, &env.limits)
                .map_err(|error| error.at(format!("file {INDEX_FILE}")))?;
            let reference = Reference {
                part: Part::Entry,
                kind: one.child.kind.clone(),
                digest: one.child.digest,
                size: Some(one.child.size),
                dispensable: data.is_some(),
                data,
            };
            marker.refer(reference, INDEX_FILE)?;
        }
        while let Some(task) = marker.tasks.pop() {
            env.check_cancelled()?;
            marker.read(&task).map_err(|error| {
                error.at(format!("{}, which {} refers to", task.digest, task.from))
            })?;
        }
        Ok(marker.live)
    }

    fn refer(&mut self, reference: Reference, from: &str) -> Result<()> {
        let Reference {
            part,
            kind,
            digest,
            size,
            dispensable,
            data,
        } = reference;
        self.live.insert(digest);
        let is_document = matches!(part, Part::Entry | Part::Subject) || KINDS.contains(&&*kind);
        if is_document {
            // Another descriptor without embedded data may have led there before.
            let again = data.is_some() && self.missing.remove(&digest);
            if let Some(data) = data {
                self.embedded.entry(digest).or_insert(data);
            }
            if self.known.insert(digest) || again {
                let facts = Facts {
                    digest: Some(digest),
                    size,
                };
                self.tasks.push(Task {
                    kind,
                    facts,
                    digest,
                    from: from.to_owned(),
                    dispensable,
                    part,
                });
            }
        } else if !dispensable && self.files.blob(&digest)?.is_none() {
            let message = format!("blob {digest} is not in the layout");
            return Err(Error::new(Code::Missing, message));
        }
        let limit = self.env.limits.graph_nodes;
        match self.known.len() as u64 > limit {
            true => Err(Limits::exceeded(
                "graph_nodes",
                limit,
                "the number of documents",
            )),
            false => Ok(()),
        }
    }

    fn read(&mut self, task: &Task) -> Result<()> {
        let stored = self.files.blob(&task.digest)?;
        // A subject may be missing, even if its manifest is embedded in the referrer's descriptor.
        let lenient = stored.is_none() && task.part == Part::Subject;
        let (reader, size): (Reader, u64) = match (stored, self.embedded.get(&task.digest)) {
            (Some(stored), _) => stored,
            (None, Some(data)) => (data.open()?, data.len() as u64),
            (None, None) => {
                self.missing.insert(task.digest);
                if task.dispensable || (self.sparse && task.from != INDEX_FILE) {
                    return Ok(());
                }
                return Err(Error::new(Code::Missing, "the blob is not in the layout"));
            }
        };
        let limit = ("manifest", self.env.limits.manifest);
        if size > limit.1 && !KINDS.contains(&&*task.kind) {
            // A manifest or index is never longer than this limit.
            return Ok(());
        }
        let reader = Verified::new(reader, &task.facts, "the document");
        let bytes = read_to_limit(reader, limit, "the document")?;
        let from = task.digest.to_string();
        match references(&task.kind, &bytes, &self.env.limits)? {
            Some(found) if !found.tar_sums.is_empty() => {
                let message = format!(
                    "the blob with the tar sum {} is unknown",
                    quote(&found.tar_sums[0])
                );
                Err(Error::new(Code::Unsupported, message))
            }
            Some(found) => found.list.into_iter().try_for_each(|mut reference| {
                reference.dispensable |= lenient;
                if matches!(task.part, Part::Config | Part::Blob) {
                    reference.be_content();
                }
                self.refer(reference, &from)
            }),
            None => {
                // In a document of an unknown kind any digest may be a reference.
                let value = imgconv_json::parse(&bytes, &self.env.limits, "the document");
                for digest in value.as_ref().map(mentioned).unwrap_or_default() {
                    let reference = Reference {
                        part: Part::Entry,
                        kind: String::new(),
                        digest,
                        size: None,
                        dispensable: true,
                        data: None,
                    };
                    self.refer(reference, &from)?;
                }
                Ok(())
            }
        }
    }
}

/// Every text in a document that is a digest.
fn mentioned(value: &Value) -> Vec<Digest> {
    let mut found = Vec::new();
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(values) => left.extend(values),
            Value::Object(map) => left.extend(map.values()),
            Value::String(text) => found.extend(Digest::parse(text)),
            _ => {}
        }
    }
    found
}
