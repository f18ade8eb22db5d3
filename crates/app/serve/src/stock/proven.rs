//! Files whose bytes were compared with their digest: as long as the metadata of such a file does not
//! change, a part of it is read without reading the rest.

use std::{
    collections::VecDeque,
    fs::File,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_fs::Stamp;
use imgconv_model::Digest;

/// The files that stay open after they were read.
const OPEN_FILES: usize = 64;

/// An open file and its metadata.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// The file.
    pub file: Arc<File>,
    stamp: Stamp,
}

impl Stamped {
    /// Takes the metadata of a file.
    pub(super) fn of(file: File) -> Option<Self> {
        let stamp = Stamp::of_file(&file).ok()?;
        let file = Arc::new(file);
        Some(Self { file, stamp })
    }

    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Says whether the bytes are what they were, as far as the metadata shows.
    pub fn is_unchanged(&self) -> bool {
        Stamp::of_file(&self.file).is_ok_and(|now| now == self.stamp)
    }

    /// Says whether two values are for one file without a change between them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.stamp == other.stamp
    }
}

/// The proven files, the last used first.
#[derive(Debug, Default)]
pub(super) struct Proven {
    files: Mutex<VecDeque<(Digest, Stamped)>>,
}

impl Proven {
    /// Returns the file of a blob, if it was proven and has not changed since.
    pub(super) fn get(&self, digest: &Digest) -> Option<Stamped> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let at = files.iter().position(|(known, _)| known == digest)?;
        let found = files.remove(at)?;
        if !found.1.is_unchanged() {
            return None;
        }
        let file = found.1.clone();
        files.push_front(found);
        Some(file)
    }

    /// Remembers a file whose bytes have the digest.
    pub(super) fn add(&self, digest: Digest, file: Stamped) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(known, _)| *known != digest);
        files.push_front((digest, file));
        files.truncate(OPEN_FILES);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use imgconv_model::Algorithm;

    use super::*;

    #[test]
    fn a_file_that_changes_is_proven_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, "hello").unwrap();
        let digest = Digest::new(Algorithm::Sha256, &[1; 32]);
        let proven = Proven::default();
        assert!(proven.get(&digest).is_none());
        let file = Stamped::of(File::open(&path).unwrap()).unwrap();
        proven.add(digest, file);
        assert_eq!(proven.get(&digest).unwrap().size(), 5);
        fs::write(&path, "longer than it was").unwrap();
        assert!(proven.get(&digest).is_none());
        assert!(proven.get(&digest).is_none());
    }

    #[test]
    fn few_files_stay_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, "hello").unwrap();
        let proven = Proven::default();
        for i in 0..100 {
            let digest = Digest::new(Algorithm::Sha256, &[i; 32]);
            proven.add(digest, Stamped::of(File::open(&path).unwrap()).unwrap());
        }
        assert_eq!(proven.files.lock().unwrap().len(), 64);
        assert!(
            proven
                .get(&Digest::new(Algorithm::Sha256, &[99; 32]))
                .is_some()
        );
        assert!(
            proven
                .get(&Digest::new(Algorithm::Sha256, &[0; 32]))
                .is_none()
        );
    }
}
