//! What a store does not have as it is asked for is made, once, as a conversion makes it.

use std::{fs, sync::Arc, thread};

use imgconv_convert::{convert::convert, options::Options};
use imgconv_locate::locator::Locator;
use imgconv_testkit::{ImageRecipe, registry::Registry};

use crate::support::{DOCKER, INDEX, OCI, Running, Stores, env, image, noise};

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

/// A server with a directory for what is made, the file of the layer of its one image, and the path of the
/// layer.
fn cached(warm: bool) -> (Running, std::path::PathBuf, String) {
    let stores = Stores::new().aci("app.aci", &image("example.com/app", "1"));
    let cache = stores.path("cache");
    let kept = cache.clone();
    let server = stores.serve_with(|options| {
        options.cache = Some(kept);
        options.warm = warm;
    });
    let (_, manifest) = server.pull("app", "1", "*/*");
    let digest = manifest["layers"][0]["digest"].as_str().unwrap();
    let file = cache.join(digest.replace(':', "-"));
    (server, file, format!("/v2/app/blobs/{digest}"))
}

// V06
#[test]
fn v06_a_file_of_the_cache_that_is_damaged_or_gone_is_made_again() {
    let (server, file, path) = cached(false);
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[10] ^= 1;
    let damages: [&[u8]; 4] = [&flipped, &good[..9], b"", &[&good[..], b"x"].concat()];
    for damage in damages.map(Some).into_iter().chain([None]) {
        match damage {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let reply = server.get(&path);
        assert_eq!((reply.status, &reply.body), (200, &good));
        assert_eq!(fs::read(&file).unwrap(), good);
    }
    let made = server.log.making.lock().unwrap().len();
    assert_eq!(made, 6, "each damage is one more making");
    fs::remove_file(&file).unwrap();
    let part = server.request("GET", &path, &[("range", "bytes=3-7")]);
    assert_eq!((part.status, &*part.body), (206, &good[3..8]));
    assert!(server.log.failed.lock().unwrap().is_empty());
}

// V06
#[test]
fn v06_a_damaged_file_of_an_earlier_run_is_made_again() {
    let (mut server, file, path) = cached(true);
    server.cancel();
    server.join().unwrap();
    let folder = file.parent().unwrap().to_owned();
    let names = || {
        let names = fs::read_dir(&folder).unwrap();
        let names = names.map(|entry| entry.unwrap().path());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let good: Vec<_> = names()
        .into_iter()
        .map(|name| (fs::read(&name).unwrap(), name))
        .collect();
    assert!(good.len() >= 3, "layer, config and manifest");
    for (bytes, name) in &good {
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        fs::write(name, flipped).unwrap();
    }
    let stores = Stores {
        locators: vec![format!("aci:{}", server.stores.path("app.aci").display())],
        folder: std::mem::replace(&mut server.stores.folder, tempfile::tempdir().unwrap()),
    };
    let again = stores.serve_with(|options| options.cache = Some(folder.clone()));
    again.pull("app", "1", "*/*");
    assert_eq!(again.get(&path).status, 200);
    for (bytes, name) in &good {
        assert_eq!(&fs::read(name).unwrap(), bytes, "{}", name.display());
    }
}

// V06
#[test]
fn v06_clients_of_a_damaged_file_wait_for_one_making() {
    let (server, file, path) = cached(false);
    let good = fs::read(&file).unwrap();
    fs::write(&file, b"bad").unwrap();
    thread::scope(|scope| {
        let asked: Vec<_> = (0..16).map(|_| scope.spawn(|| server.get(&path))).collect();
        for reply in asked {
            assert_eq!(reply.join().unwrap().body, good);
        }
    });
    assert_eq!(server.log.making.lock().unwrap().len(), 2);
}

// V06
#[test]
fn v06_what_can_not_be_made_again_is_an_error() {
    let (server, file, path) = cached(false);
    fs::remove_file(server.stores.path("app.aci")).unwrap();
    fs::remove_file(&file).unwrap();
    let reply = server.get(&path);
    assert!(reply.status >= 400, "{}", reply.status);
    let failed = server.log.failed.lock().unwrap().join("\n");
    assert!(failed.contains("app.aci"), "{failed}");
}

// V05
#[test]
fn v05_an_aci_that_changed_after_the_start_is_named() {
    let server = Stores::new()
        .aci("app.aci", &image("example.com/app", "1"))
        .serve();
    let other = ImageRecipe::of("example.com/app", "1", &["file other \"b\""]);
    let other = imgconv_testkit::build::aci_bytes(&other).unwrap();
    fs::write(server.stores.path("app.aci"), other).unwrap();
    let reply = server.get("/v2/app/manifests/1");
    let failed = server.log.failed.lock().unwrap().join("\n");
    assert_eq!((reply.status, &*reply.code()), (500, "UNKNOWN"), "{failed}");
    assert!(
        failed.contains("app.aci") && failed.contains("changed"),
        "{failed}"
    );
}

/// The environment variable of the process that has a small disk.
const SMALL_DISK: &str = "IMGCONV_TEST_SMALL_DISK";

// V18
#[test]
fn v18_a_full_cache_disk_is_an_error_for_that_image_alone() {
    const NAME: &str = "made::v18_a_full_cache_disk_is_an_error_for_that_image_alone";
    let Some(disk) = std::env::var_os(SMALL_DISK) else {
        let folder = tempfile::tempdir().unwrap();
        let output = std::process::Command::new("unshare")
            .args(["-m", "sh", "-euc"])
            .arg("mount -t tmpfs -o size=300k none . && exec \"$0\" \"$@\"")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .current_dir(folder.path())
            .env(SMALL_DISK, folder.path())
            .output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                let refused = ["unshare failed", "permission denied", "must be superuser"];
                let refused = refused.iter().any(|text| stderr.contains(text));
                assert!(refused, "{stderr}");
            }
            // There is no `unshare` here.
            Err(_) => {}
        }
        return;
    };
    let layer = format!("file big \"{}\"", noise(1 << 20));
    let stores = Stores::new()
        .aci(
            "big.aci",
            &ImageRecipe::of("example.com/big", "1", &[&layer]),
        )
        .aci("app.aci", &image("example.com/app", "1"));
    let cache = std::path::Path::new(&disk).join("cache");
    let kept = cache.clone();
    let server = stores.serve_with(|options| options.cache = Some(kept));
    for _ in 0..2 {
        let reply = server.get("/v2/big/manifests/1");
        assert_eq!((reply.status, &*reply.code()), (500, "UNKNOWN"));
    }
    let failed = server.log.failed.lock().unwrap().join("\n");
    assert!(
        failed.contains("No space left") && failed.contains("big.aci"),
        "{failed}"
    );
    server.pull("app", "1", "*/*");
}
