//! Checks of engine stores: real engines load images and end; imgconv reads the store on the disk
//! and finds the same images.

use super::checks::{Oracle, contains, same_tree};
use super::docker::{equal, layers, unpacked};
use super::layers::{NAMES, more_images, same_merged};
use crate::process::Result;

/// The image that every engine loads, its archive, and its tree.
const IMAGE: &str = "oci:docker-base:example.com/layers/second:1";
const ARCHIVE: &str = "engines/in.tar";
const NAME: &str = "example.com/engine/x:1";
const TREE: &str = "docker-base-second/rootfs";
/// The further images that every engine loads: a layout and an archive of the same ones.
const MORE: &str = "engines/more";
const MORE_ARCHIVE: &str = "engines/more.tar";

/// Starts docker with a data root of its own, loads the archive and ends docker; prints the image ID.
const DOCKER: &str = r#"
d="$PWD/engines/$NAME"; mkdir -p "$d"
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
docker -H "unix://$d/sock" load -q -i engines/more.tar >/dev/null
docker -H "unix://$d/sock" load -q -i engines/in.tar >/dev/null
docker -H "unix://$d/sock" images -q --no-trunc example.com/engine/x:1
"#;

/// Does the same with containerd; prints the digest of the manifest.
const CONTAINERD: &str = r#"
d="$PWD/engines/$NAME"; mkdir -p "$d"
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
ctr -a "$d/sock" -n k8s.io image import --no-unpack engines/more.tar >/dev/null
ctr -a "$d/sock" -n k8s.io image import --no-unpack engines/in.tar >/dev/null
ctr -a "$d/sock" -n k8s.io image ls | awk '$1 == "example.com/engine/x:1" { print $3 }'
"#;

/// Loads the archive by podman; prints the image ID. Its run root has to have a short path.
const PODMAN: &str = r#"
d="$PWD/engines/$NAME"; mkdir -p "$d"
podman="podman --root $d/root --runroot $PWD/run-$NAME --tmpdir $d/tmp --storage-driver $DRIVER"
$podman load -q -i engines/more.tar >/dev/null
$podman load -q -i engines/in.tar >/dev/null
$podman images -q --no-trunc example.com/engine/x:1
umount "$d/root/$DRIVER" 2>/dev/null || :
"#;

/// Loads the archive into docker with containerd's image store, in the place where docker keeps it.
const DOCKER_CONTAINERD: &str = r#"
d="$PWD/engines/$NAME"; mkdir -p "$d"
cat >"$d/config.toml" <<END
version = 2
root = "$d/data/containerd/daemon"
state = "$d/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "$d/containerd"
END
echo '{"features": {"containerd-snapshotter": true}}' >"$d/daemon.json"
containerd -c "$d/config.toml" >"$d/containerd.log" 2>&1 &
containerd=$!
trap 'kill $containerd; wait $containerd || :' EXIT
tries=0
until ctr -a "$d/containerd" version >/dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || { tail -n 20 "$d/containerd.log" >&2; exit 1; }
    sleep 0.2
done
dockerd --config-file "$d/daemon.json" --containerd "$d/containerd" --data-root "$d/data" \
    --exec-root "$d/exec" --pidfile "$d/pid" -H "unix://$d/sock" \
    --bridge=none --iptables=false --ip-forward=false --ip-masq=false >"$d/log" 2>&1 &
docker=$!
trap 'kill $docker; wait $docker || :; kill $containerd; wait $containerd || :' EXIT
tries=0
until docker -H "unix://$d/sock" version >/dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || { tail -n 20 "$d/log" >&2; exit 1; }
    sleep 0.2
done
docker -H "unix://$d/sock" load -q -i engines/more.tar >/dev/null
docker -H "unix://$d/sock" load -q -i engines/in.tar >/dev/null
"#;

/// Which digest of the image a script prints.
#[derive(Clone, Copy)]
enum Prints {
    Config,
    Manifest,
    Nothing,
}

/// An engine whose store is read.
struct Store {
    /// The name of its directory, which also names the check.
    name: &'static str,
    /// The programs that fill the store, or `newer`.
    needs: &'static [&'static str],
    /// Sets `DRIVER`.
    driver: &'static str,
    script: &'static str,
    /// The place, without the directory.
    scheme: &'static str,
    /// The path in the directory.
    path: &'static str,
    /// The digest that the script prints.
    prints: Prints,
    /// Other locators of the same images: what stands before and behind the directory.
    also: &'static [(&'static str, &'static str)],
}

const STORES: &[Store] = &[
    docker("docker-overlay2", "overlay2", &["dockerd", "docker"]),
    docker("docker-vfs", "vfs", &["dockerd", "docker"]),
    docker("newer-docker-overlay2", "overlay2", &["newer"]),
    docker("newer-docker-vfs", "vfs", &["newer"]),
    Store {
        name: "newer-docker-containerd",
        needs: &["newer"],
        driver: "",
        script: DOCKER_CONTAINERD,
        scheme: "containerd",
        path: "data/containerd/daemon",
        prints: Prints::Nothing,
        also: &[("docker-root:", "/data:")],
    },
    podman("podman-overlay", "overlay", &["podman"]),
    podman("podman-vfs", "vfs", &["podman"]),
    podman("newer-podman-overlay", "overlay", &["newer"]),
    podman("newer-podman-vfs", "vfs", &["newer"]),
    containerd("containerd", &["containerd", "ctr"]),
    containerd("newer-containerd", &["newer"]),
];

const fn docker(name: &'static str, driver: &'static str, needs: &'static [&'static str]) -> Store {
    Store {
        name,
        needs,
        driver,
        script: DOCKER,
        scheme: "docker-root",
        path: "data",
        prints: Prints::Config,
        also: &[],
    }
}

const fn podman(name: &'static str, driver: &'static str, needs: &'static [&'static str]) -> Store {
    let also: &[(&str, &str)] = match driver.as_bytes() {
        b"vfs" => &[("containers-storage:[vfs@", "/root]")],
        _ => &[("containers-storage:[overlay@", "/root+/unused:x=y]")],
    };
    Store {
        name,
        needs,
        driver,
        script: PODMAN,
        scheme: "containers-storage",
        path: "root",
        prints: Prints::Config,
        also,
    }
}

const fn containerd(name: &'static str, needs: &'static [&'static str]) -> Store {
    Store {
        name,
        needs,
        driver: "",
        script: CONTAINERD,
        scheme: "containerd",
        path: "root",
        prints: Prints::Manifest,
        also: &[],
    }
}

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
            .map(drop)?;
        more_images(oracle, MORE, MORE_ARCHIVE)
    });
    if !made {
        return;
    }
    for store in STORES {
        let needs = [store.needs, &["umoci", "jq", "root"]].concat();
        oracle.check(&format!("engines: {}", store.name), &needs, |oracle| {
            let Store {
                name,
                driver,
                script,
                ..
            } = store;
            let script = format!("NAME={name} DRIVER={driver}\n{script}");
            let printed = match store.needs.contains(&"newer") {
                true => oracle.newer_shell(&script)?,
                false => oracle.shell(&script)?,
            };
            let place = format!("{}:engines/{name}/{}", store.scheme, store.path);
            let count = NAMES.len() + 1;
            contains(
                &oracle.imgconv(&["verify", &*place])?,
                &format!("{count} checked, nothing wrong"),
            )?;
            same_images(oracle, &format!("{place}:"), &format!("engines-{name}"))?;
            for (i, (before, behind)) in store.also.iter().enumerate() {
                let place = format!("{before}engines/{name}{behind}");
                same_images(oracle, &place, &format!("engines-{name}-{i}"))?;
            }
            match store.prints {
                Prints::Config => {
                    let raw = format!("skopeo inspect --raw oci:engines-{name}:{NAME}");
                    let id = oracle.shell(&format!("{raw} | jq -r .config.digest"))?;
                    equal("the image ID", id.trim(), printed.trim())
                }
                // The manifest is one of docker, so the layout has another.
                Prints::Manifest => contains(
                    &oracle.imgconv(&["ls", &place, "--namespace", "k8s.io"])?,
                    printed.trim(),
                ),
                Prints::Nothing => Ok(()),
            }
        });
    }
}

/// Demands that the images of a store have their trees. `start` is a locator without the name.
fn same_images(oracle: &Oracle, start: &str, layout: &str) -> Result {
    let convert = |name: &str, layout: &str| {
        let image = format!("{start}{name}");
        oracle.imgconv(&["convert", &*image, &format!("oci:{layout}")])
    };
    convert(NAME, layout)?;
    same_tree(&oracle.path(TREE), &unpacked(oracle, layout, 0)?)?;
    for name in NAMES {
        let reference = format!("example.com/{name}:1");
        let copy = format!("{layout}-{name}");
        convert(&reference, &copy)?;
        same_merged(oracle, (MORE, &copy), &reference)?;
    }
    Ok(())
}
