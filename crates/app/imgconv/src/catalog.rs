//! The only place where formats and transports are registered.

use imgconv_model::{Format, FormatId, Root, Transport};

/// Every format.
pub static FORMATS: &[&dyn Format] = &[&imgconv_format_aci::Aci, &imgconv_format_oci::OCI];

/// Every transport. A bare path belongs to the first that recognises it, so the ones that look
/// closest come first and the plain file comes last.
pub static TRANSPORTS: &[&dyn Transport] = &[
    &imgconv_transport_oci_layout::OCI_LAYOUT,
    &imgconv_transport_oci_layout::OCI_ARCHIVE,
    &imgconv_transport_file::FILE,
];

/// Returns the format of that identity.
pub fn format(id: FormatId) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.id() == id)
}

/// Returns the one format that recognises a root.
pub fn recognise(root: &Root) -> Option<&'static dyn Format> {
    FORMATS
        .iter()
        .copied()
        .find(|format| format.recognise(root))
}

/// Returns the transport of that scheme.
pub fn transport(scheme: &str) -> Option<&'static dyn Transport> {
    TRANSPORTS
        .iter()
        .copied()
        .find(|transport| transport.scheme() == scheme)
}

/// Returns the format that a transport's destinations are written in.
pub fn written_by(transport: &dyn Transport) -> &'static dyn Format {
    match transport.scheme() {
        "aci" => &imgconv_format_aci::Aci,
        _ => &imgconv_format_oci::OCI,
    }
}
