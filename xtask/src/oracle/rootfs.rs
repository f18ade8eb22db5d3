//! Checks of root file systems: imgconv reads exports of podman, and podman and GNU tar read the
//! tars of imgconv.

use super::checks::{Oracle, contains, same_tree};
use super::docker::{layers, unpacked};

/// The image and the tree of it that umoci has unpacked.
const IMAGE: &str = "oci:docker-base:example.com/layers/second:1";
const TREE: &str = "docker-base-second/rootfs";

/// Exports the tree of an image by podman, from a container that is never started.
const EXPORT: &str = r#"
d="$PWD/rootfs-podman"; mkdir -p "$d"
podman="podman --root $d/root --runroot $PWD/run-rootfs --tmpdir $d/tmp --storage-driver vfs"
id=$($podman load -q -i rootfs-in.tar | sed 's/^Loaded image: //')
container=$($podman create "$id" /bin/true)
$podman export -o rootfs-export.tar "$container"
$podman rm "$container" >/dev/null
"#;

/// Imports a flat tar by podman, exports the image and prints the paths in its one layer.
const IMPORT: &str = r#"
d="$PWD/rootfs-podman"
podman="podman --root $d/root --runroot $PWD/run-rootfs --tmpdir $d/tmp --storage-driver vfs"
$podman import -q rootfs-flat.tar example.com/imported:1 >/dev/null
$podman save -q --format oci-archive -o rootfs-imported.tar example.com/imported:1
"#;

/// Runs every check of root file systems.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("rootfs") {
        return;
    }
    let needs = ["skopeo", "umoci", "busybox", "setcap", "setfattr", "root"];
    let made = oracle.check("rootfs: an image becomes a flat tar", &needs, |oracle| {
        layers(oracle)?;
        oracle.imgconv(&["convert", IMAGE, "rootfs:rootfs-flat.tar"])?;
        oracle.shell(
            "mkdir rootfs-extracted && tar -C rootfs-extracted -xpf rootfs-flat.tar --numeric-owner \
             --xattrs --xattrs-include='*'",
        )?;
        same_tree(&oracle.path(TREE), &oracle.path("rootfs-extracted"))
    });
    if !made {
        return;
    }
    oracle.check(
        "rootfs: the flat tar is read again",
        &["umoci", "jq", "root"],
        |oracle| {
            let to = "oci:rootfs-again";
            oracle.imgconv(&[
                "convert",
                "rootfs:rootfs-flat.tar",
                to,
                "--name",
                "example.com/r:1",
            ])?;
            same_tree(&oracle.path(TREE), &unpacked(oracle, "rootfs-again", 0)?)
        },
    );
    let needs = ["podman", "umoci", "jq", "root"];
    oracle.check("rootfs: what podman exports is read", &needs, |oracle| {
        let name = "example.com/rootfs:1";
        oracle.imgconv(&[
            "convert",
            IMAGE,
            &format!("docker-archive:rootfs-in.tar:{name}"),
        ])?;
        oracle.shell(EXPORT)?;
        let to = "oci:rootfs-exported";
        oracle.imgconv(&["convert", "rootfs:rootfs-export.tar", to, "--name", name])?;
        oracle.shell(
            "mkdir rootfs-by-tar && tar -C rootfs-by-tar -xpf rootfs-export.tar --numeric-owner \
             --xattrs --xattrs-include='*' && touch -d @0 rootfs-by-tar",
        )?;
        let found = unpacked(oracle, "rootfs-exported", 0)?;
        same_tree(&oracle.path("rootfs-by-tar"), &found)
    });
    oracle.check("rootfs: podman imports the flat tar", &needs, |oracle| {
        oracle.shell(IMPORT)?;
        let inspected =
            oracle.imgconv(&["inspect", "oci-archive:rootfs-imported.tar", "--json"])?;
        contains(&inspected, "layers")?;
        oracle.imgconv(&[
            "convert",
            "oci-archive:rootfs-imported.tar",
            "oci:rootfs-imported",
        ])?;
        same_tree(&oracle.path(TREE), &unpacked(oracle, "rootfs-imported", 0)?)
    });
}
