//! The labels `os` and `arch` of appc, and platforms by the names of Go: one table, both ways.
//!
//! The pairs are those of the appc specification's list of valid combinations. `arm64` and
//! `arm64/v8` are the same platform and both are `aarch64`.

use imgconv_model::{Code, Error, Platform, Result};

/// (os, appc's arch, Go's architecture, variant). The first matching row counts.
const TABLE: &[(&str, &str, &str, Option<&str>)] = &[
    ("linux", "amd64", "amd64", None),
    ("linux", "i386", "386", None),
    ("linux", "aarch64", "arm64", None),
    ("linux", "aarch64", "arm64", Some("v8")),
    ("linux", "aarch64_be", "arm64be", None),
    ("linux", "armv6l", "arm", Some("v6")),
    ("linux", "armv7l", "arm", Some("v7")),
    ("linux", "armv7b", "armbe", Some("v7")),
    ("linux", "ppc64", "ppc64", None),
    ("linux", "ppc64le", "ppc64le", None),
    ("linux", "s390x", "s390x", None),
    ("freebsd", "amd64", "amd64", None),
    ("freebsd", "i386", "386", None),
    ("freebsd", "arm", "arm", None),
    ("darwin", "x86_64", "amd64", None),
    ("darwin", "i386", "386", None),
];

/// Returns the platform of the labels `os` and `arch`. A pair that is not in the specification is
/// copied unchanged. The rows of Linux are used if `os` is absent.
pub fn from_labels(os: Option<&str>, arch: Option<&str>) -> Platform {
    let found = arch.and_then(|arch| {
        let wanted = os.unwrap_or("linux");
        TABLE.iter().find(|row| (row.0, row.1) == (wanted, arch))
    });
    let architecture = found.map_or(arch.unwrap_or_default(), |row| row.2);
    Platform {
        variant: found.and_then(|row| row.3).map(str::to_owned),
        ..Platform::new(os.unwrap_or_default(), architecture)
    }
}

/// Returns true if the specification lists the labels; an absent label contradicts nothing.
pub fn is_known(os: Option<&str>, arch: Option<&str>) -> bool {
    let Some(os) = os else { return true };
    TABLE
        .iter()
        .any(|row| row.0 == os && arch.is_none_or(|arch| row.1 == arch))
}

/// Returns the labels `os` and `arch` of a platform in any spelling; an unknown part has no label. A variant that
/// appc has no name for is left out, and an `arm` of Linux without a variant is `armv6l`, as
/// docker2aci writes it.
///
/// # Errors
/// [`Code::Unsupported`] for a pair that the specification does not list.
pub fn to_labels(platform: &Platform) -> Result<(Option<String>, Option<String>)> {
    let Platform {
        os,
        architecture,
        variant,
    } = &platform.canonical();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let wanted = if os.is_empty() { "linux" } else { os };
    let fits = |row: &&(&str, &str, &str, Option<&str>)| {
        row.0 == wanted && (architecture.is_empty() || row.2 == architecture)
    };
    let exact = |row: &&(&str, &str, &str, Option<&str>)| fits(row) && row.3 == variant.as_deref();
    let row = TABLE.iter().find(exact).or_else(|| {
        // A variant without a row of its own is the same platform if only one row fits; a variant
        // of arm is another processor, except on FreeBSD, which has one name for all.
        let free = wanted != "linux" || architecture != "arm" || variant.is_none();
        TABLE.iter().find(|row| free && fits(row))
    });
    match row {
        Some(_) if architecture.is_empty() => Ok((some(os), None)),
        Some(row) => Ok((some(os), some(row.1))),
        None => {
            let message = format!("platform `{platform}` has no name in the appc specification");
            Err(Error::new(Code::Unsupported, message)
                .hint(format!("an ACI can be for {}", supported().join(", "))))
        }
    }
}

/// Returns every platform that an ACI can have, by the names of Go.
pub fn supported() -> Vec<String> {
    TABLE
        .iter()
        .filter(|row| row.3 != Some("v8"))
        .map(|row| from_labels(Some(row.0), Some(row.1)).to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_the_same_both_ways() {
        for (os, arch, expected) in [
            ("linux", "amd64", "linux/amd64"),
            ("linux", "i386", "linux/386"),
            ("linux", "aarch64", "linux/arm64"),
            ("linux", "armv6l", "linux/arm/v6"),
            ("linux", "armv7l", "linux/arm/v7"),
            ("linux", "armv7b", "linux/armbe/v7"),
            ("linux", "aarch64_be", "linux/arm64be"),
            ("linux", "ppc64", "linux/ppc64"),
            ("linux", "ppc64le", "linux/ppc64le"),
            ("linux", "s390x", "linux/s390x"),
            ("freebsd", "amd64", "freebsd/amd64"),
            ("freebsd", "i386", "freebsd/386"),
            ("freebsd", "arm", "freebsd/arm"),
            ("darwin", "x86_64", "darwin/amd64"),
            ("darwin", "i386", "darwin/386"),
        ] {
            let platform = from_labels(Some(os), Some(arch));
            assert_eq!(platform.to_string(), expected);
            let labels = to_labels(&platform).unwrap();
            assert_eq!(labels, (Some(os.to_owned()), Some(arch.to_owned())));
            assert!(is_known(Some(os), Some(arch)));
        }
    }

    #[test]
    fn variants_that_appc_has_no_word_for() {
        for (platform, arch) in [
            ("linux/arm64/v8", "aarch64"),
            ("linux/arm", "armv6l"),
            ("linux/amd64/v3", "amd64"),
            ("linux/x86_64", "amd64"),
            ("linux/armhf", "armv7l"),
            ("linux/arm/7", "armv7l"),
            ("freebsd/arm/v7", "arm"),
        ] {
            let labels = to_labels(&Platform::parse(platform).unwrap()).unwrap();
            assert_eq!(labels.1.as_deref(), Some(arch), "{platform}");
        }
    }

    #[test]
    fn another_pair_is_refused_and_the_supported_ones_are_named() {
        for platform in [
            "windows/amd64",
            "linux/riscv64",
            "linux/arm/v5",
            "darwin/arm64",
        ] {
            let error = to_labels(&Platform::parse(platform).unwrap()).unwrap_err();
            assert_eq!(error.code(), Code::Unsupported);
            assert!(error.message().contains(platform), "{error}");
            assert!(error.advice().unwrap().contains("linux/arm/v7"));
        }
    }

    #[test]
    fn h6b_absent_and_unknown_labels_pass() {
        assert_eq!(from_labels(None, None), Platform::default());
        assert_eq!(to_labels(&Platform::default()).unwrap(), (None, None));
        assert_eq!(from_labels(None, Some("aarch64")).architecture, "arm64");
        assert_eq!(
            to_labels(&Platform::new("linux", "")).unwrap(),
            (Some("linux".into()), None)
        );
        assert_eq!(
            from_labels(Some("plan9"), Some("mips")),
            Platform::new("plan9", "mips")
        );
        assert!(!is_known(Some("plan9"), None) && !is_known(Some("linux"), Some("mips")));
    }
}
