//! Data roots of every graph driver give back the tars of their layers; what is damaged is named.

use std::{
    fs,
    path::{Path, PathBuf},
};

use imgconv_manifest::v1_image;
use imgconv_model::{Bundle, Code, Env, Error, Facts, Platform, Result, Root, Transport as _};
use imgconv_testkit::{
    build::layer,
    engines::{self, EngineImage},
    laws, random, sha256_hex,
};
use imgconv_transport_docker_root::DOCKER_ROOT;

pub(crate) fn image(names: &[&str], command: &str) -> EngineImage {
    let layers = [
        "dir etc\nfile etc/a \"aaa\"\nfile etc/b \"b\"",
        "dir etc\nfile etc/.wh.a \"\"\nfile etc/c \"c\"",
    ];
    EngineImage::of(names, &layers, command)
}

pub(crate) fn open(root: &Path) -> Result<Box<dyn Bundle>> {
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    DOCKER_ROOT.open(root.to_str().unwrap(), &env)
}

/// Reads the layers of an entry as the format does: by the names in the root document.
pub(crate) fn layers(bundle: &dyn Bundle, text: &str) -> Result<Vec<Vec<u8>>> {
    let entries = bundle.roots()?;
    let entry = entries
        .iter()
        .find(|entry| entry.texts.iter().any(|known| known == text));
    let Root::Document(document) = bundle.root(entry.unwrap())? else {
        panic!("the root is a document");
    };
    let value: serde_json::Value = serde_json::from_slice(&document.bytes).unwrap();
    let member =
        |name: &str| -> Result<Vec<u8>> { laws::read(&bundle.member(name, &Facts::default())?) };
    if document.kind == v1_image::KIND {
        let layers = value["layers"].as_array().unwrap().iter();
        let name = |layer: &serde_json::Value| layer["layer"].as_str().unwrap().to_owned();
        return layers.map(|layer| member(&name(layer))).collect();
    }
    let config = member(value["Config"].as_str().unwrap())?;
    assert!(
        entry
            .unwrap()
            .texts
            .contains(&format!("sha256:{}", sha256_hex(&config)))
    );
    let names = value["Layers"].as_array().unwrap().iter();
    names.map(|name| member(name.as_str().unwrap())).collect()
}

// D16a
#[test]
fn every_driver_gives_back_the_same_tars() {
    for driver in ["overlay2", "overlay", "aufs", "vfs", "btrfs"] {
        let folder = tempfile::tempdir().unwrap();
        let image = image(&["busybox:latest"], "/a");
        engines::docker_root(std::slice::from_ref(&image), driver, folder.path()).unwrap();
        assert!(DOCKER_ROOT.recognise(folder.path()).unwrap(), "{driver}");
        let bundle = open(folder.path()).unwrap();
        assert!(
            layers(&*bundle, "busybox:latest").unwrap() == image.layers,
            "{driver}"
        );
    }
    assert!(
        !DOCKER_ROOT
            .recognise(tempfile::tempdir().unwrap().path())
            .unwrap()
    );
}

/// Tars of every dialect, with names that are not UTF-8, links, devices and whiteouts.
#[test]
fn random_layers_come_back_byte_for_byte() {
    let mut read = 0;
    for seed in 0..120 {
        let tars: Vec<Vec<u8>> = random::image(seed).iter().map(random::Layer::tar).collect();
        if tars
            .iter()
            .any(|tar| engines::split(tar).unwrap().is_none())
        {
            continue;
        }
        let image = EngineImage {
            names: vec!["random:1".to_owned()],
            layers: tars,
            command: "/x".to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        engines::docker_root(std::slice::from_ref(&image), "overlay2", folder.path()).unwrap();
        let bundle = open(folder.path()).unwrap();
        assert!(
            layers(&*bundle, "random:1").unwrap() == image.layers,
            "seed {seed}"
        );
        read += 1;
    }
    assert!(read >= 30, "only {read} images could be stored");
}

#[test]
fn names_tags_digests_and_ids_lead_to_images() {
    let folder = tempfile::tempdir().unwrap();
    let digest = format!("busybox@sha256:{}", "1".repeat(64));
    let named = image(&["busybox:latest", "quay.io/x/y:1", &digest], "/named");
    let by_digest = image(&[&format!("other@sha256:{}", "2".repeat(64))], "/digest");
    let unnamed = image(&[], "/unnamed");
    let all = [named.clone(), by_digest.clone(), unnamed.clone()];
    engines::docker_root(&all, "overlay2", folder.path()).unwrap();
    let bundle = open(folder.path()).unwrap();
    let listed: Vec<(Option<String>, usize)> = bundle
        .roots()
        .unwrap()
        .into_iter()
        .map(|entry| (entry.name.map(|name| name.to_string()), entry.position))
        .collect();
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(
        listed,
        [
            (name("docker.io/library/busybox:latest"), 0),
            (name("quay.io/x/y:1"), 0),
            (None, 1),
            (None, 2),
        ]
    );
    // An untagged image is found by its ID, in each form that docker prints.
    for text in [
        unnamed.id(),
        format!("sha256:{}", unnamed.id()),
        unnamed.id()[..12].to_owned(),
    ] {
        assert!(layers(&*bundle, &text).unwrap() == unnamed.layers);
    }
    assert!(layers(&*bundle, &by_digest.names[0]).unwrap() == by_digest.layers);
}

#[test]
fn images_of_two_drivers_are_listed_together() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (image(&["old:1"], "/old"), image(&["new:1"], "/new"));
    engines::docker_root(std::slice::from_ref(&old), "aufs", folder.path()).unwrap();
    engines::docker_root(
        &[new.clone(), image(&["both:1"], "/both")],
        "overlay2",
        folder.path(),
    )
    .unwrap();
    engines::docker_root(
        &[old.clone(), image(&["both:1"], "/both")],
        "vfs",
        folder.path(),
    )
    .unwrap();
    let bundle = open(folder.path()).unwrap();
    let names: Vec<String> = bundle
        .roots()
        .unwrap()
        .into_iter()
        .map(|entry| entry.texts[0].clone())
        .collect();
    assert_eq!(names, ["both:1", "new:1", "old:1"]);
    for name in ["both:1", "new:1", "old:1"] {
        assert!(layers(&*bundle, name).unwrap() == new.layers, "{name}");
    }
}

/// A data root with one image of `overlay2`, and the places in it that a test damages.
struct Fixture {
    folder: tempfile::TempDir,
    image: EngineImage,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = image(&["x:1"], "/x");
        let other = image_of_one_layer();
        engines::docker_root(&[image.clone(), other], "overlay2", folder.path()).unwrap();
        Self { folder, image }
    }

    fn image_folder(&self) -> PathBuf {
        self.folder.path().join("image/overlay2")
    }

    fn facts(&self, i: usize) -> PathBuf {
        let chain = &self.image.chain_ids()[i];
        self.image_folder().join("layerdb/sha256").join(chain)
    }

    fn files(&self, i: usize) -> PathBuf {
        let cache_id = fs::read_to_string(self.facts(i).join("cache-id")).unwrap();
        self.folder
            .path()
            .join("overlay2")
            .join(cache_id)
            .join("diff")
    }

    /// Reads the image, which has to fail, while the other one stays whole.
    fn fails(&self) -> Error {
        let bundle = open(self.folder.path()).unwrap();
        let other = image_of_one_layer();
        assert!(layers(&*bundle, "other:1").unwrap() == other.layers);
        layers(&*bundle, &self.image.id()).unwrap_err()
    }
}

fn image_of_one_layer() -> EngineImage {
    EngineImage {
        names: vec!["other:1".to_owned()],
        layers: vec![layer("file only \"this\"")],
        command: "/other".to_owned(),
    }
}

// D16a: each fault has its own code.
#[test]
fn damage_concerns_one_image_and_is_named() {
    type Damage = fn(&Fixture);
    let cases: [(Damage, Code, &str); 8] = [
        (
            |f| fs::write(f.files(0).join("etc/a"), "aab").unwrap(),
            Code::Mismatch,
            "file \"etc/a\": the CRC-64 of the extracted file",
        ),
        (
            |f| fs::remove_file(f.files(0).join("etc/b")).unwrap(),
            Code::Missing,
            "file \"etc/b\": the store has no such file",
        ),
        (
            |f| fs::remove_dir_all(f.files(1)).unwrap(),
            Code::Missing,
            "the files of layer sha256:",
        ),
        (
            |f| fs::remove_dir_all(f.facts(1)).unwrap(),
            Code::Missing,
            "the engine's data has no layer sha256:",
        ),
        (
            |f| fs::write(f.facts(1).join("cache-id"), "../../../etc").unwrap(),
            Code::BadManifest,
            "file cache-id: \"../../../etc\" is no name of a folder",
        ),
        (
            |f| {
                let id = f.image.id();
                let path = f.image_folder().join("imagedb/content/sha256").join(id);
                fs::write(path, "{}").unwrap();
            },
            Code::Mismatch,
            "the digest of the config does not match",
        ),
        (
            |f| {
                let id = f.image.id();
                let path = f.image_folder().join("imagedb/content/sha256").join(id);
                fs::remove_file(path).unwrap();
            },
            Code::Missing,
            "and it has no config",
        ),
        (
            |f| fs::write(f.facts(0).join("tar-split.json.gz"), "").unwrap(),
            Code::BadManifest,
            "the record is empty",
        ),
    ];
    for (i, (damage, code, text)) in cases.into_iter().enumerate() {
        let fixture = Fixture::new();
        damage(&fixture);
        let error = fixture.fails();
        assert_eq!(error.code(), code, "{i}: {error}");
        assert!(error.to_string().contains(text), "{i}: {error}");
    }
}

// D16a
#[test]
fn links_lead_out_of_no_data_root() {
    let fixture = Fixture::new();
    let secret = tempfile::tempdir().unwrap();
    fs::create_dir(secret.path().join("etc")).unwrap();
    fs::write(secret.path().join("etc/a"), "aaa").unwrap();
    let files = fixture.files(0);
    fs::remove_dir_all(&files).unwrap();
    std::os::unix::fs::symlink(secret.path(), &files).unwrap();
    assert_eq!(fixture.fails().code(), Code::Escape);
    fs::remove_file(&files).unwrap();
    fs::create_dir(&files).unwrap();
    std::os::unix::fs::symlink(secret.path().join("etc"), files.join("etc")).unwrap();
    assert_eq!(fixture.fails().code(), Code::Missing);
}

// D16b
#[test]
fn a_layer_without_a_record_is_made_of_its_files() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.facts(0).join("tar-split.json.gz")).unwrap();
    let bundle = open(fixture.folder.path()).unwrap();
    let tars = layers(&*bundle, "x:1").unwrap();
    assert!(tars[1] == fixture.image.layers[1]);
    let lines = imgconv_testkit::dump::tar_lines(&mut &*tars[0], "layer").unwrap();
    let names = |line: &String| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let names: Vec<String> = lines.iter().map(names).collect();
    assert_eq!(names, ["dir etc", "file etc/a", "file etc/b"]);
    let document = bundle.root(&bundle.roots().unwrap()[1]).unwrap();
    let Root::Document(document) = document else {
        panic!("the root is a document");
    };
    let text = String::from_utf8(document.bytes.to_vec()).unwrap();
    assert!(text.contains("\"RemadeLayers\":[0]"), "{text}");
}

/// Lists kinds, paths and contents of a tar's members without directories.
pub(crate) fn files(tar: &[u8]) -> Vec<String> {
    let lines = imgconv_testkit::dump::tar_lines(&mut &*tar, "layer").unwrap();
    let words = |line: &String| -> Vec<String> {
        let words = line.split(' ');
        // Neither modes, owners nor times.
        let wanted = |word: &&str| !word.starts_with(|c: char| c == '@' || c.is_ascii_digit());
        words.filter(wanted).map(str::to_owned).collect()
    };
    let mut lines: Vec<String> = lines
        .iter()
        .filter(|line| !line.starts_with("dir "))
        .map(|line| words(line).join(" "))
        .collect();
    lines.sort();
    lines
}

// D16b
#[test]
fn layers_of_every_driver_are_remade() {
    for driver in ["overlay", "aufs", "vfs", "btrfs"] {
        let folder = tempfile::tempdir().unwrap();
        let image = image(&["x:1"], "/x");
        engines::docker_root(std::slice::from_ref(&image), driver, folder.path()).unwrap();
        for chain in image.chain_ids() {
            let facts = folder
                .path()
                .join(format!("image/{driver}/layerdb/sha256/{chain}"));
            fs::remove_file(facts.join("tar-split.json.gz")).unwrap();
        }
        let tars = layers(&*open(folder.path()).unwrap(), "x:1").unwrap();
        for (tar, known) in tars.iter().zip(&image.layers) {
            assert_eq!(files(tar), files(known), "{driver}");
        }
        // Without the tree below, the whole tree would bring back deleted files.
        let top = folder.path().join(format!("image/{driver}/layerdb/sha256"));
        fs::remove_file(top.join(&image.chain_ids()[1]).join("parent")).unwrap();
        let tars = layers(&*open(folder.path()).unwrap(), "x:1");
        assert_eq!(tars.is_err(), driver != "aufs", "{driver}");
    }
}

// D16b
#[test]
fn drivers_without_folders_are_named() {
    for (driver, text) in [
        (
            "devicemapper",
            "the graph driver `devicemapper` keeps layers on volumes of its own",
        ),
        (
            "zfs",
            "the graph driver `zfs` keeps layers on volumes of its own",
        ),
        ("new", "\"new\" is no known graph driver"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let image = image(&["x:1"], "/x");
        engines::docker_root(&[image], driver, folder.path()).unwrap();
        let error = layers(&*open(folder.path()).unwrap(), "x:1").unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.advice().is_some());
    }
}
