//! Checks of the records by which images become the ACIs and old docker images again that they were made of.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_convert::{
    choose::{
        docker_record::{restored_archive, restored_manifest},
        restored::check_restored,
    },
    read::{
        docker_record::{self, DockerRecord, Kind},
        node::ImageNode,
        reversal,
        root::SourceRoot,
    },
};
use imgconv_locate::locator::Locator;
use imgconv_model::{Child, Digest, Env, Error, Result};

use crate::verdict::{Finding, Part, Verdict};

/// An image with the root that leads to it.
type Subject<'s> = (&'s SourceRoot<'s>, &'s ImageNode);

/// The artifacts about the images of one archive, with the root that holds the record.
type Archive<'s> = (&'s SourceRoot<'s>, Vec<DockerRecord>);

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
    // An archive of several images is restored once.
    let mut archives: Vec<Archive<'_>> = Vec::new();
    let is_archive = |record: &DockerRecord| record.kind == Kind::Archive;
    let (of_archives, manifests): (Vec<_>, Vec<_>) =
        (docker.into_iter()).partition(|(_, _, read)| read.as_ref().is_ok_and(is_archive));
    for (at, child, record) in of_archives {
        let Ok(record) = record else { continue };
        if !checking.checked.insert(child.digest) {
            continue;
        }
        let is_same = |one: &&mut Archive<'_>| {
            let of = |record: &DockerRecord| (record.record.digest, record.original);
            of(&one.1[0]) == of(&record) && one.1[0].images == record.images
        };
        match archives.iter_mut().find(is_same) {
            Some((_, records)) => records.push(record),
            None => archives.push((&found[at], vec![record])),
        }
    }
    for (root, records) in archives {
        checking.archive(root, &records)?;
    }
    checking.each(
        manifests,
        |record| record.subject,
        |record, holder, (root, image)| {
            let places = (holder.holder(), root.holder());
            restored_manifest(record, places, &image.image, env).map(drop)
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
    /// Restores an archive, and compares it with all of its images.
    fn archive(&mut self, root: &SourceRoot<'s>, records: &[DockerRecord]) -> Result<()> {
        self.env.check_cancelled()?;
        let images = records[0].images.iter();
        let images = images.map(|image| self.subjects.get(image).map(|one| one.1).ok_or(*image));
        match images.collect::<Result<Vec<&ImageNode>, Digest>>() {
            Ok(images) => {
                let restored = restored_archive(records, root.holder(), &images, self.env);
                if let Err(error) = restored {
                    self.problem(error, root);
                }
            }
            Err(image) => self.absent(&image, root),
        }
        Ok(())
    }

    /// Warns about a record whose image is not here.
    fn absent(&mut self, image: &Digest, root: &SourceRoot<'s>) {
        let message =
            format!("the image {image} of the record is not here, so the record was not checked");
        self.verdict.warnings.push(Finding {
            code: "record-without-image".to_owned(),
            at: root.text.clone(),
            message,
        });
    }

    fn problem(&mut self, error: Error, root: &SourceRoot<'s>) {
        let error = error.at(&*root.text);
        self.verdict.problem(&error, self.locator, Part::Below);
    }

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
                    self.absent(&subject, root);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = checked {
                self.problem(error, root);
            }
        }
        Ok(())
    }
}
