//! Which platform is meant where the one that was asked for is not there.

use imgconv_model::Platform;

use crate::run::{SourceRoot, images, platform_of};

/// Replaces each wanted ARM variant of which there is no image by the highest lower one that there
/// is: an older instruction set runs on newer machines (robustness L15).
pub(crate) fn nearest(wanted: &[Platform], roots: &[SourceRoot<'_>]) -> Vec<Platform> {
    let mut there = Vec::new();
    for root in roots {
        images(&root.node, None, &mut |node, listed| {
            there.push(platform_of(node, listed))
        });
    }
    wanted.iter().map(|wanted| lower(wanted, &there)).collect()
}

fn lower(wanted: &Platform, there: &[Platform]) -> Platform {
    let level = |platform: &Platform| -> Option<u32> {
        let fits = platform.os == wanted.os && platform.architecture == wanted.architecture;
        let variant = platform.variant.as_deref().filter(|_| fits)?;
        variant.strip_prefix('v')?.parse().ok()
    };
    let known = there.iter().any(|platform| platform.fits(wanted));
    let Some(most) = level(wanted).filter(|_| !known && wanted.architecture == "arm") else {
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
}
