//! App Container Images (appc specification 0.8.11): reading, checking and writing.
//!
//! [`Aci`] is the format. An ACI is one tar, perhaps compressed: `manifest` and `rootfs`. Reading
//! has two passes: one up to the manifest, one that streams the rootfs as a layer and hashes the
//! whole to the image ID. The reasons behind the mapping are in `design.rs`.
//!
//! Signatures, discovery, fetching and the merging of dependencies are not in this crate:
//! [`dependency`] only determines their order.

#![deny(missing_docs)]

mod archive;
mod decode;
pub mod dependency;
mod design;
mod encode;
mod equivalence;
pub mod identifier;
mod loss;
pub mod manifest;
pub mod platform;
mod recognise;
mod rootfs;
mod run;
pub mod stack;

use std::sync::{Arc, OnceLock};

use imgconv_model::{
    Blob, Capabilities, Code, Compression, DecodedStream, Digest, Document, Env, Error,
    FormatFacts, FormatFamily, Image, Layer, Limits, Notes, Open, Original, Report, Result,
    StreamFacts, StreamFormat, quote,
};
use imgconv_tar::Tracing;

pub use decode::{DOCKER_IMAGE_ID, FORMAT, IMAGE_ID, LABEL, MANIFEST_KIND};
pub use manifest::Manifest;
pub use recognise::recognise_bytes;
pub use rootfs::ExpectedImage;
pub use run::user_without_group;

/// The facts of the format.
static FACTS: FormatFacts = FormatFacts {
    id: FORMAT,
    family: FormatFamily::Aci,
    about: "App Container Image (appc 0.8.11), as rkt and acbuild use it",
    capabilities: Capabilities {
        max_layers: Some(1),
        compressions: &[Compression::Gzip, Compression::None],
        annotations: false,
        index: false,
        opaque: false,
        root_kinds: &[],
    },
};

/// The facts of the stream.
static STREAM: StreamFacts = StreamFacts {
    noun: "an ACI",
    suffix: ".aci",
    describes: true,
};

/// The format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aci;

/// An ACI that was read up to its manifest.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The image. It has one layer, whose stream verifies the claimed digest and size of the ACI.
    pub image: Image,
    /// The manifest.
    pub manifest: Manifest,
    /// The image ID: present after the layer was read to its end.
    pub image_id: Arc<OnceLock<Digest>>,
}

/// Reads an ACI. `what` names the ACI in messages; `expected` is checked when its layer is read.
///
/// A `user` or `group` that is a path is resolved to the owner of that file. In an image with
/// dependencies the file may be in one of them: if the image itself does not have the file, the
/// user stays unresolved until [`resolve_user`] is called.
///
/// # Errors
/// If the archive or its manifest is not valid up to the manifest; the rest is checked when the
/// layer is read. [`Code::Unsupported`] if the file is wrapped in a PGP message, [`Code::Missing`]
/// if the path of the user does not exist.
pub fn decode_stream(
    blob: &Blob,
    what: &str,
    expected: &ExpectedImage,
    env: &Env,
) -> Result<Decoded> {
    read(blob, what, expected, env).map_err(|error| rootfs::located(error, what))
}

fn read(blob: &Blob, what: &str, expected: &ExpectedImage, env: &Env) -> Result<Decoded> {
    let scanned = archive::scan(blob, env, what)?;
    let manifest = scanned.manifest;
    let mut image = decode::decode(&manifest, None).image;
    let mut owner = |path: &str| archive::owner(blob, path, env, what);
    if manifest.dependencies.is_empty() {
        resolve_user(&mut image, &manifest, &mut owner)?;
    } else if let Err(error) = resolve_user(&mut image, &manifest, &mut owner) {
        if error.code() != Code::Missing {
            return Err(error);
        }
        image.config.user = None;
    }
    let image_id = Arc::new(OnceLock::new());
    let rootfs = rootfs::Rootfs {
        blob: blob.clone(),
        limits: env.limits,
        notes: env.notes.clone(),
        what: what.to_owned(),
        expected: expected.clone(),
        stacked: !manifest.dependencies.is_empty(),
        id: Arc::clone(&image_id),
        tracing: None,
    };
    image.layers.push(Layer::made(Arc::new(rootfs)));
    let document = Document {
        kind: MANIFEST_KIND.to_owned(),
        bytes: scanned.bytes,
    };
    image.originals.push(Original {
        format: FORMAT,
        role: "manifest",
        document,
    });
    Ok(Decoded {
        image,
        manifest,
        image_id,
    })
}

/// Returns the bytes of the layer of an ACI, as [`decode_stream`] gives them; each pass is reported to
/// `tracing`, and sets `image_id` at its end. `stacked` says whether the image has dependencies.
pub fn traced_layer(
    blob: &Blob,
    what: &str,
    stacked: bool,
    image_id: &Arc<OnceLock<Digest>>,
    tracing: Arc<dyn Tracing>,
    env: &Env,
) -> Arc<dyn Open> {
    Arc::new(rootfs::Rootfs {
        blob: blob.clone(),
        limits: env.limits,
        notes: env.notes.clone(),
        what: what.to_owned(),
        expected: ExpectedImage::default(),
        stacked,
        id: Arc::clone(image_id),
        tracing: Some(tracing),
    })
}

/// Returns what a manifest says of an image, without its layer. A `user` or `group` that is a path
/// stays a path, see [`resolve_user`].
pub fn described(manifest: &Manifest) -> Image {
    decode::decode(manifest, None).image
}

/// Returns the manifest of an image that is or was an ACI, from the document that is stored with
/// the image.
///
/// # Errors
/// The errors of [`decode_stream`].
pub fn manifest_of(image: &Image, limits: &Limits) -> Result<Option<Manifest>> {
    let kept = |original: &&Original| original.format == FORMAT && original.role == "manifest";
    let original = image.originals.iter().find(kept);
    original
        .map(|original| manifest::parse(&original.document.bytes, limits, &Notes::default()))
        .transpose()
}

/// Returns the manifest that the ACI of an image gets, as far as it is known before the layers are read: the
/// group of a user without one is in the layers.
///
/// # Errors
/// If an ACI can't express the image.
pub fn manifest_for(image: &Image, limits: &Limits) -> Result<Manifest> {
    let bytes = encode::encode(image, None, limits, &mut Report::default())?;
    manifest::parse(&bytes, limits, &Notes::default())
}

/// The user and group of a file.
pub type Owner = (u32, u32);

/// Resolves a `user` or `group` that is a path (aci.md) to the owner or group of that file. `owner`
/// returns both for an absolute path. Without a path the function has no effect.
///
/// # Errors
/// [`Code::Missing`] if there is no such file, and the errors of `owner`.
pub fn resolve_user(
    image: &mut Image,
    manifest: &Manifest,
    owner: &mut dyn FnMut(&str) -> Result<Option<Owner>>,
) -> Result<()> {
    let Some(app) = &manifest.app else {
        return Ok(());
    };
    if !app.user.starts_with('/') && !app.group.starts_with('/') {
        return Ok(());
    }
    let mut resolve = |key: &str, value: &str, of: fn(Owner) -> u32| {
        if !value.starts_with('/') {
            return Ok(value.to_owned());
        }
        let found = owner(value)?.ok_or_else(|| {
            let message = format!("the file {} is not in the root file system", quote(value));
            Error::new(Code::Missing, message).at(format!("manifest › field app.{key}"))
        })?;
        Ok(of(found).to_string())
    };
    let user = resolve("user", &app.user, |ids| ids.0)?;
    let group = resolve("group", &app.group, |ids| ids.1)?;
    image.config.user = run::user_text(&user, &group, None, None);
    Ok(())
}

impl StreamFormat for Aci {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn stream_facts(&self) -> &'static StreamFacts {
        &STREAM
    }

    fn recognise(&self, stream: &Blob) -> bool {
        recognise::recognise(stream)
    }

    fn decode(&self, stream: &Blob, what: &str, env: &Env) -> Result<DecodedStream> {
        let decoded = decode_stream(stream, what, &ExpectedImage::default(), env)?;
        Ok(DecodedStream {
            image: decoded.image,
            digest: decoded.image_id,
        })
    }

    fn encode(
        &self,
        image: &Image,
        group: Option<u32>,
        env: &Env,
        report: &mut Report,
    ) -> Result<Arc<dyn Open>> {
        if image.layers.len() > 1 {
            let message = format!("an ACI has one layer, the image has {}", image.layers.len());
            return Err(Error::new(Code::Unsupported, message).hint("squash the image"));
        }
        let manifest = encode::encode(image, group, &env.limits, report)?;
        Ok(Arc::new(rootfs::Archive {
            manifest: manifest.into(),
            layer: image.layers.first().cloned(),
            limits: env.limits,
            notes: env.notes.clone(),
        }))
    }
}
