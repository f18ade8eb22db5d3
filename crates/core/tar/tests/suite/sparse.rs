//! Sparse files: the four forms, broken maps, and the limits.

use crate::build::*;
use imgconv_model::{Code, Limits};

const MIB: u64 = 1 << 20;

/// A member with records and stored bytes, and the end.
fn member(name: &[u8], records: &[(&str, &str)], data: &[u8]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| rec(format!("GNU.sparse.{key}"), value);
    let records: Vec<_> = records.iter().map(record).collect();
    [pax(&records), ent(name, data).bytes(), END.to_vec()].concat()
}

#[track_caller]
fn assert_first_block(outcome: &Outcome) {
    let body = &outcome.members[0].1;
    assert_eq!(body.len() as u64, MIB);
    assert!(body[..512].iter().all(|b| *b == b'A'));
    assert!(body[512..].iter().all(|b| *b == 0));
    assert_eq!(outcome.entry().pax, []);
}

#[test]
fn sparse_expand_old_gnu() {
    let sparse = old_sparse(b"A".repeat(512).as_slice(), &[(0, 512), (MIB, 0)], MIB).bytes();
    let after = ent(b"after", b"a").bytes();
    let outcome = works(
        &[sparse, after, END.to_vec()].concat(),
        &[("sp", MIB), ("after", 1)],
    );
    assert_first_block(&outcome);
}

#[test]
fn sparse_expand_pax_0_0() {
    let data = b"A".repeat(512);
    let records = [
        ("size", "1048576"),
        ("numblocks", "1"),
        ("offset", "0"),
        ("numbytes", "512"),
    ];
    assert_first_block(&works(&member(b"sp", &records, &data), &[("sp", MIB)]));
}

#[test]
fn sparse_expand_pax_0_1() {
    let data = b"A".repeat(512);
    let records = [
        ("size", "1048576"),
        ("numblocks", "1"),
        ("map", "0,512"),
        ("name", "real"),
    ];
    let bytes = member(b"./GNUSparseFile.1/real", &records, &data);
    assert_first_block(&works(&bytes, &[("real", MIB)]));
}

#[test]
fn sparse_expand_pax_1_0() {
    let data = [pad(b"1\n0\n512\n"), b"A".repeat(512)].concat();
    let records = [
        ("major", "1"),
        ("minor", "0"),
        ("name", "real"),
        ("realsize", "1048576"),
    ];
    let bytes = member(b"./GNUSparseFile.1/real", &records, &data);
    assert_first_block(&works(&bytes, &[("real", MIB)]));
    // A map over two blocks, with numbers across the edge.
    let pieces: Vec<_> = (0..200u64).map(|i| (i * 1000 + 7, 3)).collect();
    let lines: String = pieces.iter().map(|(o, n)| format!("{o}\n{n}\n")).collect();
    let data = [pad(format!("200\n{lines}").as_bytes()), b"abc".repeat(200)].concat();
    let after = ent(b"after", b"a").bytes();
    let mut bytes = member(b"sp", &records, &data);
    bytes.splice(bytes.len() - 1024.., [after, END.to_vec()].concat());
    let outcome = works(&bytes, &[("real", MIB), ("after", 1)]);
    let body = &outcome.members[0].1;
    for (offset, _) in pieces {
        let offset = offset as usize;
        assert_eq!(&body[offset - 1..offset + 4], b"\0abc\0");
    }
    assert_eq!(body.iter().filter(|b| **b != 0).count(), 600);
}

#[test]
fn sparse_expand_extension_blocks() {
    for count in [5usize, 25, 26, 30] {
        let mut pieces: Vec<_> = (0..count as u64 - 1)
            .map(|i| (i * 2048 + 512, 512))
            .collect();
        pieces.push((MIB, 0));
        let slot = slots(&pieces);
        let first = old_sparse_raw(b"", &slot[..96], true, &octal(MIB, 12));
        let data: Vec<u8> = (0..count as u8 - 1)
            .flat_map(|i| vec![i + 1; 512])
            .collect();
        let header = first.size(&octal(data.len() as u64, 12)).bytes();
        let mut blocks = header;
        let rest: Vec<_> = slot[96..].chunks(21 * 24).collect();
        for (i, part) in rest.iter().enumerate() {
            blocks.extend(extension(part, i + 1 < rest.len()));
        }
        let bytes = [blocks, data, raw()].concat();
        let outcome = works(&bytes, &[("sp", MIB), ("raw", 1)]);
        let body = &outcome.members[0].1;
        assert_eq!(body.len() as u64, MIB);
        for (i, byte) in body.iter().enumerate() {
            let (slot, within) = (i / 2048, i % 2048);
            let data = slot < count - 1 && (512..1024).contains(&within);
            let expected = if data { slot as u8 + 1 } else { 0 };
            assert_eq!(*byte, expected, "byte {i} of {count} pieces");
        }
    }
}

#[test]
fn sparse_path_record_beside_name() {
    // GNU tar writes this when its own made-up name does not fit the header.
    let records = [
        rec("path", "./GNUSparseFile.1/real"),
        rec("GNU.sparse.name", "real"),
        rec("GNU.sparse.major", "0"),
        rec("GNU.sparse.minor", "1"),
        rec("GNU.sparse.size", "4"),
        rec("GNU.sparse.numblocks", "0"),
        rec("GNU.sparse.map", ""),
    ];
    let bytes = [pax(&records), ent(b"x", b"").bytes(), END.to_vec()].concat();
    assert_eq!(works(&bytes, &[("real", 4)]).members[0].1, [0; 4]);
    let bytes = [gnul(b"long\0", b'L'), bytes].concat();
    fails(&bytes, Code::Ambiguous, "GNU long name");
}

#[test]
fn sparse_bad() {
    let old = |data: &[u8], chunks: &[(u64, u64)], real: u64| {
        [old_sparse(data, chunks, real).bytes(), END.to_vec()].concat()
    };
    let kib = b"A".repeat(1024);
    fails(
        &old(&kib, &[(0, 512), (100, 512)], 612),
        Code::BadTar,
        "not in order",
    );
    fails(
        &old(&kib, &[(1024, 512), (0, 512)], 2048),
        Code::BadTar,
        "not in order",
    );
    fails(
        &old(&kib, &[(0, 512), (512, 1024)], 4096),
        Code::BadTar,
        "needs 1536 stored bytes",
    );
    fails(
        &old(&kib, &[(0, 512)], 4096),
        Code::BadTar,
        "needs 512 stored bytes",
    );
    let outcome = fails(
        &old(&kib, &[(0, 1024)], 512),
        Code::BadTar,
        "beyond the size of 512",
    );
    assert!(
        outcome
            .error
            .expect("checked")
            .1
            .starts_with("entry \"sp\" › offset 0: ")
    );
    let raw_slots = |slots: &[u8], extended: bool| {
        let block = old_sparse_raw(b"", slots, extended, &octal(512, 12));
        [block.bytes(), extension(b"", false), END.to_vec()].concat()
    };
    let filled = octal(0, 12);
    fails(&raw_slots(&filled, false), Code::BadTar, "no length");
    fails(
        &raw_slots(&[vec![0; 12], filled.clone()].concat(), false),
        Code::BadTar,
        "no offset",
    );
    let gap = [vec![0; 24], slots(&[(0, 0)])].concat();
    fails(&raw_slots(&gap, false), Code::BadTar, "after an empty one");
    fails(
        &raw_slots(&slots(&[(0, 0)]), true),
        Code::BadTar,
        "after an empty slot",
    );
    fails(
        &raw_slots(b"-0000000001\0-0000000001\0", false),
        Code::BadTar,
        "malformed",
    );
    let block = old_sparse_raw(b"", b"", false, &b256(-1, 12)).bytes();
    fails(&[block, END.to_vec()].concat(), Code::BadTar, "malformed");
    // Only GNU headers have the map there.
    let block = old_sparse(&kib, &[(0, 1024)], 1024)
        .magic(USTAR)
        .prefix(b"")
        .bytes();
    fails(
        &[block, END.to_vec()].concat(),
        Code::BadTar,
        "no GNU magic",
    );
    // An extension block that is not there.
    let block = old_sparse_raw(b"", &slots(&[(0, 0); 4]), true, &octal(0, 12)).bytes();
    fails(&block, Code::BadTar, "inside a sparse map");
}

#[test]
fn sparse_bad_records() {
    let data = b"A".repeat(512);
    type Case = (&'static [(&'static str, &'static str)], Code, &'static str);
    let cases: [Case; 16] = [
        (
            &[
                ("size", "1"),
                ("realsize", "2"),
                ("numblocks", "1"),
                ("map", "0,512"),
            ],
            Code::Ambiguous,
            "two sizes",
        ),
        (
            &[("numblocks", "1"), ("map", "0,512")],
            Code::Ambiguous,
            "no size",
        ),
        (
            &[("size", "512"), ("map", "0,512")],
            Code::Ambiguous,
            "no number of pieces",
        ),
        (
            &[("size", "512"), ("numblocks", "2"), ("map", "0,512")],
            Code::BadTar,
            "2 pieces has 2 numbers",
        ),
        (
            &[("size", "512"), ("numblocks", "1"), ("map", "0,512,")],
            Code::BadTar,
            "GNU.sparse.map",
        ),
        (
            &[("size", "512"), ("numblocks", "1"), ("map", "0,+512")],
            Code::BadTar,
            "GNU.sparse.map",
        ),
        (
            &[
                ("size", "512"),
                ("numblocks", "1"),
                ("map", "0,512"),
                ("offset", "0"),
                ("numbytes", "512"),
            ],
            Code::Ambiguous,
            "two maps",
        ),
        (
            &[
                ("size", "512"),
                ("numblocks", "1"),
                ("numbytes", "512"),
                ("offset", "0"),
            ],
            Code::BadTar,
            "out of order",
        ),
        (
            &[("size", "512"), ("numblocks", "0")],
            Code::Ambiguous,
            "no map",
        ),
        (
            &[
                ("size", "512"),
                ("numblocks", "1"),
                ("map", "0,512"),
                ("name", ""),
            ],
            Code::BadTar,
            "GNU.sparse.name",
        ),
        (
            &[("size", "512"), ("other", "1")],
            Code::BadTar,
            "GNU.sparse.other",
        ),
        (
            &[("major", "2"), ("minor", "0"), ("realsize", "512")],
            Code::Ambiguous,
            "unknown version",
        ),
        (
            &[("major", "1"), ("realsize", "512")],
            Code::Ambiguous,
            "unknown version",
        ),
        (
            &[
                ("major", "1"),
                ("minor", "0"),
                ("realsize", "512"),
                ("map", "0,512"),
            ],
            Code::Ambiguous,
            "map of another version",
        ),
        (
            &[("major", "1"), ("minor", "0"), ("realsize", "512")],
            Code::BadTar,
            "line of the sparse map",
        ),
        (
            &[
                ("size", "512"),
                ("numblocks", "1"),
                ("map", "0,9223372036854775808"),
            ],
            Code::BadTar,
            "GNU.sparse.map",
        ),
    ];
    for (records, code, message) in cases {
        fails(&member(b"sp", records, &data), code, message);
    }
    // The sum of a piece's numbers does not overflow.
    let max = "9223372036854775807";
    let map = format!("{max},{max}");
    let records = [("size", max), ("numblocks", "1"), ("map", map.as_str())];
    fails(
        &member(b"sp", &records, &data),
        Code::BadTar,
        "beyond the size",
    );
    // A map in the content that goes on beyond the member.
    let records = [("major", "1"), ("minor", "0"), ("realsize", "512")];
    let endless = format!("5000\n{}", "0\n0\n".repeat(127));
    let bytes = member(b"sp", &records, &endless.as_bytes()[..512]);
    fails(&bytes, Code::BadTar, "longer than the member");
    for text in ["\n", "-1\n", "x\n", "1\n0\n\n", "10000000000000000000\n"] {
        let bytes = member(b"sp", &records, &pad(text.as_bytes()));
        fails(&bytes, Code::BadTar, "line of the sparse map");
    }
    // Maps on entries that are not files, and two maps.
    let records = pax(&[
        rec("GNU.sparse.size", "0"),
        rec("GNU.sparse.numblocks", "0"),
        rec("GNU.sparse.map", ""),
    ]);
    let directory = hdr(b"d/", 0).flag(b'5').bytes();
    fails(
        &[records.clone(), directory, END.to_vec()].concat(),
        Code::BadTar,
        "a directory has a sparse map",
    );
    let old = old_sparse(b"", &[], 0).bytes();
    fails(
        &[records, old, END.to_vec()].concat(),
        Code::Ambiguous,
        "also has GNU.sparse records",
    );
}

#[test]
fn sparse_limits() {
    let old = |block: Block| [block.bytes(), END.to_vec()].concat();
    let (huge, kib) = (1 << 32, b"A".repeat(1024));
    fails(
        &old(old_sparse(b"", &[(huge, 0)], huge)),
        Code::Limit,
        "`sparse_holes`",
    );
    let eight = 8i128 << 30;
    let block =
        old_sparse_raw(&kib, &slots(&[(0, 1024)]), false, &b256(eight, 12)).size(&octal(1024, 12));
    fails(&old(block), Code::Limit, "`sparse_holes`");
    let block = old_sparse_raw(&kib, &slots(&[(0, 1024)]), false, &b256(1 << 62, 12));
    fails(&old(block), Code::Limit, "`sparse_holes`");
    let records = [("major", "1"), ("minor", "0"), ("realsize", "512")];
    let bytes = member(b"sp", &records, &pad(b"999999999999999999\n"));
    fails(&bytes, Code::Limit, "`sparse_map`");
    let records = [
        ("size", "512"),
        ("numblocks", "999999999999999999"),
        ("map", "0,512"),
    ];
    fails(&member(b"sp", &records, b""), Code::Limit, "`sparse_map`");
    // Extension blocks without end.
    let first = old_sparse_raw(b"", &slots(&[(0, 0); 4]), true, &octal(0, 12)).bytes();
    let more = extension(&slots(&[(0, 0); 21]), true).repeat(500);
    fails(&[first, more].concat(), Code::Limit, "`sparse_map`");
    // Holes of all members count together.
    let limits = Limits {
        sparse_holes: 3 << 10,
        ..Limits::default()
    };
    let two = old_sparse(b"", &[], 2 << 10).bytes().repeat(2);
    let outcome = fails_limited(
        &[two, END.to_vec()].concat(),
        &limits,
        Code::Limit,
        "`sparse_holes`",
    );
    assert_eq!(outcome.members.len(), 1);
}

#[test]
fn sparse_name_orphan() {
    let bytes = [pax(&[rec("GNU.sparse.name", "aliased")]), raw()].concat();
    fails(&bytes, Code::Ambiguous, "entry \"aliased\"");
}

#[test]
fn sparse_body_cut() {
    let sparse = old_sparse(b"A".repeat(1024).as_slice(), &[(0, 512), (4096, 512)], 8192).bytes();
    fails(
        &sparse[..1024 + 300],
        Code::BadTar,
        "entry \"sp\" › offset 1324: the archive ends inside the body",
    );
}
