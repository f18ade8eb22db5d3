//! The meta pages: finding the current state of the database.

use std::{fs::File, os::unix::fs::FileExt};

use imgconv_model::Result;

use crate::{damage::damaged, page::u32_at, page::u64_at};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Bytes of the header of a page.
const HEADER: usize = 16;
/// Bytes of a meta page that the checksum covers.
const CHECKED: usize = 56;

/// The fields of a valid meta page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) page_size: u64,
    pub(crate) root: u64,
    transaction: u64,
}

impl Meta {
    /// Finds the valid meta page with the higher transaction. The second page begins at the page
    /// size of the machine that wrote the file, which is known only from a valid meta page.
    pub(crate) fn find(file: &File, size: u64) -> Result<Self> {
        let first = Self::read(file, 0);
        let second = match first {
            Some(meta) => Self::read(file, meta.page_size),
            None => (9..=16).find_map(|bits| Self::read(file, 1 << bits)),
        };
        let newer = first
            .into_iter()
            .chain(second)
            .max_by_key(|meta| meta.transaction);
        newer.ok_or_else(|| {
            damaged(format!(
                "neither meta page of the bbolt database of {size} bytes is valid"
            ))
        })
    }

    fn read(file: &File, offset: u64) -> Option<Self> {
        let mut bytes = [0; HEADER + CHECKED + 8];
        file.read_exact_at(&mut bytes, offset).ok()?;
        let body = &bytes[HEADER..];
        let page_size = u64::from(u32_at(body, 8)?);
        let valid = u32_at(body, 0)? == MAGIC
            && u32_at(body, 4)? == VERSION
            && page_size.is_power_of_two()
            && (512..=1 << 16).contains(&page_size)
            && u64_at(body, CHECKED)? == fnv1a(&body[..CHECKED]);
        valid.then_some(Self {
            page_size,
            root: u64_at(body, 16)?,
            transaction: u64_at(body, 48)?,
        })
    }
}

/// Computes FNV-1a of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
