//! A storage of version 2 made by hand: tags, indexes, revisions without tags, and damage.

use std::{fs, os::unix::fs::symlink, path::Path};

use imgconv_model::{
    Algorithm, Bundle, Code, Digest, Env, Facts, Platform, Result, Root, Transport,
};
use imgconv_testkit::laws;
use imgconv_transport_registry_storage::REGISTRY_STORAGE;

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","n":1}"#;
const UNSIGNED: &str = r#"{"schemaVersion":1,"name":"team/old"}"#;

struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(fixture.base().join("repositories")).unwrap();
        fixture
    }

    fn base(&self) -> std::path::PathBuf {
        self.0.path().join("docker/registry/v2")
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.base().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn blob(&self, bytes: impl AsRef<[u8]>) -> Digest {
        let digest = imgconv_stream::digest(Algorithm::Sha256, bytes.as_ref());
        self.put(&path(&digest), bytes);
        digest
    }

    fn revision(&self, repository: &str, digest: &Digest) {
        let link = format!(
            "repositories/{repository}/_manifests/revisions/sha256/{}/link",
            digest.hex()
        );
        self.put(&link, digest.to_string());
    }

    fn tag(&self, repository: &str, tag: &str, digest: &Digest) {
        self.revision(repository, digest);
        let link = format!("repositories/{repository}/_manifests/tags/{tag}/current/link");
        self.put(&link, digest.to_string());
    }

    fn open(&self) -> Result<Box<dyn Bundle>> {
        self.open_of(None)
    }

    fn open_of(&self, host: Option<&str>) -> Result<Box<dyn Bundle>> {
        let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        env.places.registry_host = host.map(str::to_owned);
        REGISTRY_STORAGE.open(self.0.path().to_str().unwrap(), &env)
    }

    /// A line for each entry: name, first text, and the root's kind or the error's code.
    fn lines(&self) -> Vec<String> {
        let bundle = self.open().unwrap();
        let line = |entry: &imgconv_model::RootEntry| {
            let name = entry.name.as_ref().map_or("-".into(), ToString::to_string);
            let root = match bundle.root(entry) {
                Ok(Root::Document(document)) => document.kind,
                Ok(Root::Stream(_)) => panic!("a registry has documents"),
                Err(error) => format!("error {}", error.code()),
            };
            format!("{name} {} {root}", entry.texts[0])
        };
        bundle.roots().unwrap().iter().map(line).collect()
    }
}

fn path(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("blobs/sha256/{}/{hex}/data", &hex[..2])
}

fn index(children: &[Digest]) -> String {
    let child = |digest: &Digest| format!(r#"{{"mediaType":"x","size":1,"digest":"{digest}"}}"#);
    let children: Vec<String> = children.iter().map(child).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
        children.join(",")
    )
}

#[test]
fn every_tag_is_an_entry_and_the_manifest_says_its_type() {
    let fixture = Fixture::new();
    assert!(REGISTRY_STORAGE.recognise(fixture.0.path()).unwrap());
    assert!(fixture.lines().is_empty());
    let new = fixture.blob(MANIFEST);
    let old = fixture.blob(UNSIGNED);
    fixture.tag("team/app", "1.0", &new);
    fixture.tag("team/app", "latest", &new);
    fixture.tag("team/app/nested", "x", &old);
    fixture.tag("busybox", "1.35", &old);
    fs::create_dir_all(fixture.base().join("repositories/team/app/_uploads/x")).unwrap();
    fs::create_dir_all(
        fixture
            .base()
            .join("repositories/team/app/_layers/sha256/x"),
    )
    .unwrap();
    let kind = "application/vnd.docker.distribution.manifest";
    assert_eq!(
        fixture.lines(),
        [
            format!("docker.io/library/busybox:1.35 busybox:1.35 {kind}.v1+json"),
            format!("docker.io/team/app:1.0 team/app:1.0 {kind}.v2+json"),
            format!("docker.io/team/app:latest team/app:latest {kind}.v2+json"),
            format!("docker.io/team/app/nested:x team/app/nested:x {kind}.v1+json"),
        ]
    );
    let entries = fixture.open().unwrap().roots().unwrap();
    assert_eq!(entries[1].texts[1], format!("team/app@{new}"));
    let child = entries[1].child.as_ref().unwrap();
    assert_eq!((child.digest, child.size), (new, MANIFEST.len() as u64));
}

#[test]
fn names_begin_with_the_host_that_was_given() {
    let fixture = Fixture::new();
    fixture.tag("team/app", "1.0", &fixture.blob(MANIFEST));
    let name = |host| {
        let entries = fixture.open_of(Some(host))?.roots()?;
        Ok::<_, imgconv_model::Error>(entries[0].name.as_ref().unwrap().to_string())
    };
    assert_eq!(
        name("localhost:5000").unwrap(),
        "localhost:5000/team/app:1.0"
    );
    assert_eq!(
        name("reg.example.com").unwrap(),
        "reg.example.com/team/app:1.0"
    );
    for bad in ["", "a/b", "nodots", "-x.com", "https://x.com", "x.com/"] {
        assert_eq!(name(bad).unwrap_err().code(), Code::Usage, "{bad}");
    }
}

#[test]
fn what_no_tag_and_no_index_leads_to_is_an_entry_without_a_name() {
    let fixture = Fixture::new();
    let [a, b, c] = ["a", "b", "c"].map(|n| fixture.blob(MANIFEST.replace('1', n)));
    let inner = fixture.blob(index(&[a]));
    let outer = fixture.blob(index(&[inner, b]));
    fixture.tag("app", "1.0", &outer);
    for child in [&a, &b, &c, &inner] {
        fixture.revision("app", child);
    }
    fixture.revision("copy", &c);
    // Deleting a manifest takes its link away.
    let gone = fixture.blob(UNSIGNED);
    let folder = format!(
        "repositories/app/_manifests/revisions/sha256/{}",
        gone.hex()
    );
    fs::create_dir_all(fixture.base().join(folder)).unwrap();
    let entries = fixture.open().unwrap().roots().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].texts[0], "app:1.0");
    assert!(entries[1].name.is_none());
    assert_eq!(entries[1].texts, [format!("app@{c}"), format!("copy@{c}")]);
    assert_eq!(entries[1].child.as_ref().unwrap().digest, c);
}

/// K57.
#[test]
fn an_image_without_a_tag_is_named_by_its_digest() {
    let fixture = Fixture::new();
    let config = r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json"}"#;
    let artifact = config.replace("image.config", "empty");
    let listed = r#"[{"artifactType":"a/b","digest":"x"}]"#;
    let documents = [
        (format!("{{{config}}}"), true),
        (format!(r#"{{{config},"subject":{{}}}}"#), false),
        (format!(r#"{{{config},"artifactType":"a/b"}}"#), false),
        (format!("{{{artifact}}}"), false),
        (r#"{"fsLayers":[]}"#.to_owned(), true),
        (r#"{"manifests":[]}"#.to_owned(), true),
        (format!(r#"{{"manifests":{listed}}}"#), false),
    ];
    for (text, named) in documents {
        let digest = fixture.blob(&text);
        fixture.revision("team/app", &digest);
        let entries = fixture
            .open_of(Some("example.com"))
            .unwrap()
            .roots()
            .unwrap();
        let mut entries = entries.into_iter();
        let entry = entries
            .find(|entry| entry.digest() == Some(digest))
            .unwrap();
        let name = entry.name.map(|name| name.to_string());
        let expected = format!("example.com/team/app@{digest}");
        assert_eq!(name, named.then_some(expected), "{text}");
    }
    // In each of its repositories.
    let digest = fixture.blob(r#"{"fsLayers":[1]}"#);
    for repository in ["one", "two"] {
        fixture.revision(repository, &digest);
    }
    let entries = fixture.open().unwrap().roots().unwrap().into_iter();
    let texts = entries
        .filter(|entry| entry.digest() == Some(digest))
        .map(|entry| entry.texts);
    let expected = ["one", "two"].map(|repository| vec![format!("{repository}@{digest}")]);
    assert_eq!(texts.collect::<Vec<_>>(), expected);
}

#[test]
fn damage_is_an_error_of_that_entry_alone() {
    let fixture = Fixture::new();
    let good = fixture.blob(MANIFEST);
    fixture.tag("good", "1", &good);
    let changed = fixture.blob(UNSIGNED);
    fixture.tag("bad", "changed", &changed);
    fixture.put(&path(&changed), "{}");
    let missing = imgconv_stream::digest(Algorithm::Sha256, b"missing");
    fixture.tag("bad", "missing", &missing);
    fixture.tag("bad", "text", &fixture.blob("no JSON"));
    let tags = "repositories/bad/_manifests/tags";
    fixture.put(
        &format!("{tags}/link/current/link"),
        "sha256:../../etc/passwd",
    );
    fs::create_dir_all(fixture.base().join(tags).join("nolink")).unwrap();
    fs::create_dir_all(fixture.base().join(tags).join("escape/current")).unwrap();
    let link = fixture.base().join(tags).join("escape/current/link");
    symlink("/etc/hostname", link).unwrap();
    symlink("good", fixture.base().join("repositories/linked")).unwrap();
    let codes: Vec<String> = fixture
        .lines()
        .iter()
        .map(|line| {
            let mut words = line.split(' ').skip(1);
            let text = words.next().unwrap().rsplit('/').next().unwrap();
            format!("{text} {}", words.collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        codes,
        [
            "bad:changed error mismatch",
            "bad:escape error escape",
            "bad:link error bad-digest",
            "bad:missing error missing",
            "bad:nolink error missing",
            "bad:text error bad-json",
            "good:1 application/vnd.docker.distribution.manifest.v2+json",
            "linked error escape",
        ]
    );
    let entries = fixture.open().unwrap().roots().unwrap();
    assert_eq!(entries[3].child.as_ref().unwrap().digest, missing);
}

// W1: tags that can't be read are no proof that a manifest has none.
#[test]
fn manifests_of_a_repository_with_unreadable_tags_are_not_untagged() {
    let fixture = Fixture::new();
    let digest = fixture.blob(MANIFEST);
    fixture.tag("team/app", "1", &digest);
    let tags = fixture.base().join("repositories/team/app/_manifests/tags");
    let entries = || -> Vec<(Vec<String>, Result<Root>)> {
        let bundle = fixture.open().unwrap();
        let roots = bundle.roots().unwrap();
        let read = |entry: &imgconv_model::RootEntry| (entry.texts.clone(), bundle.root(entry));
        roots.iter().map(read).collect()
    };
    // A directory in place of the link: the file system can't read it.
    fs::remove_file(tags.join("1/current/link")).unwrap();
    fs::create_dir(tags.join("1/current/link")).unwrap();
    let found = entries();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, ["team/app:1"]);
    assert_eq!(found[0].1.as_ref().unwrap_err().code(), Code::Io);
    // A file in place of the directory.
    fs::remove_dir_all(&tags).unwrap();
    fs::write(&tags, "").unwrap();
    let found = entries();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0[0].ends_with("team/app/_manifests/tags"));
    assert_eq!(found[0].1.as_ref().unwrap_err().code(), Code::Io);
}

#[test]
fn blobs_are_verified_and_found_by_their_digests_alone() {
    let fixture = Fixture::new();
    let layer = fixture.blob(b"layer");
    let bundle = fixture.open().unwrap();
    let facts = |size| Facts {
        digest: Some(layer),
        size,
    };
    let read = |facts: &Facts| laws::read(&bundle.blob(facts)?);
    assert_eq!(read(&facts(Some(5))).unwrap(), b"layer");
    assert_eq!(read(&facts(None)).unwrap(), b"layer");
    assert_eq!(read(&facts(Some(6))).unwrap_err().code(), Code::Mismatch);
    fixture.put(&path(&layer), b"lAyer");
    assert_eq!(read(&facts(None)).unwrap_err().code(), Code::Mismatch);
    fs::remove_file(fixture.base().join(path(&layer))).unwrap();
    assert_eq!(read(&facts(None)).unwrap_err().code(), Code::Missing);
    assert_eq!(read(&Facts::default()).unwrap_err().code(), Code::Missing);
    fs::create_dir(fixture.base().join(path(&layer))).unwrap();
    assert_eq!(read(&facts(None)).unwrap_err().code(), Code::Io);
}

#[test]
fn signatures_that_were_put_aside_are_the_registrys_own() {
    let fixture = Fixture::new();
    let manifest = fixture.blob(UNSIGNED);
    let signature = fixture.blob(b"signature");
    fixture.tag("old", "1", &manifest);
    let folder = format!(
        "repositories/old/_manifests/revisions/sha256/{}",
        manifest.hex()
    );
    let link = format!("{folder}/signatures/sha256/{}/link", signature.hex());
    fixture.put(&link, signature.to_string());
    let stored = fixture.open().unwrap().stored().unwrap().unwrap();
    assert_eq!(stored, [manifest]);
}

#[test]
fn what_is_no_storage_says_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    let open = |path: &Path| REGISTRY_STORAGE.open(path.to_str().unwrap(), &env);
    assert!(!REGISTRY_STORAGE.recognise(folder.path()).unwrap());
    let error = open(folder.path()).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.advice().unwrap().contains("/var/lib/registry"));
    assert_eq!(
        open(&folder.path().join("none")).unwrap_err().code(),
        Code::Missing
    );
    let error = REGISTRY_STORAGE.create("x", &env).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
}

#[test]
fn both_versions_can_stand_in_one_directory() {
    let fixture = Fixture::new();
    fixture.tag("new", "1", &fixture.blob(MANIFEST));
    let id = "a".repeat(64);
    let put = |name: &str, text: &str| {
        let path = fixture.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put(&format!("images/{id}/json"), &format!(r#"{{"id":"{id}"}}"#));
    put("repositories/library/old/tag_1", &id);
    let v1 = "application/vnd.imgconv.docker-v1.image.v1+json";
    assert_eq!(
        fixture.lines(),
        [
            "docker.io/library/new:1 new:1 application/vnd.docker.distribution.manifest.v2+json",
            &format!("docker.io/library/old:1 library/old:1 {v1}"),
        ]
    );
}

// robustness K48: what no registry makes is no image, and no reason to fail.
#[test]
fn k48_stray_folders_are_passed_over() {
    let fixture = Fixture::new();
    let digest = fixture.blob(MANIFEST);
    fixture.tag("team/app", "1.0", &digest);
    for stray in ["@eaDir", "lost+found", ".snapshot", "#recycle"] {
        for folder in [
            "repositories",
            "repositories/team",
            "repositories/team/app/_manifests/tags",
            "repositories/team/app/_manifests/revisions/sha256",
            "blobs/sha256",
        ] {
            let path = fixture.base().join(folder).join(stray);
            fs::create_dir_all(path.join("x")).unwrap();
        }
    }
    // One that can't be listed.
    symlink("/nowhere", fixture.base().join("repositories/@link")).unwrap();
    symlink("/nowhere", fixture.base().join("blobs/sha256/@link")).unwrap();
    let lines = fixture.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("docker.io/team/app:1.0 team/app:1.0 "),
        "{lines:?}"
    );
    assert_eq!(fixture.open().unwrap().stored().unwrap().unwrap(), [digest]);
}
