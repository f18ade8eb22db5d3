//! The fields of entries: names of every kind, owners, times, devices, xattrs.

use crate::build::*;
use imgconv_model::Code;
use imgconv_tar::EntryKind;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

#[test]
fn e2a_capability_with_a_newline_byte() {
    let words = [0x0200_0001u32, 0x0000_000a, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert!(value.contains(&b'\n'));
    let x = pax(&[
        rec("SCHILY.xattr.security.capability", &value),
        rec("size", "1"),
    ]);
    let member = ent(b"bin/x", b"a").size(&octal(0, 12)).bytes();
    let bytes = [x, member, ent(b"after", b"b").bytes(), END.to_vec()].concat();
    let outcome = works(&bytes, &[("bin/x", 1), ("after", 1)]);
    let key = b"SCHILY.xattr.security.capability".to_vec();
    assert_eq!(outcome.entry().pax, [(key, value)]);
}

#[test]
fn e2b_records_are_kept_verbatim() {
    let mut pairs: Pairs = vec![
        (b"SCHILY.xattr.user.empty".to_vec(), vec![]),
        (b"SCHILY.xattr.user.nul".to_vec(), b"a\0b".to_vec()),
        (b"SCHILY.xattr.user.big".to_vec(), vec![0x0a; 64 << 10]),
        (b"LIBARCHIVE.xattr.user.b".to_vec(), b"eA==".to_vec()),
        (
            b"SCHILY.acl.access".to_vec(),
            b"user::rw-\ngroup::r--".to_vec(),
        ),
        (b"SCHILY.fflags".to_vec(), b"nodump".to_vec()),
        (b"MSWINDOWS.rawsd".to_vec(), b"AQAE".to_vec()),
        (b"comment".to_vec(), b"\xff".to_vec()),
        (b"atime".to_vec(), b"1.000000001".to_vec()),
    ];
    pairs.extend((0..300).map(|i| (format!("SCHILY.xattr.user.{i}").into_bytes(), vec![b'v'; i])));
    let records: Vec<_> = pairs.iter().map(|(key, value)| rec(key, value)).collect();
    let outcome = works(&[pax(&records), raw()].concat(), &[("raw", 1)]);
    assert_eq!(outcome.entry().pax, pairs);
}

#[test]
fn e4_names_are_bytes() {
    let deep = "d/".repeat(2047) + "x";
    let long = format!("{}/{}", "a".repeat(4095 - 256), "b".repeat(255));
    let names: Vec<Vec<u8>> = vec![
        b"\xff\xfe\x80".to_vec(),
        vec![b'c'; 255],
        vec![b'c'; 256],
        vec![b'p'; 4095],
        long.into_bytes(),
        deep.into_bytes(),
        b"a\rb".to_vec(),
        b"a\tb".to_vec(),
        b"\x1b[2J".to_vec(),
        b"a\\b".to_vec(),
        b"end  ".to_vec(),
        b"C:foo".to_vec(),
        "a\u{202e}b".into(),
        "\u{e9}".into(),
        "e\u{301}".into(),
        b"./a//b/../c".to_vec(),
        b"/abs".to_vec(),
    ];
    for name in names {
        let outcome = read(&[pax(&[rec("path", &name)]), raw()].concat());
        assert_eq!(outcome.error, None);
        assert_eq!(outcome.entry().path, name);
        let outcome = read(&[gnul(&[&name[..], b"\0"].concat(), b'L'), raw_gnu()].concat());
        assert_eq!(outcome.entry().path, name);
        if name.len() <= 100 {
            let outcome = read(&[ent(&name, b"").bytes(), END.to_vec()].concat());
            assert_eq!(outcome.entry().path, name);
        }
    }
}

#[test]
fn e7a_owners_modes_times() {
    let member = |block: Block| {
        read(&[block.bytes(), END.to_vec()].concat())
            .members
            .remove(0)
            .0
    };
    for id in [1 << 21, u32::MAX] {
        let entry = member(
            ent(b"f", b"a")
                .uid(&b256(id.into(), 8))
                .gid(&b256(id.into(), 8)),
        );
        assert_eq!((entry.uid, entry.gid), (id, id));
        let x = pax(&[rec("uid", id.to_string()), rec("gid", "7")]);
        let outcome = works(&[x, raw()].concat(), &[("raw", 1)]);
        assert_eq!((outcome.entry().uid, outcome.entry().gid), (id, 7));
    }
    assert_eq!(member(ent(b"f", b"").mode(b"0107777\0")).mode, 0o7777);
    assert_eq!(member(ent(b"f", b"").mtime(&octal(0, 12))).mtime.seconds, 0);
    assert_eq!(
        member(ent(b"f", b"").mtime(&b256(1 << 33, 12)))
            .mtime
            .seconds,
        1 << 33
    );
    let times = [
        ("1.123456789", (1, 123_456_789)),
        ("1.1234567899", (1, 123_456_789)),
        ("1.123456789012345678901234567890", (1, 123_456_789)),
        ("-1.1234567891", (-2, 876_543_210)),
        ("-0.000000000000000000000000000001", (-1, 999_999_999)),
        ("253402300800", (253_402_300_800, 0)),
        ("9223372036854775807.5", (i64::MAX, 500_000_000)),
    ];
    for (text, expected) in times {
        let outcome = works(&[pax(&[rec("mtime", text)]), raw()].concat(), &[("raw", 1)]);
        let mtime = outcome.entry().mtime;
        assert_eq!((mtime.seconds, mtime.nanos), expected, "{text}");
    }
    let records = [rec("atime", "1.5"), rec("ctime", "253402300800")];
    let outcome = works(&[pax(&records), raw()].concat(), &[("raw", 1)]);
    let kept: Pairs = vec![
        (b"atime".to_vec(), b"1.5".to_vec()),
        (b"ctime".to_vec(), b"253402300800".to_vec()),
    ];
    assert_eq!(outcome.entry().pax, kept);
}

#[test]
fn e7b_out_of_range() {
    let device = |major: i128| {
        let block = hdr(b"dev", 0)
            .flag(b'4')
            .device(&b256(major, 8), &octal(0, 8));
        [block.bytes(), END.to_vec()].concat()
    };
    for major in [-1, (1 << 32) + 1, 1 << 32] {
        fails(
            &device(major),
            Code::BadTar,
            &format!("entry \"dev\" › offset 0: the device major number is out of range: {major}"),
        );
    }
    let outcome = works(&device(u32::MAX.into()), &[("dev", 0)]);
    assert_eq!(outcome.entry().device, (u32::MAX, 0));
    let block = ent(b"f", b"a").mtime(&b256(1 << 63, 12)).bytes();
    fails(&[block, END.to_vec()].concat(), Code::BadTar, "`mtime`");
    let bytes = [pax(&[rec("mtime", "9223372036854775808")]), raw()].concat();
    fails(&bytes, Code::BadTar, "`mtime`");
}

#[test]
fn every_kind_is_read() {
    let members = [
        ent(b"f", b"body").bytes(),
        hdr(b"hard", 0).flag(b'1').link(b"f").bytes(),
        hdr(b"soft", 0).flag(b'2').link(b"/f").bytes(),
        hdr(b"char", 0)
            .flag(b'3')
            .device(&octal(5, 8), &octal(1, 8))
            .bytes(),
        hdr(b"block", 0)
            .flag(b'4')
            .device(&octal(8, 8), &octal(0, 8))
            .bytes(),
        hdr(b"dir/", 0)
            .flag(b'5')
            .mode(b"0001755\0")
            .owner(b"root", b"wheel")
            .bytes(),
        // Device numbers of an entry that is not a device are ignored.
        hdr(b"fifo", 0)
            .flag(b'6')
            .device(&b256(-1, 8), &octal(1, 8))
            .bytes(),
    ];
    let bytes = [members.concat(), END.to_vec()].concat();
    let names = [
        ("f", 4),
        ("hard", 0),
        ("soft", 0),
        ("char", 0),
        ("block", 0),
        ("dir/", 0),
        ("fifo", 0),
    ];
    let outcome = works(&bytes, &names);
    let entries: Vec<_> = outcome.members.iter().map(|m| &m.0).collect();
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    use EntryKind::*;
    assert_eq!(
        kinds,
        [
            Regular,
            HardLink,
            Symlink,
            CharDevice,
            BlockDevice,
            Directory,
            Fifo
        ]
    );
    let links: Vec<_> = entries.iter().map(|entry| entry.link.as_slice()).collect();
    assert_eq!(links, [&b""[..], b"f", b"/f", b"", b"", b"", b""]);
    assert_eq!(
        (entries[3].device, entries[4].device, entries[6].device),
        ((5, 1), (8, 0), (0, 0))
    );
    assert_eq!(
        (
            entries[5].mode,
            &entries[5].uname[..],
            &entries[5].gname[..]
        ),
        (0o1755, &b"root"[..], &b"wheel"[..])
    );
    assert_eq!(outcome.members[0].1, b"body");
}
