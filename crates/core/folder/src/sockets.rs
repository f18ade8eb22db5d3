//! The report of sockets, which no tar can hold.

use imgconv_model::{Notes, Outcome};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};

use crate::{
    entry::{below, place},
    folder::Folder,
};

impl Folder {
    /// Looks for sockets in the whole folder, and reports them as one loss. A directory that can't be
    /// read is passed over: reading the tar gives its error.
    pub fn report_sockets(&self, notes: &Notes) {
        let mut directories = vec![Vec::new()];
        let (mut entries, mut count) = (0, 0_u64);
        let mut first: Option<Vec<u8>> = None;
        while let Some(directory) = directories.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let Ok(opened) = below(&self.root, &directory, flags) else {
                continue;
            };
            for entry in Dir::read_from(&opened).into_iter().flatten().flatten() {
                let name = entry.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                entries += 1;
                if entries > self.limits.entries {
                    return;
                }
                let path = match &directory[..] {
                    b"" => name.to_vec(),
                    parent => [parent, b"/", name].concat(),
                };
                let kind = match entry.file_type() {
                    FileType::Unknown => {
                        let stat = statat(&opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                        stat.map(|stat| FileType::from_raw_mode(stat.st_mode))
                    }
                    kind => Ok(kind),
                };
                match kind {
                    Ok(FileType::Directory) if path.len() as u64 <= self.limits.path => {
                        directories.push(path);
                    }
                    Ok(FileType::Socket) => {
                        count += 1;
                        // The order of a directory is not that of the names.
                        if first.as_ref().is_none_or(|first| path < *first) {
                            first = Some(path);
                        }
                    }
                    _ => {}
                }
            }
        }
        if let Some(first) = first {
            let (what, first) = (&self.what, place(&first));
            let why = format!("a layer holds no sockets, and {what} has {count}, such as {first}");
            notes.lose("sockets", Outcome::Dropped, why);
        }
    }
}
