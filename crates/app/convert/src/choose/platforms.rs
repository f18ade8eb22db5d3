//! The choice of an image where the requested platform is missing, or is there twice.

use std::{collections::BTreeSet, sync::Arc};

use imgconv_model::{Child, Index, Platform, PlatformSpec, Report};

use crate::read::{
    node::{ImageNode, Node, platform_of},
    root::SourceRoot,
    spec::spec_of,
};

/// Says whether a platform is asked for: all are if none is named. An unknown platform fits every
/// request, and so does an unknown part of one.
pub fn is_wanted(platforms: &[PlatformSpec], spec: &PlatformSpec) -> bool {
    let own = &spec.platform;
    let fits = |wanted: &PlatformSpec| {
        let platform = own.completed(&wanted.platform);
        let spec = PlatformSpec {
            platform,
            ..spec.clone()
        };
        spec.fits(wanted)
    };
    platforms.is_empty()
        || own.os.is_empty() && own.architecture.is_empty()
        || platforms.iter().any(fits)
}

/// Replaces each wanted ARM variant without an image by the highest lower variant that has one: an
/// older instruction set runs on newer machines (robustness L15). A platform without a variant that an image
/// has exactly no longer stands for all variants (containerd, platforms/compare.go). An OS version that an image has
/// exactly no longer stands for versions that begin with it (robustness K16).
pub fn nearest(wanted: &[PlatformSpec], roots: &[SourceRoot<'_>]) -> Vec<PlatformSpec> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let images = roots.iter().flat_map(|root| root.node.images());
    let specs: Vec<PlatformSpec> = images.map(|(node, listed)| spec_of(node, listed)).collect();
    let there: Vec<Platform> = specs.iter().map(|spec| spec.platform.clone()).collect();
    let chosen = wanted.iter().map(|wanted| {
        let platform = without_variant(lower(&wanted.platform, &there), &there);
        let exact = PlatformSpec {
            exact: true,
            platform,
            ..wanted.clone()
        };
        let exactly = specs.iter().any(|spec| spec.fits(&exact));
        PlatformSpec {
            exact: wanted.os_version.is_some() && exactly,
            ..exact
        }
    });
    chosen.collect()
}

/// Says of each entry of an index whether an earlier entry is an image of the same platform: the
/// first match counts (OCI image-index.md, robustness L15).
pub fn repeated(index: &Index, children: &[Option<Arc<Node>>]) -> Vec<bool> {
    let mut seen = BTreeSet::new();
    let both = index.children.iter().zip(children);
    both.map(|(listed, child)| {
        let Some(image) = child.as_deref().and_then(Node::as_image) else {
            return false;
        };
        let spec = spec_of(image, Some(listed));
        let known = !spec.platform.os.is_empty();
        // Includes facts that only the descriptor has, such as the version of Windows.
        let raw = serde_json::from_str(&listed.raw).unwrap_or(serde_json::Value::Null);
        let key = (spec, raw["platform"].to_string());
        !seen.insert(key) && known
    })
    .collect()
}

/// The images below a root that are wanted, each once, with the descriptors that list them. With
/// `first_only`, of several images that an index has for one wanted platform the first one counts, and
/// the others are reported.
pub fn chosen<'r>(
    root: &'r SourceRoot<'_>,
    platforms: &[PlatformSpec],
    first_only: bool,
    report: &mut Report,
) -> Vec<(&'r ImageNode, Option<&'r Child>)> {
    let second = match first_only && !platforms.is_empty() {
        true => second_matches(&root.node),
        false => BTreeSet::new(),
    };
    let (mut known, mut chosen) = (BTreeSet::new(), Vec::new());
    for (node, listed) in root.node.images() {
        let address = std::ptr::from_ref(node);
        if !is_wanted(platforms, &spec_of(node, listed)) || !known.insert(address) {
            continue;
        }
        match second.contains(&address) {
            true => warn_second(report, &root.text, node, &platform_of(node, listed)),
            false => chosen.push((node, listed)),
        }
    }
    chosen
}

/// The addresses of the images below a node that stand only after another image of their platform in
/// an index.
fn second_matches(node: &Node) -> BTreeSet<*const ImageNode> {
    let (mut first, mut second) = (BTreeSet::new(), BTreeSet::new());
    for (node, _) in node.walk() {
        let Node::Index {
            index, children, ..
        } = node
        else {
            continue;
        };
        for (child, repeated) in children.iter().zip(repeated(index, children)) {
            if let Some(Node::Image(image)) = child.as_deref() {
                let matches = if repeated { &mut second } else { &mut first };
                matches.insert(std::ptr::from_ref(&**image));
            }
        }
    }
    &second - &first
}

/// Warns that an image is left out because an earlier one has the same platform.
pub fn warn_second(report: &mut Report, place: &str, image: &ImageNode, platform: &Platform) {
    let image = image.child.as_ref().map(|child| child.digest.to_string());
    let image = image.unwrap_or_default();
    let message = format!(
        "several images are for {platform}: the first one is used, and {image} is left out"
    );
    report.warn("second-match", place, message);
}

/// Names the variant that a platform without a variant has, if there is an image of just this platform.
fn without_variant(wanted: Platform, there: &[Platform]) -> Platform {
    let asked = wanted.canonical();
    let usual = match &*asked.architecture {
        "amd64" => "v1",
        "arm64" => "v8",
        _ => return wanted,
    };
    let exactly = there.iter().any(|platform| platform.canonical() == asked);
    match wanted.variant.is_none() && asked.variant.is_none() && exactly {
        true => Platform {
            variant: Some(usual.to_owned()),
            ..wanted
        },
        false => wanted,
    }
}

/// Warns about wanted platforms that no image has, where another wanted platform has one.
pub fn warn_missing(wanted: &[PlatformSpec], roots: &[SourceRoot<'_>], report: &mut Report) {
    let images = roots.iter().flat_map(|root| root.node.images());
    let there: Vec<PlatformSpec> = images.map(|(node, listed)| spec_of(node, listed)).collect();
    let has = |wanted: &PlatformSpec| {
        let wanted = std::slice::from_ref(wanted);
        there.iter().any(|spec| is_wanted(wanted, spec))
    };
    let (found, missing): (Vec<_>, Vec<_>) = wanted.iter().partition(|wanted| has(wanted));
    if found.is_empty() {
        return;
    }
    let mut names: Vec<String> = there.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    for wanted in missing {
        let message = format!("no image is for {wanted}; available: {}", names.join(", "));
        report.warn("missing-platform", "--platform", message);
    }
}

fn lower(wanted: &Platform, there: &[Platform]) -> Platform {
    let asked = wanted.canonical();
    let level = |platform: &Platform| -> Option<u32> {
        let platform = platform.canonical();
        let fits = platform.os == asked.os && platform.architecture == asked.architecture;
        let variant = platform.variant.filter(|_| fits)?;
        variant.strip_prefix('v')?.parse().ok()
    };
    let known = there.iter().any(|platform| platform.fits(wanted));
    let Some(most) = level(wanted).filter(|_| !known && asked.architecture == "arm") else {
        return wanted.clone();
    };
    let lower = there
        .iter()
        .filter(|platform| level(platform).is_some_and(|level| level < most));
    lower
        .max_by_key(|platform| level(platform))
        .unwrap_or(wanted)
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l15_a_lower_variant_of_arm_stands_in_for_a_higher_one() {
        let read = |text: &str| Platform::parse(text).unwrap();
        let there = [
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm64/v8",
        ]
        .map(read);
        for (wanted, found) in [
            ("linux/arm/v7", "linux/arm/v6"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/arm/v5", "linux/arm/v5"),
            ("linux/amd64", "linux/amd64"),
            ("windows/arm/v7", "windows/arm/v7"),
            ("linux/arm64/v9", "linux/arm64/v9"),
        ] {
            assert_eq!(lower(&read(wanted), &there), read(found), "{wanted}");
        }
        assert_eq!(lower(&read("linux/arm/v4"), &there), read("linux/arm/v4"));
    }

    #[test]
    fn a_platform_without_a_variant_means_the_image_without_a_variant_if_there_is_one() {
        let read = |text: &str| Platform::parse(text).unwrap();
        let chosen = |wanted: &str, there: &[&str]| {
            let there: Vec<Platform> = there.iter().map(|text| read(text)).collect();
            let wanted = without_variant(read(wanted), &there);
            let fits = there.iter().map(|platform| platform.fits(&wanted));
            fits.collect::<Vec<bool>>()
        };
        let amd64 = ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"];
        assert_eq!(chosen("linux/amd64", &amd64), [true, false, false]);
        assert_eq!(chosen("linux/x86_64", &amd64), [true, false, false]);
        assert_eq!(chosen("linux/amd64/v2", &amd64), [false, true, false]);
        assert_eq!(chosen("linux/amd64", &amd64[1..]), [true, true]);
        let arm64 = ["linux/arm64/v8", "linux/arm64/v9"];
        assert_eq!(chosen("linux/arm64", &arm64), [true, false]);
        assert_eq!(
            chosen("linux/arm", &["linux/arm/v6", "linux/arm/v7"]),
            [true, true]
        );
    }
}
