//! The bytes that the digest of a signed schema 1 manifest covers: those without its signatures.
//!
//! The format verifies the signatures.

use base64::Engine as _;
use imgconv_json::{Value, parse};
use imgconv_model::{Limits, Result};

/// Returns the payload of a JSON Web Signature in docker's form; all bytes without a signature.
///
/// # Errors
/// If the document is no JSON.
pub fn payload(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let value = parse(bytes, limits, "manifest")?;
    Ok(region(bytes, &value, limits).unwrap_or_else(|| bytes.to_vec()))
}

fn region(bytes: &[u8], value: &Value, limits: &Limits) -> Option<Vec<u8>> {
    let first = value.get("signatures")?.as_array()?.first()?;
    let decode = |text: &Value| {
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        engine.decode(text.as_str()?).ok()
    };
    let protected = parse(&decode(first.get("protected")?)?, limits, "protected").ok()?;
    let length = usize::try_from(protected.get("formatLength")?.as_u64()?).ok()?;
    let tail = decode(protected.get("formatTail")?)?;
    Some([bytes.get(..length)?, &tail].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_put_together_again() {
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let payload_text = "{\n   \"name\": \"x\"\n}";
        let tail = engine.encode("\n}");
        let protected = engine.encode(format!(r#"{{"formatLength":16,"formatTail":"{tail}"}}"#));
        let signed = format!(
            "{{\n   \"name\": \"x\",\n   \"signatures\": [{{\"protected\":\"{protected}\"}}]\n}}"
        );
        let limits = Limits::default();
        assert_eq!(
            payload(signed.as_bytes(), &limits).unwrap(),
            payload_text.as_bytes()
        );
        let plain = payload_text.as_bytes();
        assert_eq!(payload(plain, &limits).unwrap(), plain);
    }
}
