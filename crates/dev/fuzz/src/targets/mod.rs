//! The table of targets.

mod documents;
mod journal;
mod layers;
mod net;
mod places;
mod records;
mod tar;
mod text;

use crate::target::{Bounds, Target};

pub use self::tar::members;

const fn reader(name: &'static str, read: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target {
        name,
        read,
        seeds,
        bounds: Bounds::READER,
    }
}

const fn conversion(name: &'static str, read: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target {
        name,
        read,
        seeds,
        bounds: Bounds::CONVERSION,
    }
}

/// Every target.
pub static TARGETS: &[Target] = &[
    // Bytes.
    reader("stream", layers::stream, layers::stream_seeds),
    reader("tar", tar::framing, tar::seeds),
    reader("layer", layers::merging, layers::merging_seeds),
    conversion("chunked", layers::chunked, tar::seeds),
    reader("tar-split", records::tar_split, records::tar_split_seeds),
    reader("reversal", records::reversal, records::reversal_seeds),
    reader(
        "reversal-archive",
        records::reversal_archive,
        records::reversal_archive_seeds,
    ),
    reader("bolt", records::bolt, records::bolt_seeds),
    // Texts.
    reader("json", text::json, text::json_seeds),
    reader("names", text::names, text::name_seeds),
    reader("tags", text::tags, text::tag_seeds),
    reader("discovery", text::discovery, text::discovery_seeds),
    reader("openpgp", text::openpgp, text::openpgp_seeds),
    reader("jws", text::jws, text::jws_seeds),
    reader("registries-conf", text::registries, text::registries_seeds),
    // Formats.
    reader("documents", documents::documents, documents::document_seeds),
    reader("aci", documents::aci, documents::aci_seeds),
    reader("rootfs", documents::rootfs, tar::seeds),
    // Places.
    conversion("oci", places::oci, places::oci_seeds),
    conversion("oci-archive", places::oci_archive, places::oci_seeds),
    conversion(
        "docker-archive",
        places::docker_archive,
        places::docker_archive_seeds,
    ),
    conversion("file", places::file, documents::aci_seeds),
    conversion("dir", places::dir, places::dir_seeds),
    conversion(
        "registry-storage",
        places::registry_storage,
        places::registry_storage_seeds,
    ),
    conversion("rkt", places::rkt, places::rkt_seeds),
    conversion(
        "docker-root",
        places::docker_root,
        places::docker_root_seeds,
    ),
    conversion(
        "containers-storage",
        places::containers_storage,
        places::containers_storage_seeds,
    ),
    conversion("containerd", places::containerd, places::containerd_seeds),
    // Networks and a journal.
    conversion("registry", net::registry, net::registry_seeds),
    reader("http-answer", net::answer, net::answer_seeds),
    conversion("http-request", net::request, net::request_seeds),
    conversion("journal", journal::journal, journal::seeds),
];

/// Returns the target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
