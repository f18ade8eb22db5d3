//! Publishing: images as a static site that any web server can host, and every appc client can
//! discover (appc spec, discovery.md; image tags by pull request 584).
//!
//! Below the site's directory, which is the document root of one host, are the files that
//! [`discovery`](crate::discovery) describes, and `PATH/index.html`: the page that a client requests to
//! discover `HOST/PATH`.
//!
//! A page maps names and labels to URLs, and lists neither images nor tags: a tag that moves
//! changes the tags file alone.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use imgconv_format_aci::{Aci, identifier, platform};
use imgconv_model::{
    Algorithm, Code, Digest, Env, Error, FormatFamily, Name, Outcome as LossKind, Reader, Report,
    Result, Root, StreamFormat as _, quote, quote_path,
};
use imgconv_stream::HashingReader;
use imgconv_tags::ImageTags;

use crate::{
    discovery::{
        Links, PUBLIC_KEYS, Signer, Signing, all_labels, checked_url, page, read_small, stem,
    },
    site::{Site, aci_folder},
};
use imgconv_convert::{
    choose::{candidates::open_aci, dependencies},
    convert::convert,
    options::Options,
    outcome::{ImageOutcome, Outcome, SIGNATURE_REMOVED, TagsOutcome, WarningOutcome},
    read::{node::AciPart, root::SourceRoot, source::Source},
    refuse_same_place, tags,
};
use imgconv_locate::locator::Locator;

/// The user's options for publishing. [`Options::host`] is the site's host.
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    /// The options for the conversion of images that are no ACIs.
    pub conversion: Options,
    /// The options of the site.
    pub site: SiteOptions,
}

/// The options of a site.
#[derive(Clone, Debug, Default)]
pub struct SiteOptions {
    /// The URL of the site, where it is not `https://HOST`.
    pub url: Option<String>,
    /// A file of public keys, which the pages name for clients.
    pub public_keys: Option<PathBuf>,
    /// The signing of ACIs and image tags.
    pub signing: Option<Signing>,
}

/// Publishes images to a site, which may not exist yet. ACIs are published byte for byte, with the
/// signature beside them, unless an option asks for other ACIs; all other images are converted. Existing files of the site stay; only
/// files that differ are replaced, image tags and pages last.
///
/// # Errors
/// The first error. A new site appears as a whole or not at all; in an existing site nothing
/// changes before everything was read and converted.
pub fn publish(
    sources: &[Locator],
    directory: &Path,
    options: &PublishOptions,
    env: &Env,
) -> Result<Outcome> {
    dependencies::check(&options.conversion.deps)?;
    refuse_same_place(sources, directory)?;
    let host = options.conversion.host.as_deref();
    let changes = asks_for_changes(&options.conversion);
    let mut given = Vec::new();
    let mut renamed = Vec::new();
    let mut others = Vec::new();
    let mut kept = Vec::new();
    for locator in sources {
        let (acis, all) = Given::open(locator, env)?;
        if all && !changes && !acis.iter().any(|aci| aci.is_elsewhere(host)) {
            given.extend(acis);
            continue;
        }
        // A conversion keeps the bytes of the ACIs that need no other name.
        others.push(locator.clone());
        for aci in acis {
            match aci.is_elsewhere(host) {
                true => renamed.push((aci.text, aci.signature.is_some())),
                false => kept.push(aci),
            }
        }
    }
    let names = given.iter().map(|aci| &*aci.part.manifest.name);
    check_site(names, host, &options.site)?;
    if let (true, Some((source, _))) = (options.conversion.strict, renamed.first()) {
        let message = "`--strict` refuses: `--host` gives the ACI another name and image ID";
        return Err(Error::new(Code::Strict, message).at(source.clone()));
    }
    let mut outcome = Outcome {
        images: given.iter().map(|aci| aci.outcome(directory)).collect(),
        ..Outcome::default()
    };
    if options.conversion.dry_run {
        outcome.append(converted(&others, &renamed, directory, options, env)?);
        return Ok(outcome);
    }
    let publisher = Publisher::open(directory, host, &options.site, env)?;
    let site = &publisher.site;
    let mut acis = Vec::new();
    for (i, (given, image)) in given.iter().zip(&mut outcome.images).enumerate() {
        let staged = given.stage(site.temporary(&format!("given-{i}.aci")), image, env);
        acis.push(staged.map_err(|error| error.at(given.text.clone()))?);
    }
    let folder = site.temporary("converted");
    let mut converted = converted(&others, &renamed, &folder, options, env)?;
    for image in &mut converted.images {
        // An ACI that was restored exactly has its signature beside it.
        let file = PathBuf::from(&image.destination);
        let mut signature = signature_beside(&file)?;
        if signature.is_none()
            && let Some(aci) = kept.iter().find(|aci| aci.text == image.source)
        {
            signature = aci.signature_of(&file)?;
            if signature.is_none() && aci.signature.is_some() {
                lose_signature(image, options)?;
            }
        }
        acis.push(Staged {
            // The signature of the restored ACI does not fit, and the one on the site may be the same.
            anew: image.losses.iter().any(|loss| loss.field == "signature"),
            ..Staged::open(file, signature, env)?
        });
    }
    outcome.append(converted);
    publisher.publish(&acis, &mut outcome)?;
    Ok(outcome)
}

/// Reports the signature of an ACI that was written anew.
///
/// # Errors
/// [`Code::Strict`] if losses are forbidden.
fn lose_signature(image: &mut ImageOutcome, options: &PublishOptions) -> Result<()> {
    let why = "the ACI was written anew, and the signature is of the given file";
    if options.conversion.strict {
        let message = format!("`--strict` refuses: signature dropped: {why}");
        return Err(Error::new(Code::Strict, message).at(image.source.clone()));
    }
    let mut report = Report::default();
    report.lose("signature", LossKind::Dropped, why);
    image.add_report(report);
    Ok(())
}

/// Says whether options ask for other ACIs than the given ones, or for some of them. Then a conversion chooses and
/// writes the ACIs.
fn asks_for_changes(options: &Options) -> bool {
    let of_images = options.name.is_some() || !options.platforms.is_empty();
    let of_tags = options.image_tags || options.record.is_some();
    // An ACI has one layer, so merging changes nothing.
    let mut layers = options.layers;
    layers.squash = None;
    of_images || of_tags || layers != Options::default().layers
}

/// An ACI that is a complete file on the file system of a site.
#[derive(Clone, Debug)]
pub struct PublishedFile {
    /// The file, which stays where it is.
    pub path: PathBuf,
    /// True if a signature that the site has already does not fit the file.
    pub signs_anew: bool,
}

/// Publishes ACIs that are complete files on the file system of the site, and stay there.
///
/// # Errors
/// As [`publish`].
pub fn publish_files(
    files: &[PublishedFile],
    tags: Vec<(String, ImageTags)>,
    host: Option<&str>,
    directory: &Path,
    options: &SiteOptions,
    env: &Env,
) -> Result<()> {
    let publisher = Publisher::open(directory, host, options, env)?;
    let site = &publisher.site;
    let mut acis = Vec::new();
    for (
        i,
        PublishedFile {
            path: file,
            signs_anew,
        },
    ) in files.iter().enumerate()
    {
        env.check_cancelled()?;
        let staged = site.temporary(&format!("given-{i}.aci"));
        let failed = |error| Error::io(error, quote_path(file));
        // A hard link to the file, or a copy where the file system has no links.
        std::fs::hard_link(file, &staged)
            .or_else(|_| {
                std::fs::copy(file, &staged)?;
                File::open(&staged)?.sync_all()
            })
            .map_err(failed)?;
        acis.push(Staged {
            anew: *signs_anew,
            ..Staged::open(staged, signature_beside(file)?, env)?
        });
    }
    let mut outcome = Outcome {
        images: vec![ImageOutcome::default(); acis.len()],
        ..Outcome::default()
    };
    for (i, (name, tags)) in tags.into_iter().enumerate() {
        let file = site.temporary(&format!("tags-{i}.json"));
        let text = file.display().to_string();
        std::fs::write(&file, tags.to_bytes()).map_err(|error| Error::io(error, &*text))?;
        outcome
            .image_tags
            .push(TagsOutcome::new(&name, text, &tags));
    }
    publisher.publish(&acis, &mut outcome)
}

/// Converts images of other formats to ACIs in a directory. `renamed` are the ACIs whose names get the
/// site's host, each with whether it was signed.
fn converted(
    sources: &[Locator],
    renamed: &[(String, bool)],
    directory: &Path,
    options: &PublishOptions,
    env: &Env,
) -> Result<Outcome> {
    if sources.is_empty() {
        return Ok(Outcome::default());
    }
    let place = format!("aci:{}/", directory.display());
    let destination = Locator::destination_of(None, None, &place, &["aci"])?;
    let conversion = Options {
        signs_anew: options.site.signing.is_some(),
        ..options.conversion.clone()
    };
    let mut outcome = convert(sources, &destination, &conversion, env)?;
    for (source, signed) in renamed {
        let mut images = outcome.images.iter_mut();
        let Some(image) = images.find(|image| image.source == *source) else {
            continue;
        };
        let signature = match signed {
            true => ", and the signature that stood beside it is left out",
            false => "",
        };
        image.warnings.push(WarningOutcome {
            code: "renamed".to_owned(),
            at: "name".to_owned(),
            message: format!("`--host` gives the ACI another name and image ID{signature}"),
        });
    }
    Ok(outcome)
}

/// An image of a source that is an ACI already.
struct Given {
    /// The locator of the ACI, for messages and results.
    text: String,
    part: AciPart,
    /// The signature beside the file.
    signature: Option<Vec<u8>>,
}

impl Given {
    /// Opens a source. Returns its ACIs, and whether all of its images are ACIs.
    fn open(locator: &Locator, env: &Env) -> Result<(Vec<Self>, bool)> {
        let mut acis = Vec::new();
        let families = locator.transport.place().families;
        if !families.is_empty() && !families.contains(&FormatFamily::Aci) {
            return Ok((acis, false));
        }
        let source = Source::open_all(locator, env)?;
        let mut memo = source.memo();
        for entry in &source.entries {
            env.check_cancelled()?;
            // The conversion tells of an entry that can't be read.
            let root = source.root(entry, env).ok();
            if !matches!(root, Some(Root::Stream(blob)) if Aci.recognise(&blob)) {
                continue;
            }
            // Decoding verifies the signature, where trusted keys are required.
            let node = source.decode_entry(entry, env, &mut memo);
            let node = node.map_err(|error| error.at(source.entry_text(entry)))?;
            let Some(part) = node.aci().cloned() else {
                continue;
            };
            let root = SourceRoot::new(&source, entry, node);
            let signature = root.holder().signature(&env.limits)?;
            acis.push(Self {
                part,
                signature: signature.map(|signature| signature.bytes),
                text: root.text,
            });
        }
        let all = !acis.is_empty() && acis.len() == source.entries.len();
        Ok((acis, all))
    }

    /// Returns the signature, if a file has the bytes that the signature is about.
    fn signature_of(&self, file: &Path) -> Result<Option<Vec<u8>>> {
        if self.signature.is_none() {
            return Ok(None);
        }
        let sum = |reader: Reader| -> Result<Vec<Digest>> {
            let (digests, _) = HashingReader::new(reader, &[Algorithm::Sha256])
                .finish()
                .map_err(Error::from_io)?;
            Ok(digests)
        };
        let written = File::open(file).map_err(|error| Error::io(error, quote_path(file)))?;
        let same = sum(self.part.blob.open()?)? == sum(Box::new(written))?;
        Ok(self.signature.clone().filter(|_| same))
    }

    /// Says whether the ACI's name has another host than the site.
    fn is_elsewhere(&self, host: Option<&str>) -> bool {
        let own = self.part.manifest.name.split('/').next();
        host.is_some_and(|host| own != Some(host))
    }

    /// Describes the result, as far as it is known before the ACI is read.
    fn outcome(&self, directory: &Path) -> ImageOutcome {
        let manifest = &self.part.manifest;
        let version = manifest.label("version").map(str::to_owned);
        let name = Name::new(&*manifest.name, version);
        let platform = platform::from_labels(manifest.label("os"), manifest.label("arch"));
        ImageOutcome {
            source: self.text.clone(),
            destination: directory.display().to_string(),
            name: Some(name.to_string()),
            format: "aci".to_owned(),
            platform: Some(platform.to_string()),
            plan: Some("publish unchanged".to_owned()),
            ..ImageOutcome::default()
        }
    }

    /// Copies the ACI to a file, reads all of the copy, and keeps the signature.
    fn stage(&self, file: PathBuf, image: &mut ImageOutcome, env: &Env) -> Result<Staged> {
        let failed = |error| Error::io(error, quote_path(&file));
        let mut source = HashingReader::new(self.part.blob.open()?, &[Algorithm::Sha256]);
        let mut out = File::create_new(&file).map_err(failed)?;
        io::copy(&mut source, &mut out)
            .and_then(|_| out.sync_all())
            .map_err(failed)?;
        let staged = Staged::open(file, self.signature.clone(), env)?;
        let id = staged.part.read_to_end(&self.text, env)?;
        let (digests, _) = source.finish().map_err(Error::from_io)?;
        image.digest = digests.first().map(ToString::to_string);
        image.image_id = Some(id.image_id());
        image.plan = None;
        Ok(staged)
    }
}

/// An ACI that is about to be published: a complete file in the site's staging directory.
struct Staged {
    file: PathBuf,
    part: AciPart,
    /// The signature beside the source.
    signature: Option<Vec<u8>>,
    /// True if a signature that the site has already is not right.
    anew: bool,
}

impl Staged {
    fn open(file: PathBuf, signature: Option<Vec<u8>>, env: &Env) -> Result<Self> {
        let part = open_aci(&file.to_string_lossy(), env)?;
        let part = part.ok_or_else(|| {
            Error::new(Code::Unsupported, "the file is not an ACI").at(quote_path(&file))
        })?;
        Ok(Self {
            file,
            part,
            signature,
            anew: false,
        })
    }
}

/// Reads the signature beside a file that this run wrote; `None` if there is none.
fn signature_beside(file: &Path) -> Result<Option<Vec<u8>>> {
    let mut path = file.to_owned().into_os_string();
    path.push(".asc");
    let path = PathBuf::from(path);
    match path.symlink_metadata() {
        Ok(_) => read_small(&path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(error, quote_path(&path))),
    }
}

/// A site that files are being published to.
struct Publisher<'a> {
    site: Site,
    directory: &'a Path,
    /// The host that the user named.
    host: Option<&'a str>,
    options: &'a SiteOptions,
    env: &'a Env,
}

impl<'a> Publisher<'a> {
    fn open(
        directory: &'a Path,
        host: Option<&'a str>,
        options: &'a SiteOptions,
        env: &'a Env,
    ) -> Result<Self> {
        Ok(Self {
            site: Site::open(directory, env)?,
            directory,
            host,
            options,
            env,
        })
    }

    /// Puts ACIs, image tags and pages in their places, and makes them visible.
    fn publish(mut self, acis: &[Staged], outcome: &mut Outcome) -> Result<()> {
        self.site.lock(self.env)?;
        let names: BTreeSet<&str> = acis.iter().map(|aci| &*aci.part.manifest.name).collect();
        let host = host(names.iter().copied(), self.host)?;
        let url = url(&host, self.options)?;
        let key = self
            .options
            .signing
            .as_ref()
            .map(Signer::open)
            .transpose()?;
        if let Some(path) = &self.options.public_keys {
            self.site.put(PUBLIC_KEYS, &read_small(path)?)?;
        }
        for (aci, image) in acis.iter().zip(&mut outcome.images) {
            self.env.check_cancelled()?;
            let published = self.aci(aci, image, key.as_ref());
            published.map_err(|error| error.at(image.source.clone()))?;
        }
        for tags in &mut outcome.image_tags {
            self.tags(tags, key.as_ref())?;
        }
        for name in names {
            self.page(name, &url)?;
        }
        self.env.check_cancelled()?;
        self.site.commit()
    }

    /// Puts an ACI and its signature in their places.
    fn aci(&mut self, aci: &Staged, image: &mut ImageOutcome, key: Option<&Signer>) -> Result<()> {
        let site = &mut self.site;
        let manifest = &aci.part.manifest;
        let folder = aci_folder(&manifest.name);
        let path = format!("{folder}/{}.aci", stem(manifest)?);
        let signature_path = format!("{path}.asc");
        image.destination = self.directory.join(&path).display().to_string();
        let there = site.there(&path)?;
        if let Some(there) = &there
            && let Some(other) =
                open_aci(&there.path(), self.env).map_err(|error| error.at(quote(there.shown())))?
            && all_labels(&other.manifest) != all_labels(manifest)
        {
            let message = format!(
                "the site has another image with this file name, with the labels {:?}",
                all_labels(&other.manifest)
            );
            return Err(Error::new(Code::Ambiguous, message).at(quote(&path)));
        }
        let replaces = there.is_some();
        let signed = site.there(&signature_path)?.is_some();
        let changed = site.changes(&path, &aci.file)?;
        // A signature of the old bytes must not stand beside the new bytes, even for a moment.
        if changed && signed {
            site.remove(&signature_path)?;
        }
        if changed && replaces {
            image.warnings.push(WarningOutcome {
                code: "replaced".to_owned(),
                at: path.clone(),
                message: "the site had another file for the same name and labels".to_owned(),
            });
        }
        let signature = match (&aci.signature, key) {
            (Some(signature), _) => Some(signature.clone()),
            // The signature of unchanged bytes is still right.
            (None, _) if signed && !changed && !aci.anew => None,
            (None, Some(key)) => {
                let file = File::open(&aci.file);
                let file = file.map_err(|error| Error::io(error, quote_path(&aci.file)))?;
                Some(key.sign(Box::new(file))?)
            }
            (None, None) => None,
        };
        site.put_file(&path, aci.file.clone())?;
        match signature {
            Some(signature) => {
                site.put(&signature_path, &signature)?;
            }
            None if changed && signed => {
                let (code, message) = SIGNATURE_REMOVED;
                image.warnings.push(WarningOutcome {
                    code: code.to_owned(),
                    at: signature_path,
                    message: message.to_owned(),
                });
            }
            None => {}
        }
        Ok(())
    }

    /// Puts the image tags of a name in their place. Tags of the existing file stay.
    fn tags(&mut self, outcome: &mut TagsOutcome, key: Option<&Signer>) -> Result<()> {
        let site = &mut self.site;
        let path = tags::site_path(&outcome.name);
        let mut file = tags::read(&outcome.destination, self.env)?;
        if let Some(there) = site.there(&path)? {
            let at = |error: Error| error.at(quote(there.shown()));
            let old = tags::read(&there.path(), self.env).map_err(at)?;
            file = old.updated(&file).map_err(at)?;
        }
        let place = self.directory.join(&path).display().to_string();
        *outcome = TagsOutcome::new(&outcome.name, place, &file);
        let bytes = file.to_bytes();
        let signature_path = format!("{path}.asc");
        let signed = site.there(&signature_path)?.is_some();
        let changed = site.put(&path, &bytes)?;
        match key {
            Some(key) if changed || !signed => {
                let bytes = io::Cursor::new(bytes);
                site.put(&signature_path, &key.sign(Box::new(bytes))?)?;
            }
            None if changed && signed => site.remove(&signature_path)?,
            _ => {}
        }
        Ok(())
    }

    /// Puts the page of a name in its place. The templates are those of all ACIs of the name on the
    /// site; the templates with the most labels come first.
    fn page(&mut self, name: &str, url: &str) -> Result<()> {
        let site = &mut self.site;
        let mut links = Links::default();
        for (path, staged) in site.acis(&aci_folder(name))? {
            let Some(file) = site.listed(&path, staged)? else {
                continue;
            };
            let aci = open_aci(&file.path(), self.env);
            let aci = aci.map_err(|error| error.at(quote(file.shown())))?;
            let aci = aci.ok_or_else(|| {
                let message =
                    "the name of the file ends with `.aci`, but its content is not an ACI";
                Error::new(Code::Unsupported, message).at(quote(path))
            })?;
            links.add(&aci.manifest);
        }
        links.image_tags = site.will_have(&tags::site_path(name))?;
        links.public_keys = site.will_have(PUBLIC_KEYS)?;
        let path = match name.split_once('/') {
            Some((_, path)) => format!("{path}/index.html"),
            None => "index.html".to_owned(),
        };
        site.put(&path, page(&[(name, &links)], url).as_bytes())?;
        Ok(())
    }
}

/// Refuses, before any work, inputs that can't make a site: names of several hosts, and malformed
/// options. `names` are the names that images will have.
///
/// # Errors
/// [`Code::Usage`] for wrong options, and the errors of reading keys.
pub fn check_site<'n>(
    names: impl Iterator<Item = &'n str>,
    own: Option<&str>,
    options: &SiteOptions,
) -> Result<()> {
    let names: Vec<String> = names.filter_map(identifier::sanitise).collect();
    if own.is_some() || !names.is_empty() {
        url(&host(names.iter().map(String::as_str), own)?, options)?;
    }
    options.signing.as_ref().map(Signer::open).transpose()?;
    options.public_keys.as_deref().map(read_small).transpose()?;
    Ok(())
}

/// The one host that all names begin with.
fn host<'n>(names: impl Iterator<Item = &'n str>, own: Option<&str>) -> Result<String> {
    let mut hosts: BTreeSet<&str> = names.filter_map(|name| name.split('/').next()).collect();
    hosts.extend(own);
    let all: Vec<&str> = hosts.iter().copied().collect();
    let [host] = all[..] else {
        let message = format!(
            "a site is for one host, the images have: {}",
            all.join(", ")
        );
        return Err(Error::new(Code::Usage, message).hint(
            "publish them to one directory for each host, or give `--host HOST`: images get it in their \
             names",
        ));
    };
    check_host(host)?;
    Ok(host.to_owned())
}

/// Checks the host of a site.
///
/// # Errors
/// [`Code::Usage`] for a text that can't be one.
pub fn check_host(host: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    if !Name::is_ac_identifier(host) || !host.chars().all(word) {
        let message = format!("{} can't be the name of a host", quote(host));
        return Err(Error::new(Code::Usage, message).hint(
            "a host is lower-case letters, digits, `.` and `-`; a port belongs into `--url`",
        ));
    }
    Ok(())
}

/// The URL of the site, without a slash at its end.
fn url(host: &str, options: &SiteOptions) -> Result<String> {
    match options.url.as_deref() {
        None => Ok(format!("https://{host}")),
        Some(url) => checked_url(url),
    }
}
