//! The platform of an image, with the OS version and the OS features, which distinguish images of
//! one platform.

use imgconv_model::{Child, PlatformSpec};

use super::node::{ImageNode, platform_of};

/// The platform of an image with the OS version and the OS features. The descriptor that lists the image has
/// priority over the config, because a runtime chooses by the descriptor.
pub fn spec_of(node: &ImageNode, listed: Option<&Child>) -> PlatformSpec {
    let own = spec_own(node);
    let listed_spec = listed.or(node.child.as_ref()).map(spec_listed);
    let listed_spec = listed_spec.unwrap_or_default();
    PlatformSpec {
        platform: platform_of(node, listed),
        os_version: listed_spec.os_version.or(own.os_version),
        os_features: match listed_spec.os_features.is_empty() {
            true => own.os_features,
            false => listed_spec.os_features,
        },
        exact: false,
    }
}

/// The platform that the config of an image names, with the OS version and the OS features.
pub(crate) fn spec_own(node: &ImageNode) -> PlatformSpec {
    let own = |key: &str| -> Option<serde_json::Value> {
        let extensions = &mut node.image.extensions.iter();
        let (_, text) = extensions.find(|((_, path), _)| path == key)?;
        serde_json::from_str(text).ok()
    };
    let version = own("os.version").and_then(|version| Some(version.as_str()?.to_owned()));
    let features = own("os.features").and_then(|value| serde_json::from_value(value).ok());
    PlatformSpec {
        platform: node.image.platform.clone(),
        os_version: version,
        os_features: features.unwrap_or_default(),
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
