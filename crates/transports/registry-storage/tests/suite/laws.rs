//! The laws of places, for storages of both versions with two images.

use imgconv_testkit::{ImageRecipe, build, laws::Readable, stores};
use imgconv_transport_registry_storage::REGISTRY_STORAGE;

#[test]
fn a_storage_of_version_2_keeps_the_laws_and_survives_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, path) = (folder.path().join("layout"), folder.path().join("storage"));
    build::layout(&ImageRecipe::samples(false), &layout).unwrap();
    stores::registry_v2(&layout, &path).unwrap();
    let storage = Readable::at(&REGISTRY_STORAGE, &path);
    storage.keeps_the_laws();
    storage.survives_damage();
}

#[test]
fn a_storage_of_version_1_keeps_the_laws_and_survives_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("storage");
    stores::registry_v1(&ImageRecipe::samples(false), &path).unwrap();
    let storage = Readable::at(&REGISTRY_STORAGE, &path);
    storage.keeps_the_laws();
    storage.survives_damage();
}
