//! Directories as skopeo writes them, and helpers to open and copy them.

use std::{fs, path::Path};

use imgconv_model::{
    Algorithm, Bundle, BundleSink, Child, Digest, Env, Facts, Name, Platform, Publication, Result,
    Transport,
};
use imgconv_testkit::laws;
use imgconv_transport_dir::DIR;

pub(crate) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const VERSION: &str = "Directory Transport Version: 1.1\n";

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    imgconv_stream::digest(Algorithm::Sha256, bytes)
}

pub(crate) fn facts(bytes: &[u8]) -> Facts {
    Facts {
        digest: Some(hash(bytes)),
        size: Some(bytes.len() as u64),
    }
}

pub(crate) fn env(tmp: &Path) -> Env {
    Env::new(tmp, Platform::new("linux", "amd64"))
}

/// Writes a directory: a manifest, the marker, blobs by digest.
pub(crate) fn directory(path: &Path, manifest: &str, blobs: &[&[u8]]) {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("version"), VERSION).unwrap();
    fs::write(path.join("manifest.json"), manifest).unwrap();
    for blob in blobs {
        fs::write(path.join(hash(blob).hex()), blob).unwrap();
    }
}

pub(crate) fn manifest() -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"x","size":6,"digest":"{}"}},"layers":[]}}"#,
        hash(b"config")
    )
}

pub(crate) fn open(path: &Path) -> Result<Box<dyn Bundle>> {
    DIR.open(path.to_str().unwrap(), &env(path.parent().unwrap()))
}

pub(crate) fn create(path: &Path) -> Result<Box<dyn BundleSink>> {
    DIR.create(path.to_str().unwrap(), &env(path.parent().unwrap()))
}

pub(crate) fn content(bundle: &dyn Bundle, facts: &Facts) -> Result<Vec<u8>> {
    laws::read(&bundle.blob(facts)?)
}

pub(crate) fn put(sink: &dyn BundleSink, bytes: &[u8]) -> Child {
    let mut writer = sink.writer().unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish(&hash(bytes), bytes.len() as u64).unwrap();
    Child {
        kind: String::new(),
        digest: hash(bytes),
        size: bytes.len() as u64,
        platform: None,
        annotations: Default::default(),
        raw: String::new(),
    }
}

pub(crate) fn publication(root: Child, name: Option<&str>) -> Publication {
    Publication {
        root,
        name: name.map(|name| Name::parse_reference(name).unwrap()),
        reference: None,
        file_name: None,
    }
}

/// Lists a directory, sorted.
pub(crate) fn list(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}
