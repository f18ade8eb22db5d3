//! A root file system: a directory, a flat tar, or `-` for standard input or output.
//!
//! A directory is read as the tar of its tree, see [`imgconv_folder`]; a file or a pipe is read as it
//! is. Only a flat tar is written: `imgconv unpack` makes directories, safely.

#![deny(missing_docs)]

use std::{path::Path, sync::Arc};

use imgconv_file::{FileBundle, create, from_pipe};
use imgconv_folder::{Folder, Marks};
use imgconv_fs::{Directory, is_directory};
use imgconv_model::{
    Addressing, Blob, Bundle, BundleSink, Code, Document, Env, Error, Extras, Facts, FormatFamily,
    FormatId, Names, Place, Result, Root, RootEntry, Shape, Transport, Writes, quote,
};

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "rootfs",
    syntax: "rootfs:PATH",
    about: "a root file system: a directory, a flat tar, or `-` for standard input or output",
    shape: Shape::File,
    addressing: Addressing::Alone,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Rootfs],
    writes: Some(Writes {
        formats: &[FormatId::ROOTFS],
        names: Names::None,
        descriptors: false,
        any_digest: true,
        shares_blobs: false,
    }),
};

/// The transport, as the catalog lists it.
pub static ROOTFS: Rootfs = Rootfs;

/// See [`ROOTFS`].
#[derive(Clone, Copy, Debug)]
pub struct Rootfs;

impl Transport for Rootfs {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// No bytes say that a directory or a tar is meant as a root file system: the scheme does.
    fn recognise(&self, _: &Path) -> Result<bool> {
        Ok(false)
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        if rest == "-" {
            return Ok(Box::new(from_pipe(rest, env)?));
        }
        let path = Path::new(rest);
        if !is_directory(path)? {
            return Ok(Box::new(FileBundle::open(rest)?));
        }
        let tree = Folder {
            root: Arc::new(Directory::open(path)?),
            marks: Marks::None,
            below: None,
            names_root: true,
            limits: env.limits,
            what: format!("{}:{rest}", PLACE.scheme),
        };
        tree.report_left_out(&env.notes);
        Ok(Box::new(Tree(Arc::new(tree))))
    }

    /// Opens a file, or `-`, for a flat tar.
    ///
    /// # Errors
    /// [`Code::Usage`] for a directory, and those of [`imgconv_file::create`].
    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        if rest.ends_with('/') || rest != "-" && is_directory(Path::new(rest))? {
            let message = "`rootfs:` writes a flat tar, and this is a directory";
            return Err(Error::new(Code::Usage, message)
                .at(quote(rest))
                .hint("`imgconv unpack SRC DIRECTORY` writes a root file system to a directory"));
        }
        create(rest, env)
    }
}

/// A directory that is a root file system.
#[derive(Debug)]
struct Tree(Arc<Folder>);

impl Tree {
    fn nothing_else(&self, what: &str) -> Error {
        let message = format!("a root file system holds no {what}");
        Error::new(Code::Missing, message).at(self.locator())
    }
}

impl Bundle for Tree {
    fn locator(&self) -> String {
        self.0.what.clone()
    }

    /// There is exactly one, and it has no name.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(vec![RootEntry::only(None)])
    }

    fn root(&self, _: &RootEntry) -> Result<Root> {
        Ok(Root::Stream(Blob {
            facts: Facts::default(),
            bytes: self.0.clone(),
        }))
    }

    fn document(&self, kind: &str, _: &Facts, _: (&'static str, u64)) -> Result<Document> {
        Err(self.nothing_else(&format!("document of type {}", quote(kind))))
    }

    fn blob(&self, _: &Facts) -> Result<Blob> {
        Err(self.nothing_else("blob"))
    }

    fn extras(&self) -> Extras<'_> {
        Extras::default()
    }
}
