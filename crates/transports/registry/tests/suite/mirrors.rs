//! Rows L18a to L18f: mirrors and other places by `registries.conf`.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use imgconv_model::{
    Bundle, Code, Credential, Env, Error, Event, Network, Progress, Root, Secret, Transport as _,
};
use imgconv_testkit::{
    registry::{Registry, digest_of},
    server::{Authority, Reply},
};
use imgconv_transport_registry::REGISTRY;

use super::{MANIFEST, env_with, facts, publication, read_blob, write_blob};

/// An environment with a `registries.conf`, in which `NAME` stands for the address of a registry.
struct Setup {
    env: Env,
    _folder: tempfile::TempDir,
}

fn setup(text: &str, registries: &[(&str, &Registry)]) -> Setup {
    setup_with(Network::default(), text, registries)
}

fn setup_with(mut network: Network, text: &str, registries: &[(&str, &Registry)]) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let mut text = text.to_owned();
    for (name, registry) in registries {
        text = text.replace(name, &registry.server.authority());
    }
    let path = folder.path().join("registries.conf");
    fs::write(&path, text).unwrap();
    network.registries.only = Some(path);
    let mut env = env_with(network);
    env.limits.retries = 1;
    let _folder = folder;
    Setup { env, _folder }
}

const MIRRORED: &str = r#"
[[registry]]
prefix = "asked.example/team"
location = "OWN/own"
[[registry.mirror]]
location = "FIRST/first"
[[registry.mirror]]
location = "SECOND/second"
"#;

fn open(name: &str, env: &Env) -> Result<Box<dyn Bundle>, Error> {
    REGISTRY.open(&format!("//{name}"), env)
}

fn manifest(name: &str, env: &Env) -> Result<Vec<u8>, Error> {
    let bundle = open(name, env)?;
    match bundle.root(&bundle.roots()?[0])? {
        Root::Document(document) => Ok(document.bytes.to_vec()),
        Root::Stream(_) => panic!("a manifest is a document"),
    }
}

fn registries() -> [Registry; 3] {
    [Registry::start(), Registry::start(), Registry::start()]
}

fn named([own, first, second]: &[Registry; 3]) -> [(&'static str, &Registry); 3] {
    [("OWN", own), ("FIRST", first), ("SECOND", second)]
}

/// The events about choices.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Progress for Told {
    fn event(&self, event: Event<'_>) {
        if let Event::Chosen { what } = event {
            self.0.lock().unwrap().push(what.to_owned());
        }
    }
}

#[test]
fn l18a_mirrors_are_asked_in_their_order_and_the_image_keeps_its_name() {
    let all = registries();
    let [own, first, second] = &all;
    second.stored().image("second/x", "t", b"layer");
    own.stored().image("own/x", "u", b"layer");
    let mut setup = setup(MIRRORED, &named(&all));
    let told = Arc::new(Told::default());
    setup.env.progress = Arc::clone(&told) as _;
    let bundle = open("asked.example/team/x:t", &setup.env).unwrap();
    let entries = bundle.roots().unwrap();
    let name = entries[0].name.as_ref().unwrap();
    assert_eq!(name.to_string(), "asked.example/team/x:t");
    assert_eq!(bundle.locator(), "docker://asked.example/team/x:t");
    let layer = digest_of(b"layer");
    assert_eq!(read_blob(&*bundle, &facts(&layer, 5)).unwrap(), b"layer");
    assert!(own.server.requests().is_empty());
    let asked = first.server.requests();
    assert!(
        asked
            .iter()
            .any(|it| it.path() == "/v2/first/x/manifests/t")
    );
    let lines = told.0.lock().unwrap().clone();
    let [passed, chosen] = &lines[..] else {
        panic!("{lines:?}")
    };
    let start = "docker://asked.example/team/x: ";
    let first = first.server.authority();
    assert!(
        passed.starts_with(&format!(
            "{start}the mirror {first}/first/x is passed over: "
        )),
        "{passed}"
    );
    let second = second.server.authority();
    assert_eq!(*chosen, format!("{start}read from {second}/second/x"));
    // The registry itself is asked last.
    manifest("asked.example/team/x:u", &setup.env).unwrap();
    let error = manifest("asked.example/team/x:none", &setup.env).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("/v2/own/x/"), "{error}");
    let advice = error.advice().unwrap();
    assert!(advice.contains(&format!("{second}/second/x: ")), "{advice}");
}

#[test]
fn l18b_a_mirror_that_does_not_answer_is_passed_over_and_not_asked_again() {
    let first = Registry::start_with(None, |_, _| Some(Reply::hang_up()));
    let second = Registry::start_with(None, |_, _| Some(Reply::status(403)));
    let own = Registry::start();
    own.stored().image("own/x", "t", b"layer");
    let network = Network {
        plain_http: vec![first.server.authority()],
        ..Network::default()
    };
    let places = [("OWN", &own), ("FIRST", &first), ("SECOND", &second)];
    let setup = setup_with(network, MIRRORED, &places);
    let bundle = open("asked.example/team/x:t", &setup.env).unwrap();
    bundle.roots().unwrap();
    let asked = first.server.requests().len();
    let layer = digest_of(b"layer");
    assert_eq!(read_blob(&*bundle, &facts(&layer, 5)).unwrap(), b"layer");
    assert_eq!(first.server.requests().len(), asked);
    assert!(!second.server.requests().is_empty());
}

#[test]
fn l18a_referrers_are_those_at_the_place_of_the_image() {
    let all = registries();
    let [_, _, second] = &all;
    let digest = second.stored().image("second/x", "t", b"layer");
    let size = second.stored().manifests[&("second/x".to_owned(), digest.clone())]
        .1
        .len();
    let subject = serde_json::json!({ "mediaType": MANIFEST, "digest": digest, "size": size });
    let (kind, referrer) = second.stored().image_of("second/x", b"note", Some(subject));
    let referrer = second.stored().manifest("second/x", "r", &kind, &referrer);
    // The first mirror lacks the image, and answers that nothing refers to it.
    let setup = setup(MIRRORED, &named(&all));
    let by_digest = format!("asked.example/team/x@{digest}");
    for name in ["asked.example/team/x:t", &by_digest] {
        let entries = open(name, &setup.env).unwrap().roots().unwrap();
        let digests: Vec<String> = entries
            .iter()
            .map(|entry| entry.child.as_ref().unwrap().digest.to_string())
            .collect();
        assert_eq!(digests, [&*digest, &*referrer], "{name}");
    }
}

#[test]
fn l18b_wrong_content_of_a_mirror_is_refused_and_nobody_else_is_asked() {
    let all = registries();
    let [own, first, second] = &all;
    let digest = own.stored().image("own/x", "t", b"layer");
    let (kind, other) = first.stored().image_of("first/x", b"other", None);
    let key = ("first/x".to_owned(), digest.clone());
    first.stored().manifests.insert(key, (kind, other));
    let key = ("first/x".to_owned(), digest_of(b"layer"));
    first.stored().blobs.insert(key, b"wrong".to_vec());
    let setup = setup(MIRRORED, &named(&all));
    let mirror = format!("mirror {}/first/x", first.server.authority());
    let name = format!("asked.example/team/x@{digest}");
    let error = manifest(&name, &setup.env).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    assert!(error.to_string().contains(&mirror), "{error}");
    let bundle = open("asked.example/team/x:t", &setup.env).unwrap();
    let layer = facts(&digest_of(b"layer"), 5);
    let error = read_blob(&*bundle, &layer).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    assert!(error.to_string().contains(&mirror), "{error}");
    assert!(own.server.requests().is_empty());
    assert!(second.server.requests().is_empty());
    // What is no manifest at all is no reason to ask another place either.
    let first = Registry::start_with(None, |_, _| Some(Reply::ok("<html>log in</html>")));
    let setup = self::setup(
        MIRRORED,
        &[("OWN", own), ("FIRST", &first), ("SECOND", second)],
    );
    let error = manifest("asked.example/team/x:t", &setup.env).unwrap_err();
    assert_eq!(error.code(), Code::BadJson, "{error}");
    assert!(own.server.requests().is_empty());
}

#[test]
fn l18a_mirrors_for_digests_or_tags_are_asked_for_these_only() {
    let all = registries();
    let [own, first, second] = &all;
    let digest = own.stored().image("own/x", "t", b"layer");
    let text = MIRRORED
        .replace("first\"", "first\"\npull-from-mirror = \"digest-only\"")
        .replace("second\"", "second\"\npull-from-mirror = \"tag-only\"");
    let setup = setup(&text, &named(&all));
    manifest("asked.example/team/x:t", &setup.env).unwrap();
    assert!(first.server.requests().is_empty());
    let count = second.server.requests().len();
    assert!(count > 0);
    manifest(&format!("asked.example/team/x@{digest}"), &setup.env).unwrap();
    assert!(!first.server.requests().is_empty());
    assert_eq!(second.server.requests().len(), count);
}

#[test]
fn l18c_a_blocked_registry_is_not_asked() {
    let all = registries();
    let [own, first, _] = &all;
    own.stored().image("own/x", "t", b"layer");
    let table =
        "[[registry]]\nprefix = \"asked.example\"\nlocation = \"OWN/own\"\nblocked = true\n";
    let setup = setup(table, &named(&all));
    for name in ["asked.example/x:t", "asked.example"] {
        let error = open(name, &setup.env)
            .and_then(|bundle| bundle.extras().listing.unwrap().listing())
            .unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{name}");
        assert!(error.to_string().contains("is blocked"), "{error}");
    }
    let error = REGISTRY
        .create("//asked.example/x:t", &setup.env)
        .unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    assert!(own.server.requests().is_empty());
    // Its mirrors are.
    let table = format!("{table}[[registry.mirror]]\nlocation = \"FIRST/first\"\n");
    let setup = self::setup(&table, &named(&all));
    first.stored().image("first/x", "t", b"layer");
    manifest("asked.example/x:t", &setup.env).unwrap();
    let error = manifest("asked.example/x:u", &setup.env).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.advice().unwrap().contains("is blocked"), "{error:?}");
    assert!(own.server.requests().is_empty());
}

#[test]
fn l18e_an_insecure_place_needs_no_trusted_certificate() {
    let identity = Authority::new().server();
    let own = Registry::start_with(Some(&identity), |_, _| None);
    own.stored().image("own/x", "t", b"layer");
    let table =
        "[[registry]]\nprefix = \"asked.example\"\nlocation = \"OWN/own\"\ninsecure = true\n";
    let read = |network: Network, table: &str| {
        let setup = setup_with(network, table, &[("OWN", &own)]);
        manifest("asked.example/x:t", &setup.env)
    };
    read(Network::default(), table).unwrap();
    let secure = table.replace("true", "false");
    let error = read(Network::default(), &secure).unwrap_err();
    assert_eq!(error.code(), Code::Net);
    // The command line counts more than the file.
    let verify = |verify: bool| Network {
        tls_verify: Some(verify),
        ..Network::default()
    };
    assert_eq!(read(verify(true), table).unwrap_err().code(), Code::Net);
    read(verify(false), &secure).unwrap();
    // In one run a host is insecure for the names of the table only.
    let setup = setup_with(Network::default(), table, &[("OWN", &own)]);
    manifest("asked.example/x:t", &setup.env).unwrap();
    let direct = format!("{}/own/x:t", own.server.authority());
    assert_eq!(manifest(&direct, &setup.env).unwrap_err().code(), Code::Net);
}

#[test]
fn l18f_credentials_are_those_of_the_host_that_is_asked() {
    let first = Registry::start_with(None, |request, _| {
        let user = "Basic bTpodW50ZXIy";
        (request.header("authorization") != Some(user))
            .then(|| Reply::status(401).header("www-authenticate", "Basic realm=\"x\""))
    });
    first.stored().image("first/x", "t", b"layer");
    let [own, _, second] = registries();
    let credential = |user: &str| Credential::Basic {
        user: user.to_owned(),
        password: Secret::new("hunter2"),
    };
    let network = Network {
        credentials: vec![
            ("asked.example".to_owned(), credential("other")),
            (first.server.authority(), credential("m")),
        ],
        ..Network::default()
    };
    let places = [("OWN", &own), ("FIRST", &first), ("SECOND", &second)];
    let setup = setup_with(network, MIRRORED, &places);
    manifest("asked.example/team/x:t", &setup.env).unwrap();
    assert!(own.server.requests().is_empty());
    for request in first.server.requests() {
        let sent = request.header("authorization");
        assert!(
            matches!(sent, None | Some("Basic bTpodW50ZXIy")),
            "{sent:?}"
        );
    }
}

#[test]
fn l18a_a_push_goes_to_the_named_place() {
    let [own, first, _] = registries();
    let table = "[[registry]]\nprefix = \"OWN\"\nlocation = \"FIRST/moved\"\n\
                 [[registry.mirror]]\nlocation = \"FIRST/mirror\"\n";
    let setup = setup(table, &[("OWN", &own), ("FIRST", &first)]);
    let place = format!("//{}/x:t", own.server.authority());
    let sink = REGISTRY.create(&place, &setup.env).unwrap();
    let (_, manifest) = own.stored().image_of("x", b"layer", None);
    write_blob(&*sink, b"layer").unwrap();
    write_blob(&*sink, &manifest).unwrap();
    sink.finish(&mut [publication(&manifest, "t")]).unwrap();
    let key = ("x".to_owned(), "t".to_owned());
    assert!(own.stored().manifests.contains_key(&key));
    assert!(first.server.requests().is_empty());
}

#[test]
fn l18a_lists_come_from_the_place_of_the_registry_itself() {
    let [own, first, _] = registries();
    own.stored().image("x", "a", b"layer");
    own.stored().image("x", "b", b"layer");
    first.stored().image("x", "a", b"layer");
    let table = "[[registry]]\nprefix = \"asked.example\"\nlocation = \"OWN\"\n\
                 [[registry.mirror]]\nlocation = \"FIRST\"\n";
    let setup = setup(table, &[("OWN", &own), ("FIRST", &first)]);
    for place in ["asked.example/x", "asked.example"] {
        let bundle = open(place, &setup.env).unwrap();
        let entries = bundle.extras().listing.unwrap().listing().unwrap();
        let names: Vec<String> = entries
            .iter()
            .map(|entry| entry.name.as_ref().unwrap().to_string())
            .collect();
        assert_eq!(names, ["asked.example/x:a", "asked.example/x:b"], "{place}");
    }
    assert!(first.server.requests().is_empty());
    // A mirror of the command line has the lists too, as it always had.
    let network = Network {
        mirrors: vec![("asked.example".to_owned(), first.server.authority())],
        ..Network::default()
    };
    let setup = setup_with(network, table, &[("OWN", &own), ("FIRST", &first)]);
    let bundle = open("asked.example/x", &setup.env).unwrap();
    let entries = bundle.extras().listing.unwrap().listing().unwrap();
    assert_eq!(entries.len(), 1);
}
