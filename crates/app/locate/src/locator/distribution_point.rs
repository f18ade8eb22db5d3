//! rkt's distribution points: `cimd:TYPE:v=0:DATA` (rkt, Documentation/devel/distribution-point.md).

use imgconv_http::escape;
use imgconv_model::{Code, Error, Result, quote, without_userinfo};
use imgconv_transport_appc::AppImage;

use super::{percent::decoded, reference::Reference};

/// The image that a distribution point names.
pub(super) enum DistributionPoint {
    /// An ACI by its name in appc discovery.
    Appc(AppImage),
    /// A reference of an image in a registry.
    Docker(String),
    /// The URL of an ACI: of `file`, `http` or `https`.
    Aci(String),
    /// The URL of an OCI image layout, and the image in the layout.
    Layout(String, Option<Reference>),
}

/// Parses the text after `cimd:`.
///
/// # Errors
/// [`Code::Usage`] for an unknown type or version and for malformed data, [`Code::BadName`] for a
/// malformed name of an image.
pub(super) fn read(rest: &str) -> Result<DistributionPoint> {
    let bad = |why: String| {
        Error::new(Code::Usage, format!("`cimd:` {why}"))
            .at(quote(without_userinfo(rest)))
            .hint("write it as `cimd:appc:v=0:NAME?LABEL=VALUE`, `cimd:docker:v=0:REFERENCE`, \
                   `cimd:aci-archive:v=0:ESCAPED-URL` or `cimd:oci-image-layout:v=0:ESCAPED-URL?ref=REF`")
    };
    let parts: Vec<&str> = rest.splitn(3, ':').collect();
    let [kind, version, data] = parts[..] else {
        return Err(bad("needs a type, a version and data".to_owned()));
    };
    if version != "v=0" {
        return Err(bad(format!("has the unknown version {}", quote(version))));
    }
    let (data, query) = match data.split_once('?') {
        Some((data, query)) if kind != "docker" => (data, pairs(query)?),
        _ => (data, Vec::new()),
    };
    match kind {
        "appc" => {
            let mut image = AppImage {
                name: unescaped(data)?,
                tag: None,
                labels: std::collections::BTreeMap::new(),
            };
            for (label, value) in query {
                if image.labels.insert(label.clone(), value).is_some() {
                    return Err(bad(format!("gives the label {} twice", quote(label))));
                }
            }
            image.check()?;
            Ok(DistributionPoint::Appc(image))
        }
        "docker" => Ok(DistributionPoint::Docker(data.to_owned())),
        "aci-archive" => Ok(DistributionPoint::Aci(url(data)?)),
        "oci-image-layout" => {
            let mut reference = None;
            for (key, value) in query {
                if key != "ref" || reference.is_some() {
                    return Err(bad(format!("can't have {} here", quote(key))));
                }
                reference = Some(Reference::parse(&value)?);
            }
            Ok(DistributionPoint::Layout(url(data)?, reference))
        }
        other => Err(bad(format!("has the unknown type {}", quote(other)))),
    }
}

/// Reads the escaped URL inside a distribution point.
fn url(escaped: &str) -> Result<String> {
    let text = unescaped(escaped)?;
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("file" | "http" | "https")) {
        let message = format!(
            "{} is no URL of file, http or https",
            quote(without_userinfo(&text))
        );
        return Err(Error::new(Code::Usage, message));
    }
    Ok(text)
}

/// Prints a locator as a distribution point; `None` if there is no type for it. The tag of an appc
/// name is printed as its label `version`, since distribution points have no tags.
pub(super) fn print(scheme: &str, location: &str, reference: Option<&Reference>) -> Option<String> {
    match scheme {
        "appc" => {
            let mut image: AppImage = location.parse().ok()?;
            if let Some(tag) = image.tag.take() {
                image.labels.entry("version".to_owned()).or_insert(tag);
            }
            let labels = image.labels.iter();
            let labels: Vec<String> = labels
                .map(|(label, value)| format!("{label}={}", escape(value)))
                .collect();
            let mark = if labels.is_empty() { "" } else { "?" };
            Some(format!(
                "cimd:appc:v=0:{}{mark}{}",
                image.name,
                labels.join("&")
            ))
        }
        "docker" => Some(format!(
            "cimd:docker:v=0:{}",
            location.trim_start_matches('/')
        )),
        "aci" => Some(format!("cimd:aci-archive:v=0:{}", file_url(location)?)),
        scheme @ ("http" | "https") if reference.is_none() => {
            let url = escape(&format!("{scheme}:{location}"));
            Some(format!("cimd:aci-archive:v=0:{url}"))
        }
        "oci" | "oci-archive" => {
            let reference = reference.map(|it| format!("?ref={}", escape(&it.to_string())));
            let url = file_url(location)?;
            Some(format!(
                "cimd:oci-image-layout:v=0:{url}{}",
                reference.unwrap_or_default()
            ))
        }
        _ => None,
    }
}

/// The escaped URL of a local file; `None` for standard input.
fn file_url(path: &str) -> Option<String> {
    if path == "-" {
        return None;
    }
    let path = std::path::absolute(path).ok()?;
    let path = path
        .to_str()?
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    Some(escape(&format!("file://{path}")))
}

fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((unescaped(key)?, unescaped(value)?))
        })
        .collect()
}

/// Undoes the escaping of queries, in which `+` is a space.
fn unescaped(text: &str) -> Result<String> {
    decoded(&text.replace('+', " "))
}
