//! Hostile input, and signals and full disks in the middle of a run: every case ends with the right exit
//! code, an error that names the place, nothing at the destination, and no panic.
//!
//! The details of each case are tested in the crate that decides about it.

#![expect(
    clippy::print_stderr,
    reason = "a case that is skipped says so in the test's output"
)]

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use crate::sandbox::{Sandbox, state};

const MANIFEST: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x","labels":[{"name":"version","value":"1"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}]}"#;

/// A ustar member, as raw as it gets.
fn member(path: &str, kind: u8, link: &str, body: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, b"0000755\x000000000\x000000000\0");
    put(124, format!("{:011o}\0", body.len()).as_bytes());
    put(136, b"00000000000\0        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut member = header.to_vec();
    member.extend(body);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

fn file(path: &str, body: &[u8]) -> Vec<u8> {
    member(path, b'0', "", body)
}

/// An ACI of a manifest, `rootfs` and members.
fn aci(manifest: &str, members: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = file("manifest", manifest.as_bytes());
    tar.extend(member("rootfs/", b'5', "", b""));
    tar.extend(members.concat());
    tar.extend([0; 1024]);
    tar
}

/// An ACI that takes a while.
fn large(sandbox: &Sandbox) {
    let mut noise = vec![0; 1 << 20];
    let mut state = 1u64;
    for byte in &mut noise {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[0];
    }
    let members: Vec<Vec<u8>> = (0..80)
        .map(|i| file(&format!("rootfs/{i}"), &noise))
        .collect();
    fs::write(sandbox.path("large.aci"), aci(MANIFEST, &members)).unwrap();
}

#[test]
fn inv6_a_bad_entry_after_the_manifest_stops_every_output() {
    let mut no_rootfs = file("manifest", MANIFEST.as_bytes());
    no_rootfs.extend([0; 1024]);
    let link = |path: &str, target: &str| member(path, b'2', target, b"");
    let hard = |path: &str, target: &str| member(path, b'1', target, b"");
    let cut = aci(MANIFEST, &[file("rootfs/a", &[7; 4000])])[..4000].to_vec();
    let cases: [(&str, Vec<u8>, &str, &str); 10] = [
        (
            "h1a_path",
            aci(
                MANIFEST,
                &[file("rootfs/a", b"1"), file("rootfs/./a", b"2")],
            ),
            "ambiguous",
            "rootfs/./a",
        ),
        (
            "h1a_manifest",
            aci(MANIFEST, &[file("rootfs/../manifest", b"{}")]),
            "ambiguous",
            "rootfs/../manifest",
        ),
        ("h1b_no_rootfs", no_rootfs, "missing", "rootfs"),
        (
            "h1b_evil",
            aci(MANIFEST, &[file("rootfsevil", b"1")]),
            "bad-tar",
            "rootfsevil",
        ),
        (
            "h1c_escape",
            aci(MANIFEST, &[file("rootfs/../../x", b"1")]),
            "escape",
            "rootfs/../../x",
        ),
        (
            "h2b_whiteout",
            aci(MANIFEST, &[file("rootfs/.wh.x", b"")]),
            "unsupported",
            "rootfs/.wh.x",
        ),
        (
            "hl_bad",
            aci(MANIFEST, &[hard("rootfs/h", "rootfs/nope")]),
            "bad-tar",
            "rootfs/nope",
        ),
        (
            "hl_escape",
            aci(MANIFEST, &[hard("rootfs/h", "rootfs/../../etc/passwd")]),
            "escape",
            "etc/passwd",
        ),
        (
            "through_link",
            aci(
                MANIFEST,
                &[link("rootfs/l", "/etc"), file("rootfs/l/x", b"1")],
            ),
            "ambiguous",
            "rootfs/l/x",
        ),
        ("truncated", cut, "bad-tar", "rootfs/a"),
    ];
    for (name, bytes, code, place) in cases {
        let sandbox = Sandbox::new();
        let source = format!("{name}.aci");
        fs::write(sandbox.path(&source), bytes).unwrap();
        let error = format!("error[{code}]");
        for args in [
            &["aci-to-oci", "--jobs", "1", &*source, "out"][..],
            &["aci-to-oci", "--jobs", "8", &source, "out"],
            &["convert", &source, "oci-archive:out.tar"],
            &["convert", &source, "aci:out.aci"],
            &["convert", "--no-squash", &source, "aci:out/"],
            &["unpack", &source, "root"],
            &["diff", &source, &source],
            &["inspect", &source],
        ] {
            sandbox.fails(args, 1, &[&error, &source, place]);
        }
        let verdict = sandbox.run(&["verify", &source]);
        assert_eq!(verdict.status.code(), Some(4), "{name}");
        let found = String::from_utf8(verdict.stdout).unwrap();
        assert!(found.starts_with(code) && found.contains(place), "{found}");
    }
}

#[test]
fn hl_bad_and_symlink_parent_hold_over_dependencies() {
    let base = MANIFEST.replace("example.com/x", "example.com/base");
    let depends = r#"{"dependencies":[{"imageName":"example.com/base"}],"#;
    let top = MANIFEST.replacen('{', depends, 1);
    let sandbox = Sandbox::new();
    let lower = aci(
        &base,
        &[
            file("rootfs/usr/lib/a", b"1"),
            member("rootfs/lib", b'2', "usr/lib", b""),
        ],
    );
    fs::write(sandbox.path("base.aci"), lower).unwrap();
    let write = |members: &[Vec<u8>]| {
        fs::write(sandbox.path("top.aci"), aci(&top, members)).unwrap();
    };
    write(&[member("rootfs/h", b'1', "rootfs/nope", b"")]);
    let stacked = ["aci-to-oci", "--deps", "base.aci", "top.aci", "out"];
    let named = ["error[bad-tar]", "top.aci", "layer 1", "\"nope\""];
    sandbox.fails(&stacked, 1, &named);
    // As the hint says, one merged layer can hold the tree; `unpack` works without the hint.
    write(&[file("rootfs/lib/x", b"1")]);
    let named = ["error[unsupported]", "\"lib/x\"", "--squash"];
    sandbox.fails(&stacked, 1, &named);
    sandbox.ok(&[&stacked[..], &["--squash"]].concat());
    sandbox.ok(&["unpack", "--deps", "base.aci", "top.aci", "root"]);
    assert_eq!(fs::read(sandbox.path("root/lib/x")).unwrap(), b"1");
    assert!(!sandbox.path("root/usr/lib/x").exists());
    sandbox.ok(&["unpack", "oci:out", "same"]);
    let (root, same) = (state(&sandbox.path("root")), state(&sandbox.path("same")));
    assert_eq!(root, same);
}

#[test]
fn e11_depth_costs_time_in_proportion() {
    let sandbox = Sandbox::new();
    // So many files that work in the square of the depth for each of them would take minutes.
    let deepest = |i: usize| {
        let deep = format!("rootfs/{}{i}", "a/".repeat(2000));
        let record = |length: usize| format!("{length} path={deep}\n");
        let mut length = deep.len();
        while record(length).len() != length {
            length = record(length).len();
        }
        let mut path = member("pax", b'x', "", record(length).as_bytes());
        path.extend(file("short", b"1"));
        path
    };
    let deepest: Vec<Vec<u8>> = (0..300).map(deepest).collect();
    fs::write(sandbox.path("deep.aci"), aci(MANIFEST, &deepest)).unwrap();
    sandbox.ok(&["aci-to-oci", "deep.aci", "out"]);
    sandbox.ok(&["diff", "deep.aci", "oci:out"]);
    sandbox.ok(&["convert", "deep.aci", "aci:copy.aci"]);
}

#[test]
fn d13b_the_output_is_not_in_the_input() {
    let sandbox = Sandbox::new();
    sandbox.layout("lay", "example.com/x", &["file a \"1\""]);
    for args in [
        &["convert", "oci:lay", "oci:lay/sub"][..],
        &["convert", "oci:lay", "oci-archive:lay/x.tar"],
        &["oci-to-aci", "lay", "lay/x.aci"],
        &["oci-to-aci", "lay", "lay/"],
        &["unpack", "oci:lay", "lay/root"],
    ] {
        sandbox.fails(args, 1, &["error[denied]", "lay"]);
    }
    // The name of the output file would be that of the source.
    sandbox.ok(&["oci-to-aci", "lay", "acis/"]);
    let name = "acis/example.com-x-1.0-linux-amd64.aci";
    let onto = ["convert", "--compression", "none", name, "aci:acis/"];
    sandbox.fails(&onto, 1, &["error[denied]", name]);
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_before_the_work() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("a.aci"), aci(MANIFEST, &[])).unwrap();
    for report in ["nope/report.json", "."] {
        let args = ["aci-to-oci", "--report", report, "a.aci", "out"];
        sandbox.fails(&args, 1, &["error[io]", report]);
    }
}

#[test]
fn d2_a_fifo_is_refused_at_once() {
    let sandbox = Sandbox::new();
    let made = std::process::Command::new("mkfifo")
        .arg(sandbox.path("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    for args in [
        &["aci-to-oci", "fifo", "out"][..],
        &["ls", "aci:fifo"],
        &["ls", "oci-archive:fifo"],
    ] {
        let mut command = sandbox.command(args);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (code, message) = ended(child);
        assert_eq!(code, Some(1), "{args:?}: {message}");
        assert!(message.contains("fifo"), "{args:?}: {message}");
    }
}

/// Waits for the end of a run. Returns the exit code and the text of standard error.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!message.contains("panicked at"), "{message}");
    (output.status.code(), message)
}

/// Sends a signal as soon as the command is ready for one.
fn interrupt(child: &Child, signal: &str) {
    const TERM: u64 = 1 << 14;
    let status = format!("/proc/{}/status", child.id());
    let ready = || {
        let text = fs::read_to_string(&status).ok()?;
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        Some(u64::from_str_radix(mask.trim(), 16).ok()? & TERM != 0)
    };
    // A process that has ended has no signal mask.
    while ready() == Some(false) {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(20));
    let sent = std::process::Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// The names and sizes of all files below a folder; the files are too large to be read often.
fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                found.push((entry.path(), 0));
                open.push(entry.path());
            } else {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn m6_a_signal_ends_the_run_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    large(&sandbox);
    fs::create_dir(sandbox.path("tmp")).unwrap();
    sandbox.ok(&["convert", "--compression", "none", "large.aci", "oci:lay"]);
    let before = listing(&sandbox.path(""));
    for (signal, args) in [
        ("-TERM", &["aci-to-oci", "large.aci", "out"][..]),
        ("-INT", &["aci-to-oci", "--jobs", "8", "large.aci", "lay"]),
        ("-HUP", &["convert", "large.aci", "aci:out.aci"]),
        ("-TERM", &["oci-to-aci", "lay", "out.aci"]),
        ("-INT", &["verify", "large.aci"]),
        ("-TERM", &["inspect", "large.aci"]),
    ] {
        let mut attempts = 0;
        let (code, message) = loop {
            let child = sandbox
                .command(args)
                .env("TMPDIR", sandbox.path("tmp"))
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            interrupt(&child, signal);
            let (code, message) = ended(child);
            attempts += 1;
            // On a busy machine a command that writes nothing may end before the signal arrives.
            let reads = ["verify", "inspect"].contains(&args[0]);
            if code != Some(0) || !reads || attempts == 10 {
                break (code, message);
            }
        };
        // The exit code is the number that shells use (robustness N11).
        let number = match signal {
            "-INT" => 130,
            "-TERM" => 143,
            _ => 129,
        };
        assert_eq!(code, Some(number), "{args:?}: {message}");
        assert!(message.contains("error[cancelled]"), "{args:?}: {message}");
        assert_eq!(listing(&sandbox.path("")), before, "{args:?}");
    }
}

#[test]
fn m6_a_silent_pipe_does_not_hold_the_run() {
    let sandbox = Sandbox::new();
    for source in ["-", "oci-archive:-"] {
        let mut child = sandbox
            .command(&["convert", source, "oci:out"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(&[b'x'; 300]).unwrap();
        interrupt(&child, "-TERM");
        let (code, message) = ended(child);
        assert_eq!(code, Some(143), "{message}");
        assert!(message.contains("error[cancelled]"), "{message}");
        drop(pipe);
    }
    assert!(listing(&sandbox.path("")).is_empty());
}

#[test]
fn an_endless_pipe_ends_at_its_limit() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(&["aci-to-oci", "--limit", "image_bytes=100000", "-", "out"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    while pipe.write_all(&[b'x'; 4096]).is_ok() {}
    let (code, message) = ended(child);
    assert_eq!(code, Some(1));
    assert!(message.contains("error[limit]"), "{message}");
}

#[test]
fn m6_a_closed_standard_output_is_no_panic() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("a.aci"), aci(MANIFEST, &[])).unwrap();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let closed = || std::io::pipe().unwrap().1;
    // The exit code tells the failure also if standard error can't be written.
    for args in [&["ls", "nope.aci"][..], &["inspect", "--json", "nope.aci"]] {
        for stderr in [Stdio::from(full()), Stdio::from(closed())] {
            let status = sandbox.command(args).stderr(stderr).status().unwrap();
            assert_eq!(status.code(), Some(1), "{args:?}: {:?}", status.signal());
        }
    }
    for args in [
        &["ls", "a.aci"][..],
        &["inspect", "a.aci"],
        &["verify", "a.aci"],
        &["formats"],
        &["convert", "a.aci", "aci:-"],
    ] {
        let output = sandbox.command(args).stdout(full()).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        assert!(message.contains("error[io]: standard output"), "{message}");
    }
    // The reader of a listing may close the pipe early.
    for args in [&["ls", "a.aci"][..], &["inspect", "a.aci"]] {
        let output = sandbox.command(args).stdout(closed()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
}
#[test]
fn g5c_no_program_is_started_to_decompress() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("fake")).unwrap();
    let trap = format!("#!/bin/sh\necho \"$0\" >> {:?}\n", sandbox.path("started"));
    for program in ["gzip", "gunzip", "unpigz", "pigz", "xz", "bzip2", "zstd"] {
        let path = sandbox.path(&format!("fake/{program}"));
        fs::write(&path, &trap).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(
        sandbox.path("plain"),
        aci(MANIFEST, &[file("rootfs/a", b"1")]),
    )
    .unwrap();
    let mut tried = 0;
    for program in ["gzip", "xz", "bzip2"] {
        let compressed = std::process::Command::new(program)
            .arg("-c")
            .arg(sandbox.path("plain"))
            .output();
        let Ok(output) = compressed else {
            continue;
        };
        tried += 1;
        fs::write(sandbox.path("x.aci"), output.stdout).unwrap();
        let out = format!("out-{program}");
        let status = sandbox
            .command(&["aci-to-oci", "--compression", "zstd", "x.aci", &out])
            .env("PATH", sandbox.path("fake"))
            .status()
            .unwrap();
        assert!(status.success(), "{program}");
    }
    assert!(tried > 0, "none of the three programs is installed");
    assert!(!sandbox.path("started").exists());
}

#[test]
fn i7_no_system_call_takes_a_path_from_the_archive() {
    let sandbox = Sandbox::new();
    let members = [
        member("rootfs/one-x/two-x/", b'5', "", b""),
        file("rootfs/one-x/two-x/three-x", b"1"),
        member(
            "rootfs/one-x/hard-x",
            b'1',
            "rootfs/one-x/two-x/three-x",
            b"",
        ),
        member("rootfs/one-x/soft-x", b'2', "/elsewhere-x", b""),
    ];
    fs::write(sandbox.path("x.aci"), aci(MANIFEST, &members)).unwrap();
    let command = env!("CARGO_BIN_EXE_imgconv");
    let traced = std::process::Command::new("strace")
        .args(["-f", "-s", "4096", "-e", "trace=%file", "-o", "trace"])
        .args([command, "unpack", "x.aci", "root"])
        .current_dir(sandbox.path(""))
        .output();
    let traced = match traced {
        Ok(output) if output.status.success() => fs::read_to_string(sandbox.path("trace")).unwrap(),
        _ => {
            eprintln!("skipped: strace is not installed or not permitted");
            return;
        }
    };
    let mut seen = 0;
    for line in traced.lines() {
        // The target of a symbolic link is data; `"` splits at the strings.
        let strings = line.split('"').skip(1).step_by(2);
        for text in strings.skip(usize::from(line.contains("symlinkat("))) {
            if [
                "one-x",
                "two-x",
                "three-x",
                "hard-x",
                "soft-x",
                "elsewhere-x",
            ]
            .iter()
            .any(|name| text.contains(name))
            {
                seen += 1;
                assert!(!text.contains('/'), "{line}");
            }
        }
    }
    assert!(seen >= 5, "{traced}");
}
