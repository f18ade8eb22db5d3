//! The settings of one conversion, and what the destination can hold.

use std::path::Path;

use imgconv_format_docker_v2s1::SigningKey;
use imgconv_fs::is_directory;
use imgconv_locate::{catalog, locator::Locator};
use imgconv_model::{
    Capabilities, Code, DocumentFormat, Env, Error, Format, FormatFamily, FormatId, Layer, Name,
    Place, Result, StreamFormat,
};
use imgconv_pipeline::clamp;

use super::signing::signing_key;
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
    pub key: Option<SigningKey>,
    /// The facts of the destination.
    pub place: &'static Place,
    /// Whether the destination is a file of one image: of several images of one platform the first is
    /// written.
    pub one_file: bool,
    /// Whether the user named the format, so that documents of other formats are not copied.
    pub asked: bool,
}

impl<'a> Request<'a> {
    /// Asks for images in the format `target` at a destination.
    ///
    /// # Errors
    /// The errors of [`signing_key`].
    pub fn new(
        target: Format,
        destination: &Locator,
        options: &'a Options,
        env: &'a Env,
    ) -> Result<Self> {
        let location = &destination.location;
        let is_stream = location == "-";
        let is_directory =
            location.ends_with('/') || !is_stream && is_directory(Path::new(location))?;
        Ok(Self {
            target,
            capabilities: target.capabilities(),
            options,
            env,
            key: signing_key(options, target.id())?,
            place: destination.transport.place(),
            one_file: target.is_stream() && !is_directory,
            asked: destination.format.is_some(),
        })
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

    /// Returns layers with the times that the user asked for. `env` is that of their image.
    ///
    /// # Errors
    /// If a layer can't be read.
    pub(crate) fn clamped(&self, layers: &[Layer], env: &Env) -> Result<Vec<Layer>> {
        match self.options.layers.clamp_mtime {
            Some(epoch) => clamp(layers, epoch, env),
            None => Ok(layers.to_vec()),
        }
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
