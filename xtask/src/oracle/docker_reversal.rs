//! Checks of the exact way back of old docker images: docker loads a restored archive as the original, and a
//! registry and skopeo take and give a restored schema 1 manifest.

use std::fs;

use super::checks::{Oracle, contains};
use super::docker::equal;
use super::engine::Engine;
use super::registry_server::Registry;
use crate::process::Result;

/// The group of this file; it uses the engine.
pub(super) const GROUPS: [&str; 1] = ["reversal"];

/// An archive in the form of Docker 1.9, made by GNU tar: three layers, one of them empty. The name and the option
/// of tar are arguments.
const ARCHIVE: &str = r#"
name="$1" format="$2"
rm -rf save && mkdir -p save/tree/bin save/tree/etc save/all
printf 'root:x:0:0:root:/root:/bin/sh\n' > save/tree/etc/passwd
head -c 300000 /dev/urandom > save/tree/bin/program
parent=
for step in 1 2 3; do
  id=$(printf '%s' "$name $step" | sha256sum | cut -c-64)
  mkdir save/all/$id
  printf 1.0 > save/all/$id/VERSION
  case $step in
  1) tar -C save/tree --mtime=@1400000000 -cf save/all/$id/layer.tar bin;;
  2) head -c 1024 /dev/zero > save/all/$id/layer.tar;;
  3) tar -C save/tree --mtime=@1400000001 -cf save/all/$id/layer.tar etc;;
  esac
  printf '{"id":"%s",%s"created":"2015-01-0%sT00:00:00.5Z","container_config":{"Cmd":["/bin/sh","-c","step %s"]},"docker_version":"1.9.1","config":{"Cmd":["/bin/program"],"Env":["A=b"]},"architecture":"amd64","os":"linux","Size":1}\n' \
    $id "$parent" $step $step > save/all/$id/json
  parent="\"parent\":\"$id\","
done
printf '{"example.com/%s":{"1":"%s"}}\n' "$name" $id > save/all/repositories
tar -C save/all --format=$format --sort=name -cf "$name.tar" $(ls save/all)
"#;

/// The key of RFC 7515, appendix A.3: registries take schema 1 only signed.
const KEY: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;

/// Runs every check of old docker images.
pub(super) fn run(oracle: &mut Oracle, engine: Option<&Engine>) {
    if !oracle.wants(GROUPS[0]) {
        return;
    }
    let mut names = Vec::new();
    for format in ["gnu", "pax"] {
        let name = format!("saved-{format}");
        let title = format!("reversal: an archive before Docker 1.10 comes back ({format})");
        if oracle.check(&title, &["docker-registry"], |oracle| {
            archive(oracle, &name, format)
        }) {
            names.push(name);
        }
    }
    for (name, engine) in names.iter().filter_map(|name| Some((name, engine?))) {
        let title = format!("reversal: docker loads the restored archive, {name}");
        oracle.check(&title, &[], |oracle| load(oracle, engine, name));
    }
    if let Some(name) = names.first() {
        let title = "reversal: docker-registry and skopeo take the restored schema 1 manifest";
        oracle.check(title, &["docker-registry", "skopeo", "jq"], |oracle| {
            schema1(oracle, name)
        });
    }
}

/// Makes an archive of docker before 1.10, `NAME.tar`; returns its name.
pub(super) fn old_archive(oracle: &Oracle, name: &str, format: &str) -> Result<String> {
    oracle.peer("sh", &["-euc", ARCHIVE, "sh", name, format])?;
    Ok(format!("{name}.tar"))
}

/// Restores an archive from a layout and from a registry.
fn archive(oracle: &Oracle, name: &str, format: &str) -> Result {
    let file = old_archive(oracle, name, format)?;
    let layout = format!("kept-{name}");
    oracle.imgconv(&["docker-to-oci", "--reversible", &*file, &*layout])?;
    let back = format!("back-{name}.tar");
    contains(
        &oracle.imgconv(&["oci-to-docker", &*layout, &*back, "--exact"])?,
        "exact",
    )?;
    oracle.shell(&format!("cmp {file} {back}"))?;
    let registry = Registry::start(oracle, &format!("registry-{name}"))?;
    let place = format!("docker://{}", registry.image("team/app"));
    oracle.imgconv(&["convert", &*layout, &*format!("oci+{place}")])?;
    let pulled = format!("pulled-{name}.tar");
    let to = format!("docker-archive:{pulled}");
    oracle.imgconv(&["convert", &*place, &*to, "--exact"])?;
    oracle.shell(&format!("cmp {file} {pulled}")).map(drop)
}

/// Loads the original and the restored archive: the engine has the same image of both.
fn load(oracle: &Oracle, engine: &Engine, name: &str) -> Result {
    let image = format!("example.com/{name}:1");
    let id = |file: &str| -> Result<String> {
        engine.docker(oracle, &["load", "-i", file])?;
        let what = "{{.Id}} {{json .RootFS}} {{json .Config.Env}}";
        let said = engine.docker(oracle, &["image", "inspect", "--format", what, &image])?;
        engine.docker(oracle, &["rmi", &image])?;
        Ok(said)
    };
    let (before, after) = (
        id(&format!("{name}.tar"))?,
        id(&format!("back-{name}.tar"))?,
    );
    contains(&after, "A=b")?;
    equal("the image in the engine", &*before, &*after)
}

/// Brings a schema 1 image through a registry to OCI and back to another registry.
fn schema1(oracle: &Oracle, name: &str) -> Result {
    fs::write(oracle.path("reversal-key.json"), KEY).map_err(|error| error.to_string())?;
    let registry = Registry::start(oracle, "registry-schema1")?;
    let place = format!("docker://{}", registry.image("old/app"));
    let (file, to) = (format!("{name}.tar"), format!("docker-v2s1+{place}"));
    let key = ["--sign-key", "reversal-key.json"];
    oracle.imgconv(&[&["convert", &*file, &*to], &key[..]].concat())?;
    oracle.imgconv(&["convert", &*place, "oci:schema1-kept", "--reversible"])?;
    let other = Registry::start(oracle, "registry-schema1-back")?;
    let back = format!("docker://{}", other.image("old/app"));
    let to = format!("docker-v2s1+{back}");
    contains(
        &oracle.imgconv(&["convert", "oci:schema1-kept", &*to, "--exact"])?,
        "exact",
    )?;
    let pull = |place: &str, folder: &str| {
        let arguments = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false"];
        let to = format!("dir:{folder}");
        oracle.peer("skopeo", &[&arguments[..], &[place, &to]].concat())
    };
    pull(&place, "schema1-before")?;
    pull(&back, "schema1-after")?;
    // Debian's registry signs schema 1 anew each time.
    oracle.shell(
        "for side in before after; do\n  jq -S 'del(.signatures)' schema1-$side/manifest.json > schema1-$side.json\n  \
         ls schema1-$side > schema1-$side.list\ndone\n\
         cmp schema1-before.json schema1-after.json && cmp schema1-before.list schema1-after.list",
    )?;
    oracle.imgconv(&["verify", &*back]).map(drop)
}
