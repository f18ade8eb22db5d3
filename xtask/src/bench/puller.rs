//! A client of a registry that pulls as engines do: every manifest by its tag, every blob once. The client
//! compares every answer with its digest, so a fast wrong answer is no answer.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use imgconv_testkit::sha256_hex;
use serde_json::Value;

use crate::process::Result;

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// The longest silence of a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client has pulled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulled {
    pub(super) answers: u64,
    pub(super) bytes: u64,
}

/// A connection that stays open.
#[derive(Debug)]
pub(super) struct Puller {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Puller {
    pub(super) fn connect(port: u16) -> Result<Self> {
        let connect = || {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: std::io::Error| error.to_string())?;
        Ok(Self {
            stream: BufReader::with_capacity(128 << 10, stream),
            body: Vec::new(),
        })
    }

    /// Pulls images, each `NAME:TAG`.
    pub(super) fn pull<'a>(&mut self, images: impl Iterator<Item = &'a str>) -> Result<Pulled> {
        let (mut seen, mut pulled) = (BTreeSet::new(), Pulled::default());
        for image in images {
            let (name, tag) = image.rsplit_once(':').ok_or("an image without a tag")?;
            self.get(&format!("/v2/{name}/manifests/{tag}"), None)?;
            pulled.add(self.body.len());
            for (digest, size) in blobs(&self.body)? {
                if seen.insert(digest.clone()) {
                    self.get(&format!("/v2/{name}/blobs/{digest}"), Some(&digest))?;
                    if self.body.len() as u64 != size {
                        return Err(format!("{digest} has {} bytes", self.body.len()));
                    }
                    pulled.add(self.body.len());
                }
            }
        }
        Ok(pulled)
    }

    /// Fetches every blob of images once; returns the seconds from each request to the first byte of the
    /// blob.
    pub(super) fn first_bytes(&mut self, images: &[String]) -> Result<Vec<f64>> {
        let mut wanted = Vec::new();
        let mut seen = BTreeSet::new();
        for image in images {
            let (name, tag) = image.rsplit_once(':').ok_or("an image without a tag")?;
            self.get(&format!("/v2/{name}/manifests/{tag}"), None)?;
            for (digest, _) in blobs(&self.body)? {
                if seen.insert(digest.clone()) {
                    wanted.push((format!("/v2/{name}/blobs/{digest}"), digest));
                }
            }
        }
        let fetch = |(path, digest): &(String, String)| {
            let first = self.get(path, Some(digest))?;
            Ok(first.as_secs_f64())
        };
        wanted.iter().map(fetch).collect()
    }

    /// Fetches a document or blob to `self.body`, and compares it with its digest: the given one, or the one
    /// that the server says. Returns the time to the first byte of the body.
    fn get(&mut self, path: &str, digest: Option<&str>) -> Result<Duration> {
        let failed = |what: &str| format!("GET {path}: {what}");
        let begun = Instant::now();
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {ACCEPT}\r\n\r\n");
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        sent.map_err(|error| failed(&error.to_string()))?;
        let (mut line, mut status) = (String::new(), String::new());
        let (mut length, mut said) = (None, None);
        loop {
            line.clear();
            let read = self.stream.read_line(&mut line);
            if read.map_err(|error| failed(&error.to_string()))? == 0 {
                return Err(failed("the server ended the connection"));
            }
            let text = line.trim_end();
            if status.is_empty() {
                text.clone_into(&mut status);
                continue;
            }
            let Some((name, value)) = text.split_once(':') else {
                break;
            };
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.trim().parse::<usize>().ok(),
                "docker-content-digest" => said = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        if !status.starts_with("HTTP/1.1 200") {
            return Err(failed(&status));
        }
        let length = length.ok_or_else(|| failed("the answer has no length"))?;
        let first = self.stream.fill_buf().map(<[u8]>::len);
        first.map_err(|error| failed(&error.to_string()))?;
        let first = begun.elapsed();
        self.body.clear();
        let body = self
            .stream
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut self.body);
        body.map_err(|error| failed(&error.to_string()))?;
        let found = format!("sha256:{}", sha256_hex(&self.body));
        let right = [digest, said.as_deref()].into_iter().flatten();
        match self.body.len() == length && right.clone().count() > 0 {
            true if right.clone().all(|digest| *digest == found) => Ok(first),
            _ => Err(failed(&format!("the bytes have the digest {found}"))),
        }
    }
}

impl Pulled {
    fn add(&mut self, bytes: usize) {
        self.answers += 1;
        self.bytes += bytes as u64;
    }
}

/// The config and layers of a manifest, with their sizes.
fn blobs(manifest: &[u8]) -> Result<Vec<(String, u64)>> {
    let manifest: Value = serde_json::from_slice(manifest).map_err(|e| e.to_string())?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    [&manifest["config"]]
        .into_iter()
        .chain(layers)
        .map(|descriptor| {
            let digest = descriptor["digest"].as_str();
            let digest = digest.zip(descriptor["size"].as_u64());
            digest
                .map(|(digest, size)| (digest.to_owned(), size))
                .ok_or_else(|| "a descriptor without digest and size".to_owned())
        })
        .collect()
}
