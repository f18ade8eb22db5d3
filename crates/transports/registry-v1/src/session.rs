//! Requests to the index and to the registries that the index names for a repository.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_http::{Client, Request, Response, Url};
use imgconv_json::{Value, parse};
use imgconv_manifest::v1_image::check_id;
use imgconv_model::{Code, Credential, Env, Error, Limits, Result, conceal, quote};
use imgconv_registry::{Location, basic, find_credential};

/// The most registries that an index may name for a repository.
const ENDPOINTS: usize = 16;

/// A repository at its index.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    pub(crate) env: Env,
    pub(crate) location: Location,
    /// `https://HOST/v1/`.
    index: Url,
    access: Mutex<Option<Arc<Access>>>,
}

/// The answer of the index about a repository.
pub(crate) struct Access {
    /// The registries that have the repository, as `https://HOST/v1/`.
    endpoints: Vec<Url>,
    /// The value of `Authorization` for these registries.
    token: Option<String>,
    /// The value of `Authorization` for the index itself, if the index required a login.
    login: Option<String>,
    /// The value of `Cookie` for these registries.
    cookies: Option<String>,
    /// The secrets in these values.
    secrets: Vec<String>,
    /// The checksums of images that the index lists, by id.
    pub(crate) sums: BTreeMap<String, Vec<String>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Prepares a session; sends no request for the repository.
    pub(crate) fn new(location: Location, env: &Env) -> Result<Self> {
        let client = Client::new(env)?;
        let index = client.base(location.server())?.join("/v1/")?;
        Ok(Self {
            client,
            env: env.clone(),
            location,
            index,
            access: Mutex::default(),
        })
    }

    /// Returns the host for texts that identify bytes.
    pub(crate) fn authority(&self) -> &str {
        self.index.authority()
    }

    /// Names the repository as the outermost place, and takes out what the index keeps secret: an answer
    /// may repeat a token.
    pub(crate) fn at(&self, error: Error) -> Error {
        let access = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = access.as_ref().map(|access| access.secrets.clone());
        drop(access);
        let secrets = secrets.unwrap_or_default();
        let error = error.map_texts(|text| {
            let text = self.env.secrets.conceal(text);
            conceal(&text, secrets.iter().map(String::as_str))
        });
        let own = self.location.to_string();
        match error.places().first() {
            Some(place) if *place == own => error,
            _ => error.at(own),
        }
    }

    /// Returns the answer of the index, which is asked once.
    pub(crate) fn access(&self) -> Result<Arc<Access>> {
        let mut access = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(access) = &*access {
            return Ok(Arc::clone(access));
        }
        let found = Arc::new(self.ask_index(false)?);
        Ok(Arc::clone(access.insert(found)))
    }

    /// Asks the index once more, after a registry refused what the index gave. While one thread does
    /// this, the others wait for the result.
    fn renew(&self, refused: &Arc<Access>) -> Result<Arc<Access>> {
        let mut access = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newer) = access.as_ref().filter(|it| !Arc::ptr_eq(it, refused)) {
            return Ok(Arc::clone(newer));
        }
        let found = Arc::new(self.ask_index(true)?);
        Ok(Arc::clone(access.insert(found)))
    }

    /// Asks the index for the images of the repository: the answer names the registries, and has a token
    /// for them. The password goes to the index alone, and only if the index asks for a login or
    /// `login` is true.
    fn ask_index(&self, login: bool) -> Result<Access> {
        let path = format!("repositories/{}/images", self.location.repository);
        let url = self.index.join(&path)?;
        let request = Request::get(&url).header("x-docker-token", "true");
        let known = match login {
            true => self.login()?,
            false => None,
        };
        let mut header = known;
        let sign = |header: &Option<(String, String)>| match header {
            Some((header, password)) => request
                .clone()
                .private_header("authorization", header.clone())
                .hide(password.clone()),
            None => request.clone(),
        };
        let mut response = self.client.send(&sign(&header))?;
        // An index may hide a private repository by 404.
        if header.is_none() && matches!(response.status(), 401 | 403 | 404) {
            header = self.login()?;
            if header.is_some() {
                response = self.client.send(&sign(&header))?;
            }
        }
        if response.status() != 200 {
            return Err(self.failure(response));
        }
        let mut access = Access {
            endpoints: Vec::new(),
            token: None,
            login: header.map(|(header, _)| header),
            cookies: None,
            secrets: Vec::new(),
            sums: BTreeMap::new(),
        };
        for list in response.headers("x-docker-endpoints") {
            for text in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
                access.endpoints.push(self.endpoint(text)?);
            }
        }
        if access.endpoints.len() > ENDPOINTS {
            let count = access.endpoints.len();
            let message =
                format!("the index names {count} registries, expected {ENDPOINTS} at most");
            return Err(Error::new(Code::Net, message));
        }
        if access.endpoints.is_empty() {
            access.endpoints.push(self.index.clone());
        }
        let tokens = response.headers("x-docker-token").join(",");
        if !tokens.is_empty() {
            access.token = Some(format!("Token {tokens}"));
            // The words around the signature occur in messages.
            let signatures: Vec<String> = tokens
                .split(',')
                .filter_map(|part| part.trim().strip_prefix("signature="))
                .map(str::to_owned)
                .collect();
            match signatures.is_empty() {
                true => access.secrets.push(tokens),
                false => access.secrets.extend(signatures),
            }
        }
        let cookies: Vec<&str> = response
            .headers("set-cookie")
            .into_iter()
            .map(|cookie| cookie.split(';').next().unwrap_or_default().trim())
            .filter(|cookie| cookie.contains('='))
            .collect();
        if !cookies.is_empty() {
            let values = cookies.iter().filter_map(|cookie| cookie.split_once('='));
            let values = values.map(|(_, value)| value.to_owned());
            access.secrets.extend(values);
            access.cookies = Some(cookies.join("; "));
        }
        let limits = &self.env.limits;
        let bytes = response.into_bytes(("root_index", limits.root_index))?;
        access.sums = sums(&bytes, limits)?;
        Ok(access)
    }

    /// Returns the header for the user's name and password at the index, and the password.
    fn login(&self) -> Result<Option<(String, String)>> {
        match find_credential(&self.env, &self.location.qualified())? {
            Some(Credential::Basic { user, password }) => {
                let header = basic(&user, password.expose());
                Ok(Some((header, password.expose().to_owned())))
            }
            Some(Credential::IdentityToken(_)) => {
                let host = &self.location.host;
                let message = "an identity token is stored for the registry, and version 1 knows only \
                               names and passwords";
                Err(Error::new(Code::Denied, message)
                    .hint(format!("`--creds {host}=USER:PASSWORD` gives them")))
            }
            None => Ok(None),
        }
    }

    /// Reads the name of a registry: a host, as docker reads it, or a URL.
    fn endpoint(&self, text: &str) -> Result<Url> {
        let scheme = if self.index.is_https() {
            "https"
        } else {
            "http"
        };
        let whole = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("{scheme}://{text}")),
        };
        let at = |error: Error| error.at("registry that the index names");
        let url = whole.map_err(at)?;
        if self.index.is_https() && !url.is_https() {
            let message = format!("{} names {url}, which is not https", self.index.authority());
            return Err(at(Error::new(Code::Denied, message)));
        }
        if url.as_str().contains('?') {
            let message = format!("{url} has a query, expected a host");
            return Err(at(Error::new(Code::Denied, message)));
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path);
        url.join(&format!("{path}/v1/")).map_err(at)
    }

    /// Requests a part of the registry, such as `images/ID/json`; asks the registries that the index
    /// named in turn. Returns an answer of 200, 206 or 416.
    pub(crate) fn get(&self, path: &str, range: Option<&str>) -> Result<Response> {
        let mut access = self.access()?;
        let mut renewed = false;
        'again: loop {
            let mut first = None;
            for endpoint in &access.endpoints {
                self.env.check_cancelled()?;
                let url = endpoint.join(path)?;
                let mut request = self.sign(Request::get(&url), &access);
                if let Some(range) = range {
                    request = request.header("range", range);
                }
                let error = match self.client.send(&request) {
                    Ok(response) => match response.status() {
                        200 | 206 | 416 => return Ok(response),
                        401 if !renewed => {
                            renewed = true;
                            access = self.renew(&access)?;
                            continue 'again;
                        }
                        _ => self.failure(response),
                    },
                    // A place that must not be asked, and a limit, are no matter of another registry.
                    Err(error)
                        if matches!(error.code(), Code::Cancelled | Code::Denied | Code::Limit) =>
                    {
                        return Err(error);
                    }
                    Err(error) => error,
                };
                first.get_or_insert(error);
            }
            return Err(first.expect("there is at least one registry"));
        }
    }

    /// Adds what the index gave for the registries. The password goes only to the index itself; a registry
    /// elsewhere must obey the rules of a redirect.
    fn sign<'a>(&self, request: Request<'a>, access: &Access) -> Request<'a> {
        let is_index = request.url().same_origin(&self.index);
        let mut request = request;
        if let Some(token) = &access.token {
            request = request.origin_header("authorization", token.clone());
        } else if let Some(login) = access.login.as_ref().filter(|_| is_index) {
            request = request.private_header("authorization", login.clone());
        }
        if let Some(cookies) = &access.cookies {
            request = request.origin_header("cookie", cookies.clone());
        }
        if !is_index {
            request = request.made_up_by(Some(self.index.authority()));
        }
        let hide = |request: Request<'a>, secret: &String| request.hide(secret.clone());
        access.secrets.iter().fold(request, hide)
    }

    /// Makes the error of an unexpected answer.
    fn failure(&self, response: Response) -> Error {
        let is_login = matches!(response.status(), 401 | 403);
        let error = response.into_failure_as(|said| {
            let value = parse(said.as_bytes(), &Limits::default(), "error").ok()?;
            let text = value.get("error").unwrap_or(&value).as_str()?;
            Some(text.to_owned())
        });
        let host = self.location.server();
        match is_login {
            true => error.hint(format!("`docker login {host}` stores credentials")),
            false => error,
        }
    }
}

/// Reads the list of images of a repository: the checksums by id.
fn sums(bytes: &[u8], limits: &Limits) -> Result<BTreeMap<String, Vec<String>>> {
    let place = "list of images";
    let bad = |message: String| Error::new(Code::BadManifest, message).at(place);
    let value = parse(bytes, limits, place)?;
    let Value::Array(items) = &value else {
        return Err(bad("the list of images is not a list".to_owned()));
    };
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in items {
        let Some(id) = item.get("id").and_then(Value::as_str) else {
            return Err(bad("an item has no `id`".to_owned()));
        };
        check_id(id).map_err(|error| error.at(place))?;
        match item.get("checksum") {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(Value::String(text)) => {
                found.entry(id.to_owned()).or_default().push(text.clone());
            }
            Some(_) => {
                return Err(bad(format!("the checksum of {} is not a text", quote(id))));
            }
        }
    }
    Ok(found)
}
