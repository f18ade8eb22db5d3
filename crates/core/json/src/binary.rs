//! Binary values in JSON texts.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Decodes base64 of RFC 4648 section 4: standard alphabet, padded, no other characters. `None` for
/// any other text.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
