//! Advice on texts that name no place: where the image may be, and how that is written.
//!
//! Only looks; what is meant is the user's to say.

use std::path::Path;

use imgconv_model::{Error, Transport};
use imgconv_transport_dir::DIR;
use imgconv_transport_oci_layout::OCI_LAYOUT;
use imgconv_transport_registry::Location;
use imgconv_transport_registry_storage::REGISTRY_STORAGE;
use imgconv_transport_rkt::RKT;

use super::scheme::SUFFIXES;

/// How far up a folder's place is looked for: from a blob of a registry's storage to its root.
const UP: usize = 8;

/// The stores and layouts whose inner files users name by mistake.
static STORES: [&dyn Transport; 4] = [&OCI_LAYOUT, &DIR, &RKT, &REGISTRY_STORAGE];

/// Adds how an image of a registry is written, if a text without a scheme may be one, as users of
/// docker write it. Advice that is there stays.
pub(super) fn registry(error: Error, text: &str) -> Error {
    if error.advice().is_some() || !is_reference(text) {
        return error;
    }
    error.hint(format!("an image of a registry is `docker://{text}`"))
}

/// Adds to the error of an appc discovery that nobody asked for outright how an image of a registry
/// is written: that is what most such texts are meant for.
pub(super) fn registry_instead(error: Error, text: &str) -> Error {
    if !is_reference(text) {
        return error;
    }
    let other = error.advice().map(|advice| format!("; else: {advice}"));
    error.hint(format!(
        "{text} was taken for a name of appc; an image of a registry is `docker://{text}`{}",
        other.unwrap_or_default()
    ))
}

/// Says whether a text may be a reference as docker takes it.
fn is_reference(text: &str) -> bool {
    let is_path = text.starts_with(['.', '/', '~']) || text.ends_with('/');
    let is_file = SUFFIXES.iter().any(|suffix| text.ends_with(suffix));
    !is_path && !is_file && Location::parse(&format!("//{text}")).is_ok()
}

/// Says what to name instead of a path that is no place itself: the place that it is a part of, or
/// what would make an archive of it again.
pub fn neighbour(text: &str) -> Option<String> {
    let path = Path::new(text);
    let real = std::fs::canonicalize(path).ok().filter(|it| it.is_dir())?;
    for ancestor in real.ancestors().skip(1).take(UP) {
        if let Some(scheme) = place(ancestor) {
            let ancestor = ancestor.display();
            return Some(format!(
                "it is a part of what lies in `{scheme}:{ancestor}`: name that"
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

/// Returns the scheme of the store or layout that a folder is.
fn place(folder: &Path) -> Option<&'static str> {
    let mut found = STORES.iter().filter(|it| it.recognise(folder));
    found.next().map(|it| it.place().scheme)
}
