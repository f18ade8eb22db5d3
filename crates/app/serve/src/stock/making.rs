//! Making what a store does not have as it is asked for: by the engine of conversions.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use imgconv_convert::{
    choose::{
        dependencies,
        platforms::{is_wanted, nearest},
        request::{Request, target},
        signing::SCHEMA1,
    },
    options::Options,
    plan::plan,
    read::{node::Node, root::SourceRoot, spec::spec_of},
    write::{self, Destination},
};
use imgconv_locate::locator::Locator;
use imgconv_manifest::{Part, references};
use imgconv_model::{
    BlobWriter, BundleSink, Child, Code, Digest, Document, Env, Error, Facts, Name, Notes,
    PlatformSpec, Publication, Report, Result, RootEntry, Silent, SinkExtras, TopLevel,
};
use imgconv_pipeline::Sealer;
use imgconv_stream::read_to_limit;
use imgconv_transport_registry::REGISTRY;

use super::{
    cache::Cache,
    contents::{At, Contents, Found, Manifest, look},
    forms::Want,
    opening::Stock,
    repository::{Item, Repository},
};

impl Stock {
    /// Returns an image in a form; `None` without `make` if it has to be made.
    pub(super) fn form(
        &self,
        repository: &Repository,
        at: usize,
        want: Want,
        make: bool,
    ) -> Result<Option<Arc<Manifest>>> {
        let item = &self.items[at];
        let found = |digest: &Digest| {
            repository.manifest(digest).ok_or_else(|| {
                let message = format!("{digest} was made and is gone");
                Error::new(Code::Missing, message).at(&*item.text)
            })
        };
        if let Some(digest) = item.stored.filter(|_| want == Want::USUAL) {
            return found(&digest).map(Some);
        }
        let slot = item.slot(want);
        if let Some(digest) = slot.ready() {
            return found(&digest).map(Some);
        }
        if !make {
            return Ok(None);
        }
        let digest = slot.same(
            || Ok(true),
            || self.make(repository, at, want),
            |digest| *digest,
        );
        let digest = digest.map_err(|error| error.at(&*item.text))?;
        found(&digest).map(Some)
    }

    /// Makes an image in a form, and registers the result; returns the digest of the root.
    fn make(&self, repository: &Repository, at: usize, want: Want) -> Result<Digest> {
        let item = &self.items[at];
        let format = want.format.map(|format| format!(" as {format}"));
        let platform = want.one.then(|| format!(" for {}", self.platform));
        let what = [Some(item.text.clone()), format, platform];
        let what: String = what.into_iter().flatten().collect();
        self.watcher.making(&what);
        let root = self.convert(repository, item, want)?;
        self.register_made(repository, &root, &At::Made(at, want))
    }

    /// Makes an image again, since the directory of what was made lacks a blob of the image, or has
    /// another file in its place.
    ///
    /// # Errors
    /// If the image can't be made, or has another digest now.
    pub(super) fn make_again(
        &self,
        repository: &Repository,
        (at, want): (usize, Want),
        blob: &Digest,
    ) -> Result<()> {
        let lacks = || self.cache.verified(blob).map(|found| found.is_none());
        let made = self.items[at].slot(want).same(
            || lacks().map(|lacks| !lacks),
            || self.make(repository, at, want),
            |digest| *digest,
        );
        made.map_err(|error| error.at(&*self.items[at].text))?;
        match lacks()? {
            false => Ok(()),
            true => {
                let message = format!("the image was made again, without its blob {blob}");
                Err(Error::new(Code::Missing, message).at(&*self.items[at].text))
            }
        }
    }

    /// Registers a document that was made, and everything that it refers to; returns its digest.
    fn register_made(&self, repository: &Repository, root: &Child, at: &At) -> Result<Digest> {
        let limit = ("manifest", self.env.limits.manifest);
        let mut own = None;
        let mut open = vec![root.clone()];
        let mut seen = BTreeSet::new();
        while let Some(child) = open.pop() {
            if !seen.insert(child.digest) {
                continue;
            }
            let known = repository.manifest(&child.digest);
            let document = match (&known, self.cache.blob(&child.digest, Some(child.size))?) {
                (Some(known), _) => Document {
                    kind: known.kind.to_owned(),
                    bytes: Arc::clone(&known.bytes),
                },
                (None, Some(blob)) => {
                    let what = child.digest.to_string();
                    let bytes = read_to_limit(blob.open()?, limit, &what)?;
                    Document {
                        kind: child.kind.clone(),
                        bytes: bytes.into(),
                    }
                }
                // An index lists documents that are not stored.
                (None, None) if own.is_some() => continue,
                (None, None) => {
                    let message = format!("{} was made and is gone", child.digest);
                    return Err(Error::new(Code::Missing, message));
                }
            };
            let list = references(&document.kind, &document.bytes, &self.env.limits)?;
            for reference in list.into_iter().flat_map(|read| read.list) {
                if reference.part == Part::Entry {
                    let size = reference.size.unwrap_or_default();
                    open.push(Child::new(reference.kind, reference.digest, size));
                }
            }
            if let Some(known) = known {
                own.get_or_insert(known.digest);
                continue;
            }
            let blob = |facts: &Facts| {
                let Some(digest) = facts.digest else {
                    return Ok(None);
                };
                if let Some(held) = repository.contents().blobs.get(&digest) {
                    return Ok(Some(held.size));
                }
                Ok(self.cache.size(&digest)?.map(Some))
            };
            match look(&document, &[child.digest], at, &blob, &self.env.limits)? {
                Found::Complete(complete) => {
                    own.get_or_insert(complete.manifest.digest);
                    repository.add(complete);
                }
                Found::Incomplete => {
                    let message = format!("{} was made and is not complete", child.digest);
                    return Err(Error::new(Code::Missing, message));
                }
            }
        }
        own.ok_or_else(|| Error::new(Code::Missing, "nothing was made"))
    }

    /// Makes one form of an image; returns the root document, which is not registered yet.
    fn convert(&self, repository: &Repository, item: &Item, want: Want) -> Result<Child> {
        let source = &self.sources[item.source];
        // The losses are those that `convert` would report; a client can't be told of them. The work is one of many requests,
        // so the whole has no progress.
        let env = &Env {
            progress: Arc::new(Silent),
            ..self.env.with_notes(&Notes::default())
        };
        let mut memo = source.memo();
        let mut roots = Vec::with_capacity(item.entries.len());
        for entry in &item.entries {
            let node = source.decode_entry(entry, env, &mut memo)?;
            roots.push(SourceRoot::new(source, entry, node));
        }
        let schema1 = want.format == Some(SCHEMA1);
        if schema1 {
            // The manifest says its own name.
            for root in &mut roots {
                root.renamed = Some(Name {
                    repository: Some(format!("{}/{}", repository.host, repository.path)),
                    tag: item.tag.clone(),
                    digest: None,
                });
            }
        }
        let destination = Locator {
            transport: &REGISTRY,
            location: format!("//{}/{}", repository.host, repository.path),
            reference: None,
            format: want.format,
            guessed: None,
        };
        if want.one {
            let wanted = nearest(std::slice::from_ref(&self.platform), &roots);
            let mut found = roots.iter().filter_map(|root| {
                let (listed, node) = of_platform(&root.node, &wanted)?;
                let child = listed.or_else(|| root.entry.child.clone());
                let entry = RootEntry {
                    child,
                    ..root.entry.clone()
                };
                let mut found = SourceRoot::new(source, &entry, node);
                found.renamed.clone_from(&root.renamed);
                Some(found)
            });
            roots = found.next().into_iter().collect();
            if roots.is_empty() {
                let message = format!("the image has no platform {}", self.platform);
                return Err(Error::new(Code::Missing, message));
            }
        }
        let options = Options::default();
        let target = target(&destination, &roots)?;
        dependencies::render_in_store(&mut roots, &*source.bundle, &mut None, &options, env)?;
        let request = Request {
            key: (target.id() == SCHEMA1).then(|| self.key.clone()),
            ..Request::new(target, &destination, &options, env)?
        };
        let plan = plan(&roots, &request, Report::default())?;
        let sink = Sink {
            cache: &self.cache,
            contents: &repository.contents,
        };
        let place = Destination {
            sink: &sink,
            sealer: &Sealer::new(&sink, &self.pool).sharing(&self.layers),
            pool: &self.pool,
        };
        let written = write::write(&plan, &request, &place)?;
        let root = written.items.into_iter().next();
        root.map(|item| item.publication.root).ok_or_else(|| {
            let message = "the source has no image that a registry can hold";
            Error::new(Code::Missing, message)
        })
    }
}

/// Finds the first image of a wanted platform, and the descriptor that lists it. Each index is entered
/// once.
fn of_platform(root: &Arc<Node>, wanted: &[PlatformSpec]) -> Option<(Option<Child>, Arc<Node>)> {
    let mut entered = BTreeSet::new();
    let mut open = vec![(None, Arc::clone(root))];
    while let Some((listed, node)) = open.pop() {
        match &*node {
            Node::Image(image) if is_wanted(wanted, &spec_of(image, listed.as_ref())) => {
                return Some((listed, node));
            }
            Node::Index {
                index, children, ..
            } if entered.insert(Arc::as_ptr(&node)) => {
                let both = index.children.iter().zip(children).rev();
                open.extend(both.filter_map(|(listed, child)| {
                    Some((Some(listed.clone()), Arc::clone(child.as_ref()?)))
                }));
            }
            _ => {}
        }
    }
    None
}

/// Takes what a conversion makes. What the repository serves already is not written again.
struct Sink<'a> {
    cache: &'a Arc<Cache>,
    contents: &'a RwLock<Contents>,
}

impl fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("cache", &self.cache).finish()
    }
}

impl BundleSink for Sink<'_> {
    fn locator(&self) -> String {
        self.cache.shown().to_owned()
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        let served = {
            let contents = self.contents.read().unwrap_or_else(PoisonError::into_inner);
            contents.has(digest, size)
        };
        Ok(served || self.cache.verified(digest)? == Some(size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        self.cache.writer()
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras::default()
    }

    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, _: &mut [Publication]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
