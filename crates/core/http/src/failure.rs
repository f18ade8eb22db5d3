//! Conversion of errors of the HTTP library.

use std::{error::Error as _, fmt, io};

use imgconv_model::{Code, Error, Limits};

/// An error after which only a few attempts are useful.
#[derive(Debug)]
pub(crate) struct Few {
    pub(crate) error: Error,
    /// The number of attempts in all.
    pub(crate) attempts: u64,
}

impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Few {}

impl Few {
    /// Adds a place around the existing places.
    pub(crate) fn at(self, place: impl Into<String>) -> Self {
        let error = self.error.at(place);
        Self { error, ..self }
    }
}

/// An error after which all attempts of the request are useful.
impl From<Error> for Few {
    fn from(error: Error) -> Self {
        let attempts = match error.code() {
            Code::Net => u64::MAX,
            _ => 1,
        };
        Self { error, attempts }
    }
}

impl From<Few> for io::Error {
    fn from(few: Few) -> Self {
        Self::other(few)
    }
}

/// Converts an error of the library.
pub(crate) fn of(error: ureq::Error) -> Error {
    match error {
        ureq::Error::Io(error) => of_io(error),
        ureq::Error::Timeout(what) => {
            Error::new(Code::Net, format!("the server took too long ({what})"))
        }
        ureq::Error::LargeResponseHeader(_, limit) => {
            Limits::exceeded("http_headers", limit as u64, "the headers of the response")
        }
        ureq::Error::Protocol(error) if error.to_string().contains("too many headers") => {
            Limits::exceeded("http_headers", 128, "the number of headers")
        }
        ureq::Error::Rustls(error) => tls(&error),
        error => Error::new(Code::Net, lower(&error.to_string())),
    }
}

fn of_io(error: io::Error) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        return Error::from_io(error);
    }
    let error = match error.downcast::<Few>() {
        Ok(few) => return few.error,
        Err(error) => error,
    };
    if let Some(error) = rustls_in(&error) {
        return tls(error);
    }
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection too early".to_owned(),
        _ => lower(&error.to_string()),
    };
    Error::new(Code::Net, message)
}

fn tls(error: &rustls::Error) -> Error {
    let message = format!("TLS: {}", lower(&error.to_string()));
    let error_of_certificate = matches!(error, rustls::Error::InvalidCertificate(_));
    let error = Error::new(Code::Net, message);
    match error_of_certificate {
        true => error.hint(
            "`--cert-dir DIR` and `SSL_CERT_FILE` name certificates to trust; the name that was asked \
             for must be among the subject alternative names of the server's",
        ),
        false => error,
    }
}

/// Finds an error of TLS in an error of a socket.
fn rustls_in(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Returns true if TLS itself failed: another attempt would fail as well.
pub(crate) fn is_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::TlsRequired => true,
        ureq::Error::Io(error) => {
            rustls_in(error).is_some() || error.source().is_some_and(|e| e.is::<rustls::Error>())
        }
        _ => false,
    }
}

/// Returns the number of attempts, at most `most`, that are useful in all.
pub(crate) fn attempts(error: &ureq::Error, most: u64) -> u64 {
    let passing = match error {
        ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(inner) => {
            let inner = inner.get_ref();
            if let Some(few) = inner.and_then(|inner| inner.downcast_ref::<Few>()) {
                return few.attempts.min(most);
            }
            let own = inner.and_then(|inner| inner.downcast_ref::<Error>());
            !is_tls(error) && own.is_none_or(|own| own.code() == Code::Net)
        }
        _ => false,
    };
    if passing { most } else { 1 }
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "unknown".to_owned(),
    }
}
