//! Percent-encoding in locators.

use imgconv_model::{Code, Error, Result, quote, without_userinfo};
use percent_encoding::percent_decode_str;

/// Undoes percent-encoding, as in the path of a URL (RFC 3986, section 2.1).
pub(super) fn decoded(text: &str) -> Result<String> {
    let bad = |why: &str| {
        Error::new(
            Code::Usage,
            format!("{} {why}", quote(without_userinfo(text))),
        )
    };
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let digits = after.get(..2).unwrap_or_default();
        if digits.len() < 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad(
                "has a `%` without two hexadecimal digits: write it as `%25`",
            ));
        }
        rest = after;
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| bad("is not UTF-8"))?;
    Ok(decoded.into_owned())
}
