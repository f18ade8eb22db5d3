//! A storage of version 1 made by hand: chains, checksums, and damage.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use imgconv_model::{Algorithm, Bundle, Code, Env, Facts, Platform, Result, Root, Transport};
use imgconv_testkit::laws;
use imgconv_transport_registry_storage::REGISTRY_STORAGE;

struct Fixture(tempfile::TempDir);

fn id(letter: char) -> String {
    letter.to_string().repeat(64)
}

impl Fixture {
    /// `b` on `a`, tagged twice; `c` on `a`, not tagged.
    fn new() -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        fixture.image('a', None);
        fixture.image('b', Some('a'));
        fixture.image('c', Some('a'));
        fixture.put("repositories/library/app/tag_1.0", id('b'));
        fixture.put("repositories/team/app/tag_latest", format!("{}\n", id('b')));
        fixture.put("repositories/team/app/_index_images", "[]");
        fixture.put("repositories/team/app/taglatest_json", "{}");
        fixture
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn image(&self, letter: char, parent: Option<char>) {
        let own = id(letter);
        let json = match parent {
            Some(parent) => format!(r#"{{"id":"{own}","parent":"{}"}}"#, id(parent)),
            None => format!(r#"{{"id":"{own}"}}"#),
        };
        let layer = format!("layer {letter}");
        let sum = imgconv_stream::digest(Algorithm::Sha256, format!("{json}\n{layer}").as_bytes());
        self.put(&format!("images/{own}/json"), json);
        self.put(&format!("images/{own}/layer"), layer);
        let sums = format!(r#"["tarsum+sha256:00","{sum}"]"#);
        self.put(&format!("images/{own}/_checksum"), sums);
    }

    fn open(&self) -> Box<dyn Bundle> {
        let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        REGISTRY_STORAGE
            .open(self.0.path().to_str().unwrap(), &env)
            .unwrap()
    }

    /// A line for each entry: first text, and the letters of the chain or the error's code.
    fn lines(&self) -> Vec<String> {
        let bundle = self.open();
        let line = |entry: &imgconv_model::RootEntry| {
            let text = entry.texts[0].replace(&id('c'), "c").replace(&id('d'), "d");
            match bundle.root(entry) {
                Ok(Root::Document(document)) => format!("{text} {}", letters(&document.bytes)),
                Ok(Root::Stream(_)) => panic!("a registry has documents"),
                Err(error) => format!("{text} error {}", error.code()),
            }
        };
        bundle.roots().unwrap().iter().map(line).collect()
    }

    fn layer(&self, letter: char) -> Result<Vec<u8>> {
        let name = format!("images/{}/layer", id(letter));
        laws::read(&self.open().member(&name, &Facts::default())?)
    }
}

/// The first letters of the ids of a root document, in its order.
fn letters(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let layers = text.split("\"layer\":\"images/").skip(1);
    layers.map(|rest| rest.chars().next().unwrap()).collect()
}

#[test]
fn every_tag_is_an_entry_and_so_is_what_nothing_leads_to() {
    let fixture = Fixture::new();
    assert!(REGISTRY_STORAGE.recognise(fixture.0.path()).unwrap());
    assert_eq!(
        fixture.lines(),
        ["library/app:1.0 ab", "team/app:latest ab", "c ac"]
    );
    let entries = fixture.open().roots().unwrap();
    let names: Vec<String> = entries
        .iter()
        .map(|entry| entry.name.as_ref().map_or("-".into(), ToString::to_string))
        .collect();
    let known = [
        "docker.io/library/app:1.0",
        "docker.io/team/app:latest",
        "-",
    ];
    assert_eq!(names, known);
    assert_eq!(entries[0].texts[1], "app:1.0");
    assert_eq!(entries[0].child, entries[1].child);
}

#[test]
fn the_checksum_covers_json_and_layer() {
    let fixture = Fixture::new();
    assert_eq!(fixture.layer('b').unwrap(), b"layer b");
    let path = format!("images/{}/layer", id('b'));
    fixture.put(&path, "lAyer b");
    assert_eq!(fixture.layer('b').unwrap_err().code(), Code::Mismatch);
    fixture.put(&path, "layer");
    assert_eq!(fixture.layer('b').unwrap_err().code(), Code::Mismatch);
    fixture.put(&path, "layer b");
    let json = format!("images/{}/json", id('b'));
    fixture.put(&json, format!(r#"{{"id":"{}"}}"#, id('b')));
    assert_eq!(fixture.layer('b').unwrap_err().code(), Code::Mismatch);
    // The oldest registries wrote one bare text, or none that covers the bytes.
    let sums = format!("images/{}/_checksum", id('b'));
    fixture.put(&sums, "tarsum+sha256:00");
    assert_eq!(fixture.layer('b').unwrap(), b"layer b");
    let wrong = imgconv_stream::digest(Algorithm::Sha256, b"");
    fixture.put(&sums, wrong.to_string());
    assert_eq!(fixture.layer('b').unwrap_err().code(), Code::Mismatch);
    fs::remove_file(fixture.at(&sums)).unwrap();
    assert_eq!(fixture.layer('b').unwrap(), b"layer b");
}

#[test]
fn a_missing_layer_and_a_name_that_is_none_are_refused() {
    let fixture = Fixture::new();
    let path = fixture.at(&format!("images/{}/layer", id('b')));
    fs::remove_file(&path).unwrap();
    assert_eq!(fixture.layer('b').unwrap_err().code(), Code::Missing);
    symlink("/etc/hostname", &path).unwrap();
    assert_eq!(fixture.layer('b').unwrap_err().code(), Code::Escape);
    let bundle = fixture.open();
    for name in ["images/../layer", "images/b/layer", "json", "images/layer"] {
        let error = bundle.member(name, &Facts::default()).unwrap_err();
        assert_eq!(error.code(), Code::BadName, "{name}");
    }
}

#[test]
fn damage_is_an_error_of_that_entry_alone() {
    let fixture = Fixture::new();
    fixture.put("repositories/team/bad/tag_id", "../../../etc/passwd");
    fixture.put("repositories/team/bad/tag_none", id('e'));
    fixture.image('d', Some('f'));
    fixture.put("repositories/team/bad/tag_orphan", id('d'));
    fixture.put(&format!("images/{}/_inprogress", id('c')), "true");
    assert_eq!(
        fixture.lines(),
        [
            "library/app:1.0 ab",
            "team/app:latest ab",
            "team/bad:id error bad-name",
            "team/bad:none error missing",
            "team/bad:orphan error missing",
            "c error missing",
        ]
    );
    // A broken base breaks what is on it.
    fixture.put(&format!("images/{}/json", id('a')), "{");
    assert_eq!(fixture.lines()[0], "library/app:1.0 error bad-json");
}

#[test]
fn a2a_images_that_are_their_own_ancestors_are_named() {
    let fixture = Fixture::new();
    fixture.image('d', Some('f'));
    fixture.image('f', Some('d'));
    let lines = fixture.lines();
    assert_eq!(lines[3], "d error cycle");
    assert_eq!(lines.len(), 5);
}

#[test]
fn the_list_of_ancestors_must_be_the_chain() {
    let fixture = Fixture::new();
    let list = |letters: &[char]| {
        let ids: Vec<String> = letters.iter().map(|l| format!("{:?}", id(*l))).collect();
        format!("[{}]", ids.join(","))
    };
    let path = format!("images/{}/ancestry", id('b'));
    fixture.put(&path, list(&['b', 'a']));
    assert_eq!(fixture.lines()[0], "library/app:1.0 ab");
    for wrong in [&['b'][..], &['a', 'b'], &['b', 'c'], &[]] {
        fixture.put(&path, list(wrong));
        assert_eq!(fixture.lines()[0], "library/app:1.0 error ambiguous");
    }
}
