//! The laws of transports that write, for a layout and for its archive.

use imgconv_model::{BundleSink, Publication};
use imgconv_testkit::laws::{Writable, by_digest, put, put_root};
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
