//! Signatures in a build without the feature `rpgp`: every one is refused.

use std::{convert::Infallible, time::SystemTime};

use imgconv_model::{Code, Env, Error, Reader, Result, Secret, Signature};

use crate::signer::{OpenData, Verified};

/// The hint of every error here.
const HINT: &str = "build imgconv with the cargo feature `openpgp`";

/// Refuses the signature of what is called `name`: it can't be verified.
///
/// # Errors
/// [`Code::Unsupported`], always.
pub fn check(
    _signature: &Signature,
    _name: &str,
    _data: OpenData<'_>,
    _env: &Env,
) -> Result<Verified> {
    let message = "this build has no OpenPGP support; the signature can't be verified";
    let hint = format!("{HINT}; `--insecure-image` accepts the image without verifying it");
    Err(Error::new(Code::Unsupported, message).hint(hint))
}

/// A secret key in a build that signs nothing. No value of the type can be made.
#[derive(Debug)]
pub struct SigningKey(Infallible);

impl SigningKey {
    /// Refuses to read a secret key.
    ///
    /// # Errors
    /// [`Code::Unsupported`], always.
    pub fn read(_bytes: &[u8], _password: Option<&Secret>) -> Result<Self> {
        let message = "this build has no OpenPGP support; nothing can be signed";
        Err(Error::new(Code::Unsupported, message).hint(HINT))
    }

    /// Returns the fingerprint of the key. Unreachable, because there is no key.
    pub fn fingerprint(&self) -> String {
        match self.0 {}
    }

    /// Signs `data`. Unreachable, because there is no key.
    ///
    /// # Errors
    /// None.
    pub fn sign(&self, _data: Reader, _when: SystemTime) -> Result<String> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use imgconv_model::Platform;

    use super::*;

    #[test]
    fn every_signature_is_refused_and_nothing_is_signed() {
        let signature = Signature {
            bytes: b"anything".to_vec(),
            keys: Vec::new(),
            offered: Vec::new(),
        };
        let env = Env::new("/", Platform::new("linux", "amd64"));
        let data = || -> Result<Reader> { Ok(Box::new(&b"data"[..])) };
        let error = check(&signature, "example.com/app", &data, &env).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.advice().unwrap().contains("`openpgp`"));
        let error = SigningKey::read(b"key", None).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
    }
}
