//! Reading streams that may be endless or silent: the read ends when the run is cancelled.
//!
//! The readers do not interpret the bytes, and set no limit.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
};

use imgconv_model::{Env, Error, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// The longest time until a reader notices that the run was cancelled.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Reads a descriptor and checks the cancel flag while it waits for bytes. A plain read would wait
/// for ever: a signal that sets the flag does not end it (robustness M6, L8).
#[derive(Debug)]
pub struct Interruptible<R> {
    inner: R,
    env: Env,
}

impl<R> Interruptible<R> {
    /// Reads `inner` as long as `env` is not cancelled. `inner` must not buffer bytes.
    pub fn new(inner: R, env: &Env) -> Self {
        let env = env.clone();
        Self { inner, env }
    }
}

impl Interruptible<File> {
    /// Reads standard input without the buffer of [`io::Stdin`], since waiting would not see the
    /// bytes in that buffer.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn standard_input(env: &Env) -> Result<Self> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(|error| Error::io(error, "standard input"))?;
        Ok(Self::new(File::from(descriptor), env))
    }
}

impl<R: Read + AsFd> Read for Interruptible<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            self.env.check_cancelled().map_err(io::Error::from)?;
            let mut wanted = [PollFd::new(&self.inner, PollFlags::IN)];
            match poll(&mut wanted, Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => break,
                Err(error) => return Err(Error::io(error.into(), "standard input").into()),
            }
        }
        self.inner.read(buf)
    }
}

/// Reads as long as the run is not cancelled: for a long pass without another check of the flag.
#[derive(Debug)]
pub struct Cancellable<R> {
    inner: R,
    env: Env,
}

impl<R> Cancellable<R> {
    /// Reads `inner` as long as `env` is not cancelled.
    pub fn new(inner: R, env: &Env) -> Self {
        let env = env.clone();
        Self { inner, env }
    }
}

impl<R: Read> Read for Cancellable<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.env.check_cancelled().map_err(io::Error::from)?;
        self.inner.read(buf)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering, thread, time::Duration};

    use imgconv_model::{Code, Platform};

    use super::*;

    fn env() -> Env {
        Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
    }

    #[test]
    fn what_comes_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let thread = thread::spawn(move || {
            for piece in ["a", "b", ""] {
                thread::sleep(Duration::from_millis(150));
                io::Write::write_all(&mut writer, piece.as_bytes()).unwrap();
            }
        });
        let mut text = String::new();
        let mut reader = Interruptible::new(reader, &env());
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ab");
        thread.join().unwrap();
    }

    #[test]
    fn m6_silence_ends_when_the_run_is_cancelled() {
        let (reader, _writer) = io::pipe().unwrap();
        let env = env();
        let mut reader = Interruptible::new(reader, &env);
        let thread = thread::spawn(move || reader.read(&mut [0; 8]).unwrap_err());
        thread::sleep(Duration::from_millis(200));
        env.cancel.store(true, Ordering::Relaxed);
        let error = Error::from_io(thread.join().unwrap());
        assert_eq!(error.code(), Code::Cancelled);
    }
}
