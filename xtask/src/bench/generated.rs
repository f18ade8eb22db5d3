//! Generated layers of any size: the content is like text, and equal in every run.

use std::io::{self, Read};

use super::archive::{Layer, header, padding};

/// A layer with a given number of entries: directories of a thousand files, all of the same size.
#[derive(Debug)]
pub(super) struct Generated {
    entries: u64,
    size: u64,
    /// The entry that comes next.
    next: u64,
    /// The number of bytes that are still to be read of the current file.
    left: u64,
    ended: bool,
    /// Bytes that are made and not read yet, from `start` on.
    made: Vec<u8>,
    start: usize,
    pool: Vec<u8>,
    random: Random,
}

/// The number of entries from one directory to the next.
const IN_DIRECTORY: u64 = 1000;

/// Bytes of content made at once.
const PIECE: usize = 16 << 10;

impl Generated {
    /// Makes a layer of `entries` entries, its files of `size` bytes each; `seed` makes its content
    /// and its names differ from those of other layers.
    pub(super) fn layer(entries: u64, size: u64, seed: u64) -> Layer {
        let files = entries - entries.div_ceil(IN_DIRECTORY);
        let total = 512 * entries + files * (size + padding(size) as u64) + 1024;
        let mut random = Random(seed + 1);
        let words: Vec<String> = (0..2000)
            .map(|_| format!("{:x} ", random.next() >> (4 * (random.next() % 13))))
            .collect();
        let mut pool = Vec::new();
        while pool.len() < 1 << 20 {
            pool.extend(words[random.next() as usize % words.len()].bytes());
        }
        Layer {
            size: total,
            bytes: Box::new(Self {
                entries,
                size,
                next: 0,
                left: 0,
                ended: false,
                made: Vec::new(),
                start: 0,
                pool,
                random,
            }),
        }
    }

    fn make(&mut self) {
        self.made.clear();
        self.start = 0;
        if self.left > 0 {
            let count = PIECE.min(usize::try_from(self.left).unwrap_or(PIECE));
            let at = self.random.next() as usize % (self.pool.len() - count);
            self.made.extend_from_slice(&self.pool[at..at + count]);
            self.left -= count as u64;
            if self.left == 0 {
                let end = self.made.len() + padding(self.size);
                self.made.resize(end, 0);
            }
        } else if self.next < self.entries {
            let (directory, file) = (self.next / IN_DIRECTORY, self.next % IN_DIRECTORY);
            let name = match file {
                0 => format!("srv/{directory}/"),
                _ => format!("srv/{directory}/file-{file}"),
            };
            let size = if file == 0 { 0 } else { self.size };
            self.made.extend_from_slice(&header(&name, size));
            self.left = size;
            self.next += 1;
        } else if !self.ended {
            self.made.resize(1024, 0);
            self.ended = true;
        }
    }
}

impl Read for Generated {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.start == self.made.len() {
            self.make();
        }
        let count = buf.len().min(self.made.len() - self.start);
        buf[..count].copy_from_slice(&self.made[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}

/// Numbers that look random: xorshift, never 0.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_the_bytes_it_announces_and_is_the_same_every_time() {
        let read = || {
            let mut layer = Generated::layer(1002, 700, 7);
            let mut bytes = Vec::new();
            layer.bytes.read_to_end(&mut bytes).unwrap();
            (layer.size, bytes)
        };
        let (size, bytes) = read();
        // Two directories, 1000 files of two blocks.
        assert_eq!(size, 1002 * 512 + 1000 * 1024 + 1024);
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(&bytes[..6], b"srv/0/");
        assert!(bytes == read().1);
    }
}
