//! The text before the first colon: a transport, or a pair of format and distribution.
//!
//! Bare paths are not changed. The file system is only asked whether a word before a colon that is
//! no scheme is part of a path.

use imgconv_model::{Code, Error, FormatId, Result, Transport, quote, without_userinfo};
use imgconv_registry::{Host, Location, Protocol};
use imgconv_transport_appc::AppImage;

use super::{
    distribution_point::{self, DistributionPoint},
    percent::decoded,
    reference::Reference,
    scheme as words,
};
use crate::catalog;

/// The parts of a locator's text.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// The format that the user named.
    pub(super) format: Option<FormatId>,
    /// The format to write if the user named none.
    pub(super) usual: Option<FormatId>,
    pub(super) place: Address,
    /// A REF that was given separately from the place.
    pub(super) reference: Option<Reference>,
}

/// The address of a place, with or without a scheme.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// Text without a scheme.
    Bare(String),
    /// A path, perhaps with a REF: `file:`.
    File(String),
    /// The location for a transport.
    At(&'static dyn Transport, String),
}

impl Written {
    /// Reads a whole locator.
    pub(super) fn read(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::new(Code::Usage, "an empty path names nothing"));
        }
        let bare = || Self::from(Address::Bare(text.to_owned()));
        let Some((scheme, rest)) = text.split_once(':') else {
            return Ok(bare());
        };
        // A path with a plus before a colon is written `./PATH`, unless the path exists: a mistyped
        // pair must not be read as a path.
        if let Some((format, distribution)) = scheme.split_once('+')
            && !scheme.contains('/')
        {
            let known = catalog::format(format).is_some() && is_distribution(distribution);
            if !known && words::is_path(text) {
                return Ok(bare());
            }
            return Self::pair(Some(format), Some(distribution), rest);
        }
        if scheme == "cimd" {
            return Self::of_point(distribution_point::read(rest)?);
        }
        if !is_distribution(scheme) || scheme == "registry" {
            words::check(text)?;
            return Ok(bare());
        }
        Self::pair(None, Some(scheme), rest)
    }

    /// Parses a locator whose format and distribution are given separately.
    pub(super) fn pair(
        format: Option<&str>,
        distribution: Option<&str>,
        rest: &str,
    ) -> Result<Self> {
        let mut written = match distribution {
            Some(scheme) => at(scheme, rest)?,
            None => Self::read(rest)?,
        };
        if let Some(id) = format {
            let known = catalog::format(id).ok_or_else(|| unknown_format(id))?;
            match written.format {
                Some(other) if other != known.id() => {
                    let message = format!(
                        "{} says `{other}`, not `{id}`",
                        quote(without_userinfo(rest))
                    );
                    return Err(Error::new(Code::Usage, message));
                }
                _ => written.format = Some(known.id()),
            }
        }
        Ok(written)
    }

    /// Returns the locator for a distribution point.
    fn of_point(point: DistributionPoint) -> Result<Self> {
        Ok(match point {
            DistributionPoint::Appc(image) => {
                Address::At(transport("appc")?, image.to_string()).into()
            }
            DistributionPoint::Docker(reference) => at("docker", &reference)?,
            DistributionPoint::Aci(url) => Self {
                format: Some(FormatId::ACI),
                ..Self::read(&url)?
            },
            DistributionPoint::Layout(url, reference) => Self {
                reference,
                ..Self::read(&url)?
            },
        })
    }
}

impl From<Address> for Written {
    fn from(place: Address) -> Self {
        Self {
            format: None,
            usual: None,
            place,
            reference: None,
        }
    }
}

/// Says whether a word names a distribution, a way to get at bytes.
fn is_distribution(scheme: &str) -> bool {
    let others = ["file", "registry", "dockerv2"];
    others.contains(&scheme) || catalog::transport(scheme).is_some()
}

/// Parses the text after the scheme of a distribution.
fn at(scheme: &str, rest: &str) -> Result<Written> {
    let (mut usual, mut reference) = (None, None);
    let place = match (scheme, rest.strip_prefix("//")) {
        ("file", Some(path)) => Address::File(decoded(path)?),
        ("file", None) => Address::File(rest.to_owned()),
        ("appc", after) => {
            let image: AppImage = after.unwrap_or(rest).parse()?;
            Address::At(transport("appc")?, image.to_string())
        }
        // With an empty host this is an absolute path, as before registries had `oci://`.
        ("oci", Some(after)) if !after.starts_with('/') => {
            usual = Some(FormatId::OCI);
            registry(after)?
        }
        ("dockerv2", after) => {
            usual = Some(FormatId::DOCKER_V2S2);
            registry(after.unwrap_or(rest))?
        }
        ("dockerv1", after) => {
            let reference = after.unwrap_or(rest);
            let location = Location::parse_as(Protocol::V1, &format!("//{reference}"))?;
            located(Protocol::V1, &location.to_string())?
        }
        ("docker" | "registry", after) => registry(after.unwrap_or(rest))?,
        ("http" | "https", _) => {
            let (location, text) = rest.split_once('#').unwrap_or((rest, ""));
            if !text.is_empty() {
                reference = Some(Reference::parse(text)?);
            }
            Address::At(transport(scheme)?, location.to_owned())
        }
        _ => Address::At(transport(scheme)?, rest.to_owned()),
    };
    Ok(Written {
        usual,
        reference,
        ..place.into()
    })
}

/// A place in a registry, qualified by docker's rules, or the whole registry.
fn registry(reference: &str) -> Result<Address> {
    let rest = format!("//{reference}");
    let text = match Host::parse(&rest) {
        Some(host) => host.to_string(),
        None => Location::parse(&rest)?.to_string(),
    };
    located(Protocol::V2, &text)
}

/// The place of a locator that has the scheme of a protocol.
fn located(protocol: Protocol, text: &str) -> Result<Address> {
    let scheme = protocol.scheme();
    let rest = text.strip_prefix(scheme).unwrap_or(text);
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    Ok(Address::At(transport(scheme)?, rest.to_owned()))
}

/// Returns the transport of a scheme of the grammar.
pub(super) fn transport(scheme: &str) -> Result<&'static dyn Transport> {
    catalog::transport(scheme).ok_or_else(|| {
        let message = format!(
            "the transport {} is not supported",
            quote(format!("{scheme}:"))
        );
        Error::new(Code::Unsupported, message).hint(words::advice(scheme))
    })
}

fn unknown_format(id: &str) -> Error {
    let known: Vec<&str> = catalog::FORMATS
        .iter()
        .map(|format| format.id().0)
        .collect();
    let message = format!("there is no format {}", quote(id));
    let mut advice = format!("formats: {}", known.join(", "));
    if let Some(near) = words::closest(id, known.into_iter()) {
        advice.insert_str(0, &format!("perhaps `{near}` is meant; "));
    }
    Error::new(Code::Usage, message).hint(advice)
}
