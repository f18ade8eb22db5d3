//! A blob of a registry, verified whenever it is read.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_http::{Download, Request, Response};
use imgconv_model::{Error, Facts, Open, Reader, Result};
use imgconv_stream::Verified;

use crate::{
    session::{Session, failure},
    sources::Sources,
};

/// The number of bytes of the first request: enough to detect the kind of a blob, which is often
/// all that is needed.
const HEAD: u64 = 4 << 10;

/// A blob where it is stored.
#[derive(Debug)]
pub(crate) struct RemoteBlob {
    sources: Arc<Sources>,
    facts: Facts,
    /// The blob's first bytes, and the place that has it, after the first request.
    head: Mutex<Option<Head>>,
    retries: u64,
}

#[derive(Clone, Debug)]
struct Head {
    session: Arc<Session>,
    /// The place, if it is a mirror.
    mirror: Option<String>,
    bytes: Arc<[u8]>,
}

impl RemoteBlob {
    pub(crate) fn new(sources: &Arc<Sources>, facts: &Facts, retries: u64) -> Self {
        Self {
            sources: Arc::clone(sources),
            facts: facts.clone(),
            head: Mutex::default(),
            retries,
        }
    }

    /// Requests the first bytes, once; a mirror without the blob is passed over.
    fn head(&self) -> Result<Head> {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(head) = &*head {
            return Ok(head.clone());
        }
        let path = self.path();
        let range = format!("bytes=0-{}", HEAD - 1);
        let found = self.sources.first(|session| {
            let response = ask(session, &path, Some(&range))?;
            let mut bytes = Vec::new();
            if response.status() != 416 {
                let read = response.into_reader().take(HEAD).read_to_end(&mut bytes);
                read.map_err(Error::from_io)?;
            }
            Ok(bytes)
        })?;
        let new = Head {
            session: found.session,
            mirror: found.mirror,
            bytes: found.value.into(),
        };
        Ok(head.insert(new).clone())
    }

    fn path(&self) -> String {
        let digest = self.facts.digest.expect("a remote blob has a digest");
        format!("blobs/{digest}")
    }
}

/// Requests a blob; only a response that a [`Download`] can use counts as an answer.
fn ask(session: &Session, path: &str, range: Option<&str>) -> Result<Response> {
    let url = session.url(path);
    let mut request = Request::get(&url);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let response = session.send(&request, &url)?;
    match response.status() {
        200 | 206 | 416 => Ok(response),
        _ => Err(failure(response)),
    }
}

impl Open for RemoteBlob {
    fn open(&self) -> Result<Reader> {
        let head = self.head()?;
        let whole = match self.facts.size {
            Some(size) => head.bytes.len() as u64 >= size,
            None => (head.bytes.len() as u64) < HEAD,
        };
        let path = self.path();
        let mut what = format!("blob {}", path.trim_start_matches("blobs/"));
        if let Some(mirror) = &head.mirror {
            what = format!("{what} of the mirror {mirror}");
        }
        let first = io::Cursor::new(Arc::clone(&head.bytes));
        if whole {
            return Ok(Box::new(Verified::new(first, &self.facts, what)));
        }
        let start = head.bytes.len() as u64;
        let rest = Download::new(
            move |range| ask(&head.session, &path, range),
            self.facts.size,
            self.retries,
        );
        let rest = rest.from(start);
        Ok(Box::new(Verified::new(
            first.chain(rest),
            &self.facts,
            what,
        )))
    }
}
