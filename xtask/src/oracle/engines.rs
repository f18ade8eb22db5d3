//! Checks of engine stores: real engines load images and end; imgconv reads the store on the disk
//! and finds the same images.

use super::checks::{Oracle, contains, same_tree};
use super::docker::{equal, layers, unpacked};
use crate::process::Result;

/// The image that every engine loads, its archive, and its tree.
const IMAGE: &str = "oci:docker-base:example.com/layers/second:1";
const ARCHIVE: &str = "engines/in.tar";
const NAME: &str = "example.com/engine/x:1";
const TREE: &str = "docker-base-second/rootfs";

/// Starts docker with a data root of its own, loads the archive and ends docker; prints the image ID.
const DOCKER: &str = r#"
d="$PWD/engines/docker-$DRIVER"; mkdir -p "$d"
dockerd --data-root "$d/data" --exec-root "$d/exec" --pidfile "$d/pid" -H "unix://$d/sock" \
    --storage-driver "$DRIVER" --bridge=none --iptables=false --ip-forward=false --ip-masq=false \
    >"$d/log" 2>&1 &
pid=$!
trap 'kill $pid; wait $pid || :; umount "$d/data" 2>/dev/null || :' EXIT
tries=0
until docker -H "unix://$d/sock" version >/dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || { tail -n 20 "$d/log" >&2; exit 1; }
    sleep 0.2
done
docker -H "unix://$d/sock" load -q -i engines/in.tar >/dev/null
docker -H "unix://$d/sock" images -q --no-trunc
"#;

/// Does the same with containerd; prints the digest of the manifest.
const CONTAINERD: &str = r#"
d="$PWD/engines/containerd"; mkdir -p "$d"
cat >"$d/config.toml" <<END
version = 2
root = "$d/root"
state = "$d/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "$d/sock"
END
containerd -c "$d/config.toml" >"$d/log" 2>&1 &
pid=$!
trap 'kill $pid; wait $pid || :' EXIT
tries=0
until ctr -a "$d/sock" version >/dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || { tail -n 20 "$d/log" >&2; exit 1; }
    sleep 0.2
done
ctr -a "$d/sock" -n k8s.io image import --no-unpack engines/in.tar >/dev/null
ctr -a "$d/sock" -n k8s.io image ls | awk 'NR == 2 { print $3 }'
"#;

/// Loads the archive by podman; prints the image ID. Its run root has to have a short path.
const PODMAN: &str = r#"
d="$PWD/engines/podman-$DRIVER"; mkdir -p "$d"
podman="podman --root $d/root --runroot $PWD/run-$DRIVER --tmpdir $d/tmp --storage-driver $DRIVER"
$podman load -q -i engines/in.tar >/dev/null
$podman images -q --no-trunc
umount "$d/root/$DRIVER" 2>/dev/null || :
"#;

/// Runs every check of engines.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("engines") {
        return;
    }
    let needs = ["skopeo", "umoci", "busybox", "setcap", "setfattr", "root"];
    let made = oracle.check("engines: skopeo makes the archive", &needs, |oracle| {
        layers(oracle)?;
        let to = format!("docker-archive:{}:{NAME}", oracle.path(ARCHIVE).display());
        oracle
            .peer("skopeo", &["--insecure-policy", "copy", IMAGE, &to])
            .map(drop)
    });
    if !made {
        return;
    }
    for driver in ["overlay2", "vfs"] {
        let name = format!("engines: the data root of docker with {driver}");
        oracle.check(
            &name,
            &["dockerd", "docker", "umoci", "jq", "root"],
            |oracle| {
                let id = oracle.shell(&format!("DRIVER={driver}\n{DOCKER}"))?;
                let store = format!("docker-root:engines/docker-{driver}/data");
                same_image(
                    oracle,
                    &store,
                    &format!("engines-docker-{driver}"),
                    id.trim(),
                )
            },
        );
    }
    for driver in ["overlay", "vfs"] {
        let name = format!("engines: the store of podman with {driver}");
        oracle.check(&name, &["podman", "umoci", "jq", "root"], |oracle| {
            let id = oracle.shell(&format!("DRIVER={driver}\n{PODMAN}"))?;
            let store = format!("containers-storage:engines/podman-{driver}/root");
            same_image(
                oracle,
                &store,
                &format!("engines-podman-{driver}"),
                id.trim(),
            )
        });
    }
    let name = "engines: the root directory of containerd";
    oracle.check(
        name,
        &["containerd", "ctr", "umoci", "jq", "root"],
        |oracle| {
            let digest = oracle.shell(CONTAINERD)?;
            let store = "containerd:engines/containerd/root";
            contains(
                &oracle.imgconv(&["ls", store, "--namespace", "k8s.io"])?,
                digest.trim(),
            )?;
            same_image(oracle, store, "engines-containerd", "")
        },
    );
}

/// Demands that a store is whole, and that its image has that ID (unless the ID is empty) and tree.
fn same_image(oracle: &Oracle, store: &str, layout: &str, id: &str) -> Result {
    contains(
        &oracle.imgconv(&["verify", store])?,
        "1 checked, nothing wrong",
    )?;
    let image = format!("{store}:{NAME}");
    oracle.imgconv(&["convert", &*image, &format!("oci:{layout}")])?;
    if !id.is_empty() {
        let script = format!("skopeo inspect --raw oci:{layout}:{NAME} | jq -r .config.digest");
        equal("the image ID", oracle.shell(&script)?.trim(), id)?;
    }
    same_tree(&oracle.path(TREE), &unpacked(oracle, layout, 0)?)
}
