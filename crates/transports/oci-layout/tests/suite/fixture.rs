//! Layouts made by hand, and what is compared afterwards.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use imgconv_model::{
    Algorithm, Bundle, BundleSink, Child, Digest, Env, Error, Facts, Name, Platform, Publication,
    Result, Transport,
};
pub(crate) use imgconv_testkit::laws::read;
use imgconv_transport_oci_layout::OCI_LAYOUT;
use tempfile::TempDir;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    imgconv_stream::digest(Algorithm::Sha256, bytes)
}

pub(crate) fn facts(bytes: &[u8]) -> Facts {
    Facts {
        digest: Some(sha256(bytes)),
        size: Some(bytes.len() as u64),
    }
}

/// A layout in a directory that is removed at the end.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) directory: TempDir,
}

impl Layout {
    /// Makes a layout without images.
    pub(crate) fn new() -> Self {
        let layout = Self {
            directory: TempDir::new().unwrap(),
        };
        fs::create_dir_all(layout.path("blobs/sha256")).unwrap();
        layout.write("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        layout.list(&[]);
        layout
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("layout").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn blob_path(&self, bytes: &[u8]) -> PathBuf {
        self.path(&format!("blobs/sha256/{}", sha256(bytes).hex()))
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> Facts {
        fs::write(self.blob_path(bytes), bytes).unwrap();
        facts(bytes)
    }

    /// Stores a manifest and returns its descriptor with these annotations.
    pub(crate) fn manifest(&self, bytes: &[u8], annotations: &str) -> String {
        self.blob(bytes);
        descriptor(bytes, &format!(r#","annotations":{{{annotations}}}"#))
    }

    /// Writes an `index.json` of these descriptors.
    pub(crate) fn list(&self, descriptors: &[&str]) {
        let list = descriptors.join(",");
        self.write(
            "index.json",
            format!(r#"{{"schemaVersion":2,"manifests":[{list}]}}"#),
        );
    }

    pub(crate) fn open_with(&self, env: &Env) -> Result<Box<dyn Bundle>> {
        OCI_LAYOUT.open(self.path("").to_str().unwrap(), env)
    }

    pub(crate) fn open(&self) -> Box<dyn Bundle> {
        self.open_with(&env()).unwrap()
    }

    pub(crate) fn fails(&self) -> Error {
        self.open_with(&env()).unwrap_err()
    }
}

pub(crate) fn descriptor(bytes: &[u8], more: &str) -> String {
    format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":{}{more}}}"#,
        sha256(bytes),
        bytes.len()
    )
}

pub(crate) fn create(path: &Path) -> Box<dyn BundleSink> {
    OCI_LAYOUT.create(path.to_str().unwrap(), &env()).unwrap()
}

pub(crate) fn put(sink: &dyn BundleSink, bytes: &[u8]) -> Digest {
    let digest = sha256(bytes);
    let mut writer = sink.writer().unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish(&digest, bytes.len() as u64).unwrap();
    digest
}

pub(crate) fn publication(bytes: &[u8], name: Option<&str>) -> Publication {
    Publication {
        root: Child {
            kind: MANIFEST.into(),
            digest: sha256(bytes),
            size: bytes.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
            raw: String::new(),
        },
        name: name.map(|name| Name::parse_reference(name).unwrap()),
        reference: None,
        file_name: None,
    }
}

/// Every file and directory below, with its content.
pub(crate) fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            for (below, bytes) in tree(&entry.path()) {
                found.insert(format!("{name}/{below}"), bytes);
            }
            found.insert(format!("{name}/"), Vec::new());
        } else {
            found.insert(name, fs::read(entry.path()).unwrap_or_default());
        }
    }
    found
}
