//! What all connections share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::passwords::Passwords;
use crate::{options::Watcher, stock::Stock};

/// The images, and the limits on work.
pub(super) struct Server {
    pub(super) stock: Stock,
    pub(super) watcher: Arc<dyn Watcher>,
    /// Limits the requests that make something.
    pub(super) makers: Arc<Semaphore>,
    /// The scheme of URLs that lead here.
    pub(super) scheme: &'static str,
    /// The users, if the server asks for a password.
    pub(super) passwords: Option<Arc<Passwords>>,
}
