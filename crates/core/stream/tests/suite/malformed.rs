//! Streams that must be refused, with the code and a part of the message.

use std::io::{Read as _, Seek as _, Write as _};

use imgconv_model::{Code, Compression, Error, Limits, Notes};
use imgconv_stream::Decoder;

use crate::samples::{Cut, FORMATS, content, fails, fails_with, hex, pack, unpack, unpack_with};

#[test]
fn g2b_garbage_after_the_end() {
    for compression in FORMATS {
        let packed = pack(compression, b"hello");
        let offset = format!("compressed offset {}", packed.len());
        let with = |tail: &[u8]| [&packed[..], tail].concat();
        for tail in [&b"garbage!"[..], b"x", b"\x1f", b"BZ", b"BZhello"] {
            fails(&with(tail), Code::BadCompression, &[&offset, "follows the"]);
        }
        let offset = format!("compressed offset {}", packed.len() + 700);
        let padded = [&[0; 700][..], b"garbage!"].concat();
        fails(
            &with(&padded),
            Code::BadCompression,
            &[&offset, "700 NUL bytes and then more data"],
        );
        let padded = [&[0; 3][..], &packed].concat();
        fails(
            &with(&padded),
            Code::BadCompression,
            &["3 NUL bytes and then more data"],
        );
        let other = match compression {
            Compression::Gzip => pack(Compression::Zstd, b"x"),
            _ => pack(Compression::Gzip, b"x"),
        };
        fails(&with(&other), Code::BadCompression, &["follows the"]);
    }
}

#[test]
fn a_stream_that_is_cut_off_anywhere() {
    for compression in FORMATS {
        let packed = [
            pack(compression, b"hello"),
            pack(compression, &content(2000)),
        ]
        .concat();
        let first = pack(compression, b"hello").len();
        for length in 6..packed.len() {
            if length != first {
                fails(
                    &packed[..length],
                    Code::BadCompression,
                    &["compressed offset"],
                );
            }
        }
        assert!(unpack(&packed[..first]).is_ok());
    }
    fails(
        b"\x1f\x8b",
        Code::BadCompression,
        &["header of a gzip member"],
    );
    fails(b"BZh", Code::BadCompression, &["bzip2 stream"]);
    fails(
        b"\x28\xb5\x2f\xfd",
        Code::BadCompression,
        &["header of a zstd frame"],
    );
    fails(
        b"\x50\x2a\x4d\x18\0\0\0",
        Code::BadCompression,
        &["skippable zstd frame"],
    );
    fails(b"\xfd7zXZ\0", Code::BadCompression, &["xz stream"]);
}

const HI: &[u8] = b"\x01\x02\0\xfd\xffhi\xac\x2a\x93\xd8\x02\0\0\0";

fn gzip(header: &[u8], rest: &[u8]) -> Vec<u8> {
    [b"\x1f\x8b", header, rest].concat()
}

#[test]
fn g3b_gzip_headers() {
    let header = b"\x08\0\0\0\0\0\0\xff";
    assert_eq!(unpack(&gzip(header, HI)).unwrap().0, b"hi");
    let method = b"\x07\0\0\0\0\0\0\xff";
    fails(
        &gzip(method, HI),
        Code::BadCompression,
        &["offset 2", "compression method", "7", "8"],
    );
    for flags in [0x20, 0x40, 0x80, 0xe0] {
        let reserved = [8, flags, 0, 0, 0, 0, 0, 0xff];
        let named = format!("{flags:#04x}");
        fails(
            &gzip(&reserved, HI),
            Code::BadCompression,
            &["offset 3", "reserved", &named],
        );
    }
    let checked = b"\x08\x02\0\0\0\0\0\xff\x12\x34";
    fails(
        &gzip(checked, HI),
        Code::BadCompression,
        &["offset 10", "FHCRC", "3412", "computed"],
    );
    fails(
        &gzip(b"\x08\x04\0\0\0\0\0\xff\xff\xff", HI),
        Code::BadCompression,
        &["FEXTRA"],
    );
    fails(
        &gzip(b"\x08\x08\0\0\0\0\0\xff", b"name"),
        Code::BadCompression,
        &["FNAME"],
    );
    fails(
        &gzip(b"\x08\x10\0\0\0\0\0\xff", b"name"),
        Code::BadCompression,
        &["FCOMMENT"],
    );
    // The second member is checked like the first.
    let second = [gzip(header, HI), gzip(method, HI)].concat();
    fails(
        &second,
        Code::BadCompression,
        &["offset 27", "compression method"],
    );
}

#[test]
fn g3b_gzip_names_without_end() {
    for (flags, name) in [(8, "FNAME"), (16, "FCOMMENT")] {
        let header = [8, flags, 0, 0, 0, 0, 0, 0xff];
        for size in [65_537, 10 << 20] {
            let text = vec![b'n'; size];
            for end in [&b"\0"[..], b""] {
                let member = gzip(&header, &[&text, end, HI].concat());
                fails(
                    &member,
                    Code::Limit,
                    &[name, "`gzip_field`", "65536", "offset 10"],
                );
            }
        }
        let limits = Limits {
            gzip_field: 3,
            ..Limits::default()
        };
        assert!(unpack_with(&gzip(&header, &[b"abc\0", HI].concat()), &limits).is_ok());
        let long = gzip(&header, &[b"abcd\0", HI].concat());
        fails_with(&long, &limits, Code::Limit, &[name, "`gzip_field` of 3"]);
    }
}

#[test]
fn g3b_gzip_trailers_and_bodies() {
    let header = b"\x08\0\0\0\0\0\0\xff";
    let tail =
        |sum: &[u8], size: &[u8]| gzip(header, &[b"\x01\x02\0\xfd\xffhi", sum, size].concat());
    let (sum, size) = (b"\xac\x2a\x93\xd8", b"\x02\0\0\0");
    assert!(unpack(&tail(sum, size)).is_ok());
    let wrong = tail(b"\xac\x2a\x93\xd9", size);
    fails(
        &wrong,
        Code::BadCompression,
        &["offset 17", "CRC-32", "d9932aac", "d8932aac"],
    );
    let wrong = tail(sum, b"\x03\0\0\0");
    fails(
        &wrong,
        Code::BadCompression,
        &["offset 21", "ISIZE", "3", "computed 2"],
    );
    // No final block, then the trailer: the deflate data has no end.
    let open = gzip(header, b"\0\x02\0\xfd\xffhi");
    fails(
        &open,
        Code::BadCompression,
        &["ends inside the deflate data", "offset 17"],
    );
    fails(
        &gzip(header, b"\x07hello"),
        Code::BadCompression,
        &["deflate data", "corrupt"],
    );
    let lengths = gzip(header, b"\x01\x02\0\xfd\xfehi");
    fails(&lengths, Code::BadCompression, &["deflate data", "corrupt"]);
}

/// A zstd frame: the descriptor and the rest of the header, then a raw block.
fn zstd(header: &[u8], block: &[u8]) -> Vec<u8> {
    let size = (block.len() as u32) << 3 | 1;
    [b"\x28\xb5\x2f\xfd", header, &size.to_le_bytes()[..3], block].concat()
}

#[test]
fn g4b_zstd_sizes_and_checksums() {
    assert_eq!(
        unpack(&zstd(b"\x20\x0a", b"0123456789")).unwrap().0,
        b"0123456789"
    );
    fails(&zstd(b"\x20\x0a", &[b'x'; 9]), Code::BadCompression, &[]);
    fails(
        &zstd(b"\x40\x38\x00\x00", &[b'x'; 20]),
        Code::BadCompression,
        &[],
    );
    // 10 bytes of content in the header, with a window of its own; 20 are there, in two blocks.
    let block = |last: u32| {
        let size = 10 << 3 | last;
        [&size.to_le_bytes()[..3], &[b'x'; 10]].concat()
    };
    let frame = [
        b"\x28\xb5\x2f\xfd\x80\x38\x0a\0\0\0".to_vec(),
        block(0),
        block(1),
    ]
    .concat();
    fails(&frame, Code::BadCompression, &["zstd frame at offset 0"]);
    let mut short = frame.clone();
    short[6] = 30;
    fails(&short, Code::BadCompression, &["zstd frame at offset 0"]);
    let huge = [
        &b"\x28\xb5\x2f\xfd\xe0"[..],
        &(1u64 << 62).to_le_bytes(),
        &block(1),
    ]
    .concat();
    fails(
        &huge,
        Code::BadCompression,
        &["4611686018427387904", "beyond any window"],
    );
    let huge = [
        &b"\x28\xb5\x2f\xfd\xc0\x38"[..],
        &(1u64 << 62).to_le_bytes(),
        &block(1),
    ]
    .concat();
    fails(&huge, Code::BadCompression, &["zstd frame at offset 0"]);
    let skippable = b"\x50\x2a\x4d\x18\xff\xff\xff\xffonly this";
    fails(
        skippable,
        Code::BadCompression,
        &["declares 4294967295 bytes, but 9 follow"],
    );
    let mut checked = pack(Compression::Zstd, &content(5000));
    let last = checked.len() - 1;
    checked[last] ^= 1;
    fails(
        &checked,
        Code::BadCompression,
        &["zstd frame at offset 0", "checksum"],
    );
    fails(
        &zstd(b"\x28\x01", b"x"),
        Code::BadCompression,
        &["reserved bit", "offset 4"],
    );
}

/// libzstd alone refuses an empty compressed block if it gets the whole frame at once, and only then; the reader of Go
/// always does.
#[test]
fn g4b_the_pieces_of_a_zstd_stream_do_not_decide() {
    let header = b"\x28\xb5\x2f\xfd\x80\x38\0\0\0\0";
    let frame = |last: &[u8]| [&header[..], b"\0\0\0", last].concat();
    // The last block of a frame: plain, repeated, compressed.
    for (last, is_read) in [
        (b"\x01\0\0", true),
        (b"\x03\0\0", false),
        (b"\x05\0\0", false),
    ] {
        let stream = [
            &zstd(b"\x20\x01", b"x")[..],
            &frame(last),
            &frame(last),
            &zstd(b"\x20\x01", b"y"),
        ]
        .concat();
        for size in 1..=stream.len() {
            let mut decoder = Decoder::new(
                Box::new(Cut::new(stream.clone(), size)),
                &Limits::default(),
                &Notes::default(),
                "stream",
            )
            .unwrap();
            let mut out = Vec::new();
            match decoder.read_to_end(&mut out).map_err(Error::from_io) {
                Ok(_) => assert!(is_read && out == b"xy", "pieces of {size} bytes: {last:?}"),
                Err(error) => {
                    assert!(!is_read, "pieces of {size} bytes: {last:?}: {error}");
                    assert_eq!(error.code(), Code::BadCompression);
                }
            }
        }
    }
}

#[test]
fn g4c_zstd_dictionaries_old_formats_and_windows() {
    for (header, id) in [
        (&b"\x21\x07\x01"[..], "7"),
        (b"\x22\x01\x02\x01", "513"),
        (b"\x23\x01\0\0\x80\x01", "2147483649"),
    ] {
        fails(
            &zstd(header, b"x"),
            Code::Unsupported,
            &["dictionary", id, "offset 0"],
        );
    }
    // A dictionary ID of 0 means that there is none.
    assert_eq!(unpack(&zstd(b"\x21\x00\x01", b"x")).unwrap().0, b"x");
    let old: [&[u8]; 4] = [
        b"\x22\xb5\x2f\xfd",
        b"\x25\xb5\x2f\xfd",
        b"\x27\xb5\x2f\xfd",
        b"\xfd\x2f\xb5\x1e",
    ];
    for magic in old {
        let bytes = [magic, &[0; 40]].concat();
        fails(
            &bytes,
            Code::Unsupported,
            &["before version 0.8", "offset 0"],
        );
        let frame = pack(Compression::Zstd, b"x");
        let offset = format!("offset {}", frame.len());
        fails(
            &[frame, bytes].concat(),
            Code::Unsupported,
            &["before version 0.8", &offset],
        );
    }
    // Window descriptors: 128 MiB, one eighth more, 2 GiB, the largest.
    assert!(unpack(&zstd(b"\0\x88", b"x")).is_ok());
    for (descriptor, window) in [
        (0x89, "150994944"),
        (0xa8, "2147483648"),
        (0xff, "4123168604160"),
    ] {
        let names = ["`zstd_window`", "134217728", window, "offset 0"];
        fails(&zstd(&[0, descriptor], b"x"), Code::Limit, &names);
    }
    // A single segment is its own window.
    fails(
        &zstd(b"\xa0\x01\0\0\x08", b"x"),
        Code::Limit,
        &["`zstd_window`", "134217729"],
    );
    let limits = Limits {
        zstd_window: 1024,
        ..Limits::default()
    };
    fails_with(
        &zstd(b"\0\x01", b"x"),
        &limits,
        Code::Limit,
        &["1152", "`zstd_window` of 1024"],
    );
    assert!(unpack_with(&zstd(b"\0\0", b"x"), &limits).is_ok());
}

#[test]
fn g5b_xz_memory_and_index() {
    // Made with a dictionary of 1.5 GiB.
    let large = hex(
        "fd377a585a000004e6d6b44602002101250000003b787b4101000468656c6c6f00000000b137b9dbe5da1e9b00011d05b82d80af1fb6f37d010000000004595a",
    );
    fails(&large, Code::Limit, &["`xz_memory`", "268435456", "offset"]);
    let limits = Limits {
        xz_memory: 2 << 30,
        ..Limits::default()
    };
    assert_eq!(unpack_with(&large, &limits).unwrap().0, b"hello");
    let limits = Limits {
        xz_memory: 0,
        ..Limits::default()
    };
    fails_with(
        &pack(Compression::Xz, b"x"),
        &limits,
        Code::Limit,
        &["`xz_memory`"],
    );
    // The index of one stream behind the block of another.
    let (one, two) = (
        pack(Compression::Xz, b"hello"),
        pack(Compression::Xz, b"hello world"),
    );
    let body = |stream: &[u8], index: usize| stream[..stream.len() - 12 - index].to_vec();
    let index = 8;
    let mixed = [&body(&one, index)[..], &two[two.len() - 12 - index..]].concat();
    fails(
        &mixed,
        Code::BadCompression,
        &["xz stream is corrupt", "offset"],
    );
    let mut damaged = two.clone();
    damaged[30] ^= 1;
    fails(&damaged, Code::BadCompression, &["xz stream"]);
}

#[test]
fn xz_checks_that_can_not_be_verified_are_refused() {
    let mut packed = pack(Compression::Xz, b"hello");
    packed[7] = 2;
    let sum = libdeflater::crc32(&[0, 2]).to_le_bytes();
    packed[8..12].copy_from_slice(&sum);
    fails(
        &packed,
        Code::Unsupported,
        &["a kind of check", "offset 12"],
    );
}

#[test]
fn damaged_bzip2() {
    let packed = pack(Compression::Bzip2, &content(5000));
    for at in [10, 40, packed.len() / 2, packed.len() - 2] {
        let mut damaged = packed.clone();
        damaged[at] ^= 4;
        fails(&damaged, Code::BadCompression, &["bzip2 stream", "offset"]);
    }
}

/// A stream with NULs after its end, which counts the bytes that were read.
struct Padded {
    packed: std::io::Cursor<Vec<u8>>,
    zeros: std::io::Take<std::io::Repeat>,
    read: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl std::io::Read for Padded {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = match self.packed.read(out)? {
            0 => self.zeros.read(out)?,
            count => count,
        };
        let order = std::sync::atomic::Ordering::Relaxed;
        self.read.fetch_add(count as u64, order);
        Ok(count)
    }
}

/// Decodes a stream with NULs after its end; returns the number of bytes that were read.
fn padded(packed: &[u8], zeros: u64) -> (Result<Vec<u8>, Error>, u64) {
    let read = std::sync::Arc::default();
    let source = Padded {
        packed: std::io::Cursor::new(packed.to_vec()),
        zeros: std::io::repeat(0).take(zeros),
        read: std::sync::Arc::clone(&read),
    };
    let limits = Limits::default();
    let notes = Notes::default();
    let mut out = Vec::new();
    let result = Decoder::new(Box::new(source), &limits, &notes, "layer 1")
        .and_then(|mut decoder| decoder.read_to_end(&mut out).map_err(Error::from_io));
    let count = read.load(std::sync::atomic::Ordering::Relaxed);
    (result.map(|_| out), count)
}

#[test]
fn g2c_padding_is_read_up_to_its_limit() {
    let limit = Limits::default().padding;
    for compression in FORMATS {
        let packed = pack(compression, b"hello");
        let (result, _) = padded(&packed, limit);
        assert_eq!(result.unwrap(), b"hello", "{compression}");
        for zeros in [limit + 1, limit + 4, 2 * limit, 1 << 40] {
            let (result, read) = padded(&packed, zeros);
            let error = result.unwrap_err();
            assert_eq!(error.code(), Code::Limit, "{compression}: {error}");
            let text = error.to_string();
            let offset = format!("compressed offset {}", packed.len());
            for part in ["layer 1", "`padding`", &offset] {
                assert!(text.contains(part), "{compression}: {text}");
            }
            assert!(read <= 2 * limit + packed.len() as u64, "{compression}");
        }
    }
}

#[test]
fn g2c_the_hole_of_a_sparse_file_is_not_read_to_its_end() {
    for compression in FORMATS {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&pack(compression, b"hello")).unwrap();
        file.set_len(1 << 40).unwrap();
        file.rewind().unwrap();
        let mut reader = file.try_clone().unwrap();
        let (limits, notes) = (Limits::default(), Notes::default());
        let mut decoder = Decoder::new(Box::new(file), &limits, &notes, "layer 1").unwrap();
        let error = decoder.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(Error::from_io(error).code(), Code::Limit, "{compression}");
        // Both descriptors share the position.
        assert!(reader.stream_position().unwrap() <= 4 * limits.padding);
    }
}
