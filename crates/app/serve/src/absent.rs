//! A build without the server: the same interface, and every call fails.

use std::sync::Arc;

use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Env, Error, Result};

use crate::options::{ServeOptions, Watcher};

/// Fails: this build has no server.
///
/// # Errors
/// [`Code::Unsupported`].
pub fn serve(
    _sources: &[Locator],
    _options: &ServeOptions,
    _watcher: Arc<dyn Watcher>,
    _env: &Env,
) -> Result<()> {
    let message = "this build has no server";
    Err(Error::new(Code::Unsupported, message).hint("build with the cargo feature `serve`"))
}
