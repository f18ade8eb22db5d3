//! Compressed streams, the merging of layers, and layers with a table of contents.

use std::io::{Cursor, Read, Write as _};
use std::sync::Arc;

use imgconv_chunked::{Scheme, encode};
use imgconv_layer::{Semantics, Spool, Tree, clean};
use imgconv_model::{Algorithm, Compression, Error, Notes, Result};
use imgconv_stream::{Decoder, Level, PieceEncoder, Pool};

use super::tar::{Drip, members};
use crate::{cage, repair};

/// A stream gives the same bytes whatever the pieces are in which it comes in; and those of other decoders.
pub(super) fn stream(bytes: &[u8]) {
    let whole = decoded(bytes.to_vec(), None);
    let dripped = decoded(bytes.to_vec(), Some(3));
    match (&whole, &dripped) {
        (Ok(whole), Ok(dripped)) => assert!(whole == dripped, "pieces change the bytes"),
        (Err(_), Err(_)) => {}
        _ => panic!("pieces decide whether a stream is read"),
    }
    let Ok((compression, plain)) = whole else {
        return;
    };
    let mut other = Vec::new();
    let result = match compression {
        Compression::Gzip => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut other),
        Compression::Zstd => match zstd::stream::read::Decoder::new(bytes) {
            Ok(mut decoder) => decoder.read_to_end(&mut other),
            Err(error) => Err(error),
        },
        _ => return,
    };
    // NULs after the last member are padding here, and an error of some decoders, which have given all bytes then.
    assert!(other == plain, "other bytes: {result:?}");
}

fn decoded(bytes: Vec<u8>, step: Option<usize>) -> Result<(Compression, Vec<u8>)> {
    struct Dripping(Cursor<Vec<u8>>, usize);
    impl Read for Dripping {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            self.1 = self.1 % 61 + 1;
            let size = self.1.min(buf.len());
            self.0.read(&mut buf[..size])
        }
    }
    let bytes = Cursor::new(bytes);
    let source: imgconv_model::Reader = match step {
        None => Box::new(bytes),
        Some(step) => Box::new(Dripping(bytes, step)),
    };
    let limits = cage::limits();
    let mut decoder = Decoder::new(source, &limits, &Notes::default(), "stream")?;
    let mut plain = Vec::new();
    (&mut decoder)
        .take(limits.layer_bytes)
        .read_to_end(&mut plain)
        .map_err(Error::from_io)?;
    if plain.len() as u64 == limits.layer_bytes {
        return Err(Error::new(imgconv_model::Code::Limit, "long"));
    }
    Ok((decoder.compression(), plain))
}

/// A short text, compressed by bzip2.
const BZIP2: &[u8] = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xb6\xe7\xc9\x9a\x00\x00\x04\x11\x00\x40\x00\x38\x00\x20\
          \x00\x30\xcd\x34\x0a\x91\x96\x1c\x3e\x16\x18\x5d\xc9\x14\xe1\x42\x42\xdb\x9f\x26\x68";
/// The same text, compressed by xz.
const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\
          \xe0\x00\x22\x00\x0a\x5d\x00\x30\x98\x88\x92\xe9\x90\x16\x79\xc0\x00\x00\x00\x00\x9e\xfb\x11\xec\
          \x9c\x75\xae\xc8\x00\x01\x26\x23\x7d\x47\x3f\x41\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

pub(super) fn stream_seeds() -> Vec<Vec<u8>> {
    let plain = b"one two three one two three one two three\n".repeat(40);
    let mut seeds = vec![repair::gzip(&plain), repair::gzip(b"")];
    for level in [1, 9] {
        let encoder = PieceEncoder::new(Compression::Zstd, Level::Number(level));
        seeds.extend(encoder.and_then(|encoder| encoder.compress(&plain)));
    }
    let mut named = flate2::GzBuilder::new()
        .filename("name")
        .comment("comment")
        .extra(vec![1, 2, 0, 0])
        .write(Vec::new(), flate2::Compression::best());
    named.write_all(&plain[..100]).unwrap();
    let named = named.finish().unwrap();
    seeds.push([&named[..], &named, &[0; 600]].concat());
    let frame = zstd::bulk::compress(&plain, 19).unwrap();
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &frame].concat();
    seeds.push([&frame[..], &skipped].concat());
    seeds.push(skipped);
    // The same text by bzip2 and by xz.
    seeds.push(BZIP2.to_vec());
    seeds.push(XZ.to_vec());
    seeds.push(plain);
    seeds
}

/// A merged tree, written as one layer and merged again, is the same tree. The first byte is the number of blocks of
/// the lower layer and says by which rules the layers are read.
pub(super) fn merging(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let lower = (usize::from(first >> 1) * 512).min(rest.len());
    let (lower, upper) = rest.split_at(lower);
    let semantics = match first & 1 {
        0 => Semantics::Layer,
        _ => Semantics::Aci,
    };
    let layers = [repair::tar(lower), repair::tar(upper)];
    let Ok(once) = merge(&layers, semantics) else {
        return;
    };
    // A root that is written for ACIs has names that begin with `.wh.`; a layer can't have them.
    let twice = merge(std::slice::from_ref(&once), semantics);
    let twice = twice.unwrap_or_else(|error| panic!("our own layer is refused: {error}"));
    if once != twice {
        let (once, twice) = (members(&once[..]).unwrap(), members(&twice[..]).unwrap());
        assert_eq!(once, twice, "the merged layer is another tree");
        panic!("the merged layer has other bytes");
    }
}

fn merge(layers: &[Vec<u8>], semantics: Semantics) -> Result<Vec<u8>> {
    let env = cage::env();
    let mut tree = Tree::new(&env);
    let mut spool = Spool::new(&env)?;
    for layer in layers {
        tree.apply(&mut &layer[..], semantics, &mut spool, "layer")?;
    }
    let contents = spool.freeze()?;
    let mut out = Vec::new();
    let mut tar = Arc::new(tree).into_tar(b"", contents);
    tar.read_to_end(&mut out).map_err(Error::from_io)?;
    Ok(out)
}

pub(super) fn merging_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let dozen = imgconv_testkit::dozen::images().into_iter();
    let dozen = dozen.map(|(_, layers)| layers);
    let random = (0..24).map(|seed| {
        let layers = imgconv_testkit::random::image(seed).into_iter();
        layers.map(|layer| layer.tar()).collect::<Vec<_>>()
    });
    for layers in dozen.chain(random) {
        for pair in layers.windows(2).take(3) {
            let blocks = pair[0].len() / 512;
            if blocks < 128 && pair[1].len() < 40_000 {
                for rules in [0, 1] {
                    let first = u8::try_from(blocks * 2 + rules).unwrap();
                    seeds.push([&[first][..], &pair[0], &pair[1]].concat());
                }
            }
        }
    }
    seeds
}

/// A layer with a table of contents is, for other readers, the layer that it was made of.
pub(super) fn chunked(bytes: &[u8]) {
    let tar = repair::tar(bytes);
    let Ok(before) = members(&tar[..]) else {
        return;
    };
    let env = cage::env();
    let pool = Pool::new(1).unwrap();
    for scheme in [Scheme::ZstdChunked, Scheme::Estargz] {
        let mut sink = Vec::new();
        let encoded = encode(
            &mut Drip {
                bytes: &tar,
                step: 0,
            },
            &mut sink,
            scheme,
            Level::Default,
            Algorithm::Sha256,
            &pool,
            &env,
            (0, "layer"),
        );
        let Ok(encoded) = encoded else { continue };
        assert!(scheme.is_claimed(&encoded.annotations));
        let (_, plain) = decoded(sink, None).unwrap();
        match scheme {
            Scheme::ZstdChunked => assert!(plain == tar, "other bytes"),
            Scheme::Estargz => {
                // Members with the names of eStargz are left out, with a warning.
                let reserved = [
                    &b"stargz.index.json"[..],
                    b".no.prefetch.landmark",
                    b".prefetch.landmark",
                ];
                let bodies = |members: &[(imgconv_tar::Entry, Vec<u8>)]| -> Vec<Vec<u8>> {
                    let kept = members.iter().filter(|(entry, _)| {
                        let name = clean(&entry.path, &env.limits).unwrap_or_default();
                        !reserved.contains(&&name[..])
                    });
                    kept.map(|(_, body)| body.clone()).collect()
                };
                let after = members(&plain[..]).unwrap();
                assert!(bodies(&before) == bodies(&after), "other members");
            }
        }
    }
}
