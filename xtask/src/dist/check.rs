//! `cargo xtask dist --check`: every file of a release is installed where nothing else is, and does the
//! main job: an ACI becomes an OCI layout.
//!
//! The files of this kind of machine are checked; those for others are only in the list of digests. The
//! runner, the skips and `--require-all` are those of the oracle.

use std::fs;
use std::path::Path;

use super::program::Target;
use super::release::SUMS;
use crate::oracle::checks::{Oracle, contains};
use crate::oracle::engine::Engine;
use crate::process::{Result, root};

/// Runs a program in an empty root. There is no `/proc`, no `/tmp` and no other program; the name of a
/// server is looked up in `/etc/hosts`, and the server's port 1 is closed.
const JOB: &str = r#"
export PATH="$PATH:/usr/sbin:/sbin"
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
job() {
    mkdir -p "$1/etc" && cp "$HELLO" "$1/hello.aci"
    chroot "$1" "$2" aci-to-oci /hello.aci /out
    chroot "$1" "$2" diff /hello.aci /out
    echo '127.0.0.1 registry.test' > "$1/etc/hosts"
    chroot "$1" "$2" ls docker://registry.test:1/a:1 --plain-http registry.test:1 --retry-times 0 2>"$1/said" && exit 1
    grep -qi refused "$1/said" || { cat "$1/said"; exit 1; }
}
"#;

const ARCHIVE: &str = r#"
mkdir archive && tar -xzf "$OUT"/imgconv-*-"$ARCH"-linux.tar.gz -C archive --strip-components=1
for file in LICENSE-MIT LICENSE-APACHE THIRD-PARTY.md man/man1/imgconv.1 completions/_imgconv; do test -s "archive/$file"; done
job archive /imgconv
"#;

/// The package in a root in which dpkg knows no other.
const PACKAGE: &str = r#"
mkdir -p package/var/lib/dpkg/updates package/var/lib/dpkg/info && : > package/var/lib/dpkg/status
dpkg --root="$PWD/package" --force-not-root --log=/dev/null -i "$OUT"/imgconv_*_"$DEBIAN".deb
job package /usr/bin/imgconv
"#;

/// The package in a copy of the root of `cargo xtask newer`, in which each change goes to a folder of ours.
const DEBIAN: &str = r#"
mkdir upper scratch debian
mount -t overlay overlay -o "lowerdir=$NEWER,upperdir=$PWD/upper,workdir=$PWD/scratch" debian
cp "$OUT"/imgconv_*_"$DEBIAN".deb debian/imgconv.deb
chroot debian dpkg -i /imgconv.deb
chroot debian dpkg --verify imgconv
job debian /usr/bin/imgconv
chroot debian dpkg --purge imgconv
test ! -e debian/usr/bin/imgconv
"#;

/// The wheel: every file is as `RECORD` says; the command does the job.
const WHEEL: &str = r#"
wheel=$(echo "$OUT"/imgconv-*_"$ARCH".whl)
python3 - "$wheel" <<'END'
import base64, csv, hashlib, io, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
assert wheel.testzip() is None
record = next(name for name in wheel.namelist() if name.endswith("/RECORD"))
rows = list(csv.reader(io.StringIO(wheel.read(record).decode())))
assert sorted(row[0] for row in rows) == sorted(wheel.namelist())
for name, digest, size in rows:
    if name != record:
        body = wheel.read(name)
        found = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
        assert (digest, size) == ("sha256=" + found, str(len(body))), name
END
mkdir wheel
if [ "$PIP" ]; then
    python3 -m pip -q --disable-pip-version-check install --no-index --root-user-action=ignore --target wheel/python "$wheel"
    mv wheel/python/bin/imgconv wheel/imgconv
else
    python3 -m zipfile -e "$wheel" wheel/python
    mv wheel/python/*.data/scripts/imgconv wheel/imgconv && chmod 0755 wheel/imgconv
fi
job wheel /imgconv
"#;

/// Checks the files in a directory.
pub(super) fn run(arguments: &[&str], out: &Path) -> Result {
    if !out.join(SUMS).is_file() {
        let out = out.display();
        return Err(format!(
            "{out} has no release: run `cargo xtask dist` first"
        ));
    }
    let work = tempfile::Builder::new().prefix("imgconv-dist-").tempdir();
    let work = work.map_err(|e| e.to_string())?;
    let require_all = arguments.contains(&"--require-all");
    let mut oracle = Oracle::new(
        work.path().join("archive/imgconv"),
        work.path(),
        require_all,
        "",
    )?;
    let checks = &mut oracle;
    let sums = "cd \"$OUT\" && sha256sum -c --quiet --strict SHA256SUMS\n\
                test \"$(ls | wc -l)\" = \"$(($(wc -l < SHA256SUMS) + 1))\"";
    shell(
        checks,
        out,
        "SHA256SUMS names every file",
        &["sha256sum"],
        sums,
    );
    let needs = ["root", "tar", "dpkg", "python3", "newer"];
    shell(
        checks,
        out,
        "the archive in an empty root",
        &needs[..2],
        ARCHIVE,
    );
    shell(
        checks,
        out,
        "the package in an empty root",
        &needs[..3],
        PACKAGE,
    );
    let name = "the package in a Debian root";
    shell(
        checks,
        out,
        name,
        &["root", "newer"],
        &format!("NEWER='{}'\n{DEBIAN}", newer(checks)),
    );
    let pip = checks.shell("python3 -m pip --version").is_ok();
    let (name, pip) = match pip {
        true => ("the wheel, installed by pip, in an empty root", "PIP=yes\n"),
        false => (
            "the wheel, unpacked because there is no pip, in an empty root",
            "PIP=\n",
        ),
    };
    shell(
        checks,
        out,
        name,
        &["root", "python3"],
        &format!("{pip}{WHEEL}"),
    );
    images(checks, out);
    drop(work);
    println!(
        "dist: {} passed, {} failed, {} skipped",
        oracle.passed, oracle.failed, oracle.skipped
    );
    match oracle.failed {
        0 => Ok(()),
        _ => Err("a check of the release failed".into()),
    }
}

fn newer(oracle: &Oracle) -> String {
    oracle
        .newer
        .as_ref()
        .map(|newer| newer.path().display().to_string())
        .unwrap_or_default()
}

/// Runs a script as a check, in a mount namespace of its own where there is a root.
fn shell(oracle: &mut Oracle, out: &Path, name: &str, needs: &[&str], script: &str) {
    oracle.check(&format!("dist: {name}"), needs, |oracle| {
        let text = format!("{}{JOB}{script}", variables(out));
        match needs.contains(&"root") {
            true => oracle
                .peer("unshare", &["--mount", "sh", "-euc", &text])
                .map(drop),
            false => oracle.shell(&text).map(drop),
        }
    });
}

fn variables(out: &Path) -> String {
    let target = Target::of_this_machine();
    format!(
        "OUT='{}' HELLO='{}' ARCH={} DEBIAN={}\n",
        out.display(),
        root().join("testdata/hello.aci").display(),
        target.arch,
        target.debian,
    )
}

/// The three forms of the image are one image, and an engine runs it as the manifests in `deploy` do.
fn images(oracle: &mut Oracle, out: &Path) {
    let target = Target::of_this_machine();
    let version = env!("CARGO_PKG_VERSION");
    let at = |end: &str| format!("{}/imgconv-{version}-{}{end}", out.display(), target.arch);
    let (oci, docker, aci) = (at("-oci.tar"), at("-docker.tar"), at(".aci"));
    oracle.check(
        "dist: the forms of the image are one image",
        &["root", "tar"],
        |oracle| {
            for other in [&docker, &aci] {
                oracle.imgconv(&["verify", other])?;
                oracle.imgconv(&["diff", &oci, other])?;
            }
            oracle.imgconv(&["verify", &oci]).map(drop)
        },
    );
    oracle.check("dist: actool accepts the ACI", &["actool"], |oracle| {
        oracle.peer("actool", &["validate", &aci]).map(drop)
    });
    let engine = Engine::start(oracle);
    let Some(engine) = engine else { return };
    oracle.check(
        "dist: docker runs the image with the rights of a pod",
        &[],
        |oracle| {
            let name = format!("imgconv:{version}");
            contains(&engine.docker(oracle, &["load", "-i", &docker])?, &name)?;
            let folder = oracle.path("pod/x");
            let folder = folder.parent().unwrap_or(&folder);
            fs::copy(root().join("testdata/hello.aci"), folder.join("hello.aci"))
                .map_err(|e| e.to_string())?;
            oracle.shell("chown -R 65532:65532 pod")?;
            let volume = format!("{}:/work", folder.display());
            let run = [
                "run",
                "--rm",
                "--network=none",
                "--read-only",
                "--tmpfs=/tmp",
                "--cap-drop=ALL",
            ];
            let run = [&run[..], &["--user=65532:65532", "-v", &volume, &name]].concat();
            let run = |arguments: &[&str]| engine.docker(oracle, &[&run[..], arguments].concat());
            run(&["aci-to-oci", "hello.aci", "out/"])?;
            run(&["diff", "hello.aci", "out/"])?;
            run(&["migrate", "out/", "docker-archive:saved/", "--shard", "1/1"]).map(drop)
        },
    );
    // The name that the kubelet looks for when a manifest says `imgconv:VERSION`.
    oracle.check(
        "dist: containerd imports the image by its name",
        &["ctr"],
        |oracle| {
            let socket = engine.containerd.to_string_lossy().into_owned();
            let ctr = |arguments: &[&str]| {
                oracle.peer(
                    "ctr",
                    &[
                        &["--address", &socket, "--namespace=k8s.io", "images"],
                        arguments,
                    ]
                    .concat(),
                )
            };
            ctr(&["import", &docker])?;
            contains(
                &ctr(&["ls", "-q"])?,
                &format!("docker.io/library/imgconv:{version}\n"),
            )
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_name_the_image_of_the_release() {
        for name in ["migrate", "merge"] {
            let path = root().join(format!("deploy/kubernetes/{name}.yaml"));
            let text = fs::read_to_string(path).unwrap();
            let wanted = format!("image: imgconv:{}\n", env!("CARGO_PKG_VERSION"));
            assert!(
                text.contains(&wanted),
                "{name}.yaml has no `{}`",
                wanted.trim()
            );
        }
    }
}
