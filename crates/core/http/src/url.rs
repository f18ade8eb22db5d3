//! Absolute URLs of http and https, by a strict subset of RFC 3986, which excludes every text that
//! two readers could take for two servers.

use std::fmt;

use http::Uri;
use imgconv_model::{Code, Error, Result, quote, without_userinfo};

/// The longest URL that is accepted; signed URLs of object stores have some 2000 bytes.
const MOST: usize = 16 << 10;

/// An absolute `http` or `https` URL without user information and fragment.
///
/// `Display` leaves out the query, which may hold a signature; [`Url::as_str`] is for the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    text: String,
    /// Bytes up to the end of the authority.
    origin: usize,
    /// Bytes up to the end of the path.
    path: usize,
}

impl Url {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// [`Code::Denied`] for another scheme, for user information, control characters, characters
    /// that are not ASCII, and every text that is not a URL.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(Code::Denied, format!("URL {} {why}", shown(text)));
        if text.len() > MOST {
            return Err(bad("is too long"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("has a character that must be escaped"));
        }
        let text = text.split('#').next().unwrap_or_default();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad("is not `https://HOST…`"));
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "https" && scheme != "http" {
            return Err(bad("is neither http nor https"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(bad("has a user name in it"));
        }
        let authority = authority.to_ascii_lowercase();
        if !is_authority(&authority) {
            return Err(bad("has no valid host"));
        }
        let default = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(default).unwrap_or(&authority);
        let slash = if target.starts_with('/') { "" } else { "/" };
        let origin = scheme.len() + "://".len() + authority.len();
        let text = format!("{scheme}://{authority}{slash}{target}");
        // The client parses the text once more; both parsers must read the same.
        let same = text.parse::<Uri>().is_ok_and(|uri| {
            uri.authority().is_some_and(|a| a.as_str() == authority)
                && uri
                    .path_and_query()
                    .is_some_and(|p| p.as_str() == &text[origin..])
        });
        if !same {
            return Err(bad("has a character that must be escaped"));
        }
        let path = text.find('?').unwrap_or(text.len());
        Ok(Self { text, origin, path })
    }

    /// Resolves a reference, such as a `Location`, against this URL (RFC 3986, section 5.2).
    ///
    /// # Errors
    /// The errors of [`Url::parse`].
    pub fn join(&self, reference: &str) -> Result<Self> {
        let reference = reference.split('#').next().unwrap_or_default();
        let colon = reference.find(':').unwrap_or(usize::MAX);
        let separator = reference.find(['/', '?']).unwrap_or(usize::MAX);
        if colon < separator {
            return Self::parse(reference);
        }
        let scheme = if self.is_https() { "https:" } else { "http:" };
        if reference.starts_with("//") {
            return Self::parse(&format!("{scheme}{reference}"));
        }
        if reference.is_empty() {
            return Ok(self.clone());
        }
        if reference.starts_with('?') {
            return Self::parse(&format!("{}{reference}", &self.text[..self.path]));
        }
        let (path, query) = match reference.find('?') {
            Some(at) => reference.split_at(at),
            None => (reference, ""),
        };
        let merged = if path.starts_with('/') {
            path.to_owned()
        } else {
            let base = self.path();
            let last = base.rfind('/').map_or(0, |slash| slash + 1);
            format!("{}{path}", &base[..last])
        };
        let path = without_dots(&merged);
        Self::parse(&format!("{}{path}{query}", &self.text[..self.origin]))
    }

    /// Returns this URL with another query; the values are escaped. An existing parameter is
    /// replaced.
    #[must_use]
    pub fn with_query<'q>(&self, parameters: impl IntoIterator<Item = (&'q str, &'q str)>) -> Self {
        let added: Vec<(&str, &str)> = parameters.into_iter().collect();
        let old = self.text[self.path..].trim_start_matches('?').split('&');
        let mut all: Vec<String> = old
            .filter(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                !pair.is_empty() && added.iter().all(|(added, _)| *added != name)
            })
            .map(str::to_owned)
            .collect();
        all.extend(
            added
                .iter()
                .map(|(name, value)| format!("{name}={}", escape(value))),
        );
        let mut text = self.text[..self.path].to_owned();
        if !all.is_empty() {
            text.push('?');
            text.push_str(&all.join("&"));
        }
        Self {
            text,
            origin: self.origin,
            path: self.path,
        }
    }

    /// Returns the whole text, for the wire: it may hold secrets.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true for https.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }

    /// Returns `HOST` or `HOST:PORT`; the default port is left out.
    pub fn authority(&self) -> &str {
        let scheme = if self.is_https() { 8 } else { 7 };
        &self.text[scheme..self.origin]
    }

    /// Returns the host without its port; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        split_port(self.authority()).0
    }

    /// Returns the port of the server.
    pub fn port(&self) -> u16 {
        let default = if self.is_https() { 443 } else { 80 };
        split_port(self.authority())
            .1
            .and_then(|port| port.parse().ok())
            .unwrap_or(default)
    }

    /// Returns the path, which starts with `/`.
    pub fn path(&self) -> &str {
        &self.text[self.origin..self.path]
    }

    /// Returns true if two URLs are of one origin: scheme, host and port (RFC 6454).
    pub fn same_origin(&self, other: &Self) -> bool {
        self.text[..self.origin] == other.text[..other.origin]
    }
}

/// The text has no query.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text[..self.path])?;
        if self.path < self.text.len() {
            f.write_str("?…")?;
        }
        Ok(())
    }
}

/// The text has no query.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Splits `HOST:PORT`.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Escapes a value for a query: all but the unreserved characters (RFC 3986, section 2.3).
pub fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

pub(crate) fn is_authority(authority: &str) -> bool {
    let (host, port) = split_port(authority);
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let host_fits = match host.strip_prefix('[') {
        Some(v6) => v6
            .strip_suffix(']')
            .is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            (1..=253).contains(&host.len())
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    port_fits && host_fits
}

/// RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        match *part {
            "." | ".." => {
                if *part == ".." {
                    out.pop();
                }
                if last {
                    out.push("");
                }
            }
            part => out.push(part),
        }
    }
    format!("/{}", out.join("/"))
}

/// Quotes a possible URL for a message, without parts that may be secret.
fn shown(text: &str) -> String {
    let text = without_userinfo(text);
    quote(text.split(['?', '#']).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_in_its_parts() {
        let url = Url::parse("HTTPS://Example.COM:443/a/b?sig=secret#x").unwrap();
        assert_eq!(url.as_str(), "https://example.com/a/b?sig=secret");
        assert_eq!(
            (url.host(), url.port(), url.path()),
            ("example.com", 443, "/a/b")
        );
        assert_eq!(url.to_string(), "https://example.com/a/b?…");
        let url = Url::parse("http://[::1]:5000").unwrap();
        assert_eq!((url.host(), url.port(), url.path()), ("[::1]", 5000, "/"));
        assert!(!url.is_https());
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for text in [
            "file:///etc/passwd",
            "ftp://example.com/",
            "https://user:hunter2@example.com/",
            "https://user@example.com/",
            "https:///x",
            "https://",
            "//example.com/",
            "/x",
            "",
            "https://exa mple.com/",
            "https://example.com/a\r\nb",
            "https://ex\u{e4}mple.com/",
            "https://example.com\\@evil.example/",
            "https://%65xample.com/",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://[::1/",
            "https://[x]/",
        ] {
            let error = Url::parse(text).unwrap_err();
            assert_eq!(error.code(), Code::Denied, "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn references_are_resolved() {
        let base = Url::parse("https://a.example/v2/x/list?n=5").unwrap();
        for (reference, expected) in [
            ("https://b.example/y", "https://b.example/y"),
            ("//b.example/y?q", "https://b.example/y?q"),
            ("/v2/y?last=z", "https://a.example/v2/y?last=z"),
            ("y", "https://a.example/v2/x/y"),
            ("?last=z", "https://a.example/v2/x/list?last=z"),
            ("../../../y", "https://a.example/y"),
            ("./", "https://a.example/v2/x/"),
            (
                "/upload?next=http://c/",
                "https://a.example/upload?next=http://c/",
            ),
            ("", "https://a.example/v2/x/list?n=5"),
        ] {
            assert_eq!(
                base.join(reference).unwrap().as_str(),
                expected,
                "{reference}"
            );
        }
        assert!(base.join("javascript:alert(1)").is_err());
        assert!(base.join("http://u:p@c/").is_err());
    }

    #[test]
    fn a_query_is_escaped_and_replaces_what_is_there() {
        let url = Url::parse("https://a.example/token?service=old&x=1").unwrap();
        let url = url.with_query([("service", "a b&c"), ("scope", "repository:x:pull")]);
        assert_eq!(
            url.as_str(),
            "https://a.example/token?x=1&service=a%20b%26c&scope=repository%3Ax%3Apull"
        );
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let url = |text| Url::parse(text).unwrap();
        assert!(url("https://a.example/x").same_origin(&url("https://A.example:443/y?z")));
        for other in [
            "http://a.example/",
            "https://a.example:444/",
            "https://b.a.example/",
        ] {
            assert!(
                !url("https://a.example/").same_origin(&url(other)),
                "{other}"
            );
        }
    }
}
