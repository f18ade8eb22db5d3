//! Documents, blobs and lists as answers, for every API.

use std::sync::Arc;

use hyper::{
    HeaderMap, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
        IF_NONE_MATCH, IF_RANGE, LINK, RANGE,
    },
};
use imgconv_manifest::media_type::OCI_INDEX;
use imgconv_model::{Code, Digest, Error};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{
    accept::Accepted,
    body::{BlobBody, Body},
    range::{Part, part},
    refusal::Refusal,
    server::Server,
};
use crate::stock::{Answer, Manifest, Opened, Repository, Stock};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Finds the document of a tag for a client, and makes it if that is needed.
pub(super) async fn tagged(
    server: &Arc<Server>,
    name: (String, Option<String>),
    tag: String,
    headers: &HeaderMap,
) -> Result<Arc<Manifest>, Refusal> {
    let client = Accepted::of(headers);
    let what = format!("{}:{tag}", name.0);
    let tell = |error: Error| told(server, &what, &error);
    // A document that is there already needs no thread.
    let mut answer = {
        let repository = find(&server.stock, &name)?;
        let tagged = server.stock.tagged(repository, &tag, &client, false);
        tagged.map_err(tell)?
    };
    if matches!(answer, Answer::NotReady) {
        answer = work(server, move |server| {
            let repository = find(&server.stock, &name)?;
            let tagged = server.stock.tagged(repository, &tag, &client, true);
            tagged.map_err(|error| told(server, &format!("{}:{tag}", name.0), &error))
        })
        .await?;
    }
    match answer {
        Answer::Found(found) => Ok(found),
        Answer::NotReady | Answer::Unacceptable => Err(Refusal::manifest_unknown(
            "the image can't have any of the types that the header Accept lists",
        )),
    }
}

/// Makes the images of a repository until one has the digest.
pub(super) async fn unmade(
    server: &Arc<Server>,
    name: (String, Option<String>),
    digest: Digest,
) -> Result<Arc<Manifest>, Refusal> {
    let unknown = || Refusal::manifest_unknown("the repository has no document of this digest");
    if !server.stock.is_unmade(find(&server.stock, &name)?) {
        return Err(unknown());
    }
    work(server, move |server| {
        let repository = find(&server.stock, &name)?;
        let found = server
            .stock
            .by_digest(repository, &digest, &*server.watcher);
        found.ok_or_else(unknown)
    })
    .await
}

pub(super) fn find<'s>(
    stock: &'s Stock,
    name: &(String, Option<String>),
) -> Result<&'s Repository, Refusal> {
    stock
        .find(&name.0, name.1.as_deref())
        .ok_or(Refusal::NAME_UNKNOWN)
}

/// Does work that may take long, on a thread of its own.
pub(super) async fn work<T: Send + 'static>(
    server: &Arc<Server>,
    work: impl FnOnce(&Arc<Server>) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let permit = Arc::clone(&server.makers).acquire_owned().await;
    let permit = permit.map_err(|_| Refusal::FAILED)?;
    let server = Arc::clone(server);
    let done = spawn_blocking(move || {
        let done = work(&server);
        drop(permit);
        done
    });
    done.await.unwrap_or(Err(Refusal::FAILED))
}

/// Tells the log about a failure, and returns the answer to the client.
pub(super) fn told(server: &Server, what: &str, error: &Error) -> Refusal {
    server.watcher.failed(what, error);
    match error.code() {
        Code::Missing => {
            Refusal::manifest_unknown("the image is not there, or not for this platform")
        }
        _ => Refusal::FAILED,
    }
}

/// The answer with a document. `digest` is the digest by which it was found.
pub(super) fn document(found: &Manifest, digest: &Digest, headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::EMPTY);
    let of_digest = mark(&mut response, digest);
    let own = response.headers_mut();
    own.insert(CONTENT_TYPE, HeaderValue::from_static(found.kind));
    if is_known(headers, &of_digest) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    own.insert(CONTENT_LENGTH, HeaderValue::from(found.bytes.len()));
    *response.body_mut() = Body::whole(bytes::Bytes::from_owner(Arc::clone(&found.bytes)));
    response
}

/// The answer with a blob.
pub(super) async fn blob(
    server: &Arc<Server>,
    name: (String, Option<String>),
    digest: Digest,
    headers: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let what = format!("{}@{digest}", name.0);
    let shown = what.clone();
    let open = move |server: &Server| {
        let repository = find(&server.stock, &name)?;
        let opened = server.stock.open_blob(repository, &digest);
        opened.map_err(|error| unopened(server, &shown, &error))
    };
    bytes_of(server, what, digest, headers, open).await
}

/// Tells the log that a blob can't be opened, and returns the answer to the client.
pub(super) fn unopened(server: &Server, what: &str, error: &Error) -> Refusal {
    server.watcher.failed(what, error);
    match error.code() {
        Code::Missing => Refusal::BLOB_UNKNOWN,
        _ => Refusal::FAILED,
    }
}

/// The answer with bytes that have a digest, or with a part of them. `what` names them for messages, and
/// `open` opens them.
pub(super) async fn bytes_of(
    server: &Arc<Server>,
    what: String,
    digest: Digest,
    headers: &HeaderMap,
    open: impl FnOnce(&Server) -> Result<Opened, Refusal> + Send + 'static,
) -> Result<Response<Body>, Refusal> {
    let mut response = Response::new(Body::EMPTY);
    let tag = mark(&mut response, &digest);
    if is_known(headers, &tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let opened = {
        let server = Arc::clone(server);
        let opening = spawn_blocking(move || open(&server));
        opening.await.unwrap_or(Err(Refusal::FAILED))?
    };
    let size = opened.size;
    if size == 0 && digest != imgconv_stream::digest(digest.algorithm(), b"") {
        // An answer without a body would end before anything is verified.
        let error = Error::mismatch("the digest of the empty blob", digest, "that of no bytes");
        server.watcher.failed(&what, &error);
        return Err(Refusal::FAILED);
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A part of another blob than the client has the rest of is of no use.
    let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|wanted| wanted == tag));
    let (start, length) = match part(range, size) {
        Part::Whole => (0, size),
        Part::Some(start, length) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {start}-{}/{size}", start + length - 1);
            insert(&mut response, CONTENT_RANGE, &range);
            (start, length)
        }
        Part::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            insert(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(response);
        }
    };
    let own = response.headers_mut();
    own.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    own.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    own.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let body = BlobBody::new(opened, (start, length), (what, digest), server);
    *response.body_mut() = Body::Blob(Box::new(body));
    Ok(response)
}

/// The documents about a document, as an index (distribution-spec, "Listing Referrers").
pub(super) fn referrers(
    repository: &Repository,
    digest: &Digest,
    filter: Option<&str>,
) -> Response<Body> {
    let list = repository
        .referrers(digest)
        .into_iter()
        .map(|found| found.descriptor());
    let fits = |descriptor: &Value| {
        filter.is_none_or(|filter| descriptor["artifactType"].as_str() == Some(filter))
    };
    let list: Vec<Value> = list.filter(fits).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list });
    let mut response = json_answer(OCI_INDEX, &index);
    if filter.is_some() {
        let headers = response.headers_mut();
        headers.insert(FILTERS, HeaderValue::from_static("artifactType"));
    }
    response
}

pub(super) fn json_answer(kind: &'static str, value: &Value) -> Response<Body> {
    let text = value.to_string();
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Body::whole(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, length);
    response
}

pub(super) fn linked(mut response: Response<Body>, link: Option<String>) -> Response<Body> {
    if let Some(link) = link {
        insert(&mut response, LINK, &link);
    }
    response
}

/// Adds the headers that identify the content; returns the entity tag.
fn mark(response: &mut Response<Body>, digest: &Digest) -> String {
    let tag = format!("\"{digest}\"");
    insert(response, CONTENT_DIGEST, &digest.to_string());
    insert(response, ETAG, &tag);
    tag
}

/// Adds a header. A value that can't be a header, which no checked name is, is left out.
pub(super) fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Says whether the client has the content already.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    let mut tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    tags.any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}
