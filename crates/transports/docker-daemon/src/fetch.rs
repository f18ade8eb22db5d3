//! Fetching an archive of images from an engine.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_json::Value;
use imgconv_model::{
    Bundle, Code, Counted, Env, Error, Event, Limits, Reader, Result, Work, quote,
};
use imgconv_transport_docker_archive::open_stream;

use crate::api::{Engine, error_in};

/// The last bytes of an archive in which the message of a failed engine is looked for.
const TAIL: usize = 16 << 10;

/// Fetches images as one archive into the temporary directory. `size` is the number of bytes that the
/// images take in the engine.
///
/// # Errors
/// The errors of the engine; [`Code::Net`] if the engine broke off; the errors of an archive.
pub(crate) fn fetch(
    engine: &Engine,
    names: &[String],
    (locator, size): (&str, u64),
    env: &Env,
) -> Result<Arc<dyn Bundle>> {
    let what = match names {
        [one] => format!("{} from the engine", quote(one)),
        several => format!("{} images from the engine", several.len()),
    };
    let bytes = Some(size).filter(|size| *size > 0);
    let work = Work::begin(&what, Counted::Result, bytes, env);
    let id = work.id();
    let tail = Arc::new(Mutex::new(Vec::new()));
    let opened = engine.save(names).and_then(|response| {
        let body: Reader = Box::new(Watched {
            body: response.into_reader(),
            tail: Arc::clone(&tail),
            env: env.clone(),
            id,
        });
        let count = names.len().max(1) as u64;
        let limit = env.limits.image_bytes.saturating_mul(count);
        open_stream(body, limit, locator, env).map_err(|error| {
            let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            let error = match failure_in(&tail, &env.limits) {
                None => error.at("archive of the engine"),
                Some(message) => {
                    let message = format!("the engine broke off the archive: {}", quote(message));
                    Error::new(Code::Net, message)
                }
            };
            engine.place(error)
        })
    });
    drop(work);
    opened.map(Arc::from)
}

/// The body of an answer: its progress is told, and its last bytes are remembered.
struct Watched {
    body: Reader,
    tail: Arc<Mutex<Vec<u8>>>,
    env: Env,
    id: u64,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        let read = &buffer[..count];
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = TAIL.saturating_sub(count).min(tail.len());
        let gone = tail.len() - kept;
        tail.drain(..gone);
        tail.extend_from_slice(&read[count.saturating_sub(TAIL)..]);
        let (id, bytes) = (self.id, count as u64);
        self.env.progress.event(Event::Advance { id, bytes });
        Ok(count)
    }
}

/// Finds the message of an engine that failed after it had begun to send: docker appends a line of
/// JSON to the archive and ends the answer as if all were well.
fn failure_in(tail: &[u8], limits: &Limits) -> Option<String> {
    let tail = tail.trim_ascii_end();
    let begins = |at: &usize| tail[*at..].starts_with(b"{\"error");
    // The message itself may hold such a text.
    let at = (0..tail.len()).find(begins)?;
    let line = tail[at..].split(|byte| *byte == b'\n').next()?;
    let value: Value = imgconv_json::parse(line.trim_ascii(), limits, "line").ok()?;
    error_in(&value)
}
