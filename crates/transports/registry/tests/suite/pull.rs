//! What is read.

use super::*;

#[test]
fn l5a_a_manifest_has_a_limit() {
    let registry = Registry::start();
    let long = format!("{{\"x\":\"{}\"}}", "a".repeat(4 << 20));
    registry
        .stored()
        .manifest("x", "t", MANIFEST, long.as_bytes());
    let error = manifest(&registry, "x:t", &env()).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
}

#[test]
fn l5a_a_list_of_tags_has_an_end() {
    for target in ["/v2/x/tags/list?n=1000", "/v2/x/tags/list?n=1000&more"] {
        let registry = Registry::start_with(None, move |request, _| {
            request.path().contains("/tags/").then(|| {
                Reply::ok(r#"{"tags":["a"]}"#).header("link", format!("<{target}>; rel=\"next\""))
            })
        });
        let bundle = open(&registry, "x", &env()).unwrap();
        assert_eq!(bundle.listing().unwrap_err().code(), Code::Limit);
    }
    let count = AtomicUsize::new(0);
    let registry = Registry::start_with(None, move |request, _| {
        request.path().contains("/tags/").then(|| {
            let link = format!(
                "</v2/x/tags/list?n={}>; rel=next",
                count.fetch_add(1, Ordering::Relaxed)
            );
            Reply::ok(r#"{"tags":["a"]}"#).header("link", link)
        })
    });
    let mut env = env();
    env.limits.tag_pages = 50;
    let bundle = open(&registry, "x", &env).unwrap();
    assert_eq!(bundle.listing().unwrap_err().code(), Code::Limit);
}

#[test]
fn l5a_a_list_of_tags_goes_on_however_the_link_is_spelled() {
    for (link, is_valid) in [
        ("</v2/x/tags/list?n=2>; rel = \"next\"", true),
        ("</v2/x/tags/list?n=2>; REL=\"Next\"", true),
        ("</v2/x/tags/list?n=2>; rel=\"prev next\"", true),
        ("</v2/x/tags/list?n=2&x=a,b>; rel=\"next\"", true),
        (
            "</v2/x/tags/list>; rel=\"first\", </v2/x/tags/list?n=2>; rel=\"next\"",
            true,
        ),
        ("</v2/x/tags/list?n=2; rel=\"next\"", false),
        ("</v2/x/tags/list?n=2>; rel=\"next", false),
        ("/v2/x/tags/list?n=2", false),
    ] {
        let registry = Registry::start_with(None, move |request, _| {
            let first = request.query("n").is_some_and(|n| n != "2");
            request.path().contains("/tags/").then(|| match first {
                true => Reply::ok(r#"{"tags":["a"]}"#).header("link", link),
                false => Reply::ok(r#"{"tags":["b"]}"#),
            })
        });
        let bundle = open(&registry, "x", &env()).unwrap();
        match bundle.listing() {
            Ok(listed) => assert!(is_valid && listed.len() == 2, "{link}"),
            Err(error) => {
                assert!(!is_valid, "{link}: {error}");
                assert_eq!(error.code(), Code::Net, "{error}");
                assert!(error.to_string().contains("`Link: "), "{error}");
            }
        }
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The number of referrers of an image, in a registry that answers a question for them with `reply`; the fallback tag
/// lists one.
fn referrers(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (Result<usize, Error>, usize) {
    let registry = Registry::start_with(None, move |request, _| {
        request.path().contains("/referrers/").then(&reply)
    });
    let image = registry.stored().image("x", "t", b"layer");
    let other = registry.stored().referrer("x", &image, "a note");
    let list = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}","digest":"{other}","size":10}}]}}"#
    );
    let tag = image.replace(':', "-");
    registry
        .stored()
        .manifest("x", &tag, INDEX, list.as_bytes());
    let mut env = env();
    env.limits.retries = 1;
    let bundle = open(&registry, "x", &env).unwrap();
    let entry = bundle.listing().unwrap();
    let entry = entry.iter().find(|entry| entry.texts[0] == "t").unwrap();
    let found = bundle.referrers(entry).map(|found| found.len());
    let asked = registry.server.requests();
    let asked = asked.iter().filter(|it| it.path().contains("/referrers/"));
    (found, asked.count())
}

#[test]
fn h10d_a_registry_without_the_referrers_api_is_asked_for_the_fallback_tag() {
    let page = || Reply::ok("<html></html>").header("content-type", "text/html");
    let untyped = || Reply::ok(r#"{"schemaVersion":2,"manifests":[]}"#);
    for (found, asked) in [
        referrers(page),
        referrers(untyped),
        referrers(|| Reply::status(501)),
        referrers(|| Reply::status(404)),
    ] {
        assert_eq!((found.unwrap(), asked), (1, 1));
    }
    let none = move || {
        untyped().header(
            "content-type",
            "Application/vnd.oci.image.index.v1+json; q=1",
        )
    };
    assert_eq!(referrers(none).0.unwrap(), 0);
    for status in [500, 503] {
        let error = referrers(move || Reply::status(status)).0.unwrap_err();
        assert_eq!(error.code(), Code::Net, "{error}");
    }
    // Pages after the first belong to the same list.
    let count = AtomicUsize::new(0);
    let (found, _) = referrers(move || match count.fetch_add(1, Ordering::Relaxed) {
        0 => untyped()
            .header("content-type", INDEX)
            .header("link", "<?page=2>; rel=next"),
        _ => page(),
    });
    assert_eq!(found.unwrap_err().code(), Code::Net);
}

#[test]
fn every_tag_is_listed_over_pages_and_resolved_when_it_is_looked_at() {
    let registry = Registry::start();
    for tag in ["latest", "2", "10", "v1.0", "a"] {
        registry.stored().image("x", tag, tag.as_bytes());
    }
    let env = env();
    let bundle = open(&registry, "x", &env).unwrap();
    let entries = bundle.listing().unwrap();
    let tags: Vec<_> = entries
        .iter()
        .map(|entry| entry.texts[0].as_str())
        .collect();
    assert_eq!(tags, ["10", "2", "a", "latest", "v1.0"]);
    assert!(entries.iter().all(|entry| entry.child.is_none()));
    assert!(
        registry
            .server
            .requests()
            .iter()
            .all(|r| !r.path().contains("/manifests/"))
    );
    let resolved = bundle.resolve(&entries[1]).unwrap();
    let key = ("x".to_owned(), "2".to_owned());
    let manifest = registry.stored().manifests[&key].1.clone();
    assert_eq!(
        resolved.child.unwrap().digest.to_string(),
        digest_of(&manifest)
    );
    // What is meant without a tag is one image.
    let roots = bundle.roots().unwrap();
    assert_eq!(roots.len(), 1);
    assert_eq!(
        roots[0].name.as_ref().unwrap().tag.as_deref(),
        Some("latest")
    );
}

#[test]
fn l5b_a_blob_of_another_size_is_a_mismatch() {
    for (said, stored) in [(100, 99), (100, 101), (10_000, 9_999), (10_000, 10_001)] {
        let registry = Registry::start();
        let bytes = vec![7; stored];
        let wanted = digest_of(&vec![7; said]);
        let key = ("x".to_owned(), wanted.clone());
        registry.stored().blobs.insert(key, bytes);
        let bundle = open(&registry, "x", &env()).unwrap();
        let error = read_blob(&*bundle, &facts(&wanted, said)).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch, "{said} {stored}: {error}");
    }
}

#[test]
fn l5c_no_tags_may_be_said_as_null() {
    for body in [
        r#"{"name":"x","tags":null}"#,
        r#"{"name":"x","tags":[]}"#,
        "{}",
    ] {
        let registry = Registry::start_with(None, move |request, _| {
            request.path().contains("/tags/").then(|| Reply::ok(body))
        });
        let bundle = open(&registry, "x", &env()).unwrap();
        assert_eq!(bundle.listing().unwrap().len(), 0);
    }
}

#[test]
fn l6a_other_bytes_than_those_that_were_asked_for_are_a_mismatch() {
    let registry = Registry::start();
    let digest = registry.stored().image("x", "t", b"layer");
    let other = br#"{"schemaVersion":2}"#.to_vec();
    let key = |name: &str| ("x".to_owned(), name.to_owned());
    registry
        .stored()
        .manifests
        .insert(key(&digest), (MANIFEST.into(), other));
    let by_digest = format!("x@{digest}");
    let error = manifest(&registry, &by_digest, &env()).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    let bundle = open(&registry, "x:t", &env()).unwrap();
    let limit = ("manifest", 1 << 20);
    let error = bundle
        .document(MANIFEST, &facts(&digest, 19), limit)
        .unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    let layer = digest_of(b"layer");
    registry
        .stored()
        .blobs
        .insert(key(&layer), b"lawyer".to_vec());
    for size in [5, 6] {
        let error = read_blob(&*bundle, &facts(&layer, size)).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch);
        let error = bundle
            .document("config", &facts(&layer, size), limit)
            .unwrap_err();
        assert_eq!(error.code(), Code::Mismatch);
    }
}

#[test]
fn l6b_the_header_with_the_digest_is_not_believed() {
    for said in [
        Some(digest_of(b"other")),
        Some("sha512:00".into()),
        Some("x".into()),
        None,
    ] {
        let registry = Registry::start_with(None, move |request, stored| {
            let path = request.path().strip_prefix("/v2/x/manifests/")?;
            let (kind, bytes) = stored.manifests.get(&("x".into(), path.into()))?;
            let reply = Reply::ok(bytes.clone()).header("content-type", kind);
            Some(match &said {
                Some(said) => reply.header("docker-content-digest", said),
                None => reply,
            })
        });
        let digest = registry.stored().image("x", "t", b"layer");
        let bytes = manifest(&registry, &format!("x:t@{digest}"), &env()).unwrap();
        assert_eq!(digest_of(&bytes), digest);
    }
}

#[test]
fn l6c_a_tag_is_resolved_once() {
    let registry = Registry::start_with(None, |request, stored| {
        let reply = answer(request, stored);
        // As soon as it was asked for, it moves.
        if request.path().ends_with("/manifests/t") {
            stored.image("x", "t", b"new layer");
        }
        Some(reply)
    });
    let digest = registry.stored().image("x", "t", b"layer");
    let bundle = open(&registry, "x:t", &env()).unwrap();
    for _ in 0..2 {
        let entries = bundle.roots().unwrap();
        assert_eq!(
            entries[0].child.as_ref().unwrap().digest.to_string(),
            digest
        );
        let Root::Document(document) = bundle.root(&entries[0]).unwrap() else {
            panic!("a manifest is a document");
        };
        assert_eq!(digest_of(&document.bytes), digest);
    }
    let asked = registry.server.requests();
    let asked = asked
        .iter()
        .filter(|request| request.path().ends_with("/manifests/t"));
    assert_eq!(asked.count(), 1);
}

#[test]
fn l7_bytes_on_the_wire_are_what_is_verified() {
    let registry = Registry::start_with(None, |request, stored| {
        let reply = answer(request, stored);
        let blob = request.path().contains("/blobs/");
        Some(if blob {
            reply.header("content-encoding", "gzip")
        } else {
            reply
        })
    });
    let digest = registry.stored().blob("x", b"\x1f\x8bnot decoded");
    let bundle = open(&registry, "x", &env()).unwrap();
    let read = read_blob(&*bundle, &facts(&digest, 13)).unwrap();
    assert_eq!(read, b"\x1f\x8bnot decoded");
    let other = digest_of(b"decoded bytes");
    let key = ("x".to_owned(), other.clone());
    registry
        .stored()
        .blobs
        .insert(key, b"\x1f\x8bnot decoded".to_vec());
    let error = read_blob(&*bundle, &facts(&other, 13)).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
}

#[test]
fn a_blob_is_asked_for_once_to_look_at_it_and_once_to_read_it() {
    let registry = Registry::start();
    let bytes: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let digest = registry.stored().blob("x", &bytes);
    let bundle = open(&registry, "x", &env()).unwrap();
    let blob = bundle.blob(&facts(&digest, bytes.len())).unwrap();
    for _ in 0..3 {
        let mut first = [0; 6];
        blob.open().unwrap().read_exact(&mut first).unwrap();
        assert_eq!(first, [0, 1, 2, 3, 4, 5]);
    }
    let mut read = Vec::new();
    blob.open().unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
    let ranges = registry.server.requests();
    let ranges: Vec<_> = ranges
        .iter()
        .filter_map(|request| request.header("range"))
        .collect();
    assert_eq!(ranges, ["bytes=0-4095", "bytes=4096-"]);
}

#[test]
fn l9_a_pull_that_is_cut_goes_on() {
    let cuts = AtomicUsize::new(0);
    let registry = Registry::start_with(None, move |request, stored| {
        let reply = answer(request, stored);
        let blob =
            request.path().contains("/blobs/") && request.header("range") != Some("bytes=0-4095");
        Some(match blob && cuts.fetch_add(1, Ordering::Relaxed) < 3 {
            true => reply.cut_after(20_000),
            false => reply,
        })
    });
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
    let digest = registry.stored().blob("x", &bytes);
    let bundle = open(&registry, "x", &env()).unwrap();
    assert_eq!(
        read_blob(&*bundle, &facts(&digest, bytes.len())).unwrap(),
        bytes
    );
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_after_it() {
    let mirror = Registry::start();
    let registry = Registry::start();
    mirror.stored().image("proxy/x", "t", b"layer");
    registry.stored().image("x", "u", b"layer");
    let network = || Network {
        mirrors: vec![(
            registry.server.authority(),
            format!("{}/proxy", mirror.server.authority()),
        )],
        ..Network::default()
    };
    manifest(&registry, "x:t", &env_with(network())).unwrap();
    manifest(&registry, "x:u", &env_with(network())).unwrap();
    let error = manifest(&registry, "x:none", &env_with(network())).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
}
