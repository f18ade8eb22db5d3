//! Docker's schema 1, and a registry that still takes it.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::docker::{LAYERS_PRINT, equal, layers, unpacked};
use super::engine::Engine;
use super::{Oracle, contains, same_tree};
use crate::process::Result;

/// The groups of this file; all use the engine.
pub(super) const GROUPS: [&str; 1] = ["schema1"];

/// The image that is pushed, and its tree: umoci gave it a history, without which skopeo does not
/// write schema 1.
const IMAGE: &str = "example.com/layers/second:1";
const TREE: &str = "docker-base-second/rootfs";

/// A registry on the loopback device, its data in the work folder.
#[derive(Debug)]
pub(super) struct Registry {
    child: Child,
    /// The port on the loopback device.
    pub(super) port: u16,
}

impl Registry {
    pub(super) fn start(oracle: &Oracle) -> Result<Self> {
        Self::start_in(oracle, "registry", "", "")
    }

    /// Starts one with its data in a folder of the work folder, and more in its configuration:
    /// below `http`, and at the end.
    pub(super) fn start_in(oracle: &Oracle, folder: &str, http: &str, more: &str) -> Result<Self> {
        // Free now; nothing else here asks for ports.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|e| e.to_string())?
            .port();
        let config = oracle.path(&format!("{folder}/config.yml"));
        let data = oracle.path(&format!("{folder}/data"));
        let text = format!(
            "version: 0.1\nlog:\n  level: warn\n\
             storage:\n  filesystem:\n    rootdirectory: '{}'\n\
             http:\n  addr: 127.0.0.1:{port}\n{http}\
             compatibility:\n  schema1:\n    enabled: true\n{more}",
            data.display()
        );
        fs::write(&config, text).map_err(|e| e.to_string())?;
        let place = format!("{folder}/log");
        let log = File::create(oracle.path(&place)).map_err(|e| e.to_string())?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|e| format!("docker-registry: {e}"))?;
        let mut registry = Self { child, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(registry);
            }
            let ended = registry.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(oracle.path(&place)).unwrap_or_default();
        Err(format!("docker-registry does not answer; its log:\n{log}"))
    }

    /// The name of an image here.
    fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}:t", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).map(Pid::from_raw);
        if id.is_ok_and(|id| kill(id, Signal::SIGTERM).is_ok()) {
            for _ in 0..50 {
                if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    return;
                }
                sleep(Duration::from_millis(100));
            }
        }
        // Nothing more can be done if these fail: the process is gone, or not ours.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs every check of schema 1.
pub(super) fn run(oracle: &mut Oracle, engine: Option<&Engine>) {
    let Some(engine) = engine.filter(|_| oracle.wants("schema1")) else {
        return;
    };
    let mut registry = None;
    let needs = [
        "docker-registry",
        "root",
        "actool",
        "busybox",
        "setcap",
        "setfattr",
        "umoci",
    ];
    oracle.check("schema1: the registry starts", &needs, |oracle| {
        layers(oracle)?;
        registry = Some(Registry::start(oracle)?);
        Ok(())
    });
    if let Some(registry) = registry {
        theirs(oracle, &registry);
        ours(oracle, &registry, engine);
    }
}

/// Schema 1 by skopeo and the registry, which signs it anew whenever it is asked for it.
fn theirs(oracle: &mut Oracle, registry: &Registry) {
    let image = registry.image("theirs");
    let remote = format!("docker://{image}");
    let made = oracle.check(
        "schema1: skopeo pushes and pulls it, signed",
        &["skopeo", "jq"],
        |oracle| {
            let push = [
                "--insecure-policy",
                "copy",
                "--format",
                "v2s1",
                "--dest-tls-verify=false",
                &format!("oci:docker-base:{IMAGE}"),
                &remote,
            ];
            oracle.peer("skopeo", &push)?;
            let pull = [
                "--insecure-policy",
                "copy",
                "--src-tls-verify=false",
                &remote,
                "dir:theirs",
            ];
            oracle.peer("skopeo", &pull)?;
            let kind = oracle.shell(
                "jq -r '[.schemaVersion, (.signatures | length)] | join(\" \")' theirs/manifest.json",
            )?;
            equal("version and number of signatures", kind.trim(), "1 1")
        },
    );
    if !made {
        return;
    }
    oracle.check("schema1: imgconv verify", &[], |oracle| {
        contains(
            &oracle.imgconv(&["verify", "dir:theirs"])?,
            "1 checked, nothing wrong",
        )
    });
    oracle.check(
        "schema1: imgconv verify of a changed copy fails with 4",
        &[],
        |oracle| {
            let said = oracle.shell(&format!(
                "cp -a theirs changed && sed -i 's/GREETING=a/GREETING=z/g' changed/manifest.json\n\
                 if cmp -s theirs/manifest.json changed/manifest.json; then exit 1; fi\n\
                 code=0; '{}' verify dir:changed || code=$?\ntest $code = 4",
                oracle.program.display()
            ))?;
            contains(&said, "bad-signature")
        },
    );
    oracle.check("schema1: imgconv inspect", &[], |oracle| {
        let said = oracle.imgconv(&["inspect", "dir:theirs"])?;
        for part in [
            "format: docker-v2s1",
            "platform: linux/amd64",
            "config.env[1]: GREETING=a=b c",
            "config.cmd[1]: layers speak",
        ] {
            contains(&said, part)?;
        }
        let raw = oracle.imgconv(&["inspect", "--raw", "dir:theirs"])?;
        let stored = fs::read_to_string(oracle.path("theirs/manifest.json"));
        equal("--raw", &raw, &stored.map_err(|e| e.to_string())?)
    });
    oracle.check(
        "schema1: imgconv convert, umoci unpack equals the tree",
        &["umoci", "jq", "root"],
        |oracle| {
            oracle.imgconv(&["convert", "dir:theirs", "oci:theirs-oci"])?;
            same_tree(&oracle.path(TREE), &unpacked(oracle, "theirs-oci", 0)?)
        },
    );
}

/// Our schema 1, signed with a key made for it.
fn ours(oracle: &mut Oracle, registry: &Registry, engine: &Engine) {
    let image = registry.image("ours");
    let remote = format!("docker://{image}");
    let from = format!("oci:docker-base:{IMAGE}");
    let pushed = oracle.check(
        "schema1: the registry takes ours",
        &["skopeo", "jq"],
        |oracle| {
            oracle.imgconv(&["convert", &from, "docker-v2s1+dir:ours"])?;
            let push = [
                "--insecure-policy",
                "copy",
                "--dest-tls-verify=false",
                "dir:ours",
                &remote,
            ];
            oracle.peer("skopeo", &push)?;
            let version = oracle.shell(&format!(
                "skopeo inspect --raw --tls-verify=false {remote} | jq .schemaVersion"
            ))?;
            equal("the version that is stored", version.trim(), "1")
        },
    );
    if !pushed {
        return;
    }
    oracle.check("schema1: docker pulls and runs ours", &[], |oracle| {
        engine.docker(oracle, &["pull", &image])?;
        let run = ["run", "--rm", "--network", "none", &image];
        equal(
            "what it printed",
            engine.docker(oracle, &run)?.as_str(),
            LAYERS_PRINT,
        )
    });
    oracle.check(
        "schema1: what docker saves of ours unpacks to the tree",
        &["skopeo", "umoci", "jq", "root"],
        |oracle| {
            engine.docker(oracle, &["save", "-o", "ours.tar", &image])?;
            let copy = [
                "--insecure-policy",
                "copy",
                "docker-archive:ours.tar",
                "oci:ours-oci:x",
            ];
            oracle.peer("skopeo", &copy)?;
            same_tree(&oracle.path(TREE), &unpacked(oracle, "ours-oci", 0)?)
        },
    );
}
