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
        own.retain_changes(&changes.paths);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use imgconv_format_aci::FORMAT;
    use imgconv_model::{Algorithm, Child, Layer, Name, Platform, Publication};
    use imgconv_pipeline::{clamp, listed, merge};
    use imgconv_tar::{END, Entry, EntryKind, Time, head};

    use super::*;

    fn env() -> Env {
        Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
    }

    /// A layer of empty files, `NAME/` (a directory), `NAME->TARGET` and `NAME=>TARGET` (links). A
    /// directory has other attributes than one that is implied, a directory `NAME/!` the same.
    fn layer(members: &[&str]) -> Layer {
        let mut tar = Vec::new();
        for text in members {
            let link = |sign, kind| text.split_once(sign).map(|cut| (cut, kind));
            let found = link("->", EntryKind::Symlink).or_else(|| link("=>", EntryKind::HardLink));
            let mut entry = match found {
                Some(((path, target), kind)) => Entry {
                    link: target.into(),
                    ..Entry::new(path, kind)
                },
                None if text.contains('/') && text.ends_with(['/', '!']) => Entry {
                    mode: 0o755,
                    ..Entry::new(text.trim_end_matches('!'), EntryKind::Directory)
                },
                None => Entry::new(*text, EntryKind::Regular),
            };
            if text.ends_with('/') {
                (entry.mode, entry.uid, entry.gid) = (0o700, 5, 6);
                entry.mtime = Time {
                    seconds: 9,
                    nanos: 0,
                };
            }
            tar.extend(head(&entry).unwrap());
        }
        tar.extend(END);
        Layer::made(Arc::new(Arc::<[u8]>::from(tar)))
    }

    /// Every path of some layers with its kind, attributes and target; of a tree or of its tar.
    fn rows(layers: &[Layer], semantics: Semantics) -> Vec<String> {
        let tree = merge(layers, semantics, &mut Discard, &env()).unwrap();
        let row = |(path, node): (Vec<u8>, imgconv_layer::Node<'_>)| {
            format!(
                "{} {:?} {:o} {}:{} @{} {}",
                path.escape_ascii(),
                node.kind,
                node.mode,
                node.uid,
                node.gid,
                node.mtime.seconds,
                node.link.escape_ascii()
            )
        };
        tree.iter().map(row).collect()
    }

    /// Writes layers as levels; returns the layer of each with its whitelist.
    fn levels(layers: &[Layer]) -> Vec<(Layer, Option<BTreeSet<Vec<u8>>>)> {
        let image = Image {
            name: Some(Name {
                repository: Some("example.com/a".into()),
                tag: None,
                digest: None,
            }),
            platform: Platform::new("linux", "amd64"),
            layers: layers.to_vec(),
            ..Image::default()
        };
        let digest = Digest::new(Algorithm::Sha512, &[1; 64]);
        let mut found = Vec::new();
        let mut write_level = |level: &Image, _, _| {
            let list = level.extensions.get(&(FORMAT, "pathWhitelist".to_owned()));
            let list = list.map(|text| serde_json::from_str::<Vec<String>>(text).unwrap());
            let path = |path: String| path.as_bytes()[1..].to_vec();
            let list = list.map(|list| list.into_iter().map(path).collect());
            found.push((level.layers[0].clone(), list));
            let root = Child {
                kind: String::new(),
                digest,
                size: 0,
                platform: None,
                annotations: Default::default(),
                raw: String::new(),
            };
            let publication = Publication {
                root,
                name: None,
                reference: None,
                file_name: None,
            };
            let item = Item {
                publication,
                images: Vec::new(),
            };
            let written = WrittenStream {
                digest,
                size: 0,
                image_id: digest,
            };
            Ok((item, written))
        };
        let (report, env) = (Report::default(), env());
        let told = (&report, &env);
        write(image, None, Semantics::Layer, told, &mut write_level).unwrap();
        found
    }

    /// The layers of the rendered top level: a path stays if all whitelists from its level up list it.
    fn rendered(levels: Vec<(Layer, Option<BTreeSet<Vec<u8>>>)>) -> Vec<Layer> {
        let mut above: Option<BTreeSet<Vec<u8>>> = None;
        let mut filtered = Vec::new();
        for (layer, list) in levels.into_iter().rev() {
            above = match (above, list) {
                (Some(above), Some(list)) => Some(&above & &list),
                (above, list) => above.or(list),
            };
            filtered.push((layer, above.clone()));
        }
        filtered.reverse();
        listed(filtered, &env())
    }

    /// (layers, the directories with an entry in the top level)
    type Row = (&'static [&'static [&'static str]], &'static [&'static str]);

    #[test]
    fn an_implied_directory_gets_no_attributes_of_a_deleted_one() {
        let table: &[Row] = &[
            // The layer deletes the directory and implies it again, in both orders.
            (&[&["d/", "d/o"], &[".wh.d", "d/x"]], &["d"]),
            (&[&["d/", "d/o"], &["d/x", ".wh.d"]], &["d"]),
            (&[&["d/"], &[".wh.d", "d/x"]], &["d"]),
            // A file takes the place of the directory, and a directory that of the file.
            (&[&["d/", "d/o"], &["d", "d/x"]], &["d"]),
            (&[&["d/"], &["d", "d/x"]], &["d"]),
            (&[&["o"], &["d", "d/x"]], &["d"]),
            (&[&["d/"], &["d->o", ".wh.d", "o/x"]], &["o"]),
            // Another kind of file was there.
            (&[&["d"], &["d/x"]], &["d"]),
            (&[&["d"], &[".wh.d", "d/x"]], &["d"]),
            (&[&["e/", "d->e"], &[".wh.d", "d/x"]], &["d"]),
            (&[&["e/", "e/o", "d->e"], &[".wh.e", "d/x"]], &["e"]),
            (&[&["o", "d=>o"], &[".wh.d", "d/x"]], &["d"]),
            (&[&["o", "d=>o"], &["d/x"]], &["d"]),
            // Several levels of directories: each that differs has an entry.
            (
                &[&["d/", "d/e/", "d/e/o"], &[".wh.d", "d/e/x"]],
                &["d", "d/e"],
            ),
            (
                &[&["d/", "d/e/", "d/e/o"], &["d/.wh.e", "d/e/x"]],
                &["d", "d/e"],
            ),
            (&[&["d/!", "d/e/"], &[".wh.d", "d/e/x"]], &["d/e"]),
            (&[&["d/", "d/e/!"], &[".wh.d", "d/e/x"]], &["d"]),
            (
                &[&["d/", "d/e"], &[".wh.d", "d/e/f/x"]],
                &["d", "d/e", "d/e/f"],
            ),
            // An opaque directory itself stays, what is in it does not.
            (
                &[&["d/", "d/e/", "d/e/o"], &["d/.wh..wh..opq", "d/e/x"]],
                &["d", "d/e"],
            ),
            (
                &[&["d/", "d/e/"], &[".wh..wh..opq", "d/e/x"]],
                &["d", "d/e"],
            ),
            (
                &[&["d/", "d/o"], &[".wh.d", "d/.wh..wh..opq", "d/x"]],
                &["d"],
            ),
            // The deletion is in a layer between.
            (&[&["d/", "d/o"], &[".wh.d"], &["d/x"]], &["d"]),
            (
                &[&["d/", "d/o", "q"], &[".wh.d"], &["d/x", ".wh.q"]],
                &["d"],
            ),
            (
                &[&["d/"], &[".wh.d", "d/x"], &["d/"], &[".wh.d", "d/x"]],
                &["d"],
            ),
            // A directory that the top layer does not change has no entry unless a layer named it.
            (&[&["d/", "d/o"], &[".wh.d", "d/x"], &["d/y"]], &[]),
            (
                &[&["d/", "d/o"], &[".wh.d", "d/x"], &["d/y", "d/.wh.x"]],
                &[],
            ),
            (&[&["d/o"], &["d/x"]], &[]),
            (&[&["d/o"], &[".wh.d", "d/x"]], &[]),
            (&[&["d/!", "d/o"], &[".wh.d", "d/x"]], &[]),
            (&[&["d/e/o"], &["d/.wh.e", "d/e/x"]], &[]),
            (&[&["d/", "d/o"], &["d/x"]], &["d"]),
            // The name of a whiteout can't be written for a directory.
            (&[&[".wh.d/o"], &[".wh.d/x"]], &[]),
            (&[&["o"], &[".wh.d/x"]], &[]),
        ];
        for (members, directories) in table {
            let layers: Vec<Layer> = members.iter().map(|members| layer(members)).collect();
            for epoch in [None, Some(100), Some(4), Some(0)] {
                let layers = match epoch {
                    None => layers.clone(),
                    Some(epoch) => clamp(&layers, epoch, &env()).unwrap(),
                };
                let levels = levels(&layers);
                let mut top = levels.last().unwrap().0.blob.open().unwrap();
                let mut tree = Tree::new(&env());
                tree.apply(&mut top, Semantics::Aci, &mut Discard, "top")
                    .unwrap();
                let is_written = |node: &imgconv_layer::Node<'_>| {
                    node.kind == EntryKind::Directory && node.named
                };
                let written = tree.iter().filter(|(_, node)| is_written(node));
                let written: Vec<String> = written
                    .map(|(path, _)| String::from_utf8(path).unwrap())
                    .collect();
                assert_eq!(written, *directories, "{members:?}, {epoch:?}");
                assert_eq!(
                    rows(&rendered(levels), Semantics::Aci),
                    rows(&layers, Semantics::Layer),
                    "{members:?}, {epoch:?}"
                );
            }
        }
    }
}
