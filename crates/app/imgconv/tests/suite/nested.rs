//! Artifacts whose blobs are manifests and indexes: what those refer to belongs to the artifact.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use imgconv::{Locator, Options, Sweep, Verdict};
use imgconv_model::{Code, Env, Error, Platform};
use imgconv_testkit::registry::Registry;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn convert(from: &str, to: &str, env: &Env) -> Result<(), Error> {
    let destination = Locator::destination(to)?;
    let options = Options::default();
    imgconv::convert(&[Locator::source(from)?], &destination, &options, env).map(drop)
}

fn verify(place: &str, env: &Env) -> Verdict {
    imgconv::verify(&Locator::source(place).unwrap(), env).unwrap()
}

fn problems(place: &str, env: &Env) -> Vec<String> {
    let problems = verify(place, env).problems.into_iter();
    problems.map(|one| one.code).collect()
}

/// Stores an artifact whose layer is an index of a manifest of `content`. Returns the digest of the content.
fn store(registry: &Registry) -> String {
    let mut stored = registry.stored();
    let mut blob = |kind: &str, bytes: &[u8]| -> Value {
        let digest = stored.blob("x", bytes);
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let content = blob("text/plain", b"content");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob("application/x.config", b"config"), "layers": [content],
        "subject": { "mediaType": MANIFEST, "digest": format!("sha256:{}", "5".repeat(64)), "size": 5 },
    });
    let manifest = blob(MANIFEST, manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    let index = blob(INDEX, index.to_string().as_bytes());
    let artifact = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.thing",
        "config": blob("application/vnd.oci.empty.v1+json", b"{}"), "layers": [index],
    });
    stored.manifest("x", "t", MANIFEST, artifact.to_string().as_bytes());
    content["digest"].as_str().unwrap().to_owned()
}

fn blobs(layout: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The number of blobs that a collection of the layout removes.
fn swept(layout: &Path, env: &Env) -> usize {
    let sweep = Sweep {
        // In 2096: no blob is too young.
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000),
        min_age: Duration::ZERO,
        dry_run: false,
    };
    imgconv::gc_layout(layout.to_str().unwrap(), &sweep, env)
        .unwrap()
        .blobs
        .len()
}

/// K52.
#[test]
fn blobs_of_documents_in_an_artifact_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
    let (registry, other) = (Registry::start(), Registry::start());
    store(&registry);
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let at = |layout: &Path| format!("oci:{}:t", layout.display());
    convert(&registry.locator("x:t"), &at(&first), &env).unwrap();
    convert(&at(&first), &at(&second), &env).unwrap();
    convert(&at(&second), &other.locator("y:t"), &env).unwrap();
    // The artifact, its config and layer, the manifest in the layer, and the config and layer there.
    assert_eq!(blobs(&first).len(), 6);
    assert_eq!(blobs(&first), blobs(&second));
    let digests = |registry: &Registry| -> BTreeSet<String> {
        let stored = registry.stored();
        let keys = stored.blobs.keys().chain(stored.manifests.keys());
        keys.map(|(_, digest)| digest.clone()).collect()
    };
    assert_eq!(digests(&registry), digests(&other));
    for place in [
        &registry.locator("x:t"),
        &at(&first),
        &at(&second),
        &other.locator("y:t"),
    ] {
        let verdict = verify(place, &env);
        assert_eq!(
            (verdict.problems.len(), verdict.warnings.len()),
            (0, 0),
            "{place}: {verdict:?}"
        );
    }
    // The layout's collection keeps the blobs too.
    assert_eq!(swept(&first, &env), 0);
    assert_eq!(blobs(&first), blobs(&second));
}

/// K52.
#[test]
fn a_blob_of_a_document_in_an_artifact_may_be_missing_but_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
    let registry = Registry::start();
    let content = store(&registry);
    let layout = folder.path().join("layout");
    let at = |name: &str| format!("oci:{}:t", folder.path().join(name).display());
    convert(&registry.locator("x:t"), &at("layout"), &env).unwrap();

    let file = layout.join("blobs").join(content.replace(':', "/"));
    fs::write(&file, "CONTENT").unwrap();
    assert_eq!(problems(&at("layout"), &env), ["mismatch"]);
    let error = convert(&at("layout"), &at("damaged"), &env).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch, "{error}");
    let key = ("x".to_owned(), content);
    registry
        .stored()
        .blobs
        .insert(key.clone(), b"CONTENT".to_vec());
    assert_eq!(problems(&registry.locator("x:t"), &env), ["mismatch"]);
    let error = convert(&registry.locator("x:t"), &at("damaged"), &env).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch, "{error}");

    fs::remove_file(&file).unwrap();
    registry.stored().blobs.remove(&key);
    convert(&at("layout"), &at("copy"), &env).unwrap();
    convert(&registry.locator("x:t"), &at("pulled"), &env).unwrap();
    for place in [
        &registry.locator("x:t"),
        &at("layout"),
        &at("copy"),
        &at("pulled"),
    ] {
        assert_eq!(problems(place, &env), Vec::<String>::new(), "{place}");
    }
    assert_eq!(blobs(&folder.path().join("copy")).len(), 5);
    assert_eq!(swept(&layout, &env), 0);
}
