//! The requests to an engine, and its answers, which may be hostile.

use std::io::Read;

use imgconv_http::{Client, EngineAddress, Method, Request, Response, Url};
use imgconv_json::{Object, Value};
use imgconv_model::{Code, Digest, Env, Error, Limits, Platform, Result, quote};

/// The address of docker's socket where the user names no other.
const USUAL: &str = "unix:///var/run/docker.sock";

/// Advice for answers that no engine sends.
const NO_ENGINE: &str =
    "`--docker-host` has to name the API of docker, or of `podman system service`";

/// An image as the engine's list has it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The image ID.
    pub(crate) id: Digest,
    /// The names `REPOSITORY:TAG`.
    pub(crate) names: Vec<String>,
    /// The bytes that the image takes, as the engine says.
    pub(crate) size: u64,
}

/// An image as the engine describes it alone.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// The image, with its names.
    pub(crate) image: Listed,
    /// The platform, if the engine says which.
    pub(crate) platform: Option<Platform>,
    /// The diff IDs of the layers.
    pub(crate) layers: Vec<String>,
}

/// A running engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    client: Client,
    address: EngineAddress,
    limits: Limits,
}

impl Engine {
    /// Reads the settings. Opens no connection.
    pub(crate) fn open(env: &Env) -> Result<Self> {
        let certificates = env.places.docker_certificates.as_deref();
        let host = env.places.docker_host.as_deref().unwrap_or(USUAL);
        let address = EngineAddress::parse(host, certificates.is_some())?;
        Ok(Self {
            client: address.client(certificates, env)?,
            address,
            limits: env.limits,
        })
    }

    fn at(&self, error: Error) -> Error {
        error.at(format!("engine {}", quote(self.address.shown())))
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url> {
        let url = self.address.base().join(path)?;
        Ok(url.with_query(query.iter().copied()))
    }

    /// Sends a request, and returns the answer to it whatever that is.
    fn send(&self, method: Method, url: &Url, body: Option<&mut dyn Read>) -> Result<Response> {
        let mut request = Request::new(method, url);
        if body.is_some() {
            request = request.header("content-type", "application/x-tar");
        }
        let response = self.client.ask(&request, body);
        response.map_err(|error| self.at(error))
    }

    /// Sends a request, and returns the answer to it if that is a success.
    fn ask(&self, method: Method, url: &Url, body: Option<&mut dyn Read>) -> Result<Response> {
        let response = self.send(method, url, body)?;
        match response.status() {
            200..=299 => Ok(response),
            _ => {
                let mut known = false;
                let error = response.into_failure_as(|text| {
                    let message = said(text);
                    known = message.is_some();
                    message
                });
                let error = match known {
                    true => error,
                    false => error.hint(NO_ENGINE),
                };
                Err(self.at(error))
            }
        }
    }

    /// Asks for a JSON document.
    fn json(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let response = self.ask(Method::Get, &self.url(path, query)?, None)?;
        self.value(response, path)
    }

    /// Reads the JSON document of an answer.
    fn value(&self, response: Response, path: &str) -> Result<Value> {
        let bytes = response.into_bytes(("root_index", self.limits.root_index));
        let bytes = bytes.map_err(|error| self.at(error))?;
        let what = format!("the answer to {path}");
        imgconv_json::parse(&bytes, &self.limits, &what).map_err(|error| self.foreign(&error))
    }

    /// The error of an answer that no engine sends.
    fn foreign(&self, error: &Error) -> Error {
        let message = format!("the answer is not that of an engine: {error}");
        self.at(Error::new(Code::Net, message).hint(NO_ENGINE))
    }

    /// Fails if no engine answers.
    pub(crate) fn ping(&self) -> Result<()> {
        self.ask(Method::Get, &self.url("/_ping", &[])?, None)?;
        Ok(())
    }

    /// Lists the images, in the order of the engine.
    pub(crate) fn images(&self) -> Result<Vec<Listed>> {
        let value = self.json("/images/json", &[])?;
        let read = || -> Result<Vec<Listed>> {
            let list = value.as_array().ok_or_else(|| {
                Error::new(
                    Code::BadManifest,
                    "expected a list of images, found something else",
                )
            })?;
            let mut images = Vec::with_capacity(list.len());
            for (i, item) in list.iter().enumerate() {
                images.push(listed(&Object::new(item, format!("[{i}]"))?, "Size")?);
            }
            Ok(images)
        };
        read().map_err(|error| self.foreign(&error))
    }

    /// Describes the image of a name, which may be an ID; `None` if the engine has no such image.
    pub(crate) fn image(&self, name: &str) -> Result<Option<Described>> {
        check_name(name)?;
        let path = format!("/images/{name}/json");
        let response = self.ask(Method::Get, &self.url(&path, &[])?, None);
        let value = match response {
            Ok(response) => self.value(response, &path)?,
            // A server that is no engine does not say why.
            Err(error) if error.code() == Code::Missing && error.advice().is_none() => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let read = || -> Result<Described> {
            let object = Object::new(&value, "")?;
            let text = |key| {
                object
                    .opt_text(key)
                    .ok()
                    .flatten()
                    .unwrap_or_default()
                    .to_owned()
            };
            let platform = Platform {
                os: text("Os"),
                architecture: text("Architecture"),
                variant: Some(text("Variant")).filter(|text| !text.is_empty()),
            };
            let root = object.opt_object("RootFS")?;
            let layers = root.and_then(|root| root.string_list("Layers").ok());
            Ok(Described {
                image: listed(&object, "Size")?,
                platform: Some(platform)
                    .filter(|it| !it.os.is_empty() || !it.architecture.is_empty()),
                layers: layers.unwrap_or_default(),
            })
        };
        read().map(Some).map_err(|error| self.foreign(&error))
    }

    /// Asks for a docker archive with images.
    pub(crate) fn save(&self, names: &[String]) -> Result<Response> {
        let mut path = "/images/get".to_owned();
        for (i, name) in names.iter().enumerate() {
            path.push(if i == 0 { '?' } else { '&' });
            path.push_str("names=");
            path.push_str(&imgconv_http::escape(name));
        }
        self.ask(Method::Get, &self.url(&path, &[])?, None)
    }

    /// Sends a docker archive to be loaded; the answer tells what became of it.
    pub(crate) fn load(&self, archive: &mut dyn Read) -> Result<Response> {
        self.ask(
            Method::Post,
            &self.url("/images/load", &[("quiet", "0")])?,
            Some(archive),
        )
    }

    /// Adds the address of the engine to an error.
    pub(crate) fn place(&self, error: Error) -> Error {
        self.at(error)
    }
}

/// Reads the fields that the list of images and the description of one share.
fn listed(object: &Object<'_>, size: &str) -> Result<Listed> {
    let id = object.string("Id")?;
    let id = match id.contains(':') {
        true => Digest::parse(id),
        // podman's own form.
        false => Digest::parse(&format!("sha256:{id}")),
    };
    let names = match object.get("RepoTags") {
        None | Some(Value::Null) => Vec::new(),
        Some(_) => object.string_list("RepoTags")?,
    };
    Ok(Listed {
        id: id.map_err(|error| error.at(object.path("Id")))?,
        names: names
            .into_iter()
            .filter(|name| name != "<none>:<none>")
            .collect(),
        size: object.get(size).and_then(Value::as_u64).unwrap_or(0),
    })
}

/// Finds the message in the answer of an engine that refuses.
fn said(text: &str) -> Option<String> {
    let value = imgconv_json::parse(text.as_bytes(), &Limits::default(), "answer").ok()?;
    let message = value.get("message").or_else(|| value.get("cause"))?;
    message.as_str().map(str::to_owned)
}

/// Refuses a text that would change the path of a request.
///
/// # Errors
/// [`Code::BadName`].
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte);
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    if name.bytes().all(plain) && !name.split('/').any(odd) && name.len() <= 1024 {
        return Ok(());
    }
    let message = format!("{} is no name of an image", quote(name));
    Err(Error::new(Code::BadName, message).hint("write `NAME:TAG`, or an image ID"))
}

/// Finds the error in one line of an engine's progress, `{"errorDetail":{"message":…},"error":…}`.
pub(crate) fn error_in(value: &Value) -> Option<String> {
    let detail = value
        .get("errorDetail")
        .and_then(|detail| detail.get("message"));
    let error = detail.or_else(|| value.get("error"))?;
    Some(
        error
            .as_str()
            .map_or_else(|| "an error without a text".to_owned(), str::to_owned),
    )
}
