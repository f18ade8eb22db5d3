//! Checks of migrations: the storage of a real registry, a folder of actool's ACIs, a store of rkt
//! and a registry of version 1 go to one layout, and the first of them goes to every other kind of
//! destination. Other tools read every resulting image, and unpack the original trees.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imgconv_testkit::{ImageRecipe, build};
use serde_json::Value;

use super::checks::{Oracle, contains, same_lines, same_tree};
use super::docker::equal;
use super::registry_server::Registry;
use super::stores;
use crate::process::{Result, root};

/// The prefix of the image names in the registry's storage.
const HOST: &str = "registry.example.com:5000";
/// The layout that four stores become.
const ALL: &str = "migrate/all";
/// The file tree of the image that is pushed in every form.
const TREE: &str = "docker-base-second/rootfs";
/// The programs that checks of a file tree need.
const TREES: [&str; 3] = ["skopeo", "umoci", "root"];

/// The tags of the registry's storage: repository, platforms.
const TAGS: [(&str, &[&str]); 6] = [
    ("moved", &["amd64"]),
    ("schema1", &["amd64"]),
    ("team/schema2", &["amd64"]),
    ("team/oci", &["amd64"]),
    ("list", &["amd64", "arm64"]),
    ("index", &["amd64", "arm64"]),
];

/// The number of different images: `moved` and `team/schema2` are two names of one image.
const IMAGES: usize = 5;

/// Recipes that become a store of rkt, and those of a registry of version 1.
const RKT: [&str; 2] = ["everything:2.1", "minimal:1.0"];
const V1: [&str; 2] = ["whiteouts:1.0", "base:1.0"];

/// Runs every check of migrations.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("migrate") {
        return;
    }
    let needs = [
        "docker-registry",
        "skopeo",
        "root",
        "actool",
        "busybox",
        "setcap",
        "setfattr",
        "umoci",
    ];
    let made = oracle.check("migrate: the stores are made", &needs, |oracle| {
        stores::fill(oracle)?;
        stores::aci_folder(oracle)?;
        handmade(oracle)
    });
    if made {
        one_layout(oracle);
        split(oracle);
        archives(oracle);
        acis(oracle);
        registry(oracle);
    }
}

/// Makes the stores that no tool makes any more, and layouts of the same images, by hand too.
fn handmade(oracle: &Oracle) -> Result {
    let load = |image: &str| {
        let name = image.split(':').next().unwrap_or(image);
        ImageRecipe::load(&root().join("testdata/images").join(name))
    };
    let all = |images: &[&str]| {
        images
            .iter()
            .map(|image| load(image))
            .collect::<imgconv_testkit::Result<Vec<_>>>()
    };
    let made = || {
        let (rkt, v1) = (all(&RKT)?, all(&V1)?);
        imgconv_testkit::stores::rkt(&rkt, &oracle.path("migrate/rkt"))?;
        imgconv_testkit::stores::registry_v1(&v1, &oracle.path("migrate/v1"))?;
        build::layout(&rkt, &oracle.path("migrate/of-rkt"))?;
        build::layout(&v1, &oracle.path("migrate/of-v1"))
    };
    made().map_err(|e: imgconv_testkit::Failure| e.to_string())
}

fn one_layout(oracle: &mut Oracle) {
    // In the registry's storage two tags name the same image, and another image has no tag.
    for (source, images) in [
        ("registry-storage:stores/data", 6),
        ("aci-tree:stores/acis", 1),
        ("rkt:migrate/rkt", 2),
        ("registry-storage:migrate/v1", 2),
    ] {
        let name = format!("migrate: {source} to one layout");
        oracle.check(&name, &[], |oracle| {
            let report = migrated(
                oracle,
                &[],
                source,
                &format!("oci:{ALL}"),
                "migrate/report.json",
            )?;
            report.complete(images)
        });
    }
    oracle.check(
        "migrate: the layout has every name, and verifies",
        &[],
        |oracle| {
            let names: BTreeSet<String> = expected().into_iter().map(|(name, ..)| name).collect();
            let found = contents(&oracle.path(ALL))?.names.into_keys();
            // The first manifest of the tag that moved is named by its digest.
            let (by_digest, found): (BTreeSet<String>, BTreeSet<String>) =
                found.partition(|name| name.contains('@'));
            equal("the names", &found, &names)?;
            equal("the names by digest", &by_digest.len(), &1)?;
            let first = by_digest.first().map_or("", |name| name);
            contains(first, "registry.example.com:5000/moved@sha256:")?;
            contains(
                &oracle.imgconv(&["verify", &format!("oci:{ALL}")])?,
                "nothing wrong",
            )
        },
    );
    for (i, (name, arch, tree)) in expected().into_iter().enumerate() {
        let title = format!("migrate: {name} for {arch}, umoci unpack equals the tree");
        oracle.check(&title, &TREES, |oracle| {
            let found = tree_of(oracle, &format!("oci:{ALL}:{name}"), arch, &format!("{i}"))?;
            match &tree {
                Tree::Folder(path) => same_tree(&oracle.path(path), &found),
                Tree::Unpacked(image) => {
                    let expected = tree_of(oracle, image, arch, &format!("{i}-expected"))?;
                    same_lines(&lines(&expected)?, &lines(&found)?)
                }
            }
        });
    }
}

/// Where the tree of an image comes from.
enum Tree {
    /// The folder existed before the image was made.
    Folder(&'static str),
    /// umoci unpacks a layout that was written by hand.
    Unpacked(String),
}

/// The entries of a tree without the times of directories, because umoci does not set the times of
/// directories that no layer lists.
fn lines(tree: &Path) -> Result<Vec<String>> {
    let lines = imgconv_testkit::snapshot(tree).map_err(|e| e.to_string())?;
    let without_time = |line: String| match line.rsplit_once(" @") {
        Some((head, time)) if line.starts_with("dir ") => {
            let rest = time.split_once(' ').map_or("", |(_, rest)| rest);
            format!("{head} {rest}")
        }
        _ => line,
    };
    Ok(lines.into_iter().map(without_time).collect())
}

/// Every image of the layout: its name, a platform, its tree.
fn expected() -> Vec<(String, &'static str, Tree)> {
    let mut images = Vec::new();
    for (repository, platforms) in TAGS {
        for arch in platforms {
            let tree = match platforms.len() {
                1 => Tree::Folder(TREE),
                _ => Tree::Unpacked("oci:stores/both:example.com/both:1.0".into()),
            };
            images.push((format!("{HOST}/{repository}:t"), *arch, tree));
        }
    }
    let busybox = "example.com/oracle/busybox:1.0".to_owned();
    images.push((busybox, "amd64", Tree::Folder("docker-base-plain/rootfs")));
    for (layout, names) in [("of-rkt", RKT), ("of-v1", V1)] {
        for name in names {
            let name = format!("example.com/{name}");
            let tree = Tree::Unpacked(format!("oci:migrate/{layout}:{name}"));
            images.push((name, "amd64", tree));
        }
    }
    images
}

/// One layout for each repository.
fn split(oracle: &mut Oracle) {
    let name = "migrate: --split repo, skopeo copies and umoci unpacks each";
    oracle.check(name, &TREES, |oracle| {
        let report = storage(oracle, &["--split", "repo"], "oci:migrate/split")?;
        report.complete(TAGS.len())?;
        let folders = fs::read_dir(oracle.path("migrate/split")).map_err(|e| e.to_string())?;
        let folders = folders.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let folders: BTreeSet<String> = folders.filter(|name| !name.starts_with('.')).collect();
        equal("layouts", &folders.len(), &TAGS.len())?;
        for (i, (repository, _)) in single().enumerate() {
            let image = report.of(repository)?;
            let found = tree_of(
                oracle,
                text(image, "destination"),
                "amd64",
                &format!("split-{i}"),
            )?;
            same_tree(&oracle.path(TREE), &found)?;
        }
        Ok(())
    });
}

/// A file of `docker save` for each image.
fn archives(oracle: &mut Oracle) {
    let name = "migrate: docker archives, skopeo copies and umoci unpacks each";
    oracle.check(name, &TREES, |oracle| {
        // Such a file holds one platform.
        let only = ["--platform", "linux/amd64"];
        let report = storage(oracle, &only, "docker-archive:migrate/archives/")?;
        report.complete(IMAGES)?;
        let others = single().filter(|(repository, _)| *repository != "team/schema2");
        for (i, (repository, _)) in others.enumerate() {
            let image = report.of(repository)?;
            let place = text(image, "destination");
            let found = tree_of(oracle, place, "amd64", &format!("archive-{i}"))?;
            same_tree(&oracle.path(TREE), &found)?;
        }
        Ok(())
    });
}

/// A folder of ACIs.
fn acis(oracle: &mut Oracle) {
    oracle.check(
        "migrate: ACIs, actool validates each",
        &["actool"],
        |oracle| {
            storage(oracle, &[], "aci:migrate/acis/")?.complete(IMAGES)?;
            let said =
                oracle.shell("set -- migrate/acis/*.aci; actool validate \"$@\"; echo $#")?;
            let platforms: usize = TAGS.iter().map(|(_, platforms)| platforms.len()).sum();
            equal("ACIs", said.trim(), &*platforms.to_string())
        },
    );
}

/// A registry that runs.
fn registry(oracle: &mut Oracle) {
    let mut registry = None;
    oracle.check(
        "migrate: another registry starts",
        &["docker-registry"],
        |oracle| {
            registry = Some(Registry::start(oracle, "migrate/registry")?);
            Ok(())
        },
    );
    let Some(registry) = registry else {
        return;
    };
    // A registry accepts schema 1 only with a signature for its own repository name, so these
    // images are pushed in another format.
    for (format, prefix) in [("docker-v2s2+", "new"), ("", "kept")] {
        let name =
            format!("migrate: {format}docker://, skopeo finds every digest and umoci unpacks each");
        oracle.check(&name, &TREES, |oracle| {
            let prefix = format!("docker://127.0.0.1:{}/{prefix}", registry.port);
            let report = storage(oracle, &[], &format!("{format}{prefix}"))?;
            report.complete(TAGS.len())?;
            for (i, (repository, platforms)) in TAGS.into_iter().enumerate() {
                let remote = format!("{prefix}/{repository}:t");
                let raw = ["inspect", "--raw", "--tls-verify=false", &*remote];
                fs::write(oracle.path("migrate/raw"), oracle.peer("skopeo", &raw)?)
                    .map_err(|e| e.to_string())?;
                let digest = oracle.peer("skopeo", &["manifest-digest", "migrate/raw"])?;
                equal(
                    repository,
                    text(report.of(repository)?, "digest"),
                    digest.trim(),
                )?;
                if platforms.len() == 1 {
                    let found =
                        tree_of(oracle, &remote, "amd64", &format!("registry-{format}{i}"))?;
                    same_tree(&oracle.path(TREE), &found)?;
                }
            }
            Ok(())
        });
    }
}

/// The tags that name the same image.
fn single() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    TAGS.into_iter()
        .filter(|(_, platforms)| platforms.len() == 1)
}

/// Migrates the tags of the registry's storage.
fn storage(oracle: &Oracle, options: &[&str], destination: &str) -> Result<Report> {
    // An image without a tag can't be pushed to a registry.
    let options = [&["--only", "*:t"], options].concat();
    migrated(
        oracle,
        &options,
        "registry-storage:stores/data",
        destination,
        "migrate/report.json",
    )
}

/// Migrates a store, names as they were on [`HOST`].
fn migrated(
    oracle: &Oracle,
    options: &[&str],
    source: &str,
    destination: &str,
    report: &str,
) -> Result<Report> {
    let host: &[&str] = match source {
        "registry-storage:stores/data" => &["--registry-host", HOST],
        _ => &[],
    };
    let migrate = ["migrate", source, destination, "--report", report];
    oracle.imgconv(&[host, &migrate, options].concat())?;
    Report::read(&oracle.path(report))
}

/// Has skopeo copy one image, and umoci unpack the copy; returns its tree.
fn tree_of(oracle: &Oracle, image: &str, arch: &str, name: &str) -> Result<PathBuf> {
    let (copy, bundle) = (
        format!("migrate/copy-{name}"),
        format!("migrate/bundle-{name}"),
    );
    let arguments = [
        "--insecure-policy",
        &format!("--override-arch={arch}"),
        "copy",
        "--src-tls-verify=false",
        image,
        &format!("oci:{copy}:x"),
    ];
    oracle.peer("skopeo", &arguments)?;
    oracle.peer(
        "umoci",
        &["unpack", "--image", &format!("{copy}:x"), &bundle],
    )?;
    Ok(oracle.path(&bundle).join("rootfs"))
}

/// The report of a migration.
#[derive(Debug)]
pub(super) struct Report(Value);

impl Report {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_slice(&text)
            .map(Self)
            .map_err(|e| e.to_string())
    }

    fn images(&self) -> &[Value] {
        self.0["images"].as_array().map_or(&[], Vec::as_slice)
    }

    /// How many images have a status.
    pub(super) fn count(&self, status: &str) -> usize {
        self.images()
            .iter()
            .filter(|image| image["status"] == status)
            .count()
    }

    /// Fails unless the report has the given number of images, each from another source, and all of
    /// them are at the destination.
    pub(super) fn complete(&self, count: usize) -> Result {
        let sources: BTreeSet<&str> = self
            .images()
            .iter()
            .map(|image| text(image, "source"))
            .collect();
        equal("different images", &sources.len(), &count)?;
        equal("images", &self.images().len(), &count)?;
        equal(
            "done or kept",
            &(self.count("done") + self.count("kept")),
            &count,
        )
    }

    /// The image of a repository on [`HOST`].
    fn of(&self, repository: &str) -> Result<&Value> {
        let name = format!("/{repository}:t");
        let mut images = self.images().iter();
        images
            .find(|image| text(image, "name").ends_with(&name))
            .ok_or_else(|| format!("`{name}` is missing in {}", self.0))
    }
}

/// A text of an image in a report.
fn text<'a>(image: &'a Value, key: &str) -> &'a str {
    image[key].as_str().unwrap_or_default()
}

/// The contents of a layout.
#[derive(Debug)]
pub(super) struct Contents {
    /// The digest of every name.
    pub(super) names: BTreeMap<String, String>,
    /// The digest of every blob.
    pub(super) blobs: BTreeSet<String>,
}

/// Reads a layout.
pub(super) fn contents(layout: &Path) -> Result<Contents> {
    let failed = |e: std::io::Error| format!("{}: {e}", layout.display());
    let index = fs::read(layout.join("index.json")).map_err(failed)?;
    let index: Value = serde_json::from_slice(&index).map_err(|e| e.to_string())?;
    let entries = index["manifests"].as_array().into_iter().flatten();
    let names = entries.filter_map(|entry| {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
        Some((name.to_owned(), text(entry, "digest").to_owned()))
    });
    let files = fs::read_dir(layout.join("blobs/sha256")).map_err(failed)?;
    let blobs = files.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
    Ok(Contents {
        names: names.collect(),
        blobs: blobs.collect::<std::io::Result<_>>().map_err(failed)?,
    })
}
