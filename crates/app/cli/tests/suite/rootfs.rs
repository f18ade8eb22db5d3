//! Root file systems without a description: `rootfs:PATH`, read and written.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    process::{Command, Stdio},
};

use imgconv_testkit::{build, dump, recipe};

use crate::sandbox::Sandbox;

/// Makes a tree with a hard link, a symbolic link and an unusual mode.
fn tree(sandbox: &Sandbox) {
    fs::create_dir_all(sandbox.path("tree/etc")).unwrap();
    fs::write(sandbox.path("tree/etc/a"), "1").unwrap();
    fs::write(sandbox.path("tree/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(sandbox.path("tree/run"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::hard_link(sandbox.path("tree/etc/a"), sandbox.path("tree/etc/b")).unwrap();
    symlink("../outside", sandbox.path("tree/link")).unwrap();
}

/// Runs another program in the sandbox; returns what it printed.
fn tool(sandbox: &Sandbox, program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(sandbox.folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a flat tar of a recipe.
fn flat(sandbox: &Sandbox, file: &str, text: &str) {
    let bytes = build::tar_bytes(&recipe::parse(text, file).unwrap()).unwrap();
    fs::write(sandbox.path(file), bytes).unwrap();
}

/// Lists the members of a flat tar.
fn lines(sandbox: &Sandbox, file: &str) -> Vec<String> {
    let mut file = File::open(sandbox.path(file)).unwrap();
    dump::tar_lines(&mut file, "test").unwrap()
}

/// Runs with a file as standard input; returns standard output.
fn piped(sandbox: &Sandbox, args: &[&str], file: &str) -> Vec<u8> {
    let input = File::open(sandbox.path(file)).unwrap();
    let output = sandbox.output(sandbox.command(args).stdin(input), args);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?} < {file}: {told}");
    output.stdout
}

#[test]
fn p01_a_directory_comes_back_as_it_was() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    sandbox.ok(&["convert", "rootfs:tree", "oci:lay"]);
    sandbox.ok(&["convert", "oci:lay", "rootfs:out.tar"]);
    // GNU tar finds no difference: kinds, modes, owners, sizes, links and contents.
    tool(
        &sandbox,
        "tar",
        &["--compare", "-f", "out.tar", "-C", "tree"],
    );
    let listed = tool(&sandbox, "tar", &["-tf", "out.tar"]);
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["./", "etc/", "etc/a", "etc/b", "link", "run"]);
    assert!(
        lines(&sandbox, "out.tar")
            .iter()
            .any(|it| it.starts_with("link "))
    );
    // A tar of the same tree gives the same image, except for entries that the tool adds.
    assert_eq!(sandbox.ok(&["diff", "oci:lay", "rootfs:tree"]), "");
    assert_eq!(sandbox.ok(&["diff", "oci:lay", "rootfs:out.tar"]), "");
    for command in ["ls", "inspect", "verify"] {
        sandbox.ok(&[command, "rootfs:tree"]);
        sandbox.ok(&[command, "rootfs:out.tar"]);
    }
}

#[test]
fn p01_a_flat_tar_is_read_plain_and_compressed_and_from_a_pipe() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    tool(&sandbox, "tar", &["-cf", "f.tar", "-C", "tree", "."]);
    sandbox.ok(&["convert", "rootfs:f.tar", "oci:plain"]);
    let digest = sandbox.ok(&["ls", "oci:plain"]);
    for compression in ["gzip", "zstd"] {
        let file = format!("f.tar.{compression}");
        let (from, to) = ("rootfs:f.tar", format!("rootfs:{file}"));
        sandbox.ok(&["convert", from, &to, "--compression", compression]);
        let magic: &[u8] = match compression {
            "gzip" => &[0x1f, 0x8b],
            _ => &[0x28, 0xb5, 0x2f, 0xfd],
        };
        assert!(fs::read(sandbox.path(&file)).unwrap().starts_with(magic));
        let layout = format!("oci:{compression}");
        sandbox.ok(&["convert", &to, &layout]);
        assert_eq!(sandbox.ok(&["diff", "oci:plain", &layout]), "");
        piped(
            &sandbox,
            &["convert", "rootfs:-", &format!("{layout}-piped")],
            &file,
        );
        assert_eq!(
            sandbox.ok(&["ls", &format!("{layout}-piped")]),
            sandbox.ok(&["ls", &layout])
        );
    }
    piped(&sandbox, &["convert", "rootfs:-", "oci:piped"], "f.tar");
    assert_eq!(sandbox.ok(&["ls", "oci:piped"]), digest);
    let out = piped(&sandbox, &["convert", "rootfs:-", "rootfs:-"], "f.tar");
    sandbox.ok(&["convert", "oci:plain", "rootfs:out.tar"]);
    assert_eq!(out, fs::read(sandbox.path("out.tar")).unwrap());
    // A named pipe, as `<(…)` of a shell is.
    let script = "mkfifo p && (cat f.tar >p & \"$0\" ls rootfs:p)";
    let shown = tool(
        &sandbox,
        "sh",
        &["-c", script, env!("CARGO_BIN_EXE_imgconv")],
    );
    assert!(shown.contains("rootfs"), "{shown}");
    // A format and a distribution may stand apart, as everywhere.
    sandbox.ok(&["convert", "rootfs+file:f.tar", "oci:file"]);
    assert_eq!(sandbox.ok(&["ls", "oci:file"]), digest);
}

#[test]
fn p02_only_the_scheme_makes_an_image_of_a_tar() {
    let sandbox = Sandbox::new();
    flat(&sandbox, "f.tar", "file etc/a \"1\"");
    fs::write(sandbox.path("text"), "no tar").unwrap();
    sandbox.layout("lay", "example.com/x", &["file a \"1\""]);
    sandbox.ok(&["oci-to-docker", "lay", "d.tar"]);
    sandbox.ok(&["convert", "lay", "oci-archive:o.tar"]);
    sandbox.ok(&["oci-to-aci", "lay", "x.aci"]);
    let hint = "this is a flat tar; `rootfs:PATH` reads";
    sandbox.fails(
        &["convert", "f.tar", "oci:out"],
        1,
        &["format of the file is not supported", hint],
    );
    for (source, texts) in [
        ("rootfs:text", ["expected rootfs", "found something else"]),
        ("rootfs:x.aci", ["expected rootfs", "found aci"]),
        (
            "rootfs:d.tar",
            ["expected rootfs", "`docker-archive:d.tar`"],
        ),
        ("rootfs:o.tar", ["expected rootfs", "`oci-archive:o.tar`"]),
    ] {
        sandbox.fails(&["convert", source, "oci:out"], 4, &texts);
    }
    sandbox.fails(
        &["convert", "rootfs:none", "oci:out"],
        1,
        &["error[missing]", "none"],
    );
    // A pair command names a family, and a root file system is of none of them.
    let found = ["a root file system", "imgconv convert"];
    sandbox.fails(&["oci-to-aci", "rootfs:f.tar", "y.aci"], 2, &found);
    sandbox.fails(&["convert", "lay", "rootfs:new/"], 2, &["imgconv unpack"]);
}

#[test]
fn p03_hostile_members_are_refused_and_devices_are_kept() {
    let sandbox = Sandbox::new();
    for (text, code) in [
        ("file ../a \"1\"", "error[escape]"),
        ("file .wh.a \"1\"", "error[unsupported]"),
        ("link a -> ../../etc/passwd", "error[escape]"),
        ("link a -> b", "error[bad-tar]"),
    ] {
        flat(&sandbox, "f.tar", text);
        for destination in ["oci:out", "rootfs:out.tar"] {
            let args = ["convert", "rootfs:f.tar", destination];
            sandbox.fails(&args, 1, &[code, "f.tar"]);
        }
    }
    let text = "dir dev\nchar dev/null 0666 0:0 @0 1:3\nblock dev/sda 0660 0:6 @0 8:0\nfifo p 0600";
    flat(&sandbox, "f.tar", text);
    sandbox.ok(&["convert", "rootfs:f.tar", "rootfs:out.tar"]);
    assert_eq!(lines(&sandbox, "out.tar"), lines(&sandbox, "f.tar"));
}

#[test]
fn p04_losses_are_told_and_strict_refuses_them() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    let convert = ["convert", "rootfs:tree", "oci:lay"];
    let told = sandbox.run(&convert);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("platform synthesised"), "{told}");
    let strict = [&convert[..2], &["oci:other", "--strict"]].concat();
    sandbox.fails(&strict, 3, &["error[strict]", "platform synthesised"]);
    let run = r#","app":{"exec":["/run"],"user":"7","group":"8"}"#;
    sandbox.aci("x.aci", "example.com/x", run, "file run \"1\"");
    let told = sandbox.run(&["convert", "x.aci", "rootfs:x.tar"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    for field in [
        "name dropped",
        "config.User dropped",
        "config.Entrypoint dropped",
    ] {
        assert!(told.contains(field), "{field}: {told}");
    }
    let strict = ["convert", "x.aci", "rootfs:y.tar", "--strict"];
    sandbox.fails(&strict, 3, &["error[strict]", "config.User"]);
    let dry = ["convert", "x.aci", "rootfs:y.tar", "--dry-run"];
    assert!(
        sandbox.ok(&dry).contains("squash"),
        "{:?}",
        sandbox.ok(&dry)
    );
}

#[test]
fn p05_the_merged_tree_has_no_whiteouts_and_does_not_depend_on_jobs() {
    let sandbox = Sandbox::new();
    let layers = [
        "dir d\nfile d/a \"1\"\nfile d/b \"2\"\nfile e \"3\"",
        "whiteout d/a\nopaque d\nfile d/c \"4\"",
        "file e \"5\"",
    ];
    sandbox.layout("lay", "example.com/x", &layers);
    for (jobs, out) in [("1", "one.tar"), ("8", "eight.tar")] {
        let to = format!("rootfs:{out}");
        sandbox.ok(&["convert", "lay", &to, "--jobs", jobs]);
    }
    let listed = tool(&sandbox, "tar", &["-tf", "one.tar"]);
    let names: Vec<&str> = listed.lines().filter(|it| *it != "./").collect();
    assert_eq!(names, ["d/", "d/c", "e"]);
    let read = |file: &str| fs::read(sandbox.path(file)).unwrap();
    assert_eq!(read("one.tar"), read("eight.tar"));
    // The tree is the one that `unpack` makes.
    sandbox.ok(&["unpack", "lay", "files"]);
    tool(
        &sandbox,
        "tar",
        &["--compare", "-f", "one.tar", "-C", "files"],
    );
    sandbox.fails(
        &["convert", "lay", "rootfs:x.tar", "--no-squash"],
        2,
        &["--no-squash", "flat tar"],
    );
    let args = ["convert", "lay", "rootfs:x.tar", "--compression", "estargz"];
    sandbox.fails(&args, 1, &["flat tar", "table of contents"]);
}

#[test]
fn p06_a_config_describes_a_root_file_system() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    let config = r#"{"architecture":"arm64","os":"linux","created":"2020-01-01T00:00:00Z",
        "config":{"Cmd":["/run"],"User":"7","Env":["A=1"],"Healthcheck":{"Test":["NONE"]}},
        "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
    fs::write(sandbox.path("config.json"), config).unwrap();
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app",
        "labels":[{"name":"version","value":"2.0"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],
        "app":{"exec":["/run"],"user":"7","group":"8"}}"#;
    fs::write(sandbox.path("manifest"), manifest).unwrap();
    sandbox.ok(&[
        "convert",
        "rootfs:tree",
        "oci:lay",
        "--config",
        "config.json",
        "--strict",
    ]);
    let shown = sandbox.ok(&["inspect", "oci:lay"]);
    for text in ["linux/arm64", "/run", "user: 7", "A=1", "Healthcheck"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    sandbox.ok(&[
        "convert",
        "rootfs:tree",
        "x.aci",
        "--config",
        "manifest",
        "--strict",
    ]);
    let raw = sandbox.ok(&["inspect", "--raw", "x.aci"]);
    assert_eq!(raw.trim_end(), manifest);
    sandbox.ok(&[
        "convert",
        "rootfs:tree",
        "oci:named",
        "--config",
        "manifest",
    ]);
    let listed = sandbox.ok(&["ls", "oci:named"]);
    assert!(listed.contains("example.com/app:2.0"), "{listed}");
    assert_eq!(sandbox.ok(&["diff", "x.aci", "oci:named"]), "");
}

#[test]
fn p06_a_config_that_does_not_fit_is_refused() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    sandbox.layout("lay", "example.com/x", &["file a \"1\""]);
    let mut file = File::create(sandbox.path("c")).unwrap();
    file.write_all(br#"{"architecture":"arm64","os":"linux"}"#)
        .unwrap();
    let usage = ["error[usage]", "has its own config"];
    sandbox.fails(&["convert", "lay", "oci:out", "--config", "c"], 2, &usage);
    for (text, code) in [
        ("[]", "error[bad-manifest]"),
        ("{", "error[bad-json]"),
        (r#"{"acKind":"PodManifest"}"#, "error[bad-manifest]"),
        (
            r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x","app":{"exec":["/a"],"user":"/a","group":"0"}}"#,
            "error[unsupported]",
        ),
    ] {
        fs::write(sandbox.path("c"), text).unwrap();
        let args = ["convert", "rootfs:tree", "oci:out", "--config", "c"];
        sandbox.fails(&args, 1, &[code, "\"c\""]);
    }
    // A description without a platform leaves that of this machine.
    fs::write(sandbox.path("c"), r#"{"config":{"Cmd":["/run"]}}"#).unwrap();
    let output = sandbox
        .command(&["convert", "rootfs:tree", "oci:out", "--config", "c"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && told.contains("platform synthesised"),
        "{told}"
    );
}

#[test]
fn sockets_of_a_directory_are_a_loss() {
    let sandbox = Sandbox::new();
    tree(&sandbox);
    for name in ["tree/etc/z", "tree/etc/s"] {
        drop(UnixListener::bind(sandbox.path(name)).unwrap());
    }
    let loss =
        "sockets dropped: a layer holds no sockets, and rootfs:tree has 2, such as file \"etc/s\"";
    let convert = ["convert", "rootfs:tree", "oci:lay"];
    let strict = sandbox.run(&[&convert[..], &["--strict"]].concat());
    assert_eq!(strict.status.code(), Some(3));
    for args in [&[&convert[..], &["--dry-run"]].concat()[..], &convert] {
        let output = sandbox.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && stderr.contains(loss), "{stderr}");
    }
    sandbox.ok(&["convert", "oci:lay", "rootfs:out.tar"]);
    assert!(!tool(&sandbox, "tar", &["-tf", "out.tar"]).contains("etc/s"));
}
