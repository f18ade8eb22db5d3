//! The laws of places, for a data root of each driver with two images.

use imgconv_testkit::{
    engines::{self, EngineImage},
    laws::Readable,
};
use imgconv_transport_docker_root::DOCKER_ROOT;

#[test]
fn a_root_of_each_driver_keeps_the_laws_and_survives_damage() {
    for driver in ["overlay2", "overlay", "aufs", "vfs", "btrfs"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker");
        engines::docker_root(&EngineImage::samples(), driver, &path).unwrap();
        let root = Readable::at(&DOCKER_ROOT, &path);
        root.keeps_the_laws();
        // The others differ in the place of the folders only.
        if ["overlay2", "vfs"].contains(&driver) {
            root.survives_damage();
        }
    }
}
