//! A blob of a registry, verified whenever it is read.

use std::sync::{Arc, Mutex, PoisonError};

use imgconv_http::{Beginning, Request, Response};
use imgconv_model::{Code, Facts, Open, Reader, Result};
use imgconv_stream::Verified;

use crate::session::{Session, failure};

/// The sessions of the registry and its mirrors, in the order in which they are asked.
pub(crate) type Sessions = Arc<[Session]>;

/// A blob where it is stored.
#[derive(Debug)]
pub(crate) struct RemoteBlob {
    sessions: Sessions,
    facts: Facts,
    /// The blob's first bytes, and the session that has it, after the first request.
    head: Mutex<Option<Head>>,
    retries: u64,
}

#[derive(Clone, Debug)]
struct Head {
    session: usize,
    beginning: Beginning,
}

impl RemoteBlob {
    pub(crate) fn new(sessions: &Sessions, facts: &Facts, retries: u64) -> Self {
        Self {
            sessions: Arc::clone(sessions),
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
        let last = self.sessions.len() - 1;
        for (session, at) in self.sessions.iter().zip(0..) {
            match Beginning::request(|range| ask(session, &path, range)) {
                Ok(beginning) => {
                    let found = Head {
                        session: at,
                        beginning,
                    };
                    return Ok(head.insert(found).clone());
                }
                Err(error) if at == last || error.code() == Code::Cancelled => return Err(error),
                Err(_) => {}
            }
        }
        unreachable!("there is at least one session, and the last returns")
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
        let (path, sessions) = (self.path(), Arc::clone(&self.sessions));
        let what = format!("blob {}", path.trim_start_matches("blobs/"));
        let ask = move |range: Option<&str>| ask(&sessions[head.session], &path, range);
        let bytes = head.beginning.and_rest(ask, self.facts.size, self.retries);
        Ok(Box::new(Verified::new(bytes, &self.facts, what)))
    }
}
