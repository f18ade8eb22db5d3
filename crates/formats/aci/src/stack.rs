//! One ACI for each layer, linked by dependencies: the pure parts of `--no-squash`.
//!
//! Each level depends on the level below it; only the top level has the app. A level's rootfs holds
//! all files that its layer changed: hard links are written with all their names, so none points to
//! a file of a lower level. A directory that the layer changed is written even if the layer only
//! implies it: otherwise it would keep the mode, owner and time of the directory that the layer
//! deleted there. A level that deletes paths lists all remaining paths in `pathWhitelist`. The
//! caller merges the layers one after the other, takes a [`Snapshot`] before each, and writes the
//! levels base first, because each has the image ID of the level below.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_json::{Map, Value, canonical};
use imgconv_layer::{Node, Tree};
use imgconv_model::{
    Algorithm, Code, Digest, Document, Error, Image, Limits, Name, Original, Result, RunConfig,
    quote,
};
use imgconv_stream::Hasher;
use imgconv_tar::EntryKind;

use crate::{
    decode::{DOCKER_IMAGE_ID, FORMAT, IMAGE_ID, MANIFEST_KIND},
    identifier::sanitise,
    manifest::VERSION,
    platform,
};

/// Returns the name of a level below the top: the image's name, `-layer-` and the level's number, 1
/// for the base. The label `version` (or `dockerimageid`) and the image ID in the dependency
/// distinguish levels of different images.
///
/// # Errors
/// [`Code::BadName`] if the name can't be made an AC Identifier.
pub fn level_name(name: &str, number: usize) -> Result<String> {
    let level = sanitise(name).map(|name| format!("{name}-layer-{number}"));
    level.ok_or_else(|| {
        let message = format!(
            "{} holds nothing that the name of an ACI can hold",
            quote(name)
        );
        Error::new(Code::BadName, message)
    })
}

/// Splits an image into one image for each layer, base first. Lower images have a name, a platform
/// and a layer; the top image has all other fields.
///
/// # Errors
/// [`Code::Usage`] if the image has no name, [`Code::Limit`] if there are more layers than the
/// limit of the depth of dependencies, [`Code::Unsupported`] for a platform that appc has no name
/// for.
pub fn split(image: &Image, limits: &Limits) -> Result<Vec<Image>> {
    let most = limits.aci_deps_depth;
    if image.layers.len() as u64 > most.saturating_add(1) {
        let what = format!("a chain of {} ACIs", image.layers.len());
        return Err(Limits::exceeded("aci_deps_depth", most, what).hint("squash the image"));
    }
    let name = image.name.clone().unwrap_or_default();
    let Name {
        repository,
        tag,
        digest: _, // see `write_name`
    } = &name;
    let repository = repository.as_deref().ok_or_else(|| {
        Error::new(Code::Usage, "an ACI needs a name, and the image has none")
            .hint("`--name REFERENCE` gives it one")
    })?;
    let labels = labels(image)?;
    let image_id = image.annotations.get_key_value(IMAGE_ID);
    let image_id = image_id.map(|(key, value)| (key.clone(), value.clone()));
    let mut levels = Vec::new();
    let (top, lower) = match image.layers.split_last() {
        Some((top, lower)) => (vec![top.clone()], lower),
        None => (Vec::new(), &[][..]),
    };
    for (i, layer) in lower.iter().enumerate() {
        let name = level_name(repository, i + 1)?;
        // The manifest is an original, so that no field is added that only a whole image has.
        let mut manifest: Map<String, Value> = Map::new();
        for (key, value) in [
            ("acKind", "ImageManifest"),
            ("acVersion", VERSION),
            ("name", &name),
        ] {
            manifest.insert(key.into(), value.into());
        }
        if labels.as_array().is_some_and(|labels| !labels.is_empty()) {
            manifest.insert("labels".into(), labels.clone());
        }
        levels.push(Image {
            name: Some(Name {
                repository: Some(name),
                tag: tag.clone(),
                digest: None,
            }),
            platform: image.platform.clone(),
            config: RunConfig::default(),
            layers: vec![layer.clone()],
            annotations: tag
                .iter()
                .map(|tag| ("org.opencontainers.image.version".to_owned(), tag.clone()))
                .chain(image_id.clone())
                .collect(),
            originals: vec![Original {
                format: FORMAT,
                role: "manifest",
                document: Document {
                    kind: MANIFEST_KIND.to_owned(),
                    bytes: canonical(&manifest.into()).into(),
                },
            }],
            ..Image::default()
        });
    }
    levels.push(Image {
        layers: top,
        ..image.clone()
    });
    Ok(levels)
}

/// Makes a level depend on the level below, whose image ID is known after it is written.
///
/// # Errors
/// [`Code::Unsupported`] for a platform that appc has no name for.
pub fn link(upper: &mut Image, lower: &Image, image_id: &Digest) -> Result<()> {
    let labels = labels(lower)?;
    let name = lower.name.clone().unwrap_or_default();
    let mut dependency = Map::new();
    let image_name = name.repository.unwrap_or_default();
    dependency.insert("imageName".into(), image_name.into());
    dependency.insert("imageID".into(), image_id.image_id().into());
    if labels.as_array().is_some_and(|labels| !labels.is_empty()) {
        dependency.insert("labels".into(), labels);
    }
    set(upper, "dependencies", vec![Value::from(dependency)].into());
    Ok(())
}

/// Restricts a level to the paths of its merged tree.
///
/// # Errors
/// [`Code::Unsupported`] for a path that is not UTF-8: a manifest can't list it.
pub fn set_whitelist(level: &mut Image, tree: &Tree) -> Result<()> {
    let mut paths = Vec::with_capacity(tree.len());
    for (path, _) in tree.iter() {
        if path.is_empty() {
            continue;
        }
        let text = str::from_utf8(&path).map_err(|_| {
            let message = format!(
                "the path {} is not UTF-8, `pathWhitelist` can't hold it",
                quote(&path)
            );
            Error::new(Code::Unsupported, message).hint("squash the image")
        })?;
        paths.push(Value::from(format!("/{text}")));
    }
    if paths.is_empty() {
        // An empty list would allow all paths.
        paths.push("/".into());
    }
    set(level, "pathWhitelist", paths.into());
    Ok(())
}

/// Returns the labels that distinguish a level from those of other images.
fn labels(image: &Image) -> Result<Value> {
    let (os, arch) = platform::to_labels(&image.platform)?;
    let version = image.name.as_ref().and_then(|name| name.tag.clone());
    let labels = [
        ("arch", arch),
        (DOCKER_IMAGE_ID, image.annotations.get(IMAGE_ID).cloned()),
        ("os", os),
        ("version", version),
    ];
    let known = labels.iter();
    let known = known.filter_map(|(key, value)| Some((*key, value.as_deref()?)));
    Ok(pairs(known))
}

fn set(image: &mut Image, key: &str, value: Value) {
    // Canonical text is UTF-8: it is made of strings.
    let text = String::from_utf8_lossy(&canonical(&value)).into_owned();
    image.extensions.insert((FORMAT, key.to_owned()), text);
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let pair = |(name, value): (&str, &str)| {
        let fields = [("name", name), ("value", value)];
        let fields = fields.map(|(key, value)| (key.to_owned(), Value::from(value)));
        Value::from(fields.into_iter().collect::<Map<_, _>>())
    };
    pairs.map(pair).collect::<Vec<_>>().into()
}

/// The paths of a merged tree before a layer was applied to it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(BTreeMap<Vec<u8>, Digest>);

/// The changes of a layer to a merged tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Every path that is new or differs, and every other name of a file that differs. With their
    /// parents, these paths are the level's own rootfs.
    pub paths: BTreeSet<Vec<u8>>,
    /// True if a path was removed that no new path replaces by itself.
    pub deletes: bool,
}

impl Snapshot {
    /// Records a tree: a digest for each path. The contents are compared by their keys, so the tree
    /// must continue with the same content store.
    pub fn of(tree: &Tree) -> Self {
        Self(
            tree.iter()
                .map(|(path, node)| (path, print(&node)))
                .collect(),
        )
    }

    /// Compares the tree with the recorded one.
    pub fn changes(&self, tree: &Tree) -> Changes {
        let mut changes = Changes::default();
        let mut inodes = BTreeSet::new();
        for (path, node) in tree.iter() {
            if self.0.get(&path) != Some(&print(&node)) {
                if node.links > 1 {
                    inodes.insert(node.inode);
                }
                changes.paths.insert(path);
            }
        }
        if !inodes.is_empty() {
            let linked = tree.iter().filter(|(_, node)| inodes.contains(&node.inode));
            changes.paths.extend(linked.map(|(path, _)| path));
        }
        changes.deletes = self.0.keys().any(|path| {
            if path.is_empty() || tree.get(path).is_some() {
                return false;
            }
            // All paths below a former directory are gone anyway.
            let mut parent = &path[..];
            loop {
                let end = parent.iter().rposition(|byte| *byte == b'/');
                let Some(end) = end else { return true };
                parent = &path[..end];
                if let Some(node) = tree.get(parent) {
                    return node.kind == EntryKind::Directory;
                }
            }
        });
        changes
    }
}

/// Returns a digest of all fields of a node except its name.
fn print(node: &Node<'_>) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let numbers = [
        node.kind as u64,
        u64::from(node.mode),
        u64::from(node.uid),
        u64::from(node.gid),
        node.mtime.seconds.cast_unsigned(),
        u64::from(node.mtime.nanos),
        node.size,
        node.content,
        u64::from(node.links),
        u64::from(node.device.0),
        u64::from(node.device.1),
    ];
    for number in numbers {
        add(&number.to_le_bytes());
    }
    for text in [node.uname, node.gname, node.link] {
        add(text);
    }
    for (key, value) in node.pax {
        add(key);
        add(value);
    }
    hasher.finish()
}
