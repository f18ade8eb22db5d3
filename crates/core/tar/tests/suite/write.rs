//! The canonical writer, read back by the reader of this crate.

use crate::build::{END, hdr, octal, pax, rec};
use imgconv_model::{Code, Limits, Notes};
use imgconv_tar::{Entry, EntryKind, Reader, Time, head, padding};
use proptest::{collection, prelude::*};
use std::io::{self, Read};

/// A plain entry to change.
pub(crate) fn entry(path: impl AsRef<[u8]>, kind: EntryKind) -> Entry {
    let is_link = matches!(kind, EntryKind::HardLink | EntryKind::Symlink);
    Entry {
        link: if is_link {
            b"target".to_vec()
        } else {
            Vec::new()
        },
        ..Entry::new(path.as_ref().to_vec(), kind)
    }
}

fn file(path: impl AsRef<[u8]>) -> Entry {
    entry(path, EntryKind::Regular)
}

/// Reads the single member whose headers the blocks are.
fn read_back(blocks: &[u8]) -> Entry {
    assert_eq!(blocks.len() % 512, 0);
    let source = blocks.chain(&END[..]);
    let notes = Notes::default();
    let mut reader = Reader::new(source, &Limits::default(), &notes, "written");
    let entry = reader.next_entry().unwrap().expect("one member");
    if entry.size == 0 {
        assert_eq!(reader.next_entry().unwrap(), None);
    }
    assert_eq!(notes.take().warnings, []);
    entry
}

/// The entry as it is read back after writing: the canonical spelling of every field.
fn canonical(mut entry: Entry) -> Entry {
    if entry.kind == EntryKind::Directory {
        while entry.path.ends_with(b"/") {
            entry.path.pop();
        }
        entry.path.push(b'/');
    }
    entry.pax.sort();
    entry.offset = 0;
    entry
}

#[test]
fn e13_pax_only_when_needed() {
    let plain = Entry {
        size: 1,
        ..file("raw")
    };
    assert_eq!(head(&plain).unwrap(), hdr(b"raw", 1).bytes());

    let dir = Entry {
        mode: 0o1777,
        uid: 0o777_7777,
        uname: b"root".to_vec(),
        gname: vec![b'g'; 31],
        mtime: Time {
            seconds: 0o777_7777_7777,
            nanos: 0,
        },
        ..entry("tmp", EntryKind::Directory)
    };
    let expected = hdr(b"tmp/", 0)
        .flag(b'5')
        .mode(&octal(0o1777, 8))
        .uid(&octal(0o777_7777, 8))
        .mtime(&octal(0o777_7777_7777, 12))
        .owner(b"root", &[b'g'; 31]);
    assert_eq!(head(&dir).unwrap(), expected.bytes());

    let device = Entry {
        device: (8, 1),
        ..entry("dev/sda1", EntryKind::BlockDevice)
    };
    let expected = hdr(b"dev/sda1", 0)
        .flag(b'4')
        .device(&octal(8, 8), &octal(1, 8));
    assert_eq!(head(&device).unwrap(), expected.bytes());
}

#[test]
fn e13_names_are_split_or_go_to_pax() {
    let blocks = |path: &[u8]| head(&file(path)).unwrap().len() / 512;
    let name = |length: usize| vec![b'n'; length];
    let split = |prefix: usize, length: usize| [name(prefix), b"/".to_vec(), name(length)].concat();
    assert_eq!(blocks(&name(100)), 1);
    assert_eq!(blocks(&name(101)), 3);
    assert_eq!(blocks(&split(1, 99)), 1);
    assert_eq!(blocks(&split(155, 100)), 1);
    assert_eq!(blocks(&split(156, 99)), 3);
    assert_eq!(blocks(&split(154, 101)), 3);
    // The longest prefix, and never beside another slash.
    let path = [name(50), b"/".to_vec(), split(50, 50)].concat();
    let expected = hdr(&name(50), 0).prefix(&split(50, 50)).bytes();
    assert_eq!(head(&file(&path)).unwrap(), expected);
    for odd in [
        [name(60), b"//".to_vec(), name(60)].concat(),
        [b"/".to_vec(), name(100)].concat(),
    ] {
        assert_eq!(blocks(&odd), 3);
        assert_eq!(read_back(&head(&file(&odd)).unwrap()).path, odd);
    }
    // The slash of a directory counts, and is no place to split.
    let dir = |length| {
        head(&entry(name(length), EntryKind::Directory))
            .unwrap()
            .len()
            / 512
    };
    assert_eq!((dir(99), dir(100)), (1, 3));
}

#[test]
fn e13_every_oddity_comes_back() {
    let mut oddities = Vec::new();
    for length in [100, 101, 155, 156, 255, 256, 257] {
        oddities.push(file(vec![b'n'; length]));
        oddities.push(entry(vec![b'd'; length], EntryKind::Directory));
        oddities.push(file(
            [&vec![b'p'; length - 50][..], b"/", &[b'n'; 49]].concat(),
        ));
    }
    oddities.push(file([&[b'a'; 98][..], b"/..foo"].concat()));
    oddities.push(file([&[b'a'; 98][..], b"..foo"].concat()));
    oddities.push(file(format!("{}é and more", "a".repeat(99))));
    oddities.push(file([&[b'a'; 99][..], b"/b"].concat()));
    oddities.push(file([b"\xff".repeat(150), b"\xfe".to_vec()].concat()));
    oddities.push(file(b"\x80".repeat(300)));
    for size in [(8 << 30) - 1, 8 << 30, 60 << 30] {
        oddities.push(Entry {
            size,
            ..file("big")
        });
    }
    for id in [1 << 21, u32::MAX] {
        oddities.push(Entry {
            uid: id,
            gid: id,
            ..file("owner")
        });
        oddities.push(Entry {
            device: (id, id),
            ..entry("dev", EntryKind::CharDevice)
        });
    }
    for (seconds, nanos) in [
        (-1, 0),
        (-2, 500_000_000),
        (1, 1),
        (1 << 33, 0),
        (i64::MIN, 1),
    ] {
        oddities.push(Entry {
            mtime: Time { seconds, nanos },
            ..file("time")
        });
    }
    for length in [31, 32, 33] {
        oddities.push(Entry {
            uname: vec![b'u'; length],
            gname: vec![b'g'; length],
            ..file("o")
        });
    }
    for length in [100, 101, 4000] {
        oddities.push(Entry {
            link: vec![b'l'; length],
            ..entry("ln", EntryKind::Symlink)
        });
    }
    let xattr = (b"SCHILY.xattr.user.a".to_vec(), b"x\ny\0=z".to_vec());
    oddities.push(Entry {
        pax: vec![xattr],
        ..file("xattr")
    });
    for oddity in oddities {
        let blocks = head(&oddity).unwrap();
        assert_eq!(read_back(&blocks), canonical(oddity));
    }
}

#[test]
fn e13_records_have_a_fixed_order() {
    let mut member = Entry {
        uid: u32::MAX,
        pax: vec![
            (b"zz".to_vec(), b"1".to_vec()),
            (b"SCHILY.xattr.user.a".to_vec(), vec![]),
        ],
        mtime: Time {
            seconds: -2,
            nanos: 500_000_000,
        },
        ..file(format!("dir\x1b/{}", "é".repeat(60)))
    };
    let blocks = head(&member).unwrap();
    let records = pax(&[
        rec("SCHILY.xattr.user.a", ""),
        rec("mtime", "-1.5"),
        rec("path", &member.path),
        rec("uid", "4294967295"),
        rec("zz", "1"),
    ]);
    assert_eq!(blocks[512..blocks.len() - 512], records[512..]);
    assert!(blocks.starts_with(&[b"PaxHeaders.0/", &b"_".repeat(87)[..]].concat()));
    member.pax.reverse();
    assert_eq!(head(&member).unwrap(), blocks);
}

#[test]
fn e13_a_refused_entry_leaves_nothing() {
    let record = |key: &[u8], value: &[u8]| Entry {
        pax: vec![(key.to_vec(), value.to_vec())],
        ..file("f")
    };
    let mut refused = vec![
        (file(""), "name is empty"),
        (file("a\0b"), "has a NUL"),
        (file("d/"), "final slash"),
        (
            Entry {
                size: 1,
                ..entry("d", EntryKind::Directory)
            },
            "only a regular file has a size",
        ),
        (
            Entry {
                size: u64::MAX,
                ..file("f")
            },
            "above 2^63 - 1",
        ),
        (
            Entry {
                link: vec![],
                ..entry("l", EntryKind::Symlink)
            },
            "a link has a target",
        ),
        (
            Entry {
                link: b"a".to_vec(),
                ..file("f")
            },
            "a link has a target",
        ),
        (
            Entry {
                link: b"a\0".to_vec(),
                ..entry("l", EntryKind::HardLink)
            },
            "has a NUL",
        ),
        (
            Entry {
                device: (1, 0),
                ..file("f")
            },
            "device numbers",
        ),
        (
            Entry {
                mode: 0o10_000,
                ..file("f")
            },
            "the mode 10000",
        ),
        (
            Entry {
                mtime: Time {
                    seconds: 0,
                    nanos: 1_000_000_000,
                },
                ..file("f")
            },
            "nanoseconds",
        ),
        (
            Entry {
                uname: b"\0".to_vec(),
                ..file("f")
            },
            "uname",
        ),
        (record(b"", b"x"), "empty key"),
        (record(b" a", b"x"), "starts with a blank"),
        (record(b"a=b", b"x"), "equals sign"),
        (record(b"a\0", b"x"), "NUL in its key"),
        (record(b"atime", b"soon"), "`atime`"),
    ];
    let fields = "path linkpath size uid gid uname gname mtime hdrcharset GNU.sparse.name";
    let fields = fields
        .split(' ')
        .map(|key| (record(key.as_bytes(), b"1"), "belongs to a field"));
    refused.extend(fields);
    let mut twice = record(b"a", b"1");
    twice.pax.push((b"a".to_vec(), b"2".to_vec()));
    refused.push((twice, "occurs twice"));
    for (entry, message) in refused {
        let error = head(&entry).unwrap_err();
        assert_eq!(error.code(), Code::BadTar);
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().starts_with("entry \""), "{error}");
    }
    let big = record(b"SCHILY.xattr.user.big", &vec![0; 1 << 20]);
    assert_eq!(head(&big).unwrap_err().code(), Code::Limit);
}

#[test]
fn e13_big_body_is_skipped() {
    let big = Entry {
        size: (8 << 30) + 1,
        ..file("big")
    };
    let (first, last) = (head(&big).unwrap(), head(&file("last")).unwrap());
    let body = io::repeat(0).take(big.size + padding(big.size) as u64);
    let source = first.chain(body).chain(&last[..]).chain(&END[..]);
    let notes = Notes::default();
    let mut reader = Reader::new(source, &Limits::default(), &notes, "written");
    assert_eq!(reader.next_entry().unwrap().unwrap().size, big.size);
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"last");
    assert_eq!(reader.next_entry().unwrap(), None);
}

fn name(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b'a'..=b'z', 2 => Just(b'/'), 1 => 1..=255u8];
    collection::vec(byte, 1..longest)
}

fn time() -> impl Strategy<Value = Time> {
    let seconds = prop_oneof![0..1i64 << 34, any::<i64>()];
    let nanos = prop_oneof![Just(0), 0..1_000_000_000u32];
    (seconds, nanos).prop_map(|(seconds, nanos)| Time { seconds, nanos })
}

fn records() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let tail = collection::vec(
        any::<u8>().prop_filter("keys have no = and no NUL", |b| !matches!(b, 0 | b'=')),
        0..20,
    );
    let key = tail.prop_map(|tail| [b"SCHILY.xattr.".to_vec(), tail].concat());
    let value = collection::vec(any::<u8>(), 0..200);
    collection::btree_map(key, value, 0..5).prop_map(|records| records.into_iter().rev().collect())
}

fn entries() -> impl Strategy<Value = Entry> {
    use EntryKind::*;
    let kind = [
        Regular,
        HardLink,
        Symlink,
        CharDevice,
        BlockDevice,
        Directory,
        Fifo,
    ];
    let size = prop_oneof![0..2000u64, 0..64u64 << 30];
    let owner = collection::vec(1..=255u8, 0..40);
    (
        (
            proptest::sample::select(kind.to_vec()),
            name(400),
            name(200),
            size,
            records(),
        ),
        (
            0..=0o7777u32,
            any::<u32>(),
            any::<u32>(),
            owner.clone(),
            owner,
            time(),
            any::<(u32, u32)>(),
        ),
    )
        .prop_map(
            |((kind, mut path, link, size, pax), (mode, uid, gid, uname, gname, mtime, device))| {
                if kind == Regular && path.ends_with(b"/") {
                    path.push(b'x');
                }
                Entry {
                    mode,
                    uid,
                    gid,
                    uname,
                    gname,
                    mtime,
                    size: if kind == Regular { size } else { 0 },
                    link: if matches!(kind, HardLink | Symlink) {
                        link
                    } else {
                        Vec::new()
                    },
                    device: if matches!(kind, CharDevice | BlockDevice) {
                        device
                    } else {
                        (0, 0)
                    },
                    pax,
                    offset: 7,
                    ..Entry::new(path, kind)
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn every_entry_comes_back(entry in entries()) {
        let blocks = head(&entry).unwrap();
        prop_assert_eq!(read_back(&blocks), canonical(entry));
        // Writing an entry that was read changes nothing.
        prop_assert_eq!(head(&read_back(&blocks)).unwrap(), blocks);
    }

    #[test]
    fn no_bytes_cause_a_panic(mut bytes in collection::vec(any::<u8>(), 0..3000)) {
        let read = |bytes: &[u8]| {
            let notes = Notes::default();
            let mut reader = Reader::new(bytes, &Limits::default(), &notes, "any");
            while let Ok(Some(_)) = reader.next_entry() {
                if io::copy(&mut reader, &mut io::sink()).is_err() {
                    break;
                }
            }
        };
        read(&bytes);
        // The same with a right checksum, so that the fields are looked at.
        if bytes.len() >= 512 {
            bytes[148..156].fill(b' ');
            let sum: u32 = bytes[..512].iter().map(|b| u32::from(*b)).sum();
            bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            read(&bytes);
        }
    }
}
