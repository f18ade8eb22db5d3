//! The client of a build without the feature `client`.

use std::{convert::Infallible, io::Read};

use imgconv_model::{Code, Env, Error, Result};

use crate::{Request, Response, Url, local::LocalSocket};

/// The client of a build that has no HTTP and no TLS. No value of the type can be made, so no request
/// is ever sent.
#[derive(Clone, Debug)]
pub struct Client(Infallible);

impl Client {
    /// Refuses to make a client.
    ///
    /// # Errors
    /// [`Code::Unsupported`], always.
    pub fn new(_env: &Env) -> Result<Self> {
        let message = "this build has no registry support; no server can be reached";
        Err(Error::new(Code::Unsupported, message)
            .hint("build imgconv with the cargo feature `registry`"))
    }

    /// Returns a client for insecure places. Unreachable, because there is no client.
    #[must_use]
    pub fn lenient(&self) -> Self {
        match self.0 {}
    }

    /// Returns the base URL of a host. Unreachable, because there is no client.
    ///
    /// # Errors
    /// None.
    pub fn base(&self, _host: &str) -> Result<Url> {
        match self.0 {}
    }

    pub(crate) fn at_socket(env: &Env, _: LocalSocket) -> Result<Self> {
        Self::new(env)
    }

    /// Sends a request once. Unreachable, because there is no client.
    ///
    /// # Errors
    /// None.
    pub fn ask(&self, _: &Request<'_>, _: Option<&mut dyn Read>) -> Result<Response> {
        match self.0 {}
    }

    /// Sends a request. Unreachable, because there is no client.
    ///
    /// # Errors
    /// None.
    pub fn send(&self, _request: &Request<'_>) -> Result<Response> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use imgconv_model::Platform;

    use super::*;

    #[test]
    fn no_client_is_made() {
        let env = Env::new("/", Platform::new("linux", "amd64"));
        let error = Client::new(&env).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        assert!(
            error
                .message()
                .starts_with("this build has no registry support")
        );
    }
}
