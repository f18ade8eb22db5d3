//! Who we are, and who is told.

use super::*;

/// A registry that wants tokens of the given realm, and gives everything to who has one.
fn with_tokens(realm: impl Fn() -> String + Send + Sync + 'static) -> Registry {
    Registry::start_with(None, move |request, _| {
        if request.path() == "/token" {
            return Some(Reply::ok(r#"{"token":"t0ken"}"#));
        }
        // Whoever only wants to know what is spoken here is told.
        if request.path() == "/" || request.header("authorization") == Some("Bearer t0ken") {
            return None;
        }
        let challenge = format!("Bearer realm=\"{}\",service=\"s\"", realm());
        Some(Reply::status(401).header("www-authenticate", challenge))
    })
}

/// A registry whose token server is itself.
fn with_own_tokens() -> Registry {
    let own = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&own);
    let registry = with_tokens(move || known.lock().unwrap().clone());
    *own.lock().unwrap() = registry.server.url("/token?service=old&scope=old");
    registry
}

fn token_requests(registry: &Registry) -> Vec<Request> {
    let requests = registry.server.requests();
    requests
        .into_iter()
        .filter(|request| request.path() == "/token")
        .collect()
}

#[test]
fn l1_a_redirect_target_that_asks_for_a_login_gets_none() {
    let other = Server::start(|_| {
        Reply::status(401).header("www-authenticate", "Bearer realm=\"https://127.0.0.1:1/\"")
    });
    let away = other.url("/blob");
    let registry = Registry::start_with(None, move |request, _| {
        let blob = request.path().contains("/blobs/");
        blob.then(|| Reply::status(307).header("location", away.clone()))
    });
    let network = Network {
        plain_http: vec!["127.0.0.1".into()],
        ..login(&registry.server)
    };
    let env = env_with(network);
    let bundle = open(&registry, "x", &env).unwrap();
    let error = read_blob(&*bundle, &facts(&digest_of(b"x"), 1)).unwrap_err();
    assert_eq!(error.code(), Code::Denied, "{error}");
    assert!(
        other
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
}

#[test]
fn l3a_a_token_server_where_none_may_be_is_refused() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    for realm in [
        "http://127.0.0.1:1/token",
        "https://169.254.169.254/token",
        "https://10.0.0.1/token",
        "/token",
        "https://u:p@example.com/token",
        "https://exa mple.com/token",
        "file:///etc/passwd",
    ] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let registry = Registry::start_with(Some(&authority.server()), move |_, _| {
            Some(Reply::status(401).header("www-authenticate", challenge.clone()))
        });
        let network = Network {
            ca_files: vec![ca.clone()],
            ..login(&registry.server)
        };
        let error = manifest(&registry, "x:t", &env_with(network)).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{realm}: {error}");
    }
}

#[test]
fn l3a_a_token_server_that_redirects_while_it_has_credentials_is_refused() {
    let registry = Registry::start_with(None, |request, _| {
        if request.path() == "/token" {
            return Some(Reply::status(302).header("location", "/elsewhere"));
        }
        if request.path() == "/" || request.path() == "/elsewhere" {
            return Some(Reply::ok(r#"{"token":"t0ken"}"#));
        }
        let host = request.header("host").unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        Some(Reply::status(401).header("www-authenticate", challenge))
    });
    let network = login(&registry.server);
    let error = manifest(&registry, "x:t", &env_with(network)).unwrap_err();
    assert_eq!(error.code(), Code::Denied, "{error}");
    let seen = registry.server.requests();
    assert!(seen.iter().all(|request| request.path() != "/elsewhere"));
}

#[test]
fn l3b_a_token_server_on_another_host_sees_no_credentials() {
    let tokens = Server::start(|_| Reply::ok(r#"{"token":"t0ken"}"#));
    let realm = tokens.url("/token");
    let registry = with_tokens(move || realm.clone());
    registry.stored().image("x", "t", b"layer");
    let network = || Network {
        plain_http: vec!["127.0.0.1".into()],
        ..login(&registry.server)
    };
    manifest(&registry, "x:t", &env_with(network())).unwrap();
    assert_eq!(tokens.requests()[0].header("authorization"), None);
}

/// The error of a registry whose token server is on another host and gives a token that the registry refuses, or none.
/// The user allows plain http with both.
fn refused_elsewhere(answer: Reply, login: impl Fn(&Server) -> Network) -> (String, Error) {
    let tokens = Server::start(move |_| answer.clone());
    let realm = tokens.url("/token");
    let registry = with_tokens(move || realm.clone());
    registry.stored().image("x", "t", b"layer");
    let network = Network {
        plain_http: vec!["127.0.0.1".into()],
        ..login(&registry.server)
    };
    let error = manifest(&registry, "x:t", &env_with(network)).unwrap_err();
    let hosts = [&registry.server, &tokens].map(Server::authority);
    (hosts.join("="), error)
}

#[test]
fn l3b_credentials_that_a_token_server_did_not_get_are_told() {
    let other = r#"{"token":"other"}"#;
    for answer in [Reply::ok(other), Reply::status(401), Reply::status(403)] {
        let (hosts, error) = refused_elsewhere(answer, login);
        let advice = error.advice().unwrap();
        assert!(
            advice.contains(&format!("`--token-host {hosts}`")),
            "{advice}"
        );
        assert!(!advice.contains("docker login"), "{advice}");
        assert!(!error.to_string().contains("hunter2"));
    }
    let (hosts, error) = refused_elsewhere(Reply::ok(other), |_| Network::default());
    let host = hosts.split_once('=').unwrap().0;
    let advice = format!("`docker login {host}` stores credentials");
    assert_eq!(error.advice(), Some(&*advice));
}

#[test]
fn l3b_a_token_server_that_the_user_names_gets_the_credentials() {
    for is_named in [true, false] {
        let tokens = Server::start(|request| match request.header("authorization") {
            Some(BASIC) => Reply::ok(r#"{"token":"t0ken"}"#),
            _ => Reply::status(401),
        });
        let realm = tokens.url("/token");
        let registry = with_tokens(move || realm.clone());
        registry.stored().image("x", "t", b"layer");
        let other = Server::start(|_| Reply::status(404));
        let host = if is_named { &tokens } else { &other };
        // The registry is asked over plain http with the password too.
        let network = Network {
            plain_http: vec!["127.0.0.1".into()],
            token_hosts: vec![(registry.server.authority(), host.authority())],
            ..login(&registry.server)
        };
        let found = manifest(&registry, "x:t", &env_with(network));
        assert_eq!(found.is_ok(), is_named, "{found:?}");
    }
    // Plain http with the token server needs the user's word, too.
    let tokens = Server::start(|_| Reply::ok(r#"{"token":"t0ken"}"#));
    let realm = tokens.url("/token");
    let registry = with_tokens(move || realm.clone());
    let network = Network {
        token_hosts: vec![(registry.server.authority(), tokens.authority())],
        ..login(&registry.server)
    };
    let error = manifest(&registry, "x:t", &env_with(network)).unwrap_err();
    assert_eq!(error.code(), Code::Denied, "{error}");
    let advice = format!("`--plain-http {}`", tokens.authority());
    assert!(error.advice().unwrap().contains(&advice), "{error:?}");
    assert!(tokens.requests().is_empty());
}

#[test]
fn l3c_our_words_replace_those_of_the_realm() {
    let registry = with_own_tokens();
    registry.stored().image("a/b", "t", b"layer");
    let network = login(&registry.server);
    manifest(&registry, "a/b:t", &env_with(network)).unwrap();
    let asked = token_requests(&registry);
    assert_eq!(asked.len(), 1, "a token is kept");
    assert_eq!(
        asked[0].target,
        "/token?service=s&scope=repository%3Aa%2Fb%3Apull"
    );
    assert_eq!(asked[0].header("authorization"), Some(BASIC));
}

#[test]
fn an_identity_token_is_exchanged() {
    let registry = with_own_tokens();
    registry.stored().image("x", "t", b"layer");
    let credential = Credential::IdentityToken(Secret::new("re/fresh"));
    let network = Network {
        credentials: vec![(registry.server.authority(), credential)],
        ..Network::default()
    };
    manifest(&registry, "x:t", &env_with(network)).unwrap();
    let asked = token_requests(&registry);
    assert_eq!(asked[0].method, "POST");
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(form.contains("grant_type=refresh_token"), "{form}");
    assert!(form.contains("refresh_token=re%2Ffresh"), "{form}");
}

#[test]
fn a_password_is_sent_where_the_registry_itself_asks_for_it() {
    let registry = Registry::start_with(None, |request, _| {
        let known = request.path() == "/" || request.header("authorization") == Some(BASIC);
        (!known).then(|| Reply::status(401).header("www-authenticate", "Basic realm=\"x\""))
    });
    registry.stored().image("x", "t", b"layer");
    manifest(&registry, "x:t", &env_with(login(&registry.server))).unwrap();
    let error = manifest(&registry, "x:t", &env()).unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    assert!(
        error
            .advice()
            .unwrap()
            .starts_with("`docker login 127.0.0.1:")
    );
}

#[test]
fn l4a_the_answer_of_a_token_server_is_bounded_and_read_strictly() {
    for (body, code) in [
        ("x".repeat(10 << 20), Code::Limit),
        ("no json".into(), Code::Net),
        ("{}".into(), Code::Net),
        (r#"{"token":"a\r\nb"}"#.into(), Code::Net),
    ] {
        let registry = Registry::start_with(None, move |request, _| {
            if request.path() == "/" {
                return None;
            }
            if request.path() == "/token" {
                return Some(Reply::ok(body.clone()));
            }
            let host = request.header("host").unwrap_or_default();
            let challenge = format!("Bearer realm=\"http://{host}/token\"");
            Some(Reply::status(401).header("www-authenticate", challenge))
        });
        let error = manifest(&registry, "x:t", &env()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[test]
fn l4c_a_fresh_token_that_is_refused_is_the_end() {
    let registry = Registry::start_with(None, |request, _| {
        if matches!(request.path(), "/" | "/token") {
            return Some(Reply::ok(r#"{"token":"t0ken"}"#));
        }
        let host = request.header("host").unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        Some(Reply::status(401).header("www-authenticate", challenge))
    });
    let error = manifest(&registry, "x:t", &env()).unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    let asked = registry.server.requests();
    let asked = asked
        .iter()
        .filter(|request| request.path() == "/v2/x/manifests/t");
    assert_eq!(asked.count(), 2);
}

#[test]
fn l13_no_secret_is_in_an_error() {
    let registry = with_own_tokens();
    let network = login(&registry.server);
    let error = manifest(&registry, "x:none", &env_with(network)).unwrap_err();
    let echo = Registry::start_with(None, |request, _| {
        if request.path() == "/" {
            return None;
        }
        Some(match request.header("authorization") {
            None => Reply::status(401).header("www-authenticate", "Basic"),
            // It says back what it was told, and what that means.
            Some(said) => Reply::status(400).body(format!("{said} hunter2")),
        })
    });
    let env = env_with(login(&echo.server));
    let other = manifest(&echo, "x:t", &env).unwrap_err();
    let shown = format!("{error} {error:?} {other} {other:?} {env:?}");
    assert!(shown.contains("***"));
    for secret in ["hunter2", "dTpodW50ZXIy", "t0ken"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
