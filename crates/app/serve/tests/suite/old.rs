//! Clients before docker 1.6 pull by the API v1.

use imgconv_convert::{convert::convert, options::Options};
use imgconv_locate::locator::Locator;
use serde_json::json;

use crate::support::{Stores, env, image};

#[test]
fn a_client_of_v1_gets_tags_chains_and_layers() {
    let server = Stores::new()
        .layout("out", &[image("example.com/team/app", "1")])
        .serve();
    let ping = server.get("/v1/_ping");
    assert_eq!((ping.status, ping.json()), (200, json!(true)));
    assert_eq!(ping.header("x-docker-registry-version"), "0.9.1");
    let tags = server.get("/v1/repositories/team/app/tags").json();
    let id = tags["1"].as_str().unwrap();
    assert_eq!(server.get("/v1/repositories/team/app/tags/1").json(), id);
    let images = server.get("/v1/repositories/team/app/images");
    assert_eq!(images.json(), json!([{ "id": id }]));
    assert_eq!(images.header("x-docker-endpoints"), "x");
    let ancestry = server.get(&format!("/v1/images/{id}/ancestry")).json();
    assert_eq!(ancestry[0], id);
    for id in ancestry.as_array().unwrap() {
        let id = id.as_str().unwrap();
        let image = server.get(&format!("/v1/images/{id}/json"));
        assert_eq!(image.json()["id"], id);
        let layer = server.get(&format!("/v1/images/{id}/layer"));
        assert_eq!(layer.status, 200);
        assert_eq!(image.header("x-docker-size"), layer.body.len().to_string());
    }
}

#[test]
fn what_v1_does_not_have_is_404() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    let id = "0".repeat(64);
    for path in [
        "repositories/none/tags".to_owned(),
        "repositories/app/tags/2".to_owned(),
        "repositories/app/tags/..".to_owned(),
        "repositories/app".to_owned(),
        format!("images/{id}/json"),
        "images/../json".to_owned(),
        "users/".to_owned(),
    ] {
        assert_eq!(server.get(&format!("/v1/{path}")).status, 404, "{path}");
    }
}

#[test]
fn an_image_that_is_read_by_v1_is_the_same_image() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    let convert = |source: &str, to: &str| {
        let sources = [Locator::source(source).unwrap()];
        let to = format!("oci:{}", server.stores.path(to).display());
        let to = Locator::destination(&to).unwrap();
        let outcome = convert(&sources, &to, &Options::default(), &env()).unwrap();
        outcome.images[0].layers[0].diff_id.clone()
    };
    let here = convert(&format!("oci:{}", server.stores.path("out").display()), "a");
    let there = convert(&format!("dockerv1://{}/app:1", server.address), "b");
    assert_eq!(here, there);
}
