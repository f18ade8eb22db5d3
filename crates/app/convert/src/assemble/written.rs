//! The results for the documents that were assembled so far, for the documents that refer to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_model::{Child, Digest, Outcome as LossKind, Report};

use crate::{
    outcome::ImageOutcome,
    plan::data::{EntrySubject, PlannedNode},
    read::node::Node,
};

/// The descriptor of what a document became, if it was written, and the outcomes of its images.
pub(super) type Written = (Option<Child>, Vec<ImageOutcome>);

/// The result for each source document.
#[derive(Debug, Default)]
pub(crate) struct Known<'s> {
    /// By the digest under which a document was found.
    documents: BTreeMap<Digest, (Written, Option<Arc<PlannedNode<'s>>>)>,
    /// The texts of all digests of those documents, to the digest above: something may be about a
    /// document by a digest of another algorithm.
    digests: BTreeMap<String, Digest>,
    /// The texts of the digests of images of platforms that are not wanted.
    left_out: BTreeSet<String>,
}

impl<'s> Known<'s> {
    /// Returns what became of a node.
    pub(super) fn of(&self, node: &Arc<PlannedNode<'s>>) -> Option<&Written> {
        let (written, known) = self.documents.get(&node.node.root_digest()?)?;
        let same = known.as_ref().is_some_and(|known| Arc::ptr_eq(known, node));
        same.then_some(written)
    }

    /// Notes what became of a node.
    pub(super) fn note(&mut self, node: &Arc<PlannedNode<'s>>, written: &Written) {
        let Some(digest) = node.node.root_digest() else {
            return;
        };
        let all = node.node.digests().into_iter();
        self.digests
            .extend(all.map(|one| (one.to_string(), digest)));
        let noted = (written.clone(), Some(Arc::clone(node)));
        self.documents.insert(digest, noted);
    }

    /// Notes a document that is not wanted, with all documents below it.
    pub(super) fn leave_out(&mut self, node: &Node) {
        let all = node.walk().flat_map(|(node, _)| node.digests());
        self.left_out.extend(all.map(|digest| digest.to_string()));
    }

    /// Says whether a document was left out because nobody wanted it. The same image may be wanted elsewhere.
    pub(super) fn is_left_out(&self, text: &str) -> bool {
        let written = self
            .became(text)
            .is_some_and(|(_, (child, _))| child.is_some());
        self.left_out.contains(text) && !written
    }

    /// Notes that an index lists a document that is not stored.
    pub(super) fn note_missing(&mut self, listed: &Child) {
        self.digests
            .insert(listed.digest.to_string(), listed.digest);
        let noted = ((Some(listed.clone()), Vec::new()), None);
        self.documents.insert(listed.digest, noted);
    }

    /// Returns what became of a document, and the digest by which the document is known. `text` is
    /// any of its digests, or the start of one.
    fn became(&self, text: &str) -> Option<(Digest, &Written)> {
        let (found, known) = self.digests.range(text.to_owned()..).next()?;
        let became = self.documents.get(known);
        let (written, _) = became.filter(|_| found.starts_with(text))?;
        Some((*known, written))
    }

    /// Returns the reason why a document about `subject` has lost its subject; `None` if the
    /// subject is unchanged, or was never there.
    pub(super) fn outdated(&self, subject: &str) -> Option<String> {
        let (known, became) = self.became(subject)?;
        match became {
            (Some(new), _) if new.digest == known => None,
            (Some(_), _) => Some(format!(
                "the document refers to {subject}, and that image was rewritten"
            )),
            (None, _) => Some(format!(
                "the document refers to {subject}, and that image was not selected"
            )),
        }
    }

    /// Says whether an image is written under its digest.
    pub(super) fn is_kept(&self, image: &Digest) -> bool {
        let became = self.became(&image.to_string());
        became.is_some_and(|(known, (child, _))| {
            child.as_ref().is_some_and(|child| child.digest == known)
        })
    }

    /// Says whether an entry about an image still has its subject. `what` is the kind of the entry,
    /// such as an attestation. An entry about an image that the index never listed stays (`all` are
    /// the listed digests).
    pub(super) fn survives(
        &self,
        EntrySubject { what, digest }: &EntrySubject,
        all: &BTreeSet<Digest>,
        listed: &Child,
        report: &mut Report,
    ) -> bool {
        let Ok(subject) = Digest::parse(digest) else {
            return true;
        };
        match self.became(&subject.to_string()) {
            Some((known, (Some(child), _))) if child.digest == known => true,
            Some((_, (Some(_), _))) => {
                let why = format!("the document refers to {subject}, and that image was rewritten");
                let field = format!("{what} {}", listed.digest);
                report.lose(field, LossKind::Dropped, why);
                false
            }
            // The subject is not wanted, or missing: this entry is left out with its subject.
            Some((_, (None, _))) => false,
            None => !all.contains(&subject),
        }
    }
}
