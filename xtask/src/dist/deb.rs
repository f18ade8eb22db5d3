//! The package for Debian and its descendants: an `ar` of a version and two tars (`deb(5)`).
//!
//! It is written here, so that a release needs no Debian. It has no scripts, and depends on nothing.

use super::program::Target;
use super::release::{Release, read};
use super::tree::{Tree, gzip};
use crate::process::Result;

const MAINTAINER: &str = "imgconv developers <imgconv@users.noreply.github.com>";

/// Writes the package.
pub(super) fn write(release: &Release, target: &Target, program: &[u8]) -> Result {
    // The number of the packaging, which begins at 1 for each version of the program.
    let version = format!("{}-1", release.version);
    let tree = tree(release, &version, program)?;
    let size: usize = tree
        .files()
        .map(|(_, _, bytes)| bytes.len().div_ceil(1024))
        .sum();
    let mut control = Tree::default();
    control.file(
        "control",
        0o644,
        format!(
            "Package: imgconv\nVersion: {version}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
             Installed-Size: {size}\nRecommends: ca-certificates\nSection: utils\nPriority: optional\n\
             Homepage: https://github.com/imgconv/imgconv\n\
             Description: converter of container images between ACI, OCI and Docker\n \
             imgconv converts container images between ACI (appc, rkt), OCI and Docker's\n \
             formats of every age, without a daemon: files, archives, registries, and the\n \
             folders in which registries and engines keep images.\n",
            target.debian
        ),
    );
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.tar("./", release.epoch)?)?),
        ("data.tar.gz", gzip(&tree.tar("./", release.epoch)?)?),
    ];
    let name = format!("imgconv_{version}_{}.deb", target.debian);
    release.write(&name, &ar(&members, release.epoch))
}

/// The installed files.
fn tree(release: &Release, version: &str, program: &[u8]) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file("usr/bin/imgconv", 0o755, program);
    for (name, mode, bytes) in release.pages.files() {
        tree.file(&format!("usr/share/man/man1/{name}.gz"), mode, gzip(bytes)?);
    }
    for (name, mode, bytes) in release.completions.files() {
        let path = match name {
            "imgconv.bash" => "bash-completion/completions/imgconv",
            "imgconv.fish" => "fish/vendor_completions.d/imgconv.fish",
            _ => "zsh/vendor-completions/_imgconv",
        };
        tree.file(&format!("usr/share/{path}"), mode, bytes);
    }
    let doc = "usr/share/doc/imgconv";
    tree.file(&format!("{doc}/copyright"), 0o644, copyright(release)?);
    tree.file(
        &format!("{doc}/changelog.gz"),
        0o644,
        gzip(&read("CHANGELOG.md")?)?,
    );
    let entry = format!(
        "imgconv ({version}) unstable; urgency=medium\n\n  * Release {}; changelog.gz lists the changes.\n\n \
         -- {MAINTAINER}  {}\n",
        release.version,
        release.date("+%a, %d %b %Y %H:%M:%S +0000")?,
    );
    tree.file(
        &format!("{doc}/changelog.Debian.gz"),
        0o644,
        gzip(entry.as_bytes())?,
    );
    tree.file(
        "usr/share/lintian/overrides/imgconv",
        0o644,
        "# One program for every Linux: it brings its libraries, and copyright names them.\n\
         imgconv: statically-linked-binary [usr/bin/imgconv]\n",
    );
    Ok(tree)
}

fn copyright(release: &Release) -> Result<String> {
    Ok(format!(
        "imgconv, https://github.com/imgconv/imgconv, is licensed as MIT or Apache-2.0, at your choice.\n\
         On Debian, the Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0. The MIT License:\n\n\
         {}\n\
         The program has parts of other packages, under their own licences:\n\n{}",
        String::from_utf8_lossy(&read("LICENSE-MIT")?),
        release.third_party,
    ))
}

/// Writes an archive of `ar`: a line about each member, then its bytes, padded to an even number.
fn ar(members: &[(&str, Vec<u8>)], epoch: u64) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let line = format!(
            "{name:<16}{epoch:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            0,
            0,
            100_644,
            bytes.len()
        );
        out.extend(line.bytes());
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_padded() {
        let bytes = ar(&[("a", b"xyz".to_vec()), ("b", b"1".to_vec())], 5);
        let text = String::from_utf8(bytes).unwrap();
        let head = |name, size| {
            format!("{name}               5           0     0     100644  {size}         `\n")
        };
        assert_eq!(
            text,
            format!("!<arch>\n{}xyz\n{}1\n", head("a", 3), head("b", 1))
        );
    }
}
