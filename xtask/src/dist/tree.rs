//! Files in memory, and the tar of them: sorted, with the directories above them, owned by root.

use std::collections::BTreeMap;

use imgconv_testkit::{Item, build, recipe};
use libdeflater::{CompressionLvl, Compressor};

use crate::process::Result;

/// Files and empty directories by their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<String, (u32, Option<Vec<u8>>)>);

impl Tree {
    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.0.insert(path.to_owned(), (mode, Some(bytes.into())));
    }

    /// Adds a directory; those that only hold files need no call.
    pub(super) fn directory(&mut self, path: &str, mode: u32) {
        self.0.insert(path.to_owned(), (mode, None));
    }

    /// Adds all files of another tree below a directory.
    pub(super) fn add(&mut self, below: &str, other: &Self) {
        for (path, entry) in &other.0 {
            self.0.insert(format!("{below}/{path}"), entry.clone());
        }
    }

    /// All files, sorted by path: path, mode, content.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u32, &[u8])> {
        let entries = self.0.iter();
        entries.filter_map(|(path, (mode, bytes))| Some((&**path, *mode, bytes.as_deref()?)))
    }

    /// Writes a tar; each name begins with `prefix`.
    ///
    /// # Errors
    /// A path has a character that a recipe of the testkit can't hold.
    pub(super) fn tar(&self, prefix: &str, epoch: u64) -> Result<Vec<u8>> {
        let mut all = self.0.clone();
        for path in self.0.keys() {
            for (slash, _) in path.match_indices('/') {
                all.entry(path[..slash].to_owned()).or_insert((0o755, None));
            }
        }
        let mut items = Vec::new();
        for (path, (mode, bytes)) in all {
            let kind = if bytes.is_some() { "file" } else { "dir" };
            let line = format!("{kind} {path} {mode:04o} 0:0 @{epoch}");
            let parsed = recipe::parse(&line, "release").map_err(|e| e.to_string())?;
            items.extend(parsed.into_iter().map(|mut item: Item| {
                item.body = bytes.clone().unwrap_or_default();
                item.entry.size = item.body.len() as u64;
                item.entry.path.splice(0..0, prefix.bytes());
                item
            }));
        }
        build::tar_bytes(&items).map_err(|e| e.to_string())
    }
}

/// Compresses to one gzip member without a name and a time.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressor = Compressor::new(CompressionLvl::best());
    let mut out = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut out);
    out.truncate(length.map_err(|e| e.to_string())?);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_below_their_directories() {
        let mut tree = Tree::default();
        tree.file("b/c/d", 0o755, "x");
        tree.directory("b", 0o1777);
        tree.file("a", 0o644, "");
        let tar = tree.tar("./", 7).unwrap();
        let lines = imgconv_testkit::dump::tar_lines(&mut &tar[..], "tar").unwrap();
        let wanted = [
            "file ./a 0644 0:0 @7 \"\"",
            "dir ./b 1777 0:0 @7",
            "dir ./b/c 0755 0:0 @7",
            "file ./b/c/d 0755 0:0 @7 \"x\"",
        ];
        assert_eq!(lines, wanted);
    }
}
