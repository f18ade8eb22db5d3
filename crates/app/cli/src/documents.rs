//! The JSON documents of `--json` that are not a type of the library, and the error on standard error.
//! `schemas.rs` makes the JSON Schemas of all documents; comments on members are their descriptions.

use imgconv::{
    Code, Difference, Error, Exported, Inspection, Listed, Removed, TagLine, UnpackOutcome,
    WarningOutcome,
    catalog::{FORMATS, TRANSPORTS},
};
use serde::Serialize;

use crate::screen::concealed;

/// The document of `ls`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Listing {
    /// The images, index children and artifacts, in the order of the places.
    pub(crate) images: Vec<Listed>,
}

/// The document of `inspect`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Inspections {
    /// The images and artifacts, in the order of the source.
    pub(crate) images: Vec<Inspection>,
}

/// The document of `diff`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Differences {
    /// The differences, config before files; empty for images that are alike.
    pub(crate) differences: Vec<Difference>,
}

/// The document of `unpack`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Unpacked {
    /// The directory that was written.
    pub(crate) directory: String,
    /// The numbers of written entries and of entries that were left out.
    #[serde(flatten)]
    pub(crate) outcome: UnpackOutcome,
    /// The irregularities of the image, and what could not be set.
    pub(crate) warnings: Vec<WarningOutcome>,
}

/// The document of `layout rm`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct RemovedEntries {
    /// The entries that were removed from the index.
    pub(crate) removed: Vec<Removed>,
}

/// The document of `tags list`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct TagList {
    /// The tags, sorted.
    pub(crate) tags: Vec<TagLine>,
}

/// The document of `tags export`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ExportedTags {
    /// The image names, sorted, each with its tags.
    images: Vec<ExportedName>,
}

/// The tags of an image name.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ExportedName {
    /// The image name; null if the place names tags alone.
    name: Option<String>,
    /// The tags, sorted.
    tags: Vec<TagLine>,
}

impl ExportedTags {
    pub(crate) fn of(found: &[Exported]) -> Self {
        let name = |found: &Exported| ExportedName {
            name: found.name.clone(),
            tags: imgconv::list_tags(&found.tags),
        };
        Self {
            images: found.iter().map(name).collect(),
        }
    }
}

/// The document of `tags validate`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Problems {
    /// The problems; empty for a sound file.
    problems: Vec<Problem>,
}

/// A problem of an image tags file.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Problem {
    /// The stable code.
    code: String,
    /// The places of the problem, from outside in.
    at: Vec<String>,
    /// The message.
    message: String,
}

impl Problems {
    pub(crate) fn of(errors: &[Error]) -> Self {
        let problem = |error: &Error| Problem {
            code: error.code().to_string(),
            at: error.places().to_vec(),
            message: error.message().to_owned(),
        };
        Self {
            problems: errors.iter().map(problem).collect(),
        }
    }
}

/// The document of `formats`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Catalog {
    /// The formats of images.
    formats: Vec<KnownFormat>,
    /// The kinds of places.
    transports: Vec<KnownTransport>,
}

/// A format.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct KnownFormat {
    /// The ID of the format, as in the member `format` of images.
    id: &'static str,
    /// The format in words.
    about: &'static str,
}

/// A kind of places.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct KnownTransport {
    /// The word before the colon of a locator.
    scheme: &'static str,
    /// The form of a locator.
    syntax: &'static str,
    /// The kind of places in words.
    about: &'static str,
    /// The IDs of the formats that are written there; empty for a place that is only read.
    writes: Vec<&'static str>,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        let formats = FORMATS.iter().map(|format| KnownFormat {
            id: format.id().0,
            about: format.facts().about,
        });
        let transports = TRANSPORTS.iter().map(|transport| {
            let place = transport.place();
            KnownTransport {
                scheme: place.scheme,
                syntax: place.syntax,
                about: place.about,
                writes: place.formats().iter().map(|id| id.0).collect(),
            }
        });
        Self {
            formats: formats.collect(),
            transports: transports.collect(),
        }
    }
}

/// The document of `serve`, printed when the server listens.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Serving {
    /// The address that clients connect to, as a URL.
    pub(crate) listening: String,
    /// The number of repositories.
    pub(crate) repositories: usize,
    /// The number of images.
    pub(crate) images: usize,
}

/// The document of an error, on standard error.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Failed {
    /// The error that ended the command.
    error: Cause,
}

/// An error.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Cause {
    /// The stable code; `docs/errors.md` explains each.
    code: &'static str,
    /// The places of the error, from outside in.
    at: Vec<String>,
    /// The message.
    message: String,
    /// The advice, if there is any.
    hint: Option<String>,
}

impl Failed {
    /// Describes an error, without the secrets of the user.
    pub(crate) fn of(error: &Error) -> Self {
        let places = error.places().iter();
        Self {
            error: Cause {
                code: Code::as_str(error.code()),
                at: places.map(|place| concealed(place)).collect(),
                message: concealed(error.message()),
                hint: error.advice().map(concealed),
            },
        }
    }
}
