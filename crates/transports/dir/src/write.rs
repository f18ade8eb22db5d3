//! Writing: all files are made in a private directory beside the place, which is renamed at the
//! end. A directory that is not empty is never changed.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_fs::{
    Directory, Stage, is_there, make_directory_at, open_directory, parent, rename_directory, sweep,
    sync,
};
use imgconv_json::{Value, parse};
use imgconv_manifest::{Told, told};
use imgconv_model::{
    BlobWriter, BundleSink, Code, Digest, Env, Error, Publication, Result, SinkExtras, TopLevel,
    quote, quote_path,
};
use imgconv_stream::read_to_limit;
use rustix::io::Errno;

use crate::files::{MANIFEST_END, MANIFEST_FILE, VERSION, VERSION_FILE};

/// The name of the new directory while it is in the stage.
const NEW: &str = "new";

/// A directory that is written.
#[derive(Debug)]
pub(crate) struct DirSink {
    locator: String,
    path: PathBuf,
    /// True if an empty directory is there already.
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
                let is_empty = Directory::open(given)?.is_empty();
                if !is_empty.map_err(|error| error.at(shown.clone()))? {
                    return Err(occupied().at(shown));
                }
                // The directory is replaced, not a symbolic link to it.
                let path = fs::canonicalize(given).map_err(|error| Error::io(error, &*shown))?;
                (path, true)
            }
            Ok(_) => {
                let message =
                    "the destination is a directory, but the path exists and is not a directory";
                return Err(Error::new(Code::Denied, message).at(shown));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if is_there(given)? {
                    let message = "a symbolic link that leads nowhere is there";
                    return Err(Error::new(Code::Denied, message).at(shown));
                }
                (given.to_owned(), false)
            }
            Err(error) => return Err(Error::io(error, shown)),
        };
        if path.file_name().is_none() {
            let message = "the path of the destination has no last part";
            return Err(Error::new(Code::Usage, message).at(shown));
        }
        let prefix = Stage::prefix_beside(&path);
        sweep(parent(&path), &prefix, env);
        let stage = Stage::new(parent(&path), &prefix, true)?;
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
                let message = format!(
                    "{} can't be kept, because `dir:` has no names",
                    quote(reference)
                );
                return Err(Error::new(Code::Usage, message).hint("leave out the REF"));
            }
        }
        Ok(digest)
    }

    /// Puts every blob into the new directory under its file name.
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
        sync(new, "new directory")
    }

    fn place(&self, new: &OwnedFd, staged: &str, name: &str) -> Result<()> {
        rustix::fs::renameat(self.stage.descriptor(), staged, new, name)
            .map_err(|error| Error::io(error.into(), format!("file {name}")))
    }

    /// Finds the manifests that the root lists, at any depth. A listed manifest that was not
    /// written is passed over.
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
                // A manifest or index is never longer than this limit.
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
        let shown = || quote_path(&self.path);
        let above = open_directory(parent(&self.path))?;
        let name = self
            .path
            .file_name()
            .expect("a path without a last part was refused when the sink was made");
        let from = self.stage.descriptor();
        let renamed = match self.exists {
            // Only an empty directory is replaced.
            true => rustix::fs::renameat(from, NEW, &above, name),
            false => rename_directory(from, NEW, &above, name),
        };
        match renamed {
            Ok(()) => sync(&above, shown()),
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Err(occupied().at(shown())),
            Err(error) => Err(Error::io(error.into(), shown())),
        }
    }
}

fn occupied() -> Error {
    let message = "the directory is not empty, and its files are not replaced";
    Error::new(Code::Denied, message).hint("name a directory that is empty or does not exist")
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

    /// The place has no list of entry points with fields of its own.
    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        let at = |error: Error| error.at(self.locator.clone());
        let root = self.root(publications).map_err(at)?;
        if !self.stage.has(&root, publications[0].root.size) {
            return Err(at(Stage::never_written(&root)));
        }
        self.env.check_cancelled()?;
        let new = make_directory_at(self.stage.descriptor(), NEW)
            .map_err(|error| at(error.at("new directory")))?;
        self.fill(&new, &root).map_err(at)?;
        self.rename().map_err(at)?;
        Ok(vec![self.locator.clone(); publications.len()])
    }
}
