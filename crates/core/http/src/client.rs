//! Sending requests: settings of connections, redirects, and further attempts.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    hash::{BuildHasher, Hasher, RandomState},
    io::{Cursor, Read},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use imgconv_model::{Code, Env, Error, Limits, Network, Result, Shared, conceal};
use ureq::{Agent, SendBody};

use crate::{
    address::{Class, Rule, is_loopback},
    body::Body,
    connect::{Classes, Later, Names, Sockets},
    failure,
    local::LocalSocket,
    message::{Method, Request, Response},
    route::{Proxy, Routes},
    tls::Certificates,
    tunnel::Connections,
    url::{Url, split_port},
    wait::pause,
};

/// Sends requests. Cheap to clone; connections are kept and shared by the clones.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    env: Env,
    pool: Arc<Pool>,
    /// Whether servers named by the user need no valid certificate, if the user has not said anything about
    /// all servers.
    lenient: bool,
}

/// What all clients of a run share.
#[derive(Debug)]
struct Pool {
    /// The settings that the rest depends on.
    network: Network,
    limits: Limits,
    jobs: usize,
    cancel: Arc<AtomicBool>,
    names: Names,
    routes: Arc<Routes>,
    certificates: Certificates,
    /// Certificates for hosts that have their own.
    hosts: Mutex<BTreeMap<String, Option<Arc<Certificates>>>>,
    classes: Classes,
    /// Connections, by the checks that were made when they were opened.
    agents: Mutex<BTreeMap<Checked, Agent>>,
    /// The schemes of the servers named by the user, for lenient and other clients: true for https.
    schemes: Mutex<BTreeMap<(bool, String), bool>>,
    /// The socket on this machine that every request goes to, if there is one.
    local: Option<Arc<LocalSocket>>,
}

impl Pool {
    fn new(env: &Env, names: Names, local: Option<LocalSocket>) -> Result<Self> {
        let mut network = Network::clone(&env.network);
        // The pool must not hold the slot that holds the pool.
        network.shared = Shared::default();
        Ok(Self {
            network,
            limits: env.limits,
            jobs: env.jobs,
            cancel: Arc::clone(&env.cancel),
            names,
            routes: Arc::new(Routes::new(&env.network)),
            certificates: Certificates::read(&env.network)?,
            hosts: Mutex::default(),
            classes: Classes::default(),
            agents: Mutex::default(),
            schemes: Mutex::default(),
            local: local.map(Arc::new),
        })
    }

    fn fits(&self, env: &Env) -> bool {
        self.network == *env.network
            && self.limits == env.limits
            && self.jobs == env.jobs
            && Arc::ptr_eq(&self.cancel, &env.cancel)
    }
}

/// The checks of a connection: the rule of addresses, whether TLS is used and the certificate
/// verified, and the host if it has certificates of its own.
type Checked = (Rule, Option<bool>, Option<String>);

impl Client {
    /// Makes a client. Opens no connection. Clients of equal settings share their connections.
    ///
    /// # Errors
    /// If a certificate or key that the user named can't be read.
    pub fn new(env: &Env) -> Result<Self> {
        let make = || Pool::new(env, Names::system(), None);
        let pool = env
            .network
            .shared
            .get_or_make(|pool: &Pool| pool.fits(env), make)?;
        Ok(Self::over(env, pool))
    }

    /// Makes a client whose every request goes to one socket of this machine. Opens no connection.
    pub(crate) fn at_socket(env: &Env, local: LocalSocket) -> Result<Self> {
        let pool = Pool::new(env, Names::system(), Some(local))?;
        Ok(Self::over(env, Arc::new(pool)))
    }

    fn over(env: &Env, pool: Arc<Pool>) -> Self {
        let env = env.clone();
        let lenient = false;
        Self(Arc::new(Inner { env, pool, lenient }))
    }

    /// Returns a client that takes any certificate of a server named by the user, and speaks plain http if
    /// the server does not speak TLS: for a place that a configuration file calls insecure. What the user
    /// says about all servers ([`Network::tls_verify`]) counts more. Connections are shared with other
    /// lenient clients of equal settings, and not with the others.
    #[must_use]
    pub fn lenient(&self) -> Self {
        Self(Arc::new(Inner {
            env: self.0.env.clone(),
            pool: Arc::clone(&self.0.pool),
            lenient: true,
        }))
    }

    /// Says whether certificates of servers named by the user are verified.
    fn verifies(&self) -> bool {
        let verify = self.0.env.network.tls_verify;
        verify.unwrap_or(!self.0.lenient)
    }

    /// Returns `https://HOST/` for a host that the user named, `HOST[:PORT]`; or `http://HOST/` if
    /// the user asked for plain http, or if the server does not speak TLS and is on this machine
    /// (or certificates are not verified).
    ///
    /// # Errors
    /// [`Code::Denied`] if the text is not a host, [`Code::Cancelled`].
    pub fn base(&self, host: &str) -> Result<Url> {
        let secure = Url::parse(&format!("https://{host}/"))?;
        let plain = Url::parse(&format!("http://{host}/"))?;
        if self.is_listed(host) {
            return Ok(plain);
        }
        let unsaid = self.0.env.network.tls_verify.is_none();
        let may_be_plain = !self.verifies() || unsaid && is_loopback(secure.host());
        if !may_be_plain {
            return Ok(secure);
        }
        let mut schemes = self.lock_schemes();
        let key = (self.0.lenient, host.to_owned());
        let known = schemes.get(&key).copied();
        let is_https = match known {
            Some(is_https) => is_https,
            None => {
                let is_https = !self.speaks_plain(&plain)?;
                schemes.insert(key, is_https);
                is_https
            }
        };
        Ok(if is_https { secure } else { plain })
    }

    /// Says whether a server turned out to speak plain http only.
    fn is_plain(&self, authority: &str) -> bool {
        let key = (self.0.lenient, authority.to_owned());
        self.lock_schemes().get(&key) == Some(&false)
    }

    fn lock_schemes(&self) -> std::sync::MutexGuard<'_, BTreeMap<(bool, String), bool>> {
        self.0
            .pool
            .schemes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds out whether a server answers in plain http. The request holds no data. A TLS server
    /// that gets plain http closes the connection, or answers 400.
    fn speaks_plain(&self, url: &Url) -> Result<bool> {
        let request = Request::new(Method::Get, url);
        // A proxy that can't reach the server sends an answer of its own.
        let of_proxy = self.proxy(url)?.is_some();
        match self.attempt(&request, url, Rule::Named) {
            Ok(response) => {
                let status = response.status();
                Ok(status != 400 && !(of_proxy && (status == 403 || status >= 500)))
            }
            Err(Failed { error, .. }) if error.code() == Code::Cancelled => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Sends a request, follows redirects, and repeats the request where that may help. Returns
    /// every answer except 408, 429 and 5xx, which are errors after the last attempt; 501 and 505 are
    /// answers, since no attempt changes them.
    ///
    /// # Errors
    /// [`Code::Net`] if there is no answer, [`Code::Denied`] if a redirect leads to a refused URL,
    /// [`Code::Limit`] for too many redirects or too large headers, [`Code::Cancelled`].
    pub fn send(&self, request: &Request<'_>) -> Result<Response> {
        let shown = request.shown();
        // A server may send a secret back in a URL.
        let conceal = |text: &str| conceal(text, request.hidden.iter().map(String::as_str));
        let sent = self.follow(request);
        sent.map_err(|error| error.map_texts(conceal).at(shown))
    }

    /// Sends a request once and returns the answer whatever its status is. `body` is sent in chunks
    /// while it is read; an error of the reader breaks the request off.
    ///
    /// # Errors
    /// [`Code::Net`] if there is no answer, [`Code::Cancelled`], and the errors of `body`.
    pub fn ask(&self, request: &Request<'_>, body: Option<&mut dyn Read>) -> Result<Response> {
        let answer = self.attempt_with(request, &request.url, Rule::Named, body);
        answer.map_err(|failed| failed.error.at(request.shown()))
    }

    fn follow(&self, request: &Request<'_>) -> Result<Response> {
        let mut request = request.clone();
        let limit = self.0.env.limits.redirects;
        let first = request.url.clone();
        let mut hops = 0;
        loop {
            self.check_scheme(&request)?;
            let response = self.insist(&request)?;
            let Some(location) = redirect(&request, &response) else {
                return Ok(response);
            };
            hops += 1;
            if hops > limit {
                return Err(Limits::exceeded(
                    "redirects",
                    limit,
                    "the number of redirects",
                ));
            }
            let from = format!("redirect from {}", request.url);
            let next = request
                .url
                .join(location)
                .map_err(|error| error.at(&*from))?;
            if request.url.is_https() && !next.is_https() {
                let message = format!("{from} to {next} gives up TLS");
                return Err(Error::new(Code::Denied, message));
            }
            if !next.same_origin(&request.url) {
                request.private.clear();
            }
            if request.made_up.is_none() {
                request.made_up = Some(Some(first.authority().to_owned()));
            }
            request.url = next;
        }
    }

    /// Refuses plain http where the user did not ask for it.
    fn check_scheme(&self, request: &Request<'_>) -> Result<()> {
        let url = &request.url;
        let authority = url.authority();
        let agreed = self.is_listed(authority) || self.is_plain(authority);
        if url.is_https() || agreed {
            return Ok(());
        }
        let message = format!("{url} is not https");
        Err(Error::new(Code::Denied, message).hint(format!(
            "`--plain-http {authority}` allows it for this host"
        )))
    }

    fn is_listed(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        let host = split_port(&authority).0;
        let listed = &self.0.env.network.plain_http;
        listed.iter().any(|listed| {
            let listed = listed.to_ascii_lowercase();
            listed == authority || listed == host
        })
    }

    /// Returns the addresses that a request may connect to.
    fn rule(&self, request: &Request<'_>) -> Result<Rule> {
        let Some(named) = &request.made_up else {
            return Ok(Rule::Named);
        };
        let Some(named) = named else {
            return Ok(Rule::PUBLIC);
        };
        if named == request.url.authority() {
            return Ok(Rule::Named);
        }
        let is_https = !self.is_plain(named) && !self.is_listed(named);
        let classes = match self.0.pool.routes.of(is_https, named)? {
            // Only the proxy resolves the name, so its class is known only if it is an address.
            Some(_) => Class::of_host(split_port(named).0).into_iter().collect(),
            None => self
                .sockets(Rule::Named)
                .classes_of(named, self.deadline())?,
        };
        Ok(classes.into_iter().fold(Rule::PUBLIC, Rule::with))
    }

    /// Returns the proxy for the requests of a URL.
    fn proxy(&self, url: &Url) -> Result<Option<&Proxy>> {
        self.0.pool.routes.of(url.is_https(), url.authority())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.0.env.network.timeouts.connect
    }

    fn sockets(&self, rule: Rule) -> Sockets {
        Sockets {
            rule,
            names: self.0.pool.names.clone(),
            classes: Arc::clone(&self.0.pool.classes),
            cancel: Arc::clone(&self.0.env.cancel),
        }
    }

    /// Makes attempts until one succeeds, the time for waiting is over, or no attempt can succeed.
    fn insist(&self, request: &Request<'_>) -> Result<Response> {
        let (env, rule) = (&self.0.env, self.rule(request)?);
        let timeouts = &env.network.timeouts;
        let mut waited = Duration::ZERO;
        let mut wait = timeouts.first_wait;
        let mut attempts = 1;
        loop {
            let mut most = env.limits.retries;
            let answer = self.attempt(request, &request.url, rule);
            let answer = answer.and_then(|response| received(response, request.whole));
            let (error, asked) = match answer {
                Ok(response) if passes(response.status) => {
                    let asked = response.header("retry-after").map(str::to_owned);
                    (response.into_failure(), asked)
                }
                Ok(response) => return Ok(response),
                Err(failed) if failed.attempts > 1 && !request.once => {
                    most = most.min(failed.attempts);
                    (failed.error, None)
                }
                Err(Failed { error, .. }) => return Err(error),
            };
            // A date instead of seconds would need a clock; the wait is then the usual one.
            let asked = asked.and_then(|text| text.trim().parse().ok());
            let asked = asked.map(Duration::from_secs).unwrap_or_default();
            let next = jittered(wait).max(asked);
            let over = asked > timeouts.retry_after || waited + next > timeouts.total_wait;
            if attempts >= most || over {
                let tried = match attempts {
                    1 => "at the first attempt".to_owned(),
                    n => format!("after {n} attempts"),
                };
                return Err(error.at(tried));
            }
            pause(next, &env.cancel)?;
            waited += next;
            wait *= 2;
            attempts += 1;
        }
    }

    fn attempt(&self, request: &Request<'_>, url: &Url, rule: Rule) -> Result<Response, Failed> {
        self.attempt_with(request, url, rule, None)
    }

    fn attempt_with(
        &self,
        request: &Request<'_>,
        url: &Url,
        rule: Rule,
        body: Option<&mut dyn Read>,
    ) -> Result<Response, Failed> {
        let mut builder = ureq::http::Request::builder()
            .method(request.method.as_str())
            .uri(url.as_str())
            .header("accept-encoding", "identity");
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        for (name, value) in &request.private {
            builder = builder.header(name, value);
        }
        let bodyless = matches!(request.method, Method::Get | Method::Head | Method::Delete);
        let agent = self.agent(rule, url)?;
        let proxy = self.proxy(url)?.filter(|_| !url.is_https());
        let mut opened = match (&body, request.streamed) {
            (None, Some(streamed)) => Some(streamed.open()?),
            _ => None,
        };
        let body = body.or(opened.as_mut().map(|opened| opened as &mut dyn Read));
        let sent = if let Some(body) = body {
            let body = builder.body(SendBody::from_reader(body));
            body.map(|request| agent.run(request))
        } else if bodyless {
            builder.body(()).map(|request| agent.run(request))
        } else {
            builder.body(request.body).map(|request| agent.run(request))
        };
        let sent = sent
            .map_err(|_| Error::new(Code::Denied, "a header has a character that it can't hold"))?;
        let answer = sent.map_err(|error| Failed {
            attempts: failure::attempts(&error, self.0.env.limits.retries),
            error: failure::of(error),
        })?;
        let (parts, body) = answer.into_parts();
        let both = ["content-length", "transfer-encoding"];
        if both.iter().all(|name| parts.headers.contains_key(*name)) {
            let message = "the response has both `Content-Length` and `Transfer-Encoding`";
            return Err(Error::new(Code::Net, message).into());
        }
        let mut hidden = request.hidden.clone();
        if let Some(proxy) = proxy {
            if parts.status == 407 {
                return Err(proxy.wants_credentials().into());
            }
            let secret = proxy.authorization.as_ref();
            hidden.extend(secret.map(|secret| secret.expose().to_owned()));
        }
        let shown = request.shown();
        Ok(Response {
            status: parts.status.as_u16(),
            url: url.clone(),
            headers: parts.headers,
            body: Box::new(Body {
                inner: body.into_reader(),
                shown: shown.clone(),
                timeouts: self.0.env.network.timeouts,
                waited: Duration::ZERO,
                received: 0,
            }),
            shown,
            hidden,
            limits: self.0.env.limits,
        })
    }

    /// Returns the certificates for one host alone.
    fn own_certificates(&self, authority: &str) -> Result<Option<Arc<Certificates>>> {
        let inner = &*self.0;
        let mut hosts = inner
            .pool
            .hosts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(authority) {
            return Ok(known.clone());
        }
        let own = inner
            .pool
            .certificates
            .of_host(authority, &inner.env.network)?;
        let own = own.map(Arc::new);
        hosts.insert(authority.to_owned(), own.clone());
        Ok(own)
    }

    /// Returns the connections for a rule. Certificates of servers that the user did not name are
    /// always verified, and the client certificate is not sent to them.
    fn agent(&self, rule: Rule, url: &Url) -> Result<Agent> {
        let inner = &*self.0;
        let named = rule == Rule::Named;
        let verify = !named || self.verifies();
        let verify = url.is_https().then_some(verify);
        let own = match url.is_https() {
            true => self.own_certificates(url.authority())?,
            false => None,
        };
        let host = own.is_some().then(|| url.authority().to_owned());
        let certificates = own.as_deref().unwrap_or(&inner.pool.certificates);
        let mut agents = inner
            .pool
            .agents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let make = || -> Result<Agent> {
            let timeouts = &inner.env.network.timeouts;
            let headers = usize::try_from(inner.env.limits.http_headers).unwrap_or(usize::MAX);
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(None)
                .user_agent(concat!("imgconv/", env!("CARGO_PKG_VERSION")))
                .max_response_header_size(headers)
                .input_buffer_size(headers.saturating_add(1))
                .max_idle_connections(inner.env.jobs + 1)
                .max_idle_connections_per_host(inner.env.jobs + 1)
                .timeout_connect(Some(timeouts.connect))
                .timeout_recv_response(Some(timeouts.response))
                .timeout_per_read(Some(timeouts.idle))
                .timeout_per_write(Some(timeouts.idle))
                .build();
            let connections = Connections {
                sockets: self.sockets(rule),
                routes: Arc::clone(&inner.pool.routes),
                local: inner.pool.local.clone(),
                tls: verify
                    .map(|it| certificates.config(it, named))
                    .transpose()?,
                // An error of the certificates matters only to requests through a TLS proxy.
                tls_of_proxy: inner.pool.certificates.config(true, false).ok(),
                headers: inner.env.limits.http_headers,
            };
            Ok(Agent::with_parts(config, connections, Later))
        };
        match agents.entry((rule, verify, host)) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(free) => Ok(free.insert(make()?).clone()),
        }
    }
}

/// An attempt without an answer.
struct Failed {
    error: Error,
    /// The number of attempts, in all, that are useful for this error.
    attempts: u64,
}

/// An error that every attempt would meet again.
impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let attempts = 1;
        Self { error, attempts }
    }
}

/// Says whether a status may be another one after a while. A proxy has statuses of its own for a server
/// that it can't reach (520 to 530); 501 and 505 say what a server will never do.
fn passes(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599) && !matches!(status, 501 | 505)
}

/// Reads the body of a success into memory, if the request asks for that: at most one byte more than
/// `most`, by which a body that is too long shows.
fn received(mut response: Response, most: Option<u64>) -> Result<Response, Failed> {
    let Some(most) = most.filter(|_| (200..=299).contains(&response.status)) else {
        return Ok(response);
    };
    if response.length().is_some_and(|length| length > most) {
        return Ok(response);
    }
    let mut bytes = Vec::new();
    let read = (&mut response.body)
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes);
    if let Err(error) = read {
        let error = Error::from_io(error);
        let attempts = match error.code() {
            Code::Net => u64::MAX,
            _ => 1,
        };
        return Err(Failed { error, attempts });
    }
    response.body = Box::new(Cursor::new(bytes));
    Ok(response)
}

/// Returns the target of a redirect, if the method may be repeated there (RFC 9110, 15.4).
fn redirect<'r>(request: &Request<'_>, response: &'r Response) -> Option<&'r str> {
    let reads = matches!(request.method, Method::Get | Method::Head);
    let follows = match response.status {
        _ if request.stay => false,
        301..=303 => reads,
        307 | 308 => true,
        _ => false,
    };
    response.header("location").filter(|_| follows)
}

/// Returns a random wait of half to all of `wait`, so that clients that failed together do not
/// return together.
fn jittered(wait: Duration) -> Duration {
    // The seed of the standard library's hash tables is random, which is good enough here.
    let random = RandomState::new().build_hasher().finish() % 1024;
    wait / 2 + wait / 2 * u32::try_from(random).unwrap_or_default() / 1024
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, path::PathBuf, sync::atomic::Ordering, thread};

    use imgconv_model::{Network, Platform, Timeouts};
    use imgconv_testkit::server::{Authority, Reply, Server};

    use super::*;

    fn resolving(env: &Env, names: Names) -> Client {
        Client::over(env, Arc::new(Pool::new(env, names, None).unwrap()))
    }

    #[test]
    fn clients_of_equal_settings_share_their_connections() {
        let env = env(Network::default());
        let pool = |env: &Env| Client::new(env).unwrap().0.pool.clone();
        let first = pool(&env);
        assert!(Arc::ptr_eq(&first, &pool(&env.clone())));
        let mut other = env.clone();
        Arc::make_mut(&mut other.network).tls_verify = Some(false);
        assert!(!Arc::ptr_eq(&first, &pool(&other)));
        let mut other = env.clone();
        other.cancel = Arc::default();
        assert!(!Arc::ptr_eq(&first, &pool(&other)));
    }

    fn env(network: Network) -> Env {
        let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        env.network = Arc::new(network);
        env
    }

    /// Makes a client whose resolver has only these hosts and addresses.
    fn knowing(names: &'static [(&str, &[&str])], ca_files: Vec<PathBuf>) -> Client {
        let names = Names::new(move |host, port| {
            let found = names.iter().find(|(name, _)| *name == host);
            let addresses = found.map(|(_, addresses)| *addresses).unwrap_or_default();
            let at = |address: &&str| SocketAddr::new(address.parse().unwrap(), port);
            Ok(addresses.iter().map(at).collect())
        });
        let network = Network {
            ca_files,
            ..Network::default()
        };
        resolving(&env(network), names)
    }

    fn port(server: &Server) -> String {
        server.authority().rsplit_once(':').unwrap().1.to_owned()
    }

    #[test]
    fn l3a_the_address_of_a_name_is_checked_and_not_the_name() {
        let server = Server::start_tls(&Authority::new().server(), |_| Reply::ok("x"));
        let port = port(&server);
        let client = knowing(
            &[
                ("registry.example", &["198.41.0.4"]),
                ("inner.example", &["10.1.2.3"]),
                ("loopback.example", &["127.0.0.1"]),
                ("both.example", &["::1", "10.0.0.1", "127.0.0.1"]),
                ("mapped.example", &["::ffff:127.0.0.1"]),
                ("cloud.example", &["169.254.169.254"]),
            ],
            Vec::new(),
        );
        for (named, hosts) in [
            (
                "registry.example",
                &["loopback", "both", "mapped", "inner", "cloud"][..],
            ),
            ("inner.example:5000", &["loopback", "mapped", "cloud"]),
            ("loopback.example", &["inner", "cloud"]),
        ] {
            for host in hosts {
                let url = Url::parse(&format!("https://{host}.example:{port}/")).unwrap();
                let request = Request::get(&url).made_up_by(Some(named));
                let error = client.send(&request).unwrap_err();
                assert_eq!(error.code(), Code::Denied, "{named} {host}: {error}");
                assert!(error.to_string().contains("not public"), "{error}");
            }
        }
        assert!(server.requests().is_empty());
    }

    #[test]
    fn l3a_a_redirect_is_held_to_the_network_of_the_named_server() {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.crt");
        std::fs::write(&ca, authority.pem()).unwrap();
        let names = ["named.example", "other.example"];
        let identity = authority.identity(&names, (2000, 2100), false);
        let server = Server::start_tls(&identity, |request| {
            let host = request.header("host").unwrap_or_default();
            let port = host.rsplit_once(':').map_or("", |(_, port)| port);
            let to = |name: &str| {
                Reply::status(302).header("location", format!("https://{name}.example:{port}/end"))
            };
            match request.path() {
                "/near" => to("other"),
                "/far" => to("inner"),
                _ => Reply::ok("x"),
            }
        });
        let client = knowing(
            &[
                ("named.example", &["127.0.0.1"]),
                // Only the allowed addresses of a host are used.
                ("other.example", &["10.0.0.1", "127.0.0.1"]),
                ("inner.example", &["10.0.0.1"]),
            ],
            vec![ca],
        );
        let base = format!("https://named.example:{}", port(&server));
        let get = |path: &str| {
            let url = Url::parse(&format!("{base}{path}")).unwrap();
            client.send(&Request::get(&url))
        };
        assert_eq!(get("/near").unwrap().status(), 200);
        assert_eq!(get("/far").unwrap_err().code(), Code::Denied);
    }

    #[test]
    fn l8_a_name_that_nobody_answers_for_ends_in_time_and_with_the_run() {
        for cancelled in [false, true] {
            // The server answers when the test is over.
            let (over, silence) = std::sync::mpsc::channel::<()>();
            let (asked, question) = std::sync::mpsc::channel::<()>();
            let (silence, asked) = (Mutex::new(silence), Mutex::new(asked));
            let names = Names::new(move |_, _| {
                let _ = asked.lock().unwrap().send(());
                let _ = silence.lock().unwrap().recv();
                Ok(Vec::new())
            });
            let timeouts = Timeouts {
                // The wait of a run that is cancelled has no other end.
                connect: match cancelled {
                    true => Duration::from_secs(24 * 60 * 60),
                    false => Duration::from_millis(300),
                },
                ..Timeouts::default()
            };
            let env = env(Network {
                timeouts,
                ..Network::default()
            });
            let client = resolving(&env, names);
            let url = Url::parse("https://silent.example/").unwrap();
            let asking = thread::spawn(move || client.send(&Request::get(&url).once()));
            if cancelled {
                question.recv().unwrap();
                env.cancel.store(true, Ordering::Relaxed);
            }
            let error = asking.join().unwrap().unwrap_err();
            let code = if cancelled {
                Code::Cancelled
            } else {
                Code::Net
            };
            assert_eq!(error.code(), code, "{error}");
            drop(over);
        }
    }
}
