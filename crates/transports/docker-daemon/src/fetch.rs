//! Fetching an archive of images from an engine into the temporary directory.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    sync::{Arc, atomic::Ordering},
};

use imgconv_fs::{Stage, sweep};
use imgconv_json::Value;
use imgconv_model::{Bundle, Code, Env, Error, Event, Limits, Result, quote, quote_path};
use imgconv_transport_docker_archive::open_copy;

use crate::api::{Engine, error_in};

/// The number of bytes of one read.
const BLOCK: usize = 256 << 10;
/// The bytes at the end of an archive in which the message of a failed engine is looked for.
const TAIL: usize = 16 << 10;

/// An archive that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The private directory of the copy, which is removed when this value is dropped.
    _stage: Arc<Stage>,
    /// The archive.
    pub(crate) bundle: Arc<dyn Bundle>,
}

/// Fetches images as one archive. `what` describes them for messages, and `size` is the number of
/// bytes that they take in the engine.
///
/// # Errors
/// The errors of the engine; [`Code::Net`] if the engine broke off; the errors of an archive.
pub(crate) fn fetch(
    engine: &Engine,
    names: &[String],
    (locator, size): (&str, u64),
    env: &Env,
) -> Result<Fetched> {
    sweep(&env.tmpdir, Stage::PREFIX, env);
    let stage = Stage::new(&env.tmpdir, Stage::PREFIX, false)?;
    let (mut file, name) = stage.file()?;
    let id = env.next_id.fetch_add(1, Ordering::Relaxed);
    let what = match names {
        [one] => format!("{} from the engine", quote(one)),
        several => format!("{} images from the engine", several.len()),
    };
    env.progress.event(Event::Begin {
        id,
        what: &what,
        bytes: Some(size).filter(|size| *size > 0),
    });
    let copied = copy(engine, names, &mut file, id, env);
    env.progress.event(Event::End { id });
    copied?;
    let read = stage.open(&name)?;
    if let Some(message) = failure_at_end(&read, &env.limits) {
        let message = format!("the engine broke off the archive: {}", quote(message));
        return Err(engine.place(Error::new(Code::Net, message)));
    }
    let path = stage.path().join(&name);
    let text = path.to_str().ok_or_else(|| {
        let message = "the path of the temporary directory is not UTF-8";
        Error::new(Code::BadName, message).at(quote_path(&path))
    })?;
    let opened = open_copy(text, locator, env);
    let bundle =
        opened.map_err(|error| engine.place(error.at("the archive that the engine sent")))?;
    Ok(Fetched {
        _stage: stage,
        bundle: Arc::from(bundle),
    })
}

/// Copies the archive to a file.
fn copy(
    engine: &Engine,
    names: &[String],
    file: &mut std::fs::File,
    id: u64,
    env: &Env,
) -> Result<()> {
    let count = names.len().max(1) as u64;
    let limit = env.limits.image_bytes.saturating_mul(count);
    let mut body = engine.save(names)?.into_reader();
    let mut buffer = vec![0; BLOCK];
    let mut size = 0u64;
    loop {
        env.check_cancelled()?;
        let count = match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(engine.place(Error::from_io(error))),
        };
        size += count as u64;
        if size > limit {
            let what = "the archive that the engine sends";
            return Err(engine.place(Limits::exceeded("image_bytes", limit, what)));
        }
        let written = file.write_all(&buffer[..count]);
        written.map_err(|error| {
            Error::io(
                error,
                format!("temporary directory {}", quote_path(&env.tmpdir)),
            )
        })?;
        env.progress.event(Event::Advance {
            id,
            bytes: count as u64,
        });
    }
}

/// Finds the message of an engine that failed after it had begun to send: docker appends a line of
/// JSON to the archive and ends the answer as if all were well.
fn failure_at_end(file: &std::fs::File, limits: &Limits) -> Option<String> {
    let size = file.metadata().ok()?.len();
    let start = size.saturating_sub(TAIL as u64);
    let mut tail = vec![0; TAIL];
    let count = file.read_at(&mut tail, start).ok()?;
    let tail = tail[..count].trim_ascii_end();
    let begins = |at: &usize| tail[*at..].starts_with(b"{\"error");
    let at = (0..tail.len()).rev().filter(begins).last()?;
    let line = tail[at..].split(|byte| *byte == b'\n').next()?;
    let value: Value = imgconv_json::parse(line.trim_ascii(), limits, "line").ok()?;
    error_in(&value)
}
