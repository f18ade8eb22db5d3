//! The ACIs that images are, or become, by name and labels (appc spec, discovery.md).
//!
//! Their names are those that a conversion gives: the reference of the image, or with
//! [`ServeOptions::host`] the reference at that host; the tag is the label `version`. The list of all ACIs is
//! made when a client asks for the first one, from documents alone: each manifest is known before a layer is
//! read. An ACI is made when it is asked for, into the directory of what was made. A stored ACI is
//! copied there, so that its digest is known and all of it was checked before a byte is sent.

use std::{collections::BTreeMap, fmt, sync::Arc};

use imgconv_format_aci::Manifest;
use imgconv_fs::Directory;
use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Digest, Error, Result};
use imgconv_publish::{
    discovery::{Links, PUBLIC_KEYS, Signer, all_labels, checked_url, read_small, stem},
    publish::check_host,
};
use imgconv_stream::read_to_limit;
use imgconv_tags::Labels;

use super::forms::Slot;
use crate::options::ServeOptions;

/// The most bytes of a file of public keys beside a site.
const KEY_FILE: u64 = 1 << 20;

/// What ACIs are named, signed and found with.
pub(super) struct Appc {
    pub(super) host: Option<String>,
    pub(super) url: Option<String>,
    pub(super) signer: Option<Signer>,
    pub(super) public_keys: Option<Arc<[u8]>>,
}

impl fmt::Debug for Appc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Appc")
    }
}

impl Appc {
    /// Reads the keys: the public ones are those of the user, else those of the first place that is a site.
    ///
    /// # Errors
    /// If a file that the user named can't be read, or the URL or the host is none.
    pub(super) fn open(locators: &[Locator], options: &ServeOptions) -> Result<Self> {
        let site = &options.site;
        if let Some(host) = &options.host {
            check_host(host)?;
        }
        let public_keys = match &site.public_keys {
            Some(path) => Some(read_small(path)?),
            None => locators.iter().find_map(beside),
        };
        Ok(Self {
            host: options.host.clone(),
            url: site.url.as_deref().map(checked_url).transpose()?,
            signer: site.signing.as_ref().map(Signer::open).transpose()?,
            public_keys: public_keys.map(Arc::from),
        })
    }
}

/// The public keys that a place has as a site.
fn beside(locator: &Locator) -> Option<Vec<u8>> {
    if !locator.transport.place().is_local() {
        return None;
    }
    let directory = Directory::open(locator.location.as_ref()).ok()?;
    let (file, _) = directory.file(PUBLIC_KEYS).ok()??;
    read_to_limit(Box::new(file), ("key_file", KEY_FILE), PUBLIC_KEYS).ok()
}

/// All ACIs.
#[derive(Debug, Default)]
pub struct Acis {
    pub(super) names: BTreeMap<String, Named>,
    /// The names, by what follows their hosts.
    pub(super) by_path: BTreeMap<String, Vec<String>>,
}

/// The ACIs of one name.
#[derive(Debug, Default)]
pub struct Named {
    /// The links of the discovery page.
    pub links: Links,
    /// By the texts that stand for their labels in URLs.
    acis: BTreeMap<String, Arc<Aci>>,
    /// The image tags file.
    pub image_tags: Option<Arc<[u8]>>,
    pub(super) tags_signature: Slot<Arc<[u8]>>,
    /// Whether the store has a signature of one of the ACIs.
    pub(super) signed: bool,
    pub(super) tagged: Vec<(String, Labels)>,
}

/// An ACI.
#[derive(Debug)]
pub struct Aci {
    /// The ACI for messages: its path below the folder of all ACIs.
    pub path: String,
    pub(super) name: String,
    pub(super) stem: String,
    /// The image that the ACI is or is made of.
    pub(super) item: usize,
    /// The position among the ACIs of the image.
    pub(super) position: usize,
    labels: Labels,
    pub(super) made: Slot<Made>,
    pub(super) signature: Slot<Arc<[u8]>>,
}

/// An ACI that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The digest of the file.
    pub digest: Digest,
    pub(super) size: u64,
    /// The signature that the store has.
    pub(super) signature: Option<Arc<[u8]>>,
}

impl Acis {
    /// Finds the names that a discovery page at a path is for. `host` is the one that the client asked.
    /// Clients ask another host for a name if they know a mirror, so names at every host are found.
    pub fn at<'a>(&'a self, host: &str, path: &str) -> Vec<(&'a str, &'a Named)> {
        let own = match path {
            "" => host.to_owned(),
            path => format!("{host}/{path}"),
        };
        let others = self.by_path.get(path).into_iter().flatten();
        let others = others.filter(|name| **name != own);
        let names = self.names.get_key_value(&own).into_iter();
        let others = others.filter_map(|name| self.names.get_key_value(name));
        names
            .chain(others)
            .map(|(name, named)| (&**name, named))
            .collect()
    }

    /// Finds the ACIs of a name.
    pub fn named(&self, name: &str) -> Option<&Named> {
        self.names.get(name)
    }

    /// Adds an ACI.
    pub(super) fn add(
        &mut self,
        manifest: &Manifest,
        item: usize,
        position: usize,
        signed: bool,
    ) -> Result<()> {
        let stem = stem(manifest)?;
        let labels = all_labels(manifest).into_iter();
        let labels: Labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let named = self.names.entry(manifest.name.clone()).or_default();
        if let Some(other) = named.acis.get(&stem) {
            let message = match other.labels == labels {
                true => format!(
                    "another ACI has the name {} and the same labels, and is served",
                    manifest.name
                ),
                false => format!(
                    "another ACI of the name {} has the same URL, and is served: its labels are {:?}",
                    manifest.name, other.labels
                ),
            };
            return Err(Error::new(Code::Ambiguous, message));
        }
        named.links.add(manifest);
        named.signed |= signed;
        let aci = Aci {
            path: format!("{}/{stem}.aci", manifest.name),
            name: manifest.name.clone(),
            stem: stem.clone(),
            item,
            position,
            labels,
            made: Slot::default(),
            signature: Slot::default(),
        };
        named.acis.insert(stem, Arc::new(aci));
        Ok(())
    }
}

impl Named {
    /// Finds an ACI by the text that stands for its labels. Clients that look for no version ask for `latest`
    /// (discovery.md, "Simple Discovery"), also where the ACI has no version.
    pub fn aci(&self, stem: &str) -> Option<&Arc<Aci>> {
        let latest = || self.acis.get(stem.strip_prefix("latest-")?);
        self.acis.get(stem).or_else(latest)
    }
}

impl Aci {
    /// Returns the ACI if it was made already.
    pub fn ready(&self) -> Option<Made> {
        self.made.ready()
    }
}
