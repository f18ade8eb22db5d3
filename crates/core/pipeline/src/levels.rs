//! The layers of a rendered ACI: those of its dependencies and its own, some reduced to a whitelist.

use std::{
    collections::BTreeSet,
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_layer::{Discard, Semantics, Spool, Tree};
use imgconv_model::{Blob, Env, Facts, Layer, Open, Reader, Result};

use crate::{
    lanes::apply_all,
    squash::{Merged, apply},
};

/// Returns layers, each without the paths that its whitelist does not list, by the rules of appc: a listed path keeps its
/// parents, and a hard link to a file of a layer below is an error. A layer is reduced when it is first opened. The
/// layers below are read if they decide about a directory that the layer does not name, each of them once for all
/// layers; memory is then one tree of theirs (see [`Tree`]).
///
/// `levels` has the layers from the lowest to the highest, each with its whitelist; `None` lists all paths.
pub fn listed(levels: Vec<(Layer, Option<BTreeSet<Vec<u8>>>)>, env: &Env) -> Vec<Layer> {
    let (layers, lists): (Vec<Layer>, Vec<_>) = levels.into_iter().unzip();
    let is_reduced: Vec<bool> = lists.iter().map(Option::is_some).collect();
    let work = Work {
        left: lists.iter().flatten().count(),
        layers: layers.clone(),
        made: vec![None; lists.len()],
        lists,
        tree: Tree::new(env),
        applied: 0,
        env: env.clone(),
    };
    let work = Arc::new(Mutex::new(work));
    let reduced = |level: usize, layer: Layer| Layer {
        blob: Blob {
            facts: Facts::default(),
            bytes: Arc::new(Reduced {
                work: Arc::clone(&work),
                level,
            }),
        },
        diff_id: None,
        ..layer
    };
    let layers = layers.into_iter().zip(is_reduced).enumerate();
    layers
        .map(|(level, (layer, is_reduced))| match is_reduced {
            true => reduced(level, layer),
            false => layer,
        })
        .collect()
}

/// The layers, and what was made of them.
struct Work {
    /// The layers; a layer that was reduced stands for the stored layer.
    layers: Vec<Layer>,
    lists: Vec<Option<BTreeSet<Vec<u8>>>>,
    made: Vec<Option<Merged>>,
    /// The number of layers that are still to be reduced.
    left: usize,
    /// The tree of the lowest layers.
    tree: Tree,
    /// The number of layers in the tree.
    applied: usize,
    env: Env,
}

impl Work {
    /// Reduces a layer. A layer that is in the tree was reduced before.
    fn make(&mut self, level: usize) -> Result<Merged> {
        if let Some(made) = &self.made[level] {
            return Ok(made.clone());
        }
        let env = self.env.clone();
        let (mut tree, spool) = (Tree::without_dependencies(&env), Spool::new(&env)?);
        let layer = std::slice::from_ref(&self.layers[level]);
        apply_all(&mut tree, layer, 0..1, Semantics::Aci, &spool, &env)?;
        tree.retain(self.lists[level].as_ref().unwrap_or(&BTreeSet::new()));
        if level > 0 && tree.has_made() {
            if let Err(error) = self.advance(level) {
                // A part of a layer may be in the tree.
                self.applied = 0;
                self.tree = Tree::new(&env);
                return Err(error);
            }
            tree.leave_to(&self.tree);
        }
        let made = Merged {
            tree: Arc::new(tree),
            contents: spool.freeze()?,
        };
        self.layers[level] = made.clone().into_layer();
        self.made[level] = Some(made.clone());
        self.left -= 1;
        if self.left == 0 {
            mem::take(&mut self.layers);
            self.tree = Tree::new(&env);
        }
        Ok(made)
    }

    /// Applies layers to the tree, up to a layer that is left out.
    fn advance(&mut self, to: usize) -> Result<()> {
        while self.applied < to {
            let next = self.applied;
            if self.lists[next].is_some() {
                // The tree has exactly the layers below, so this call goes no deeper.
                self.make(next)?;
            }
            let env = self.env.clone();
            apply(
                &mut self.tree,
                &self.layers,
                next,
                Semantics::Aci,
                &mut Discard,
                &env,
            )?;
            self.applied += 1;
        }
        Ok(())
    }
}

/// A layer that is reduced when it is first opened.
struct Reduced {
    work: Arc<Mutex<Work>>,
    level: usize,
}

impl fmt::Debug for Reduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reduced")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl Open for Reduced {
    fn open(&self) -> Result<Reader> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.make(self.level)?.open()
    }
}
