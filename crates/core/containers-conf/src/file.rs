//! Reading one configuration file as TOML. What the keys mean belongs to the callers.

use std::{fs::File, io, path::Path};

use imgconv_model::{Code, Error, Result, quote_path};
use imgconv_stream::read_to_limit;
use serde::de::DeserializeOwned;

/// The most bytes of a configuration file.
const MAX: (&str, u64) = ("config", 1 << 20);

/// Describes a file in errors.
pub(crate) fn place(path: &Path) -> String {
    format!("file {}", quote_path(path))
}

/// Reads a configuration file; `None` if the file does not exist.
///
/// # Errors
/// [`Code::BadManifest`] with the file and the line for a file that is no TOML of this shape,
/// [`Code::Limit`] for a file above 1 MiB, and the errors of reading.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(error, place(path))),
    };
    let bytes = read_to_limit(file, MAX, &place(path))?;
    let bad = |line: usize, why: &str| {
        let message = format!("line {line}: the configuration is no valid TOML: {why}");
        Error::new(Code::BadManifest, message).at(place(path))
    };
    let line = |bytes: &[u8]| 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| bad(line(&bytes[..error.valid_up_to()]), "it is not UTF-8"))?;
    let document = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(bytes.len()));
        bad(line(&bytes[..start]), error.message())
    })?;
    Ok(Some(document))
}
