//! Every kind of output, read by both generations of the engines: the stable suite of Debian and the private root.
//!
//! A kind is copied by skopeo and unpacked by umoci, or loaded by podman, containerd and docker. The trees have to
//! equal the tree of the source, which umoci unpacks without imgconv; docker, whose trees are not in one place, runs
//! the image. What the engines themselves change is left out of the comparison: they make the root directory, which
//! these images have no entry for, and set times before 1970 to 1970; the native snapshotter of containerd 2.1 gives
//! some directories the time of the extraction.

use std::path::PathBuf;

use super::checks::{Oracle, same_lines};
use super::daemon::Running;
use super::docker::{IMAGES, equal, layers};
use crate::process::Result;

/// The image of several layers and its tree.
const IMAGE: (&str, &str) = IMAGES[1];

/// A layout of one layer with the same tree, except for the name that is not UTF-8: no table of contents can hold that
/// name.
const TABLES: &str = r#"
umoci init --layout kinds/source
umoci new --image "kinds/source:$NAME"
umoci unpack --image "kinds/source:$NAME" kinds/unpacked >/dev/null
cp -a "$TREE/." kinds/unpacked/rootfs/
rm "$(printf 'kinds/unpacked/rootfs/etc/latin1-\351')"
umoci repack --refresh-bundle --image "kinds/source:$NAME" kinds/unpacked >/dev/null
umoci unpack --image "kinds/source:$NAME" kinds/tables >/dev/null
"#;

/// A kind of output.
struct Kind {
    /// The path below `kinds`, which also names the kind.
    path: &'static str,
    /// The scheme of imgconv and skopeo.
    scheme: &'static str,
    /// Options of the conversion.
    options: &'static [&'static str],
    /// The programs of the stable suite that read the kind; those of the private root read every kind
    /// that their program has a command for.
    older: &'static [Reader],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// skopeo copies the kind to a layout without a change of layers, and umoci unpacks the copy.
    Skopeo,
    Podman,
    Containerd,
    Docker,
}

use Reader::{Containerd, Docker, Podman, Skopeo};

const KINDS: &[Kind] = &[
    kind("layout", "oci", &[], &[Skopeo, Podman]),
    kind(
        "plain",
        "oci",
        &["--compression", "none"],
        &[Skopeo, Podman],
    ),
    // umoci reads zstd since 0.5.0.
    kind("zstd", "oci", &["--compression", "zstd"], &[Podman]),
    kind(
        "chunked",
        "oci",
        &["--compression", "zstd:chunked"],
        &[Podman],
    ),
    kind(
        "estargz",
        "oci",
        &["--compression", "estargz"],
        &[Skopeo, Podman],
    ),
    // docker 20.10 loads no layout.
    kind(
        "layout.tar",
        "oci-archive",
        &[],
        &[Skopeo, Podman, Containerd],
    ),
    kind(
        "saved.tar",
        "docker-archive",
        &[],
        &[Skopeo, Podman, Containerd, Docker],
    ),
    // containerd reads no compressed archive, and skopeo 1.9 and podman 4.3 fail also on those of gzip.
    kind("saved.tar.gz", "docker-archive", &[], &[Docker]),
    kind("dir", "dir", &[], &[Skopeo, Podman]),
    kind("docker-dir", "docker-v2s2+dir", &[], &[Skopeo, Podman]),
];

const fn kind(
    path: &'static str,
    scheme: &'static str,
    options: &'static [&'static str],
    older: &'static [Reader],
) -> Kind {
    Kind {
        path,
        scheme,
        options,
        older,
    }
}

impl Kind {
    /// Says whether the layers of the kind have tables of contents.
    fn has_tables(&self) -> bool {
        self.options
            .iter()
            .any(|option| ["zstd:chunked", "estargz"].contains(option))
    }

    /// The layout that the kind is made of, and its tree.
    fn source(&self) -> (&'static str, &'static str) {
        match self.has_tables() {
            true => ("kinds/source", "kinds/tables/rootfs"),
            false => ("docker-base", IMAGE.1),
        }
    }

    /// Says whether a program of the private root has a command that reads the kind.
    fn is_read_by(&self, reader: Reader) -> bool {
        match reader {
            Skopeo | Podman => true,
            Containerd => self.path.ends_with(".tar"),
            // With a graph driver, docker 28 loads a layout only if there is a `manifest.json` beside it.
            Docker => self.path.starts_with("saved"),
        }
    }

    /// The scheme in the programs of others, which know no format in it.
    fn transport(&self) -> &str {
        self.scheme.rsplit('+').next().unwrap_or(self.scheme)
    }

    /// The image in the place, for skopeo and podman. A directory of `dir:` has no name.
    fn image(&self) -> String {
        let Kind { path, .. } = self;
        match self.transport() {
            "dir" => format!("dir:kinds/{path}"),
            transport => format!("{transport}:kinds/{path}:{}", IMAGE.0),
        }
    }
}

/// Copies a kind by skopeo and unpacks the copy by umoci.
const UNPACK: &str = r#"
skopeo --insecure-policy copy -q "$IMAGE" "oci:$D/copy:x"
umoci unpack --image "$D/copy:x" "$D/bundle" >/dev/null
mv "$D/bundle/rootfs" "$D/tree"
"#;

/// Pulls a kind by podman and copies the tree. Its run root has to have a short path.
const PODMAN: &str = r#"
podman="podman --root $PWD/$D/root --runroot $PWD/kinds/run --tmpdir $PWD/$D/tmp --storage-driver vfs"
id=$($podman pull -q "$IMAGE")
cp -a "$($podman image mount "$id")" "$D/tree"
$podman image umount "$id" >/dev/null
"#;

/// Imports kinds by containerd, each in a namespace of its own, and copies the trees.
const CONTAINERD: &str = r#"
d="$PWD/$D"
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
for kind in $KINDS; do
    ctr="ctr -a $d/sock -n $kind"
    $ctr image import $OPTION --snapshotter native "kinds/$kind" >/dev/null
    name=$($ctr image ls -q)
    mkdir "$d/mount"
    $ctr image mount --snapshotter native "$name" "$d/mount" >/dev/null
    cp -a "$d/mount" "$d/$kind"
    umount "$d/mount"
    rmdir "$d/mount"
done
"#;

/// Runs every check of kinds.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("kinds") {
        return;
    }
    let needs = ["skopeo", "umoci", "busybox", "setcap", "setfattr", "root"];
    let made = oracle.check("kinds: every kind is written", &needs, |oracle| {
        layers(oracle)?;
        oracle.path("kinds/source");
        oracle.shell(&format!("NAME='{}' TREE='{}'\n{TABLES}", IMAGE.0, IMAGE.1))?;
        KINDS.iter().try_for_each(|kind| {
            let source = format!("oci:{}:{}", kind.source().0, IMAGE.0);
            let Kind {
                path,
                scheme,
                options,
                ..
            } = kind;
            let place = oracle.path(&format!("kinds/{path}"));
            let destination = format!("{scheme}:{}", place.display());
            let arguments = [&["convert", &source, &*destination], *options].concat();
            oracle.imgconv(&arguments).map(drop)
        })
    });
    if !made {
        return;
    }
    for newer in [false, true] {
        for kind in KINDS {
            for (reader, programs, script) in [
                (Skopeo, &["skopeo", "umoci"][..], UNPACK),
                (Podman, &["podman"], PODMAN),
            ] {
                let name = match reader {
                    Skopeo => "skopeo and umoci unpack",
                    _ => "podman has the tree of",
                };
                if reads(newer, kind, reader) {
                    check(oracle, newer, name, kind.path, programs, |oracle| {
                        let d = directory(oracle, newer, &format!("{reader:?}-{}", kind.path))?;
                        let words = format!("D={d}\nIMAGE='{}'\n{script}", kind.image());
                        shell(oracle, newer, &words)?;
                        same(oracle, kind.source().1, &format!("{d}/tree"))
                    });
                }
            }
        }
        let kinds: Vec<&str> = read_by(newer, Containerd);
        check(
            oracle,
            newer,
            "containerd has the trees of",
            &kinds.join(", "),
            &["containerd", "ctr"],
            |oracle| {
                let d = directory(oracle, newer, "containerd")?;
                // The transfer service of containerd 2.1 unpacks by snapshotters of its configuration only.
                let option = if newer { "--local" } else { "" };
                let words = format!(
                    "D={d}\nOPTION={option}\nKINDS='{}'\n{CONTAINERD}",
                    kinds.join(" ")
                );
                shell(oracle, newer, &words)?;
                kinds
                    .iter()
                    .try_for_each(|kind| same(oracle, IMAGE.1, &format!("{d}/{kind}")))
            },
        );
        let kinds: Vec<&str> = read_by(newer, Docker);
        check(
            oracle,
            newer,
            "docker loads and runs",
            &kinds.join(", "),
            &["dockerd", "docker"],
            |oracle| {
                let engine = match newer {
                    true => Running::newer(oracle, "kinds-newer-docker"),
                    false => Running::older(oracle, "kinds-docker"),
                }?;
                let mut ids = loaded(oracle, &engine, &kinds)?;
                // The same config has the same ID, whichever kind brought the config.
                ids.dedup();
                equal("the number of image IDs", &ids.len(), &1)
            },
        );
    }
    let title = "docker with containerd's store loads and runs";
    let kinds = read_by(true, Containerd);
    check(oracle, true, title, &kinds.join(", "), &[], |oracle| {
        let engine = Running::newer_containerd(oracle, "kinds-newer-containerd")?;
        loaded(oracle, &engine, &kinds).map(drop)
    });
}

/// Loads archives by docker and runs the image of each; returns the IDs of the images.
fn loaded(oracle: &Oracle, engine: &Running, kinds: &[&str]) -> Result<Vec<String>> {
    let load = |kind: &&str| {
        engine.docker(oracle, &["load", "-q", "-i", &format!("kinds/{kind}")])?;
        let id = engine.id(oracle, IMAGE.0)?;
        engine.runs(oracle, IMAGE.0)?;
        engine.docker(oracle, &["rmi", "-f", IMAGE.0])?;
        Ok(id)
    };
    kinds.iter().map(load).collect()
}

/// Runs a check of one generation; the private root has all programs.
fn check(
    oracle: &mut Oracle,
    newer: bool,
    name: &str,
    kinds: &str,
    programs: &[&str],
    body: impl FnOnce(&Oracle) -> Result,
) {
    let (generation, needs) = match newer {
        true => ("newer ", vec!["newer", "root"]),
        false => ("", [programs, &["root"]].concat()),
    };
    oracle.check(&format!("kinds: {generation}{name} {kinds}"), &needs, body);
}

fn reads(newer: bool, kind: &Kind, reader: Reader) -> bool {
    match newer {
        true => kind.is_read_by(reader),
        false => kind.older.contains(&reader),
    }
}

/// The paths of the kinds that a program of one generation reads.
fn read_by(newer: bool, reader: Reader) -> Vec<&'static str> {
    let kinds = KINDS.iter().filter(|kind| reads(newer, kind, reader));
    kinds.map(|kind| kind.path).collect()
}

/// Makes a directory for the files of a reader; returns its path in the work folder.
fn directory(oracle: &Oracle, newer: bool, name: &str) -> Result<String> {
    let generation = if newer { "newer" } else { "older" };
    let path = format!("kinds/{generation}-{}", name.to_lowercase());
    let directory: PathBuf = oracle.path(&path);
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    Ok(path)
}

fn shell(oracle: &Oracle, newer: bool, script: &str) -> Result<String> {
    match newer {
        true => oracle.newer_shell(script),
        false => oracle.shell(script),
    }
}

/// Demands that two trees in the work folder are equal, apart from what engines and tables of contents change.
fn same(oracle: &Oracle, expected: &str, found: &str) -> Result {
    let new_times = found.contains("newer-containerd");
    // An eStargz layer holds its table and a mark as files.
    let left_out = [
        "dir . ",
        "file stargz.index.json ",
        "file .no.prefetch.landmark ",
    ];
    let lines = |path: &str| -> Result<Vec<String>> {
        let lines = imgconv_testkit::snapshot(&oracle.path(path)).map_err(|e| e.to_string())?;
        let lines = lines
            .into_iter()
            .filter(|line| !left_out.iter().any(|left_out| line.starts_with(left_out)));
        let line = |line: String| match line.rsplit_once(" @") {
            Some((entry, _)) if new_times && line.starts_with("dir ") => entry.to_owned(),
            _ => line.replace(" @-10 ", " @0 "),
        };
        Ok(lines.map(line).collect())
    };
    same_lines(&lines(expected)?, &lines(found)?)
}
