//! A file on a web server, by its URL: an ACI, with its signature beside it, or an archive.
//!
//! The whole file is fetched before any byte of it is used. The transport does not interpret the
//! bytes: the bundle has the path of the local copy. The signature of `x.aci` is at `x.aci.asc`, as
//! for rkt, and is requested only if the file is an ACI.

#![deny(missing_docs)]

use std::path::Path;

use imgconv_http::{Client, RemoteFile, Request, Url};
use imgconv_model::{
    Addressing, Bundle, BundleSink, Code, Env, Error, Place, Result, Shape, Transport,
};

/// The facts of a file on a server that speaks TLS.
static HTTPS_PLACE: Place = Place {
    scheme: "https",
    syntax: "https://HOST[:PORT]/PATH[#REF]",
    about: "an ACI or an archive on a web server, with `.aci.asc` beside an ACI",
    shape: Shape::Server,
    addressing: Addressing::Fragment,
    any_file: false,
    layout: false,
    families: &[],
    writes: None,
};

/// The facts of a file on a server that speaks plain http.
static HTTP_PLACE: Place = Place {
    scheme: "http",
    syntax: "http://HOST[:PORT]/PATH[#REF]",
    about: "the same without TLS, for hosts named by `--plain-http`",
    ..HTTPS_PLACE
};

/// Files on servers that speak TLS.
pub static HTTPS: Http = Http {
    place: &HTTPS_PLACE,
};

/// Files on servers that speak plain http, which the user has to allow by host.
pub static HTTP: Http = Http { place: &HTTP_PLACE };

/// One file on a web server.
#[derive(Clone, Copy, Debug)]
pub struct Http {
    place: &'static Place,
}

impl Transport for Http {
    fn place(&self) -> &'static Place {
        self.place
    }

    fn recognise(&self, _: &Path) -> Result<bool> {
        Ok(false)
    }

    /// Fetches the file. `rest` is `//HOST…`.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        let url = Url::parse(&format!("{}:{rest}", self.place.scheme))?;
        let client = Client::new(env)?;
        if !url.is_https() {
            // This checks whether a server on this machine speaks plain http; other servers must be
            // listed.
            client.base(url.authority())?;
        }
        let file = RemoteFile::fetch(&client, &Request::get(&url), env)?;
        let signature = Request::get(&signature_of(&url)?);
        Ok(Box::new(file.signed_at(signature)))
    }

    fn create(&self, _: &str, _: &Env) -> Result<Box<dyn BundleSink>> {
        let message = format!("nothing is written to `{}:`", self.place.scheme);
        Err(Error::new(Code::Unsupported, message)
            .hint("`imgconv publish` makes a directory for a web server"))
    }
}

/// The URL of a file's signature: the same with a path that ends with `.aci.asc`; the query stays.
fn signature_of(url: &Url) -> Result<Url> {
    let text = url.as_str();
    let (path, query) = match text.find('?') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let path = path.strip_suffix(".aci").unwrap_or(path);
    Url::parse(&format!("{path}.aci.asc{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_beside_its_file() {
        for (file, signature) in [
            ("https://a.example/x.aci", "https://a.example/x.aci.asc"),
            ("https://a.example/x", "https://a.example/x.aci.asc"),
            (
                "https://a.example/x.aci?k=v.aci",
                "https://a.example/x.aci.asc?k=v.aci",
            ),
        ] {
            let url = Url::parse(file).unwrap();
            assert_eq!(signature_of(&url).unwrap().as_str(), signature);
        }
    }
}
