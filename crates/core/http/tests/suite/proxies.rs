//! Servers behind proxies, and whom to trust (robustness K46, K47, N3).

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use imgconv_http::{Client, Request, Url};
use imgconv_model::{Code, Env, Error, Network, Platform, ProxySetting, Secret, Timeouts};
use imgconv_testkit::server::{Authority, Identity, Reply, Server};

fn client(network: Network) -> Client {
    let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    env.network = Arc::new(Network {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            first_wait: Duration::from_millis(10),
            ..Timeouts::default()
        },
        ..network
    });
    Client::new(&env).unwrap()
}

fn setting(source: &str, url: String) -> Option<ProxySetting> {
    let (source, url) = (source.to_owned(), Secret::new(url));
    Some(ProxySetting { source, url })
}

fn get(client: &Client, url: &str) -> Result<String, Error> {
    let url = Url::parse(url)?;
    let response = client.send(&Request::get(&url))?;
    if response.status() != 200 {
        return Err(response.into_failure());
    }
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

/// A proxy that answers `CONNECT` with the given text and connects every request to one server.
struct Tunnels {
    authority: String,
    heads: Arc<Mutex<Vec<String>>>,
}

fn tunnels(answer: &'static str, to: String) -> Tunnels {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen, to) = (stream.unwrap(), Arc::clone(&seen), to.clone());
            thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        return;
                    }
                    head.push(byte[0]);
                }
                seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                let _ = stream.write_all(answer.as_bytes());
                if !answer.starts_with("HTTP/1.1 200") {
                    return;
                }
                let mut server = TcpStream::connect(to).unwrap();
                let (mut down, mut up) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut server, &mut down);
                    let _ = down.shutdown(std::net::Shutdown::Both);
                });
                let _ = std::io::copy(&mut stream, &mut up);
                let _ = up.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    Tunnels { authority, heads }
}

#[test]
fn k46_https_goes_through_a_tunnel_and_tls_is_with_the_server() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let names = ["registry.example", "cdn.example"];
    let identity = authority.identity(&names, (2000, 2100), false);
    let server = Server::start_tls(&identity, |request| match request.path() {
        "/blob" => Reply::status(307).header("location", "https://cdn.example/signed?x=1"),
        path => Reply::ok(format!("{path} of {}", request.header("host").unwrap())),
    });
    let proxy = tunnels(
        "HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n",
        server.authority(),
    );
    let client = client(Network {
        ca_files: vec![write(&folder, "ca.crt", &authority.pem())],
        https_proxy: setting(
            "https_proxy",
            format!("http://me:s%40crt@{}/", proxy.authority),
        ),
        no_proxy: "other.example".into(),
        ..Network::default()
    });
    assert_eq!(
        get(&client, "https://registry.example/v2/").unwrap(),
        "/v2/ of registry.example"
    );
    // Where a server sends us is reached in the same way, and its name is not looked up here.
    assert_eq!(
        get(&client, "https://registry.example/blob").unwrap(),
        "/signed of cdn.example"
    );
    let heads = proxy.heads.lock().unwrap().clone();
    let lines: Vec<&str> = heads
        .iter()
        .map(|head| head.lines().next().unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            "CONNECT registry.example:443 HTTP/1.1",
            "CONNECT cdn.example:443 HTTP/1.1"
        ]
    );
    // me:s@crt
    assert!(
        heads[0].contains("\r\nproxy-authorization: Basic bWU6c0BjcnQ=\r\n"),
        "{heads:?}"
    );
    for request in server.requests() {
        assert_eq!(request.header("proxy-authorization"), None);
    }
    // An address that a server leads to is checked before the proxy gets a request for the address.
    let url = Url::parse("https://169.254.169.254/").unwrap();
    let made_up = Request::get(&url).made_up_by(Some("registry.example"));
    assert_eq!(client.send(&made_up).unwrap_err().code(), Code::Denied);
    assert_eq!(proxy.heads.lock().unwrap().len(), 2);
}

#[test]
fn k46_http_asks_the_proxy_for_the_whole_url() {
    let proxy = Server::start(|request| match request.target.as_str() {
        "http://registry.example:5000/a?b=c" => Reply::ok("x"),
        "http://registry.example:5000/away" => {
            Reply::status(302).header("location", "http://cdn.example/y")
        }
        "http://cdn.example/y" => Reply::ok("y"),
        _ => Reply::status(418),
    });
    let client = client(Network {
        plain_http: vec!["registry.example:5000".into(), "cdn.example".into()],
        http_proxy: setting("http_proxy", format!("me@{}", proxy.authority())),
        ..Network::default()
    });
    // Twice, so that a kept connection is seen too.
    for _ in 0..2 {
        assert_eq!(
            get(&client, "http://registry.example:5000/a?b=c").unwrap(),
            "x"
        );
    }
    assert_eq!(
        get(&client, "http://registry.example:5000/away").unwrap(),
        "y"
    );
    let requests = proxy.requests();
    assert_eq!(requests.len(), 4);
    for request in &requests {
        assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6"));
    }
    assert_eq!(requests[3].header("host"), Some("cdn.example"));
}

#[test]
fn k46_a_proxy_that_speaks_tls_itself() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let proxy = Server::start_tls(&authority.server(), |request| {
        Reply::ok(format!("for {}", request.target))
    });
    let client = client(Network {
        ca_files: vec![write(&folder, "ca.crt", &authority.pem())],
        plain_http: vec!["registry.example".into()],
        http_proxy: setting("http_proxy", format!("https://{}", proxy.authority())),
        ..Network::default()
    });
    let found = get(&client, "http://registry.example/x").unwrap();
    assert_eq!(found, "for http://registry.example/x");
}

#[test]
fn k46_this_machine_and_the_hosts_of_no_proxy_are_reached_directly() {
    let server = Server::start(|_| Reply::ok("direct"));
    let proxy = Server::start(|_| Reply::ok("proxy"));
    let client = client(Network {
        plain_http: vec!["127.0.0.1".into(), "a.example".into()],
        http_proxy: setting("http_proxy", proxy.authority()),
        no_proxy: "b.example".into(),
        ..Network::default()
    });
    assert_eq!(get(&client, &server.url("/")).unwrap(), "direct");
    assert_eq!(get(&client, "http://a.example/").unwrap(), "proxy");
}

#[test]
fn k46_the_error_of_a_proxy_has_no_password() {
    let folder = tempfile::tempdir().unwrap();
    for (answer, url, code, expected, most) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "https://registry.example/",
            Code::Denied,
            "does not accept the credentials (407)",
            1,
        ),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "https://registry.example/",
            Code::Net,
            "it answered 403 to CONNECT registry.example:443",
            1,
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "https://registry.example/",
            Code::Net,
            "it answered 502 to CONNECT registry.example:443",
            2,
        ),
        (
            "SSH-2.0-x\r\n\r\n",
            "https://registry.example/",
            Code::Net,
            "did not answer CONNECT registry.example:443 in HTTP",
            1,
        ),
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            "http://registry.example/",
            Code::Denied,
            "does not accept the credentials (407)",
            1,
        ),
        (
            // The proxy repeats the credentials that it received.
            "HTTP/1.1 403 Forbidden\r\n\r\nBasic bWU6aHVudGVyMg==",
            "http://registry.example/",
            Code::Denied,
            "the server answered 403: \"Basic ***\"",
            1,
        ),
    ] {
        let proxy = tunnels(answer, String::new());
        let url_of_proxy = format!("http://me:hunter2@{}", proxy.authority);
        let client = client(Network {
            plain_http: vec!["registry.example".into()],
            trust_directories: vec![folder.path().to_owned()],
            https_proxy: setting("HTTPS_PROXY", url_of_proxy.clone()),
            http_proxy: setting("http_proxy", url_of_proxy),
            ..Network::default()
        });
        let error = get(&client, url).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        let all = format!("{error} {:?}", error.advice());
        assert!(
            !all.contains("hunter2") && !all.contains("bWU6aHVudGVyMg"),
            "{all}"
        );
        assert_eq!(proxy.heads.lock().unwrap().len(), most, "{answer}");
    }
}

#[test]
fn k46_authorities_of_the_user_stand_in_the_place_of_the_systems() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server = Server::start_tls(&authority.server(), |_| Reply::ok("x"));
    let url = server.url("/");
    let asked = |files: Vec<PathBuf>, directories: Vec<PathBuf>| {
        let client = client(Network {
            trust_files: files,
            trust_directories: directories,
            ..Network::default()
        });
        get(&client, &url)
    };
    let bad = "-----BEGIN CERTIFICATE-----\n@@@@\n-----END CERTIFICATE-----\n";
    let file = write(&folder, "ca.pem", &format!("{bad}{}", authority.pem()));
    assert_eq!(asked(vec![file], vec![]).unwrap(), "x");
    assert_eq!(asked(vec![], vec![folder.path().into()]).unwrap(), "x");
    let other = write(&folder, "other.pem", &Authority::new().pem());
    let error = asked(vec![other], vec![]).unwrap_err();
    assert!(
        error.to_string().contains("TLS: invalid peer certificate"),
        "{error}"
    );
    // The error names the file, and only requests that need the file fail.
    let missing = folder.path().join("missing.pem");
    let error = asked(vec![missing.clone()], vec![]).unwrap_err();
    assert_eq!(error.code(), Code::Io, "{error}");
    assert!(error.to_string().contains("missing.pem"), "{error}");
    let plain = Server::start(|_| Reply::ok("plain"));
    let client = client(Network {
        plain_http: vec![plain.authority()],
        trust_files: vec![missing],
        ..Network::default()
    });
    assert_eq!(get(&client, &plain.url("/")).unwrap(), "plain");
}

#[test]
fn n3_a_certificate_that_is_trusted_itself_needs_no_authority() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let asked = |identity: &Identity, pem: &str, ways: usize| {
        let server = Server::start_tls(identity, |_| Reply::ok("x"));
        let file = write(&folder, "it.crt", pem);
        let of_host = folder
            .path()
            .join(format!("certs.d/{}", server.authority()));
        let mut network = Network::default();
        match ways {
            0 => network.ca_files = vec![file],
            1 => network.trust_files = vec![file],
            _ => {
                std::fs::create_dir_all(&of_host).unwrap();
                std::fs::copy(file, of_host.join("ca.crt")).unwrap();
                network.host_certificates = vec![folder.path().join("certs.d")];
            }
        }
        get(&client(network), &server.url("/")).map_err(|error| error.to_string())
    };
    let names = ["127.0.0.1", "localhost"];
    for is_authority in [true, false] {
        let (identity, pem) = Identity::self_signed(&names, (2000, 2100), is_authority);
        for ways in 0..3 {
            assert_eq!(
                asked(&identity, &pem, ways).as_deref(),
                Ok("x"),
                "{is_authority} {ways}"
            );
        }
        // Another certificate beside the right one, or in its place, changes nothing.
        let (_, other) = Identity::self_signed(&names, (2000, 2100), is_authority);
        assert_eq!(
            asked(&identity, &format!("{other}{pem}"), 0).as_deref(),
            Ok("x")
        );
        let error = asked(&identity, &other, 0).unwrap_err();
        assert!(error.contains("TLS"), "{error}");
        // Name and times are looked at as for any other.
        let (identity, pem) = Identity::self_signed(&["other.example"], (2000, 2100), is_authority);
        let error = asked(&identity, &pem, 0).unwrap_err();
        assert!(error.contains("not valid for name"), "{error}");
        for years in [(2000, 2001), (2090, 2100)] {
            let (identity, pem) = Identity::self_signed(&names, years, is_authority);
            let error = asked(&identity, &pem, 0).unwrap_err();
            assert!(
                error.contains("expired") || error.contains("not valid yet"),
                "{error}"
            );
        }
    }
    // The same holds for a certificate of an authority that is not trusted.
    let pem = authority.certificate(&names, (2000, 2100));
    let identity = authority.identity(&names, (2000, 2100), false);
    let error = asked(&identity, &pem.certificate, 0).unwrap_err();
    assert!(
        error.contains("TLS"),
        "another certificate of that authority is not trusted: {error}"
    );
}

#[test]
fn k47_a_name_that_does_not_exist_is_looked_up_once() {
    // RFC 2606: there never is such a name.
    let url = "https://registry.example.invalid/v2/";
    let client = client(Network::default());
    let error = get(&client, url).unwrap_err();
    assert_eq!(error.code(), Code::Net, "{error}");
    assert!(
        error.to_string().contains("finding its address failed"),
        "{error}"
    );
    // A resolver that could not ask is asked once more.
    assert!(!error.to_string().contains("after 5 attempts"), "{error}");
    assert!(error.advice().unwrap().contains("HTTPS_PROXY"), "{error}");
}
