//! Buckets, and walking through their elements in the order of their keys.

use std::{collections::BTreeSet, os::unix::fs::FileExt};

use imgconv_model::{Error, Limits, Result};

use crate::{
    Database, MAX_PAGE, MAX_READS, damaged,
    page::{Page, u64_at},
};

/// Bytes of the header of a page, and of that of a bucket.
const HEADER: usize = 16;

/// A bucket: a sorted list of keys, each with a value or a bucket.
#[derive(Debug)]
pub struct Bucket<'a> {
    database: &'a Database,
    start: Start,
}

/// The start of the elements of a bucket.
#[derive(Debug)]
enum Start {
    /// On the page of that number.
    Page(u64),
    /// On a page inside the value of the bucket.
    Inline(Vec<u8>),
}

/// The item of a key.
#[derive(Debug)]
pub enum Item<'a> {
    /// A value.
    Value(Vec<u8>),
    /// A bucket.
    Bucket(Bucket<'a>),
}

impl<'a> Bucket<'a> {
    pub(crate) fn at(database: &'a Database, page: u64) -> Self {
        Self {
            database,
            start: Start::Page(page),
        }
    }

    fn parse(database: &'a Database, value: &[u8]) -> Result<Self> {
        let root = u64_at(value, 0).filter(|_| value.len() >= HEADER);
        let root = root.ok_or_else(|| damaged("a bucket is too short"))?;
        let start = match root {
            0 => Start::Inline(value[HEADER..].to_vec()),
            page => Start::Page(page),
        };
        Ok(Self { database, start })
    }

    /// Calls `each` with every key and its item, in the order of the file, which is that of the
    /// keys in a valid file.
    ///
    /// # Errors
    /// [`imgconv_model::Code::BadManifest`] if a page is not valid or is reached twice,
    /// [`imgconv_model::Code::Limit`] for a page above [`MAX_PAGE`], and the errors of `each`.
    pub fn each(&self, mut each: impl FnMut(&[u8], Item<'a>) -> Result<()>) -> Result<()> {
        let mut seen = BTreeSet::new();
        let mut waiting = Vec::new();
        match &self.start {
            Start::Page(number) => waiting.push(*number),
            Start::Inline(bytes) => {
                let page = Page::new(bytes.clone())?;
                if !page.is_leaf() {
                    return Err(damaged("a bucket within a value is no leaf"));
                }
                self.elements(&page, &mut each)?;
            }
        }
        while let Some(number) = waiting.pop() {
            if !seen.insert(number) {
                return Err(damaged(format!("page {number} is met twice")));
            }
            let page = self.database.page(number)?;
            if page.is_leaf() {
                self.elements(&page, &mut each)?;
                continue;
            }
            for i in (0..page.count()).rev() {
                waiting.push(page.child(i)?);
            }
        }
        Ok(())
    }

    fn elements(
        &self,
        page: &Page,
        each: &mut impl FnMut(&[u8], Item<'a>) -> Result<()>,
    ) -> Result<()> {
        for i in 0..page.count() {
            let element = page.element(i)?;
            let item = if element.is_bucket {
                Item::Bucket(Self::parse(self.database, element.value)?)
            } else {
                Item::Value(element.value.to_vec())
            };
            each(element.key, item)?;
        }
        Ok(())
    }

    /// Returns the item of a key; `None` if the bucket has no such key.
    ///
    /// # Errors
    /// See [`Bucket::each`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Item<'a>>> {
        let mut found = None;
        self.each(|name, item| {
            if name == key {
                found = Some(item);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns the bucket of a key; `None` if there is no such key, or its item is a value.
    ///
    /// # Errors
    /// See [`Bucket::each`].
    pub fn bucket(&self, key: &[u8]) -> Result<Option<Self>> {
        Ok(match self.get(key)? {
            Some(Item::Bucket(bucket)) => Some(bucket),
            Some(Item::Value(_)) | None => None,
        })
    }
}

impl Database {
    /// Reads a page with its overflow pages.
    fn page(&self, number: u64) -> Result<Page> {
        let offset = number
            .checked_mul(self.meta.page_size)
            .filter(|offset| *offset < self.size)
            .ok_or_else(|| damaged(format!("page {number} is behind the end of the file")))?;
        let mut header = [0; HEADER];
        let at = |error| Error::io(error, format!("page {number}"));
        self.file.read_exact_at(&mut header, offset).map_err(at)?;
        if Page::number(&header) != Some(number) {
            return Err(damaged(format!(
                "page {number} has another number in its header"
            )));
        }
        let covered = u64::from(Page::overflow(&header).unwrap_or(0)) + 1;
        let length = covered.saturating_mul(self.meta.page_size);
        if length > self.size - offset {
            return Err(damaged(format!("page {number} is longer than the file")));
        }
        if length > MAX_PAGE {
            let what = format!("page {number} of {length} bytes");
            return Err(Limits::exceeded("bolt_page", MAX_PAGE, what));
        }
        let most = self.size.saturating_mul(MAX_READS);
        self.read.set(self.read.get().saturating_add(length));
        if self.read.get() > most {
            return Err(Limits::exceeded(
                "bolt_reads",
                most,
                "the bytes that are read of the database",
            ));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, offset).map_err(at)?;
        Page::new(bytes).map_err(|error| error.at(format!("page {number}")))
    }
}
