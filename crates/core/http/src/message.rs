//! A request, and the response to it.

use std::io::Read as _;

use http::HeaderMap;
use imgconv_model::{Code, Error, Limits, Open, Reader, Result, conceal, quote};
use imgconv_stream::read_to_limit;

use crate::url::Url;

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Returns a resource.
    Get,
    /// Returns the headers of a resource.
    Head,
    /// Starts an action.
    Post,
    /// Stores a resource.
    Put,
    /// Appends to a resource.
    Patch,
    /// Deletes a resource.
    Delete,
}

impl Method {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// One request.
#[derive(Clone)]
pub struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// For a URL from a server: the host that the user named, `Some(None)` if there is none.
    pub(crate) made_up: Option<Option<String>>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Headers for the origin of `url` alone.
    pub(crate) private: Vec<(String, String)>,
    pub(crate) hidden: Vec<String>,
    pub(crate) body: &'a [u8],
    /// The body, if it is not in memory.
    pub(crate) streamed: Option<&'a dyn Open>,
    /// The most bytes of a body that is read within each attempt.
    pub(crate) whole: Option<u64>,
    pub(crate) once: bool,
    pub(crate) stay: bool,
}

impl<'a> Request<'a> {
    /// Makes a request to a URL on a host that the user named.
    pub fn new(method: Method, url: &Url) -> Self {
        Self {
            method,
            url: url.clone(),
            made_up: None,
            headers: Vec::new(),
            private: Vec::new(),
            hidden: Vec::new(),
            body: &[],
            streamed: None,
            whole: None,
            once: false,
            stay: false,
        }
    }

    /// Makes a `GET` to a URL on a host that the user named.
    pub fn get(url: &Url) -> Self {
        Self::new(Method::Get, url)
    }

    /// Returns the URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Marks the URL as one from a server or an image: it must be https, and must lead to a public
    /// address or into the kind of network that `named` is in, the authority (`HOST[:PORT]`) of a
    /// server that the user named and that answered before. A URL of that very authority counts as
    /// the user's own.
    #[must_use]
    pub fn made_up_by(mut self, named: Option<&str>) -> Self {
        self.made_up = Some(named.map(str::to_owned));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a header that only the origin of the URL may receive: no redirect carries the header
    /// elsewhere, and its value is never shown.
    #[must_use]
    pub fn private_header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let value = value.into();
        self.hide(value.clone()).origin_header(name, value)
    }

    /// Adds a header that only the origin of the URL may receive, whose value is made of secrets and of
    /// words that occur in messages: the caller hides the secrets in the value.
    #[must_use]
    pub fn origin_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.private.push((name.into(), value.into()));
        self
    }

    /// Hides a text, such as a password, in every quotation of a server's answer.
    #[must_use]
    pub fn hide(mut self, secret: impl Into<String>) -> Self {
        self.hidden.push(secret.into());
        self
    }

    /// Sets the body, which is sent anew with each attempt.
    #[must_use]
    pub fn body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }

    /// Sets a body of `size` bytes that is not in memory; each attempt opens and sends it anew.
    #[must_use]
    pub fn streamed(mut self, body: &'a dyn Open, size: u64) -> Self {
        self.streamed = Some(body);
        self.header("content-length", size.to_string())
    }

    /// Makes the body of a success a part of the attempt, which is repeated if the connection breaks in the
    /// body: for a document of at most `most` bytes. A longer body is left to the limit of
    /// [`Response::into_bytes`].
    #[must_use]
    pub fn whole(mut self, most: u64) -> Self {
        self.whole = Some(most);
        self
    }

    /// Marks the request as one whose repetition after a cut connection could do harm; the caller
    /// decides about a second attempt.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Makes a redirect an answer, which is not followed.
    #[must_use]
    pub fn stay(mut self) -> Self {
        self.stay = true;
        self
    }

    /// Returns the request for messages.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.method.as_str(), self.url)
    }
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

/// The response to a [`Request`]; its body has not been read.
pub struct Response {
    pub(crate) status: u16,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Reader,
    pub(crate) shown: String,
    pub(crate) hidden: Vec<String>,
    pub(crate) limits: Limits,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Response {
    /// Returns the status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the URL that answered, after all redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the first value of a header; `None` if there is no such header or its value is not
    /// plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns every value of a header that is plain text, in order.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let all = self.headers.get_all(name).iter();
        all.filter_map(|value| value.to_str().ok()).collect()
    }

    /// Returns the number of bytes of the body, if the server sent it.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// Returns the body.
    pub fn into_reader(self) -> Reader {
        self.body
    }

    /// Reads a whole body of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Code::Limit`] if the body is longer, [`Code::Net`] if the connection breaks.
    pub fn into_bytes(self, limit: (&'static str, u64)) -> Result<Vec<u8>> {
        if let Some(length) = self.length().filter(|length| *length > limit.1) {
            let what = format!("the response to {} of {length} bytes", self.shown);
            return Err(Limits::exceeded(limit.0, limit.1, what));
        }
        read_to_limit(self.body, limit, &self.shown)
    }

    /// Makes the error of a status that is not a success: [`Code::Missing`] for 404 and 410,
    /// [`Code::Denied`] for 401 and 403, else [`Code::Net`]. The error quotes the beginning of the
    /// server's answer.
    pub fn into_failure(self) -> Error {
        self.into_failure_as(|_| None)
    }

    /// Like [`Response::into_failure`]; `read` may find the server's message in a document.
    pub fn into_failure_as(self, read: impl FnOnce(&str) -> Option<String>) -> Error {
        let code = match self.status {
            404 | 410 => Code::Missing,
            401 | 403 => Code::Denied,
            _ => Code::Net,
        };
        let mut said = Vec::new();
        let most = self.limits.error_body;
        // An unreadable body is not quoted; the status is the error.
        let _ = self.body.take(most).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let mut said = read(&said).unwrap_or_else(|| said.into_owned());
        said = conceal(&said, self.hidden.iter().map(String::as_str));
        let mut message = format!("the server answered {}", self.status);
        if !said.trim().is_empty() {
            message.push_str(&format!(": {}", quote(said.trim())));
        }
        Error::new(code, message).at(self.shown)
    }
}
