//! A store made by hand, as rkt leaves it, and everything that can be wrong with one.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use imgconv_model::{Bundle, Code, Env, Facts, Platform, Result, Root, Transport};
use imgconv_testkit::{ImageRecipe, laws, stores};
use imgconv_transport_rkt::RKT;

struct Fixture {
    folder: tempfile::TempDir,
    keys: Vec<String>,
}

impl Fixture {
    /// A store with two versions of one image.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = stores::rkt(&ImageRecipe::samples(true), folder.path()).unwrap();
        Self { folder, keys }
    }

    fn path(&self, store: &str, i: usize) -> PathBuf {
        let key = &self.keys[i];
        let path = format!("cas/{store}/sha512/{}/{key}", &key[7..9]);
        self.folder.path().join(path)
    }

    fn open(&self) -> Result<Box<dyn Bundle>> {
        let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        RKT.open(self.folder.path().to_str().unwrap(), &env)
    }

    /// The names in the order of the keys; `-` where there is none.
    fn names(&self) -> Vec<String> {
        let name = |entry: imgconv_model::RootEntry| {
            entry.name.map_or("-".into(), |name| name.to_string())
        };
        self.open()
            .unwrap()
            .roots()
            .unwrap()
            .into_iter()
            .map(name)
            .collect()
    }

    /// Reads the image of a key to its end.
    fn read(&self, i: usize) -> Result<Vec<u8>> {
        let bundle = self.open()?;
        let entries = bundle.roots()?;
        let entry = entries.iter().find(|entry| entry.texts[0] == self.keys[i]);
        let Root::Stream(blob) = bundle.root(entry.unwrap())? else {
            panic!("an ACI is a stream");
        };
        laws::read(&blob)
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn the_index_is_made_of_the_manifests() {
    let fixture = Fixture::new();
    assert!(RKT.recognise(fixture.folder.path()).unwrap());
    let bundle = fixture.open().unwrap();
    let entries = bundle.roots().unwrap();
    let mut keys = fixture.keys.clone();
    keys.sort();
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(entry.position, i);
        assert_eq!(entry.texts[0], keys[i]);
        assert_eq!(entry.texts[1], entry.name.as_ref().unwrap().to_string());
        assert!(entry.child.is_none());
    }
    let names = sorted(fixture.names());
    assert_eq!(names, ["example.com/app:1.0", "example.com/app:2.0"]);
    assert_eq!(
        fixture.read(0).unwrap(),
        fs::read(fixture.path("blob", 0)).unwrap()
    );
}

#[test]
fn m9_a_corrupt_or_truncated_blob_is_a_mismatch_of_that_image() {
    let fixture = Fixture::new();
    let path = fixture.path("blob", 0);
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let longer = [&good[..], &[0]].concat();
    for bad in [&flipped[..], &good[..good.len() - 512], &longer, b""] {
        fs::write(&path, bad).unwrap();
        let error = fixture.read(0).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch, "{error}");
        assert!(error.to_string().contains(&fixture.keys[0]), "{error}");
        assert!(fixture.read(1).is_ok());
        assert_eq!(fixture.names().len(), 2);
    }
}

#[test]
fn m9_half_a_hash_must_fit_the_whole_one() {
    let fixture = Fixture::new();
    let good = fixture.read(0).unwrap();
    // Right in the first 62 digits only.
    let (key, last) = fixture.keys[0].split_at(69);
    let wrong = format!("{key}{}", if last == "00" { "11" } else { "00" });
    let folder = fixture.path("blob", 0).parent().unwrap().to_owned();
    fs::rename(fixture.path("blob", 0), folder.join(&wrong)).unwrap();
    let fixture = Fixture {
        keys: vec![wrong],
        ..fixture
    };
    let error = fixture.read(0).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    let whole = format!("sha512-{}", imgconv_testkit::sha512_hex(&good));
    assert!(error.to_string().contains(&whole), "{error}");
}

#[test]
fn m9_the_database_is_not_needed() {
    let fixture = Fixture::new();
    fs::remove_dir_all(fixture.folder.path().join("cas/db")).unwrap();
    assert_eq!(fixture.names().len(), 2);
    assert!(fixture.read(1).is_ok());
}

#[test]
fn an_image_without_its_manifest_is_read_and_has_no_name_here() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.path("imageManifest", 0)).unwrap();
    assert_eq!(sorted(fixture.names()), ["-", "example.com/app:2.0"]);
    assert!(fixture.read(0).is_ok());
    fs::write(fixture.path("imageManifest", 1), "{").unwrap();
    assert_eq!(fixture.names(), ["-", "-"]);
    assert!(fixture.read(1).is_ok());
}

#[test]
fn a_manifest_without_its_image_is_an_error_of_that_image() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.path("blob", 0)).unwrap();
    let error = fixture.read(0).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains(&fixture.keys[0]), "{error}");
    assert!(fixture.read(1).is_ok());
}

#[test]
fn d1a_links_are_refused_and_other_names_are_no_keys() {
    let fixture = Fixture::new();
    let blob = fixture.path("blob", 0);
    fs::remove_file(&blob).unwrap();
    symlink("/etc/passwd", &blob).unwrap();
    assert_eq!(fixture.read(0).unwrap_err().code(), Code::Escape);
    let folder = fixture.path("blob", 1).parent().unwrap().to_owned();
    for name in ["sha512-00", "tmp123", "sha512-..", &"a".repeat(71)] {
        fs::write(folder.join(name), "x").unwrap();
    }
    // A key in the wrong directory is not found by rkt either.
    let other = fixture.folder.path().join("cas/blob/sha512/zz");
    fs::create_dir(&other).unwrap();
    fs::copy(
        fixture.path("blob", 1),
        other.join(format!("sha512-{}", "a".repeat(64))),
    )
    .unwrap();
    assert_eq!(fixture.names().len(), 2);
}

#[test]
fn what_is_no_store_says_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    let open = |path: &str| RKT.open(path, &env);
    assert!(!RKT.recognise(folder.path()).unwrap());
    let error = open(folder.path().to_str().unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.advice().unwrap().contains("/var/lib/rkt"));
    // A store that never had an image.
    fs::create_dir(folder.path().join("cas")).unwrap();
    let bundle = open(folder.path().to_str().unwrap()).unwrap();
    assert!(bundle.roots().unwrap().is_empty());
    let facts = Facts::default();
    assert_eq!(bundle.blob(&facts).unwrap_err().code(), Code::Missing);
    let error = RKT.create("x", &env).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(
        error
            .to_string()
            .contains("imgconv can read `rkt:`, but not write to it")
    );
}
