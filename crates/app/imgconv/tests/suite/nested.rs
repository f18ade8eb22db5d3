//! Artifacts whose blobs are manifests and indexes: what those refer to belongs to the artifact.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use imgconv::{Locator, Options, Sweep, Verdict};
use imgconv_model::{Code, Env, Error, Platform};
use imgconv_testkit::{build::layout_of_nested_documents, registry::Registry};
use serde_json::json;

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

/// The digests of every document and blob that a registry has.
fn digests(registry: &Registry) -> BTreeSet<String> {
    let stored = registry.stored();
    let keys = stored.blobs.keys().chain(stored.manifests.keys());
    // A manifest has its tag as a key too.
    let digests = keys.map(|(_, key)| key).filter(|key| key.contains(':'));
    digests.cloned().collect()
}

/// K52.
#[test]
fn blobs_of_documents_in_an_artifact_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
    let (registry, other) = (Registry::start(), Registry::start());
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    layout_of_nested_documents(&first, "t").unwrap();
    let at = |layout: &Path| format!("oci:{}:t", layout.display());
    convert(&at(&first), &registry.locator("x:t"), &env).unwrap();
    convert(&registry.locator("x:t"), &at(&second), &env).unwrap();
    convert(&registry.locator("x:t"), &other.locator("y:t"), &env).unwrap();
    // The artifact, its config and layer, the manifest in the layer, and the config and layer there.
    assert_eq!(blobs(&second).len(), 6);
    assert_eq!(blobs(&first), blobs(&second));
    assert_eq!(digests(&registry).len(), 6);
    assert_eq!(digests(&registry), digests(&other));
    for place in [
        &at(&first),
        &registry.locator("x:t"),
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

/// K52. A document of an unknown type describes a manifest that the registry has as a blob only.
#[test]
fn blobs_of_a_manifest_in_an_unknown_document_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
    let (registry, other) = (Registry::start(), Registry::start());
    {
        let mut stored = registry.stored();
        let mut blob = |kind: &str, text: &str| {
            let digest = stored.blob("x", text.as_bytes());
            json!({ "mediaType": kind, "digest": digest, "size": text.len() })
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": blob("application/x.config", "config"), "layers": [blob("text/plain", "content")],
        });
        let manifest = blob(MANIFEST, &manifest.to_string());
        let (unknown, kind) = (
            json!({ "content": manifest }).to_string(),
            "application/x.list+json",
        );
        let digest = stored.manifest("x", "unknown", kind, unknown.as_bytes());
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX,
            "manifests": [{ "mediaType": kind, "digest": digest, "size": unknown.len() }],
        });
        stored.manifest("x", "t", INDEX, index.to_string().as_bytes());
    }
    let layout = folder.path().join("layout");
    let at = format!("oci:{}:t", layout.display());
    convert(&registry.locator("x:t"), &at, &env).unwrap();
    convert(&at, &other.locator("y:t"), &env).unwrap();
    // The index, the unknown document, the manifest, and its config and layer.
    assert_eq!(blobs(&layout).len(), 5);
    assert_eq!(digests(&registry).len(), 5);
    assert_eq!(digests(&other), digests(&registry));
    for place in [&registry.locator("x:t"), &at, &other.locator("y:t")] {
        assert_eq!(problems(place, &env), Vec::<String>::new(), "{place}");
    }
}

/// K52.
#[test]
fn a_blob_of_a_document_in_an_artifact_may_be_missing_but_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
    let registry = Registry::start();
    let layout = folder.path().join("layout");
    let content = layout_of_nested_documents(&layout, "t").unwrap();
    let at = |name: &str| format!("oci:{}:t", folder.path().join(name).display());
    convert(&at("layout"), &registry.locator("x:t"), &env).unwrap();

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
