//! The honesty law: a flat tar differs from the image exactly where the report says so.

use imgconv_format_rootfs::Rootfs;
use imgconv_testkit::laws::Streamed;

#[test]
fn the_report_lists_exactly_what_differs() {
    let rootfs = Streamed {
        format: &Rootfs,
        extensions: &[
            ("aci", "app.isolators", "[]"),
            ("oci", "config.Healthcheck", "[1]"),
            ("other", "x.y", "1"),
        ],
    };
    rootfs.is_honest();
}
