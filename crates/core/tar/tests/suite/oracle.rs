//! Other readers on the written headers (case E13): the `tar` crate always, and Python, bsdtar and
//! GNU tar where they are installed.

use crate::{build::END, write::entry};
use imgconv_tar::{Entry, EntryKind, Time, head, padding};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::Path,
    process::Command,
};

/// The fields on which all readers must agree.
#[derive(Debug, PartialEq)]
struct Seen {
    path: Vec<u8>,
    link: Vec<u8>,
    size: u64,
}

/// Members that are hard to write, with names that listings print as they are.
fn oddities() -> Vec<Entry> {
    use EntryKind::*;
    let file = |path: &[u8]| entry(path, Regular);
    let mut all = vec![file(b"plain")];
    for length in [100, 101, 155, 156, 255] {
        all.push(file(&vec![b'n'; length]));
        all.push(entry(vec![b'd'; length], Directory));
    }
    for (prefix, name) in [(100, 100), (155, 100), (156, 99), (154, 101), (200, 200)] {
        all.push(file(
            &[vec![b'p'; prefix], b"/".to_vec(), vec![b'n'; name]].concat(),
        ));
    }
    all.push(file(&[&[b'a'; 98][..], b"/..foo"].concat()));
    all.push(file(&[&[b'b'; 99][..], b"/c"].concat()));
    all.push(file("é".as_bytes()));
    all.push(file(format!("{}é and more", "a".repeat(99)).as_bytes()));
    all.push(file(
        format!("{}/{}", "é".repeat(60), "ü".repeat(40)).as_bytes(),
    ));
    let id = u32::MAX - 1;
    all.push(Entry {
        uid: 1 << 21,
        gid: id,
        ..file(b"owner")
    });
    all.push(Entry {
        uname: vec![b'u'; 33],
        gname: vec![b'g'; 32],
        ..file(b"names")
    });
    for (i, (seconds, nanos)) in [(-1, 0), (-2, 500_000_000), (1, 1), (1 << 34, 0)]
        .into_iter()
        .enumerate()
    {
        all.push(Entry {
            mtime: Time { seconds, nanos },
            ..file(format!("time{i}").as_bytes())
        });
    }
    for length in [100, 101, 300] {
        let link = vec![b'l'; length];
        all.push(Entry {
            link: link.clone(),
            ..entry(format!("soft{length}"), Symlink)
        });
        all.push(Entry {
            link,
            ..entry(format!("hard{length}"), HardLink)
        });
    }
    all.push(Entry {
        device: (4095, 1_048_575),
        ..entry("device", CharDevice)
    });
    all.push(entry("fifo", Fifo));
    let xattr = |value: &[u8]| vec![(b"SCHILY.xattr.user.a".to_vec(), value.to_vec())];
    all.push(Entry {
        pax: xattr(b"x\ny"),
        size: 3,
        ..file(b"xattr")
    });
    all.push(Entry {
        size: 1000,
        ..file(b"body")
    });
    all.push(file(b"empty and last"));
    all
}

/// Names that are not UTF-8, short and long.
fn binary() -> Vec<Entry> {
    let file = |path: &[u8]| entry(path, EntryKind::Regular);
    vec![
        file(b"a\xff"),
        file(&[&[b'n'; 120][..], b"\xff\xfe"].concat()),
        Entry {
            link: b"\xe9".repeat(150),
            ..entry(b"\xe9ln", EntryKind::Symlink)
        },
        Entry {
            uname: b"\xe9".repeat(40),
            gname: b"\xe9".repeat(40),
            ..file(b"owner")
        },
        file(b"last"),
    ]
}

/// Writes an archive; bodies are holes, so that big ones cost nothing.
fn archive(entries: &[Entry]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for entry in entries {
        file.write_all(&head(entry).unwrap()).unwrap();
        let body = entry.size + padding(entry.size) as u64;
        file.seek(SeekFrom::Current(i64::try_from(body).unwrap()))
            .unwrap();
    }
    file.write_all(&END).unwrap();
    file.flush().unwrap();
    file
}

fn expected(entries: &[Entry]) -> Vec<Seen> {
    let seen = |entry: &Entry| Seen {
        path: entry.path.clone(),
        link: entry.link.clone(),
        size: entry.size,
    };
    entries.iter().map(seen).collect()
}

/// Runs a reader; returns `None` and prints a line if the reader is not installed.
fn run(program: &str, arguments: &[&str], archive: &Path) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(archive)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Not by a printing macro, which the test harness captures: a skipped check is to be seen.
            let line = format!("SKIPPED: {program} is not installed\n");
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        output => output.unwrap(),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    assert_eq!(errors, "", "{program}");
    Some(output.stdout)
}

fn trim_slash(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

#[test]
fn tar_crate_agrees() {
    let entries = [
        oddities(),
        binary(),
        vec![
            Entry {
                size: 9 << 30,
                ..entry("big", EntryKind::Regular)
            },
            entry("after", EntryKind::Regular),
        ],
    ]
    .concat();
    let file = archive(&entries);
    let mut archive = tar::Archive::new(File::open(file.path()).unwrap());
    let seen: Vec<_> = archive
        .entries_with_seek()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            Seen {
                path: trim_slash(&entry.path_bytes()).to_vec(),
                link: entry.link_name_bytes().unwrap_or_default().to_vec(),
                size: entry.size(),
            }
        })
        .collect();
    assert_eq!(seen, expected(&entries));
}

const PYTHON: &str = r#"
import sys, tarfile
def hex(text): return text.encode("utf-8", "surrogateescape").hex()
for m in tarfile.open(sys.argv[1], "r:", encoding="utf-8", errors="surrogateescape"):
    mtime = m.pax_headers.get("mtime", m.mtime)
    xattr = m.pax_headers.get("SCHILY.xattr.user.a", "")
    print("|".join(map(str, (hex(m.name), hex(m.linkname), m.size, m.type.decode(), m.uid, m.gid,
        hex(m.uname), hex(m.gname), mtime, m.devmajor, m.devminor, oct(m.mode), hex(xattr)))))
"#;

#[test]
fn python_agrees() {
    let big = Entry {
        size: 9 << 30,
        ..entry("big", EntryKind::Regular)
    };
    let entries = [
        oddities(),
        binary(),
        vec![big, entry("after", EntryKind::Regular)],
    ]
    .concat();
    let Some(listing) = run("python3", &["-c", PYTHON], archive(&entries).path()) else {
        return;
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let line = |entry: &Entry| {
        let kind = match entry.kind {
            EntryKind::Regular => '0',
            EntryKind::HardLink => '1',
            EntryKind::Symlink => '2',
            EntryKind::CharDevice => '3',
            EntryKind::BlockDevice => '4',
            EntryKind::Directory => '5',
            EntryKind::Fifo => '6',
        };
        let mtime = match (entry.mtime.seconds, entry.mtime.nanos) {
            (seconds, 0) => seconds.to_string(),
            (-2, 500_000_000) => "-1.5".to_owned(),
            (1, 1) => "1.000000001".to_owned(),
            other => panic!("no text for {other:?}"),
        };
        let xattr = entry
            .pax
            .first()
            .map(|(_, value)| value.as_slice())
            .unwrap_or_default();
        format!(
            "{}|{}|{}|{kind}|{}|{}|{}|{}|{mtime}|{}|{}|0o{:o}|{}",
            hex(&entry.path),
            hex(&entry.link),
            entry.size,
            entry.uid,
            entry.gid,
            hex(&entry.uname),
            hex(&entry.gname),
            entry.device.0,
            entry.device.1,
            entry.mode,
            hex(xattr)
        )
    };
    let expected: Vec<_> = entries.iter().map(line).collect();
    let listing = String::from_utf8(listing).unwrap();
    assert_eq!(listing.lines().collect::<Vec<_>>(), expected);
}

/// Compares a list of names, and a long listing of which `columns` are owner, group and size.
fn listings_agree(
    program: &str,
    names: &[&str],
    long: &[&str],
    columns: fn(&[&str]) -> [String; 3],
) {
    let big = Entry {
        size: 9 << 30,
        ..entry("big", EntryKind::Regular)
    };
    let entries = [oddities(), vec![big, entry("after", EntryKind::Regular)]].concat();
    let file = archive(&entries);
    let Some(listing) = run(program, names, file.path()) else {
        return;
    };
    let listed: Vec<_> = listing
        .split(|b| *b == b'\n')
        .filter(|name| !name.is_empty())
        .map(trim_slash)
        .collect();
    let expected: Vec<_> = entries.iter().map(|entry| entry.path.as_slice()).collect();
    assert_eq!(listed, expected, "{program}");

    let listing = run(program, long, file.path()).expect("it was there a moment ago");
    let listing = String::from_utf8(listing).unwrap();
    assert_eq!(listing.lines().count(), entries.len());
    for (line, entry) in listing.lines().zip(&entries) {
        if entry.kind != EntryKind::CharDevice {
            let fields: Vec<_> = line.split_whitespace().collect();
            let expected = [
                entry.uid.to_string(),
                entry.gid.to_string(),
                entry.size.to_string(),
            ];
            assert_eq!(columns(&fields), expected, "{program}: {line}");
        }
        if !entry.link.is_empty() {
            assert!(
                line.ends_with(&format!(" {}", String::from_utf8_lossy(&entry.link))),
                "{line}"
            );
        }
    }
}

#[test]
fn gnu_tar_agrees() {
    let names = ["--list", "--quoting-style=literal", "--file"];
    let long = [
        "--list",
        "--verbose",
        "--numeric-owner",
        "--quoting-style=literal",
        "--file",
    ];
    listings_agree("tar", &names, &long, |fields| {
        let (uid, gid) = fields[1].split_once('/').unwrap();
        [uid.to_owned(), gid.to_owned(), fields[2].to_owned()]
    });
}

#[test]
fn bsdtar_agrees() {
    let long = ["--list", "--verbose", "--numeric-owner", "--file"];
    listings_agree("bsdtar", &["--list", "--file"], &long, |fields| {
        [
            fields[2].to_owned(),
            fields[3].to_owned(),
            fields[4].to_owned(),
        ]
    });
}

#[test]
fn names_that_are_not_utf8_are_extracted_as_they_are() {
    let file = archive(&binary());
    // GNU tar warns that it does not know `hdrcharset`, but reads names as bytes.
    let quiet: &[&str] = &["--warning=no-unknown-keyword"];
    for (program, options) in [("tar", quiet), ("bsdtar", &[])] {
        let target = tempfile::tempdir().unwrap();
        let directory = target.path().to_str().unwrap();
        let extract = ["-x", "--no-same-owner", "-C", directory, "-f"];
        let arguments = [options, &extract].concat();
        if run(program, &arguments, file.path()).is_none() {
            continue;
        }
        use std::os::unix::ffi::OsStringExt;
        let found: BTreeMap<Vec<u8>, Vec<u8>> = std::fs::read_dir(target.path())
            .unwrap()
            .map(|file| {
                let file = file.unwrap();
                let link = std::fs::read_link(file.path()).unwrap_or_default();
                (
                    file.file_name().into_vec(),
                    link.into_os_string().into_vec(),
                )
            })
            .collect();
        let expected = binary()
            .into_iter()
            .map(|entry| (entry.path, entry.link))
            .collect();
        assert_eq!(found, expected, "{program}");
    }
}
