//! The honesty law: an ACI differs from the image exactly where the report says so.

use imgconv_format_aci::Aci;
use imgconv_testkit::laws::Streamed;

#[test]
fn the_report_lists_exactly_what_differs() {
    let aci = Streamed {
        format: &Aci,
        extensions: &[
            ("aci", "app.isolators", "[]"),
            ("aci", "app.isolators", "{"),
            ("aci", "unknown", "null"),
            ("aci", "app.more", "{\"a\":[1]}"),
            ("oci", "config.Healthcheck", "[1]"),
            ("docker-v2s2", "os.version", "\"1\""),
            ("other", "x.y", "1"),
        ],
    };
    aci.is_honest();
}
