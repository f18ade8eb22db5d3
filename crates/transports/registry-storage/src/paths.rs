//! The paths of a storage of version 2, and the links in it.

use imgconv_fs::Directory;
use imgconv_model::{Algorithm, Code, Digest, Error, Limits, Result, quote};

/// The algorithm under which a registry stores every blob.
pub(crate) const CANONICAL: Algorithm = Algorithm::Sha256;
/// The folder of version 2.
pub(crate) const BASE: &str = "docker/registry/v2";

/// Returns the path of a blob's bytes.
pub(crate) fn blob_path(digest: &Digest) -> String {
    let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
    format!("{BASE}/blobs/{algorithm}/{}/{hex}/data", &hex[..2])
}

/// Reads a file that holds a digest.
pub(crate) fn read_link(directory: &Directory, path: &str, limits: &Limits) -> Result<Digest> {
    let place = || format!("file {}", quote(path));
    let Some(bytes) = directory.read(path, ("layout_file", limits.layout_file))? else {
        let message = "the link is missing";
        return Err(Error::new(Code::Missing, message).at(place()));
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_end();
    Digest::parse(text).map_err(|error| error.at(place()))
}
