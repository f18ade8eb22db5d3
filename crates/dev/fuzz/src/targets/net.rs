//! A registry over the loopback device, and messages of HTTP: answers that the client reads, and requests that the server reads, over the loopback device.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::spawn;
use std::time::Duration;

use imgconv::{Error, Locator, ServeOptions, Watcher, serve};
use imgconv_http::{Client, Method, Request, Url};
use imgconv_model::{Env, Network, PlatformSpec, ProxySetting, Secret};
use imgconv_testkit::{ImageRecipe, build};

use super::documents;
use super::places::visit;
use crate::cage::{self, caged};
use crate::tree;

/// A message that takes longer is lost; no target waits for a time.
const PATIENCE: Duration = Duration::from_secs(5);

/// The bytes that the server of [`answering`] sends.
static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The bodies that the server of [`storing`] has, by their paths.
static STORED: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a server of one request for each connection, which gets the first line and gives all bytes of the answer.
fn started(answer: fn(&str) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let mut asked = Vec::new();
            let mut piece = [0; 2048];
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(size) => asked.extend_from_slice(&piece[..size]),
                }
            }
            let asked = String::from_utf8_lossy(&asked);
            let _ = stream.write_all(&answer(asked.lines().next().unwrap_or_default()));
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    address
}

/// The server that sends [`ANSWER`], whatever it is asked.
fn answering() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| started(|_| locked(&ANSWER).clone()))
}

/// The server that sends what is in [`STORED`].
fn storing() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        started(|line| {
            let mut words = line.split(' ');
            let (method, target) = (words.next(), words.next().unwrap_or_default());
            let path = target.split('?').next().unwrap_or_default();
            let stored = locked(&STORED);
            let Some(body) = stored.get(path.trim_start_matches('/')) else {
                return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
            };
            // The media type of a document is the one that it names itself.
            let document = serde_json::from_slice::<serde_json::Value>(body).ok();
            let kind = document.and_then(|document| Some(document.get("mediaType")?.as_str()?.to_owned()));
            let kind = kind.filter(|kind| kind.bytes().all(|byte| byte.is_ascii_graphic()));
            let kind = kind.unwrap_or_else(|| "application/octet-stream".to_owned());
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let body: &[u8] = if method == Some("HEAD") { b"" } else { body };
            [head.as_bytes(), body].concat()
        })
    })
}

/// A text of documents and blobs, which a registry has by their paths.
pub(super) fn registry(text: &[u8]) {
    let address = storing();
    let made = tree::make(&tree::parse(text)).into_iter();
    let files = made.filter_map(|part| Some((String::from_utf8(part.path).ok()?, part.stored)));
    *locked(&STORED) = files.collect();
    caged(|cage| {
        let mut network = Network {
            plain_http: vec![address.to_string()],
            // No other server is reached, whatever the documents name.
            http_proxy: nowhere(),
            https_proxy: nowhere(),
            no_proxy: "127.0.0.1".to_owned(),
            // An empty directory: reading the system's certificates would take the most time.
            trust_directories: vec![cage.out()],
            ..Network::default()
        };
        network.timeouts.first_wait = Duration::from_millis(1);
        let env = Env {
            network: Arc::new(network),
            ..cage.env()
        };
        visit(&format!("docker://{address}/a/b:1"), cage, &env);
    });
}

/// A proxy at the port for discarding, where nobody listens.
fn nowhere() -> Option<ProxySetting> {
    Some(ProxySetting {
        source: "the target".to_owned(),
        url: Secret::new("http://127.0.0.1:9"),
    })
}

pub(super) fn registry_seeds() -> Vec<Vec<u8>> {
    let layouts = documents::recipes().into_iter().map(|recipe| {
        caged(|cage| {
            let folder = cage.out().join("layout");
            build::layout(&[recipe], &folder).unwrap();
            let index = std::fs::read(folder.join("index.json")).unwrap();
            let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
            let root = index["manifests"][0]["digest"].as_str().unwrap_or_default();
            let mut files = vec![(b"v2/".to_vec(), b"{}".to_vec())];
            for (path, bytes) in cage::files(&folder) {
                let Some(hex) = path
                    .strip_prefix("blobs/sha256")
                    .ok()
                    .and_then(Path::to_str)
                else {
                    continue;
                };
                let digest = format!("sha256:{hex}");
                for kind in ["blobs", "manifests"] {
                    files.push((
                        format!("v2/a/b/{kind}/{digest}").into_bytes(),
                        bytes.clone(),
                    ));
                }
                if digest == root {
                    files.push((b"v2/a/b/manifests/1".to_vec(), bytes));
                }
            }
            tree::from_files(files)
        })
    });
    layouts.collect()
}

/// An answer is read with bounds, or is an error. A redirect leads to a URL that is checked.
pub(super) fn answer(bytes: &[u8]) {
    static SETTINGS: OnceLock<Env> = OnceLock::new();
    let address = answering();
    *locked(&ANSWER) = bytes.to_vec();
    let env = SETTINGS.get_or_init(cage::env);
    let client = Client::new(env).unwrap();
    let url = Url::parse(&format!("http://{address}/a/b?c=d")).unwrap();
    for method in [Method::Get, Method::Head] {
        let Ok(response) = client.ask(&Request::new(method, &url), None) else {
            continue;
        };
        assert!((100..=999).contains(&response.status()));
        if let Some(location) = response.header("location")
            && let Ok(next) = response.url().join(location)
        {
            assert!(Url::parse(next.as_str()).is_ok());
        }
        for name in ["content-type", "www-authenticate", "link"] {
            let _ = response.headers(name);
        }
        // An answer 1xx, 204 or 304 has no body, whatever its length says (RFC 9112, 6.3).
        let has_body =
            method.as_str() != "HEAD" && !matches!(response.status(), 100..=199 | 204 | 304);
        let length = response.length().filter(|_| has_body);
        if response.status() >= 400 {
            let _ = response.into_failure().to_string();
        } else if let Ok(body) = response.into_bytes(("error_body", 1 << 16)) {
            assert!(length.is_none_or(|size| size == body.len() as u64));
        }
    }
}

pub(super) fn answer_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: ../x?y#z\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"https://x/token\",service=\"a\"\r\n\
         Content-Length: 60\r\n\r\n{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"no\",\"detail\":1}]}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\nxyz",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/10\r\nContent-Length: 3\r\n\r\nabc",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Sends the address when the server listens.
struct Listening(Mutex<Sender<SocketAddr>>);

impl Watcher for Listening {
    fn listening(&self, address: SocketAddr, _: usize, _: usize) {
        let _ = locked(&self.0).send(address);
    }

    fn left_out(&self, _: &Error) {}

    fn making(&self, _: &str) {}

    fn failed(&self, _: &str, _: &Error) {}
}

/// Starts a server of two images.
fn serving() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        // The images are served until the process ends.
        let folder = tempfile::tempdir().unwrap().keep();
        let layout = folder.join("layout");
        build::layout(&ImageRecipe::samples(false), &layout).unwrap();
        let sources = [Locator::source(&format!("oci:{}", layout.display())).unwrap()];
        let platform: PlatformSpec = imgconv_model::Platform::new("linux", "amd64").into();
        let mut options = ServeOptions::new(platform);
        options.listen.set_port(0);
        options.patience = PATIENCE;
        let (sender, listening) = channel();
        let watcher = Arc::new(Listening(Mutex::new(sender)));
        let env = Env {
            tmpdir: folder,
            ..cage::env()
        };
        spawn(move || serve(&sources, &options, watcher, &env));
        listening.recv().unwrap()
    })
}

/// Whatever a client sends, the server answers with a message or hangs up, and serves the next client.
pub(super) fn request(bytes: &[u8]) {
    let address = serving();
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = (&mut stream).take(1 << 20).read_to_end(&mut answer);
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
    let status = answer.get(9..12).unwrap_or(b"none");
    assert!(status != b"500", "{}", String::from_utf8_lossy(&answer));
}

pub(super) fn request_seeds() -> Vec<Vec<u8>> {
    let paths = [
        "/v2/",
        "/v2/_catalog?n=1&last=a",
        "/v2/example.com/app/tags/list?n=1",
        "/v2/example.com/app/manifests/1.0",
        "/v2/example.com/app/manifests/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "/v2/example.com/app/blobs/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "/v2/example.com/app/referrers/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "/v1/repositories/example.com/app/tags",
        "/?ac-discovery=1",
        "/example.com/app?ac-discovery=1",
        "/",
    ];
    let request = |path: &&str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: example.com\r\nAccept: application/vnd.oci.image.manifest.v1+json, \
             */*;q=0.5\r\nRange: bytes=0-1\r\nIf-None-Match: \"a\"\r\nConnection: close\r\n\r\n"
        )
        .into_bytes()
    };
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(request).collect();
    seeds.push(
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na".to_vec(),
    );
    seeds
}
