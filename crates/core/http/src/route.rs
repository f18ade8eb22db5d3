//! The choice of a proxy for a server, as curl and Go read the environment variables that the
//! command line passes on.
//!
//! A proxy is for https or for http. Hosts that `NO_PROXY` lists are reached directly, and so is
//! this machine, as in every Go program: a proxy's loopback device belongs to another machine.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_model::{Code, Error, Network, ProxySetting, Result, Secret, quote};
use percent_encoding::percent_decode_str;

use crate::{
    address::is_loopback,
    url::{is_authority, split_port},
};

/// The routes of the user's settings.
#[derive(Debug)]
pub(crate) struct Routes {
    https: Option<Setting>,
    http: Option<Setting>,
    except: Vec<Except>,
}

/// A proxy, or the reason why it can't be used: reported when a request would need the proxy.
#[derive(Debug)]
struct Setting(Result<Proxy, (Code, String)>);

/// One proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// True if the connection to the proxy itself uses TLS.
    pub(crate) secure: bool,
    /// `HOST:PORT`.
    pub(crate) authority: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<Secret>,
    /// The variable that sets the proxy.
    source: String,
}

impl Proxy {
    fn parse(setting: &ProxySetting) -> Result<Self, (Code, String)> {
        let source = &setting.source;
        // The value is not repeated, since it may hold a password.
        let bad = || {
            let expected = "expected `http://[USER:PASSWORD@]HOST:PORT`";
            let message = format!("`{source}` is no URL of a proxy: {expected}");
            (Code::Usage, message)
        };
        let text = setting.url.expose().trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let secure = match &*scheme.to_ascii_lowercase() {
            "http" => false,
            "https" => true,
            known @ ("socks" | "socks4" | "socks4a" | "socks5" | "socks5h") => {
                let message =
                    format!("`{source}` names a proxy of {known}, which is not supported");
                return Err((Code::Unsupported, message));
            }
            _ => return Err(bad()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (user, authority) = match rest[..end].rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, &rest[..end]),
        };
        let authority = authority.to_ascii_lowercase();
        if !is_authority(&authority) {
            return Err(bad());
        }
        let (host, port) = split_port(&authority);
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad())?,
            None if secure => 443,
            None => 80,
        };
        let authorization = user.map(|pair| {
            let (user, password) = pair.split_once(':').unwrap_or((pair, ""));
            let mut bytes: Vec<u8> = percent_decode_str(user).collect();
            bytes.push(b':');
            bytes.extend(percent_decode_str(password));
            Secret::new(format!("Basic {}", STANDARD.encode(bytes)))
        });
        Ok(Self {
            secure,
            authority: format!("{host}:{port}"),
            port,
            authorization,
            source: source.clone(),
        })
    }

    /// Returns the proxy for messages.
    pub(crate) fn shown(&self) -> String {
        format!("proxy {} (`{}`)", quote(&self.authority), self.source)
    }

    /// Returns the host; an IPv6 address is in brackets.
    pub(crate) fn host(&self) -> &str {
        split_port(&self.authority).0
    }

    /// Makes the error of a proxy that requires credentials.
    pub(crate) fn wants_credentials(&self) -> Error {
        let message = match self.authorization {
            Some(_) => "the proxy does not accept the credentials (407)",
            None => "the proxy requires credentials (407)",
        };
        let hint = format!(
            "put the credentials into the URL: `{}=http://USER:PASSWORD@{}`, special characters \
             as `%` and two digits",
            self.source, self.authority
        );
        Error::new(Code::Denied, message)
            .hint(hint)
            .at(self.shown())
    }
}

impl Routes {
    /// Reads the settings. An error in a setting is reported when the setting is needed.
    pub(crate) fn new(network: &Network) -> Self {
        let read = |setting: &Option<ProxySetting>| {
            setting
                .as_ref()
                .map(|setting| Setting(Proxy::parse(setting)))
        };
        let entries = network
            .no_proxy
            .split(|c: char| c == ',' || c.is_ascii_whitespace());
        Self {
            https: read(&network.https_proxy),
            http: read(&network.http_proxy),
            except: entries.filter_map(Except::parse).collect(),
        }
    }

    /// Returns the proxy for a server, `HOST[:PORT]`; `None` for a direct connection.
    ///
    /// # Errors
    /// [`Code::Usage`] or [`Code::Unsupported`] if the setting is not a usable proxy.
    pub(crate) fn of(&self, is_https: bool, authority: &str) -> Result<Option<&Proxy>> {
        let (setting, default) = match is_https {
            true => (&self.https, 443),
            false => (&self.http, 80),
        };
        let (host, port) = split_port(authority);
        let port = port.and_then(|port| port.parse().ok()).unwrap_or(default);
        let Some(Setting(setting)) = setting else {
            return Ok(None);
        };
        if is_loopback(host) || self.except.iter().any(|except| except.fits(host, port)) {
            return Ok(None);
        }
        match setting {
            Ok(proxy) => Ok(Some(proxy)),
            Err((code, message)) => Err(Error::new(*code, message.clone())
                .hint("`NO_PROXY` lists hosts that are reached directly")),
        }
    }
}

/// One entry of `NO_PROXY`.
#[derive(Debug)]
enum Except {
    All,
    Network(IpAddr, u8),
    Address(IpAddr, Option<u16>),
    /// A domain: everything below it, and the domain itself unless the entry excludes it.
    Domain {
        name: String,
        below: bool,
        port: Option<u16>,
    },
}

impl Except {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let text = text.to_ascii_lowercase();
        if let Some((network, bits)) = text.split_once('/') {
            let network = bare(network).parse::<IpAddr>().ok()?;
            let most = if network.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= most)?;
            return Some(Self::Network(network, bits));
        }
        if let Ok(address) = bare(&text).parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = split_port(&text);
        let port = match port {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        if let Ok(address) = bare(host).parse() {
            return Some(Self::Address(address, port));
        }
        let host = host.trim_end_matches('.');
        let below = host.starts_with("*.");
        let name = host.trim_start_matches('*').trim_start_matches('.');
        (!name.is_empty()).then(|| Self::Domain {
            name: name.to_owned(),
            below,
            port,
        })
    }

    /// Returns true if the entry covers a host.
    fn fits(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = bare(&host).parse::<IpAddr>().ok();
        let address = address.map(|address| address.to_canonical());
        let right_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match (self, address) {
            (Self::All, _) => true,
            (Self::Network(network, bits), Some(address)) => is_in(address, *network, *bits),
            (Self::Address(wanted, at), Some(address)) => {
                wanted.to_canonical() == address && right_port(at)
            }
            (
                Self::Domain {
                    name,
                    below,
                    port: at,
                },
                None,
            ) => {
                let rest = host.strip_suffix(name.as_str());
                let fits = rest.is_some_and(|rest| match rest {
                    "" => !below,
                    rest => rest.ends_with('.'),
                });
                fits && right_port(at)
            }
            _ => false,
        }
    }
}

/// Takes the brackets off an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let shift = width - u32::from(bits);
        bits == 0 || a >> shift == b >> shift
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(https: &str, no_proxy: &str) -> Routes {
        let setting = ProxySetting {
            source: "HTTPS_PROXY".into(),
            url: Secret::new(https),
        };
        Routes::new(&Network {
            https_proxy: Some(setting),
            no_proxy: no_proxy.into(),
            ..Network::default()
        })
    }

    // robustness K46
    #[test]
    fn k46_the_url_of_a_proxy_is_read_in_its_parts() {
        for (text, secure, authority, authorization) in [
            (
                "http://proxy.example:3128",
                false,
                "proxy.example:3128",
                None,
            ),
            ("proxy.example:3128", false, "proxy.example:3128", None),
            (" HTTP://Proxy.Example/ ", false, "proxy.example:80", None),
            ("https://proxy.example", true, "proxy.example:443", None),
            ("http://[::1]:3128/x?y", false, "[::1]:3128", None),
            // user:p@ss/w:rd
            (
                "http://user:p%40ss%2fw:rd@proxy.example:8",
                false,
                "proxy.example:8",
                Some("Basic dXNlcjpwQHNzL3c6cmQ="),
            ),
            ("u@p:1", false, "p:1", Some("Basic dTo=")),
        ] {
            let routes = routes(text, "");
            let proxy = routes.of(true, "registry.example").unwrap().unwrap();
            let found = proxy.authorization.as_ref().map(Secret::expose);
            assert_eq!(
                (proxy.secure, &*proxy.authority),
                (secure, authority),
                "{text}"
            );
            assert_eq!(found, authorization, "{text}");
        }
    }

    // robustness K46: a proxy that can't be used is reported, without its password, and never
    // ignored.
    #[test]
    fn k46_a_proxy_that_is_none_is_an_error_without_its_text() {
        for (text, code) in [
            ("socks5h://u:hunter2@p:1", Code::Unsupported),
            ("ftp://u:hunter2@p", Code::Usage),
            ("http://u:hunter2/x@p:1", Code::Usage),
            ("http://u:hunter2@p:99999", Code::Usage),
            ("http://", Code::Usage),
        ] {
            let routes = routes(text, "direct.example");
            let error = routes.of(true, "registry.example").unwrap_err();
            assert_eq!(error.code(), code, "{text}");
            let shown = format!("{error} {:?} {routes:?}", error.advice());
            assert!(
                shown.contains("HTTPS_PROXY") && !shown.contains("hunter2"),
                "{shown}"
            );
            assert!(routes.of(true, "direct.example").unwrap().is_none());
            assert!(routes.of(false, "registry.example").unwrap().is_none());
        }
    }

    // robustness K46
    #[test]
    fn k46_no_proxy_is_read_as_curl_and_go_read_it() {
        for (no_proxy, direct, proxied) in [
            (
                "",
                &["localhost", "x.localhost", "127.1.2.3:5000", "[::1]"][..],
                &["a.example", "10.0.0.1"][..],
            ),
            ("*", &["a.example", "[2001:db8::1]"], &[]),
            (
                "a.example",
                &["a.example", "A.Example.", "b.a.example:5000"],
                &["ba.example", "example"],
            ),
            (".a.example", &["a.example", "b.a.example"], &["ba.example"]),
            (
                "*.a.example",
                &["b.a.example", "c.b.a.example"],
                &["a.example", "ba.example"],
            ),
            (
                "x, a.example.\tb.example",
                &["a.example", "b.example"],
                &["c.example"],
            ),
            (
                "a.example:5000",
                &["a.example:5000", "b.a.example:5000"],
                &["a.example", "a.example:443"],
            ),
            (
                "a.example:443",
                &["a.example", "a.example:443"],
                &["a.example:5000"],
            ),
            (
                "10.0.0.0/8,192.0.2.128/25",
                &["10.255.0.1:5000", "192.0.2.200", "[::ffff:10.0.0.1]"],
                &["11.0.0.1", "192.0.2.1", "10.example"],
            ),
            ("0.0.0.0/0", &["8.8.8.8"], &["[2001:db8::1]", "a.example"]),
            ("fd00::/8", &["[fd12::1]:5000"], &["[fe80::1]"]),
            ("10.1.2.3", &["10.1.2.3", "10.1.2.3:5000"], &["110.1.2.3"]),
            (
                "10.1.2.3:5000,[fd00::1]:5000",
                &["10.1.2.3:5000", "[fd00::1]:5000"],
                &["10.1.2.3", "[fd00::1]"],
            ),
            ("fd00::1", &["[fd00::1]:5000"], &["[fd00::2]"]),
            ("10.0.0.0/33,/,:,.,a/b", &[], &["10.0.0.1", "a.example"]),
        ] {
            let routes = routes("http://p:1", no_proxy);
            let is_direct = |host: &&str| routes.of(true, host).unwrap().is_none();
            assert_eq!(
                direct.iter().find(|host| !is_direct(host)),
                None,
                "{no_proxy}"
            );
            assert_eq!(
                proxied.iter().find(|host| is_direct(host)),
                None,
                "{no_proxy}"
            );
        }
    }
}
