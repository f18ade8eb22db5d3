//! Files that the user names: images, keys, certificates, reports. Links in their paths are
//! followed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use imgconv_model::{Code, Error, Limits, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};

use crate::state::Stamp;

/// The seconds that a named pipe may stay without a writer.
const PATIENCE: i64 = 2;

/// Opens a file for reading, without waiting for the other end of a FIFO or for a line of a
/// terminal. Reading from the file does not wait either, see [`set_blocking`].
///
/// # Errors
/// The errors of the file system.
pub fn open_nonblocking(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Lets a file that was opened without waiting wait in reads and writes.
///
/// # Errors
/// The errors of the file system.
pub fn set_blocking(file: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK;
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

/// Opens a regular file for reading, and takes its stamp. Opening a device can have effects, so the
/// path is checked first; the check of the opened descriptor is the one that counts (robustness D2,
/// D3).
///
/// # Errors
/// [`Code::Missing`] if there is no such file, [`Code::Io`] if it is not a regular file or can't be
/// opened. The errors do not name the path.
pub fn open_regular(path: &Path) -> Result<(File, Stamp)> {
    let missing = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            return Error::new(Code::Missing, "no such file");
        }
        Error::from_io(error)
    };
    let irregular = || Error::new(Code::Io, "not a regular file");
    if !std::fs::metadata(path).map_err(missing)?.is_file() {
        return Err(irregular());
    }
    let file = open_nonblocking(path).map_err(missing)?;
    let metadata = file.metadata().map_err(Error::from_io)?;
    match metadata.is_file() {
        true => Ok((file, Stamp::of(&metadata))),
        false => Err(irregular()),
    }
}

/// Opens a file for reading. A named pipe without a writer is an error after two seconds; opening
/// it as a file would wait for ever.
///
/// # Errors
/// The errors of the file system, and [`io::ErrorKind::TimedOut`] for such a pipe.
pub fn open_given(path: &Path) -> io::Result<File> {
    let file = open_nonblocking(path)?;
    if file.metadata()?.file_type().is_fifo() {
        let wait = Timespec {
            tv_sec: PATIENCE,
            tv_nsec: 0,
        };
        let mut ready = [PollFd::new(&file, PollFlags::IN)];
        if poll(&mut ready, Some(&wait))? == 0 {
            let message = "the file is a named pipe, and nobody writes to it";
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
    }
    set_blocking(&file)?;
    Ok(file)
}

/// Reads a file that the user names, with [`open_given`]. `limit` has the name and the value of the
/// limit on its bytes, and `what` is the name of the file in the error of a longer one.
///
/// # Errors
/// [`Code::Io`] if the file can't be read, [`Code::Limit`] if it is too long. The errors do not name
/// the path.
pub fn read_given(path: &Path, limit: (&'static str, u64), what: &str) -> Result<Vec<u8>> {
    let (name, most) = limit;
    let mut bytes = Vec::new();
    open_given(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(Error::from_io)?;
    match bytes.len() as u64 > most {
        true => Err(Limits::exceeded(name, most, what)),
        false => Ok(bytes),
    }
}

/// Opens standard output as a file: without the line buffer of [`io::Stdout`], which would search
/// for line ends in binary data.
///
/// # Errors
/// [`Code::Io`] if there is no descriptor left.
pub fn standard_output() -> Result<File> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned();
    descriptor
        .map(File::from)
        .map_err(|error| Error::io(error, "standard output"))
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn k45_a_pipe_that_nobody_writes_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(
            open_given(&path).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        let to = path.clone();
        let writer = std::thread::spawn(move || fs::write(to, "secret"));
        assert_eq!(
            io::read_to_string(open_given(&path).unwrap()).unwrap(),
            "secret"
        );
        writer.join().unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "plain").unwrap();
        assert_eq!(
            io::read_to_string(open_given(&path).unwrap()).unwrap(),
            "plain"
        );
    }
}
