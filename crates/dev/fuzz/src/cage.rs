//! A directory for one input, in which every write outside of the destination is seen.
//!
//! A path with `..` climbs out of the destination into one of the directories above, which must stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use imgconv_model::{Env, Limits, Platform};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// The directories of one input.
#[derive(Debug)]
pub struct Cage {
    whole: TempDir,
    /// The depth is that of the paths which seeds climb by.
    inner: PathBuf,
}

/// Calls `work` with fresh directories.
///
/// # Panics
/// If a file was made outside of them, or a temporary file was left behind.
pub fn caged<T>(work: impl FnOnce(&Cage) -> T) -> T {
    let whole = tempfile::Builder::new()
        .prefix("imgconv-fuzz-")
        .tempdir()
        .unwrap();
    let inner = whole.path().join("a/b");
    fs::create_dir_all(inner.join("tmp")).unwrap();
    fs::create_dir(inner.join("out")).unwrap();
    fs::write(whole.path().join("canary"), "canary").unwrap();
    let cage = Cage { whole, inner };
    let result = work(&cage);
    cage.check();
    result
}

impl Cage {
    /// The path at which the input may be, which does not exist yet.
    pub fn input(&self) -> PathBuf {
        self.inner.join("in")
    }

    /// The directory for results.
    pub fn out(&self) -> PathBuf {
        self.inner.join("out")
    }

    /// An environment with small limits, whose temporary files are in the cage.
    pub fn env(&self) -> Env {
        Env {
            limits: limits(),
            epoch: Some(0),
            ..Env::new(self.inner.join("tmp"), Platform::new("linux", "amd64"))
        }
    }

    fn check(&self) {
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        let root = self.whole.path();
        assert_eq!(names(root), ["a", "canary"], "a write outside");
        assert_eq!(names(&root.join("a")), ["b"], "a write outside");
        let known = ["in", "out", "tmp"];
        let stray: Vec<String> = names(&self.inner);
        let stray: Vec<&String> = (stray.iter())
            .filter(|name| !known.contains(&name.as_str()))
            .collect();
        assert!(stray.is_empty(), "a write outside: {stray:?}");
        assert_eq!(fs::read(root.join("canary")).unwrap(), b"canary");
        let left = names(&self.inner.join("tmp"));
        assert!(left.is_empty(), "temporary files are left: {left:?}");
    }
}

/// Limits that keep an input small and quick. The bounds of the targets fit them.
pub fn limits() -> Limits {
    Limits {
        manifest: MIB,
        root_index: MIB,
        config: MIB,
        archive_json: MIB,
        aci_manifest: MIB,
        json_memory: 24 * MIB,
        graph_nodes: 1000,
        entries: 20_000,
        sparse_holes: MIB,
        layer_bytes: 8 * MIB,
        image_bytes: 16 * MIB,
        zstd_window: 8 * MIB,
        xz_memory: 16 * MIB,
        image_tags: MIB,
        retries: 1,
        ..Limits::default()
    }
}

/// An environment for targets that write nothing but temporary files without a name.
pub fn env() -> Env {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(std::env::temp_dir);
    Env {
        limits: limits(),
        epoch: Some(0),
        ..Env::new(folder.clone(), Platform::new("linux", "amd64"))
    }
}

/// The files below a folder with their bytes; links are not followed.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path().strip_prefix(folder).unwrap().to_owned();
                found.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}
