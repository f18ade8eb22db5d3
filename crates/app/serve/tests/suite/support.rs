//! A running server, a plain client, and stores to serve.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{JoinHandle, spawn},
    time::Duration,
};

use imgconv_locate::locator::Locator;
use imgconv_model::{Env, Error, Platform, PlatformSpec, Result};
use imgconv_serve::{ServeOptions, Watcher, serve};
use imgconv_testkit::{ImageRecipe, build, docker, sha256_hex};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// The layer of every image of one layer.
pub(crate) const LAYER: &str = "dir etc\nfile etc/a \"aaa\"";

/// Keeps messages.
#[derive(Default)]
pub(crate) struct Log {
    listening: Mutex<Option<Sender<SocketAddr>>>,
    pub(crate) left_out: Mutex<Vec<String>>,
    pub(crate) failed: Mutex<Vec<String>>,
    pub(crate) making: Mutex<Vec<String>>,
}

impl Watcher for Log {
    fn listening(&self, address: SocketAddr, _: usize, _: usize) {
        let sender = self.listening.lock().unwrap().take();
        sender.unwrap().send(address).unwrap();
    }

    fn left_out(&self, why: &Error) {
        self.left_out.lock().unwrap().push(why.to_string());
    }

    fn making(&self, what: &str) {
        self.making.lock().unwrap().push(what.to_owned());
    }

    fn failed(&self, what: &str, why: &Error) {
        self.failed.lock().unwrap().push(format!("{what}: {why}"));
    }
}

/// A folder with stores.
pub(crate) struct Stores {
    pub(crate) folder: TempDir,
    pub(crate) locators: Vec<String>,
}

impl Stores {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            locators: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a layout.
    pub(crate) fn layout(mut self, name: &str, images: &[ImageRecipe]) -> Self {
        build::layout(images, &self.path(name)).unwrap();
        self.locators
            .push(format!("oci:{}", self.path(name).display()));
        self
    }

    /// Adds a file of `docker save`.
    pub(crate) fn archive(mut self, name: &str, images: &[ImageRecipe]) -> Self {
        fs::write(self.path(name), docker::archive(images).unwrap()).unwrap();
        self.locators
            .push(format!("docker-archive:{}", self.path(name).display()));
        self
    }

    /// Adds an ACI.
    pub(crate) fn aci(mut self, name: &str, image: &ImageRecipe) -> Self {
        fs::write(self.path(name), build::aci_bytes(image).unwrap()).unwrap();
        self.locators
            .push(format!("aci:{}", self.path(name).display()));
        self
    }

    /// Adds a place that is there already.
    pub(crate) fn place(mut self, locator: String) -> Self {
        self.locators.push(locator);
        self
    }

    /// Serves the stores.
    pub(crate) fn serve(self) -> Running {
        self.serve_with(|_| ())
    }

    /// Serves the stores with other settings.
    pub(crate) fn serve_with(self, change: impl FnOnce(&mut ServeOptions)) -> Running {
        let sources = self
            .locators
            .iter()
            .map(|text| Locator::source(text).unwrap());
        let sources: Vec<Locator> = sources.collect();
        let mut options = ServeOptions::new(PlatformSpec::from(Platform::new("linux", "amd64")));
        options.listen.set_port(0);
        change(&mut options);
        let env = env();
        let log = Arc::new(Log::default());
        let (sender, listening) = channel();
        *log.listening.lock().unwrap() = Some(sender);
        let cancel = Arc::clone(&env.cancel);
        let watcher: Arc<dyn Watcher> = Arc::clone(&log) as Arc<dyn Watcher>;
        let messages = Arc::clone(&log);
        let thread = spawn(move || {
            let ended = serve(&sources, &options, watcher, &env);
            // A server that never listened sends nothing.
            *messages.listening.lock().unwrap() = None;
            ended
        });
        let address = match listening.recv() {
            Ok(address) => address,
            Err(_) => panic!("the server did not listen: {:?}", thread.join().unwrap()),
        };
        Running {
            address,
            cancel,
            thread: Some(thread),
            log,
            stores: self,
        }
    }
}

pub(crate) fn env() -> Env {
    Env {
        jobs: 2,
        ..Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
    }
}

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
    pub(crate) log: Arc<Log>,
    pub(crate) stores: Stores,
}

impl Running {
    /// Sets the flag that ends the server.
    pub(crate) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// Waits for the end of the server.
    pub(crate) fn join(&mut self) -> Result<()> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        // A server that does not answer fails the test instead of hanging it.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Sends a request on a connection of its own.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.raw(text.as_bytes())
    }

    /// Sends bytes, and reads until the connection ends.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut all = Vec::new();
        // A connection that the server cuts may be reset.
        let _ = stream.read_to_end(&mut all);
        Reply::read(&all)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[])
    }

    pub(crate) fn accept(&self, path: &str, kinds: &str) -> Reply {
        self.request("GET", path, &[("accept", kinds)])
    }

    /// Fetches a blob, and demands that its bytes have the digest.
    pub(crate) fn blob(&self, repository: &str, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let reply = self.get(&format!("/v2/{repository}/blobs/{digest}"));
        assert_eq!(reply.status, 200, "{digest}: {}", reply.text());
        assert_eq!(format!("sha256:{}", sha256_hex(&reply.body)), digest);
        if let Some(size) = descriptor["size"].as_u64() {
            assert_eq!(reply.body.len() as u64, size);
        }
        reply.body
    }

    /// Fetches the config and all layers of an image; returns its manifest.
    pub(crate) fn pull(&self, repository: &str, reference: &str, kinds: &str) -> (Reply, Value) {
        let reply = self.accept(&format!("/v2/{repository}/manifests/{reference}"), kinds);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let manifest = reply.json();
        self.blob(repository, &manifest["config"]);
        for layer in manifest["layers"].as_array().unwrap() {
            self.blob(repository, layer);
        }
        (reply, manifest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            return Self {
                status: 0,
                headers: Vec::new(),
                body: bytes.to_vec(),
            };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_owned())
        };
        Self {
            status,
            headers: lines.map(header).collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The first error code of the specification.
    pub(crate) fn code(&self) -> String {
        let error = self.json()["errors"][0].clone();
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        error["code"].as_str().unwrap().to_owned()
    }
}

/// An image of one layer.
pub(crate) fn image(name: &str, version: &str) -> ImageRecipe {
    ImageRecipe::of(name, version, &[LAYER])
}

/// A text of which half is left after compression.
pub(crate) fn noise(length: usize) -> String {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let numbers = std::iter::successors(Some(1), next);
    numbers
        .filter_map(|number| char::from_digit(number >> 28, 16))
        .take(length)
        .collect()
}

/// An image for two platforms.
pub(crate) fn two_platforms(name: &str) -> [ImageRecipe; 2] {
    ["amd64", "arm64"].map(|arch| {
        let text = format!("file arch \"{arch}\"");
        let mut image = ImageRecipe::of(name, "1", &[&text]);
        image.head.arch = arch.to_owned();
        image
    })
}

/// The digest of the one root of a layout.
pub(crate) fn root_of(layout: &Path) -> String {
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// The bytes of a blob of a layout.
pub(crate) fn stored(layout: &Path, digest: &str) -> Vec<u8> {
    fs::read(layout.join("blobs").join(digest.replace(':', "/"))).unwrap()
}
