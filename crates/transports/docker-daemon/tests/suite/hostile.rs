//! Engines that are not there, that fail, and servers that are no engines.

use std::{
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use imgconv_model::{Code, Env, Event, Network, Progress, Transport as _};
use imgconv_testkit::{
    docker,
    engine::refusal,
    server::{Reply, Request, Server},
};
use imgconv_transport_docker_daemon::DOCKER_DAEMON;
use tempfile::TempDir;

use crate::fixture::{env, place, three, with};

fn gets(request: &Request) -> bool {
    request.path() == "/images/get"
}

// robustness Q06: no socket, a socket that nobody listens on, one that the user may not use.
#[test]
fn q06_an_engine_that_is_not_there_is_named_by_its_socket() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("none.sock");
    let mut env = env(&directory);
    env.places.docker_host = Some(format!("unix://{}", socket.display()));
    let fails = |env: &Env| DOCKER_DAEMON.open("a:1", env).unwrap_err();
    let error = fails(&env);
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("none.sock"), "{error}");
    assert!(error.advice().unwrap().contains("--docker-host"), "{error}");
    // A socket stays as a file when its program ends.
    drop(UnixListener::bind(&socket).unwrap());
    let error = fails(&env);
    assert_eq!(error.code(), Code::Net);
    assert!(error.to_string().contains("no engine listens"), "{error}");
    let error = DOCKER_DAEMON.create("", &env).unwrap_err();
    assert_eq!(error.code(), Code::Net);
    for (host, code) in [
        ("/var/run/docker.sock", Code::Usage),
        ("ssh://host", Code::Unsupported),
    ] {
        env.places.docker_host = Some(host.to_owned());
        assert_eq!(fails(&env).code(), code, "{host}");
    }
}

// robustness Q07: an engine that breaks off in the middle of an archive, with or without a message.
#[test]
fn q07_an_archive_that_is_not_whole_is_refused() {
    let archive = docker::archive(&three()[..1]).unwrap();
    let half = archive[..archive.len() / 2 / 512 * 512].to_vec();
    let told = [
        &half[..],
        b"{\"errorDetail\":{\"message\":\"disk is gone\"},\"error\":\"x\"}\r\n",
    ]
    .concat();
    let replies: [(Reply, &str); 4] = [
        (
            Reply::ok(archive.clone()).chunked().cut_after(900),
            "closed the connection",
        ),
        (Reply::ok(archive).cut_after(900), "closed the connection"),
        (Reply::ok(half).chunked(), "archive"),
        (Reply::ok(told).chunked(), "disk is gone"),
    ];
    for (reply, expected) in replies {
        let place = with(&three(), move |request| {
            gets(request).then(|| reply.clone())
        });
        let error = place.fails("a:1");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

// robustness Q08: an engine that refuses.
#[test]
fn q08_the_words_of_an_engine_are_quoted() {
    let place = with(&three(), |request| {
        gets(request).then(|| refusal(500, "no space\u{1b}[31m left"))
    });
    let error = place.fails("a:1");
    let text = error.to_string();
    assert!(
        text.contains("the server answered 500") && text.contains("no space"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    let requests = place.engine.requests();
    assert_eq!(
        requests.iter().filter(|it| it.contains("/get")).count(),
        1,
        "no second attempt"
    );
}

// robustness Q09: HTTP that is no engine, and what is no HTTP.
#[test]
fn q09_a_server_that_is_no_engine_is_not_believed() {
    let deep = "[".repeat(200);
    for body in [
        "<html>hello</html>",
        "{}",
        "[1]",
        "[{\"Id\":\"x\"}]",
        "[{}]",
        &deep,
        "",
    ] {
        let body = body.to_owned();
        let place = with(&[], move |_| Some(Reply::ok(body.clone())));
        for name in ["", "a:1"] {
            let error = place.fails(name);
            assert_eq!(error.code(), Code::Net, "{error}");
            assert!(error.advice().unwrap().contains("--docker-host"), "{error}");
        }
    }
    let place = with(&[], |_| Some(Reply::raw("SSH-2.0-OpenSSH_9.2\r\n")));
    assert_eq!(place.fails("").code(), Code::Net);
    let place = with(&[], |_| Some(Reply::status(404).body("<h1>no</h1>")));
    for name in ["", "a:1"] {
        let error = place.fails(name);
        assert!(error.advice().unwrap().contains("--docker-host"), "{error}");
    }
}

/// The start of an archive with a layer of 8 GiB.
fn layer_without_end() -> Vec<u8> {
    let mut head = docker::archive(&three()[..1]).unwrap()[..512].to_vec();
    head[124..136].copy_from_slice(b"77777777777\0");
    head[148..156].copy_from_slice(b"        ");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    [head, vec![b'x'; 4096]].concat()
}

// robustness Q10: answers without end.
#[test]
fn q10_answers_without_end_are_bounded() {
    let place = with(&[], |_| Some(Reply::ok(" ".repeat(4096)).endless()));
    assert_eq!(place.fails("").code(), Code::Limit);
    let headers = "x".repeat(1 << 20);
    let place = with(&[], move |_| {
        Some(Reply::ok("[]").header("x", headers.clone()))
    });
    assert_eq!(place.fails("").code(), Code::Limit);
    let endless = layer_without_end();
    let mut place = with(&three(), move |request| {
        gets(request).then(|| Reply::ok(endless.clone()).endless())
    });
    place.env.limits.image_bytes = 1 << 20;
    assert_eq!(place.fails("a:1").code(), Code::Limit);
}

/// Cancels the run at the first bytes.
#[derive(Debug)]
struct Cancels(Arc<AtomicBool>);

impl Progress for Cancels {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Advance { .. }) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

// robustness Q10: a cancelled run ends the wait for an engine.
#[test]
fn q10_a_cancelled_run_waits_no_longer() {
    let mut place = with(&three(), |request| {
        gets(request).then(|| Reply::ok("x".repeat(4096)).stall())
    });
    place.env.progress = Arc::new(Cancels(Arc::clone(&place.env.cancel)));
    assert_eq!(place.fails("a:1").code(), Code::Cancelled);
}

// robustness Q11: names from the engine and from the user that would lead elsewhere.
#[test]
fn q11_a_name_does_not_change_the_path_of_a_request() {
    let one = place(&three());
    for name in [
        "../containers/x",
        "a/../../b",
        "a?x=1",
        "a b",
        "a\n",
        "a//b",
        "a%2fb",
    ] {
        assert_eq!(one.fails(name).code(), Code::BadName, "{name}");
    }
    assert!(one.engine.requests().is_empty());
    let mut images = three();
    images[0].head.name = "a\u{1b}b".into();
    let odd = place(&images);
    let roots = odd.open("").unwrap().roots().unwrap();
    assert_eq!(roots.len(), 3, "the other name of the image stays");
    let warnings = odd.env.notes.take();
    let text = format!("{warnings:?}");
    assert!(text.contains("bad-name"), "{text}");
}

// robustness Q12: an engine behind TCP; a proxy is never asked.
#[test]
fn q12_an_engine_is_reached_by_tcp() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        asked.fetch_add(1, Ordering::Relaxed);
        Reply::ok("[]")
    });
    let directory = TempDir::new().unwrap();
    let mut env = env(&directory);
    for scheme in ["tcp", "http"] {
        env.places.docker_host = Some(format!("{scheme}://{}", server.authority()));
        let bundle = DOCKER_DAEMON.open("", &env).unwrap();
        assert!(bundle.summaries().unwrap().unwrap().is_empty());
    }
    let mut network = Network::default();
    network.timeouts.connect = Duration::from_millis(300);
    env.network = Arc::new(network);
    // With certificates `tcp` means TLS, which this server does not speak.
    env.places.docker_certificates = Some(directory.path().to_owned());
    env.places.docker_host = Some(format!("tcp://{}", server.authority()));
    assert_eq!(DOCKER_DAEMON.open("", &env).unwrap_err().code(), Code::Net);
}

// robustness Q08: an engine that answers before it has read the archive.
#[test]
fn q08_an_engine_that_refuses_early_is_quoted() {
    use std::io::{Read as _, Write as _};
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let serving = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut some = [0; 4096];
            let _ = stream.read(&mut some).unwrap();
            let ping = some.starts_with(b"GET /_ping");
            let body = if ping {
                "OK"
            } else {
                "{\"message\":\"read-only store\"}"
            };
            let status = if ping { 200 } else { 500 };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(head.as_bytes()).unwrap();
        }
    });
    let mut env = env(&directory);
    env.places.docker_host = Some(format!("unix://{}", socket.display()));
    let sink = DOCKER_DAEMON.create("", &env).unwrap();
    let big = "x".repeat(4 << 20);
    let error = crate::load::send(sink, &[(&big, Some("a:1"))]).unwrap_err();
    assert!(error.to_string().contains("read-only store"), "{error}");
    serving.join().unwrap();
}
