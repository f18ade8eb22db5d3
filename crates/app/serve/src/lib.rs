//! Serves the images of any store to the clients of registries and of appc, read only, converting when asked.
//!
//! The API is that of the OCI distribution specification 1.1, parts pull and content discovery, and of
//! Docker's registry API v2, from which the specification was made. Documents and blobs that a store has
//! are served byte for byte. Everything else is made by the engine of `imgconv-convert`, so digests are
//! those that a conversion gives. For older clients there is API v1, whose images are the steps of a
//! manifest of schema 1, and for people a page. Clients of appc find ACIs by discovery; pages and paths are
//! those of `imgconv-publish`.
//!
//! - [`options`]: the settings, and the receiver of messages.
//! - [`stock`]: the images by repository and tag; their documents and blobs. The module knows no HTTP.
//! - `http`: the listener, the requests and the answers. This part alone is asynchronous, and is left out
//!   without the cargo feature `server`: [`serve`] fails then.
//!
//! Nothing here prints, reads the environment or exits.

#![deny(missing_docs)]

#[cfg(not(feature = "server"))]
mod absent;
#[cfg(feature = "server")]
mod http;
pub mod options;
pub mod stock;

#[cfg(not(feature = "server"))]
pub use self::absent::serve;
#[cfg(feature = "server")]
pub use self::http::serve;
pub use self::options::{ServeOptions, Tls, Watcher};
