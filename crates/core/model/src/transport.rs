//! The trait of a transport: access to one kind of place.

use std::fmt;

use crate::{Bundle, BundleSink, Code, Env, Error, Place, Result, quote};

/// A transport: access to a kind of place that has names.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Returns the facts of the kind of place.
    fn place(&self) -> &'static Place;

    /// Returns true if a local path is such a place, by its bytes.
    ///
    /// # Errors
    /// With the path, if a call of the system failed, so that the path may be such a place or none.
    fn recognise(&self, path: &std::path::Path) -> Result<bool>;

    /// Splits the locator after the scheme into the location and the text of a `REF`, for a kind of
    /// place with a grammar of its own; `None` to split at the first colon.
    fn split(&self, _rest: &str) -> Option<(String, Option<String>)> {
        None
    }

    /// Opens a place for reading. `rest` is the locator after the scheme, without a `REF`.
    ///
    /// # Errors
    /// If the place is missing or of another kind.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>>;

    /// Opens a place for writing; nothing is visible there before [`BundleSink::finish`]. A place
    /// that is read-only, such as the store of an engine, needs no implementation.
    ///
    /// # Errors
    /// If the place can't be written, or [`Code::Unsupported`] if the kind of place is read-only.
    fn create(&self, rest: &str, _env: &Env) -> Result<Box<dyn BundleSink>> {
        let message = format!(
            "imgconv can read `{}:`, but not write to it",
            self.place().scheme
        );
        Err(Error::new(Code::Unsupported, message)
            .at(quote(rest))
            .hint("write to a layout, an archive or ACIs: `oci:`, `docker-archive:`, `aci:`"))
    }
}
