//! Requests of hostile clients.

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use crate::support::{Running, Stores, image};

fn one() -> Running {
    Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve()
}

// V07
#[test]
fn v07_paths_that_lead_elsewhere_are_refused() {
    let server = one();
    for path in [
        "/v2/../../etc/passwd",
        "/v2/%2e%2e/%2e%2e/etc/passwd",
        "/v2/app/blobs/../../../../etc/passwd",
        "/v2/app/manifests/..%2f..%2fetc%2fpasswd",
        "/v2/app/manifests/%00",
        "/v2/app/manifests/1%0d%0aset-cookie:x",
        "/v2/%ff%fe/manifests/1",
        "//v2/app/manifests/1",
    ] {
        let reply = server.get(path);
        assert!(
            (400..500).contains(&reply.status),
            "{path}: {}",
            reply.status
        );
        assert_eq!(reply.header("set-cookie"), "");
        assert!(!reply.text().contains("root:"));
    }
    assert_eq!(server.get("/v2/app/manifests/1").status, 200);
}

// V08
#[test]
fn v08_requests_with_two_meanings_are_refused() {
    let server = one();
    let smuggled = "GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n";
    for headers in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: -1\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "bad name: x\r\n",
    ] {
        let text = format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n{headers}\r\n{smuggled}");
        let reply = server.raw(text.as_bytes());
        assert!(
            reply.status == 400 || reply.status == 0,
            "{headers}: {}",
            reply.status
        );
    }
    // A body is never taken for a request.
    let text = format!(
        "POST /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let reply = server.raw(text.as_bytes());
    assert_eq!(reply.status, 405);
    assert!(!reply.text().contains("HTTP/1.1"), "{}", reply.text());
    let text = format!(
        "GET /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    let reply = server.raw(text.as_bytes());
    assert!(
        reply.status == 400 || !reply.text().contains("HTTP/1.1"),
        "{}",
        reply.text()
    );
}

// V08
#[test]
fn v08_a_request_names_one_host() {
    let server = one();
    let get = |head: &str| {
        let text = format!("{head}connection: close\r\n\r\n");
        server.raw(text.as_bytes())
    };
    for headers in ["", "host: x\r\nhost: y\r\n", "host: x\r\nhost: x\r\n"] {
        for path in ["/v2/", "/", "/v1/_ping", "/v2/app/manifests/1"] {
            let reply = get(&format!("GET {path} HTTP/1.1\r\n{headers}"));
            assert_eq!(
                (reply.status, &*reply.code()),
                (400, "UNSUPPORTED"),
                "{headers}"
            );
            assert!(reply.text().contains("Host"), "{}", reply.text());
        }
    }
    assert_eq!(get("GET /v2/ HTTP/1.0\r\n").status, 200);
}

// V09
#[test]
fn v09_headers_without_end_are_refused() {
    let server = one();
    let mut long = b"GET /v2/ HTTP/1.1\r\nhost: x\r\nx: ".to_vec();
    long.resize(200 << 10, b'a');
    let mut stream = server.connect();
    // The server ends the connection before it has read everything.
    let _ = stream.write_all(&long);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );

    let many: String = (0..1000).map(|i| format!("x{i}: 1\r\n")).collect();
    let reply = server.raw(format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes());
    assert!(
        reply.status == 431 || reply.status == 400,
        "{}",
        reply.status
    );
    let path = "a/".repeat(20 << 10);
    let reply = server.raw(format!("GET /{path} HTTP/1.1\r\nconnection: close\r\n\r\n").as_bytes());
    assert!((400..500).contains(&reply.status) || reply.status == 0);
    assert_eq!(server.get("/v2/").status, 200);
}

// V10
#[test]
fn v10_a_client_that_sends_nothing_is_left() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve_with(|options| {
            options.patience = Duration::from_millis(300);
            options.connections = 2;
        });
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.write_all(b"GET /v2/ HTTP/1.1\r\nhost").unwrap();
    // Both connections are taken: the answer comes when the server has left them.
    assert_eq!(server.get("/v2/").status, 200);
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest);
    let _ = slow.read_to_end(&mut rest);
}

// V10
#[test]
fn v10_clients_that_do_not_read_hold_no_thread() {
    let big = "a".repeat(4 << 20);
    let layer = format!("file big \"{big}\"");
    let image = imgconv_testkit::ImageRecipe::of("example.com/app", "1", &[&layer]);
    let server = Stores::new().layout("out", &[image]).serve();
    let manifest = server.get("/v2/app/manifests/1").json();
    let digest = manifest["layers"][0]["digest"].as_str().unwrap();
    let request = format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut clients = Vec::new();
    for _ in 0..150 {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        clients.push(stream);
    }
    server.pull("app", "1", "*/*");
}

#[test]
fn what_is_no_http_gets_no_image() {
    let server = one();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    }
    assert_eq!(server.get("/v2/").status, 200);
}
