//! The laws of places, for a repository of a registry of version 1.

use imgconv_testkit::laws::Readable;
use imgconv_transport_registry_v1::REGISTRY_V1;

use crate::{APP, Storage, env};

#[test]
fn a_repository_keeps_the_laws_of_reading() {
    let storage = Storage::new();
    let registry = storage.serve();
    let locator = registry.locator(&format!("{APP}:1.0"));
    let rest = locator.strip_prefix("dockerv1:").unwrap();
    Readable::served(&REGISTRY_V1, rest, env()).keeps_the_laws();
}
