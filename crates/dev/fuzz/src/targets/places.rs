//! Places: stores and archives, read as the program reads them, converted, verified and unpacked.

use std::fs;
use std::path::Path;

use imgconv::{Finding, Locator, Options, UnpackOptions, convert, inspect, list, unpack, verify};
use imgconv_model::Env;
use imgconv_testkit::engines::{self, EngineImage};
use imgconv_testkit::{ImageRecipe, build, docker, dozen, stores};

use super::documents;
use crate::cage::{Cage, caged};
use crate::{repair, tree};

/// Reads a place in every way. What is converted is complete, and is sound if the place is sound: a layer that is kept
/// byte for byte has the faults that it had.
pub(super) fn visit(locator: &str, cage: &Cage, env: &Env) {
    let Ok(source) = Locator::source(locator) else {
        return;
    };
    let Ok(listed) = list(&source, env) else {
        return;
    };
    let before = verify(&source, env);
    let _ = inspect(&source, &[], env);
    if listed.is_empty() || listed.len() > 16 {
        return;
    }
    let layout = cage.out().join("layout");
    let layout = format!("oci:{}", layout.to_str().unwrap());
    let destination = Locator::destination(&layout).unwrap();
    let options = Options::default();
    if convert(std::slice::from_ref(&source), &destination, &options, env).is_ok() {
        let written = Locator::source(&layout).unwrap();
        let verdict = verify(&written, env).unwrap();
        let was_sound = before.is_ok_and(|before| !before.is_damaged());
        let incomplete = |problem: &&Finding| ["missing", "mismatch"].contains(&&*problem.code);
        let fault = match was_sound {
            true => verdict.problems.first(),
            false => verdict.problems.iter().find(incomplete),
        };
        assert!(fault.is_none(), "a damaged result: {fault:?}");
    }
    let folder = cage.out().join("tree");
    let _ = unpack(&source, &folder, &[], &[], &UnpackOptions::default(), env);
}

/// Reads what is at the path of the input.
fn look(scheme: &str, cage: &Cage) {
    let locator = format!("{scheme}:{}", cage.input().display());
    visit(&locator, cage, &cage.env());
}

/// Reads a folder that a text describes.
fn folder(scheme: &str, text: &[u8]) {
    caged(|cage| {
        tree::write(text, &cage.input());
        look(scheme, cage);
    });
}

/// Reads an archive: a tar of the files that a text describes, or the bytes themselves with right checksums.
fn archive(scheme: &str, bytes: &[u8]) {
    let bytes = match bytes.starts_with(b"%%% ") {
        true => packed(bytes),
        false => repair::tar(bytes),
    };
    caged(|cage| {
        fs::write(cage.input(), &bytes).unwrap();
        look(scheme, cage);
    });
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    for part in tree::make(&tree::parse(text)) {
        let (kind, body) = match part.flags.first() {
            Some(b'x') => continue,
            Some(b'd') => (imgconv_tar::EntryKind::Directory, Vec::new()),
            Some(b'l') => (imgconv_tar::EntryKind::Symlink, Vec::new()),
            _ => (imgconv_tar::EntryKind::Regular, part.stored.clone()),
        };
        let mut entry = imgconv_tar::Entry::new(part.path.clone(), kind);
        entry.size = body.len() as u64;
        if kind == imgconv_tar::EntryKind::Symlink {
            entry.link = part.plain.clone();
        }
        if let Ok(head) = imgconv_tar::head(&entry) {
            tar.extend(head);
            tar.extend_from_slice(&body);
            tar.resize(tar.len() + imgconv_tar::padding(entry.size), 0);
        }
    }
    tar.extend(imgconv_tar::END);
    tar
}

/// Makes a text of what is written into a folder.
fn described(make: impl FnOnce(&Path)) -> Vec<u8> {
    caged(|cage| {
        let folder = cage.out().join("made");
        fs::create_dir(&folder).unwrap();
        make(&folder);
        tree::from_folder(&folder)
    })
}

/// Images of a few small layers.
fn engine_images() -> Vec<Vec<EngineImage>> {
    let mut all = vec![EngineImage::samples().to_vec()];
    let small = dozen::engine_images().into_iter();
    all.extend(small.take(3).map(|image| vec![image]));
    all
}

pub(super) fn oci(text: &[u8]) {
    folder("oci", text);
}

pub(super) fn oci_archive(text: &[u8]) {
    archive("oci-archive", text);
}

pub(super) fn oci_seeds() -> Vec<Vec<u8>> {
    let mut groups: Vec<Vec<ImageRecipe>> = documents::recipes()
        .into_iter()
        .map(|recipe| vec![recipe])
        .collect();
    groups.push(ImageRecipe::samples(false).to_vec());
    let seeds = groups
        .iter()
        .map(|images| described(|folder| build::layout(images, folder).unwrap()));
    seeds.collect()
}

pub(super) fn docker_archive(text: &[u8]) {
    archive("docker-archive", text);
}

pub(super) fn docker_archive_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let samples = ImageRecipe::samples(false);
    seeds.push(tree::from_tar(&docker::archive(&samples).unwrap()));
    seeds.push(tree::from_tar(&docker::archive_v1(&samples).unwrap()));
    for recipe in documents::recipes() {
        let archive = docker::archive(&[recipe]).unwrap();
        seeds.push(tree::from_tar(&archive));
    }
    seeds
}

pub(super) fn file(bytes: &[u8]) {
    archive("aci", bytes);
}

pub(super) fn dir(text: &[u8]) {
    folder("dir", text);
}

pub(super) fn dir_seeds() -> Vec<Vec<u8>> {
    // The program itself writes such a directory: no other writer is at hand.
    let mut seeds = Vec::new();
    for recipe in documents::recipes() {
        let seed = caged(|cage| {
            let layout = cage.input();
            build::layout(&[recipe], &layout).unwrap();
            let source = Locator::source(&format!("oci:{}", layout.display())).unwrap();
            let folder = cage.out().join("dir");
            let destination = Locator::destination(&format!("dir:{}", folder.display())).unwrap();
            let written = convert(&[source], &destination, &Options::default(), &cage.env());
            written.is_ok().then(|| tree::from_folder(&folder))
        });
        seeds.extend(seed);
    }
    seeds
}

pub(super) fn registry_storage(text: &[u8]) {
    folder("registry-storage", text);
}

pub(super) fn registry_storage_seeds() -> Vec<Vec<u8>> {
    let samples = ImageRecipe::samples(false);
    let second = described(|folder| {
        caged(|cage| {
            let layout = cage.out().join("layout");
            build::layout(&samples, &layout).unwrap();
            stores::registry_v2(&layout, folder).unwrap();
        });
    });
    let first = described(|folder| drop(stores::registry_v1(&samples, folder).unwrap()));
    vec![second, first]
}

pub(super) fn rkt(text: &[u8]) {
    folder("rkt", text);
}

pub(super) fn rkt_seeds() -> Vec<Vec<u8>> {
    let samples = ImageRecipe::samples(true);
    vec![described(|folder| {
        drop(stores::rkt(&samples, folder).unwrap())
    })]
}

pub(super) fn docker_root(text: &[u8]) {
    folder("docker-root", text);
}

pub(super) fn docker_root_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for images in engine_images() {
        for driver in ["overlay2", "vfs", "aufs"] {
            seeds.push(described(|folder| {
                engines::docker_root(&images, driver, folder).unwrap()
            }));
        }
        for records in [true, false] {
            seeds.push(described(|folder| {
                drop(engines::docker_graph(&images, "vfs", records, folder).unwrap());
            }));
        }
    }
    seeds
}

pub(super) fn containers_storage(text: &[u8]) {
    folder("containers-storage", text);
}

pub(super) fn containers_storage_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for images in engine_images() {
        for (driver, compressed) in [("overlay", false), ("overlay", true), ("vfs", false)] {
            seeds.push(described(|folder| {
                engines::containers_storage(&images, driver, compressed, folder).unwrap();
            }));
        }
    }
    seeds
}

/// The database of containerd is a part of the text, whose checksums are not made right: the target `bolt` does that.
pub(super) fn containerd(text: &[u8]) {
    folder("containerd", text);
}

pub(super) fn containerd_seeds() -> Vec<Vec<u8>> {
    let images = engine_images().into_iter();
    let named = images.map(|images| {
        let named = images
            .into_iter()
            .map(|image| (image, vec!["default".to_owned()]));
        named.collect::<Vec<_>>()
    });
    named
        .map(|named| described(|folder| engines::containerd(&named, folder).unwrap()))
        .collect()
}
