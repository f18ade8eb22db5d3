//! A list of `podman manifest create` is an index of images of the same store.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_model::{Bundle, Code, Digest, Facts, Result};
use imgconv_testkit::{
    engines::{self, EngineImage},
    laws::Readable,
    sha256_hex,
};
use imgconv_transport_containers_storage::CONTAINERS_STORAGE;
use serde_json::{Value, json};

use crate::store::{blob, change_images, image, manifest, open_with_notes};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Returns the stored manifest of an image.
fn stored(root: &Path, image: &EngineImage) -> Vec<u8> {
    fs::read(root.join(format!("overlay-images/{}/manifest", image.id()))).unwrap()
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

/// Adds a list with entries to a store, before the images; returns the bytes of the index.
fn add_list(root: &Path, name: &str, kind: &str, entries: &[Value]) -> Vec<u8> {
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries });
    let index = index.to_string().into_bytes();
    let id = sha256_hex(name.as_bytes());
    let folder = root.join(format!("overlay-images/{id}"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("manifest"), &index).unwrap();
    fs::write(folder.join("instances.json"), "{}").unwrap();
    let digest = digest_of(&index);
    let list = json!({
        "id": id, "names": [name], "big-data-names": ["manifest", "instances.json"],
        // Podman does not change this digest when it adds an image to the list.
        "digest": format!("sha256:{}", "2".repeat(64)), "big-data-digests": {"manifest": digest},
    });
    change_images(root, |images| images.insert(0, list));
    index
}

/// Returns the entry of an index for an architecture.
fn entry(manifest: &[u8], architecture: &str) -> Value {
    json!({
        "mediaType": MANIFEST, "digest": digest_of(manifest), "size": manifest.len(),
        "platform": { "architecture": architecture, "os": "linux" },
    })
}

/// Reads the manifest that an entry of an index names.
fn child(bundle: &dyn Bundle, entry: &Value) -> Result<Value> {
    let facts = Facts::of(Digest::parse(entry["digest"].as_str().unwrap()).unwrap());
    let document = bundle.document(MANIFEST, &facts, ("manifest", 1 << 20))?;
    assert_eq!(digest_of(&document.bytes), entry["digest"]);
    assert_eq!(document.bytes.len(), entry["size"]);
    assert_eq!(document.kind, entry["mediaType"]);
    Ok(serde_json::from_slice(&document.bytes).unwrap())
}

/// Makes a store with two images and a list of the two and a third one, which was not pulled.
fn made(compressed: bool, kind: &str) -> (tempfile::TempDir, [EngineImage; 2], Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let images = [
        image(&["localhost/x:1"], "/x"),
        image(&["localhost/x:2"], "/y"),
    ];
    engines::containers_storage(&images, "overlay", compressed, folder.path()).unwrap();
    let manifests = [
        stored(folder.path(), &images[0]),
        stored(folder.path(), &images[1]),
    ];
    let mut entries = [
        entry(&manifests[0], "amd64"),
        entry(&manifests[1], "arm64"),
        entry(b"not pulled", "s390x"),
    ];
    entries[0]["annotations"] = json!({
        "io.github.containers.compression.zstd": "true", "org.example.note": "kept",
    });
    entries[1]["annotations"] = json!({ "io.github.containers.compression.zstd": "true" });
    let index = add_list(folder.path(), "localhost/list:1", kind, &entries);
    (folder, images, index)
}

// D16l
#[test]
fn a_list_names_the_images_as_they_are_read() {
    for kind in [INDEX, DOCKER_LIST] {
        let (folder, images, index) = made(true, kind);
        let (bundle, notes) = open_with_notes(folder.path()).unwrap();
        let names = bundle.roots().unwrap().into_iter();
        let names: Vec<String> = names.map(|one| one.name.unwrap().to_string()).collect();
        assert_eq!(
            names,
            ["localhost/list:1", "localhost/x:1", "localhost/x:2"]
        );
        let read = manifest(&*bundle, "localhost/list:1").unwrap();
        assert!(read != index);
        assert!(notes.take().is_clean());
        let old: Value = serde_json::from_slice(&index).unwrap();
        let mut new: Value = serde_json::from_slice(&read).unwrap();
        for (i, image) in images.iter().enumerate() {
            let entry = &new["manifests"][i];
            let own = manifest(&*bundle, &format!("localhost/x:{}", i + 1)).unwrap();
            assert_eq!(entry["digest"], digest_of(&own));
            // Each image says that its manifest is another one; the list says nothing.
            notes.take();
            let document = child(&*bundle, entry).unwrap();
            let [warning] = notes.take().warnings.try_into().unwrap();
            let place = format!("image {}", image.id());
            assert_eq!((warning.code, warning.at), ("other-digest", place));
            assert!(blob(&*bundle, &document["config"]).unwrap() == image.config());
            for (layer, tar) in document["layers"]
                .as_array()
                .unwrap()
                .iter()
                .zip(&image.layers)
            {
                assert!(blob(&*bundle, layer).unwrap() == *tar);
            }
        }
        // The layers are not of type zstd any more.
        let note = json!({ "org.example.note": "kept" });
        assert_eq!(new["manifests"][0]["annotations"], note);
        assert_eq!(new["manifests"][1].get("annotations"), None);
        // Everything else stays as it is.
        for i in 0..2 {
            for key in ["digest", "size", "annotations"] {
                new["manifests"][i][key] = old["manifests"][i][key].clone();
            }
        }
        assert_eq!(new, old);
        let error = child(&*bundle, &old["manifests"][2]).unwrap_err();
        assert_eq!(error.code(), Code::Missing);
        assert!(bundle.extras().partial);
    }
}

#[test]
fn a_list_of_images_with_plain_layers_stays_as_it_is() {
    let (folder, _, index) = made(false, INDEX);
    let (bundle, notes) = open_with_notes(folder.path()).unwrap();
    assert!(manifest(&*bundle, "localhost/list:1").unwrap() == index);
    let value: Value = serde_json::from_slice(&index).unwrap();
    for i in 0..2 {
        child(&*bundle, &value["manifests"][i]).unwrap();
    }
    assert!(notes.take().is_clean());
    // A list without images is a list too.
    let empty = add_list(folder.path(), "localhost/empty:1", INDEX, &[]);
    let (bundle, _) = open_with_notes(folder.path()).unwrap();
    assert!(manifest(&*bundle, "localhost/empty:1").unwrap() == empty);
}

/// D16l: an image that was pulled again with other compression has two manifests, of which a list can name
/// the older one.
#[test]
fn a_list_can_name_an_older_manifest_of_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(&["x:1"], "/x");
    let images = std::slice::from_ref(&image);
    engines::containers_storage(images, "overlay", true, folder.path()).unwrap();
    let mut older: Value = serde_json::from_slice(&stored(folder.path(), &image)).unwrap();
    older["annotations"]["org.example.note"] = "older".into();
    for layer in older["layers"].as_array_mut().unwrap() {
        layer["digest"] = format!("sha256:{}", "3".repeat(64)).into();
    }
    let older = older.to_string().into_bytes();
    let name = format!("manifest-{}", digest_of(&older));
    let file = format!("overlay-images/{}/={}", image.id(), STANDARD.encode(&name));
    fs::write(folder.path().join(&file), &older).unwrap();
    change_images(folder.path(), |images| {
        images[0]["big-data-names"] = json!(["manifest", name]);
    });
    add_list(folder.path(), "list:1", INDEX, &[entry(&older, "amd64")]);
    let read = || -> Result<Value> {
        let (bundle, _) = open_with_notes(folder.path())?;
        let index = manifest(&*bundle, "list:1")?;
        let index: Value = serde_json::from_slice(&index).unwrap();
        let document = child(&*bundle, &index["manifests"][0])?;
        assert!(blob(&*bundle, &document["layers"][0])? == image.layers[0]);
        Ok(document)
    };
    assert_eq!(read().unwrap()["annotations"]["org.example.note"], "older");
    // A manifest that has changed is damage, and not an image that was not pulled.
    fs::write(folder.path().join(&file), [&older[..], b" "].concat()).unwrap();
    assert_eq!(read().unwrap_err().code(), Code::Mismatch);
}

#[test]
fn a_store_with_a_list_keeps_the_laws_and_survives_damage() {
    for compressed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("storage");
        let images = EngineImage::samples();
        engines::containers_storage(&images, "overlay", compressed, &path).unwrap();
        let entries = images
            .each_ref()
            .map(|image| entry(&stored(&path, image), "amd64"));
        add_list(&path, "localhost/list:1", INDEX, &entries);
        let store = Readable::at(&CONTAINERS_STORAGE, &path);
        store.keeps_the_laws();
        store.survives_damage();
    }
}
