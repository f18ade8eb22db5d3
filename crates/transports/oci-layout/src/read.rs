//! Reading a layout, in a directory or an archive.
//!
//! The bundle finds blobs by digest and verifies them; formats interpret the documents.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, OnceLock},
};

use imgconv_model::{
    Blob, Bundle, Code, Digest, Document, Env, Error, Extras, Facts, Limits, ListNotes, Open,
    Reader, Result, Root, RootEntry, StoredBlobs, TopLevel,
};
use imgconv_stream::{Verified, read_to_limit};

use imgconv_layout::{Index, Item};

use crate::files::{BLOBS, Files, INDEX_FILE, check_layout, read_index};

/// A layout that is read.
#[derive(Debug)]
pub(crate) struct LayoutBundle {
    locator: String,
    files: Arc<dyn Files>,
    index: Index,
    top_level: TopLevel,
    /// The repeated entries that differ, see [`Index::duplicate_listings`]; computed when first
    /// needed.
    again: OnceLock<BTreeMap<usize, Vec<String>>>,
    limits: Limits,
}

impl LayoutBundle {
    /// Reads the marker and the index, but no blob.
    pub(crate) fn new(locator: String, files: Arc<dyn Files>, env: &Env) -> Result<Self> {
        let index = check_layout(&*files, &env.limits)
            .and_then(|()| read_index(&*files, &env.limits))
            .map_err(|error| error.at(locator.clone()))?;
        Ok(Self {
            locator,
            files,
            top_level: index.top_level(),
            index,
            again: OnceLock::new(),
            limits: env.limits,
        })
    }

    /// Opens a layout whatever is wrong with its marker and its index, and returns the errors.
    /// Without a readable index the layout lists nothing.
    pub(crate) fn damaged(locator: String, files: Arc<dyn Files>, env: &Env) -> (Self, Vec<Error>) {
        let mut errors: Vec<Error> = check_layout(&*files, &env.limits)
            .err()
            .into_iter()
            .collect();
        let index = read_index(&*files, &env.limits).unwrap_or_else(|error| {
            errors.push(error);
            Index::empty()
        });
        let at = |error: Error| error.at(locator.clone());
        let errors = errors.into_iter().map(at).collect();
        let bundle = Self {
            locator,
            files,
            top_level: index.top_level(),
            index,
            again: OnceLock::new(),
            limits: env.limits,
        };
        (bundle, errors)
    }

    fn find(&self, facts: &Facts) -> Result<Stored> {
        let Some(digest) = facts.digest else {
            let message = "a blob of a layout is found by its digest, and none is known";
            return Err(Error::new(Code::Missing, message).at(self.locator.clone()));
        };
        Ok(Stored {
            locator: self.locator.clone(),
            files: Arc::clone(&self.files),
            digest,
            facts: facts.clone(),
        })
    }
}

impl Bundle for LayoutBundle {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.index.roots())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        let at = |error: imgconv_model::Error| error.at(self.locator.clone());
        entry.check().map_err(at)?;
        let Some(child) = &entry.child else {
            let message = format!("entry #{} has no descriptor", entry.position);
            return Err(Error::new(Code::Missing, message).at(self.locator.clone()));
        };
        let limit = ("manifest", self.limits.manifest);
        self.document(&child.kind, &child.facts(), limit)
            .map(Root::Document)
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        if let (Some(size), Some(digest)) = (facts.size, facts.digest)
            && size > limit.1
        {
            let what = format!("document {digest} of {size} bytes");
            return Err(Limits::exceeded(limit.0, limit.1, what).at(self.locator.clone()));
        }
        let stored = self.find(facts)?;
        let what = format!("document {}", stored.digest);
        let bytes = read_to_limit(stored.open()?, limit, &what)
            .map_err(|error| error.at(self.locator.clone()))?;
        Ok(Document {
            kind: kind.to_owned(),
            bytes: bytes.into(),
        })
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        let stored = self.find(facts)?;
        // The bytes are verified when they are read.
        match self.files.has_blob(&stored.digest) {
            Ok(true) => {}
            Ok(false) => return Err(stored.missing()),
            Err(error) => return Err(error.at(self.locator.clone())),
        }
        Ok(Blob {
            facts: facts.clone(),
            bytes: Arc::new(stored),
        })
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            top_level: Some(&self.top_level),
            list_notes: Some(self),
            stored: Some(self),
            ..Extras::default()
        }
    }
}

impl ListNotes for LayoutBundle {
    fn bad_name(&self, entry: &RootEntry) -> Option<Error> {
        let item = self.index.items.get(entry.position)?;
        let error = item.names().check().err()?;
        Some(error.at(format!("file {INDEX_FILE}")))
    }

    fn duplicate_listings(&self, entry: &RootEntry) -> Vec<String> {
        let again = self.again.get_or_init(|| self.index.duplicate_listings());
        again.get(&entry.position).cloned().unwrap_or_default()
    }

    fn is_unusable_record(&self, entry: &RootEntry) -> bool {
        let item = self.index.items.get(entry.position);
        item.is_some_and(Item::is_unusable_record)
    }
}

impl StoredBlobs for LayoutBundle {
    /// Files whose names are no digests are not listed: a layout may hold any other files.
    fn stored(&self) -> Result<Option<Vec<Digest>>> {
        let listed = self.files.blobs();
        listed
            .map(Some)
            .map_err(|error| error.at(self.locator.clone()))
    }

    fn stored_as(&self, digest: &Digest) -> Digest {
        *digest
    }
}

/// A blob where it is stored.
#[derive(Debug)]
struct Stored {
    locator: String,
    files: Arc<dyn Files>,
    digest: Digest,
    facts: Facts,
}

impl Stored {
    fn raw(&self) -> Result<Reader> {
        match self.files.blob(&self.digest) {
            Ok(Some((reader, _))) => Ok(reader),
            Ok(None) => Err(self.missing()),
            Err(error) => Err(error.at(self.locator.clone())),
        }
    }

    fn missing(&self) -> Error {
        let message = format!("blob {} is not in the layout", self.digest);
        Error::new(Code::Missing, message).at(self.locator.clone())
    }
}

impl Open for Stored {
    fn open(&self) -> Result<Reader> {
        let what = format!("blob {} of {}", self.digest, self.locator);
        Ok(Box::new(Verified::new(self.raw()?, &self.facts, what)))
    }

    fn file(&self) -> Result<Option<File>> {
        let names = [BLOBS, self.digest.algorithm().as_str(), &self.digest.hex()];
        let found = self.files.file(&names);
        found.map_err(|error| error.at(self.locator.clone()))
    }
}
