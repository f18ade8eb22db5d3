//! The type of a manifest is one that the client accepts.

use crate::support::{DOCKER, INDEX, LIST, OCI, SCHEMA1, Stores, image, root_of, two_platforms};

#[test]
fn the_stored_manifest_is_sent_if_its_type_is_accepted_or_none_is_said() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    let digest = root_of(&server.stores.path("out"));
    for kinds in [
        OCI,
        "*/*",
        &format!("{DOCKER}, {OCI}"),
        "application/*;q=0.5",
    ] {
        let reply = server.accept("/v2/app/manifests/1", kinds);
        assert_eq!(reply.header("docker-content-digest"), digest, "{kinds}");
        assert_eq!(reply.header("vary"), "accept, user-agent");
    }
    // A digest names one document, whatever the client accepts.
    let reply = server.accept(&format!("/v2/app/manifests/{digest}"), DOCKER);
    assert_eq!(reply.header("content-type"), OCI);
}

#[test]
fn a_client_of_schema_2_gets_schema_2() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    let (reply, manifest) = server.pull("app", "1", DOCKER);
    assert_eq!(reply.header("content-type"), DOCKER);
    assert_eq!(manifest["mediaType"], DOCKER);
    let digest = reply.header("docker-content-digest");
    let again = server.get(&format!("/v2/app/manifests/{digest}"));
    assert_eq!(again.body, reply.body);
}

#[test]
fn an_index_becomes_a_list_with_all_its_images() {
    let server = Stores::new()
        .layout("out", &two_platforms("example.com/app"))
        .serve();
    let reply = server.accept("/v2/app/manifests/1", &format!("{LIST}, {DOCKER}"));
    assert_eq!(reply.header("content-type"), LIST);
    let children = reply.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(children.len(), 2);
    for child in children {
        let (reply, _) = server.pull("app", child["digest"].as_str().unwrap(), DOCKER);
        assert_eq!(reply.header("content-type"), DOCKER);
    }
}

#[test]
fn a_client_without_indexes_gets_the_image_of_one_platform() {
    let server = Stores::new()
        .layout("out", &two_platforms("example.com/app"))
        .serve();
    let index = server.accept("/v2/app/manifests/1", INDEX).json();
    let (reply, manifest) = server.pull("app", "1", OCI);
    assert_eq!(
        reply.header("docker-content-digest"),
        index["manifests"][0]["digest"]
    );
    let config = server.blob("app", &manifest["config"]);
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["architecture"], "amd64");
    let (reply, _) = server.pull("app", "1", DOCKER);
    assert_eq!(reply.header("content-type"), DOCKER);

    let arm = Stores::new()
        .layout("out", &two_platforms("example.com/app"))
        .serve_with(|options| options.platform.platform.architecture = "arm64".to_owned());
    let (reply, _) = arm.pull("app", "1", OCI);
    assert_eq!(
        reply.header("docker-content-digest"),
        index["manifests"][1]["digest"]
    );
}

#[test]
fn a_platform_that_an_index_lacks_is_404() {
    let server = Stores::new()
        .layout("out", &two_platforms("example.com/app"))
        .serve_with(|options| options.platform.platform.architecture = "s390x".to_owned());
    let reply = server.accept("/v2/app/manifests/1", OCI);
    assert_eq!((reply.status, &*reply.code()), (404, "MANIFEST_UNKNOWN"));
    assert_eq!(server.accept("/v2/app/manifests/1", INDEX).status, 200);
}

#[test]
fn a_client_of_schema_1_gets_a_signed_manifest_whose_digest_is_that_of_the_payload() {
    let server = Stores::new()
        .layout("out", &[image("example.com/team/app", "1")])
        .serve();
    let reply = server.accept("/v2/team/app/manifests/1", SCHEMA1);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), SCHEMA1);
    let manifest = reply.json();
    assert_eq!(manifest["name"], "team/app");
    assert_eq!(manifest["tag"], "1");
    assert!(manifest["signatures"][0]["signature"].is_string());
    let digest = imgconv_format_docker_v2s1::manifest_digest(&reply.body).unwrap();
    assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    let by_digest = server.get(&format!("/v2/team/app/manifests/{digest}"));
    assert_eq!(by_digest.body, reply.body);
    for layer in manifest["fsLayers"].as_array().unwrap() {
        let layer = serde_json::json!({ "digest": layer["blobSum"] });
        server.blob("team/app", &layer);
    }
}

#[test]
fn docker_before_1_10_sends_no_accept_and_gets_signed_schema_1() {
    let mut images = two_platforms("example.com/list").to_vec();
    images.push(image("example.com/app", "1"));
    let server = Stores::new().layout("out", &images).serve();
    let agent = ("user-agent", "docker/1.6.2 go/go1.4.2 os/linux arch/amd64");
    for name in ["app", "list"] {
        let path = format!("/v2/{name}/manifests/1");
        let reply = server.request("GET", &path, &[agent]);
        assert_eq!((reply.status, reply.header("content-type")), (200, SCHEMA1));
        let manifest = reply.json();
        assert_eq!(manifest["architecture"], "amd64");
        for layer in manifest["fsLayers"].as_array().unwrap() {
            server.blob(name, &serde_json::json!({ "digest": layer["blobSum"] }));
        }
        // A digest names one document.
        let stored = server.get(&path);
        assert_ne!(stored.header("content-type"), SCHEMA1);
        let digest = stored.header("docker-content-digest");
        let path = format!("/v2/{name}/manifests/{digest}");
        assert_eq!(server.request("GET", &path, &[agent]).body, stored.body);
    }
    let newer = ("user-agent", "docker/1.10.3 go/go1.5.3 os/linux arch/amd64");
    let reply = server.request("GET", "/v2/app/manifests/1", &[newer]);
    assert_eq!(reply.header("content-type"), OCI);
}

#[test]
fn a_client_that_accepts_nothing_that_holds_the_image_is_told_so() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    for accept in ["text/html", "*/*;q=0", "application/*;q=0, */*"] {
        let reply = server.accept("/v2/app/manifests/1", accept);
        assert_eq!((reply.status, &*reply.code()), (404, "MANIFEST_UNKNOWN"));
        assert!(reply.text().contains("Accept"), "{}", reply.text());
    }
}
