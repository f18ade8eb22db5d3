//! The honesty law: what comes back differs from what went in exactly where the report says so.

use imgconv_model::{Document, FormatId, Image, Layer};
use imgconv_testkit::laws::{Honest, Memory, Written};

use crate::{
    build::{EMPTY, blob, manifest, v1},
    bundle::{encode, image, kept, text},
};

struct Schema1;

impl Honest for Schema1 {
    const EXTENSIONS: &'static [(&'static str, &'static str, &'static str)] = &[
        ("docker-v2s1", "config.Healthcheck", "[1]"),
        ("docker-v2s1", "config.Healthcheck", "{"),
        ("docker-v2s1", "config.Cmd", "[]"),
        ("docker-v2s1", "Size", "1"),
        ("docker-v2s1", "size", "1"),
        ("docker-v2s1", "throwaway", "true"),
        ("docker-v2s1", "id", "\"x\""),
        ("docker-v2s1", "comment", "\"x\""),
        ("docker-v2s1", "rootfs", "{}"),
        ("docker-v2s1", "rootfs.x", "{}"),
        ("docker-v2s1", "container_config", "{\"Cmd\":[\"a\",\"b\"]}"),
        ("docker-v2s1", "container_config", "{\"Cmd\":[\"a\"]}"),
        ("docker-v2s1", "container_config", "[]"),
        (
            "docker-v2s1",
            "v1Compatibility",
            "[{\"container_config\":{\"Memory\":1},\"id\":\"x\"}]",
        ),
        (
            "docker-v2s1",
            "v1Compatibility",
            "[{\"os\":\"z\",\"Size\":2}]",
        ),
        (
            "docker-v2s1",
            "v1Compatibility",
            "[{\"container_config\":5}]",
        ),
        ("docker-v2s1", "v1Compatibility", "5"),
        ("docker-v2s1", "os.version", "\"1\""),
        ("docker-v2s1", "unknown", "null"),
        ("docker-v2s1", "more", "{\"a\":[1]}"),
        ("aci", "app.isolators", "[]"),
    ];
    const OWN: &'static [FormatId] = &[FormatId("docker-v2s1")];
    const MADE: &'static [&'static str] = &["id", "parent", "container_config"];

    /// The documents of schema 1 have neither sizes nor diff IDs.
    fn is_same_layer(a: &Layer, b: &Layer) -> bool {
        a.blob.facts.digest == b.blob.facts.digest
    }

    fn holds_too(before: &Image, after: &Image, written: &Written) -> bool {
        let empty = after.history.iter().any(|step| step.empty_layer);
        before.name == after.name && written.documents.len() == usize::from(empty)
    }

    fn write(image: &Image) -> Written {
        let (root, documents, report) = encode(image, &kept(image));
        Written {
            documents,
            root,
            report,
        }
    }

    fn read(_: &Memory, root: &Document) -> Image {
        image(text(root))
    }

    fn other(_: &mut Memory) -> Image {
        image(manifest(&[
            (
                EMPTY.into(),
                v1('b', Some('a'), r#","os":"linux","docker_version":"1""#),
            ),
            (blob('1'), v1('a', None, "")),
        ]))
    }
}

#[test]
fn the_report_lists_exactly_what_differs() {
    Schema1::is_honest();
}
