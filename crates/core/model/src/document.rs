//! Documents: bytes with a content type.

use std::sync::Arc;

/// A document with its content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The content type, opaque to all but formats and transports.
    pub kind: String,
    /// The exact bytes.
    pub bytes: Arc<[u8]>,
}
