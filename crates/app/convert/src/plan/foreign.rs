//! Foreign layers: layers with URLs in their descriptors. They are kept, refused, left out, or
//! fetched (robustness C6).

use std::sync::Arc;

use imgconv_http::{Client, Download, Request, Response, Url};
use imgconv_model::{
    Blob, Code, Env, Error, Extensions, Facts, Image, Open, Outcome as LossKind, Reader, Report,
    Result, quote,
};
use imgconv_stream::Verified;
use imgconv_transport_registry::{Host, Location};

use crate::options::Foreign;

/// Treats foreign layers as `policy` demands. `place` is where the image comes from.
///
/// # Errors
/// [`Code::Denied`] if there is a foreign layer and the policy refuses it; the errors of fetching.
pub(super) fn apply(
    image: &mut Image,
    policy: Foreign,
    place: &str,
    env: &Env,
    report: &mut Report,
) -> Result<()> {
    let first = image.layers.iter().position(|layer| !layer.urls.is_empty());
    match (policy, first) {
        (Foreign::Keep, _) | (Foreign::Fail, None) => {}
        (Foreign::Fail, Some(i)) => return Err(refuse_foreign(image, i)),
        (Foreign::Drop, _) => drop_foreign(image, report),
        (Foreign::Fetch, _) => fetch(image, place, env)?,
    }
    Ok(())
}

/// Makes ordinary layers of those with URLs: a layer that is not stored with its image will be
/// fetched when it is read, and verified. `place` is where the image comes from: if that is a
/// registry, its own network may be connected to, else only public addresses.
///
/// # Errors
/// [`Code::Missing`] if a layer has no digest to verify the fetched bytes with, and the errors of a
/// client that can't be made.
fn fetch(image: &mut Image, place: &str, env: &Env) -> Result<()> {
    let mut client = None;
    for (i, layer) in image.layers.iter_mut().enumerate() {
        if layer.urls.is_empty() {
            continue;
        }
        let urls = std::mem::take(&mut layer.urls);
        // The media type of an ordinary layer follows from its compression alone.
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
        let whole = Host::parse(place).map(|host| host.name().to_owned());
        let named = whole.or_else(|| Some(Location::parse(place).ok()?.host));
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
        let mut last = Error::new(Code::Missing, "the layer has no URL");
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

fn urls(image: &Image, i: usize) -> String {
    let all: Vec<String> = image.layers[i].urls.iter().take(5).map(quote).collect();
    all.join(", ")
}

fn refuse_foreign(image: &Image, i: usize) -> Error {
    let digest = image.layers[i].blob.facts.digest;
    let digest = digest.map_or_else(String::new, |digest| format!(" ({digest})"));
    let message = format!("the layer is foreign; its URLs are {}", urls(image, i));
    Error::new(Code::Denied, message)
        .at(format!("layer {i}{digest}"))
        .hint(
            "`--foreign keep` keeps the descriptor of the layer, `--foreign drop` leaves the layer \
             out",
        )
}

/// Leaves out every layer with URLs, and all fields about it.
fn drop_foreign(image: &mut Image, report: &mut Report) {
    let stays: Vec<bool> = image.layers.iter().map(|l| l.urls.is_empty()).collect();
    if !stays.contains(&false) {
        return;
    }
    for (i, _) in stays.iter().enumerate().filter(|(_, stays)| !**stays) {
        let why = format!("the layer is foreign; its URLs are {}", urls(image, i));
        report.lose(format!("layers[{i}]"), LossKind::Dropped, why);
    }
    let mut layer = stays.iter();
    image
        .layers
        .retain(|_| *layer.next().expect("one for each layer"));
    let named = image.history.iter().filter(|step| !step.empty_layer);
    if named.count() == stays.len() {
        let mut layer = stays.iter();
        image
            .history
            .retain(|step| step.empty_layer || *layer.next().expect("counted above"));
    }
    // The extensions name a layer's descriptor by its position.
    let extensions = std::mem::take(&mut image.extensions);
    image.extensions = extensions
        .into_iter()
        .filter_map(|((format, path), raw)| Some(((format, renumber(&path, &stays)?), raw)))
        .collect::<Extensions>();
}

/// Renames `manifest.layers.N…` to the new position of layer N; `None` if the layer is gone.
fn renumber(path: &str, stays: &[bool]) -> Option<String> {
    const LAYERS: &str = "manifest.layers.";
    let position = path
        .strip_prefix(LAYERS)
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(i, rest)| Some((i.parse::<usize>().ok()?, rest)));
    match position {
        Some((i, rest)) if i < stays.len() => {
            let before = stays[..i].iter().filter(|stays| **stays).count();
            stays[i].then(|| format!("{LAYERS}{before}.{rest}"))
        }
        _ => Some(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_layer_follow_it() {
        let stays = [true, false, true];
        let new = |path: &str| renumber(path, &stays);
        assert_eq!(new("manifest.layers.0.x").unwrap(), "manifest.layers.0.x");
        assert_eq!(new("manifest.layers.1.x"), None);
        assert_eq!(
            new("manifest.layers.2.x.y").unwrap(),
            "manifest.layers.1.x.y"
        );
        assert_eq!(new("manifest.layersX").unwrap(), "manifest.layersX");
    }
}
