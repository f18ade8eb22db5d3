//! Writing an archive that Docker 1.10 and all later engines load.
//!
//! The archive has the form of `manifest.json` alone: `<hex>.json` for a config, `<hex>.tar` for a
//! layer, each once. It has no `repositories` and no directory of a v1 image, which only Docker
//! before 1.10 needs, and no OCI layout. Members are sorted by name, so that the same images make
//! the same bytes.
//!
//! Layers whose digests and sizes are known before are written to their places in the archive
//! (`draft.rs`); all other blobs wait in files of their own until the names of all members are known.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read, Write},
    sync::{Arc, OnceLock},
};

use imgconv_fs::{Stage, Staged};
use imgconv_json::{Map, Object, Value, canonical};
use imgconv_manifest::media_type::WHOLE_ARCHIVE;
use imgconv_model::{
    Algorithm, BlobWriter, BundleSink, Code, Digest, Document, Env, Error, ExpectedBlobs, Name,
    Publication, Report, Result, SinkExtras, TopLevel, quote,
};
use imgconv_stream::digest;
use imgconv_tar::{END, Output, Pack, file_head, padding};

use crate::{
    draft::{At, Draft, Expected, is_layer},
    files::MANIFEST_FILE,
    manifest::ARCHIVE_IMAGE,
    members::{blob_digest, entry},
    naming::familiar,
};

/// An archive that is written.
#[derive(Debug)]
pub struct ArchiveSink {
    output: Output,
    /// The archive with the layers that are at their places.
    draft: OnceLock<Arc<Draft>>,
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
            draft: OnceLock::new(),
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
            draft: OnceLock::new(),
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
            let bytes = self.stage().read(&blob.path, limit, &what)?;
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

    fn stage(&self) -> &Arc<Stage> {
        self.output.stage()
    }

    /// Returns the place and size of a layer that is in the archive already.
    fn drafted(&self, digest: &Digest) -> Option<(u64, u64)> {
        self.draft.get()?.written(digest)
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
        let bytes = self.stage().read(&blob.path, limit, &what)?;
        Image::parse(&bytes, &self.env.limits, &what)
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

    /// Lists all members but the list of images, sorted by name, with their sizes. The list of images
    /// comes after them all, because no hexadecimal digit comes after its first letter.
    fn members(&self, images: &[Image], staged: &Blobs) -> Result<Vec<(String, Digest, u64)>> {
        let members = names(images).into_iter().map(|(name, digest)| {
            let drafted = self.drafted(&digest).map(|(_, size)| size);
            let waits = || staged.get(&digest).map(|staged| staged.size);
            let size = drafted.or_else(waits);
            let size = size.ok_or_else(|| Stage::never_written(&digest))?;
            Ok((name, digest, size))
        });
        members.collect()
    }

    /// Writes every member, in order. A written layer is no longer needed, and may be large.
    fn compose(
        &self,
        pack: &mut Pack<'_>,
        members: &[(String, Digest, u64)],
        staged: &Blobs,
        list: &[u8],
    ) -> Result<()> {
        for (name, digest, size) in members {
            if let (Some(draft), Some((offset, _))) = (self.draft.get(), self.drafted(digest))
                && is_layer(name)
            {
                pack.file(name, draft.open(offset, *size)?, *size)?;
                continue;
            }
            pack.file(name, self.waiting(digest, staged)?, *size)?;
            self.done_with(name, digest, staged);
        }
        pack.file(MANIFEST_FILE, list, list.len() as u64)
    }

    /// Completes an archive in which layers are at their places: everything else is written around
    /// them.
    fn fill(
        &self,
        draft: &Draft,
        members: &[(String, Digest, u64)],
        staged: &Blobs,
        list: &[u8],
    ) -> Result<()> {
        let (file, name) = draft.file();
        let failed = |error| Error::io(error, self.locator());
        let mut at = At { file, offset: 0 };
        for (name, digest, size) in members {
            at.write_all(&file_head(name, *size)?).map_err(failed)?;
            if is_layer(name) && draft.written(digest).is_some() {
                at.offset += size;
            } else {
                self.copy(self.waiting(digest, staged)?, &mut at)?;
                self.done_with(name, digest, staged);
            }
            at.write_all(&END[..padding(*size)]).map_err(failed)?;
        }
        let size = list.len() as u64;
        for bytes in [
            &*file_head(MANIFEST_FILE, size)?,
            list,
            &END[..padding(size)],
            &END,
        ] {
            at.write_all(bytes).map_err(failed)?;
        }
        // A layer that was begun and given up may have left bytes behind the end.
        file.set_len(at.offset).map_err(failed)?;
        self.output.publish(file, name)
    }

    fn copy(&self, mut source: impl Read, at: &mut At<'_>) -> Result<()> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            self.env.check_cancelled()?;
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => at.write_all(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                Err(error) => Err(error),
            }
            .map_err(|error| Error::io(error, self.locator()))?;
        }
    }

    /// Publishes a whole archive that was written as a blob.
    fn publish_whole(&self, digest: &Digest, staged: &Blobs) -> Result<()> {
        let blob = staged.get(digest);
        let blob = blob.ok_or_else(|| Stage::never_written(digest))?;
        if self.receiver.is_some() {
            let message = "an engine gets images, and not the bytes of an archive";
            return Err(Error::new(Code::Unsupported, message).at(self.locator()));
        }
        let file = self.stage().open(&blob.path)?;
        match self.output.has_places() {
            true => self.output.publish(&file, &blob.path),
            false => self.output.write(|pack| pack.whole(file)),
        }
    }

    /// Opens a blob that waits in a file of its own. A config with the bytes of a layer waits in the
    /// place of the layer.
    fn waiting(&self, digest: &Digest, staged: &Blobs) -> Result<Box<dyn Read>> {
        let draft = self.draft.get().zip(self.drafted(digest));
        match (staged.get(digest), draft) {
            (Some(blob), _) => Ok(Box::new(self.stage().open(&blob.path)?)),
            (None, Some((draft, (offset, size)))) => Ok(Box::new(draft.open(offset, size)?)),
            (None, None) => Err(Stage::never_written(digest)),
        }
    }

    /// Removes the file of a layer that is in the archive now. A config of the same digest, if there
    /// is one, was written before.
    fn done_with(&self, name: &str, digest: &Digest, staged: &Blobs) {
        if let Some(blob) = staged.get(digest).filter(|_| is_layer(name)) {
            self.stage().remove(&blob.path);
        }
    }
}

/// Returns the archive that all publications are, if they are a whole archive.
fn whole(publications: &[Publication]) -> Result<Option<Digest>> {
    let is_whole = |one: &&Publication| one.root.kind == WHOLE_ARCHIVE;
    let Some(first) = publications.iter().find(is_whole) else {
        return Ok(None);
    };
    let digest = first.root.digest;
    if publications
        .iter()
        .all(|one| is_whole(&one) && one.root.digest == digest)
    {
        return Ok(Some(digest));
    }
    let message = "an archive that is restored as a whole can't hold other images too";
    Err(Error::new(Code::Unsupported, message).hint("convert the images one by one"))
}

/// Returns the names of all members but the list of images, with their digests.
fn names(images: &[Image]) -> BTreeMap<String, Digest> {
    let mut members = BTreeMap::new();
    for image in images {
        members.insert(config_name(&image.config), image.config);
        for layer in &image.layers {
            members.insert(layer_name(layer), *layer);
        }
    }
    members
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
    /// Reads a root document; `what` names it in messages.
    fn parse(bytes: &[u8], limits: &imgconv_model::Limits, what: &str) -> Result<Self> {
        let value = imgconv_json::parse(bytes, limits, what)?;
        let object = Object::new(&value, "").map_err(|error| error.at(what))?;
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
        Ok(Self {
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
        let drafted = self.drafted(digest);
        Ok(drafted.is_some_and(|(_, own)| own == size) || self.stage().has(digest, size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        self.output.stage().writer()
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras {
            // A pipe and a compressed archive are written from start to end.
            places: self.output.has_places().then_some(self),
            ..SinkExtras::default()
        }
    }

    /// The place has no list of entry points with fields of its own.
    fn set_top_level(&mut self, _: TopLevel) {}

    /// An entry has the names of its image, so its bytes are known only now.
    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        let locator = self.locator();
        let at = |error: Error| error.at(locator.clone());
        self.env.check_cancelled()?;
        let staged = self.staged();
        if let Some(whole) = whole(publications).map_err(at)? {
            self.publish_whole(&whole, &staged)?;
            return Ok(vec![locator; publications.len()]);
        }
        let (images, placed) = self.images(publications, &staged).map_err(at)?;
        for digest in images
            .iter()
            .flat_map(|one| one.layers.iter().chain([&one.config]))
        {
            if !staged.contains_key(digest) && self.drafted(digest).is_none() {
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
        let members = self.members(&images, &staged)?;
        if let Some(receiver) = &self.receiver {
            let size = staged.values().map(|blob| blob.size).sum();
            let sent = self.to_send(&images, &staged).map_err(at)?;
            let mut send = |output: &mut dyn Write| {
                self.output
                    .send(output, |pack| self.compose(pack, &members, &staged, &list))
            };
            receiver.receive(&sent, size, &mut send).map_err(at)?;
            return Ok(places);
        }
        match self.draft.get() {
            Some(draft) if draft.fits(&members)? => self.fill(draft, &members, &staged, &list)?,
            _ => self
                .output
                .write(|pack| self.compose(pack, &members, &staged, &list))?,
        }
        Ok(places)
    }
}

impl ExpectedBlobs for ArchiveSink {
    fn expect(&self, documents: &[Document], blobs: &BTreeMap<Digest, Option<u64>>) -> Result<()> {
        if self.draft.get().is_some() {
            return Ok(());
        }
        let roots = documents.iter().filter(|one| one.kind == ARCHIVE_IMAGE);
        let what = "an expected document";
        let images = roots.map(|one| Image::parse(&one.bytes, &self.env.limits, what));
        // A document that can't be read is refused when it is written.
        let Ok(images) = images.collect::<Result<Vec<Image>>>() else {
            return Ok(());
        };
        let members = names(&images).into_iter().map(|(name, digest)| {
            let expected = Expected {
                digest,
                size: blobs.get(&digest).copied().flatten(),
                is_layer: is_layer(&name),
            };
            (name, expected)
        });
        let most = self.env.limits.image_bytes;
        let draft = Draft::new(self.stage(), &members.collect(), most)?;
        let _ = self.draft.set(draft);
        Ok(())
    }

    fn writer_of(&self, digest: &Digest) -> Result<Box<dyn BlobWriter>> {
        let placed = self.draft.get().and_then(|draft| draft.writer(digest));
        placed.map_or_else(|| self.writer(), Ok)
    }
}
