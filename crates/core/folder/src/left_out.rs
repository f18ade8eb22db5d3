//! The report of sockets, which no tar can hold, and of attributes that do not belong to an image.

use imgconv_model::{Notes, Outcome, quote};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};

use crate::{
    entry::{Found, below, place},
    folder::{Folder, Marks},
};

impl Folder {
    /// Looks for sockets in the whole folder, and reports them as one loss; so are the extended attributes of a root
    /// file system that are left out. A file that can't be read is passed over: reading the tar gives its error.
    pub fn report_left_out(&self, notes: &Notes) {
        let mut attributes = Attributes::default();
        if self.marks == Marks::None {
            attributes.look(self, b"");
        }
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
                if self.marks == Marks::None {
                    attributes.look(self, &path);
                }
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
        attributes.report(&self.what, notes);
    }
}

/// The extended attributes that are left out.
#[derive(Default)]
struct Attributes {
    count: u64,
    /// The first file by its path, and its first attribute.
    first: Option<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    fn look(&mut self, folder: &Folder, path: &[u8]) {
        let found = Found::locate(&folder.root, path).and_then(|found| found.left_out());
        for name in found.unwrap_or_default() {
            self.count += 1;
            let one = (path.to_vec(), name);
            if self.first.as_ref().is_none_or(|first| one < *first) {
                self.first = Some(one);
            }
        }
    }

    fn report(self, what: &str, notes: &Notes) {
        let Some((path, name)) = self.first else {
            return;
        };
        let why = format!(
            "of a folder's attributes only `user.*` and `security.capability` are read; {what} has others ({}), such \
             as {} of {}",
            self.count,
            quote(name),
            place(&path)
        );
        notes.lose("xattrs", Outcome::Dropped, why);
    }
}
