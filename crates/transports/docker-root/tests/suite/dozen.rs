//! The images that real engines are checked with, in roots of engines that no longer run.

use std::path::Path;

use imgconv_model::{Facts, Root};
use imgconv_testkit::{
    dozen,
    engines::{self, EngineImage},
};

use crate::data_root::{image, layers, open};

fn same_layers(images: &[EngineImage], root: &Path, what: &str) {
    let bundle = open(root).unwrap();
    assert_eq!(bundle.roots().unwrap().len(), images.len(), "{what}");
    for image in images {
        let name = &image.names[0];
        let read = layers(&*bundle, name).unwrap();
        assert!(read == image.layers, "{what}: {name}");
    }
}

// D16a and D16d
#[test]
fn the_same_images_come_back_from_roots_of_every_age() {
    let images = dozen::engine_images();
    for driver in ["overlay2", "aufs", "btrfs"] {
        let folder = tempfile::tempdir().unwrap();
        engines::docker_root(&images, driver, folder.path()).unwrap();
        same_layers(&images, folder.path(), driver);
    }
    for driver in ["aufs", "btrfs"] {
        let folder = tempfile::tempdir().unwrap();
        engines::docker_graph(&images, driver, true, folder.path()).unwrap();
        same_layers(&images, folder.path(), &format!("before 1.10, {driver}"));
    }
}

/// The engine notes the size of the files of a layer: `size` since Docker 1.10, `layersize` before.
#[test]
fn layers_have_the_size_that_the_engine_noted() {
    for is_graph in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let images = [image(&["x:1"], "/x")];
        match is_graph {
            true => {
                engines::docker_graph(&images, "aufs", true, folder.path()).unwrap();
            }
            false => engines::docker_root(&images, "aufs", folder.path()).unwrap(),
        }
        let bundle = open(folder.path()).unwrap();
        let Root::Document(document) = bundle.root(&bundle.roots().unwrap()[0]).unwrap() else {
            panic!("the root is a document");
        };
        let value: serde_json::Value = serde_json::from_slice(&document.bytes).unwrap();
        let name = match is_graph {
            true => &value["layers"][0]["layer"],
            false => &value["Layers"][0],
        };
        let blob = bundle
            .member(name.as_str().unwrap(), &Facts::default())
            .unwrap();
        let noted = images[0].layers[0].len() as u64;
        assert_eq!(
            (blob.facts.size, blob.bytes.stored_size()),
            (None, Some(noted))
        );
    }
}
