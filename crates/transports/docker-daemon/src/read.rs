//! An engine as a bundle: the list of its images, and the archives that it sends of them.
//!
//! Images with names are asked for in as few archives as possible, because an archive has a layer that
//! several images share once. If the engine refuses such an archive, each image is asked for alone,
//! so that one bad image is one bad entry.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_model::{
    Blob, Bundle, Code, Digest, Document, Env, Error, Extras, Facts, FormatId, ListNotes, Name,
    Parts, Result, Root, RootEntry, States, Summaries, Summary, TopLevel, quote,
};

use crate::{
    api::{Engine, Listed, check_name},
    fetch::fetch,
};

/// The scheme with its colon, which is the locator of all images of an engine.
const WHOLE: &str = "docker-daemon:";

/// The most bytes of the names in one request: a URL has at most 16 KiB.
const QUERY: usize = 12 << 10;
/// The most images that the error of a missing image names.
const NAMED: usize = 20;

/// An engine that is read.
#[derive(Debug)]
pub(crate) struct EngineBundle {
    locator: String,
    engine: Engine,
    env: Env,
    /// The images, each with the names that are asked for.
    images: Vec<Listed>,
    /// The name that the user gave; `None` for all images.
    wanted: Option<String>,
    /// The archives, once they were fetched.
    archives: Mutex<Option<Arc<Archives>>>,
}

/// Everything that was fetched.
#[derive(Debug, Default)]
struct Archives {
    fetched: Vec<Arc<dyn Bundle>>,
    roots: Vec<RootEntry>,
    /// For each entry the position of its archive and its entry there; `None` for an image that the
    /// engine does not give out.
    inner: Vec<Option<(usize, RootEntry)>>,
}

impl EngineBundle {
    /// Asks for the list of images, or for the image of that name.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("{WHOLE}{rest}");
        Self::ask(rest, &locator, env).map_err(|error| error.at(locator.clone()))
    }

    fn ask(rest: &str, locator: &str, env: &Env) -> Result<Self> {
        let engine = Engine::open(env)?;
        let (images, wanted) = match rest {
            "" => (engine.images()?, None),
            name => {
                let name = name.strip_prefix('@').unwrap_or(name);
                check_name(name)?;
                let Some(found) = engine.image(name)? else {
                    return Err(missing(name, &engine));
                };
                let image = Listed {
                    names: vec![name.to_owned()],
                    ..found.image
                };
                (vec![image], Some(name.to_owned()))
            }
        };
        Ok(Self {
            locator: locator.to_owned(),
            engine,
            env: env.clone(),
            images: images
                .into_iter()
                .map(|image| readable(image, env))
                .collect(),
            wanted,
            archives: Mutex::default(),
        })
    }

    /// Returns the archives, which are fetched at the first call.
    fn archives(&self) -> Result<Arc<Archives>> {
        let mut archives = self.archives.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*archives {
            return Ok(Arc::clone(known));
        }
        let fetched = self
            .fetch_all()
            .map_err(|error| error.at(self.locator.clone()))?;
        let fetched = Arc::new(fetched);
        *archives = Some(Arc::clone(&fetched));
        Ok(fetched)
    }

    fn fetch_all(&self) -> Result<Archives> {
        let mut all = Archives::default();
        for group in self.groups() {
            let images: Vec<&Listed> = group.iter().map(|at| &self.images[*at]).collect();
            match self.fetch(&images) {
                Ok(fetched) => all.add(fetched, &images, self.wanted.as_deref())?,
                Err(error) if self.wanted.is_some() || is_final(&error) => return Err(error),
                Err(error) if images.len() == 1 => all.add_failed(images[0], error),
                Err(_) => {
                    for image in images {
                        match self.fetch(&[image]) {
                            Ok(fetched) => all.add(fetched, &[image], None)?,
                            Err(error) if is_final(&error) => return Err(error),
                            Err(error) => all.add_failed(image, error),
                        }
                    }
                }
            }
        }
        Ok(all)
    }

    fn fetch(&self, images: &[&Listed]) -> Result<Arc<dyn Bundle>> {
        let names: Vec<String> = images.iter().flat_map(|image| asked(image)).collect();
        let size = images.iter().map(|image| image.size).sum();
        fetch(&self.engine, &names, (&self.locator, size), &self.env)
    }

    /// Groups the images for requests. An archive does not tell which of its nameless images has
    /// which ID, so an image without a name is asked for alone.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let (mut open, mut length) = (Vec::new(), 0);
        for (at, image) in self.images.iter().enumerate() {
            if image.names.is_empty() {
                groups.push(vec![at]);
                continue;
            }
            let own: usize = image.names.iter().map(|name| name.len() * 3 + 7).sum();
            if length + own > QUERY && !open.is_empty() {
                groups.push(std::mem::take(&mut open));
                length = 0;
            }
            open.push(at);
            length += own;
        }
        if !open.is_empty() {
            groups.insert(0, open);
        }
        groups
    }

    /// Asks one archive after the other for data with a known digest.
    fn first<T>(&self, facts: &Facts, ask: impl Fn(&dyn Bundle) -> Result<T>) -> Result<T> {
        for fetched in &self.archives()?.fetched {
            match ask(&**fetched) {
                Err(error) if matches!(error.code(), Code::Missing | Code::Unsupported) => {}
                other => return other,
            }
        }
        let digest = facts
            .digest
            .as_ref()
            .map_or(String::new(), Digest::to_string);
        let message = format!("no image of the engine has the blob {digest}");
        Err(Error::new(Code::Missing, message).at(self.locator.clone()))
    }
}

impl Archives {
    /// Adds the entries of an archive. `wanted` is the one name that the user asked for.
    fn add(
        &mut self,
        fetched: Arc<dyn Bundle>,
        images: &[&Listed],
        wanted: Option<&str>,
    ) -> Result<()> {
        let mut entries = fetched.roots()?;
        // podman puts every name of an image into the archive.
        let wanted = wanted.and_then(|text| Name::parse_reference(text).ok());
        let wanted = wanted.map(|name| name.qualified());
        let is_wanted = |entry: &RootEntry| {
            let own = entry.name.as_ref().map(Name::qualified);
            wanted.is_some() && own == wanted
        };
        if entries.iter().any(is_wanted) {
            entries.retain(is_wanted);
        }
        if let [image] = images {
            for entry in entries.iter_mut().filter(|entry| entry.name.is_none()) {
                entry.texts.insert(0, image.id.hex());
            }
        }
        let place = self.fetched.len();
        let first = self.roots.len();
        // Entries of one image have one position.
        let mut positions: Vec<usize> = Vec::new();
        for inner in entries {
            let at = positions.iter().position(|known| *known == inner.position);
            let at = at.unwrap_or_else(|| {
                positions.push(inner.position);
                positions.len() - 1
            });
            let mut entry = inner.clone();
            entry.position = first + at;
            self.roots.push(entry);
            self.inner.push(Some((place, inner)));
        }
        self.fetched.push(fetched);
        Ok(())
    }

    /// Adds an image that the engine does not give out.
    fn add_failed(&mut self, image: &Listed, error: Error) {
        let error = Arc::new(error);
        let names: Vec<Option<&String>> = match &image.names[..] {
            [] => vec![None],
            names => names.iter().map(Some).collect(),
        };
        for name in names {
            let texts = name.into_iter().cloned().chain([image.id.hex()]);
            self.roots.push(RootEntry {
                position: self.roots.len(),
                name: name.and_then(|name| Name::parse_reference(name).ok()),
                texts: texts.collect(),
                child: None,
                error: Some(Arc::clone(&error)),
                ambiguous: None,
            });
            self.inner.push(None);
        }
    }
}

/// Returns the names by which an image is asked for.
fn asked(image: &Listed) -> Vec<String> {
    match &image.names[..] {
        [] => vec![image.id.to_string()],
        names => names.to_vec(),
    }
}

/// Drops names that are none, with a warning; the image stays, by its other names or its ID.
fn readable(mut image: Listed, env: &Env) -> Listed {
    image.names.retain(|name| {
        let checked = check_name(name);
        if let Err(error) = &checked {
            let place = format!("image {}", image.id);
            env.notes
                .warn("bad-name", place, error.message().to_owned());
        }
        checked.is_ok()
    });
    image
}

/// Says whether an error would meet every further request.
fn is_final(error: &Error) -> bool {
    matches!(error.code(), Code::Cancelled | Code::Io | Code::Limit)
        || error
            .places()
            .iter()
            .any(|place| place.starts_with("socket"))
}

/// The error of an image that the engine does not have.
fn missing(name: &str, engine: &Engine) -> Error {
    let message = format!("the engine has no image {}", quote(name));
    let error = engine.place(Error::new(Code::Missing, message));
    let Ok(images) = engine.images() else {
        return error;
    };
    let all: BTreeSet<String> = images.iter().flat_map(asked).collect();
    if all.is_empty() {
        return error.hint("the engine has no images at all; `--docker-host` names another engine");
    }
    let mut shown: Vec<String> = all.iter().take(NAMED).map(quote).collect();
    if all.len() > NAMED {
        shown.push(format!("and {} more", all.len() - NAMED));
    }
    error.hint(format!("available: {}", shown.join(", ")))
}

impl Bundle for EngineBundle {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.archives()?.roots.clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        entry.check()?;
        match self.part(entry)? {
            Some((bundle, inner)) => bundle.root(&inner),
            None => {
                let message = format!("there is no entry #{}", entry.position);
                Err(Error::new(Code::Missing, message).at(self.locator.clone()))
            }
        }
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        self.first(facts, |bundle| bundle.document(kind, facts, limit))
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        self.first(facts, |bundle| bundle.blob(facts))
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            parts: Some(self),
            list_notes: Some(self),
            states: Some(self),
            summaries: Some(self),
            partial: true,
            ..Extras::default()
        }
    }
}

impl Parts for EngineBundle {
    fn part(&self, entry: &RootEntry) -> Result<Option<(Arc<dyn Bundle>, RootEntry)>> {
        let archives = self.archives()?;
        let same = |other: &(usize, &RootEntry)| {
            other.1.position == entry.position && other.1.texts == entry.texts
        };
        let mut all = archives.roots.iter().enumerate();
        let found = all.find(same);
        let inner = found.and_then(|(at, _)| archives.inner[at].as_ref());
        Ok(inner.map(|(place, inner)| (Arc::clone(&archives.fetched[*place]), inner.clone())))
    }

    fn top_levels(&self, entries: &[RootEntry]) -> Vec<(String, TopLevel)> {
        let Ok(archives) = self.archives() else {
            return Vec::new();
        };
        let parts = entries.iter().filter_map(|entry| self.part(entry).ok()?);
        let holds = |bundle: &Arc<dyn Bundle>, parts: &[Arc<dyn Bundle>]| {
            parts.iter().any(|part| Arc::ptr_eq(part, bundle))
        };
        let parts: Vec<Arc<dyn Bundle>> = parts.map(|(bundle, _)| bundle).collect();
        archives
            .fetched
            .iter()
            .filter(|fetched| holds(fetched, &parts))
            .map(|fetched| (self.locator.clone(), fetched.top_level()))
            .filter(|(_, top_level)| *top_level != TopLevel::default())
            .collect()
    }
}

impl ListNotes for EngineBundle {
    fn bad_name(&self, entry: &RootEntry) -> Option<Error> {
        let (bundle, inner) = self.part(entry).ok()??;
        bundle.bad_name(&inner)
    }

    fn duplicate_listings(&self, entry: &RootEntry) -> Vec<String> {
        let part = self.part(entry).ok().flatten();
        part.map_or_else(Vec::new, |(bundle, inner)| {
            bundle.duplicate_listings(&inner)
        })
    }

    fn is_unusable_record(&self, _: &RootEntry) -> bool {
        false
    }
}

impl States for EngineBundle {
    /// The ID in the engine, which covers the content of an image. The copy of an archive has another
    /// state in each run.
    fn state(&self, entry: &RootEntry) -> Result<Option<String>> {
        let is_it = |image: &&Listed| {
            let named = entry.texts.iter().any(|text| image.names.contains(text));
            named || entry.texts.iter().any(|text| *text == image.id.hex())
        };
        if let Some(image) = self.images.iter().find(is_it) {
            return Ok(Some(image.id.to_string()));
        }
        match self.part(entry)? {
            Some((bundle, inner)) => bundle.state(&inner),
            None => Ok(None),
        }
    }
}

impl Summaries for EngineBundle {
    /// Asks for each image's description, and fetches no image.
    fn summaries(&self) -> Result<Vec<Summary>> {
        let mut all = Vec::new();
        for image in &self.images {
            self.env.check_cancelled()?;
            let described = self.engine.image(&image.id.to_string())?;
            let platform = described.and_then(|one| one.platform);
            let summary = |name: Option<String>| Summary {
                name,
                platform: platform.clone(),
                format: FormatId::DOCKER_ARCHIVE,
                digest: image.id.to_string(),
                size: image.size,
            };
            match &image.names[..] {
                [] => all.push(summary(None)),
                names => all.extend(names.iter().map(|name| {
                    let full = Name::parse_reference(name).map(|name| name.to_string());
                    summary(Some(full.unwrap_or_else(|_| name.clone())))
                })),
            }
        }
        Ok(all)
    }
}
