//! The honesty law: what comes back differs from what went in exactly where the report says so.

use imgconv_model::{Document, FormatId, Image};
use imgconv_testkit::laws::{Honest, Written};

use crate::bundle::{Memory, encode, image, kept, pushed, text};

struct Schema2;

impl Honest for Schema2 {
    const EXTENSIONS: &'static [(&'static str, &'static str, &'static str)] = &[
        ("docker-v2s2", "config.Healthcheck", "[1]"),
        ("oci", "config.Healthcheck", "[2]"),
        ("docker-archive", "config.Healthcheck", "{"),
        ("oci", "config.StopTimeout", "1.0"),
        ("docker-v2s1", "config.Cmd", "[]"),
        ("oci", "config.\"a.b\"", "\"\""),
        ("docker-v2s2", "os.version", "\"1\""),
        ("oci", "unknown", "null"),
        ("oci", "manifest.vendor", "[]"),
        ("docker-v2s2", "manifest.vendor", "[]"),
        ("docker-v2s2", "manifest.layers.0.platform", "{}"),
        ("docker-v2s2", "manifest.layers.9.x", "{}"),
        ("docker-v2s2", "manifest.Config", "{}"),
        ("aci", "app.isolators", "[]"),
        ("other", "x.y", "1"),
    ];
    const OWN: &'static [FormatId] = imgconv_manifest::CONFIG_FORMATS;

    /// A field of the config is the same field, whichever format it comes from.
    fn is_same(a: &(FormatId, String), b: &(FormatId, String)) -> bool {
        let shared = Self::OWN.contains(&a.0) && !a.1.starts_with("manifest.");
        a.1 == b.1 && (a.0 == b.0 || shared)
    }

    fn write(image: &Image) -> Written {
        let (config, root, report) = encode(image, &kept(image));
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
        let annotations = "{\"annotations\":{\"a\":\"\",\"own\":\"1\"},";
        let manifest = pushed(memory).replacen('{', annotations, 1);
        image(memory, &manifest).0
    }
}

#[test]
fn the_report_lists_exactly_what_differs() {
    Schema2::is_honest();
}
