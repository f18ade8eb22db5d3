//! The rows of robustness.md, section L, that every transport over HTTP shares.

use std::{
    io::{Cursor, Read},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use imgconv_http::{CertificateDirectory, Client, Download, Method, Request, Url};
use imgconv_model::{
    ClientCertificate, Code, Env, Error, Network, Open, Platform, Reader, Timeouts,
};
use imgconv_testkit::server::{Authority, Reply, Server};

/// Settings whose waits fit a test.
fn network() -> Network {
    Network {
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            response: Duration::from_millis(700),
            idle: Duration::from_millis(500),
            lowest_rate: 1 << 10,
            window: Duration::from_millis(900),
            first_wait: Duration::from_millis(10),
            total_wait: Duration::from_secs(5),
            retry_after: Duration::from_secs(300),
        },
        ..Network::default()
    }
}

fn env(network: Network) -> Env {
    let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    env.network = Arc::new(network);
    env
}

fn client(network: Network) -> Client {
    Client::new(&env(network)).unwrap()
}

/// A client that knows that the server speaks plain http.
fn plain(server: &Server) -> (Client, Url) {
    let network = Network {
        plain_http: vec![server.authority()],
        ..network()
    };
    let client = client(network);
    let url = client.base(&server.authority()).unwrap();
    (client, url)
}

fn get(client: &Client, url: &Url) -> Result<String, Error> {
    let response = client.send(&Request::get(url))?;
    let mut text = String::new();
    let read = response.into_reader().read_to_string(&mut text);
    read.map_err(Error::from_io)?;
    Ok(text)
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

// INV-7
#[test]
fn l1_no_credential_follows_a_redirect_to_another_origin() {
    for status in [302, 307, 308] {
        let back = Arc::new(std::sync::Mutex::new(String::new()));
        let to = Arc::clone(&back);
        let other = Server::start(move |_| {
            Reply::status(307).header("location", to.lock().unwrap().clone())
        });
        let away = other.url("/there");
        let first = Server::start(move |request| match request.path() {
            "/" => Reply::status(status).header("location", away.clone()),
            _ => Reply::ok("back again"),
        });
        *back.lock().unwrap() = first.url("/again");
        let network = Network {
            plain_http: vec!["127.0.0.1".into()],
            ..network()
        };
        let client = client(network);
        let url = client.base(&first.authority()).unwrap();
        let request = Request::get(&url)
            .private_header("authorization", "Basic c2VjcmV0")
            .private_header("cookie", "a=b");
        let response = client.send(&request).unwrap();
        assert_eq!(response.url().as_str(), first.url("/again"));
        let seen = other.requests();
        assert_eq!(seen.len(), 1);
        for name in ["authorization", "cookie", "proxy-authorization"] {
            assert_eq!(seen[0].header(name), None);
        }
        // A host that lost the header in a redirect does not get the header back.
        let own = first.requests();
        assert_eq!(own[0].header("authorization"), Some("Basic c2VjcmV0"));
        assert_eq!(own[1].header("authorization"), None);
    }
}

#[test]
fn l2_a_redirect_never_gives_up_tls() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let target = Server::start(|_| Reply::ok("plain"));
    let location = target.url("/x");
    let server = Server::start_tls(&authority.server(), move |_| {
        Reply::status(302).header("location", location.clone())
    });
    let network = Network {
        ca_files: vec![write(&folder, "ca.crt", &authority.pem())],
        // Even where plain http is allowed.
        plain_http: vec![target.authority()],
        ..network()
    };
    let client = client(network);
    let url = client.base(&server.authority()).unwrap();
    assert!(url.is_https());
    let error = client.send(&Request::get(&url)).unwrap_err();
    assert_eq!(error.code(), Code::Denied, "{error}");
    assert!(target.requests().is_empty());
}

#[test]
fn l2_plain_http_needs_an_explicit_option() {
    let client = client(network());
    let url = Url::parse("http://example.com/").unwrap();
    let error = client.send(&Request::get(&url)).unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    assert_eq!(
        error.advice(),
        Some("`--plain-http example.com` allows it for this host")
    );
    assert!(client.base("example.com").unwrap().is_https());
}

#[test]
fn l2_tls_that_fails_is_not_replaced_by_plain_http() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority.server(), |_| Reply::ok("x"));
    let client = client(network());
    let url = client.base(&server.authority()).unwrap();
    assert!(url.is_https());
    let error = client.send(&Request::get(&url)).unwrap_err();
    assert_eq!(error.code(), Code::Net, "{error}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_server_on_this_machine_may_speak_plain_http() {
    let server = Server::start(|_| Reply::ok("x"));
    let asked = |tls_verify| {
        let network = Network {
            tls_verify,
            ..network()
        };
        client(network)
            .base(&server.authority())
            .unwrap()
            .is_https()
    };
    assert!(!asked(None));
    assert!(!asked(Some(false)));
    assert!(asked(Some(true)));
}

#[test]
fn l3a_a_made_up_url_leads_only_to_public_addresses() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority.server(), |_| Reply::ok("x"));
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    let client = client(network());
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost"] {
        let url = Url::parse(&format!("https://{host}:{port}/")).unwrap();
        let request = Request::get(&url).made_up_by(None);
        let error = client.send(&request).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{host}: {error}");
    }
    for text in [
        "https://169.254.169.254/",
        "https://[::ffff:169.254.169.254]/",
    ] {
        let url = Url::parse(text).unwrap();
        let request = Request::get(&url).made_up_by(Some("127.0.0.1"));
        assert_eq!(client.send(&request).unwrap_err().code(), Code::Denied);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn l3a_a_name_that_resolves_to_loopback_is_refused_where_the_named_server_is_elsewhere() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority.server(), |_| Reply::ok("x"));
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    let client = client(network());
    let url = Url::parse(&format!("https://localhost:{port}/token")).unwrap();
    for named in ["8.8.8.8", "10.1.2.3", "[2606:4700::1111]:5000"] {
        let request = Request::get(&url).made_up_by(Some(named));
        let error = client.send(&request).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{named}: {error}");
        assert!(error.to_string().contains("not public"), "{named}: {error}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn l3a_a_made_up_url_may_lead_to_the_network_of_the_named_server() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let named = Server::start_tls(&authority.server(), |_| Reply::ok("x"));
    let other = Server::start_tls(&authority.server(), |_| Reply::ok("y"));
    let network = Network {
        ca_files: vec![write(&folder, "ca.crt", &authority.pem())],
        ..network()
    };
    let client = client(network);
    let url = Url::parse(&named.url("/")).unwrap();
    assert_eq!(get(&client, &url).unwrap(), "x");
    let url = Url::parse(&other.url("/")).unwrap();
    let request = Request::get(&url).made_up_by(Some(&named.authority()));
    assert_eq!(client.send(&request).unwrap().status(), 200);
}

#[test]
fn l5a_headers_of_a_megabyte_and_a_long_body_are_a_limit() {
    let server = Server::start(|request| match request.path() {
        "/headers" => Reply::ok("").header("x", "a".repeat(1 << 20)),
        "/many" => (0..200).fold(Reply::ok(""), |reply, i| {
            reply.header(&format!("x-{i}"), "a")
        }),
        "/endless" => Reply::ok("a".repeat(4096)).endless(),
        _ => Reply::status(400).body("a".repeat(4096)).endless(),
    });
    let (client, base) = plain(&server);
    for path in ["/headers", "/many"] {
        let url = base.join(path).unwrap();
        let error = client.send(&Request::get(&url)).unwrap_err();
        assert_eq!(error.code(), Code::Limit, "{path}: {error}");
    }
    let response = client.send(&Request::get(&base.join("/endless").unwrap()));
    let error = response
        .unwrap()
        .into_bytes(("manifest", 65536))
        .unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    // The text of an error is cut, which is no error of its own.
    let response = client.send(&Request::get(&base)).unwrap();
    let error = response.into_failure();
    assert_eq!(error.code(), Code::Net);
    assert!(error.to_string().len() < 1000);
}

#[test]
fn l5c_two_lengths_are_an_error_and_a_missing_length_is_not() {
    let server = Server::start(|request| match request.path() {
        "/twice" => {
            Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
        }
        "/both" => Reply::raw(
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        _ => Reply::raw("HTTP/1.1 200 OK\r\n\r\nabc"),
    });
    let (client, base) = plain(&server);
    for path in ["/twice", "/both"] {
        let error = get(&client, &base.join(path).unwrap()).unwrap_err();
        assert_eq!(error.code(), Code::Net, "{path}: {error}");
    }
    assert_eq!(get(&client, &base).unwrap(), "abc");
}

#[test]
fn l5d_http_2_is_not_spoken() {
    // A server that answers with frames: SETTINGS, then empty DATA.
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    for _ in 0..1000 {
        frames.extend([0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
    let server = Server::start(move |_| Reply::raw(frames.clone()));
    let (client, base) = plain(&server);
    assert_eq!(get(&client, &base).unwrap_err().code(), Code::Net);
}

#[test]
fn l7_nothing_is_decoded_and_identity_is_asked_for() {
    let server = Server::start(|_| Reply::ok("\u{1f}raw").header("content-encoding", "gzip"));
    let (client, base) = plain(&server);
    assert_eq!(get(&client, &base).unwrap(), "\u{1f}raw");
    let asked = server.requests();
    assert_eq!(asked[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn l8_silence_and_a_trickle_end_in_time() {
    let server = Server::start(|request| match request.path() {
        "/silent" => Reply::ok("").delay(Duration::from_millis(1500)),
        "/stalls" => Reply::ok("99 of 100").stall(),
        _ => Reply::ok("a".repeat(100)).trickle(Duration::from_millis(100)),
    });
    let (client, base) = plain(&server);
    for path in ["/silent", "/stalls", "/trickles"] {
        let url = base.join(path).unwrap();
        // A single attempt keeps the test short.
        let request = Request::get(&url).once();
        let read = client.send(&request).and_then(|response| {
            let mut bytes = Vec::new();
            let read = response.into_reader().read_to_end(&mut bytes);
            read.map(|_| bytes).map_err(Error::from_io)
        });
        assert_eq!(read.unwrap_err().code(), Code::Net, "{path}");
    }
}

#[test]
fn l8_a_handshake_without_end_ends_in_time() {
    // The listener accepts the connection and sends nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let mut network = network();
    network.timeouts.connect = Duration::from_millis(300);
    let client = client(network);
    let url = Url::parse(&format!("https://{authority}/")).unwrap();
    let error = client.send(&Request::get(&url).once()).unwrap_err();
    assert_eq!(error.code(), Code::Net, "{error}");
}

#[test]
fn l8_a_cancelled_run_ends_its_waits() {
    let server = Server::start(|request| match request.path() {
        "/stalls" => Reply::ok("x").stall(),
        _ => Reply::status(503),
    });
    for path in ["/stalls", "/again"] {
        let mut network = network();
        network.plain_http = vec![server.authority()];
        // No wait ends by itself.
        let day = Duration::from_secs(24 * 60 * 60);
        network.timeouts = Timeouts {
            response: day,
            idle: day,
            window: day,
            first_wait: day,
            total_wait: 4 * day,
            ..Timeouts::default()
        };
        let env = env(network);
        let client = Client::new(&env).unwrap();
        let url = client
            .base(&server.authority())
            .unwrap()
            .join(path)
            .unwrap();
        let before = server.requests().len();
        let waiting = thread::spawn(move || get(&client, &url));
        while server.requests().len() == before {
            thread::sleep(Duration::from_millis(1));
        }
        env.cancel.store(true, Ordering::Relaxed);
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Cancelled, "{path}: {error}");
    }
}

/// Reads a body through a [`Download`], whose server may answer a range as it likes.
fn resumed(
    body: &'static [u8],
    partial: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> (Result<Vec<u8>, Error>, usize) {
    let plain_requests = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.header("range") {
        Some(range) => {
            let first = range.trim_start_matches("bytes=").trim_end_matches('-');
            partial(first.parse().unwrap())
        }
        // The first connection is cut.
        None => Reply::ok(body).header("etag", "\"1\"").cut_after(
            match plain_requests.fetch_add(1, Ordering::Relaxed) {
                0 => 40,
                _ => body.len(),
            },
        ),
    });
    let (client, base) = plain(&server);
    let ask = |range: Option<&str>| {
        let mut request = Request::get(&base);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        client.send(&request)
    };
    let mut bytes = Vec::new();
    let size = Some(body.len() as u64);
    let read = Download::new(ask, size, 5).read_to_end(&mut bytes);
    let count = server.requests().len();
    (read.map(|_| bytes).map_err(Error::from_io), count)
}

const BODY: &[u8] =
    b"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr";

fn ranged(first: usize, said: usize) -> Reply {
    let range = format!("bytes {said}-{}/{}", BODY.len() - 1, BODY.len());
    Reply::status(206)
        .header("content-range", range)
        .header("etag", "\"1\"")
        .body(&BODY[first..])
}

#[test]
fn l9_a_cut_download_continues() {
    let (read, requests) = resumed(BODY, |first| ranged(first, first));
    assert_eq!((read.unwrap(), requests), (BODY.to_vec(), 2));
}

#[test]
fn l9_a_response_that_restarts_is_read_to_its_end() {
    let (read, _) = resumed(BODY, |_| Reply::ok(BODY));
    assert_eq!(read.unwrap(), BODY);
}

#[test]
fn l9_a_wrong_range_is_requested_once_more() {
    let wrong: [fn(usize) -> Reply; 5] = [
        |first| ranged(first, first - 1),
        |first| {
            Reply::status(206)
                .header("content-range", "x")
                .body(&BODY[first..])
        },
        |first| {
            Reply::status(206)
                .header("content-range", "bytes 40-30/100")
                .body(&BODY[first..])
        },
        |_| Reply::status(416),
        |first| {
            let range = format!("bytes {first}-{}/{}", BODY.len() - 1, BODY.len());
            Reply::status(206)
                .header("content-range", range)
                .header("etag", "\"2\"")
                .body("other bytes")
        },
    ];
    for (i, partial) in wrong.into_iter().enumerate() {
        let (read, requests) = resumed(BODY, partial);
        assert_eq!(read.unwrap(), BODY, "{i}");
        assert_eq!(requests, 3, "{i}");
    }
}

#[test]
fn l10_only_temporary_errors_are_tried_again() {
    for status in [408, 429, 500, 502, 503, 504, 520, 522, 524, 530] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Reply::status(status),
            _ => Reply::ok("done"),
        });
        let (client, base) = plain(&server);
        assert_eq!(get(&client, &base).unwrap(), "done");
        assert_eq!(server.requests().len(), 3);
    }
    let always = Server::start(|_| Reply::status(503));
    let (client, base) = plain(&always);
    assert_eq!(get(&client, &base).unwrap_err().code(), Code::Net);
    assert_eq!(always.requests().len(), 5);
    let later = Server::start(|_| Reply::status(429).header("retry-after", "1000000000"));
    let (client, base) = plain(&later);
    assert_eq!(get(&client, &base).unwrap_err().code(), Code::Net);
    assert_eq!(later.requests().len(), 1);
    for status in [400, 405, 418, 501, 505] {
        let server = Server::start(move |_| Reply::status(status));
        let (client, base) = plain(&server);
        let error = client.send(&Request::get(&base)).unwrap().into_failure();
        assert_eq!(error.code(), Code::Net);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn l10_a_connection_that_is_closed_is_tried_again_unless_that_could_do_harm() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::hang_up(),
        _ => Reply::ok("done"),
    });
    let (client, base) = plain(&server);
    assert_eq!(get(&client, &base).unwrap(), "done");
    let dead = Server::start(|_| Reply::hang_up());
    let (client, base) = plain(&dead);
    let request = Request::new(Method::Patch, &base).body(b"chunk").once();
    assert_eq!(client.send(&request).unwrap_err().code(), Code::Net);
    assert_eq!(dead.requests().len(), 1);
}

#[test]
fn l10_a_document_whose_body_is_cut_is_tried_again() {
    for (cuts, attempts) in [(2, 3), (usize::MAX, 5)] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            n if n < cuts => Reply::ok("document").cut_after(4),
            _ => Reply::ok("document"),
        });
        let (client, base) = plain(&server);
        let sent = client.send(&Request::get(&base).whole(8));
        assert_eq!(server.requests().len(), attempts);
        match sent {
            Ok(response) => assert_eq!(response.into_bytes(("manifest", 8)).unwrap(), b"document"),
            Err(error) => assert_eq!((cuts, error.code()), (usize::MAX, Code::Net), "{error}"),
        }
    }
    // A body that is too long is not read to its end, whether or not its length is announced.
    for reply in [
        || Reply::ok("document"),
        || Reply::ok("document").chunked(),
        || Reply::ok("document").endless(),
    ] {
        let server = Server::start(move |_| reply());
        let (client, base) = plain(&server);
        let response = client.send(&Request::get(&base).whole(7)).unwrap();
        let error = response.into_bytes(("manifest", 7)).unwrap_err();
        assert_eq!(error.code(), Code::Limit, "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

/// The bytes of a body that is not in memory.
#[derive(Debug)]
struct Streamed;

impl Open for Streamed {
    fn open(&self) -> Result<Reader, Error> {
        Ok(Box::new(Cursor::new(BODY)))
    }
}

#[test]
fn l10_a_body_that_is_not_in_memory_is_sent_anew_with_each_attempt() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::status(503),
        1 => Reply::status(307).header("location", "/there"),
        2 => Reply::hang_up(),
        _ => Reply::status(201),
    });
    let (client, base) = plain(&server);
    let request = Request::new(Method::Put, &base).streamed(&Streamed, BODY.len() as u64);
    assert_eq!(client.send(&request).unwrap().status(), 201);
    let seen = server.requests();
    assert_eq!(seen.len(), 4);
    for request in seen {
        assert_eq!(request.body, BODY);
        assert_eq!(request.header("content-length"), Some("100"));
        assert_eq!(request.header("transfer-encoding"), None);
    }
}

#[test]
fn redirects_are_counted() {
    let server = Server::start(|_| Reply::status(302).header("location", "/"));
    let (client, base) = plain(&server);
    assert_eq!(get(&client, &base).unwrap_err().code(), Code::Limit);
    assert_eq!(server.requests().len(), 11);
}

#[test]
fn l13_no_secret_is_in_a_message() {
    let server = Server::start(|request| {
        // The server repeats all credentials that it received.
        let said = format!("{:?}", request.headers);
        Reply::status(400).body(said)
    });
    let (client, base) = plain(&server);
    let url = base.join("/x?signature=hunter2").unwrap();
    let request = Request::get(&url)
        .private_header("authorization", "Basic aHVudGVyMg==")
        .hide("hunter2");
    let response = client.send(&request).unwrap();
    let shown = format!("{response:?} {request:?}");
    let shown = format!("{shown} {}", response.into_failure());
    assert!(shown.contains("***"), "{shown}");
    let dead = format!("{}/?signature=hunter2", "https://127.0.0.1:1");
    let request = Request::get(&Url::parse(&dead).unwrap()).private_header("x", "aHVudGVyMg==");
    let shown = format!("{shown} {}", client.send(&request).unwrap_err());
    for secret in ["hunter2", "aHVudGVyMg"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn l14_a_bad_certificate_is_refused() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = write(&folder, "ca.crt", &authority.pem());
    let both = ["127.0.0.1", "localhost"];
    let expired = authority.identity(&both, (2000, 2001), false);
    let other_host = authority.identity(&["example.com"], (2000, 2100), false);
    let stranger = Authority::new().server();
    for (identity, what) in [
        (expired, "expired"),
        (other_host, "host"),
        (stranger, "stranger"),
    ] {
        let server = Server::start_tls(&identity, |_| Reply::ok("x"));
        let network = Network {
            ca_files: vec![ca.clone()],
            ..network()
        };
        let client = client(network);
        let url = Url::parse(&server.url("/")).unwrap();
        let error = client.send(&Request::get(&url)).unwrap_err();
        assert_eq!(error.code(), Code::Net, "{what}: {error}");
        assert!(error.to_string().contains("TLS"), "{what}: {error}");
    }
}

#[test]
fn l14_old_tls_is_refused() {
    // The answer of a server that supports only TLS 1.1 and older: the alert protocol_version.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = server.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        let mut alert = Cursor::new([0x15, 3, 2, 0, 2, 2, 70]);
        std::io::copy(&mut alert, &mut stream).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let client = client(network());
    let url = Url::parse(&format!("https://{authority}/")).unwrap();
    let error = client.send(&Request::get(&url)).unwrap_err();
    assert_eq!(error.code(), Code::Net, "{error}");
    drop(client);
    answering.join().unwrap();
}

#[test]
fn l14_a_custom_ca_and_a_client_certificate_work() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "ca.crt", &authority.pem());
    let pem = authority.certificate(&["client"], (2000, 2100));
    write(&folder, "client.cert", &pem.certificate);
    write(&folder, "client.key", &pem.key);
    let found = CertificateDirectory::read(folder.path()).unwrap();
    assert_eq!(found.ca_files, [folder.path().join("ca.crt")]);
    let server = Server::start_tls(&authority.server_for_clients(), |_| Reply::ok("known"));
    let network = |client_certificate: Option<ClientCertificate>| Network {
        ca_files: found.ca_files.clone(),
        client_certificate,
        ..network()
    };
    let url = Url::parse(&server.url("/")).unwrap();
    let with = client(network(found.client.clone()));
    assert_eq!(get(&with, &url).unwrap(), "known");
    let without = client(network(None));
    assert_eq!(get(&without, &url).unwrap_err().code(), Code::Net);
    // The client certificate is not sent to a server that the user did not name.
    let request = Request::get(&url).made_up_by(Some("127.0.0.1:1"));
    assert!(with.send(&request).is_err());
    // A key that belongs to another certificate is found out at once.
    let other = authority.certificate(&["other"], (2000, 2100));
    let key = write(&folder, "other.key", &other.key);
    let chain = folder.path().join("client.cert");
    let error = Client::new(&env(network(Some(ClientCertificate { chain, key })))).unwrap_err();
    assert_eq!(error.code(), Code::Usage);
}

#[test]
fn l14_certificates_of_a_host_are_for_that_host_alone() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let known = Server::start_tls(&authority.server_for_clients(), |_| Reply::ok("known"));
    let other = Server::start_tls(&authority.server(), |_| Reply::ok("other"));
    let own = folder.path().join(known.authority());
    std::fs::create_dir(&own).unwrap();
    let pem = authority.certificate(&["client"], (2000, 2100));
    for (name, text) in [
        ("ca.crt", &authority.pem()),
        ("client.cert", &pem.certificate),
        ("client.key", &pem.key),
    ] {
        std::fs::write(own.join(name), text).unwrap();
    }
    let with = |folders: &[&std::path::Path]| {
        let host_certificates = folders.iter().map(|&folder| folder.to_owned()).collect();
        client(Network {
            host_certificates,
            ..network()
        })
    };
    let url = |server: &Server| Url::parse(&server.url("/")).unwrap();
    let client = with(&[&folder.path().join("none"), folder.path()]);
    assert_eq!(get(&client, &url(&known)).unwrap(), "known");
    let error = get(&client, &url(&other)).unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
    // This client certificate is not sent to a server that the user did not name, either.
    let made_up = url(&known);
    let request = Request::get(&made_up).made_up_by(Some("127.0.0.1:1"));
    assert!(client.send(&request).is_err());
    // A file `*.crt` must hold a certificate.
    std::fs::write(own.join("ca.crt"), "no certificate").unwrap();
    let error = get(&with(&[folder.path()]), &url(&known)).unwrap_err();
    assert_eq!(error.code(), Code::Usage, "{error}");
}
