//! The rules of the distribution specification 1.1 for content discovery. The name of each test begins
//! with the section that has its rule:
//!
//! - "Listing Tags" (end-8a, end-8b): 200 with `name` and `tags`; in order; `n` limits, with all items that
//!   there are up to `n`; `n` of 0 is an empty list without `Link`; `Link` with `rel="next"` leads on; `last`
//!   is a tag, which is not in the answer, with and without `n`; 404 for an unknown repository.
//! - "Listing Referrers" (end-12a, end-12b): 200 with an index and its type; `artifactType` of the manifest,
//!   else the type of its config, and none for an index that has none; annotations; an empty index where
//!   there is none, never 404; 400 for what is no digest; `OCI-Filters-Applied` if a filter was applied.
//! - "Enabling the Referrers API": documents that an index with a tag of the tag schema lists are listed.
//! - "Endpoints": the failures of end-8 and end-12.
//!
//! The catalog of repositories is not in the specification: Docker's registry API v2 has it.

use std::fs;

use imgconv_testkit::{ImageRecipe, registry::Registry};
use serde_json::{Value, json};

use crate::support::{INDEX, OCI, Running, Stores, image, root_of};

fn tags() -> Running {
    let images = ["1.0", "2.0", "latest", "Zeta"].map(|tag| image("example.com/app", tag));
    Stores::new().layout("out", &images).serve()
}

#[test]
fn listing_tags_is_200_in_order() {
    let server = tags();
    let reply = server.get("/v2/app/tags/list");
    assert_eq!((reply.status, reply.header("link")), (200, ""));
    let expected = json!({ "name": "app", "tags": ["1.0", "2.0", "Zeta", "latest"] });
    assert_eq!(reply.json(), expected);
}

#[test]
fn listing_tags_n_limits_the_page_and_link_leads_to_the_next() {
    let server = tags();
    let mut path = "/v2/app/tags/list?n=3".to_owned();
    let mut found = Vec::new();
    loop {
        let reply = server.get(&path);
        let page = reply.json()["tags"].as_array().unwrap().clone();
        assert!(page.len() <= 3);
        found.extend(page);
        let link = reply.header("link");
        if link.is_empty() {
            break;
        }
        let next = link.strip_suffix(">; rel=\"next\"").unwrap();
        path = next.strip_prefix('<').unwrap().to_owned();
    }
    assert_eq!(found, ["1.0", "2.0", "Zeta", "latest"]);
}

#[test]
fn listing_tags_n_beyond_the_end_is_everything_without_link() {
    let server = tags();
    for n in ["4", "5", "99999999999999999999"] {
        let reply = server.get(&format!("/v2/app/tags/list?n={n}"));
        let expected = json!(["1.0", "2.0", "Zeta", "latest"]);
        assert_eq!(reply.json()["tags"], expected, "{n}");
        assert_eq!(reply.header("link"), "", "{n}");
    }
}

#[test]
fn listing_tags_n_and_last_are_the_next_items_after_last() {
    let server = tags();
    let reply = server.get("/v2/app/tags/list?n=2&last=1.0");
    assert_eq!(reply.json()["tags"], json!(["2.0", "Zeta"]));
    let link = "</v2/app/tags/list?n=2&last=Zeta>; rel=\"next\"";
    assert_eq!(reply.header("link"), link);
    let reply = server.get("/v2/app/tags/list?n=2&last=2.0");
    assert_eq!(reply.json()["tags"], json!(["Zeta", "latest"]));
    assert_eq!(reply.header("link"), "");
    for last in ["latest", "zzz"] {
        let reply = server.get(&format!("/v2/app/tags/list?n=2&last={last}"));
        assert_eq!((reply.status, &reply.json()["tags"]), (200, &json!([])));
    }
}

#[test]
fn listing_tags_of_a_repository_without_tags_is_an_empty_list() {
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let index = stores.path("out/index.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let digest = value["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let name = format!("example.com/app@{digest}");
    value["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    fs::write(&index, value.to_string()).unwrap();
    let server = stores.serve();
    let names = server.get("/v2/_catalog").json();
    let name = names["repositories"][0].as_str().unwrap().to_owned();
    let reply = server.get(&format!("/v2/{name}/tags/list"));
    assert_eq!(reply.json(), json!({ "name": name, "tags": [] }));
    server.pull(&name, &digest, "*/*");
}

#[test]
fn listing_tags_n_that_is_no_number_is_400() {
    for n in ["x", "-1", "", "1.5"] {
        let reply = tags().get(&format!("/v2/app/tags/list?n={n}"));
        assert_eq!((reply.status, &*reply.code()), (400, "UNSUPPORTED"), "{n}");
    }
}

#[test]
fn listing_tags_n_of_0_is_an_empty_list() {
    let server = tags();
    for query in ["n=0", "n=0&last=1.0"] {
        let reply = server.get(&format!("/v2/app/tags/list?{query}"));
        assert_eq!((reply.status, &reply.json()["tags"]), (200, &json!([])));
        assert_eq!(reply.header("link"), "");
    }
}

#[test]
fn listing_tags_last_begins_after_a_tag_that_need_not_be_there() {
    let server = tags();
    for (last, expected) in [
        ("2.0", json!(["Zeta", "latest"])),
        ("3", json!(["Zeta", "latest"])),
    ] {
        let reply = server.get(&format!("/v2/app/tags/list?last={last}"));
        assert_eq!(reply.json()["tags"], expected);
    }
}

#[test]
fn listing_tags_of_an_unknown_repository_is_404() {
    let reply = tags().get("/v2/none/tags/list");
    assert_eq!((reply.status, &*reply.code()), (404, "NAME_UNKNOWN"));
}

#[test]
fn listing_repositories_has_pages() {
    let images =
        ["a.example/x", "b.example/y/z", "docker.io/library/w"].map(|name| image(name, "1"));
    let server = Stores::new().layout("out", &images).serve();
    let all = server.get("/v2/_catalog").json();
    assert_eq!(all, json!({ "repositories": ["library/w", "x", "y/z"] }));
    let reply = server.get("/v2/_catalog?n=1&last=library/w");
    assert_eq!(reply.json(), json!({ "repositories": ["x"] }));
    assert_eq!(
        reply.header("link"),
        "</v2/_catalog?n=1&last=x>; rel=\"next\""
    );
    let reply = server.get("/v2/_catalog?n=x");
    assert_eq!((reply.status, &*reply.code()), (400, "UNSUPPORTED"));
}

/// Writes a referrer into a layout; returns its digest. The type of an artifact is that of the manifest, or
/// of its config.
fn referrer(server: &std::path::Path, subject: &str, kind: &str) -> String {
    write_referrer(server, subject, kind, &|manifest| {
        manifest["artifactType"] = kind.into();
    })
}

fn write_referrer(
    server: &std::path::Path,
    subject: &str,
    kind: &str,
    change: &dyn Fn(&mut Value),
) -> String {
    let put = |bytes: &[u8]| {
        let hex = imgconv_testkit::sha256_hex(bytes);
        fs::write(server.join("blobs/sha256").join(&hex), bytes).unwrap();
        format!("sha256:{hex}")
    };
    let size = |digest: &str| {
        fs::metadata(server.join("blobs").join(digest.replace(':', "/")))
            .unwrap()
            .len()
    };
    let empty = put(b"{}");
    let note = put(kind.as_bytes());
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": OCI,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 },
        "layers": [{ "mediaType": "text/plain", "digest": note, "size": kind.len() }],
        "subject": { "mediaType": OCI, "digest": subject, "size": size(subject) },
        "annotations": { "note": kind },
    });
    change(&mut manifest);
    let kind = manifest["mediaType"].clone();
    let digest = put(manifest.to_string().as_bytes());
    let path = server.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let listed = json!({ "mediaType": kind, "digest": digest, "size": size(&digest) });
    index["manifests"].as_array_mut().unwrap().push(listed);
    fs::write(&path, index.to_string()).unwrap();
    digest
}

/// K52.
#[test]
fn blobs_of_a_manifest_in_an_artifact_are_served() {
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let layout = stores.path("out");
    let put = |bytes: &[u8]| {
        let hex = imgconv_testkit::sha256_hex(bytes);
        fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
        format!("sha256:{hex}")
    };
    let content = put(b"content");
    let nested = json!({
        "schemaVersion": 2, "mediaType": OCI,
        "config": { "mediaType": "application/x.config", "digest": content, "size": 7 },
        "layers": [],
    });
    let nested = nested.to_string();
    let listed =
        json!({ "mediaType": OCI, "digest": put(nested.as_bytes()), "size": nested.len() });
    write_referrer(&layout, &root_of(&layout), "text/x-nested", &|manifest| {
        manifest["layers"] = json!([listed]);
    });
    let server = stores.serve();
    let reply = server.get(&format!("/v2/app/blobs/{content}"));
    assert_eq!((reply.status, &*reply.body), (200, &b"content"[..]));
}

fn referred() -> (Running, String, [String; 2]) {
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let layout = stores.path("out");
    let subject = root_of(&layout);
    let found = ["text/x-sbom", "text/x-signature"].map(|kind| referrer(&layout, &subject, kind));
    (stores.serve(), subject, found)
}

#[test]
fn listing_referrers_is_an_index_with_artifact_types_and_annotations() {
    let (server, subject, digests) = referred();
    let reply = server.get(&format!("/v2/app/referrers/{subject}"));
    assert_eq!((reply.status, reply.header("content-type")), (200, INDEX));
    let index = reply.json();
    assert_eq!(
        (&index["schemaVersion"], &index["mediaType"]),
        (&json!(2), &json!(INDEX))
    );
    let listed = index["manifests"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for descriptor in listed {
        let digest = descriptor["digest"].as_str().unwrap();
        assert!(digests.iter().any(|known| known == digest));
        assert_eq!(descriptor["mediaType"], OCI);
        assert_eq!(
            descriptor["annotations"]["note"],
            descriptor["artifactType"]
        );
        let (reply, _) = server.pull("app", digest, "*/*");
        assert_eq!(descriptor["size"], reply.body.len());
    }
}

#[test]
fn listing_referrers_by_artifact_type_says_that_the_filter_was_applied() {
    let (server, subject, digests) = referred();
    let path = format!("/v2/app/referrers/{subject}?artifactType=text%2Fx-sbom");
    let reply = server.get(&path);
    assert_eq!(reply.header("oci-filters-applied"), "artifactType");
    let unfiltered = server.get(&format!("/v2/app/referrers/{subject}"));
    assert_eq!(unfiltered.header("oci-filters-applied"), "");
    let none = server.get(&format!(
        "/v2/app/referrers/{subject}?artifactType=text/x-none"
    ));
    assert_eq!(none.header("oci-filters-applied"), "artifactType");
    assert_eq!((none.status, &none.json()["manifests"]), (200, &json!([])));
    let listed = reply.json()["manifests"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["digest"], digests[0]);
}

#[test]
fn listing_referrers_without_an_artifact_type_the_type_of_the_config_is_it() {
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let layout = stores.path("out");
    let subject = root_of(&layout);
    let by_config = |value: &'static str| {
        move |manifest: &mut Value| {
            manifest["config"]["mediaType"] = "text/x-config".into();
            if !value.is_empty() {
                manifest["artifactType"] = "".into();
            }
        }
    };
    write_referrer(&layout, &subject, "text/plain", &by_config(""));
    write_referrer(&layout, &subject, "text/html", &by_config("empty"));
    let server = stores.serve();
    let path = format!("/v2/app/referrers/{subject}");
    let listed = server.get(&path).json()["manifests"].clone();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for descriptor in listed {
        assert_eq!(descriptor["artifactType"], "text/x-config");
    }
    let filtered = server.get(&format!("{path}?artifactType=text/x-config"));
    assert_eq!(filtered.json()["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn listing_referrers_an_index_without_an_artifact_type_has_none() {
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let layout = stores.path("out");
    let subject = root_of(&layout);
    for (kind, artifact) in [("text/plain", None), ("text/html", Some("text/x-index"))] {
        write_referrer(&layout, &subject, kind, &|manifest| {
            let note = manifest["annotations"].clone();
            let subject = manifest["subject"].clone();
            *manifest = json!({
                "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject,
                "annotations": note,
            });
            if let Some(artifact) = artifact {
                manifest["artifactType"] = artifact.into();
            }
        });
    }
    let server = stores.serve();
    let listed = server.get(&format!("/v2/app/referrers/{subject}")).json();
    let mut types: Vec<(Value, Value)> = listed["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            (
                found["annotations"]["note"].clone(),
                found["artifactType"].clone(),
            )
        })
        .collect();
    types.sort_by_key(|(note, _)| note.to_string());
    assert_eq!(
        types,
        [
            (json!("text/html"), json!("text/x-index")),
            (json!("text/plain"), Value::Null),
        ]
    );
}

#[test]
fn listing_referrers_of_a_malformed_digest_is_400() {
    let (server, _, _) = referred();
    for digest in ["x", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        let reply = server.get(&format!("/v2/app/referrers/{digest}"));
        assert_eq!(
            (reply.status, &*reply.code()),
            (400, "DIGEST_INVALID"),
            "{digest}"
        );
    }
    let unknown = format!("/v2/none/referrers/sha256:{}", "0".repeat(64));
    assert_eq!(server.get(&unknown).code(), "NAME_UNKNOWN");
}

#[test]
fn enabling_the_referrers_api_documents_of_the_tag_schema_are_listed() {
    let (server, subject, digests) = referred();
    let layout = server.stores.path("out");
    // The same documents, listed by an index whose tag is that of the tag schema.
    let path = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    let referrers = entries.split_off(1);
    let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": referrers });
    let list = list.to_string();
    let hex = imgconv_testkit::sha256_hex(list.as_bytes());
    fs::write(layout.join("blobs/sha256").join(&hex), &list).unwrap();
    let tag = subject.replace(':', "-");
    let name = format!("example.com/app:{tag}");
    entries.push(json!({
        "mediaType": INDEX, "digest": format!("sha256:{hex}"), "size": list.len(),
        "annotations": { "org.opencontainers.image.ref.name": name },
    }));
    fs::write(&path, index.to_string()).unwrap();
    let server = Stores::new()
        .place(format!("oci:{}", layout.display()))
        .serve();
    let listed = server.get(&format!("/v2/app/referrers/{subject}")).json();
    let mut found: Vec<&str> = listed["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["digest"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    let mut expected: Vec<&str> = digests.iter().map(|digest| &**digest).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // Clients that know the tag schema alone find the index.
    assert_eq!(server.get(&format!("/v2/app/manifests/{tag}")).text(), list);
}

#[test]
fn listing_referrers_of_what_has_none_is_an_empty_index() {
    let (server, _, _) = referred();
    let digest = format!("sha256:{}", "0".repeat(64));
    let reply = server.get(&format!("/v2/app/referrers/{digest}"));
    assert_eq!((reply.status, reply.header("content-type")), (200, INDEX));
    assert_eq!(reply.json()["manifests"], json!([]));
}

#[test]
fn referrers_have_no_tags() {
    let (server, _, _) = referred();
    assert_eq!(server.get("/v2/app/tags/list").json()["tags"], json!(["1"]));
    assert_eq!(
        server.get("/v2/_catalog").json()["repositories"],
        json!(["app"])
    );
}

// V03
#[test]
fn v03_names_lead_to_images_with_and_without_their_hosts() {
    let a = ImageRecipe::of("a.example/app", "1", &["file a \"a\""]);
    let b = ImageRecipe::of("b.example/app", "1", &["file b \"b\""]);
    let images = [a, b, image("busybox", "1")];
    let server = Stores::new().layout("out", &images).serve();
    let names = server.get("/v2/_catalog").json()["repositories"].clone();
    assert_eq!(names, json!(["app", "b.example/app", "library/busybox"]));
    let digest = |path: &str| {
        let reply = server.get(path);
        assert_eq!(reply.status, 200, "{path}");
        reply.header("docker-content-digest").to_owned()
    };
    let (a, b) = (
        digest("/v2/app/manifests/1"),
        digest("/v2/b.example/app/manifests/1"),
    );
    assert_ne!(a, b);
    assert_eq!(digest("/v2/a.example/app/manifests/1"), a);
    let busybox = digest("/v2/library/busybox/manifests/1");
    assert_eq!(digest("/v2/app/manifests/1?ns=b.example"), b);
    // A client that names this server asks for any host.
    assert_eq!(digest("/v2/app/manifests/1?ns=x"), a);
    assert_eq!(digest("/v2/busybox/manifests/1?ns=docker.io"), busybox);
    let mirror = "/v2/library/busybox/manifests/1?ns=index.docker.io";
    assert_eq!(digest(mirror), busybox);
    assert_eq!(digest("/v2/busybox/manifests/1"), busybox);
    assert_eq!(digest("/v2/docker.io/library/busybox/manifests/1"), busybox);
    let left_out = server.log.left_out.lock().unwrap().join("\n");
    assert!(left_out.contains("b.example/app"), "{left_out}");
}

// V03
#[test]
fn v03_a_mirror_of_a_host_has_no_image_of_another_host() {
    let images = [image("a.example/app", "1"), image("busybox", "1")];
    let server = Stores::new()
        .layout("out", &images)
        .archive("saved.tar", &[image("b.example/app", "2")])
        .serve();
    for path in [
        "/v2/app/manifests/1?ns=none.example",
        "/v2/app/manifests/1?ns=b.example",
        "/v2/app/manifests/2?ns=a.example",
        "/v2/app/tags/list?ns=docker.io",
        "/v2/library/busybox/manifests/1?ns=a.example",
        "/v2/docker.io/library/busybox/manifests/1?ns=a.example",
        "/v2/busybox/manifests/1?ns=a.example",
        "/v2/app/manifests/1?ns=",
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, 404, "{path}");
    }
    let manifest = server.get("/v2/app/manifests/1").json();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    for (host, status) in [("a.example", 200), ("c.example", 404)] {
        let reply = server.get(&format!("/v2/app/blobs/{layer}?ns={host}"));
        assert_eq!(reply.status, status, "{host}");
    }
    let reply = server.get("/v2/app/manifests/1?ns=a.example");
    assert_eq!(
        (reply.status, reply.header("oci-namespace")),
        (200, "a.example")
    );
}

// V03
#[test]
fn v03_of_two_images_with_one_name_the_first_has_it() {
    let first = ImageRecipe::of("example.com/app", "1", &["file a \"a\""]);
    let second = ImageRecipe::of("example.com/app", "1", &["file b \"b\""]);
    let stores = Stores::new()
        .layout("one", &[first])
        .layout("two", &[second]);
    let (one, two) = (root_of(&stores.path("one")), root_of(&stores.path("two")));
    let server = stores.serve();
    let reply = server.get("/v2/app/manifests/1");
    assert_eq!(reply.header("docker-content-digest"), one);
    assert_eq!(server.get(&format!("/v2/app/manifests/{two}")).status, 200);
    let left_out = server.log.left_out.lock().unwrap().join("\n");
    assert!(
        left_out.contains("another image has the name example.com/app:1"),
        "{left_out}"
    );
}

#[test]
fn a_registry_is_served_too() {
    let registry = Registry::start();
    registry.stored().image("team/x", "t", b"");
    let locator = format!("docker://{}/team/x", registry.server.authority());
    let server = Stores::new().place(locator).serve();
    server.pull("team/x", "t", "*/*");
}
