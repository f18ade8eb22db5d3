//! What is written.

use super::*;

/// An image in memory: config and layer, and its manifest last.
fn image(layer: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut stored = Stored::default();
    let (_, manifest) = stored.image_of("x", layer, None);
    (stored.blobs.into_values().collect(), manifest)
}

fn push(registry: &Registry, name: &str, layer: &[u8], env: &Env) -> Result<Vec<String>, Error> {
    let sink = create(registry, name, env);
    let (blobs, manifest) = image(layer);
    for blob in &blobs {
        write_blob(&*sink, blob)?;
    }
    write_blob(&*sink, &manifest)?;
    sink.commit(&[publication(&manifest, "t")])
}

#[test]
fn a_push_stores_blobs_then_manifests_then_tags() {
    let registry = Registry::start();
    let places = push(&registry, "a/b:t", b"layer", &env()).unwrap();
    assert_eq!(places, [registry.locator("a/b:t")]);
    let pushed: Vec<_> = registry.server.requests();
    let pushed: Vec<_> = pushed
        .iter()
        .filter(|r| r.method == "PUT")
        .map(Request::path)
        .collect();
    assert_eq!(pushed.len(), 3);
    assert_eq!(pushed[2], "/v2/a/b/manifests/t");
    assert!(registry.stored().uploads.is_empty());
    let (_, bytes) = image(b"layer");
    assert_eq!(manifest(&registry, "a/b:t", &env()).unwrap(), bytes);
    // Nothing is uploaded twice.
    let sink = create(&registry, "a/b:t", &env());
    let digest = Digest::parse(&digest_of(b"layer")).unwrap();
    assert!(sink.has(&digest, 5).unwrap());
    assert!(!sink.has(&digest, 6).unwrap());
}

#[test]
fn two_images_have_no_tag_together() {
    let registry = Registry::start();
    let sink = create(&registry, "x:t", &env());
    let (_, a) = image(b"a");
    let (_, b) = image(b"b");
    for bytes in [&a, &b] {
        write_blob(&*sink, bytes).unwrap();
    }
    let both = [publication(&a, "a"), publication(&b, "b")];
    assert_eq!(sink.commit(&both).unwrap_err().code(), Code::Ambiguous);
    assert!(registry.stored().manifests.is_empty());
    let sink = create(&registry, "x", &env());
    for bytes in [&a, &b] {
        write_blob(&*sink, bytes).unwrap();
    }
    assert_eq!(
        sink.commit(&both).unwrap(),
        [registry.locator("x:a"), registry.locator("x:b")]
    );
}

#[test]
fn l11a_an_upload_goes_where_the_registry_says() {
    let elsewhere = Registry::start();
    let away = elsewhere.server.url("");
    let registry = Registry::start_with(None, move |request, stored| {
        if request.method != "POST" {
            return None;
        }
        let reply = answer(request, stored);
        drop(reply);
        let id = stored.uploads.keys().next_back()?.clone();
        // Relative to the request, with a query that must come back.
        Some(Reply::status(202).header("location", format!("./{id}?state=a%20b")))
    });
    push(&registry, "x:t", b"layer", &env()).unwrap();
    let seen = registry.server.requests();
    let put = seen
        .iter()
        .find(|r| r.path().contains("/blobs/uploads/") && r.method == "PUT");
    assert!(
        put.unwrap()
            .target
            .contains("?state=a%20b&digest=sha256%3A")
    );
    // Another host gets the bytes, and no credentials.
    elsewhere.stored().uploads.insert("77".into(), Vec::new());
    let registry = Registry::start_with(None, move |request, _| {
        let known = request.path() == "/" || request.header("authorization") == Some(BASIC);
        if !known {
            return Some(Reply::status(401).header("www-authenticate", "Basic"));
        }
        let post = request.method == "POST";
        post.then(|| {
            let place = format!("{away}/v2/x/blobs/uploads/77");
            Reply::status(202).header("location", place)
        })
    });
    let network = Network {
        plain_http: vec!["127.0.0.1".into()],
        ..login(&registry.server)
    };
    let sink = create(&registry, "x:t", &env_with(network));
    write_blob(&*sink, b"layer").unwrap();
    let seen = elsewhere.server.requests();
    assert!(!seen.is_empty());
    assert!(
        seen.iter()
            .all(|request| request.header("authorization").is_none())
    );
    assert_eq!(elsewhere.stored().blobs.len(), 1);
}

#[test]
fn l11a_an_upload_goes_nowhere_else() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    for location in [
        "http://127.0.0.1:1/upload",
        "https://169.254.169.254/upload",
        "https://10.0.0.1/upload",
        "https://u:p@127.0.0.1/upload",
        "ftp://127.0.0.1/upload",
    ] {
        let registry = Registry::start_with(Some(&authority.server()), move |request, _| {
            let post = request.method == "POST";
            post.then(|| Reply::status(202).header("location", location))
        });
        let network = Network {
            ca_files: vec![ca.clone()],
            plain_http: vec!["127.0.0.1:1".into()],
            ..Network::default()
        };
        let sink = create(&registry, "x:t", &env_with(network));
        let error = write_blob(&*sink, b"layer").unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{location}: {error}");
    }
}

#[test]
fn l11b_a_blob_is_mounted_where_that_works_and_uploaded_where_not() {
    let registry = Registry::start();
    registry.stored().blob("lender", b"layer");
    let sink = create(&registry, "x:t", &env());
    sink.comes_from(&registry.locator("lender:t"));
    sink.comes_from("oci:somewhere");
    let digest = |bytes: &[u8]| Digest::parse(&digest_of(bytes)).unwrap();
    assert!(sink.has(&digest(b"layer"), 5).unwrap());
    // 202: an upload was begun instead, and is given up.
    assert!(!sink.has(&digest(b"other"), 5).unwrap());
    assert!(registry.stored().uploads.is_empty());
    write_blob(&*sink, b"other").unwrap();
    assert_eq!(registry.stored().blobs.len(), 3);
}

#[test]
fn l11b_another_digest_than_ours_is_a_mismatch() {
    let registry = Registry::start_with(None, |request, _| {
        let put = request.method == "PUT";
        put.then(|| Reply::status(201).header("docker-content-digest", digest_of(b"else")))
    });
    let sink = create(&registry, "x:t", &env());
    let error = write_blob(&*sink, b"layer").unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    let (_, manifest) = image(b"layer");
    write_blob(&*sink, &manifest).unwrap();
    let error = sink.commit(&[publication(&manifest, "t")]).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
}

/// More than two chunks.
fn long_layer() -> Vec<u8> {
    (0..20_000_000u32).map(|i| (i / 251) as u8).collect()
}

#[test]
fn l11b_an_upload_that_is_cut_goes_on() {
    let cuts = AtomicUsize::new(0);
    let registry = Registry::start_with(None, move |request, stored| {
        if request.method != "PATCH" || cuts.fetch_add(1, Ordering::Relaxed) != 1 {
            return None;
        }
        // Half of the chunk arrives, and the connection is gone.
        let id = request.path().rsplit('/').next()?.to_owned();
        let half = &request.body[..request.body.len() / 2];
        stored.uploads.get_mut(&id)?.extend(half);
        Some(Reply::hang_up())
    });
    let layer = long_layer();
    let sink = create(&registry, "x:t", &env());
    write_blob(&*sink, &layer).unwrap();
    let key = ("x".to_owned(), digest_of(&layer));
    assert!(registry.stored().blobs[&key] == layer);
    let seen = registry.server.requests();
    let patches: Vec<_> = seen
        .iter()
        .filter(|request| request.method == "PATCH")
        .filter_map(|request| request.header("content-range"))
        .collect();
    assert_eq!(
        patches,
        [
            "0-8388607",
            "8388608-16777215",
            "12582912-16777215",
            "16777216-19999999"
        ]
    );
}

#[test]
fn l11b_an_upload_that_the_registry_lost_is_an_error_to_start_anew_with() {
    let cuts = AtomicUsize::new(0);
    let registry = Registry::start_with(None, move |request, stored| {
        // The client has the first chunk until the second one is taken, and needs no upload till then.
        if request.method == "PATCH" && cuts.fetch_add(1, Ordering::Relaxed) == 2 {
            stored.uploads.values_mut().for_each(Vec::clear);
            return Some(Reply::hang_up());
        }
        None
    });
    let layer = long_layer();
    let sink = create(&registry, "x:t", &env());
    assert_eq!(write_blob(&*sink, &layer).unwrap_err().code(), Code::Net);
    assert!(
        registry.stored().uploads.is_empty(),
        "what is given up is ended"
    );
    write_blob(&*sink, &layer).unwrap();
}

#[test]
fn an_answer_that_is_lost_at_the_end_of_an_upload_does_no_harm() {
    let registry = Registry::start_with(None, |request, stored| {
        if request.method == "PUT" && request.path().contains("/uploads/") {
            answer(request, stored);
            return Some(Reply::hang_up());
        }
        None
    });
    let sink = create(&registry, "x:t", &env());
    write_blob(&*sink, b"layer").unwrap();
    assert_eq!(registry.stored().blobs.len(), 1);
}

#[test]
fn what_refers_to_an_image_comes_after_it_with_and_without_the_api() {
    for api in [true, false] {
        let registry = Registry::start();
        registry.stored().referrers = api;
        push(&registry, "x:t", b"layer", &env()).unwrap();
        let (_, subject) = image(b"layer");
        let subject = serde_json::json!({
            "mediaType": MANIFEST, "digest": digest_of(&subject), "size": subject.len(),
        });
        let mut stored = Stored::default();
        let (_, referrer) = stored.image_of("x", b"signature", Some(subject));
        let sink = create(&registry, "x", &env());
        for blob in stored.blobs.values() {
            write_blob(&*sink, blob).unwrap();
        }
        write_blob(&*sink, &referrer).unwrap();
        let mut unnamed = publication(&referrer, "t");
        unnamed.name = None;
        let (_, named) = image(b"layer");
        write_blob(&*sink, &named).unwrap();
        let places = sink.commit(&[publication(&named, "t"), unnamed]).unwrap();
        assert_eq!(
            places[1],
            format!("{}@{}", registry.locator("x"), digest_of(&referrer))
        );
        let bundle = open(&registry, "x:t", &env()).unwrap();
        let entries = bundle.roots().unwrap();
        let digests: Vec<_> = entries
            .iter()
            .map(|entry| entry.child.as_ref().unwrap().digest.to_string())
            .collect();
        assert_eq!(
            digests,
            [digest_of(&named), digest_of(&referrer)],
            "API: {api}"
        );
    }
}
