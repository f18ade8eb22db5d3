//! The extracted files of layers: the snapshots of the snapshotter `overlayfs`.
//!
//! Facts from containerd's `core/snapshots/storage/bolt.go` and `core/metadata/snapshot.go`:
//! `io.containerd.snapshotter.v1.overlayfs/metadata.db` is a bbolt database. Its bucket `v1` has the
//! bucket `snapshots` with a bucket for each key, `NAMESPACE/NUMBER/NAME`. The name of the snapshot
//! of a layer is its chain ID. In that bucket are `id`, an unsigned varint, and `kind`, one byte: 3
//! for a snapshot that is not written any more. `snapshots/ID/fs` has the files of that layer alone,
//! with the marks of overlay.

use std::{collections::BTreeMap, fs::File, sync::Arc};

use imgconv_bolt::{Database, Item};
use imgconv_folder::{Folder, Marks};
use imgconv_fs::Directory;
use imgconv_model::{Algorithm, Blob, Digest, Facts, Limits, Notes, Result};
use imgconv_stream::digest;

use crate::varint::varint;

/// The folder of the snapshotter.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.overlayfs";
/// The kind of a snapshot that is complete.
const COMMITTED: u8 = 3;

/// The path of the database.
pub(crate) fn database() -> String {
    format!("{SNAPSHOTTER}/metadata.db")
}

/// The snapshots of layers by their chain IDs.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(BTreeMap<Digest, u64>);

/// Reads the database of the snapshotter.
pub(crate) fn read(file: File, limits: &Limits) -> Result<Snapshots> {
    let database = Database::open(file)?;
    let mut found = BTreeMap::new();
    let Some(version) = database.root().bucket(b"v1")? else {
        return Ok(Snapshots::default());
    };
    let Some(snapshots) = version.bucket(b"snapshots")? else {
        return Ok(Snapshots::default());
    };
    snapshots.each(|key, item| {
        let Item::Bucket(bucket) = item else {
            return Ok(());
        };
        let name = key.rsplit(|byte| *byte == b'/').next().unwrap_or(key);
        let chain_id = std::str::from_utf8(name).ok();
        let Some(chain_id) = chain_id.and_then(|text| Digest::parse(text).ok()) else {
            return Ok(());
        };
        let (mut id, mut kind) = (None, None);
        bucket.each(|key, item| {
            match (key, item) {
                (b"id", Item::Value(value)) => id = varint(&value),
                (b"kind", Item::Value(value)) => kind = value.first().copied(),
                _ => {}
            }
            Ok(())
        })?;
        if let Some(id) = id.filter(|_| kind == Some(COMMITTED)) {
            // The layer of an image is the same in every namespace.
            found.entry(chain_id).or_insert(id);
        }
        if found.len() as u64 > limits.graph_nodes {
            let what = "the number of snapshots";
            return Err(Limits::exceeded("graph_nodes", limits.graph_nodes, what));
        }
        Ok(())
    })?;
    Ok(Snapshots(found))
}

impl Snapshots {
    /// Makes the tar of a layer anew; `None` if no snapshot has its files.
    pub(crate) fn remake(
        &self,
        root: &Directory,
        diff_ids: &[Digest],
        limits: &Limits,
        notes: &Notes,
    ) -> Result<Option<Blob>> {
        let chain_id = diff_ids.iter().copied().reduce(|parent, diff_id| {
            digest(Algorithm::Sha256, format!("{parent} {diff_id}").as_bytes())
        });
        let Some((chain_id, id)) = chain_id.and_then(|id| Some((id, self.0.get(&id)?))) else {
            return Ok(None);
        };
        let Some(files) = root.directory(&format!("{SNAPSHOTTER}/snapshots/{id}/fs"))? else {
            return Ok(None);
        };
        let folder = Folder {
            root: Arc::new(files),
            marks: Marks::Overlay,
            below: None,
            names_root: false,
            limits: *limits,
            what: format!("snapshot {id} of the layer {chain_id}"),
        };
        folder.report_left_out(notes);
        Ok(Some(Blob {
            facts: Facts::default(),
            bytes: Arc::new(folder),
        }))
    }
}
