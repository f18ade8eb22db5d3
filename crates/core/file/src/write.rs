//! Writing files that appear all at once: in a private directory beside the destination, renamed at
//! the commit.
//!
//! A file is created with mode 0644 less the umask, so no other user can ever write to it, whatever
//! the umask is. Only the destination's own directory is written to; a missing directory is made at
//! the commit, its parents are not.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_fs::{Stage, is_there, parent, standard_output, sweep, sync_directory};
use imgconv_model::{
    Algorithm, Beside, BlobWriter, BundleSink, Child, Code, Digest, Env, Error, Publication,
    Result, SinkExtras, TopLevel, quote_path,
};
use imgconv_stream::{Hasher, digest};
use rustix::fs::{AtFlags, CWD};

use crate::{naming::file_names, read::SIGNATURE_SUFFIX};

/// Opens a destination. A directory (one that exists, or a path that ends with `/`) takes one
/// file for each publication, under its `file_name`; so does a path that does not exist yet
/// if there are several publications. Any other path is the file itself, and an existing one
/// is replaced, as `cp` does. `-` is standard output, written at the commit only.
///
/// # Errors
/// [`Code::Usage`] for an empty path, [`Code::Denied`] for what is no regular file, and those of the
/// file system.
pub fn create(rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
    let (place, staging) = match rest {
        "" => {
            return Err(Error::new(Code::Usage, "the path of the output is empty"));
        }
        "-" => (Place::Stdout, env.tmpdir.clone()),
        path => place(path)?,
    };
    if let Place::File(path) = &place
        && env.places.keeps(path)
    {
        return Err(Error::exists(quote_path(path)));
    }
    let metadata = fs::metadata(&staging).map_err(|e| Error::io(e, quote_path(&staging)))?;
    if !metadata.is_dir() {
        return Err(Error::new(Code::Io, "not a directory").at(quote_path(&staging)));
    }
    sweep(&staging, Stage::PREFIX, env);
    // A killed run may have left its stage beside a directory that it was to make.
    if let Place::Directory(path) = &place {
        sweep(parent(path), Stage::PREFIX, env);
    }
    let durable = !matches!(place, Place::Stdout);
    Ok(Box::new(FileSink {
        locator: rest.to_owned(),
        place,
        stage: Stage::new(&staging, Stage::PREFIX, durable)?,
        beside: Mutex::default(),
        env: env.clone(),
    }))
}

/// Says whether an output is the input itself or lies inside it, so that reading and writing would
/// conflict (robustness D13b). Paths that can't be resolved overlap with nothing.
pub fn overlaps(input: &Path, output: &Path) -> bool {
    let resolve = |path: &Path| -> Option<PathBuf> {
        if let Ok(path) = fs::canonicalize(path) {
            return Some(path);
        }
        Some(fs::canonicalize(parent(path)).ok()?.join(path.file_name()?))
    };
    let same_file = match (fs::metadata(input), fs::metadata(output)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    };
    same_file
        || match (resolve(input), resolve(output)) {
            (Some(input), Some(output)) => output.starts_with(input),
            _ => false,
        }
}

/// The place of the written files.
#[derive(Debug)]
enum Place {
    /// Standard output, at the commit.
    Stdout,
    /// A directory, made at the commit if it is missing.
    Directory(PathBuf),
    /// An existing file.
    File(PathBuf),
    /// Nothing exists there: one publication becomes a file, several become a directory.
    New(PathBuf),
}

/// Determines the kind of a path, and the directory for temporary files: an existing directory on
/// the same file system.
fn place(path: &str) -> Result<(Place, PathBuf)> {
    let destination = PathBuf::from(path);
    match fs::metadata(&destination) {
        Ok(metadata) if metadata.is_dir() => {
            Ok((Place::Directory(destination.clone()), destination))
        }
        Ok(_) if path.ends_with('/') => {
            Err(Error::new(Code::Io, "not a directory").at(quote_path(&destination)))
        }
        Ok(metadata) if metadata.is_file() => {
            let staging = parent(&destination).to_owned();
            Ok((Place::File(destination), staging))
        }
        // Renaming a file over a device or a FIFO would destroy it.
        Ok(_) => Err(
            Error::new(Code::Denied, "the output exists and is not a regular file")
                .hint("`-` writes to standard output")
                .at(quote_path(&destination)),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let staging = parent(&destination).to_owned();
            let place = if path.ends_with('/') {
                Place::Directory(destination)
            } else {
                Place::New(destination)
            };
            Ok((place, staging))
        }
        Err(error) => Err(Error::io(error, quote_path(&destination))),
    }
}

/// The small files beside an image: the suffix of each name, and the digest and the size of the content.
type SmallFiles = BTreeMap<String, (Digest, u64)>;

/// A place for files that are whole images.
#[derive(Debug)]
struct FileSink {
    locator: String,
    place: Place,
    /// The complete files without a final name, on the file system of the destination.
    stage: Arc<Stage>,
    /// The small files beside images, by the digest of the image's file.
    beside: Mutex<BTreeMap<Digest, SmallFiles>>,
    env: Env,
}

impl FileSink {
    /// Takes the file of a digest, by its name in the stage; a second image with the same bytes
    /// gets a copy.
    fn take(&self, digest: &Digest, last: bool) -> Result<String> {
        let missing = || {
            let message = format!("image {digest} was never written");
            Error::new(Code::Missing, message).at(self.locator.clone())
        };
        if last {
            return Ok(self.stage.take(digest).ok_or_else(missing)?.path);
        }
        let staged = self.stage.list();
        let (_, staged) = staged
            .iter()
            .find(|(own, _)| own == digest)
            .ok_or_else(missing)?;
        let mut source = self.stage.open(&staged.path)?;
        let (mut copy, name) = self.stage.file()?;
        io::copy(&mut source, &mut copy)
            .and_then(|_| copy.sync_all())
            .map_err(|e| Error::io(e, self.locator.clone()))?;
        Ok(name)
    }

    /// Says whether a regular file holds exactly the bytes of a written image.
    fn is_there(&self, digest: &Digest, path: &Path) -> Result<bool> {
        let list = self.stage.list();
        let Some((_, staged)) = list.iter().find(|(own, _)| own == digest) else {
            return Ok(false);
        };
        let at = |error: io::Error| Error::io(error, quote_path(path));
        let metadata = fs::symlink_metadata(path).map_err(at)?;
        if !metadata.is_file() || metadata.len() != staged.size {
            return Ok(false);
        }
        let file = File::open(path).map_err(at)?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut reader = BufReader::with_capacity(1 << 20, file);
        loop {
            let bytes = reader.fill_buf().map_err(at)?;
            if bytes.is_empty() {
                return Ok(hasher.finish() == *digest);
            }
            hasher.update(bytes);
            let count = bytes.len();
            reader.consume(count);
        }
    }

    /// Returns the images and the small files beside them, each with its path.
    fn with_beside(
        &self,
        publications: &[Publication],
        paths: &[PathBuf],
    ) -> (Vec<Publication>, Vec<PathBuf>) {
        let (mut all, mut places) = (publications.to_vec(), paths.to_vec());
        let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        for (publication, path) in publications.iter().zip(paths) {
            for (suffix, (digest, size)) in
                beside.get(&publication.root.digest).into_iter().flatten()
            {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                all.push(Publication {
                    root: Child::new("", *digest, *size),
                    name: None,
                    reference: None,
                    file_name: None,
                });
                places.push(name.into());
            }
        }
        (all, places)
    }

    /// Makes the images visible under these paths, and the small files beside them.
    fn publish(&self, publications: &[Publication], paths: &[PathBuf]) -> Result<()> {
        let (publications, paths) = &self.with_beside(publications, paths);
        let stale = self.stale(publications, paths)?;
        let mut moves: Vec<(String, &Path, bool)> = Vec::with_capacity(paths.len());
        for (i, (publication, path)) in publications.iter().zip(paths).enumerate() {
            if moves.iter().any(|(_, other, _)| other == path) {
                continue;
            }
            refuse_odd(path)?;
            let digest = &publication.root.digest;
            let keep = self.env.places.keeps(path) && !is_added_to(publication);
            if keep && is_there(path)? {
                // A file with the same image need not be replaced.
                if self.is_there(digest, path)? {
                    continue;
                }
                return Err(Error::exists(quote_path(path)));
            }
            let rest = publications[i + 1..].iter().zip(&paths[i + 1..]);
            let last = !rest
                .into_iter()
                .any(|(other, to)| other.root.digest == *digest && to != path);
            let staged = self.take(digest, last)?;
            moves.push((staged, path.as_path(), keep));
        }
        let mut done: Vec<Renamed<'_>> = Vec::with_capacity(moves.len());
        let several = moves.len() + stale.len() > 1;
        // A signature of the old bytes must not stand beside the new bytes, even for a moment.
        let mut aside: Vec<SetAside<'_>> = Vec::with_capacity(stale.len());
        let put_back = |aside: Vec<SetAside<'_>>| aside.into_iter().for_each(SetAside::undo);
        for path in &stale {
            match SetAside::new(&self.stage, path) {
                Ok(one) => aside.push(one),
                Err(error) => {
                    put_back(aside);
                    return Err(Error::io(error, quote_path(path)));
                }
            }
        }
        for (staged, path, keep) in moves {
            match Renamed::rename(&self.stage, &staged, path, several, keep) {
                Ok(renamed) => done.push(renamed),
                Err(error) => {
                    for renamed in done.into_iter().rev() {
                        renamed.undo();
                    }
                    put_back(aside);
                    let exists = error.kind() == io::ErrorKind::AlreadyExists;
                    return Err(match exists && keep {
                        true => Error::exists(quote_path(path)),
                        false => Error::io(error, quote_path(path)),
                    });
                }
            }
        }
        Ok(())
    }

    /// Finds the signatures of files that get other bytes and no signature of their own: they go with the old bytes.
    ///
    /// # Errors
    /// If such a signature stands alone, and no file may be replaced.
    fn stale(&self, publications: &[Publication], paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut stale = Vec::new();
        for (publication, path) in publications.iter().zip(paths) {
            let mut signature = path.clone().into_os_string();
            signature.push(SIGNATURE_SUFFIX);
            let signature = PathBuf::from(signature);
            if paths.contains(&signature) || stale.contains(&signature) || !is_there(&signature)? {
                continue;
            }
            let there = is_there(path)?;
            if there
                && self
                    .is_there(&publication.root.digest, path)
                    .unwrap_or(false)
            {
                continue;
            }
            let keep = self.env.places.keeps(path) && !is_added_to(publication);
            if keep && !there {
                let message =
                    "there is a signature of another file, which would stand beside the new file";
                return Err(Error::new(Code::Denied, message)
                    .at(quote_path(&signature))
                    .hint("`--overwrite` removes the signature"));
            }
            refuse_odd(&signature)?;
            stale.push(signature);
        }
        Ok(stale)
    }

    fn publish_in(&self, directory: &Path, publications: &[Publication]) -> Result<Vec<PathBuf>> {
        let names = file_names(publications, &self.env.limits)?;
        let paths: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
        let made = match fs::create_dir(directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::io(error, quote_path(directory))),
        };
        let published = self
            .publish(publications, &paths)
            .and_then(|()| sync_directory(directory));
        if let Err(error) = published {
            if made {
                // The directory is empty, since all files were removed again; if not, it stays.
                let _ = fs::remove_dir(directory);
            }
            return Err(error);
        }
        if made {
            sync_directory(parent(directory))?;
        }
        Ok(paths)
    }

    fn publish_stdout(&self, publications: &[Publication]) -> Result<Vec<String>> {
        let one = single(publications)?;
        let staged = self.take(&one.root.digest, true)?;
        let mut source = self.stage.open(&staged)?;
        io::copy(&mut source, &mut standard_output()?)
            .map_err(|e| Error::io(e, "standard output"))?;
        Ok(vec!["-".to_owned()])
    }
}

fn single(publications: &[Publication]) -> Result<&Publication> {
    match publications {
        [one] => Ok(one),
        [] => Err(Error::new(Code::Missing, "there is no image to write")),
        [first, rest @ ..] if rest.iter().all(|p| p.root.digest == first.root.digest) => Ok(first),
        more => {
            let message = format!("{} images can't be written to one file", more.len());
            Err(Error::new(Code::Ambiguous, message)
                .hint("name a directory, or choose one image with `:REF` or `--platform`"))
        }
    }
}

/// Refuses to replace anything but a file or a symbolic link.
fn refuse_odd(path: &Path) -> Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(error, quote_path(path))),
    };
    if kind.is_file() || kind.is_symlink() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a directory is in the way"
    } else {
        "the path exists and is not a regular file"
    };
    Err(Error::new(Code::Denied, what).at(quote_path(path)))
}

/// Says whether a file is an extended version of an existing one: image tags, which have no name of
/// an image.
fn is_added_to(publication: &Publication) -> bool {
    publication.name.is_none() && publication.file_name.is_some()
}

/// The writer of an image, whose errors name the destination beside the file in the stage.
struct Named {
    inner: Box<dyn BlobWriter>,
    locator: String,
}

impl Named {
    fn at(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => Error::from_io(error).at(self.locator.clone()).into(),
        }
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).map_err(|error| self.at(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(|error| self.at(error))
    }
}

impl BlobWriter for Named {
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        let Self { inner, locator } = *self;
        inner
            .finish(digest, size)
            .map_err(|error| error.at(locator))
    }
}

/// A file that has its final name, with the facts for undoing that.
#[derive(Debug)]
struct Renamed<'a> {
    stage: &'a Stage,
    path: &'a Path,
    /// The replaced file, by its name in the stage.
    replaced: Option<String>,
}

impl<'a> Renamed<'a> {
    /// Renames a file; if `backup`, the replaced file stays reachable in the stage where the file
    /// system has hard links. `keep` refuses to replace a file.
    fn rename(
        stage: &'a Stage,
        staged: &str,
        path: &'a Path,
        backup: bool,
        keep: bool,
    ) -> io::Result<Self> {
        let mut replaced = None;
        if backup && path.symlink_metadata().is_ok() {
            let name = stage.free_name();
            let flags = AtFlags::empty();
            let linked = rustix::fs::linkat(CWD, path, stage.descriptor(), &*name, flags);
            replaced = linked.is_ok().then_some(name);
        }
        stage.rename(staged, CWD, path, keep)?;
        Ok(Self {
            stage,
            path,
            replaced,
        })
    }

    fn undo(self) {
        match &self.replaced {
            Some(name) => {
                let from = self.stage.descriptor();
                let _ = rustix::fs::renameat(from, &**name, CWD, self.path);
            }
            None => drop(fs::remove_file(self.path)),
        }
    }
}

/// A file that was moved to the stage, where it goes with the stage, unless the move is undone.
struct SetAside<'a> {
    stage: &'a Stage,
    path: &'a Path,
    name: String,
}

impl<'a> SetAside<'a> {
    fn new(stage: &'a Stage, path: &'a Path) -> io::Result<Self> {
        let name = stage.free_name();
        rustix::fs::renameat(CWD, path, stage.descriptor(), &*name)?;
        Ok(Self { stage, path, name })
    }

    fn undo(self) {
        let _ = rustix::fs::renameat(self.stage.descriptor(), &*self.name, CWD, self.path);
    }
}

impl Beside for FileSink {
    fn put_beside(&self, of: &Digest, suffix: &str, content: &[u8]) -> Result<()> {
        let (digest, size) = (digest(Algorithm::Sha256, content), content.len() as u64);
        let mut writer = self.writer()?;
        writer.write_all(content).map_err(Error::from_io)?;
        writer.finish(&digest, size)?;
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        let files = beside.entry(*of).or_default();
        files.insert(suffix.to_owned(), (digest, size));
        Ok(())
    }
}

impl BundleSink for FileSink {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    /// Only images that were written to this sink count: an existing file has no known digest.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.stage.has(digest, size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Named {
            inner: self.stage.writer()?,
            locator: quote_path(Path::new(&self.locator)),
        }))
    }

    fn extras(&self) -> SinkExtras<'_> {
        let piped = matches!(self.place, Place::Stdout);
        SinkExtras {
            beside: (!piped).then_some(self as &dyn Beside),
            ..SinkExtras::default()
        }
    }

    /// The place has no list of entry points with fields of its own.
    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        self.env.check_cancelled()?;
        let paths = match &self.place {
            Place::Stdout => return self.publish_stdout(publications),
            Place::New(path) if publications.len() > 1 && single(publications).is_err() => {
                self.publish_in(path, publications)?
            }
            Place::Directory(path) => self.publish_in(path, publications)?,
            Place::New(path) | Place::File(path) => {
                single(publications)?;
                let paths = vec![path.clone(); publications.len()];
                self.publish(publications, &paths)?;
                sync_directory(parent(path))?;
                paths
            }
        };
        Ok(paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect())
    }
}
