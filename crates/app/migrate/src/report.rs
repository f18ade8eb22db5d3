//! The result of a migration, as data: the shape of its `--json` and `--report`, and how the
//! reports of several shares become one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use imgconv_convert::{DOCUMENT_VERSION, outcome::BAD_RECORD, read::search::UNREAD};
use imgconv_model::{Code, Error, Result, Warning, quote, quote_path};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The most bytes of a report that is read.
const REPORT: u64 = 1 << 30;
/// The most shares of a plan.
const SHARES: u64 = 1 << 20;

/// The result of a migration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Migration {
    /// The digest of the whole plan: equal for all shares of one migration.
    pub plan: String,
    /// The share, `I/N`; absent for the whole plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The images, in the order of the plan.
    pub images: Vec<Migrated>,
    /// The number of images with each status.
    pub totals: Totals,
    /// The irregularities that belong to no image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Failure>,
    /// The error that ended the run early; the rest of the images is `planned`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Failure>,
}

/// The result for one image: for all its names, with all its platforms and referrers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Migrated {
    /// The image's position in the plan, from 0.
    pub position: usize,
    /// The image's place in the source.
    pub source: String,
    /// The image's first name at the destination.
    pub name: String,
    /// The image's place, or the planned place.
    pub destination: String,
    /// The status of the image.
    pub status: Status,
    /// The digest of the image's root at the destination.
    pub digest: Option<String>,
    /// The bytes of the image's layers in the source, without the layers that an earlier image of the
    /// plan has; absent for images that could not be read and in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_bytes: Option<u64>,
    /// The bytes of the files of the image, where an image is a file of its own, as an ACI or a file of
    /// `docker save` is; absent where images share a place and their layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// The error of a failed image, or the reason why an image is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The number of fields that were lost or replaced, and the number of irregularities.
    pub notes: Notes,
    /// The outcome for each name and platform, with digests, losses and warnings, as `convert`
    /// reports it.
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Vec<imgconv_convert::outcome::ImageOutcome>")
    )]
    pub outcomes: Box<RawValue>,
}

/// The numbers of losses and warnings in the outcomes of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Notes {
    /// Losses.
    pub losses: usize,
    /// Warnings.
    pub warnings: usize,
}

impl Notes {
    /// Counts the losses and warnings of outcomes.
    pub(super) fn of(outcomes: &RawValue) -> Self {
        #[derive(Deserialize)]
        struct Outcome {
            losses: Vec<serde::de::IgnoredAny>,
            warnings: Vec<serde::de::IgnoredAny>,
        }
        let all: Vec<Outcome> = serde_json::from_str(outcomes.get()).unwrap_or_default();
        Self {
            losses: all.iter().map(|one| one.losses.len()).sum(),
            warnings: all.iter().map(|one| one.warnings.len()).sum(),
        }
    }
}

/// Says for each of the outcomes whether a field was lost.
pub(super) fn have_lost(outcomes: &RawValue, field: &str) -> Vec<bool> {
    #[derive(Deserialize)]
    struct Outcome {
        losses: Vec<Lost>,
    }
    #[derive(Deserialize)]
    struct Lost {
        field: String,
    }
    let all: Vec<Outcome> = serde_json::from_str(outcomes.get()).unwrap_or_default();
    let has_lost = |one: &Outcome| one.losses.iter().any(|lost| lost.field == field);
    all.iter().map(has_lost).collect()
}

/// Says whether an image is not its original because a record of reversal could not be read. Losses of the fields
/// `still` do not count: these records can't be read now either.
pub(super) fn lack_record(outcomes: &RawValue, still: &[&str]) -> bool {
    #[derive(Deserialize)]
    struct Outcome {
        losses: Vec<Lost>,
        warnings: Vec<Warned>,
    }
    #[derive(Deserialize)]
    struct Lost {
        field: String,
        why: String,
    }
    #[derive(Deserialize)]
    struct Warned {
        code: String,
    }
    let all: Vec<Outcome> = serde_json::from_str(outcomes.get()).unwrap_or_default();
    all.iter().any(|one| {
        let is_unread =
            |lost: &Lost| lost.why.starts_with(UNREAD) && !still.contains(&&*lost.field);
        one.losses.iter().any(is_unread)
            || one.warnings.iter().any(|warned| warned.code == BAD_RECORD)
    })
}

/// The status of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The image was written.
    Done,
    /// The image was at the destination already, from an earlier run.
    Kept,
    /// The image failed.
    Failed,
    /// There was nothing to write: no platform is wanted, or the image is a copy of another.
    LeftOut,
    /// The image is still to be written.
    Planned,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// An error as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failure {
    /// The stable code.
    pub code: String,
    /// The places of the error, from outside in.
    pub at: Vec<String>,
    /// The message.
    pub message: String,
    /// The advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    pub(super) fn warned(warning: Warning) -> Self {
        Self {
            code: warning.code.to_owned(),
            at: vec![warning.at],
            message: warning.message,
            hint: None,
        }
    }

    pub(super) fn of(error: &Error) -> Self {
        Self {
            code: error.code().to_string(),
            at: error.places().to_vec(),
            message: error.message().to_owned(),
            hint: error.advice().map(str::to_owned),
        }
    }
}

/// The number of images with each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Totals {
    /// All images.
    pub images: u64,
    /// Images that were written.
    pub done: u64,
    /// Images that were there already, from an earlier run.
    pub kept: u64,
    /// Images that failed.
    pub failed: u64,
    /// Images for which there was nothing to write.
    pub left_out: u64,
    /// Images that are still to be written.
    pub planned: u64,
    /// The bytes of the images' distinct layers in the source.
    pub bytes: u64,
}

impl Totals {
    pub(super) fn of(images: &[Migrated], bytes: u64) -> Self {
        let mut totals = Self {
            bytes,
            ..Self::default()
        };
        for image in images {
            totals.images += 1;
            *match image.status {
                Status::Done => &mut totals.done,
                Status::Kept => &mut totals.kept,
                Status::Failed => &mut totals.failed,
                Status::LeftOut => &mut totals.left_out,
                Status::Planned => &mut totals.planned,
            } += 1;
        }
        totals
    }
}

/// The joined reports of all shares.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Merged {
    /// All images of all shares.
    #[serde(flatten)]
    pub migration: Migration,
    /// The shares without a report.
    pub missing: Vec<String>,
}

/// Joins the reports of the shares of one migration.
///
/// # Errors
/// If a file is no report, two reports are of one share, or the reports are of different plans.
pub fn merge_reports(paths: &[PathBuf]) -> Result<Merged> {
    let mut shares: BTreeMap<u64, (&PathBuf, Migration)> = BTreeMap::new();
    let mut first: Option<(&PathBuf, String, u64)> = None;
    for path in paths {
        let at = |error: Error| error.at(quote_path(path));
        let report = read(path).map_err(at)?.migration;
        let shard = match &report.shard {
            Some(text) => Shard::parse(text).map_err(at)?,
            None => Shard { index: 1, count: 1 },
        };
        let (other, plan, count) =
            first.get_or_insert_with(|| (path, report.plan.clone(), shard.count));
        if *plan != report.plan || *count != shard.count {
            let message = format!(
                "this report belongs to another plan than {}: the source or the options differ",
                quote_path(other)
            );
            return Err(at(Error::new(Code::Ambiguous, message)
                .hint("run every share with the same options over the same store")));
        }
        if let Some((other, _)) = shares.get(&shard.index) {
            let message = format!(
                "there are two reports of the share {}: this report and {}",
                shard,
                quote_path(other)
            );
            return Err(at(Error::new(Code::Ambiguous, message)));
        }
        shares.insert(shard.index, (path, report));
    }
    let Some((_, plan, count)) = first else {
        return Err(Error::new(Code::Usage, "there are no reports"));
    };
    let missing = (1..=count).filter(|index| !shares.contains_key(index));
    let missing = missing
        .map(|index| Shard { index, count }.to_string())
        .collect();
    let mut bytes = 0;
    let mut stopped = None;
    let mut warnings: Vec<Failure> = Vec::new();
    let mut images: Vec<Migrated> = Vec::new();
    for (_, report) in shares.into_values() {
        bytes = u64::saturating_add(bytes, report.totals.bytes);
        stopped = stopped.or(report.stopped);
        for warning in report.warnings {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        images.extend(report.images);
    }
    images.sort_by_key(|image| image.position);
    let totals = Totals::of(&images, bytes);
    let migration = Migration {
        plan,
        shard: None,
        images,
        totals,
        warnings,
        stopped,
    };
    Ok(Merged { migration, missing })
}

/// Reads a report of one migration: of a share, of the whole plan, or of joined shares.
///
/// # Errors
/// [`Code::Limit`] for a file of more than 1 GiB, [`Code::Unsupported`] for a report of another version,
/// [`Code::BadJson`] for a file that is no report.
pub fn read_report(path: &Path) -> Result<Merged> {
    read(path).map_err(|error| error.at(quote_path(path)))
}

fn read(path: &Path) -> Result<Merged> {
    let bytes = imgconv_fs::read_given(path, ("report", REPORT), "the report")?;
    parse(&bytes)
}

/// Parses a report. A report without a version is from before there were versions, and has the members
/// of version 1.
fn parse(bytes: &[u8]) -> Result<Merged> {
    #[derive(Deserialize)]
    struct Frame {
        version: Option<u64>,
        #[serde(default)]
        missing: Vec<String>,
    }
    let bad = |error: serde_json::Error| {
        let message = format!("this is no report of a migration: {error}");
        Error::new(Code::BadJson, message)
    };
    let frame: Frame = serde_json::from_slice(bytes).map_err(bad)?;
    if let Some(version) = frame.version.filter(|it| *it != DOCUMENT_VERSION) {
        let message = format!(
            "the report has version {version}, but this program reads version {DOCUMENT_VERSION}"
        );
        return Err(Error::new(Code::Unsupported, message)
            .hint("read the report with the version of imgconv that wrote it"));
    }
    Ok(Merged {
        migration: serde_json::from_slice(bytes).map_err(bad)?,
        missing: frame.missing,
    })
}

/// A share of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The number of the share, from 1.
    pub index: u64,
    /// The number of shares.
    pub count: u64,
}

impl Shard {
    /// Reads `I/N`.
    ///
    /// # Errors
    /// [`Code::Usage`] if the text is no share.
    pub fn parse(text: &str) -> Result<Self> {
        let numbers = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if (1..=count).contains(&index) && count <= SHARES => {
                Ok(Self { index, count })
            }
            _ => {
                let message = format!("{} is no share of a plan", quote(text));
                Err(Error::new(Code::Usage, message).hint("write it as `I/N`, from `1/N` to `N/N`"))
            }
        }
    }

    /// Says whether a text belongs to the share: what has no work, such as an image that can't be read.
    pub(super) fn has(self, text: &str) -> bool {
        let digest = imgconv_stream::digest(imgconv_model::Algorithm::Sha256, text.as_bytes());
        let number = u64::from_str_radix(&digest.hex()[..15], 16).unwrap_or(0);
        number % self.count == self.index - 1
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn report(folder: &Path, plan: &str, shard: &str, positions: &[(usize, Status)]) -> PathBuf {
        let images: Vec<Migrated> = positions
            .iter()
            .map(|(position, status)| Migrated {
                position: *position,
                source: format!("source {position}"),
                name: format!("name {position}"),
                destination: "oci:x".into(),
                status: *status,
                digest: None,
                source_bytes: None,
                file_bytes: None,
                error: None,
                notes: Notes::default(),
                outcomes: RawValue::from_string("[{\"a\":1e2}]".into()).unwrap(),
            })
            .collect();
        let migration = Migration {
            plan: plan.into(),
            shard: Some(shard.into()),
            totals: Totals::of(&images, 10),
            images,
            warnings: Vec::new(),
            stopped: None,
        };
        let path = folder.join(shard.replace('/', "-"));
        std::fs::write(
            &path,
            serde_json::value::to_raw_value(&migration).unwrap().get(),
        )
        .unwrap();
        path
    }

    #[test]
    fn the_reports_of_shares_are_one_in_the_order_of_the_plan() {
        let folder = tempfile::tempdir().unwrap();
        let one = report(
            folder.path(),
            "p",
            "1/3",
            &[(0, Status::Done), (2, Status::Kept)],
        );
        let two = report(folder.path(), "p", "2/3", &[(1, Status::Failed)]);
        let merged = merge_reports(&[two.clone(), one.clone()]).unwrap();
        let positions: Vec<usize> = merged.migration.images.iter().map(|i| i.position).collect();
        assert_eq!(positions, [0, 1, 2]);
        assert_eq!(merged.missing, ["3/3"]);
        let totals = Totals {
            images: 3,
            done: 1,
            kept: 1,
            failed: 1,
            bytes: 20,
            ..Totals::default()
        };
        assert_eq!(merged.migration.totals, totals);
        assert_eq!(merged.migration.images[0].outcomes.get(), "[{\"a\":1e2}]");
        let again = merge_reports(&[one.clone(), one]).unwrap_err();
        assert_eq!(again.code(), Code::Ambiguous);
        let other = report(folder.path(), "q", "3/3", &[]);
        assert!(
            merge_reports(&[two, other])
                .unwrap_err()
                .message()
                .contains("another plan")
        );
    }

    #[test]
    fn every_text_belongs_to_one_share() {
        for base in ["sha256:a", "sha256:b", "x", ""] {
            let shares = (1..=5).filter(|index| {
                Shard {
                    index: *index,
                    count: 5,
                }
                .has(base)
            });
            assert_eq!(shares.count(), 1, "{base}");
        }
        for text in ["", "1", "0/2", "3/2", "1/0", "a/b", "-1/2", "1/1048577"] {
            assert_eq!(
                Shard::parse(text).unwrap_err().code(),
                Code::Usage,
                "{text}"
            );
        }
        assert_eq!(Shard::parse("2/2").unwrap(), Shard { index: 2, count: 2 });
    }
}
