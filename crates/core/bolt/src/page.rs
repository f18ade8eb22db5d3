//! One page: its header and its elements.

use imgconv_model::Result;

use crate::damage::damaged;

const HEADER: usize = 16;
const ELEMENT: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
/// The flag of an element whose value is a bucket.
const IS_BUCKET: u32 = 1;

/// The bytes of a page, with those of its overflow pages.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: Vec<u8>,
    leaf: bool,
    count: usize,
}

/// An element of a leaf.
pub(crate) struct Leaf<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) is_bucket: bool,
}

impl Page {
    /// Takes the bytes of a branch or a leaf.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self> {
        let flags = u16_at(&bytes, 8).ok_or_else(|| damaged("a page is too short"))?;
        let count = usize::from(u16_at(&bytes, 10).unwrap_or(0));
        if flags != BRANCH && flags != LEAF {
            return Err(damaged(format!(
                "a page has the flags {flags:#x}; a branch has 0x1 and a leaf 0x2"
            )));
        }
        if HEADER + count * ELEMENT > bytes.len() {
            return Err(damaged(format!(
                "a page has no room for its {count} elements"
            )));
        }
        Ok(Self {
            bytes,
            leaf: flags == LEAF,
            count,
        })
    }

    /// Returns the number of overflow pages of a page, by its header.
    pub(crate) fn overflow(header: &[u8]) -> Option<u32> {
        u32_at(header, 12)
    }

    /// Returns the page number in a header.
    pub(crate) fn number(header: &[u8]) -> Option<u64> {
        u64_at(header, 0)
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.leaf
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns the number of the page that an element of a branch leads to.
    pub(crate) fn child(&self, i: usize) -> Result<u64> {
        let found = u64_at(&self.bytes, HEADER + i * ELEMENT + 8);
        found.ok_or_else(|| damaged("a branch ends within an element"))
    }

    /// Returns an element of a leaf.
    pub(crate) fn element(&self, i: usize) -> Result<Leaf<'_>> {
        let start = HEADER + i * ELEMENT;
        let field = |offset: usize| u32_at(&self.bytes, start + offset).map(|n| n as usize);
        let found = (|| {
            let (flags, distance) = (u32_at(&self.bytes, start)?, field(4)?);
            let key_start = start.checked_add(distance)?;
            let value_start = key_start.checked_add(field(8)?)?;
            let end = value_start.checked_add(field(12)?)?;
            Some(Leaf {
                key: self.bytes.get(key_start..value_start)?,
                value: self.bytes.get(value_start..end)?,
                is_bucket: flags & IS_BUCKET != 0,
            })
        })();
        found.ok_or_else(|| damaged("an element of a leaf leads out of its page"))
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
