//! The credentials that a server requires: the header `WWW-Authenticate` (RFC 9110, section
//! 11.6.1).

use imgconv_model::{Code, Error, Result, quote};

/// The way to answer a 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from a token server.
    Bearer {
        /// The URL of the token server.
        realm: String,
        /// The service for which the token is valid.
        service: Option<String>,
    },
    /// A name and a password.
    Basic,
}

impl Challenge {
    /// Picks the first supported challenge, a token before a password.
    ///
    /// # Errors
    /// [`Code::Ambiguous`] if a challenge has a parameter twice, [`Code::Net`] if no challenge is
    /// supported.
    pub(crate) fn pick(headers: &[&str]) -> Result<Self> {
        let mut basic = false;
        for header in headers {
            for (scheme, parameters) in read(header)? {
                match &*scheme {
                    "bearer" => {
                        let find = |wanted: &str| {
                            let found = parameters.iter().find(|(name, _)| name == wanted);
                            found.map(|(_, value)| value.clone())
                        };
                        if let Some(realm) = find("realm") {
                            let service = find("service");
                            return Ok(Self::Bearer { realm, service });
                        }
                    }
                    "basic" => basic = true,
                    _ => {}
                }
            }
        }
        if basic {
            return Ok(Self::Basic);
        }
        let message = "the server requires a login of an unknown kind";
        Err(Error::new(Code::Net, message))
    }
}

type Parameters = Vec<(String, String)>;

/// Reads a list of challenges: scheme and parameters, names in lower case.
fn read(header: &str) -> Result<Vec<(String, Parameters)>> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Ok(found);
        }
        let (word, after) = token(rest);
        if word.is_empty() {
            let message = format!(
                "the header WWW-Authenticate is malformed: {}",
                quote(header)
            );
            return Err(Error::new(Code::Net, message));
        }
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        match (value, found.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let (value, after) = text(value.trim_start_matches([' ', '\t']));
                let name = word.to_ascii_lowercase();
                if parameters.iter().any(|(known, _)| *known == name) {
                    let message = format!("the server's challenge says {} twice", quote(&name));
                    return Err(Error::new(Code::Ambiguous, message));
                }
                parameters.push((name, value));
                rest = after;
            }
            _ => {
                found.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after.trim_start_matches('=');
            }
        }
    }
}

/// Splits a token off.
fn token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c));
    text.split_at(end.unwrap_or(text.len()))
}

/// Splits a value off: quoted, with escapes, or bare up to a comma or a blank.
fn text(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
        }
    }

    #[test]
    fn l3c_challenges_are_read_in_every_spelling() {
        for (headers, expected) in [
            (
                &[r#"Bearer realm="https://a/token",service="s""#][..],
                bearer("https://a/token", Some("s")),
            ),
            (
                &["bearer Realm=https://a/token , service=s"],
                bearer("https://a/token", Some("s")),
            ),
            (
                &[r#"Bearer realm="https://a/\"t\\""#],
                bearer(r#"https://a/"t\"#, None),
            ),
            (
                &[r#"Basic realm="x, y", Bearer realm="https://a/", Bearer realm="https://b/""#],
                bearer("https://a/", None),
            ),
            (
                &[
                    "Negotiate",
                    "Digest realm=x, nonce=y",
                    "Basic realm=z",
                    "Bearer",
                    r#"Bearer realm="https://c/""#,
                ],
                bearer("https://c/", None),
            ),
            (&["Basic"], Challenge::Basic),
            (&["Negotiate dG9rZW4=, Basic realm=\"x\""], Challenge::Basic),
        ] {
            assert_eq!(Challenge::pick(headers).unwrap(), expected, "{headers:?}");
        }
    }

    #[test]
    fn l3d_a_parameter_that_stands_twice_is_ambiguous() {
        let header = r#"Bearer realm="https://a/", realm="https://b/""#;
        let error = Challenge::pick(&[header]).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
        assert_eq!(
            Challenge::pick(&["Negotiate"]).unwrap_err().code(),
            Code::Net
        );
        assert_eq!(Challenge::pick(&["\"\""]).unwrap_err().code(), Code::Net);
        assert_eq!(Challenge::pick(&[]).unwrap_err().code(), Code::Net);
    }
}
