//! The laws of transports that write.

use imgconv_model::{BundleSink, Publication};
use imgconv_testkit::laws::{Writable, by_digest, put, put_root};
use imgconv_transport_dir::DIR;

use crate::fixture::{MANIFEST, manifest};

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
