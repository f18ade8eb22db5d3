//! An HTTP server on the loopback device with the behaviour that a test sets: correct, wrong, slow,
//! or incomplete.
//!
//! The server ends when it is dropped, with all its connections.

use std::{
    fmt,
    io::{self, Read, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

use crate::socket::{Address, Listener, Socket};

/// A request as received.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// The headers with names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns the first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| &**value)
    }

    /// Returns the path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns a parameter of the query, with `%XX` decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        self.queries(name).into_iter().next()
    }

    /// Returns every value of a parameter of the query, with `%XX` decoded.
    pub fn queries(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| unescape(value))
            .collect()
    }
}

fn unescape(value: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| char::from(b.unwrap_or(b'0')).to_digit(16).unwrap_or(0);
        match byte {
            b'%' => out.push((hex(bytes.next()) * 16 + hex(bytes.next())) as u8),
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The reply of a handler.
#[derive(Clone, Debug)]
pub struct Reply {
    head: Head,
    body: Vec<u8>,
    after: After,
    delay: Duration,
}

#[derive(Clone, Debug)]
enum Head {
    Status(u16, Vec<(String, String)>),
    /// Only the body's bytes, without a status and headers.
    Raw,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum After {
    /// The connection waits for the next request.
    Nothing,
    /// Only so many bytes of the body are sent, and the connection is closed.
    Cut(usize),
    /// The body is sent again and again until the client has enough.
    Endless,
    /// The body's bytes are sent one by one, with a wait before each.
    Trickle(Duration),
    /// Nothing more is sent, and the connection stays open.
    Stall,
}

impl Reply {
    /// An answer with a status and an empty body.
    pub fn status(status: u16) -> Self {
        Self {
            head: Head::Status(status, Vec::new()),
            body: Vec::new(),
            after: After::Nothing,
            delay: Duration::ZERO,
        }
    }

    /// An answer of 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).body(body)
    }

    /// Exactly these bytes instead of an answer; the connection is closed then.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            head: Head::Raw,
            ..Self::ok(bytes)
        }
    }

    /// No answer: the connection is closed.
    pub fn hang_up() -> Self {
        Self::raw("")
    }

    /// Adds a header. A given length of the body replaces the computed one.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Head::Status(_, headers) = &mut self.head {
            headers.push((name.to_ascii_lowercase(), value.into()));
        }
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the body in chunks, without an announced length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        let mut chunks = Vec::new();
        for chunk in self.body.chunks(1 << 16) {
            chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(b"\r\n");
        }
        chunks.extend_from_slice(b"0\r\n\r\n");
        self.body = chunks;
        self.header("transfer-encoding", "chunked")
    }

    /// Closes the connection after so many bytes of the body; the announced length is that of the
    /// whole body.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.after = After::Cut(bytes);
        self
    }

    /// Sends the body again and again, without an announced length.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.after = After::Endless;
        self
    }

    /// Sends the body byte by byte, with a wait before each.
    #[must_use]
    pub fn trickle(mut self, wait: Duration) -> Self {
        self.after = After::Trickle(wait);
        self
    }

    /// Leaves the connection open after the body, with a greater announced length.
    #[must_use]
    pub fn stall(mut self) -> Self {
        self.after = After::Stall;
        self
    }

    /// Waits before the answer.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn head(&self, to_head: bool) -> Vec<u8> {
        let Head::Status(status, headers) = &self.head else {
            return Vec::new();
        };
        let mut text = format!("HTTP/1.1 {status} Status\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = headers
            .iter()
            .any(|(name, _)| name == "content-length" || name == "transfer-encoding");
        let unframed = self.after == After::Endless || to_head || *status == 204;
        if !framed && !unframed {
            let more = usize::from(self.after == After::Stall);
            text.push_str(&format!("content-length: {}\r\n", self.body.len() + more));
        }
        if self.after == After::Endless {
            text.push_str("connection: close\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// The function that answers requests.
pub type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running server.
pub struct Server {
    address: Address,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    requests: Mutex<Vec<Request>>,
    handler: Box<Handler>,
    tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.address).finish()
    }
}

impl Server {
    /// Starts a server that speaks plain http.
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listening = Listener::port().expect("the loopback device has a port");
        Self::run(listening, Box::new(handler), None)
    }

    /// Starts a server that speaks plain http at a path instead of a port.
    ///
    /// # Panics
    /// If there is something at the path.
    pub fn start_at(
        path: &Path,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listening = Listener::path(path).expect("the path is free");
        Self::run(listening, Box::new(handler), None)
    }

    /// Starts a server that speaks TLS.
    pub fn start_tls(
        identity: &Identity,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listening = Listener::port().expect("the loopback device has a port");
        Self::run(listening, Box::new(handler), Some(Arc::clone(&identity.0)))
    }

    fn run(
        (listener, address): (Listener, Address),
        handler: Box<Handler>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            requests: Mutex::default(),
            handler,
            tls,
        });
        let accepting = Arc::clone(&shared);
        let thread = thread::spawn(move || accept(&listener, &accepting));
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Returns `127.0.0.1:PORT`, or the path.
    pub fn authority(&self) -> String {
        match &self.address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
        }
    }

    /// Returns the URL of a path on the server.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}{path}", self.authority())
    }

    /// Returns every request up to now, in the order in which they were read.
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // The connection wakes the thread that accepts.
        self.address.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The interval at which a connection checks whether the server ends.
const TICK: Duration = Duration::from_millis(20);

fn accept(listener: &Listener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    loop {
        let stream = listener.accept();
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        connections.push(thread::spawn(move || {
            // A client may close the connection at any time.
            let _ = connection(stream, &shared);
        }));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn connection(socket: Socket, shared: &Shared) -> io::Result<()> {
    socket.set_read_timeout(TICK)?;
    let control = socket.try_clone()?;
    let socket = Patient { socket, shared };
    let mut stream: Box<dyn Stream + '_> = match &shared.tls {
        Some(tls) => {
            let connection = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, socket))
        }
        None => Box::new(socket),
    };
    while let Some(request) = read_request(&mut *stream)? {
        let to_head = request.method == "HEAD";
        let requests = shared.requests.lock();
        requests
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        let reply = (shared.handler)(&request);
        thread::sleep(reply.delay);
        let again = send(&mut *stream, &reply, to_head, shared)?;
        stream.flush()?;
        if !again {
            break;
        }
    }
    drop(stream);
    control.shutdown()
}

/// Sends a reply; returns whether the connection continues.
fn send(
    stream: &mut dyn Stream,
    reply: &Reply,
    to_head: bool,
    shared: &Shared,
) -> io::Result<bool> {
    stream.write_all(&reply.head(to_head))?;
    let body = if to_head { &[][..] } else { &reply.body };
    match reply.after {
        After::Nothing => {
            stream.write_all(body)?;
            return Ok(!matches!(reply.head, Head::Raw));
        }
        After::Cut(bytes) => stream.write_all(&body[..bytes.min(body.len())])?,
        After::Endless => loop {
            stream.write_all(body)?;
        },
        After::Trickle(wait) => {
            for byte in body {
                thread::sleep(wait);
                stream.write_all(&[*byte])?;
                stream.flush()?;
            }
            return Ok(true);
        }
        After::Stall => {
            stream.write_all(body)?;
            stream.flush()?;
            while !shared.stop.load(Ordering::Relaxed) {
                thread::sleep(TICK);
            }
        }
    }
    Ok(false)
}

/// A socket whose reads end when the server ends.
struct Patient<'s> {
    socket: Socket,
    shared: &'s Shared,
}

impl Read for Patient<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.shared.stop.load(Ordering::Relaxed) {
                        return Ok(0);
                    }
                }
                other => return other,
            }
        }
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Reads a body in chunks (RFC 9112, 7.1); a connection that ends before the last chunk is an error.
fn read_chunks(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(text.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn read_request(stream: &mut dyn Stream) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 || head.len() > 1 << 20 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, target) = (word(), word());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request {
        method,
        target,
        headers,
        body: Vec::new(),
    };
    let (about, encoding) = (&request.headers, "transfer-encoding");
    if about
        .iter()
        .any(|(name, value)| name == encoding && value == "chunked")
    {
        request.body = read_chunks(stream)?;
        return Ok(Some(request));
    }
    let length = request.header("content-length");
    let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    stream.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// A certificate authority for one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// The certificate and key of a server, and whether the server requires a certificate from clients.
#[derive(Clone, Debug)]
pub struct Identity(Arc<ServerConfig>);

/// A certificate and its key as PEM.
#[derive(Clone, Debug)]
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes a new authority, different from every other one.
    pub fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(parameters, key);
        Self {
            issuer: issuer.expect("a certificate can be made"),
        }
    }

    /// Returns the authority's certificate as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Makes a certificate for names or addresses, valid from and to a year.
    pub fn certificate(&self, names: &[&str], years: (i32, i32)) -> Pem {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("the names are names");
        parameters.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = parameters.signed_by(&key, &self.issuer);
        Pem {
            certificate: certificate.expect("a certificate can be made").pem(),
            key: key.serialize_pem(),
        }
    }

    /// Makes an identity for a server at 127.0.0.1 and localhost.
    pub fn server(&self) -> Identity {
        self.identity(&["127.0.0.1", "localhost"], (2000, 2100), false)
    }

    /// Makes an identity for a server that demands a certificate of this authority.
    pub fn server_for_clients(&self) -> Identity {
        self.identity(&["127.0.0.1", "localhost"], (2000, 2100), true)
    }

    /// Makes an identity for a server.
    pub fn identity(&self, names: &[&str], years: (i32, i32), clients: bool) -> Identity {
        self.identity_of(&self.certificate(names, years), clients)
    }

    fn identity_of(&self, pem: &Pem, clients: bool) -> Identity {
        use rustls::pki_types::pem::PemObject as _;
        let certificate = CertificateDer::from_pem_slice(pem.certificate.as_bytes());
        let chain = vec![certificate.expect("it was just made")];
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.key.as_bytes());
        let key = PrivateKeyDer::Pkcs8(key.expect("it was just made"));
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring knows the versions");
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            let own = CertificateDer::from(self.issuer.der().to_vec());
            roots.add(own).expect("it was just made");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("there is a root"))
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(chain, key);
        Identity(Arc::new(
            config.expect("certificate and key belong together"),
        ))
    }
}

impl Identity {
    /// Makes a server's self-signed certificate, perhaps marked as an authority, as
    /// `openssl req -x509` does; returns it as PEM too.
    pub fn self_signed(names: &[&str], years: (i32, i32), authority: bool) -> (Self, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("the names are names");
        parameters.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        if authority {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = parameters.self_signed(&key);
        let pem = Pem {
            certificate: certificate.expect("a certificate can be made").pem(),
            key: key.serialize_pem(),
        };
        let identity = Authority::new().identity_of(&pem, false);
        (identity, pem.certificate)
    }
}
