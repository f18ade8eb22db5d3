//! The laws of transports that write.

use imgconv_model::{Blob, Bundle, BundleSink, Facts, Publication, Result};
use imgconv_testkit::laws::{Writable, put, put_root};
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
