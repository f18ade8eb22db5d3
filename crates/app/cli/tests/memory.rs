//! How much memory hostile input takes. The test is alone in its process, because the system reports the
//! largest child of a process.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

use nix::sys::resource::{UsageWho, getrusage};

/// A tar with one member, whose size is written in base-256; `body` writes the existing part of the
/// member.
fn one_member(path: &Path, name: &str, size: u64, body: impl FnOnce(&mut File)) {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124] = 0x80;
    header[128..136].copy_from_slice(&size.to_be_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut file = File::create(path).unwrap();
    file.write_all(&header).unwrap();
    body(&mut file);
}

#[test]
fn a6_lists_that_are_too_large_take_less_than_64_mib() {
    let folder = tempfile::tempdir().unwrap();
    let spaces = |file: &mut File| {
        let blank = [b' '; 1 << 16];
        file.write_all(b"[").unwrap();
        for _ in 0..30_000_000 / blank.len() {
            file.write_all(&blank).unwrap();
        }
        let at = file.stream_position().unwrap();
        file.set_len(at.next_multiple_of(512) + 1024).unwrap();
    };
    let hole = |file: &mut File| {
        file.seek(SeekFrom::Start(512 + (2 << 30))).unwrap();
        file.write_all(&[0; 1024]).unwrap();
    };
    let nothing = |_: &mut File| {};
    one_member(
        &folder.path().join("spaces"),
        "manifest.json",
        29_949_953,
        spaces,
    );
    one_member(
        &folder.path().join("nothing"),
        "manifest.json",
        1 << 40,
        nothing,
    );
    one_member(&folder.path().join("large"), "repositories", 2 << 30, hole);
    for name in ["spaces", "nothing", "large"] {
        for args in [&["ls"][..], &["verify"], &["inspect"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_imgconv"))
                .args(args)
                .arg(format!("docker-archive:{name}"))
                .current_dir(folder.path())
                .output()
                .unwrap();
            let said = [&output.stdout[..], &output.stderr[..]].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(said.contains("limit"), "{name}: {said}");
            assert!(!output.status.success(), "{name}: {said}");
        }
    }
    let most = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(most < 64 * 1024, "{most} KiB");
}
