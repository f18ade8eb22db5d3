//! The start and the end of the server.

use std::io::{Read as _, Write as _};

use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Platform, PlatformSpec};
use imgconv_serve::{ServeOptions, serve};
use imgconv_testkit::ImageRecipe;

use crate::support::{Log, Stores, env, image};

#[test]
fn an_idle_server_ends_and_idle_connections_with_it() {
    let mut server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    let mut idle = server.connect();
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.cancel();
    server.join().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
}

// V11
#[test]
fn v11_half_a_request_and_idle_connections_do_not_hold_the_end() {
    // The test would wait for as long.
    let forever = std::time::Duration::from_secs(24 * 3600);
    let mut server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve_with(|options| {
            options.grace = forever;
            options.patience = forever;
        });
    let mut clients = Vec::new();
    for begun in [
        "",
        "G",
        "GET /v2/ HTTP/1.1\r\nhost: x\r\n",
        "GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\nGET /v2/app/ma",
        "POST /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12",
    ] {
        let mut client = server.connect();
        client.write_all(begun.as_bytes()).unwrap();
        clients.push((client, begun));
    }
    // The answers show that the server has taken the connections.
    for (client, begun) in &mut clients {
        if begun.contains("\r\n\r\n") {
            let mut first = [0; 12];
            client.read_exact(&mut first).unwrap();
        }
    }
    server.cancel();
    server.join().unwrap();
    for (mut client, _) in clients {
        let mut rest = Vec::new();
        // A connection that the server ends may be reset.
        let _ = client.read_to_end(&mut rest);
    }
}

// V11
#[test]
fn v11_a_running_answer_ends_well_after_the_signal() {
    let text = "a".repeat(8 << 20);
    let layer = format!("file big \"{text}\"");
    let big = ImageRecipe::of("example.com/app", "1", &[&layer]);
    let mut server = Stores::new().layout("out", &[big]).serve();
    let manifest = server.get("/v2/app/manifests/1").json();
    let (digest, size) = (
        &manifest["layers"][0]["digest"],
        &manifest["layers"][0]["size"],
    );
    let digest = digest.as_str().unwrap();
    let mut client = server.connect();
    let request = format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 4096];
    client.read_exact(&mut first).unwrap();
    server.cancel();
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        rest
    });
    server.join().unwrap();
    let rest = reader.join().unwrap();
    let head = first
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let received = [&first[head..], &rest].concat();
    assert_eq!(received.len() as u64, size.as_u64().unwrap());
    assert_eq!(
        format!("sha256:{}", imgconv_testkit::sha256_hex(&received)),
        digest
    );
}

#[test]
fn an_address_that_is_taken_and_a_source_that_is_not_there_are_errors() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    let mut options = ServeOptions::new(PlatformSpec::from(Platform::new("linux", "amd64")));
    options.listen = server.address;
    let layout = format!("oci:{}", server.stores.path("out").display());
    let sources = [Locator::source(&layout).unwrap()];
    let log = || std::sync::Arc::new(Log::default());
    let error = serve(&sources, &options, log(), &env()).unwrap_err();
    assert_eq!(error.code(), Code::Io);
    assert!(
        error.to_string().contains(&server.address.to_string()),
        "{error}"
    );
    options.listen.set_port(0);
    let sources = [Locator::source("oci:/none/such").unwrap()];
    let error = serve(&sources, &options, log(), &env()).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
}
