//! The formats: what decodes and is encoded, decodes to the same again.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use imgconv::catalog;
use imgconv_model::{
    Artifact, Blob, Document, DocumentFormat, Encoded, Env, Error, Facts, Format, Image, Report,
    Result, StreamFormat,
};
use imgconv_testkit::{ImageRecipe, build, docker, laws, random, sha256_hex};

use super::text;
use crate::cage::{self, caged};
use crate::{repair, tree};

/// A text of documents: the path of the first part is the media type of a root, the other parts are documents by
/// digest.
pub(super) fn documents(bytes: &[u8]) {
    let made = tree::make(&tree::parse(bytes));
    let Some((first, rest)) = made.split_first() else {
        return;
    };
    let Ok(kind) = std::str::from_utf8(&first.path) else {
        return;
    };
    let root = laws::root(kind, &first.stored);
    let mut memory = laws::Memory {
        has_all: true,
        ..laws::Memory::default()
    };
    for part in rest {
        memory.put(&part.stored);
    }
    let env = cage::env();
    let mut known = 0;
    for format in catalog::FORMATS {
        let Format::Documents(format) = format else {
            continue;
        };
        if !format.recognise(&root) {
            continue;
        }
        known += 1;
        let Ok((Artifact::Image(image), _)) = laws::decode(*format, &memory, &root, &env) else {
            continue;
        };
        for target in catalog::FORMATS {
            if let Format::Documents(target) = target {
                settles(*target, &image, &env);
            }
        }
    }
    assert!(known <= 1, "{known} formats recognise a root of {kind:?}");
}

/// An image that is written, read and written again has the same documents.
fn settles(format: &dyn DocumentFormat, image: &Image, env: &Env) {
    if image
        .layers
        .iter()
        .any(|layer| layer.blob.facts.digest.is_none())
    {
        return;
    }
    let Ok(first) = encoded(format, image, env) else {
        return;
    };
    let mut memory = laws::Memory {
        has_all: true,
        ..laws::Memory::default()
    };
    for document in &first.documents {
        memory.put(&document.bytes);
        // A docker archive finds its config by the name of a member.
        let name = format!("blobs/sha256/{}", sha256_hex(&document.bytes));
        memory.members.insert(name, Some(document.bytes.to_vec()));
    }
    let again = laws::decode(format, &memory, &first.root, env);
    let image = match again {
        Ok((Artifact::Image(image), _)) => image,
        Ok(_) => panic!("an image was written, and something else is read"),
        Err(error) => panic!("our own {} is refused: {error}", format.id()),
    };
    let second = encoded(format, &image, env);
    let second = second.unwrap_or_else(|error| panic!("no second time: {error}"));
    let text = |document: &Document| String::from_utf8_lossy(&document.bytes).into_owned();
    assert_eq!(text(&first.root), text(&second.root), "{}", format.id());
    let texts = |one: &Encoded| one.documents.iter().map(text).collect::<Vec<_>>();
    assert_eq!(texts(&first), texts(&second), "{}", format.id());
}

fn encoded(format: &dyn DocumentFormat, image: &Image, env: &Env) -> Result<Encoded> {
    let layers = laws::kept(image);
    format.encode(image, &layers, env, &mut Report::default())
}

pub(super) fn document_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for recipe in recipes() {
        caged(|cage| {
            let folder = cage.out().join("layout");
            build::layout(std::slice::from_ref(&recipe), &folder).unwrap();
            seeds.extend(rooted(
                &cage::files(&folder).into_values().collect::<Vec<_>>(),
            ));
        });
        let mut files = Vec::new();
        let archive = docker::archive(&[recipe]).unwrap();
        for (_, bytes) in super::tar::members(&archive[..]).unwrap() {
            files.push(bytes);
        }
        // A manifest of schema 2 over the config of the archive.
        let config = files
            .iter()
            .find(|bytes| bytes.starts_with(b"{") && has(bytes, "diff_ids"));
        if let Some(config) = config {
            let manifest = format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{V2S2}\",\"config\":{{\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\
                 \"digest\":\"sha256:{}\",\"size\":{}}},\"layers\":[{{\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\",\
                 \"digest\":\"sha256:{}\",\"size\":9}}]}}",
                sha256_hex(config),
                config.len(),
                "1".repeat(64)
            );
            seeds.extend(rooted(&[manifest.into_bytes(), config.clone()]));
        }
    }
    for manifest in text::jws_seeds() {
        for kind in [
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/vnd.docker.distribution.manifest.v1+json",
        ] {
            seeds.push(tree::from_files(vec![(kind.into(), manifest.clone())]));
        }
    }
    seeds
}

const V2S2: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn has(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

/// A text for each document with a media type, that document first.
fn rooted(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let documents = || files.iter().filter(|bytes| bytes.starts_with(b"{"));
    for root in documents() {
        let value: serde_json::Value = serde_json::from_slice(root).unwrap();
        let Some(kind) = value["mediaType"].as_str() else {
            continue;
        };
        let mut all = vec![(kind.as_bytes().to_vec(), root.clone())];
        let others = documents().filter(|other| *other != root);
        all.extend(others.map(|other| (b"document".to_vec(), other.clone())));
        seeds.push(tree::from_files(all));
    }
    seeds
}

/// The recipes of the corpus.
pub(super) fn recipes() -> Vec<ImageRecipe> {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/images");
    let mut folders: Vec<_> = fs::read_dir(images)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    let recipes = folders
        .iter()
        .map(|folder| ImageRecipe::load(folder).unwrap());
    recipes.collect()
}

/// An ACI, with checksums made right.
pub(super) fn aci(bytes: &[u8]) {
    streamed("aci", bytes);
}

/// A tar as a root file system.
pub(super) fn rootfs(bytes: &[u8]) {
    streamed("rootfs", bytes);
}

fn streamed(id: &str, bytes: &[u8]) {
    let Some(Format::Stream(format)) = catalog::format(id) else {
        panic!("no format of streams is called {id}");
    };
    let tar = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => bytes.to_vec(),
        false => repair::tar(bytes),
    };
    let env = cage::env();
    let Ok(first) = rewritten(format, tar, &env) else {
        return;
    };
    let second = rewritten(format, first.clone(), &env);
    let second = second.unwrap_or_else(|error| panic!("our own {id} is refused: {error}"));
    if first != second {
        let first = super::tar::members(&first[..]).unwrap();
        let second = super::tar::members(&second[..]).unwrap();
        assert_eq!(first, second);
        panic!("other bytes");
    }
}

/// Reads a stream, its layer too, and writes the image again.
fn rewritten(format: &dyn StreamFormat, bytes: Vec<u8>, env: &Env) -> Result<Vec<u8>> {
    let size = bytes.len() as u64;
    let bytes: Arc<[u8]> = bytes.into();
    let blob = Blob {
        facts: Facts {
            digest: None,
            size: Some(size),
        },
        bytes: Arc::new(bytes),
    };
    let _ = format.recognise(&blob);
    let decoded = format.decode(&blob, "stream", env)?;
    let faults = imgconv_model::check(&decoded.image);
    assert!(faults.is_empty(), "{faults:?}");
    for layer in &decoded.image.layers {
        let mut out = Vec::new();
        let most = env.limits.layer_bytes + 1;
        let mut reader = layer.blob.bytes.open()?.take(most);
        reader.read_to_end(&mut out).map_err(Error::from_io)?;
    }
    let mut report = Report::default();
    let encoded = format.encode(&decoded.image, None, env, &mut report)?;
    let mut out = Vec::new();
    let mut reader = encoded.open()?;
    reader.read_to_end(&mut out).map_err(Error::from_io)?;
    Ok(out)
}

pub(super) fn aci_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for mut recipe in recipes() {
        recipe.head.compression = imgconv_testkit::Compression::None;
        recipe.layers.truncate(1);
        seeds.extend(build::aci_bytes(&recipe));
    }
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/a"}"#;
    seeds.extend((0..8).map(|seed| random::aci(seed, manifest)));
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/hello.aci");
    seeds.push(fs::read(hello).unwrap());
    seeds.retain(|seed| seed.len() < 60_000);
    seeds
}
