//! Connections to servers, directly or through a proxy: `CONNECT` for https (RFC 9110, 9.3.6), the
//! whole URL in the request line for http (RFC 9112, 3.2.2).
//!
//! A proxy resolves the hosts of the requests, so the rule of addresses can be checked only for
//! hosts that are addresses; the proxy decides about names.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use imgconv_model::{Code, Error, Limits, Result, Secret, quote};
use rustls::ClientConfig;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, TransportAdapter,
    time::Duration as Wait,
};

use crate::{
    address::Rule,
    connect::{Sockets, deadline},
    failure::Few,
    local::LocalSocket,
    route::{Proxy, Routes},
    tls::Tls,
    url::split_port,
};

/// The error of a connection whose TLS settings could not be made.
const NO_AUTHORITIES: ureq::Error =
    ureq::Error::Tls("the certificates that are trusted can't be read");

/// Opens the connections of one group, which share the rule of addresses and the trusted
/// certificates.
#[derive(Clone)]
pub(crate) struct Connections {
    pub(crate) sockets: Sockets,
    pub(crate) routes: Arc<Routes>,
    /// The socket on this machine that every request goes to, if there is one.
    pub(crate) local: Option<Arc<LocalSocket>>,
    /// The settings for https.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The settings for proxies that use TLS themselves: always verified, without a client
    /// certificate.
    pub(crate) tls_of_proxy: Option<Arc<ClientConfig>>,
    /// The most bytes of the headers of an answer.
    pub(crate) headers: u64,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.sockets).finish()
    }
}

impl Connector<()> for Connections {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let authority = details
            .uri
            .authority()
            .ok_or(ureq::Error::HostNotFound)?
            .as_str();
        if let Some(local) = &self.local {
            let socket = self.sockets.local(&local.path, details);
            let socket = socket.map_err(|error| io::Error::from(local.unreachable(&error)))?;
            return Ok(Some(Box::new(socket)));
        }
        let is_https = details.needs_tls();
        let until = deadline(details.timeout);
        let left = || NextTimeout {
            after: Wait::Exact(until.saturating_duration_since(Instant::now())),
            ..details.timeout
        };
        let (host, port) = split_port(authority);
        let default = if is_https { 443 } else { 80 };
        let port = port.and_then(|port| port.parse().ok()).unwrap_or(default);
        let proxy = self
            .routes
            .of(is_https, authority)
            .map_err(io::Error::from)?;
        let connection: Box<dyn Transport> = match proxy {
            None => {
                let place = format!("server {}", quote(authority));
                let socket = self.sockets.socket(authority, port, until, details);
                Box::new(socket.map_err(|error| io::Error::from(error.at(place)))?)
            }
            Some(proxy) => {
                check(self.sockets.rule, host).map_err(io::Error::from)?;
                let sockets = Sockets {
                    rule: Rule::Named,
                    ..self.sockets.clone()
                };
                let socket = sockets.socket(&proxy.authority, proxy.port, until, details);
                let socket = socket.map_err(|error| io::Error::from(error.at(proxy.shown())))?;
                let mut connection: Box<dyn Transport> = Box::new(socket);
                if proxy.secure {
                    let config = self.tls_of_proxy.as_ref().ok_or(NO_AUTHORITIES)?;
                    let tls = Tls::open(connection, config, proxy.host(), left(), details);
                    connection = Box::new(tls.map_err(|error| {
                        let error = crate::failure::of(error).at(proxy.shown());
                        let attempts = 1;
                        io::Error::from(Few { error, attempts })
                    })?);
                }
                match is_https {
                    true => self.tunnel(connection, proxy, host, port, left(), details)?,
                    false => Box::new(Forwarded::new(connection, proxy, authority, details)),
                }
            }
        };
        if !is_https {
            return Ok(Some(connection));
        }
        let config = self.tls.as_ref().ok_or(NO_AUTHORITIES)?;
        let tls = Tls::open(connection, config, host, left(), details)?;
        Ok(Some(Box::new(tls)))
    }
}

impl Connections {
    /// Asks a proxy to connect to a server.
    fn tunnel(
        &self,
        connection: Box<dyn Transport>,
        proxy: &Proxy,
        host: &str,
        port: u16,
        timeout: NextTimeout,
        details: &ConnectionDetails<'_>,
    ) -> Result<Box<dyn Transport>, ureq::Error> {
        let mut stream = TransportAdapter::new(connection, Arc::clone(&details.current_time));
        stream.set_timeout(timeout);
        let target = format!("{host}:{port}");
        let agent = concat!("imgconv/", env!("CARGO_PKG_VERSION"));
        let mut request =
            format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\nuser-agent: {agent}\r\n");
        if let Some(authorization) = &proxy.authorization {
            let value = authorization.expose();
            request.push_str(&format!("proxy-authorization: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        // The head is read byte by byte from the buffer: the bytes after it belong to the server.
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
            if head.len() as u64 >= self.headers {
                let what = format!("the answer to CONNECT of the {}", proxy.shown());
                let error = Limits::exceeded("http_headers", self.headers, what);
                return Err(io::Error::from(error).into());
            }
            if stream.read(&mut byte)? == 0 {
                let message = format!("it closed the connection on CONNECT {target}");
                let error = Error::new(Code::Net, message).at(proxy.shown());
                return Err(io::Error::from(Few::from(error)).into());
            }
            head.push(byte[0]);
        }
        let error = match status(&head) {
            Some(200..=299) => return Ok(stream.into_inner()),
            Some(407) => Few::from(proxy.wants_credentials()),
            Some(status) => {
                let message = format!("it answered {status} to CONNECT {target}");
                let error = Error::new(Code::Net, message).at(proxy.shown());
                // Many proxies send this answer at once for a name that does not exist.
                let attempts = if status >= 500 { 2 } else { 1 };
                Few { error, attempts }
            }
            None => {
                let message = format!("it did not answer CONNECT {target} in HTTP");
                let error = Error::new(Code::Net, message).at(proxy.shown());
                let attempts = 1;
                Few { error, attempts }
            }
        };
        Err(io::Error::from(error).into())
    }
}

/// Reads the status code of an answer.
fn status(head: &[u8]) -> Option<u16> {
    let text = head.strip_prefix(b"HTTP/1.")?;
    let (version, text) = text.split_first()?;
    let digits = text.strip_prefix(b" ")?.get(..3)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = version.is_ascii_digit() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Refuses a host that is an address, in any spelling, and that the rule does not allow.
fn check(rule: Rule, host: &str) -> Result<()> {
    if rule == Rule::Named {
        return Ok(());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.trim_end_matches('.');
    let allowed = match bare.parse::<IpAddr>() {
        Ok(address) => rule.allows(address),
        // `127.1`, `0x7f000001`: a resolver may take them for addresses.
        Err(_) => {
            let last = bare.rsplit('.').next().unwrap_or_default();
            let number = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
            !number
        }
    };
    if allowed {
        return Ok(());
    }
    let message =
        format!("a response of the server leads to {bare}, an address that is not public");
    Err(Error::new(Code::Denied, message)
        .at(format!("server {}", quote(host)))
        .hint("only a server that the user names may be in a private network"))
}

/// A connection to a proxy that forwards requests: their request lines get the whole URL.
struct Forwarded {
    stream: TransportAdapter,
    buffers: LazyBuffers,
    /// `http://HOST[:PORT]`.
    origin: String,
    authorization: Option<Secret>,
    /// True if the next bytes are the head of a request.
    fresh: bool,
}

impl Forwarded {
    fn new(
        connection: Box<dyn Transport>,
        proxy: &Proxy,
        authority: &str,
        details: &ConnectionDetails<'_>,
    ) -> Self {
        let (input, output) = (
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Self {
            stream: TransportAdapter::new(connection, Arc::clone(&details.current_time)),
            buffers: LazyBuffers::new(input, output),
            origin: format!("http://{authority}"),
            authorization: proxy.authorization.clone(),
            fresh: true,
        }
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Forwarded").field(&self.origin).finish()
    }
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.set_timeout(timeout);
        let mut output = &self.buffers.output()[..amount];
        if self.fresh {
            let line = output.windows(2).position(|two| two == b"\r\n");
            let target = output.windows(2).position(|two| two == b" /");
            let (Some(line), Some(target)) = (line, target.filter(|at| Some(*at) < line)) else {
                let message = "the head of a request has no request line";
                return Err(io::Error::other(message).into());
            };
            let mut head = output[..=target].to_vec();
            head.extend_from_slice(self.origin.as_bytes());
            head.extend_from_slice(&output[target + 1..line + 2]);
            if let Some(authorization) = &self.authorization {
                let value = authorization.expose();
                head.extend_from_slice(format!("proxy-authorization: {value}\r\n").as_bytes());
            }
            self.stream.write_all(&head)?;
            output = &output[line + 2..];
            self.fresh = false;
        }
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        // All of a request is sent before its answer begins, so the next bytes are a new head.
        self.fresh |= amount > 0;
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // robustness K46: a proxy resolves names, so an address in any spelling is checked before.
    #[test]
    fn k46_addresses_are_checked_before_a_proxy_is_asked() {
        for host in [
            "169.254.169.254",
            "[::1]",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "10.0.0.1.",
        ] {
            assert_eq!(
                check(Rule::PUBLIC, host).unwrap_err().code(),
                Code::Denied,
                "{host}"
            );
            assert!(check(Rule::Named, host).is_ok(), "{host}");
        }
        for host in ["cdn.example", "8.8.8.8", "[2606:4700::1111]", "1.example"] {
            assert!(check(Rule::PUBLIC, host).is_ok(), "{host}");
        }
    }

    #[test]
    fn the_status_of_an_answer_is_read_strictly() {
        for (head, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 407\r\n\r\n", Some(407)),
            ("HTTP/2 200\r\n\r\n", None),
            ("HTTP/1.1 2x0\r\n\r\n", None),
            ("SSH-2.0\r\n\r\n", None),
        ] {
            assert_eq!(status(head.as_bytes()), expected, "{head}");
        }
    }
}
