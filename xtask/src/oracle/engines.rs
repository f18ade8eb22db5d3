//! Checks of engine stores: real engines load images and end; imgconv reads the store on the disk
//! and finds the same images. Roots of engines that no longer run are made by hand from the same
//! images.
//!
//! What an engine itself can't hold is not checked there:
//!
//! - Docker's graph drivers and podman keep one platform of an image for several, and docker with
//!   containerd's store fetches the blobs of one; `ctr` fetches all of them.
//! - Docker's graph drivers and podman lose the form of a sparse file, and can't save such an image:
//!   their stores have the image, and its layer is refused.
//! - Docker 28 and containerd 2.1 refuse images of schema 1; the older engines and podman convert
//!   them.

use std::collections::BTreeMap;

use imgconv_testkit::{build, dozen, engines};

use super::checks::{Oracle, contains};
use super::daemon::Running;
use super::docker::equal;
use super::dozen::{Held, NAME, Originals, SPARSE, SPARSE_ARCHIVE};
use crate::process::Result;

/// Starts docker with a data root of its own, loads and pulls the images and ends docker; prints the names
/// and the image IDs.
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
for file in $LOADED; do docker -H "unix://$d/sock" load -q -i "$file" >/dev/null; done
for name in $PULLED; do docker -H "unix://$d/sock" pull -q "$name" >/dev/null; done
if [ -n "$REFUSED" ] && docker -H "unix://$d/sock" save -o "$d/saved" "$REFUSED" 2>/dev/null; then
    echo "docker saves $REFUSED" >&2; exit 1
fi
docker -H "unix://$d/sock" images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'
"#;

/// Does the same with containerd; prints the names and the digests of the manifests.
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
for file in $LOADED; do
    ctr -a "$d/sock" -n k8s.io image import --no-unpack "$file" >/dev/null
done
for name in $PULLED; do
    ctr -a "$d/sock" -n k8s.io content fetch --plain-http --all-platforms "$name" >/dev/null
done
if [ -n "${EXPORTED:-}" ]; then
    ctr -a "$d/sock" -n k8s.io image export "$d/exported.tar" "$EXPORTED" >/dev/null
fi
ctr -a "$d/sock" -n k8s.io image ls | awk 'NR > 1 { print $1, $3 }'
"#;

/// Does the same with podman. Its run root has to have a short path.
const PODMAN: &str = r#"
d="$PWD/engines/$NAME"; mkdir -p "$d"
podman="podman --root $d/root --runroot $PWD/run-$NAME --tmpdir $d/tmp --storage-driver $DRIVER"
for file in $LOADED; do $podman load -q -i "$file" >/dev/null; done
for name in $PULLED; do $podman pull -q --tls-verify=false "$name" >/dev/null; done
if [ -n "$REFUSED" ] && $podman save -q -o "$d/saved" "$REFUSED" 2>/dev/null; then
    echo "podman saves $REFUSED" >&2; exit 1
fi
$podman images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'
umount "$d/root/$DRIVER" 2>/dev/null || :
"#;

/// Does the same in docker with containerd's image store, in the place where docker keeps it.
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
for file in $LOADED; do docker -H "unix://$d/sock" load -q -i "$file" >/dev/null; done
for name in $PULLED; do docker -H "unix://$d/sock" pull -q "$name" >/dev/null; done
docker -H "unix://$d/sock" images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'
"#;

/// Which digests of the images a script prints.
#[derive(Clone, Copy)]
enum Prints {
    Configs,
    /// Those of the manifests, or of the index of an image for several platforms.
    Manifests,
}

/// An engine whose store is read.
pub(super) struct Store {
    /// The name of its directory, which also names the check.
    pub(super) name: &'static str,
    /// The programs that fill the store, or `newer`.
    pub(super) needs: &'static [&'static str],
    /// Sets `DRIVER`.
    driver: &'static str,
    script: &'static str,
    /// The place, without the directory.
    scheme: &'static str,
    /// The path in the directory.
    path: &'static str,
    /// The digests that the script prints.
    prints: Prints,
    pub(super) held: Held,
    /// Other locators of the same images: what stands before and behind the directory.
    also: &'static [(&'static str, &'static str)],
}

const OLDER_DOCKER: &[&str] = &["dockerd", "docker"];
const NEWER: &[&str] = &["newer"];

pub(super) const STORES: &[Store] = &[
    docker("docker-overlay2", "overlay2", OLDER_DOCKER, true),
    docker("docker-vfs", "vfs", OLDER_DOCKER, true),
    docker("newer-docker-overlay2", "overlay2", NEWER, false),
    docker("newer-docker-vfs", "vfs", NEWER, false),
    Store {
        name: "newer-docker-containerd",
        needs: NEWER,
        driver: "",
        script: DOCKER_CONTAINERD,
        scheme: "containerd",
        path: "data/containerd/daemon",
        prints: Prints::Manifests,
        held: Held {
            sparse: true,
            partial: true,
            ..held(false, &["amd64"])
        },
        also: &[("docker-root:", "/data:")],
    },
    podman("podman-overlay", "overlay", &["podman"]),
    podman("podman-vfs", "vfs", &["podman"]),
    podman("newer-podman-overlay", "overlay", NEWER),
    podman("newer-podman-vfs", "vfs", NEWER),
    containerd("containerd", &["containerd", "ctr"], true),
    containerd("newer-containerd", NEWER, false),
];

const fn held(schema1: bool, platforms: &'static [&'static str]) -> Held {
    Held {
        runnable: true,
        sparse: false,
        schema1,
        platforms,
        partial: false,
    }
}

const fn docker(
    name: &'static str,
    driver: &'static str,
    needs: &'static [&'static str],
    schema1: bool,
) -> Store {
    Store {
        name,
        needs,
        driver,
        script: DOCKER,
        scheme: "docker-root",
        path: "data",
        prints: Prints::Configs,
        held: held(schema1, &["amd64"]),
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
        prints: Prints::Configs,
        held: held(true, &["amd64"]),
        also,
    }
}

const fn containerd(name: &'static str, needs: &'static [&'static str], schema1: bool) -> Store {
    Store {
        name,
        needs,
        driver: "",
        script: CONTAINERD,
        scheme: "containerd",
        path: "root",
        prints: Prints::Manifests,
        held: Held {
            sparse: true,
            ..held(schema1, &["amd64", "arm64"])
        },
        also: &[],
    }
}

/// Runs every check of engines.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("engines") {
        return;
    }
    let needs = [
        "skopeo",
        "docker-registry",
        "umoci",
        "busybox",
        "setcap",
        "setfattr",
        "root",
    ];
    let mut originals = None;
    oracle.check("engines: the images are made", &needs, |oracle| {
        originals = Some(Originals::make(oracle)?);
        Ok(())
    });
    let Some(originals) = originals else {
        return;
    };
    let mut ids = BTreeMap::new();
    for store in STORES {
        let needs = [store.needs, &["umoci", "root"]].concat();
        oracle.check(&format!("engines: {}", store.name), &needs, |oracle| {
            let printed = fill(oracle, store, &originals)?;
            check(oracle, store, &originals, &printed)?;
            ids.insert(store.name, printed);
            Ok(())
        });
    }
    for store in STORES.iter().filter(|store| !store.held.sparse) {
        let needs = [store.needs, &["root"]].concat();
        let title = format!("engines: {}, a sparse file", store.name);
        oracle.check(&title, &needs, |oracle| sparse(oracle, store));
    }
    for store in STORES.iter().filter(|store| store.script == CONTAINERD) {
        let needs = [store.needs, &["root"]].concat();
        let title = format!("engines: {}, documents in an artifact", store.name);
        oracle.check(&title, &needs, |oracle| nested(oracle, store));
    }
    by_hand(oracle, &originals);
    let old = STORES[0].name;
    let name = "engines: an old data root to a newer docker";
    oracle.check(name, &["newer", "docker", "root"], |oracle| {
        let ids = ids
            .get(old)
            .ok_or_else(|| format!("{old} has left no data root"))?;
        let engine = Running::newer(oracle, "engines-migrated")?;
        let (from, to) = (format!("docker-root:engines/{old}/data"), "docker-daemon:");
        oracle.imgconv(&["migrate", &from, to, "--docker-host", &engine.host()])?;
        for (name, id) in ids {
            equal(name, &engine.id(oracle, name)?, id)?;
        }
        engine.runs(oracle, NAME)
    });
}

/// Fills a store by its engine, which has ended then; returns the digests that the engine names.
fn fill(oracle: &Oracle, store: &Store, originals: &Originals) -> Result<BTreeMap<String, String>> {
    let words = [
        ("LOADED", Originals::loaded(store.held).join(" ")),
        ("PULLED", originals.pulled(store.held).join(" ")),
        ("REFUSED", String::new()),
    ];
    let printed = fill_with(oracle, store, store.name, &words)?;
    let line = |line: &str| {
        let (name, id) = line.split_once(' ')?;
        Some((name.to_owned(), id.trim().to_owned()))
    };
    Ok(printed.lines().filter_map(line).collect())
}

/// Runs the script of a store with variables of the shell; `name` is that of the directory.
pub(super) fn fill_with(
    oracle: &Oracle,
    store: &Store,
    name: &str,
    words: &[(&str, String)],
) -> Result<String> {
    let words = words
        .iter()
        .map(|(key, value)| format!("{key}='{value}'\n"));
    let words: String = words.collect();
    let (driver, script) = (store.driver, store.script);
    let script = format!("NAME={name} DRIVER={driver}\n{words}{script}");
    match store.needs.contains(&"newer") {
        true => oracle.newer_shell(&script),
        false => oracle.shell(&script),
    }
}

/// Checks that an image with a sparse file, which the engine can't save, is listed and refused.
fn sparse(oracle: &Oracle, store: &Store) -> Result {
    // Podman 4.3 takes no long name of a run root.
    let name = format!("{}-s", store.name);
    let words = [
        ("LOADED", SPARSE_ARCHIVE.to_owned()),
        ("PULLED", String::new()),
        ("REFUSED", SPARSE.to_owned()),
    ];
    fill_with(oracle, store, &name, &words)?;
    let place = format!("{}:engines/{name}/{}", store.scheme, store.path);
    contains(&oracle.imgconv(&["ls", &*place])?, SPARSE)?;
    let program = oracle.program.display();
    let said = oracle.shell(&format!(
        "if '{program}' convert '{place}' oci:engines-{name} 2>&1; then exit 1; fi"
    ))?;
    contains(&said, "the engine kept the content of this sparse file")
}

/// Checks that containerd and imgconv agree about what belongs to an artifact whose layer is an
/// index: containerd exports the same blobs that imgconv copies.
fn nested(oracle: &Oracle, store: &Store) -> Result {
    const ARTIFACT: &str = "example.com/documents:1";
    let name = format!("{}-nested", store.name);
    let folder = format!("engines/{name}");
    let [made, exported, copied] =
        ["made", "exported", "copied"].map(|of| format!("engines-{name}-{of}"));
    build::layout_of_nested_documents(&oracle.path(&made), ARTIFACT).map_err(|e| e.to_string())?;
    let archive = format!("{made}.tar");
    let copy = |from: &str, to: &str| oracle.imgconv(&["convert", from, to]);
    copy(&format!("oci:{made}"), &format!("oci-archive:{archive}"))?;
    let words = [
        ("LOADED", archive),
        ("PULLED", String::new()),
        ("EXPORTED", ARTIFACT.to_owned()),
    ];
    fill_with(oracle, store, &name, &words)?;
    let place = format!("containerd:{folder}/root");
    copy(&format!("{place}:{ARTIFACT}"), &format!("oci:{copied}"))?;
    oracle.imgconv(&["verify", &place])?;
    oracle.shell(&format!(
        "mkdir {exported}; tar -xf {folder}/exported.tar -C {exported}"
    ))?;
    let blobs = |of: &str| oracle.shell(&format!("ls {of}/blobs/sha256"));
    let expected = blobs(&made)?;
    equal("the number of blobs", &expected.lines().count(), &6)?;
    equal("the export of containerd", &blobs(&exported)?, &expected)?;
    equal("the copy of the store", &blobs(&copied)?, &expected)
}

fn check(
    oracle: &Oracle,
    store: &Store,
    originals: &Originals,
    printed: &BTreeMap<String, String>,
) -> Result {
    let name = store.name;
    let place = format!("{}:engines/{name}/{}", store.scheme, store.path);
    let layout = format!("engines-{name}");
    let configs = originals.check(oracle, &place, store.held, &layout)?;
    let names: Vec<&String> = printed.keys().collect();
    equal("the names of the engine", &names, &configs.keys().collect())?;
    match store.prints {
        Prints::Configs => {
            // Podman keeps no config of an image of schema 1.
            let is_podman = store.scheme == "containers-storage";
            let kept = |(name, _): &(&String, &String)| !is_podman || !originals.is_schema1(name);
            let pick = |of: &BTreeMap<String, String>| {
                let kept = of.iter().filter(kept);
                kept.map(|(name, id)| (name.clone(), id.clone()))
                    .collect::<Vec<_>>()
            };
            equal("the image IDs", &pick(&configs), &pick(printed))?;
        }
        Prints::Manifests => {
            let listed = oracle.imgconv(&["ls", "--json", &place])?;
            for (name, digest) in printed {
                // An engine names an index, whose images `ls` shows instead.
                if !originals.is_index(name) && !listed.contains(digest) {
                    return Err(format!(
                        "{name} is {digest}, which `ls` does not show:\n{listed}"
                    ));
                }
            }
        }
    }
    for (i, (before, behind)) in store.also.iter().enumerate() {
        let image = format!("{before}engines/{name}{behind}{NAME}");
        let copy = format!("{layout}-{i}");
        oracle.imgconv(&["convert", &image, &format!("oci:{copy}")])?;
        originals.same_image(oracle, &copy, NAME)?;
    }
    Ok(())
}

/// Checks roots of engines that are not installed any more; the testkit writes the roots.
fn by_hand(oracle: &mut Oracle, originals: &Originals) {
    let images = dozen::engine_images();
    for (name, driver, is_graph) in [
        ("aufs", "aufs", false),
        ("btrfs", "btrfs", false),
        ("overlay", "overlay", false),
        ("before-1.10-aufs", "aufs", true),
        ("before-1.10-btrfs", "btrfs", true),
    ] {
        let title = format!("engines: {name}, made by hand");
        oracle.check(&title, &["umoci", "root"], |oracle| {
            let root = oracle.path(&format!("engines/by-hand-{name}"));
            let made = match is_graph {
                true => engines::docker_graph(&images, driver, true, &root).map(drop),
                false => engines::docker_root(&images, driver, &root),
            };
            made.map_err(|e| e.to_string())?;
            let place = format!("docker-root:{}", root.display());
            let layout = format!("engines-by-hand-{name}");
            originals
                .check(oracle, &place, Held::ARCHIVED, &layout)
                .map(drop)
        });
    }
}
