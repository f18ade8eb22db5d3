//! The parts of appc discovery that a static site and a server share: the paths of files, the pages that
//! name them, and the keys (appc spec, discovery.md; image tags by pull request 584).
//!
//! - `aci/NAME/LABELS.aci`, and `.aci.asc` for its signature. LABELS are the values of the image's labels
//!   with `-` between them: `version`, others by name, `os`, `arch`; or, if there is one,
//!   `dockerimageid`, `os`, `arch`;
//! - `aci/NAME/imagetags.json`: the image tags;
//! - `pubkeys.gpg`: the public keys.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::SystemTime,
};

use imgconv_format_aci::{DOCKER_IMAGE_ID, Manifest};
use imgconv_model::{Code, Error, Reader, Result, Secret, quote, quote_path};
use imgconv_openpgp::SigningKey;

/// The file with the public keys, below the site.
pub const PUBLIC_KEYS: &str = "pubkeys.gpg";
/// The file name of the image tags, without its extension.
pub const IMAGE_TAGS: &str = "imagetags";
/// The file name of an image without labels.
const NO_LABELS: &str = "image";
/// The most bytes of a file of keys, a passphrase or a signature.
const KEY_FILE: u64 = 1 << 20;

/// The links on the discovery page of one name.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// The labels in each template; the templates with the most labels come first.
    templates: BTreeSet<(Reverse<usize>, Vec<String>)>,
    /// Whether there are image tags.
    pub image_tags: bool,
    /// Whether there are public keys.
    pub public_keys: bool,
}

impl Links {
    /// Adds the template by which an ACI is found.
    pub fn add(&mut self, manifest: &Manifest) {
        let names = labels(manifest).into_iter();
        let names: Vec<String> = names.map(|(name, _)| format!("{{{name}}}")).collect();
        self.templates.insert((Reverse(names.len()), names));
    }

    /// The meta tags: names and contents.
    fn metas(&self, url: &str) -> Vec<(&'static str, String)> {
        let mut metas = Vec::new();
        for (_, names) in &self.templates {
            let stem = joined(names);
            let template = format!("{url}/aci/{{name}}/{stem}.{{ext}}");
            metas.push(("ac-discovery", template));
        }
        if self.image_tags {
            let template = format!("{url}/aci/{{name}}/{IMAGE_TAGS}.{{ext}}");
            metas.push(("ac-discovery-imagetags", template));
        }
        if self.public_keys {
            metas.push(("ac-discovery-pubkeys", format!("{url}/{PUBLIC_KEYS}")));
        }
        metas
    }
}

/// Returns the discovery page of names (discovery.md, "Discovery URL"), the title being the first. `url` is
/// the URL of the site without a slash at its end.
///
/// A name is of letters, digits and `-._~/`, and the URL must have no character of HTML, as after
/// [`checked_url`]: nothing is escaped.
pub fn page(names: &[(&str, &Links)], url: &str) -> String {
    let mut metas = String::new();
    for (name, links) in names {
        for (meta, url) in links.metas(url) {
            metas.push_str(&format!(
                "<meta name=\"{meta}\" content=\"{name} {url}\">\n"
            ));
        }
    }
    let title = names.first().map_or("", |(name, _)| *name);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n{metas}</head>\n<body>\n<h1>{title}</h1>\n\
         <p>App Container Images of this name are found by discovery.</p>\n</body>\n</html>\n"
    )
}

/// Returns all labels of an ACI.
pub fn all_labels(manifest: &Manifest) -> BTreeMap<&str, &str> {
    let labels = manifest.labels.iter();
    labels.map(|label| (&*label.name, &*label.value)).collect()
}

/// Returns the labels of an image that are part of its URL, in their order: all of them, so that equal URLs
/// are equal images. An image with a Docker ID is identified by that ID and its platform, which a
/// tag refers to.
pub fn labels(manifest: &Manifest) -> Vec<(&str, &str)> {
    let by_id = manifest.label(DOCKER_IMAGE_ID).is_some();
    let rank = |name: &str| match name {
        DOCKER_IMAGE_ID => 0,
        "version" => 1,
        "os" => 3,
        "arch" => 4,
        _ => 2,
    };
    let mut labels: Vec<(&str, &str)> = all_labels(manifest).into_iter().collect();
    labels.retain(|(name, _)| !by_id || [DOCKER_IMAGE_ID, "os", "arch"].contains(name));
    labels.sort_by_key(|(name, _)| (rank(name), *name));
    labels
}

/// Returns the file name of an image without `.aci`: the result of filling in the template.
///
/// # Errors
/// [`Code::BadName`] for a label that can't be a part of it.
pub fn stem(manifest: &Manifest) -> Result<String> {
    let labels = labels(manifest);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+~".contains(c);
    for (name, value) in &labels {
        if value.is_empty() || value.starts_with('.') || !value.chars().all(plain) {
            let message = format!(
                "the label {name} is {}, which can't be part of the URL of an image",
                quote(value)
            );
            return Err(Error::new(Code::BadName, message)
                .hint("a label of a published image is of letters, digits and `._-+~`"));
        }
    }
    let values: Vec<String> = labels
        .iter()
        .map(|(_, value)| (*value).to_owned())
        .collect();
    Ok(joined(&values))
}

/// The stem of a file name from the values of labels, or from their names in a template.
fn joined(parts: &[String]) -> String {
    match parts {
        [] => NO_LABELS.to_owned(),
        parts => parts.join("-"),
    }
}

/// Checks the URL of a site; returns it without a slash at its end.
///
/// # Errors
/// [`Code::Usage`] for a text that is no such URL.
pub fn checked_url(url: &str) -> Result<String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/[]@%".contains(c);
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(rest) if !rest.is_empty() && rest.chars().all(plain) => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => {
            let message = format!("{} is no URL of a site", quote(url));
            Err(Error::new(Code::Usage, message).hint("such as `https://example.com:8443`"))
        }
    }
}

/// The key and the time of signatures.
#[derive(Clone, Debug)]
pub struct Signing {
    /// A file with one OpenPGP secret key.
    pub key: PathBuf,
    /// A file whose first line is the key's passphrase.
    pub passphrase: Option<PathBuf>,
    /// The time in the signatures.
    pub time: SystemTime,
}

/// A key that signs, and the time in its signatures.
#[derive(Debug)]
pub struct Signer {
    key: SigningKey,
    time: SystemTime,
}

impl Signer {
    /// Reads the key.
    ///
    /// # Errors
    /// If a file can't be read, or is not one secret key that the passphrase opens.
    pub fn open(signing: &Signing) -> Result<Self> {
        let passphrase = |path: &PathBuf| -> Result<Secret> {
            let text = String::from_utf8(read_small(path)?).map_err(|_| {
                let message = "the passphrase is not UTF-8";
                Error::new(Code::Usage, message).at(path.display().to_string())
            })?;
            Ok(Secret::new(text.lines().next().unwrap_or_default()))
        };
        let passphrase = signing.passphrase.as_ref().map(passphrase).transpose()?;
        let key = SigningKey::read(&read_small(&signing.key)?, passphrase.as_ref());
        let key = key.map_err(|error| error.at(signing.key.display().to_string()))?;
        let time = signing.time;
        Ok(Self { key, time })
    }

    /// Returns the detached signature of data, in ASCII armour.
    ///
    /// # Errors
    /// If the data can't be read or signed.
    pub fn sign(&self, data: Reader) -> Result<Vec<u8>> {
        self.key.sign(data, self.time).map(String::into_bytes)
    }
}

/// Reads a file of the user that must be small: a key, a passphrase, a signature.
///
/// # Errors
/// If the file can't be read, or is not small.
pub fn read_small(path: &Path) -> Result<Vec<u8>> {
    let bytes = imgconv_fs::read_given(path, ("key_file", KEY_FILE), "the file");
    bytes.map_err(|error| error.at(quote_path(path)))
}
