//! Image tags of places and files: exporting, listing, resolving and fetching them.

use std::{collections::BTreeMap, path::Path};

use imgconv_convert::{
    read::{root::SourceRoot, search::decode_beside, source::Source},
    tags::{identity, read},
};
use imgconv_fs::metadata;
use imgconv_http::{Client, Request, Url};
use imgconv_locate::locator::{Locator, check_scheme};
use imgconv_model::{Code, Env, Error, Name, Result, quote};
use imgconv_tags::{ImageTags, Labels};
use imgconv_transport_appc::AppImage;
use serde::Serialize;

/// The image tags of one image name.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The image name; absent if the place names tags alone.
    pub name: Option<String>,
    /// The tags.
    pub tags: ImageTags,
    /// The tags that are left out because they lead to no image, such as that of a list of referrers.
    pub left_out: Vec<String>,
}

/// The tags of one name of a place.
#[derive(Default)]
struct Tagged {
    images: Vec<(String, Labels)>,
    /// The tags of documents that are no images.
    others: Vec<String>,
}

/// One tag of an image tags file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TagLine {
    /// The tag.
    pub tag: String,
    /// The tag of which this tag is an alias.
    pub alias: Option<String>,
    /// The labels that the tag resolves to.
    pub labels: Option<Labels>,
    /// The error of a tag that does not resolve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The resolved labels of a tag, with the labels that the user gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resolution {
    /// The tag and its aliases, in the order in which they were followed.
    pub chain: Vec<String>,
    /// The labels of the image.
    pub labels: Labels,
}

/// Makes the image tags of a place: one file for each image name, sorted by name. Artifacts and
/// images without a tag are left out; so are the tags of documents that are no images, as in a site that is published with
/// image tags. Layers are not read.
///
/// # Errors
/// [`Code::Missing`] if no image there has a tag, and the errors of the place or its images.
pub fn export(locator: &Locator, env: &Env) -> Result<Vec<Exported>> {
    let source = Source::open_all(locator, env)?;
    let mut found: BTreeMap<Option<String>, Tagged> = BTreeMap::new();
    for (entry, node) in decode_beside(&source, env)?.found {
        let root = SourceRoot::new(&source, &entry, node);
        let own = root.node.as_image();
        let own = own.and_then(|image| image.image.name.clone());
        let name = entry.name.or(own).unwrap_or_default();
        let Some(tag) = name.tag else { continue };
        // An index without images, such as a list of referrers, has a digest, and no ACI has the digest as a label.
        let has_images = !root.is_tagged_document() && root.node.images().next().is_some();
        let labels = has_images.then(|| identity(&root.node, &env.limits));
        let tagged = found.entry(name.repository).or_default();
        match labels.flatten() {
            Some(labels) => tagged.images.push((tag, labels)),
            None => tagged.others.push(tag),
        }
    }
    found.retain(|_, tagged| !tagged.images.is_empty());
    if found.is_empty() {
        let error = Error::new(Code::Missing, "no image of the place has a tag");
        return Err(error.at(locator.to_string()));
    }
    found
        .into_iter()
        .map(|(name, Tagged { images, others })| {
            let place = quote(name.as_deref().unwrap_or_default());
            let tags = ImageTags::of(images).map_err(|error| error.at(place))?;
            Ok(Exported {
                name,
                tags,
                left_out: others,
            })
        })
        .collect()
}

/// Lists every tag of a file, sorted, with the labels that it resolves to.
pub fn list_tags(tags: &ImageTags) -> Vec<TagLine> {
    let line = |(tag, meaning): (&str, Result<&Labels>)| {
        let alias = tags.alias(tag).map(str::to_owned);
        TagLine {
            tag: tag.to_owned(),
            alias,
            labels: meaning.as_ref().ok().copied().cloned(),
            error: meaning.err().map(|error| error.message().to_owned()),
        }
    };
    tags.all().into_iter().map(line).collect()
}

/// Resolves a tag and merges its labels with the user's labels, which have priority.
///
/// # Errors
/// The errors of [`imgconv_tags::merge`].
pub fn resolve_tag(tags: &ImageTags, tag: &str, given: &Labels) -> Result<Resolution> {
    let chain = tags.resolve(tag)?.chain;
    Ok(Resolution {
        chain: chain.into_iter().map(str::to_owned).collect(),
        labels: imgconv_tags::merge(Some(tags), Some(tag), given)?,
    })
}

/// Fetches image tags: from a URL, from a local file, or for an image name by discovery, which
/// verifies their signature.
///
/// # Errors
/// If the image tags can't be fetched, and the errors of [`ImageTags::parse`].
pub fn fetch(from: &str, env: &Env) -> Result<ImageTags> {
    if from.starts_with("https://") || from.starts_with("http://") {
        return of_url(&Url::parse(from)?, env);
    }
    let is_path = from == "-" || metadata(Path::new(from))?.is_some();
    // The form of a name that `convert` needs, too, because a name can't be taken for a path then.
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
