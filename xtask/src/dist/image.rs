//! The container image of imgconv, made by imgconv: a tree with the static program, as an archive of
//! an OCI layout, as a file for `docker load`, and as an ACI.
//!
//! The image has no shell and no certificates: a user who reads registries mounts the certificates of
//! the machine (`docs/install.md`).

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::program::Target;
use super::release::Release;
use super::tree::Tree;
use crate::process::{Result, call};

/// Writes the three files. `imgconv` is a program that runs on this machine.
pub(super) fn write(release: &Release, target: &Target, program: &[u8], imgconv: &Path) -> Result {
    let mut tree = Tree::default();
    tree.file("usr/bin/imgconv", 0o755, program);
    // Names are looked up by the program itself, in this order.
    tree.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    tree.directory("tmp", 0o1777);
    // Where users mount their files.
    tree.directory("work", 0o755);
    tree.add("usr/share/doc/imgconv", &release.licences()?);
    let config = json!({
        "created": release.date("+%Y-%m-%dT%H:%M:%SZ")?,
        "architecture": target.oci,
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/imgconv"],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/work",
            "Labels": {
                "org.opencontainers.image.title": "imgconv",
                "org.opencontainers.image.version": release.version,
                "org.opencontainers.image.source": "https://github.com/imgconv/imgconv",
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let put = |name: &str, bytes: &[u8]| {
        imgconv_testkit::write_file(&folder.path().join(name), bytes).map_err(|e| e.to_string())
    };
    put("root.tar", &tree.tar("", release.epoch)?)?;
    put("config.json", config.to_string().as_bytes())?;
    let stem = format!("imgconv-{}-{}", release.version, target.arch);
    let at = |end: &str| format!("{}/{stem}{end}", release.out.display());
    let (oci, docker, aci) = (at("-oci.tar"), at("-docker.tar"), at(".aci"));
    let name = format!("imgconv:{}", release.version);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(imgconv);
        command.args(arguments).current_dir(folder.path());
        call(command.env("SOURCE_DATE_EPOCH", release.epoch.to_string()))
    };
    let described = ["--config", "config.json", "--name", &name, "--overwrite"];
    let to = format!("oci-archive:{oci}");
    run(&[&["convert", "rootfs:root.tar", &to][..], &described].concat())?;
    run(&["oci-to-docker", &oci, &docker, "--overwrite"])?;
    run(&["oci-to-aci", &oci, &aci, "--overwrite"])?;
    for path in [oci, docker, aci] {
        let size = std::fs::metadata(&path)
            .map_err(|e| format!("{path}: {e}"))?
            .len();
        let name = path.rsplit('/').next().unwrap_or_default();
        println!("{name}  {} KiB", size.div_ceil(1024));
    }
    Ok(())
}
