//! The rules of the distribution specification 1.1 for pulling. The name of each test begins with the
//! section that has its rule:
//!
//! - "Determining Support" (end-1): `GET /v2/` is 200.
//! - "Pulling manifests" (end-3): by tag and by digest 200 with the manifest; its type in `Content-Type`,
//!   without parameters; `Docker-Content-Digest`; names and tags by their expressions; 404 if there is none.
//! - "Pulling blobs" (end-2): 200 with the blob and its digest; 404 if there is none; `Range`.
//! - "Checking if content exists in the registry" (end-2, end-3): `HEAD` is 200 with digest and length, or 404.
//! - "Error Codes": the form of the body, and codes of the list.
//! - "Push" and "Content Management" (end-4 to end-7, end-9 to end-11, end-13, end-14): not here; 405.
//! - "Proxying" of the parameter `ns`: `discovery` has the tests, with their row in docs/robustness.md.

use std::fs;

use imgconv_testkit::sha256_hex;

use crate::support::{INDEX, OCI, Running, Stores, image, noise, root_of, stored, two_platforms};

fn one() -> Running {
    Stores::new()
        .layout("out", &[image("example.com/team/app", "1")])
        .serve()
}

/// The digest of the layer of the one image.
fn layer(server: &Running) -> String {
    let manifest = server.get("/v2/team/app/manifests/1").json();
    manifest["layers"][0]["digest"].as_str().unwrap().to_owned()
}

/// The path of the file of a blob.
fn file(server: &Running, digest: &str) -> std::path::PathBuf {
    server
        .stores
        .path("out/blobs")
        .join(digest.replace(':', "/"))
}

#[test]
fn determining_support_get_v2_is_200() {
    let server = one();
    for path in ["/v2/", "/v2"] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.text()), (200, "{}".to_owned()));
        assert_eq!(
            reply.header("docker-distribution-api-version"),
            "registry/2.0"
        );
    }
}

#[test]
fn pulling_manifests_get_by_tag_and_digest_returns_the_manifest_byte_for_byte() {
    let server = one();
    let layout = server.stores.path("out");
    let digest = root_of(&layout);
    for reference in ["1", &digest] {
        let reply = server.get(&format!("/v2/team/app/manifests/{reference}"));
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, stored(&layout, &digest));
        assert_eq!(reply.header("content-type"), OCI);
        assert_eq!(reply.header("docker-content-digest"), digest);
        assert_eq!(reply.header("etag"), format!("\"{digest}\""));
        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    }
}

#[test]
fn pulling_manifests_the_content_type_has_no_parameters() {
    let server = Stores::new()
        .layout("out", &[image("example.com/team/app", "1")])
        .layout("list", &two_platforms("example.com/list"))
        .serve();
    for (name, kind) in [("team/app", OCI), ("list", INDEX)] {
        let reply = server.get(&format!("/v2/{name}/manifests/1"));
        assert_eq!(reply.header("content-type"), kind);
        assert_eq!(reply.json()["mediaType"], kind);
    }
}

#[test]
fn pulling_manifests_names_and_tags_have_their_expressions() {
    let longest = format!("t{}", "a".repeat(127));
    let names = ["a", "a-b--c", "a_b__c", "a.b/c-1/d2"];
    let mut images: Vec<_> = names
        .iter()
        .map(|name| image(&format!("example.com/{name}"), &longest))
        .collect();
    images.push(image("example.com/a", "_1.x-Y"));
    let server = Stores::new().layout("out", &images).serve();
    for name in names {
        server.pull(name, &longest, "*/*");
    }
    server.pull("a", "_1.x-Y", "*/*");
    for name in ["A", "a..b", "-a", "a-", "a___b", "a/_b", "a//b"] {
        let reply = server.get(&format!("/v2/{name}/manifests/1"));
        assert_eq!(
            (reply.status, &*reply.code()),
            (400, "NAME_INVALID"),
            "{name}"
        );
    }
    for tag in [&format!("{longest}a"), ".a", "-a", "a+b", "a%20b"] {
        let reply = server.get(&format!("/v2/a/manifests/{tag}"));
        assert_eq!(
            (reply.status, &*reply.code()),
            (404, "MANIFEST_UNKNOWN"),
            "{tag}"
        );
    }
}

#[test]
fn pulling_manifests_a_missing_manifest_is_404() {
    let server = one();
    let digest = format!("sha256:{}", "0".repeat(64));
    for reference in ["2", &digest] {
        let reply = server.get(&format!("/v2/team/app/manifests/{reference}"));
        assert_eq!((reply.status, &*reply.code()), (404, "MANIFEST_UNKNOWN"));
    }
    let reply = server.get("/v2/team/other/manifests/1");
    assert_eq!((reply.status, &*reply.code()), (404, "NAME_UNKNOWN"));
}

#[test]
fn pulling_blobs_get_returns_the_blob_and_its_digest() {
    let server = one();
    let digest = layer(&server);
    let reply = server.get(&format!("/v2/team/app/blobs/{digest}"));
    assert_eq!(reply.status, 200);
    assert_eq!(format!("sha256:{}", sha256_hex(&reply.body)), digest);
    assert_eq!(reply.header("docker-content-digest"), digest);
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    assert_eq!(reply.header("content-type"), "application/octet-stream");
    let (_, manifest) = server.pull("team/app", "1", "*/*");
    assert_eq!(manifest["layers"][0]["digest"], digest);
}

#[test]
fn pulling_blobs_a_missing_blob_is_404() {
    let server = one();
    let digest = format!("sha256:{}", "0".repeat(64));
    let reply = server.get(&format!("/v2/team/app/blobs/{digest}"));
    assert_eq!((reply.status, &*reply.code()), (404, "BLOB_UNKNOWN"));
}

#[test]
fn pulling_blobs_a_blob_belongs_to_the_repositories_that_refer_to_it() {
    let app = image("example.com/team/app", "1");
    let other = imgconv_testkit::ImageRecipe::of("example.com/other", "1", &["file b \"b\""]);
    let server = Stores::new().layout("out", &[app, other]).serve();
    let digest = layer(&server);
    assert_eq!(server.get(&format!("/v2/other/blobs/{digest}")).status, 404);
}

#[test]
fn pulling_blobs_a_range_is_206_with_the_range() {
    let server = one();
    let digest = layer(&server);
    let path = format!("/v2/team/app/blobs/{digest}");
    let whole = server.get(&path);
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let size = whole.body.len();
    for (range, from, to) in [
        ("bytes=0-9".to_owned(), 0, 10),
        (format!("bytes={}-", size - 7), size - 7, size),
        ("bytes=-5".to_owned(), size - 5, size),
        (format!("bytes=3-{}", size * 2), 3, size),
    ] {
        let reply = server.request("GET", &path, &[("range", &range)]);
        assert_eq!(reply.status, 206, "{range}");
        assert_eq!(reply.body, whole.body[from..to], "{range}");
        let expected = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(reply.header("content-range"), expected);
        assert_eq!(reply.header("content-length"), (to - from).to_string());
    }
    let changed = [("range", "bytes=0-1"), ("if-range", "\"sha256:other\"")];
    let reply = server.request("GET", &path, &changed);
    assert_eq!((reply.status, reply.body.len()), (200, size));
}

#[test]
fn checking_existence_head_has_no_ranges() {
    let server = one();
    let path = format!("/v2/team/app/blobs/{}", layer(&server));
    let size = server.get(&path).header("content-length").to_owned();
    for range in ["bytes=0-9", "bytes=999999999-"] {
        let reply = server.request("HEAD", &path, &[("range", range)]);
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (200, &*size)
        );
        assert_eq!(reply.header("content-range"), "");
    }
}

#[test]
fn pulling_blobs_a_range_beyond_the_end_is_416() {
    let server = one();
    let path = format!("/v2/team/app/blobs/{}", layer(&server));
    let size = server.get(&path).body.len();
    let reply = server.request("GET", &path, &[("range", &format!("bytes={size}-"))]);
    assert_eq!(reply.status, 416);
    assert_eq!(reply.header("content-range"), format!("bytes */{size}"));
    assert!(reply.body.is_empty());
}

#[test]
fn checking_existence_head_has_the_headers_of_get_and_no_body() {
    let server = one();
    let blob = format!("/v2/team/app/blobs/{}", layer(&server));
    for path in [
        "/v2/team/app/manifests/1",
        &blob,
        "/v2/",
        "/v2/team/app/tags/list",
    ] {
        let (get, head) = (server.get(path), server.request("HEAD", path, &[]));
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in [
            "content-length",
            "content-type",
            "docker-content-digest",
            "etag",
        ] {
            assert_eq!(get.header(name), head.header(name), "{path}: {name}");
        }
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    for path in [
        "manifests/none",
        &format!("manifests/{digest}"),
        &format!("blobs/{digest}"),
    ] {
        let head = server.request("HEAD", &format!("/v2/team/app/{path}"), &[]);
        assert_eq!((head.status, head.body.len()), (404, 0), "{path}");
    }
}

#[test]
fn what_a_client_has_already_is_304() {
    let server = one();
    let blob = format!("/v2/team/app/blobs/{}", layer(&server));
    for path in ["/v2/team/app/manifests/1", &blob] {
        let tag = server.get(path).header("etag").to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let reply = server.request("GET", path, &[("if-none-match", &known)]);
            assert_eq!((reply.status, reply.body.len()), (304, 0), "{known}");
        }
        let reply = server.request("GET", path, &[("if-none-match", "\"x\"")]);
        assert_eq!(reply.status, 200);
    }
}

#[test]
fn error_codes_a_malformed_name_or_digest_is_400() {
    let server = one();
    for (path, code) in [
        ("/v2/Team/app/manifests/1", "NAME_INVALID"),
        ("/v2/a//b/tags/list", "NAME_INVALID"),
        ("/v2/team/app/blobs/sha256:abc", "DIGEST_INVALID"),
        ("/v2/team/app/manifests/md5:abc", "DIGEST_INVALID"),
        ("/v2/team/app/referrers/x", "DIGEST_INVALID"),
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, &*reply.code()), (400, code), "{path}");
        assert_eq!(reply.header("content-type"), "application/json");
    }
}

#[test]
fn error_codes_every_refusal_has_the_form_of_the_specification() {
    let server = one();
    let none = format!("sha256:{}", "0".repeat(64));
    for path in [
        "/v2/team/app/manifests/none",
        &format!("/v2/team/app/manifests/{none}"),
        &format!("/v2/team/app/blobs/{none}"),
        "/v2/none/tags/list",
        "/v2/team/app/tags/list?n=x",
        "/v2/Team/manifests/1",
        "/v2/team/app/blobs/x",
        "/v2/team/app/blobs/uploads/1",
        "/v2/nothing",
        "/nothing",
    ] {
        let reply = server.get(path);
        assert!((400..500).contains(&reply.status), "{path}");
        assert_eq!(reply.header("content-type"), "application/json");
        let listed = [
            "BLOB_UNKNOWN",
            "DIGEST_INVALID",
            "MANIFEST_UNKNOWN",
            "NAME_INVALID",
            "NAME_UNKNOWN",
            "UNSUPPORTED",
        ];
        assert!(listed.contains(&&*reply.code()), "{path}: {}", reply.code());
        let errors = reply.json()["errors"].clone();
        assert_eq!(errors.as_array().unwrap().len(), 1);
        assert!(errors[0]["message"].is_string(), "{path}");
    }
}

// V01
#[test]
fn v01_pushing_and_deleting_are_405() {
    let server = one();
    for method in ["PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        for path in [
            "/v2/team/app/manifests/1",
            "/v2/team/app/manifests/sha256:0?tag=1&tag=2",
            "/v2/team/app/blobs/uploads/",
            "/v2/team/app/blobs/uploads/?digest=sha256:0",
            "/v2/team/app/blobs/uploads/?digest-algorithm=sha512",
            "/v2/team/app/blobs/uploads/?mount=sha256:0&from=other",
            "/v2/team/app/blobs/uploads/1?digest=sha256:0",
            "/v2/team/app/blobs/sha256:0",
            "/v2/",
        ] {
            let reply = server.request(method, path, &[]);
            assert_eq!(reply.status, 405, "{method} {path}");
            assert_eq!(reply.header("allow"), "GET, HEAD");
            assert_eq!(reply.code(), "UNSUPPORTED");
        }
    }
}

// V02
#[test]
fn v02_a_blob_that_changed_is_cut_before_its_last_byte() {
    let server = one();
    let digest = layer(&server);
    let path = format!("/v2/team/app/blobs/{digest}");
    let good = fs::read(file(&server, &digest)).unwrap();
    let mut bad = good.clone();
    bad[0] ^= 1;
    fs::write(file(&server, &digest), &bad).unwrap();
    // A small blob is verified before the answer begins.
    for range in ["", "bytes=1-2"] {
        let headers = [("range", range)];
        let reply = server.request("GET", &path, &headers[..usize::from(!range.is_empty())]);
        assert_eq!((reply.status, &*reply.code()), (500, "UNKNOWN"), "{range}");
    }
    // The end is missing, or there is more.
    for bytes in [&good[..good.len() - 1], &[&good[..], b"x"].concat()] {
        fs::write(file(&server, &digest), bytes).unwrap();
        let reply = server.get(&path);
        assert_eq!((reply.status, &*reply.code()), (500, "UNKNOWN"));
    }
    let failed = server.log.failed.lock().unwrap().join("\n");
    assert!(failed.contains(&digest), "{failed}");
    fs::write(file(&server, &digest), &good).unwrap();
    assert_eq!(server.get(&path).body, good);
}

// V02
#[test]
fn v02_a_large_blob_that_changed_is_cut_before_its_last_byte() {
    let layer_text = format!("file big \"{}\"", noise(1 << 19));
    let big = imgconv_testkit::ImageRecipe::of("example.com/team/app", "1", &[&layer_text]);
    let server = Stores::new().layout("out", &[big]).serve();
    let digest = layer(&server);
    let path = format!("/v2/team/app/blobs/{digest}");
    let good = fs::read(file(&server, &digest)).unwrap();
    let mut bad = good.clone();
    bad[400_000] ^= 1;
    fs::write(file(&server, &digest), &bad).unwrap();
    let reply = server.get(&path);
    assert_eq!(reply.status, 200);
    assert!(reply.body.len() < good.len(), "the answer looks complete");
    let headers = [("range", "bytes=1-2")];
    assert_eq!(server.request("GET", &path, &headers).status, 500);
    fs::write(file(&server, &digest), &good).unwrap();
    assert_eq!(server.get(&path).body, good);
}

// V02
#[test]
fn v02_an_empty_blob_with_another_digest_is_no_answer() {
    let stores = Stores::new().layout("out", &[image("example.com/team/app", "1")]);
    let blobs = stores.path("out/blobs/sha256");
    let edit = |path: &std::path::Path, change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        change(&mut value);
        value.to_string()
    };
    let index = stores.path("out/index.json");
    let read: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let name = |value: &serde_json::Value| {
        let digest = value["digest"].as_str().unwrap();
        digest.trim_start_matches("sha256:").to_owned()
    };
    let old = blobs.join(name(&read["manifests"][0]));
    // The manifest claims that the layer is empty, and so is its file.
    let manifest = edit(&old, &|value| value["layers"][0]["size"] = 0.into());
    let layer: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let layer = name(&layer["layers"][0]);
    fs::write(blobs.join(&layer), b"").unwrap();
    let hex = sha256_hex(manifest.as_bytes());
    fs::write(blobs.join(&hex), &manifest).unwrap();
    let text = edit(&index, &|value| {
        value["manifests"][0]["digest"] = format!("sha256:{hex}").into();
        value["manifests"][0]["size"] = manifest.len().into();
    });
    fs::write(&index, text).unwrap();
    let server = stores.serve();
    let reply = server.get(&format!("/v2/team/app/blobs/sha256:{layer}"));
    assert_ne!(reply.status, 200);
    let failed = server.log.failed.lock().unwrap().join("\n");
    assert!(failed.contains(&layer), "{failed}");
}

// V02
#[test]
fn v02_a_blob_that_is_gone_is_404_and_the_rest_is_served() {
    let server = one();
    let digest = layer(&server);
    fs::remove_file(file(&server, &digest)).unwrap();
    let reply = server.get(&format!("/v2/team/app/blobs/{digest}"));
    assert_eq!((reply.status, &*reply.code()), (404, "BLOB_UNKNOWN"));
    assert_eq!(server.get("/v2/team/app/manifests/1").status, 200);
}

#[test]
fn an_index_is_served_with_everything_that_it_lists() {
    let server = Stores::new()
        .layout("out", &two_platforms("example.com/app"))
        .serve();
    let reply = server.get("/v2/app/manifests/1");
    assert_eq!(reply.header("content-type"), INDEX);
    for child in reply.json()["manifests"].as_array().unwrap() {
        server.pull("app", child["digest"].as_str().unwrap(), "*/*");
    }
}
