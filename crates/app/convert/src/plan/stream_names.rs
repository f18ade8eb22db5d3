//! The names of ACIs and of their files.

use imgconv_format_aci::{IMAGE_ID, identifier, manifest_of, platform};
use imgconv_model::{Digest, Env, Image, Name, Outcome as LossKind, Report, Result, quote};

use crate::{choose::request::Request, read::root::SourceRoot, tags::file_token};

/// The name of an ACI: the user's, or the one of the place or the image, else the file name of the
/// place, which is reported.
///
/// # Errors
/// [`imgconv_model::Code::BadName`] if the user's or the place's name is invalid.
pub(super) fn name(
    request: &Request<'_>,
    root: &SourceRoot<'_>,
    image: &Image,
    digest: Option<Digest>,
    report: &mut Report,
) -> Result<Name> {
    if let Some(mut name) = request.given_name()?.or_else(|| root.renamed.clone()) {
        // In a migration this name has the host already.
        digest_as_version(&mut name, report);
        return Ok(name);
    }
    // Fails if the place's name is invalid.
    root.name()?;
    let mut name = known_name(request, root, image, digest, report);
    if let (Some(host), Some(repository)) = (&request.options.host, &mut name.repository) {
        *repository = on_host(repository, host);
    }
    match request.options.image_tags {
        // The label `dockerimageid` distinguishes this ACI from others of its name.
        true => name.digest = None,
        false => digest_as_version(&mut name, report),
    }
    Ok(name)
}

/// The name without the user's options.
fn known_name(
    request: &Request<'_>,
    root: &SourceRoot<'_>,
    image: &Image,
    digest: Option<Digest>,
    report: &mut Report,
) -> Name {
    let own = kept_name(image, request.env).or_else(|| image.name.clone());
    let listed = root.entry.name.clone();
    match (own, listed) {
        (Some(own), None) => own,
        // The ACI's own spelling, if the reference is still its translation.
        (Some(own), Some(listed)) if same_name(&own, &listed) => own,
        (_, Some(listed)) if listed.repository.is_some() => listed,
        // The image was tagged anew: the repository is unchanged.
        (
            Some(Name {
                repository: Some(repository),
                ..
            }),
            Some(listed),
        ) => Name {
            repository: Some(repository),
            tag: listed.tag,
            digest: listed.digest,
        },
        (_, listed) => {
            let repository = sanitised_file_name(&root.place);
            let why = format!(
                "the source names no repository; {} is used",
                quote(&repository)
            );
            report.lose("name", LossKind::Synthesised, why);
            let tag = listed.and_then(|name| name.tag).or_else(|| {
                if request.options.image_tags {
                    return None;
                }
                // Images without any name must not all get the same name (robustness C8d).
                let tag = digest?.hex()[..12].to_owned();
                let why = format!("the source names no tag; {} is used", quote(&tag));
                report.lose("tag", LossKind::Synthesised, why);
                Some(tag)
            });
            Name::new(repository, tag)
        }
    }
}

/// A repository at another host.
pub fn on_host(repository: &str, host: &str) -> String {
    let path = match repository.split_once('/') {
        Some((own, path)) if own.contains(['.', ':']) || own == "localhost" => path,
        _ => repository,
    };
    format!("{host}/{path}")
}

/// The last part of a path without archive suffixes, as the name of an ACI.
fn sanitised_file_name(place: &str) -> String {
    let base = std::path::Path::new(place)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let suffixes = [".gz", ".zst", ".xz", ".bz2", ".tgz", ".tar", ".aci", ".oci"];
    let stem = suffixes.iter().fold(base, |base, suffix| {
        base.strip_suffix(suffix).unwrap_or(base)
    });
    identifier::sanitise(stem).unwrap_or_else(|| "image".to_owned())
}

/// The name in the ACI manifest that was kept when an ACI became this image.
pub(super) fn kept_name(image: &Image, env: &Env) -> Option<Name> {
    let manifest = manifest_of(image, &env.limits).ok()??;
    let tag = manifest.label("version").map(str::to_owned);
    Some(Name::new(manifest.name, tag))
}

/// Says whether a reference is the translation of an ACI's name and version.
pub(super) fn same_name(own: &Name, listed: &Name) -> bool {
    let mut ignored = Report::default();
    let tag = || own.to_tag(&mut Report::default());
    match &listed.repository {
        Some(_) if listed.is_by_digest() => false,
        Some(_) => own.to_reference(&mut ignored) == listed.to_reference(&mut Report::default()),
        None => listed.tag.as_deref() == Some(&*tag()),
    }
}

/// `NAME-VERSION-OS-ARCH` and the suffix of the format, with the values of the ACI's labels;
/// `dockerimageid` replaces a missing version.
pub fn file_name(image: &Image, suffix: &str) -> String {
    let name = image.name.clone().unwrap_or_default();
    let (os, arch) = platform::to_labels(&image.platform).unwrap_or_default();
    let image_id = image.annotations.get(IMAGE_ID).cloned();
    let parts = [name.repository, name.tag, image_id, os, arch];
    let parts: Vec<String> = parts
        .iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .map(|part| file_token(part))
        .collect();
    let mut stem = parts.join("-");
    if stem.starts_with('.') {
        stem.replace_range(..1, "-");
    }
    format!("{stem}{suffix}")
}

/// Uses a digest as the version: an ACI has no other place for it, and two images of one repository
/// must not have one name.
pub fn digest_as_version(name: &mut Name, report: &mut Report) {
    let Some(digest) = name.digest.take() else {
        return;
    };
    let why = match &name.tag {
        Some(_) => format!("an ACI's name can't hold a digest, so {digest} is dropped"),
        None => {
            let version = digest.hex()[..12].to_owned();
            let why = format!(
                "an ACI's name can't hold a digest; the version `{version}` stands for {digest}"
            );
            name.tag = Some(version);
            why
        }
    };
    report.lose("name", LossKind::Approximated, why);
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgconv_model::Platform;

    #[test]
    fn a_file_is_named_by_name_version_and_labels() {
        let mut image = Image {
            name: Some(Name {
                repository: Some("example.com/a/app".into()),
                tag: Some("1.0+x".into()),
                digest: None,
            }),
            platform: Platform::new("linux", "arm64"),
            ..Image::default()
        };
        assert_eq!(
            file_name(&image, ".aci"),
            "example.com-a-app-1.0+x-linux-aarch64.aci"
        );
        image.name = Some(Name {
            repository: Some("app".into()),
            ..Name::default()
        });
        image.platform = Platform::new("linux", "amd64");
        assert_eq!(file_name(&image, ".aci"), "app-linux-amd64.aci");
    }

    #[test]
    fn a_reference_finds_back_to_the_name_it_came_from() {
        let name = |repository: Option<&str>, tag: Option<&str>| Name {
            repository: repository.map(str::to_owned),
            tag: tag.map(str::to_owned),
            digest: None,
        };
        let own = name(Some("busybox"), None);
        assert!(same_name(
            &own,
            &name(Some("docker.io/library/busybox"), Some("latest"))
        ));
        assert!(same_name(&own, &name(None, Some("latest"))));
        assert!(!same_name(
            &own,
            &name(Some("example.com/busybox"), Some("latest"))
        ));
    }
}
