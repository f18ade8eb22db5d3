//! Platforms by the names of Go (`GOOS`, `GOARCH`), as OCI and Docker write them.

use std::fmt;

use crate::{Code, Error, Result, quote};

/// An operating system and processor. An empty part is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor, such as `amd64` or `arm64`.
    pub architecture: String,
    /// The processor's variant, such as `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// Makes a platform without a variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: None,
        }
    }

    /// Reads `OS/ARCH[/VARIANT]`.
    ///
    /// # Errors
    /// [`Code::BadName`] if there are not two or three parts of `[A-Za-z0-9._-]`.
    pub fn parse(text: &str) -> Result<Self> {
        let token = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, arch] if token(os) && token(arch) => Ok(Self::new(os, arch)),
            [os, arch, variant] if token(os) && token(arch) && token(variant) => Ok(Self {
                variant: Some(variant.into()),
                ..Self::new(os, arch)
            }),
            _ => Err(Error::new(
                Code::BadName,
                format!(
                    "platform {} is not `OS/ARCH` or `OS/ARCH/VARIANT`",
                    quote(text)
                ),
            )),
        }
    }

    /// Returns the platform by the names of Go in their usual spelling: `x86_64` is `amd64`, as docker before 1.10
    /// wrote it, `aarch64` is `arm64`, `armhf` is `arm/v7`, and `arm64/v8` is `arm64`. Other words stay, in lower case.
    /// The table is that of containerd (platforms, database.go), except that `arm` without a variant stays so.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let lower = |text: &str| text.to_ascii_lowercase();
        let (os, architecture) = (lower(&self.os), lower(&self.architecture));
        let variant = self.variant.as_deref().map(lower);
        let os = match &*os {
            "macos" => "darwin",
            os => os,
        };
        let (architecture, variant) = match (&*architecture, variant.as_deref()) {
            ("i386", _) => ("386", None),
            ("x86_64" | "x86-64" | "amd64", Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", Some("8" | "v8")) => ("arm64", None),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("7")) => ("arm", Some("v7")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            other => other,
        };
        Self {
            variant: variant.map(str::to_owned),
            ..Self::new(os, architecture)
        }
    }

    /// Returns the platform with the parts of another platform where its own are empty.
    #[must_use]
    pub fn completed(&self, other: &Self) -> Self {
        let mut whole = self.clone();
        if whole.os.is_empty() {
            whole.os.clone_from(&other.os);
        }
        if whole.architecture.is_empty() {
            whole.architecture.clone_from(&other.architecture);
            whole.variant = whole.variant.or_else(|| other.variant.clone());
        }
        whole
    }

    /// Says whether the operating system and the architecture are known.
    pub fn is_complete(&self) -> bool {
        !self.os.is_empty() && !self.architecture.is_empty()
    }

    /// Returns true if an image for this platform satisfies a request for `wanted`: os and
    /// architecture are equal, and the variant is too if `wanted` has one. The spellings of
    /// [`Platform::canonical`] are the same.
    pub fn fits(&self, wanted: &Self) -> bool {
        let any_variant = wanted.variant.is_none();
        let (own, wanted) = (self.canonical(), wanted.canonical());
        own.os == wanted.os
            && own.architecture == wanted.architecture
            && (any_variant && wanted.variant.is_none() || own.variant == wanted.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |part: &str| {
            if part.is_empty() {
                "unknown".to_owned()
            } else {
                part.into()
            }
        };
        write!(
            f,
            "{}/{}",
            or_unknown(&self.os),
            or_unknown(&self.architecture)
        )?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A platform with the fields that distinguish images of one platform: the releases of Windows.
///
/// An index and a config can have `os.version` and `os.features` (OCI image-index.md). Only the
/// selection of an image uses them; an image keeps them in its documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformSpec {
    /// The platform.
    pub platform: Platform,
    /// `os.version`, such as `10.0.20348.5`.
    pub os_version: Option<String>,
    /// `os.features`, such as `win32k`.
    pub os_features: Vec<String>,
    /// In a request: true if only that very version fits, not a version that begins with it.
    pub exact: bool,
}

impl PlatformSpec {
    /// Reads `OS[(VERSION[+FEATURE…])]/ARCH[/VARIANT]`, as containerd writes it, or
    /// `OS/ARCH[/VARIANT]:VERSION`, as crane does.
    ///
    /// # Errors
    /// [`Code::BadName`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            let message = format!("platform {} is not `OS/ARCH[/VARIANT]`", quote(text));
            Error::new(Code::BadName, message)
                .hint("a version of the system is `OS(VERSION)/ARCH` or `OS/ARCH:VERSION`")
        };
        let word = |part: &str| {
            let byte = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !part.is_empty() && part.bytes().all(byte)
        };
        let (rest, after) = match text.split_once(':') {
            Some((rest, version)) if word(version) => (rest, Some(version)),
            Some(_) => return Err(bad()),
            None => (text, None),
        };
        let mut spec = Self::default();
        let plain = match rest.split_once('(') {
            None => rest.to_owned(),
            Some((os, rest)) => {
                let (inside, rest) = rest.split_once(')').ok_or_else(bad)?;
                let mut parts = inside.split('+');
                let version = parts.next().unwrap_or_default();
                let features: Vec<&str> = parts.collect();
                let valid =
                    (version.is_empty() || word(version)) && features.iter().all(|it| word(it));
                if !valid || version.is_empty() && features.is_empty() {
                    return Err(bad());
                }
                spec.os_version = Some(version.to_owned()).filter(|version| !version.is_empty());
                spec.os_features = features.into_iter().map(str::to_owned).collect();
                format!("{os}{rest}")
            }
        };
        if after.is_some() && spec.os_version.is_some() {
            return Err(bad());
        }
        spec.os_version = spec.os_version.or(after.map(str::to_owned));
        spec.platform = Platform::parse(&plain).map_err(|_| bad())?;
        Ok(spec)
    }

    /// Returns true if an image for this platform satisfies a request for `wanted`: as
    /// [`Platform::fits`], with every requested feature, and with the requested version of the
    /// system or, unless `wanted` is exact, a version that begins with its numbers: `10.0.17763`
    /// selects `10.0.17763.1` too.
    pub fn fits(&self, wanted: &Self) -> bool {
        let begins = |version: &str, wanted_version: &str| {
            let rest = version.strip_prefix(wanted_version);
            rest.is_some_and(|rest| rest.is_empty() || !wanted.exact && rest.starts_with('.'))
        };
        let version = wanted.os_version.as_deref().is_none_or(|wanted| {
            self.os_version
                .as_deref()
                .is_some_and(|own| begins(own, wanted))
        });
        version
            && self.platform.fits(&wanted.platform)
            && wanted
                .os_features
                .iter()
                .all(|it| self.os_features.contains(it))
    }
}

impl From<Platform> for PlatformSpec {
    fn from(platform: Platform) -> Self {
        Self {
            platform,
            ..Self::default()
        }
    }
}

/// The form is that of containerd.
impl fmt::Display for PlatformSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.platform.to_string();
        if self.os_version.is_none() && self.os_features.is_empty() {
            return f.write_str(&plain);
        }
        let (os, rest) = plain.split_once('/').unwrap_or((&plain, ""));
        write!(f, "{os}({}", self.os_version.as_deref().unwrap_or_default())?;
        for feature in &self.os_features {
            write!(f, "+{feature}")?;
        }
        write!(f, ")/{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k16_a_version_of_the_system_is_part_of_what_is_asked_for() {
        let spec = |text: &str| PlatformSpec::parse(text).unwrap();
        for text in [
            "linux/amd64",
            "windows(10.0.17763)/amd64",
            "windows(10.0.17763.1+win32k)/amd64",
            "windows(+win32k)/arm/v7",
        ] {
            assert_eq!(spec(text).to_string(), text);
        }
        let crane = spec("windows/amd64:10.0.17763");
        assert_eq!(crane, spec("windows(10.0.17763)/amd64"));
        let image = spec("windows(10.0.17763.1+win32k)/amd64");
        for (wanted, fits) in [
            ("windows/amd64", true),
            ("windows(10.0.17763.1)/amd64", true),
            ("windows(10.0.17763)/amd64", true),
            ("windows(10.0)/amd64", true),
            ("windows(10.0.17763.2)/amd64", false),
            ("windows(10.0.1776)/amd64", false),
            ("windows(+win32k)/amd64", true),
            ("windows(+other)/amd64", false),
            ("windows(10.0.17763.1)/arm64", false),
        ] {
            assert_eq!(image.fits(&spec(wanted)), fits, "{wanted}");
        }
        let exact = PlatformSpec {
            exact: true,
            ..crane
        };
        assert!(!image.fits(&exact) && spec("windows(10.0.17763)/amd64").fits(&exact));
        assert!(!spec("windows/amd64").fits(&exact));
        for text in [
            "windows()/amd64",
            "windows(1/amd64",
            "windows(1)(2)/amd64",
            "windows(1)/amd64:2",
            "windows/amd64:",
            "windows/amd64:1:2",
            "windows(+)/amd64",
            "windows",
            "windows(1)",
            "windows(\u{1b})/amd64",
        ] {
            let error = PlatformSpec::parse(text).unwrap_err();
            assert_eq!(error.code(), Code::BadName, "{text}");
        }
    }

    #[test]
    fn parse_and_print_are_inverse() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), text);
        }
        for text in ["linux", "linux/", "/amd64", "a/b/c/d", "../x", "l x/y"] {
            assert_eq!(
                Platform::parse(text).unwrap_err().code(),
                Code::BadName,
                "{text}"
            );
        }
    }

    #[test]
    fn old_spellings_are_the_names_of_go() {
        for (text, expected) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/i386", "linux/386"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/arm", "linux/arm"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            let (read, expected) = (Platform::parse(text), Platform::parse(expected));
            let (read, expected) = (read.unwrap(), expected.unwrap());
            assert_eq!(read.canonical(), expected, "{text}");
            assert!(read.fits(&expected) && expected.fits(&read), "{text}");
        }
        let arm = |text: &str| Platform::parse(text).unwrap();
        assert!(!arm("linux/arm").fits(&arm("linux/armhf")));
        assert!(!arm("linux/arm64/v9").fits(&arm("linux/arm64/v8")));
        assert!(arm("linux/arm/v6").fits(&arm("linux/arm")));
    }

    #[test]
    fn a_wanted_variant_must_be_there() {
        let v8 = Platform::parse("linux/arm64/v8").unwrap();
        let arm64 = Platform::parse("linux/arm64").unwrap();
        assert!(v8.fits(&arm64) && arm64.fits(&v8));
        let v7 = Platform::parse("linux/arm/v7").unwrap();
        assert!(v7.fits(&Platform::new("linux", "arm")));
        assert!(!Platform::new("linux", "arm").fits(&v7));
    }
}
