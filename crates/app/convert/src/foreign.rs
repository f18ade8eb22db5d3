//! Layers that are not stored with their image, fetched from where the image says that they are
//! (robustness C6b, C6c).

use std::sync::Arc;

use imgconv_http::{Client, Download, Request, Response, Url};
use imgconv_model::{Blob, Code, Env, Error, Facts, Image, Open, Reader, Result};
use imgconv_stream::Verified;
use imgconv_transport_registry::Location;

/// Makes ordinary layers of those that have URLs: one that is not stored with its image will be
/// fetched when it is read, and verified. `place` is where the image comes from: if that is a
/// registry, its own network may be connected to, else only public addresses.
///
/// # Errors
/// [`Code::Missing`] if a layer has no digest that what is fetched could be compared with, and the
/// errors of a client that can't be made.
pub(crate) fn fetch(image: &mut Image, place: &str, env: &Env) -> Result<()> {
    let mut client = None;
    for (i, layer) in image.layers.iter_mut().enumerate() {
        if layer.urls.is_empty() {
            continue;
        }
        let urls = std::mem::take(&mut layer.urls);
        // What it is now follows from its compression alone.
        layer.kind = None;
        if !matches!(layer.blob.open(), Err(error) if error.code() == Code::Missing) {
            continue;
        }
        if layer.blob.facts.digest.is_none() {
            let message = "a foreign layer without a digest can't be fetched";
            return Err(Error::new(Code::Missing, message).at(format!("layer {i}")));
        }
        let client = match &client {
            Some(client) => client,
            None => &*client.insert(Client::new(env)?),
        };
        let facts = layer.blob.facts.clone();
        let named = Location::parse(place).ok().map(|location| location.host);
        layer.blob = Blob {
            facts: facts.clone(),
            bytes: Arc::new(ForeignBlob {
                client: client.clone(),
                urls,
                named,
                facts,
                retries: env.limits.retries,
            }),
        };
    }
    Ok(())
}

/// A blob at one of several URLs that an image names.
#[derive(Debug)]
struct ForeignBlob {
    client: Client,
    urls: Vec<String>,
    /// The registry that the image comes from.
    named: Option<String>,
    facts: Facts,
    retries: u64,
}

impl Open for ForeignBlob {
    /// Asks each URL in turn.
    fn open(&self) -> Result<Reader> {
        let mut last = Error::new(Code::Missing, "it has no URL");
        for url in &self.urls {
            let first = Url::parse(url).and_then(|url| {
                if !url.is_https() {
                    return Err(Error::new(Code::Denied, format!("{url} is not https")));
                }
                let response = ask(&self.client, &url, self.named.as_deref(), None)?;
                Ok((url, response))
            });
            let (url, response) = match first {
                Ok(found) => found,
                Err(error) if error.code() == Code::Cancelled => return Err(error),
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let what = format!("foreign layer at {url}");
            let (client, named) = (self.client.clone(), self.named.clone());
            let mut first = Some(response);
            let download = Download::new(
                move |range| match first.take().filter(|_| range.is_none()) {
                    Some(response) => Ok(response),
                    None => ask(&client, &url, named.as_deref(), range),
                },
                self.facts.size,
                self.retries,
            );
            return Ok(Box::new(Verified::new(download, &self.facts, what)));
        }
        Err(last.at("foreign layer"))
    }
}

/// Sends a request without any credential.
fn ask(client: &Client, url: &Url, named: Option<&str>, range: Option<&str>) -> Result<Response> {
    let mut request = Request::get(url).made_up_by(named);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let response = client.send(&request)?;
    match response.status() {
        200 | 206 | 416 => Ok(response),
        _ => Err(response.into_failure()),
    }
}
