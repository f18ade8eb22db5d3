//! A registry of version 1 over a storage of [`stores::registry_v1`](crate::stores::registry_v1), by
//! docker-registry's API: the part that a client which pulls needs, and a hook by which a test makes the
//! registry lie, refuse or break off. docker2aci pulls from it.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::{
    ImageRecipe, Result,
    server::{Identity, Reply, Request, Server},
    stores,
};

/// The storage and the settings of a registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The root directory of the storage.
    pub storage: PathBuf,
    /// The answer of the index in `X-Docker-Endpoints`, no such header if it is empty; `None` for the host
    /// of the request, as docker-registry answers.
    pub endpoints: Option<String>,
    /// The token that the index gives and that images and tags need; `None` for no token.
    pub token: Option<String>,
    /// The value of `Authorization` that the index needs.
    pub login: Option<String>,
    /// The cookie that the index sets, `NAME=VALUE`.
    pub cookie: Option<String>,
    /// True if a single tag can't be asked for.
    pub only_lists: bool,
}

impl Settings {
    /// Makes the settings of a registry without a login.
    pub fn of(storage: &Path) -> Self {
        Self {
            storage: storage.to_owned(),
            endpoints: None,
            token: None,
            login: None,
            cookie: None,
            only_lists: false,
        }
    }
}

/// A running registry.
pub struct RegistryV1 {
    /// The server of the registry, with all requests.
    pub server: Server,
}

impl fmt::Debug for RegistryV1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl RegistryV1 {
    /// Writes a storage of the images below `folder` and serves it; returns the ids of the top layers too.
    ///
    /// # Errors
    /// The errors of [`stores::registry_v1`].
    pub fn of(images: &[ImageRecipe], folder: &Path) -> Result<(Self, Vec<String>)> {
        let tops = stores::registry_v1(images, folder)?;
        Ok((Self::start(Settings::of(folder)), tops))
    }

    /// Starts a registry that follows the documentation.
    pub fn start(settings: Settings) -> Self {
        Self::start_with(settings, None, |_| None)
    }

    /// Starts a registry, perhaps with TLS. A reply of `hook` replaces the registry's own.
    pub fn start_with(
        settings: Settings,
        identity: Option<&Identity>,
        hook: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let settings = Arc::new(settings);
        let handler =
            move |request: &Request| hook(request).unwrap_or_else(|| answer(request, &settings));
        let server = match identity {
            Some(identity) => Server::start_tls(identity, handler),
            None => Server::start(handler),
        };
        Self { server }
    }

    /// Returns `dockerv1://127.0.0.1:PORT/NAME`.
    pub fn locator(&self, name: &str) -> String {
        format!("dockerv1://{}/{name}", self.server.authority())
    }
}

/// Answers as docker-registry 0.9 does.
pub fn answer(request: &Request, settings: &Settings) -> Reply {
    let Some(path) = request.path().strip_prefix("/v1/") else {
        return Reply::status(404);
    };
    if path == "_ping" {
        return Reply::ok("true").header("x-docker-registry-version", "0.9.1");
    }
    if let Some(repository) = path
        .strip_prefix("repositories/")
        .and_then(|rest| rest.strip_suffix("/images"))
    {
        return index(request, repository, settings);
    }
    let sent = request.header("authorization").unwrap_or_default();
    if let Some(token) = &settings.token
        && sent != format!("Token {token}")
    {
        return failure(401, "Requires authorization");
    }
    if let Some(rest) = path.strip_prefix("images/")
        && let Some((id, part)) = rest.split_once('/')
    {
        return image(request, id, part, settings);
    }
    match path.strip_prefix("repositories/") {
        Some(rest) => tags(rest, settings),
        None => Reply::status(404),
    }
}

fn failure(status: u16, text: &str) -> Reply {
    Reply::status(status).body(json!({ "error": text }).to_string())
}

/// The folder of a repository: one without a namespace is in `library`.
fn folder(repository: &str, settings: &Settings) -> PathBuf {
    let place = match repository.contains('/') {
        true => repository.to_owned(),
        false => format!("library/{repository}"),
    };
    settings.storage.join("repositories").join(place)
}

fn index(request: &Request, repository: &str, settings: &Settings) -> Reply {
    let sent = request.header("authorization");
    if settings.login.is_some() && sent != settings.login.as_deref() {
        return failure(401, "Login please").header("www-authenticate", "Basic realm=\"index\"");
    }
    let Ok(list) = fs::read(folder(repository, settings).join("_index_images")) else {
        return failure(404, "images not found");
    };
    let mut reply = Reply::ok(list);
    let own = request.header("host").unwrap_or_default();
    let endpoints = settings.endpoints.as_deref().unwrap_or(own);
    if !endpoints.is_empty() {
        reply = reply.header("x-docker-endpoints", endpoints);
    }
    if let Some(cookie) = &settings.cookie {
        reply = reply.header("set-cookie", format!("{cookie}; Path=/; HttpOnly"));
    }
    match &settings.token {
        Some(token) if request.header("x-docker-token") == Some("true") => {
            reply.header("x-docker-token", token.clone())
        }
        _ => reply,
    }
}

fn tags(rest: &str, settings: &Settings) -> Reply {
    if let Some(repository) = rest.strip_suffix("/tags") {
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        let Ok(files) = fs::read_dir(folder(repository, settings)) else {
            return failure(404, "Repository not found");
        };
        for file in files.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if let Some(tag) = name.strip_prefix("tag_") {
                let id = fs::read_to_string(file.path()).unwrap_or_default();
                found.insert(tag.to_owned(), json!(id));
            }
        }
        return Reply::ok(json!(found).to_string());
    }
    let Some((repository, tag)) = rest.split_once("/tags/") else {
        return Reply::status(404);
    };
    let file = folder(repository, settings).join(format!("tag_{tag}"));
    match fs::read_to_string(file) {
        Ok(id) if !settings.only_lists => Reply::ok(json!(id).to_string()),
        _ => failure(404, "Tag not found"),
    }
}

fn image(request: &Request, id: &str, part: &str, settings: &Settings) -> Reply {
    let folder = settings.storage.join("images").join(id);
    let (true, Ok(bytes)) = (
        matches!(part, "json" | "layer" | "ancestry"),
        fs::read(folder.join(part)),
    ) else {
        return failure(404, "Image not found");
    };
    if part == "layer" {
        return ranged(request, &bytes);
    }
    let mut reply = Reply::ok(bytes);
    if part == "json" {
        if let Ok(metadata) = fs::metadata(folder.join("layer")) {
            reply = reply.header("x-docker-size", metadata.len().to_string());
        }
        if let Ok(sums) = fs::read_to_string(folder.join("_checksum")) {
            reply = reply.header("x-docker-checksum", sums);
        }
    }
    reply
}

/// Answers with the bytes from a position on, if the request has a range.
fn ranged(request: &Request, bytes: &[u8]) -> Reply {
    let range = request.header("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let last = last.parse().unwrap_or(usize::MAX);
        Some((first.parse::<usize>().ok()?, last))
    });
    match range {
        Some((first, _)) if first >= bytes.len() => Reply::status(416),
        Some((first, last)) => {
            let last = last.min(bytes.len() - 1);
            let range = format!("bytes {first}-{last}/{}", bytes.len());
            Reply::status(206)
                .header("content-range", range)
                .body(&bytes[first..=last])
        }
        None => Reply::ok(bytes),
    }
}
