//! The honesty law: what comes back differs from what went in exactly where the report says so.

use imgconv_model::{Document, FormatId, Image};
use imgconv_testkit::laws::{Honest, Written};

use crate::{
    bundle::{Memory, encode, env, image, kept, text},
    fixtures::dockerish,
};

struct Oci;

impl Honest for Oci {
    const EXTENSIONS: &'static [(&'static str, &'static str, &'static str)] = &[
        ("oci", "config.Healthcheck", "[1]"),
        ("oci", "config.Healthcheck", "{"),
        ("oci", "config.Cmd", "[]"),
        ("oci", "config.\"a.b\"", "\"\""),
        ("oci", "config.ExposedPorts.0", "{}"),
        ("oci", "os.version", "\"1\""),
        ("oci", "rootfs.x", "1.0"),
        ("oci", "unknown", "null"),
        ("oci", "manifest.vendor", "[]"),
        ("oci", "manifest.layers.0.platform", "{}"),
        ("oci", "manifest.layers.9.x", "{}"),
        ("oci", "manifest.Config", "{}"),
        ("aci", "app.isolators", "[]"),
        ("other", "x.y", "1"),
    ];
    const OWN: &'static [FormatId] = &[FormatId("oci")];

    fn write(image: &Image) -> Written {
        let (config, root, report) = encode(image, &kept(image), &env());
        let documents = vec![config];
        Written {
            documents,
            root,
            report,
        }
    }

    fn read(memory: &Memory, root: &Document) -> Image {
        image(memory, text(root)).0
    }

    fn other(memory: &mut Memory) -> Image {
        let manifest = dockerish(memory);
        image(memory, &manifest).0
    }
}

#[test]
fn the_report_lists_exactly_what_differs() {
    Oci::is_honest();
}
