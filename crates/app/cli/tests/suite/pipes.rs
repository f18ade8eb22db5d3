//! `-` and pipes, file names with the suffix of a compression, and existing files (robustness K23, N9,
//! N13, N15).

use std::{
    fs::{self, File},
    io::Read as _,
    process::Stdio,
};

use crate::sandbox::Sandbox;

/// A layout, and sources for a pipe: an ACI, archives, and compressed archives.
fn sources(sandbox: &Sandbox) -> Vec<String> {
    let layers = ["dir etc\nfile etc/a \"1\"", "file etc/b \"2\""];
    sandbox.layout("lay", "example.com/x", &layers);
    sandbox.ok(&["oci-to-aci", "lay", "x.aci"]);
    sandbox.ok(&["oci-to-docker", "lay", "d.tar"]);
    sandbox.ok(&["convert", "lay", "oci-archive:o.tar"]);
    sandbox.ok(&["oci-to-docker", "lay", "d.tar.gz"]);
    sandbox.ok(&["convert", "lay", "oci-archive:o.tar.zst"]);
    ["x.aci", "d.tar", "o.tar", "d.tar.gz", "o.tar.zst"]
        .map(str::to_owned)
        .into()
}

#[test]
fn k23_what_comes_out_of_a_pipe_is_what_its_bytes_are() {
    let sandbox = Sandbox::new();
    for file in sources(&sandbox) {
        let (file, piped) = (&*file, |args: &[&str]| {
            let input = File::open(sandbox.path(&file)).unwrap();
            let output = sandbox.output(sandbox.command(args).stdin(input), args);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{args:?} < {file}: {told}");
            String::from_utf8(output.stdout).unwrap()
        });
        for command in ["ls", "inspect", "verify"] {
            let here = sandbox.ok(&[command, file]).replace(file, "-");
            let strip = |text: String| {
                text.replace("docker-archive:", "")
                    .replace("oci-archive:", "")
                    .replace("source: -:example.com/x:1.0\n", "source: -\n")
            };
            assert_eq!(
                strip(piped(&[command, "-"])),
                strip(here),
                "{command} {file}"
            );
        }
        // Standard input that is named twice is read once and gives the same image.
        assert_eq!(piped(&["diff", "-", "-"]), "");
        assert_eq!(piped(&["diff", "-", file]), "");
        let out = format!("oci:out-{file}");
        piped(&["convert", "-", &out]);
        assert_eq!(sandbox.ok(&["diff", file, &out]), "");
        let out = format!("oci:squashed-{file}");
        piped(&["squash", "-", &out]);
        piped(&["recompress", "-", &out, "--compression", "zstd"]);
        piped(&["unpack", "-", &format!("files-{file}")]);
        let unpacked = sandbox.path(&format!("files-{file}/etc/b"));
        assert_eq!(fs::read(unpacked).unwrap(), b"2");
        piped(&[
            "publish",
            "-",
            &format!("site-{file}"),
            "--host",
            "example.com",
        ]);
        piped(&["migrate", "-", &format!("oci:migrated-{file}")]);
        let (command, out) = match &file[..1] {
            "x" => ("aci-to-docker", "pair-x.tar"),
            "d" => ("docker-to-oci", "pair-d"),
            _ => ("oci-to-docker", "pair-o.tar"),
        };
        piped(&[command, "-", out, "--overwrite"]);
        // A named pipe, as `<(…)` of a shell is.
        let script = format!("mkfifo p-{file} && (cat {file} >p-{file} & \"$0\" ls p-{file})",);
        let output = std::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_imgconv")])
            .current_dir(sandbox.folder.path())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            sandbox.ok(&["ls", file])
        );
    }
}

#[test]
fn n9_another_kind_than_was_said_is_told() {
    let sandbox = Sandbox::new();
    sources(&sandbox);
    let input = File::open(sandbox.path("d.tar")).unwrap();
    let output = sandbox
        .command(&["ls", "oci-archive:-"])
        .stdin(input)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("no OCI layout") && told.contains("hint: `-` without"),
        "{told}"
    );
    assert!(!told.contains("empty"), "{told}");
    sandbox.fails(
        &["ls", "oci-archive:d.tar"],
        1,
        &["no OCI layout", "`docker-archive:`"],
    );
}

#[test]
fn k23_standard_output_is_no_directory() {
    let sandbox = Sandbox::new();
    sources(&sandbox);
    for command in [
        &["unpack", "lay", "-"][..],
        &["squash", "lay", "-"],
        &["recompress", "lay", "-"],
        &["convert", "lay", "-"],
        &["convert", "lay", "oci:-"],
        &["convert", "lay", "dir:-"],
        &["publish", "lay", "-"],
        &["migrate", "lay", "-"],
        &["man", "-"],
        &["convert", "lay", "oci:out", "--report", "-"],
    ] {
        sandbox.fails(command, 2, &["error[usage]", "hint"]);
    }
    // The name of the command decides the format of the output.
    for (command, source) in [("docker-to-oci", "d.tar"), ("oci-to-docker", "lay")] {
        let output = sandbox.run(&[command, source, "-"]);
        assert!(output.status.success());
        fs::write(sandbox.path("piped.tar"), output.stdout).unwrap();
        assert_eq!(sandbox.ok(&["diff", source, "piped.tar"]), "");
    }
}

#[test]
fn k23_a_name_that_says_a_compression_gets_it() {
    let sandbox = Sandbox::new();
    sources(&sandbox);
    let gzip: &[u8] = &[0x1f, 0x8b];
    let zstd: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    for (suffix, magic) in [("tar.gz", gzip), ("tgz", gzip), ("tar.zst", zstd)] {
        for (command, source) in [("oci-to-docker", "lay"), ("docker-to-oci", "d.tar")] {
            let out = format!("{command}.{suffix}");
            sandbox.ok(&[command, source, &out]);
            let bytes = fs::read(sandbox.path(&out)).unwrap();
            assert!(bytes.starts_with(magic), "{out}");
            assert_eq!(sandbox.ok(&["diff", source, &out]), "");
        }
    }
    for suffix in ["tar.xz", "tar.bz2", "txz", "tbz2"] {
        for command in [["oci-to-docker", "lay"], ["docker-to-oci", "d.tar"]] {
            let out = format!("no.{suffix}");
            let args = [&command[..], &[&*out]].concat();
            sandbox.fails(&args, 1, &["error[unsupported]", suffix, ".tar.gz"]);
        }
    }
    sandbox.fails(&["oci-to-aci", "lay", "x.tar.gz"], 2, &["x.tar.gz", ".aci"]);
}

#[test]
fn n13_the_size_is_that_of_the_image() {
    let sandbox = Sandbox::new();
    sandbox.layout("lay", "example.com/x", &["file a \"1\"", "file b \"2\""]);
    sandbox.ok(&["oci-to-docker", "lay", "d.tar"]);
    let listed = sandbox.ok(&["ls", "--json", "d.tar"]);
    let found: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let size = found["images"][0]["size"].as_u64().unwrap();
    let mut layers = 0;
    let inspected = sandbox.ok(&["inspect", "--json", "d.tar"]);
    let image: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    for layer in image["images"][0]["layers"].as_array().unwrap() {
        layers += layer["size"].as_u64().unwrap();
    }
    // Two tars of one file each: two blocks and the end.
    assert_eq!(layers, 4096);
    assert!(size > layers, "{size}");
}

#[test]
fn n15_a_file_is_replaced_only_if_that_is_asked_for() {
    let sandbox = Sandbox::new();
    sources(&sandbox);
    for (command, out) in [
        (&["oci-to-aci", "lay"][..], "precious.aci"),
        (&["oci-to-docker", "lay"], "precious.tar"),
        (&["docker-to-oci", "d.tar"], "precious.tar"),
        (&["convert", "lay"], "docker-archive:precious"),
        (&["convert", "lay"], "oci-archive:precious"),
        (&["convert", "lay"], "aci:precious"),
        (&["squash", "lay"], "oci-archive:precious"),
        (&["recompress", "lay"], "docker-archive:precious"),
    ] {
        let path = sandbox.path(out.rsplit(':').next().unwrap());
        fs::write(&path, "precious").unwrap();
        let args = [command, &[out]].concat();
        sandbox.fails(&args, 1, &["error[denied]", "precious", "--overwrite"]);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        sandbox.ok(&[&args[..], &["--overwrite"]].concat());
        assert_ne!(fs::read(&path).unwrap(), b"precious");
    }
    // In a directory of ACIs, and in one that `migrate` fills, too.
    sandbox.ok(&["oci-to-aci", "lay", "acis/"]);
    // A file with the same bytes is no conflict; a file with other bytes is.
    sandbox.ok(&["oci-to-aci", "lay", "acis/"]);
    sandbox.layout("other", "example.com/x", &["file a \"other\""]);
    let again = ["oci-to-aci", "other", "acis/"];
    sandbox.fails(&again, 1, &["error[denied]", ".aci", "--overwrite"]);
    sandbox.ok(&["oci-to-aci", "other", "acis/", "--overwrite"]);
    fs::create_dir(sandbox.path("store")).unwrap();
    sandbox.ok(&["migrate", "lay", "docker-archive:made/"]);
    let name = fs::read_dir(sandbox.path("made"))
        .unwrap()
        .find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.ends_with(".tar").then_some(name)
        });
    let path = sandbox.path("store").join(name.unwrap());
    fs::write(&path, "precious").unwrap();
    let output = sandbox.run(&["migrate", "lay", "docker-archive:store/"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    // An existing layout is added to.
    sandbox.ok(&["convert", "lay", "oci:copy"]);
    sandbox.ok(&["convert", "lay", "oci:copy"]);
}

#[test]
fn n11_a_signal_has_its_exit_code() {
    use std::io::Write as _;
    let sandbox = Sandbox::new();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = sandbox
            .command(&["ls", "docker-archive:-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&[b'x'; 16]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(500));
        let sent = std::process::Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let status = child.wait().unwrap();
        let mut told = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut told)
            .unwrap();
        assert_eq!(status.code(), Some(code), "{told}");
        drop(input);
    }
}
