//! The rights of one key, and their times.
//!
//! A signature counts if the key that made it may sign: the primary key by its newest valid
//! self-signature, a subkey by its newest valid binding and the embedded signature back (RFC 9580,
//! sections 5.2.1 and 10.1). Expiry is judged now, not at the claimed time of the signature: the
//! owner of an old key can write any time into the signature. rkt judges the same way.

use std::time::{Duration, SystemTime};

use imgconv_model::{Error, Reader, Result, escape};
use pgp::{
    composed::{SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType, SubpacketData},
    types::{KeyDetails, Tag},
};

use crate::{
    refusal::{bad, refused},
    signer::{OpenData, Signer, Verified},
    strength,
};

/// The most that the clock of a signer may be ahead of the clock of the verifier.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// A trusted key.
#[derive(Clone, Debug)]
pub(crate) struct Key(SignedPublicKey);

/// The fingerprint of a key, in lower-case hexadecimal.
fn fingerprint(key: &impl KeyDetails) -> String {
    key.fingerprint().to_string().to_lowercase()
}

/// The key of a certificate that made a signature.
#[derive(Clone, Copy)]
enum Component<'k> {
    Primary,
    Subkey(&'k SignedPublicSubKey),
}

impl Key {
    pub(crate) fn new(key: SignedPublicKey) -> Self {
        Self(key)
    }

    /// The fingerprint of the primary key, in lower-case hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.0.primary_key)
    }

    /// Returns true if a signature names this key or one of its subkeys as its issuer.
    pub(crate) fn is_named_by(&self, signature: &Signature) -> bool {
        self.component_of(signature).is_some()
    }

    fn component_of(&self, signature: &Signature) -> Option<Component<'_>> {
        if names(signature, &self.0.primary_key) {
            return Some(Component::Primary);
        }
        let mut subkeys = self.0.public_subkeys.iter();
        subkeys
            .find(|subkey| names(signature, &subkey.key))
            .map(Component::Subkey)
    }

    /// Verifies a signature that names this key, over all the data.
    pub(crate) fn verify(
        &self,
        signature: &Signature,
        data: OpenData<'_>,
        now: SystemTime,
        verified: &mut Verified,
    ) -> Result<()> {
        let component = self.component_of(signature);
        let component = component.expect("the key was chosen because the signature names it");
        let who = format!("key {}", self.fingerprint());
        // An attacker who can break the primary key can add any subkey to it.
        strength::check(&self.0.primary_key, &who).map_err(refused)?;
        if let Component::Subkey(subkey) = component {
            let whose = format!("the subkey {} of {who}", fingerprint(&subkey.key));
            strength::check(&subkey.key, &whose).map_err(refused)?;
        }
        let warnings = self
            .check_may_sign(component, signature, now)
            .map_err(|why| bad(format!("{who} {why}")))?;
        let mut data = Recorded {
            reader: data()?,
            error: None,
        };
        let outcome = match component {
            Component::Primary => signature.verify(&self.0.primary_key, &mut data),
            Component::Subkey(subkey) => signature.verify(&subkey.key, &mut data),
        };
        if let Some(error) = data.error {
            return Err(Error::from_io(error));
        }
        outcome.map_err(|_| bad(format!("the signature of {who} does not fit these bytes")))?;
        let signer = self.signer();
        if !verified.signers.contains(&signer) {
            verified.signers.push(signer);
        }
        for warning in warnings {
            let warning = format!("{who} {warning}");
            if !verified.warnings.contains(&warning) {
                verified.warnings.push(warning);
            }
        }
        Ok(())
    }

    fn signer(&self) -> Signer {
        let users = self.0.details.users.iter();
        let named = users.filter(|user| user.verify_bindings(&self.0.primary_key).is_ok());
        Signer {
            fingerprint: self.fingerprint(),
            user_ids: named.map(|user| escape(user.id.id())).collect(),
        }
    }

    /// Returns the reason why the key may not sign, or its irregularities.
    fn check_may_sign(
        &self,
        component: Component<'_>,
        signature: &Signature,
        now: SystemTime,
    ) -> Result<Vec<String>, String> {
        let primary = &self.0.primary_key;
        let details = &self.0.details;
        if details
            .revocation_signatures
            .iter()
            .any(|revocation| revocation.verify_key(primary).is_ok())
        {
            return Err("is revoked".into());
        }
        let own = self
            .newest_self_signature()
            .ok_or("has no valid self-signature")?;
        let mut warnings = Vec::new();
        if is_sha1(own) {
            warnings.push("has a self-signature by SHA-1".to_owned());
        }
        check_alive(primary.created_at().into(), own, now)?;
        let made_at = signature.created().map(SystemTime::from);
        let born_at = match component {
            Component::Primary => {
                if has_flags(own) && !own.key_flags().sign() {
                    return Err("may not sign, by its own flags".into());
                }
                primary.created_at()
            }
            Component::Subkey(subkey) => {
                let binding = self.newest_binding(subkey)?;
                if is_sha1(binding) {
                    warnings.push("binds its subkey by SHA-1".to_owned());
                }
                check_alive(subkey.key.created_at().into(), binding, now)
                    .map_err(|why| format!("has a subkey that {why}"))?;
                subkey.key.created_at()
            }
        };
        if made_at.is_some_and(|made_at| made_at < SystemTime::from(born_at)) {
            return Err("is younger than the signature".into());
        }
        Ok(warnings)
    }

    /// The newest valid signature of the key over itself or one of its user IDs. A revoked user ID
    /// does not count.
    fn newest_self_signature(&self) -> Option<&Signature> {
        let primary = &self.0.primary_key;
        let direct = self.0.details.direct_signatures.iter();
        let direct = direct.filter(|own| is_sound(own) && own.verify_key(primary).is_ok());
        let mut all: Vec<&Signature> = direct.collect();
        for user in &self.0.details.users {
            let valid = |own: &&Signature| {
                is_sound(own)
                    && own
                        .verify_certification(primary, Tag::UserId, &user.id)
                        .is_ok()
            };
            let own: Vec<&Signature> = user.signatures.iter().filter(valid).collect();
            let revoked = |own: &&Signature| own.typ() == Some(SignatureType::CertRevocation);
            if !own.iter().any(revoked) {
                all.extend(own);
            }
        }
        all.into_iter().max_by_key(|own| own.created())
    }

    /// The newest valid binding of a subkey that may sign.
    fn newest_binding<'k>(&self, subkey: &'k SignedPublicSubKey) -> Result<&'k Signature, String> {
        let primary = &self.0.primary_key;
        let valid = |binding: &&Signature| {
            is_sound(binding) && binding.verify_subkey_binding(primary, &subkey.key).is_ok()
        };
        let valid: Vec<&Signature> = subkey.signatures.iter().filter(valid).collect();
        let revocation = |it: &&Signature| it.typ() == Some(SignatureType::SubkeyRevocation);
        if valid.iter().any(revocation) {
            return Err("has revoked the subkey that signed".into());
        }
        let binding = valid.into_iter().max_by_key(|binding| binding.created());
        let binding = binding.ok_or("does not own the subkey that signed")?;
        if !binding.key_flags().sign() {
            return Err("has a subkey that may not sign, by its flags".into());
        }
        let back = binding.embedded_signature();
        let owned = back.is_some_and(|back| {
            is_sound(back)
                && back
                    .verify_primary_key_binding(&subkey.key, primary)
                    .is_ok()
        });
        if !owned {
            return Err(
                "does not own the subkey that signed: its signature back is missing".into(),
            );
        }
        Ok(binding)
    }
}

/// Refuses a signature that is not valid for any key.
pub(crate) fn check_form(signature: &Signature, now: SystemTime) -> Result<()> {
    let Some(config) = signature.config() else {
        return Err(bad("the signature is of an unknown version"));
    };
    if config.typ() != SignatureType::Binary {
        return Err(bad("the signature is not over the bytes of a file"));
    }
    if !is_strong(config.hash_alg) {
        let message = format!("the signature is by {}, which is broken", config.hash_alg);
        return Err(bad(message));
    }
    if let Some(unknown) = config.hashed_subpackets().find(|part| {
        let known = !matches!(
            part.data,
            SubpacketData::Experimental(..) | SubpacketData::Other(..) | SubpacketData::Notation(_)
        );
        part.is_critical && !known
    }) {
        let message = format!(
            "the signature has a critical part that is unknown: {:?}",
            unknown.typ()
        );
        return Err(bad(message));
    }
    let Some(created) = signature.created().map(SystemTime::from) else {
        return Err(bad("the signature has no time"));
    };
    if created > now + CLOCK_SKEW {
        return Err(bad(
            "the signature was made in the future, or the clock is wrong",
        ));
    }
    let lifetime = signature
        .signature_expiration_time()
        .map(|time| time.as_secs());
    if let Some(seconds) = lifetime.filter(|seconds| *seconds > 0)
        && created + Duration::from_secs(seconds.into()) <= now
    {
        return Err(bad("the signature has expired"));
    }
    Ok(())
}

/// Returns the claimed issuer of a signature.
pub(crate) fn issuer(signature: &Signature) -> String {
    if let Some(fingerprint) = signature.issuer_fingerprint().first() {
        return format!("key {}", fingerprint.to_string().to_lowercase());
    }
    match signature.issuer_key_id().first() {
        Some(id) => format!("key {}", id.to_string().to_lowercase()),
        None => "a key that is not named".to_owned(),
    }
}

/// Returns true if a signature names a key as its issuer; a signature without an issuer matches no
/// key.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        return fingerprints.contains(&&key.fingerprint());
    }
    signature.issuer_key_id().contains(&&key.legacy_key_id())
}

fn check_alive(born_at: SystemTime, own: &Signature, now: SystemTime) -> Result<(), String> {
    let lifetime = own.key_expiration_time().map(|time| time.as_secs());
    match lifetime {
        Some(seconds) if seconds > 0 && born_at + Duration::from_secs(seconds.into()) <= now => {
            Err("has expired".into())
        }
        _ => Ok(()),
    }
}

fn has_flags(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        let flags = |data: &SubpacketData| matches!(data, SubpacketData::KeyFlags(_));
        config.hashed_subpackets().any(|part| flags(&part.data))
    })
}

/// A signature of a key over itself may still use SHA-1: old keys must keep working, and a
/// collision would need the help of the key's owner.
fn is_sound(signature: &Signature) -> bool {
    let algorithm = signature.hash_alg();
    algorithm.is_some_and(|algorithm| is_strong(algorithm) || algorithm == HashAlgorithm::Sha1)
}

fn is_sha1(signature: &Signature) -> bool {
    signature.hash_alg() == Some(HashAlgorithm::Sha1)
}

fn is_strong(algorithm: HashAlgorithm) -> bool {
    matches!(
        algorithm,
        HashAlgorithm::Sha224
            | HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

/// Keeps the error of the data, which is not an error of the signature.
struct Recorded {
    reader: Reader,
    error: Option<std::io::Error>,
}

impl std::io::Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.reader.read(buffer) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.error = Some(error);
                Err(kind.into())
            }
            other => other,
        }
    }
}
