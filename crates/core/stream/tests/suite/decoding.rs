//! Streams that must be read: several units, empty units, padding and odd headers.

use std::io::{self, Read};

use imgconv_model::{Algorithm, Code, Compression, Error, Facts, Limits, Notes};
use imgconv_stream::{Decoder, Verified, digest};

use crate::samples::{Breaks, Cut, FORMATS, content, hex, pack, unpack};

fn decoder(source: impl Read + Send + 'static) -> Decoder {
    Decoder::new(
        Box::new(source),
        &Limits::default(),
        &Notes::default(),
        "layer 1",
    )
    .unwrap()
}

#[test]
fn every_compression_is_known_by_its_bytes() {
    let bytes = content(700_000);
    for compression in FORMATS {
        let packed = pack(compression, &bytes);
        assert_eq!(
            decoder(io::Cursor::new(packed.clone())).compression(),
            compression
        );
        let (out, report) = unpack(&packed).unwrap();
        assert!(out == bytes, "{compression}");
        assert!(report.is_clean(), "{compression}: {report:?}");
    }
}

#[test]
fn what_is_not_compressed_passes_through() {
    for bytes in [&b""[..], b"x", b"\x1f", b"BZhello world", &content(600_000)] {
        assert_eq!(
            decoder(io::Cursor::new(bytes.to_vec())).compression(),
            Compression::None
        );
        let (out, report) = unpack(bytes).unwrap();
        assert!(out == bytes && report.is_clean());
    }
    // NULs at its end are its own.
    let (out, report) = unpack(&[0; 1024]).unwrap();
    assert!(out == [0; 1024] && report.is_clean());
}

#[test]
fn exactly_one_level_is_undone() {
    let once = pack(Compression::Gzip, b"hello");
    let (out, _) = unpack(&pack(Compression::Gzip, &once)).unwrap();
    assert_eq!(out, once);
}

#[test]
fn g1_several_units_are_one_stream() {
    for compression in FORMATS {
        let unit = |bytes: &[u8]| pack(compression, bytes);
        let units = [
            unit(b"one "),
            unit(b""),
            unit(b""),
            unit(b"two "),
            unit(b"three"),
            unit(b""),
        ];
        let (out, report) = unpack(&units.concat()).unwrap();
        assert_eq!(out, b"one two three", "{compression}");
        assert!(report.is_clean(), "{compression}");
        let (out, report) = unpack(&[unit(b""), unit(b"")].concat()).unwrap();
        assert!(out.is_empty() && report.is_clean(), "{compression}");
        let many: Vec<u8> = (0..2000).flat_map(|_| unit(b"x")).collect();
        assert_eq!(unpack(&many).unwrap().0, [b'x'; 2000]);
    }
}

#[test]
fn g2a_nuls_after_the_end_are_skipped_with_a_warning() {
    for compression in FORMATS {
        for zeros in [1usize, 3, 510, 513, 300_001] {
            let packed = [pack(compression, b"hello"), vec![0; zeros]].concat();
            let (out, report) = unpack(&packed).unwrap();
            assert_eq!(out, b"hello");
            let [warning] = &report.warnings[..] else {
                panic!("{compression}, {zeros}: {report:?}");
            };
            assert_eq!(
                (warning.code, warning.at.as_str()),
                ("trailing-zeros", "layer 1")
            );
            let counted = format!("{zeros} NUL bytes follow the {compression} stream");
            assert!(warning.message.starts_with(&counted), "{warning:?}");
        }
        if compression != Compression::Xz {
            let packed = [pack(compression, b"hello"), vec![0; 512]].concat();
            assert_eq!(unpack(&packed).unwrap().1.warnings.len(), 1);
        }
    }
}

/// A gzip header of these flags and that, and a stored block with `hi`.
fn gzip(flags: u8, fields: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, flags, 0x12, 0x34, 0x56, 0x78, 2, 3];
    member.extend_from_slice(fields);
    if flags & 2 != 0 {
        let sum = libdeflater::crc32(&member) as u16;
        member.extend_from_slice(&sum.to_le_bytes());
    }
    member.extend_from_slice(b"\x01\x02\0\xfd\xffhi");
    member.extend_from_slice(&libdeflater::crc32(b"hi").to_le_bytes());
    member.extend_from_slice(&[2, 0, 0, 0]);
    member
}

#[test]
fn g3a_every_header_field_of_gzip_is_skipped() {
    let extra = [&[0xff, 0xff][..], &vec![7; 65_535]].concat();
    let text = [&vec![b'n'; 65_536][..], b"\0"].concat();
    let all = [&extra[..], b"name\0", b"comment\0"].concat();
    for member in [
        gzip(0, b""),
        gzip(1, b""),
        gzip(2, b""),
        gzip(4, &extra),
        gzip(4, b"\0\0"),
        gzip(8, &text),
        gzip(16, &text),
        gzip(8, b"\0"),
        gzip(0x1f, &all),
    ] {
        let (out, report) = unpack(&member).unwrap();
        assert!(out == b"hi" && report.is_clean());
    }
}

/// Yields one gzip member of `blocks` stored blocks of 65,535 zeros, and its trailer.
fn stored_zeros(blocks: u64) -> impl Read + Send {
    let zeros = [&[0, 0xff, 0xff, 0, 0][..], &vec![0; 65_535]].concat();
    let size = blocks * 65_535;
    let mut sum = flate2::Crc::new();
    let piece = vec![0; 65_535];
    for _ in 0..blocks {
        sum.update(&piece);
    }
    let mut trailer = vec![1, 0, 0, 0xff, 0xff];
    trailer.extend_from_slice(&sum.sum().to_le_bytes());
    trailer.extend_from_slice(&(size as u32).to_le_bytes());
    let head = io::Cursor::new(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    head.chain(Again {
        bytes: zeros,
        at: 0,
        left: blocks,
    })
    .chain(io::Cursor::new(trailer))
}

/// The same bytes so many times.
struct Again {
    bytes: Vec<u8>,
    at: usize,
    left: u64,
}

impl Read for Again {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let n = buf.len().min(self.bytes.len() - self.at);
        buf[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        if self.at == self.bytes.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(n)
    }
}

#[test]
fn g3a_a_member_may_have_more_than_4_gib() {
    let blocks = (1 << 32) / 65_535 + 10;
    let mut decoder = decoder(stored_zeros(blocks));
    assert_eq!(drain(&mut decoder).unwrap(), blocks * 65_535);
}

fn drain(reader: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(size),
            n => size += n as u64,
        }
    }
}

#[test]
fn g4a_skippable_frames_are_skipped() {
    let skippable = |kind: u8, size: u32| {
        let mut frame = vec![0x50 | kind, 0x2a, 0x4d, 0x18];
        frame.extend_from_slice(&size.to_le_bytes());
        frame.resize(8 + size as usize, 0xaa);
        frame
    };
    let frame = |bytes: &[u8]| pack(Compression::Zstd, bytes);
    let stream = [
        skippable(0, 0),
        skippable(15, 300_000),
        frame(b"one "),
        skippable(3, 5),
        frame(b"two"),
        skippable(1, 1),
    ];
    let (out, report) = unpack(&stream.concat()).unwrap();
    assert!(out == b"one two" && report.is_clean());
    // The stream has no other bytes; the reader of the tar then refuses it.
    let (out, report) = unpack(&[skippable(0, 9), skippable(1, 0)].concat()).unwrap();
    assert!(out.is_empty() && report.is_clean());
}

#[test]
fn g5a_xz_may_have_blocks_streams_and_padding() {
    let one = pack(Compression::Xz, b"one ");
    let two = pack(Compression::Xz, b"two");
    for padding in [0, 4, 512, 300_000] {
        let stream = [&one[..], &vec![0; padding], &two, &vec![0; padding]].concat();
        let (out, report) = unpack(&stream).unwrap();
        assert_eq!(out, b"one two");
        assert!(report.is_clean(), "{padding}: {report:?}");
    }
    // Four blocks, of four bytes of content each but the last.
    let blocks = hex(
        "fd377a585a0000016922de360200210116000000742fe5a30100036f6e6520004961ac230200210116000000742fe5a301000374776f2000a2c1ac4d0200210116000000742fe5a30100037468726500ecfc0ca30200210116000000742fe5a301000065000000005a7adaef000418041804180415010000dcc088859be35140030000000001595a",
    );
    assert_eq!(unpack(&blocks).unwrap().0, b"one two three");
}

#[test]
fn inv2_the_source_is_read_to_its_last_byte() {
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Zstd,
        Compression::Bzip2,
        Compression::Xz,
    ] {
        let packed = pack(compression, b"hello");
        for extra in [0, 1] {
            let facts = Facts {
                digest: Some(digest(Algorithm::Sha256, &packed)),
                size: Some(packed.len() as u64),
            };
            let source = [&packed[..], &vec![0; extra]].concat();
            let source = Verified::new(Cut::new(source, 5), &facts, "blob");
            let (limits, notes) = (Limits::default(), Notes::default());
            let result = Decoder::new(Box::new(source), &limits, &notes, "layer 1")
                .and_then(|mut decoder| drain(&mut decoder).map_err(Error::from_io));
            match extra {
                0 => assert_eq!(result.unwrap(), 5),
                _ => assert_eq!(result.unwrap_err().code(), Code::Mismatch),
            }
        }
    }
}

#[test]
fn inv2_a_mismatch_is_reported_before_malformed_bytes() {
    for compression in FORMATS {
        let packed = pack(compression, &content(100_000));
        let facts = Facts {
            digest: Some(digest(Algorithm::Sha256, &packed)),
            size: Some(packed.len() as u64),
        };
        // The magic bytes stay; each of the others is damaged in turn, in steps.
        for at in (6..packed.len()).step_by(packed.len() / 50) {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x40;
            let source = Verified::new(io::Cursor::new(damaged), &facts, "blob 3");
            let result = Decoder::new(
                Box::new(source),
                &Limits::default(),
                &Notes::default(),
                "layer 1",
            );
            let error = match result {
                Ok(mut decoder) => Error::from_io(drain(&mut decoder).unwrap_err()),
                Err(error) => error,
            };
            // A header that asks for too much is refused at once, whatever the digest.
            let early = matches!(error.code(), Code::Limit | Code::Unsupported);
            assert!(
                early && at < 64 || error.code() == Code::Mismatch,
                "{compression} {at}: {error}"
            );
            assert!(
                early || error.to_string().starts_with("digest of blob 3"),
                "{error}"
            );
        }
    }
}

#[test]
fn errors_of_the_source_come_out_unchanged() {
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Zstd,
        Compression::Bzip2,
        Compression::Xz,
    ] {
        let mut packed = pack(compression, &content(300_000));
        packed.truncate(packed.len() / 2);
        let source = Breaks::new(packed, || Error::new(Code::Net, "gone").at("host").into());
        let error = Error::from_io(drain(&mut decoder(source)).unwrap_err());
        assert_eq!(
            (error.code(), error.to_string()),
            (Code::Net, "host: gone".into())
        );
    }
    let source = Breaks::new(Vec::new(), || Error::new(Code::Net, "gone").into());
    let result = Decoder::new(Box::new(source), &Limits::default(), &Notes::default(), "x");
    assert_eq!(result.unwrap_err().to_string(), "gone");
}

#[test]
fn g6a_a_bomb_is_read_in_constant_memory_with_a_warning() {
    // 2 GiB of zeros in zstd RLE blocks of 128 KiB.
    let blocks = 1 << 14;
    let block = |last: u32| (last + 2 + 131_072 * 8).to_le_bytes();
    let mut bomb = b"\x28\xb5\x2f\xfd\x00\x38".to_vec();
    for _ in 1..blocks {
        bomb.extend_from_slice(&[&block(0)[..3], &[0]].concat());
    }
    bomb.extend_from_slice(&[&block(1)[..3], &[0]].concat());
    let notes = Notes::default();
    let source = Box::new(io::Cursor::new(bomb));
    let mut decoder = Decoder::new(source, &Limits::default(), &notes, "layer 1").unwrap();
    assert_eq!(drain(&mut decoder).unwrap(), 2 << 30);
    drop(decoder);
    let report = notes.take();
    let [warning] = &report.warnings[..] else {
        panic!("{report:?}");
    };
    assert_eq!((warning.code, warning.at.as_str()), ("ratio", "layer 1"));
    assert_eq!(
        warning.message,
        "65542 compressed bytes expand to 2147483648, 32765 times as many"
    );
}

#[test]
fn g6a_bombs_of_every_format_come_out_whole() {
    // 1152 MiB of zeros in 18 members or streams. Gzip can't shrink them enough for the warning.
    for (compression, warns) in [
        (Compression::Gzip, false),
        (Compression::Bzip2, true),
        (Compression::Xz, true),
    ] {
        let bomb = pack(compression, &vec![0; 64 << 20]).repeat(18);
        let notes = Notes::default();
        let source = Box::new(io::Cursor::new(bomb));
        let mut decoder = Decoder::new(source, &Limits::default(), &notes, "layer 1").unwrap();
        assert_eq!(drain(&mut decoder).unwrap(), 1152 << 20, "{compression}");
        drop(decoder);
        let warnings = notes.take().warnings;
        let codes: Vec<_> = warnings.iter().map(|warning| warning.code).collect();
        let expected: &[&str] = if warns { &["ratio"] } else { &[] };
        assert_eq!(codes, expected, "{compression}");
    }
}
