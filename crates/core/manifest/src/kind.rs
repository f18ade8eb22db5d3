//! The media type of a manifest without a descriptor: the `mediaType` of the document, else the
//! type that its shape shows, as skopeo guesses it. The formats check the shape.

use imgconv_json::{Value, parse};
use imgconv_model::{Limits, Result};

use crate::media_type::{
    self, DOCKER_LIST, DOCKER_MANIFEST, DOCKER_PREFIX, DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED,
    OCI_ARTIFACT, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};

/// Every type of a document that lists others and that a registry stores as a manifest.
pub const KINDS: &[&str] = &[
    OCI_MANIFEST,
    OCI_INDEX,
    OCI_ARTIFACT,
    DOCKER_MANIFEST,
    DOCKER_LIST,
    DOCKER_SCHEMA1_SIGNED,
    DOCKER_SCHEMA1,
];

/// Returns true if a type is that of an index or a manifest list.
pub fn is_index(kind: &str) -> bool {
    [OCI_INDEX, DOCKER_LIST].contains(&kind)
}

/// The meaning of a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The type of a document that lists others: one of [`KINDS`].
    Listing,
    /// No meaning: the type is absent or generic, and the document itself decides.
    Nothing,
    /// The type of other content, bytes of any size and form (image-spec, image-index.md: an
    /// unknown type is no error).
    Other,
}

/// Returns the meaning of a media type, in any spelling.
pub fn told(kind: &str) -> Told {
    match &*media_type::normalise(kind) {
        "" => Told::Nothing,
        kind if KINDS.contains(&kind) => Told::Listing,
        _ => Told::Other,
    }
}

/// Returns the media type of a manifest that has none from a descriptor or a header: its
/// `mediaType`, else the type that its shape shows, else an empty text. `what` names the manifest
/// in messages.
///
/// # Errors
/// [`Code::BadJson`](imgconv_model::Code::BadJson) if the bytes are not JSON.
pub fn kind_of(bytes: &[u8], limits: &Limits, what: &str) -> Result<String> {
    let value = parse(bytes, limits, what)?;
    Ok(guess(&value).to_owned())
}

pub(crate) fn guess(value: &Value) -> &str {
    let text = |value: &'_ Value| value.as_str().map(str::to_owned);
    // An empty type is the same as an absent type.
    if let Some(kind) = value.get("mediaType").and_then(Value::as_str)
        && !kind.is_empty()
    {
        return kind;
    }
    match value.get("schemaVersion").and_then(Value::as_u64) {
        Some(1) if value.get("signatures").is_some() => DOCKER_SCHEMA1_SIGNED,
        Some(1) => DOCKER_SCHEMA1,
        Some(2) => {
            let config = value
                .get("config")
                .and_then(|config| config.get("mediaType"));
            let config = config.and_then(text);
            let listed = value.get("manifests").and_then(Value::as_array);
            let docker = |kind: &str| kind.starts_with(DOCKER_PREFIX);
            match (config.as_deref(), listed) {
                (Some(OCI_CONFIG), None) => OCI_MANIFEST,
                (Some(kind), None) if docker(kind) => DOCKER_MANIFEST,
                (None, Some(listed)) => {
                    let kind = |child: &Value| child.get("mediaType").and_then(text);
                    let all_docker = !listed.is_empty()
                        && listed
                            .iter()
                            .all(|child| kind(child).is_some_and(|kind| docker(&kind)));
                    if all_docker { DOCKER_LIST } else { OCI_INDEX }
                }
                // A format that accepts documents without a type decides.
                _ => "",
            }
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_shows_its_type_by_its_word_or_its_shape() {
        let docker = "application/vnd.docker.distribution.manifest.v2+json";
        for (text, kind) in [
            (r#"{"mediaType":"x","schemaVersion":1}"#, "x"),
            (
                r#"{"schemaVersion":1,"signatures":[]}"#,
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            ),
            (
                r#"{"schemaVersion":1}"#,
                "application/vnd.docker.distribution.manifest.v1+json",
            ),
            (
                r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.docker.container.image.v1+json"}}"#,
                docker,
            ),
            (
                r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json"}}"#,
                "application/vnd.oci.image.manifest.v1+json",
            ),
            (
                &format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{docker}"}}]}}"#),
                "application/vnd.docker.distribution.manifest.list.v2+json",
            ),
            (
                r#"{"schemaVersion":2,"manifests":[]}"#,
                "application/vnd.oci.image.index.v1+json",
            ),
            (r#"{"schemaVersion":2,"config":{"mediaType":"y"}}"#, ""),
            ("[]", ""),
        ] {
            assert_eq!(
                kind_of(text.as_bytes(), &Limits::default(), "x").unwrap(),
                kind,
                "{text}"
            );
        }
    }
}
