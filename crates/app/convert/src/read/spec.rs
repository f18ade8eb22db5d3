//! The platform of an image, with the OS version and the OS features, which distinguish images of
//! one platform.

use imgconv_model::{Child, PlatformSpec};

use super::node::{ImageNode, platform_of};

/// The platform of an image with the OS version and the OS features. The index's descriptor has
/// priority over the config, because a runtime chooses by the index.
pub fn spec_of(node: &ImageNode, listed: Option<&Child>) -> PlatformSpec {
    let own = |key: &str| -> Option<serde_json::Value> {
        let extensions = &mut node.image.extensions.iter();
        let (_, text) = extensions.find(|((_, path), _)| path == key)?;
        serde_json::from_str(text).ok()
    };
    let listed_spec = listed.map(spec_listed).unwrap_or_default();
    let features = |value: serde_json::Value| serde_json::from_value(value).ok();
    let (version, found) = (listed_spec.os_version, listed_spec.os_features);
    PlatformSpec {
        platform: platform_of(node, listed),
        os_version: version.or_else(|| Some(own("os.version")?.as_str()?.to_owned())),
        os_features: match found.is_empty() {
            true => own("os.features").and_then(features).unwrap_or_default(),
            false => found,
        },
        exact: false,
    }
}

/// The platform in a descriptor, with the OS version and the OS features.
pub(crate) fn spec_listed(listed: &Child) -> PlatformSpec {
    let raw = serde_json::from_str(&listed.raw).unwrap_or(serde_json::Value::Null);
    let platform = &raw["platform"];
    let version = platform["os.version"].as_str();
    let features = platform["os.features"].as_array();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    PlatformSpec {
        platform: listed.platform.clone().unwrap_or_default(),
        os_version: version.filter(|it| !it.is_empty()).map(str::to_owned),
        os_features: features.into_iter().flatten().filter_map(text).collect(),
        exact: false,
    }
}

/// Makes equal texts in a message distinct: each of them gets its digest, if it has one.
pub fn told_apart(found: &[(String, Option<String>)]) -> Vec<String> {
    let shown = found.iter().take(20).map(|(text, digest)| {
        let again = found.iter().filter(|(other, _)| other == text).count() > 1;
        match digest {
            Some(digest) if again => format!("{text} (@{digest})"),
            _ => text.clone(),
        }
    });
    shown.collect()
}
