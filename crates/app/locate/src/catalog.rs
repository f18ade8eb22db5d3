//! The only place where formats and transports are registered.

use imgconv_model::{Format, FormatId, Root, Transport};

/// Every format.
pub static FORMATS: &[&dyn Format] = &[
    &imgconv_format_aci::Aci,
    &imgconv_format_oci::OCI,
    &imgconv_format_docker_v2s2::DOCKER_V2S2,
    &imgconv_format_docker_v2s2::DOCKER_ARCHIVE,
    &imgconv_format_docker_v2s1::DOCKER_V2S1,
    &imgconv_format_docker_v2s1::DOCKER_V1,
];

/// Every transport. A bare path belongs to the first that recognises it, so the ones that look
/// closest come first, then the plain file, and folders in which images have to be looked for last.
pub static TRANSPORTS: &[&dyn Transport] = &[
    &imgconv_transport_oci_layout::OCI_LAYOUT,
    &imgconv_transport_dir::DIR,
    &imgconv_transport_rkt::RKT,
    &imgconv_transport_docker_root::DOCKER_ROOT,
    &imgconv_transport_containerd::CONTAINERD,
    &imgconv_transport_containers_storage::CONTAINERS_STORAGE,
    &imgconv_transport_registry_storage::REGISTRY_STORAGE,
    &imgconv_transport_docker_archive::DOCKER_ARCHIVE,
    &imgconv_transport_oci_layout::OCI_ARCHIVE,
    &imgconv_transport_registry::REGISTRY,
    &imgconv_transport_http::HTTPS,
    &imgconv_transport_http::HTTP,
    &imgconv_transport_appc::APPC,
    &imgconv_transport_file::FILE,
    &crate::tree::TREE,
    &crate::tree::ACI_TREE,
];

/// Returns the format of that identity.
pub fn format(id: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.id().0 == id)
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

/// Says whether a transport's destinations have a place for the names of images.
pub fn has_names(transport: &dyn Transport) -> bool {
    transport.scheme() != "dir"
}

/// Says whether a transport's destinations have a list of descriptors.
pub fn has_descriptors(transport: &dyn Transport) -> bool {
    ["oci", "oci-archive"].contains(&transport.scheme())
}

/// Says whether the images of a transport's destinations are found by a digest of any algorithm: a
/// place without a list of its images names them by the usual one, if at all.
pub fn has_digests(transport: &dyn Transport) -> bool {
    transport.scheme() != "dir"
}

/// Returns the formats that a transport's destinations can be written in, the default first; none
/// for what is only read.
pub fn written_by(transport: &dyn Transport) -> &'static [FormatId] {
    match transport.scheme() {
        "aci" => &[FormatId("aci")],
        "docker-archive" => &[FormatId("docker-archive")],
        "dir" | "docker" => &[
            FormatId("oci"),
            FormatId("docker-v2s2"),
            FormatId("docker-v2s1"),
        ],
        "rkt" | "docker-root" | "containerd" | "containers-storage" | "registry-storage"
        | "tree" | "aci-tree" | "http" | "https" | "appc" => &[],
        _ => &[FormatId("oci")],
    }
}
