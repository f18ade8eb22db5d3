//! The Python wheel: no Python in it, but `pip install` puts the program into the `bin` of the
//! environment.
//!
//! The format is that of the binary distribution format of PyPA (wheel 1.0) with core metadata 2.4.
//! A static program needs no library, so it keeps every rule of manylinux and of musllinux.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::program::Target;
use super::release::{Release, read};
use super::tree::Tree;
use super::zip;
use crate::process::Result;

/// Writes the wheel.
pub(super) fn write(release: &Release, target: &Target, program: &[u8]) -> Result {
    let version = &release.version;
    let platforms = ["manylinux_2_17", "manylinux2014", "musllinux_1_1"]
        .map(|platform| format!("{platform}_{}", target.arch));
    let info = format!("imgconv-{version}.dist-info");
    let mut tree = Tree::default();
    tree.file(
        &format!("imgconv-{version}.data/scripts/imgconv"),
        0o755,
        program,
    );
    let licences = release.licences()?;
    let mut metadata = format!(
        "Metadata-Version: 2.4\nName: imgconv\nVersion: {version}\n\
         Summary: Converts container images between ACI, OCI and Docker's formats\n\
         License-Expression: MIT OR Apache-2.0\n"
    );
    for (name, _, _) in licences.files() {
        metadata += &format!("License-File: {name}\n");
    }
    metadata += "Project-URL: Source, https://github.com/imgconv/imgconv\n\
                 Classifier: Operating System :: POSIX :: Linux\n\
                 Description-Content-Type: text/markdown\n\n";
    metadata += &String::from_utf8_lossy(&read("README.md")?);
    let mut wheel =
        "Wheel-Version: 1.0\nGenerator: imgconv-xtask\nRoot-Is-Purelib: false\n".to_owned();
    for platform in &platforms {
        wheel += &format!("Tag: py3-none-{platform}\n");
    }
    tree.file(&format!("{info}/METADATA"), 0o644, metadata);
    tree.file(&format!("{info}/WHEEL"), 0o644, wheel);
    tree.add(&format!("{info}/licenses"), &licences);
    let record = record(&tree, &format!("{info}/RECORD"));
    tree.file(&format!("{info}/RECORD"), 0o644, record);
    let name = format!("imgconv-{version}-py3-none-{}.whl", platforms.join("."));
    release.write(&name, &zip::zip(&tree)?)
}

/// Lists every file with digest and size, and itself without.
fn record(tree: &Tree, own: &str) -> String {
    let lines = tree.files().map(|(path, _, bytes)| {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
        format!("{path},sha256={digest},{}\n", bytes.len())
    });
    lines.collect::<String>() + &format!("{own},,\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_digests_and_sizes() {
        let mut tree = Tree::default();
        tree.file("a", 0o644, "abc");
        let wanted = "a,sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0,3\nR,,\n";
        assert_eq!(record(&tree, "R"), wanted);
    }
}
