//! Paths about which the file system can't tell: neither absent nor of another kind.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use imgconv_testkit::unprivileged;
use serde_json::Value;

use crate::sandbox::{Sandbox, labels};

/// Runs the command without the rights of root while the paths have these modes; returns the exit
/// code, standard output and standard error.
fn run(sandbox: &Sandbox, modes: &[(&str, u32)], args: &[&str]) -> (i32, String, String) {
    let set = |path: &str, mode| {
        fs::set_permissions(sandbox.path(path), Permissions::from_mode(mode)).unwrap();
    };
    for (path, mode) in modes {
        set(path, *mode);
    }
    let output = unprivileged(|| sandbox.command(args).output().unwrap());
    for (path, _) in modes {
        set(path, 0o755);
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn sources(sandbox: &Sandbox) {
    fs::create_dir(sandbox.path("folder")).unwrap();
    sandbox.layout("folder/layout", "example.com/one", &["file a \"1\""]);
    let labels = labels("1.0", "amd64");
    sandbox.aci("folder/app.aci", "example.com/app", &labels, "file x");
    sandbox.ok(&[
        "convert",
        "folder/layout",
        "docker-archive:folder/saved.tar",
    ]);
    sandbox.ok(&["convert", "folder/layout", "dir:folder/plain"]);
}

// robustness K50
#[test]
fn k50_a_path_that_cannot_be_examined_is_an_error_with_the_cause() {
    let sandbox = Sandbox::new();
    sources(&sandbox);
    for (modes, path) in [
        // The names in the folder can't be looked up.
        (&[("folder", 0)][..], "folder/app.aci"),
        (&[("folder", 0)], "folder/layout"),
        (&[("folder", 0)], "folder/layout:example.com/one:1.0"),
        (&[("folder", 0)], "folder"),
        // The path is there, but not its content.
        (&[("folder/layout", 0)], "folder/layout"),
        (&[("folder/layout", 0o644)], "folder/layout"),
        (&[("folder/plain", 0)], "folder/plain"),
        (&[("folder/app.aci", 0)], "folder/app.aci"),
        (&[("folder/saved.tar", 0)], "folder/saved.tar"),
    ] {
        for args in [
            &["ls", path][..],
            &["convert", path, "oci:out"],
            &["aci-to-oci", path, "out"],
            &["verify", path],
        ] {
            let (code, stdout, stderr) = run(&sandbox, modes, args);
            let said = format!("{args:?} {modes:?}: {code} {stdout}{stderr}");
            assert_eq!(code, 1, "{said}");
            assert!(said.contains("Permission denied"), "{said}");
            assert!(said.contains(path.split(':').next().unwrap()), "{said}");
            assert!(!sandbox.path("out").exists(), "{said}");
        }
    }
    for args in [
        &["convert", "folder/app.aci", "oci:out", "--deps", "deps/in"][..],
        &["convert", "folder/app.aci", "deps/in/out.tar"],
        &["convert", "folder/layout", "rootfs:deps/in/out"],
        &["migrate", "folder/layout", "oci:deps/in/out"],
        &["convert", "rootfs:deps/in", "oci:out"],
    ] {
        fs::create_dir_all(sandbox.path("deps/in")).unwrap();
        let (code, stdout, stderr) = run(&sandbox, &[("deps", 0)], args);
        let said = format!("{args:?}: {code} {stdout}{stderr}");
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("Permission denied"), "{said}");
        assert!(said.contains("deps/in"), "{said}");
    }
}

// robustness K50
#[test]
fn k50_below_a_folder_such_a_path_is_one_unreadable_entry() {
    let sandbox = Sandbox::new();
    sources(&sandbox);
    for closed in ["layout", "plain", "app.aci", "saved.tar"] {
        for mode in [0, 0o444] {
            if mode == 0o444 && closed.contains('.') {
                continue;
            }
            let modes = [(&*format!("folder/{closed}"), mode)];
            let (code, stdout, _) = run(&sandbox, &modes, &["ls", "folder", "--json"]);
            let listed: Value = serde_json::from_str(&stdout).unwrap();
            let images = listed["images"].as_array().unwrap();
            let unreadable: Vec<&Value> = images
                .iter()
                .filter(|image| image["format"] == "unreadable")
                .collect();
            assert_eq!((code, images.len()), (1, 4), "{closed}: {stdout}");
            assert_eq!(unreadable.len(), 1, "{closed}: {stdout}");
            let error = unreadable[0]["error"].as_str().unwrap();
            assert!(error.contains("Permission denied"), "{error}");
            assert!(error.contains(closed), "{error}");
        }
    }
    // A folder of the file system that only root can list is passed over.
    fs::create_dir(sandbox.path("folder/lost+found")).unwrap();
    let modes = [("folder/lost+found", 0)];
    let (code, stdout, stderr) = run(&sandbox, &modes, &["ls", "folder"]);
    assert_eq!((code, stdout.lines().count()), (0, 4), "{stdout}{stderr}");
}

// robustness K50
#[test]
fn k50_a_closed_part_hides_no_image_beside_it() {
    let sandbox = Sandbox::new();
    sources(&sandbox);
    fs::create_dir(sandbox.path("all")).unwrap();
    fs::rename(sandbox.path("folder"), sandbox.path("all/folder")).unwrap();
    // The directory `image` may be a part of docker's data root.
    fs::create_dir(sandbox.path("all/folder/image")).unwrap();
    let closed = [("all/folder/image", 0)];
    let (code, stdout, _) = run(&sandbox, &closed, &["ls", "all", "--json"]);
    let listed: Value = serde_json::from_str(&stdout).unwrap();
    let images = listed["images"].as_array().unwrap();
    let unreadable = images
        .iter()
        .filter(|image| image["format"] == "unreadable");
    assert_eq!(
        (code, images.len(), unreadable.count()),
        (1, 6, 2),
        "{stdout}"
    );
    let mut fields = labels("1.0", "amd64");
    fields.push_str(r#","dependencies":[{"imageName":"example.com/app"}]"#);
    sandbox.aci("up.aci", "example.com/up", &fields, "file up \"1\"");
    let convert = ["convert", "up.aci", "oci:out", "--deps", "all/folder"];
    let (code, stdout, stderr) = run(&sandbox, &closed, &convert);
    assert_eq!(code, 0, "{stdout}{stderr}");
    // A folder that can't be read at all has no image, and the error says why.
    let (code, _, stderr) = run(&sandbox, &[("all/folder", 0o100)], &convert);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("Permission denied"), "{stderr}");
}

// robustness K50
#[test]
fn k50_links_and_names_that_lead_nowhere_are_answers() {
    let sandbox = Sandbox::new();
    symlink("nowhere", sandbox.path("dangling")).unwrap();
    symlink("loop", sandbox.path("loop")).unwrap();
    fs::write(sandbox.path("file"), "x").unwrap();
    let long = "long".repeat(100);
    let none = "this is not an image, archive, layout or store";
    for (path, said) in [
        ("dangling", none),
        ("loop", none),
        ("file/below", "no such file or directory"),
        (&*long, "no such file or directory"),
    ] {
        sandbox.fails(&["ls", path], 1, &[said]);
    }
}
