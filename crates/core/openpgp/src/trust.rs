//! The keys that may sign for an image's name.
//!
//! A file of keys is trusted for every name. A directory has the layout of rkt's:
//! `root.d/FINGERPRINT` is trusted for every name, `prefix.d/NAME/FINGERPRINT` for `NAME` and
//! everything below it, whole path components only (appc/spec pull request 592). An empty file
//! removes the trust that an earlier directory gave (rkt
//! Documentation/signing-and-verification-guide.md).

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use imgconv_fs::is_directory;
use imgconv_fs::is_file;
use imgconv_model::{Code, Error, Limits, Result, quote, quote_path};
use pgp::{composed::PublicOrSecret, packet::Signature};

use crate::{armour, key::Key};

/// The keys that are trusted for one name.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    name: String,
    keys: BTreeMap<String, Key>,
    read: u64,
}

impl Trust {
    /// Makes a set without trusted keys, for an image of that name.
    pub fn nobody(name: &str) -> Self {
        let name = name.to_owned();
        let (keys, read) = (BTreeMap::new(), 0);
        Self { name, keys, read }
    }

    /// Reads the keys that are trusted for images of that name: from files, and from directories in
    /// the layout of rkt's, where a later place overrides an earlier one.
    ///
    /// # Errors
    /// [`Code::Usage`] if a directory has another layout, [`Code::BadSignature`] if a file has no
    /// keys or a key other than that of its name, [`Code::Limit`] if the files are too large, or an
    /// I/O error.
    pub fn load(places: &[PathBuf], name: &str, limits: &Limits) -> Result<Self> {
        let mut trust = Self::nobody(name);
        for place in places {
            let shown = quote_path(place);
            let metadata = fs::metadata(place).map_err(|e| Error::io(e, shown.clone()))?;
            if metadata.is_dir() {
                trust.add_directory(place, limits)?;
            } else {
                let bytes = trust.read_file(place, limits)?;
                trust.add(&bytes, limits).map_err(|e| e.at(shown))?;
            }
        }
        Ok(trust)
    }

    /// Trusts the keys of a file, armoured or not, for this name. Returns their fingerprints.
    ///
    /// # Errors
    /// [`Code::BadSignature`] if the keys can't be read, [`Code::Denied`] if one is secret.
    pub fn add(&mut self, bytes: &[u8], limits: &Limits) -> Result<Vec<String>> {
        if bytes.len() as u64 > limits.key_ring {
            return Err(Limits::exceeded(
                "key_ring",
                limits.key_ring,
                "the ring of keys",
            ));
        }
        let mut added = Vec::new();
        for key in armour::keys(bytes)? {
            let PublicOrSecret::Public(key) = key else {
                let message = "this is a secret key; a ring holds only public keys";
                return Err(Error::new(Code::Denied, message).hint("`gpg --armor --export KEY`"));
            };
            let key = Key::new(key);
            let fingerprint = key.fingerprint();
            added.push(fingerprint.clone());
            self.keys.insert(fingerprint, key);
        }
        Ok(added)
    }

    /// Returns true if no key is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the trusted key that a signature names as its issuer.
    pub(crate) fn signer_of(&self, signature: &Signature) -> Option<&Key> {
        self.keys.values().find(|key| key.is_named_by(signature))
    }

    /// The name, for messages.
    pub(crate) fn subject(&self) -> String {
        quote(&self.name)
    }

    fn add_directory(&mut self, place: &Path, limits: &Limits) -> Result<()> {
        let inner = place.join("trustedkeys");
        let place = if is_directory(&inner)? { &inner } else { place };
        let (root, prefix) = (place.join("root.d"), place.join("prefix.d"));
        if !is_directory(&root)? && !is_directory(&prefix)? {
            let message = "this directory has neither `root.d` nor `prefix.d`";
            return Err(Error::new(Code::Usage, message).at(quote_path(place)).hint(
                "lay it out as rkt does: `root.d/FINGERPRINT`, `prefix.d/NAME/FINGERPRINT`",
            ));
        }
        self.add_files(&root, limits)?;
        let mut below = prefix;
        let name = self.name.clone();
        for component in name.split('/') {
            // A valid image name has no such component; the check is for names that were not
            // validated.
            if component.is_empty() || component.starts_with('.') {
                break;
            }
            below.push(component);
            self.add_files(&below, limits)?;
        }
        Ok(())
    }

    /// Adds the files directly in a directory, each named by the fingerprint of its key.
    fn add_files(&mut self, directory: &Path, limits: &Limits) -> Result<()> {
        let shown = |path: &Path| quote_path(path);
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(error, shown(directory))),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| Error::io(e, shown(directory)))?.path();
            if is_file(&path)? {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let wanted = path.file_name().unwrap_or_default().to_string_lossy();
            let bytes = self.read_file(&path, limits)?;
            if bytes.is_empty() {
                self.keys.remove(&*wanted);
                continue;
            }
            let added = self.add(&bytes, limits).map_err(|e| e.at(shown(&path)))?;
            if added != [&*wanted] {
                let found = added.join(", ");
                let message = format!(
                    "the file is named {} and holds key {found}",
                    quote(&*wanted)
                );
                return Err(Error::new(Code::BadSignature, message).at(shown(&path)));
            }
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, limits: &Limits) -> Result<Vec<u8>> {
        let shown = || quote_path(path);
        let file = fs::File::open(path).map_err(|e| Error::io(e, shown()))?;
        let left = limits.key_ring.saturating_sub(self.read);
        let mut bytes = Vec::new();
        file.take(left + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io(e, shown()))?;
        self.read += bytes.len() as u64;
        if self.read > limits.key_ring {
            return Err(
                Limits::exceeded("key_ring", limits.key_ring, "the ring of keys").at(shown()),
            );
        }
        Ok(bytes)
    }
}
