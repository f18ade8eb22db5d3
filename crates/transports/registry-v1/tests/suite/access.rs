//! The index and the registries that the index names: passwords, tokens and cookies.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use imgconv_model::{Code, Credential, Network, Secret};
use imgconv_testkit::{
    registry_v1::{RegistryV1, Settings},
    server::{Authority, Reply, Request, Server},
};

use crate::{APP, Storage, env, env_with, open, pull};

const TOKEN: &str = "signature=s3cr3t-abcdef,repository=\"example.com/app\",access=read";
/// The value of `Authorization` for the user `u` with the password `hunter2`.
const BASIC: &str = "Basic dTpodW50ZXIy";

fn login(server: &Server) -> Network {
    let (user, password) = ("u".to_owned(), Secret::new("hunter2"));
    Network {
        credentials: vec![(server.authority(), Credential::Basic { user, password })],
        ..Network::default()
    }
}

/// Returns the values of a header that a server got, each once.
fn values(server: &Server, name: &str) -> Vec<String> {
    let requests = server.requests();
    let mut found: Vec<String> = requests
        .iter()
        .filter_map(|request| request.header(name).map(str::to_owned))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn is_index(request: &Request) -> bool {
    request.path().ends_with("/images")
}

#[test]
fn l19a_the_password_is_for_the_index_and_the_token_for_its_registries() {
    let storage = Storage::new();
    let mut settings = storage.settings();
    settings.token = Some(TOKEN.to_owned());
    let registry = RegistryV1::start(settings.clone());
    settings.endpoints = Some(format!(" {} ,", registry.server.authority()));
    settings.login = Some(BASIC.to_owned());
    settings.cookie = Some("session=c00kie-value".to_owned());
    let index = RegistryV1::start(settings);
    let mut network = login(&index.server);
    network.plain_http = vec![registry.server.authority()];
    let name = format!("{APP}:1.0");
    assert_eq!(pull(&index, &name, &env_with(network)).unwrap().len(), 2);
    assert_eq!(values(&index.server, "authorization"), [BASIC]);
    assert_eq!(values(&index.server, "cookie"), [""; 0]);
    assert!(index.server.requests().iter().all(|it| {
        is_index(it) && it.header("x-docker-token") == Some("true") || it.path() == "/"
    }));
    assert_eq!(
        values(&registry.server, "authorization"),
        [format!("Token {TOKEN}")]
    );
    assert_eq!(values(&registry.server, "cookie"), ["session=c00kie-value"]);
}

#[test]
fn l19a_a_registry_that_is_its_own_index_gets_the_password_where_it_gives_no_token() {
    let storage = Storage::new();
    let registry = storage.lying(|request| {
        let denied = request.path() != "/" && request.header("authorization") != Some(BASIC);
        denied.then(|| Reply::status(401).header("www-authenticate", "Basic realm=\"x\""))
    });
    let name = format!("{APP}:1.0");
    let network = login(&registry.server);
    assert_eq!(pull(&registry, &name, &env_with(network)).unwrap().len(), 2);
    let error = pull(&registry, &name, &env()).unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    assert!(error.advice().unwrap().contains("docker login"), "{error}");
}

#[test]
fn l19b_a_registry_elsewhere_obeys_the_rules_of_redirects() {
    let storage = Storage::new();
    let far = storage.serve();
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let identity = authority.server();
    let serve = |endpoints: &str, is_tls: bool| {
        let settings = Settings {
            endpoints: Some(endpoints.to_owned()),
            token: Some(TOKEN.to_owned()),
            ..storage.settings()
        };
        RegistryV1::start_with(settings, is_tls.then_some(&identity), |_| None)
    };
    let plain = format!("http://{}", far.server.authority());
    for (endpoints, is_tls) in [
        (&*plain, true),
        ("169.254.169.254", true),
        ("10.0.0.1:5000", true),
        ("user:password@127.0.0.1", true),
        ("127.0.0.1/a?b", true),
        ("ftp://127.0.0.1", false),
        // Nobody agreed to plain http there.
        (&far.server.authority(), false),
    ] {
        let index = serve(endpoints, is_tls);
        let network = Network {
            ca_files: vec![ca.clone()],
            ..Network::default()
        };
        let error = pull(&index, &format!("{APP}:1.0"), &env_with(network)).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{endpoints}: {error}");
    }
    assert!(far.server.requests().is_empty());
    let many = vec!["127.0.0.1"; 17].join(",");
    let error = pull(&serve(&many, false), APP, &env()).unwrap_err();
    assert_eq!(error.code(), Code::Net, "{error}");
}

#[test]
fn l19b_a_redirect_of_a_layer_carries_no_token() {
    let storage = Storage::new();
    let far = storage.serve();
    let to = far.server.url("");
    let settings = Settings {
        token: Some(TOKEN.to_owned()),
        cookie: Some("session=c00kie-value".to_owned()),
        ..storage.settings()
    };
    let near = RegistryV1::start_with(settings, None, move |request| {
        let location = format!("{to}{}", request.path());
        let is_layer = request.path().ends_with("/layer");
        is_layer.then(|| Reply::status(302).header("location", location))
    });
    let network = Network {
        plain_http: vec![far.server.authority()],
        ..Network::default()
    };
    let name = format!("{APP}:1.0");
    assert_eq!(pull(&near, &name, &env_with(network)).unwrap().len(), 2);
    assert!(!far.server.requests().is_empty());
    for name in ["authorization", "cookie"] {
        assert_eq!(values(&far.server, name), [""; 0]);
    }
}

#[test]
fn l19b_the_next_registry_is_asked_where_one_does_not_answer() {
    let storage = Storage::new();
    let far = storage.serve();
    let gone = Server::start(|_| Reply::status(404));
    let settings = Settings {
        endpoints: Some(format!("{},{}", gone.authority(), far.server.authority())),
        ..storage.settings()
    };
    let index = RegistryV1::start(settings);
    let network = Network {
        plain_http: vec![far.server.authority(), gone.authority()],
        ..Network::default()
    };
    let name = format!("{APP}:1.0");
    assert_eq!(pull(&index, &name, &env_with(network)).unwrap().len(), 2);
}

#[test]
fn l19c_a_refused_token_is_renewed_once() {
    let storage = Storage::new();
    for works in [true, false] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let settings = Settings {
            token: Some(TOKEN.to_owned()),
            ..storage.settings()
        };
        let registry = RegistryV1::start_with(settings, None, move |request| {
            if is_index(request) {
                count.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            let refused = request.path() != "/" && (!works || count.load(Ordering::SeqCst) < 2);
            // The answer repeats the token.
            let sent = request.header("authorization").unwrap_or_default();
            refused.then(|| Reply::status(401).body(sent))
        });
        let pulled = pull(&registry, &format!("{APP}:1.0"), &env());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        match pulled {
            Ok(layers) => assert!(works && layers.len() == 2),
            Err(error) => {
                assert!(!works, "{error}");
                assert_eq!(error.code(), Code::Denied);
                assert!(!error.to_string().contains("s3cr3t"), "{error}");
            }
        }
    }
}

#[test]
fn l19c_an_identity_token_is_no_password() {
    let storage = Storage::new();
    let settings = Settings {
        login: Some(BASIC.to_owned()),
        ..storage.settings()
    };
    let registry = RegistryV1::start(settings);
    let token = Credential::IdentityToken(Secret::new("hunter2-token"));
    let network = Network {
        credentials: vec![(registry.server.authority(), token)],
        ..Network::default()
    };
    let bundle = open(&registry, APP, &env_with(network)).unwrap();
    let error = bundle.listing().unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    assert!(error.to_string().contains("identity token"), "{error}");
    assert_eq!(values(&registry.server, "authorization"), [""; 0]);
}
