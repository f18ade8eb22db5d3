//! Checks of `registries.conf`: skopeo reads the same images from the same places by one file.

use std::fs;

use super::checks::{Oracle, contains};
use super::docker::equal;
use crate::process::{Result, free_port};

/// The configuration. `PORT` is the port of a registry, nothing listens on `DEAD`.
const CONFIG: &str = r#"
[[registry]]
prefix = "mirrored.example/team"
location = "127.0.0.1:DEAD/none"

[[registry.mirror]]
location = "127.0.0.1:DEAD/dead"

[[registry.mirror]]
location = "127.0.0.1:PORT/lacks-the-image"
insecure = true

[[registry.mirror]]
location = "127.0.0.1:PORT/theirs"
insecure = true

[[registry]]
prefix = "rewritten.example"
location = "127.0.0.1:PORT/theirs"
insecure = true

[[registry]]
prefix = "rewritten.example/longer"
location = "127.0.0.1:DEAD/longer"
insecure = true

[[registry]]
prefix = "*.wild.example"
location = "127.0.0.1:PORT/theirs"
insecure = true

[[registry]]
prefix = "digests.example"
location = "127.0.0.1:DEAD/none"

[[registry.mirror]]
location = "127.0.0.1:PORT/theirs"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
location = "127.0.0.1:PORT/theirs/v2s2"
insecure = true
blocked = true
"#;

/// The image that skopeo pushed to the registry before.
const IMAGE: &str = "oci:t";

/// Runs every check with a registry at a port, which has the images that skopeo pushed.
pub(super) fn run(oracle: &mut Oracle, port: u16) {
    let written = oracle.check("registry: registries.conf is written", &[], |oracle| {
        let dead = free_port()?;
        let text = CONFIG
            .replace("PORT", &port.to_string())
            .replace("DEAD", &dead.to_string());
        fs::write(oracle.path("mirrors.conf"), text).map_err(|e| e.to_string())
    });
    if !written {
        return;
    }
    for (i, place) in [
        "mirrored.example/team",
        "rewritten.example",
        "a.b.wild.example",
    ]
    .into_iter()
    .enumerate()
    {
        let title = format!("registry: we read {place} where skopeo reads it");
        oracle.check(&title, &["skopeo", "jq"], |oracle| {
            let remote = format!("docker://{place}/{IMAGE}");
            let (ours, theirs) = (format!("our-mirror-{i}"), format!("their-mirror-{i}"));
            imgconv(oracle, &["convert", &remote, &format!("oci:{ours}:x")])?;
            skopeo(oracle, &["copy", &remote, &format!("oci:{theirs}:x")])?;
            equal("digest", &oracle.root_of(&ours)?, &oracle.root_of(&theirs)?)
        });
    }
    oracle.check(
        "registry: a mirror for digests is used as by skopeo",
        &["skopeo", "jq"],
        |oracle| {
            let digest = oracle.root_of("our-mirror-0")?;
            let by_digest = format!("docker://digests.example/oci@{}", digest.trim());
            imgconv(oracle, &["convert", &by_digest, "oci:our-digest:x"])?;
            skopeo(oracle, &["copy", &by_digest, "oci:their-digest:x"])?;
            equal(
                "digest",
                &oracle.root_of("our-digest")?,
                &oracle.root_of("their-digest")?,
            )?;
            both_refuse(
                oracle,
                &format!("docker://digests.example/{IMAGE}"),
                "refused",
            )
        },
    );
    oracle.check(
        "registry: we and skopeo refuse what is blocked",
        &["skopeo"],
        |oracle| {
            both_refuse(oracle, "docker://rewritten.example/v2s2:t", "blocked")?;
            let direct = format!("docker://127.0.0.1:{port}/theirs/v2s2:t");
            both_refuse(oracle, &direct, "blocked")?;
            both_refuse(oracle, "docker://rewritten.example/longer/x:t", "refused")
        },
    );
    oracle.check(
        "registry: neither we nor skopeo write to another place than the named one",
        &["skopeo"],
        |oracle| {
            let to = "docker://rewritten.example/written:t";
            let from = "oci:our-mirror-0:x";
            let ours = imgconv(oracle, &["convert", from, to, "--retry-times", "0"]);
            let theirs = skopeo(oracle, &["copy", from, to]);
            match (ours, theirs) {
                (Err(ours), Err(_)) => contains(&ours, "rewritten.example"),
                _ => Err("one of them wrote somewhere".to_owned()),
            }
        },
    );
}

/// Runs imgconv with the configuration.
fn imgconv(oracle: &Oracle, arguments: &[&str]) -> Result<String> {
    oracle.imgconv(&[arguments, &["--registries-conf", "mirrors.conf"]].concat())
}

/// Runs skopeo with the configuration; `--registries-conf` is not in its help.
fn skopeo(oracle: &Oracle, arguments: &[&str]) -> Result<String> {
    let all = ["--insecure-policy", "--registries-conf", "mirrors.conf"];
    oracle.peer("skopeo", &[&all[..], arguments].concat())
}

/// Demands that both programs refuse to read an image for the same reason.
fn both_refuse(oracle: &Oracle, remote: &str, why: &str) -> Result {
    let ours = imgconv(
        oracle,
        &[
            "convert",
            remote,
            "oci:never-written:x",
            "--retry-times",
            "0",
        ],
    );
    let theirs = skopeo(oracle, &["copy", remote, "oci:never-written:x"]);
    match (ours, theirs) {
        (Err(ours), Err(theirs)) => {
            contains(&ours, why)?;
            contains(&theirs, why)
        }
        _ => Err(format!("one of them read {remote}")),
    }
}
