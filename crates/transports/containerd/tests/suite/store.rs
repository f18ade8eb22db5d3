//! A root directory of containerd: its images by their names and namespaces, its blobs verified.

use std::{fs, path::Path};

use imgconv_model::{Bundle, Code, Digest, Env, Error, Platform, Result, Transport as _};
use imgconv_testkit::{
    engines::{self, EngineImage},
    laws, sha256_hex,
};
use imgconv_transport_containerd::CONTAINERD;

const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";

fn image(names: &[&str], command: &str) -> EngineImage {
    EngineImage::of(names, &["file a \"aaa\""], command)
}

fn store(images: &[(EngineImage, &[&str])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let owned = images.iter().map(|(image, namespaces)| {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        (image.clone(), namespaces)
    });
    engines::containerd(&owned.collect::<Vec<_>>(), folder.path()).unwrap();
    folder
}

fn open(root: &Path, namespace: Option<&str>) -> Result<Box<dyn Bundle>> {
    let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    env.places.namespace = namespace.map(str::to_owned);
    CONTAINERD.open(root.to_str().unwrap(), &env)
}

fn texts(bundle: &dyn Bundle) -> Vec<String> {
    let first = |entry: imgconv_model::RootEntry| entry.texts.first().cloned();
    bundle
        .roots()
        .unwrap()
        .into_iter()
        .filter_map(first)
        .collect()
}

#[test]
fn images_are_listed_by_name_and_namespace() {
    let dangling = format!("moby-dangling@sha256:{}", "1".repeat(64));
    let folder = store(&[
        (
            image(&["docker.io/library/x:1"], "/x"),
            &["default", "k8s.io"],
        ),
        (image(&["docker.io/library/x:1"], "/other"), &["moby"]),
        (image(&[&dangling, "quay.io/y:2"], "/y"), &["moby"]),
    ]);
    assert!(CONTAINERD.recognise(folder.path()).unwrap());
    let bundle = open(folder.path(), None).unwrap();
    let entries = bundle.roots().unwrap();
    let x: Vec<_> = entries
        .iter()
        .filter(|e| e.texts[0] == "docker.io/library/x:1")
        .collect();
    // The same image in two namespaces is one; another image of that name is another.
    assert_eq!(x.len(), 2);
    let spaces: Vec<&[String]> = x.iter().map(|entry| &entry.texts[1..]).collect();
    assert!(spaces.contains(
        &&[
            "default/docker.io/library/x:1".to_owned(),
            "k8s.io/docker.io/library/x:1".to_owned()
        ][..]
    ));
    assert!(spaces.contains(&&["moby/docker.io/library/x:1".to_owned()][..]));
    let unnamed = entries
        .iter()
        .find(|entry| entry.texts[0] == dangling)
        .unwrap();
    assert!(unnamed.name.is_none());
    let bundle = open(folder.path(), Some("moby")).unwrap();
    assert_eq!(
        texts(&*bundle),
        ["docker.io/library/x:1", &dangling, "quay.io/y:2"]
    );
    let error = open(folder.path(), Some("none")).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert_eq!(
        error.advice(),
        Some("there are \"default\", \"k8s.io\", \"moby\"")
    );
}

/// Enough names for branches and several leaves.
#[test]
fn many_names_are_all_there() {
    let names: Vec<String> = (0..300)
        .map(|i| format!("example.com/app{i:03}:1"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let folder = store(&[(image(&names, "/x"), &["default"])]);
    assert_eq!(texts(&*open(folder.path(), None).unwrap()), names);
}

// D16c
#[test]
fn blobs_are_verified() {
    let image = image(&["x:1"], "/x");
    let folder = store(&[(image.clone(), &["default"])]);
    let hex = sha256_hex(&image.layers[0]);
    let facts = laws::facts(&image.layers[0]);
    let read = || -> Result<Vec<u8>> { laws::read(&open(folder.path(), None)?.blob(&facts)?) };
    assert!(read().unwrap() == image.layers[0]);
    let path = folder
        .path()
        .join("io.containerd.content.v1.content/blobs/sha256")
        .join(hex);
    let mut changed = image.layers[0].clone();
    changed[0] ^= 1;
    fs::write(&path, changed).unwrap();
    assert_eq!(read().unwrap_err().code(), Code::Mismatch);
    fs::remove_file(&path).unwrap();
    let error = read().unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.advice().unwrap().contains("--all-platforms"));
}

// D16c
#[test]
fn without_a_database_the_blobs_say_what_there_is() {
    let folder = store(&[
        (image(&["x:1"], "/x"), &["default"]),
        (image(&["y:1"], "/y"), &["default"]),
    ]);
    let named = open(folder.path(), None).unwrap().roots().unwrap();
    let mut digests: Vec<_> = named
        .iter()
        .map(|entry| entry.child.clone().unwrap().digest)
        .collect();
    digests.sort();
    let damage: [&dyn Fn(&Path); 3] = [
        &|path| fs::remove_file(path).unwrap(),
        &|path| fs::write(path, vec![0xa5; 20_000]).unwrap(),
        &|path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
    ];
    for (i, damage) in damage.iter().enumerate() {
        damage(&folder.path().join(DATABASE));
        let entries = open(folder.path(), None).unwrap().roots().unwrap();
        assert!(entries.iter().all(|entry| entry.name.is_none()), "{i}");
        let found: Vec<_> = entries
            .iter()
            .map(|e| e.child.clone().unwrap().digest)
            .collect();
        assert_eq!(found, digests, "{i}");
        assert!(open(folder.path(), Some("default")).is_err());
        engines::containerd(
            &[(image(&["x:1"], "/x"), vec!["default".to_owned()])],
            folder.path(),
        )
        .unwrap();
    }
}

/// D16c: bytes all over a database are changed in turn; each leads to a result or a refusal, never to
/// a panic or an endless walk.
#[test]
fn no_damage_of_the_database_is_fatal() {
    let folder = store(&[(image(&["x:1", "y:1"], "/x"), &["default", "moby"])]);
    let path = folder.path().join(DATABASE);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(31) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        fs::write(&path, bytes).unwrap();
        if let Ok(bundle) = open(folder.path(), None) {
            bundle.roots().unwrap();
        }
    }
}

// D16g
#[test]
fn a_layer_without_a_blob_is_made_of_its_snapshot() {
    let image = image(&["x:1"], "/x");
    let folder = store(&[(image.clone(), &["default"])]);
    engines::containerd_snapshots(std::slice::from_ref(&image), folder.path()).unwrap();
    let diff_ids: Vec<Digest> = image
        .diff_ids()
        .iter()
        .map(|id| Digest::parse(id).unwrap())
        .collect();
    let open = |wanted: bool| {
        let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        env.places.from_snapshots = wanted;
        CONTAINERD.open(folder.path().to_str().unwrap(), &env)
    };
    let remade = |diff_ids: &[Digest]| -> Result<Option<Vec<u8>>> {
        let Some(blob) = open(true)?.remake(diff_ids)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        blob.open()?
            .read_to_end(&mut bytes)
            .map_err(Error::from_io)?;
        Ok(Some(bytes))
    };
    let tar = remade(&diff_ids).unwrap().unwrap();
    let lines = imgconv_testkit::dump::tar_lines(&mut &*tar, "layer").unwrap();
    assert!(
        lines[0].starts_with("file a ") && lines[0].ends_with("\"aaa\""),
        "{lines:?}"
    );
    // Without the option, for another chain, and without the files, there is none.
    assert!(open(false).unwrap().remake(&diff_ids).unwrap().is_none());
    let other = [diff_ids.clone(), diff_ids.clone()].concat();
    assert!(remade(&other).unwrap().is_none());
    assert!(remade(&[]).unwrap().is_none());
    let snapshotter = folder.path().join("io.containerd.snapshotter.v1.overlayfs");
    // No damage of the database is fatal.
    let path = snapshotter.join("metadata.db");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(31) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        fs::write(&path, bytes).unwrap();
        let _ = remade(&diff_ids);
    }
    fs::write(&path, whole).unwrap();
    fs::remove_dir_all(snapshotter.join("snapshots/1")).unwrap();
    assert!(remade(&diff_ids).unwrap().is_none());
}
