//! Names that differ in the model and mean the same.

use imgconv_model::{Name, Report};

/// Says whether two repositories are equal once both are references: the name of an ACI comes back
/// from a Docker or OCI place as the reference that was made of the name.
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

/// Says whether two tags are equal once both are tags of references: an absent tag is `latest`.
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
