//! Checks of running engines: imgconv reads the images of a real engine as `docker save` gives them,
//! and loads images that the engine then runs.
//!
//! An engine is started by a script that waits for a file `done` and then ends the engine. Engines of
//! the private root run in a mount namespace, but their sockets are in the work folder, so everything
//! else runs outside.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::checks::{Oracle, contains};
use super::docker::{LAYERS_PRINT, equal, layers};
use crate::process::{Result, end};

/// The image that every engine gets from its own client, its archive, and the layout that imgconv
/// loads into the engine.
const IMAGE: &str = "oci:docker-base:example.com/layers/second:1";
const OTHER: &str = "oci:docker-base:example.com/layers/first:1";
const ARCHIVE: &str = "daemon/in.tar";
const NAME: &str = "example.com/engine/x:1";
const LOADED: &str = "example.com/loaded/y:2";

/// Starts docker with a data root of its own.
const DOCKER: &str = r#"
d="$PWD/daemon/$NAME"; mkdir -p "$d"
dockerd --data-root "$d/data" --exec-root "$d/exec" --pidfile "$d/pid" -H "unix://$d/sock" \
    --storage-driver "$DRIVER" --bridge=none --iptables=false --ip-forward=false --ip-masq=false \
    >"$d/log" 2>&1 &
pid=$!
trap 'kill $pid; wait $pid || :; umount "$d/data" 2>/dev/null || :' EXIT
until [ -e "$d/done" ]; do kill -0 $pid; sleep 0.2; done
"#;

/// Starts docker with containerd's image store.
const DOCKER_CONTAINERD: &str = r#"
d="$PWD/daemon/$NAME"; mkdir -p "$d"
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
until [ -e "$d/done" ]; do kill -0 $docker; sleep 0.2; done
"#;

/// Starts podman's API. Its run root has to have a short path.
const PODMAN: &str = r#"
d="$PWD/daemon/$NAME"; mkdir -p "$d"
podman --root "$d/root" --runroot "$PWD/run-$NAME" --tmpdir "$d/tmp" --storage-driver vfs \
    system service --time=0 "unix://$d/sock" >"$d/log" 2>&1 &
pid=$!
trap 'kill $pid; wait $pid || :' EXIT
until [ -e "$d/done" ]; do kill -0 $pid; sleep 0.2; done
"#;

/// What the image ID of an engine is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// The digest of the config.
    Configs,
    /// The digest of the manifest.
    Manifests,
}

/// An engine that is started.
struct Kind {
    /// The name of its directory, which also names the check.
    name: &'static str,
    /// The programs that it needs, or `newer`.
    needs: &'static [&'static str],
    /// Sets `DRIVER`.
    driver: &'static str,
    script: &'static str,
    ids: Ids,
    /// True if its containers run here.
    runs: bool,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "docker",
        needs: &["dockerd"],
        driver: "overlay2",
        script: DOCKER,
        ids: Ids::Configs,
        runs: true,
    },
    Kind {
        name: "newer-docker",
        needs: &["newer"],
        driver: "overlay2",
        script: DOCKER,
        ids: Ids::Configs,
        runs: true,
    },
    Kind {
        name: "newer-containerd",
        needs: &["newer"],
        driver: "",
        script: DOCKER_CONTAINERD,
        ids: Ids::Manifests,
        runs: true,
    },
    Kind {
        name: "podman",
        needs: &["podman"],
        driver: "",
        script: PODMAN,
        ids: Ids::Configs,
        runs: false,
    },
    Kind {
        name: "newer-podman",
        needs: &["newer"],
        driver: "",
        script: PODMAN,
        ids: Ids::Configs,
        runs: false,
    },
];

/// Runs every check of running engines.
pub(super) fn run(oracle: &mut Oracle) {
    if !oracle.wants("daemon") {
        return;
    }
    let needs = ["skopeo", "umoci", "busybox", "setcap", "setfattr", "root"];
    let made = oracle.check("daemon: skopeo makes the archive", &needs, |oracle| {
        layers(oracle)?;
        let to = format!("docker-archive:{}:{NAME}", oracle.path(ARCHIVE).display());
        oracle
            .peer("skopeo", &["--insecure-policy", "copy", IMAGE, &to])
            .map(drop)
    });
    if !made {
        return;
    }
    for kind in KINDS {
        let needs = [kind.needs, &["docker", "jq", "skopeo", "root"]].concat();
        oracle.check(&format!("daemon: {}", kind.name), &needs, |oracle| {
            let engine = Running::start(oracle, kind)?;
            engine.docker(oracle, &["load", "-q", "-i", ARCHIVE])?;
            reads(oracle, &engine, kind)?;
            loads(oracle, &engine, kind)
        });
    }
    let needs = ["newer", "docker", "root"];
    oracle.check(
        "daemon: an old data root to a newer docker",
        &needs,
        |oracle| {
            if !oracle.path("daemon/docker/data/overlay2").is_dir() {
                return Err("docker has left no data root".into());
            }
            let engine = Running::newer(oracle, "migrated")?;
            let old = "docker-root:daemon/docker/data";
            oracle.imgconv(&[
                "migrate",
                old,
                "docker-daemon:",
                "--docker-host",
                &engine.host(),
            ])?;
            for (name, id) in [
                (NAME, config(oracle, IMAGE)?),
                (LOADED, config(oracle, OTHER)?),
            ] {
                equal("the image ID", &engine.id(oracle, name)?, &id)?;
            }
            engine.runs(oracle, NAME)
        },
    );
}

/// Demands that an image is read as from the file of `docker save`.
fn reads(oracle: &Oracle, engine: &Running, kind: &Kind) -> Result {
    let (host, d) = (engine.host(), format!("daemon/{}", kind.name));
    let place = format!("docker-daemon:{NAME}");
    let with_host = |words: &[&str]| oracle.imgconv(&[words, &["--docker-host", &host]].concat());
    engine.docker(oracle, &["save", "-o", &format!("{d}/saved.tar"), NAME])?;
    let saved = format!("docker-archive:{d}/saved.tar");
    oracle.imgconv(&["convert", &saved, &format!("oci:{d}/file")])?;
    with_host(&["convert", &place, &format!("oci:{d}/socket")])?;
    oracle.shell(&format!("diff -r {d}/file {d}/socket"))?;
    contains(&with_host(&["ls", "docker-daemon:"])?, NAME)?;
    contains(&with_host(&["verify", &place])?, "1 checked, nothing wrong")?;
    with_host(&["convert", "docker-daemon:", &format!("oci:{d}/all")])?;
    let difference = with_host(&["diff", &place, &format!("oci:{d}/all")])?;
    equal("the difference", difference.trim(), "")
}

/// Demands that the engine has an image that imgconv loads, and runs the image.
fn loads(oracle: &Oracle, engine: &Running, kind: &Kind) -> Result {
    let place = format!("docker-daemon:{LOADED}");
    oracle.imgconv(&["convert", OTHER, &place, "--docker-host", &engine.host()])?;
    if kind.ids == Ids::Configs {
        let id = config(oracle, OTHER)?;
        equal("the image ID", &engine.id(oracle, LOADED)?, &id)?;
    }
    match kind.runs {
        true => engine.runs(oracle, LOADED),
        false => Ok(()),
    }
}

/// The digest of the config of an image as a docker archive has it.
fn config(oracle: &Oracle, image: &str) -> Result<String> {
    oracle
        .shell(&format!(
            "rm -f daemon/one.tar\n\
         skopeo --insecure-policy copy -q {image} docker-archive:daemon/one.tar:x:1\n\
         skopeo inspect --raw docker-archive:daemon/one.tar | jq -r .config.digest"
        ))
        .map(|id| id.trim().to_owned())
}

/// A running engine.
pub(super) struct Running {
    child: Child,
    directory: PathBuf,
}

impl Running {
    /// Starts a newer docker; `name` is that of its directory.
    pub(super) fn newer(oracle: &Oracle, name: &'static str) -> Result<Self> {
        let kind = Kind { name, ..KINDS[1] };
        Self::start(oracle, &kind)
    }

    /// Starts a newer docker with containerd's image store; `name` is that of its directory.
    pub(super) fn newer_containerd(oracle: &Oracle, name: &'static str) -> Result<Self> {
        let kind = Kind { name, ..KINDS[2] };
        Self::start(oracle, &kind)
    }

    /// Starts docker; `name` is that of its directory.
    pub(super) fn older(oracle: &Oracle, name: &'static str) -> Result<Self> {
        let kind = Kind { name, ..KINDS[0] };
        Self::start(oracle, &kind)
    }

    fn start(oracle: &Oracle, kind: &Kind) -> Result<Self> {
        let Kind { name, driver, .. } = kind;
        let script = format!("NAME={name} DRIVER={driver}\n{}", kind.script);
        let directory = oracle.path(&format!("daemon/{name}/log"));
        let directory = directory.parent().unwrap_or(&directory).to_owned();
        let mut command = match (&oracle.newer, kind.needs.contains(&"newer")) {
            (Some(newer), true) => newer.shell(&oracle.work, &script),
            _ => {
                let mut command = Command::new("sh");
                command.args(["-euc", &script]).current_dir(&oracle.work);
                command
            }
        };
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = quiet.spawn().map_err(|e| format!("{name}: {e}"))?;
        let mut engine = Self { child, directory };
        for _ in 0..300 {
            if engine.docker(oracle, &["version"]).is_ok() {
                return Ok(engine);
            }
            let ended = engine.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() {
                break;
            }
            sleep(Duration::from_millis(200));
        }
        let log = std::fs::read_to_string(engine.directory.join("log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Err(format!(
            "no answer; the log ends with:\n{}",
            tail.join("\n")
        ))
    }

    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.directory.join("sock").display())
    }

    /// Runs docker's client against the engine.
    pub(super) fn docker(&self, oracle: &Oracle, arguments: &[&str]) -> Result<String> {
        oracle.peer("docker", &[&["-H", &self.host()], arguments].concat())
    }

    pub(super) fn id(&self, oracle: &Oracle, name: &str) -> Result<String> {
        let words = ["inspect", "--type", "image", "-f", "{{.Id}}", name];
        let id = self.docker(oracle, &words)?;
        let id = id.trim();
        Ok(match id.contains(':') {
            true => id.to_owned(),
            false => format!("sha256:{id}"),
        })
    }

    pub(super) fn runs(&self, oracle: &Oracle, name: &str) -> Result {
        let words = ["run", "--rm", "--network", "none", name];
        equal(
            "what it printed",
            self.docker(oracle, &words)?.as_str(),
            LAYERS_PRINT,
        )
    }
}

impl Drop for Running {
    /// Lets the script end the engine; a script that hangs is ended by its process ID.
    fn drop(&mut self) {
        let told = std::fs::write(self.directory.join("done"), "");
        for _ in 0..150 {
            if told.is_err() || !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            sleep(Duration::from_millis(200));
        }
        end(&mut self.child, Duration::from_secs(5));
    }
}
