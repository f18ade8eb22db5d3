//! The laws of places, for a store of two images.

use imgconv_testkit::{ImageRecipe, laws::Readable, stores};
use imgconv_transport_rkt::RKT;

#[test]
fn a_store_keeps_the_laws_and_survives_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rkt");
    stores::rkt(&ImageRecipe::samples(true), &path).unwrap();
    let store = Readable::at(&RKT, &path);
    store.keeps_the_laws();
    store.survives_damage();
}
