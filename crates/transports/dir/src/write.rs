//! Writing: everything is made in a private directory beside the place, and renamed at the end. A
//! directory that holds anything is never touched.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_directory::Directory;
use imgconv_model::{
    BlobWriter, BundleSink, Code, Digest, Env, Error, Publication, Result, SinkExtras, TopLevel,
    quote,
};
use imgconv_stream::{Stage, read_to_limit, sweep};
use imgconv_wire::{
    Value,
    manifest::{Told, told},
    parse,
};
use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags},
    io::Errno,
};

use crate::{MANIFEST_FILE, VERSION, VERSION_FILE, read::MANIFEST_END};

/// The name of the new directory while it is in the stage.
const NEW: &str = "new";

/// A directory that is written.
#[derive(Debug)]
pub(crate) struct DirSink {
    locator: String,
    path: PathBuf,
    /// An empty directory is there already.
    exists: bool,
    stage: Arc<Stage>,
    env: Env,
}

impl DirSink {
    pub(crate) fn create(rest: &str, env: &Env) -> Result<Self> {
        if rest.is_empty() || rest == "-" {
            let message = "`dir:` writes a directory, and needs a path";
            return Err(Error::new(Code::Usage, message));
        }
        let shown = quote(rest);
        let given = Path::new(rest);
        let (path, exists) = match fs::metadata(given) {
            Ok(metadata) if metadata.is_dir() => {
                if !Directory::open(given)?.is_empty()? {
                    return Err(occupied().at(shown));
                }
                // What is replaced is the directory, not a link to it.
                let path = fs::canonicalize(given).map_err(|error| Error::io(error, &*shown))?;
                (path, true)
            }
            Ok(_) => {
                let message = "the destination is a directory, and something else is there";
                return Err(Error::new(Code::Denied, message).at(shown));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(given).is_ok() {
                    let message = "a symbolic link that leads nowhere is there";
                    return Err(Error::new(Code::Denied, message).at(shown));
                }
                (given.to_owned(), false)
            }
            Err(error) => return Err(Error::io(error, shown)),
        };
        let Some(name) = path.file_name() else {
            let message = "the path of the destination has no last part";
            return Err(Error::new(Code::Usage, message).at(shown));
        };
        let prefix = format!(".{}.partial-", name.to_string_lossy());
        // The name may be as long as a name can be.
        let prefix = if prefix.len() > 200 {
            Stage::PREFIX
        } else {
            &prefix
        };
        sweep(&parent(&path), prefix, env);
        let stage = Stage::new(&parent(&path), prefix, true)?;
        Ok(Self {
            locator: format!("dir:{rest}"),
            path,
            exists,
            stage,
            env: env.clone(),
        })
    }

    /// Finds the one root among the publications.
    fn root(&self, publications: &[Publication]) -> Result<Digest> {
        let Some(first) = publications.first() else {
            return Err(Error::new(Code::Missing, "there is no image to write"));
        };
        let digest = first.root.digest;
        if publications.iter().any(|one| one.root.digest != digest) {
            let message = format!("{} images can't be in one directory", publications.len());
            return Err(Error::new(Code::Ambiguous, message)
                .hint("choose one with a REF or `--platform`, or write to `oci:`"));
        }
        for publication in publications {
            if let Some(reference) = &publication.reference {
                let message = format!("{} can't be kept: `dir:` has no names", quote(reference));
                return Err(Error::new(Code::Usage, message).hint("leave out the REF"));
            }
        }
        Ok(digest)
    }

    /// Puts every blob into the new directory under its name there.
    fn fill(&self, new: &OwnedFd, root: &Digest) -> Result<()> {
        let manifests = self.listed(root)?;
        for (digest, staged) in self.stage.list() {
            let hex = digest.hex();
            let name = if digest == *root {
                MANIFEST_FILE.to_owned()
            } else if manifests.contains(&digest) {
                format!("{hex}{MANIFEST_END}")
            } else {
                hex
            };
            self.place(new, &staged.path, &name)?;
        }
        let marker = self.stage.write(VERSION.as_bytes())?;
        self.place(new, &marker, VERSION_FILE)?;
        rustix::fs::fsync(new).map_err(|error| Error::io(error.into(), "new directory"))
    }

    fn place(&self, new: &OwnedFd, staged: &str, name: &str) -> Result<()> {
        rustix::fs::renameat(self.stage.descriptor(), staged, new, name)
            .map_err(|error| Error::io(error.into(), format!("file {name}")))
    }

    /// Finds the manifests that the root lists, at any depth. What is listed and was not written is
    /// not looked for.
    fn listed(&self, root: &Digest) -> Result<BTreeSet<Digest>> {
        let limits = &self.env.limits;
        let staged = self.stage.list();
        let mut found = BTreeSet::new();
        let mut work = vec![*root];
        while let Some(next) = work.pop() {
            let Ok(at) = staged.binary_search_by(|(digest, _)| digest.cmp(&next)) else {
                continue;
            };
            let what = format!("document {next}");
            if next != *root && staged[at].1.size > limits.manifest {
                // No list of others is longer.
                continue;
            }
            let file = self.stage.open(&staged[at].1.path)?;
            let limit = ("manifest", limits.manifest);
            let bytes = read_to_limit(Box::new(file), limit, &what)?;
            let value = match parse(&bytes, limits, &what) {
                Err(_) if next != *root => continue,
                value => value?,
            };
            let children = value.get("manifests").and_then(Value::as_array);
            for child in children.into_iter().flatten() {
                let kind = child.get("mediaType").and_then(Value::as_str);
                if told(kind.unwrap_or_default()) == Told::Other {
                    continue;
                }
                let digest = child
                    .get("digest")
                    .and_then(Value::as_str)
                    .map(Digest::parse);
                if let Some(digest) = digest.transpose()?
                    && digest != *root
                    && found.insert(digest)
                {
                    work.push(digest);
                }
            }
        }
        Ok(found)
    }

    /// Moves the new directory to its place.
    fn rename(&self) -> Result<()> {
        let shown = || quote(self.path.as_os_str().as_encoded_bytes());
        let above = open_directory(&parent(&self.path))?;
        let name = self
            .path
            .file_name()
            .expect("a path without a last part was refused when the sink was made");
        let from = self.stage.descriptor();
        // Without the flag a rename replaces a directory that is empty, and no other.
        let plain = || rustix::fs::renameat(from, NEW, &above, name);
        let renamed = if self.exists {
            plain()
        } else {
            match rustix::fs::renameat_with(from, NEW, &above, name, RenameFlags::NOREPLACE) {
                // This file system can't be asked not to replace.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => plain(),
                other => other,
            }
        };
        match renamed {
            Ok(()) => rustix::fs::fsync(&above).map_err(|error| Error::io(error.into(), shown())),
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Err(occupied().at(shown())),
            Err(error) => Err(Error::io(error.into(), shown())),
        }
    }
}

fn occupied() -> Error {
    let message = "the directory is not empty, and what is in it is not replaced";
    Error::new(Code::Denied, message).hint("name a directory that is empty or does not exist")
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| Error::io(error.into(), quote(path.as_os_str().as_encoded_bytes())))
}

/// Makes the new directory: mode 0755 less the umask, but its owner can always use it.
fn make_directory(stage: &OwnedFd) -> Result<OwnedFd> {
    let failed = |error: Errno| Error::io(error.into(), "new directory");
    rustix::fs::mkdirat(stage, NEW, Mode::from_raw_mode(0o755)).map_err(failed)?;
    let stat = rustix::fs::statat(stage, NEW, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if !mode.contains(Mode::RWXU) {
        rustix::fs::chmodat(stage, NEW, mode | Mode::RWXU, AtFlags::empty()).map_err(failed)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(stage, NEW, flags, Mode::empty()).map_err(failed)
}

impl BundleSink for DirSink {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.stage.has(digest, size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        self.stage.writer()
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras::default()
    }

    /// The place has no list of entry points that says anything of itself.
    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        let at = |error: Error| error.at(self.locator.clone());
        let root = self.root(publications).map_err(at)?;
        if !self.stage.has(&root, publications[0].root.size) {
            return Err(at(Stage::never_written(&root)));
        }
        self.env.check_cancelled()?;
        let new = make_directory(self.stage.descriptor()).map_err(at)?;
        self.fill(&new, &root).map_err(at)?;
        self.rename().map_err(at)?;
        Ok(vec![self.locator.clone(); publications.len()])
    }
}
