//! The laws of places, for a store of each driver with two images.

use imgconv_testkit::{
    engines::{self, EngineImage},
    laws::Readable,
};
use imgconv_transport_containers_storage::CONTAINERS_STORAGE;

#[test]
fn a_store_of_each_driver_keeps_the_laws_and_survives_damage() {
    for (driver, compressed) in [("overlay", false), ("overlay", true), ("vfs", false)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("storage");
        engines::containers_storage(&EngineImage::samples(), driver, compressed, &path).unwrap();
        let store = Readable::at(&CONTAINERS_STORAGE, &path);
        store.keeps_the_laws();
        store.survives_damage();
    }
}
