//! The images whose blobs are all there.

use std::collections::BTreeSet;

use imgconv_manifest::{Part, references};
use imgconv_model::{Bundle as _, Child, Digest};

use crate::read::Store;

impl Store {
    /// Returns the IDs of the images below a descriptor that the store holds whole: the digests of the
    /// configs of all manifests that it leads to, if the config and every layer are there. A
    /// document that can't be read leads to none.
    pub fn image_ids(&self, child: &Child) -> BTreeSet<Digest> {
        let mut ids = BTreeSet::new();
        let mut seen: BTreeSet<Digest> = BTreeSet::new();
        let mut waiting: Vec<Child> = vec![child.clone()];
        while let Some(child) = waiting.pop() {
            if !seen.insert(child.digest) || seen.len() as u64 > self.limits().graph_nodes {
                continue;
            }
            let limit = ("manifest", self.limits().manifest);
            let found = self
                .document(&child.kind, &child.facts(), limit)
                .and_then(|document| references(&child.kind, &document.bytes, self.limits()));
            let Ok(Some(found)) = found else {
                continue;
            };
            let config = found.list.iter().find(|one| one.part == Part::Config);
            let mut parts = found.list.iter();
            let parts_are_there = parts.all(|one| match one.part {
                Part::Config | Part::Blob => one.dispensable || self.has(&one.digest),
                _ => true,
            });
            ids.extend(
                config
                    .filter(|_| parts_are_there)
                    .map(|config| config.digest),
            );
            let entries = found.list.iter().filter(|one| one.part == Part::Entry);
            waiting.extend(
                entries.map(|one| {
                    Child::new(one.kind.clone(), one.digest, one.size.unwrap_or_default())
                }),
            );
        }
        ids
    }
}
