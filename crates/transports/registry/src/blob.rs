//! A blob of a registry, verified whenever it is read.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_http::{Download, Request, Response};
use imgconv_model::{Code, Error, Facts, Open, Reader, Result};
use imgconv_stream::Verified;

use crate::session::{Session, failure};

/// The number of bytes of the first request: enough to detect the kind of a blob, which is often
/// all that is needed.
const HEAD: u64 = 4 << 10;

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
    bytes: Arc<[u8]>,
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
            let range = format!("bytes=0-{}", HEAD - 1);
            let found = ask(session, &path, Some(&range)).and_then(|response| {
                let mut bytes = Vec::new();
                if response.status() != 416 {
                    let read = response.into_reader().take(HEAD).read_to_end(&mut bytes);
                    read.map_err(Error::from_io)?;
                }
                Ok(bytes)
            });
            match found {
                Ok(bytes) => {
                    let bytes = bytes.into();
                    return Ok(head.insert(Head { session: at, bytes }).clone());
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
        let whole = match self.facts.size {
            Some(size) => head.bytes.len() as u64 >= size,
            None => (head.bytes.len() as u64) < HEAD,
        };
        let path = self.path();
        let what = format!("blob {}", path.trim_start_matches("blobs/"));
        let first = io::Cursor::new(Arc::clone(&head.bytes));
        if whole {
            return Ok(Box::new(Verified::new(first, &self.facts, what)));
        }
        let sessions = Arc::clone(&self.sessions);
        let rest = Download::new(
            move |range| ask(&sessions[head.session], &path, range),
            self.facts.size,
            self.retries,
        );
        let rest = rest.from(head.bytes.len() as u64);
        Ok(Box::new(Verified::new(
            first.chain(rest),
            &self.facts,
            what,
        )))
    }
}
