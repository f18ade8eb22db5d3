//! Loading images into an engine: the archive is sent while it is made, and the engine is asked
//! afterwards.

use std::{
    io::{self, BufRead, BufReader, PipeReader, Read, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use imgconv_json::Value;
use imgconv_model::{Code, Counted, Env, Error, Limits, Reader, Result, Work, quote};
use imgconv_transport_docker_archive::{Receiver, SentImage};

use crate::api::{Described, Engine, error_in};

/// The longest line of an engine's answer, in bytes.
const LINE: u64 = 1 << 20;
/// The most image IDs that are taken from an answer.
const IDS: usize = 4096;

/// The receiver of an archive that loads its images into an engine.
#[derive(Debug)]
pub(crate) struct Loader {
    engine: Engine,
    env: Env,
}

impl Loader {
    /// Makes a loader for an engine.
    pub(crate) fn new(engine: Engine, env: &Env) -> Self {
        Self {
            engine,
            env: env.clone(),
        }
    }

    /// Sends the archive, and returns the IDs of nameless images that the engine reports.
    fn load(
        &self,
        size: u64,
        send: &mut (dyn FnMut(&mut dyn Write) -> Result<()> + Send),
    ) -> Result<Vec<String>> {
        let pipe = io::pipe().map_err(|error| Error::io(error, "pipe"))?;
        let (reader, mut writer) = pipe;
        let whole = AtomicBool::new(false);
        let failed: Mutex<Option<Error>> = Mutex::default();
        let what = "loading into the engine";
        let work = Work::begin(what, Counted::Result, Some(size), &self.env);
        let answer = thread::scope(|scope| {
            scope.spawn(|| {
                match send(&mut writer) {
                    Ok(()) => whole.store(true, Ordering::Release),
                    Err(error) => {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                }
                // The end of the pipe follows the result.
                drop(writer);
            });
            let mut body = Archive {
                pipe: reader,
                whole: &whole,
                work: &work,
            };
            let response = self.engine.load(&mut body);
            // The archive may still be written: the end of the pipe ends that.
            drop(body);
            response.and_then(|response| self.answer(response.into_reader()))
        });
        drop(work);
        let own = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (answer, own) {
            // An engine that refuses stops reading: then the pipe is closed, and its answer tells why.
            (Err(error), Some(own)) if is_closed_pipe(&own) => Err(error),
            (_, Some(own)) if !is_closed_pipe(&own) => Err(own),
            (Ok(_), Some(_)) => {
                let message = "the engine ended its answer before it had read all of the archive";
                Err(self.engine.place(Error::new(Code::Net, message)))
            }
            (answer, _) => answer,
        }
    }

    /// Reads the lines of the answer to their end.
    fn answer(&self, body: Reader) -> Result<Vec<String>> {
        let mut lines = BufReader::new(body);
        let mut ids = Vec::new();
        loop {
            self.env.check_cancelled()?;
            let mut line = Vec::new();
            let read = lines.by_ref().take(LINE).read_until(b'\n', &mut line);
            let read = read.map_err(|error| self.engine.place(Error::from_io(error)))?;
            if read == 0 {
                return Ok(ids);
            }
            if read as u64 == LINE {
                let what = "a line of the engine's answer";
                return Err(self
                    .engine
                    .place(Limits::exceeded("error_body", LINE, what)));
            }
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let value = imgconv_json::parse(line, &self.env.limits, "the answer of the engine");
            let value = value.map_err(|error| {
                let message = format!("the answer is not that of an engine: {error}");
                self.engine.place(Error::new(Code::Net, message))
            })?;
            if let Some(message) = error_in(&value) {
                let message = format!("the engine refuses the images: {}", quote(message.trim()));
                return Err(self.engine.place(Error::new(Code::Net, message)));
            }
            let told = value.get("stream").and_then(Value::as_str);
            let id = told.and_then(|told| told.trim().strip_prefix("Loaded image ID: "));
            ids.extend(id.filter(|_| ids.len() < IDS).map(str::to_owned));
        }
    }

    /// Fails unless the engine has an image, under each of its names.
    fn check(&self, image: &SentImage, ids: &[String]) -> Result<()> {
        let names = match &image.tags[..] {
            [] => vec![image.config.to_string()],
            tags => tags.to_vec(),
        };
        for name in &names {
            let mut found = self.engine.image(name)?;
            if found.is_none() && image.tags.is_empty() {
                // The containerd store knows a nameless image by its manifest.
                for id in ids {
                    found = self.engine.image(id)?.filter(|it| is_same(it, image));
                    if found.is_some() {
                        break;
                    }
                }
            }
            let Some(found) = found else {
                let message = format!(
                    "the engine has no image {} after it was loaded",
                    quote(name)
                );
                return Err(self.engine.place(Error::new(Code::Missing, message)));
            };
            if !is_same(&found, image) {
                let what = format!("the image {} in the engine", quote(name));
                let error = Error::mismatch(what, image.config, found.image.id);
                return Err(self.engine.place(error));
            }
        }
        Ok(())
    }
}

/// Says whether an image of the engine is the one that was sent: its ID is the digest of the config;
/// the containerd store has the digest of a manifest there, but the same layers.
fn is_same(found: &Described, sent: &SentImage) -> bool {
    found.image.id == sent.config || !sent.diff_ids.is_empty() && found.layers == sent.diff_ids
}

impl Receiver for Loader {
    fn receive(
        &self,
        images: &[SentImage],
        size: u64,
        send: &mut (dyn FnMut(&mut dyn Write) -> Result<()> + Send),
    ) -> Result<()> {
        let ids = self.load(size, send)?;
        for image in images {
            self.check(image, &ids)?;
        }
        Ok(())
    }
}

/// Says whether an error is that of a pipe whose other end is closed.
fn is_closed_pipe(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return inner.kind() == io::ErrorKind::BrokenPipe;
        }
        source = inner.source();
    }
    false
}

/// The archive as the body of a request: the end of the pipe is an error unless the archive is whole.
struct Archive<'a> {
    pipe: PipeReader,
    whole: &'a AtomicBool,
    work: &'a Work,
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !self.whole.load(Ordering::Acquire) {
            return Err(io::Error::other("the archive is not whole"));
        }
        self.work.advance(count as u64);
        Ok(count)
    }
}
