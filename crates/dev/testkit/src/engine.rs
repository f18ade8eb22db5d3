//! A container engine that only has an API: images from recipes, which are listed, given out and
//! loaded as docker does, on a socket of this machine.
//!
//! The paths and answers are those of docker 20 to 28. A test can replace single answers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    Failure, ImageRecipe, Result,
    docker::archive,
    server::{Reply, Request, Server},
    sha256_hex,
};

/// An image in the engine.
#[derive(Clone, Debug)]
pub struct EngineImage {
    /// The image ID.
    pub id: String,
    /// The names `REPOSITORY:TAG`.
    pub names: Vec<String>,
    /// The diff IDs of the layers.
    pub layers: Vec<String>,
    config: Value,
    /// The recipe, for an image that was not loaded.
    recipe: Option<ImageRecipe>,
}

/// A running engine; it ends when it is dropped.
#[derive(Debug)]
pub struct FakeEngine {
    server: Server,
    path: PathBuf,
    images: Arc<Mutex<Vec<EngineImage>>>,
}

impl FakeEngine {
    /// Starts an engine at a socket.
    ///
    /// # Errors
    /// If an image can't be made from its recipe.
    pub fn start(path: &Path, recipes: &[ImageRecipe]) -> Result<Self> {
        Self::start_with(path, recipes, |_| None)
    }

    /// Starts an engine whose answers a test can replace.
    ///
    /// # Errors
    /// If an image can't be made from its recipe.
    pub fn start_with(
        path: &Path,
        recipes: &[ImageRecipe],
        other: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Result<Self> {
        let mut images: Vec<EngineImage> = Vec::new();
        for recipe in recipes {
            for image in images_of(&archive(std::slice::from_ref(recipe))?)? {
                match images.iter_mut().find(|known| known.id == image.id) {
                    Some(known) => known.names.extend(image.names),
                    None => images.push(EngineImage {
                        recipe: Some(recipe.clone()),
                        ..image
                    }),
                }
            }
        }
        let images = Arc::new(Mutex::new(images));
        let shared = Arc::clone(&images);
        let server = Server::start_at(path, move |request| {
            other(request).unwrap_or_else(|| {
                let mut images = shared.lock().unwrap_or_else(PoisonError::into_inner);
                answer(request, &mut images)
            })
        });
        Ok(Self {
            server,
            path: path.to_owned(),
            images,
        })
    }

    /// Returns `unix://PATH`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Returns the images that the engine has by now.
    pub fn images(&self) -> Vec<EngineImage> {
        let images = self.images.lock();
        images.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns every request up to now, as `METHOD TARGET`.
    pub fn requests(&self) -> Vec<String> {
        let all = self.server.requests().into_iter();
        all.map(|request| format!("{} {}", request.method, request.target))
            .collect()
    }
}

fn answer(request: &Request, images: &mut Vec<EngineImage>) -> Reply {
    let json = |value: &Value| {
        Reply::ok(value.to_string())
            .header("content-type", "application/json")
            .chunked()
    };
    match (&*request.method, request.path()) {
        ("GET", "/_ping") => Reply::ok("OK"),
        ("GET", "/images/json") => {
            json(&Value::from(images.iter().map(listed).collect::<Vec<_>>()))
        }
        ("GET", "/images/get") => {
            let names = request.queries("names");
            match saved(&names, images) {
                Ok(Some(archive)) => Reply::ok(archive)
                    .header("content-type", "application/x-tar")
                    .chunked(),
                Ok(None) => refusal(404, "reference does not exist"),
                Err(error) => refusal(500, &error.to_string()),
            }
        }
        ("POST", "/images/load") => match load(&request.body, images) {
            Ok(lines) => Reply::ok(lines).header("content-type", "application/json"),
            Err(error) => refusal(500, &error.to_string()),
        },
        ("GET", path) => {
            let name = path.strip_prefix("/images/");
            let name = name.and_then(|path| path.strip_suffix("/json"));
            match name.and_then(|name| images.iter().find(|image| image.is(name))) {
                Some(image) => json(&described(image)),
                None => refusal(404, &format!("No such image: {}", name.unwrap_or(path))),
            }
        }
        _ => refusal(404, "page not found"),
    }
}

/// The answer of docker to a request that fails.
pub fn refusal(status: u16, message: &str) -> Reply {
    let body = json!({ "message": message }).to_string();
    Reply::status(status)
        .header("content-type", "application/json")
        .body(body)
}

impl EngineImage {
    fn is(&self, name: &str) -> bool {
        let tagged = format!("{name}:latest");
        let id = name.strip_prefix("sha256:").unwrap_or(name);
        self.names.iter().any(|own| own == name || *own == tagged)
            || id.len() >= 12 && self.id["sha256:".len()..].starts_with(id)
    }
}

fn listed(image: &EngineImage) -> Value {
    json!({
        "Id": image.id, "ParentId": "", "RepoTags": image.names, "RepoDigests": [], "Created": 0,
        "Size": 1000, "SharedSize": -1, "Labels": null, "Containers": -1,
    })
}

fn described(image: &EngineImage) -> Value {
    let mut value = listed(image);
    value["Os"] = image.config["os"].clone();
    value["Architecture"] = image.config["architecture"].clone();
    value["RootFS"] = json!({ "Type": "layers", "Layers": image.layers });
    value
}

/// The archive of `docker save NAME…`: a name stands for that name alone, an ID for no name.
fn saved(names: &[String], images: &[EngineImage]) -> Result<Option<Vec<u8>>> {
    let mut recipes = Vec::new();
    for wanted in names {
        let Some(image) = images.iter().find(|image| image.is(wanted)) else {
            return Ok(None);
        };
        let mut recipe = image
            .recipe
            .clone()
            .ok_or_else(|| Failure::new("a loaded image is not given out"))?;
        let (repository, tag) = match wanted.rsplit_once(':') {
            Some((repository, tag)) if !wanted.starts_with("sha256:") => (repository, tag),
            None if image.names.contains(&format!("{wanted}:latest")) => (&**wanted, ""),
            _ => ("", ""),
        };
        // Names do not change the config of an image.
        recipe.head.name = repository.to_owned();
        recipe.head.version = tag.to_owned();
        recipes.push(recipe);
    }
    archive(&recipes).map(Some)
}

/// Loads an archive; returns the lines of the answer.
fn load(body: &[u8], images: &mut Vec<EngineImage>) -> Result<String> {
    let mut lines = String::new();
    let mut say = |text: String| {
        lines.push_str(&json!({ "stream": format!("{text}\n") }).to_string());
        lines.push_str("\r\n");
    };
    for image in images_of(body)? {
        for other in images.iter_mut() {
            other.names.retain(|name| !image.names.contains(name));
        }
        match &image.names[..] {
            [] => say(format!("Loaded image ID: {}", image.id)),
            names => names
                .iter()
                .for_each(|name| say(format!("Loaded image: {name}"))),
        }
        match images.iter_mut().find(|known| known.id == image.id) {
            Some(known) => known.names.extend(image.names),
            None => images.push(image),
        }
    }
    Ok(lines)
}

/// Reads the images of an archive with a `manifest.json`; every layer must be what its config says.
///
/// # Errors
/// If the archive is not whole.
pub fn images_of(archive: &[u8]) -> Result<Vec<EngineImage>> {
    let members = members(archive)?;
    let member = |name: &str| {
        let found = members.get(name);
        found.ok_or_else(|| Failure::new(format!("the archive has no {name}")))
    };
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<Value>(bytes).map_err(|error| Failure::new(error.to_string()))
    };
    let digest = |bytes: &[u8]| format!("sha256:{}", sha256_hex(bytes));
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let list = parse(member("manifest.json")?)?;
    let mut images = Vec::new();
    for item in list.as_array().into_iter().flatten() {
        let config = member(item["Config"].as_str().unwrap_or_default())?;
        let (id, config) = (digest(config), parse(config)?);
        let layers = texts(&config["rootfs"]["diff_ids"]);
        for (name, diff_id) in texts(&item["Layers"]).iter().zip(&layers) {
            let found = digest(member(name)?);
            if found != *diff_id {
                return Err(Failure::new(format!("{name} is {found}, not {diff_id}")));
            }
        }
        images.push(EngineImage {
            id,
            names: texts(&item["RepoTags"]),
            layers,
            config,
            recipe: None,
        });
    }
    Ok(images)
}

/// Reads the members of a tar with short names.
fn members(tar: &[u8]) -> Result<BTreeMap<String, &[u8]>> {
    let mut members = BTreeMap::new();
    let mut rest = tar;
    let cut = || Failure::new("the tar is cut");
    loop {
        let head = rest.get(..512).ok_or_else(cut)?;
        if head.iter().all(|byte| *byte == 0) {
            return Ok(members);
        }
        let text = |from: usize, to: usize| {
            let field = head[from..to].split(|byte| *byte == 0).next();
            String::from_utf8_lossy(field.unwrap_or_default())
                .trim()
                .to_owned()
        };
        let size = usize::from_str_radix(&text(124, 136), 8)
            .map_err(|error| Failure::new(error.to_string()))?;
        let body = rest.get(512..512 + size).ok_or_else(cut)?;
        members.insert(text(0, 100), body);
        rest = rest
            .get(512 + size.next_multiple_of(512)..)
            .ok_or_else(cut)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    #[test]
    fn an_archive_that_is_given_out_can_be_loaded() {
        let mut one = ImageRecipe::default();
        one.head.name = "a".into();
        one.layers = vec![recipe::parse("dir etc", "test").unwrap()];
        let images = images_of(&archive(&[one.clone()]).unwrap()).unwrap();
        assert_eq!(images[0].names, ["a:latest"]);
        let mut empty = Vec::new();
        let bytes = archive(&[one]).unwrap();
        assert!(
            load(&bytes, &mut empty)
                .unwrap()
                .contains("Loaded image: a:latest")
        );
        assert_eq!(empty[0].id, images[0].id);
        assert!(load(&bytes[..bytes.len() / 2], &mut empty).is_err());
    }
}
