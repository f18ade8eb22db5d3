//! Extension headers: PAX records, global headers, GNU long names, and how they combine.

use crate::build::*;
use imgconv_model::Code;
use imgconv_tar::Entry;

fn record<'a>(entry: &'a Entry, key: &str) -> Option<&'a [u8]> {
    let found = entry.pax.iter().find(|(other, _)| other == key.as_bytes());
    found.map(|(_, value)| value.as_slice())
}

#[test]
fn pax_size_vs_zero_ustar() {
    let bytes = [pax(&[rec("size", "1024")]), hdr(b"blob", 0).bytes(), tail()].concat();
    let outcome = works(&bytes, &[("blob", 1024), ("after", 1)]);
    assert_eq!(outcome.members[0].1, inner());
    assert_eq!(outcome.entry().pax, []);
}

#[test]
fn pax_size_vs_nonzero_ustar() {
    let bytes = [
        pax(&[rec("size", "1024")]),
        hdr(b"blob", 512).bytes(),
        tail(),
    ]
    .concat();
    works(&bytes, &[("blob", 1024), ("after", 1)]);
}

#[test]
fn pax_newline_xattr_then_size() {
    let records = [rec("SCHILY.xattr.user.a", b"x\ny"), rec("size", "1024")];
    let bytes = [pax(&records), hdr(b"blob", 0).bytes(), tail()].concat();
    let outcome = works(&bytes, &[("blob", 1024), ("after", 1)]);
    assert_eq!(
        record(outcome.entry(), "SCHILY.xattr.user.a"),
        Some(&b"x\ny"[..])
    );
}

#[test]
fn pax_x_then_l_then_file() {
    let member = hdr(b"short", 2048).magic(GNU).bytes();
    let bytes = [
        pax(&[rec("size", "2048")]),
        gnul(b"longname\0", b'L'),
        member,
        inner(),
        tail(),
    ];
    works(&bytes.concat(), &[("longname", 2048), ("after", 1)]);
}

#[test]
fn pax_size_dup() {
    let bytes = [
        pax(&[rec("size", "0"), rec("size", "1024")]),
        hdr(b"blob", 0).bytes(),
        tail(),
    ];
    fails(&bytes.concat(), Code::Ambiguous, "\"size\" occurs twice");
    let bytes = [
        pax(&[rec("size", "1024"), rec("size", "0")]),
        hdr(b"blob", 1024).bytes(),
        tail(),
    ];
    fails(&bytes.concat(), Code::Ambiguous, "\"size\" occurs twice");
}

#[test]
fn pax_malformed_then_size() {
    let payload = [
        b"7 foo=b\n".to_vec(),
        b"99 bad=1\n".to_vec(),
        rec("size", "1024"),
    ]
    .concat();
    let bytes = [pax_block(&payload).bytes(), hdr(b"blob", 0).bytes(), tail()].concat();
    fails(&bytes, Code::BadTar, "PAX header");
    // The first record alone is one byte too short, the second one too long.
    let payload = [
        b"8 foo=b\n".to_vec(),
        b"99 bad=1\n".to_vec(),
        rec("size", "1024"),
    ]
    .concat();
    let bytes = [pax_block(&payload).bytes(), hdr(b"blob", 0).bytes(), tail()].concat();
    fails(&bytes, Code::BadTar, "byte 8 of the PAX header");
}

#[test]
fn pax_size_bad() {
    for value in ["+1024", "-1024", "0x400", " 1024", "1_1024", ""] {
        let bytes = [
            pax(&[rec("size", value)]),
            hdr(b"blob", 1024).bytes(),
            tail(),
        ]
        .concat();
        fails(&bytes, Code::BadTar, &format!("`size` is \"{value}\""));
    }
}

#[test]
fn pax_size_huge() {
    let huge = pax(&[rec("size", "9223372036854775807")]);
    let bytes = [huge, hdr(b"blob", 0).bytes(), END.to_vec()].concat();
    fails(&bytes, Code::Limit, "layer_bytes");
    let huge = pax(&[rec("size", "18446744073709551616")]);
    let bytes = [huge, hdr(b"blob", 0).bytes(), inner(), END.to_vec()].concat();
    fails(&bytes, Code::BadTar, "`size`");
}

#[test]
fn pax_path_dup() {
    let bytes = [pax(&[rec("path", "first"), rec("path", "last")]), raw()].concat();
    fails(&bytes, Code::Ambiguous, "\"path\" occurs twice");
    let link = hdr(b"ln", 0).flag(b'2').link(b"t").bytes();
    let bytes = [
        pax(&[rec("linkpath", "first"), rec("linkpath", "last")]),
        link,
        END.to_vec(),
    ];
    fails(
        &bytes.concat(),
        Code::Ambiguous,
        "\"linkpath\" occurs twice",
    );
    let bytes = [
        pax(&[
            rec("SCHILY.xattr.a", "1"),
            rec("b", "c"),
            rec("SCHILY.xattr.a", "2"),
        ]),
        raw(),
    ];
    fails(
        &bytes.concat(),
        Code::Ambiguous,
        "\"SCHILY.xattr.a\" occurs twice",
    );
}

#[test]
fn pax_and_l() {
    let (x, l) = (pax(&[rec("path", "paxname")]), gnul(b"gnuname\0", b'L'));
    let bytes = [x.clone(), l.clone(), raw_gnu()].concat();
    fails(
        &bytes,
        Code::Ambiguous,
        "`path` and the GNU long name \"gnuname\"",
    );
    fails(
        &[l, x, raw_gnu()].concat(),
        Code::Ambiguous,
        "`path` and the GNU long name",
    );
    let (x, k) = (pax(&[rec("linkpath", "a")]), gnul(b"b\0", b'K'));
    let link = hdr(b"ln", 0).flag(b'2').link(b"t").magic(GNU).bytes();
    let bytes = [x, k, link, END.to_vec()].concat();
    fails(&bytes, Code::Ambiguous, "`linkpath` and the GNU long name");
}

#[test]
fn long_names_of_both_kinds() {
    let link = hdr(b"short", 0).flag(b'2').link(b"t").magic(GNU).bytes();
    let bytes = [
        gnul(b"target\0", b'K'),
        gnul(b"name\0\0\0", b'L'),
        link,
        END.to_vec(),
    ]
    .concat();
    let outcome = works(&bytes, &[("name", 0)]);
    assert_eq!(outcome.entry().link, b"target");
    assert_eq!(outcome.entry().offset, 0);
    // Without a NUL at its end, as some writers do.
    works(&[gnul(b"name", b'L'), raw_gnu()].concat(), &[("name", 1)]);
}

#[test]
fn stacked_ext() {
    let bytes = [gnul(b"one\0", b'L'), gnul(b"two\0", b'L'), raw_gnu()].concat();
    fails(
        &bytes,
        Code::BadTar,
        "second extension header with the type flag `L`",
    );
    let bytes = [pax(&[rec("path", "one")]), pax(&[rec("size", "1")]), raw()].concat();
    fails(
        &bytes,
        Code::BadTar,
        "second extension header with the type flag `x`",
    );
    let bytes = [gnul(b"one\0", b'K'), gnul(b"two\0", b'K'), raw_gnu()].concat();
    fails(
        &bytes,
        Code::BadTar,
        "second extension header with the type flag `K`",
    );
}

#[test]
fn l_embedded_nul() {
    let bytes = [gnul(b"name\0hidden", b'L'), raw_gnu()].concat();
    fails(&bytes, Code::BadTar, "goes on after its NUL");
}

#[test]
fn bad_name() {
    fails(
        &[gnul(b"", b'L'), raw_gnu()].concat(),
        Code::BadTar,
        "long name is empty",
    );
    fails(
        &[gnul(b"\0\0", b'L'), raw_gnu()].concat(),
        Code::BadTar,
        "long name is empty",
    );
    fails(
        &[pax(&[rec("path", "")]), raw()].concat(),
        Code::BadTar,
        "`path` is \"\"",
    );
    fails(
        &[ent(b"", b"a").bytes(), END.to_vec()].concat(),
        Code::BadTar,
        "the name is empty",
    );
    fails(
        &[pax(&[rec("path", b"a\0b")]), raw()].concat(),
        Code::BadTar,
        "no NUL",
    );
    let link = hdr(b"ln", 0).flag(b'2').bytes();
    fails(
        &[link.clone(), END.to_vec()].concat(),
        Code::BadTar,
        "entry \"ln\"",
    );
    let bytes = [pax(&[rec("linkpath", b"a\0b")]), link, END.to_vec()].concat();
    fails(&bytes, Code::BadTar, "`linkpath`");
}

#[test]
fn k_on_regular() {
    let bytes = [gnul(b"tgt\0", b'K'), raw_gnu()].concat();
    let outcome = warns(&bytes, &[("raw", 1)], "ignored-link-name");
    assert_eq!(outcome.warnings[0].at, "layer 3 › entry \"raw\"");
    assert!(outcome.warnings[0].message.contains("\"tgt\""));
    assert_eq!(outcome.entry().link, b"");
    let bytes = [pax(&[rec("linkpath", "tgt")]), raw()].concat();
    warns(&bytes, &[("raw", 1)], "ignored-link-name");
}

#[test]
fn pax_path_newline() {
    works(
        &[pax(&[rec("path", b"a\nb")]), raw()].concat(),
        &[("a\nb", 1)],
    );
}

#[test]
fn pax_path_bytes() {
    let path = |records: &[Vec<u8>]| read(&[pax(records), raw()].concat()).entry().path.clone();
    assert_eq!(path(&[rec("path", b"\xff\xfe")]), b"\xff\xfe");
    assert_eq!(
        path(&[rec("hdrcharset", "BINARY"), rec("path", b"\xff")]),
        b"\xff"
    );
    let utf8 = rec("hdrcharset", "ISO-IR 10646 2000 UTF-8");
    assert_eq!(path(&[utf8, rec("path", "é")]), "é".as_bytes());
    let bytes = [pax(&[rec("hdrcharset", "ISO-8859-1")]), raw()].concat();
    fails(&bytes, Code::Unsupported, "ISO-8859-1");
}

#[test]
fn pax_broken_record() {
    let broken = [
        (&b"12 path=evil"[..], "newline"),
        (b"99 path=evil\n", "longer than what is left"),
        (b"5 path=evil\n", "newline"),
        (b"5 =x\n", "empty key"),
        (b"99999999999999999999 path=evil\n", "not a number"),
        (b"1 ", "shorter than its own"),
        (b"0 path=evil\n", "shorter than its own"),
        (b"13", "no space"),
        (b" 13 path=evi\n", "does not start with its length"),
        (b"9 pathev\n", "no equals sign"),
        (b"13\tpath=evil\n", "does not start with its length"),
        (b"13  path=evi\n", "starts with a blank"),
        (b"9 pa\0h=x\n", "NUL in its key"),
        (b"12 path=evi\n\0\0", "does not start with its length"),
    ];
    for (payload, problem) in broken {
        let bytes = [pax_block(payload).bytes(), raw()].concat();
        let outcome = fails(&bytes, Code::BadTar, problem);
        assert_eq!(outcome.members, []);
    }
}

#[test]
fn pax_odd_ok() {
    works(
        &[pax_block(b"0013 path=ev\n").bytes(), raw()].concat(),
        &[("ev", 1)],
    );
    let bytes = [pax(&[rec("SCHILY.xattr.user.a=b", "c")]), raw()].concat();
    let outcome = works(&bytes, &[("raw", 1)]);
    assert_eq!(
        record(outcome.entry(), "SCHILY.xattr.user.a"),
        Some(&b"b=c"[..])
    );
    works(&[pax(&[]), raw()].concat(), &[("raw", 1)]);
}

#[test]
fn extension_padding() {
    // Some readers go on after the payload as long as there are records, or up to a NUL.
    let behind = |payload: &[u8], size: u64, flag: u8| {
        let block = ent(b"ext", payload)
            .size(&octal(size, 12))
            .flag(flag)
            .magic(GNU);
        [block.bytes(), raw_gnu()].concat()
    };
    let records = [rec("comment", "c"), rec("path", "evil")].concat();
    fails(&behind(&records, 13, b'x'), Code::Ambiguous, "padding");
    fails(&behind(&records, 13, b'g'), Code::Ambiguous, "padding");
    fails(&behind(b"evil", 2, b'L'), Code::Ambiguous, "padding");
    fails(&behind(b"name\0\0x", 5, b'K'), Code::Ambiguous, "padding");
}

#[test]
fn pax_empty_owner() {
    let member = ent(b"raw", b"a").owner(b"me", b"us").bytes();
    let bytes = [pax(&[rec("uname", "")]), member, END.to_vec()].concat();
    fails(
        &bytes,
        Code::Ambiguous,
        "the PAX `uname` is empty, but the header says \"me\"",
    );
    works(&[pax(&[rec("gname", "")]), raw()].concat(), &[("raw", 1)]);
}

#[test]
fn pax_dangling() {
    let x = pax(&[rec("path", "evil")]);
    let bytes = [ent(b"ok", b"a").bytes(), x.clone(), END.to_vec()].concat();
    fails(&bytes, Code::BadTar, "ends after an extension header");
    let bytes = [x.clone(), END.to_vec(), raw()].concat();
    fails(&bytes, Code::BadTar, "ends after an extension header");
    fails(&x, Code::BadTar, "ends after an extension header");
    let bytes = [gnul(b"evil\0", b'L'), END.to_vec()].concat();
    fails(&bytes, Code::BadTar, "ends after an extension header");
}

#[test]
fn pax_on_gnu_magic() {
    let x = pax_block(&rec("path", "paxname")).magic(GNU).bytes();
    works(&[x, raw_gnu()].concat(), &[("paxname", 1)]);
}

#[test]
fn pax_on_v7() {
    for flag in [b'x', b'g'] {
        let x = pax_block(&rec("path", "paxname"))
            .flag(flag)
            .magic(V7)
            .bytes();
        fails(&[x, raw()].concat(), Code::BadTar, "no ustar magic");
    }
    let x = pax_block(&rec("path", "paxname")).flag(b'X').bytes();
    fails(&[x, raw()].concat(), Code::Unsupported, "\"X\"");
}

#[test]
fn global_meta() {
    let bytes = [global(&[rec("path", "gname")]), raw()].concat();
    fails(&bytes, Code::Ambiguous, "\"path\"");
    let bytes = [
        global(&[rec("size", "1024")]),
        hdr(b"blob", 0).bytes(),
        tail(),
    ]
    .concat();
    fails(&bytes, Code::Ambiguous, "\"size\"");
    let keys = "path linkpath size mtime atime ctime uid gid uname gname hdrcharset \
                GNU.sparse.name SCHILY.xattr.user.a SCHILY.acl.access LIBARCHIVE.xattr.user.a";
    for key in keys.split_whitespace() {
        let bytes = [global(&[rec("comment", "c"), rec(key, "1")]), raw()].concat();
        fails(&bytes, Code::Ambiguous, key);
    }
    fails(
        &[pax_block(b"5 =x\n").flag(b'g').bytes(), raw()].concat(),
        Code::BadTar,
        "empty key",
    );
}

#[test]
fn global_comment() {
    let comment = global(&[rec("comment", "0".repeat(40))]);
    let outcome = works(&[comment.clone(), raw()].concat(), &[("raw", 1)]);
    assert_eq!(outcome.entry().pax, []);
    assert_eq!(outcome.entry().offset, 1024);
    // An archive with nothing but a comment.
    works(&[comment.clone(), END.to_vec()].concat(), &[]);
    // Go forgets the `x` header before it, other readers do not.
    let bytes = [pax(&[rec("path", "p")]), comment, raw()].concat();
    fails(&bytes, Code::Ambiguous, "global PAX header stands between");
    let vendor = global(&[rec("VENDOR.x", "1")]);
    let outcome = warns(
        &[vendor, raw()].concat(),
        &[("raw", 1)],
        "ignored-global-record",
    );
    assert!(outcome.warnings[0].message.contains("VENDOR.x"));
}

#[test]
fn e3_limits() {
    use imgconv_model::Limits;
    let mib = 1 << 20;
    let header = |size: usize, flag: u8| hdr(b"x", size as u64).flag(flag).bytes();
    for size in [mib + 1, 100 * mib] {
        fails(&header(size, b'x'), Code::Limit, "`pax_header`");
        fails(&header(size, b'g'), Code::Limit, "`pax_header`");
    }
    fails(&header(10 * mib, b'L'), Code::Limit, "`gnu_long`");
    fails(&header(10 * mib, b'K'), Code::Limit, "`gnu_long`");
    let many: Vec<_> = (0..1_000_000).map(|i| rec(format!("{i}"), "")).collect();
    fails(&pax(&many), Code::Limit, "`pax_header`");
    let x = pax(&[rec("a", "b")]);
    fails(
        &x.repeat(100_000),
        Code::BadTar,
        "offset 1024: a second extension header",
    );
    // As much as fits, and not one byte more.
    let value = "v".repeat(mib - 19);
    let full = pax(&[rec("comment", &value)]);
    assert_eq!(full.len(), 512 + mib);
    assert_eq!(
        record(
            works(&[full, raw()].concat(), &[("raw", 1)]).entry(),
            "comment"
        ),
        Some(value.as_bytes())
    );
    // All global headers count together.
    let half = global(&[rec("comment", "v".repeat(mib / 2))]);
    fails(
        &[half.clone(), raw()[..1024].to_vec(), half, raw()].concat(),
        Code::Limit,
        "`pax_header`",
    );
    let small = global(&[rec("comment", "v")]);
    works(&[small.repeat(16), raw()].concat(), &[("raw", 1)]);
    fails(
        &[small.repeat(17), raw()].concat(),
        Code::Limit,
        "`ext_headers`",
    );
    // A path that fits its header, but not the limit of paths.
    let long = "p".repeat(4096);
    fails(
        &[pax(&[rec("path", &long)]), raw()].concat(),
        Code::Limit,
        "`path`",
    );
    let long_name = gnul(long.as_bytes(), b'L');
    fails(&[long_name, raw_gnu()].concat(), Code::Limit, "`path`");
    let limits = Limits {
        entries: 2,
        ..Limits::default()
    };
    let three = [ent(b"a", b"").bytes().repeat(3), END.to_vec()].concat();
    let outcome = fails_limited(&three, &limits, Code::Limit, "`entries`");
    assert_eq!(outcome.members.len(), 2);
}

#[test]
fn many_records_are_checked_in_good_time() {
    let distinct: Vec<_> = (0..80_000).map(|i| rec(format!("{i:x}"), "")).collect();
    let outcome = works(&[pax(&distinct), raw()].concat(), &[("raw", 1)]);
    assert_eq!(outcome.entry().pax.len(), 80_000);
}

#[test]
fn vendor_records_that_shadow_a_field() {
    let bytes = [pax(&[rec("SCHILY.realsize", "5")]), raw()].concat();
    fails(&bytes, Code::Ambiguous, "SCHILY.realsize");
    let device = hdr(b"dev", 0)
        .flag(b'3')
        .device(&octal(1, 8), &octal(3, 8))
        .bytes();
    let with = |value: &str| {
        let x = pax(&[rec("SCHILY.devmajor", "1"), rec("SCHILY.devminor", value)]);
        [x, device.clone(), END.to_vec()].concat()
    };
    works(&with("3"), &[("dev", 0)]);
    fails(&with("4"), Code::Ambiguous, "SCHILY.devminor");
}

// robustness K35
#[test]
fn k35_global_headers_about_the_archive() {
    for (key, value) in [
        ("SCHILY.release", "star 1.5a89"),
        ("SCHILY.archtype", "exustar"),
        ("SCHILY.volhdr.label", "v"),
        ("hdrcharset", "BINARY"),
        ("hdrcharset", "ISO-IR 10646 2000 UTF-8"),
    ] {
        let outcome = works(&[global(&[rec(key, value)]), raw()].concat(), &[("raw", 1)]);
        assert_eq!(outcome.warnings, [], "{key}");
        assert_eq!(outcome.entry().pax, []);
    }
    for key in [
        "SCHILY.dev",
        "SCHILY.fflags",
        "SCHILY.xattr.user.release",
        "mtime",
    ] {
        let bytes = [
            global(&[rec("SCHILY.release", "star"), rec(key, "1")]),
            raw(),
        ]
        .concat();
        fails(&bytes, Code::Ambiguous, key);
    }
}
