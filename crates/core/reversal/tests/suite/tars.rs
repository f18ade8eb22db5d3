//! Tars of every kind.

use std::{fs, process::Command};

use imgconv_model::Code;
use imgconv_tar::{END, Entry, EntryKind, head, padding};
use imgconv_testkit::random;

use crate::made::{made, rebuilt};

/// Appends a member.
fn put(tar: &mut Vec<u8>, path: &str, body: &[u8]) {
    let entry = Entry {
        size: body.len() as u64,
        ..Entry::new(path, EntryKind::Regular)
    };
    tar.extend_from_slice(&head(&entry).unwrap());
    tar.extend_from_slice(body);
    tar.resize(tar.len() + padding(body.len() as u64), 0);
}

/// H9d.
#[test]
fn random_tars_in_every_dialect_come_back() {
    let mut count = 0;
    for seed in 0.. {
        for (i, layer) in random::image(seed).iter().enumerate() {
            let tar = layer.tar();
            let dropped = |entry: &Entry| entry.path.len() % 7 != seed as usize % 7;
            for (what, made) in [
                ("whole", made(&tar, |_| true)),
                ("without some members", made(&tar, dropped)),
            ] {
                let Some(made) = made else { continue };
                made.comes_back(&format!("seed {seed}, layer {i}, {what}"));
                count += 1;
            }
        }
        if count >= 1000 {
            break;
        }
    }
}

#[test]
fn the_ends_of_tars_come_back() {
    let mut tar = Vec::new();
    put(&mut tar, "a", b"the first");
    put(&mut tar, "b", &[7; 512]);
    let ends: [&[u8]; 6] = [
        &[],
        &[0; 512],
        &END,
        &[0; 10240],
        &[&END[..], b"bytes after the end"].concat(),
        &[&END[..], &[1; 700_000]].concat(),
    ];
    for (i, end) in ends.iter().enumerate() {
        let tar = [&tar[..], end].concat();
        made(&tar, |_| true)
            .unwrap()
            .comes_back(&format!("end {i}"));
        made(&tar, |_| false)
            .unwrap()
            .comes_back(&format!("end {i} without any member"));
    }
    // Bytes in the padding of a body.
    let mut odd = tar.clone();
    odd[512 + 9..1024].fill(b'x');
    odd.extend_from_slice(&END);
    made(&odd, |_| true).unwrap().comes_back("padding");
}

#[test]
fn large_members_come_back_by_ranges_of_the_layer() {
    let mut tar = Vec::new();
    let mut random = 1u64;
    let mut byte = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 56) as u8
    };
    let noise: Vec<u8> = (0..3_000_000).map(|_| byte()).collect();
    put(&mut tar, "first", &noise);
    put(&mut tar, "left out", &noise[..2_000_000]);
    put(&mut tar, "last", &noise[1..]);
    tar.extend_from_slice(&END);
    let whole = made(&tar, |_| true).unwrap();
    whole.comes_back("whole");
    assert!(whole.record.len() < 600, "{} bytes", whole.record.len());
    let some = made(&tar, |entry| entry.path != b"left out").unwrap();
    some.comes_back("without one");
    // The record holds what the layer does not have.
    assert!(some.record.len() > 100_000);
}

#[test]
fn tars_of_gnu_tar_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("rootfs").join("d".repeat(120))).unwrap();
    fs::write(tree.join("manifest"), "{}").unwrap();
    fs::write(tree.join("rootfs/a"), "a").unwrap();
    fs::hard_link(tree.join("rootfs/a"), tree.join("rootfs/b")).unwrap();
    std::os::unix::fs::symlink("a", tree.join("rootfs/s")).unwrap();
    let long = tree
        .join("rootfs")
        .join("d".repeat(120))
        .join("f".repeat(90));
    fs::write(long, vec![5; 70_000]).unwrap();
    let sparse = fs::File::create(tree.join("rootfs/sparse")).unwrap();
    let write = std::os::unix::fs::FileExt::write_all_at;
    write(&sparse, b"begin", 0).unwrap();
    write(&sparse, b"middle", 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    let mut seen = 0;
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse", "--blocking-factor=1"],
        &["--format=posix", "--sparse", "--mtime=@-5.25"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &[
            "--format=posix",
            "--pax-option=globexthdr.name=g,comment=all",
        ],
        &["--format=pax", "--mtime=@1700000000.123456789"],
        &["--format=ustar", "--exclude=d*"],
        &["--format=v7", "--exclude=d*"],
        &["--format=oldgnu", "--label=volume", "--mtime=1960-01-01"],
    ] {
        let tar = folder.path().join("made.tar");
        let out = Command::new("tar")
            .args([
                "-C".as_ref(),
                tree.as_os_str(),
                "-cf".as_ref(),
                tar.as_os_str(),
            ])
            .args(options)
            .args(["rootfs", "manifest", "rootfs/a"])
            .output();
        let Ok(out) = out else { return };
        assert!(out.status.success(), "{options:?}: {out:?}");
        let tar = fs::read(&tar).unwrap();
        if let Some(made) = made(&tar, |entry| entry.path != b"manifest") {
            made.comes_back(&format!("{options:?}"));
            // Nothing but headers is in the record.
            assert!(
                made.record.len() < 4000,
                "{options:?}: {}",
                made.record.len()
            );
            seen += 1;
        }
    }
    assert!(seen >= 9, "{seen}");
}

#[test]
fn a_record_of_many_small_files_is_small() {
    const COUNT: u32 = 20_000;
    let mut tar = Vec::new();
    let mut random = 1u64;
    for i in 0..COUNT {
        let mut next = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            random >> 33
        };
        let body = vec![b'x'; (next() % 900) as usize];
        let mut entry = Entry::new(
            format!(
                "rootfs/usr/lib/package-{:x}/module{}.py",
                next() % 50_000,
                i % 17
            ),
            EntryKind::Regular,
        );
        entry.size = body.len() as u64;
        entry.mtime.seconds = 1_500_000_000 + (next() % 100_000_000) as i64;
        tar.extend_from_slice(&head(&entry).unwrap());
        tar.extend_from_slice(&body);
        tar.resize(tar.len() + padding(entry.size), 0);
    }
    tar.extend_from_slice(&END);
    let made = made(&tar, |_| true).unwrap();
    made.comes_back("many");
    let each = made.record.len() as f64 / f64::from(COUNT);
    assert!(each < 60.0, "{each} bytes an entry");
}

/// H9a, H9b.
#[test]
fn a_record_names_its_layer_and_its_version() {
    let mut tar = Vec::new();
    put(&mut tar, "a", &[3; 2000]);
    tar.extend_from_slice(&END);
    let made = made(&tar, |_| true).unwrap();
    let code = |record: &[u8], layer: &[u8]| rebuilt(record, layer).unwrap_err().code();
    let mut other = made.layer.clone();
    other[600] ^= 1;
    assert_eq!(code(&made.record, &other), Code::Mismatch);
    assert_eq!(code(&made.record, &made.layer[..1000]), Code::Mismatch);
    assert_eq!(code(b"", &made.layer), Code::BadManifest);
    assert_eq!(code(&[0; 500], &made.layer), Code::BadManifest);
    let mut newer = made.record.clone();
    newer[8] = 2;
    assert_eq!(code(&newer, &made.layer), Code::Unsupported);
    let mut huge = made.record.clone();
    huge[23] = 1;
    assert_eq!(code(&huge, &made.layer), Code::Limit);
    assert_eq!(code(&made.record[..160], &made.layer), Code::BadCompression);
}
