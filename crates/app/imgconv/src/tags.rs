//! Image tags of places: which labels tell an image, and the files that map tags to them.

use std::{collections::BTreeMap, io::Read as _, path::Path};

use imgconv_format_aci::{DOCKER_IMAGE_ID, IMAGE_ID, identifier, platform};
use imgconv_http::{Client, Request, Url};
use imgconv_model::{
    Algorithm, Code, Env, Error, Image, Limits, Name, Platform, Result, Root, Transport as _, quote,
};
use imgconv_stream::digest;
use imgconv_tags::{ImageTags, Labels};
use imgconv_transport_appc::AppImage;
use imgconv_transport_file::FILE;
use serde::Serialize;

use crate::{
    locator::{Locator, check_scheme},
    run::platform_of,
    source::{ImageNode, Node, Source},
    stream::file_token,
};

/// The image tags of one image name.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The image name; absent if the place names tags alone.
    pub name: Option<String>,
    /// The tags.
    pub tags: ImageTags,
}

/// One tag of an image tags file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TagLine {
    /// The tag.
    pub tag: String,
    /// The tag that it is another word for.
    pub alias: Option<String>,
    /// The labels that it means.
    pub labels: Option<Labels>,
    /// Why it means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a tag means, with the labels that the user gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolution {
    /// The tag and its aliases, in the order in which they were followed.
    pub chain: Vec<String>,
    /// The labels of the image.
    pub labels: Labels,
}

/// Makes the image tags of a place: a file for each image name there, sorted by name. Artifacts
/// and images without a tag have no part in it. Layers are not read.
///
/// # Errors
/// [`Code::Missing`] if nothing there has a tag, and what is wrong with the place or its images.
pub fn export(locator: &Locator, env: &Env) -> Result<Vec<Exported>> {
    let source = Source::open_all(locator, env)?;
    let mut found: BTreeMap<Option<String>, Vec<(String, Labels)>> = BTreeMap::new();
    for (entry, node) in source.decode(env)? {
        let own = match &*node {
            Node::Image(image) => image.image.name.clone(),
            Node::Index { .. } | Node::Opaque { .. } => None,
        };
        let name = entry.name.or(own).unwrap_or_default();
        if let (Some(tag), Some(labels)) = (name.tag, identity(&node, &env.limits)) {
            let tags = found.entry(name.repository).or_default();
            tags.push((tag, labels));
        }
    }
    if found.is_empty() {
        return Err(Error::new(Code::Missing, "no image here has a tag").at(locator.to_string()));
    }
    found
        .into_iter()
        .map(|(name, tags)| {
            let place = quote(name.as_deref().unwrap_or_default());
            let tags = ImageTags::of(tags).map_err(|error| error.at(place))?;
            Ok(Exported { name, tags })
        })
        .collect()
}

/// Lists every tag of a file, sorted, with what it means.
pub fn list_tags(tags: &ImageTags) -> Vec<TagLine> {
    let line = |(tag, meaning): (&str, Result<&Labels>)| {
        let alias = tags.alias(tag).map(str::to_owned);
        let (labels, error) = match meaning {
            Ok(labels) => (Some(labels.clone()), None),
            Err(error) => (None, Some(error.message().to_owned())),
        };
        TagLine {
            tag: tag.to_owned(),
            alias,
            labels,
            error,
        }
    };
    tags.all().into_iter().map(line).collect()
}

/// Resolves a tag and merges what it means with labels that the user gave, who wins.
///
/// # Errors
/// Those of [`imgconv_tags::merge`].
pub fn resolve_tag(tags: &ImageTags, tag: &str, given: &Labels) -> Result<Resolution> {
    let chain = tags.resolve(tag)?.chain;
    Ok(Resolution {
        chain: chain.into_iter().map(str::to_owned).collect(),
        labels: imgconv_tags::merge(Some(tags), Some(tag), given)?,
    })
}

/// Reads an image tags file, `-` for standard input.
///
/// # Errors
/// If it can't be read, and those of [`ImageTags::parse`].
pub fn read(path: &str, env: &Env) -> Result<ImageTags> {
    ImageTags::parse(&read_bytes(path, env)?, &env.limits, path)
}

/// Fetches image tags: of a URL, of a file that is there, or of an image name by discovery, which
/// verifies their signature.
///
/// # Errors
/// If they can't be had, and those of [`ImageTags::parse`].
pub fn fetch(from: &str, env: &Env) -> Result<ImageTags> {
    if from.starts_with("https://") || from.starts_with("http://") {
        return of_url(&Url::parse(from)?, env);
    }
    let is_path = from == "-" || Path::new(from).exists();
    // As `convert` wants it, where a name can't be taken for a path.
    if let Some(name) = from.strip_prefix("appc:").filter(|_| !is_path) {
        let image: AppImage = name.strip_prefix("//").unwrap_or(name).parse()?;
        if image.tag.is_some() || !image.labels.is_empty() {
            let message = format!("{} has a tag or labels", quote(from));
            return Err(Error::new(Code::Usage, message).hint(format!(
                "image tags are of a name, `{}`; `imgconv tags resolve` looks a tag up",
                image.name
            )));
        }
        return imgconv_transport_appc::fetch_image_tags(&image.name, env);
    }
    if let Some(path) = from.strip_prefix("file:").filter(|_| !is_path) {
        return read(path.strip_prefix("//").unwrap_or(path), env);
    }
    if !is_path {
        check_scheme(from)?;
    }
    if is_path || !Name::reads_as_ac_identifier(from) {
        return read(from, env);
    }
    imgconv_transport_appc::fetch_image_tags(from, env)
}

fn of_url(url: &Url, env: &Env) -> Result<ImageTags> {
    let response = Client::new(env)?.send(&Request::get(url))?;
    if response.status() != 200 {
        return Err(response.into_failure());
    }
    let bytes = response.into_bytes(("image_tags", env.limits.image_tags))?;
    ImageTags::parse(&bytes, &env.limits, &quote(url.as_str()))
}

fn read_bytes(path: &str, env: &Env) -> Result<Vec<u8>> {
    let bundle = FILE.open(path, env)?;
    let entries = bundle.roots()?;
    let root = entries
        .first()
        .map(|entry| bundle.root(entry))
        .transpose()?;
    let Some(Root::Stream(blob)) = root else {
        return Err(Error::new(Code::Missing, "there is no file").at(quote(path)));
    };
    let mut bytes = Vec::new();
    // One byte more than the limit tells that there are more.
    let most = env.limits.image_tags.saturating_add(1);
    let reader = blob.open()?;
    let read = reader.take(most).read_to_end(&mut bytes);
    read.map_err(|error| Error::io(error, quote(path)))?;
    if bytes.len() as u64 >= most {
        let limit = env.limits.image_tags;
        return Err(Limits::exceeded("image_tags", limit, "the file").at(quote(path)));
    }
    Ok(bytes)
}

/// The labels that a tag of this root expands to: what tells its images from the others of their
/// name, and is the same for all of its platforms.
///
/// - An image: `dockerimageid`, the ID that Docker shows for it, without `sha256:`: the digest of
///   its config; before there were configs, the id of its top v1 image. And its `os` and `arch`.
/// - An index: `dockerimageid` is the index's digest, which is what Docker shows where it stores
///   indexes. The user's labels `os` and `arch` decide which of its images is meant.
/// - An ACI: its own labels but `os` and `arch`: it has a version of its own.
///
/// `None` for what is no image.
pub(crate) fn identity(node: &Node, limits: &Limits) -> Option<Labels> {
    let id = |hex: String| (DOCKER_IMAGE_ID.to_owned(), hex);
    match node {
        Node::Opaque { .. } => None,
        Node::Index { child, .. } => Some(Labels::from([id(child.digest.hex())])),
        Node::Image(image) => match &image.aci {
            Some(aci) => {
                let labels = aci.manifest.labels.iter();
                let own = labels.filter(|label| !["os", "arch"].contains(&&*label.name));
                Some(
                    own.map(|label| (label.name.clone(), label.value.clone()))
                        .collect(),
                )
            }
            None => {
                let mut labels = platform_labels(&platform_of(image, None));
                labels.extend([id(image_id(image, limits)?)]);
                Some(labels)
            }
        },
    }
}

/// The hex digits by which Docker knows an image.
fn image_id(image: &ImageNode, limits: &Limits) -> Option<String> {
    if let Some(config) = image.original("config") {
        // Whatever names the config, Docker takes this digest of it.
        return Some(digest(Algorithm::Sha256, &config.bytes).hex());
    }
    let manifest = image.original("manifest")?;
    imgconv_format_docker_v2s1::image_id(manifest, limits)
}

/// The labels `os` and `arch`, as far as appc has words for a platform.
fn platform_labels(platform: &Platform) -> Labels {
    let (os, arch) = platform::to_labels(platform).unwrap_or_default();
    let pairs = [("os", os), ("arch", arch)].into_iter();
    pairs
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Gives an image that becomes an ACI the label `dockerimageid` of its root, in the place of the
/// tag. The version that an ACI had before it became this image is its own, and stays.
pub(crate) fn identify(image: &mut Image, own: Option<&Name>, identity: &Labels) {
    let Some(id) = identity.get(DOCKER_IMAGE_ID) else {
        return;
    };
    image.annotations.insert(IMAGE_ID.to_owned(), id.clone());
    if let Some(name) = &mut image.name {
        name.tag = own.and_then(|own| own.tag.clone());
    }
}

/// The name of the image tags file that stands beside ACIs of a name.
pub(crate) fn file_name(name: &str) -> String {
    format!("{}.json", file_token(name))
}

/// The image tags of what a run wrote, by the names of the ACIs. Tags that a file `read` returns
/// already has stay.
pub(crate) fn files(
    tagged: &[(String, String, Labels)],
    read: &dyn Fn(&str) -> Result<Option<ImageTags>>,
) -> Result<Vec<(String, ImageTags)>> {
    let mut by_name: BTreeMap<String, Vec<(String, Labels)>> = BTreeMap::new();
    for (repository, tag, labels) in tagged {
        let name = identifier::sanitise(repository).unwrap_or_default();
        let tags = by_name.entry(name).or_default();
        tags.push((tag.clone(), labels.clone()));
    }
    by_name
        .into_iter()
        .map(|(name, tags)| {
            let place = |error: Error| error.at(format!("image tags of {}", quote(&name)));
            let new = ImageTags::of(tags).map_err(place)?;
            let tags = match read(&name).map_err(place)? {
                Some(old) => old.updated(&new).map_err(place)?,
                None => new,
            };
            Ok((name, tags))
        })
        .collect()
}
