//! The laws of places, for a root directory of two images.

use imgconv_testkit::{
    engines::{self, EngineImage},
    laws::Readable,
};
use imgconv_transport_containerd::CONTAINERD;

#[test]
fn a_root_keeps_the_laws_and_survives_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root");
    let images = EngineImage::samples().map(|image| (image, vec!["default".to_owned()]));
    engines::containerd(&images, &path).unwrap();
    let root = Readable::at(&CONTAINERD, &path);
    root.keeps_the_laws();
    root.survives_damage();
}
