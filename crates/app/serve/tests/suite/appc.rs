//! appc discovery: pages, ACIs, signatures, image tags and public keys.

use std::{fs, path::PathBuf, sync::Arc, time::SystemTime};

use imgconv_convert::{convert::convert, options::Options, outcome::Outcome};
use imgconv_locate::locator::Locator;
use imgconv_model::{Env, Error, Network};
use imgconv_publish::discovery::Signing;
use imgconv_serve::Tls;
use imgconv_testkit::{Compression, build, server::Authority, sha256_hex};
use serde_json::Value;

use crate::support::{LAYER, Running, Stores, env, image, stored, two_platforms};

/// The data of the tests of signatures.
fn keys(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/openpgp/tests/data");
    PathBuf::from(folder).join(name)
}

/// The settings of a client that finds `example.com` at the server.
fn network(server: &Running) -> Network {
    Network {
        mirrors: vec![("example.com".to_owned(), server.address.to_string())],
        insecure_image: true,
        ..Network::default()
    }
}

fn client(network: Network) -> Env {
    Env {
        network: Arc::new(network),
        ..env()
    }
}

/// Converts a source to an ACI in the folder of the stores; DIR in the source is this folder.
fn to_aci(server: &Running, source: &str, to: &str, env: &Env) -> Result<Outcome, Error> {
    let folder = server.stores.folder.path().display().to_string();
    let to = format!("aci:{}", server.stores.path(to).display());
    let sources = [Locator::source(&source.replace("DIR", &folder))?];
    convert(
        &sources,
        &Locator::destination(&to)?,
        &Options::default(),
        env,
    )
}

fn image_id(outcome: &Outcome) -> &str {
    outcome.images[0].image_id.as_deref().unwrap()
}

#[test]
fn an_appc_client_gets_the_aci_that_a_conversion_gives() {
    let server = Stores::new()
        .layout("out", &[image("example.com/team/app", "1")])
        .archive("saved.tar", &[image("example.com/saved", "2")])
        .serve();
    for (name, source) in [
        ("example.com/team/app:1", "oci:DIR/out"),
        ("example.com/saved:2", "docker-archive:DIR/saved.tar"),
    ] {
        let client = client(network(&server));
        let found = to_aci(&server, &format!("appc:{name}"), "found.aci", &client).unwrap();
        let made = to_aci(&server, source, "made.aci", &env()).unwrap();
        assert_eq!(image_id(&found), image_id(&made));
        let read = |name: &str| fs::read(server.stores.path(name)).unwrap();
        assert!(read("found.aci") == read("made.aci"), "{name}");
        for file in ["found.aci", "made.aci"] {
            fs::remove_file(server.stores.path(file)).unwrap();
        }
    }
    assert!(server.log.failed.lock().unwrap().is_empty());
}

#[test]
fn the_page_names_the_templates_of_all_acis_of_a_name() {
    let stores = Stores::new().aci("plain.aci", &image("example.com/app", ""));
    let server = stores
        .layout("out", &[image("example.com/app", "1")])
        .layout("other", &[image("example.net/app", "1")])
        .serve();
    let page = server.get("/app?ac-discovery=1");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let text = page.text();
    let metas: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("<meta name=\"ac-"))
        .collect();
    assert_eq!(
        metas,
        [
            "<meta name=\"ac-discovery\" content=\"example.com/app http://x/aci/{name}/{version}-{os}-{arch}.{ext}\">",
            "<meta name=\"ac-discovery\" content=\"example.com/app http://x/aci/{name}/{os}-{arch}.{ext}\">",
            "<meta name=\"ac-discovery-imagetags\" content=\"example.com/app http://x/aci/{name}/imagetags.{ext}\">",
            "<meta name=\"ac-discovery\" content=\"example.net/app http://x/aci/{name}/{version}-{os}-{arch}.{ext}\">",
            "<meta name=\"ac-discovery-imagetags\" content=\"example.net/app http://x/aci/{name}/imagetags.{ext}\">",
        ]
    );
    // The name of the host that was asked comes first.
    let asked =
        b"GET /app?ac-discovery=1 HTTP/1.1\r\nhost: Example.NET:8080\r\nconnection: close\r\n\r\n";
    let text = server.raw(asked).text();
    assert!(text.contains("<title>example.net/app</title>"), "{text}");
    assert!(text.contains("http://Example.NET:8080/aci/"), "{text}");
    for path in [
        "/?ac-discovery=1",
        "/team?ac-discovery=1",
        "/app/x?ac-discovery=1",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_stored_aci_and_its_signature_are_served_as_they_are() {
    let stores = Stores::new();
    fs::create_dir(stores.path("acis")).unwrap();
    for image in two_platforms("example.com/app") {
        let bytes = build::aci_bytes(&image).unwrap();
        let path = stores.path(&format!("acis/{}.aci", image.head.arch));
        fs::write(path, bytes).unwrap();
    }
    fs::write(stores.path("acis/arm64.aci.asc"), "the signature").unwrap();
    fs::write(stores.path("acis/pubkeys.gpg"), "the keys").unwrap();
    let place = format!("aci-tree:{}", stores.path("acis").display());
    let server = stores.place(place).serve();
    let stored = |name: &str| fs::read(server.stores.path(&format!("acis/{name}"))).unwrap();
    let aci = server.get("/aci/example.com/app/1-linux-aarch64.aci");
    assert!(aci.body == stored("arm64.aci"));
    let other = server.get("/aci/example.com/app/1-linux-amd64.aci");
    assert!(other.body == stored("amd64.aci"));
    let signature = server.get("/aci/example.com/app/1-linux-aarch64.aci.asc");
    assert_eq!(signature.text(), "the signature");
    assert_eq!(
        server
            .get("/aci/example.com/app/1-linux-amd64.aci.asc")
            .status,
        404
    );
    assert_eq!(server.get("/pubkeys.gpg").text(), "the keys");
    let page = server.get("/app?ac-discovery=1").text();
    assert!(
        page.contains("ac-discovery-pubkeys\" content=\"example.com/app http://x/pubkeys.gpg\""),
        "{page}"
    );
    // A client that demands signatures would refuse tags without one.
    assert!(!page.contains("imagetags"), "{page}");
    assert_eq!(
        server.get("/aci/example.com/app/imagetags.json").status,
        404
    );
}

#[test]
fn an_aci_has_head_ranges_and_an_entity_tag_like_a_blob() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    let path = "/aci/example.com/app/1-linux-amd64.aci";
    let head = server.request("HEAD", path, &[]);
    let whole = server.get(path);
    let length = whole.body.len().to_string();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, &*length)
    );
    assert!(head.body.is_empty());
    let tag = whole.header("etag").to_owned();
    assert_eq!(tag, format!("\"sha256:{}\"", sha256_hex(&whole.body)));
    let part = server.request("GET", path, &[("range", "bytes=10-19")]);
    assert_eq!(part.status, 206);
    assert_eq!(part.body, &whole.body[10..20]);
    assert_eq!(
        server
            .request("GET", path, &[("if-none-match", &tag)])
            .status,
        304
    );
    assert_eq!(
        server
            .request("GET", path, &[("range", "bytes=999999999-")])
            .status,
        416
    );
    assert_eq!(server.request("PUT", path, &[]).status, 405);
}

#[test]
fn a_server_with_a_key_signs_acis_and_image_tags() {
    let server = Stores::new()
        .layout(
            "out",
            &[
                image("example.com/app", "1"),
                image("example.com/app", "latest"),
            ],
        )
        .serve_with(|options| {
            options.site.public_keys = Some(keys("bob.pub.asc"));
            options.site.signing = Some(Signing {
                key: keys("bob.secret.asc"),
                passphrase: None,
                time: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000),
            });
        });
    let with = |keyring: &str| {
        client(Network {
            insecure_image: false,
            keyrings: vec![keys(keyring)],
            ..network(&server)
        })
    };
    let tags = server.get("/aci/example.com/app/imagetags.json").text();
    assert_eq!(
        tags,
        "{\"labels\":{\"1\":{\"version\":\"1\"},\"latest\":{\"version\":\"latest\"}}}\n"
    );
    to_aci(
        &server,
        "appc:example.com/app:1",
        "a.aci",
        &with("bob.pub.asc"),
    )
    .unwrap();
    to_aci(
        &server,
        "appc:example.com/app:1",
        "b.aci",
        &with("alice.pub.asc"),
    )
    .unwrap_err();
    // A client that asks for no version looks for `latest`.
    for (i, name) in ["example.com/app:latest", "example.com/app"]
        .iter()
        .enumerate()
    {
        let (from, to) = (format!("appc:{name}"), format!("latest-{i}.aci"));
        to_aci(&server, &from, &to, &with("bob.pub.asc")).unwrap();
    }
    let latest = server.get("/aci/example.com/app/latest-linux-amd64.aci");
    assert_eq!(latest.status, 200);
    let fetched = server.get("/pubkeys.gpg").body;
    assert_eq!(fetched, fs::read(keys("bob.pub.asc")).unwrap());
    let first = server
        .get("/aci/example.com/app/1-linux-amd64.aci.asc")
        .text();
    assert!(
        first.starts_with("-----BEGIN PGP SIGNATURE-----"),
        "{first}"
    );
}

#[test]
fn an_image_with_a_record_is_the_aci_that_it_was() {
    let stores = Stores::new();
    let mut image = image("example.com/app", "1+x");
    image.head.compression = Compression::None;
    let bytes = build::aci_bytes(&image).unwrap();
    fs::write(stores.path("app.aci"), bytes).unwrap();
    fs::write(stores.path("app.aci.asc"), "the signature").unwrap();
    let layout = format!("oci:{}", stores.path("out").display());
    let sources = [Locator::source(&format!("aci:{}", stores.path("app.aci").display())).unwrap()];
    let options = Options {
        reversible: true,
        ..Options::default()
    };
    convert(
        &sources,
        &Locator::destination(&layout).unwrap(),
        &options,
        &env(),
    )
    .unwrap();
    let before = fs::read(stores.path("app.aci")).unwrap();
    fs::remove_file(stores.path("app.aci")).unwrap();
    let server = stores.place(layout).serve();
    let aci = server.get("/aci/example.com/app/1+x-linux-amd64.aci");
    assert_eq!(aci.status, 200, "{}", aci.text());
    assert!(aci.body == before);
    let signature = server.get("/aci/example.com/app/1%2Bx-linux-amd64.aci.asc");
    assert_eq!(signature.text(), "the signature");
    // By the API of registries the version is a tag, and clients of appc still find the version.
    assert_eq!(server.get("/v2/app/manifests/1_x").status, 200);
}

// H9a
#[test]
fn a_damaged_record_is_told_and_the_aci_is_made_anew() {
    let stores = Stores::new();
    let bytes = build::aci_bytes(&image("example.com/app", "1")).unwrap();
    fs::write(stores.path("app.aci"), &bytes).unwrap();
    fs::write(stores.path("app.aci.asc"), "the signature").unwrap();
    let source = format!("aci:{}", stores.path("app.aci").display());
    let layout = format!("oci:{}", stores.path("out").display());
    let options = Options {
        reversible: true,
        ..Options::default()
    };
    convert(
        &[Locator::source(&source).unwrap()],
        &Locator::destination(&layout).unwrap(),
        &options,
        &env(),
    )
    .unwrap();
    fs::remove_file(stores.path("app.aci")).unwrap();
    let read = |digest: &str| stored(&stores.path("out"), digest);
    let index = fs::read(stores.path("out/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let mut listed = index["manifests"].as_array().unwrap().iter();
    let artifact = listed
        .find(|entry| entry["artifactType"].is_string())
        .unwrap();
    let manifest = read(artifact["digest"].as_str().unwrap());
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut blobs = manifest["layers"].as_array().unwrap().iter();
    let is_record = |blob: &&Value| blob["mediaType"].as_str().unwrap().contains("record");
    let record = blobs.find(is_record).unwrap()["digest"].as_str().unwrap();
    let path = stores
        .path("out")
        .join("blobs")
        .join(record.replace(':', "/"));
    let mut damaged = fs::read(&path).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, damaged).unwrap();
    let server = stores.place(layout).serve();
    let aci = server.get("/aci/example.com/app/1-linux-amd64.aci");
    assert_eq!(aci.status, 200, "{}", aci.text());
    let told = server.log.failed.lock().unwrap().join("\n");
    assert!(
        told.contains("record") && told.contains("made anew"),
        "{told}"
    );
    let signature = server.get("/aci/example.com/app/1-linux-amd64.aci.asc");
    assert_eq!(signature.status, 404);
}

#[test]
fn host_replaces_the_host_in_names() {
    let server = Stores::new()
        .layout("out", &[image("docker.io/library/app", "1")])
        .aci("stored.aci", &image("example.com/stored", "1"))
        .serve_with(|options| {
            options.host = Some("example.com".to_owned());
            options.site.url = Some("https://example.com:8443/".to_owned());
        });
    let page = server.get("/library/app?ac-discovery=1").text();
    let template = "content=\"example.com/library/app https://example.com:8443/aci/{name}/{version}-{os}-{arch}.{ext}\"";
    assert!(page.contains(template), "{page}");
    let client = client(network(&server));
    let url = format!("appc:{}", "example.com/library/app:1");
    // The URL of the page leads to the real host, for which the client knows the mirror.
    let found = to_aci(&server, &url, "a.aci", &client).unwrap();
    assert_eq!(
        found.images[0].name.as_deref(),
        Some("example.com/library/app:1")
    );
    let stored = server.get("/aci/example.com/stored/1-linux-amd64.aci");
    assert!(stored.body == fs::read(server.stores.path("stored.aci")).unwrap());
}

#[test]
fn imgconv_is_an_appc_client_over_tls() {
    let authority = Authority::new();
    let stores = Stores::new().layout("out", &[image("localhost/app", "1")]);
    let pem = authority.certificate(&["localhost", "127.0.0.1"], (2000, 2100));
    let tls = Tls {
        certificate: stores.path("server.crt"),
        key: stores.path("server.key"),
    };
    fs::write(&tls.certificate, pem.certificate).unwrap();
    fs::write(&tls.key, pem.key).unwrap();
    fs::write(stores.path("ca.crt"), authority.pem()).unwrap();
    let server = stores.serve_with(|options| options.tls = Some(tls));
    let client = client(Network {
        mirrors: vec![("localhost".to_owned(), server.address.to_string())],
        ca_files: vec![server.stores.path("ca.crt")],
        insecure_image: true,
        ..Network::default()
    });
    to_aci(&server, "appc:localhost/app:1", "a.aci", &client).unwrap();
}

// V16
#[test]
fn v16_acis_whose_urls_are_equal_are_told_and_the_first_is_served() {
    let stores = Stores::new();
    fs::create_dir(stores.path("acis")).unwrap();
    let odd = |label: &str| {
        let labels =
            format!(r#"{label},{{"name":"os","value":"linux"}},{{"name":"arch","value":"amd64"}}"#);
        let manifest = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/odd","labels":[{labels}]}}"#
        );
        let mut image = image("example.com/odd", "");
        image.manifest = Some(manifest);
        image
    };
    let images = [
        image("example.com/app", "1"),
        image("example.com/app", "1"),
        odd(r#"{"name":"version","value":"1-2"}"#),
        odd(r#"{"name":"version","value":"1"},{"name":"variant","value":"2"}"#),
        odd(r#"{"name":"version","value":"<b>"}"#),
    ];
    for (number, image) in images.iter().enumerate() {
        let bytes = build::aci_bytes(image).unwrap();
        fs::write(stores.path(&format!("acis/{number}.aci")), bytes).unwrap();
    }
    let place = format!("aci-tree:{}", stores.path("acis").display());
    let server = stores.place(place).serve();
    let aci = server.get("/aci/example.com/app/1-linux-amd64.aci");
    assert!(aci.body == fs::read(server.stores.path("acis/0.aci")).unwrap());
    let told = server.log.left_out.lock().unwrap().join("\n");
    for part in [
        "1.aci: another ACI has the name example.com/app and the same labels",
        "3.aci: another ACI of the name example.com/odd has the same URL",
        "4.aci: the label version is \"<b>\"",
    ] {
        assert!(told.replace(" › ", ": ").contains(part), "{part}: {told}");
    }
    let page = server.get("/odd?ac-discovery=1").text();
    assert!(
        !page.contains("<b>") && !page.contains("{variant}"),
        "{page}"
    );
}

// V19
#[test]
fn v19_acis_whose_tags_are_equal_for_a_registry_are_all_served() {
    let stores = Stores::new();
    fs::create_dir(stores.path("acis")).unwrap();
    let of = |name: &str, version: &str, arch: &str| {
        let mut image = image(name, "");
        image.manifest = Some(format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}","labels":[
                {{"name":"version","value":"{version}"}},{{"name":"os","value":"linux"}},
                {{"name":"arch","value":"{arch}"}}]}}"#
        ));
        image
    };
    let images = [
        of("example.com/v", "1.0+a", "amd64"),
        of("example.com/v", "1.0~a", "amd64"),
        of("example.com/v", "1.0~a", "aarch64"),
        of("example.com/w", "1", "amd64"),
        of("example.com/w", "1", "aarch64"),
        of("example.com/dup", "1", "amd64"),
        of("example.com/dup", "1", "amd64"),
    ];
    for (number, image) in images.iter().enumerate() {
        let bytes = build::aci_bytes(image).unwrap();
        fs::write(stores.path(&format!("acis/{number}.aci")), bytes).unwrap();
    }
    let place = format!("aci-tree:{}", stores.path("acis").display());
    let server = stores.place(place).serve();
    let told = server.log.left_out.lock().unwrap().join("\n");
    for part in ["1.aci", "2.aci", "6.aci"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for name in ["v", "dup"] {
        let tags = server.get(&format!("/v2/{name}/tags/list")).json();
        let tag = tags["tags"][0].as_str().unwrap().to_owned();
        let reply = server.get(&format!("/v2/{name}/manifests/{tag}"));
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
    // Two platforms of one name stay one image.
    let index = server.get("/v2/w/manifests/1").json();
    assert_eq!(
        index["manifests"].as_array().map(Vec::len),
        Some(2),
        "{index}"
    );
    // The image that has no tag is found by its digest.
    let env = env();
    for (number, name) in [(1, "v"), (6, "dup")] {
        let from = format!(
            "aci:{}",
            server.stores.path(&format!("acis/{number}.aci")).display()
        );
        let to = format!(
            "oci:{}",
            server.stores.path(&format!("made{number}")).display()
        );
        let made = convert(
            &[Locator::source(&from).unwrap()],
            &Locator::destination(&to).unwrap(),
            &Options::default(),
            &env,
        )
        .unwrap();
        let digest = made.images[0].digest.clone().unwrap();
        let reply = server.get(&format!("/v2/{name}/manifests/{digest}"));
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
}

#[test]
fn a_platform_that_appc_has_no_labels_for_does_not_stop_the_others() {
    let mut images = two_platforms("example.com/app");
    images[1].head.arch = "riscv64".to_owned();
    let server = Stores::new().layout("out", &images).serve();
    let page = server.get("/app?ac-discovery=1");
    assert_eq!(page.status, 200, "{}", page.text());
    let aci = server.get("/aci/example.com/app/1-linux-amd64.aci");
    assert_eq!(aci.status, 200);
    let told = server.log.left_out.lock().unwrap().join("\n");
    assert!(told.contains("riscv64"), "{told}");
}

// V17
#[test]
fn v17_no_path_and_no_host_leads_elsewhere() {
    let server = Stores::new()
        .layout("out", &[image("example.com/app", "1")])
        .serve();
    for path in [
        "/aci/../../etc/passwd",
        "/aci/example.com/app/../../../etc/passwd.aci",
        "/aci/example.com/app/..%2f..%2fetc%2fpasswd.aci",
        "/aci/example.com/app/%2e%2e.aci",
        "/aci/example.com/app/.aci",
        "/aci/example.com/app/1-linux-amd64.ACI",
        "/aci/example.com/app/1-linux-amd64.aci/",
        "/aci/example.com/app/1-linux-amd64.aci.asc",
        "/aci/example.com/app/1-linux-amd64.aci%00",
        "/aci/example.com/app/%ff.aci",
        "/aci/example.com/app/x%0d%0ay.aci",
        "/aci/example.com/app",
        "/aci/",
        "/aci",
        "/pubkeys.gpg",
        "/pubkeys.gpg/..",
        "/%2e%2e/app?ac-discovery=1",
        "/app%00?ac-discovery=1",
        "/app%3Cscript%3E?ac-discovery=1",
        "//app?ac-discovery=1",
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.text().contains('<'), "{path}");
    }
    // A slash may be written either way, and leads to the same name.
    assert_eq!(
        server
            .get("/aci/example.com%2Fapp/1-linux-amd64.aci")
            .status,
        200
    );
    for host in ["x\"><script>alert(1)</script>", "a b", "", "x/y", "x?"] {
        let text = format!(
            "GET /app?ac-discovery=1 HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        );
        let reply = server.raw(text.as_bytes());
        assert_eq!(reply.status, 400, "{host}");
        assert!(!reply.text().contains('<'), "{host}");
    }
}

// V06
#[test]
fn v06_an_aci_that_was_removed_from_the_cache_is_made_again() {
    let stores = Stores::new().layout("out", &[image("example.com/app", "1")]);
    let cache = stores.path("cache");
    let cached = cache.clone();
    let server = stores.serve_with(|options| options.cache = Some(cached));
    let path = "/aci/example.com/app/1-linux-amd64.aci";
    let first = server.get(path);
    let file = cache.join(format!("sha256-{}", sha256_hex(&first.body)));
    fs::remove_file(&file).unwrap();
    // The file that the server holds open is still right; one that it has to open is made again.
    let mut again = server.get(path);
    assert!(again.body == first.body);
    fs::write(&file, "x").unwrap();
    again = server.get(path);
    assert!(again.body == first.body);
}

// V05
#[test]
fn v05_a_damaged_aci_is_an_error_and_the_others_are_served() {
    let stores = Stores::new().aci("bad.aci", &image("example.com/bad", "1"));
    let path = stores.path("bad.aci");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1536]).unwrap();
    let server = stores
        .aci("good.aci", &image("example.com/good", "1"))
        .serve();
    let reply = server.get("/aci/example.com/bad/1-linux-amd64.aci");
    assert_eq!((reply.status, &*reply.code()), (500, "UNKNOWN"));
    assert_eq!(
        server.get("/aci/example.com/good/1-linux-amd64.aci").status,
        200
    );
    assert!(LAYER.contains("etc"));
}
