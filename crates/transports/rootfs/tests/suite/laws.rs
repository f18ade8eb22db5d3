//! The laws of places, for a directory and a flat tar.

use std::fs;

use imgconv_model::{BundleSink, Publication};
use imgconv_testkit::{
    build,
    laws::{Again, Images, Readable, Writable, Writes, put_root},
};
use imgconv_transport_rootfs::ROOTFS;

fn write(sink: &dyn BundleSink) -> Publication {
    put_root(sink, "application/x", b"image")
}

#[test]
fn a_flat_tar_keeps_the_laws_of_writing() {
    let file = Writable {
        transport: &ROOTFS,
        name: "out.tar",
        write,
        blobs: &[],
        find: None,
    };
    file.keeps_the_laws();
    let writes = Writes {
        images: Images::streams,
        refused: &["two images"],
        again: Again::Replaced,
    };
    writes.hold_at(&ROOTFS, "out.tar");
}

#[test]
fn a_directory_and_a_flat_tar_keep_the_laws_of_reading_and_survive_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, file) = (folder.path().join("tree"), folder.path().join("flat.tar"));
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/name"), "value").unwrap();
    fs::write(&file, build::layer("dir etc\nfile etc/name \"value\"")).unwrap();
    for path in [&tree, &file] {
        // The bytes of a root file system are the image, whatever they are.
        let place = Readable {
            unprotected: &["flat.tar"],
            recognised: false,
            ..Readable::at(&ROOTFS, path)
        };
        place.keeps_the_laws();
        // The tree of a directory is the image, and the times of its directories are parts of it.
        if path.is_file() {
            place.survives_damage();
        }
    }
}
