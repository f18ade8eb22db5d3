//! What stands in an index, by its digest: a place lists the index, and this is not among its entries.

use std::{collections::BTreeSet, sync::Arc};

use imgconv_model::{Child, Code, Digest, Env, Error, Result, Root, RootEntry};

use imgconv_manifest::find_document;

use crate::source::{Memo, Node, Source, root_of};

impl Source {
    /// Looks for what only an index lists, at any depth. It is called what the entries are called that
    /// lead to it, if they all have one name. An entry that can't be read is passed over, unless it is
    /// all that there is.
    ///
    /// # Errors
    /// [`Code::Missing`] if it is listed and not stored; an interruption.
    pub(crate) fn nested(&mut self, digest: &Digest, env: &Env) -> Result<Option<RootEntry>> {
        let mut memo = Memo::of(self);
        let mut found: Option<(RootEntry, RootEntry)> = None;
        let mut gone = false;
        for via in &self.entries {
            env.check_cancelled()?;
            let Ok(node) = self.decode_entry(via, env, &mut memo) else {
                continue;
            };
            let Some((listed, node)) = below(&node, digest) else {
                continue;
            };
            if node.is_none() {
                gone = true;
                continue;
            }
            match &mut found {
                Some((entry, _)) if entry.name != via.name => entry.name = None,
                Some(_) => {}
                None => {
                    let entry = RootEntry {
                        // No position: what the place says of the entry is not said of this one.
                        position: usize::MAX,
                        name: via.name.clone(),
                        texts: Vec::new(),
                        child: Some(listed),
                        error: None,
                        ambiguous: None,
                    };
                    found = Some((entry, via.clone()));
                }
            }
        }
        let Some((entry, via)) = found else {
            if gone {
                let message = format!("{digest} is listed in an index here, and is not stored");
                return Err(Error::new(Code::Missing, message).at(self.text.clone()));
            }
            return Ok(None);
        };
        self.via = Some(via);
        Ok(Some(entry))
    }

    /// Reads the stored root of an entry.
    ///
    /// # Errors
    /// If it is missing, or not what its descriptor says.
    pub(crate) fn root(&self, entry: &RootEntry, env: &Env) -> Result<Root> {
        let (Some(via), Some(child)) = (&self.via, &entry.child) else {
            return root_of(&*self.bundle, entry, env);
        };
        let limit = ("manifest", env.limits.manifest);
        let document = match self.bundle.part(via)? {
            Some((part, _)) => find_document(&*part, child, limit, &env.limits),
            None => find_document(&*self.bundle, child, limit, &env.limits),
        };
        document.map(Root::Document)
    }
}

/// Says whether an entry is the document of that digest.
pub(crate) fn is_child(entry: &RootEntry, digest: &Digest) -> bool {
    let child = entry.child.as_ref();
    child.is_some_and(|child| child.digest == *digest)
}

/// Finds what an index, or one below it, lists by that digest: the descriptor, and the document if it
/// is there. Each index is entered once.
pub(crate) fn below(node: &Arc<Node>, digest: &Digest) -> Option<(Child, Option<Arc<Node>>)> {
    let mut entered = BTreeSet::new();
    let mut open = vec![Arc::clone(node)];
    let mut gone = None;
    while let Some(node) = open.pop() {
        let Node::Index {
            index, children, ..
        } = &*node
        else {
            continue;
        };
        if !entered.insert(Arc::as_ptr(&node)) {
            continue;
        }
        for (listed, child) in index.children.iter().zip(children) {
            match child {
                Some(child) if listed.digest == *digest => {
                    return Some((listed.clone(), Some(Arc::clone(child))));
                }
                None if listed.digest == *digest => gone = Some((listed.clone(), None)),
                Some(child) => open.push(Arc::clone(child)),
                None => {}
            }
        }
    }
    gone
}
