//! The laws of transports that write.

use std::fs;

use imgconv_model::{Blob, Bundle, BundleSink, Facts, Publication, Result};
use imgconv_testkit::{
    ImageRecipe, docker,
    laws::{Again, Images, Readable, Writable, Writes, put, put_root},
};
use imgconv_transport_docker_archive::{ARCHIVE_IMAGE, DOCKER_ARCHIVE};

use crate::write::document;

fn write(sink: &dyn BundleSink) -> Publication {
    for bytes in [&b"config"[..], b"layer"] {
        put(sink, bytes);
    }
    let document = document("config", &["layer"]);
    put_root(sink, ARCHIVE_IMAGE, document.as_bytes())
}

/// Layers are members that are named by their digests.
fn find(bundle: &dyn Bundle, facts: &Facts) -> Result<Blob> {
    let digest = facts.digest.unwrap();
    bundle.member(&format!("{}.tar", digest.hex()), facts)
}

#[test]
fn an_archive_keeps_the_laws() {
    let archive = Writable {
        transport: &DOCKER_ARCHIVE,
        name: "out.tar",
        write,
        blobs: &[b"layer"],
        find: Some(find),
    };
    archive.keeps_the_laws();
}

#[test]
fn archives_of_both_ages_keep_the_laws_of_reading_and_survive_damage() {
    let images = ImageRecipe::samples(false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    for (bytes, unprotected) in [
        (docker::archive(&images).unwrap(), &[][..]),
        // No digest protects the layers of a v1 image.
        (docker::archive_v1(&images).unwrap(), &["archive"]),
    ] {
        fs::write(&path, bytes).unwrap();
        let archive = Readable {
            unprotected,
            ..Readable::at(&DOCKER_ARCHIVE, &path)
        };
        archive.keeps_the_laws();
        archive.survives_damage();
    }
}

#[test]
fn images_of_every_kind_are_read_again_as_they_were_written() {
    let writes = Writes {
        images: Images::archived,
        refused: &[],
        again: Again::Replaced,
    };
    writes.hold_at(&DOCKER_ARCHIVE, "out.tar");
}
