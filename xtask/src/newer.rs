//! Newer versions of the peers, in a private root: `cargo xtask newer`.
//!
//! Debian's stable suite has engines of 2022. The suite `sid` has those of today. `debootstrap` puts
//! them into a directory of their own, where they can't disturb the system; the directory is kept
//! and used again by later runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, call};

/// The environment variable that names another directory than [`DEFAULT`].
const VARIABLE: &str = "IMGCONV_NEWER";
const DEFAULT: &str = "/var/cache/imgconv-newer";

/// The packages of the private root.
const PACKAGES: &str = "buildah,busybox-static,ca-certificates,containerd,crun,docker-cli,docker-registry,\
    docker.io,fuse-overlayfs,jq,podman,runc,skopeo,umoci";

/// Those whose versions matter.
const PEERS: &str = "buildah containerd docker-registry docker.io podman runc skopeo umoci";

/// The package with the sources of a registry that has the API for referrers. The registry needs no other package,
/// and those that its package depends on, for other parts, are many: so only this package is unpacked.
const SOURCES: &str = "golang-github-google-go-containerregistry-dev";
/// Where Debian's packages have the sources of Go programs, below the root.
const GO_PATH: &str = "usr/share/gocode";

/// Runs a script inside the private root. Each mount is made in a mount namespace of its own: nothing
/// of the system changes, and all mounts are gone when the last process of the script has ended.
const ENTER: &str = r#"
mount --bind "$ROOT" "$ROOT"
for d in proc sys dev; do mount --rbind "/$d" "$ROOT/$d"; mount --make-rslave "$ROOT/$d"; done
mkdir -p "$ROOT$WORK"
mount --bind "$WORK" "$ROOT$WORK"
exec chroot "$ROOT" /bin/sh -euc 'cd "$1"; eval "$2"' sh "$WORK" "$SCRIPT"
"#;

/// The private root.
#[derive(Clone, Debug)]
pub(crate) struct Newer(PathBuf);

impl Newer {
    /// Returns the private root if it was made.
    pub(crate) fn find() -> Option<Self> {
        let root = directory();
        root.join("complete").is_file().then_some(Self(root))
    }

    /// The directory of the private root.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The versions of the programs: lines of a package and its version.
    pub(crate) fn versions(&self) -> Result<String> {
        let script = format!(
            "dpkg-query -W -f '${{Package}} ${{Version}}\\n' {PEERS}; cat /{GO_PATH}/version 2>/dev/null || :"
        );
        call(&mut self.shell(&std::env::temp_dir(), &script))
    }

    /// The sources of Go programs in the private root, for the variable `GOPATH`.
    pub(crate) fn go_path(&self) -> PathBuf {
        self.0.join(GO_PATH)
    }

    /// Prepares a command that runs a shell script in the private root. The script sees `work` under
    /// the same path, starts there, and has five minutes.
    pub(crate) fn shell(&self, work: &Path, script: &str) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "300", "unshare", "--mount", "sh", "-euc", ENTER])
            .env("ROOT", &self.0)
            .env("WORK", work)
            .env("SCRIPT", script);
        command
    }

    /// Installs what a new root, or a root of an older version, lacks. As for `debootstrap`, the list of packages is
    /// compared with its signature, and not with the day until which it is valid: a mirror may be older.
    fn complete(self) -> Result<Self> {
        let packages = PACKAGES.replace(',', " ");
        let script = format!(
            "update() {{ apt-get -o Acquire::Check-Valid-Until=false update -qq; }}
             dpkg-query -W {packages} > /dev/null 2>&1 || {{ update; \
             DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends {packages}; }}
             [ -e /{GO_PATH}/version ] || {{ update; \
             cd \"$(mktemp -d)\"; apt-get download -qq {SOURCES}; dpkg -x {SOURCES}_*.deb /; \
             ls | sed 's/_/ /; s/_.*//' > /{GO_PATH}/version; rm -r \"$PWD\"; }}"
        );
        call(&mut self.shell(&std::env::temp_dir(), &script))?;
        Ok(self)
    }

    /// Writes `name` into `directory`: a script that runs that program of the private root in the
    /// system's own file tree, with the libraries of the private root.
    ///
    /// # Errors
    /// The private root has no such program, or the directory can't be written.
    pub(crate) fn wrap(&self, name: &str, directory: &Path) -> Result {
        use std::os::unix::fs::PermissionsExt;

        let root = self.0.display();
        let program = self.0.join("usr/bin").join(name);
        if !program.is_file() {
            return Err(format!("{} is missing", program.display()));
        }
        let text = format!(
            "#!/bin/sh\nset -- {root}/usr/bin/{name} \"$@\"\n\
             for loader in {root}/lib/*-linux-*/ld-linux-*.so.*; do\n\
             exec \"$loader\" --library-path \"${{loader%/*}}\" \"$@\"\ndone\n"
        );
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|e| e.to_string())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .map_err(|e| e.to_string())
    }
}

/// Makes the private root unless it is there; prints its versions.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let newer = match Newer::find() {
        Some(found) if !arguments.contains(&"--again") => found.complete()?,
        _ => make()?.complete()?,
    };
    print!("{}", newer.versions()?);
    Ok(())
}

fn directory() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| DEFAULT.into(), PathBuf::from)
}

/// Makes the root beside its final name, so that an interrupted run leaves nothing that counts.
fn make() -> Result<Newer> {
    let root = directory();
    let partial = root.with_extension("partial");
    for old in [&partial, &root] {
        match std::fs::remove_dir_all(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", old.display()));
            }
            _ => {}
        }
    }
    eprintln!(
        "making {} from Debian's suite sid, about 1 GB",
        root.display()
    );
    let parent = root.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
    call(
        Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), "sid"])
            .arg(&partial),
    )?;
    std::fs::write(partial.join("complete"), "").map_err(|e| e.to_string())?;
    std::fs::rename(&partial, &root).map_err(|e| e.to_string())?;
    Ok(Newer(root))
}
