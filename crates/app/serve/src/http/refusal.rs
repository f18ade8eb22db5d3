//! Answers that are errors, as the distribution specification words them ("Error Codes").

use hyper::{
    Response, StatusCode,
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::json;

use super::body::Body;

/// How a client has to tell user and password (RFC 7617).
const CHALLENGE: &str = "Basic realm=\"imgconv\", charset=\"UTF-8\"";

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    /// A code of the specification.
    code: &'static str,
    /// The sentence, if it is not that of the code.
    message: &'static str,
}

impl Refusal {
    /// The server has nothing at that path.
    pub(super) const NOT_FOUND: Self = Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED");
    /// The name of a repository is malformed.
    pub(super) const NAME_INVALID: Self = Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID");
    /// A digest is malformed, or has an algorithm that nothing here has.
    pub(super) const DIGEST_INVALID: Self = Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
    /// There is no such repository.
    pub(super) const NAME_UNKNOWN: Self = Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN");
    /// There is no such blob.
    pub(super) const BLOB_UNKNOWN: Self = Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
    /// The number of items of a page is no number.
    pub(super) const PAGE_INVALID: Self = Self::saying(
        StatusCode::BAD_REQUEST,
        "UNSUPPORTED",
        "the number of items must be a number",
    );
    /// The request has no header `Host`, or several.
    pub(super) const HOST_INVALID: Self = Self::saying(
        StatusCode::BAD_REQUEST,
        "UNSUPPORTED",
        "a request needs one header Host that names a host",
    );
    /// The server is read only.
    pub(super) const READ_ONLY: Self = Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED");
    /// The request has no right password.
    pub(super) const UNAUTHORISED: Self = Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    /// Too many requests wait for the check of a password.
    pub(super) const BUSY: Self = Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS");
    /// A source can't be read. The reason is in the log alone: it names files of this machine.
    pub(super) const FAILED: Self = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN");

    const fn new(status: StatusCode, code: &'static str) -> Self {
        Self::saying(status, code, "")
    }

    const fn saying(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
        }
    }

    /// There is no such document, for that reason.
    pub(super) const fn manifest_unknown(message: &'static str) -> Self {
        Self::saying(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
    }

    /// The sentence for a code without one of its own.
    fn sentence(&self) -> &str {
        match self.code {
            _ if !self.message.is_empty() => self.message,
            "NAME_INVALID" => "the name of the repository is malformed",
            "DIGEST_INVALID" => {
                "the digest is malformed, or its algorithm is neither sha256 nor sha512"
            }
            "NAME_UNKNOWN" => "no such repository is served",
            "BLOB_UNKNOWN" => "the repository has no such blob",
            "UNAUTHORIZED" => "the server asks for a user and a password",
            "TOOMANYREQUESTS" => "too many passwords are being checked; try again later",
            "UNKNOWN" => "the image can't be read; the log of the server has the reason",
            _ if self.status == StatusCode::METHOD_NOT_ALLOWED => "the server is read only",
            _ => "there is nothing at this path",
        }
    }

    /// Makes the answer.
    pub(super) fn answer(&self) -> Response<Body> {
        let error = json!({ "code": self.code, "message": self.sentence(), "detail": null });
        let text = json!({ "errors": [error] }).to_string();
        let length = HeaderValue::from(text.len());
        let mut response = Response::new(Body::whole(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, length);
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
