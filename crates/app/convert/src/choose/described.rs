//! The description of a root file system, from a file that the user names: an OCI image config or the
//! manifest of an ACI.

use std::{path::Path, sync::Arc};

use imgconv_format_aci::{self as aci, manifest as aci_manifest};
use imgconv_fs::open_regular;
use imgconv_json::Value;
use imgconv_locate::catalog;
use imgconv_manifest::docker_config;
use imgconv_model::{
    Code, Document, Env, Error, FormatId, Image, Notes, Original, Outcome, Report, Result,
    quote_path,
};
use imgconv_stream::read_to_limit;

use crate::read::{
    node::{ImageNode, Node, PLATFORM},
    root::SourceRoot,
};

/// Describes every root by a file.
///
/// # Errors
/// [`Code::Usage`] if a root has a description of its own; those of reading the file.
pub(crate) fn by_file(roots: &mut [SourceRoot<'_>], file: &Path, env: &Env) -> Result<()> {
    let notes = Notes::default();
    let mut report = Report::default();
    let described =
        read(file, env, &notes, &mut report).map_err(|error| error.at(quote_path(file)))?;
    report.merge(notes.take());
    for root in roots {
        let node = match &*root.node {
            Node::Image(node) if !catalog::describes(node.format) => node,
            Node::Image(_) | Node::Index { .. } | Node::Opaque { .. } => {
                let message =
                    "`--config` describes root file systems, but this image has its own config";
                return Err(Error::new(Code::Usage, message).at(&*root.text).hint(
                    "leave `--config` out, or name a directory or a flat tar: `rootfs:PATH`",
                ));
            }
        };
        root.node = Arc::new(Node::Image(Box::new(describe(node, &described, &report))));
    }
    Ok(())
}

/// Returns an image with the layers of `node` and the description `described`.
fn describe(node: &ImageNode, described: &Image, irregular: &Report) -> ImageNode {
    let mut node = node.clone();
    let undescribed = std::mem::replace(&mut node.image, described.clone());
    node.image.layers = undescribed.layers;
    let platform = &mut node.image.platform;
    if platform.os.is_empty() && platform.architecture.is_empty() {
        *platform = undescribed.platform;
    } else {
        node.report.losses.retain(|loss| loss.field != PLATFORM);
    }
    node.report.merge(irregular.clone());
    node
}

/// Reads a description; the format is decided by the document.
fn read(file: &Path, env: &Env, notes: &Notes, report: &mut Report) -> Result<Image> {
    let limits = &env.limits;
    let (open, _) = open_regular(file)?;
    let bytes = read_to_limit(open, ("config", limits.config), "the description")?;
    let value = imgconv_json::parse(&bytes, limits, "config")?;
    match value.get("acKind") {
        Some(_) => from_aci(&bytes, env, notes, report),
        None => from_oci(value, report).map_err(|error| error.at("config")),
    }
}

/// Reads an OCI image config. The layers and the history that it names are those of another image.
fn from_oci(mut value: Value, report: &mut Report) -> Result<Image> {
    if let Some(config) = value.as_object_mut() {
        let rootfs = serde_json::json!({ "type": "layers", "diff_ids": [] });
        config.insert("rootfs".to_owned(), rootfs);
        if config
            .remove("history")
            .is_some_and(|history| !history.is_null())
        {
            let why = "the history is that of other layers";
            report.lose("history", Outcome::Dropped, why);
        }
    }
    let read = docker_config::decode(&value, report)?;
    let extensions = read.extensions.into_iter();
    Ok(Image {
        platform: read.platform,
        created: read.created,
        author: read.author,
        config: read.config,
        extensions: extensions
            .map(|(path, text)| ((FormatId::OCI, path), text))
            .collect(),
        ..Image::default()
    })
}

/// Reads the manifest of an ACI. What it depends on is in the root file system already.
fn from_aci(bytes: &[u8], env: &Env, notes: &Notes, report: &mut Report) -> Result<Image> {
    let manifest = aci_manifest::parse(bytes, &env.limits, notes)?;
    let mut image = aci::described(&manifest);
    if let Some(app) = &manifest.app
        && (app.user.starts_with('/') || app.group.starts_with('/'))
    {
        let message = "the user or the group is the owner of a file, and a description names it";
        return Err(Error::new(Code::Unsupported, message)
            .at("manifest › field app")
            .hint("write the number or the name of the user and of the group"));
    }
    for field in ["dependencies", "pathWhitelist"] {
        let key = (FormatId::ACI, field.to_owned());
        if image.extensions.remove(&key).is_some() {
            let why = "the root file system is taken as it is";
            report.lose(field, Outcome::Dropped, why);
        }
    }
    let document = Document {
        kind: aci::MANIFEST_KIND.to_owned(),
        bytes: bytes.into(),
    };
    image.originals.push(Original {
        format: FormatId::ACI,
        role: "manifest",
        document,
    });
    Ok(image)
}
