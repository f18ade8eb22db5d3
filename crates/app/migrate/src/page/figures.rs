//! The numbers of a report: losses by kind, layers by the images that share them, bytes by repository.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_model::{Code, Error, FormatId, Result, quote, without_numbers};
use serde::Deserialize;

use crate::report::{Migrated, Migration, Status};

/// An outcome of an image, with the members that the page shows.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) format: String,
    pub(super) platform: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) source_digest: Option<String>,
    pub(super) image_id: Option<String>,
    #[serde(default)]
    pub(super) layers: Vec<Layer>,
    #[serde(default)]
    losses: Vec<Loss>,
    #[serde(default)]
    warnings: Vec<Warning>,
}

/// A layer at the destination.
#[derive(Debug, Deserialize)]
pub(super) struct Layer {
    digest: String,
    pub(super) size: u64,
}

#[derive(Debug, Deserialize)]
struct Loss {
    field: String,
    outcome: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Warning {
    code: String,
    message: String,
}

impl Outcome {
    /// The number of losses.
    pub(super) fn losses(&self) -> usize {
        self.losses.len()
    }

    /// The digest by which the image was known in the source.
    pub(super) fn before(&self) -> Option<&str> {
        let id = self.image_id.as_deref();
        let id = id.filter(|_| self.format != FormatId::ACI.0);
        self.source_digest.as_deref().or(id)
    }

    /// The digest by which the image is known at the destination.
    pub(super) fn after(&self) -> Option<&str> {
        let id = self.image_id.as_deref();
        let id = id.filter(|_| self.format == FormatId::ACI.0);
        id.or(self.digest.as_deref())
    }
}

/// Losses, or warnings, of one kind.
#[derive(Debug)]
pub(super) struct Kind {
    /// The outcome of a loss, or the code of a warning.
    pub(super) what: String,
    /// The field of the first loss; empty for warnings.
    pub(super) field: String,
    /// The reason or the message of the first.
    pub(super) why: String,
    pub(super) times: u64,
    pub(super) images: u64,
    /// The position of the last image that was counted.
    last: usize,
}

/// A repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) images: u64,
    pub(super) bytes: u64,
    /// The numbers of the layers that count already.
    layers: BTreeSet<usize>,
}

/// Layers that are in so many images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) layers: u64,
    /// The bytes of the layers.
    pub(super) bytes: u64,
    /// The bytes that would be stored more if every image had the layers of its own.
    pub(super) saved: u64,
}

/// The numbers.
#[derive(Debug, Default)]
pub(super) struct Figures {
    losses: BTreeMap<(u8, String), Kind>,
    warnings: BTreeMap<String, Kind>,
    /// Number, size and images of each layer.
    layers: BTreeMap<String, (usize, u64, u64)>,
    pub(super) repositories: BTreeMap<String, Repository>,
    /// The bytes of images that are files.
    files: u64,
    /// The bytes of the images if none shared a layer.
    pub(super) alone: u64,
}

/// The bounds of the groups of layers: in 1 image, in 2, in 3 or 4, and so on.
pub(super) const GROUPS: &[(u64, &str)] = &[
    (1, "1 image"),
    (2, "2 images"),
    (4, "3 to 4 images"),
    (9, "5 to 9 images"),
    (99, "10 to 99 images"),
    (u64::MAX, "100 images or more"),
];

/// Reads the outcomes of an image.
///
/// # Errors
/// [`Code::BadJson`] if the outcomes have another form.
pub(super) fn outcomes(image: &Migrated) -> Result<Vec<Outcome>> {
    serde_json::from_str(image.outcomes.get()).map_err(|error| {
        let message = format!("the outcomes of the image are not those of a conversion: {error}");
        Error::new(Code::BadJson, message).at(quote(&*image.name))
    })
}

impl Figures {
    /// Counts the images of a report, and gives each with its outcomes to `each`.
    pub(super) fn of(
        migration: &Migration,
        mut each: impl FnMut(&Migrated, &[Outcome]),
    ) -> Result<Self> {
        let mut figures = Self::default();
        for (position, image) in migration.images.iter().enumerate() {
            let outcomes = outcomes(image)?;
            figures.add(position, image, &outcomes);
            each(image, &outcomes);
        }
        Ok(figures)
    }

    fn add(&mut self, position: usize, image: &Migrated, outcomes: &[Outcome]) {
        for loss in outcomes.iter().flat_map(|one| &one.losses) {
            let kind = [&*loss.outcome, &loss.field, &loss.why].map(without_numbers);
            let key = (weight(&loss.outcome), kind.join("\n"));
            let kind = self.losses.entry(key).or_insert_with(|| Kind {
                what: loss.outcome.clone(),
                field: loss.field.clone(),
                why: loss.why.clone(),
                ..Kind::none()
            });
            kind.count(position);
        }
        for warning in outcomes.iter().flat_map(|one| &one.warnings) {
            let kind = [&*warning.code, &warning.message].map(without_numbers);
            let kind = self.warnings.entry(kind.join("\n"));
            let kind = kind.or_insert_with(|| Kind {
                what: warning.code.clone(),
                why: warning.message.clone(),
                ..Kind::none()
            });
            kind.count(position);
        }
        if matches!(image.status, Status::Failed | Status::LeftOut) {
            return;
        }
        let own = self.repositories.entry(repository(&image.name).to_owned());
        let own = own.or_default();
        own.images += 1;
        let mut counted = BTreeSet::new();
        // An image that is a file has its layers in the file, and shares them with none.
        let layers = outcomes.iter().filter(|_| image.file_bytes.is_none());
        for layer in layers.flat_map(|one| &one.layers) {
            if !counted.insert(&layer.digest) {
                continue;
            }
            let number = self.layers.len();
            let known = self.layers.entry(layer.digest.clone());
            let known = known.or_insert((number, layer.size, 0));
            known.2 += 1;
            self.alone = self.alone.saturating_add(layer.size);
            if own.layers.insert(known.0) {
                own.bytes = own.bytes.saturating_add(layer.size);
            }
        }
        let files = image.file_bytes.unwrap_or(0);
        self.files = self.files.saturating_add(files);
        self.alone = self.alone.saturating_add(files);
        let planned = image
            .source_bytes
            .filter(|_| image.status == Status::Planned);
        let more = files.saturating_add(planned.unwrap_or(0));
        own.bytes = own.bytes.saturating_add(more);
    }

    /// The bytes at the destination: each layer once, and the images that are files.
    pub(super) fn stored(&self) -> u64 {
        let layers = self.layers.values().map(|(_, size, _)| *size);
        layers.fold(self.files, u64::saturating_add)
    }

    /// The layers by the number of images that have them, in the groups of [`GROUPS`].
    pub(super) fn sharing(&self) -> Vec<Shared> {
        let mut groups = vec![Shared::default(); GROUPS.len()];
        for (_, size, images) in self.layers.values() {
            let group = GROUPS.iter().position(|(most, _)| images <= most);
            let group = &mut groups[group.unwrap_or(GROUPS.len() - 1)];
            group.layers += 1;
            group.bytes = group.bytes.saturating_add(*size);
            let more = size.saturating_mul(images - 1);
            group.saved = group.saved.saturating_add(more);
        }
        groups
    }

    /// The kinds of losses: dropped values first, then by frequency.
    pub(super) fn losses(&self) -> Vec<&Kind> {
        let mut kinds: Vec<(u8, &Kind)> = self.losses.iter().map(|((w, _), k)| (*w, k)).collect();
        kinds.sort_by_key(|(weight, kind)| (*weight, std::cmp::Reverse(kind.times)));
        kinds.into_iter().map(|(_, kind)| kind).collect()
    }

    /// The kinds of warnings, the most frequent first.
    pub(super) fn warnings(&self) -> Vec<&Kind> {
        let mut kinds: Vec<&Kind> = self.warnings.values().collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.times));
        kinds
    }
}

impl Kind {
    fn none() -> Self {
        Self {
            what: String::new(),
            field: String::new(),
            why: String::new(),
            times: 0,
            images: 0,
            last: usize::MAX,
        }
    }

    fn count(&mut self, position: usize) {
        self.times += 1;
        if self.last != position {
            self.images += 1;
            self.last = position;
        }
    }
}

/// The order of the outcomes of losses.
fn weight(outcome: &str) -> u8 {
    match outcome {
        "dropped" => 0,
        "approximated" => 1,
        _ => 2,
    }
}

/// Returns the name of an image without tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_name_without_tag_and_digest() {
        for (name, expected) in [
            ("localhost:5000/a/b", "localhost:5000/a/b"),
            ("localhost:5000/a/b:1.0", "localhost:5000/a/b"),
            ("a@sha256:12", "a"),
            ("a:1@sha256:12", "a"),
            ("", ""),
        ] {
            assert_eq!(repository(name), expected);
        }
    }
}
