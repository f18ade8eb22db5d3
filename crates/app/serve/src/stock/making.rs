//! Making what a store does not have as it is asked for: by the engine of conversions.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use imgconv_convert::{
    choose::{
        dependencies,
        platforms::{is_wanted, nearest},
        request::{Holds, Request, target},
        signing::SCHEMA1,
    },
    options::Options,
    plan::plan,
    read::{node::Node, root::SourceRoot, spec::spec_of},
    write::{self, Destination},
};
use imgconv_locate::{catalog, locator::Locator};
use imgconv_model::{
    BlobWriter, BundleSink, Child, Code, Digest, Error, FormatId, Name, Notes, PlatformSpec,
    Publication, Report, Result, RootEntry, SinkExtras, TopLevel,
};
use imgconv_pipeline::Sealer;

use super::{Item, Repository, Stock, cache::Cache, contents::Contents};

/// The form in which an image is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Want {
    /// The format; `None` for the one that a conversion to a registry chooses.
    pub(super) format: Option<FormatId>,
    /// True for one platform of an index.
    pub(super) one: bool,
}

impl Want {
    /// The image as a conversion to a registry makes it.
    pub(super) const USUAL: Self = Self {
        format: None,
        one: false,
    };
}

/// The result of making one form of one image. Whoever makes it holds the lock.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Counts the attempts, so that those who waited for a failed one do not repeat it.
    attempts: AtomicU64,
    made: Mutex<Option<Result<Digest, Error>>>,
}

impl Slot {
    /// Returns the result, or makes it; a failed attempt is repeated by the next caller that did not wait
    /// for it.
    pub(super) fn once(&self, make: impl FnOnce() -> Result<Digest>) -> Result<Digest> {
        let before = self.attempts.load(Ordering::Acquire);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(Ok(digest)) => return Ok(*digest),
            Some(Err(error)) if self.attempts.load(Ordering::Acquire) != before => {
                return Err(error.again());
            }
            _ => {}
        }
        let result = make();
        self.attempts.fetch_add(1, Ordering::AcqRel);
        let told = match &result {
            Ok(digest) => Ok(*digest),
            Err(error) => Err(error.again()),
        };
        *made = Some(told);
        result
    }

    /// Returns the result if it is there.
    pub(super) fn ready(&self) -> Option<Digest> {
        let made = self.made.try_lock().ok()?;
        made.as_ref()?.as_ref().ok().copied()
    }
}

impl Stock {
    /// Makes one form of an image; returns the root document, which is not registered yet.
    pub(super) fn convert(
        &self,
        repository: &Repository,
        item: &Item,
        want: Want,
    ) -> Result<Child> {
        let source = &self.sources[item.source];
        // What is lost is what `convert` would report; a client has no place for it.
        let env = &self.env.with_notes(&Notes::default());
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
            transport: catalog::transport("docker")
                .ok_or_else(|| Error::new(Code::Unsupported, "this build knows no registries"))?,
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
            key: Some(&self.key).filter(|_| target.id() == SCHEMA1),
            ..Request::new(target, &options, Holds::of(&destination, false), env)
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
        let contents = self.contents.read().unwrap_or_else(PoisonError::into_inner);
        Ok(contents.has(digest, size) || self.cache.has(digest, size))
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
