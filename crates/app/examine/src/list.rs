//! Every image of a place, in one line each.

use std::collections::BTreeMap;

use imgconv_model::{Child, Env, Name, Result, Summary};
use serde::Serialize;

use imgconv_convert::read::{
    node::{ImageNode, Node, platform_of},
    root::reference_text,
    source::Source,
    unknown,
};
use imgconv_locate::locator::Locator;

/// One image, index child or artifact.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listed {
    /// The name at the place.
    pub name: Option<String>,
    /// The tag in the name, or an ACI's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The labels of an ACI that name neither version nor platform.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The platform; null for documents that are no images.
    pub platform: Option<String>,
    /// The format, or the kind of document; `missing` for an index entry that is not stored.
    pub format: String,
    /// The digest of the root document; null for a plain file.
    pub digest: Option<String>,
    /// The image ID of docker: the digest of the config. An ACI's image ID is not known before the
    /// whole ACI is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The stored bytes: of the root document, the config and the layers; of the file.
    pub size: u64,
    /// The locator of the file or folder that holds the image, where the place holds several of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// The error if the image can't be read, or the fault of an invalid name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Lists the images that a locator means.
///
/// # Errors
/// If the place itself can't be read; an image that can't be read has its error in its line.
/// Irregularities of the place are added to `env.notes`.
pub fn list(locator: &Locator, env: &Env) -> Result<Vec<Listed>> {
    // An empty place has an empty list.
    let source = Source::open_listing(locator, env)?;
    env.notes.take_warnings(source.opened());
    if let Some(summaries) = source.bundle.summaries()? {
        return Ok(summaries.into_iter().map(summary_line).collect());
    }
    let mut lines = Vec::new();
    for (entry, node) in source.decode_each(env) {
        let name = entry.name.as_ref();
        match node {
            Ok(node) => {
                let before = lines.len();
                let images = node.images();
                lines.extend(images.map(|(image, listed)| image_line(image, listed, env)));
                other_lines(&node, &mut lines);
                let bad_name = source.bundle.bad_name(entry);
                let held_by = source.held_by(entry)?;
                for line in &mut lines[before..] {
                    if line.name.is_none() {
                        line.name = name.map(ToString::to_string);
                        line.tag = name.and_then(|name| name.tag.clone());
                    }
                    line.held_by.clone_from(&held_by);
                    line.error = bad_name.as_ref().map(ToString::to_string);
                }
            }
            Err(error) => lines.push(Listed {
                name: name.map(ToString::to_string),
                tag: name.and_then(|name| name.tag.clone()),
                format: "unreadable".to_owned(),
                digest: entry.child.as_ref().map(|child| child.digest.to_string()),
                size: entry.child.as_ref().map_or(0, |child| child.size),
                error: Some(error.to_string()),
                ..Listed::default()
            }),
        }
    }
    Ok(lines)
}

fn summary_line(summary: Summary) -> Listed {
    let tag = summary.name.as_deref().map(Name::parse_reference);
    Listed {
        tag: tag.and_then(|name| name.ok()?.tag),
        name: summary.name,
        platform: summary.platform.map(|platform| platform.to_string()),
        format: summary.format.to_string(),
        digest: Some(summary.digest),
        size: summary.size,
        ..Listed::default()
    }
}

fn image_line(node: &ImageNode, listed: Option<&Child>, env: &Env) -> Listed {
    let blobs = node.image.layers.iter().map(|layer| &layer.blob);
    let sizes = blobs.filter_map(|blob| blob.facts.size.or_else(|| blob.bytes.stored_size()));
    let layers: u64 = sizes.sum();
    let documents: u64 = match (&node.child, &node.aci) {
        (Some(child), _) => {
            let config = node.original("config");
            child.size + config.map_or(0, |config| config.bytes.len() as u64)
        }
        (None, Some(aci)) => aci.blob.facts.size.unwrap_or(0),
        (None, None) => 0,
    };
    let platform = platform_of(node, listed);
    let name = node.image.name.as_ref();
    let name = name.filter(|_| node.child.is_none());
    let labels = node.aci.iter().flat_map(|aci| &aci.manifest.labels);
    let labels = labels.filter(|label| !["version", "os", "arch"].contains(&&*label.name));
    Listed {
        name: name.map(reference_text),
        tag: name.and_then(|name| name.tag.clone()),
        labels: labels
            .map(|label| (label.name.clone(), label.value.clone()))
            .collect(),
        platform: Some(platform.to_string()),
        format: node.format.id().to_string(),
        image_id: node
            .config_digest(&env.limits)
            .map(|digest| digest.to_string()),
        digest: node.child.as_ref().map(|child| child.digest.to_string()),
        size: layers + documents,
        ..Listed::default()
    }
}

/// Lists documents that are no images, and index entries that are not stored.
fn other_lines(node: &Node, lines: &mut Vec<Listed>) {
    for (node, _) in node.walk() {
        match node {
            Node::Image(_) => {}
            Node::Index {
                index, children, ..
            } => {
                let all = index.children.iter().zip(children);
                let missing = all.filter(|(_, child)| child.is_none());
                lines.extend(missing.map(|(listed, _)| Listed {
                    platform: listed.platform.as_ref().map(ToString::to_string),
                    format: "missing".to_owned(),
                    digest: Some(listed.digest.to_string()),
                    size: listed.size,
                    ..Listed::default()
                }));
            }
            Node::Opaque { opaque, child } => {
                let blobs: u64 = opaque.blobs.iter().map(|blob| blob.size).sum();
                let is_blob = unknown::is_blob(opaque, child);
                lines.push(Listed {
                    format: opaque.what.clone(),
                    digest: Some(child.digest.to_string()),
                    size: blobs + if is_blob { 0 } else { child.size },
                    ..Listed::default()
                });
            }
        }
    }
}
