//! The settings of one conversion, and what the destination can hold.

use imgconv_format_docker_v2s1::SigningKey;
use imgconv_locate::{catalog, locator::Locator};
use imgconv_model::{
    Capabilities, Code, DocumentFormat, Env, Error, Format, FormatFamily, FormatId, Name, Result,
    StreamFormat,
};

use crate::{options::Options, read::root::SourceRoot};

/// The settings that are the same for every image of a conversion.
#[derive(Debug)]
pub struct Request<'a> {
    /// The format to write.
    pub target: Format,
    /// The capabilities of the format.
    pub capabilities: &'static Capabilities,
    /// The user's options.
    pub options: &'a Options,
    /// The environment of the run.
    pub env: &'a Env,
    /// The key that signs manifests.
    pub key: Option<&'a SigningKey>,
    /// The things that the destination holds beside documents and layers.
    pub holds: Holds,
}

/// The things that a destination holds beside documents and layers.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    /// Names of images.
    pub names: bool,
    /// A list of descriptors.
    pub descriptors: bool,
    /// Roots under a digest of any algorithm; false if roots are found by their SHA-256 digest
    /// alone.
    pub any_digest: bool,
    /// One image: of several images of one platform the first is written.
    pub one_file: bool,
    /// Only documents of the format that the user named.
    pub asked: bool,
    /// The formats that images of an index may keep, since the user named none.
    pub kept_formats: &'static [FormatId],
}

impl Holds {
    /// Returns what a destination holds. The destination is a file of one image if `one_file`.
    pub fn of(destination: &Locator, one_file: bool) -> Self {
        let asked = destination.format.is_some();
        let place = destination.transport.place();
        Self {
            names: place.has_names(),
            descriptors: place.has_descriptors(),
            any_digest: place.has_any_digest(),
            one_file,
            asked,
            kept_formats: match asked {
                true => &[],
                false => place.formats(),
            },
        }
    }
}

impl<'a> Request<'a> {
    /// Asks for images in the format `target`, without a signing key.
    pub fn new(target: Format, options: &'a Options, holds: Holds, env: &'a Env) -> Self {
        Self {
            target,
            capabilities: target.capabilities(),
            options,
            env,
            key: None,
            holds,
        }
    }

    /// Returns the format of the documents that are written.
    pub(crate) fn documents_format(&self) -> &'static dyn DocumentFormat {
        let format = self.target.documents();
        format.expect("documents are written in a format of documents")
    }

    /// Returns the format of the streams that are written.
    pub(crate) fn stream_format(&self) -> &'static dyn StreamFormat {
        let format = self.target.stream();
        format.expect("streams are written in a format of streams")
    }

    /// Returns the name that the user gave.
    ///
    /// # Errors
    /// [`Code::BadName`] if the name is no reference.
    pub(crate) fn given_name(&self) -> Result<Option<Name>> {
        let given = self.options.name.as_deref();
        given.map(Name::parse_reference).transpose()
    }

    /// Returns the name that a root gets: the name that the user gave, else its own. A referrer keeps
    /// its own in any case.
    ///
    /// # Errors
    /// [`Code::BadName`] if the name is invalid.
    pub(crate) fn name_of(&self, root: &SourceRoot<'_>) -> Result<Option<Name>> {
        match self.given_name()?.filter(|_| !root.is_referrer()) {
            None => root.known_name(!self.target.is_stream()),
            given => Ok(given),
        }
    }
}

/// The format for a destination: the requested one; else the sources' own, if the place takes it;
/// else the one of the same family; else the place's default.
pub fn target(destination: &Locator, roots: &[SourceRoot<'_>]) -> Result<Format> {
    let possible = destination.transport.place().formats();
    let known = |id: FormatId| catalog::format(id.0).expect("the catalog names its own formats");
    if let Some(asked) = destination.format {
        if possible.contains(&asked) {
            return Ok(known(asked));
        }
        let names: Vec<&str> = possible.iter().map(|id| id.0).collect();
        let scheme = destination.transport.place().scheme;
        let message = format!("`{scheme}:` can't hold {asked}");
        return Err(
            Error::new(Code::Usage, message).hint(format!("it can hold: {}", names.join(", ")))
        );
    }
    let own = roots.first().and_then(|root| root.node.format());
    let same = own.filter(|own| roots.iter().all(|root| root.node.format() == Some(*own)));
    let docker = |id: FormatId| known(id).facts().family == FormatFamily::Docker;
    let family = possible
        .iter()
        .copied()
        .find(|id| same.is_some_and(docker) && docker(*id));
    let chosen = same
        .filter(|own| possible.contains(own))
        .or(family)
        .unwrap_or(possible[0]);
    Ok(known(chosen))
}
