//! Requests and their answers (distribution-spec, "Pull" and "Content Discovery").

use std::sync::Arc;

use hyper::{
    HeaderMap, Method, Request, Response, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, VARY},
};
use serde_json::json;

use super::{
    appc,
    body::Body,
    content::{blob, document, insert, json_answer, linked, referrers, tagged, unmade},
    lists::{Page, parameter},
    page,
    passwords::Denied,
    refusal::Refusal,
    route::{Wanted, route},
    server::Server,
    v1,
};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// Answers a request. The body of a request is never read.
pub(super) async fn answer<B>(server: &Arc<Server>, request: &Request<B>) -> Response<Body> {
    let allowed = match &server.passwords {
        Some(passwords) => passwords.check(request.headers()).await,
        None => Ok(()),
    };
    let answered = match (allowed, request.method()) {
        _ if !has_one_host(request) => Err(Refusal::HOST_INVALID),
        (Err(Denied::Wrong), _) => Err(Refusal::UNAUTHORISED),
        (Err(Denied::Busy), _) => Err(Refusal::BUSY),
        (Ok(()), &Method::GET | &Method::HEAD) => get(server, request).await,
        _ => Err(Refusal::READ_ONLY),
    };
    let mut response = answered.unwrap_or_else(|refusal| refusal.answer());
    let headers = response.headers_mut();
    // The bytes of a body that is not read must not be taken for a request.
    if has_body(request.headers()) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    response
}

/// Says whether a request names one host, which HTTP/1.1 demands (RFC 9112, 3.2).
fn has_one_host<B>(request: &Request<B>) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() < Version::HTTP_11,
        count => count == 1,
    }
}

/// Says whether a request announces a body.
fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

async fn get<B>(server: &Arc<Server>, request: &Request<B>) -> Result<Response<Body>, Refusal> {
    let headers = request.headers();
    let method = request.method();
    let query = request.uri().query();
    let path = request.uri().path();
    if parameter(query, appc::PARAMETER).is_some() {
        return appc::discover(server, path, headers).await;
    }
    if let Some(answer) = appc::file(server, path, (method, headers)).await {
        return answer;
    }
    if let Some(path) = path.strip_prefix(v1::PREFIX) {
        return v1::answer(server, path, (method, headers)).await;
    }
    match path {
        "/" => return Ok(page::page(server, query, headers)),
        "/style.css" => return Ok(page::style()),
        _ => {}
    }
    let wanted = route(path)?;
    // A client that names this server means any host.
    let here = headers.get(HOST).map(HeaderValue::as_bytes);
    let host = parameter(query, "ns").filter(|host| Some(host.as_bytes()) != here);
    let mut response = of_registry(server, request, wanted, host.clone()).await?;
    if let Some(host) = host {
        insert(&mut response, NAMESPACE, &host);
    }
    Ok(response)
}

/// Answers a request of the API v2. `host` is the host that the name of a repository belongs to.
async fn of_registry<B>(
    server: &Arc<Server>,
    request: &Request<B>,
    wanted: Wanted,
    host: Option<String>,
) -> Result<Response<Body>, Refusal> {
    let (stock, headers) = (&server.stock, request.headers());
    let query = request.uri().query();
    let find = |name: &str| {
        stock
            .find(name, host.as_deref())
            .ok_or(Refusal::NAME_UNKNOWN)
    };
    match wanted {
        Wanted::Version => Ok(json_answer("application/json", &json!({}))),
        Wanted::Catalog => {
            let page = Page::of(query)?;
            let (names, link) = page.of_list(stock.names(), "/v2/_catalog");
            let list = json!({ "repositories": names });
            Ok(linked(json_answer("application/json", &list), link))
        }
        Wanted::Tags(name) => {
            let repository = find(&name)?;
            let page = Page::of(query)?;
            let path = format!("/v2/{name}/tags/list");
            let (tags, link) = page.of_list(repository.tags(), &path);
            let list = json!({ "name": name, "tags": tags });
            Ok(linked(json_answer("application/json", &list), link))
        }
        Wanted::Tagged(name, tag) => {
            let repository = find(&name)?;
            if !repository.has_tag(&tag) {
                return Err(Refusal::manifest_unknown("the repository has no such tag"));
            }
            let found = tagged(server, (name, host), tag, headers).await?;
            let mut response = document(&found, &found.digest, headers);
            response
                .headers_mut()
                .insert(VARY, HeaderValue::from_static("accept, user-agent"));
            Ok(response)
        }
        Wanted::Manifest(name, digest) => {
            let repository = find(&name)?;
            let found = match repository.manifest(&digest) {
                Some(found) => found,
                None => unmade(server, (name, host), digest).await?,
            };
            Ok(document(&found, &digest, headers))
        }
        Wanted::Blob(name, digest) => {
            if !find(&name)?.has_blob(&digest) {
                return Err(Refusal::BLOB_UNKNOWN);
            }
            blob(server, (name, host), digest, (request.method(), headers)).await
        }
        Wanted::Referrers(name, digest) => {
            let filter = parameter(query, "artifactType");
            Ok(referrers(find(&name)?, &digest, filter.as_deref()))
        }
    }
}
