//! Rows L17a to L17d: a registry as a whole.

use super::*;

fn whole(registry: &Registry, env: &Env) -> Box<dyn Bundle> {
    REGISTRY
        .open(&format!("//{}", registry.server.authority()), env)
        .unwrap()
}

/// A registry that answers to the first question for its repositories.
fn listing(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Registry {
    Registry::start_with(None, move |request, _| {
        (request.path() == "/v2/_catalog").then(|| reply(request))
    })
}

fn names(bundle: &dyn Bundle) -> Vec<String> {
    let entries = bundle.listing().unwrap();
    assert!(entries.iter().enumerate().all(|(i, it)| it.position == i));
    let text = |entry: imgconv_model::RootEntry| match (entry.name, entry.error) {
        (Some(name), None) => name.to_string().split_once('/').unwrap().1.to_owned(),
        (None, Some(error)) => format!("{}: {}", entry.texts[0], error.code().as_str()),
        other => panic!("{other:?}"),
    };
    entries.into_iter().map(text).collect()
}

#[test]
fn l17a_every_tag_of_every_repository_is_listed_over_pages() {
    let registry = Registry::start();
    for repository in ["c", "a/b", "d", "a/a", "e"] {
        for tag in ["1", "2", "3"] {
            registry
                .stored()
                .image(repository, tag, repository.as_bytes());
        }
    }
    let env = env();
    let bundle = whole(&registry, &env);
    let found = names(&*bundle);
    assert_eq!(found.len(), 15);
    assert_eq!(found[..4], ["a/a:1", "a/a:2", "a/a:3", "a/b:1"]);
    assert_eq!(bundle.roots().unwrap_err().code(), Code::BadName);
    let entries = bundle.listing().unwrap();
    let (part, inner) = bundle.part(&entries[4]).unwrap().unwrap();
    assert!(part.locator().ends_with("/a/b"));
    let before = part.resolve(&inner).unwrap().child.unwrap().digest;
    // A tag that moves means one image to the end, though its repository was closed.
    registry.stored().image("a/b", "2", b"moved");
    drop((part, bundle.part(&entries[0]).unwrap()));
    let (part, inner) = bundle.part(&entries[4]).unwrap().unwrap();
    assert_eq!(part.resolve(&inner).unwrap().child.unwrap().digest, before);
    let Root::Document(document) = bundle.root(&entries[0]).unwrap() else {
        panic!("a manifest is a document");
    };
    assert_eq!(document.kind, MANIFEST);
}

#[test]
fn l17a_a_repository_that_can_not_be_listed_does_not_end_the_others() {
    let registry = Registry::start_with(None, |request, _| match request.path() {
        "/v2/_catalog" => Some(Reply::ok(
            r#"{"repositories":["good","denied","gone","hidden","../up","a\u001b[2Jb"]}"#,
        )),
        "/v2/denied/tags/list" => Some(Reply::status(403)),
        "/v2/gone/tags/list" => {
            Some(Reply::status(404).body(r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#))
        }
        "/v2/hidden/tags/list" => Some(Reply::status(404)),
        _ => None,
    });
    registry.stored().image("good", "1", b"layer");
    let env = env();
    let authority = registry.server.authority();
    assert_eq!(
        names(&*whole(&registry, &env)),
        [
            "\"../up\": bad-name".to_owned(),
            "\"a\\u{1b}[2Jb\": bad-name".to_owned(),
            format!("{authority}/denied: denied"),
            "good:1".to_owned(),
            format!("{authority}/hidden: missing"),
        ]
    );
}

#[test]
fn l17a_the_list_needs_a_token_of_its_own() {
    let own = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&own);
    let registry = Registry::start_with(None, move |request, _| {
        if request.path() == "/token" {
            let scope = request.query("scope").unwrap();
            return Some(Reply::ok(format!(
                r#"{{"token":"{}"}}"#,
                scope.replace(':', "_")
            )));
        }
        let wanted = match request.path() {
            "/" => return None,
            "/v2/_catalog" => "Bearer registry_catalog_*",
            _ => "Bearer repository_x_pull",
        };
        if request.header("authorization") == Some(wanted) {
            return None;
        }
        let challenge = format!("Bearer realm=\"{}\",service=\"s\"", known.lock().unwrap());
        Some(Reply::status(401).header("www-authenticate", challenge))
    });
    *own.lock().unwrap() = registry.server.url("/token");
    registry.stored().image("x", "1", b"layer");
    let env = env();
    assert_eq!(names(&*whole(&registry, &env)), ["x:1"]);
}

#[test]
fn l17b_lists_without_end_or_form_are_refused() {
    let count = AtomicUsize::new(0);
    let more = move |_: &Request| {
        let at = count.fetch_add(1, Ordering::Relaxed);
        let link = format!("</v2/_catalog?last={at}>; rel=next");
        Reply::ok(format!(r#"{{"repositories":["r{at}"]}}"#)).header("link", link)
    };
    let elsewhere = |_: &Request| {
        let link = "<https://127.0.0.1:1/v2/_catalog>; rel=next";
        Reply::ok(r#"{"repositories":[]}"#).header("link", link)
    };
    let itself = |_: &Request| {
        let link = "</v2/_catalog?n=1000>; rel=\"next\"";
        Reply::ok(r#"{"repositories":["a"]}"#).header("link", link)
    };
    let many = |_: &Request| {
        let names: Vec<String> = (0..60).map(|i| format!("\"r{i}\"")).collect();
        Reply::ok(format!(r#"{{"repositories":[{}]}}"#, names.join(",")))
    };
    let large =
        |_: &Request| Reply::ok(format!(r#"{{"repositories":["{}"]}}"#, "a".repeat(4 << 20)));
    let mut env = env();
    (env.limits.tag_pages, env.limits.repositories) = (20, 50);
    for (registry, code) in [
        (listing(more), Code::Limit),
        (listing(elsewhere), Code::Denied),
        (listing(itself), Code::Limit),
        (listing(many), Code::Limit),
        (listing(large), Code::Limit),
        (listing(|_| Reply::ok("{")), Code::BadJson),
        (
            listing(|_| Reply::ok(r#"{"repositories":{}}"#)),
            Code::BadManifest,
        ),
        (
            listing(|_| Reply::ok(r#"{"repositories":[1]}"#)),
            Code::BadManifest,
        ),
    ] {
        let error = whole(&registry, &env).listing().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    // The bytes of all pages, and the tags of all repositories, have limits too.
    let registry = Registry::start();
    for repository in ["a", "b"] {
        for tag in ["1", "2"] {
            registry.stored().image(repository, tag, b"layer");
        }
    }
    let mut few = env.clone();
    few.limits.registry_tags = 3;
    let error = whole(&registry, &few).listing().unwrap_err();
    assert!(error.to_string().contains("registry_tags"), "{error}");
    env.limits.root_index = 10;
    assert_eq!(
        whole(&registry, &env).listing().unwrap_err().code(),
        Code::Limit
    );
    for body in ["{}", r#"{"repositories":null}"#, r#"{"repositories":[]}"#] {
        let registry = listing(move |_| Reply::ok(body));
        assert_eq!(names(&*whole(&registry, &self::env())), [""; 0]);
    }
}

#[test]
fn l17d_a_registry_that_does_not_list_its_repositories_is_named() {
    for (status, code) in [
        (401, Code::Denied),
        (403, Code::Denied),
        (404, Code::Missing),
        (405, Code::Net),
    ] {
        let registry = listing(move |_| match status {
            401 => Reply::status(401).header("www-authenticate", "Basic realm=\"x\""),
            status => Reply::status(status),
        });
        let network = match status {
            401 => login(&registry.server),
            _ => Network::default(),
        };
        let env = env_with(network);
        let error = whole(&registry, &env).listing().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        let host = registry.server.authority();
        let said = format!("\"{host}\" does not list its repositories");
        assert!(error.to_string().contains(&said), "{error}");
        let advice = error.advice().unwrap();
        for part in [
            &*format!("`docker://{host}/REPOSITORY`"),
            "`registry-storage:PATH`",
        ] {
            assert!(advice.contains(part), "{advice}");
        }
        assert_eq!(
            advice.contains("`docker login"),
            code == Code::Denied,
            "{advice}"
        );
        assert!(!error.to_string().contains("hunter2"));
    }
}
