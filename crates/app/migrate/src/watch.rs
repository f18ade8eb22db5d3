//! A sink that records the blobs of an image, for the journal; in a registry the sink also
//! names other repositories that hold a blob, so that the blob need not be sent again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_model::{
    Adopted, Adoption, BlobWriter, BundleSink, Code, Digest, Document, Error, ExpectedBlobs,
    Publication, Reader, Result, SinkExtras, TopLevel,
};

/// Every blob that the image needs.
pub(super) type Relied = Arc<Mutex<BTreeSet<(Digest, u64)>>>;

/// The repository of a registry that has each blob.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(Mutex<BTreeMap<Digest, String>>);

impl Whereabouts {
    pub(super) fn note(&self, digest: Digest, place: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(digest).or_insert_with(|| place.to_owned());
    }

    fn of(&self, digest: &Digest) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).cloned()
    }
}

/// A sink that is recorded for one image.
#[derive(Debug)]
pub(super) struct Watched<'a> {
    inner: &'a dyn BundleSink,
    relied: Relied,
    /// The other places of blobs, in a registry.
    elsewhere: Option<&'a Whereabouts>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(inner: &'a dyn BundleSink, elsewhere: Option<&'a Whereabouts>) -> Self {
        Self {
            inner,
            relied: Relied::default(),
            elsewhere,
        }
    }

    /// Returns every blob that was written, or was there already.
    pub(super) fn relied(&self) -> BTreeSet<(Digest, u64)> {
        let relied = self.relied.lock().unwrap_or_else(PoisonError::into_inner);
        relied.clone()
    }
}

fn note(relied: &Relied, digest: &Digest, size: u64) {
    let mut relied = relied.lock().unwrap_or_else(PoisonError::into_inner);
    relied.insert((*digest, size));
}

impl BundleSink for Watched<'_> {
    fn locator(&self) -> String {
        self.inner.locator()
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        // A blob that this run stored elsewhere is taken over by one request, whether it is here or not.
        let known = self.elsewhere.and_then(|elsewhere| elsewhere.of(digest));
        let there = match known {
            Some(place) => self.inner.take_over(digest, &format!("docker://{place}"))?,
            None => false,
        };
        let there = there || self.inner.has(digest, size)?;
        if there {
            note(&self.relied, digest, size);
        }
        Ok(there)
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Writer {
            inner: self.inner.writer()?,
            relied: Arc::clone(&self.relied),
        }))
    }

    fn extras(&self) -> SinkExtras<'_> {
        let SinkExtras {
            transfers,
            adoption,
            root_names,
            early_blobs,
            documents_unasked,
            places,
            beside,
        } = self.inner.extras();
        SinkExtras {
            transfers,
            adoption: adoption.map(|_| self as &dyn Adoption),
            root_names,
            early_blobs,
            documents_unasked,
            places: places.map(|_| self as &dyn ExpectedBlobs),
            beside,
        }
    }

    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, _: &mut [Publication]) -> Result<Vec<String>> {
        let message = "the owner of a watched sink commits it";
        Err(Error::new(Code::Unsupported, message))
    }
}

impl Adoption for Watched<'_> {
    fn adopt(&self, file: Option<&File>) -> Result<Option<Box<dyn Adopted>>> {
        let adopted = self.inner.adopt(file)?;
        Ok(adopted.map(|inner| {
            let relied = Arc::clone(&self.relied);
            Box::new(Taken { inner, relied }) as Box<dyn Adopted>
        }))
    }
}

impl ExpectedBlobs for Watched<'_> {
    fn expect(&self, documents: &[Document], blobs: &BTreeMap<Digest, Option<u64>>) -> Result<()> {
        let places = self.inner.extras().places;
        places.map_or(Ok(()), |places| places.expect(documents, blobs))
    }

    fn writer_of(&self, digest: &Digest) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Writer {
            inner: self.inner.writer_of(digest)?,
            relied: Arc::clone(&self.relied),
        }))
    }
}

struct Writer {
    inner: Box<dyn BlobWriter>,
    relied: Relied,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl BlobWriter for Writer {
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        self.inner.finish(digest, size)?;
        note(&self.relied, digest, size);
        Ok(())
    }
}

/// A blob that is adopted.
struct Taken {
    inner: Box<dyn Adopted>,
    relied: Relied,
}

impl Adopted for Taken {
    fn open(&self) -> Result<Reader> {
        self.inner.open()
    }

    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        self.inner.finish(digest, size)?;
        note(&self.relied, digest, size);
        Ok(())
    }
}
