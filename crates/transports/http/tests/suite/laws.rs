//! The laws of places, for a file of a server.

use imgconv_testkit::{
    laws::Readable,
    server::{Reply, Server},
};
use imgconv_transport_http::HTTP;

use crate::http::env;

#[test]
fn a_file_of_a_server_keeps_the_laws_of_reading() {
    let server = Server::start(|request| match &*request.target {
        "/x.aci" => Reply::ok("the image"),
        _ => Reply::status(404),
    });
    let rest = format!("//{}/x.aci", server.authority());
    Readable::served(&HTTP, &rest, env()).keeps_the_laws();
}
