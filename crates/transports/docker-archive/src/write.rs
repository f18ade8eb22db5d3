//! Writing an archive that Docker 1.10 and all later engines load.
//!
//! The archive has the form of `manifest.json` alone: `<hex>.json` for a config, `<hex>.tar` for a
//! layer, each once. It has no `repositories` and no directory of a v1 image, which only Docker
//! before 1.10 needs, and no OCI layout. Members are sorted by name, so that the same images make
//! the same bytes.

use std::{collections::BTreeMap, fmt, io::Write, sync::Arc};

use imgconv_fs::{Stage, Staged};
use imgconv_json::{Map, Object, Value, canonical};
use imgconv_model::{
    Algorithm, BlobWriter, BundleSink, Code, Digest, Env, Error, Name, Publication, Report, Result,
    SinkExtras, TopLevel, quote,
};
use imgconv_stream::{digest, read_to_limit};
use imgconv_tar::{Output, Pack};

use crate::{
    files::MANIFEST_FILE,
    manifest::ARCHIVE_IMAGE,
    members::{blob_digest, entry},
    naming::familiar,
};

/// An archive that is written.
#[derive(Debug)]
pub struct ArchiveSink {
    output: Output,
    env: Env,
    /// The receiver of the archive; `None` for a file or standard output.
    receiver: Option<Arc<dyn Receiver>>,
}

/// A program that takes an archive while it is written, such as an engine that loads its images.
pub trait Receiver: fmt::Debug + Send + Sync {
    /// Takes an archive. `send` writes the archive once, of `size` bytes or a little more; an error
    /// of `send` means that the archive is not whole and must not be used.
    ///
    /// # Errors
    /// If the images are not there afterwards.
    fn receive(
        &self,
        images: &[SentImage],
        size: u64,
        send: &mut (dyn FnMut(&mut dyn Write) -> Result<()> + Send),
    ) -> Result<()>;
}

/// An image of an archive that a [`Receiver`] takes.
#[derive(Clone, Debug)]
pub struct SentImage {
    /// The digest of the config, the image ID.
    pub config: Digest,
    /// The diff IDs of the layers as the config lists them, lowest first; empty if the config has no
    /// such list.
    pub diff_ids: Vec<String>,
    /// The names, in docker's form.
    pub tags: Vec<String>,
}

impl ArchiveSink {
    /// Opens a destination: a file, which is replaced if it exists, or `-` for standard output.
    ///
    /// # Errors
    /// [`Code::Denied`] if something other than a file is there, [`Code::Io`] if the directory
    /// can't be written.
    pub fn create(path: &str, env: &Env) -> Result<Self> {
        Ok(Self {
            output: Output::create("docker-archive", path, env)?,
            env: env.clone(),
            receiver: None,
        })
    }

    /// Makes an archive that is sent to a receiver. `locator` names the destination in messages.
    ///
    /// # Errors
    /// [`Code::Io`] if the temporary directory can't be written.
    pub fn sent(locator: &str, receiver: Arc<dyn Receiver>, env: &Env) -> Result<Self> {
        Ok(Self {
            output: Output::streamed(locator, env)?,
            env: env.clone(),
            receiver: Some(receiver),
        })
    }

    /// Describes the images for a receiver.
    fn to_send(&self, images: &[Image], staged: &Blobs) -> Result<Vec<SentImage>> {
        let describe = |image: &Image| {
            let what = format!("config {}", image.config);
            let blob = staged
                .get(&image.config)
                .ok_or_else(|| Stage::never_written(&image.config))?;
            let limit = ("config", self.env.limits.config);
            let bytes = read_to_limit(self.stage().open(&blob.path)?, limit, &what)?;
            let value = imgconv_json::parse(&bytes, &self.env.limits, &what)?;
            let listed = value.get("rootfs").and_then(|one| one.get("diff_ids"));
            let listed = listed.and_then(Value::as_array).into_iter().flatten();
            Ok(SentImage {
                config: image.config,
                diff_ids: listed
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                tags: image.tags.clone(),
            })
        };
        images.iter().map(describe).collect()
    }

    fn stage(&self) -> &Stage {
        self.output.stage()
    }

    fn staged(&self) -> BTreeMap<Digest, Staged> {
        self.stage().list().into_iter().collect()
    }

    /// Reads the root document of a publication.
    fn image(&self, publication: &Publication, staged: &Blobs) -> Result<Image> {
        let root = &publication.root;
        if root.kind != ARCHIVE_IMAGE {
            let message = format!(
                "a docker archive holds single images, and this is of type {}",
                quote(&root.kind)
            );
            return Err(Error::new(Code::Unsupported, message).hint("choose one with `--platform`"));
        }
        let what = format!("document {}", root.digest);
        let limit = ("archive_json", self.env.limits.archive_json);
        let blob = staged
            .get(&root.digest)
            .ok_or_else(|| Stage::never_written(&root.digest))?;
        let bytes = read_to_limit(self.stage().open(&blob.path)?, limit, &what)?;
        let value = imgconv_json::parse(&bytes, &self.env.limits, &what)?;
        let object = Object::new(&value, "").map_err(|error| error.at(&*what))?;
        let blob = |key: &str, name: &str| {
            blob_digest(name).ok_or_else(|| {
                let message = format!("{} is no name of a blob", quote(name));
                object.bad(key, message)
            })
        };
        let mut more = object.map().clone();
        for key in ["Config", "RepoTags", "Layers"] {
            more.shift_remove(key);
        }
        Ok(Image {
            config: blob("Config", object.string("Config")?)?,
            layers: object
                .string_list("Layers")?
                .iter()
                .map(|name| blob("Layers", name))
                .collect::<Result<_>>()?,
            more,
            tags: Vec::new(),
        })
    }

    /// Returns the name that a publication gets, in docker's form.
    fn tag(&self, publication: &Publication) -> Result<Option<String>> {
        let given = publication.reference.as_deref();
        let name = match given {
            Some(text) => Some(Name::parse_reference(text)?),
            None => publication.name.clone(),
        };
        if let (
            Some(text),
            Some(Name {
                digest: Some(_), ..
            }),
        ) = (given, &name)
        {
            let message = format!("{} holds a digest, and `RepoTags` has tags", quote(text));
            return Err(Error::new(Code::BadName, message).hint("write it as `REPOSITORY:TAG`"));
        }
        // The caller reports the losses: a tag without a repository, a digest.
        let full = name.and_then(|name| name.to_reference(&mut Report::default()));
        Ok(full.as_deref().map(familiar))
    }

    /// Groups the publications: each image once, with all its names.
    fn images(
        &self,
        publications: &[Publication],
        staged: &Blobs,
    ) -> Result<(Vec<Image>, Vec<Placed>)> {
        let mut images: Vec<Image> = Vec::new();
        let mut placed: Vec<Placed> = Vec::with_capacity(publications.len());
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut known: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut by_content: BTreeMap<(Digest, Vec<Digest>), usize> = BTreeMap::new();
        for publication in publications {
            let at = match known.get(&publication.root.digest) {
                Some(at) => *at,
                None => {
                    let image = self.image(publication, staged)?;
                    let content = (image.config, image.layers.clone());
                    let at = *by_content.entry(content).or_insert(images.len());
                    if at == images.len() {
                        images.push(image);
                    }
                    known.insert(publication.root.digest, at);
                    at
                }
            };
            let tag = self.tag(publication)?;
            if let Some(tag) = &tag {
                let is_new = !names.contains_key(tag);
                let first = *names.entry(tag.clone()).or_insert(at);
                if first != at {
                    let message = format!(
                        "two images would get the name {}: their configs are {} and {}",
                        quote(tag),
                        images[first].config,
                        images[at].config
                    );
                    return Err(Error::new(Code::Ambiguous, message)
                        .hint("convert them one by one, each with `--name` or a reference"));
                }
                if is_new {
                    images[at].tags.push(tag.clone());
                }
            }
            placed.push((at, tag));
        }
        Ok((images, placed))
    }

    /// Writes every member, sorted by name.
    fn compose(
        &self,
        pack: &mut Pack<'_>,
        images: &[Image],
        staged: &Blobs,
        list: &[u8],
    ) -> Result<()> {
        let mut members: BTreeMap<String, Option<Digest>> = BTreeMap::new();
        members.insert(MANIFEST_FILE.to_owned(), None);
        for image in images {
            members.insert(config_name(&image.config), Some(image.config));
            for layer in &image.layers {
                members.insert(layer_name(layer), Some(*layer));
            }
        }
        for (name, digest) in &members {
            let Some(digest) = digest else {
                pack.file(name, list, list.len() as u64)?;
                continue;
            };
            let blob = staged
                .get(digest)
                .ok_or_else(|| Stage::never_written(digest))?;
            pack.file(name, self.stage().open(&blob.path)?, blob.size)?;
            // The written layer is no longer needed, and may be large. A config of the same digest,
            // if there is one, was written before.
            if name.ends_with(".tar") {
                self.stage().remove(&blob.path);
            }
        }
        Ok(())
    }
}

/// All written blobs.
type Blobs = BTreeMap<Digest, Staged>;

/// The image of a publication, by its position in the list, and its name.
type Placed = (usize, Option<String>);

/// One entry of `manifest.json`.
#[derive(Clone, Debug)]
struct Image {
    config: Digest,
    layers: Vec<Digest>,
    tags: Vec<String>,
    /// The other fields of the entry.
    more: Map<String, Value>,
}

impl Image {
    fn value(&self) -> Value {
        let mut object = Map::new();
        object.insert("Config".into(), Value::from(config_name(&self.config)));
        let tags = match &self.tags[..] {
            [] => Value::Null,
            tags => Value::from(tags.to_vec()),
        };
        object.insert("RepoTags".into(), tags);
        let layers: Vec<String> = self.layers.iter().map(layer_name).collect();
        object.insert("Layers".into(), Value::from(layers));
        object.extend(self.more.clone());
        Value::Object(object)
    }
}

fn config_name(digest: &Digest) -> String {
    format!("{}.json", digest.hex())
}

fn layer_name(digest: &Digest) -> String {
    format!("{}.tar", digest.hex())
}

impl BundleSink for ArchiveSink {
    fn locator(&self) -> String {
        self.output.locator().to_owned()
    }

    /// Only blobs that were written in this run count: an existing archive is replaced.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(self.stage().has(digest, size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        self.output.stage().writer()
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras::default()
    }

    /// The place has no list of entry points with fields of its own.
    fn set_top_level(&mut self, _: TopLevel) {}

    /// An entry has the names of its image, so its bytes are known only now.
    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        let locator = self.locator();
        let at = |error: Error| error.at(locator.clone());
        self.env.check_cancelled()?;
        let staged = self.staged();
        let (images, placed) = self.images(publications, &staged).map_err(at)?;
        for digest in images
            .iter()
            .flat_map(|one| one.layers.iter().chain([&one.config]))
        {
            if !staged.contains_key(digest) {
                return Err(at(Stage::never_written(digest)));
            }
        }
        let values: Vec<Value> = images.iter().map(Image::value).collect();
        let roots: Vec<(Digest, u64)> = values
            .iter()
            .map(|value| {
                let bytes = canonical(value);
                (digest(Algorithm::Sha256, &bytes), bytes.len() as u64)
            })
            .collect();
        let mut places = Vec::with_capacity(placed.len());
        for (publication, (place, tag)) in publications.iter_mut().zip(placed) {
            (publication.root.digest, publication.root.size) = roots[place];
            places.push(match tag {
                Some(tag) => format!("{locator}:{tag}"),
                None => format!("{locator}:@{}", publication.root.digest),
            });
        }
        let list = canonical(&Value::Array(values));
        let limit = self.env.limits.archive_json;
        if list.len() as u64 > limit {
            let what = format!("{} of {} bytes", entry(MANIFEST_FILE), list.len());
            return Err(at(imgconv_model::Limits::exceeded(
                "archive_json",
                limit,
                what,
            )));
        }
        let Some(receiver) = &self.receiver else {
            self.output
                .write(|pack| self.compose(pack, &images, &staged, &list))?;
            return Ok(places);
        };
        let size = staged.values().map(|blob| blob.size).sum();
        let sent = self.to_send(&images, &staged).map_err(at)?;
        let mut send = |output: &mut dyn Write| {
            self.output
                .send(output, |pack| self.compose(pack, &images, &staged, &list))
        };
        receiver.receive(&sent, size, &mut send).map_err(at)?;
        Ok(places)
    }
}
