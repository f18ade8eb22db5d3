//! A walk from directory to directory of a tree by descriptor, whatever the depth.
//!
//! A path of 10 000 components is possible, 10 000 open files are not: only the deepest directories
//! of the current path stay open, and one in every [`STRIDE`] as a place to start again from.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use imgconv_fs::open_directory_at;

/// The number of the deepest directories that stay open.
const RECENT: usize = 32;
/// The number of components between two directories that always stay open.
const STRIDE: usize = 1024;
/// The most directories that always stay open.
const MARKS: usize = 32;

/// A position in a tree of directories.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    top: BorrowedFd<'a>,
    /// The current directory, relative to `top`, and the end of each of its components.
    path: Vec<u8>,
    ends: Vec<usize>,
    /// The deepest open directories with their depths; the depth of `top` is 0.
    recent: VecDeque<(usize, OwnedFd)>,
    /// The directories at depth `STRIDE`, 2 × `STRIDE`, and so on.
    marks: Vec<OwnedFd>,
}

impl<'a> Walker<'a> {
    /// Starts at `top`.
    pub(crate) fn new(top: BorrowedFd<'a>) -> Self {
        Self {
            top,
            path: Vec::new(),
            ends: Vec::new(),
            recent: VecDeque::new(),
            marks: Vec::new(),
        }
    }

    /// Goes to a directory, given by its cleaned path, and returns its descriptor. Every component
    /// is opened without following links.
    pub(crate) fn enter(&mut self, directory: &[u8]) -> io::Result<BorrowedFd<'_>> {
        self.leave_to(self.shared_depth(directory));
        let known = self.ends.last().copied().unwrap_or(0);
        self.path.truncate(known);
        self.path.extend_from_slice(&directory[known..]);
        let mut start = if known == 0 { 0 } else { known + 1 };
        while start < directory.len() {
            let length = directory[start..].iter().position(|&byte| byte == b'/');
            let end = length.map_or(directory.len(), |length| start + length);
            self.ends.push(end);
            start = end + 1;
        }
        let (mut depth, _) = self.deepest();
        while depth < self.ends.len() {
            let start = if depth == 0 {
                0
            } else {
                self.ends[depth - 1] + 1
            };
            let (_, parent) = self.deepest();
            let child = open_directory_at(parent, &self.path[start..self.ends[depth]])?;
            depth += 1;
            self.keep(depth, child);
        }
        Ok(self.deepest().1)
    }

    /// Returns the number of leading components that the current directory shares with another.
    fn shared_depth(&self, directory: &[u8]) -> usize {
        let same = self.path.iter().zip(directory).take_while(|(a, b)| a == b);
        let same = same.count();
        self.ends.partition_point(|&end| {
            end < same || end == same && directory.get(end).is_none_or(|&byte| byte == b'/')
        })
    }

    fn leave_to(&mut self, depth: usize) {
        self.ends.truncate(depth);
        while self.recent.back().is_some_and(|(at, _)| *at > depth) {
            self.recent.pop_back();
        }
        self.marks.truncate(depth / STRIDE);
    }

    fn keep(&mut self, depth: usize, directory: OwnedFd) {
        if depth == (self.marks.len() + 1) * STRIDE && self.marks.len() < MARKS {
            self.marks.push(directory);
            return;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((depth, directory));
    }

    /// Returns the deepest open directory of the current path, with its depth.
    fn deepest(&self) -> (usize, BorrowedFd<'_>) {
        let marked = self.marks.len() * STRIDE;
        match (self.recent.back(), self.marks.last()) {
            (Some((depth, directory)), _) if *depth > marked => (*depth, directory.as_fd()),
            (_, Some(directory)) => (marked, directory.as_fd()),
            _ => (0, self.top),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::MetadataExt};

    use rustix::fs::{Mode, fstat, mkdirat};

    use super::*;

    fn inode(descriptor: BorrowedFd<'_>) -> u64 {
        fstat(descriptor).unwrap().st_ino
    }

    #[test]
    fn it_arrives_from_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["", "a", "a/b", "a/b/c", "a-b", "a-b/b", "ab", "b"];
        for path in &paths[1..] {
            std::fs::create_dir(dir.path().join(path)).unwrap();
        }
        let top = File::open(dir.path()).unwrap();
        let mut walker = Walker::new(top.as_fd());
        for from in paths {
            for to in paths {
                walker.enter(from.as_bytes()).unwrap();
                let found = inode(walker.enter(to.as_bytes()).unwrap());
                let expected = dir.path().join(to).metadata().unwrap().ino();
                assert_eq!(found, expected, "from {from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_link_is_not_entered_and_the_walker_stays_usable() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("l")).unwrap();
        let top = File::open(dir.path()).unwrap();
        let mut walker = Walker::new(top.as_fd());
        assert!(walker.enter(b"l").is_err());
        assert!(walker.enter(b"l/x").is_err());
        walker.enter(b"a").unwrap();
    }

    #[test]
    fn three_thousand_levels_need_few_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let top = File::open(dir.path()).unwrap();
        let mut walker = Walker::new(top.as_fd());
        let (mut path, mut inodes) = (Vec::new(), vec![inode(top.as_fd())]);
        for _ in 0..3000 {
            mkdirat(walker.enter(&path).unwrap(), &b"d"[..], Mode::RWXU).unwrap();
            path.extend_from_slice(if path.is_empty() { b"d" } else { b"/d" });
            inodes.push(inode(walker.enter(&path).unwrap()));
            assert!(walker.recent.len() + walker.marks.len() <= RECENT + MARKS);
        }
        for depth in (0..=3000).rev().chain([3000, 5, 2900, 1024, 2048, 0]) {
            let length = if depth == 0 { 0 } else { depth * 2 - 1 };
            let found = inode(walker.enter(&path[..length]).unwrap());
            assert_eq!(found, inodes[depth], "depth {depth}");
        }
        imgconv_fs::remove_contents(&top, b"").unwrap();
    }
}
