//! Checks of stores that other programs filled: the storage of a registry, read after the registry
//! ended, and a folder of ACIs by actool.

use std::fs;
use std::path::{Path, PathBuf};

use imgconv_testkit::{ImageRecipe, build};
use serde_json::Value;

use super::checks::{Oracle, contains, same_tree};
use super::docker::{equal, layers, unpacked};
use super::inputs;
use super::registry_server::Registry;
use crate::process::{Result, root};

/// The image that is pushed in every form, and its tree.
const IMAGE: &str = "oci:docker-base:example.com/layers/second:1";
const TREE: &str = "docker-base-second/rootfs";
/// The storage, when the registry is gone.
const STORAGE: &str = "registry-storage:stores/data";
/// A file with the digests of its tags.
const DIGESTS: &str = "stores/digests";

/// The pushed images: repository, format, source. A tag that moves leaves its first manifest
/// behind.
const PUSHED: [(&str, &str, &str); 7] = [
    ("moved", "oci", "oci:docker-base:example.com/layers/first:1"),
    ("moved", "v2s2", IMAGE),
    ("schema1", "v2s1", IMAGE),
    ("team/schema2", "v2s2", IMAGE),
    ("team/oci", "oci", IMAGE),
    ("list", "v2s2", "oci:stores/both:example.com/both:1.0"),
    ("index", "oci", "oci:stores/both:example.com/both:1.0"),
];

/// Runs every check of stores.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("stores") {
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
    let mut digests = Vec::new();
    let made = oracle.check(
        "stores: skopeo fills the storage of a registry",
        &needs,
        |oracle| {
            fill(oracle)?;
            let text = fs::read_to_string(oracle.path(DIGESTS)).map_err(|e| e.to_string())?;
            digests = text.lines().map(str::to_owned).collect();
            Ok(())
        },
    );
    if made {
        storage(oracle, &digests);
    }
    acis(oracle);
}

/// Makes the storage of a registry and ends the registry, unless it is there; [`DIGESTS`] gets the digest that the
/// registry gives for each tag, a line each.
pub(super) fn fill(oracle: &Oracle) -> Result {
    if oracle.path(DIGESTS).exists() {
        return Ok(());
    }
    layers(oracle)?;
    let images = ["both-amd64", "both-arm64"]
        .map(|name| ImageRecipe::load(&root().join("testdata/images").join(name)));
    let [amd64, arm64] = images;
    let images = [
        amd64.map_err(|e| e.to_string())?,
        arm64.map_err(|e| e.to_string())?,
    ];
    build::layout(&images, &oracle.path("stores/both")).map_err(|e| e.to_string())?;
    let registry = Registry::start(oracle, "stores")?;
    let mut digests = String::new();
    for (repository, format, source) in PUSHED {
        let remote = format!("docker://{}", registry.image(repository));
        let push = [
            "--insecure-policy",
            "copy",
            "--all",
            "--format",
            format,
            "--dest-tls-verify=false",
            source,
            &remote,
        ];
        oracle.peer("skopeo", &push)?;
        let ask = ["inspect", "--raw", "--tls-verify=false", &*remote];
        fs::write(oracle.path("stores/raw"), oracle.peer("skopeo", &ask)?)
            .map_err(|e| e.to_string())?;
        digests += &oracle.peer("skopeo", &["manifest-digest", "stores/raw"])?;
    }
    fs::write(oracle.path(DIGESTS), digests).map_err(|e| e.to_string())
}

fn storage(oracle: &mut Oracle, digests: &[String]) {
    let state = |oracle: &Oracle| {
        imgconv_testkit::snapshot(&oracle.path("stores/data")).map_err(|e| e.to_string())
    };
    let mut before = Vec::new();
    oracle.check("stores: every tag and its digest", &[], |oracle| {
        before = state(oracle)?;
        let list = oracle.imgconv(&["ls", "--json", STORAGE])?;
        let list: Value = serde_json::from_str(&list).map_err(|e| e.to_string())?;
        let list = list["images"].as_array().cloned().unwrap_or_default();
        // The moved tag's first manifest is named by its digest; each index is two images.
        let names = list.iter().filter_map(|image| image["name"].as_str());
        let by_digest: Vec<&str> = names.filter(|name| name.contains('@')).collect();
        let first = format!("docker.io/library/moved@{}", digests[0]);
        equal("images named by a digest", &by_digest, &vec![&*first])?;
        equal("images", &list.len(), &9)?;
        for ((repository, ..), digest) in PUSHED.iter().zip(digests).skip(1) {
            let reference = format!("{STORAGE}:{repository}:t");
            let raw = oracle.imgconv(&["inspect", "--raw", &reference])?;
            fs::write(oracle.path("stores/raw"), raw).map_err(|e| e.to_string())?;
            let found = oracle.peer("skopeo", &["manifest-digest", "stores/raw"])?;
            equal(&reference, found.trim(), &**digest)?;
        }
        Ok(())
    });
    // Two tags name the same image.
    oracle.check("stores: imgconv verify of the storage", &[], |oracle| {
        contains(
            &oracle.imgconv(&["verify", STORAGE])?,
            "8 checked, nothing wrong",
        )
    });
    for repository in ["moved", "schema1", "team/schema2", "team/oci"] {
        let name = format!("stores: {repository}, umoci unpack equals the tree");
        oracle.check(&name, &["umoci", "jq", "root"], |oracle| {
            let layout = format!("stores-{}", repository.replace('/', "-"));
            let from = format!("{STORAGE}:{repository}:t");
            oracle.imgconv(&["convert", &*from, &format!("oci:{layout}")])?;
            same_tree(&oracle.path(TREE), &unpacked(oracle, &layout, 0)?)
        });
    }
    let name = "stores: the whole storage becomes a layout that skopeo reads";
    oracle.check(name, &["skopeo"], |oracle| {
        let host = ["--registry-host", "registry.example.com:5000"];
        let convert = ["convert", STORAGE, "oci:stores-all"];
        oracle.imgconv(&[&host[..], &convert].concat())?;
        for (repository, ..) in &PUSHED[1..] {
            let image = format!("oci:stores-all:registry.example.com:5000/{repository}:t");
            let config = ["inspect", "--config", "--override-arch=amd64", &*image];
            contains(&oracle.peer("skopeo", &config)?, "\"amd64\"")?;
        }
        Ok(())
    });
    let name = "stores: imgconv verify of a mount that can't be written";
    oracle.check(name, &["root", "unshare", "mount"], |oracle| {
        let said = oracle.shell(&format!(
            "unshare -m sh -euc 'mount --bind stores/data stores/data\n\
             mount -o remount,bind,ro stores/data\n\
             if touch stores/data/x 2>/dev/null; then exit 1; fi\n\
             exec \"$0\" verify {STORAGE}' '{}'",
            oracle.program.display()
        ))?;
        contains(&said, "8 checked, nothing wrong")
    });
    oracle.check("stores: the storage is as it was", &[], |oracle| {
        equal("the storage", &state(oracle)?, &before)
    });
}

/// A folder of ACIs by actool; one ACI lies in a subfolder, with a signature beside it.
fn acis(oracle: &mut Oracle) {
    let name = "stores: a folder of actool's ACIs, umoci unpack equals the tree";
    let needs = [
        "actool", "busybox", "setcap", "setfattr", "umoci", "jq", "root",
    ];
    oracle.check(name, &needs, |oracle| {
        let aci = aci_folder(oracle)?;
        oracle.imgconv(&["convert", "aci-tree:stores/acis", "oci:stores-acis"])?;
        oracle.imgconv(&[
            "aci-to-oci".as_ref(),
            aci.as_os_str(),
            "stores-aci".as_ref(),
        ])?;
        same_tree(
            &unpacked(oracle, "stores-aci", 0)?,
            &unpacked(oracle, "stores-acis", 0)?,
        )
    });
}

/// Makes that folder; returns the ACI that is in it.
pub(super) fn aci_folder(oracle: &Oracle) -> Result<PathBuf> {
    let input = inputs::busybox(oracle)?;
    let deep = oracle.path("stores/acis/a/b/image");
    copy(&input.aci, &deep)?;
    let signature = deep.with_extension("asc");
    fs::write(signature, "signature").map_err(|e| e.to_string())?;
    Ok(input.aci)
}

fn copy(from: &Path, to: &Path) -> Result {
    let made = to.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::copy(from, to).map(drop))
        .map_err(|e| format!("{}: {e}", to.display()))
}
