//! Files by their bytes.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
};

/// The buffer with which files are compared.
const BLOCK: usize = 64 * 1024;

/// Returns true if two files hold the same bytes. Both are read from where they stand; a file that is not
/// regular is equal only to itself.
///
/// # Errors
/// The errors of reading.
pub fn same_bytes(mut a: File, mut b: File) -> io::Result<bool> {
    let inode = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
    if inode(&a)? == inode(&b)? {
        return Ok(true);
    }
    if !a.metadata()?.is_file() || a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut of_a, mut of_b) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let count = a.read(&mut of_a)?;
        if count == 0 {
            // The second file is as long as the first, unless it has grown meanwhile.
            return Ok(b.read(&mut of_b)? == 0);
        }
        match b.read_exact(&mut of_b[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if of_a[..count] != of_b[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_equal_by_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let long = vec![7; BLOCK + 1];
        let mut other = long.clone();
        other[BLOCK] = 8;
        let a = write("a", &long);
        for (bytes, equal) in [(&long[..], true), (&other, false), (&long[..BLOCK], false)] {
            let b = write("b", bytes);
            let both = [&a, &b].map(|path| File::open(path).unwrap());
            let [a, b] = both;
            assert_eq!(same_bytes(a, b).unwrap(), equal, "{}", bytes.len());
        }
        let same = || File::open(&a).unwrap();
        assert!(same_bytes(same(), same()).unwrap());
    }
}
