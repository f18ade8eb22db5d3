//! The description of an image, as data: for people, and for `--json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_format_docker_v2s1::SIGNED;
use imgconv_model::{
    Code, Digest, Env, Error, FormatId, Layer, Platform, PlatformSpec, Result, Root,
};
use serde::Serialize;

use crate::pick::not_one;
use imgconv_convert::{
    no_image,
    read::{
        docker_record::{self, DockerRecord},
        node::{ImageNode, Node, platform_of, shown_compression},
        reversal::{self, Reversal},
        search::Search,
        source::Source,
        spec::spec_of,
    },
};
use imgconv_locate::locator::Locator;

/// The description of one image.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inspection {
    /// The image's place.
    pub source: String,
    /// The distribution point of that place, `cimd:…`, if there is a type for the place and the
    /// place is not only on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution_point: Option<String>,
    /// The format of the image; `unreadable` if there is an `error`.
    pub format: String,
    /// The image's name.
    pub name: Option<String>,
    /// The image's platform.
    pub platform: Option<String>,
    /// The digest of the image's root document.
    pub digest: Option<String>,
    /// The image ID of an ACI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The ACI or old docker image that the image was made of, if there is a record with which it becomes the same
    /// again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal: Option<ReversalInspection>,
    /// The other records, if the image was made of several ACIs: the way back takes the newest, which is
    /// `reversal`, unless `--record` names another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_reversals: Vec<ReversalInspection>,
    /// The state of the signatures in a schema 1 manifest: `unsigned`, or `valid` and the
    /// identities of the keys. The owners of the keys are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The time at which the image was made.
    pub created: Option<String>,
    /// The author of the image.
    pub author: Option<String>,
    /// The configuration for running the image.
    pub config: Option<Config>,
    /// The layers, base first.
    pub layers: Vec<LayerInspection>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// The fields that only the image's own format has.
    pub extensions: BTreeMap<String, String>,
    /// The error if the image can't be read, or the fault of an invalid name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A record of reversal.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReversalInspection {
    /// The digest of the artifact that holds the record.
    pub digest: String,
    /// The bytes of the record.
    pub size: u64,
    /// The kind of the original: `aci`, `docker-save` for a docker archive from before Docker 1.10, or `schema1` for
    /// a manifest of schema 1.
    pub kind: String,
    /// The image ID of the ACI, the composed digest of the archive (or the SHA-256 of its tar, if the record has version 1),
    /// or the digest by which registries served the manifest.
    pub image_id: String,
    /// The name of the file that the original was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether a signature is kept: that of the ACI, or those in the manifest.
    pub signed: bool,
}

impl From<Reversal> for ReversalInspection {
    fn from(reversal: Reversal) -> Self {
        Self {
            digest: reversal.digest.to_string(),
            size: reversal.record.size,
            kind: "aci".to_owned(),
            image_id: reversal.image_id.image_id(),
            file: reversal.file,
            signed: reversal.signature.is_some(),
        }
    }
}

impl From<DockerRecord> for ReversalInspection {
    fn from(record: DockerRecord) -> Self {
        Self {
            digest: record.digest.to_string(),
            size: record.record.size,
            kind: record.kind.name().to_owned(),
            image_id: record.original.to_string(),
            file: record.file,
            signed: record.media_type == SIGNED,
        }
    }
}

/// The configuration for running an image.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// The part of the command line that stays.
    pub entrypoint: Vec<String>,
    /// The part that arguments replace.
    pub cmd: Vec<String>,
    /// The user.
    pub user: Option<String>,
    /// The environment.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// The ports, `8080/tcp` or `8080-8090/tcp`.
    pub ports: Vec<String>,
    /// The volumes.
    pub volumes: Vec<String>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that ends the program.
    pub stop_signal: Option<String>,
}

/// One layer.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LayerInspection {
    /// The digest of the stored bytes.
    pub digest: Option<String>,
    /// The number of the stored bytes.
    pub size: Option<u64>,
    /// The claimed digest of the tar inside.
    pub diff_id: Option<String>,
    /// The media type in the source.
    pub media_type: Option<String>,
    /// The compression detected from the first bytes; null for blobs that are no layers, or are
    /// not stored here.
    pub compression: Option<String>,
}

/// Describes every image of a locator.
///
/// # Errors
/// If no image can be read, or there is none for the platforms; if only some images can't be read,
/// each has its error in its description.
pub fn inspect(
    locator: &Locator,
    platforms: &[PlatformSpec],
    env: &Env,
) -> Result<Vec<Inspection>> {
    let source = Source::open(locator, env)?;
    let remote = !locator.transport.place().is_local();
    let point = remote.then(|| locator.distribution_point()).flatten();
    let (mut found, mut there) = (Vec::new(), Vec::new());
    let mut nodes = Vec::new();
    let mut search = Search::new(&source);
    for (entry, node) in source.decode_each(env) {
        let text = source.entry_text(entry);
        let name = entry.name.as_ref().map(ToString::to_string);
        let node = match node {
            Ok(node) => node,
            Err(error) if source.entries.len() == 1 => return Err(error),
            Err(error) => {
                env.check_cancelled()?;
                found.push(Inspection {
                    source: text,
                    format: "unreadable".to_owned(),
                    name,
                    error: Some(error.to_string()),
                    ..Inspection::default()
                });
                continue;
            }
        };
        let beside = search.beside(entry, &node, env)?;
        // An artifact that can't be read is left to `verify`.
        nodes.extend(beside.found.into_iter().map(|(_, node)| node));
        nodes.push(Arc::clone(&node));
        let before = found.len();
        for (image, listed) in node.images() {
            let platform = platform_of(image, listed);
            let spec = spec_of(image, listed);
            there.push(spec.to_string());
            if !platforms.is_empty() && !platforms.iter().any(|wanted| spec.fits(wanted)) {
                continue;
            }
            let inspection = image_inspection(&text, image, &platform, env);
            found.push(inspection.map_err(|error| error.at(&*text))?);
        }
        if platforms.is_empty() {
            opaque(&node, &text, &mut found);
        }
        let bad_name = source.bundle.bad_name(entry);
        for inspection in &mut found[before..] {
            inspection.name = name.clone().or(inspection.name.take());
            inspection.error = bad_name.as_ref().map(ToString::to_string);
            inspection.distribution_point = point.clone();
        }
    }
    note_reversals(&mut found, &nodes, env);
    if found.is_empty() && !platforms.is_empty() {
        return Err(no_image(platforms, there).at(locator.to_string()));
    }
    Ok(found)
}

/// Adds the records to the descriptions of their images; a malformed record is left to `verify`.
fn note_reversals(found: &mut [Inspection], nodes: &[Arc<Node>], env: &Env) {
    for (_, _, read) in reversal::among(nodes.iter().map(|node| &**node), &env.limits) {
        let Ok(reversal) = read else { continue };
        note(found, &reversal.subject, reversal.clone().into());
    }
    let records = docker_record::among(nodes.iter().map(|node| &**node), &env.limits);
    for record in records.into_iter().filter_map(|(_, _, read)| read.ok()) {
        note(found, &record.subject, record.clone().into());
    }
}

/// Adds a record to the descriptions of its image and of the record itself.
fn note(found: &mut [Inspection], subject: &Digest, record: ReversalInspection) {
    let subject = subject.to_string();
    let about = |image: &&mut Inspection| {
        image.digest.as_ref() == Some(&subject) || image.digest.as_ref() == Some(&record.digest)
    };
    for image in found.iter_mut().filter(about) {
        let other = image.reversal.replace(record.clone());
        let other = other.filter(|other| other.digest != record.digest);
        image.other_reversals.extend(other);
    }
}

/// Returns the stored root document of the single entry that the locator means: an ACI's manifest,
/// an OCI manifest or index.
///
/// # Errors
/// If the document can't be read, or the locator means several entries.
pub fn raw(locator: &Locator, env: &Env) -> Result<Vec<u8>> {
    let source = Source::open(locator, env)?;
    let mut nodes = source.decode(env)?;
    // Two names of one image are one image.
    let mut known = BTreeSet::new();
    nodes.retain(|(_, node)| known.insert(Arc::as_ptr(node)));
    let [(entry, node)] = &nodes[..] else {
        return Err(not_one(nodes.len(), locator).hint("add a REF: `imgconv ls` lists them"));
    };
    let root = source.root(entry, env)?;
    let stored = match (&root, &**node) {
        (Root::Document(document), _) => Some(document),
        (Root::Stream(_), Node::Image(image)) => image.original("manifest"),
        (Root::Stream(_), _) => None,
    };
    let stored = stored.ok_or_else(|| Error::new(Code::Missing, "no stored document"))?;
    Ok(stored.bytes.to_vec())
}

fn image_inspection(
    text: &str,
    node: &ImageNode,
    platform: &Platform,
    env: &Env,
) -> Result<Inspection> {
    let image = &node.image;
    // An ACI's image ID is known when its stream has been read to the end.
    if let Some(aci) = &node.aci {
        aci.read_to_end(text, env)?;
    }
    let config = &image.config;
    let exec = config.exec.clone().unwrap_or_default();
    let ports = config.ports.iter().map(|port| match port.count {
        1 => format!("{}/{}", port.number, port.protocol),
        count => {
            let last = port.number + (count - 1);
            format!("{}-{last}/{}", port.number, port.protocol)
        }
    });
    Ok(Inspection {
        source: text.to_owned(),
        format: node.format.id().to_string(),
        name: image.name.as_ref().map(ToString::to_string),
        platform: Some(platform.to_string()),
        digest: node.child.as_ref().map(|child| child.digest.to_string()),
        image_id: node.image_id().map(|id| id.image_id()),
        reversal: None,
        other_reversals: Vec::new(),
        signature: signature(node)?,
        created: image.created.clone(),
        author: image.author.clone(),
        config: Some(Config {
            entrypoint: exec.entrypoint,
            cmd: exec.cmd,
            user: config.user.clone(),
            env: config.env.clone(),
            working_dir: config.working_dir.clone(),
            ports: ports.collect(),
            volumes: config.volumes.clone(),
            labels: config.labels.clone(),
            stop_signal: config.stop_signal.clone(),
        }),
        layers: image
            .layers
            .iter()
            .map(|layer| LayerInspection {
                digest: layer.blob.facts.digest.map(|digest| digest.to_string()),
                size: layer.blob.facts.size,
                diff_id: layer.diff_id.map(|digest| digest.to_string()),
                media_type: layer.kind.clone(),
                compression: compression(layer),
            })
            .collect(),
        annotations: image.annotations.clone(),
        extensions: image
            .extensions
            .iter()
            .map(|((_, field), text)| (field.clone(), text.clone()))
            .collect(),
        ..Inspection::default()
    })
}

/// The state of the signatures of a schema 1 manifest.
fn signature(node: &ImageNode) -> Result<Option<String>> {
    use imgconv_format_docker_v2s1::{SignatureState, verify_document};
    let is_signed = node.format.id() == FormatId::DOCKER_V2S1;
    let Some(manifest) = node.original("manifest").filter(|_| is_signed) else {
        return Ok(None);
    };
    Ok(Some(match verify_document(&manifest.bytes)? {
        SignatureState::Unsigned => "unsigned".to_owned(),
        SignatureState::Valid(keys) => {
            let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
            format!("valid {}", keys.join(" "))
        }
    }))
}

/// Reads the first bytes; errors of a blob are left to `verify`.
fn compression(layer: &Layer) -> Option<String> {
    // An ACI's layer has no stored bytes: the layer is made while the file is read.
    layer.blob.facts.digest?;
    Some(shown_compression(layer)?.to_string())
}

fn opaque(node: &Node, text: &str, found: &mut Vec<Inspection>) {
    for (node, _) in node.walk() {
        let Node::Opaque { opaque, child } = node else {
            continue;
        };
        let blobs = opaque.blobs.iter().map(|blob| LayerInspection {
            digest: Some(blob.digest.to_string()),
            size: Some(blob.size),
            media_type: Some(blob.kind.clone()),
            ..LayerInspection::default()
        });
        found.push(Inspection {
            source: text.to_owned(),
            format: opaque.what.clone(),
            digest: Some(child.digest.to_string()),
            layers: blobs.collect(),
            annotations: child.annotations.clone(),
            ..Inspection::default()
        });
    }
}
