//! Files from a loopback server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use imgconv_model::{Bundle, Code, Env, Network, Platform, Result, Transport as _};
use imgconv_testkit::{
    laws::stream,
    server::{Reply, Server},
};
use imgconv_transport_http::{HTTP, HTTPS};

pub(crate) fn env() -> Env {
    let mut network = Network::default();
    network.timeouts.first_wait = Duration::from_millis(1);
    Env {
        network: Arc::new(network),
        ..Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
    }
}

fn open(server: &Server, path: &str, env: &Env) -> Result<Box<dyn Bundle>> {
    HTTP.open(&format!("//{}{path}", server.authority()), env)
}

#[test]
fn a_file_and_its_signature_are_fetched() {
    let server = Server::start(|request| match &*request.target {
        "/x.aci?q" => Reply::ok("the image"),
        "/x.aci.asc?q" => Reply::ok("the signature"),
        _ => Reply::status(404),
    });
    let env = env();
    let bundle = open(&server, "/x.aci?q", &env).unwrap();
    assert_eq!(stream(&*bundle), b"the image");
    assert_eq!(stream(&*bundle), b"the image", "as often as needed");
    assert!(
        !server
            .requests()
            .iter()
            .any(|request| request.target.contains("asc"))
    );
    let signature = bundle.signature(&env.limits).unwrap().unwrap();
    assert_eq!(signature.bytes, b"the signature");
    assert!(bundle.fetched().unwrap().name.is_none());
    let bundle = HTTP.open(&format!("//{}/none", server.authority()), &env);
    assert_eq!(bundle.unwrap_err().code(), Code::Missing);
}

#[test]
fn what_has_no_signature_says_so() {
    let server = Server::start(|request| match &*request.target {
        "/x" => Reply::ok("the image"),
        _ => Reply::status(404),
    });
    let env = env();
    let bundle = open(&server, "/x", &env).unwrap();
    assert_eq!(bundle.signature(&env.limits).unwrap(), None);
}

#[test]
fn a_signature_of_100_mb_is_a_limit() {
    let server = Server::start(|request| match &*request.target {
        "/x" => Reply::ok("the image"),
        _ => Reply::ok(vec![b'x'; 1 << 16]).endless(),
    });
    let env = env();
    let bundle = open(&server, "/x", &env).unwrap();
    let error = bundle.signature(&env.limits).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let body = b"0123456789".repeat(10_000);
        let range = request.header("range").and_then(|range| {
            let start = range.strip_prefix("bytes=")?.strip_suffix('-')?;
            start.parse::<usize>().ok()
        });
        if request.target != "/x" {
            return Reply::ok("");
        }
        match (count.fetch_add(1, Ordering::Relaxed), range) {
            (0, None) => Reply::ok(body).header("etag", "\"1\"").cut_after(70_000),
            (_, Some(start)) => Reply::status(206)
                .header("etag", "\"1\"")
                .header("content-range", format!("bytes {start}-99999/100000"))
                .body(&body[start..]),
            _ => Reply::status(500),
        }
    });
    let bundle = open(&server, "/x", &env()).unwrap();
    assert_eq!(stream(&*bundle), b"0123456789".repeat(10_000));
}

#[test]
fn j9b_a_server_that_can_not_go_on_is_asked_for_all_of_it() {
    for second in ["etag", "offset", "416", "200"] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            if request.target != "/x" {
                return Reply::ok("");
            }
            let whole = Reply::ok(b"0123456789".repeat(10_000)).header("etag", "\"1\"");
            if count.fetch_add(1, Ordering::Relaxed) == 0 {
                return whole.cut_after(70_000);
            }
            let partial = || Reply::status(206).body("wrong");
            match (request.header("range"), second) {
                (None, _) | (_, "200") => whole,
                (_, "etag") => partial()
                    .header("etag", "\"2\"")
                    .header("content-range", "bytes 70000-70004/100000"),
                (_, "offset") => partial().header("content-range", "bytes 5-9/100000"),
                _ => Reply::status(416),
            }
        });
        let bundle = open(&server, "/x", &env()).unwrap();
        assert_eq!(stream(&*bundle), b"0123456789".repeat(10_000), "{second}");
    }
}

#[test]
fn a_file_larger_than_an_image_may_be_is_a_limit() {
    let server = Server::start(|_| Reply::ok(vec![0; 1 << 16]).endless());
    let mut env = env();
    env.limits.image_bytes = 1 << 20;
    assert_eq!(open(&server, "/x", &env).unwrap_err().code(), Code::Limit);
}

#[test]
fn l2_plain_http_is_for_hosts_that_were_named() {
    let error = HTTP.open("//registry.example/x", &env()).unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    assert!(
        error
            .advice()
            .unwrap()
            .contains("--plain-http registry.example")
    );
    let server = Server::start(|_| Reply::ok("the image"));
    let mut network = Network::default();
    network.timeouts.connect = Duration::from_millis(500);
    network.timeouts.total_wait = Duration::ZERO;
    let impatient = Env {
        network: Arc::new(network),
        ..env()
    };
    let result = HTTPS.open(&format!("//{}/x", server.authority()), &impatient);
    assert_eq!(result.unwrap_err().code(), Code::Net, "never a fallback");
}

#[test]
fn l13_what_is_secret_in_a_url_is_not_shown() {
    let server = Server::start(|_| Reply::status(404));
    let error = open(&server, "/x?sig=hunter2", &env()).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let error = HTTPS
        .open("//user:hunter2@example.com/x", &env())
        .unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
