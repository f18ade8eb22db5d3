//! The laws of transports that write.

use std::fs;

use imgconv_model::{BundleSink, Publication};
use imgconv_testkit::laws::{Again, Images, Readable, Writable, Writes, put_root};
use imgconv_transport_file::FILE;

fn write(sink: &dyn BundleSink) -> Publication {
    put_root(sink, "application/x", b"image")
}

#[test]
fn a_file_keeps_the_laws() {
    let file = Writable {
        transport: &FILE,
        name: "out.aci",
        write,
        blobs: &[],
        find: None,
    };
    file.keeps_the_laws();
}

#[test]
fn streams_are_read_again_as_they_were_written() {
    let writes = Writes {
        images: Images::streams,
        refused: &["two images"],
        again: Again::Replaced,
    };
    writes.hold_at(&FILE, "out.aci");
}

#[test]
fn a_file_keeps_the_laws_of_reading_and_survives_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.aci");
    fs::write(&path, b"image").unwrap();
    // Only the format checks the bytes of the stream.
    let file = Readable {
        unprotected: &["image.aci"],
        ..Readable::at(&FILE, &path)
    };
    file.keeps_the_laws();
    file.survives_damage();
}
