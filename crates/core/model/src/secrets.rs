//! Secrets in messages: no message shows a credential that was sent, however a server spells it,
//! and no message shows a password of a locator.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The text that replaces a secret.
const MASK: &str = "***";
/// The shortest text that counts as a secret; a shorter text is a part of too many words.
const LEAST: usize = 3;
/// The shortest secret whose parts are masked.
const LONG: usize = 8;
/// The number of consecutive characters that make a part of a long secret.
const PART: usize = 6;
/// The same for a spelling in base64, where a part of a name can look like a part of a secret.
const ENCODED_PART: usize = 8;
/// The number of times that a text is decoded in search of a secret.
const ROUNDS: usize = 4;
/// The replacement of a text that holds a secret in a spelling that can't be cut out.
const LEFT_OUT: &str = "(left out, because it repeats a secret)";

/// The secrets of the user, which no message shows. Clones share the secrets. Tokens of a server,
/// of which a run may get thousands, are concealed where they are used.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    all: BTreeSet<String>,
    parts: Parts,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Secrets {
    /// Adds a password, or the value of a header that contains a password.
    pub fn add(&self, secret: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.all.insert(secret.to_owned()) {
            known.parts.add(secret);
        }
    }

    /// Returns the text without any secret, see [`conceal`].
    pub fn conceal(&self, text: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.parts.conceal(text)
    }
}

/// Returns the text without any of the secrets: neither as they are, nor in parts, nor in base64
/// (with or without padding, url-safe), percent-encoded, escaped as in JSON or HTML, or in
/// hexadecimal. A text that holds a secret in a spelling that can't be cut out is replaced as a
/// whole.
pub fn conceal<'s>(text: &str, secrets: impl Iterator<Item = &'s str>) -> String {
    let mut parts = Parts::default();
    secrets.for_each(|secret| parts.add(secret));
    parts.conceal(text)
}

/// Every part of every spelling of the secrets, by the length of the parts.
#[derive(Debug, Default)]
struct Parts(BTreeMap<usize, BTreeSet<Vec<u8>>>);

impl Parts {
    fn add(&mut self, secret: &str) {
        // The scheme of a header is not secret, and occurs in many messages.
        let schemes = ["Basic ", "Bearer "];
        let value = schemes
            .iter()
            .find_map(|scheme| secret.strip_prefix(scheme));
        let value = value.unwrap_or(secret).as_bytes();
        match value.len() {
            ..LEAST => {}
            LEAST..LONG => {
                self.add_spelling(value, value.len());
                self.add_spelling(base64(value).as_bytes(), usize::MAX);
            }
            _ => {
                let is_base64 = secret.starts_with("Basic ");
                let part = if is_base64 { ENCODED_PART } else { PART };
                self.add_spelling(value, part);
                // For each position of a secret in the encoded bytes, one of these spellings has
                // its middle.
                for skip in 0..3 {
                    let rest = &value[skip..];
                    let text = base64(rest);
                    // The last digit depends on the bytes after the secret.
                    let end = text.len() - usize::from(rest.len() % 3 != 0);
                    self.add_spelling(&text.as_bytes()[..end], ENCODED_PART);
                }
            }
        }
    }

    fn add_spelling(&mut self, text: &[u8], part: usize) {
        let part = part.min(text.len());
        let url_safe = |byte: &u8| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        };
        let of_length = self.0.entry(part).or_default();
        for window in text.windows(part) {
            of_length.insert(window.to_vec());
            of_length.insert(window.iter().map(url_safe).collect());
        }
    }

    fn conceal(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let masked = self.mask(text);
        let mut views = vec![masked.clone().into_bytes()];
        for _ in 0..ROUNDS {
            let next = decoded(views.last().map(Vec::as_slice).unwrap_or_default());
            if Some(&next) == views.last() {
                break;
            }
            views.push(next);
        }
        let escaped = views[1..].iter().any(|view| self.are_in(view));
        let mut encoded = views.iter().flat_map(|view| runs(view));
        match escaped || encoded.any(|run| self.are_in(&run)) {
            true => LEFT_OUT.to_owned(),
            false => masked,
        }
    }

    /// Masks every part of a secret.
    fn mask(&self, text: &str) -> String {
        let mut hidden = vec![false; text.len()];
        for (length, parts) in &self.0 {
            for (at, window) in text.as_bytes().windows(*length).enumerate() {
                if parts.contains(window) {
                    hidden[at..at + length].fill(true);
                }
            }
        }
        let mut out = String::with_capacity(text.len());
        let mut masking = false;
        for (at, c) in text.char_indices() {
            let hide = hidden[at..at + c.len_utf8()].contains(&true);
            match hide {
                true if !masking => out.push_str(MASK),
                true => {}
                false => out.push(c),
            }
            masking = hide;
        }
        out
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        let mut all = self.0.iter();
        all.any(|(length, parts)| bytes.windows(*length).any(|window| parts.contains(window)))
    }
}

/// Decodes the escapes of a text once: percent-encoding, and the escapes of JSON and HTML.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let (bytes, length) = escape_at(rest).unwrap_or((vec![rest[0]], 1));
        out.extend(bytes);
        at += length;
    }
    out
}

/// Reads the escape at the start of a text; returns its value, and its length.
fn escape_at(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let number = |digits: &[u8], radix| {
        let digits = std::str::from_utf8(digits).ok()?;
        let c = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
        Some(c.to_string().into_bytes())
    };
    match text {
        [b'%', a, b, ..] => {
            let digits = [*a, *b];
            let digits = std::str::from_utf8(&digits).ok()?;
            Some((vec![u8::from_str_radix(digits, 16).ok()?], 3))
        }
        [b'\\', b'u', ..] => Some((number(text.get(2..6)?, 16)?, 6)),
        [b'\\', b'x', ..] => Some((number(text.get(2..4)?, 16)?, 4)),
        [b'\\', c @ (b'"' | b'\\' | b'/' | b'\''), ..] => Some((vec![*c], 2)),
        [b'&', ..] => {
            let end = text.iter().take(10).position(|byte| *byte == b';')?;
            let name = &text[1..end];
            let meaning = match name {
                b"amp" => vec![b'&'],
                b"lt" => vec![b'<'],
                b"gt" => vec![b'>'],
                b"quot" => vec![b'"'],
                b"apos" => vec![b'\''],
                [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
                [b'#', digits @ ..] => number(digits, 10)?,
                _ => return None,
            };
            Some((meaning, end + 1))
        }
        _ => None,
    }
}

/// Returns the decoded words of a text that may be base64 or hexadecimal, at every position where
/// such a text may begin.
fn runs(text: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for word in text.split(|byte| !byte.is_ascii_alphanumeric() && !b"+/_-".contains(byte)) {
        if word.len() < PART {
            continue;
        }
        let sextets: Vec<u8> = word.iter().filter_map(|byte| sextet(*byte)).collect();
        for begin in 0..4.min(sextets.len()) {
            found.push(bytes_of(&sextets[begin..], 6));
        }
        let nibbles: Option<Vec<u8>> = word
            .iter()
            .map(|byte| {
                char::from(*byte)
                    .to_digit(16)
                    .and_then(|n| u8::try_from(n).ok())
            })
            .collect();
        for begin in 0..nibbles.as_ref().map_or(0, |_| 2) {
            found.push(bytes_of(
                &nibbles.as_deref().unwrap_or_default()[begin..],
                4,
            ));
        }
    }
    found
}

/// Joins pieces of `bits` bits to bytes; the bits that are left over are dropped.
fn bytes_of(pieces: &[u8], bits: u32) -> Vec<u8> {
    let (mut out, mut held, mut count) = (Vec::new(), 0u32, 0u32);
    for piece in pieces {
        held = held << bits | u32::from(*piece);
        count += bits;
        if count >= 8 {
            count -= 8;
            out.push((held >> count & 0xff) as u8);
            held &= (1 << count) - 1;
        }
    }
    out
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// Base64 without padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..=three.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]));
        }
    }
    out
}

/// Returns a locator, URL or reference for a message: the text before the host, which may be a
/// password, is replaced by `***`. The digest of a reference is not a host.
pub fn without_userinfo(text: &str) -> String {
    let start = match text.find("//") {
        Some(at) if text[..at].is_empty() || text[..at].ends_with(':') => at + 2,
        _ => 0,
    };
    // A password with more slashes than a locator has before it is a secret too.
    let more = text[start..].len() - text[start..].trim_start_matches('/').len();
    let (scheme, rest) = text.split_at(start + more);
    match userinfo(rest) {
        Some(end) => format!("{scheme}{MASK}{}", &rest[end..]),
        None => text.to_owned(),
    }
}

/// Returns the password before the host of a locator, URL or reference, if there is one.
pub fn password_in(text: &str) -> Option<&str> {
    let start = text.find("//").map_or(0, |at| at + 2);
    let rest = &text[start..];
    let user = &rest[..userinfo(rest)?];
    let password = user.split_once(':').map_or(user, |(_, password)| password);
    (!password.is_empty()).then_some(password)
}

/// Returns the position of the `@` that ends the user's name and password at the start of a text.
fn userinfo(rest: &str) -> Option<usize> {
    let ats: Vec<usize> = rest
        .match_indices('@')
        .map(|(at, _)| at)
        .filter(|at| !is_digest(&rest[at + 1..]))
        .collect();
    let segment = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if let Some(at) = ats.iter().rev().find(|at| **at < segment) {
        return Some(*at);
    }
    // A password with an unescaped slash: the text in the position of the port is not a number.
    let authority = &rest[..segment];
    let (host, port) = authority.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let is_address = host.starts_with('[') || authority.ends_with(']');
    match is_port || is_address {
        true => None,
        false => ats.last().copied(),
    }
}

fn is_digest(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte);
    text.split_once(':').is_some_and(|(algorithm, rest)| {
        let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let known = ["sha256", "sha384", "sha512"].contains(&algorithm);
        !algorithm.is_empty() && algorithm.bytes().all(word) && (known || hex >= 32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "s3cr3tPassw0rd";

    fn shown(text: &str) -> String {
        let header = format!("Basic {}", base64(format!("user:{PASSWORD}").as_bytes()));
        conceal(text, [&*header, PASSWORD].into_iter())
    }

    // K44
    // robustness K44
    #[test]
    fn more_slashes_than_a_locator_has_hide_no_password() {
        for (text, shown) in [
            ("docker:///u:secret@h/r", "docker:///***@h/r"),
            ("docker:////u:secret@h/r", "docker:////***@h/r"),
        ] {
            assert_eq!(without_userinfo(text), shown);
        }
    }

    #[test]
    fn a_secret_is_masked_however_it_is_spelt() {
        let pair = base64(format!("user:{PASSWORD}").as_bytes());
        let alone = base64(PASSWORD.as_bytes());
        let hex: String = PASSWORD.bytes().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = PASSWORD
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        let json: String = PASSWORD
            .bytes()
            .map(|byte| format!("\\u{byte:04X}"))
            .collect();
        let html: String = PASSWORD.bytes().map(|byte| format!("&#{byte};")).collect();
        let twice = base64(format!("Basic {pair}").as_bytes());
        for spelt in [
            PASSWORD.to_owned(),
            pair.clone(),
            format!("{pair}=="),
            pair.replace('+', "-").replace('/', "_"),
            alone.clone(),
            base64(format!("x{PASSWORD}").as_bytes()),
            base64(format!("xy{PASSWORD}").as_bytes()),
            percent.clone(),
            percent.replace('%', "%25"),
            json,
            html,
            hex.clone(),
            hex.to_uppercase(),
            twice,
            pair[..20].to_owned(),
            PASSWORD[3..10].to_owned(),
        ] {
            let text = shown(&format!("no access with {spelt}, go away"));
            assert!(!text.contains(&spelt), "{spelt}: {text}");
            assert!(text.contains(MASK) || text == LEFT_OUT, "{spelt}: {text}");
        }
        assert_eq!(
            shown(&format!("no access with {PASSWORD}.")),
            "no access with ***."
        );
        assert_eq!(shown(&format!("a {pair} b")), "a *** b");
        let harmless = "requested access to the resource is denied: Basic realm, r%20x, &amp;";
        assert_eq!(shown(harmless), harmless);
        assert_eq!(
            conceal("é\u{1f600} ab", ["ab"].into_iter()),
            "é\u{1f600} ab"
        );
        assert_eq!(conceal("xabcx", ["abc"].into_iter()), "x***x");
    }

    // K44
    #[test]
    fn a_password_before_a_host_is_not_shown() {
        let hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (text, expected) in [
            ("docker://u:p@h:5000/r:t", "docker://***@h:5000/r:t"),
            ("//u:p/w@x@h/r", "//***@h/r"),
            ("https://token@h/x?y", "https://***@h/x?y"),
            ("https://u:p#w?d@h/x", "https://***@h/x"),
            ("u:p@h/r", "***@h/r"),
            ("http://h:80/@scope/x", "http://h:80/@scope/x"),
            ("http://[::1]/a@b", "http://[::1]/a@b"),
            ("http://h/a@b", "http://h/a@b"),
        ] {
            assert_eq!(without_userinfo(text), expected);
        }
        for same in [
            format!("docker://h:5000/r@sha256:{hex}"),
            format!("r@sha256:{hex}"),
            "r:t@sha256:short".to_owned(),
            "oci:some/where:example.com/r:t".to_owned(),
        ] {
            assert_eq!(without_userinfo(&same), same);
        }
        let both = format!("docker://u:p@h/r:t@sha256:{hex}");
        assert_eq!(
            without_userinfo(&both),
            format!("docker://***@h/r:t@sha256:{hex}")
        );
        assert_eq!(password_in("docker://u:p@h/r"), Some("p"));
        assert_eq!(password_in("http://token@h/r"), Some("token"));
        assert_eq!(password_in("http://h/r"), None);
    }
}
