//! The limits that every reader applies to input, with the project's defaults.

use crate::{Code, Error, Result};

/// Bounds on the memory and output that an input may make this program use.
///
/// A limit that is exceeded is a [`Code::Limit`] error; a reader stops after limit + 1 bytes and
/// never allocates a declared size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an OCI manifest or nested index.
    pub manifest: u64,
    /// Bytes of a layout's `index.json`.
    pub root_index: u64,
    /// Bytes of an image configuration.
    pub config: u64,
    /// Bytes of a docker archive's `manifest.json` or `repositories`.
    pub archive_json: u64,
    /// Bytes of an `oci-layout` or `VERSION` file.
    pub layout_file: u64,
    /// Bytes of an ACI's `manifest`.
    pub aci_manifest: u64,
    /// Levels of nesting in any JSON document.
    pub json_depth: u64,
    /// Bytes of memory that the values of one JSON document may take.
    pub json_memory: u64,
    /// The same in multiples of the document's own bytes, for values above 16 MiB in all.
    pub json_ratio: u64,
    /// Layers of one image.
    pub layers: u64,
    /// Nested indexes below a layout's own.
    pub index_depth: u64,
    /// Distinct documents and blobs that one image may reach.
    pub graph_nodes: u64,
    /// Symbolic links followed while one path is resolved.
    pub link_hops: u64,
    /// Links followed from one member of an archive to another.
    pub member_link_hops: u64,
    /// Bytes of one PAX header, and of all global ones together.
    pub pax_header: u64,
    /// Bytes of one GNU long name.
    pub gnu_long: u64,
    /// Extension headers before one tar member.
    pub ext_headers: u64,
    /// Bytes of one path or link target; Linux opens no longer path.
    pub path: u64,
    /// Tar entries of one image, all layers together.
    pub entries: u64,
    /// Pieces of one sparse file's map.
    pub sparse_map: u64,
    /// Hole bytes that one layer may expand to.
    pub sparse_holes: u64,
    /// Uncompressed bytes of one layer, read or made.
    pub layer_bytes: u64,
    /// Uncompressed bytes of one image, read or made.
    pub image_bytes: u64,
    /// The ratio of uncompressed to compressed bytes that gives a warning after the first GiB.
    pub ratio_warn: u64,
    /// Bytes of a zstd window.
    pub zstd_window: u64,
    /// Bytes of memory of an xz decoder.
    pub xz_memory: u64,
    /// Bytes of one gzip header field.
    pub gzip_field: u64,
    /// NUL bytes after a gzip member, a zstd frame, or a bzip2 or xz stream.
    pub padding: u64,
    /// Depth of an ACI dependency tree.
    pub aci_deps_depth: u64,
    /// Images in an ACI dependency tree.
    pub aci_deps_nodes: u64,
    /// Bytes of an image tags file.
    pub image_tags: u64,
    /// Bytes of one component of an output file name.
    pub file_token: u64,
    /// Bytes of a token server's answer.
    pub token_body: u64,
    /// Bytes of the text that comes with an HTTP error; the rest is not read.
    pub error_body: u64,
    /// Bytes of all headers of one HTTP response.
    pub http_headers: u64,
    /// Pages of one list of tags, of referrers or of repositories.
    pub tag_pages: u64,
    /// Repositories in the list of a whole registry.
    pub repositories: u64,
    /// Tags of all repositories of a whole registry.
    pub registry_tags: u64,
    /// Redirects that one HTTP request follows.
    pub redirects: u64,
    /// Attempts at one HTTP request.
    pub retries: u64,
    /// Bytes of an appc discovery page.
    pub discovery_page: u64,
    /// Discovery pages that are requested for one image.
    pub discovery_requests: u64,
    /// Bytes of a detached signature.
    pub signature_file: u64,
    /// Bytes of a file of public keys that is fetched.
    pub key_file: u64,
    /// Bytes of all local files of public keys that are read for one image.
    pub key_ring: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        Self {
            manifest: 4 * MIB,
            root_index: 64 * MIB,
            config: 4 * MIB,
            archive_json: 20 * MIB,
            layout_file: 64 * KIB,
            aci_manifest: 64 * MIB,
            json_depth: 64,
            json_memory: 160 * MIB,
            json_ratio: 16,
            layers: 1024,
            index_depth: 8,
            graph_nodes: 100_000,
            link_hops: 40,
            member_link_hops: 8,
            pax_header: MIB,
            gnu_long: 128 * KIB,
            ext_headers: 16,
            path: 4095,
            entries: 4_000_000,
            sparse_map: 10_000,
            sparse_holes: GIB,
            layer_bytes: 64 * GIB,
            image_bytes: 256 * GIB,
            ratio_warn: 2000,
            zstd_window: 128 * MIB,
            xz_memory: 256 * MIB,
            gzip_field: 64 * KIB,
            padding: MIB,
            aci_deps_depth: 64,
            aci_deps_nodes: 1024,
            image_tags: 20 * MIB,
            file_token: 200,
            token_body: MIB,
            error_body: 64 * KIB,
            http_headers: 256 * KIB,
            tag_pages: 10_000,
            repositories: 100_000,
            registry_tags: 1_000_000,
            redirects: 10,
            retries: 5,
            discovery_page: MIB,
            discovery_requests: 16,
            signature_file: MIB,
            key_file: MIB,
            key_ring: 64 * MIB,
        }
    }
}

macro_rules! by_name {
    ($($name:ident),* $(,)?) => {
        impl Limits {
            /// The names that [`Limits::set`] takes.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Sets the limit of that name.
            ///
            /// # Errors
            /// [`Code::Usage`] if there is no limit of that name.
            pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return Err(Error::new(
                        Code::Usage,
                        format!("there is no limit `{name}`: {}", Self::NAMES.join(", ")),
                    )),
                }
                Ok(())
            }

            /// Returns every limit with its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

by_name!(
    manifest,
    root_index,
    config,
    archive_json,
    layout_file,
    aci_manifest,
    json_depth,
    json_memory,
    json_ratio,
    layers,
    index_depth,
    graph_nodes,
    link_hops,
    member_link_hops,
    pax_header,
    gnu_long,
    ext_headers,
    path,
    entries,
    sparse_map,
    sparse_holes,
    layer_bytes,
    image_bytes,
    ratio_warn,
    zstd_window,
    xz_memory,
    gzip_field,
    padding,
    aci_deps_depth,
    aci_deps_nodes,
    image_tags,
    file_token,
    token_body,
    error_body,
    http_headers,
    tag_pages,
    repositories,
    registry_tags,
    redirects,
    retries,
    discovery_page,
    discovery_requests,
    signature_file,
    key_file,
    key_ring,
);

impl Limits {
    /// Makes the error of an exceeded limit: what exceeded it, the limit, and the option for it.
    pub fn exceeded(name: &'static str, limit: u64, what: impl Into<String>) -> Error {
        let message = format!("{} exceeds the limit `{name}` of {limit}", what.into());
        Error::new(Code::Limit, message).hint(format!("`--limit {name}=N` raises it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_name() {
        let mut limits = Limits::default();
        for (i, name) in Limits::NAMES.iter().enumerate() {
            limits.set(name, i as u64).unwrap();
        }
        for (i, (name, value)) in limits.all().into_iter().enumerate() {
            assert_eq!((name, value), (Limits::NAMES[i], i as u64));
        }
        assert_eq!(limits.set("nope", 1).unwrap_err().code(), Code::Usage);
    }
}
