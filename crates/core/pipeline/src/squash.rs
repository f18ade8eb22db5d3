//! Merging layers: read each once into a tree and a spool, and write the tree as one tar.

use std::{collections::BTreeSet, fmt, sync::Arc};

use imgconv_layer::{ContentStore, FrozenSpool, Semantics, Spool, Tree};
use imgconv_model::{Blob, Digest, Env, Error, Facts, Layer, Open, Reader, Result};
use imgconv_stream::{HashingReader, blame};

use crate::budget::{Budget, Tar};

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
    /// Returns the tree as a layer whose tar is made while it is read.
    pub fn into_layer(self) -> Layer {
        Layer {
            blob: Blob {
                facts: Facts::default(),
                bytes: Arc::new(self),
            },
            diff_id: None,
            kind: None,
            urls: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
        }
    }
}

impl Open for Merged {
    fn open(&self) -> Result<Reader> {
        Ok(Arc::clone(&self.tree).into_tar(b"", Arc::clone(&self.contents)))
    }
}

/// Applies layers, base first, to a new tree; file contents go to `store`. Every layer is read to
/// its last byte, so what is claimed of its bytes, and of the tar inside, has been verified.
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

/// Applies the layer at one position to a tree that holds those below it.
///
/// # Errors
/// As [`merge`].
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
    let mut work = || {
        let source = Tar::open(&layers[i], budget, env, &what)?;
        let mut source = HashingReader::new(source, &algorithms);
        tree.apply(&mut source, semantics, store, &what)
            .map_err(|error| blame(error, &mut source))?;
        let (found, _) = source.finish().map_err(Error::from_io)?;
        match (claimed, found.first()) {
            (Some(claimed), Some(found)) if claimed != *found => {
                Err(Error::mismatch("the diff ID", claimed, found))
            }
            _ => Ok(()),
        }
    };
    work().map_err(|error| error.at(what.clone()))
}

/// Merges layers with their contents.
///
/// # Errors
/// As [`merge`], or if the temporary directory is full.
pub fn squash(layers: &[Layer], semantics: Semantics, env: &Env) -> Result<Merged> {
    let mut spool = Spool::new(env)?;
    let tree = merge(layers, semantics, &mut spool, env)?;
    Ok(Merged {
        tree: Arc::new(tree),
        contents: spool.freeze()?,
    })
}

/// Merges layers by the rules of appc, and keeps only listed paths and their parents.
///
/// # Errors
/// As [`squash`].
pub fn squash_listed(layers: &[Layer], paths: &BTreeSet<Vec<u8>>, env: &Env) -> Result<Merged> {
    let mut spool = Spool::new(env)?;
    let mut tree = merge(layers, Semantics::Aci, &mut spool, env)?;
    tree.retain(paths);
    Ok(Merged {
        tree: Arc::new(tree),
        contents: spool.freeze()?,
    })
}

/// Names a layer for messages: its position, from 0, and its digest where it has one.
pub(crate) fn place(layers: &[Layer], i: usize) -> String {
    match layers[i].blob.facts.digest {
        Some(digest) => format!("layer {i} ({digest})"),
        None => format!("layer {i}"),
    }
}
