//! `--no-squash`: an image of several layers as ACIs that depend on each other.

use std::{io::Read, sync::Arc};

use imgconv_format_aci::stack::{Snapshot, link, set_whitelist, split};
use imgconv_layer::{ContentStore, Discard, Semantics, Spool, Tree};
use imgconv_model::{Digest, Env, Image, Report, Result};
use imgconv_pipeline::{Merged, apply, squash_above};

use super::users::group_of_user;
use crate::assemble::{
    output::{Item, squash_layers},
    stream::WrittenStream,
};

/// Writes one level of a stack: its image, the group of its user, and whether it is the top.
type WriteLevel<'w> =
    &'w mut dyn FnMut(&Image, Option<u32>, Report) -> Result<(Item, WrittenStream)>;

/// Writes an image as one ACI for each layer, base first; layers from `squash_from` on are merged
/// first. The losses of the image, `report`, are reported with the top ACI.
///
/// The layers are read twice: once to keep the contents of all files, and once to see, layer by
/// layer, what each of them changes.
///
/// # Errors
/// If a layer can't be read, or an ACI can't be written.
pub(super) fn write(
    mut image: Image,
    squash_from: Option<usize>,
    semantics: Semantics,
    (report, env): (&Report, &Env),
    write_level: WriteLevel<'_>,
) -> Result<Vec<Item>> {
    if let Some(from) = squash_from {
        let merged = squash_above(&image.layers, from, semantics, env)?.into_layer();
        squash_layers(&mut image, from, merged);
    }
    let image = &image;
    let mut levels = split(image, &env.limits)?;
    let top = levels.len() - 1;
    let mut items = Vec::with_capacity(levels.len());
    let mut spool = Spool::new(env)?;
    let mut copied = Copied(&mut spool);
    let whole = imgconv_pipeline::merge(&image.layers, semantics, &mut copied, env)?;
    // ACIs that depend on each other are merged where they run.
    imgconv_pipeline::refuse_windows(&whole, 0)?;
    drop(whole);
    let contents = spool.freeze()?;
    let mut tree = Tree::new(env);
    let mut keys = Keys::default();
    let mut below: Option<(Image, Digest)> = None;
    for (i, level) in levels.iter_mut().enumerate() {
        let before = Snapshot::of(&tree);
        apply(&mut tree, &image.layers, i, semantics, &mut keys, env)?;
        let changes = before.changes(&tree);
        if changes.deletes {
            set_whitelist(level, &tree)?;
        }
        if let Some((lower, image_id)) = &below {
            link(level, lower, image_id)?;
        }
        let mut own = tree.clone();
        own.retain(&changes.paths);
        let merged = Merged {
            tree: Arc::new(own),
            contents: Arc::clone(&contents),
        };
        level.layers = vec![merged.into_layer()];
        let mut report = match i == top {
            true => report.clone(),
            false => Report::default(),
        };
        // The user is looked up in the whole root file system, which the top level has.
        let whole = Merged {
            tree: Arc::new(tree),
            contents: Arc::clone(&contents),
        };
        let group = group_of_user(level, &whole, env, &mut report)?;
        tree = Arc::unwrap_or_clone(whole.tree);
        let (item, written) = write_level(level, group, report)?;
        items.push(item);
        below = Some((level.clone(), written.image_id));
    }
    Ok(items)
}

/// Copies every body, including those that a spool would leave where they are: keys are then
/// offsets in the copy, which [`Keys`] can count.
struct Copied<'a>(&'a mut Spool);

impl ContentStore for Copied<'_> {
    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        self.0.put(body, size)
    }
}

/// Gives every body the key that a spool gave it, in the same order.
#[derive(Debug, Default)]
struct Keys {
    next: u64,
}

impl ContentStore for Keys {
    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        Discard.put(body, size)?;
        let key = self.next;
        self.next += size;
        Ok(key)
    }
}
