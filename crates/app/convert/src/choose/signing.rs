//! The key that schema 1 manifests are signed with.

use std::path::Path;

use imgconv_format_docker_v2s1::SigningKey;
use imgconv_model::{Code, Error, FormatId, Result};

use crate::options::Options;

/// The only format with signatures inside its manifests.
pub const SCHEMA1: FormatId = FormatId::DOCKER_V2S1;

/// A key is a few hundred bytes.
const KEY_BYTES: u64 = 1 << 20;

/// Reads the key that the user named, if the target has signatures.
///
/// # Errors
/// [`Code::Usage`] if the target has no signatures, or the file is no private key; an I/O error if
/// the file can't be read.
pub fn signing_key(options: &Options, target: FormatId) -> Result<Option<SigningKey>> {
    let Some(path) = &options.sign_key else {
        return Ok(None);
    };
    if target != SCHEMA1 {
        let message =
            format!("`--sign-key` signs {SCHEMA1} manifests, but the output format is {target}");
        let hint = format!("`{SCHEMA1}+dir:PATH` is a destination of that format");
        return Err(Error::new(Code::Usage, message).hint(hint));
    }
    read_key(path)
        .map(Some)
        .map_err(|error| error.at(path.display().to_string()))
}

fn read_key(path: &Path) -> Result<SigningKey> {
    let bytes = imgconv_fs::read_given(path, ("key_file", KEY_BYTES), "the signing key")?;
    SigningKey::from_jwk(&bytes).map_err(|error| {
        // The key belongs to the user and is no part of a source.
        Error::new(Code::Usage, error.to_string())
            .hint("`--sign-key` takes a private key on P-256 as a JSON Web Key")
    })
}
