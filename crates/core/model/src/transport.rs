//! The trait that a transport implements: a way to find bytes.

use std::fmt;

use crate::{Bundle, BundleSink, Code, Env, Error, Place, Result, quote};

/// A way to find bytes: a kind of place that has names.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Returns the facts of its kind of place.
    fn place(&self) -> &'static Place;

    /// Says whether a local path is such a place, by its bytes.
    fn recognise(&self, path: &std::path::Path) -> bool;

    /// Opens a place for reading. `rest` is the locator after the scheme, without a `REF`.
    ///
    /// # Errors
    /// If it is not there or not such a place.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>>;

    /// Opens a place for writing; nothing is visible there before [`BundleSink::finish`]. A place
    /// that is only ever read, such as the store of an engine, need not have this.
    ///
    /// # Errors
    /// If it can't be written, or [`Code::Unsupported`] if it is read-only by nature.
    fn create(&self, rest: &str, _env: &Env) -> Result<Box<dyn BundleSink>> {
        let message = format!("`{}:` is read, and never written", self.place().scheme);
        Err(Error::new(Code::Unsupported, message)
            .at(quote(rest))
            .hint("write to a layout, an archive or ACIs: `oci:`, `docker-archive:`, `aci:`"))
    }
}
