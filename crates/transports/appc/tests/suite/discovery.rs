//! Discovery against a loopback server: section J of the robustness requirements, by row.

use std::{sync::Arc, time::Duration};

use imgconv_model::{
    Bundle, Code, Env, Error, HostHeader, Network, Platform, Result, Secret, Transport as _,
};
use imgconv_testkit::{
    laws::stream,
    server::{Authority, Reply, Request, Server},
};
use imgconv_transport_appc::{APPC, fetch_image_tags};

/// An environment in which `example.com` is the server.
pub(crate) fn env(server: &Server, change: impl FnOnce(&mut Network)) -> Env {
    let mut network = Network {
        mirrors: vec![("example.com".into(), server.authority())],
        ..Network::default()
    };
    network.timeouts.first_wait = Duration::from_millis(1);
    change(&mut network);
    Env {
        network: Arc::new(network),
        ..Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
    }
}

fn open(server: &Server, image: &str) -> Result<Box<dyn Bundle>> {
    APPC.open(image, &env(server, |_| {}))
}

fn failure(result: Result<Box<dyn Bundle>>, code: Code) -> Error {
    let error = result.expect_err("this must not work");
    assert_eq!(error.code(), code, "{error}");
    error
}

fn targets(server: &Server) -> Vec<String> {
    // What finds out whether the server speaks plain http is no discovery.
    let requests = server.requests().into_iter().map(|request| request.target);
    requests.filter(|target| target != "/").collect()
}

fn host(request: &Request) -> String {
    request.header("host").unwrap_or_default().to_owned()
}

/// A page with one template on the server that serves it.
pub(crate) fn page(request: &Request, template: &str) -> Reply {
    let host = host(request);
    Reply::ok(format!(
        "<meta name=ac-discovery content='example.com http://{host}/{template}'>"
    ))
}

#[test]
fn an_image_is_found_at_its_name_or_a_parent_of_it() {
    let server = Server::start(|request| match &*request.target {
        "/a?ac-discovery=1" => Reply::status(404),
        "/?ac-discovery=1" => page(request, "{name}-{version}-{os}-{arch}.{ext}"),
        "/example.com/a-1-linux-amd64.aci" => Reply::ok("the image"),
        "/example.com/a-1-linux-amd64.aci.asc" => Reply::ok("the signature"),
        _ => Reply::status(500),
    });
    let bundle = open(&server, "example.com/a,version=1").unwrap();
    assert_eq!(stream(&*bundle), b"the image");
    let env = env(&server, |_| {});
    let signature = bundle.signature(&env.limits).unwrap().unwrap();
    assert_eq!(signature.bytes, b"the signature");
    let fetched = bundle.fetched().unwrap();
    assert_eq!(fetched.name.as_deref(), Some("example.com/a"));
    assert_eq!(fetched.labels["version"], "1");
    assert_eq!(fetched.assumed["arch"], "amd64");
    assert_eq!(std::fs::read(&fetched.path).unwrap(), b"the image");
    let path = fetched.path.clone();
    drop(bundle);
    assert!(!path.exists(), "the copy goes with the bundle");
}

#[test]
fn the_templates_with_the_most_labels_win() {
    let server = Server::start(|request| {
        let host = host(request);
        let meta = |template: &str| {
            format!("<meta name=ac-discovery content='example.com http://{host}/{template}'>")
        };
        match &*request.target {
            "/?ac-discovery=1" => Reply::ok(
                meta("latest-{os}-{arch}.{ext}")
                    + &meta("mirror-{version}-{os}-{arch}.{ext}")
                    + &meta("{version}-{os}-{arch}.{ext}"),
            ),
            // The first of the best is not there, so the second serves.
            "/mirror-1-linux-amd64.aci" => Reply::status(404),
            target => Reply::ok(target.to_owned()),
        }
    });
    let versioned = open(&server, "example.com,version=1").unwrap();
    assert_eq!(stream(&*versioned), b"/1-linux-amd64.aci");
    let latest = open(&server, "example.com").unwrap();
    assert_eq!(stream(&*latest), b"/latest-linux-amd64.aci");
}

#[test]
fn without_a_version_latest_is_the_last_resort() {
    let server = Server::start(|request| match &*request.target {
        "/?ac-discovery=1" => page(request, "{version}.{ext}"),
        target => Reply::ok(target.to_owned()),
    });
    let bundle = open(&server, "example.com").unwrap();
    assert_eq!(stream(&*bundle), b"/latest.aci");
    assert!(bundle.fetched().unwrap().labels.is_empty());
}

#[test]
fn a_tag_goes_through_image_tags_and_is_the_version_without_them() {
    let server = Server::start(|request| {
        let host = host(request);
        match &*request.target {
            "/tagged?ac-discovery=1" => Reply::ok(format!(
                "<meta name=ac-discovery-imagetags content='example.com http://{host}/tags.{{ext}}'>"
            )),
            "/tags.json" => Reply::ok(
                r#"{"aliases":{"latest":"2"},"labels":{"2":{"version":"2.0","build":"7"}}}"#,
            ),
            "/plain?ac-discovery=1" => Reply::status(404),
            "/?ac-discovery=1" => page(request, "{name}-{version}.{ext}"),
            target => Reply::ok(target.to_owned()),
        }
    });
    let insecure = env(&server, |network| network.insecure_image = true);
    let tagged = APPC.open("example.com/tagged:latest", &insecure).unwrap();
    assert_eq!(stream(&*tagged), b"/example.com/tagged-2.0.aci");
    assert_eq!(tagged.fetched().unwrap().labels["build"], "7");
    let asked = targets(&server);
    assert_eq!(
        asked,
        [
            "/tagged?ac-discovery=1",
            "/tags.json",
            "/?ac-discovery=1",
            "/example.com/tagged-2.0.aci"
        ]
    );
    let own = APPC
        .open("example.com/tagged:latest,version=1", &insecure)
        .unwrap();
    assert_eq!(
        stream(&*own),
        b"/example.com/tagged-1.aci",
        "the user's label wins"
    );
    let plain = APPC.open("example.com/plain:latest", &insecure).unwrap();
    assert_eq!(stream(&*plain), b"/example.com/plain-latest.aci");
    let unknown = APPC.open("example.com/tagged:nope", &insecure);
    failure(unknown, Code::Missing);
    let tags = fetch_image_tags("example.com/tagged", &insecure).unwrap();
    assert_eq!(tags.resolve("latest").unwrap().labels["version"], "2.0");
}

#[test]
fn image_tags_need_a_signature_of_a_trusted_key() {
    let server = Server::start(|request| {
        let host = host(request);
        match &*request.target {
            "/?ac-discovery=1" => Reply::ok(format!(
                "<meta name=ac-discovery-imagetags content='example.com http://{host}/tags.{{ext}}'>"
            )),
            "/tags.json" => Reply::ok(r#"{"labels":{"1":{"version":"1"}}}"#),
            _ => Reply::status(404),
        }
    });
    failure(open(&server, "example.com:1"), Code::Denied);
}

#[test]
fn j2a_redirects_are_followed_up_to_ten() {
    let server = Server::start(|request| match &*request.target {
        "/?ac-discovery=1" => Reply::status(301).header("location", "/moved"),
        "/moved" => page(request, "image.{ext}"),
        "/image.aci" => Reply::ok("the image"),
        "/loop?ac-discovery=1" => Reply::status(301).header("location", "/loop?ac-discovery=1"),
        _ => Reply::status(404),
    });
    assert_eq!(
        stream(&*open(&server, "example.com").unwrap()),
        b"the image"
    );
    failure(open(&server, "example.com/loop"), Code::Limit);
    let asked = targets(&server);
    let looped = asked
        .iter()
        .filter(|target| target.starts_with("/loop"))
        .count();
    assert_eq!(looped, 11);
}

#[test]
fn j2b_no_way_leads_out_of_tls_or_to_an_inner_address() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let plain = Server::start(|_| Reply::ok("over plain http"));
    let plain_url = plain.url("/x");
    let server = Server::start_tls(&authority.server(), move |request| {
        let to = |to: &str| Reply::status(302).header("location", to);
        let meta = |url: &str| {
            Reply::ok(format!(
                "<meta name=ac-discovery content='example.com {url}'>"
            ))
        };
        match request.path() {
            "/http" => to(&plain_url),
            "/file" => to("file:///etc/passwd"),
            "/link-local" => to("https://169.254.169.254/latest"),
            "/template" => meta(&format!("{plain_url}.{{ext}}")),
            "/template-link-local" => meta("https://169.254.169.254/x.{ext}"),
            _ => Reply::status(404),
        }
    });
    let env = env(&server, |network| network.ca_files = vec![ca.clone()]);
    for name in [
        "http",
        "file",
        "link-local",
        "template",
        "template-link-local",
    ] {
        let result = APPC.open(&format!("example.com/{name}"), &env);
        failure(result, Code::Denied);
    }
    assert_eq!(plain.requests().len(), 0);
}

#[test]
fn j2b_a_key_comes_over_tls_from_a_public_address_or_not_at_all() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let plain = Server::start(|_| Reply::ok("a key"));
    let plain_url = plain.url("/keys");
    let server = Server::start_tls(&authority.server(), move |request| {
        let host = host(request);
        let page = |keys: &str| {
            Reply::ok(format!(
                "<meta name=ac-discovery content='example.com https://{host}/x.{{ext}}'>
                 <meta name=ac-discovery-pubkeys content='example.com {keys}'>"
            ))
        };
        match request.path() {
            "/http" => page(&plain_url),
            "/inner" => page("https://169.254.169.254/keys"),
            "/redirected" => page(&format!("https://{host}/away")),
            "/away" => Reply::status(302).header("location", plain_url.clone()),
            _ => Reply::ok("x"),
        }
    });
    let env = env(&server, |network| {
        network.ca_files = vec![ca.clone()];
        network.fetch_pubkeys = true;
    });
    for name in ["http", "inner", "redirected"] {
        let bundle = APPC.open(&format!("example.com/{name}"), &env).unwrap();
        let error = bundle.signature(&env.limits).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{name}: {error}");
    }
    assert!(plain.requests().is_empty());
}

#[test]
fn j3a_a_page_without_end_is_a_limit() {
    let server = Server::start(|_| Reply::ok("<p>more and more of it</p>\n".repeat(100)).endless());
    let error = failure(open(&server, "example.com"), Code::Limit);
    assert!(error.to_string().contains("discovery_page"), "{error}");
    let server = Server::start(|_| {
        let value = "a".repeat(10 << 20);
        Reply::ok(format!("<meta name=ac-discovery content='{value}'>"))
    });
    failure(open(&server, "example.com"), Code::Limit);
    let tags = "<meta name=ac-discovery content='example.com https://x/{ext}'>".repeat(1_000_000);
    let server = Server::start(move |_| Reply::ok(tags.clone()));
    failure(open(&server, "example.com"), Code::Limit);
}

#[test]
fn j3d_an_encoding_nobody_asked_for_is_an_error() {
    let server = Server::start(|request| {
        page(request, "{version}.{ext}").header("content-encoding", "gzip")
    });
    failure(open(&server, "example.com"), Code::Net);
}

#[test]
fn j4a_a_value_stays_in_its_place() {
    let server = Server::start(|request| match request.path() {
        "/" => page(request, "{name}/{x}.{ext}"),
        _ => Reply::ok("the image"),
    });
    let bundle = open(&server, "example.com,x=../../../x?a#b@c{os}").unwrap();
    assert_eq!(stream(&*bundle), b"the image");
    let asked = targets(&server);
    let last = asked.last().unwrap();
    assert_eq!(
        last,
        "/example.com/..%2F..%2F..%2Fx%3Fa%23b%40c%7Bos%7D.aci"
    );
}

#[test]
fn j4c_a_template_that_can_not_serve_leads_to_the_parent() {
    let server = Server::start(|request| {
        let host = host(request);
        match &*request.target {
            "/a?ac-discovery=1" => Reply::ok(format!(
                "<meta name=ac-discovery content='example.com http://{host}/{{foo}}.{{ext}}'>
                 <meta name=ac-discovery content='example.com http://{host}/{{+path}}.{{ext}}'>
                 <meta name=ac-discovery content='example.com hdfs://{host}/x.{{ext}}'>"
            )),
            "/?ac-discovery=1" => page(request, "parent.{ext}"),
            target => Reply::ok(target.to_owned()),
        }
    });
    let bundle = open(&server, "example.com/a").unwrap();
    assert_eq!(stream(&*bundle), b"/parent.aci");
}

#[test]
fn j6a_every_answer_is_listed_if_nothing_is_found() {
    let server = Server::start(|request| match request.path() {
        "/a/b" => Reply::status(401),
        "/a" => Reply::status(404),
        _ => Reply::ok("<p>nothing here"),
    });
    let error = failure(open(&server, "example.com/a/b"), Code::Missing).to_string();
    for part in [
        "/a/b?…: the server answered 401",
        "/a?…: the server answered 404",
        "no discovery tags",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let asked = targets(&server);
    assert_eq!(
        asked,
        [
            "/a/b?ac-discovery=1",
            "/a?ac-discovery=1",
            "/?ac-discovery=1"
        ]
    );
}

#[test]
fn j6b_a_server_in_trouble_is_no_reason_to_try_elsewhere() {
    let server = Server::start(|request| match request.path() {
        "/a" => Reply::status(503),
        _ => Reply::ok(""),
    });
    failure(open(&server, "example.com/a"), Code::Net);
    let asked = targets(&server);
    assert_eq!(asked, vec!["/a?ac-discovery=1"; 5], "attempts at one page");
    let server = Server::start(|_| Reply::status(404));
    let name = format!("example.com{}", "/a".repeat(199));
    let error = failure(open(&server, &name), Code::Limit).to_string();
    assert!(error.contains("discovery_requests"), "{error}");
    assert_eq!(targets(&server).len(), 16);
}

#[test]
fn j7_a_header_goes_to_its_host_alone() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let other = Server::start_tls(&authority.server(), |_| {
        Reply::ok("<meta name=ac-discovery content='example.com https://127.0.0.1:1/x.{ext}'>")
    });
    let moved = other.url("/page");
    let server = Server::start_tls(&authority.server(), move |request| match request.path() {
        "/moved" => Reply::status(302).header("location", &*moved),
        "/" => Reply::ok(format!(
            "<meta name=ac-discovery content='example.com https://{}/x.{{ext}}'>",
            host(request)
        )),
        _ => Reply::ok("the image"),
    });
    let env = env(&server, |network| {
        network.ca_files = vec![ca.clone()];
        network.host_headers = vec![HostHeader {
            host: server.authority(),
            name: "authorization".into(),
            value: Secret::new("Bearer t0ken"),
        }];
        network.timeouts.total_wait = Duration::ZERO;
    });
    let bundle = APPC.open("example.com", &env).unwrap();
    assert_eq!(stream(&*bundle), b"the image");
    let sent = |server: &Server| -> Vec<Option<String>> {
        let requests = server.requests().into_iter();
        requests
            .map(|request| request.header("authorization").map(str::to_owned))
            .collect()
    };
    let token = Some("Bearer t0ken".to_owned());
    assert!(
        sent(&server).iter().all(|header| *header == token),
        "{:?}",
        sent(&server)
    );
    let error = APPC
        .open("example.com/moved", &env)
        .expect_err("nothing listens there");
    assert!(!error.to_string().contains("t0ken"), "{error}");
    assert!(sent(&other).iter().all(Option::is_none) && !other.requests().is_empty());
}

#[test]
fn j8_keys_are_fetched_with_consent_only() {
    let server = Server::start(|request| {
        let host = host(request);
        match &*request.target {
            "/?ac-discovery=1" => Reply::ok(format!(
                "<meta name=ac-discovery content='example.com http://{host}/x.{{ext}}'>
                 <meta name=ac-discovery-pubkeys content='example.com http://{host}/keys'>"
            )),
            target => Reply::ok(target.to_owned()),
        }
    });
    let limits = env(&server, |_| {}).limits;
    let bundle = open(&server, "example.com").unwrap();
    let signature = bundle.signature(&limits).unwrap().unwrap();
    assert!(signature.keys.is_empty());
    assert_eq!(signature.offered, [server.url("/keys")]);
    assert!(!targets(&server).contains(&"/keys".to_owned()));
    let agreed = env(&server, |network| network.fetch_pubkeys = true);
    let bundle = APPC.open("example.com", &agreed).unwrap();
    let signature = bundle.signature(&limits).unwrap().unwrap();
    assert_eq!(signature.keys, [b"/keys".to_vec()]);
    assert_eq!(signature.offered, [""; 0]);
}

#[test]
fn j9a_a_signature_that_never_comes_is_not_waited_for_for_ever() {
    let server = Server::start(|request| match &*request.target {
        "/?ac-discovery=1" => page(request, "x.{ext}"),
        "/x.aci" => Reply::ok("the image"),
        "/x.aci.asc" => Reply::status(202),
        _ => Reply::status(404),
    });
    let bundle = open(&server, "example.com").unwrap();
    let limits = env(&server, |_| {}).limits;
    let error = bundle.signature(&limits).unwrap_err();
    assert_eq!(error.code(), Code::Net);
    let asked = targets(&server)
        .into_iter()
        .filter(|target| target == "/x.aci.asc");
    assert_eq!(asked.count(), 5);
}

// robustness N17: a mirror of a host stands for it in all that a page leads to.
#[test]
fn n17_a_mirror_serves_the_image_its_signature_and_the_keys() {
    let server = Server::start(|request| match &*request.target {
        "/site/a?ac-discovery=1" => Reply::ok(
            "<meta name=ac-discovery content='example.com/a https://example.com/f/{name}.{ext}'>\
             <meta name=ac-discovery-pubkeys content='example.com/a https://keys.example/k?v=1'>",
        ),
        "/site/f/example.com/a.aci" => Reply::ok("the image"),
        "/site/f/example.com/a.aci.asc" => Reply::ok("the signature"),
        "/keys/k?v=1" => Reply::ok("the key"),
        _ => Reply::status(500),
    });
    let env = env(&server, |network| {
        let authority = server.authority();
        network.mirrors = vec![
            ("example.com".into(), format!("{authority}/site")),
            ("keys.example".into(), format!("{authority}/keys/")),
        ];
        network.fetch_pubkeys = true;
    });
    let bundle = APPC.open("example.com/a", &env).unwrap();
    assert_eq!(stream(&*bundle), b"the image");
    let signature = bundle.signature(&env.limits).unwrap().unwrap();
    assert_eq!(signature.bytes, b"the signature");
    assert_eq!(signature.keys, [b"the key"]);
}

// robustness N17: what a mirror does not have is looked for where the page says.
#[test]
fn n17_the_host_itself_is_asked_after_its_mirror() {
    let origin = Server::start(|request| match &*request.target {
        "/a.aci" | "/a.aci.asc" => Reply::ok("of the host"),
        _ => Reply::status(404),
    });
    let (at, to) = (origin.authority(), origin.url(""));
    let mirror = Server::start(move |request| match &*request.target {
        "/a?ac-discovery=1" => Reply::ok(format!(
            "<meta name=ac-discovery content='example.com/a {to}/a.{{ext}}'>"
        )),
        _ => Reply::status(404),
    });
    let env = env(&mirror, |network| {
        network.plain_http = vec![at.clone()];
        let more = (at, format!("{}/copy", mirror.authority()));
        network.mirrors.push(more);
    });
    let bundle = APPC.open("example.com/a", &env).unwrap();
    assert_eq!(stream(&*bundle), b"of the host");
    let signature = bundle.signature(&env.limits).unwrap().unwrap();
    assert_eq!(signature.bytes, b"of the host");
    assert!(targets(&mirror).contains(&"/copy/a.aci".to_owned()));
}
