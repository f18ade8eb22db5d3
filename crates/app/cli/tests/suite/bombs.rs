//! Layers that expand without measure: read in memory that does not grow, stopped by a budget.

use std::{
    fs,
    io::{self, Read as _},
    process::{Command, Output},
};

use crate::{
    docker_reversal::{ARCHIVE, old, replace},
    sandbox::Sandbox,
};
use imgconv_testkit::{build, dialect::Dialect, recipe, sha256_of};
use serde_json::{Value, json};

/// Blocks of 128 KiB of zeros: 1.25 GiB, beyond the first GiB, after which ratios are looked at.
const BLOCKS: u64 = 10 << 10;

/// Writes `bomb.tar`, a `docker save` file of one layer: one file of zeros, in a zstd frame whose
/// blocks repeat one byte (RFC 8878).
fn bomb(sandbox: &Sandbox) {
    let mut item = recipe::parse("file zeros 0644 0:0 @0", "bomb")
        .unwrap()
        .remove(0);
    // The last of the zeros are the end of the tar.
    item.entry.size = BLOCKS * (128 << 10) - 1024;
    let header = Dialect::Ustar.member(&item).unwrap();
    // One raw block for the header, then blocks of zeros; the last block has the flag of the last
    // block.
    let mut layer = b"\x28\xb5\x2f\xfd\x00\x38\x00\x10\x00".to_vec();
    layer.extend(&header);
    for i in 1..=BLOCKS {
        let last = u8::from(i == BLOCKS);
        layer.extend([last + 2, 0, 0x10, 0]);
    }
    let zeros = io::repeat(0).take(BLOCKS * (128 << 10));
    let (_, diff_id) = sha256_of(&mut header.chain(zeros)).unwrap();
    let mut items = recipe::parse(
        "file manifest.json\nfile config.json\nfile layer.tar",
        "save",
    )
    .unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}}}}"#
    );
    let manifest =
        r#"[{"Config":"config.json","RepoTags":["example.com/bomb:1"],"Layers":["layer.tar"]}]"#;
    for (item, body) in items
        .iter_mut()
        .zip([manifest.into(), config.into_bytes(), layer])
    {
        item.entry.size = body.len() as u64;
        item.body = body;
    }
    fs::write(sandbox.path("bomb.tar"), build::tar_bytes(&items).unwrap()).unwrap();
}

/// Runs with 400 MiB of address space, which the program, its threads and its buffers share.
fn confined(sandbox: &Sandbox, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_imgconv");
    Command::new("sh")
        .args([
            "-c",
            "ulimit -v 409600; exec \"$0\" --jobs 2 \"$@\"",
            program,
        ])
        .args(args)
        .current_dir(sandbox.path(""))
        // The allocator of the C library would reserve an arena for each thread.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap()
}

// INV-5: memory follows the limits.
#[test]
fn g6a_a_bomb_is_converted_in_flat_memory_with_a_warning() {
    let sandbox = Sandbox::new();
    bomb(&sandbox);
    let output = confined(
        &sandbox,
        &["convert", "--compression", "gzip", "bomb.tar", "out"],
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("ratio"), "{stderr}");
}

#[test]
fn g6b_a_bomb_ends_at_its_budget_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    bomb(&sandbox);
    for (limit, how) in [
        ("layer_bytes=100000000", "--compression=gzip"),
        ("image_bytes=100000000", "--squash"),
    ] {
        let args = ["convert", "--limit", limit, how, "bomb.tar", "out"];
        let output = confined(&sandbox, &args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        for part in ["error[limit]", "layer 0", limit.split('=').next().unwrap()] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        assert!(!sandbox.path("out").exists());
    }
}

/// H9s: an artifact that states a size which its record does not have.
#[test]
fn a_small_record_of_a_stated_size_writes_nothing() {
    const ZEROS: u64 = 2400 * (128 << 10);
    let sandbox = Sandbox::new();
    old(&sandbox);
    sandbox.ok(&["docker-to-oci", "--reversible", "old.tar", "out"]);
    let mut record = b"\x89SAVREV\n\x02\0\0\0\0\0\0\0".to_vec();
    record.extend(ZEROS.to_le_bytes());
    record.extend([0; 8]);
    record.extend([1; 32]);
    // A frame of one instruction: the number of zeros, the zeros, and no layer.
    record.extend(b"\x28\xb5\x2f\xfd\x00\x38");
    let mut number = Vec::new();
    let mut rest = ZEROS;
    while rest >= 0x80 {
        number.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    number.push(rest as u8);
    record.extend([(number.len() << 3) as u8, 0, 0]);
    record.extend(number);
    for _ in 0..2400 {
        record.extend([2, 0, 0x10, 0]);
    }
    record.extend([1 + (1 << 3), 0, 0, 0]);
    let state = |artifact: &mut Value| {
        artifact["layers"][0]["size"] = json!(10_000_000_000_u64);
        let identity = format!("sha256:{}", "01".repeat(32));
        artifact["annotations"]["imgconv.reversal.identity"] = json!(identity);
    };
    replace(&sandbox, "out", ARCHIVE, state, &record);
    for (args, code) in [
        (&["oci-to-docker", "out", "x.tar", "--exact"][..], 4),
        (&["oci-to-docker", "out", "x.tar"], 0),
    ] {
        // No file may have more than 50 or 100 MiB: the unit depends on the shell.
        let output = Command::new("sh")
            .args(["-c", "ulimit -f 100000; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_imgconv"))
            .args(args)
            .current_dir(sandbox.path(""))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("expected 10000000000 bytes"), "{stderr}");
    }
}
