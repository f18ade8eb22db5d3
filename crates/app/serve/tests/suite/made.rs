//! What a store does not have as it is asked for is made, once, as a conversion makes it.

use std::{fs, sync::Arc, thread};

use imgconv_convert::{convert::convert, options::Options};
use imgconv_locate::locator::Locator;
use imgconv_testkit::{ImageRecipe, registry::Registry};

use crate::support::{DOCKER, INDEX, OCI, Running, Stores, env, image};

/// The digest that a conversion to a registry gives.
fn converted(server: &Running, source: &str, to: &str) -> String {
    let registry = Registry::start();
    let source = source.replace("DIR", &server.stores.folder.path().display().to_string());
    let to = format!("{to}{}/x:t", registry.server.authority());
    let sources = [Locator::source(&source).unwrap()];
    let to = Locator::destination(&to).unwrap();
    let outcome = convert(&sources, &to, &Options::default(), &env()).unwrap();
    outcome.images[0].digest.clone().unwrap()
}

#[test]
fn an_archive_is_served_with_the_digests_of_a_conversion() {
    let layers = ["file a \"a\"", "file b \"b\""];
    let image = ImageRecipe::of("example.com/app", "1", &layers);
    let server = Stores::new().archive("saved.tar", &[image]).serve();
    let (reply, _) = server.pull("app", "1", "*/*");
    assert_eq!(reply.header("content-type"), DOCKER);
    let digest = converted(&server, "docker-archive:DIR/saved.tar", "docker://");
    assert_eq!(reply.header("docker-content-digest"), digest);
    let (reply, _) = server.pull("app", "1", OCI);
    assert_eq!(reply.header("content-type"), OCI);
    let digest = converted(&server, "docker-archive:DIR/saved.tar", "oci+docker://");
    assert_eq!(reply.header("docker-content-digest"), digest);
}

#[test]
fn an_aci_is_served_with_the_digests_of_a_conversion() {
    let server = Stores::new()
        .aci("app.aci", &image("example.com/app", "1"))
        .serve();
    let (reply, _) = server.pull("app", "1", "*/*");
    assert_eq!(reply.header("content-type"), OCI);
    let digest = converted(&server, "aci:DIR/app.aci", "docker://");
    assert_eq!(reply.header("docker-content-digest"), digest);
}

#[test]
fn acis_of_one_name_are_one_image_for_several_platforms() {
    let stores = Stores::new();
    fs::create_dir(stores.path("acis")).unwrap();
    for (file, image) in crate::support::two_platforms("example.com/app")
        .into_iter()
        .enumerate()
    {
        let bytes = imgconv_testkit::build::aci_bytes(&image).unwrap();
        fs::write(stores.path(&format!("acis/{file}.aci")), bytes).unwrap();
    }
    let place = format!("aci-tree:{}", stores.path("acis").display());
    let server = stores.place(place).serve();
    let reply = server.get("/v2/app/manifests/1");
    assert_eq!(reply.header("content-type"), INDEX);
    let children = reply.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(children.len(), 2);
    for child in &children {
        server.pull("app", child["digest"].as_str().unwrap(), "*/*");
    }
}

// V04
#[test]
fn v04_clients_that_ask_for_one_thing_at_once_get_the_same() {
    let server = Arc::new(
        Stores::new()
            .archive("saved.tar", &[image("example.com/app", "1")])
            .serve(),
    );
    let ask = |server: Arc<Running>| {
        thread::spawn(move || {
            server
                .pull("app", "1", "*/*")
                .0
                .header("docker-content-digest")
                .to_owned()
        })
    };
    let asked: Vec<_> = (0..16).map(|_| ask(Arc::clone(&server))).collect();
    let mut digests: Vec<String> = asked
        .into_iter()
        .map(|asked| asked.join().unwrap())
        .collect();
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

// V05
#[test]
fn v05_a_damaged_image_is_an_error_and_the_others_are_served() {
    let good = image("example.com/good", "1");
    let stores = Stores::new().aci("bad.aci", &image("example.com/bad", "1"));
    let path = stores.path("bad.aci");
    let bytes = fs::read(&path).unwrap();
    // The manifest is whole; the layer is cut off.
    fs::write(&path, &bytes[..bytes.len() - 1536]).unwrap();
    let server = stores.layout("out", &[good]).serve();
    let reply = server.get("/v2/bad/manifests/1");
    assert_eq!((reply.status, &*reply.code()), (500, "UNKNOWN"));
    let folder = server.stores.folder.path().display().to_string();
    assert!(!reply.text().contains(&folder), "{}", reply.text());
    let failed = server.log.failed.lock().unwrap().join("\n");
    assert!(failed.contains("bad.aci"), "{failed}");
    server.pull("good", "1", "*/*");
}

#[test]
fn an_image_that_was_not_made_yet_is_found_by_its_digest() {
    let server = Stores::new()
        .aci("app.aci", &image("example.com/app", "1"))
        .serve();
    let digest = converted(&server, "aci:DIR/app.aci", "docker://");
    server.pull("app", &digest, "*/*");
}

#[test]
fn a_cache_that_the_user_names_is_kept_and_a_private_one_is_not() {
    let stores = Stores::new().aci("app.aci", &image("example.com/app", "1"));
    let cache = stores.path("deep/cache");
    let cached = cache.clone();
    let mut server = stores.serve_with(|options| {
        options.cache = Some(cached);
        options.warm = true;
    });
    let files = || {
        let mut names: Vec<String> = fs::read_dir(&cache)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("sha256-"))
            .collect();
        names.sort();
        names
    };
    let (_, manifest) = server.pull("app", "1", "*/*");
    let layer = manifest["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .replace(':', "-");
    assert!(files().contains(&layer));
    server.cancel();
    server.join().unwrap();
    assert!(files().contains(&layer));
    let others = fs::read_dir(&cache).unwrap().count();
    assert_eq!(others, files().len(), "only complete files stay");
}

// V06
#[test]
fn v06_a_file_of_the_cache_that_was_changed_is_not_served() {
    let stores = Stores::new().aci("app.aci", &image("example.com/app", "1"));
    let cache = stores.path("cache");
    let cached = cache.clone();
    let server = stores.serve_with(|options| options.cache = Some(cached));
    let (_, manifest) = server.pull("app", "1", "*/*");
    let digest = manifest["layers"][0]["digest"].as_str().unwrap();
    let file = cache.join(digest.replace(':', "-"));
    let mut bytes = fs::read(&file).unwrap();
    bytes[10] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let reply = server.get(&format!("/v2/app/blobs/{digest}"));
    assert!(reply.body.len() < bytes.len());
}
