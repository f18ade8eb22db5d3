//! The only place where formats and transports are registered.

use std::path::Path;

use imgconv_model::{
    Blob, Document, DocumentFormat, Format, FormatId, Place, Result, Root, StreamFormat, Transport,
};

use crate::tree::Tree;

/// Every format.
pub static FORMATS: &[Format] = &[
    Format::Stream(&imgconv_format_aci::Aci),
    Format::Documents(&imgconv_format_oci::OCI),
    Format::Documents(&imgconv_format_docker_v2s2::DOCKER_V2S2),
    Format::Documents(&imgconv_format_docker_v2s2::DOCKER_ARCHIVE),
    Format::Documents(&imgconv_format_docker_v2s1::DOCKER_V2S1),
    Format::Documents(&imgconv_format_docker_v2s1::DOCKER_V1),
    Format::Stream(&imgconv_format_rootfs::Rootfs),
];

/// Every transport. A bare path belongs to the first transport that recognises it, so transports
/// with the strictest tests come first, then the plain file, and last the folders in which images
/// have to be searched.
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
    &imgconv_transport_registry_v1::REGISTRY_V1,
    &imgconv_transport_docker_daemon::DOCKER_DAEMON,
    &imgconv_transport_http::HTTPS,
    &imgconv_transport_http::HTTP,
    &imgconv_transport_appc::APPC,
    &imgconv_transport_file::FILE,
    &imgconv_transport_rootfs::ROOTFS,
    &Tree {
        acis_only: false,
        transports,
    },
    &Tree {
        acis_only: true,
        transports,
    },
];

/// Returns [`TRANSPORTS`].
fn transports() -> &'static [&'static dyn Transport] {
    TRANSPORTS
}

/// Returns the format of that identity.
pub fn format(id: &str) -> Option<Format> {
    FORMATS.iter().copied().find(|format| format.id().0 == id)
}

/// A root and the format that recognised it.
#[derive(Clone, Copy, Debug)]
pub enum Recognised<'r> {
    /// A document.
    Document(&'static dyn DocumentFormat, &'r Document),
    /// A stream that is a whole image.
    Stream(&'static dyn StreamFormat, &'r Blob),
}

impl Recognised<'_> {
    /// Returns the identity of the format.
    pub fn id(self) -> FormatId {
        match self {
            Self::Document(format, _) => format.id(),
            Self::Stream(format, _) => format.facts().id,
        }
    }
}

/// Finds the one format that recognises a root. A format whose streams describe nothing is asked only if
/// it is `said`, and after the others.
pub fn recognise(root: &Root, said: Option<FormatId>) -> Option<Recognised<'_>> {
    let asked = |format: &&Format| describes(**format) || said == Some(format.id());
    FORMATS
        .iter()
        .filter(asked)
        .find_map(|format| match (*format, root) {
            (Format::Documents(format), Root::Document(document)) if format.recognise(document) => {
                Some(Recognised::Document(format, document))
            }
            (Format::Stream(format), Root::Stream(stream)) if format.recognise(stream) => {
                Some(Recognised::Stream(format, stream))
            }
            _ => None,
        })
}

/// Returns the format that everything in a kind of place has, where the place and not the bytes say it.
pub fn said_by(place: &Place) -> Option<FormatId> {
    let here =
        |format: &&Format| !describes(**format) && place.families.contains(&format.facts().family);
    FORMATS.iter().find(here).map(|format| format.id())
}

/// Says whether the bytes of an image tell its format.
pub fn describes(format: Format) -> bool {
    let stream = format.stream();
    stream.is_none_or(|stream| stream.stream_facts().describes)
}

/// Returns the transport of that scheme.
pub fn transport(scheme: &str) -> Option<&'static dyn Transport> {
    let mut all = TRANSPORTS.iter().copied();
    all.find(|transport| transport.place().scheme == scheme)
}

/// Returns the first transport that recognises what is at a path.
///
/// # Errors
/// With the path, if the path can't be examined.
pub fn transport_of(path: &Path) -> Result<Option<&'static dyn Transport>> {
    first_of(TRANSPORTS, path)
}

/// Returns the first of the transports that recognises what is at a path. The transports after one that
/// can't examine the path are not asked: they could take the place for another one.
///
/// # Errors
/// With the path, if the path can't be examined.
pub(crate) fn first_of<'t>(
    transports: impl IntoIterator<Item = &'t &'static dyn Transport>,
    path: &Path,
) -> Result<Option<&'static dyn Transport>> {
    for transport in transports {
        if transport.recognise(path)? {
            return Ok(Some(*transport));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use imgconv_model::Facts;

    use super::*;

    /// Returns the folders of crates of one kind that this file does not list.
    fn unlisted(kind: &str, package: &str) -> Vec<String> {
        let (listed, _) = include_str!("catalog.rs")
            .split_once("#[cfg(test)]")
            .unwrap();
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folders = std::fs::read_dir(crates.join(kind)).unwrap();
        folders
            .map(|folder| folder.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                let item = format!("imgconv_{package}_{}::", name.replace('-', "_"));
                !listed.contains(&item)
            })
            .collect()
    }

    #[test]
    fn every_format_and_transport_is_listed() {
        assert_eq!(unlisted("formats", "format"), [""; 0]);
        assert_eq!(unlisted("transports", "transport"), [""; 0]);
        assert!(!unlisted("core", "transport").is_empty());
    }

    #[test]
    fn a_stream_is_no_document() {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let bytes: Arc<[u8]> = br#"{"schemaVersion":2,"config":{},"layers":[]}"#[..].into();
        let document = Document {
            kind: kind.to_owned(),
            bytes: Arc::clone(&bytes),
        };
        let root = Root::Document(document);
        assert_eq!(recognise(&root, None).unwrap().id(), FormatId::OCI);
        let stream = Blob {
            facts: Facts::default(),
            bytes: Arc::new(bytes),
        };
        assert!(recognise(&Root::Stream(stream), None).is_none());
    }

    #[test]
    fn schemes_and_format_ids_are_unique() {
        let mut schemes: Vec<&str> = TRANSPORTS.iter().map(|it| it.place().scheme).collect();
        schemes.sort_unstable();
        schemes.dedup();
        assert_eq!(schemes.len(), TRANSPORTS.len());
        let mut ids: Vec<FormatId> = FORMATS.iter().map(|it| it.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), FORMATS.len());
    }

    #[test]
    fn the_facts_of_a_place_agree() {
        for transport in TRANSPORTS {
            let place = transport.place();
            let start = format!("{}:", place.scheme);
            assert!(place.syntax.starts_with(&start), "{place:?}");
            let takes_reference = place.addressing == imgconv_model::Addressing::Reference;
            assert_eq!(
                place.syntax.ends_with("[:REF]"),
                takes_reference,
                "{place:?}"
            );
            let Some(writes) = place.writes else { continue };
            assert!(!writes.formats.is_empty(), "{place:?}");
            for id in writes.formats {
                assert!(format(id.0).is_some(), "{place:?} {id}");
            }
        }
    }
}
