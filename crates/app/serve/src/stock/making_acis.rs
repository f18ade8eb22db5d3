//! Listing, making and opening the ACIs of all images: by the engine of conversions.

use std::{
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_convert::{
    choose::request::{Request, target},
    options::Options,
    outcome::{BAD_RECORD, WarningOutcome},
    plan::{
        data::{Outputs, Plan, PlannedStream, StreamStep},
        plan,
    },
    read::{node::Node, root::SourceRoot, search::Search},
    write::{self, Destination},
};
use imgconv_format_aci::{Manifest, manifest_for, manifest_of};
use imgconv_locate::locator::Locator;
use imgconv_model::{
    Beside, Blob, BlobWriter, BundleSink, Code, Digest, Env, Error, Notes, Publication, Report,
    Result, Silent, SinkExtras, TopLevel, quote,
};
use imgconv_pipeline::Sealer;
use imgconv_publish::discovery::{labels, stem};
use imgconv_tags::{ImageTags, Labels};

use super::{
    acis::{Aci, Acis, Made, Named},
    blobs::{Bytes, Opened},
    cache::Cache,
    opening::Stock,
    repository::Item,
};
use crate::options::Watcher;

/// The end of the name of a signature.
const SIGNATURE: &str = ".asc";

impl Stock {
    /// Returns the URL by which clients reach the server, if the user named one.
    pub fn url(&self) -> Option<&str> {
        self.appc.url.as_deref()
    }

    /// Returns the public keys.
    pub fn public_keys(&self) -> Option<&Arc<[u8]>> {
        self.appc.public_keys.as_ref()
    }

    /// Returns the list of ACIs, if it was made already.
    pub fn known_acis(&self) -> Option<Arc<Acis>> {
        self.acis.ready()
    }

    /// Returns the list of ACIs, and makes it if needed: the documents of all images are read. An image that
    /// can't be an ACI is a message.
    ///
    /// # Errors
    /// If the work was cancelled.
    pub fn acis(&self, watcher: &dyn Watcher) -> Result<Arc<Acis>> {
        self.acis.once(|| {
            let mut acis = Acis::default();
            for (number, item) in self.items.iter().enumerate() {
                self.env.check_cancelled()?;
                if let Err(error) = self.list_item(number, item, &mut acis, watcher) {
                    watcher.left_out(&error.at(&*item.text));
                }
            }
            self.finish_list(&mut acis, watcher);
            Ok(Arc::new(acis))
        })
    }

    /// Lists the ACIs of an image.
    fn list_item(
        &self,
        number: usize,
        item: &Item,
        acis: &mut Acis,
        watcher: &dyn Watcher,
    ) -> Result<()> {
        let list = self.planned(item, |plan, request, roots| {
            let Outputs::Streams(streams) = &plan.outputs else {
                return Ok(Vec::new());
            };
            let list = streams.iter().map(|planned| {
                let signed = match planned.exact.last() {
                    Some(exact) => Ok(exact.reversal.signature.is_some()),
                    None => signature(planned, roots, request.env).map(|found| found.is_some()),
                };
                // One platform without labels of appc does not stop the others.
                let both = manifest(planned, request.env).and_then(|it| Ok((it, signed?)));
                (both, planned.text.to_owned())
            });
            Ok(list.collect())
        })?;
        // The labels of a tag are those that all platforms have in common.
        let mut tagged: Option<(String, Labels)> = None;
        for (position, (both, text)) in list.into_iter().enumerate() {
            let added = both.and_then(|(manifest, signed)| {
                acis.add(&manifest, number, position, signed)?;
                Ok(manifest)
            });
            let manifest = match added {
                Ok(manifest) => manifest,
                Err(error) => {
                    watcher.left_out(&error.at(text));
                    continue;
                }
            };
            let own = identity(&manifest);
            match &mut tagged {
                None => tagged = Some((manifest.name.clone(), own)),
                Some((_, labels)) => labels.retain(|name, value| own.get(name) == Some(value)),
            }
        }
        if let (Some(tag), Some((name, labels))) = (&item.tag, tagged)
            && let Some(named) = acis.names.get_mut(&name)
        {
            named.tagged.push((tag.clone(), labels));
        }
        Ok(())
    }

    /// Makes the image tags, and the list of paths.
    ///
    /// Clients demand a signature of image tags where they demand one of ACIs, and need no tags where the
    /// tag is the version: so tags that can't be signed are not named beside signed ACIs.
    fn finish_list(&self, acis: &mut Acis, watcher: &dyn Watcher) {
        for (name, named) in &mut acis.names {
            if let Some((_, path)) = name.split_once('/') {
                let names = acis.by_path.entry(path.to_owned()).or_default();
                names.push(name.clone());
            }
            named.links.public_keys = self.appc.public_keys.is_some();
            let tagged = std::mem::take(&mut named.tagged);
            if tagged.is_empty() || (named.signed && self.appc.signer.is_none()) {
                continue;
            }
            match ImageTags::of(tagged) {
                Ok(tags) => {
                    named.image_tags = Some(tags.to_bytes().into());
                    named.links.image_tags = true;
                }
                Err(error) => watcher.left_out(&error.at(format!("image tags of {}", quote(name)))),
            }
        }
    }

    /// Makes an ACI, once.
    ///
    /// # Errors
    /// If the image can't be read or made.
    pub fn make_aci(&self, aci: &Aci) -> Result<Made> {
        let made = || self.produce(aci);
        aci.made.same(|| Ok(true), made, |made| made.digest)
    }

    /// Makes an ACI.
    fn produce(&self, aci: &Aci) -> Result<Made> {
        let item = &self.items[aci.item];
        self.watcher.making(&aci.path);
        let made = self.planned(item, |mut plan, request, roots| {
            let gone = || Error::new(Code::Missing, "the source has no such image any more");
            let planned = match &mut plan.outputs {
                Outputs::Streams(streams) if aci.position < streams.len() => {
                    streams.swap_remove(aci.position)
                }
                _ => return Err(gone()),
            };
            let manifest = manifest(&planned, request.env)?;
            if manifest.name != aci.name || stem(&manifest)? != aci.stem {
                return Err(gone());
            }
            let sink = Sink {
                cache: &self.cache,
                beside: Mutex::default(),
            };
            let kept = signature(&planned, roots, request.env)?;
            let plan = Plan {
                outputs: Outputs::Streams(vec![planned]),
                left_behind: Report::default(),
                tagged: Vec::new(),
            };
            let place = Destination {
                sink: &sink,
                sealer: &Sealer::new(&sink, &self.pool),
                pool: &self.pool,
            };
            let written = write::write(&plan, request, &place)?;
            for image in written.items.iter().flat_map(|item| &item.images) {
                let bad = |warning: &&WarningOutcome| warning.code == BAD_RECORD;
                for warning in image.warnings.iter().filter(bad) {
                    let error = Error::new(Code::Mismatch, &*warning.message);
                    self.watcher.failed(&aci.path, &error.at(&*warning.at));
                }
            }
            let root = written
                .items
                .into_iter()
                .next()
                .map(|item| item.publication.root);
            let root = root.ok_or_else(gone)?;
            let beside = sink
                .beside
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner);
            Ok(Made {
                digest: root.digest,
                size: root.size,
                signature: kept.or(beside).map(Arc::from),
            })
        });
        made.map_err(|error| error.at(&*item.text))
    }

    /// Opens an ACI that was made; `None` without `make` if the file has to be compared with its digest
    /// first, or to be made again.
    ///
    /// # Errors
    /// If the file can't be opened or made again.
    pub fn open_aci(&self, aci: &Aci, made: &Made, make: bool) -> Result<Option<Opened>> {
        if let Some(file) = self.proven.get(&made.digest) {
            let size = file.size();
            let bytes = Bytes::Proven(file);
            return Ok(Some(Opened { size, bytes }));
        }
        if !make && !self.cache.is_verified(&made.digest) {
            return Ok(None);
        }
        Self::opened(&self.made_aci(aci, made)?).map(Some)
    }

    /// Returns the file of an ACI. A file that somebody removed or changed is made again.
    fn made_aci(&self, aci: &Aci, made: &Made) -> Result<Blob> {
        let stands = || Ok(self.cache.verified(&made.digest)? == Some(made.size));
        if !stands()? {
            aci.made
                .same(stands, || self.produce(aci), |made| made.digest)?;
        }
        let blob = self.cache.blob(&made.digest, Some(made.size))?;
        blob.ok_or_else(|| {
            let message = format!("{} was made and is gone", made.digest);
            Error::new(Code::Missing, message)
        })
    }

    /// Returns the signature of an ACI: that of the store, or one by the key of the server; `None` if there
    /// is neither.
    ///
    /// # Errors
    /// If the ACI can't be read or signed.
    pub fn aci_signature(&self, aci: &Aci, made: &Made) -> Result<Option<Arc<[u8]>>> {
        match (&made.signature, &self.appc.signer) {
            (Some(signature), _) => Ok(Some(Arc::clone(signature))),
            (None, None) => Ok(None),
            (None, Some(signer)) => {
                let sign = || Ok(signer.sign(self.made_aci(aci, made)?.open()?)?.into());
                aci.signature.once(sign).map(Some)
            }
        }
    }

    /// Returns the signature of an image tags file; `None` without a key.
    ///
    /// # Errors
    /// If the file can't be signed.
    pub fn tags_signature(&self, named: &Named) -> Result<Option<Arc<[u8]>>> {
        let (Some(signer), Some(tags)) = (&self.appc.signer, &named.image_tags) else {
            return Ok(None);
        };
        let bytes = Arc::clone(tags);
        let sign = || Ok(signer.sign(Box::new(std::io::Cursor::new(bytes)))?.into());
        named.tags_signature.once(sign).map(Some)
    }

    /// Decodes an image with its records of reversal, and plans the ACIs that it is or becomes.
    fn planned<T>(
        &self,
        item: &Item,
        then: impl FnOnce(Plan<'_>, &Request<'_>, &[SourceRoot<'_>]) -> Result<T>,
    ) -> Result<T> {
        let source = &self.sources[item.source];
        let env = &Env {
            progress: Arc::new(Silent),
            ..self.env.with_notes(&Notes::default())
        };
        let mut memo = source.memo();
        let mut search = Search::new(source);
        let (mut roots, mut beside) = (Vec::new(), Vec::new());
        for entry in &item.entries {
            let node = source.decode_entry(entry, env, &mut memo)?;
            // A place either lists records, or keeps them apart.
            if source.bundle.extras().referrers.is_some() {
                let about = search.beside(entry, &node, env)?;
                beside.extend(about.found);
                // Without its record, the image becomes the ACI that a conversion makes.
                for unread in about.unread {
                    self.watcher.failed(&unread.field, &unread.error);
                }
            }
            let images = node.images().filter_map(|(image, _)| image.child.as_ref());
            for child in images {
                let records = self.records.get(&(item.source, child.digest));
                for entry in records.into_iter().flatten() {
                    let record = source.decode_entry(entry, env, &mut memo)?;
                    beside.push((entry.clone(), record));
                }
            }
            roots.push(SourceRoot::new(source, entry, node));
        }
        for (entry, node) in beside {
            roots.push(SourceRoot::new(source, &entry, node));
        }
        let destination = Locator::destination_of(None, None, "aci:/", &["aci"])?;
        let options = Options {
            host: self.appc.host.clone(),
            ..Options::default()
        };
        let target = target(&destination, &roots)?;
        let request = Request::new(target, &destination, &options, env)?;
        let plan = plan(&roots, &request, Report::default())?;
        then(plan, &request, &roots)
    }
}

/// The manifest that an ACI has or gets.
fn manifest(planned: &PlannedStream<'_>, env: &Env) -> Result<Manifest> {
    if !planned.exact.is_empty()
        && let Some(manifest) = manifest_of(&planned.node.image, &env.limits)?
    {
        return Ok(manifest);
    }
    match planned.step {
        StreamStep::Keep(aci) => Ok((*aci.manifest).clone()),
        _ => manifest_for(&planned.image, &env.limits),
    }
}

/// The signature that the store has beside an ACI that is served as it is.
fn signature(
    planned: &PlannedStream<'_>,
    roots: &[SourceRoot<'_>],
    env: &Env,
) -> Result<Option<Vec<u8>>> {
    if !matches!(planned.step, StreamStep::Keep(_)) {
        return Ok(None);
    }
    let own = |root: &&SourceRoot<'_>| match &*root.node {
        Node::Image(node) => ptr::eq(&**node, planned.node),
        _ => false,
    };
    let Some(root) = roots.iter().find(own) else {
        return Ok(None);
    };
    let signature = root.holder().signature(&env.limits)?;
    Ok(signature.map(|signature| signature.bytes))
}

/// The labels that a tag stands for: those of the ACI without its platform, or the ID that identifies it.
fn identity(manifest: &Manifest) -> Labels {
    let own = labels(manifest).into_iter();
    let own = own.filter(|(name, _)| !["os", "arch"].contains(name));
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.collect()
}

/// Takes an ACI, and the signature that is restored with it.
#[derive(Debug)]
struct Sink<'a> {
    cache: &'a Arc<Cache>,
    beside: Mutex<Option<Vec<u8>>>,
}

impl BundleSink for Sink<'_> {
    fn locator(&self) -> String {
        self.cache.shown().to_owned()
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.cache.verified(digest)? == Some(size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        self.cache.writer()
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras {
            beside: Some(self),
            ..SinkExtras::default()
        }
    }

    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, _: &mut [Publication]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

impl Beside for Sink<'_> {
    fn put_beside(&self, _: &Digest, suffix: &str, content: &[u8]) -> Result<()> {
        if suffix == SIGNATURE {
            let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
            *beside = Some(content.to_vec());
        }
        Ok(())
    }
}
