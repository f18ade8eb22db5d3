//! Signing like `gpg --armor --detach-sign`, from a file with a secret key.

use std::time::{SystemTime, UNIX_EPOCH};

use imgconv_model::{Code, Error, Reader, Result, Secret};
use pgp::{
    composed::{
        ArmorOptions, DetachedSignature, PublicOrSecret, SignedSecretKey, SignedSecretSubKey,
        SubpacketConfig,
    },
    crypto::hash::HashAlgorithm,
    packet::{Subpacket, SubpacketData},
    types::{KeyDetails, Password, SigningKey as Signing, Timestamp},
};
use rand::rngs::OsRng;

use crate::{armour, strength};

/// A secret key that signs.
pub struct SigningKey {
    key: SignedSecretKey,
    password: Password,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey")
            .field(&self.fingerprint())
            .finish()
    }
}

impl SigningKey {
    /// Reads a secret key, as `gpg --armor --export-secret-keys KEY` writes it, and its password.
    ///
    /// # Errors
    /// [`Code::BadSignature`] if the key can't be read, or is too short; [`Code::Unsupported`] if
    /// its algorithm is not supported; [`Code::Usage`] if there is not exactly one secret key.
    pub fn read(bytes: &[u8], password: Option<&Secret>) -> Result<Self> {
        let mut keys = armour::keys(bytes)?;
        let (1, Some(PublicOrSecret::Secret(key))) = (keys.len(), keys.pop()) else {
            let message = "signing needs a file with one secret key";
            return Err(Error::new(Code::Usage, message)
                .hint("`gpg --armor --export-secret-keys KEY` writes such a file"));
        };
        strength::check(&key.primary_key, "the key")?;
        if let Some(subkey) = signing_subkey(&key) {
            strength::check(&subkey.key, "the subkey that signs")?;
        }
        let password = password.map_or_else(Password::empty, |password| password.expose().into());
        Ok(Self { key, password })
    }

    /// The fingerprint of the primary key, in lower-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.key
            .primary_key
            .fingerprint()
            .to_string()
            .to_lowercase()
    }

    /// Signs all of `data` and returns the armoured signature with the time `when`. RSA and EdDSA
    /// keys give the same signature each time.
    ///
    /// # Errors
    /// [`Code::Denied`] if the password is wrong or the key can't sign, or the error of reading the
    /// data.
    pub fn sign(&self, mut data: Reader, when: SystemTime) -> Result<String> {
        let seconds = when
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let when = Timestamp::from_secs(u32::try_from(seconds).unwrap_or(u32::MAX));
        let signature = match signing_subkey(&self.key) {
            Some(subkey) => self.sign_with(&subkey.key, &mut data, when)?,
            None => self.sign_with(&self.key.primary_key, &mut data, when)?,
        };
        let options = ArmorOptions::default();
        signature
            .to_armored_string(options)
            .map_err(|error| failed(&error))
    }

    fn sign_with(
        &self,
        key: &impl Signing,
        data: &mut Reader,
        when: Timestamp,
    ) -> Result<DetachedSignature> {
        let subpackets = || -> pgp::errors::Result<SubpacketConfig> {
            let hashed = vec![
                Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
                Subpacket::regular(SubpacketData::SignatureCreationTime(when))?,
            ];
            let unhashed = vec![Subpacket::regular(SubpacketData::IssuerKeyId(
                key.legacy_key_id(),
            ))?];
            Ok(SubpacketConfig::UserDefined { hashed, unhashed })
        };
        let subpackets = subpackets().map_err(|error| failed(&error))?;
        DetachedSignature::sign_binary_data_with_subpackets(
            OsRng,
            key,
            &self.password,
            HashAlgorithm::Sha512,
            data,
            subpackets,
        )
        .map_err(|error| failed(&error))
    }
}

/// Returns a subkey for signing, which other programs prefer too.
fn signing_subkey(key: &SignedSecretKey) -> Option<&SignedSecretSubKey> {
    let signs = |subkey: &&SignedSecretSubKey| {
        let mut bindings = subkey.signatures.iter();
        bindings.any(|binding| binding.key_flags().sign())
    };
    key.secret_subkeys.iter().rev().find(signs)
}

fn failed(error: &pgp::errors::Error) -> Error {
    Error::new(Code::Denied, format!("the key does not sign: {error}"))
        .hint("check the password of the key, and that the key may sign")
}
