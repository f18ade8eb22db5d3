//! The repository and the tag under which an image is served.
//!
//! The repository is the reference of the image without its host: `docker.io/library/alpine:3` is
//! `library/alpine`, tag `3`. An image without a repository in its name gets the name of the file or the
//! directory that holds the image.

use imgconv_model::{Digest, Name, Report};

/// Endings of file names that say nothing about the image.
const SUFFIXES: &[&str] = &[".tar.gz", ".tgz", ".tar", ".aci", ".oci"];

/// The host of images whose name has none.
const HERE: &str = "localhost";

/// The host of Docker Hub in references.
const HUB: &str = "docker.io";

/// Where an image is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// The host in the reference.
    pub(super) host: String,
    /// The reference without host, tag and digest.
    pub(super) path: String,
    /// The tag; `None` for an image that only its digest names.
    pub(super) tag: Option<String>,
}

/// Returns where an image is served. `file` is the locator of the file or the directory that holds the
/// image, and `only` says that it holds no other.
pub(super) fn served(
    name: Option<&Name>,
    file: &str,
    only: bool,
    (position, digest): (usize, Option<&Digest>),
) -> Served {
    let by_file = |tag: Option<String>| Name {
        repository: Some(format!("{HERE}/{}", stem(file))),
        tag,
        digest: None,
    };
    let name = match name {
        Some(name) if name.repository.is_some() => name.clone(),
        Some(Name { tag: Some(tag), .. }) => by_file(Some(tag.clone())),
        _ if only => by_file(None),
        _ => by_file(Some(match digest {
            Some(digest) => digest.hex().chars().take(12).collect(),
            None => format!("image-{position}"),
        })),
    };
    // What the repository or the tag can't hold is replaced.
    let text = name.to_full_reference(&mut Report::default());
    let read = text.and_then(|text| Name::parse_reference(&text).ok());
    let name = read.unwrap_or_else(|| Name {
        repository: Some(format!("{HERE}/image-{position}")),
        tag: Some("latest".to_owned()),
        digest: None,
    });
    let repository = name.repository.unwrap_or_default();
    let (host, path) = repository.split_once('/').unwrap_or((HERE, &repository));
    Served {
        host: host.to_owned(),
        path: path.to_owned(),
        tag: name.tag,
    }
}

/// Lists the names with their host that a repository of that host may have. Docker Hub has several hosts,
/// and `library/` for names without a slash.
pub(super) fn full_names(host: &str, name: &str) -> Vec<String> {
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => HUB,
        host => host,
    };
    let mut names = vec![format!("{host}/{name}")];
    if host == HUB && !name.contains('/') {
        names.push(format!("{HUB}/library/{name}"));
    }
    names
}

/// The last component of a locator, without the endings of archives.
fn stem(file: &str) -> &str {
    let path = file.split_once(':').map_or(file, |(_, path)| path);
    let last = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path);
    let cut = SUFFIXES.iter().find_map(|suffix| last.strip_suffix(suffix));
    match cut.unwrap_or(last) {
        "" | "." | "-" => "image",
        stem => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reference: &str) -> (String, String, Option<String>) {
        let name = Name::parse_reference(reference).unwrap();
        let Served { host, path, tag } = served(Some(&name), "oci:/x", true, (0, None));
        (host, path, tag)
    }

    #[test]
    fn the_host_is_left_out() {
        let some = |text: &str| Some(text.to_owned());
        let text = |text: &str| text.to_owned();
        assert_eq!(
            of("alpine"),
            (text("docker.io"), text("library/alpine"), some("latest"))
        );
        assert_eq!(
            of("quay.io/a/b:1"),
            (text("quay.io"), text("a/b"), some("1"))
        );
        assert_eq!(
            of("localhost:5000/a:1"),
            (text("localhost:5000"), text("a"), some("1"))
        );
        let digest = "ab".repeat(32);
        let by_digest = of(&format!("quay.io/a@sha256:{digest}"));
        assert_eq!(by_digest, (text("quay.io"), text("a"), None));
    }

    #[test]
    fn an_image_without_a_repository_gets_the_name_of_its_file() {
        let tagged = Name {
            tag: Some("3.11".to_owned()),
            ..Name::default()
        };
        let digest = Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap();
        for (name, file, only, path, tag) in [
            (None, "oci:/stores/Old Layout", true, "old_layout", "latest"),
            (
                None,
                "docker-archive:/x/busybox-1.36.tar",
                true,
                "busybox-1.36",
                "latest",
            ),
            (Some(&tagged), "oci:out", false, "out", "3.11"),
            (None, "oci:out/", false, "out", "abababababab"),
            (None, "oci:/", true, "image", "latest"),
            (None, "dir:../..", true, "x", "latest"),
        ] {
            let found = served(name, file, only, (0, Some(&digest)));
            assert_eq!((&*found.host, &*found.path), ("localhost", path), "{file}");
            assert_eq!(found.tag.as_deref(), Some(tag), "{file}");
        }
        let second = served(None, "aci-tree:x", false, (7, None));
        assert_eq!(second.tag.as_deref(), Some("image-7"));
    }
}
