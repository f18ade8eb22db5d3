//! The frame of every JSON document that the program prints or writes: its version.

use serde::Serialize;

/// The version of the JSON documents, of all of them together. A new member leaves the version as it
/// is; a member that is renamed or removed, or means something else, raises it.
pub const DOCUMENT_VERSION: u64 = 1;

/// A result with the version of its document.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Document<T> {
    /// The version of the document, 1. New members leave the version as it is; a member that is
    /// renamed or removed, or means something else, raises it.
    pub version: u64,
    /// The result: a structure, whose members are those of the document.
    #[serde(flatten)]
    pub result: T,
}

impl<T> Document<T> {
    /// Makes the document of a result.
    pub fn new(result: T) -> Self {
        Self {
            version: DOCUMENT_VERSION,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_first_beside_the_members_of_the_result() {
        #[derive(Serialize)]
        struct Result {
            raw: Box<serde_json::value::RawValue>,
        }
        let raw = serde_json::value::RawValue::from_string("[1e2]".to_owned()).unwrap();
        let text = serde_json::to_string(&Document::new(&Result { raw })).unwrap();
        assert_eq!(text, r#"{"version":1,"raw":[1e2]}"#);
    }
}
