//! Checks of the records by which images become the ACIs and old docker images again that they were made of.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_convert::{
    choose::{
        docker_record::{restored_archive, restored_manifest},
        restored::check_restored,
    },
    read::{
        docker_record::{self, Kind},
        node::ImageNode,
        reversal,
        root::SourceRoot,
    },
};
use imgconv_locate::locator::Locator;
use imgconv_model::{Child, Digest, Env, Result};

use crate::verdict::{Finding, Part, Verdict};

/// An image with the root that leads to it.
type Subject<'s> = (&'s SourceRoot<'s>, &'s ImageNode);

/// Restores every original, and compares it with the image that its record is about.
///
/// # Errors
/// Only if the run was interrupted.
pub(crate) fn check(
    found: &[SourceRoot<'_>],
    locator: &Locator,
    env: &Env,
    verdict: &mut Verdict,
) -> Result<()> {
    let nodes = || found.iter().map(|root| &*root.node);
    let acis = reversal::among(nodes(), &env.limits);
    let docker = docker_record::among(nodes(), &env.limits);
    if acis.is_empty() && docker.is_empty() {
        return Ok(());
    }
    let mut subjects = BTreeMap::new();
    for root in found {
        for (image, _) in root.node.images() {
            let child = image.child.as_ref();
            subjects.extend(child.map(|child| (child.digest, (root, image))));
        }
    }
    let mut checking = Checking {
        found,
        subjects,
        locator,
        env,
        verdict,
        checked: BTreeSet::new(),
    };
    checking.each(
        acis,
        |record| record.subject,
        |record, holder, (_, image)| {
            let work = || -> Result<()> {
                check_restored(record, holder.holder(), &image.image, env)?;
                record.signature(holder.holder(), env).map(drop)
            };
            work().map_err(|error| error.at(format!("record {}", record.record.digest)))
        },
    )?;
    checking.each(
        docker,
        |record| record.subject,
        |record, holder, (root, image)| {
            let (holder, image) = (holder.holder(), &image.image);
            match record.kind {
                Kind::Archive => restored_archive(record, holder, image, env).map(drop),
                Kind::Schema1 => {
                    let places = (holder, root.holder());
                    restored_manifest(record, places, image, env).map(drop)
                }
            }
        },
    )
}

struct Checking<'a, 's> {
    found: &'s [SourceRoot<'s>],
    subjects: BTreeMap<Digest, Subject<'s>>,
    locator: &'a Locator,
    env: &'a Env,
    verdict: &'a mut Verdict,
    /// The artifacts that were checked.
    checked: BTreeSet<Digest>,
}

impl<'s> Checking<'_, 's> {
    /// Checks records of one kind, each once.
    fn each<T>(
        &mut self,
        records: Vec<(usize, &Child, Result<T>)>,
        subject: impl Fn(&T) -> Digest,
        restore: impl Fn(&T, &SourceRoot<'s>, Subject<'s>) -> Result<()>,
    ) -> Result<()> {
        for (at, child, read) in records {
            self.env.check_cancelled()?;
            if !self.checked.insert(child.digest) {
                continue;
            }
            let root = &self.found[at];
            let known = read.map(|record| {
                let subject = subject(&record);
                (record, self.subjects.get(&subject).ok_or(subject))
            });
            let checked = match known {
                Ok((record, Ok(subject))) => restore(&record, root, *subject),
                Ok((_, Err(subject))) => {
                    let message = format!(
                        "the image {subject} of the record is not here, so the record was not checked"
                    );
                    self.verdict.warnings.push(Finding {
                        code: "record-without-image".to_owned(),
                        at: root.text.clone(),
                        message,
                    });
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = checked {
                let error = error.at(&*root.text);
                self.verdict.problem(&error, self.locator, Part::Below);
            }
        }
        Ok(())
    }
}
