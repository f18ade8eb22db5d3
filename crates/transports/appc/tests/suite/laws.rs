//! The laws of places, for an image that is discovered.

use imgconv_testkit::{
    laws::Readable,
    server::{Reply, Server},
};
use imgconv_transport_appc::APPC;

use crate::discovery::{env, page};

#[test]
fn a_discovered_image_keeps_the_laws_of_reading() {
    let server = Server::start(|request| match &*request.target {
        "/a?ac-discovery=1" => page(request, "{name}-{version}-{os}-{arch}.{ext}"),
        "/example.com/a-1-linux-amd64.aci" => Reply::ok("the image"),
        _ => Reply::status(404),
    });
    let env = env(&server, |_| {});
    Readable::served(&APPC, "example.com/a,version=1", env).keeps_the_laws();
}
