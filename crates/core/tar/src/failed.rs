//! Errors of the system that are met while the first bytes of a file decide what the file is.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use imgconv_model::Reader;

/// The first error of the system behind readers whose other errors are answers: an early end of the
/// bytes says that a file is no tar, a failed call says nothing.
#[derive(Clone, Debug, Default)]
pub struct Failed(Arc<AtomicI32>);

impl Failed {
    /// Returns a reader that notes its errors.
    pub fn watch(&self, inner: Reader) -> Reader {
        let failed = self.clone();
        Box::new(Watched { inner, failed })
    }

    /// Notes an error, if it is one of the system.
    pub fn note(&self, error: Option<&io::Error>) {
        let interrupted = |error: &&io::Error| error.kind() == io::ErrorKind::Interrupted;
        let error = error.filter(|error| !interrupted(error));
        if let Some(code) = error.and_then(io::Error::raw_os_error) {
            let _ = (self.0).compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Returns the noted error, if there is one.
    ///
    /// # Errors
    /// The noted error.
    pub fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

struct Watched {
    inner: Reader,
    failed: Failed,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        read.inspect_err(|error| self.failed.note(Some(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn errors_of_the_system_are_noted_and_others_are_not() {
        let failed = Failed::default();
        let mut short = failed.watch(Box::new(&b"short"[..]));
        assert!(short.read_exact(&mut [0; 8]).is_err());
        failed.note(Some(&io::ErrorKind::Interrupted.into()));
        failed.note(None);
        failed.check().unwrap();
        // A directory can be opened, and not read as a file.
        let mut folder = failed.watch(Box::new(File::open("/").unwrap()));
        let error = folder.read(&mut [0; 8]).unwrap_err();
        failed.note(Some(&io::Error::from_raw_os_error(1)));
        let noted = failed.check().unwrap_err();
        assert_eq!(noted.raw_os_error(), error.raw_os_error());
    }
}
