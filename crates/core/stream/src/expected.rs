//! The uncompressed size of a stored stream, as far as the stream states it: a hint, never a fact.
//!
//! Anyone can write a wrong size, and some streams state none. A caller uses the hint to prepare a
//! place for the content, and must be right without it too. Nothing is decompressed and nothing is
//! allocated by a stated size.

use imgconv_model::{Compression, ReadAt};

/// The header of a gzip member without optional fields.
const GZIP_HEADER: usize = 10;
/// The trailer of a gzip member: checksum and size.
const GZIP_TRAILER: u64 = 8;
/// The smallest gzip member: header, two bytes of deflate and trailer.
const GZIP_LEAST: u64 = 20;
/// Deflate makes at most this many bytes of one.
const DEFLATE_MOST: u64 = 1032;
/// Up to this size every gzip stream is searched for members: the last member may be the largest.
const SMALL: u64 = 16 << 20;
/// The longest gzip stream that is searched for members.
const SEARCHED: u64 = 1 << 30;
/// Bytes that are read at once. A multiple of [`LANE`].
const PIECE: usize = 1 << 20;
/// Bytes that are compared at once.
const LANE: usize = 64;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The most blocks of a zstd stream that are looked at: 128 GiB in blocks of the usual size.
const ZSTD_BLOCKS: u64 = 1 << 20;

/// Returns the uncompressed size of a stream of `size` stored bytes, if the stream states it: the
/// sum over all gzip members (found by their common header, RFC 1952), or over all zstd frames with
/// a content size (RFC 8878). Bytes that can't be read have no expected size.
pub fn expected_size(bytes: &dyn ReadAt, size: u64, compression: Compression) -> Option<u64> {
    match compression {
        Compression::None => Some(size),
        Compression::Gzip => gzip(bytes, size),
        Compression::Zstd => zstd(bytes, size),
        Compression::Bzip2 | Compression::Xz => None,
    }
}

fn read<const N: usize>(bytes: &dyn ReadAt, offset: u64) -> Option<[u8; N]> {
    let mut found = [0; N];
    bytes.read_exact_at(&mut found, offset).ok()?;
    Some(found)
}

fn gzip(bytes: &dyn ReadAt, size: u64) -> Option<u64> {
    if size < GZIP_LEAST {
        return None;
    }
    let last = u64::from(u32::from_le_bytes(read(bytes, size - 4)?));
    // Content shrinks: a last member smaller than the whole stream is not the only member, or has
    // more than 4 GiB.
    if size > SMALL && last >= size && last / DEFLATE_MOST <= size {
        return Some(last);
    }
    if size > SEARCHED {
        return None;
    }
    let header: [u8; GZIP_HEADER] = read(bytes, 0)?;
    let plain = header[3] == 0;
    let before = if plain {
        members(bytes, size, &header)?
    } else {
        0
    };
    let sum = match before {
        // Content that grows does so by little; a much smaller number has lost its upper bits.
        0 if last + size / 64 + 1024 < size => last + (1 << 32),
        before => before + last,
    };
    (sum / DEFLATE_MOST <= size).then_some(sum)
}

/// Returns the sum of the stated sizes of all members but the last, which have all the same header.
fn members(bytes: &dyn ReadAt, size: u64, header: &[u8; GZIP_HEADER]) -> Option<u64> {
    // A header covers one of these words at a multiple of four, wherever the header begins.
    let words: [u32; 4] = std::array::from_fn(|i| {
        u32::from_ne_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]])
    });
    // Before the lanes of a piece stand the bytes of a trailer and a header.
    let mut buffer = vec![0; LANE + PIECE];
    let (mut sum, mut offset) = (0u64, 0u64);
    // The place behind the last header that was counted; the first header is no boundary.
    let mut seen = GZIP_HEADER as u64;
    while offset < size {
        let count = usize::try_from(size - offset).map_or(PIECE, |left| left.min(PIECE));
        bytes
            .read_exact_at(&mut buffer[LANE..LANE + count], offset)
            .ok()?;
        let lanes = buffer[LANE..LANE + count].chunks(LANE).enumerate();
        for (i, lane) in lanes {
            if !may_hold(lane, &words) {
                continue;
            }
            // A header may begin before the word in it, and end behind the lane.
            let from = LANE + i * LANE;
            let first = from - GZIP_HEADER;
            for at in first..from + lane.len() {
                let Some(place) = (offset + at as u64).checked_sub(LANE as u64) else {
                    continue;
                };
                if place < seen + GZIP_TRAILER || buffer[at] != header[0] {
                    continue;
                }
                let mut found = [0; GZIP_HEADER];
                let end = at + GZIP_HEADER;
                if end <= LANE + count {
                    found.copy_from_slice(&buffer[at..end]);
                } else if place + GZIP_HEADER as u64 + GZIP_TRAILER <= size {
                    found = read(bytes, place)?;
                }
                if found == *header {
                    sum += u64::from(u32::from_le_bytes(read(bytes, place - 4)?));
                    seen = place + GZIP_HEADER as u64;
                }
            }
        }
        buffer.copy_within(count..count + LANE, 0);
        offset += count as u64;
    }
    Some(sum)
}

/// Says whether one of the words is at a multiple of four. The loop has no branches, so that the
/// compiler compares many bytes at once.
fn may_hold(lane: &[u8], words: &[u32; 4]) -> bool {
    let (found, _) = lane.as_chunks::<4>();
    let mut any = false;
    for word in found {
        let word = u32::from_ne_bytes(*word);
        any |= (word == words[0]) | (word == words[1]) | (word == words[2]) | (word == words[3]);
    }
    any
}

fn zstd(bytes: &dyn ReadAt, size: u64) -> Option<u64> {
    let (mut sum, mut at, mut blocks) = (0u64, 0u64, 0u64);
    while at < size {
        let magic: [u8; 4] = read(bytes, at)?;
        at += 4;
        if u32::from_le_bytes(magic) & !0xf == 0x184d_2a50 {
            let length: [u8; 4] = read(bytes, at)?;
            at = at.checked_add(4 + u64::from(u32::from_le_bytes(length)))?;
            continue;
        }
        if magic != ZSTD_MAGIC {
            return None;
        }
        let [descriptor] = read(bytes, at)?;
        let single = descriptor & 0x20 != 0;
        let content = match (descriptor >> 6, single) {
            (0, true) => 1,
            (0, false) => return None,
            (n, _) => 1 << n,
        };
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        at += 1 + u64::from(!single) + dictionary;
        let mut stated = [0; 8];
        bytes.read_exact_at(&mut stated[..content], at).ok()?;
        let stated = u64::from_le_bytes(stated) + if content == 2 { 256 } else { 0 };
        sum = sum.checked_add(stated)?;
        at += content as u64;
        loop {
            blocks += 1;
            if blocks > ZSTD_BLOCKS {
                return None;
            }
            let [a, b, c] = read(bytes, at)?;
            let header = u32::from_le_bytes([a, b, c, 0]);
            let length = match header >> 1 & 3 {
                1 => 1,
                _ => u64::from(header >> 3),
            };
            at = at.checked_add(3 + length)?;
            if header & 1 != 0 {
                break;
            }
        }
        at += if descriptor & 4 != 0 { 4 } else { 0 };
    }
    (sum > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};

    use super::*;
    use crate::{Level, PieceEncoder};

    #[derive(Debug)]
    struct Bytes(Vec<u8>);

    impl ReadAt for Bytes {
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            let from = usize::try_from(offset).unwrap();
            let found = self.0.get(from..from + buf.len());
            buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    fn expected(bytes: Vec<u8>, compression: Compression) -> Option<u64> {
        let size = bytes.len() as u64;
        expected_size(&Bytes(bytes), size, compression)
    }

    /// Bytes that do not compress well, so that members have many places.
    fn content(count: usize, mut seed: u32) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8 & 0x3f
        };
        (0..count).map(|_| next()).collect()
    }

    fn member(content: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(content).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn the_size_of_all_gzip_members_is_found_at_every_place() {
        let mut all = Vec::new();
        let mut total = 0;
        for (i, count) in [700, 1, 100_000, 3_000_000, 64, 65, 66, 67, 68, 1_500_001, 9]
            .into_iter()
            .enumerate()
        {
            all.extend(member(&content(count, i as u32)));
            total += count as u64;
            assert_eq!(expected(all.clone(), Compression::Gzip), Some(total), "{i}");
        }
    }

    #[test]
    fn members_over_the_border_of_a_piece_are_found() {
        // The second member begins at every place around the end of the first piece.
        let first = member(&content(4000, 1));
        for place in PIECE - 24..PIECE + 4 {
            let mut all = first.clone();
            // Bytes without meaning stand for the body of the first member.
            all.resize(place - 4, 7);
            all.extend(4000u32.to_le_bytes());
            all.extend(member(&content(5, 2)));
            assert_eq!(expected(all, Compression::Gzip), Some(4005), "{place}");
        }
    }

    #[test]
    fn one_gzip_member_states_its_size() {
        let bytes = member(&[b'a'; 5000]);
        assert_eq!(expected(bytes, Compression::Gzip), Some(5000));
    }

    #[test]
    fn a_truncated_or_lying_stream_gives_a_number_or_none() {
        let whole = member(&content(70_000, 3));
        for length in 0..200 {
            expected(whole[..length].to_vec(), Compression::Gzip);
            expected(whole[length..].to_vec(), Compression::Gzip);
            expected(whole[..length].to_vec(), Compression::Zstd);
        }
        let mut lying = member(&content(300, 3));
        let size = lying.len();
        lying[size - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_ne!(
            expected(lying, Compression::Gzip),
            Some(u64::from(u32::MAX))
        );
    }

    #[test]
    fn zstd_frames_state_their_sizes() {
        let encoder = PieceEncoder::new(Compression::Zstd, Level::Default);
        let encoder = encoder.unwrap();
        let mut all = Vec::new();
        let mut total = 0;
        for (i, count) in [1, 255, 256, 70_000, 900_000, 0].into_iter().enumerate() {
            all.extend(
                encoder
                    .compress(&content(count, i as u32))
                    .unwrap()
                    .as_ref() as &[u8],
            );
            total += count as u64;
            assert_eq!(expected(all.clone(), Compression::Zstd), Some(total), "{i}");
            // A skippable frame has no content.
            all.extend([0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        }
        assert_eq!(
            expected(all[..all.len() - 20].to_vec(), Compression::Zstd),
            None
        );
    }

    #[test]
    fn other_streams_state_nothing() {
        assert_eq!(expected(vec![0; 100], Compression::None), Some(100));
        assert_eq!(expected(vec![0; 100], Compression::Xz), None);
        assert_eq!(expected(vec![0; 100], Compression::Bzip2), None);
        assert_eq!(expected(vec![0; 100], Compression::Zstd), None);
    }
}
