//! Merging layers: read each once into a tree and a spool, and write the tree as one tar.

use std::{
    collections::BTreeSet,
    fmt,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_layer::{ContentStore, FrozenSpool, Semantics, Spool, Tree};
use imgconv_model::{Code, Counted, Digest, Env, Error, Layer, Open, Reader, Result};
use imgconv_stream::{HashingReader, ahead, blame};

use crate::{
    budget::{Budget, Tar},
    lanes::apply_all,
    look::place,
    stores::{BELOW, Below, Fetch, positioned},
    watch::watch,
};

/// A merged file system with its contents.
#[derive(Clone)]
pub struct Merged {
    /// The tree.
    pub tree: Arc<Tree>,
    /// The contents of its files.
    pub contents: Arc<FrozenSpool>,
}

impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged")
            .field("entries", &self.tree.len())
            .finish_non_exhaustive()
    }
}

impl Merged {
    /// Returns the tree as a layer whose tar is generated while it is read.
    pub fn into_layer(self) -> Layer {
        Layer::made(Arc::new(self))
    }
}

impl Open for Merged {
    fn open(&self) -> Result<Reader> {
        Ok(Arc::clone(&self.tree).into_tar(b"", Arc::clone(&self.contents)))
    }

    /// The layers were counted when they were merged; the headers of the tar count as nothing.
    fn counted(&self) -> (Counted, Option<u64>) {
        (Counted::Result, Some(self.tree.content_bytes()))
    }
}

/// Applies layers, base first, to a new tree; file contents go to `store`. Every layer is read to
/// its last byte, so its claimed digest, size and diff ID have been verified.
///
/// # Errors
/// The first error of the first bad layer, which it names.
pub fn merge(
    layers: &[Layer],
    semantics: Semantics,
    store: &mut dyn ContentStore,
    env: &Env,
) -> Result<Tree> {
    let mut tree = Tree::new(env);
    let budget = Budget::default();
    for i in 0..layers.len() {
        apply_one(&mut tree, layers, i, semantics, store, &budget, env)?;
    }
    Ok(tree)
}

/// Applies the layer at one position to a tree of the layers below it.
///
/// # Errors
/// The errors of [`merge`].
pub fn apply(
    tree: &mut Tree,
    layers: &[Layer],
    i: usize,
    semantics: Semantics,
    store: &mut dyn ContentStore,
    env: &Env,
) -> Result<()> {
    apply_one(tree, layers, i, semantics, store, &Budget::default(), env)
}

fn apply_one(
    tree: &mut Tree,
    layers: &[Layer],
    i: usize,
    semantics: Semantics,
    store: &mut dyn ContentStore,
    budget: &Budget,
    env: &Env,
) -> Result<()> {
    env.check_cancelled()?;
    let what = place(layers, i);
    let claimed = layers[i].diff_id;
    let algorithms: Vec<_> = claimed.iter().map(Digest::algorithm).collect();
    let mut work = |layer: &Layer, env: &Env, _| {
        // The blob is opened by position before the pass that verifies its bytes, so that a later
        // change is detected.
        store.begin(positioned(layer)?);
        let source = Tar::open(layer, budget, env, &what)?;
        let mut source = HashingReader::new(source, &algorithms);
        let mut apply = |source: &mut dyn Read| {
            let applied = tree.apply(source, semantics, store, &what);
            applied.map_err(|error| blame(error, source))
        };
        if env.jobs > 1 {
            ahead(&mut source, apply)?;
        } else {
            apply(&mut source)?;
        }
        let (found, _) = source.finish().map_err(Error::from_io)?;
        store.end()?;
        match (claimed, found.first()) {
            (Some(claimed), Some(found)) if claimed != *found => {
                Err(Error::mismatch("the diff ID", claimed, found))
            }
            _ => Ok(()),
        }
    };
    watch(&layers[i], &what, env, &mut work).map_err(|error| error.at(what.clone()))
}

/// Merges layers to one that replaces all of them.
///
/// # Errors
/// The errors of [`merge`], an error if the temporary directory is full, and [`Code::Unsupported`]
/// for layers of Windows that can't be merged (robustness K20).
pub fn squash(layers: &[Layer], semantics: Semantics, env: &Env) -> Result<Merged> {
    let merged = flatten(layers, semantics, env)?;
    refuse_windows(&merged.tree, 0)?;
    Ok(merged)
}

/// Refuses layers of Windows that can't be merged without loss; `from` is the lowest merged layer.
///
/// # Errors
/// [`Code::Unsupported`].
pub fn refuse_windows(tree: &Tree, from: usize) -> Result<()> {
    match tree.windows_conflict(from) {
        None => Ok(()),
        Some(message) => Err(Error::new(Code::Unsupported, message).hint(
            "leave the layers as they are: `convert` to OCI or Docker without `--squash` copies them, \
             and `squash --last N` merges only layers above those",
        )),
    }
}

/// Merges layers with their contents for reading the files, also layers of Windows that could not
/// become one layer.
///
/// # Errors
/// The errors of [`merge`], or an error if the temporary directory is full.
pub fn flatten(layers: &[Layer], semantics: Semantics, env: &Env) -> Result<Merged> {
    let (mut tree, spool) = (Tree::new(env), Spool::new(env)?);
    apply_all(&mut tree, layers, 0..layers.len(), semantics, &spool, env)?;
    Ok(Merged {
        tree: Arc::new(tree),
        contents: spool.freeze()?,
    })
}

/// Merges a layer and all above it, `from` counted from 0, to one over the layers below. The layers
/// below are read too: the whiteouts of the merged layer depend on their trees.
///
/// Memory is two trees (see [`Tree`]): the whole tree, and a second one of the layers below.
/// Contents of the layers below are not kept. If the new layer needs some of them, because a hard
/// link of an upper layer leads to their file, the layers below are read once more.
///
/// # Errors
/// The errors of [`squash`].
pub fn squash_above(
    layers: &[Layer],
    from: usize,
    semantics: Semantics,
    env: &Env,
) -> Result<Merged> {
    if from == 0 {
        return squash(layers, semantics, env);
    }
    let mut tree = Tree::new(env);
    apply_all(&mut tree, layers, 0..from, semantics, &Below, env)?;
    let base = tree.base();
    let spool = Spool::new(env)?;
    apply_all(
        &mut tree,
        layers,
        from..layers.len(),
        semantics,
        &spool,
        env,
    )?;
    refuse_windows(&tree, from)?;
    tree.only_changes(base);
    let wanted: BTreeSet<u64> = tree.contents().filter(|key| key & BELOW != 0).collect();
    if !wanted.is_empty() {
        let fetch = Fetch {
            wanted,
            spool: &spool,
            moved: Mutex::default(),
        };
        apply_all(&mut Tree::new(env), layers, 0..from, semantics, &fetch, env)?;
        let moved = fetch.moved.into_inner();
        tree.move_contents(&moved.unwrap_or_else(PoisonError::into_inner));
    }
    Ok(Merged {
        tree: Arc::new(tree),
        contents: spool.freeze()?,
    })
}
