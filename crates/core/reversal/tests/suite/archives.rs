//! Records of archives, whose layers are whole members in any order.

use std::io::{self, Cursor, Read};

use imgconv_model::{Algorithm, Code, Compression, Error, Limits, ReadAt, Reader, Result};
use imgconv_reversal::{ArchiveHeader, ArchiveRecord, Member, Part, record_archive};
use imgconv_stream::{Level, PieceEncoder, digest};

use crate::{
    made::env,
    mutations::{change, random, zstd_plain},
};

/// The bytes of an archive, its layers, and its record.
struct Archive {
    tar: Vec<u8>,
    layers: Vec<Vec<u8>>,
    record: Vec<u8>,
}

/// Bytes that are read by position.
#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl ReadAt for Bytes<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let begin = offset as usize;
        let part = self.0.get(begin..begin + buf.len());
        buf.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn reader(bytes: &[u8]) -> Reader {
    Box::new(Cursor::new(bytes.to_vec()))
}

fn noise(count: usize, state: &mut u64) -> Vec<u8> {
    (0..count).map(|_| random(state) as u8).collect()
}

/// Makes the record of an archive of parts: literal bytes, and layers by their positions.
fn archive(parts: &[(Vec<u8>, Option<usize>)], layers: &[Vec<u8>]) -> Archive {
    let (mut tar, mut members) = (Vec::new(), Vec::new());
    for (literal, layer) in parts {
        tar.extend_from_slice(literal);
        if let Some(layer) = layer.map(|layer| &layers[layer]) {
            let part = Part {
                diff_id: digest(Algorithm::Sha256, layer),
                size: layer.len() as u64,
            };
            members.push(Member {
                offset: tar.len() as u64,
                part,
            });
            tar.extend_from_slice(layer);
        }
    }
    let length = tar.len() as u64;
    let (header, mut made, size) =
        record_archive(&Bytes(&tar), length, &members, Compression::Xz, &env()).unwrap();
    let mut record = Vec::new();
    made.read_to_end(&mut record).unwrap();
    assert_eq!(record.len() as u64, size);
    assert!(header.composed);
    assert_eq!(header.digest.hash(), &record[32..64]);
    Archive {
        tar,
        layers: layers.to_vec(),
        record,
    }
}

/// The record as version 1 has it: with the digest of the tar.
fn of_tar(made: &Archive) -> Archive {
    let mut record = made.record.clone();
    record[8] = 1;
    record[32..64].copy_from_slice(digest(Algorithm::Sha256, &made.tar).hash());
    Archive {
        tar: made.tar.clone(),
        layers: made.layers.clone(),
        record,
    }
}

/// The header of a record, and the archive that it and layers give.
fn rebuilt(record: &[u8], layers: &[Vec<u8>]) -> Result<(ArchiveHeader, Vec<u8>)> {
    let record = ArchiveRecord::open(reader(record), &Limits::default(), "record")?;
    let header = record.header().clone();
    let known: Vec<Option<Vec<u8>>> = (header.layers.iter())
        .map(|part| {
            let is_it = |layer: &&Vec<u8>| digest(Algorithm::Sha256, layer) == part.diff_id;
            layers.iter().find(is_it).cloned()
        })
        .collect();
    let open = move |place: usize| match &known[place] {
        Some(layer) => Ok(reader(layer)),
        None => Err(Error::new(Code::Missing, "there is no such layer")),
    };
    let mut tar = Vec::new();
    let mut made = record.rebuild(Box::new(open))?;
    made.read_to_end(&mut tar).map_err(Error::from_io)?;
    Ok((header, tar))
}

/// An archive with a layer that stands twice, layers in another order, and large literal runs.
fn sample(seed: u64) -> Archive {
    let mut state = seed;
    let layers: Vec<Vec<u8>> = [1024, 5000, 1, 300_000]
        .iter()
        .map(|size| noise(*size, &mut state))
        .collect();
    let literal = |count: usize, state: &mut u64| noise(random(state) % count, state);
    let parts = [
        (literal(2000, &mut state), Some(3)),
        (literal(600_000, &mut state), Some(0)),
        (Vec::new(), Some(0)),
        (vec![0; 100], Some(2)),
        (literal(50, &mut state), Some(1)),
        (vec![7; 1024], None),
    ];
    archive(&parts, &layers)
}

#[test]
fn an_archive_comes_back_with_its_layers_in_any_order() {
    for seed in 0..20 {
        let made = sample(seed);
        for made in [of_tar(&made), made] {
            let (header, tar) = rebuilt(&made.record, &made.layers).unwrap();
            assert!(tar == made.tar, "seed {seed}");
            assert_eq!(header.compression, Compression::Xz);
            assert_eq!(header.layers.len(), 4);
            assert_eq!(header.composed, made.record[8] == 2);
        }
    }
    // Nothing but layers, and no layer at all.
    let layers = [vec![1; 10], vec![2; 20]];
    let bare = archive(
        &[(Vec::new(), Some(1)), (Vec::new(), Some(0))],
        layers.as_slice(),
    );
    assert_eq!(rebuilt(&bare.record, &bare.layers).unwrap().1, bare.tar);
    let alone = archive(&[(vec![3; 700_000], None)], &[]);
    assert!(alone.record.len() < 1000);
    assert_eq!(rebuilt(&alone.record, &[]).unwrap().1, alone.tar);
}

#[test]
fn layers_outside_of_the_archive_are_refused() {
    let layer = vec![5; 2000];
    let tar = [vec![1; 512], layer.clone(), vec![0; 1024]].concat();
    let part = Part {
        diff_id: digest(Algorithm::Sha256, &layer),
        size: 2000,
    };
    let code = |tar: &[u8], length: u64, members: &[Member]| {
        let made = record_archive(&Bytes(tar), length, members, Compression::None, &env());
        made.err().map(|error| error.code())
    };
    let length = tar.len() as u64;
    let at = |offset| Member { offset, part };
    assert_eq!(code(&tar, length, &[at(512)]), None);
    assert_eq!(
        code(&tar, length, &[at(512), at(600)]),
        Some(Code::BadManifest)
    );
    assert_eq!(
        code(&tar, length, &[at(length - 100)]),
        Some(Code::BadManifest)
    );
    assert!(code(&tar, length + 1, &[at(512)]).is_some());
    assert!(code(&tar[..600], length, &[at(512)]).is_some());
}

/// H9a, H9b.
#[test]
fn a_record_names_its_layers_and_its_version() {
    let made = sample(1);
    let code = |record: &[u8], layers: &[Vec<u8>]| rebuilt(record, layers).unwrap_err().code();
    assert_eq!(code(&made.record, &made.layers[1..]), Code::Missing);
    assert_eq!(code(b"", &made.layers), Code::BadManifest);
    assert_eq!(code(&[0; 500], &made.layers), Code::BadManifest);
    let changed = |at: usize, byte: u8| {
        let mut changed = made.record.clone();
        changed[at] = byte;
        code(&changed, &made.layers)
    };
    assert_eq!(changed(8, 3), Code::Unsupported);
    assert_eq!(changed(8, 0), Code::Unsupported);
    // A record of version 2 is none of version 1.
    assert_eq!(changed(8, 1), Code::Mismatch);
    assert_eq!(changed(10, 9), Code::BadManifest);
    assert_eq!(changed(11, 1), Code::BadManifest);
    assert_eq!(changed(14, 1), Code::Limit);
    assert_eq!(changed(23, 1), Code::Limit);
    assert_eq!(changed(24, 1), Code::BadManifest);
    assert_eq!(changed(40, made.record[40] ^ 1), Code::Mismatch);
    assert_eq!(
        code(&made.record[..64 + 4 * 40], &made.layers),
        Code::BadCompression
    );
}

/// Asserts that a record gives the very archive, or is refused.
fn never_another(made: &Archive, record: &[u8], what: &str) -> bool {
    match rebuilt(record, &made.layers) {
        Ok((_, tar)) => {
            assert!(tar == made.tar, "{what}: other bytes");
            true
        }
        Err(_) => false,
    }
}

/// H9a.
#[test]
fn a_changed_record_of_an_archive_never_gives_other_bytes() {
    let mut state = 17;
    let mut same = 0;
    let samples = (0..5).map(sample).flat_map(|made| [of_tar(&made), made]);
    let samples: Vec<Archive> = samples.collect();
    for round in 0..1000 {
        let made = &samples[round % samples.len()];
        let mut record = made.record.clone();
        // Half of the changes are in the header.
        let split = if (round / samples.len()).is_multiple_of(2) {
            64 + 4 * 40
        } else {
            record.len()
        };
        let mut begin = record[..split].to_vec();
        for _ in 0..=random(&mut state) % 3 {
            if !begin.is_empty() {
                change(&mut begin, &mut state);
            }
        }
        record.splice(..split, begin);
        same += usize::from(never_another(made, &record, &format!("round {round}")));
    }
    assert!(same < 200, "{same} changes had no effect");
}

/// The error of the check without layers, for a record of that size whose layers may be used so often.
fn fault(record: &[u8], size: u64, uses: &[u64]) -> Option<Error> {
    let opened = ArchiveRecord::open(reader(record), &Limits::default(), "record").unwrap();
    let bounded = opened.bounded(size, uses.to_vec());
    bounded.and_then(ArchiveRecord::check).err()
}

/// H9k: the check without the layers finds what is wrong with the record itself.
#[test]
fn a_damaged_record_of_an_archive_is_found_without_the_layers() {
    let made = sample(2);
    let size = made.record.len() as u64;
    let uses = [1, 2, 1, 1];
    assert!(fault(&made.record, size, &uses).is_none());
    for at in (64 + 4 * 40..made.record.len()).step_by(97) {
        assert!(fault(&made.record[..at], size, &uses).is_some(), "{at}");
    }
    assert!(fault(&[&made.record[..], b"more"].concat(), size, &uses).is_some());
}

/// The instruction that makes that many zeros.
fn zeros_of(count: u64) -> Vec<u8> {
    let mut zeros = Vec::new();
    let mut rest = count;
    while rest >= 0x80 {
        zeros.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    zeros.push(rest as u8);
    zeros.resize(zeros.len() + count as usize + 1, 0);
    zeros
}

/// H9s: a record can't make more than the layers of the image and its own size give.
#[test]
fn a_record_of_an_archive_is_bounded() {
    let encoder = PieceEncoder::new(Compression::Zstd, Level::Default).unwrap();
    let layers = [vec![1; 1000], vec![2; 3000]];
    let made = archive(&[(vec![8; 40], Some(0)), (vec![9; 30], Some(1))], &layers);
    let head = &made.record[..64 + 2 * 40];
    let hostile = |length: u64, instructions: &[u8]| {
        let mut head = head.to_vec();
        head[16..24].copy_from_slice(&length.to_le_bytes());
        [&head[..], &encoder.compress(instructions).unwrap()].concat()
    };
    // A layer that is repeated: 100 MB by the first length, 3 GB by the second.
    let repeated = hostile(100_000_000, &[0, 1].repeat(100_000_000 / 1000));
    let error = fault(&repeated, repeated.len() as u64, &[1, 1]).unwrap();
    assert_eq!(error.code(), Code::BadManifest);
    assert!(error.message().contains("give"), "{error}");
    let error = fault(&repeated, 1 << 20, &[1, 1]).unwrap();
    assert!(error.message().contains("more often"), "{error}");
    // Zeros that the record itself makes.
    let zeros = hostile(256 << 20, &zeros_of(256 << 20));
    let error = fault(&zeros, zeros.len() as u64, &[1, 1]).unwrap();
    assert!(error.message().contains("give"), "{error}");
    // Zeros in place of a layer that the image has: the length alone does not tell them.
    let layer = [vec![4; 256 << 20]];
    let large = archive(&[(Vec::new(), Some(0))], &layer);
    let zeros = encoder.compress(&zeros_of(256 << 20)).unwrap();
    let zeros = [&large.record[..64 + 40], &zeros].concat();
    let error = fault(&zeros, zeros.len() as u64, &[1]).unwrap();
    assert!(error.message().contains("of its size"), "{error}");
    // Such a record is not made.
    let env = env();
    let zeros = vec![0; 80 << 20];
    let made = record_archive(&Bytes(&zeros), 80 << 20, &[], Compression::None, &env);
    assert_eq!(
        made.err().map(|error| error.code()),
        Some(Code::Unsupported)
    );
}

/// H9a: the changes are made to the instructions, so that no checksum of zstd finds them first.
#[test]
fn changed_instructions_of_an_archive_never_give_other_bytes() {
    let encoder = PieceEncoder::new(Compression::Zstd, Level::Default).unwrap();
    let layers = [vec![1; 1000], vec![2; 3000]];
    let parts = [
        (vec![8; 40], Some(0)),
        (vec![9; 30], Some(1)),
        (vec![7; 20], Some(0)),
        (vec![6; 10], None),
    ];
    let made = archive(&parts, &layers);
    let plain = zstd_plain(&made.record[64 + 2 * 40..]);
    let mut state = 18;
    for made in [of_tar(&made), archive(&parts, &layers)] {
        let header = &made.record[..64 + 2 * 40];
        for round in 0..1000 {
            let mut changed = plain.clone();
            change(&mut changed, &mut state);
            let record = [header, &encoder.compress(&changed).unwrap()].concat();
            never_another(&made, &record, &format!("round {round}"));
        }
    }
    let header = &made.record[..64 + 2 * 40];
    for number in [&[0xff; 9][..], &[0x80; 20], &[0, 0], &[0, 3], &[0, 0xff, 1]] {
        for at in [0, plain.len()] {
            let mut changed = plain.clone();
            changed.splice(at..at, number.iter().copied());
            let record = [header, &encoder.compress(&changed).unwrap()].concat();
            assert!(!never_another(&made, &record, "a number"));
        }
    }
}

/// The layers as a hostile place gives them: one of them is another than its diff ID says, at its second use alone.
fn with_another(made: &Archive, another: Vec<u8>) -> (Vec<u8>, Option<Error>) {
    let record = ArchiveRecord::open(reader(&made.record), &Limits::default(), "record").unwrap();
    let first = made.layers[0].clone();
    let (other, mut used) = (made.layers[1].clone(), 0);
    let open = move |place: usize| {
        used += usize::from(place == 0);
        Ok(match place {
            0 if used == 2 => reader(&another),
            0 => reader(&first),
            _ => reader(&other),
        })
    };
    let mut rebuilt = record.rebuild(Box::new(open)).unwrap();
    let mut out = Vec::new();
    let read = rebuilt.read_to_end(&mut out);
    (out, read.map_err(Error::from_io).err())
}

/// H10e: every use of a layer is verified, also at the end of the tar, whose last bytes are not given before.
#[test]
fn every_use_of_a_layer_is_compared_with_its_diff_id() {
    let layers = [vec![1; 1000], vec![2; 3000]];
    let parts = [
        (vec![8; 40], Some(0)),
        (vec![9; 30], Some(1)),
        (vec![7; 20], Some(0)),
    ];
    let made = archive(&parts, &layers);
    let (tar, error) = with_another(&made, layers[0].clone());
    assert!(error.is_none() && tar == made.tar);
    let mut changed = layers[0].clone();
    changed[999] = 3;
    for another in [changed, vec![1; 999], vec![1; 1001], Vec::new()] {
        let length = another.len();
        let (tar, error) = with_another(&made, another);
        let error = error.unwrap();
        assert_eq!(error.code(), Code::Mismatch, "{length}: {error}");
        assert!(tar.len() < made.tar.len(), "{length}");
    }
}

/// H10e: a record that is whole and has other contents than its header says is found without the layers.
#[test]
fn the_composed_digest_is_that_of_the_whole_record() {
    let encoder = PieceEncoder::new(Compression::Zstd, Level::Default).unwrap();
    let layers = [vec![1; 1000], vec![2; 1000]];
    let parts = [(vec![8; 4], Some(0)), (vec![9; 3], Some(1))];
    let made = archive(&parts, &layers);
    let (header, body) = made.record.split_at(64 + 2 * 40);
    assert_eq!(zstd_plain(body), [4, 8, 8, 8, 8, 1, 3, 9, 9, 9, 2]);
    let checked = |header: &[u8], instructions: &[u8]| {
        let record = [header, &encoder.compress(instructions).unwrap()].concat();
        let size = record.len() as u64;
        fault(&record, size, &[2, 2]).map(|error| error.message().to_owned())
    };
    // Runs may be cut in any way.
    assert_eq!(
        checked(header, &[1, 8, 0, 3, 8, 8, 8, 1, 2, 9, 9, 0, 1, 9, 2]),
        None
    );
    let differs = |header: &[u8], instructions: &[u8], text: &str| {
        let said = checked(header, instructions).unwrap();
        assert!(said.contains(text), "{said}");
    };
    differs(
        header,
        &[4, 8, 8, 7, 8, 1, 3, 9, 9, 9, 2],
        "composed digest",
    );
    differs(
        header,
        &[3, 8, 8, 8, 1, 4, 8, 9, 9, 9, 2],
        "composed digest",
    );
    differs(header, &[4, 8, 8, 8, 8, 2, 3, 9, 9, 9, 1], "another order");
    differs(header, &[4, 8, 8, 8, 8, 1, 3, 9, 9, 9, 1], "does not use");
    let mut other = header.to_vec();
    other[64] ^= 1;
    differs(
        &other,
        &[4, 8, 8, 8, 8, 1, 3, 9, 9, 9, 2],
        "composed digest",
    );
}

/// The digest is the one that docs/reversal.md describes.
#[test]
fn the_composed_digest_is_as_documented() {
    let layers = [vec![1; 1000], vec![2; 1000]];
    let parts = [
        (vec![8; 4], Some(0)),
        (Vec::new(), Some(1)),
        (vec![7; 300_000], Some(0)),
        (vec![9; 3], None),
    ];
    let made = archive(&parts, &layers);
    let mut text = b"\x89SAVREV\n\x02\0".to_vec();
    text.extend_from_slice(&(made.tar.len() as u64).to_le_bytes());
    text.extend_from_slice(&2_u32.to_le_bytes());
    for layer in &layers {
        text.extend_from_slice(digest(Algorithm::Sha256, layer).hash());
        text.extend_from_slice(&1000_u64.to_le_bytes());
    }
    for ((literal, _), place) in parts.iter().zip([1_u32, 2, 1, 0]) {
        text.extend_from_slice(literal);
        text.extend_from_slice(&(literal.len() as u64).to_le_bytes());
        text.extend_from_slice(&place.to_le_bytes());
    }
    assert_eq!(
        &made.record[32..64],
        digest(Algorithm::Sha256, &text).hash()
    );
}
