//! Input that must not be trusted: changed journals, files whose content changed without their times,
//! sites that somebody else prepared; and leftovers and secrets that no run may leave or print.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use imgconv_testkit::{
    build,
    server::{Reply, Server},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    migrate::{image, images, result},
    sandbox::{LABELS, Sandbox},
};

const OCI: [&str; 5] = ["migrate", "oci:store", "oci:out", "--compression", "gzip"];

/// Makes a named pipe.
fn mkfifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

fn store(sandbox: &Sandbox, count: usize) {
    build::layout(&images(count), &sandbox.path("store")).unwrap();
}

fn journal(sandbox: &Sandbox, destination: &str) -> std::path::PathBuf {
    sandbox
        .path(destination)
        .join(".imgconv-migrate/journal.jsonl")
}

/// Changes lines of a journal; `sums` makes the checksums fit again, as an attacker would.
fn change(path: &Path, sums: bool, mut to: impl FnMut(&mut Value)) {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| {
        let (sum, document) = line.split_once(' ').unwrap();
        let mut value: Value = serde_json::from_str(document).unwrap();
        to(&mut value);
        let document = serde_json::to_string(&value).unwrap();
        let version = sum.split(':').next().unwrap();
        let hex = imgconv_testkit::sha256_hex(document.as_bytes());
        let new = format!("{version}:{hex}");
        format!("{} {document}\n", if sums { &new } else { sum })
    });
    let text: String = lines.collect();
    fs::write(path, text).unwrap();
}

// K42
#[test]
fn a_journal_that_was_changed_never_changes_the_result() {
    let sandbox = Sandbox::new();
    store(&sandbox, 4);
    sandbox.ok(&OCI);
    let expected = result(&sandbox.path("out"));
    let path = journal(&sandbox, "out");
    let sound = fs::read(&path).unwrap();
    type Change = fn(&mut Value);
    let empty: Change = |line| {
        if let Some(done) = line.pointer_mut("/image/1") {
            done["publications"] = Value::Array(Vec::new());
        }
    };
    let no_files: Change = |line| {
        if let Some(done) = line.pointer_mut("/image/1") {
            done["files"] = Value::Array(Vec::new());
        }
    };
    let renamed: Change = |line| {
        if let Some(name) = line.pointer_mut("/image/1/publications/0/name") {
            *name = serde_json::json!(["example.com/other", "1", null]);
        }
    };
    for (what, to) in [
        ("empty", empty),
        ("no files", no_files),
        ("renamed", renamed),
    ] {
        for sums in [false, true] {
            fs::write(&path, &sound).unwrap();
            change(&path, sums, to);
            fs::remove_file(sandbox.path("out/index.json")).unwrap();
            let output = sandbox.run(&OCI);
            let said = String::from_utf8_lossy(&output.stdout);
            let warned = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("4 images, 4 done"), "{what}: {said}");
            assert_eq!(
                warned.contains("lines of the journal are damaged"),
                !sums,
                "{warned}"
            );
            assert_eq!(result(&sandbox.path("out")), expected, "{what}");
        }
    }
    // The records of layers are exchanged, with valid checksums, so that each blob holds another tar.
    let mut layers: Vec<Value> = Vec::new();
    fs::write(&path, &sound).unwrap();
    change(&path, true, |line| {
        layers.extend(line.pointer("/layer/1").cloned())
    });
    assert!(layers.len() > 3, "{layers:?}");
    layers.rotate_left(1);
    let text = fs::read_to_string(&path).unwrap();
    let only: String = text
        .lines()
        .filter(|line| line.contains("{\"layer\""))
        .fold(String::new(), |all, line| all + line + "\n");
    for diff_ids_too in [false, true] {
        fs::write(&path, &only).unwrap();
        let mut next = layers.iter();
        change(&path, true, |line| {
            let new = next.next().unwrap();
            let own = line.pointer_mut("/layer/1").unwrap();
            let claimed = own["diff_id"].clone();
            *own = new.clone();
            if diff_ids_too {
                own["diff_id"] = claimed;
            }
        });
        fs::remove_file(sandbox.path("out/index.json")).unwrap();
        let said = sandbox.ok(&OCI);
        assert!(said.contains("4 images, 4 done"), "{said}");
        assert_eq!(result(&sandbox.path("out")), expected);
    }
}

// K42
#[test]
fn a_journal_publishes_nothing_from_outside() {
    let sandbox = Sandbox::new();
    store(&sandbox, 2);
    let args = ["migrate", "oci:store", "aci:site/", "--site"];
    sandbox.ok(&args);
    let expected = result(&sandbox.path("site"));
    sandbox.aci(
        "secret.aci",
        "example.com/secret",
        LABELS,
        "file key \"PRIVATE\"",
    );
    let size = fs::metadata(sandbox.path("secret.aci")).unwrap().len();
    let bytes = fs::read(sandbox.path("secret.aci")).unwrap();
    let digest = format!("sha256:{}", imgconv_testkit::sha256_hex(&bytes));
    symlink("../..", sandbox.path("site/.imgconv-migrate/acis/up")).unwrap();
    for at in [
        "../secret.aci",
        ".imgconv-migrate/acis/up/../secret.aci",
        "r/../../secret.aci",
    ] {
        change(&journal(&sandbox, "site"), true, |line| {
            let file = line.pointer_mut("/image/1/files/0").unwrap();
            file["path"] = at.into();
            file["size"] = size.into();
            file["digest"] = digest.clone().into();
        });
        fs::remove_dir_all(sandbox.path("site/aci")).unwrap();
        sandbox.ok(&args);
        assert_eq!(result(&sandbox.path("site")), expected, "{at}");
    }
}

// K42
#[test]
fn a_journal_of_somebody_else_is_refused() {
    let sandbox = Sandbox::new();
    store(&sandbox, 2);
    sandbox.ok(&OCI);
    let path = journal(&sandbox, "out");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    sandbox.fails(
        &OCI,
        1,
        &["error[denied]", "others can write to it (its mode is 0666)"],
    );
    fs::remove_file(&path).unwrap();
    fs::write(sandbox.path("victim"), "data\n").unwrap();
    symlink(sandbox.path("victim"), &path).unwrap();
    sandbox.fails(&OCI, 1, &["error[denied]", "symbolic link"]);
    assert_eq!(
        fs::read_to_string(sandbox.path("victim")).unwrap(),
        "data\n"
    );
    fs::remove_file(&path).unwrap();
    mkfifo(&path);
    sandbox.fails(&OCI, 1, &["error[denied]", "not a regular file"]);
    fs::remove_file(&path).unwrap();
    // Files with other names do not disturb the run.
    mkfifo(&path.with_file_name("zz.jsonl"));
    assert!(sandbox.ok(&OCI).contains("2 images, 2 done"));
    assert!(sandbox.ok(&OCI).contains("2 images, 2 kept"));
}

// K41
#[test]
fn a_blob_that_was_changed_with_its_old_time_is_written_again() {
    let sandbox = Sandbox::new();
    store(&sandbox, 4);
    for split in [false, true] {
        let out = if split { "oci:split" } else { "oci:whole" };
        let mut args = vec!["migrate", "oci:store", out, "--compression", "gzip"];
        args.extend(split.then_some("--split=repo"));
        sandbox.ok(&args);
        let expected = result(&sandbox.path(&out[4..]));
        let (largest, _) = expected
            .iter()
            .filter(|(name, _)| name.contains("blobs/sha256/"))
            .max_by_key(|(name, _)| {
                fs::metadata(sandbox.path(&out[4..]).join(name))
                    .unwrap()
                    .len()
            })
            .unwrap();
        let blob = sandbox.path(&out[4..]).join(largest);
        let modified = fs::metadata(&blob).unwrap().modified().unwrap();
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .open(&blob)
            .unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(100)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(100)).unwrap();
        file.write_all(&[!byte[0]]).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(modified))
            .unwrap();
        drop(file);
        for (name, _) in expected
            .iter()
            .filter(|(name, _)| name.ends_with("index.json"))
        {
            fs::remove_file(sandbox.path(&out[4..]).join(name)).unwrap();
        }
        sandbox.ok(&args);
        assert_eq!(result(&sandbox.path(&out[4..])), expected, "{out}");
    }
}

/// The leftovers of killed runs below a folder.
fn unfinished(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let own = name.starts_with(".imgconv-") && name != ".imgconv-migrate";
            if own || name.contains(".partial-") {
                found.push(name);
            }
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
    found
}

// K43
#[test]
fn what_killed_runs_left_goes_with_the_next_one_and_what_is_the_users_stays() {
    let sandbox = Sandbox::new();
    let noise = "x".repeat(3_000_000);
    let own = |i: usize| format!("file f \"{i}{noise}\"");
    let all: Vec<_> = (0..3)
        .map(|i| image(&format!("example.com/a{i}"), "1", "dir etc", &own(i)))
        .collect();
    build::layout(&all, &sandbox.path("store")).unwrap();
    build::layout(&all[..1], &sandbox.path("one")).unwrap();
    for args in [
        &["migrate", "oci:store", "aci:o/"][..],
        &["migrate", "oci:store", "aci:o/", "--site"],
        &["migrate", "oci:store", "docker-archive:o/"],
        &[
            "migrate",
            "oci:store",
            "oci:o",
            "--split=repo",
            "--compression",
            "zstd",
        ],
        &["convert", "oci:one", "docker-archive:o"],
        &["convert", "oci:one", "oci-archive:o"],
        &["convert", "oci:one", "aci:o"],
        &["convert", "oci:one", "dir:o"],
        &["unpack", "oci:one", "o"],
        &["publish", "oci:one", "o", "--host", "example.com"],
    ] {
        let clear = || {
            let _ = fs::remove_dir_all(sandbox.path("o"))
                .or_else(|_| fs::remove_file(sandbox.path("o")));
        };
        let mut left = Vec::new();
        for _ in 0..30 {
            clear();
            let mut child = sandbox
                .command(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while child.try_wait().unwrap().is_none() {
                if !unfinished(sandbox.folder.path()).is_empty() {
                    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
                    kill(pid, Signal::SIGKILL).unwrap();
                    break;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            child.wait().unwrap();
            left = unfinished(sandbox.folder.path());
            if !left.is_empty() {
                break;
            }
        }
        assert!(!left.is_empty(), "{args:?} was never killed in the middle");
        // These two refuse a target that is complete, and the kill may have come after the rename.
        if args[0] == "unpack" || args[2] == "dir:o" {
            clear();
        }
        // A directory of the user with a similar name.
        for name in [".imgconv-photos", ".o.partial-photos", "o.partial-20240101"] {
            fs::create_dir_all(sandbox.path(name)).unwrap();
            fs::write(sandbox.path(name).join("x"), "precious").unwrap();
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(sandbox.path(name), private).unwrap();
        }
        sandbox.ok(args);
        let mut left = unfinished(sandbox.folder.path());
        left.sort();
        let users = [".imgconv-photos", ".o.partial-photos", "o.partial-20240101"];
        assert_eq!(left, users, "{args:?}");
        for name in users {
            assert_eq!(
                fs::read_to_string(sandbox.path(name).join("x")).unwrap(),
                "precious"
            );
            fs::remove_dir_all(sandbox.path(name)).unwrap();
        }
    }
}

// K43, W6
#[test]
fn what_killed_runs_left_goes_also_where_everything_is_there_already() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "example.com/a", &["dir etc"]);
    for (args, beside) in [
        (&["migrate", "oci:oci", "docker-archive:o/"][..], "o/"),
        (&["migrate", "oci:oci", "aci:o/"][..], "o/"),
        (
            &["publish", "oci:oci", "o", "--host", "example.com"][..],
            "",
        ),
    ] {
        sandbox.ok(args);
        let left = sandbox.path(&format!("{beside}.imgconv-Abc123"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("imgconv-stage"), "").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o700)).unwrap();
        sandbox.ok(args);
        assert!(!left.exists(), "{args:?}");
        fs::remove_dir_all(sandbox.path("o")).unwrap();
    }
}

// K44
#[test]
fn no_password_is_printed_wherever_it_stood() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "example.com/a", &["dir etc"]);
    let echo = Server::start(|request| match request.header("authorization") {
        None => Reply::status(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(said) => {
            let said = said.trim_end_matches('=');
            let safe = said.replace('+', "-").replace('/', "_");
            Reply::status(403).body(format!(
                r#"{{"errors":[{{"code":"DENIED","message":"{said} {safe} {}"}}]}}"#,
                said.replace("Basic ", "Basic%20")
            ))
        }
    });
    let host = echo.authority().to_owned();
    let creds = format!("{host}=user:s3cr3tPassw0rd");
    let at = |rest: &str| format!("docker://{rest}");
    let echoed = at(&format!("{host}/r:t"));
    let named = at("user:s3cr3tPassw0rd@127.0.0.1:9/r:t");
    let slashed = at("user:x/s3cr3tPassw0rd@127.0.0.1:9/r:t");
    for args in [
        &["--creds", &creds, "inspect", &echoed][..],
        &["--json", "--creds", &creds, "inspect", &echoed],
        &["--creds", &creds, "convert", "oci", &echoed],
        &["inspect", &named],
        &["--json", "inspect", &named],
        &["inspect", &slashed],
        &["convert", "oci", &named],
        &["migrate", "oci", &named],
        &["diff", "oci", &named],
        &["inspect", "user:s3cr3tPassw0rd@127.0.0.1:9/r:t"],
        &["inspect", "https://user:s3cr3tPassw0rd@127.0.0.1:9/x"],
        &["tags", "fetch", "https://user:s3cr3tPassw0rd@127.0.0.1:9/x"],
        &["inspect", &named, "--s3cr3tPassw0rd"],
    ] {
        let output = sandbox.run(args);
        assert!(!output.status.success(), "{args:?}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        for secret in [
            "s3cr3tPassw0rd",
            "dXNlcjpzM2NyM3RQYXNzdzByZA",
            "s3cr3tP",
            "NyM3RQYX",
        ] {
            assert!(!text.contains(secret), "{args:?}: {text}");
        }
    }
    let sent = echo
        .requests()
        .iter()
        .filter(|r| r.header("authorization").is_some())
        .count();
    assert!(sent > 0);
}

// K45
#[test]
fn a_site_that_somebody_prepared_leads_nowhere_and_waits_for_nobody() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "example.com/r", &["dir etc"]);
    fs::write(sandbox.path("keys"), "keys").unwrap();
    let fifo = |path: &Path| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        mkfifo(path);
    };
    for (at, is_link) in [
        ("r/index.html", false),
        ("pubkeys.gpg", false),
        ("aci/example.com/r/imagetags.json", false),
        ("aci", true),
        ("aci/example.com", true),
        ("aci/example.com/r", true),
        ("r", true),
        ("r/index.html", true),
    ] {
        let site = sandbox.path("site");
        fs::create_dir_all(sandbox.path("elsewhere")).unwrap();
        let place = site.join(at);
        match is_link {
            true => {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                symlink(sandbox.path("elsewhere"), &place).unwrap();
            }
            false => fifo(&place),
        }
        let code = if is_link {
            "error[escape]"
        } else {
            "error[denied]"
        };
        let args = [
            "publish",
            "oci",
            "site",
            "--host",
            "example.com",
            "--image-tags",
            "--pubkeys",
            "keys",
        ];
        sandbox.fails(&args, 1, &[code, at]);
        assert_eq!(fs::read_dir(sandbox.path("elsewhere")).unwrap().count(), 0);
        fs::remove_dir_all(site).unwrap();
    }
}

// K45
#[test]
fn a_report_is_never_waited_for_and_replaces_no_device() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "example.com/r", &["dir etc"]);
    mkfifo(&sandbox.path("fifo"));
    for command in ["convert", "migrate"] {
        let to = format!("oci:{command}");
        sandbox.fails(
            &[command, "oci", &to, "--report", "fifo"],
            1,
            &["no process reads"],
        );
        sandbox.ok(&[command, "oci", &to, "--report", "/dev/null"]);
        let null = fs::metadata("/dev/null").unwrap();
        assert!(null.file_type().is_char_device());
    }
}

// N4
#[test]
fn manifests_of_one_config_are_one_image_by_its_id() {
    let sandbox = Sandbox::new();
    sandbox.layout("plain", "example.com/r", &["dir etc", "file etc/a \"1\""]);
    let to = |tag: &str| format!("oci:both:example.com/r:{tag}");
    sandbox.ok(&["convert", "plain", &to("a"), "--compression", "gzip"]);
    sandbox.ok(&["convert", "plain", &to("b"), "--compression", "zstd"]);
    sandbox.ok(&["convert", "oci:both", "aci:acis/", "--image-tags"]);
    sandbox.ok(&["migrate", "oci:both", "aci:site/", "--site", "--image-tags"]);
    let acis = |folder: &Path| {
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().ends_with(".aci"))
            .count()
    };
    assert_eq!(acis(&sandbox.path("acis")), 1);
    assert_eq!(acis(&sandbox.path("site/aci/example.com/r")), 1);
    for file in [
        "acis/example.com-r.json",
        "site/aci/example.com/r/imagetags.json",
    ] {
        let [a, b] = ["a", "b"].map(|tag| sandbox.ok(&["tags", "resolve", file, tag]));
        assert_eq!(a, b, "{file}");
        assert!(a.contains("dockerimageid="), "{a}");
    }
}

// N5
#[test]
fn a_site_of_several_hosts_is_refused_before_the_work() {
    let sandbox = Sandbox::new();
    store(&sandbox, 4);
    let rename = r"^example\.com/team/app1(.*)$=other.example/app1$1";
    sandbox.fails(
        &[
            "migrate",
            "oci:store",
            "aci:site/",
            "--site",
            "--rename",
            rename,
        ],
        2,
        &[
            "error[usage]",
            "a site is for one host",
            "example.com, other.example",
        ],
    );
    assert!(!sandbox.path("site").exists());
    for wrong in [
        &["--url", "ftp://x"][..],
        &["--pubkeys", "none"],
        &["--pgp-key", "none"],
    ] {
        let args = [&["migrate", "oci:store", "aci:site/", "--site"], wrong].concat();
        assert!(!sandbox.run(&args).status.success(), "{wrong:?}");
        assert!(!sandbox.path("site").exists(), "{wrong:?}");
    }
    let args = [
        "migrate",
        "oci:store",
        "aci:site/",
        "--site",
        "--host",
        "h.example",
        "--rename",
        rename,
    ];
    let said = sandbox.ok(&args);
    assert!(
        said.contains("h.example/app1:1.1") && said.contains("h.example/team/app0:1.0"),
        "{said}"
    );
    assert!(sandbox.path("site/aci/h.example/app1").is_dir());
    assert!(sandbox.path("site/app1/index.html").is_file());
    assert!(sandbox.ok(&args).contains("4 images, 4 kept"));
}

// N14
#[test]
fn a_site_does_not_name_its_source() {
    let sandbox = Sandbox::new();
    store(&sandbox, 2);
    let args = ["--json", "migrate", "oci:store", "aci:site/", "--site"];
    let first: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
    let folder = sandbox.path("site/.imgconv-migrate");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("journal.jsonl")), 0o600);
    let text = fs::read_to_string(folder.join("journal.jsonl")).unwrap();
    assert!(
        text.contains("example.com/team/app0") && !text.contains("store"),
        "{text}"
    );
    // The warning is printed too.
    let again: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
    assert_eq!(again["totals"]["kept"], 2);
    for i in 0..2 {
        assert_eq!(
            first["images"][i]["outcomes"],
            again["images"][i]["outcomes"]
        );
        let source = again["images"][i]["outcomes"][0]["source"]
            .as_str()
            .unwrap();
        assert!(source.starts_with("oci:store:"), "{source}");
    }
}

// N18
#[test]
fn a_migration_that_strict_refuses_ends_as_one_image_does() {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", LABELS, "dir etc");
    sandbox.ok(&["convert", "a.aci", "oci:lossy"]);
    let args = ["migrate", "a.aci", "oci:out", "--strict"];
    let one = sandbox
        .run(&["convert", "a.aci", "oci:one", "--strict"])
        .status
        .code();
    assert_eq!(sandbox.run(&args).status.code(), one);
    build::layout(
        &[image(
            "example.com/bad~name",
            "1",
            "dir etc",
            "file a \"1\"",
        )],
        &sandbox.path("odd"),
    )
    .unwrap();
    let output = sandbox.run(&["migrate", "oci:odd", "docker-archive:d/", "--strict"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("[strict]"), "{said}");
}

// N18
#[test]
fn publishing_gives_the_host_to_acis_too() {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", LABELS, "dir etc");
    let output = sandbox.run(&["publish", "a.aci", "site", "--host", "h.example"]);
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && warned.contains("warning[renamed]"),
        "{warned}"
    );
    assert!(
        sandbox
            .path("site/aci/h.example/a/1.0-linux-amd64.aci")
            .is_file()
    );
    let refused = [
        "publish",
        "a.aci",
        "other",
        "--host",
        "h.example",
        "--strict",
    ];
    sandbox.fails(&refused, 3, &["error[strict]"]);
    // An ACI of the same host stays unchanged.
    sandbox.ok(&["publish", "a.aci", "same", "--host", "example.com"]);
    assert_eq!(
        fs::read(sandbox.path("same/aci/example.com/a/1.0-linux-amd64.aci")).unwrap(),
        fs::read(sandbox.path("a.aci")).unwrap()
    );
    let help = sandbox.ok(&["publish", "--help"]);
    assert!(help.contains("publish [OPTIONS] <SRC>... <DIR>"), "{help}");
}
