//! Real root file systems, and ACIs that other tools make of them.

use std::fs;
use std::path::PathBuf;

use super::checks::Oracle;
use crate::process::Result;

/// An ACI and the output of running it.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// A short name: the start of its checks' names, and the last part of the image's name.
    pub(super) name: &'static str,
    pub(super) aci: PathBuf,
    /// The reference that the OCI image should have.
    pub(super) reference: String,
    /// The output of the image's `exec`.
    pub(super) prints: &'static str,
}

/// A small tree with everything that `actool build` carries: hard and symbolic links, setuid,
/// owners, times before 1970, names that are long or not UTF-8. Extended attributes are set; actool
/// drops them and GNU tar keeps them.
const BUSYBOX: &str = r#"
mkdir -p "$R/bin" "$R/etc" "$R/tmp" "$R/home/user" "$R/var/lib/empty"
cp /bin/busybox "$R/bin/busybox" 2>/dev/null || cp /usr/bin/busybox "$R/bin/busybox"
for name in sh ls cat sleep; do ln -s busybox "$R/bin/$name"; done
for name in echo true false; do ln "$R/bin/busybox" "$R/bin/$name"; done
cp "$R/bin/busybox" "$R/bin/su"
cp "$R/bin/busybox" "$R/bin/ping"
chown 0:12 "$R/bin/su"
chmod 6755 "$R/bin/su"
setcap cap_net_raw+ep "$R/bin/ping"
chmod 1777 "$R/tmp"
printf 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' > "$R/etc/passwd"
printf 'a value\n' > "$R/etc/xattr"
setfattr -n user.plain -v text "$R/etc/xattr"
setfattr -n user.bytes -v 0x00ff0a3d "$R/etc/xattr"
setfattr -n user.dir -v d "$R/home/user"
chown -R 1000:1000 "$R/home/user"
: > "$R/etc/empty"
ln -s /does/not/exist "$R/etc/dangling"
ln -s ../../../../etc/passwd "$R/home/user/climbing"
printf old > "$R/etc/before-1970"
printf later > "$R/etc/after-2038"
chown 70000:3000000 "$R/etc/after-2038"
printf x > "$R/etc/$(printf 'latin1-\351')"
printf y > "$R/etc/$(printf 'utf8-\303\251 with spaces')"
LONG=$(printf 'long%.0s' $(seq 40))
mkdir -p "$R/$LONG/$LONG"
printf z > "$R/$LONG/$LONG/$LONG"
ln "$R/$LONG/$LONG/$LONG" "$R/$LONG/hard-link-to-it"
ln -s "$LONG/$LONG/$LONG" "$R/symbolic-link-to-it"
touch -d '1969-12-31T23:59:50Z' "$R/etc/before-1970"
touch -d '2040-02-03T04:05:06Z' "$R/etc/after-2038"
touch -h -d '2001-02-03T04:05:06Z' "$R/etc/dangling"
touch -d '2002-03-04T05:06:07Z' "$R/etc/passwd" "$R/etc"
touch -d '1999-01-01T00:00:00Z' "$R"
"#;

/// Kinds of files that only GNU tar stores: FIFOs, devices, fractions of seconds, sparse files.
const SPECIAL: &str = r#"
cp -a "$FROM" "$R"
mkfifo -m 0620 "$R/tmp/fifo"
mknod -m 0666 "$R/tmp/null" c 1 3
mknod -m 0660 "$R/tmp/disk" b 8 17
mknod -m 0660 "$R/tmp/big-numbers" c 300 70000
truncate -s 3000000 "$R/var/lib/sparse"
printf data | dd of="$R/var/lib/sparse" bs=1 seek=1500000 conv=notrunc 2>/dev/null
touch -d '2010-11-12T13:14:15.123456789Z' "$R/var/lib/sparse" "$R/tmp"
touch -d '1950-01-02T03:04:05.25Z' "$R/etc/before-1970"
"#;

/// The files of installed packages: some 90 MB with hard links, setuid programs and their owners.
const PACKAGES: &str = r#"
mkdir -p "$R"
# /bin and its like may be links into /usr; their targets must be there before what is below them
for folder in bin sbin lib lib64; do if [ -h "/$folder" ]; then mkdir -p "$R/usr/$folder"; fi; done
for package in base-files bash coreutils dash dpkg findutils grep gzip libc6 libc-bin libselinux1 \
    libpcre2-8-0 libtinfo6 libacl1 libattr1 libgmp10 libssl3 login mount ncurses-base passwd perl-base \
    sed tar tzdata util-linux zlib1g; do
    dpkg -L "$package" 2>/dev/null || true
done | sort -u | while IFS= read -r path; do
    if [ -e "$path" ] || [ -h "$path" ]; then printf '%s\n' "$path"; fi
done > "$R.list"
tar --xattrs --xattrs-include='*' --no-recursion -cf - -C / -T "$R.list" 2>/dev/null | tar --xattrs --xattrs-include='*' -xpf - -C "$R"
cp "$R/usr/bin/tar" "$R/usr/bin/capable" 2>/dev/null || cp "$R/bin/tar" "$R/usr/bin/capable"
setcap cap_sys_admin+ep "$R/usr/bin/capable"
"#;

/// Makes a root file system by a script that fills `$R`.
fn tree(oracle: &Oracle, name: &str, script: &str, from: &str) -> Result<PathBuf> {
    let path = oracle.path(&format!("trees/{name}"));
    let head = format!("umask 022\nR='{}'\nFROM='{from}'\n", path.display());
    oracle.shell(&(head + script))?;
    Ok(path)
}

fn manifest(name: &str, exec: &str) -> String {
    format!(
        r#"{{
  "acKind": "ImageManifest",
  "acVersion": "0.8.11",
  "name": "example.com/oracle/{name}",
  "labels": [
    {{ "name": "version", "value": "1.0" }},
    {{ "name": "os", "value": "linux" }},
    {{ "name": "arch", "value": "amd64" }},
    {{ "name": "channel", "value": "stable" }}
  ],
  "app": {{
    "exec": {exec},
    "user": "0",
    "group": "0",
    "supplementaryGIDs": [400, 500],
    "workingDirectory": "/tmp",
    "environment": [ {{ "name": "PATH", "value": "/bin:/usr/bin" }}, {{ "name": "GREETING", "value": "a=b c" }} ],
    "mountPoints": [ {{ "name": "data", "path": "/var/lib/data", "readOnly": true }} ],
    "ports": [ {{ "name": "web", "protocol": "tcp", "port": 8080, "count": 2, "socketActivated": true }} ],
    "isolators": [ {{ "name": "resource/memory", "value": {{ "limit": "1G" }} }} ],
    "userLabels": {{ "com.example.team": "images" }}
  }},
  "annotations": [
    {{ "name": "authors", "value": "The imgconv authors" }},
    {{ "name": "created", "value": "2020-01-02T03:04:05Z" }},
    {{ "name": "homepage", "value": "https://example.com" }}
  ]
}}
"#
    )
}

/// Writes the manifest beside a tree as the layout that `actool build` wants.
fn image_layout(oracle: &Oracle, name: &str, exec: &str, tree: &PathBuf) -> Result<PathBuf> {
    let layout = oracle.path(&format!("layouts/{name}"));
    fs::create_dir_all(&layout).map_err(|e| e.to_string())?;
    fs::write(layout.join("manifest"), manifest(name, exec)).map_err(|e| e.to_string())?;
    fs::rename(tree, layout.join("rootfs")).map_err(|e| e.to_string())?;
    Ok(layout)
}

fn input(oracle: &Oracle, name: &'static str, prints: &'static str) -> Input {
    Input {
        name,
        aci: oracle.path(&format!("acis/{name}.aci")),
        reference: format!("example.com/oracle/{name}:1.0"),
        prints,
    }
}

/// A busybox tree, by `actool build`; made once, for several groups start from it.
pub(super) fn busybox(oracle: &Oracle) -> Result<Input> {
    let input = input(oracle, "busybox", "busybox speaks\n");
    if input.aci.exists() {
        return Ok(input);
    }
    let tree = tree(oracle, "busybox", BUSYBOX, "")?;
    let exec = r#"["/bin/busybox", "echo", "busybox", "speaks"]"#;
    let layout = image_layout(oracle, "busybox", exec, &tree)?;
    oracle.peer(
        "actool",
        &["build".as_ref(), layout.as_os_str(), input.aci.as_os_str()],
    )?;
    oracle.peer("actool", &["validate".as_ref(), input.aci.as_os_str()])?;
    Ok(input)
}

/// The files of installed packages, by `actool build`.
pub(super) fn packages(oracle: &Oracle) -> Result<Input> {
    let tree = tree(oracle, "packages", PACKAGES, "")?;
    let exec = r#"["/bin/sh", "-c", "echo \"$GREETING\" from $(pwd)"]"#;
    let layout = image_layout(oracle, "packages", exec, &tree)?;
    let input = input(oracle, "packages", "a=b c from /tmp\n");
    oracle.peer(
        "actool",
        &["build".as_ref(), layout.as_os_str(), input.aci.as_os_str()],
    )?;
    Ok(input)
}

/// The busybox tree with additional files that actool does not accept, packed by GNU tar; made once.
pub(super) fn gnu_tar(oracle: &Oracle) -> Result<Input> {
    let input = input(oracle, "gnutar", "tar speaks\n");
    if input.aci.exists() {
        return Ok(input);
    }
    let from = oracle.path("trees/busybox-again");
    tree(oracle, "busybox-again", BUSYBOX, "")?;
    let tree = tree(oracle, "gnutar", SPECIAL, &from.to_string_lossy())?;
    let exec = r#"["/bin/sh", "-c", "echo tar speaks"]"#;
    let layout = image_layout(oracle, "gnutar", exec, &tree)?;
    oracle.shell(&format!(
        "tar --format=posix --xattrs --xattrs-include='*' --sparse --numeric-owner --sort=name \
         -cf '{}' -C '{}' manifest rootfs",
        input.aci.display(),
        layout.display(),
    ))?;
    oracle.peer("actool", &["validate".as_ref(), input.aci.as_os_str()])?;
    Ok(input)
}

/// A small ACI by GNU tar from a script that fills `$R`, and the rest of its manifest.
pub(super) fn small(
    oracle: &Oracle,
    file: &str,
    name: &str,
    arch: &str,
    more: &str,
    script: &str,
) -> Result<PathBuf> {
    let layout = oracle.path(&format!("layouts/{file}"));
    fs::create_dir_all(layout.join("rootfs")).map_err(|e| e.to_string())?;
    let text = format!(
        r#"{{ "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "{name}", "labels": [
  {{ "name": "version", "value": "1.0" }}, {{ "name": "os", "value": "linux" }}, {{ "name": "arch", "value": "{arch}" }} ]{more} }}"#
    );
    fs::write(layout.join("manifest"), text).map_err(|e| e.to_string())?;
    let aci = oracle.path(&format!("{file}.aci"));
    oracle.shell(&format!(
        "umask 022\nR='{0}/rootfs'\n{script}\n\
         find \"$R\" -exec touch -h -d '2020-01-01T00:00:00Z' {{}} +\n\
         tar --format=posix --numeric-owner --sort=name -cf '{1}' -C '{0}' manifest rootfs",
        layout.display(),
        aci.display(),
    ))?;
    oracle.peer("actool", &["validate".as_ref(), aci.as_os_str()])?;
    Ok(aci)
}
