//! Image tags of places: the labels that identify an image, and the files that map tags to them.

use std::collections::BTreeMap;

use imgconv_format_aci::{DOCKER_IMAGE_ID, IMAGE_ID, identifier, manifest::to_map, platform};
use imgconv_model::{
    Algorithm, Code, Env, Error, Image, Limits, Name, Platform, Result, Root, Transport as _, quote,
};
use imgconv_stream::{digest, read_to_limit};
use imgconv_tags::{ImageTags, Labels};
use imgconv_transport_file::FILE;

use crate::read::node::{ImageNode, Node, platform_of};

/// Reads an image tags file, `-` for standard input.
///
/// # Errors
/// If the file can't be read, and the errors of [`ImageTags::parse`].
pub fn read(path: &str, env: &Env) -> Result<ImageTags> {
    let bundle = FILE.open(path, env)?;
    let entries = bundle.roots()?;
    let root = entries
        .first()
        .map(|entry| bundle.root(entry))
        .transpose()?;
    let Some(Root::Stream(blob)) = root else {
        return Err(Error::new(Code::Missing, "there is no file").at(quote(path)));
    };
    let limit = ("image_tags", env.limits.image_tags);
    let bytes = read_to_limit(blob.open()?, limit, "the file");
    let bytes = bytes.map_err(|error| error.at(quote(path)))?;
    ImageTags::parse(&bytes, &env.limits, path)
}

/// The labels that a tag of this root expands to: they distinguish its images from others of their
/// name, and are the same for all of its platforms.
///
/// - An image: `dockerimageid`, the ID that Docker shows for it, without `sha256:`: the digest of
///   its config; before there were configs, the id of its top v1 image. And its `os` and `arch`.
/// - An index: `dockerimageid` is the index's digest, which is what Docker shows where it stores
///   indexes. The user's labels `os` and `arch` decide which of its images is meant.
/// - An ACI: its own labels but `os` and `arch`: it has a version of its own.
///
/// `None` for a root that is no image.
pub fn identity(node: &Node, limits: &Limits) -> Option<Labels> {
    let id = |hex: String| (DOCKER_IMAGE_ID.to_owned(), hex);
    match node {
        Node::Opaque { .. } => None,
        Node::Index { child, .. } => Some(Labels::from([id(child.digest.hex())])),
        Node::Image(image) => match &image.aci {
            Some(aci) => {
                let mut labels = to_map(&aci.manifest.labels);
                labels.retain(|name, _| !["os", "arch"].contains(&&**name));
                Some(labels)
            }
            None => {
                let mut labels = platform_labels(&platform_of(image, None));
                labels.extend([id(image_id(image, limits)?)]);
                Some(labels)
            }
        },
    }
}

/// The hex digits of Docker's ID of an image.
fn image_id(image: &ImageNode, limits: &Limits) -> Option<String> {
    if let Some(config) = image.original("config") {
        // Docker uses this digest of the config, whatever digest the manifest has for it.
        return Some(digest(Algorithm::Sha256, &config.bytes).hex());
    }
    let manifest = image.original("manifest")?;
    imgconv_format_docker_v2s1::image_id(manifest, limits)
}

/// The labels `os` and `arch`, as far as appc has values for a platform.
fn platform_labels(platform: &Platform) -> Labels {
    let (os, arch) = platform::to_labels(platform).unwrap_or_default();
    let pairs = [("os", os), ("arch", arch)].into_iter();
    pairs
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Gives an image that becomes an ACI the label `dockerimageid` of its root, instead of the tag. A
/// version that an ACI had before it became this image stays.
pub fn identify(image: &mut Image, own: Option<&Name>, identity: &Labels) {
    let Some(id) = identity.get(DOCKER_IMAGE_ID) else {
        return;
    };
    image.annotations.insert(IMAGE_ID.to_owned(), id.clone());
    if let Some(name) = &mut image.name {
        name.tag = own.and_then(|own| own.tag.clone());
    }
}

/// The name of the image tags file beside the ACIs of a name.
pub(crate) fn file_name(name: &str) -> String {
    format!("{}.json", file_token(name))
}

/// The image tags file of a name in an appc site, relative to the root of the site.
pub fn site_path(name: &str) -> String {
    format!("aci/{name}/imagetags.json")
}

/// The image tags files of a run, by the names of the ACIs. Tags in a file that `read` returns
/// stay.
pub fn files(
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

/// A text as a part of a file name: `/`, and any character that a shell or another system could
/// misread, becomes `-`.
pub(crate) fn file_token(text: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || "._-+~".contains(c);
    text.chars()
        .map(|c| if valid(c) { c } else { '-' })
        .collect()
}
