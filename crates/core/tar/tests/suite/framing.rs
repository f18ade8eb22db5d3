//! Blocks: numbers, checksums, sizes, type flags, where the archive ends and where it is cut.

use crate::build::*;
use imgconv_model::{Code, Limits};
use imgconv_tar::{EntryKind, padding};

#[test]
fn padding_fills_the_last_block() {
    for (size, expected) in [
        (0, 0),
        (1, 511),
        (511, 1),
        (512, 0),
        (513, 511),
        (u64::MAX, 1),
    ] {
        assert_eq!(padding(size), expected);
    }
    assert_eq!(imgconv_tar::END, END);
}

#[test]
fn size_on_headeronly() {
    let size = |bytes: Vec<u8>, kind: &str, name: &str| {
        let error = fails(&bytes, Code::BadTar, &format!("{kind} has a size of 1024"));
        let (_, text) = error.error.expect("checked by `fails`");
        assert!(text.contains(&format!("entry \"{name}\"")), "{text}");
    };
    let link = hdr(b"ln", 1024).flag(b'2').link(b"t").bytes();
    size([link, tail()].concat(), "a symbolic link", "ln");
    let link = hdr(b"ln", 0).flag(b'2').link(b"t").bytes();
    size(
        [pax(&[rec("size", "1024")]), link, tail()].concat(),
        "a symbolic link",
        "ln",
    );
    size(
        [hdr(b"p", 1024).flag(b'6').bytes(), tail()].concat(),
        "a FIFO",
        "p",
    );
    size(
        [hdr(b"c", 1024).flag(b'3').bytes(), tail()].concat(),
        "a character device",
        "c",
    );
    size(
        [hdr(b"b", 1024).flag(b'4').bytes(), tail()].concat(),
        "a block device",
        "b",
    );
    // A PAX size of 0 does not replace the size in the header, because some readers know only the
    // header.
    let link = hdr(b"ln", 1024).flag(b'2').link(b"t").bytes();
    size(
        [pax(&[rec("size", "0")]), link, tail()].concat(),
        "a symbolic link",
        "ln",
    );
}

#[test]
fn trailing_slash() {
    let bytes = [hdr(b"d/", 1024).bytes(), tail()].concat();
    fails(&bytes, Code::Ambiguous, "entry \"d/\"");
    let old = hdr(b"d/", 0).flag(0).magic(V7).bytes();
    let after = [ent(b"after", b"a").bytes(), END.to_vec()].concat();
    let outcome = works(&[old, after.clone()].concat(), &[("d/", 0), ("after", 1)]);
    assert_eq!(outcome.entry().kind, EntryKind::Directory);
    // Without a size the entry is ambiguous, too: GNU tar makes a directory of it, Go a file.
    for flag in [b'0', b'7'] {
        let file = hdr(b"d/", 0).flag(flag).bytes();
        fails(
            &[file, after.clone()].concat(),
            Code::Ambiguous,
            "final slash",
        );
    }
    // An old file whose final name has lost, or gained, the slash of the header.
    let (slash, plain) = (hdr(b"d/", 0).flag(0).bytes(), hdr(b"d", 0).flag(0).bytes());
    let bytes = [pax(&[rec("path", "d")]), slash, after.clone()].concat();
    fails(&bytes, Code::Ambiguous, "entry \"d\"");
    let bytes = [pax(&[rec("path", "d/")]), plain, after.clone()].concat();
    fails(&bytes, Code::Ambiguous, "entry \"d/\"");
    let bytes = [hdr(b"d/", 1024).flag(0).bytes(), tail()].concat();
    fails(&bytes, Code::BadTar, "a directory has a size of 1024");
}

#[test]
fn ustar_prefix() {
    let bytes = [ent(b"name", b"a").prefix(b"dir/sub").bytes(), END.to_vec()].concat();
    works(&bytes, &[("dir/sub/name", 1)]);
    // Names that leave the root are refused by the reader of paths; this crate reads any name.
    let bytes = [
        ent(b"passwd", b"a").prefix(b"../../etc").bytes(),
        END.to_vec(),
    ]
    .concat();
    works(&bytes, &[("../../etc/passwd", 1)]);
    let full = [&[b'p'; 155][..], b"/", &[b'n'; 100]].concat();
    let bytes = [
        ent(&[b'n'; 100], b"").prefix(&[b'p'; 155]).bytes(),
        END.to_vec(),
    ]
    .concat();
    works(&bytes, &[(std::str::from_utf8(&full).unwrap(), 0)]);
    // Readers disagree whether a header without magic has a prefix.
    for magic in [V7, b"ustar 00", b"USTAR\x0000"] {
        let bytes = [
            ent(b"name", b"a").magic(magic).prefix(b"dir").bytes(),
            END.to_vec(),
        ]
        .concat();
        fails(&bytes, Code::Ambiguous, "prefix");
    }
}

#[test]
fn gnu_magic_prefix() {
    let with = |tail: &[u8]| {
        let block = ent(b"name", b"a").magic(GNU).tail(tail);
        [block.bytes(), END.to_vec()].concat()
    };
    works(&with(b"dir"), &[("dir/name", 1)]);
    works(
        &with(&[b'd'; 155]),
        &[(&format!("{}/name", "d".repeat(155)), 1)],
    );
    // Times, where there are any, are kept.
    let times = [octal(0o17, 12), b256(-5, 12)].concat();
    let outcome = works(&with(&times), &[("name", 1)]);
    let record = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    assert_eq!(
        outcome.entry().pax,
        [record("atime", "15"), record("ctime", "-5")]
    );
    works(&with(b"755"), &[("name", 1)]);
    assert_eq!(works(&with(&octal(0, 12)), &[("name", 1)]).entry().pax, []);
    // The PAX time has the higher resolution.
    let bytes = [pax(&[rec("atime", "15.5")]), with(&times)].concat();
    let outcome = works(&bytes, &[("name", 1)]);
    assert_eq!(
        outcome.entry().pax,
        [record("atime", "15.5"), record("ctime", "-5")]
    );
    // Neither a number nor a name; and a number for lenient readers only.
    fails(&with(b"d\xe9r"), Code::BadTar, "time fields");
    fails(&with(b"d\x1br"), Code::BadTar, "time fields");
    fails(&with(b"7\x00777777777\0"), Code::BadTar, "time fields");
}

#[test]
fn star_prefix_and_times() {
    let star = |prefix: &[u8], atime: &[u8]| {
        let mut tail = [0; 167];
        tail[..prefix.len()].copy_from_slice(prefix);
        tail[131..131 + atime.len()].copy_from_slice(atime);
        tail[143..155].copy_from_slice(&octal(0, 12));
        tail[163..].copy_from_slice(b"tar\0");
        [ent(b"name", b"a").tail(&tail).bytes(), END.to_vec()].concat()
    };
    let outcome = works(&star(b"dir", &octal(9, 12)), &[("dir/name", 1)]);
    assert_eq!(outcome.entry().pax, [(b"atime".to_vec(), b"9".to_vec())]);
    fails(
        &star(&[b'd'; 131], &octal(9, 12)),
        Code::Ambiguous,
        "xstar prefix",
    );
    fails(&star(b"dir", b"xxxxxxxxxxx\0"), Code::BadTar, "`atime`");
}

#[test]
fn size_numbers_ok() {
    let body = |size: &[u8]| [ent(b"f", b"a").size(size).bytes(), END.to_vec()].concat();
    works(&body(&b256(1, 12)), &[("f", 1)]);
    works(&body(b"000000000001"), &[("f", 1)]);
    works(&body(b"         1 \0"), &[("f", 1)]);
    let empty = |size: &[u8]| [hdr(b"f", 0).size(size).bytes(), END.to_vec()].concat();
    works(&empty(&[0; 12]), &[("f", 0)]);
    works(&empty(&[b' '; 12]), &[("f", 0)]);
}

#[test]
fn size_numbers_bad() {
    let bad = [
        vec![0xff; 12],
        b256(1 << 63, 12),
        b"0000000008\0 ".to_vec(),
        b"+0000000001\0".to_vec(),
        b"-0000000001\0".to_vec(),
        b"\x0000000000001".to_vec(),
        b"1\x007777777777".to_vec(),
    ];
    for size in bad {
        let bytes = [hdr(b"blob", 0).size(&size).bytes(), tail()].concat();
        let outcome = fails(&bytes, Code::BadTar, "`size`");
        assert_eq!(outcome.members, []);
    }
}

#[test]
fn blank_fields() {
    let block = ent(b"f", b"a")
        .uid(&[0; 8])
        .mtime(&[0; 12])
        .mode(&[0; 8])
        .gid(&[b' '; 8]);
    let outcome = works(&[block.bytes(), END.to_vec()].concat(), &[("f", 1)]);
    let entry = outcome.entry();
    assert_eq!((entry.uid, entry.gid, entry.mode), (0, 0, 0));
    assert_eq!((entry.mtime.seconds, entry.mtime.nanos), (0, 0));
}

#[test]
fn numbers_bad() {
    let block = ent(b"f", b"a").uid(&b256(1 << 32, 8));
    fails(
        &[block.bytes(), END.to_vec()].concat(),
        Code::BadTar,
        "`uid`",
    );
    let block = ent(b"f", b"a").gid(&b256(-1, 8));
    fails(
        &[block.bytes(), END.to_vec()].concat(),
        Code::BadTar,
        "`gid` field is negative: -1",
    );
    let block = ent(b"f", b"a").mode(b"rw-r--r-");
    fails(
        &[block.bytes(), END.to_vec()].concat(),
        Code::BadTar,
        "`mode`",
    );
    let huge = format!("1{}", "0".repeat(30));
    for value in [&huge, "1e9", "nan", ""] {
        let bytes = [pax(&[rec("mtime", value)]), raw()].concat();
        fails(&bytes, Code::BadTar, "`mtime`");
    }
    for (key, value) in [
        ("uid", "4294967296"),
        ("gid", "-1"),
        ("uid", ""),
        ("atime", "x"),
    ] {
        let bytes = [pax(&[rec(key, value)]), raw()].concat();
        fails(&bytes, Code::BadTar, &format!("`{key}`"));
    }
}

#[test]
fn mtime_ok() {
    let at = |bytes: Vec<u8>| {
        let mtime = works(&bytes, &[("raw", 1)]).entry().mtime;
        (mtime.seconds, mtime.nanos)
    };
    let block = |mtime: &[u8]| [ent(b"raw", b"a").mtime(mtime).bytes(), END.to_vec()].concat();
    assert_eq!(at(block(&b256(-1, 12))), (-1, 0));
    assert_eq!(at(block(&b256(1 << 40, 12))), (1 << 40, 0));
    assert_eq!(
        at([pax(&[rec("mtime", "-1.5")]), raw()].concat()),
        (-2, 500_000_000)
    );
}

#[test]
fn cksum() {
    let block = ent(b"\xe9", b"a").signed_sum().bytes();
    let outcome = works(&[block, END.to_vec()].concat(), &[("\u{fffd}", 1)]);
    assert_eq!(outcome.entry().path, b"\xe9");
    let bytes = [hdr(b"a", 0).sum(1).bytes(), END.to_vec()].concat();
    fails(&bytes, Code::BadTar, "checksum is \"000001\"");
    // Text that is no tar at all.
    let text = b"this is not a tar archive".repeat(50);
    fails(&text, Code::BadTar, "checksum");
}

// robustness K48: tar, bsdtar and Python read the checksum up to its NUL (COMPRESS-707).
#[test]
fn k48_bytes_after_the_nul_of_the_checksum_are_ignored() {
    let block = hdr(b"a", 0).bytes();
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    let field: u32 = block[148..156].iter().map(|b| u32::from(*b)).sum();
    let sum = sum - field + 8 * 32;
    let with = |text: Vec<u8>| {
        let mut block = block.clone();
        block[148..156].copy_from_slice(&text);
        [block, END.to_vec()].concat()
    };
    for rest in [&b"36\0"[..], b"\xff\xff\xff", b"  9", b"\0\0x"] {
        let mut text = format!("{sum:o}\0").into_bytes();
        text.extend_from_slice(rest);
        assert_eq!(text.len(), 8, "the sum has four digits");
        works(&with(text), &[("a", 0)]);
    }
    // The error shows a wrong checksum, and says if the checksum is not a number.
    fails(
        &with(b"000001\x0036"[..8].to_vec()),
        Code::BadTar,
        "checksum is \"000001\"",
    );
    let text = format!("{sum:06o}x ").into_bytes();
    fails(
        &with(text),
        Code::BadTar,
        "the header checksum is no octal number",
    );
}

#[test]
fn end_short() {
    let a = ent(b"a", b"a").bytes();
    let outcome = warns(&a, &[("a", 1)], "short-end");
    assert_eq!(outcome.warnings[0].at, "layer 3 › offset 1024");
    warns(&[a, vec![0; 512]].concat(), &[("a", 1)], "short-end");
    warns(&[0; 512], &[], "short-end");
}

#[test]
fn end_not_512() {
    let a = ent(b"a", b"a").bytes();
    works(&[&a, &END[..], &[0; 100]].concat(), &[("a", 1)]);
    works(&[&a, &END[..], &[0; 8192]].concat(), &[("a", 1)]);
    works(&END, &[]);
}

#[test]
fn lone_zero_then_member() {
    let (a, b) = (ent(b"a", b"a").bytes(), ent(b"b", b"b").bytes());
    let bytes = [&a, &[0; 512][..], &b, &END[..]].concat();
    let outcome = fails(&bytes, Code::Ambiguous, "offset 1024");
    assert_eq!(outcome.members.len(), 1);
}

#[test]
fn after_end() {
    let a = [ent(b"a", b"a").bytes(), END.to_vec()].concat();
    let second = [ent(b"evil", b"x").bytes(), END.to_vec()].concat();
    let outcome = warns(&[a.clone(), second].concat(), &[("a", 1)], "trailing-data");
    assert!(outcome.warnings[0].message.starts_with("2048 bytes follow"));
    let garbage = b"GARBAGE".repeat(100);
    let outcome = warns(
        &[&a, &[0; 512][..], &garbage].concat(),
        &[("a", 1)],
        "trailing-data",
    );
    assert!(outcome.warnings[0].message.starts_with("700 bytes follow"));
    assert_eq!(outcome.warnings[0].at, "layer 3 › offset 2560");
}

#[test]
fn source_is_read_to_its_last_byte() {
    use std::io::{Cursor, Read};
    let bytes = [raw(), b"GARBAGE".repeat(100_000)].concat();
    let source = Cursor::new(&bytes);
    let (limits, notes) = (Default::default(), Default::default());
    let mut reader = imgconv_tar::Reader::new(source, &limits, &notes, "layer");
    while reader.next_entry().unwrap().is_some() {}
    let mut source = reader.into_inner();
    assert_eq!(source.position(), bytes.len() as u64);
    assert_eq!(source.read(&mut [0]).unwrap(), 0);
}

#[test]
fn truncated() {
    let a = ent(b"a", b"a").bytes();
    let cut = [&a, &ent(b"b", b"b").bytes()[..300]].concat();
    fails(
        &cut,
        Code::BadTar,
        "inside a header: expected 512 bytes, found 300",
    );
    let cut = [&hdr(b"a", 4096).bytes(), &b"x".repeat(1000)[..]].concat();
    fails(
        &cut,
        Code::BadTar,
        "entry \"a\" › offset 1512: the archive ends inside the body",
    );
    let cut = [&hdr(b"a", 5).bytes(), &b"hello"[..]].concat();
    fails(
        &cut,
        Code::BadTar,
        "entry \"a\" › offset 517: the archive ends inside the padding",
    );
    let cut = [&a, &[0; 612][..]].concat();
    fails(&cut, Code::BadTar, "inside the end marker");
    let cut = &pax(&[rec("path", "x")])[..600];
    fails(cut, Code::BadTar, "inside an extension header");
    let cut = &gnul(b"name\0", b'L')[..514];
    fails(cut, Code::BadTar, "inside an extension header");
}

#[test]
fn every_cut_is_an_error_or_a_short_end() {
    let bytes = [pax(&[rec("path", "x")]), raw()].concat();
    for length in 1..bytes.len() {
        let outcome = read(&bytes[..length]);
        match length {
            2048 | 2560 => assert_eq!(outcome.warnings[0].code, "short-end"),
            _ => assert_eq!(outcome.error.map(|e| e.0), Some(Code::BadTar), "{length}"),
        }
    }
}

#[test]
fn zero_bytes() {
    fails(b"", Code::BadTar, "the archive is empty");
}

#[test]
fn type_regular() {
    for flag in [0, b'7'] {
        let bytes = [ent(b"f", b"a").flag(flag).bytes(), END.to_vec()].concat();
        assert_eq!(works(&bytes, &[("f", 1)]).entry().kind, EntryKind::Regular);
    }
    let bytes = [
        ent(b"f", b"a").magic(V7).owner(b"root", b"root").bytes(),
        END.to_vec(),
    ]
    .concat();
    assert_eq!(works(&bytes, &[("f", 1)]).entry().uname, b"");
    let block = ent(b"f", b"a")
        .magic(b"ustar\0\0\0")
        .owner(b"me", b"us")
        .prefix(b"dir");
    let outcome = works(&[block.bytes(), END.to_vec()].concat(), &[("dir/f", 1)]);
    let entry = outcome.entry();
    assert_eq!(
        (&entry.uname[..], &entry.gname[..]),
        (&b"me"[..], &b"us"[..])
    );
    assert_eq!(entry.kind, EntryKind::Regular);
}

#[test]
fn type_volume() {
    let volume = hdr(b"vol", 0).flag(b'V').magic(GNU).bytes();
    let after = [ent(b"after", b"a").bytes(), END.to_vec()].concat();
    let outcome = warns(
        &[volume.clone(), after.clone()].concat(),
        &[("after", 1)],
        "volume-header",
    );
    assert!(outcome.warnings[0].message.contains("\"vol\""));
    let bytes = [pax(&[rec("path", "x")]), volume, after].concat();
    fails(&bytes, Code::BadTar, "volume header");
    let volume = hdr(b"vol", 1024).flag(b'V').magic(GNU).bytes();
    fails(&[volume, tail()].concat(), Code::BadTar, "volume header");
}

#[test]
fn type_refused() {
    let named = b"01234567LKVSxg\0";
    for flag in (1..=255).filter(|flag| !named.contains(flag)) {
        let bytes = [hdr(b"f", 0).flag(flag).bytes(), raw()].concat();
        fails(&bytes, Code::Unsupported, &format!("0x{flag:02x}"));
    }
    for flag in [b'Z', b's', b'D', b'M'] {
        let bytes = [hdr(b"f", 0).flag(flag).magic(GNU).bytes(), raw()].concat();
        let name = char::from(flag);
        fails(&bytes, Code::Unsupported, &format!("type flag \"{name}\""));
    }
}

#[test]
fn members_know_where_they_start() {
    let bytes = [ent(b"a", b"a").bytes(), pax(&[rec("comment", "c")]), raw()].concat();
    let outcome = works(&bytes, &[("a", 1), ("raw", 1)]);
    let offsets: Vec<_> = outcome.members.iter().map(|m| m.0.offset).collect();
    assert_eq!(offsets, [0, 1024]);
}

/// `read_limited` asserts for every other case that reading byte by byte gives the same result.
#[test]
fn e12_pieces_of_any_size_give_the_same() {
    let records = [rec("SCHILY.xattr.user.a", b"x\ny"), rec("size", "1024")];
    let bytes = [
        pax(&records),
        hdr(b"blob", 0).bytes(),
        inner(),
        gnul(b"longname\0", b'L'),
        raw_gnu(),
    ]
    .concat();
    let whole = works(&bytes, &[("blob", 1024), ("longname", 1)]);
    for most in [1, 2, 3, 100, 511, 512, 513, 1000, 100_000] {
        let pieces = read_slowly(&bytes, most, &Limits::default());
        assert!(pieces == whole, "reads of {most} bytes");
    }
}

// robustness K35
#[test]
fn k35_a_size_without_a_body() {
    let sized = |kind: u8| {
        let header = hdr(b"x", 1024).flag(kind);
        if kind == b'1' {
            header.link(b"t")
        } else {
            header
        }
        .bytes()
    };
    let target = ent(b"t", b"hello").bytes();
    let next = [("t", 5), ("x", 0), ("raw", 1)];
    for kind in [b'1', b'5'] {
        works(&[target.clone(), sized(kind), raw()].concat(), &next);
        works(
            &[target.clone(), sized(kind), END.to_vec()].concat(),
            &[("t", 5), ("x", 0)],
        );
        // A size that a PAX record gives is meant.
        let bytes = [
            target.clone(),
            pax(&[rec("size", "4")]),
            sized(kind),
            tail(),
        ]
        .concat();
        fails(
            &bytes,
            Code::BadTar,
            "some readers read the following bytes as its body",
        );
        // The body itself is none of the headers that every reader looks for.
        let body = [sized(kind), vec![b'x'; 1024], END.to_vec()].concat();
        fails(&[target.clone(), body].concat(), Code::BadTar, "offset");
    }
    // libarchive reads a body in a PAX archive, the others read none.
    let comment = global(&[rec("comment", "c")]);
    let bytes = [comment.clone(), target.clone(), sized(b'1'), tail()].concat();
    fails(
        &bytes,
        Code::BadTar,
        "some readers read the following bytes as its body",
    );
    works(&[comment, target, sized(b'5'), raw()].concat(), &next);
}
