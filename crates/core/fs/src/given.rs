//! Files that the user names beside the image: keys, certificates, reports.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};

/// Seconds that a named pipe may have nobody who writes to it.
const PATIENCE: i64 = 2;

/// Opens a file for reading. A named pipe to which nobody writes is an error after two seconds, where
/// opening it as a file would wait for ever.
///
/// # Errors
/// Those of the file system, and [`io::ErrorKind::TimedOut`] for such a pipe.
pub fn open_given(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
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
    let blocking = rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&file, blocking)?;
    Ok(file)
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
