//! Registry API v1, for clients before docker 1.6: the part that pulls. Tags are asked for first; the ids
//! of images are known from then on.

use std::sync::Arc;

use hyper::{
    HeaderMap, Method, Response,
    header::{HOST, HeaderName, HeaderValue},
};
use imgconv_model::Name;
use serde_json::{Map, Value, json};

use super::{
    body::Body,
    content::{blob, find, insert, json_answer, told, work},
    refusal::Refusal,
    server::Server,
};
use crate::stock::V1Image;

const VERSION: HeaderName = HeaderName::from_static("x-docker-registry-version");
const STANDALONE: HeaderName = HeaderName::from_static("x-docker-registry-standalone");
const ENDPOINTS: HeaderName = HeaderName::from_static("x-docker-endpoints");
const SIZE: HeaderName = HeaderName::from_static("x-docker-size");

/// The start of every path of the API.
pub(super) const PREFIX: &str = "/v1/";

/// Answers a request; `path` is the part after [`PREFIX`].
pub(super) async fn answer(
    server: &Arc<Server>,
    path: &str,
    (method, headers): (&Method, &HeaderMap),
) -> Result<Response<Body>, Refusal> {
    let mut response = match path {
        "_ping" => json_answer("application/json", &json!(true)),
        _ => match path.strip_prefix("repositories/") {
            Some(rest) => repository(server, rest, headers).await?,
            None => image(server, path, (method, headers)).await?,
        },
    };
    let own = response.headers_mut();
    own.insert(VERSION, HeaderValue::from_static("0.9.1"));
    own.insert(STANDALONE, HeaderValue::from_static("true"));
    Ok(response)
}

/// The lists of a repository.
async fn repository(
    server: &Arc<Server>,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    if let Some(name) = path.strip_suffix("/images") {
        let ids = ids(server, checked(name)?, None).await?;
        let list: Vec<Value> = ids.values().map(|id| json!({ "id": id })).collect();
        let mut response = json_answer("application/json", &Value::Array(list));
        if let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) {
            insert(&mut response, ENDPOINTS, host);
        }
        return Ok(response);
    }
    if let Some(name) = path.strip_suffix("/tags") {
        let ids = ids(server, checked(name)?, None).await?;
        return Ok(json_answer("application/json", &Value::Object(ids)));
    }
    let (name, tag) = path.rsplit_once("/tags/").ok_or(Refusal::NOT_FOUND)?;
    if !Name::is_tag(tag) {
        return Err(Refusal::NOT_FOUND);
    }
    let ids = ids(server, checked(name)?, Some(tag.to_owned())).await?;
    let id = ids.into_iter().next().map(|(_, id)| id);
    Ok(json_answer(
        "application/json",
        &id.ok_or(Refusal::NOT_FOUND)?,
    ))
}

fn checked(name: &str) -> Result<String, Refusal> {
    match name.split('/').all(Name::is_component) {
        true => Ok(name.to_owned()),
        false => Err(Refusal::NAME_INVALID),
    }
}

/// The ids of the tags of a repository, or of one tag. An image that can't be made is left out of the
/// list.
async fn ids(
    server: &Arc<Server>,
    name: String,
    tag: Option<String>,
) -> Result<Map<String, Value>, Refusal> {
    let name = (name, None);
    find(&server.stock, &name)?;
    work(server, move |server| {
        let repository = find(&server.stock, &name)?;
        let mut ids = Map::new();
        let one = tag.is_some();
        let tags: Vec<String> = match tag {
            Some(tag) if repository.has_tag(&tag) => vec![tag],
            Some(_) => return Err(Refusal::manifest_unknown("the repository has no such tag")),
            None => repository.tags().map(str::to_owned).collect(),
        };
        for tag in tags {
            match server.stock.v1_id(repository, &tag) {
                Ok(id) => {
                    ids.insert(tag, id.into());
                }
                Err(error) => {
                    let refusal = told(server, &format!("{}:{tag}", name.0), &error);
                    if one {
                        return Err(refusal);
                    }
                }
            }
        }
        Ok(ids)
    })
    .await
}

/// The parts of an image.
async fn image(
    server: &Arc<Server>,
    path: &str,
    request: (&Method, &HeaderMap),
) -> Result<Response<Body>, Refusal> {
    let rest = path.strip_prefix("images/").ok_or(Refusal::NOT_FOUND)?;
    let (id, part) = rest.split_once('/').ok_or(Refusal::NOT_FOUND)?;
    let image = server.stock.v1_image(id).ok_or(Refusal::NOT_FOUND)?;
    match part {
        "ancestry" => Ok(json_answer("application/json", &json!(image.ancestry))),
        "json" => Ok(described(server, &image)),
        "layer" => {
            let name = server.stock.v1_repository(&image).name().to_owned();
            blob(server, (name, None), image.layer, request).await
        }
        _ => Err(Refusal::NOT_FOUND),
    }
}

fn described(server: &Server, image: &V1Image) -> Response<Body> {
    let repository = server.stock.v1_repository(image);
    let mut response = Response::new(Body::whole(image.json.clone()));
    insert(
        &mut response,
        hyper::header::CONTENT_TYPE,
        "application/json",
    );
    insert(
        &mut response,
        hyper::header::CONTENT_LENGTH,
        &image.json.len().to_string(),
    );
    if let Some(size) = repository.blob_size(&image.layer) {
        insert(&mut response, SIZE, &size.to_string());
    }
    response
}
