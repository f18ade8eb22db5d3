//! The limits that every reader applies to input, with the project's defaults.

use crate::{Code, Error, Result};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A limit with its name and its meaning, as `imgconv help limits` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name that [`Limits::set`] takes.
    pub name: &'static str,
    /// The meaning: the bounded quantity, as a sentence with a unit.
    pub about: &'static str,
    /// The value.
    pub value: u64,
}

macro_rules! limits {
    ($(#[doc = $about:literal] $name:ident = $default:expr,)*) => {
        /// Bounds on the memory and output that an input may make this program use.
        ///
        /// A limit that is exceeded is a [`Code::Limit`] error; a reader stops after limit + 1 bytes
        /// and never allocates a declared size.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $about] pub $name: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

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

            /// Returns every limit.
            pub fn all(&self) -> Vec<Limit> {
                vec![$(Limit {
                    name: stringify!($name),
                    about: $about.trim_ascii(),
                    value: self.$name,
                }),*]
            }
        }
    };
}

limits! {
    /// Bytes of an OCI manifest or nested index.
    manifest = 4 * MIB,
    /// Bytes of a layout's `index.json`.
    root_index = 64 * MIB,
    /// Bytes of an image configuration.
    config = 4 * MIB,
    /// Bytes of a docker archive's `manifest.json` or `repositories`.
    archive_json = 20 * MIB,
    /// Bytes of an `oci-layout` or `VERSION` file.
    layout_file = 64 * KIB,
    /// Bytes of an ACI's `manifest`.
    aci_manifest = 64 * MIB,
    /// Levels of nesting in any JSON document.
    json_depth = 64,
    /// Bytes of memory that the values of one JSON document may take.
    json_memory = 160 * MIB,
    /// The same in multiples of the document's own bytes, for values above 16 MiB in all.
    json_ratio = 16,
    /// Layers of one image.
    layers = 1024,
    /// Nested indexes below a layout's own.
    index_depth = 8,
    /// Distinct documents and blobs that one image may reach.
    graph_nodes = 100_000,
    /// Symbolic links followed while one path is resolved.
    link_hops = 40,
    /// Links followed from one member of an archive to another.
    member_link_hops = 8,
    /// Bytes of one PAX header, and of all global ones together.
    pax_header = MIB,
    /// Bytes of one GNU long name.
    gnu_long = 128 * KIB,
    /// Extension headers before one tar member.
    ext_headers = 16,
    /// Bytes of one path or link target; Linux opens no longer path.
    path = 4095,
    /// Tar entries of one image, all layers together.
    entries = 4_000_000,
    /// Pieces of one sparse file's map.
    sparse_map = 10_000,
    /// Hole bytes that one layer may expand to.
    sparse_holes = GIB,
    /// Uncompressed bytes of one layer, read or made.
    layer_bytes = 64 * GIB,
    /// Uncompressed bytes of one image, read or made.
    image_bytes = 256 * GIB,
    /// The ratio of uncompressed to compressed bytes that gives a warning after the first GiB.
    ratio_warn = 2000,
    /// Bytes of a zstd window.
    zstd_window = 128 * MIB,
    /// Bytes of memory of an xz decoder.
    xz_memory = 256 * MIB,
    /// Bytes of one gzip header field.
    gzip_field = 64 * KIB,
    /// NUL bytes after a gzip member, a zstd frame, or a bzip2 or xz stream.
    padding = MIB,
    /// Depth of an ACI dependency tree.
    aci_deps_depth = 64,
    /// Images in an ACI dependency tree.
    aci_deps_nodes = 1024,
    /// Bytes of an image tags file.
    image_tags = 20 * MIB,
    /// Bytes of one component of an output file name.
    file_token = 200,
    /// Bytes of a token server's answer.
    token_body = MIB,
    /// Bytes of the text that comes with an HTTP error; the rest is not read.
    error_body = 64 * KIB,
    /// Bytes of all headers of one HTTP response.
    http_headers = 256 * KIB,
    /// Pages of one list of tags, of referrers or of repositories.
    tag_pages = 10_000,
    /// Repositories in the list of a whole registry.
    repositories = 100_000,
    /// Tags of all repositories of a whole registry.
    registry_tags = 1_000_000,
    /// Redirects that one HTTP request follows.
    redirects = 10,
    /// Attempts at one HTTP request.
    retries = 5,
    /// Bytes of an appc discovery page.
    discovery_page = MIB,
    /// Discovery pages that are requested for one image.
    discovery_requests = 16,
    /// Bytes of a detached signature.
    signature_file = MIB,
    /// Bytes of a file of public keys that is fetched.
    key_file = MIB,
    /// Bytes of all local files of public keys that are read for one image.
    key_ring = 64 * MIB,
}

impl Limits {
    /// Makes the error of an exceeded limit: what exceeded it, the limit, and the option for it.
    pub fn exceeded(name: &'static str, limit: u64, what: impl Into<String>) -> Error {
        let message = format!("{} exceeds the limit `{name}` of {limit}", what.into());
        Error::new(Code::Limit, message).hint(format!("`--limit {name}=N` raises it"))
    }

    /// Refuses a count of `what` above a limit, which is given with its name.
    ///
    /// # Errors
    /// [`Code::Limit`] if the count is too large.
    pub fn check(count: u64, limit: (&'static str, u64), what: &str) -> Result<()> {
        match count > limit.1 {
            true => Err(Self::exceeded(limit.0, limit.1, what)),
            false => Ok(()),
        }
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
        for (i, limit) in limits.all().into_iter().enumerate() {
            assert_eq!((limit.name, limit.value), (Limits::NAMES[i], i as u64));
        }
        assert_eq!(limits.set("nope", 1).unwrap_err().code(), Code::Usage);
    }
}
