//! Words before the first colon that are no scheme: this module distinguishes a path from a
//! misspelt or foreign scheme, and the error names the right form.

use std::{collections::BTreeSet, path::Path};

use imgconv_model::{Code, Error, Result, quote, without_userinfo};
use strsim::osa_distance;

use crate::catalog;

/// The suffixes of archives: a name with such a suffix is no name of appc.
pub(super) const SUFFIXES: &[&str] = &[
    ".aci", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".json",
];

/// Schemes of the grammar that are no transports themselves.
const OTHERS: &[&str] = &["file", "registry", "dockerv2", "cimd"];

/// The longest word, in bytes, that is compared with the schemes: the comparison is quadratic.
const LONGEST: usize = 32;

/// Says whether an argument is a path whatever its first colon means: the argument has the form of
/// a path, or exists, or the text before one of its colons exists and the rest is a REF.
pub(super) fn is_path(text: &str) -> bool {
    // A path that can't be examined is one: reading the path tells why. In a directory that can't be searched,
    // every name would be such a path.
    let exists = |path: &str| {
        let found = imgconv_fs::is_there(Path::new(path));
        found.unwrap_or_else(|_| !imgconv_fs::is_out_of_reach(Path::new(path)))
    };
    let Some((word, _)) = text.split_once(':') else {
        return true;
    };
    // A word has no slash: `./x:1`, `/x:1` and `a/b:1` are paths.
    word.contains('/')
        || exists(text)
        || text
            .match_indices(':')
            .any(|(at, _)| at > 0 && exists(&text[..at]))
}

/// Refuses an argument whose word before the first colon is no scheme and no path.
///
/// # Errors
/// [`Code::Usage`], with the nearest scheme, or with the locator for the same images where the
/// scheme is one of another program.
pub fn check(text: &str) -> Result<()> {
    match text.split_once(':') {
        Some((word, rest)) if !is_path(text) => Err(unknown(word, rest, text)),
        _ => Ok(()),
    }
}

/// The path of a directory to write, which is no locator. `aci:` and `file:` may precede the path;
/// another scheme, or an unknown word, is refused if no such path exists.
///
/// # Errors
/// [`Code::Usage`].
pub fn directory(text: &str) -> Result<&str> {
    if text.is_empty() {
        return Err(Error::new(Code::Usage, "an empty path names nothing"));
    }
    if is_path(text) {
        return Ok(text);
    }
    match text.split_once(':') {
        Some(("aci" | "file", path)) if !path.is_empty() && !path.starts_with("//") => Ok(path),
        Some((word, _)) if is_known(word) => {
            let message = format!("expected a directory, found the scheme `{word}:`");
            Err(Error::new(Code::Usage, message)
                .at(quote(text))
                .hint(format!("if this is a path, write it as `./{text}`")))
        }
        Some((word, rest)) => Err(unknown(word, rest, text)),
        None => Ok(text),
    }
}

/// The error for a word that is no scheme, with the right form.
fn unknown(word: &str, rest: &str, text: &str) -> Error {
    // A user name and a password may stand before the host of a registry; `ostree:REF@/PATH` has none.
    let shown = match text.contains("@/") {
        true => text.to_owned(),
        false => without_userinfo(text),
    };
    let (word, rest) = shown.split_once(':').unwrap_or((word, rest));
    let text = &*shown;
    let message = format!("there is no scheme {}", quote(format!("{word}:")));
    let advice = foreign(word, rest).or_else(|| reference(word, rest));
    let near = || {
        let scheme = nearest(word)?;
        let meant = format!("perhaps `{scheme}:{rest}` is meant");
        Some(match foreign(scheme, rest) {
            Some(advice) => format!("{meant}, and {advice}"),
            None => meant,
        })
    };
    let advice = advice.or_else(near);
    let mut advice = advice.unwrap_or_else(|| format!("the schemes are: {}", known().join(", ")));
    advice.push_str(&format!("; if this is a path, write it as `./{text}`"));
    Error::new(Code::Usage, message)
        .at(quote(text))
        .hint(advice)
}

/// Advice for a scheme that is not supported in a pair, or in a separate option.
pub(super) fn advice(word: &str) -> String {
    if let Some(advice) = foreign(word, "…") {
        return advice;
    }
    match nearest(word) {
        Some(scheme) if !is_known(scheme) => foreign(scheme, "…").unwrap_or_default(),
        Some(scheme) => format!(
            "perhaps `{scheme}` is meant; supported: {}",
            known().join(", ")
        ),
        None => format!("supported: {}", known().join(", ")),
    }
}

/// Schemes of other programs that are long enough to be misspelt and still known.
const FOREIGN: &[&str] = &["ostree"];

/// Advice on the images of a place for which only another program has a scheme.
fn foreign(word: &str, rest: &str) -> Option<String> {
    let image = rest.trim_start_matches('/');
    let word = word.to_ascii_lowercase();
    let advice = match &*word {
        "docker-engine" | "engine" | "moby" => {
            format!("an image of a running engine is written `docker-daemon:{image}`")
        }
        "containers" | "podman" | "buildah" | "cri-o" => format!(
            "imgconv exchanges images with podman's storage through files: `podman save --format \
             oci-archive -o FILE.tar {image}` makes one that is read as `oci-archive:FILE.tar`, \
             and `podman load -i FILE.tar` takes one that was written as `oci-archive:FILE.tar` or \
             `docker-archive:FILE.tar`"
        ),
        "ctr" | "nerdctl" => format!(
            "imgconv exchanges images with containerd through files: `ctr images export FILE.tar \
             {image}` makes one that is read as `oci-archive:FILE.tar`, and `ctr images import \
             FILE.tar` takes one that was written as `oci-archive:FILE.tar`"
        ),
        "ostree" | "sif" | "tarball" | "atomic" => format!(
            "skopeo can read this place: `skopeo copy {word}:{rest} oci:DIR` makes a layout that \
             is read as `oci:DIR`; for a destination, write `oci:DIR` and copy the layout with \
             another program"
        ),
        "registry" | "docker-registry" | "remote" | "image" | "oras" | "docker-image" => {
            format!("an image in a registry is written `docker://{image}`")
        }
        "oci-layout" | "oci-dir" | "ocidir" | "layout" => format!("a layout is `oci:{image}`"),
        "tar" | "archive" | "docker-tar" | "docker-tarball" => format!(
            "`docker-archive:{rest}` is a file of `docker save`, `oci-archive:{rest}` a layout in a tar"
        ),
        _ => return None,
    };
    // A foreign scheme that this program has by now is no longer foreign.
    (!is_known(&word) || word == "registry").then_some(advice)
}

/// Advice for a text that is probably an image of a registry: `HOST.NAME:PORT/…`, `localhost:PORT`,
/// or `NAME:TAG` of Docker Hub.
fn reference(word: &str, rest: &str) -> Option<String> {
    use imgconv_model::Name;
    let (port, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port && (word.contains('.') || word == "localhost") {
        let named = Some(path).filter(|path| !path.is_empty());
        let path = named.unwrap_or("REPOSITORY:TAG");
        return Some(format!(
            "an image in a registry is written `docker://{word}:{port}/{path}`"
        ));
    }
    let is_tar = SUFFIXES.iter().any(|suffix| rest.ends_with(suffix));
    let is_name = Name::parse_reference(word).is_ok() && Name::is_tag(rest);
    (is_name && !is_tar && nearest(word).is_none())
        .then(|| format!("an image in a registry is written `docker://{word}:{rest}`"))
}

/// Every scheme that can be written.
fn known() -> Vec<&'static str> {
    let transports = catalog::TRANSPORTS.iter().map(|it| it.place().scheme);
    let others = OTHERS.iter().copied().filter(|it| *it != "registry");
    let all: BTreeSet<&str> = transports.chain(others).collect();
    all.into_iter().collect()
}

fn is_known(word: &str) -> bool {
    OTHERS.contains(&word) || catalog::transport(word).is_some()
}

/// The scheme that the user probably meant: at most a third of the word is wrong.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    let foreign = FOREIGN.iter().copied().filter(|it| !is_known(it));
    closest(word, known().into_iter().chain(foreign))
}

/// The word of a list that is closest to a given one, if it is close.
pub(super) fn closest(word: &str, all: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('_', "-");
    let (distance, found) = all.map(|it| (osa_distance(&word, it), it)).min()?;
    (distance <= word.len() / 3).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k15_the_nearest_scheme_is_named() {
        for (word, scheme) in [
            ("docker-archve", Some("docker-archive")),
            ("dokcer", Some("docker")),
            ("OCI", Some("oci")),
            ("oci_archive", Some("oci-archive")),
            ("htps", Some("https")),
            ("aic", Some("aci")),
            ("x", None),
            ("new", None),
            ("busybox", None),
            ("", None),
        ] {
            assert_eq!(nearest(word), scheme, "{word}");
        }
        assert_eq!(nearest(&"docker".repeat(100_000)), None);
    }

    #[test]
    fn k15_a_word_that_is_no_scheme_says_what_to_do() {
        for (text, said) in [
            ("docker-archve:x.tar", "`docker-archive:x.tar`"),
            ("Docker-Archive:x.tar", "`docker-archive:x.tar`"),
            ("docker-engine:busybox", "`docker-daemon:busybox`"),
            ("podman:x", "`podman save"),
            ("ctr:x", "`ctr images export"),
            ("ostree:x@/r", "`skopeo copy ostree:x@/r oci:DIR`"),
            ("docker-deamon:x", "perhaps `docker-daemon:x` is meant"),
            ("sif:x.sif", "skopeo"),
            ("tarball:x.tar", "skopeo"),
            ("registry:h.example/x", "`docker://h.example/x`"),
            ("localhost:5000/x:1", "`docker://localhost:5000/x:1`"),
            ("busybox:1.36", "`docker://busybox:1.36`"),
            ("nothing-like-it:x y", "the schemes are: aci, "),
        ] {
            let error = check(text).unwrap_err();
            assert_eq!(error.code(), Code::Usage, "{text}");
            let advice = error.advice().unwrap();
            assert!(advice.contains(said), "{text}: {advice}");
            assert!(advice.contains(&format!("`./{text}`")), "{text}: {advice}");
        }
        for text in ["./new:1", "../new:1", "/new:1", "a/b:1", "plain"] {
            check(text).unwrap();
        }
    }

    #[test]
    fn k15_what_is_there_is_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("a:b").to_str().unwrap().to_owned();
        std::fs::write(&there, "").unwrap();
        assert!(is_path(&there) && is_path(&format!("{there}:1")));
        assert_eq!(directory("./oci:x").unwrap(), "./oci:x");
        assert_eq!(directory("aci:site").unwrap(), "site");
        assert_eq!(directory("site").unwrap(), "site");
        for text in ["oci:site", "docker-daemon:x", "x:1", ""] {
            assert_eq!(directory(text).unwrap_err().code(), Code::Usage, "{text}");
        }
    }
}
