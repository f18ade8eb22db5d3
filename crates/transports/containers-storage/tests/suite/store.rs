//! Stores of podman give back the tars of their layers; what is damaged is named.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use imgconv_model::{
    Bundle, Code, Digest, Env, Facts, Network, Notes, Platform, Result, Root, StorageSettings,
    Transport as _,
};
use imgconv_testkit::{
    engines::{self, EngineImage},
    laws, sha256_hex,
};
use imgconv_transport_containers_storage::CONTAINERS_STORAGE;
use serde_json::Value;

pub(crate) fn image(names: &[&str], command: &str) -> EngineImage {
    let layers = [
        "dir etc\nfile etc/a \"aaa\"",
        "file etc/.wh.a \"\"\nfile etc/c \"c\"",
    ];
    EngineImage::of(names, &layers, command)
}

fn open(root: &Path) -> Result<Box<dyn Bundle>> {
    Ok(open_with_notes(root)?.0)
}

/// Opens a store; the notes take its warnings.
pub(crate) fn open_with_notes(root: &Path) -> Result<(Box<dyn Bundle>, Notes)> {
    let notes = Notes::default();
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64")).with_notes(&notes);
    Ok((
        CONTAINERS_STORAGE.open(root.to_str().unwrap(), &env)?,
        notes,
    ))
}

/// Changes the list of images of the driver `overlay`.
pub(crate) fn change_images(root: &Path, change: impl FnOnce(&mut Vec<Value>)) {
    let list = root.join("overlay-images/images.json");
    let mut images = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    change(&mut images);
    fs::write(&list, Value::from(images).to_string()).unwrap();
}

pub(crate) fn manifest(bundle: &dyn Bundle, text: &str) -> Result<Vec<u8>> {
    let entries = bundle.roots()?;
    let entry = entries
        .iter()
        .find(|entry| entry.texts.iter().any(|known| known == text));
    let entry = entry.unwrap();
    let Root::Document(document) = bundle.root(entry)? else {
        panic!("the root is a document");
    };
    let child = entry.child.as_ref().unwrap();
    assert_eq!(
        child.digest.to_string(),
        format!("sha256:{}", sha256_hex(&document.bytes))
    );
    Ok(document.bytes.to_vec())
}

pub(crate) fn blob(bundle: &dyn Bundle, descriptor: &Value) -> Result<Vec<u8>> {
    let facts = Facts {
        digest: Some(Digest::parse(descriptor["digest"].as_str().unwrap()).unwrap()),
        size: descriptor["size"].as_u64(),
    };
    laws::read(&bundle.blob(&facts)?)
}

#[test]
fn both_drivers_give_back_the_tars_and_the_config() {
    for driver in ["overlay", "vfs"] {
        for compressed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let image = image(&["example.com/x:1"], "/x");
            let images = std::slice::from_ref(&image);
            engines::containers_storage(images, driver, compressed, folder.path()).unwrap();
            assert!(CONTAINERS_STORAGE.recognise(folder.path()).unwrap());
            let bundle = open(folder.path()).unwrap();
            let bytes = manifest(&*bundle, "example.com/x:1").unwrap();
            let stored = folder
                .path()
                .join(format!("{driver}-images/{}/manifest", image.id()));
            // The manifest stays as it is if every layer that it names can be had.
            assert_eq!(fs::read(stored).unwrap() == bytes, !compressed);
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(value["annotations"]["org.example.note"], "kept");
            assert!(blob(&*bundle, &value["config"]).unwrap() == image.config());
            for (i, tar) in image.layers.iter().enumerate() {
                let descriptor = &value["layers"][i];
                let kind = "application/vnd.oci.image.layer.v1.tar";
                assert_eq!(descriptor["mediaType"], kind);
                assert!(blob(&*bundle, descriptor).unwrap() == *tar);
            }
        }
    }
}

#[test]
fn names_and_ids_lead_to_images() {
    let folder = tempfile::tempdir().unwrap();
    let digest = format!("example.com/x@sha256:{}", "1".repeat(64));
    let named = image(&["example.com/x:1", "localhost/y:2", &digest], "/x");
    let unnamed = image(&[], "/unnamed");
    let all = [named, unnamed.clone()];
    engines::containers_storage(&all, "overlay", false, folder.path()).unwrap();
    let bundle = open(folder.path()).unwrap();
    let listed: Vec<Option<String>> = bundle
        .roots()
        .unwrap()
        .into_iter()
        .map(|entry| entry.name.map(|name| name.to_string()))
        .collect();
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(
        listed,
        [name("example.com/x:1"), name("localhost/y:2"), None]
    );
    for text in [&digest, &unnamed.id(), &unnamed.id()[..12].to_owned()] {
        manifest(&*bundle, text).unwrap();
    }
}

// D16a: also parents in a circle, and an id that is a path.
#[test]
fn damage_is_named() {
    let image = image(&["x:1"], "/x");
    let chain = image.chain_ids();
    let made = || {
        let folder = tempfile::tempdir().unwrap();
        let images = std::slice::from_ref(&image);
        engines::containers_storage(images, "overlay", false, folder.path()).unwrap();
        folder
    };
    // Reads the lowest layer.
    let read = |folder: &tempfile::TempDir| -> Result<Vec<u8>> {
        let bundle = open(folder.path())?;
        let value: Value = serde_json::from_slice(&manifest(&*bundle, "x:1")?).unwrap();
        blob(&*bundle, &value["layers"][0])
    };
    let folder = made();
    assert!(read(&folder).unwrap() == image.layers[0]);
    let file = folder
        .path()
        .join(format!("overlay/{}/diff/etc/a", chain[0]));
    fs::write(&file, "aab").unwrap();
    let error = read(&folder).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    assert!(error.to_string().contains("file \"etc/a\""), "{error}");
    let folder = made();
    fs::remove_file(
        folder
            .path()
            .join(format!("overlay-layers/{}.tar-split.gz", chain[0])),
    )
    .unwrap();
    let error = read(&folder).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("tar-split.gz"), "{error}");
    // A chain of parents that comes back to itself concerns that image alone.
    let folder = made();
    let list = folder.path().join("overlay-layers/layers.json");
    let mut layers: Value = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    for layer in layers.as_array_mut().unwrap() {
        layer["parent"] = Value::from(chain[1].clone());
    }
    fs::write(&list, layers.to_string()).unwrap();
    let bundle = open(folder.path()).unwrap();
    let entries = bundle.roots().unwrap();
    assert!(entries[0].child.is_none());
    let error = bundle.root(&entries[0]).unwrap_err();
    assert_eq!(error.code(), Code::Cycle);
    // An id that is a path is refused before it becomes one.
    let text = fs::read_to_string(&list)
        .unwrap()
        .replace(&chain[0], "../../x");
    fs::write(&list, text).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("\"../../x\" is no id of a layer"),
        "{error}"
    );
}

/// Opens a store by a location and the settings of the machine.
fn open_by(location: &str, settings: &StorageSettings) -> Result<Box<dyn Bundle>> {
    let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    env.places.storage = settings.clone();
    CONTAINERS_STORAGE.open(location, &env)
}

fn made(images: &[EngineImage], driver: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    engines::containers_storage(images, driver, true, folder.path()).unwrap();
    folder
}

// D16f
#[test]
fn the_configuration_names_the_default_store() {
    let own = made(&[image(&["localhost/own:1"], "/own")], "overlay");
    let other = made(
        &[
            image(&["localhost/other:1"], "/other"),
            image(&["localhost/own:1"], "/own"),
        ],
        "overlay",
    );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("storage.conf");
    let text = format!(
        "# a comment\n[storage]\ndriver = \"overlay\"\ngraphroot = '{}' # here\n\
         rootless_storage_path = \"$HOME/of-user\"\n\
         [storage.options]\nadditionalimagestores = [\n  \"{}\",\n  \"/not/there\",\n]\n",
        own.path().display(),
        other.path().display()
    );
    fs::write(&config, text).unwrap();
    let missing = folder.path().join("missing.conf");
    let mut settings = StorageSettings {
        configs: vec![missing.clone(), config.clone()],
        ..StorageSettings::default()
    };
    let names = |settings: &StorageSettings| -> Vec<String> {
        let bundle = open_by("[]", settings).unwrap();
        let entries = bundle.roots().unwrap().into_iter();
        entries
            .map(|entry| entry.name.unwrap().to_string())
            .collect()
    };
    // The image that both stores have is one.
    assert_eq!(names(&settings), ["localhost/own:1", "localhost/other:1"]);
    let bundle = open_by("[]", &settings).unwrap();
    let bytes = manifest(&*bundle, "localhost/other:1").unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(blob(&*bundle, &value["layers"][0]).is_ok());
    // A user who is not root has a store of his own, which the file of the system can move.
    settings.rootless = true;
    settings.variables = vec![("HOME".to_owned(), folder.path().display().to_string())];
    let images = [image(&["localhost/user:1"], "/user")];
    engines::containers_storage(&images, "vfs", false, &folder.path().join("of-user")).unwrap();
    assert_eq!(names(&settings)[0], "localhost/user:1");
    settings.user_config = Some(config.clone());
    assert_eq!(names(&settings)[0], "localhost/own:1");
    settings.configs = vec![missing];
    settings.root = folder.path().join("of-user");
    assert_eq!(names(&settings), ["localhost/user:1"]);
    settings.root = folder.path().join("nowhere");
    let error = open_by("[]", &settings).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(
        error
            .advice()
            .unwrap()
            .contains("this is the default store")
    );
    fs::write(&config, "[storage\n").unwrap();
    settings.configs = vec![config];
    let error = open_by("[]", &settings).unwrap_err();
    assert_eq!(error.code(), Code::BadManifest);
    assert!(error.to_string().contains("storage.conf"), "{error}");
}

// D16f
#[test]
fn a_driver_and_short_names_select_images() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let names = ["localhost/a:latest", "docker.io/library/b:2", "quay.io/c:1"];
    let images = [image(&names, "/overlay")];
    engines::containers_storage(&images, "overlay", true, root).unwrap();
    let images = [
        image(&["docker.io/library/a:latest"], "/vfs"),
        image(&["localhost/d:3"], "/d"),
    ];
    engines::containers_storage(&images, "vfs", true, root).unwrap();
    let found = |location: &str, text: &str| {
        let bundle = open_by(location, &StorageSettings::default()).unwrap();
        let entries = bundle.roots().unwrap();
        let with = |entry: &&imgconv_model::RootEntry| entry.texts.iter().any(|one| one == text);
        entries.iter().filter(with).count()
    };
    let both = root.to_str().unwrap();
    let (overlay, vfs) = (format!("[overlay@{both}]"), format!("[vfs@{both}]"));
    for (location, text, count) in [
        (&*overlay, "a", 1),
        (&overlay, "a:latest", 1),
        (&overlay, "b:2", 1),
        (&overlay, "b", 0),
        (&overlay, "c:1", 0),
        (&overlay, "d:3", 0),
        (&vfs, "d:3", 1),
        // Two images: the short name is ambiguous.
        (both, "a", 2),
    ] {
        assert_eq!(found(location, text), count, "{location} {text}");
    }
    let error = open_by(&format!("[btrfs@{both}]"), &StorageSettings::default()).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
}

#[test]
fn d16i_short_names_of_registries_conf_select_images() {
    let folder = made(
        &[
            image(&["q.example/team/a:1", "docker.io/library/b:latest"], "/a"),
            image(&["p.example/team/a:1"], "/other"),
            image(&["quay.io/deep/fedora:latest"], "/fedora"),
        ],
        "overlay",
    );
    let config = folder.path().join("registries.conf");
    let texts = |search: &str, text: &str| {
        let aliases = "[aliases]\nfedora = \"quay.io/deep/fedora\"\n";
        let search = format!("unqualified-search-registries = [{search}]\n{aliases}");
        fs::write(&config, search).unwrap();
        let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        let mut network = Network::default();
        network.registries.only = Some(config.clone());
        env.network = Arc::new(network);
        let bundle = CONTAINERS_STORAGE.open(folder.path().to_str().unwrap(), &env);
        let entries = bundle.unwrap().roots().unwrap();
        let with = |entry: &&imgconv_model::RootEntry| entry.texts.iter().any(|one| one == text);
        entries.iter().filter(with).count()
    };
    let (q, both) = ("\"q.example\"", "\"q.example\", \"p.example\"");
    for (search, text, count) in [
        ("", "team/a:1", 0),
        (q, "team/a:1", 1),
        (q, "team/a", 0),
        // Two images: the short name is ambiguous.
        (both, "team/a:1", 2),
        ("", "fedora", 1),
        ("", "fedora:latest", 1),
        ("", "fedora:1", 0),
        ("\"docker.io\"", "library/b", 1),
        ("", "b", 1),
    ] {
        assert_eq!(texts(search, text), count, "{search} {text}");
    }
}

// D16b: a layer of podman whose record is gone.
#[test]
fn a_layer_without_a_record_is_made_of_its_files() {
    for driver in ["overlay", "vfs"] {
        let image = image(&["x:1"], "/x");
        let folder = made(std::slice::from_ref(&image), driver);
        let diff_ids: Vec<Digest> = image
            .diff_ids()
            .iter()
            .map(|id| Digest::parse(id).unwrap())
            .collect();
        let bundle = open(folder.path()).unwrap();
        assert!(bundle.remake(&diff_ids[..1]).unwrap().is_none(), "{driver}");
        let base = &image.chain_ids()[0];
        let record = folder
            .path()
            .join(format!("{driver}-layers/{base}.tar-split.gz"));
        fs::remove_file(record).unwrap();
        let remade = bundle.remake(&diff_ids[..1]);
        if fs::metadata(folder.path()).unwrap().uid() == 0 {
            let mut tar = Vec::new();
            let blob = remade.unwrap().unwrap();
            blob.open().unwrap().read_to_end(&mut tar).unwrap();
            let lines = imgconv_testkit::dump::tar_lines(&mut &*tar, "layer").unwrap();
            assert!(
                lines.iter().any(|line| line.starts_with("file etc/a ")),
                "{lines:?}"
            );
        } else {
            assert_eq!(remade.unwrap_err().code(), Code::Unsupported);
        }
    }
}

// D16j
/// Podman converts nothing of an image that a registry serves as schema 1: its store has the signed
/// manifest, which names the plain tars, and the digest in the list does not cover the signatures.
#[test]
fn an_image_of_schema_1_is_read_with_its_own_manifest() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let folder = tempfile::tempdir().unwrap();
    let image = image(&["example.com/x:1"], "/x");
    let images = std::slice::from_ref(&image);
    engines::containers_storage(images, "overlay", false, folder.path()).unwrap();
    let diff_ids = image.diff_ids();
    // Newest first; the step in the middle has no layer.
    let empty = format!("sha256:{}", "e".repeat(64));
    let names = |newest: &str| {
        let names = [newest, &empty, &diff_ids[0]];
        serde_json::json!(names.map(|name| serde_json::json!({ "blobSum": name })))
    };
    let steps = ["{}", "{\"throwaway\":true}", "{}"];
    let steps = steps.map(|step| serde_json::json!({ "v1Compatibility": step }));
    let steps = serde_json::json!(steps);
    let head = format!(
        "{{\"schemaVersion\": 1, \"name\": \"x\", \"tag\": \"1\", \"architecture\": \"amd64\", \
         \"fsLayers\": {}, \"history\": {steps}",
        names(&diff_ids[1])
    );
    let protected = serde_json::json!({
        "formatLength": head.len(), "formatTail": URL_SAFE_NO_PAD.encode("}"),
    });
    let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
    let signed = format!("{head}, \"signatures\": [{{\"protected\": \"{protected}\"}}]}}");
    let stored = folder
        .path()
        .join(format!("overlay-images/{}/manifest", image.id()));
    fs::write(&stored, &signed).unwrap();
    let list = folder.path().join("overlay-images/images.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
    let payload = sha256_hex(format!("{head}}}").as_bytes());
    value[0]["big-data-digests"]["manifest"] = format!("sha256:{payload}").into();
    fs::write(&list, value.to_string()).unwrap();
    let (bundle, notes) = open_with_notes(folder.path()).unwrap();
    let read = manifest(&*bundle, "example.com/x:1").unwrap();
    assert!(read == signed.as_bytes());
    assert!(notes.take().is_clean());
    let descriptor = serde_json::json!({ "digest": &diff_ids[1] });
    assert!(blob(&*bundle, &descriptor).unwrap() == image.layers[1]);
    // Podman 5 keeps the digest of a compressed layer that it already had from another image.
    let document = |newest: &str, steps: &Value| {
        let value = serde_json::json!({
            "schemaVersion": 1, "name": "x", "tag": "1", "architecture": "amd64",
            "fsLayers": names(newest), "history": steps,
        });
        let text = value.to_string();
        fs::write(&stored, &text).unwrap();
        let mut value: Value = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
        let digest = format!("sha256:{}", sha256_hex(text.as_bytes()));
        value[0]["big-data-digests"]["manifest"] = digest.into();
        fs::write(&list, value.to_string()).unwrap();
        manifest(&*open(folder.path()).unwrap(), "example.com/x:1")
    };
    let compressed = format!("sha256:{}", "c".repeat(64));
    let read: Value = serde_json::from_slice(&document(&compressed, &steps).unwrap()).unwrap();
    assert_eq!(read["fsLayers"], names(&diff_ids[1]));
    let mut other = steps.clone();
    other[1]["v1Compatibility"] = "{}".into();
    let error = document(&compressed, &other).unwrap_err();
    assert_eq!(error.code(), Code::BadManifest, "{error}");
    fs::write(&stored, &signed).unwrap();
    // Any other change of the manifest is found.
    fs::write(&stored, signed.replace("\"x\"", "\"y\"")).unwrap();
    let bundle = open(folder.path()).unwrap();
    let entry = &bundle.roots().unwrap()[0];
    assert_eq!(bundle.root(entry).unwrap_err().code(), Code::Mismatch);
}
