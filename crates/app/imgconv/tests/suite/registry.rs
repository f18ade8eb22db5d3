//! Images of a registry through the library: to a layout and back, and layers that are elsewhere.

use std::{fs, path::Path, sync::Arc};

use imgconv::{Foreign, Locator, Options, Outcome};
use imgconv_model::{Code, Env, Error, Network, Platform};
use imgconv_testkit::{
    registry::{Registry, Stored, digest_of},
    server::{Authority, Reply, Server},
};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The end of a tar: a layer without entries.
const EMPTY: [u8; 1024] = [0; 1024];

fn env(folder: &Path, authority: Option<&Authority>) -> Env {
    let mut env = Env::new(folder, Platform::new("linux", "amd64"));
    let ca = folder.join("ca.crt");
    let mut network = Network::default();
    if let Some(authority) = authority {
        fs::write(&ca, authority.pem()).unwrap();
        network.ca_files.push(ca);
    }
    env.network = Arc::new(network);
    env
}

fn convert(from: &str, to: &str, options: &Options, env: &Env) -> Result<Outcome, Error> {
    let from = Locator::source(from)?;
    imgconv::convert(&[from], &Locator::destination(to)?, options, env)
}

fn digests(outcome: &Outcome) -> Vec<String> {
    let images = outcome.images.iter();
    images.filter_map(|image| image.digest.clone()).collect()
}

/// A tar with one file.
fn layer(name: &str) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    [&header[..], &EMPTY].concat()
}

#[test]
fn an_image_goes_to_a_layout_and_back_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(folder.path(), None);
    let registry = Registry::start();
    let digest = registry.stored().image("a/b", "t", &layer("file"));
    let layout = format!("oci:{}", folder.path().join("out").display());
    let options = Options::default();
    let pulled = convert(&registry.locator("a/b:t"), &layout, &options, &env).unwrap();
    assert_eq!(digests(&pulled), [&*digest]);
    let name = pulled.images[0].name.clone().unwrap();
    assert_eq!(name, format!("{}/a/b:t", registry.server.authority()));
    let pushed = convert(&layout, &registry.locator("c:u"), &options, &env).unwrap();
    assert_eq!(digests(&pushed), [&*digest]);
    assert_eq!(pushed.images[0].destination, registry.locator("c:u"));
    let stored = registry.stored();
    let at = |tag: &str| &stored.manifests[&("c".to_owned(), tag.to_owned())];
    assert_eq!(at("u"), at(&digest));
}

#[test]
fn an_index_and_what_refers_to_it_go_along() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(folder.path(), None);
    let registry = Registry::start();
    let index = {
        let mut stored = registry.stored();
        let mut children = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let digest = stored.image("x", architecture, &layer(architecture));
            let size = stored.manifests[&("x".to_owned(), digest.clone())].1.len();
            let platform = json!({ "os": "linux", "architecture": architecture });
            children.push(json!({
                "mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform,
            }));
        }
        let child = children[1].clone();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
        let index = index.to_string();
        let digest = stored.manifest("x", "t", INDEX, index.as_bytes());
        let subject = json!({ "mediaType": INDEX, "digest": digest, "size": index.len() });
        // The subject of one is the index, the subject of the other is an image that the index
        // lists.
        for (tag, subject) in [("signature", subject), ("child-signature", child)] {
            let signature = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.signature",
                "config": { "mediaType": "application/vnd.oci.empty.v1+json",
                    "digest": stored.blob("x", b"{}"), "size": 2 },
                "layers": [{ "mediaType": "application/x.signature",
                    "digest": stored.blob("x", b"signed"), "size": 6 }],
                "subject": subject,
            });
            let signature = signature.to_string();
            stored.manifest("x", tag, MANIFEST, signature.as_bytes());
        }
        digest
    };
    let other = Registry::start();
    let layout = format!("oci:{}:t", folder.path().join("out").display());
    let options = Options::default();
    convert(&registry.locator("x:t"), &layout, &options, &env).unwrap();
    let layout = layout.trim_end_matches(":t");
    convert(layout, &other.locator("y"), &options, &env).unwrap();
    let theirs = registry.stored().manifests.clone();
    let ours = other.stored();
    // The index under its tag, its children, and the signatures of it and of a child.
    for ((_, reference), (_, bytes)) in &theirs {
        if reference.contains(':') {
            assert!(
                ours.manifests.values().any(|(_, own)| own == bytes),
                "{reference} is missing"
            );
        }
    }
    let tagged = &ours.manifests[&("y".to_owned(), "t".to_owned())].1;
    assert_eq!(digest_of(tagged), index);
}

/// K52. The copy of an artifact has the same bytes, so `verify` finds the same faults in both places. The first place has no
/// list of its blobs.
#[test]
fn documents_of_an_artifact_are_checked_in_a_registry_as_in_a_layout() {
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    let rootfs =
        r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let listing = r#"{"schemaVersion":2,"manifests":5}"#;
    let cases = [
        (
            "sound",
            CONFIG,
            "{}",
            "application/x.thing",
            "no JSON",
            None,
        ),
        (
            "config",
            CONFIG,
            "{\"no",
            "application/x.thing",
            "x",
            Some("bad-json"),
        ),
        (
            "few",
            CONFIG,
            rootfs,
            "application/x.thing",
            "x",
            Some("bad-manifest"),
        ),
        (
            "other",
            "application/x.other",
            "{\"no",
            "application/x.thing",
            "x",
            None,
        ),
        (
            "manifest",
            CONFIG,
            "{}",
            MANIFEST,
            "no JSON",
            Some("bad-json"),
        ),
        ("index", CONFIG, "{}", INDEX, listing, Some("bad-manifest")),
    ];
    for (tag, config_kind, config, kind, blob, code) in cases {
        let folder = tempfile::tempdir().unwrap();
        let env = env(folder.path(), None);
        let registry = Registry::start();
        {
            let mut stored = registry.stored();
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST,
                "config": { "mediaType": config_kind, "digest": stored.blob("x", config.as_bytes()),
                    "size": config.len() },
                "layers": [{ "mediaType": kind, "digest": stored.blob("x", blob.as_bytes()),
                    "size": blob.len() }],
            });
            stored.manifest("x", tag, MANIFEST, manifest.to_string().as_bytes());
        }
        let from = registry.locator(&format!("x:{tag}"));
        let layout = format!("oci:{}", folder.path().join("out").display());
        convert(&from, &layout, &Options::default(), &env).unwrap();
        let found = [&from, &layout].map(|place| {
            let verdict = imgconv::verify(&Locator::source(place).unwrap(), &env).unwrap();
            let problems = verdict.problems.into_iter();
            problems
                .map(|one| (one.code, one.message))
                .collect::<Vec<_>>()
        });
        assert_eq!(found[0], found[1], "{tag}");
        let codes: Vec<&str> = found[0].iter().map(|(code, _)| &**code).collect();
        assert_eq!(codes, code.into_iter().collect::<Vec<_>>(), "{tag}");
    }
}

/// A layout with an image whose one layer is elsewhere.
fn foreign(folder: &Path, layer: &[u8], url: &str) -> String {
    let mut stored = Stored::default();
    let (_, manifest) = stored.image_of("x", layer, None);
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let kind = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    manifest["layers"][0]["mediaType"] = kind.into();
    manifest["layers"][0]["urls"] = json!([url]);
    let bytes = manifest.to_string().into_bytes();
    let blobs = folder.join("layout/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let write = |bytes: &[u8]| {
        let hex = digest_of(bytes).trim_start_matches("sha256:").to_owned();
        fs::write(blobs.join(hex), bytes).unwrap();
    };
    write(&bytes);
    let elsewhere = digest_of(layer);
    for ((_, digest), blob) in &stored.blobs {
        if *digest != elsewhere {
            write(blob);
        }
    }
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": MANIFEST, "digest": digest_of(&bytes), "size": bytes.len() } ] });
    fs::write(folder.join("layout/index.json"), index.to_string()).unwrap();
    fs::write(
        folder.join("layout/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    format!("oci:{}", folder.join("layout").display())
}

fn fetching() -> Options {
    Options {
        foreign: Foreign::Fetch,
        ..Options::default()
    }
}

#[test]
fn c6b_a_foreign_layer_is_not_fetched_from_a_forbidden_address() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority.server(), |_| Reply::ok(layer("file")));
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    for url in [
        "http://example.com/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://example.com/".to_owned(),
        "https://u:p@example.com/".to_owned(),
        "https://169.254.169.254/".to_owned(),
        format!("https://127.0.0.1:{port}/"),
        "https://[::ffff:169.254.169.254]/".to_owned(),
        format!("https://0.0.0.0:{port}/"),
        format!("https://localhost:{port}/"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let env = env(folder.path(), Some(&authority));
        let source = foreign(folder.path(), &layer("file"), &url);
        let to = format!("oci:{}", folder.path().join("out").display());
        let error = convert(&source, &to, &fetching(), &env).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{url}: {error}");
        assert!(!folder.path().join("out").exists());
    }
    assert!(server.requests().is_empty());
}

#[test]
fn c6c_a_foreign_layer_is_fetched_verified_and_ordinary_from_then_on() {
    let authority = Authority::new();
    let bytes = layer("file");
    let served = Arc::new(std::sync::Mutex::new(bytes.clone()));
    let body = Arc::clone(&served);
    let server = Server::start_tls(&authority.server(), move |_| {
        Reply::ok(body.lock().unwrap().clone())
    });
    // The image comes from a registry on this machine, so that its layer may be here too.
    let registry = Registry::start();
    {
        let mut stored = registry.stored();
        let (kind, manifest) = stored.image_of("x", &bytes, None);
        stored.blobs.remove(&("x".to_owned(), digest_of(&bytes)));
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
        manifest["layers"][0]["mediaType"] = foreign.into();
        manifest["layers"][0]["urls"] = json!([server.url("/layer?signature=1")]);
        stored.manifest("x", "t", &kind, manifest.to_string().as_bytes());
    }
    let folder = tempfile::tempdir().unwrap();
    let env = env(folder.path(), Some(&authority));
    let to = format!("oci:{}", folder.path().join("out").display());
    let outcome = convert(&registry.locator("x:t"), &to, &fetching(), &env).unwrap();
    let hex = digest_of(&bytes).trim_start_matches("sha256:").to_owned();
    let stored = folder.path().join("out/blobs/sha256").join(hex);
    assert_eq!(fs::read(stored).unwrap(), bytes);
    let digest = outcome.images[0].digest.clone().unwrap();
    let manifest = digest.trim_start_matches("sha256:");
    let manifest = fs::read_to_string(folder.path().join("out/blobs/sha256").join(manifest));
    let manifest = manifest.unwrap();
    assert!(
        !manifest.contains("urls") && !manifest.contains("nondistributable"),
        "{manifest}"
    );
    for request in server.requests() {
        assert_eq!(request.header("authorization"), None);
    }
    // Other bytes are no layer of this image.
    served.lock().unwrap()[0] ^= 1;
    let to = format!("oci:{}", folder.path().join("other").display());
    let error = convert(&registry.locator("x:t"), &to, &fetching(), &env).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch, "{error}");
}

#[test]
fn l15_a_platform_that_is_not_there_is_missing_and_the_list_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(folder.path(), None);
    let registry = Registry::start();
    registry.stored().image("x", "t", &layer("file"));
    let options = Options {
        platforms: vec![Platform::new("linux", "s390x").into()],
        ..Options::default()
    };
    let to = format!("oci:{}", folder.path().join("out").display());
    let error = convert(&registry.locator("x:t"), &to, &options, &env).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert_eq!(error.advice(), Some("available: linux/amd64"));
}

#[test]
fn n7_k14_an_image_without_a_tag_in_the_place_keeps_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(folder.path(), None);
    let (registry, other) = (Registry::start(), Registry::start());
    let digest = registry.stored().image("a/b", "t", &layer("file"));
    let layout = format!("oci:{}", folder.path().join("out").display());
    let options = Options::default();
    convert(&registry.locator("a/b:t"), &layout, &options, &env).unwrap();
    let authority = other.server.authority();
    for dry_run in [true, false] {
        let options = Options {
            dry_run,
            ..Options::default()
        };
        let pushed = convert(&layout, &other.locator("c"), &options, &env).unwrap();
        // The reported name is the pushed name, not the name in the source.
        assert_eq!(
            pushed.images[0].name.as_deref(),
            Some(&*format!("{authority}/c:t"))
        );
        assert_eq!(pushed.images[0].destination, other.locator("c:t"));
    }
    // A name by digest has no tag, and none is made up.
    let path = folder.path().join("out/index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["manifests"][0]["annotations"] =
        json!({ "io.containerd.image.name": format!("example.com/alpine@{digest}") });
    fs::write(&path, index.to_string()).unwrap();
    let pushed = convert(&layout, &other.locator("d"), &options, &env).unwrap();
    let name = format!("{authority}/d@{digest}");
    assert_eq!(pushed.images[0].name.as_deref(), Some(&*name));
    let stored = other.stored();
    let has = |repository: &str, reference: &str| {
        let key = (repository.to_owned(), reference.to_owned());
        stored.manifests.contains_key(&key)
    };
    assert!(has("c", "t") && !has("c", "latest"));
    assert!(has("d", &digest) && !has("d", "latest"));
}
