//! The meaning of a request's path. Nothing here is a path of the file system.

use imgconv_model::{Digest, Name};
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;

/// The longest name of a repository (distribution-spec, "Pulling manifests": clients may have shorter
/// limits).
const LONGEST_NAME: usize = 1024;

/// The resource that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The version check: `/v2/`.
    Version,
    /// The list of repositories.
    Catalog,
    /// The tags of a repository.
    Tags(String),
    /// A document by tag.
    Tagged(String, String),
    /// A document by digest.
    Manifest(String, Digest),
    /// A blob.
    Blob(String, Digest),
    /// The documents about a document.
    Referrers(String, Digest),
}

/// Reads the path of a request.
///
/// # Errors
/// The answer to a path that means nothing, or holds a malformed name or digest.
pub(super) fn route(path: &str) -> Result<Wanted, Refusal> {
    let decoded = percent_decode_str(path).decode_utf8();
    let path = decoded.map_err(|_| Refusal::NOT_FOUND)?;
    let Some(rest) = path.strip_prefix("/v2") else {
        return Err(Refusal::NOT_FOUND);
    };
    let rest = match rest.strip_prefix('/') {
        None if rest.is_empty() => return Ok(Wanted::Version),
        None => return Err(Refusal::NOT_FOUND),
        Some("") => return Ok(Wanted::Version),
        Some("_catalog") => return Ok(Wanted::Catalog),
        Some(rest) => rest,
    };
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Ok(Wanted::Tags(repository(name)?));
    }
    let mut parts = rest.rsplitn(3, '/');
    let (Some(last), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::NOT_FOUND);
    };
    match kind {
        "manifests" if last.contains(':') => Ok(Wanted::Manifest(repository(name)?, digest(last)?)),
        "manifests" if Name::is_tag(last) => Ok(Wanted::Tagged(repository(name)?, last.to_owned())),
        "manifests" => Err(Refusal::manifest_unknown("no tag has such a name")),
        "blobs" => Ok(Wanted::Blob(repository(name)?, digest(last)?)),
        "referrers" => Ok(Wanted::Referrers(repository(name)?, digest(last)?)),
        _ => Err(Refusal::NOT_FOUND),
    }
}

fn repository(name: &str) -> Result<String, Refusal> {
    let valid = name.len() <= LONGEST_NAME && name.split('/').all(Name::is_component);
    match valid {
        true => Ok(name.to_owned()),
        false => Err(Refusal::NAME_INVALID),
    }
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    Digest::parse(text).map_err(|_| Refusal::DIGEST_INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_specification_are_read() {
        let hex = "ab".repeat(32);
        let digest = Digest::parse(&format!("sha256:{hex}")).unwrap();
        let a = || "a".to_owned();
        for (path, wanted) in [
            ("/v2", Wanted::Version),
            ("/v2/", Wanted::Version),
            ("/v2/_catalog", Wanted::Catalog),
            ("/v2/a/tags/list", Wanted::Tags(a())),
            ("/v2/a/manifests/1", Wanted::Tagged(a(), "1".to_owned())),
            (
                "/v2/manifests/manifests/manifests",
                Wanted::Tagged("manifests".to_owned(), "manifests".to_owned()),
            ),
            (
                "/v2/x/y/z/manifests/latest",
                Wanted::Tagged("x/y/z".to_owned(), "latest".to_owned()),
            ),
            (
                &format!("/v2/a/manifests/sha256:{hex}"),
                Wanted::Manifest(a(), digest),
            ),
            (
                &format!("/v2/a/blobs/sha256%3A{hex}"),
                Wanted::Blob(a(), digest),
            ),
            (
                &format!("/v2/a/referrers/sha256:{hex}"),
                Wanted::Referrers(a(), digest),
            ),
        ] {
            assert_eq!(route(path).ok(), Some(wanted), "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_means_nothing() {
        for path in [
            "/",
            "",
            "*",
            "/v1/_ping",
            "/v2x",
            "/v2/a",
            "/v2/a/",
            "/v2//tags/list",
            "/v2/tags/list",
            "/v2/../etc/passwd",
            "/v2/a/../b/manifests/1",
            "/v2/a/%2e%2e/b/manifests/1",
            "/v2/..%2f..%2fetc/manifests/1",
            "/v2/A/manifests/1",
            "/v2/a/manifests/",
            "/v2/a/manifests/..",
            "/v2/a/manifests/a%00b",
            "/v2/a%0d%0ax/manifests/1",
            "/v2/a/manifests/%ff",
            "/v2/a/blobs/1",
            "/v2/a/blobs/sha256:../../etc/passwd",
            "/v2/a/blobs/md5:abcd",
            "/v2/a/blobs/uploads/",
            "/v2/a/manifests/sha256:AB",
            "/v2/a%2fb%2fmanifests%2f..",
            "/v2/_catalog/",
            "//v2/",
        ] {
            assert!(route(path).is_err(), "{path}");
        }
        let long = format!("/v2/{}/manifests/1", "a/".repeat(600));
        assert!(route(&long).is_err());
    }
}
