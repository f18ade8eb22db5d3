//! Checks of the records by which images become the old docker images again that they were made of.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_convert::{
    choose::docker_record::{restored_archive, restored_manifest},
    read::{
        docker_record::{Kind, among},
        root::SourceRoot,
    },
};
use imgconv_locate::locator::Locator;
use imgconv_model::{Env, Result};

use crate::verdict::{Finding, Part, Verdict};

/// Restores every old docker image, and compares it with the image that its record is about.
///
/// # Errors
/// Only if the run was interrupted.
pub(crate) fn check(
    found: &[SourceRoot<'_>],
    locator: &Locator,
    env: &Env,
    verdict: &mut Verdict,
) -> Result<()> {
    let nodes = found.iter().map(|root| &*root.node);
    let records = among(nodes, &env.limits);
    let mut subjects = BTreeMap::new();
    if !records.is_empty() {
        for root in found {
            for (image, _) in root.node.images() {
                let child = image.child.as_ref();
                subjects.extend(child.map(|child| (child.digest, (root, image))));
            }
        }
    }
    let mut checked = BTreeSet::new();
    for (at, child, read) in records {
        env.check_cancelled()?;
        if !checked.insert(child.digest) {
            continue;
        }
        let root = &found[at];
        let record = match read {
            Ok(record) => record,
            Err(error) => {
                verdict.problem(&error.at(&*root.text), locator, Part::Below);
                continue;
            }
        };
        let Some((holder, image)) = subjects.get(&record.subject) else {
            verdict.warnings.push(Finding {
                code: "record-without-image".to_owned(),
                at: root.text.clone(),
                message: format!(
                    "the image {} of the record is not here, so the record was not checked",
                    record.subject
                ),
            });
            continue;
        };
        let image = &image.image;
        let restored = match record.kind {
            Kind::Archive => restored_archive(&record, root.holder(), image, env).map(drop),
            Kind::Schema1 => {
                let places = (root.holder(), holder.holder());
                restored_manifest(&record, places, image, env).map(drop)
            }
        };
        if let Err(error) = restored {
            verdict.problem(&error.at(&*root.text), locator, Part::Below);
        }
    }
    Ok(())
}
