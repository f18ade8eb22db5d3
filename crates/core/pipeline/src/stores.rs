//! Where the bodies of layers go while several layers are read at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_layer::{ContentStore, Discard, Spool, SpoolLayer};
use imgconv_model::{Compression, Layer, ReadAt, Result};

use crate::look::look;

/// The stores of the layers of an image.
pub(crate) trait Stores: Sync {
    /// Makes the store of one layer; `tar` is the same tar for reading by position, if it supports
    /// that.
    fn layer(&self, i: usize, tar: Option<Arc<dyn ReadAt>>) -> Box<dyn ContentStore + '_>;
}

/// Opens the tar of a layer by position, if the layer is not compressed and supports that.
pub(crate) fn positioned(layer: &Layer) -> Result<Option<Arc<dyn ReadAt>>> {
    match look(layer)? {
        Some(Compression::None) => layer.blob.bytes.positioned(),
        _ => Ok(None),
    }
}

impl Stores for Spool {
    fn layer(&self, _: usize, tar: Option<Arc<dyn ReadAt>>) -> Box<dyn ContentStore + '_> {
        let mut store = Spool::layer(self);
        store.begin(tar);
        Box::new(store)
    }
}

/// Marks the keys of contents of the layers below: a spool leaves the highest bit free. The bits
/// below it are the layer, and the number of the content in its layer.
pub(crate) const BELOW: u64 = 1 << 63;
const NUMBER: u32 = 40;

/// Stores that number contents and keep none.
#[derive(Debug)]
pub(crate) struct Below;

impl Stores for Below {
    fn layer(&self, i: usize, _: Option<Arc<dyn ReadAt>>) -> Box<dyn ContentStore + '_> {
        Box::new(Numbers::of(i))
    }
}

/// The numbers of the contents of one layer.
#[derive(Debug)]
struct Numbers {
    next: u64,
}

impl Numbers {
    fn of(layer: usize) -> Self {
        Self {
            next: BELOW | (layer as u64) << NUMBER,
        }
    }

    fn key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl ContentStore for Numbers {
    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        Discard.put(body, size)?;
        Ok(self.key())
    }

    fn put_at(&mut self, _offset: u64, _body: &mut dyn Read, _size: u64) -> Result<u64> {
        Ok(self.key())
    }
}

/// Stores that keep the wanted ones of the contents that [`Below`] numbered.
pub(crate) struct Fetch<'a> {
    pub(crate) wanted: BTreeSet<u64>,
    pub(crate) spool: &'a Spool,
    /// The keys of these contents in the spool.
    pub(crate) moved: Mutex<BTreeMap<u64, u64>>,
}

impl Stores for Fetch<'_> {
    fn layer(&self, i: usize, tar: Option<Arc<dyn ReadAt>>) -> Box<dyn ContentStore + '_> {
        let mut store = self.spool.layer();
        store.begin(tar);
        Box::new(FetchLayer {
            numbers: Numbers::of(i),
            fetch: self,
            store,
        })
    }
}

struct FetchLayer<'a> {
    numbers: Numbers,
    fetch: &'a Fetch<'a>,
    store: SpoolLayer,
}

impl FetchLayer<'_> {
    fn moved(&self, key: u64, to: u64) {
        let moved = self.fetch.moved.lock();
        moved
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, to);
    }
}

impl ContentStore for FetchLayer<'_> {
    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        let key = self.numbers.key();
        if self.fetch.wanted.contains(&key) {
            let to = self.store.put(body, size)?;
            self.moved(key, to);
        } else {
            Discard.put(body, size)?;
        }
        Ok(key)
    }

    fn put_at(&mut self, offset: u64, body: &mut dyn Read, size: u64) -> Result<u64> {
        let key = self.numbers.key();
        if self.fetch.wanted.contains(&key) {
            let to = self.store.put_at(offset, body, size)?;
            self.moved(key, to);
        }
        Ok(key)
    }

    fn end(&mut self) -> Result<()> {
        self.store.end()
    }
}
