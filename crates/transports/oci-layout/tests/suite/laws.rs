//! The laws of transports that write, for a layout and for its archive.

use std::fs;

use imgconv_model::{BundleSink, Publication, Transport};
use imgconv_testkit::{
    ImageRecipe, build,
    laws::{Again, Images, Readable, Writable, Writes, by_digest, put, put_root},
};
use imgconv_transport_oci_layout::{OCI_ARCHIVE, OCI_LAYOUT};

use crate::fixture::MANIFEST;

const BLOBS: &[&[u8]] = &[b"config", b"layer"];

fn write(sink: &dyn BundleSink) -> Publication {
    for bytes in BLOBS {
        put(sink, bytes);
    }
    put_root(sink, MANIFEST, br#"{"schemaVersion":2}"#)
}

#[test]
fn a_layout_and_its_archive_keep_the_laws() {
    let layout = Writable {
        transport: &OCI_LAYOUT,
        name: "out",
        write,
        blobs: BLOBS,
        find: Some(by_digest),
    };
    layout.keeps_the_laws();
    let archive = Writable {
        transport: &OCI_ARCHIVE,
        name: "out.tar",
        ..layout
    };
    archive.keeps_the_laws();
}

#[test]
fn a_layout_keeps_the_laws_of_reading_and_survives_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    build::layout(&ImageRecipe::samples(false), &path).unwrap();
    let layout = Readable::at(&OCI_LAYOUT, &path);
    layout.keeps_the_laws();
    layout.survives_damage();
    let archive = folder.path().join("archive");
    fs::write(&archive, build::packed(&path).unwrap()).unwrap();
    let archive = Readable::at(&OCI_ARCHIVE, &archive);
    archive.keeps_the_laws();
    archive.survives_damage();
}

#[test]
fn images_of_every_kind_are_read_again_as_they_were_written() {
    for (transport, again) in [
        (&OCI_LAYOUT as &dyn Transport, Again::Added),
        (&OCI_ARCHIVE, Again::Replaced),
    ] {
        let writes = Writes {
            images: Images::documents,
            refused: &[],
            again,
        };
        writes.hold_at(transport, "out");
    }
}
