//! The images of a store, found by its keys and named by its manifests.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use imgconv_fs::Directory;
use imgconv_json::{Object, parse};
use imgconv_model::{
    Blob, Bundle, Code, Document, Env, Error, Extras, Facts, Limits, Name, Result, Root, RootEntry,
    States, quote,
};

use crate::{
    blob::{Key, Stored},
    paths::{BLOBS, MANIFESTS},
};

/// A store that is read.
#[derive(Debug)]
pub(crate) struct Store {
    locator: String,
    directory: Arc<Directory>,
    /// Every key, in order.
    keys: Vec<Key>,
    limits: Limits,
}

impl Store {
    /// Lists the keys; neither manifests nor images are read.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("rkt:{rest}");
        let directory = Directory::open(Path::new(rest))?;
        let keys = keys(&directory, env).map_err(|error| error.at(locator.clone()))?;
        Ok(Self {
            locator,
            directory: Arc::new(directory),
            keys,
            limits: env.limits,
        })
    }

    fn stored(&self, entry: &RootEntry) -> Result<Stored> {
        let key = self.keys.get(entry.position).ok_or_else(|| {
            let message = format!("there is no entry #{}", entry.position);
            Error::new(Code::Missing, message).at(self.locator.clone())
        })?;
        Ok(Stored {
            locator: self.locator.clone(),
            directory: Arc::clone(&self.directory),
            key: key.clone(),
        })
    }

    fn not_here(&self, what: &str) -> Error {
        let message = format!("a store of ACIs has no {what}");
        Error::new(Code::Missing, message).at(self.locator.clone())
    }
}

/// Lists the keys of both stores: rkt may have been stopped after writing only one of them.
fn keys(directory: &Directory, env: &Env) -> Result<Vec<Key>> {
    let mut found = BTreeSet::new();
    let mut stores = 0;
    for store in [BLOBS, MANIFESTS] {
        let base = format!("{store}/sha512");
        stores += usize::from(directory.is_directory(&base)?);
        for prefix in directory.directories(&base)? {
            env.check_cancelled()?;
            let folder = format!("{base}/{prefix}");
            let keys = directory.names(&folder)?;
            // rkt would not find a file in the wrong folder either.
            let fits = |key: &Key| key.path(store).starts_with(&format!("{folder}/"));
            found.extend(keys.iter().filter_map(|name| Key::parse(name)).filter(fits));
        }
    }
    // A store without images has neither of them, but has `cas`.
    if stores == 0 && !directory.is_directory("cas")? {
        let message = "there is no directory `cas`, so this is no store of rkt";
        return Err(Error::new(Code::Missing, message)
            .hint("name the directory that holds `cas`, such as /var/lib/rkt"));
    }
    Ok(found.into_iter().collect())
}

/// Reads the name and the version in a manifest; the format checks the rest.
fn name_in(bytes: &[u8], limits: &Limits) -> Result<Name> {
    let value = parse(bytes, limits, "manifest")?;
    let manifest = Object::new(&value, "")?;
    let mut tag = None;
    for label in manifest.objects("labels")? {
        if label.string("name")? == "version" {
            // The field was `val` in appc 0.1 (robustness K29).
            let value = match label.opt_string("value")? {
                Some(value) => value,
                None => label.string("val")?,
            };
            tag = Some(value.to_owned());
        }
    }
    Ok(Name {
        digest: None,
        repository: Some(manifest.string("name")?.to_owned()),
        tag,
    })
}

impl Bundle for Store {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    /// Lists every key. An image without a readable manifest has no name in the store; the image
    /// itself has one.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        let limit = ("aci_manifest", self.limits.aci_manifest);
        let entry = |(position, key): (usize, &Key)| {
            let manifest = self.directory.read(&key.path(MANIFESTS), limit);
            let manifest = manifest.ok().flatten();
            let name = manifest.and_then(|bytes| name_in(&bytes, &self.limits).ok());
            let mut texts = vec![key.as_str().to_owned()];
            texts.extend(name.as_ref().map(ToString::to_string));
            RootEntry {
                position,
                name,
                texts,
                child: None,
                error: None,
                ambiguous: None,
            }
        };
        Ok(self.keys.iter().enumerate().map(entry).collect())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        let stored = self.stored(entry)?;
        let (_, size) = stored.file()?;
        Ok(Root::Stream(Blob {
            facts: Facts {
                digest: None,
                size: Some(size),
            },
            bytes: Arc::new(stored),
        }))
    }

    fn document(&self, kind: &str, _: &Facts, _: (&'static str, u64)) -> Result<Document> {
        Err(self.not_here(&format!("document of type {}", quote(kind))))
    }

    fn blob(&self, _: &Facts) -> Result<Blob> {
        Err(self.not_here("blobs of its own"))
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            states: Some(self),
            ..Extras::default()
        }
    }
}

impl States for Store {
    fn state(&self, entry: &RootEntry) -> Result<Option<String>> {
        let (file, _) = self.stored(entry)?.file()?;
        let metadata = file.metadata().map_err(Error::from_io)?;
        Ok(Some(imgconv_fs::file_state(&metadata)))
    }
}
