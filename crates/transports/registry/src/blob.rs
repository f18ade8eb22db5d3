//! A blob of a registry, verified whenever it is read.

use std::sync::{Arc, Mutex, PoisonError};

use imgconv_http::{Beginning, Request, Response};
use imgconv_model::{Facts, Open, Reader, Result};
use imgconv_stream::Verified;

use crate::{
    session::{Session, failure},
    sources::Sources,
};

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
    beginning: Beginning,
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
        let ask_for = |session: &Session| {
            Beginning::request(|range| ask(session, &path, range), self.retries)
        };
        let found = self.sources.first(ask_for)?;
        let new = Head {
            session: found.session,
            mirror: found.mirror,
            beginning: found.value,
        };
        Ok(head.insert(new).clone())
    }

    fn path(&self) -> String {
        let digest = self.facts.digest.expect("a remote blob has a digest");
        format!("blobs/{digest}")
    }
}

/// Requests a blob; only a response that a [`Beginning`] can use counts as an answer.
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
        let path = self.path();
        let mut what = format!("blob {}", path.trim_start_matches("blobs/"));
        if let Some(mirror) = &head.mirror {
            what = format!("{what} of the mirror {mirror}");
        }
        let session = head.session;
        let ask = move |range: Option<&str>| ask(&session, &path, range);
        let bytes = head.beginning.and_rest(ask, self.facts.size, self.retries);
        Ok(Box::new(Verified::new(bytes, &self.facts, what)))
    }
}
