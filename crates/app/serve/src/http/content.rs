//! Documents, blobs and lists as answers, for every API.

use std::sync::Arc;

use hyper::{
    HeaderMap, Method, Response, StatusCode,
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
        let found = server.stock.by_digest(repository, &digest);
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
    (method, headers): (&Method, &HeaderMap),
) -> Result<Response<Body>, Refusal> {
    let what = format!("{}@{digest}", name.0);
    let shown = what.clone();
    let open = move |server: &Server, make: bool| {
        let repository = find(&server.stock, &name)?;
        let opened = server.stock.open_blob(repository, &digest, make);
        opened.map_err(|error| unopened(server, &shown, &error))
    };
    bytes_of(server, what, digest, (method, headers), open).await
}

/// Tells the log that a blob can't be opened, and returns the answer to the client.
pub(super) fn unopened(server: &Server, what: &str, error: &Error) -> Refusal {
    server.watcher.failed(what, error);
    match error.code() {
        Code::Missing => Refusal::BLOB_UNKNOWN,
        _ => Refusal::FAILED,
    }
}

/// The answer with bytes that have a digest, or with a part of them. A part is only for `GET` (RFC 9110,
/// 14.2). `what` names the bytes for messages. `open` opens them; without its second argument it returns
/// `None` if they have to be made.
pub(super) async fn bytes_of(
    server: &Arc<Server>,
    what: String,
    digest: Digest,
    (method, headers): (&Method, &HeaderMap),
    open: impl Fn(&Server, bool) -> Result<Option<Opened>, Refusal> + Clone + Send + 'static,
) -> Result<Response<Body>, Refusal> {
    let mut response = Response::new(Body::EMPTY);
    let tag = mark(&mut response, &digest);
    if is_known(headers, &tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A part of another blob than the client has the rest of is of no use.
    let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|wanted| wanted == tag));
    let get = *method == Method::GET;
    let wanted = WantedBlob {
        what,
        opens: open,
        digest,
        range: range.filter(|_| get).map(str::to_owned),
        get,
    };
    let opening = {
        let (server, wanted) = (Arc::clone(server), wanted.clone());
        spawn_blocking(move || wanted.open(&server, false))
    };
    let opened = match opening.await.unwrap_or(Err(Refusal::FAILED))? {
        Some(opened) => opened,
        None => {
            let made = work(server, move |server| wanted.open(server, true)).await?;
            made.ok_or(Refusal::FAILED)?
        }
    };
    let OpenBlob { size, part, body } = opened;
    match part {
        Part::Whole => {}
        Part::Some(start, length) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {start}-{}/{size}", start + length - 1);
            insert(&mut response, CONTENT_RANGE, &range);
        }
        Part::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            insert(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(response);
        }
    }
    let own = response.headers_mut();
    own.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    own.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let length = match part {
        Part::Some(_, length) => length,
        _ => size,
    };
    own.insert(CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = body;
    Ok(response)
}

/// A blob that a client asks for.
#[derive(Clone)]
struct WantedBlob<F> {
    /// The blob for messages.
    what: String,
    opens: F,
    digest: Digest,
    range: Option<String>,
    /// False if only the headers are wanted.
    get: bool,
}

/// An open blob, or a part of it.
struct OpenBlob {
    size: u64,
    part: Part,
    body: Body,
}

impl<F: Fn(&Server, bool) -> Result<Option<Opened>, Refusal>> WantedBlob<F> {
    /// Opens the blob, and reads the first piece: if that is all, a damaged blob is an answer with an error.
    /// Returns `None` without `make` if the blob has to be made.
    fn open(&self, server: &Arc<Server>, make: bool) -> Result<Option<OpenBlob>, Refusal> {
        let tell = |error: Error| unopened(server, &self.what, &error);
        let Some(opened) = (self.opens)(server, make)? else {
            return Ok(None);
        };
        let size = opened.size;
        if size == 0 && self.digest != imgconv_stream::digest(self.digest.algorithm(), b"") {
            // An answer without a body would end before anything is verified.
            let what = "the digest of the empty blob";
            return Err(tell(Error::mismatch(what, self.digest, "that of no bytes")));
        }
        let part = part(self.range.as_deref(), size);
        let bounds = match part {
            Part::Whole => Some((0, size)),
            Part::Some(start, length) => Some((start, length)),
            Part::Unsatisfiable => None,
        };
        let body = match bounds {
            None => Body::EMPTY,
            Some(bounds) => {
                let mut body = BlobBody::new(opened, bounds, (&self.what, self.digest), server);
                if self.get {
                    body.start(size)
                        .map_err(|error| tell(Error::from_io(error)))?;
                }
                Body::Blob(Box::new(body))
            }
        };
        Ok(Some(OpenBlob { size, part, body }))
    }
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
