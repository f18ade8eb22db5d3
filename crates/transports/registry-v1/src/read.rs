//! A repository as a bundle: a tag leads to an id, and the chain of that id is the image.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_json::{Value, parse};
use imgconv_manifest::v1_image::{Chain, check_id, is_id};
use imgconv_model::{
    Blob, Bundle, Code, Digest, Document, Env, Error, Extras, Facts, Limits, Listing, Name,
    NamedBlobs, Result, Root, RootEntry, quote,
};
use imgconv_registry::Location;

use crate::{images::Images, layer::Layer, session::Session};

/// The default tag.
const LATEST: &str = "latest";

/// A repository that is read.
#[derive(Debug)]
pub(crate) struct Repository {
    session: Arc<Session>,
    images: Images,
    /// The ids of the resolved tags: a tag that moves during a run means one image to the end.
    resolved: Mutex<BTreeMap<String, String>>,
    /// The images whose unverified layers were reported.
    reported: Mutex<BTreeSet<String>>,
}

impl Repository {
    /// Connects at the first read.
    pub(crate) fn open(location: Location, env: &Env) -> Result<Self> {
        let session = Arc::new(Session::new(location, env)?);
        Ok(Self {
            images: Images::new(&session),
            session,
            resolved: Mutex::default(),
            reported: Mutex::default(),
        })
    }

    fn location(&self) -> &Location {
        &self.session.location
    }

    fn path(&self, rest: &str) -> String {
        format!("repositories/{}/{rest}", self.location().repository)
    }

    /// Resolves a tag, once.
    fn tag(&self, tag: &str) -> Result<String> {
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = resolved.get(tag) {
            return Ok(id.clone());
        }
        let limits = &self.session.env.limits;
        let asked = self
            .session
            .get(&self.path(&format!("tags/{tag}")), None)
            .and_then(|response| response.into_bytes(("layout_file", limits.layout_file)));
        let id = match asked {
            Ok(bytes) => match parse(&bytes, limits, "tag") {
                Ok(Value::String(id)) => id,
                // Some registries send the bare id.
                _ => String::from_utf8_lossy(&bytes).trim().to_owned(),
            },
            // Not every registry knows single tags.
            Err(error) if error.code() == Code::Missing => {
                let listed = self.tags().unwrap_or_default();
                match listed.into_iter().find(|(listed, _)| listed == tag) {
                    Some((_, Some(id))) => id,
                    _ => return Err(error.at(format!("tag {}", quote(tag)))),
                }
            }
            Err(error) => return Err(error),
        };
        check_id(&id).map_err(|error| error.at(format!("tag {}", quote(tag))))?;
        resolved.insert(tag.to_owned(), id.clone());
        Ok(id)
    }

    /// Lists every tag with its id; no id where the registry lists another thing than a text.
    fn tags(&self) -> Result<Vec<(String, Option<String>)>> {
        let limits = &self.session.env.limits;
        let what = "list of tags";
        let response = self.session.get(&self.path("tags"), None)?;
        let bytes = response.into_bytes(("root_index", limits.root_index))?;
        let Value::Object(tags) = parse(&bytes, limits, what)? else {
            let message = "the tags are not an object of names and ids";
            return Err(Error::new(Code::BadManifest, message).at(what));
        };
        if tags.len() as u64 > limits.registry_tags {
            let what = "the number of tags";
            return Err(Limits::exceeded(
                "registry_tags",
                limits.registry_tags,
                what,
            ));
        }
        let mut found: Vec<(String, Option<String>)> = tags
            .into_iter()
            .map(|(tag, id)| (tag, id.as_str().map(str::to_owned)))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Makes the entry of a listed tag; what is wrong with the tag belongs to its entry alone.
    fn entry(&self, position: usize, tag: &str, id: Option<String>) -> RootEntry {
        let id = id.unwrap_or_default();
        let is_tag = Name::is_tag(tag);
        let checked = match is_tag {
            true => check_id(&id).map_err(|error| error.at(format!("tag {}", quote(tag)))),
            false => {
                let message = format!(
                    "the registry lists {}, which is not a valid tag",
                    quote(tag)
                );
                Err(Error::new(Code::BadName, message))
            }
        };
        let name = is_tag.then(|| self.location().name(tag));
        let mut texts = vec![match is_tag {
            true => tag.to_owned(),
            false => quote(tag),
        }];
        texts.extend(name.as_ref().map(ToString::to_string));
        if checked.is_ok() {
            let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
            resolved.entry(tag.to_owned()).or_insert(id);
        }
        RootEntry {
            position,
            name,
            texts,
            child: None,
            error: checked.err().map(Arc::new),
            ambiguous: None,
        }
    }

    /// Reads the chain of an entry, which has a tag.
    fn chain(&self, entry: &RootEntry) -> Result<Chain> {
        entry.check()?;
        let tag = entry.name.as_ref().and_then(|name| name.tag.as_deref());
        let Some(tag) = tag else {
            return Err(Error::new(Code::Missing, "an image here has a tag"));
        };
        self.images.chain(&self.tag(tag)?)
    }

    /// Warns about layers whose bytes no checksum protects, once for each image.
    fn report(&self, chain: &Chain) -> Result<()> {
        let Some(top) = chain.ids.last() else {
            return Ok(());
        };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if !reported.insert(top.clone()) {
            return Ok(());
        }
        let (mut unverified, mut tar_sums) = (0, 0);
        for id in &chain.ids {
            let Some(step) = self.images.step(id)? else {
                continue;
            };
            if step.checksum().is_none() {
                unverified += 1;
                tar_sums += u64::from(step.has_tar_sum());
            }
        }
        if unverified > 0 {
            let all = chain.ids.len();
            let mut message =
                format!("the registry has no SHA-256 checksum for {unverified} of {all} layers");
            if tar_sums > 0 {
                message.push_str(&format!(
                    ", for {tar_sums} of them a tar sum, which is not computed"
                ));
            }
            message.push_str("; their bytes are not verified");
            let notes = &self.session.env.notes;
            notes.warn("unverified-layers", format!("image {top}"), message);
        }
        Ok(())
    }

    fn absent(&self, facts: &Facts) -> Error {
        let what = match &facts.digest {
            Some(digest) => format!("{digest} can't be found"),
            None => "data without a name can't be found".to_owned(),
        };
        let message = format!("{what}: a registry of version 1 finds data by the ids of images");
        self.session.at(Error::new(Code::Missing, message))
    }
}

impl Bundle for Repository {
    fn locator(&self) -> String {
        self.location().to_string()
    }

    /// The image that the locator means, `latest` without a tag.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        let tag = self.location().tag.as_deref().unwrap_or(LATEST);
        let found = self.tag(tag).and_then(|id| {
            let entry = self.entry(0, tag, Some(id));
            self.resolve(&entry)
        });
        Ok(vec![found.map_err(|error| self.session.at(error))?])
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        let read = || -> Result<Root> {
            let chain = self.chain(entry)?;
            let found = chain.child().digest;
            if let Some(child) = entry.child.as_ref().filter(|child| child.digest != found) {
                let what = "chain of the image, which has changed on the registry";
                return Err(Error::mismatch(what, child.digest, found));
            }
            self.report(&chain)?;
            Ok(Root::Document(chain.document))
        };
        read().map_err(|error| self.session.at(error))
    }

    fn document(&self, _: &str, facts: &Facts, _: (&'static str, u64)) -> Result<Document> {
        Err(self.absent(facts))
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        Err(self.absent(facts))
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            listing: Some(self),
            members: Some(self),
            ..Extras::default()
        }
    }
}

impl Listing for Repository {
    fn listing(&self) -> Result<Vec<RootEntry>> {
        if self.location().tag.is_some() {
            return self.roots();
        }
        let tags = self.tags().map_err(|error| self.session.at(error))?;
        let entry = |(position, (tag, id)): (usize, (String, Option<String>))| {
            self.entry(position, &tag, id)
        };
        Ok(tags.into_iter().enumerate().map(entry).collect())
    }

    fn resolve(&self, entry: &RootEntry) -> Result<RootEntry> {
        let mut entry = entry.clone();
        if entry.child.is_none() {
            let chain = self.chain(&entry);
            let chain = chain.map_err(|error| self.session.at(error))?;
            entry.child = Some(chain.child());
        }
        Ok(entry)
    }
}

impl NamedBlobs for Repository {
    /// Returns the layer of an image.
    fn member(&self, name: &str, _: &Facts) -> Result<Blob> {
        let find = || -> Result<Blob> {
            let id = name
                .strip_prefix("images/")
                .and_then(|rest| rest.strip_suffix("/layer"))
                .filter(|id| is_id(id));
            let Some(id) = id else {
                let message = format!("{} is not the layer of an image", quote(name));
                return Err(Error::new(Code::BadName, message));
            };
            let Some(step) = self.images.step(id)? else {
                return Err(Error::new(Code::Missing, format!("there is no image {id}")));
            };
            let size = step.size;
            let facts = Facts { digest: None, size };
            let bytes = Arc::new(Layer::new(&self.session, id, step));
            Ok(Blob { facts, bytes })
        };
        find().map_err(|error| self.session.at(error))
    }

    fn layer_of(&self, _: &Digest) -> Result<Option<(String, Blob)>> {
        Ok(None)
    }
}
