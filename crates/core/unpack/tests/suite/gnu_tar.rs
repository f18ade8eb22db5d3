//! The same archive, unpacked here and by GNU tar, gives the same files in every attribute.

use std::{fs, path::Path, process::Command};

use imgconv_unpack::unpack;

use crate::archive::{World, names, root, skip, snapshot};

/// Makes a tree with everything that an archive can hold.
const MESSY: &str = r#"
set -e
mkdir -p usr/bin usr/lib/deep/er var/tmp dev shut
printf 'a program' > usr/bin/prog
ln usr/bin/prog usr/bin/prog-2
ln usr/bin/prog var/prog-3
cp usr/bin/prog usr/bin/suid; chown 0:42 usr/bin/suid; chmod 6755 usr/bin/suid
cp usr/bin/prog usr/bin/caps; setcap cap_net_raw,cap_net_bind_service+ep usr/bin/caps
chown 1000:1001 var/prog-3
ln -s ../bin/prog usr/lib/link
ln -s /does/not/exist dangling
chown -h 65534:65534 dangling
ln usr/lib/link usr/lib/link-2
setfattr -n user.text -v hello usr/bin/prog
setfattr -n user.binary -v 0x000aff3d usr/lib
setfattr -n user.empty usr/lib/deep
mkfifo -m 640 var/fifo
mknod -m 666 dev/null c 1 3
mknod -m 660 dev/loop9 b 7 9
chown 0:6 dev/loop9
ln dev/null dev/null-2
truncate -s 3M var/sparse
printf 'in the middle' | dd of=var/sparse bs=1 seek=1500000 conv=notrunc status=none
printf long > "$(printf 'n%.0s' $(seq 255))"
mkdir -p "$(printf 'long-directory-name/%.0s' $(seq 20))"
printf odd > "$(printf 'latin1-\351-\377')"
printf odd > "$(printf 'tab\tand\033escape')"
chmod 1777 var/tmp
chmod 2775 usr/lib/deep
printf x > shut/file; chmod 0 shut/file; chmod 555 shut
: > empty
touch -d '1969-12-31 23:59:58.5 UTC' empty
touch -h -d '2001-02-03 04:05:06.123456789 UTC' dangling
touch -d '2033-01-02 03:04:05.999999999 UTC' usr/lib/deep usr
chmod 750 .
touch -d '2011-11-11 11:11:11.111111111 UTC' .
"#;

fn run(directory: &Path, program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            skip(&String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            skip(&format!("{program}: {error}"));
            false
        }
    }
}

#[test]
fn the_same_as_gnu_tar() {
    if !root() {
        return skip("only root can make and compare owners and devices");
    }
    let mut world = World::new();
    world.options.preserve_privileges = true;
    world.options.allow_devices = true;
    let spool = world.env.tmpdir.clone();
    let (source, theirs) = (spool.join("source"), spool.join("theirs"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&theirs).unwrap();
    if !run(&source, "sh", &["-c", MESSY]) {
        return;
    }
    for format in ["posix", "gnu"] {
        let archive = spool.join(format!("{format}.tar"));
        let archive_name = archive.to_str().unwrap();
        let format_option = format!("--format={format}");
        let mut create = vec!["--sparse", "--numeric-owner", "-c", "-f", archive_name];
        create.push(&format_option);
        if format == "posix" {
            create.extend(["--xattrs", "--xattrs-include=*"]);
        }
        create.push(".");
        if !run(&source, "tar", &create) {
            return;
        }
        let extract = [
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--same-owner",
            "-p",
            "-x",
            "-f",
            archive_name,
        ];
        let theirs = theirs.join(format);
        fs::create_dir(&theirs).unwrap();
        if !run(&theirs, "tar", &extract) {
            return;
        }
        let (tree, contents) = world.tree(&[fs::read(&archive).unwrap()]).unwrap();
        let ours = world.work().join(format);
        unpack(&tree, &contents, &ours, &world.options, &world.env).unwrap();
        assert_eq!(world.warnings(), Default::default());
        let (ours, theirs) = (snapshot(&ours), snapshot(&theirs));
        assert!(theirs.len() > 40, "{} entries", theirs.len());
        for (path, their) in &theirs {
            assert_eq!(ours.get(path), Some(their), "{format}: {path:?}");
        }
        assert_eq!(ours.len(), theirs.len(), "{format}");
    }
    assert_eq!(names(&world.work()), ["gnu", "posix"]);
}
