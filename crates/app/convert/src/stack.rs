//! `--no-squash`: an image of several layers as ACIs that depend on each other.

use std::{io::Read, sync::Arc};

use imgconv_format_aci::stack::{Snapshot, link, set_whitelist, split};
use imgconv_layer::{ContentStore, Discard, Spool, Tree};
use imgconv_model::{Digest, Env, Image, Report, Result};
use imgconv_pipeline::{Merged, apply, squash_above};

use crate::{
    run::{Item, Run, nothing, squash_layers},
    source::ImageNode,
    stream::semantics,
    users::group_of_user,
};

/// Writes an image as one ACI for each layer, base first. The losses are told with the top one.
///
/// The layers are read twice: once to keep the contents of all files, and once to see, layer by
/// layer, what each of them changes.
pub(crate) fn unsquashed(
    run: &Run<'_>,
    node: &ImageNode,
    image: &Image,
    report: Report,
) -> Result<Vec<Item>> {
    let env = &Env {
        notes: node.notes.clone(),
        ..run.env.clone()
    };
    let mut image = image.clone();
    image.layers = run.clamped(&image.layers, env)?;
    let squash = run.options.layers.squash;
    if let Some(from) = squash.and_then(|squash| squash.from(image.layers.len())) {
        let merged = match run.destination {
            Some(_) => squash_above(&image.layers, from, semantics(node), env)?.into_layer(),
            None => nothing(),
        };
        squash_layers(&mut image, from, merged);
    }
    let image = &image;
    let mut levels = split(image, &env.limits)?;
    let top = levels.len() - 1;
    let mut items = Vec::with_capacity(levels.len());
    if run.destination.is_none() {
        for (i, level) in levels.iter().enumerate() {
            let report = if i == top {
                report.clone()
            } else {
                Report::default()
            };
            let mut item = run.one(node, level, None, report)?;
            for image in &mut item.images {
                image.plan = Some(format!("an ACI of layer {i}"));
            }
            items.push(item);
        }
        return Ok(items);
    }
    let mut spool = Spool::new(env)?;
    let mut copied = Copied(&mut spool);
    let whole = imgconv_pipeline::merge(&image.layers, semantics(node), &mut copied, env)?;
    // ACIs that depend on each other are merged where they run.
    imgconv_pipeline::refuse_windows(&whole, 0)?;
    drop(whole);
    let contents = spool.freeze()?;
    let mut tree = Tree::new(env);
    let mut keys = Keys::default();
    let mut below: Option<(Image, Digest)> = None;
    for (i, level) in levels.iter_mut().enumerate() {
        let before = Snapshot::of(&tree);
        apply(&mut tree, &image.layers, i, semantics(node), &mut keys, env)?;
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
        let mut report = if i == top {
            report.clone()
        } else {
            Report::default()
        };
        // The user is that of the whole root file system, which the top level has.
        let whole = Merged {
            tree: Arc::new(tree),
            contents: Arc::clone(&contents),
        };
        let group = group_of_user(level, &whole, env, &mut report)?;
        tree = Arc::unwrap_or_clone(whole.tree);
        let (item, image_id) = run.one_with_id(node, level, group, report)?;
        items.push(item);
        below = image_id.map(|id| (level.clone(), id));
    }
    Ok(items)
}

/// Copies every body, those too that a spool would leave where they are: keys are then offsets in
/// the copy, which [`Keys`] can count.
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
