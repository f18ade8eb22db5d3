//! The laws of transports that write.

use imgconv_model::{BundleSink, Publication};
use imgconv_testkit::laws::{Again, Images, Readable, Writable, Writes, by_digest, put, put_root};
use imgconv_transport_dir::DIR;

use crate::fixture::{MANIFEST, directory, manifest};

fn write(sink: &dyn BundleSink) -> Publication {
    put(sink, b"config");
    put_root(sink, MANIFEST, manifest().as_bytes())
}

#[test]
fn a_directory_keeps_the_laws() {
    let directory = Writable {
        transport: &DIR,
        name: "out",
        write,
        blobs: &[b"config"],
        find: Some(by_digest),
    };
    directory.keeps_the_laws();
}

#[test]
fn a_directory_keeps_the_laws_of_reading_and_survives_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    directory(&path, &manifest(), &[b"config"]);
    let directory = Readable {
        unprotected: &["manifest.json"],
        ..Readable::at(&DIR, &path)
    };
    directory.keeps_the_laws();
    directory.survives_damage();
}

#[test]
fn images_of_every_kind_are_read_again_as_they_were_written() {
    let writes = Writes {
        images: Images::documents,
        refused: &["shared layers", "a referrer"],
        again: Again::Refused,
    };
    writes.hold_at(&DIR, "out");
}
