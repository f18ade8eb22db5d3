//! The laws of places, for repositories of a registry.

use imgconv_testkit::{
    laws::{Again, Images, Readable, Writes},
    registry::Registry,
};
use imgconv_transport_registry::REGISTRY;

use crate::env;

fn place(registry: &Registry, name: &str) -> Readable<'static> {
    let locator = registry.locator(name);
    Readable::served(&REGISTRY, locator.strip_prefix("docker:").unwrap(), env())
}

#[test]
fn a_repository_keeps_the_laws_of_reading() {
    let registry = Registry::start();
    registry.stored().image("a/b", "latest", b"layer");
    registry.stored().image("a/b", "other", b"other");
    place(&registry, "a/b").keeps_the_laws();
}

#[test]
fn images_of_every_kind_are_read_again_as_they_were_pushed() {
    let registry = Registry::start();
    let writes = Writes {
        images: Images::documents,
        refused: &[],
        again: Again::Added,
    };
    Readable::holds_every_kind(&writes, |i| place(&registry, &format!("place/{i}")));
}
