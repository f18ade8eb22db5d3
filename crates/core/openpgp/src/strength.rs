//! The strength of a key: its length, and whether its algorithm is supported.
//!
//! RSA and DSA keys below 2048 bits are disallowed by NIST SP 800-131A (revision 2, table 2), and
//! attackers can factor a key of 1024 bits.

use imgconv_model::{Code, Error};
use pgp::{
    crypto::ecc_curve::ECCCurve,
    ser::Serialize,
    types::{EcdsaPublicParams, EddsaLegacyPublicParams, KeyDetails, PublicParams},
};

/// The bits of the shortest RSA or DSA key that is accepted.
const LEAST: u16 = 2048;

/// Refuses a key that is too weak or not supported. `whose` is the subject of the message.
///
/// # Errors
/// [`Code::BadSignature`] for a short key, [`Code::Unsupported`] for an algorithm that is not
/// supported.
pub(crate) fn check(key: &impl KeyDetails, whose: &str) -> Result<(), Error> {
    let params = key.public_params();
    let short = |kind: &str, bits: u16| {
        let message =
            format!("{whose} is {kind} key of {bits} bits; keys below {LEAST} bits can be broken");
        Error::new(Code::BadSignature, message)
            .hint("sign with a key of at least 2048 bits, or with Ed25519")
    };
    let unsupported = |what: String| {
        let message = format!(
            "{whose} {what}, which is not supported: RSA, DSA, Ed25519, Ed448, the curves of NIST and \
             secp256k1 are"
        );
        Error::new(Code::Unsupported, message)
    };
    let on_curve = |curve: &ECCCurve| {
        let name = match curve {
            ECCCurve::Unknown(_) => curve.oid_str(),
            known => known.name().to_owned(),
        };
        unsupported(format!("is on the curve {name}"))
    };
    match params {
        PublicParams::RSA(key) => match bits(key) {
            bits if bits < LEAST => Err(short("an RSA", bits)),
            _ => Ok(()),
        },
        PublicParams::DSA(key) => match bits(key) {
            bits if bits < LEAST => Err(short("a DSA", bits)),
            _ => Ok(()),
        },
        PublicParams::ECDSA(EcdsaPublicParams::Unsupported { curve, .. })
        | PublicParams::EdDSALegacy(EddsaLegacyPublicParams::Unsupported { curve, .. }) => {
            Err(on_curve(curve))
        }
        PublicParams::Unknown { .. } => {
            let number = u8::from(key.algorithm());
            Err(unsupported(format!("is of the algorithm {number}")))
        }
        _ => Ok(()),
    }
}

/// The bits of the modulus: a key begins with the modulus, and a number with the count of its bits
/// (RFC 9580, section 3.2).
fn bits(key: &impl Serialize) -> u16 {
    let bytes = key.to_bytes().unwrap_or_default();
    match bytes[..] {
        [high, low, ..] => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}
