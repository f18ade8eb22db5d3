//! The laws of transports that write.

use imgconv_model::{BundleSink, Publication};
use imgconv_testkit::laws::{Writable, put_root};
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
