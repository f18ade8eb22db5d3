//! Values that differ in the model and mean the same: names and platforms.

use imgconv_model::{Name, Platform, Report};

/// Says whether two names are the same image's once both were references: an ACI's name comes back
/// from a Docker or OCI place as the reference that it was turned into.
pub(crate) fn same_repository(own: Option<&str>, other: Option<&str>) -> bool {
    let reference = |repository: Option<&str>| {
        let name = Name {
            repository: repository.map(str::to_owned),
            ..Name::default()
        };
        name.to_reference(&mut Report::default())
    };
    own == other || (own.is_some() && reference(own) == reference(other))
}

/// [`same_repository`], of tags: none is `latest`.
pub(crate) fn same_tag(own: Option<&str>, other: Option<&str>) -> bool {
    let tag = |tag: Option<&str>| {
        let tag = tag.map(str::to_owned);
        Name {
            tag,
            ..Name::default()
        }
        .to_tag(&mut Report::default())
    };
    own == other || (other.is_some() && tag(own) == tag(other))
}

/// A platform with one spelling: `arm64/v8` is `arm64`.
pub(crate) fn one_spelling(platform: &Platform) -> Platform {
    let mut platform = platform.clone();
    if platform.architecture == "arm64" && platform.variant.as_deref() == Some("v8") {
        platform.variant = None;
    }
    platform
}
