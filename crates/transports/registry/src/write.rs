//! Writing: blobs are uploaded while they are made, manifests are held back until all blobs are
//! stored.

use imgconv_model::{
    BlobWriter, BundleSink, Code, Digest, Error, Publication, Report, Result, RootNames,
    SinkExtras, TopLevel, Transfers,
};
use imgconv_registry::Location;

use crate::{
    sink::RegistrySink,
    upload::{Upload, exists, mount},
};

/// The repository of a locator, if it is of the same registry.
fn neighbour(own: &Location, locator: &str) -> Option<String> {
    let other = Location::parse(locator.strip_prefix("docker:")?).ok()?;
    (other.host == own.host).then_some(other.repository)
}

impl BundleSink for RegistrySink {
    fn locator(&self) -> String {
        self.location.to_string()
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        if self.held.knows(digest, size) {
            return Ok(true);
        }
        let mut there = exists(&self.session, digest, size)?;
        for neighbour in self.session.neighbours() {
            there = there || mount(&self.session, digest, &neighbour)?;
        }
        if there {
            self.held.note(*digest, size);
        }
        Ok(there)
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Upload::new(&self.session, &self.held, &self.env)))
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras {
            transfers: Some(self),
            root_names: Some(self),
            documents_unasked: true,
            ..SinkExtras::default()
        }
    }

    /// The place has no list of entry points with fields of its own.
    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        if publications.is_empty() {
            return Err(Error::new(Code::Missing, "there is no image to write"));
        }
        self.publish(publications)
            .map_err(|error| error.at(self.locator()))
    }
}

impl Transfers for RegistrySink {
    /// Blobs can be mounted from a repository of the same registry.
    fn comes_from(&self, locator: &str) {
        if let Some(repository) = neighbour(&self.location, locator) {
            self.session.add_neighbour(repository);
        }
    }

    fn take_over(&self, digest: &Digest, locator: &str) -> Result<bool> {
        match neighbour(&self.location, locator) {
            // The repository itself has nothing to take over from.
            Some(repository) if repository != self.location.repository => {
                mount(&self.session, digest, &repository)
            }
            _ => Ok(false),
        }
    }
}

impl RootNames for RegistrySink {
    fn name_roots(&self, publications: &[Publication]) -> Result<Report> {
        self.name_unusual(publications)
            .map_err(|error| error.at(self.locator()))
    }
}
