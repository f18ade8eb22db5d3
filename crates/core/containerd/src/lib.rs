//! The root directory of containerd, read only: a place of its own, and a part of the data root of a
//! docker engine that uses containerd's image store.
//!
//! Facts from containerd's `plugins/content/local` and `core/metadata/buckets.go`, the same from
//! containerd 1.2 to 2.1:
//!
//! - `io.containerd.content.v1.content/blobs/ALGORITHM/HEX` are documents and layers, as a registry
//!   served them.
//! - `io.containerd.metadata.v1.bolt/meta.db` is a bbolt database. Its bucket `v1` has a bucket for
//!   each namespace (`default`, `k8s.io`, `moby`, …); the bucket `images` of a namespace has a
//!   bucket for each name; and the bucket `target` of a name is the descriptor: `digest`,
//!   `mediatype`, and `size` as a signed varint.
//!
//! Every blob is verified by its digest whenever it is read. Layers that containerd deleted after
//! it extracted them (`discard_unpacked_layers`) are missing, and can be made anew from snapshots.

#![deny(missing_docs)]

mod held;
mod names;
mod paths;
mod read;
mod snapshots;
mod varint;

pub use read::Store;
