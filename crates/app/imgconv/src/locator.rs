//! Locators: `[SCHEME:]LOCATION[:REF]`, as the command line writes them.

use std::{fmt, path::Path};

use imgconv_model::{Code, Digest, Error, FormatId, Result, Transport, quote};

use crate::catalog;

/// Where something is, and which part of it is meant.
#[derive(Clone, Debug)]
pub struct Locator {
    /// The transport.
    pub transport: &'static dyn Transport,
    /// The path (or `-`).
    pub location: String,
    /// Which image there; `None` means all.
    pub reference: Option<Reference>,
    /// The format to write, where it was said outright (`FORMAT+SCHEME:`).
    pub format: Option<FormatId>,
}

/// Which image of a place is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name: exactly as it stands there, a full reference, or a tag that is unique there.
    Name(String),
    /// `@ALGORITHM:HEX`.
    Digest(Digest),
    /// `#N`: a position, from 0.
    Position(usize),
}

impl Reference {
    fn parse(text: &str) -> Result<Self> {
        if let Some(digest) = text.strip_prefix('@') {
            return Digest::parse(digest).map(Self::Digest);
        }
        if let Some(position) = text.strip_prefix('#') {
            return position.parse().map(Self::Position).map_err(|_| {
                let message = format!("{} is not a position: `#` and a number", quote(text));
                Error::new(Code::Usage, message)
            });
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Digest(digest) => write!(f, "@{digest}"),
            Self::Position(position) => write!(f, "#{position}"),
        }
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.scheme(), self.location)?;
        match &self.reference {
            Some(reference) => write!(f, ":{reference}"),
            None => Ok(()),
        }
    }
}

/// Schemes that the grammar knows and no transport serves yet, so that they are not taken for paths.
const PLANNED: &[&str] = &["docker", "http", "https", "appc", "cimd"];

impl Locator {
    /// Reads a locator that something is read from. A bare path is looked at: its bytes decide.
    ///
    /// # Errors
    /// [`Code::Usage`] if the scheme is unknown, [`Code::Missing`] if a bare path does not exist,
    /// [`Code::Unsupported`] if nothing recognises it.
    pub fn source(text: &str) -> Result<Self> {
        let (scheme, rest) = split_scheme(text)?;
        match scheme {
            Some("file") => Self::bare(rest.strip_prefix("//").unwrap_or(rest)),
            Some(scheme) => Self::with_scheme(scheme, rest),
            None => Self::bare(text),
        }
    }

    /// Reads a locator of ACIs that others depend on: a bare path is one, or a folder with some, or a
    /// store.
    pub(crate) fn dependencies(text: &str) -> Result<Self> {
        match (Self::source(text), split_scheme(text)?.0) {
            (Ok(found), None) if matches!(found.transport.scheme(), "aci" | "rkt") => Ok(found),
            (_, None) if Path::new(text).is_dir() => Ok(Self::of_scheme("aci-tree", text, None)),
            (_, None) => Ok(Self::of_scheme("aci", text, None)),
            (found, Some(_)) => found,
        }
    }

    /// Reads a locator that something is written to. A bare path ending in `.aci` is an ACI, any
    /// other an OCI layout, perhaps with a REF.
    ///
    /// # Errors
    /// [`Code::Usage`] if the scheme is unknown, or the path is that of a tar, which several formats
    /// could be meant by.
    pub fn destination(text: &str) -> Result<Self> {
        if let Some((format, rest)) = text.split_once('+')
            && let Some(format) = catalog::format(format)
        {
            let format = Some(format.id());
            return Ok(Self {
                format,
                ..Self::destination(rest)?
            });
        }
        let (scheme, rest) = split_scheme(text)?;
        match scheme {
            Some("file") => Self::destination(rest.strip_prefix("//").unwrap_or(rest)),
            Some(scheme) => Self::with_scheme(scheme, rest),
            None => {
                if text.ends_with(".aci") {
                    return Ok(Self::of_scheme("aci", text, None));
                }
                if is_tar(text) {
                    let message = format!("{} says `tar`, not what kind of", quote(text));
                    return Err(Error::new(Code::Usage, message).hint(format!(
                        "`oci-archive:{text}` writes an OCI layout in a tar, \
                         `docker-archive:{text}` what `docker load` reads"
                    )));
                }
                Self::bare_destination("oci", text)
            }
        }
    }

    /// Reads a destination for one kind of place: a bare path needs no scheme.
    ///
    /// # Errors
    /// [`Code::Usage`] if a scheme is given that is none of `allowed`.
    pub fn destination_of(text: &str, allowed: &[&str]) -> Result<Self> {
        let (scheme, _) = split_scheme(text)?;
        match scheme {
            None | Some("file") => {
                let path = text.strip_prefix("file:").unwrap_or(text);
                let path = path.strip_prefix("//").unwrap_or(path);
                if allowed.contains(&"oci-archive") && is_tar(path) {
                    return Ok(Self::of_scheme("oci-archive", path, None));
                }
                Self::bare_destination(allowed[0], path)
            }
            Some(scheme) if allowed.contains(&scheme) => Self::destination(text),
            Some(scheme) => Err(Error::new(
                Code::Usage,
                format!("this command does not write to `{scheme}:`"),
            )
            .hint(format!("it writes to: {}", allowed.join(", ")))),
        }
    }

    /// A path, with a REF where that kind of place takes one.
    fn bare_destination(scheme: &str, text: &str) -> Result<Self> {
        if Path::new(text).exists() {
            return Ok(Self::of_scheme(scheme, text, None));
        }
        Self::with_scheme(scheme, text)
    }

    fn of_scheme(scheme: &str, location: &str, reference: Option<Reference>) -> Self {
        let transport = catalog::transport(scheme).expect("the scheme stands in the catalog");
        Self {
            transport,
            location: location.to_owned(),
            reference,
            format: None,
        }
    }

    fn with_scheme(scheme: &str, rest: &str) -> Result<Self> {
        let transport = catalog::transport(scheme).ok_or_else(|| {
            let known: Vec<&str> = catalog::TRANSPORTS.iter().map(|t| t.scheme()).collect();
            let message = format!("the transport `{scheme}:` is not supported");
            Error::new(Code::Unsupported, message).hint(format!("supported: {}", known.join(", ")))
        })?;
        // Only places with several images take a REF; an ACI's path may hold colons.
        let (location, reference) = match rest.split_once(':') {
            Some((location, reference)) if transport.syntax().ends_with("[:REF]") => {
                (location, Some(Reference::parse(reference)?))
            }
            _ => (rest, None),
        };
        if location.is_empty() {
            return Err(Error::new(Code::Usage, format!("`{scheme}:` needs a path")));
        }
        Ok(Self {
            transport,
            location: location.to_owned(),
            reference,
            format: None,
        })
    }

    fn bare(text: &str) -> Result<Self> {
        if text == "-" {
            return Ok(Self::of_scheme("aci", text, None));
        }
        let found = |path: &str, reference| {
            let transport = catalog::TRANSPORTS
                .iter()
                .copied()
                .find(|transport| transport.recognise(Path::new(path)))?;
            Some(Self {
                transport,
                location: path.to_owned(),
                reference,
                format: None,
            })
        };
        if std::fs::symlink_metadata(text).is_ok() {
            return found(text, None).ok_or_else(|| {
                let message = "this is no image, archive, layout or store";
                Error::new(Code::Unsupported, message).at(quote(text))
            });
        }
        if let Some((path, reference)) = text.split_once(':')
            && std::fs::symlink_metadata(path).is_ok()
            && let Some(locator) = found(path, Some(Reference::parse(reference)?))
        {
            return Ok(locator);
        }
        Err(Error::new(Code::Missing, "no such file or directory").at(quote(text)))
    }
}

/// Says whether a path that is to be written is meant to be a tar. A directory that is there is not.
fn is_tar(path: &str) -> bool {
    let tar = [".tar", ".tar.gz", ".tgz", ".tar.zst"];
    tar.iter().any(|suffix| path.ends_with(suffix)) && !Path::new(path).is_dir()
}

/// Splits `SCHEME:` off, if there is one.
fn split_scheme(text: &str) -> Result<(Option<&str>, &str)> {
    if text.is_empty() {
        return Err(Error::new(Code::Usage, "an empty path names nothing"));
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return Ok((None, text));
    };
    let known = scheme == "file" || catalog::transport(scheme).is_some();
    if known {
        return Ok((Some(scheme), rest));
    }
    if PLANNED.contains(&scheme) || scheme.contains('+') && !scheme.contains('/') {
        let known: Vec<&str> = catalog::TRANSPORTS.iter().map(|t| t.scheme()).collect();
        let message = format!("the transport `{scheme}:` is not supported yet");
        return Err(
            Error::new(Code::Unsupported, message).hint(format!("supported: {}", known.join(", ")))
        );
    }
    Ok((None, text))
}
