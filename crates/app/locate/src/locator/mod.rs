//! Locators: `[SCHEME:]LOCATION[:REF]` and all other forms of image names that the command line
//! accepts.

mod distribution_point;
mod hint;
mod percent;
mod reference;
mod scheme;
/// Says whether a path is a FIFO, such as `<(…)` of a shell.
///
/// # Errors
/// With the path, if the path can't be examined.
pub(crate) fn is_fifo(path: &str) -> Result<bool> {
    let found = imgconv_fs::metadata(Path::new(path))?;
    Ok(found.is_some_and(|found| found.file_type().is_fifo()))
}

#[cfg(test)]
mod tests;
mod written;

use std::{fmt, os::unix::fs::FileTypeExt as _, path::Path};

use imgconv_fs::{is_directory, or_nothing};
use imgconv_model::{
    Addressing, Code, Error, FormatFamily, FormatId, Result, Shape, Transport, quote,
    without_userinfo,
};
use imgconv_registry::{Host, Location};
use imgconv_transport_appc::AppImage;

pub use self::hint::neighbour;
use self::scheme::SUFFIXES;
pub use self::scheme::check as check_scheme;
use self::written::{Address, Written, transport};
pub use self::{reference::Reference, scheme::directory};
use crate::catalog;

/// A place, and the part of it that the user means.
///
/// `Display` is for messages; [`Locator::exact`] can be read back.
#[derive(Clone, Debug)]
pub struct Locator {
    /// The transport.
    pub transport: &'static dyn Transport,
    /// The location in the transport's form: a path, `-`, or the text after the scheme.
    pub location: String,
    /// The image at the place; `None` means all images.
    pub reference: Option<Reference>,
    /// The format that the user named (`FORMAT+DISTRIBUTION:`): a source must have this format, and
    /// a destination is written in it.
    pub format: Option<FormatId>,
    /// The text, if it had no scheme and is read as a name of appc because no such path exists.
    pub guessed: Option<String>,
}

impl Locator {
    /// Parses the locator of a source. For a bare path, the bytes at the path decide. If nothing is
    /// there, `HOST.NAME/PATH[:TAG][,LABEL=VALUE…]` is an image of appc, as for rkt.
    ///
    /// # Errors
    /// [`Code::Usage`] or [`Code::BadName`] if it is malformed, [`Code::Missing`] if a bare path does
    /// not exist, [`Code::Unsupported`] if nothing recognises it, [`Code::Io`] if it can't be examined.
    pub fn source(text: &str) -> Result<Self> {
        Self::of_source(Written::read(text)?)
    }

    /// Parses a source locator whose format or distribution (`file`, `registry`, `https`, a
    /// transport's scheme) is given separately.
    ///
    /// # Errors
    /// As [`Locator::source`]; [`Code::Usage`] if there is no such format.
    pub fn source_as(format: Option<&str>, distribution: Option<&str>, text: &str) -> Result<Self> {
        Self::of_source(Written::pair(format, distribution, text)?)
    }

    /// Parses a locator of the dependencies of ACIs: a path to an ACI, to a folder of ACIs, or to a
    /// store.
    pub fn dependencies(text: &str) -> Result<Self> {
        let written = Written::read(text)?;
        let path = match &written.place {
            Address::Bare(path) | Address::File(path) => path,
            Address::At(transport, path) if transport.place().any_file => path,
            Address::At(..) => return Self::of_source(written),
        };
        match Self::bare(path, false) {
            Ok(found) if holds_acis(found.transport) => Ok(found),
            // A part that can't be examined hides no ACI beside it: the walk below a folder tells of the part.
            _ if is_directory(Path::new(path))? => Ok(Self::whole(transport("aci-tree")?, path)),
            found => {
                or_nothing(found.map(Some))?;
                Ok(Self::whole(transport("aci")?, path))
            }
        }
    }

    fn of_source(written: Written) -> Result<Self> {
        let Written {
            format,
            place,
            reference,
            ..
        } = written;
        let locator = match place {
            Address::Bare(text) => Self::bare(&text, true)?,
            Address::File(path) => Self::bare(&path, false)?,
            Address::At(transport, rest) => Self::at(transport, &rest)?,
        };
        Ok(Self {
            format,
            reference: reference.or(locator.reference),
            ..locator
        })
    }

    /// Parses the locator of a destination. A bare path ending in `.aci` is an ACI, any other path
    /// an OCI layout, perhaps with a REF.
    ///
    /// # Errors
    /// [`Code::Usage`] or [`Code::BadName`] if the locator is malformed, or names a tar, which may
    /// be of several formats.
    pub fn destination(text: &str) -> Result<Self> {
        Self::of_destination(Written::read(text)?)
    }

    /// Parses a destination locator whose format or distribution is given separately.
    ///
    /// # Errors
    /// As [`Locator::destination`].
    pub fn destination_as(
        format: Option<&str>,
        distribution: Option<&str>,
        text: &str,
    ) -> Result<Self> {
        Self::of_destination(Written::pair(format, distribution, text)?)
    }

    fn of_destination(written: Written) -> Result<Self> {
        let Written {
            format,
            usual,
            place,
            reference,
        } = written;
        let locator = match place {
            Address::Bare(path) | Address::File(path) => Self::path_to_write(&path, format)?,
            Address::At(transport, rest) => Self::at(transport, &rest)?,
        };
        locator.refuse_whole_registry()?;
        let mut locator = Self {
            format: format.or(usual),
            reference: reference.or(locator.reference),
            ..locator
        };
        // The name of an image that is written is a REF everywhere.
        if locator.addressing() == Addressing::Name && !locator.location.is_empty() {
            locator.reference = Some(Reference::parse(&locator.location)?);
            locator.location.clear();
        }
        Ok(locator)
    }

    /// The locator of a path to write, in the format that the user named, if any.
    fn path_to_write(path: &str, format: Option<FormatId>) -> Result<Self> {
        match format {
            Some(FormatId::ACI) => Self::at(transport("aci")?, path),
            Some(FormatId::DOCKER_ARCHIVE | FormatId::DOCKER_V1) => {
                Self::bare_destination("docker-archive", path)
            }
            Some(FormatId::DOCKER_V2S1 | FormatId::DOCKER_V2S2) => {
                Self::at(transport("dir")?, path)
            }
            None if path == "-" => {
                let message = "`-` is standard output, and its format is not known";
                Err(Error::new(Code::Usage, message).hint(
                    "`oci-archive:-` writes an OCI layout in a tar, `docker-archive:-` what \
                     `docker load` reads, `aci:-` an ACI",
                ))
            }
            Some(FormatId::OCI) if path == "-" => Self::at(transport("oci-archive")?, path),
            Some(FormatId::OCI) if is_tar(path)? => Self::bare_destination("oci-archive", path),
            None if path.ends_with(".aci") => Self::at(transport("aci")?, path),
            None if is_tar(path)? => {
                let message = format!("{} could be an OCI or a Docker archive", quote(path));
                Err(Error::new(Code::Usage, message).hint(format!(
                    "`oci-archive:{path}` writes an OCI layout in a tar, \
                     `docker-archive:{path}` what `docker load` reads"
                )))
            }
            _ => Self::bare_destination("oci", path),
        }
    }

    /// Parses the destination of one kind of place: a bare path needs no scheme. The format or
    /// distribution may be given separately.
    ///
    /// # Errors
    /// As [`Locator::destination_as`]; [`Code::Usage`] if the scheme is none of `allowed`.
    pub fn destination_of(
        format: Option<&str>,
        distribution: Option<&str>,
        text: &str,
        allowed: &[&str],
    ) -> Result<Self> {
        let written = Written::pair(format, distribution, text)?;
        match &written.place {
            Address::Bare(path) | Address::File(path) if written.format.is_none() => {
                let is_archive = path == "-" || is_tar(path)?;
                if allowed.contains(&"oci-archive") && is_archive {
                    return Self::bare_destination("oci-archive", path);
                }
                if allowed[0] == "aci" && is_tar(path)? {
                    let message = format!(
                        "{} is the name of a tar, but this command writes ACIs",
                        quote(path)
                    );
                    return Err(Error::new(Code::Usage, message).hint(
                        "a path that ends with `.aci` is one ACI, one that ends with `/` a directory \
                         for several",
                    ));
                }
                Self::bare_destination(allowed[0], path)
            }
            _ => {
                let locator = Self::of_destination(written)?;
                let scheme = locator.transport.place().scheme;
                if allowed.contains(&scheme) {
                    return Ok(locator);
                }
                let message = format!("this command does not write to `{scheme}:`");
                Err(Error::new(Code::Usage, message)
                    .hint(format!("it writes to: {}", allowed.join(", "))))
            }
        }
    }

    /// Prints the locator in a form that can be parsed again, including secrets in a URL.
    ///
    /// A path with a colon, in a place that takes a REF, is printed as `file://PATH`: that form is
    /// parsed correctly if the path exists.
    pub fn exact(&self) -> String {
        let scheme = self.transport.place().scheme;
        // `oci://WORD` is a registry, and `oci:///PATH` a path.
        let registry =
            scheme == "oci" && self.location.starts_with("//") && !self.location.starts_with("///");
        // A grammar of its own may find the end of the location whatever colons are in it, or read another location.
        let parts = self.transport.split(&self.location);
        let splits = parts.is_some_and(|parts| parts == (self.location.clone(), None));
        let colon = self.location.contains(':') && !splits;
        let awkward = self.takes_reference() && (colon || registry);
        let mut text = match awkward {
            true => format!("file://{}", self.location.replace('%', "%25")),
            false => format!("{scheme}:{}", self.location),
        };
        if let Some(format) = self.format {
            text.insert_str(0, &format!("{format}+"));
        }
        self.with_reference(text)
    }

    /// Adds other possible meanings of the text to the error of a place that could not be opened.
    pub fn advise(&self, error: Error) -> Error {
        match &self.guessed {
            Some(text) => hint::registry_instead(error, text),
            None => error,
        }
    }

    /// Prints the locator as rkt's distribution point, `cimd:…`; `None` if there is no type for it.
    pub fn distribution_point(&self) -> Option<String> {
        distribution_point::print(
            self.transport.place().scheme,
            &self.location,
            self.reference.as_ref(),
        )
    }

    fn with_reference(&self, text: String) -> String {
        match &self.reference {
            Some(reference) if self.addressing() == Addressing::Fragment => {
                format!("{text}#{reference}")
            }
            Some(reference) if self.addressing() == Addressing::Name => {
                format!("{text}{reference}")
            }
            Some(reference) => format!("{text}:{reference}"),
            None => text,
        }
    }

    /// The way in which the images of the place are addressed.
    pub fn addressing(&self) -> Addressing {
        self.transport.place().addressing
    }

    /// Refuses a registry as a whole, which only a command that reads a whole store can mean.
    ///
    /// # Errors
    /// [`Code::BadName`] if the locator is a host without a repository.
    pub fn refuse_whole_registry(&self) -> Result<()> {
        let is_registry = self.addressing() == Addressing::Registry;
        match is_registry && Host::parse(&self.location).is_some() {
            true => Location::parse(&self.location).map(drop),
            false => Ok(()),
        }
    }

    /// Only places with several images take a REF; an ACI's path may hold colons.
    fn takes_reference(&self) -> bool {
        self.addressing() == Addressing::Reference
    }

    /// A path, with a REF where the kind of place takes one.
    fn bare_destination(scheme: &str, text: &str) -> Result<Self> {
        let transport = transport(scheme)?;
        if text != "-" && imgconv_fs::metadata(Path::new(text))?.is_some() {
            return Ok(Self::whole(transport, text));
        }
        Self::at(transport, text)
    }

    fn whole(transport: &'static dyn Transport, location: &str) -> Self {
        let location = location.to_owned();
        Self {
            transport,
            location,
            reference: None,
            format: None,
            guessed: None,
        }
    }

    fn at(transport: &'static dyn Transport, rest: &str) -> Result<Self> {
        if let Some((location, reference)) = transport.split(rest) {
            let mut locator = Self::whole(transport, &location);
            locator.reference = reference.map(|text| Reference::parse(&text)).transpose()?;
            return Ok(locator);
        }
        let mut locator = Self::whole(transport, rest);
        if locator.takes_reference()
            && let Some((location, reference)) = rest.split_once(':')
        {
            locator.reference = Some(Reference::parse(reference)?);
            locator.location = location.to_owned();
        }
        if locator.location == "-" && transport.place().shape == Shape::Directory {
            let scheme = transport.place().scheme;
            let message =
                format!("`{scheme}:` is a directory, and `-` is standard input or output");
            return Err(Error::new(Code::Usage, message).hint(format!(
                "`oci-archive:-`, `docker-archive:-` and `aci:-` accept `-`; `{scheme}:./-` is a \
                 directory with the name `-`"
            )));
        }
        if locator.location.is_empty() && locator.addressing() != Addressing::Name {
            let scheme = transport.place().scheme;
            return Err(Error::new(Code::Usage, format!("`{scheme}:` needs a path")));
        }
        Ok(locator)
    }

    /// The locator of a text that is read as a name of appc.
    fn of_appc(text: &str) -> Result<Self> {
        let image: AppImage = text.parse()?;
        let mut locator = Self::whole(transport("appc")?, &image.to_string());
        locator.guessed = Some(text.to_owned());
        Ok(locator)
    }

    /// The locator of an existing path; if there is none, perhaps of a name of appc.
    fn bare(text: &str, or_appc: bool) -> Result<Self> {
        if text == "-" {
            return Ok(Self::whole(transport("aci")?, text));
        }
        // A directory that can't be searched has no paths for this user, and every text would be an error.
        if or_appc && imgconv_fs::is_out_of_reach(Path::new(text)) && is_appc(text)? {
            return Self::of_appc(text);
        }
        let exists = |path: &str| imgconv_fs::is_there(Path::new(path));
        let found = |path: &str| {
            let found = catalog::transport_of(Path::new(path));
            found.map_err(|error| match error.places() {
                // A part of the place; the rest may be readable.
                [_, _, ..] => error.hint(format!(
                    "a scheme says what a path is: `tree:{path}` reads what can be read below a folder"
                )),
                _ => error,
            })
        };
        if exists(text)? {
            if is_fifo(text)? {
                return Ok(Self::whole(transport("aci")?, text));
            }
            let transport = found(text)?.ok_or_else(|| {
                let message = "this is not an image, archive, layout or store";
                let error = Error::new(Code::Unsupported, message).at(quote(text));
                match neighbour(text) {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            })?;
            return Ok(Self::whole(transport, text));
        }
        // The longest existing path counts; the rest is a REF.
        for (at, _) in text.rmatch_indices(':') {
            let (path, reference) = (&text[..at], &text[at + 1..]);
            if exists(path)?
                && let Some(transport) = found(path)?
            {
                let reference = Some(Reference::parse(reference)?);
                return Ok(Self {
                    reference,
                    ..Self::whole(transport, path)
                });
            }
        }
        if or_appc && is_appc(text)? {
            return Self::of_appc(text);
        }
        // The user may have meant a place on a server.
        let shown = quote(without_userinfo(text));
        let error = Error::new(Code::Missing, "no such file or directory").at(shown);
        Err(hint::registry(error, text))
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.transport.place().scheme;
        let location = match self.addressing() {
            Addressing::Fragment => without_secrets(&self.location),
            Addressing::Registry => without_userinfo(&self.location),
            Addressing::Reference | Addressing::Name | Addressing::Alone => self.location.clone(),
        };
        f.write_str(&self.with_reference(format!("{scheme}:{location}")))
    }
}

/// Says whether a place holds ACIs only, or is a file that may be one.
fn holds_acis(transport: &dyn Transport) -> bool {
    let place = transport.place();
    place.any_file || place.families.contains(&FormatFamily::Aci)
}

/// Removes possible secrets from a URL: the query and the user information.
fn without_secrets(location: &str) -> String {
    let text = without_userinfo(location);
    match text.split_once('?') {
        Some((path, _)) => format!("{path}?…"),
        None => text,
    }
}

/// Says whether a path to write is meant as a tar. An existing directory is not.
fn is_tar(path: &str) -> Result<bool> {
    let tar = [
        ".tar",
        ".tar.gz",
        ".tgz",
        ".tar.zst",
        ".tzst",
        ".tar.xz",
        ".txz",
        ".tar.bz2",
        ".tbz2",
        ".tbz",
        ".tar.lz4",
        ".tar.lzma",
    ];
    Ok(tar.iter().any(|suffix| path.ends_with(suffix)) && !is_directory(Path::new(path))?)
}

/// Says whether a text that is no path looks like an image of appc: a domain and a path below it.
fn is_appc(text: &str) -> Result<bool> {
    let Ok(image) = text.parse::<AppImage>() else {
        return Ok(false);
    };
    let Some((host, _)) = image.name.split_once('/') else {
        return Ok(false);
    };
    let is_archive = SUFFIXES.iter().any(|suffix| image.name.ends_with(suffix));
    if !host.contains('.') || is_archive {
        return Ok(false);
    }
    let host = Path::new(host);
    Ok(imgconv_fs::is_out_of_reach(host) || imgconv_fs::metadata(host)?.is_none())
}
