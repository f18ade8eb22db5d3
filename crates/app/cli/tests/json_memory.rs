//! How much memory hostile JSON takes. The test is alone in its process, as that of `memory.rs` is.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

use std::{fs, path::Path, process::Command};

use nix::sys::resource::{UsageWho, getrusage};

/// A tar of some files.
fn tar(path: &Path, files: &[(&str, &[u8])]) {
    let mut bytes = Vec::new();
    for (name, body) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend(header);
        bytes.extend(*body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    fs::write(path, bytes).unwrap();
}

// robustness K38
#[test]
fn k38_json_takes_memory_by_its_own_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let zeros = "0,".repeat(16 << 20);
    let objects = r#"{"":{}},"#.repeat(2 << 20);
    // Unknown members, and all known members that may be large.
    fs::create_dir_all(path("layout/blobs/sha256")).unwrap();
    fs::write(
        path("layout/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let index = format!(r#"{{"schemaVersion":2,"x":[{zeros}0],"manifests":[]}}"#);
    fs::write(path("layout/index.json"), index).unwrap();
    fs::create_dir_all(path("listed/blobs/sha256")).unwrap();
    fs::write(
        path("listed/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{zeros}0]}}"#);
    fs::write(path("listed/index.json"), index).unwrap();
    for (name, list) in [("numbers", &zeros[..18 << 20]), ("objects", &objects)] {
        let manifest = format!(r#"[{{"Config":"c","Layers":[],"x":[{list}0]}}]"#);
        let tars = path(&format!("{name}.tar"));
        tar(
            &tars,
            &[("manifest.json", manifest.as_bytes()), ("c", b"{}")],
        );
    }
    let manifest = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x","x":[{zeros}0]}}"#
    );
    tar(&path("x.aci"), &[("manifest", manifest.as_bytes())]);
    for (place, says) in [
        ("oci:layout", ""),
        ("oci:listed", "entries of the list are no descriptors"),
        ("docker-archive:numbers.tar", "`json_memory`"),
        ("docker-archive:objects.tar", "`json_memory`"),
        ("aci:x.aci", "`json_memory`"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_imgconv"))
            .args(["ls", place])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), says.is_empty(), "{place}: {said}");
        assert!(said.contains(says), "{place}: {said}");
    }
    let most = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(most < 320 * 1024, "{most} KiB");
}
