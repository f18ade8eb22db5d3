//! Data roots from before Docker 1.10 give back the tars of their layers, or make them anew.

use std::{fs, path::Path};

use imgconv_model::{Code, Root};
use imgconv_testkit::engines;
use imgconv_transport_docker_root::DOCKER_ROOT;
use serde_json::{Value, json};

use crate::data_root::{files, image, layers, open};

fn json_of(root: &Path, id: &str) -> std::path::PathBuf {
    root.join("graph").join(id).join("json")
}

// D16d
#[test]
fn every_driver_gives_back_the_same_tars() {
    for driver in ["aufs", "vfs", "overlay", "btrfs"] {
        for records in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let image = image(&["busybox:latest", "quay.io/x/y:1"], "/a");
            let images = std::slice::from_ref(&image);
            let ids = engines::docker_graph(images, driver, records, folder.path()).unwrap();
            let recognised = imgconv_model::Transport::recognise(&DOCKER_ROOT, folder.path());
            assert!(recognised.unwrap());
            let bundle = open(folder.path()).unwrap();
            let entries = bundle.roots().unwrap();
            let names: Vec<String> = entries
                .iter()
                .map(|entry| entry.name.as_ref().unwrap().to_string())
                .collect();
            let known = ["docker.io/library/busybox:latest", "quay.io/x/y:1"];
            assert_eq!(names, known, "the base is no image of its own");
            for text in ["busybox:latest", &ids[0], &ids[0][..12]] {
                let tars = layers(&*bundle, text).unwrap();
                if records {
                    assert!(tars == image.layers, "{driver}");
                }
                for (tar, known) in tars.iter().zip(&image.layers) {
                    assert_eq!(files(tar), files(known), "{driver}");
                }
            }
            let Root::Document(document) = bundle.root(&entries[0]).unwrap() else {
                panic!("the root is a document");
            };
            let text = String::from_utf8(document.bytes.to_vec()).unwrap();
            assert_eq!(text.contains("\"remade\":true"), !records, "{text}");
        }
    }
}

// D16d
#[test]
fn docker_1_9_kept_ids_and_parents_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(&["x:1"], "/x");
    let images = std::slice::from_ref(&image);
    let ids = engines::docker_graph(images, "overlay", true, folder.path()).unwrap();
    let path = json_of(folder.path(), &ids[0]);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let parent = value["parent"].as_str().unwrap().to_owned();
    let map = value.as_object_mut().unwrap();
    map.remove("id");
    map.remove("parent");
    let mut by_field = value.clone();
    by_field["parent_id"] = json!(format!("sha256:{parent}"));
    fs::write(&path, by_field.to_string()).unwrap();
    assert!(layers(&*open(folder.path()).unwrap(), "x:1").unwrap() == image.layers);
    fs::write(&path, value.to_string()).unwrap();
    fs::write(path.with_file_name("parent"), &parent).unwrap();
    assert!(layers(&*open(folder.path()).unwrap(), "x:1").unwrap() == image.layers);
}

// D16d
#[test]
fn damage_of_a_graph_is_named() {
    type Damage = fn(&Path, &str, &str);
    let cases: [(Damage, Code, &str); 7] = [
        (
            |root, id, _| set(root, id, "parent", json!(id)),
            Code::Cycle,
            "the chain of parents comes back to",
        ),
        (
            |root, id, base| set(root, base, "parent", json!(id)),
            Code::Cycle,
            "the chain of parents comes back to",
        ),
        (
            |root, id, _| set(root, id, "parent", json!("0".repeat(64))),
            Code::Missing,
            "there is no image 0000",
        ),
        (
            |root, id, _| set(root, id, "parent", json!("../../x")),
            Code::BadName,
            "\"../../x\" is not an image id",
        ),
        (
            |root, id, _| set(root, id, "x", json!("y".repeat(9 << 20))),
            Code::Limit,
            "the limit",
        ),
        (
            |root, id, _| fs::remove_file(json_of(root, id)).unwrap(),
            Code::Missing,
            "has no `json`",
        ),
        (
            |root, id, _| fs::remove_dir_all(root.join("aufs/diff").join(id)).unwrap(),
            Code::Missing,
            "no graph driver has the files of the image",
        ),
    ];
    for (i, (damage, code, text)) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let images = [image(&["x:1"], "/x"), image(&["other:1"], "/other")];
        let ids = engines::docker_graph(&images, "aufs", true, folder.path()).unwrap();
        let value = fs::read(json_of(folder.path(), &ids[0])).unwrap();
        let value: Value = serde_json::from_slice(&value).unwrap();
        damage(folder.path(), &ids[0], value["parent"].as_str().unwrap());
        let bundle = open(folder.path()).unwrap();
        let error = layers(&*bundle, "x:1").unwrap_err();
        assert_eq!(error.code(), code, "{i}: {error}");
        assert!(error.to_string().contains(text), "{i}: {error}");
        if i != 1 {
            assert!(layers(&*bundle, "other:1").unwrap() == images[1].layers);
        }
    }
}

fn set(root: &Path, id: &str, key: &str, to: Value) {
    let path = json_of(root, id);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    value[key] = to;
    fs::write(path, value.to_string()).unwrap();
}

// D16d: an id in the list of names that is a path, and a link in a folder of the driver.
#[test]
fn nothing_leads_out_of_a_graph() {
    let folder = tempfile::tempdir().unwrap();
    let images = [image(&["x:1"], "/x")];
    let ids = engines::docker_graph(&images, "aufs", false, folder.path()).unwrap();
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("a"), "secret").unwrap();
    let files = folder.path().join("aufs/diff").join(&ids[0]);
    fs::remove_dir_all(&files).unwrap();
    std::os::unix::fs::symlink(secret.path(), &files).unwrap();
    let error = layers(&*open(folder.path()).unwrap(), "x:1").unwrap_err();
    assert_eq!(error.code(), Code::Escape);
    let text = json!({"Repositories": {"x": {"1": "../../etc"}}}).to_string();
    fs::write(folder.path().join("repositories-aufs"), text).unwrap();
    let bundle = open(folder.path()).unwrap();
    let entries = bundle.roots().unwrap();
    assert!(entries[0].child.is_none());
    assert_eq!(bundle.root(&entries[0]).unwrap_err().code(), Code::BadName);
}

// D16b
#[test]
fn drivers_of_old_roots_without_folders_are_named() {
    for driver in ["devicemapper", "zfs"] {
        let folder = tempfile::tempdir().unwrap();
        let images = [image(&["x:1"], "/x")];
        engines::docker_graph(&images, driver, true, folder.path()).unwrap();
        let error = layers(&*open(folder.path()).unwrap(), "x:1").unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        let text = format!("the graph driver `{driver}` keeps layers on volumes of its own");
        assert!(error.to_string().contains(&text), "{error}");
        assert!(error.advice().unwrap().contains("rootfs:PATH"));
    }
}

// D16e
#[test]
fn three_stores_are_listed_together() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let old = image(&["old:1"], "/old");
    let copied = image(&["copied:1"], "/copied");
    let ids = engines::docker_graph(&[old.clone(), copied.clone()], "aufs", true, root).unwrap();
    let map = json!({&ids[1]: format!("sha256:{}", copied.id())}).to_string();
    fs::write(root.join(".migration-v1-images.json"), map).unwrap();
    let both = image(&["both:1", "also:1"], "/both");
    let one = image(&["differs:1"], "/one");
    let stored = [
        copied.clone(),
        both.clone(),
        one.clone(),
        image(&[], "/held"),
    ];
    engines::docker_root(&stored, "overlay2", root).unwrap();
    let name = "docker.io/library/differs:1";
    let other = image(&[name], "/other");
    let dangling = format!("moby-dangling@sha256:{}", "1".repeat(64));
    let images = [
        image(&["docker.io/library/both:1"], "/both"),
        other.clone(),
        image(&[&dangling], "/held"),
        image(&["docker.io/library/new:1"], "/new"),
        image(&["docker.io/library/elsewhere:1"], "/elsewhere"),
    ];
    let images: Vec<_> = images
        .into_iter()
        .map(|image| {
            let space = match image.command.as_str() {
                "/elsewhere" => "apart",
                _ => "moby",
            };
            (image, vec![space.to_owned()])
        })
        .collect();
    engines::containerd(&images, &root.join("containerd/daemon")).unwrap();
    let bundle = open(root).unwrap();
    let listed: Vec<String> = bundle
        .roots()
        .unwrap()
        .iter()
        .map(|entry| {
            let name = entry.name.as_ref().map(ToString::to_string);
            let mark = if entry.ambiguous.is_some() {
                " ambiguous"
            } else {
                ""
            };
            format!("{}{mark}", name.unwrap_or("-".to_owned()))
        })
        .collect();
    assert_eq!(
        listed,
        [
            "docker.io/library/also:1",
            "docker.io/library/copied:1",
            "docker.io/library/differs:1 ambiguous",
            "docker.io/library/old:1",
            "docker.io/library/both:1",
            "docker.io/library/differs:1 ambiguous",
            "docker.io/library/new:1",
            "-",
            "docker.io/library/elsewhere:1",
        ]
    );
    // Each spelling of a name in two stores finds both.
    for text in ["differs:1", name] {
        let entries = bundle.roots().unwrap();
        let with = |entry: &&imgconv_model::RootEntry| entry.texts.iter().any(|one| one == text);
        assert_eq!(entries.iter().filter(with).count(), 2, "{text}");
    }
    for (text, image) in [("old:1", &old), ("copied:1", &copied), ("also:1", &both)] {
        assert!(layers(&*bundle, text).unwrap() == image.layers, "{text}");
    }
    // The ID of an image that both stores have leads to the entry of the newer store.
    let held = images_of(&*bundle, &engines_id(&stored[3]));
    assert_eq!(held, ["-"]);
    assert_eq!(images_of(&*bundle, &stored[3].id()[..12]), ["-"]);
    assert_eq!(
        images_of(&*bundle, &engines_id(&both)),
        ["docker.io/library/also:1"]
    );
}

/// The ID of an image with its algorithm.
fn engines_id(image: &engines::EngineImage) -> String {
    format!("sha256:{}", image.id())
}

/// The names of the entries that a text leads to.
fn images_of(bundle: &dyn imgconv_model::Bundle, text: &str) -> Vec<String> {
    let with = |entry: &imgconv_model::RootEntry| entry.texts.iter().any(|one| one == text);
    let entries = bundle.roots().unwrap().into_iter().filter(with);
    let name = |entry: imgconv_model::RootEntry| {
        let name = entry.name.map(|name| name.to_string());
        name.unwrap_or("-".to_owned())
    };
    entries.map(name).collect()
}

// D16e
#[test]
fn the_images_of_the_containerd_beside_the_root_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (root, system) = (
        folder.path().join("docker"),
        folder.path().join("containerd"),
    );
    let old = image(&["old:1"], "/old");
    engines::docker_root(std::slice::from_ref(&old), "overlay2", &root).unwrap();
    let of = |name: &str, space: &str| (image(&[name], name), vec![space.to_owned()]);
    let other = of("docker.io/library/other:1", "k8s.io");
    engines::containerd(std::slice::from_ref(&other), &system).unwrap();
    let names = || {
        let entries = open(&root).unwrap().roots().unwrap().into_iter();
        let names = entries.map(|entry| entry.name.unwrap().to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(), ["docker.io/library/old:1"]);
    let new = of("docker.io/library/new:1", "moby");
    engines::containerd(&[other, new], &system).unwrap();
    let both = ["docker.io/library/old:1", "docker.io/library/new:1"];
    assert_eq!(names(), both);
    // An engine with a containerd of its own uses no other one.
    let own = of("docker.io/library/own:1", "moby");
    engines::containerd(&[own], &root.join("containerd/daemon")).unwrap();
    let both = ["docker.io/library/old:1", "docker.io/library/own:1"];
    assert_eq!(names(), both);
}
