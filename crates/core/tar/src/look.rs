//! Names of members for recognising a file, before anything is checked.

use std::{io::Read, iter, ops::ControlFlow, path::Path};

use imgconv_fs::{open_regular, or_nothing};
use imgconv_model::{Error, Limits, Notes, Result, quote_path};
use imgconv_stream::Decoder;

use crate::{archive::normalise, failed::Failed, frame::Reader};

/// Calls `each` with the names of the members within the first `prefix` bytes of a tar, which may
/// be compressed, until `each` breaks; returns the value of the break. An error of the bytes ends the
/// search without a report. A tar whose first member can't be read is searched by [`names_of_headers`], so
/// that the caller opens the file and finds the error there. `None` for anything but a regular file.
///
/// # Errors
/// With the path, if a call of the system failed.
pub fn look<T>(
    path: &Path,
    prefix: u64,
    each: &mut dyn FnMut(&str) -> ControlFlow<T>,
) -> Result<Option<T>> {
    let failed = Failed::default();
    match (search(path, prefix, each, &failed), failed.check()) {
        (None, Err(error)) => Err(Error::io(error, quote_path(path))),
        (found, _) => Ok(found),
    }
}

fn search<T>(
    path: &Path,
    prefix: u64,
    each: &mut dyn FnMut(&str) -> ControlFlow<T>,
    failed: &Failed,
) -> Option<T> {
    let (limits, notes) = (Limits::default(), Notes::default());
    let start = || {
        let opened = or_nothing(open_regular(path).map(Some));
        let opened = opened.inspect_err(|error| failed.note(error.cause()));
        let (file, _) = opened.ok()??;
        let file = failed.watch(Box::new(file));
        let decoder = Decoder::new(file, &limits, &notes, "archive").ok()?;
        Some(decoder.take(prefix))
    };
    let mut tell = |path: &[u8]| match normalise(path) {
        Ok(Some(name)) => each(&name),
        _ => ControlFlow::Continue(()),
    };
    let mut tar = Reader::new(start()?, &limits, &notes, "archive");
    let mut next = tar.next_entry();
    if next.is_err() {
        let mut bytes = Vec::new();
        // A compressed file may end with an error: the bytes before the error count.
        let _ = start()?.read_to_end(&mut bytes);
        return names_of_headers(header_in(&bytes)).find_map(|name| tell(&name).break_value());
    }
    // The end of the prefix looks like a truncated archive, which ends the search as well.
    while let Ok(Some(entry)) = next {
        if let ControlFlow::Break(found) = tell(&entry.path) {
            return Some(found);
        }
        next = tar.next_entry();
    }
    None
}

/// Returns the names in the headers of a tar, from header to header by their sizes. Nothing is checked, and the
/// headers of extensions count as members. `read` returns the 512 bytes at an offset, if there are as many.
pub fn names_of_headers(
    mut read: impl FnMut(u64) -> Option<[u8; 512]>,
) -> impl Iterator<Item = Vec<u8>> {
    let mut offset = Some(0u64);
    iter::from_fn(move || {
        let here = offset.take()?;
        let header = read(here)?;
        let end = header[..100].iter().position(|byte| *byte == 0);
        let name = &header[..end.unwrap_or(100)];
        let size = std::str::from_utf8(&header[124..136]).ok();
        let size =
            size.and_then(|text| u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok());
        offset = size
            .and_then(|size| size.checked_next_multiple_of(512))
            .and_then(|size| here.checked_add(size.checked_add(512)?));
        (!name.is_empty()).then(|| name.to_vec())
    })
}

/// Returns the function that [`names_of_headers`] reads the start of a tar with.
pub fn header_in(bytes: &[u8]) -> impl FnMut(u64) -> Option<[u8; 512]> {
    move |offset| {
        let start = usize::try_from(offset).ok()?;
        bytes.get(start..)?.first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_and_any_other_answer_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("short"), "no tar").unwrap();
        fs::write(at("zeros"), [0; 2048]).unwrap();
        fs::write(at("gzip"), [0x1f, 0x8b, 8, 0, 0]).unwrap();
        let mut any = |_: &str| ControlFlow::Break(());
        for path in [
            at("short"),
            at("zeros"),
            at("gzip"),
            at("missing"),
            at("short/below"),
            folder.path().to_owned(),
            "/dev/null".into(),
        ] {
            let found = look(&path, 1 << 20, &mut any).unwrap();
            assert!(found.is_none(), "{}", path.display());
        }
        // A file that is there, opens, and can't be read.
        let error = look(Path::new("/proc/self/mem"), 1 << 20, &mut any);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("/proc/self/mem\": Input/output error"),
            "{error}"
        );
    }
}
