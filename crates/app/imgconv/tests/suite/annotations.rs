//! Annotations that are no longer true when layers or images change: each is corrected, reported, or
//! dropped together with the bytes that it describes.

use std::{fs, path::Path};

use imgconv::{ImageOutcome, Locator, Options, Squash, convert};
use imgconv_model::{Code, Compression, Env, Error, Platform};
use imgconv_testkit::{ImageRecipe, build, recipe, sha256_hex};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// A folder with layouts, and the environment of conversions between them.
struct Work {
    folder: tempfile::TempDir,
    env: Env,
}

impl Work {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
        Self { folder, env }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the layout `in` of an image with a file in each of its layers. `change` gets the
    /// manifest before it is stored.
    fn image(&self, files: &[&str], change: impl FnOnce(&mut Value)) -> Value {
        let mut image = ImageRecipe::default();
        image.head.name = "example.com/a".into();
        image.head.os = "linux".into();
        image.head.arch = "amd64".into();
        let layer = |file: &&str| recipe::parse(&format!("file {file}"), "test").unwrap();
        image.layers = files.iter().map(layer).collect();
        let layout = self.path("in");
        build::layout(&[image], &layout).unwrap();
        let mut manifest = blob(&layout, &entry(&layout));
        change(&mut manifest);
        let root = put(&layout, MANIFEST, &manifest);
        self.list(&root);
        root
    }

    /// Makes a document the only one in the layout `in`.
    fn list(&self, root: &Value) {
        let mut root = root.clone();
        root["annotations"] = json!({ "org.opencontainers.image.ref.name": "example.com/a:1" });
        let index = json!({ "schemaVersion": 2, "manifests": [root] });
        fs::write(self.path("in/index.json"), index.to_string()).unwrap();
    }

    fn try_convert(&self, to: &str, options: &Options) -> Result<Vec<ImageOutcome>, Error> {
        let (scheme, name) = to.split_once(':').unwrap();
        let source = format!("oci:{}", self.path("in").display());
        let to = format!("{scheme}:{}", self.path(name).display());
        let to = Locator::destination(&to)?;
        let sources = [Locator::source(&source)?];
        Ok(convert(&sources, &to, options, &self.env)?.images)
    }

    /// Converts the layout `in`. Returns the fields and reasons of the losses, which the dry run
    /// tells too and which `--strict` refuses.
    fn losses(&self, to: &str, options: &Options) -> Vec<(String, String)> {
        let of = |options: &Options| -> Vec<(String, String)> {
            let images = self.try_convert(to, options).unwrap().into_iter();
            let losses = images.flat_map(|image| image.losses);
            losses.map(|loss| (loss.field, loss.why)).collect()
        };
        let strict = Options {
            strict: true,
            ..options.clone()
        };
        let dry = of(&Options {
            dry_run: true,
            ..options.clone()
        });
        if !dry.is_empty() {
            let refused = self.try_convert(to, &strict).unwrap_err();
            assert_eq!(refused.code(), Code::Strict, "{to}");
        }
        let losses = of(if dry.is_empty() { &strict } else { options });
        assert_eq!(dry, losses, "{to}");
        losses
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The first entry of a layout.
fn entry(layout: &Path) -> Value {
    read(&layout.join("index.json"))["manifests"][0].clone()
}

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    read(&layout.join("blobs").join(digest.replace(':', "/")))
}

fn put(layout: &Path, kind: &str, document: &Value) -> Value {
    let bytes = document.to_string();
    let hex = sha256_hex(bytes.as_bytes());
    fs::write(layout.join("blobs/sha256").join(&hex), &bytes).unwrap();
    json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
}

fn squash(squash: Squash) -> Options {
    let mut options = Options::default();
    options.layers.squash = Some(squash);
    options
}

fn zstd() -> Options {
    let mut options = Options::default();
    options.layers.compression = Some(Compression::Zstd);
    options
}

#[test]
fn annotations_of_merged_layers_are_reported() {
    let work = Work::new();
    work.image(&["a", "b", "c"], |manifest| {
        for (i, key) in ["base", "my", "other"].iter().enumerate() {
            manifest["layers"][i]["annotations"] = json!({
                *key: "note",
                // These describe the old bytes only.
                UNCOMPRESSED: "sha256:0",
                "containerd.io/snapshot/stargz/toc.digest": "sha256:0",
                "containerd.io/snapshot/overlaybd/blob-digest": "sha256:0",
            });
            manifest["layers"][i]["vendor"] = json!("bar");
        }
    });
    let last = Squash::Last(2.try_into().unwrap());
    let of_annotation = "the annotation describes a layer that was merged";
    let of_field = "the field describes a layer that was merged";
    for (i, (from, options)) in [(0, squash(Squash::All)), (1, squash(last))]
        .into_iter()
        .enumerate()
    {
        let keys = ["base", "my", "other"].into_iter().enumerate().skip(from);
        let annotations: Vec<(String, String)> = keys
            .map(|(i, key)| format!("layers.{i}.annotations.{key}"))
            .map(|field| (field, of_annotation.to_owned()))
            .collect();
        let fields = (from..3).map(|i| format!("manifest.layers.{i}.vendor"));
        let fields = fields.map(|field| (field, of_field.to_owned()));
        let all: Vec<_> = annotations.iter().cloned().chain(fields).collect();
        assert_eq!(work.losses(&format!("oci:out{i}"), &options), all);
        let out = work.path(&format!("out{i}"));
        let layers = blob(&out, &entry(&out))["layers"].clone();
        let merged = &layers[from];
        assert_eq!(layers.as_array().unwrap().len(), from + 1);
        assert_eq!(
            (&merged["annotations"], &merged["vendor"]),
            (&Value::Null, &Value::Null)
        );
        // Other formats report the annotations for the same reason.
        for to in ["docker-v2s2+dir:d", "docker-archive:a"] {
            let losses = work.losses(&format!("{to}{i}"), &options);
            let there = annotations.iter().filter(|loss| losses.contains(loss));
            assert_eq!(there.count(), annotations.len(), "{to}: {losses:?}");
            let silent = [UNCOMPRESSED, "toc.digest", "overlaybd"];
            let told = |loss: &&(String, String)| {
                let merged = loss.1 == of_annotation;
                merged && silent.iter().any(|key| loss.0.contains(key))
            };
            assert_eq!(losses.iter().find(told), None, "{to}");
        }
    }
    // The only layer of an image is merged too.
    work.image(&["a"], |manifest| {
        manifest["layers"][0]["annotations"] = json!({ "my": "note" });
        manifest["layers"][0]["vendor"] = json!("bar");
    });
    let fields = work.losses("oci:one", &squash(Squash::All)).into_iter();
    let fields: Vec<_> = fields.map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        ["layers.0.annotations.my", "manifest.layers.0.vendor"]
    );
}

/// A blob that is merged or compressed again is another blob than the one of the URLs.
#[test]
fn urls_of_another_blob_are_reported() {
    let work = Work::new();
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    work.image(&["a", "b"], |manifest| {
        let layer = &mut manifest["layers"][1];
        let kind = layer["mediaType"].as_str().unwrap();
        let suffix = kind.strip_prefix("application/vnd.oci.image.layer.v1.tar");
        layer["mediaType"] = json!(format!("{foreign}{}", suffix.unwrap()));
        layer["urls"] = json!(["https://example.com/layer"]);
    });
    let url = json!(["https://example.com/layer"]);
    let cases = [
        (Options::default(), None),
        (
            squash(Squash::All),
            Some("the URLs lead to a layer that was merged"),
        ),
        (
            zstd(),
            Some("the URLs lead to the blob before it was compressed again"),
        ),
    ];
    for (i, (options, why)) in cases.into_iter().enumerate() {
        let losses = work.losses(&format!("oci:out{i}"), &options);
        let expected = why.map(|why| ("layers.1.urls".to_owned(), why.to_owned()));
        assert_eq!(losses, Vec::from_iter(expected), "{i}");
        let out = work.path(&format!("out{i}"));
        let layers = blob(&out, &entry(&out))["layers"].clone();
        let last = layers.as_array().unwrap().last().unwrap();
        assert_eq!(
            last["urls"],
            if why.is_none() {
                url.clone()
            } else {
                Value::Null
            }
        );
    }
}

#[test]
fn urls_of_a_manifest_that_was_rewritten_leave_the_index() {
    let work = Work::new();
    let mut listed = work.image(&["a"], |_| {});
    listed["urls"] = json!(["https://example.com/manifest"]);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [listed] });
    let root = put(&work.path("in"), INDEX, &index);
    work.list(&root);
    let why = format!(
        "the field describes {}, and that document was rewritten",
        listed["digest"].as_str().unwrap()
    );
    let losses = work.losses("oci:out", &zstd());
    assert_eq!(losses, [("index.manifests.urls".to_owned(), why)]);
    let out = work.path("out");
    let written = blob(&out, &entry(&out))["manifests"][0].clone();
    assert_ne!(written["digest"], listed["digest"]);
    assert_eq!(written["urls"], Value::Null);
    assert_eq!(work.losses("oci:same", &Options::default()), []);
}

/// C15.
#[test]
fn an_annotation_with_the_diff_id_stays_true() {
    let work = Work::new();
    let overlay = "containerd.io/snapshot/overlaybd/blob-digest";
    let mut old = String::new();
    let image = work.image(&["a @2000"], |manifest| {
        let config = blob(&work.path("in"), &manifest["config"]);
        old = config["rootfs"]["diff_ids"][0].as_str().unwrap().to_owned();
        let digest = manifest["layers"][0]["digest"].clone();
        let annotations = json!({ UNCOMPRESSED: old, overlay: digest, "my": "note" });
        manifest["layers"][0]["annotations"] = annotations;
    });
    let mut clamped = Options::default();
    clamped.layers.clamp_mtime = Some(0);
    let mut estargz = Options::default();
    estargz.layers.compression = Some(Compression::Gzip);
    estargz.layers.toc = true;
    for (name, options, same) in [
        ("clamped", clamped, false),
        ("estargz", estargz, false),
        ("zstd", zstd(), true),
    ] {
        assert_eq!(work.losses(&format!("oci:{name}"), &options), [], "{name}");
        let out = work.path(name);
        let manifest = blob(&out, &entry(&out));
        let diff_id = blob(&out, &manifest["config"])["rootfs"]["diff_ids"][0].clone();
        let annotations = &manifest["layers"][0]["annotations"];
        assert_eq!(annotations[UNCOMPRESSED], diff_id, "{name}");
        assert_eq!(diff_id == *old, same, "{name}");
        assert_eq!(annotations["my"], "note", "{name}");
        assert_eq!(annotations[overlay], Value::Null, "{name}");
    }
    assert_eq!(work.losses("oci:copy", &Options::default()), []);
    assert_eq!(entry(&work.path("copy"))["digest"], image["digest"]);
}

/// K21. An index of version 2 has no `subject`: its descriptor names the image.
#[test]
fn a_soci_index_is_left_out_when_its_image_is_rewritten() {
    let work = Work::new();
    let layout = work.path("in");
    let mut soci = Value::Null;
    let image = work.image(&["a"], |manifest| {
        let kind = "application/vnd.amazon.soci.index.v2+json";
        let mut contents = put(&layout, "application/octet-stream", &json!("contents"));
        contents["annotations"] = json!({
            "com.amazon.soci.image-layer-digest": manifest["layers"][0]["digest"],
        });
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
            "config": put(&layout, kind, &json!({})), "layers": [contents],
        });
        soci = put(&layout, MANIFEST, &document);
        soci["artifactType"] = json!(kind);
        manifest["annotations"] = json!({ "com.amazon.soci.index-digest": soci["digest"] });
    });
    let mut listed = image.clone();
    listed["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    listed["annotations"] = json!({ "com.amazon.soci.index-digest": soci["digest"], "my": "note" });
    soci["annotations"] = json!({ "com.amazon.soci.image-manifest-digest": image["digest"] });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [listed, soci] });
    let root = put(&layout, INDEX, &index);
    work.list(&root);
    let rewritten = |what: &str| {
        let digest = image["digest"].as_str().unwrap();
        format!("{what} {digest}, and that image was rewritten")
    };
    let name = rewritten("the annotation names the SOCI index of");
    let entry_of = format!("SOCI index {}", soci["digest"].as_str().unwrap());
    let losses = [
        (entry_of, rewritten("the document refers to")),
        (
            "annotations.com.amazon.soci.index-digest".to_owned(),
            name.clone(),
        ),
        (
            "index.manifests.annotations.com.amazon.soci.index-digest".to_owned(),
            name,
        ),
    ];
    assert_eq!(work.losses("oci:zstd", &zstd()), losses);
    let out = work.path("zstd");
    let index = blob(&out, &entry(&out));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(
        index["manifests"][0]["annotations"],
        json!({ "my": "note" })
    );
    let manifest = blob(&out, &index["manifests"][0]);
    assert_eq!(manifest["annotations"], Value::Null);
    // A copy keeps every byte.
    assert_eq!(work.losses("oci:copy", &Options::default()), []);
    assert_eq!(entry(&work.path("copy"))["digest"], root["digest"]);
}
