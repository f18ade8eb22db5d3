//! Damaged and hostile records.

use imgconv_model::Compression;
use imgconv_stream::{Level, PieceEncoder};
use imgconv_testkit::random as images;

use crate::made::{Made, checked, made, rebuilt};

/// Numbers that look random (SplitMix64).
pub(crate) fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize
}

/// Asserts that a record gives the very tar, or is refused.
fn never_another(made: &Made, record: &[u8], what: &str) -> bool {
    match rebuilt(record, &made.layer) {
        Ok((_, tar)) => {
            assert!(tar == made.tar, "{what}: other bytes");
            true
        }
        Err(_) => false,
    }
}

pub(crate) fn change(bytes: &mut Vec<u8>, state: &mut u64) {
    let at = random(state) % bytes.len();
    match random(state) % 6 {
        0 => bytes[at] ^= 1 << (random(state) % 8),
        1 => bytes[at] = random(state) as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.remove(at)),
        4 => bytes.insert(at, random(state) as u8),
        _ => {
            let end = (at + random(state) % 40).min(bytes.len());
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

/// H9a.
#[test]
fn a_changed_record_never_gives_other_bytes() {
    let mut state = 15;
    let mut same = 0;
    for round in 0..1000 {
        let seed = round % 10;
        let tar = images::image(seed)[0].tar();
        let Some(made) = made(&tar, |_| true) else {
            continue;
        };
        let mut record = made.record.clone();
        for _ in 0..=random(&mut state) % 3 {
            if !record.is_empty() {
                change(&mut record, &mut state);
            }
        }
        same += usize::from(never_another(&made, &record, &format!("round {round}")));
    }
    assert!(same < 300, "{same} changes had no effect");
}

/// H9a: the changes are made to the instructions, so that no checksum of zstd finds them first.
#[test]
fn changed_instructions_never_give_other_bytes() {
    let encoder = PieceEncoder::new(Compression::Zstd, Level::Default).unwrap();
    let mut state = 16;
    let tar = images::image(3)[0].tar();
    let made = made(&tar, |_| true).unwrap();
    let (header, body) = made.record.split_at(160);
    let plain = zstd_plain(body);
    for round in 0..1000 {
        let mut changed = plain.clone();
        change(&mut changed, &mut state);
        let record = [header, &encoder.compress(&changed).unwrap()].concat();
        never_another(&made, &record, &format!("round {round}"));
    }
    // Numbers at their bounds.
    for number in [
        &[0xff; 9][..],
        &[0x80; 20],
        &[0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ] {
        for at in [0, plain.len()] {
            let mut changed = plain.clone();
            changed.splice(at..at, number.iter().copied());
            let record = [header, &encoder.compress(&changed).unwrap()].concat();
            assert!(!never_another(&made, &record, "a number"));
        }
    }
}

pub(crate) fn zstd_plain(body: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let (limits, notes) = Default::default();
    let body = Box::new(std::io::Cursor::new(body.to_vec()));
    let mut decoder = imgconv_stream::Decoder::new(body, &limits, &notes, "body").unwrap();
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).unwrap();
    plain
}

/// H9a: a reader in one pass relies on the end of the last used range.
#[test]
fn a_record_that_claims_to_use_more_of_the_layer_is_refused() {
    let tar = images::image(3)[0].tar();
    let made = made(&tar, |_| true).unwrap();
    let reach = u64::from_le_bytes(made.record[24..32].try_into().unwrap());
    for claimed in [0, reach - 1, reach + 1, made.layer.len() as u64, u64::MAX] {
        if claimed == reach {
            continue;
        }
        let mut record = made.record.clone();
        record[24..32].copy_from_slice(&claimed.to_le_bytes());
        assert!(rebuilt(&record, &made.layer).is_err(), "{claimed}");
        assert!(checked(&record).is_err(), "{claimed}");
    }
    checked(&made.record).unwrap();
}

/// H9k: the check without the layer finds what is wrong with the record itself.
#[test]
fn a_damaged_record_is_found_without_the_layer() {
    let tar = images::image(3)[0].tar();
    let made = made(&tar, |_| true).unwrap();
    for at in 160..made.record.len() {
        assert!(checked(&made.record[..at]).is_err(), "{at}");
    }
    assert!(checked(b"junk").is_err());
    assert!(checked(&[&made.record[..], b"more"].concat()).is_err());
}

/// H9a: the check takes no time for bytes of a layer that nobody has.
#[test]
fn a_record_of_an_endless_layer_is_checked_at_once() {
    let tar = images::image(3)[0].tar();
    let mut record = made(&tar, |_| true).unwrap().record[..160].to_vec();
    let reach = 1u64 << 60;
    record[16..24].copy_from_slice(&1u64.to_le_bytes());
    record[24..32].copy_from_slice(&reach.to_le_bytes());
    // No literal byte; a gap of 2^60 - 1 bytes (eight bytes of seven bits, and four bits); one byte.
    let instructions = [&[0][..], &[0xff; 8], &[0x0f], &[1]].concat();
    let encoder = PieceEncoder::new(Compression::Zstd, Level::Default).unwrap();
    record.extend(encoder.compress(&instructions).unwrap());
    checked(&record).unwrap();
}
