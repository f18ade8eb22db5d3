//! TLS and passwords.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use imgconv_convert::{convert::convert, options::Options};
use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Credential, Env, Network, Platform, PlatformSpec, Secret};
use imgconv_serve::{ServeOptions, Tls, serve};
use imgconv_testkit::server::Authority;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    pki_types::{CertificateDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::support::{Log, Reply, Running, Stores, env, image};

/// A server with TLS, and the authority that its certificate is of.
fn with_tls(change: impl FnOnce(&mut ServeOptions)) -> (Running, Authority) {
    let authority = Authority::new();
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let tls = files(&stores, &authority);
    let server = stores.serve_with(|options| {
        options.tls = Some(tls);
        change(options);
    });
    (server, authority)
}

/// Writes certificate and key of a server.
fn files(stores: &Stores, authority: &Authority) -> Tls {
    let pem = authority.certificate(&["127.0.0.1", "localhost"], (2000, 2100));
    let tls = Tls {
        certificate: stores.path("server.crt"),
        key: stores.path("server.key"),
    };
    fs::write(&tls.certificate, pem.certificate).unwrap();
    fs::write(&tls.key, pem.key).unwrap();
    tls
}

/// Sends a request by one version of TLS, and returns the answer and the protocol that was agreed on.
fn fetch(
    (server, authority): (&Running, &Authority),
    version: &'static SupportedProtocolVersion,
) -> (Reply, Option<Vec<u8>>) {
    let mut roots = RootCertStore::empty();
    let pem = authority.pem();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect());
    stream
        .write_all(b"GET /v2/_catalog HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
    (Reply::read(&all), agreed)
}

/// A client that trusts the authority, and has a password.
fn client(server: &Running, authority: &Authority, password: Option<&str>) -> Env {
    let ca = server.stores.path("ca.crt");
    fs::write(&ca, authority.pem()).unwrap();
    let basic = |password| Credential::Basic {
        user: "al".to_owned(),
        password: Secret::new(password),
    };
    let credential = password.map(|password| (server.address.to_string(), basic(password)));
    let network = Network {
        ca_files: vec![ca],
        credentials: credential.into_iter().collect(),
        ..Network::default()
    };
    Env {
        network: Arc::new(network),
        ..env()
    }
}

/// Pulls the image by the engine; returns its digest.
fn pulled(server: &Running, to: &str, env: &Env) -> Result<String, imgconv_model::Error> {
    let from = format!("docker://{}/app:1", server.address);
    let to = format!("oci:{}", server.stores.path(to).display());
    let to = Locator::destination(&to)?;
    let outcome = convert(&[Locator::source(&from)?], &to, &Options::default(), env)?;
    Ok(outcome.images[0].digest.clone().unwrap())
}

fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

/// Writes a file of users: `al` with the password `open`.
fn users(stores: &Stores) -> PathBuf {
    let path = stores.path("htpasswd");
    let hash = bcrypt::hash("open", 4).unwrap();
    fs::write(&path, format!("# users\nal:{hash}\n")).unwrap();
    path
}

// V13
#[test]
fn v13_tls_1_2_and_1_3_speak_http_1_1() {
    let (server, authority) = with_tls(|_| ());
    for version in [&TLS12, &TLS13] {
        let (reply, agreed) = fetch((&server, &authority), version);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["repositories"][0], "app");
        assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
    }
    pulled(&server, "pulled", &client(&server, &authority, None)).unwrap();
    let other = client(&server, &Authority::new(), None);
    assert!(pulled(&server, "other", &other).is_err());
}

// V13
#[test]
fn v13_a_client_without_tls_or_without_a_handshake_stops_nobody() {
    let (server, authority) = with_tls(|options| {
        options.patience = Duration::from_millis(50);
        options.connections = 1;
    });
    // The one connection is free again when the time of the handshake is over.
    let mut silent = server.connect();
    let mut nothing = Vec::new();
    silent.read_to_end(&mut nothing).unwrap();
    assert!(nothing.is_empty());
    assert_ne!(server.get("/v2/").status, 200);
    let mut half = server.connect();
    half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    let _ = half.read_to_end(&mut nothing);
    let (reply, _) = fetch((&server, &authority), &TLS13);
    assert_eq!(reply.status, 200);
}

/// The error of a server that does not start.
fn refused(stores: Stores, change: impl FnOnce(&mut ServeOptions)) -> String {
    let place = format!("oci:{}", stores.path("out").display());
    let mut options = ServeOptions::new(PlatformSpec::from(Platform::new("linux", "amd64")));
    options.listen.set_port(0);
    change(&mut options);
    let sources = [Locator::source(&place).unwrap()];
    let error = serve(&sources, &options, Arc::new(Log::default()), &env()).unwrap_err();
    assert_eq!(error.code(), Code::Usage, "{error}");
    error.to_string()
}

// V14
#[test]
fn v14_files_that_are_no_certificate_and_key_are_named_at_the_start() {
    let stores = || Stores::new().layout("out", &[image("example.com/app", "1")]);
    type Spoil = fn(&Tls);
    let cases: [(Spoil, &str, &str); 5] = [
        (
            |tls| fs::write(&tls.certificate, "x").unwrap(),
            "server.crt",
            "no such PEM section",
        ),
        (
            |tls| fs::write(&tls.key, "x").unwrap(),
            "server.key",
            "no such PEM section",
        ),
        (
            |tls| {
                fs::write(
                    &tls.key,
                    "-----BEGIN PRIVATE KEY-----\n%\n-----END PRIVATE KEY-----\n",
                )
                .unwrap()
            },
            "server.key",
            "not well-formed PEM",
        ),
        (
            |tls| assert!(fs::copy(&tls.key, &tls.certificate).unwrap() > 0),
            "server.crt",
            "no such PEM section",
        ),
        (
            |tls| {
                let other = Authority::new().certificate(&["localhost"], (2000, 2100));
                fs::write(&tls.key, other.key).unwrap();
            },
            "server.key",
            "not of the key",
        ),
    ];
    for (spoil, file, message) in cases {
        let stores = stores();
        let tls = files(&stores, &Authority::new());
        spoil(&tls);
        let error = refused(stores, |options| options.tls = Some(tls));
        assert!(error.contains(file) && error.contains(message), "{error}");
    }
}

// V15
#[test]
fn v15_every_path_asks_for_a_password() {
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let file = users(&stores);
    let server = stores.serve_with(|options| options.htpasswd = Some(file));
    let paths = [
        "/",
        "/style.css",
        "/v2/",
        "/v2/app/manifests/1",
        "/v1/_ping",
        "/none",
        "/app?ac-discovery=1",
    ];
    for path in paths {
        for header in [
            None,
            Some(basic("al", "wrong")),
            Some(basic("bo", "open")),
            Some(basic("al", "")),
            Some("Bearer open".to_owned()),
        ] {
            let headers: Vec<_> = header
                .iter()
                .map(|value| ("authorization", &**value))
                .collect();
            let reply = server.request("GET", path, &headers);
            assert_eq!(
                (reply.status, &*reply.code()),
                (401, "UNAUTHORIZED"),
                "{path}"
            );
            let asked = reply.header("www-authenticate");
            assert!(asked.starts_with("Basic realm=\"imgconv\""), "{asked}");
        }
    }
    assert_eq!(server.request("PUT", "/v2/", &[]).status, 401);
    let right = basic("al", "open");
    for path in ["/", "/v2/", "/v1/_ping", "/v2/app/manifests/1"] {
        for _ in 0..2 {
            let reply = server.request("GET", path, &[("authorization", &right)]);
            assert_eq!(reply.status, 200, "{path}");
        }
    }
    let two = [("authorization", &*right), ("authorization", &*right)];
    assert_eq!(server.request("GET", "/v2/", &two).status, 401);
}

#[test]
fn a_client_with_tls_and_a_password_pulls_the_image() {
    let authority = Authority::new();
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let (tls, file) = (files(&stores, &authority), users(&stores));
    let server = stores.serve_with(|options| {
        options.tls = Some(tls);
        options.htpasswd = Some(file);
    });
    let digest = pulled(&server, "a", &client(&server, &authority, Some("open"))).unwrap();
    assert_eq!(digest, crate::support::root_of(&server.stores.path("out")));
    for password in [None, Some("wrong")] {
        let error = pulled(&server, "b", &client(&server, &authority, password)).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{error}");
    }
    assert!(server.log.left_out.lock().unwrap().is_empty());
}
