//! Advice about texts that name no place: where the image may be, and how such a locator is
//! written.
//!
//! This module only reads; the user decides what the text should mean.

use std::path::Path;

use imgconv_model::{Error, Transport};
use imgconv_registry::Location;
use imgconv_transport_dir::DIR;
use imgconv_transport_oci_layout::OCI_LAYOUT;
use imgconv_transport_registry_storage::REGISTRY_STORAGE;
use imgconv_transport_rkt::RKT;

use super::scheme::SUFFIXES;

/// The most parents of a folder that are searched for a place: enough to reach the root of a
/// registry's storage from a blob.
const UP: usize = 8;

/// The stores and layouts whose inner files users name by mistake.
static STORES: [&dyn Transport; 4] = [&OCI_LAYOUT, &DIR, &RKT, &REGISTRY_STORAGE];

/// Adds the form of a registry locator to an error, if a text without a scheme may be an image of a
/// registry, as users of docker write it. Existing advice stays.
pub(super) fn registry(error: Error, text: &str) -> Error {
    if error.advice().is_some() || !is_reference(text) {
        return error;
    }
    error.hint(format!(
        "an image in a registry is written `docker://{text}`"
    ))
}

/// Adds the form of a registry locator to the error of an appc discovery that the user did not
/// request explicitly: most such texts are meant as images of a registry.
pub(super) fn registry_instead(error: Error, text: &str) -> Error {
    if !is_reference(text) {
        return error;
    }
    let other = error
        .advice()
        .map(|advice| format!("; otherwise: {advice}"));
    error.hint(format!(
        "{text} was read as an appc image name; an image in a registry is written \
         `docker://{text}`{}",
        other.unwrap_or_default()
    ))
}

/// Says whether a text may be a reference in docker's form.
fn is_reference(text: &str) -> bool {
    let is_path = text.starts_with(['.', '/', '~']) || text.ends_with('/');
    let is_file = SUFFIXES.iter().any(|suffix| text.ends_with(suffix));
    !is_path && !is_file && Location::parse(&format!("//{text}")).is_ok()
}

/// Returns advice for a path that is no place itself: the place that the path is a part of, or the
/// command that makes an archive of it again.
pub fn neighbour(text: &str) -> Option<String> {
    let path = Path::new(text);
    let real = std::fs::canonicalize(path).ok().filter(|it| it.is_dir())?;
    for ancestor in real.ancestors().skip(1).take(UP) {
        if let Some(scheme) = place(ancestor) {
            let ancestor = ancestor.display();
            return Some(format!(
                "the path is a part of `{scheme}:{ancestor}`: use that locator"
            ));
        }
    }
    let has = |name: &str| path.join(name).symlink_metadata().is_ok();
    if has("manifest") && path.join("rootfs").is_dir() {
        return Some(format!(
            "this looks like an unpacked ACI: `tar -cf app.aci -C {text} manifest rootfs` makes one"
        ));
    }
    imgconv_transport_docker_archive::unpacked(path)
}

/// Returns the scheme of the store or layout in a folder.
fn place(folder: &Path) -> Option<&'static str> {
    let mut found = STORES
        .iter()
        .filter(|it| it.recognise(folder).unwrap_or(false));
    found.next().map(|it| it.place().scheme)
}
