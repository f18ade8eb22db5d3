//! Checks of Docker's schema 1, with a registry that still accepts such manifests.

use std::fs;

use super::checks::{Oracle, contains, same_tree};
use super::docker::{LAYERS_PRINT, equal, layers, unpacked};
use super::engine::Engine;
use super::registry_server::Registry;

/// The groups of this file; all use the engine.
pub(super) const GROUPS: [&str; 1] = ["schema1"];

/// The image that is pushed, and its tree: umoci gave it a history, without which skopeo does not
/// write schema 1.
const IMAGE: &str = "example.com/layers/second:1";
const TREE: &str = "docker-base-second/rootfs";

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
        registry = Some(Registry::start(oracle, "registry")?);
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

/// Schema 1 manifests of imgconv, signed with a new key.
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
