//! appc discovery (appc spec, discovery.md, and appc/spec pull request 584): the pages, the ACIs with their
//! signatures, image tags and public keys. The paths are those of a published site.

use std::sync::Arc;

use hyper::{
    HeaderMap, Method, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue},
};
use imgconv_publish::discovery::{IMAGE_TAGS, PUBLIC_KEYS, page};
use percent_encoding::percent_decode_str;

use super::{
    body::Body,
    content::{bytes_of, told, unopened, work},
    page::{answer as text_answer, is_authority},
    refusal::Refusal,
    server::Server,
};
use crate::stock::Acis;

/// The parameter that asks for a discovery page, whatever the path.
pub(super) const PARAMETER: &str = "ac-discovery";

/// Answers a request for a discovery page.
pub(super) async fn discover(
    server: &Arc<Server>,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let path = decoded(path)?;
    let path = path.strip_prefix('/').ok_or(Refusal::NOT_FOUND)?;
    let authority = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = authority
        .filter(|host| is_authority(host))
        .ok_or(Refusal::HOST_INVALID)?;
    let acis = acis(server).await?;
    let names = acis.at(&host(authority), path.trim_end_matches('/'));
    if names.is_empty() {
        return Err(Refusal::NOT_FOUND);
    }
    let own = format!("{}://{authority}", server.scheme);
    let url = server.stock.url().unwrap_or(&own);
    let names: Vec<_> = names
        .into_iter()
        .map(|(name, named)| (name, &named.links))
        .collect();
    Ok(text_answer("text/html; charset=utf-8", page(&names, url)))
}

/// The host of an authority, in lower case as names are.
fn host(authority: &str) -> String {
    let port = authority
        .rsplit_once(':')
        .filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = port.map_or(authority, |(host, _)| host);
    host.to_ascii_lowercase()
}

/// Answers a request for a file of the site; `None` if the path is none of a site.
pub(super) async fn file(
    server: &Arc<Server>,
    path: &str,
    request: (&Method, &HeaderMap),
) -> Option<Result<Response<Body>, Refusal>> {
    let path = path.strip_prefix('/')?;
    if path == PUBLIC_KEYS {
        let keys = server.stock.public_keys();
        return Some(keys.map(small).ok_or(Refusal::NOT_FOUND));
    }
    let rest = path.strip_prefix("aci/")?;
    Some(of_name(server, rest, request).await)
}

/// A file of a name.
async fn of_name(
    server: &Arc<Server>,
    path: &str,
    request: (&Method, &HeaderMap),
) -> Result<Response<Body>, Refusal> {
    let path = decoded(path)?;
    let (name, file) = path.rsplit_once('/').ok_or(Refusal::NOT_FOUND)?;
    let acis = acis(server).await?;
    let named = acis.named(name).ok_or(Refusal::NOT_FOUND)?;
    let (file, signature) = match file.strip_suffix(".asc") {
        Some(file) => (file, true),
        None => (file, false),
    };
    if file.strip_suffix(".json") == Some(IMAGE_TAGS) {
        let tags = named.image_tags.as_ref().ok_or(Refusal::NOT_FOUND)?;
        if !signature {
            return Ok(small(tags));
        }
        let (acis, name) = (Arc::clone(&acis), name.to_owned());
        let signed = work(server, move |server| {
            let named = acis.named(&name).ok_or(Refusal::NOT_FOUND)?;
            let signed = server.stock.tags_signature(named);
            signed.map_err(|error| told(server, &name, &error))
        });
        return signed.await?.as_ref().map(small).ok_or(Refusal::NOT_FOUND);
    }
    let stem = file.strip_suffix(".aci").ok_or(Refusal::NOT_FOUND)?;
    let aci = named.aci(stem).ok_or(Refusal::NOT_FOUND)?;
    let aci = Arc::clone(aci);
    let made = match aci.ready() {
        Some(made) => made,
        None => {
            let aci = Arc::clone(&aci);
            work(server, move |server| {
                let made = server.stock.make_aci(&aci);
                made.map_err(|error| told(server, &aci.path, &error))
            })
            .await?
        }
    };
    if signature {
        let signed = work(server, move |server| {
            let signed = server.stock.aci_signature(&aci, &made);
            signed.map_err(|error| told(server, &aci.path, &error))
        });
        return signed.await?.as_ref().map(small).ok_or(Refusal::NOT_FOUND);
    }
    let (what, digest) = (aci.path.clone(), made.digest);
    let open = move |server: &Server, make: bool| {
        let opened = server.stock.open_aci(&aci, &made, make);
        opened.map_err(|error| unopened(server, &aci.path, &error))
    };
    bytes_of(server, what, digest, request, open).await
}

/// The answer with a small file.
fn small(bytes: &Arc<[u8]>) -> Response<Body> {
    let length = HeaderValue::from(bytes.len());
    let mut response = Response::new(Body::whole(bytes::Bytes::from_owner(Arc::clone(bytes))));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_LENGTH, length);
    response
}

/// Returns the list of ACIs, which the first request makes.
async fn acis(server: &Arc<Server>) -> Result<Arc<Acis>, Refusal> {
    if let Some(acis) = server.stock.known_acis() {
        return Ok(acis);
    }
    work(server, |server| {
        let acis = server.stock.acis(&*server.watcher);
        acis.map_err(|error| told(server, "the list of ACIs", &error))
    })
    .await
}

fn decoded(path: &str) -> Result<String, Refusal> {
    let decoded = percent_decode_str(path).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Refusal::NOT_FOUND)
}
