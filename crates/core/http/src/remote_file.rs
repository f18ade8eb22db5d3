//! One file on a server as a place: fetched once, read as often as needed.
//!
//! The file is copied to a private directory below `env.tmpdir`, because an image is read more than
//! once, and because other transports read archives by their path. This module does not interpret
//! the bytes.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    sync::Arc,
};

use imgconv_fs::{HeldFile, Stage, sweep};
use imgconv_model::{
    Blob, Bundle, Code, Counted, Document, Env, Error, Extras, Facts, Fetched, Limits, Result,
    Root, RootEntry, Signature, Signed, Work, quote, quote_path,
};

use crate::{Client, Download, Request, Response, Url, wait::pause};

/// The number of bytes of one read.
const BLOCK: usize = 256 << 10;

/// A file that was fetched, and the requests for its signature and keys.
#[derive(Debug)]
pub struct RemoteFile {
    client: Client,
    env: Env,
    url: Url,
    /// The private directory, which is removed when this value is dropped.
    _stage: Arc<Stage>,
    file: Arc<File>,
    size: u64,
    fetched: Fetched,
    signature: Option<Request<'static>>,
    /// For each key the URLs that are tried in turn.
    keys: Vec<Vec<Request<'static>>>,
}

impl RemoteFile {
    /// Fetches a file. A connection that is cut is continued at that position.
    ///
    /// # Errors
    /// [`Code::Missing`] or [`Code::Denied`] by the status of the answer, [`Code::Limit`] if the
    /// file is larger than an image may be, the errors of [`Client::send`], or [`Code::Io`] that
    /// names the temporary directory.
    pub fn fetch(client: &Client, request: &Request<'static>, env: &Env) -> Result<Self> {
        sweep(&env.tmpdir, Stage::PREFIX, env);
        let stage = Stage::new(&env.tmpdir, Stage::PREFIX, false)?;
        let (mut file, name) = stage.file()?;
        let place = || format!("temporary directory {}", quote_path(&env.tmpdir));
        let limit = env.limits.image_bytes;
        let mut download = Download::new(ask(client, request), None, env.limits.retries);
        let mut buffer = vec![0; BLOCK];
        let mut size = 0;
        let mut work = None;
        loop {
            env.check_cancelled()?;
            let count = match download.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::from_io(error)),
            };
            // The copy is read as the source, whose bytes are counted then.
            let work = work.get_or_insert_with(|| {
                let url = request.url.to_string();
                Work::begin(&url, Counted::Result, download.length(), env)
            });
            work.advance(count as u64);
            size += count as u64;
            if size > limit {
                return Err(Limits::exceeded(
                    "image_bytes",
                    limit,
                    request.url.to_string(),
                ));
            }
            let written = file.write_all(&buffer[..count]);
            written.map_err(|error| Error::io(error, place()))?;
        }
        let path = stage.path().join(&name);
        let file = Arc::new(stage.open(&name)?);
        Ok(Self {
            client: client.clone(),
            env: env.clone(),
            url: request.url.clone(),
            _stage: stage,
            file,
            size,
            fetched: Fetched {
                path,
                ..Fetched::default()
            },
            signature: None,
            keys: Vec::new(),
        })
    }

    /// Sets the request for the detached signature, which is sent only when a caller asks for the
    /// signature.
    #[must_use]
    pub fn signed_at(mut self, request: Request<'static>) -> Self {
        self.signature = Some(request);
        self
    }

    /// Sets the requests for public keys that the place offers: for each key the URLs that are
    /// tried in turn, the last of which is shown to the user. The keys are fetched with the
    /// signature, if the user consented.
    #[must_use]
    pub fn keys_at(mut self, requests: Vec<Vec<Request<'static>>>) -> Self {
        self.keys = requests;
        self
    }

    /// Sets the requested image; the path stays that of the copy.
    #[must_use]
    pub fn asked_for(mut self, asked: Fetched) -> Self {
        let path = self.fetched.path;
        self.fetched = Fetched { path, ..asked };
        self
    }

    /// Fetches a public key; an answer that is not a success is returned as the response.
    fn fetch_key(
        &self,
        request: &Request<'_>,
        limits: &Limits,
    ) -> Result<Result<Vec<u8>, Response>> {
        let response = self.client.send(request)?;
        if response.status() != 200 {
            return Ok(Err(response));
        }
        let limit = ("key_file", limits.key_file);
        response.into_bytes(limit).map(Ok)
    }

    /// Fetches a signature. A server that is still creating the signature answers 202, as for rkt.
    fn fetch_signature(&self, request: &Request<'_>, limits: &Limits) -> Result<Option<Vec<u8>>> {
        let mut wait = self.env.network.timeouts.first_wait;
        for _ in 0..limits.retries {
            let response = self.client.send(request)?;
            match response.status() {
                200 => {
                    let limit = ("signature_file", limits.signature_file);
                    return response.into_bytes(limit).map(Some);
                }
                404 | 410 => return Ok(None),
                202 => {}
                _ => return Err(response.into_failure()),
            }
            pause(wait, &self.env.cancel)?;
            wait *= 2;
        }
        let message = "the signature is still not ready on the server";
        Err(Error::new(Code::Net, message).at(request.shown()))
    }
}

/// Sends the request, for a part of the file or all of it.
fn ask(
    client: &Client,
    request: &Request<'static>,
) -> impl FnMut(Option<&str>) -> Result<Response> + Send + use<> {
    let (client, request) = (client.clone(), request.clone());
    move |range: Option<&str>| {
        let request = match range {
            Some(range) => request.clone().header("range", range),
            None => request.clone(),
        };
        let response = client.send(&request)?;
        match response.status() {
            200 | 206 | 416 => Ok(response),
            _ => Err(response.into_failure()),
        }
    }
}

impl Bundle for RemoteFile {
    fn locator(&self) -> String {
        self.url.to_string()
    }

    /// The place has exactly one entry, without a name.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(vec![RootEntry::only(None)])
    }

    fn root(&self, _: &RootEntry) -> Result<Root> {
        Ok(Root::Stream(Blob {
            facts: Facts {
                digest: None,
                size: Some(self.size),
            },
            bytes: Arc::new(HeldFile(Arc::clone(&self.file))),
        }))
    }

    fn document(&self, kind: &str, _: &Facts, _: (&'static str, u64)) -> Result<Document> {
        let message = format!("a file holds no document of type {}", quote(kind));
        Err(Error::new(Code::Missing, message).at(self.locator()))
    }

    fn blob(&self, _: &Facts) -> Result<Blob> {
        Err(Error::new(Code::Missing, "a file holds no blob").at(self.locator()))
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            signed: Some(self),
            fetched: Some(&self.fetched),
            ..Extras::default()
        }
    }
}

impl Signed for RemoteFile {
    fn signature(&self, limits: &Limits) -> Result<Option<Signature>> {
        let Some(request) = &self.signature else {
            return Ok(None);
        };
        let Some(bytes) = self.fetch_signature(request, limits)? else {
            return Ok(None);
        };
        let mut signature = Signature {
            bytes,
            ..Signature::default()
        };
        for places in &self.keys {
            let Some((last, mirrors)) = places.split_last() else {
                continue;
            };
            if !self.env.network.fetch_pubkeys {
                signature.offered.push(last.url.to_string());
                continue;
            }
            let mut key = None;
            for mirror in mirrors {
                key = key.or(self.fetch_key(mirror, limits)?.ok());
            }
            let key = match key {
                Some(key) => key,
                None => self
                    .fetch_key(last, limits)?
                    .map_err(Response::into_failure)?,
            };
            signature.keys.push(key);
        }
        Ok(Some(signature))
    }
}
