//! A bbolt database (`go.etcd.io/bbolt`), read only: containerd keeps the names of its images in
//! such a file.
//!
//! Facts from bbolt's `internal/common` (page.go, meta.go, bucket.go). The file is an array of
//! pages of one size; integers are little-endian.
//!
//! - Every page begins with 16 bytes: its number (8), its flags (2: branch 1, leaf 2, meta 4,
//!   free list 16), its number of elements (2), and how many further pages it covers (4).
//! - Pages 0 and 1 are meta pages: magic `0xED0CDAED` (4), version 2 (4), the page size (4), flags
//!   (4), the root bucket (its root page 8, a sequence 8), the free list (8), the number of pages
//!   (8), the transaction (8), and an FNV-1a checksum of the bytes before (8). The valid one with
//!   the higher transaction counts.
//! - An element of a branch has the distance to its key (4), the length of the key (4) and the
//!   number of a page (8). An element of a leaf has flags (4; 1 means that the value is a bucket),
//!   the distance to its key (4), and the lengths of the key (4) and of the value behind the key
//!   (4).
//! - The value of a bucket is its root page (8) and a sequence (8). If the root page is 0, the page
//!   follows in the value itself.
//!
//! The file is hostile. A walk through a bucket reads a page only once, so a walk ends; all walks
//! together read at most [`MAX_READS`] times the bytes of the file. One page is held in memory at a
//! time. No lock is taken: an engine that writes meanwhile can make a walk fail, but can't make it
//! read outside.

#![deny(missing_docs)]

mod damage;
mod database;
mod meta;
mod page;
mod walk;

pub use database::{Database, MAX_PAGE, MAX_READS};
pub use walk::{Bucket, Item};
