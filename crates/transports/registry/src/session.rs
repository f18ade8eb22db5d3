//! Requests to one repository of one registry, or to the registry as a whole, with the login that they need.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use imgconv_http::{Client, Method, Request, Response, Url, escape};
use imgconv_json::{Value, parse};
use imgconv_model::{Code, Credential, Env, Error, Limits, Result, conceal};
use imgconv_registry::{basic, find_credential};

use crate::challenge::Challenge;

/// Registries with a token server on another host, and that host.
const TOKEN_HOSTS: &[(&str, &str)] = &[
    ("registry-1.docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
];

/// The shortest and the longest lifetime of a token in seconds, whatever its server answers.
const LIFETIME: (u64, u64) = (60, 3600);

/// One repository on one registry, or the list of its repositories.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    env: Env,
    /// `HOST[:PORT]` of the connection.
    server: String,
    /// `https://HOST/v2/REPOSITORY/`, or `https://HOST/v2/` for a registry as a whole.
    base: Url,
    /// The repository's path; empty for a registry as a whole.
    pub(crate) repository: String,
    /// The key of the repository in files of credentials.
    qualified: String,
    /// True if the session writes.
    push: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The repositories of this registry from which blobs may be mounted.
    neighbours: BTreeSet<String>,
    granted: Option<Granted>,
    /// True once the registry has answered that it has no referrers API.
    lacks_referrers: bool,
}

/// The accepted credentials.
struct Granted {
    header: String,
    secrets: Vec<String>,
    until: Option<Instant>,
    neighbours: BTreeSet<String>,
    /// The host of the token server that did not get the known credentials.
    withheld: Option<String>,
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Granted")
    }
}

impl Granted {
    fn sign<'a>(&self, request: Request<'a>) -> Request<'a> {
        let request = request.private_header("authorization", self.header.clone());
        let hide = |request: Request<'a>, secret: &String| request.hide(secret.clone());
        self.secrets.iter().fold(request, hide)
    }
}

impl Session {
    /// Prepares a session; `qualified` is `HOST[:PORT]/REPOSITORY`, the key in files of
    /// credentials.
    pub(crate) fn new(
        client: &Client,
        (server, repository): (&str, &str),
        qualified: String,
        push: bool,
        env: &Env,
    ) -> Result<Self> {
        let base = client.base(server)?.join(&format!("/v2/{repository}/"))?;
        Ok(Self {
            client: client.clone(),
            env: env.clone(),
            server: server.to_owned(),
            base,
            repository: repository.to_owned(),
            qualified,
            push,
            state: Mutex::default(),
        })
    }

    /// Prepares a session for the list of repositories of a registry; `host` is the key in files of
    /// credentials.
    pub(crate) fn of_catalog(
        client: &Client,
        server: &str,
        host: String,
        env: &Env,
    ) -> Result<Self> {
        Ok(Self {
            client: client.clone(),
            env: env.clone(),
            server: server.to_owned(),
            base: client.base(server)?.join("/v2/")?,
            repository: String::new(),
            qualified: host,
            push: false,
            state: Mutex::default(),
        })
    }

    /// Returns the URL of a part of the repository, such as `manifests/latest`.
    pub(crate) fn url(&self, path: &str) -> Url {
        self.base
            .join(path)
            .expect("digests, tags and the words of the protocol need no escapes")
    }

    /// Says whether the registry is known to have no referrers API.
    pub(crate) fn lacks_referrers(&self) -> bool {
        self.state().lacks_referrers
    }

    /// Records that the registry has no referrers API.
    pub(crate) fn note_no_referrers(&self) {
        self.state().lacks_referrers = true;
    }

    /// Resolves a `Location` or `Link` of a response. A registry with TLS must not redirect to a
    /// place without TLS.
    pub(crate) fn follow(&self, from: &Url, reference: &str) -> Result<Url> {
        let url = from
            .join(reference)
            .map_err(|error| self.concealed(error))?;
        if self.base.is_https() && !url.is_https() {
            let message = format!("{} redirects to {url}, which is not https", self.server);
            return Err(self.concealed(Error::new(Code::Denied, message)));
        }
        Ok(url)
    }

    /// Removes the credentials for this registry from an error: a response may repeat them.
    fn concealed(&self, error: Error) -> Error {
        let token = self
            .state()
            .granted
            .as_ref()
            .map(|granted| granted.secrets.clone());
        let token = token.unwrap_or_default();
        error.map_texts(|text| {
            let text = self.env.secrets.conceal(text);
            conceal(&text, token.iter().map(String::as_str))
        })
    }

    /// Allows blobs to be mounted from another repository of this registry.
    pub(crate) fn add_neighbour(&self, repository: String) {
        if repository != self.repository {
            self.state().neighbours.insert(repository);
        }
    }

    /// Lists the repositories from which blobs may be mounted.
    pub(crate) fn neighbours(&self) -> Vec<String> {
        self.state().neighbours.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request, with a login if the registry requires one. A URL of another origin gets no
    /// credentials, and must obey the address rule.
    pub(crate) fn send(&self, request: &Request<'_>, url: &Url) -> Result<Response> {
        self.signed(request, url)
            .map_err(|error| self.concealed(error))
    }

    fn signed(&self, request: &Request<'_>, url: &Url) -> Result<Response> {
        if !url.same_origin(&self.base) {
            let request = request.clone().made_up_by(Some(self.base.authority()));
            return self.client.send(&request);
        }
        let used = self.granted()?;
        let signed = match &used {
            Some((signature, _)) => signature.sign(request.clone()),
            None => request.clone(),
        };
        let response = self.client.send(&signed)?;
        if response.status() != 401 {
            return Ok(response);
        }
        if !response.url().same_origin(&self.base) {
            let message = format!(
                "{} requires a login, and no credentials are known for it",
                response.url()
            );
            return Err(Error::new(Code::Denied, message));
        }
        let challenge = Challenge::pick(&response.headers("www-authenticate"))?;
        let granted = self.login(&challenge, used.map(|(_, since)| since))?;
        let response = self.client.send(&granted.sign(request.clone()))?;
        if response.status() == 401 {
            let error = failure(response);
            return Err(Error::new(Code::Denied, error.message().to_owned())
                .at(self.server.clone())
                .hint(self.advice(granted.withheld.as_deref())));
        }
        Ok(response)
    }

    /// Says how the registry gets the credentials. `withheld` is the host of a token server that did not get those that
    /// are known: only the user can say that the host belongs to the registry.
    fn advice(&self, withheld: Option<&str>) -> String {
        let server = &self.server;
        match withheld {
            Some(host) => format!(
                "the credentials for {server} were not sent to its token server {host}, which is another host; if it \
                 belongs to the registry, `--token-host {server}={host}` sends them"
            ),
            None => format!("`docker login {server}` stores credentials"),
        }
    }

    /// The credentials of the last login, and its time; `None` if they have expired.
    fn granted(&self) -> Result<Option<(Granted, Instant)>> {
        let state = self.state();
        let now = Instant::now();
        let valid = state.granted.as_ref().filter(|granted| {
            granted.until.is_none_or(|until| now < until) && granted.neighbours == state.neighbours
        });
        Ok(valid.map(|granted| (granted.copy(), now)))
    }

    /// Gets the credentials that the server requires. While one thread does this, the others wait
    /// for the result.
    fn login(&self, challenge: &Challenge, since: Option<Instant>) -> Result<Granted> {
        let mut state = self.state();
        if let Some(granted) = &state.granted
            && since.is_none()
            && granted.neighbours == state.neighbours
            && granted.until.is_none_or(|until| Instant::now() < until)
        {
            // Another thread was faster.
            return Ok(granted.copy());
        }
        let credential = find_credential(&self.env, &self.qualified)?;
        let granted = match challenge {
            Challenge::Basic => {
                let Some(Credential::Basic { user, password }) = &credential else {
                    let message =
                        "the registry requires a login, and no credentials are known for it";
                    return Err(Error::new(Code::Denied, message)
                        .at(self.server.clone())
                        .hint(self.advice(None)));
                };
                Granted {
                    header: basic(user, password.expose()),
                    secrets: vec![password.expose().to_owned()],
                    until: None,
                    neighbours: state.neighbours.clone(),
                    withheld: None,
                }
            }
            Challenge::Bearer { realm, service } => {
                let service = service.as_deref();
                let neighbours = state.neighbours.clone();
                self.token(realm, service, credential.as_ref(), neighbours)?
            }
        };
        let copy = granted.copy();
        state.granted = Some(granted);
        Ok(copy)
    }

    /// Asks the token server (the distribution project's token specification).
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        credential: Option<&Credential>,
        neighbours: BTreeSet<String>,
    ) -> Result<Granted> {
        let realm = Url::parse(realm).map_err(|error| error.at("token server"))?;
        if self.base.is_https() && !realm.is_https() {
            let message = format!("the token server {realm} is not https");
            return Err(Error::new(Code::Denied, message));
        }
        let known = credential.is_some();
        let credential = credential.filter(|_| self.is_trusted(&realm));
        let withheld = known && credential.is_none();
        let withheld = withheld.then(|| realm.authority().to_owned());
        let actions = if self.push { "pull,push" } else { "pull" };
        let mut scopes = vec![match &*self.repository {
            "" => "registry:catalog:*".to_owned(),
            repository => format!("repository:{repository}:{actions}"),
        }];
        scopes.extend(
            neighbours
                .iter()
                .map(|name| format!("repository:{name}:pull")),
        );
        let mut query: Vec<(&str, &str)> =
            service.map(|name| ("service", name)).into_iter().collect();
        query.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
        let form;
        let url = realm.with_query(query);
        let base = self.base.authority();
        let request = match credential {
            None => Request::get(&url),
            Some(Credential::Basic { user, password }) => Request::get(&url)
                .private_header("authorization", basic(user, password.expose()))
                .hide(password.expose())
                .stay(),
            Some(Credential::IdentityToken(token)) => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("service", service.unwrap_or_default()),
                    ("client_id", "imgconv"),
                    ("scope", &scopes.join(" ")),
                    ("refresh_token", token.expose()),
                ];
                let fields = fields.map(|(name, value)| format!("{name}={}", escape(value)));
                form = fields.join("&");
                Request::new(Method::Post, &realm)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(form.as_bytes())
                    .hide(token.expose())
                    .stay()
            }
        };
        let response = self.client.send(&request.made_up_by(Some(base)))?;
        match response.status() {
            200 => {}
            301..=399 => {
                let message =
                    format!("the token server {realm} redirects the password to another server");
                return Err(Error::new(Code::Denied, message));
            }
            _ => {
                let error = failure(response).at("token server");
                return Err(match &withheld {
                    Some(host) => error.hint(self.advice(Some(host))),
                    None => error,
                });
            }
        }
        let limit = ("token_body", self.env.limits.token_body);
        let (token, seconds) = read_token(&response.into_bytes(limit)?, &self.env.limits)
            .ok_or_else(|| {
                Error::new(Code::Net, format!("the answer of {realm} holds no token"))
            })?;
        Ok(Granted {
            header: format!("Bearer {token}"),
            secrets: vec![token],
            until: Some(Instant::now() + Duration::from_secs(seconds)),
            neighbours,
            withheld,
        })
    }

    /// Says whether a token server may get the password: the registry itself, its known token host, or one that the
    /// user names. The password goes over plain http only where it goes to the registry over plain http too; the
    /// client refuses plain http with every host for which the user does not allow it.
    fn is_trusted(&self, realm: &Url) -> bool {
        let mut known = TOKEN_HOSTS.iter();
        let mut listed = self.env.network.token_hosts.iter();
        let is_it = |server: &str, host: &str| server == self.server && host == realm.authority();
        realm.same_origin(&self.base)
            || realm.is_https() && known.any(|(server, host)| is_it(server, host))
            || (realm.is_https() || !self.base.is_https())
                && listed.any(|(server, host)| is_it(server, host))
    }
}

impl Granted {
    fn copy(&self) -> Self {
        Self {
            header: self.header.clone(),
            secrets: self.secrets.clone(),
            until: self.until,
            neighbours: self.neighbours.clone(),
            withheld: self.withheld.clone(),
        }
    }
}

/// Reads a token and its lifetime in seconds.
fn read_token(bytes: &[u8], limits: &Limits) -> Option<(String, u64)> {
    let answer = parse(bytes, limits, "token").ok()?;
    let text = |name: &str| {
        let text = answer.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let token = text("token").or_else(|| text("access_token"))?;
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let seconds = match answer.get("expires_in") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let (least, most) = LIFETIME;
    let seconds = seconds.unwrap_or(0.0).clamp(least as f64, most as f64);
    Some((token.to_owned(), seconds as u64))
}

/// Makes the error of an unexpected response, with the registry's own message (distribution-spec,
/// "Error codes").
pub(crate) fn failure(response: Response) -> Error {
    response.into_failure_as(|said| {
        let value = parse(said.as_bytes(), &Limits::default(), "error").ok()?;
        let errors = value.get("errors")?.as_array()?;
        let lines: Vec<String> = errors
            .iter()
            .take(3)
            .filter_map(|error| {
                let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
                let line = format!("{} {}", text("code"), text("message"));
                Some(line.trim().to_owned()).filter(|line| !line.is_empty())
            })
            .collect();
        Some(lines.join("; ")).filter(|text| !text.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4b_the_lifetime_of_a_token_is_bounded() {
        let read = |text: &str| read_token(text.as_bytes(), &Limits::default());
        for (text, seconds) in [
            (r#"{"token":"t"}"#, 60),
            (r#"{"token":null,"access_token":"t","expires_in":0}"#, 60),
            (r#"{"token":"t","expires_in":-1}"#, 60),
            (r#"{"token":"t","expires_in":1e18}"#, 3600),
            (r#"{"token":"t","expires_in":"300"}"#, 300),
            (r#"{"token":"t","expires_in":300,"issued_at":0}"#, 300),
        ] {
            assert_eq!(read(text), Some(("t".to_owned(), seconds)), "{text}");
        }
    }

    #[test]
    fn l4a_what_holds_no_token_is_refused() {
        for text in [
            "",
            "x",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":5}"#,
            r#"{"token":"a\r\nx: y"}"#,
            r#"{"token":"a b"}"#,
        ] {
            assert_eq!(
                read_token(text.as_bytes(), &Limits::default()),
                None,
                "{text}"
            );
        }
    }
}
