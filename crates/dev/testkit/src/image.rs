//! An image as text: the folder `testdata/images/NAME` with `image.toml` and `layer-N.list`.
//!
//! The recipe describes the image; [`crate::build`] makes the bytes of one format from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::recipe::{self, Item};
use crate::{Failure, Result};

/// `image.toml`. Unknown keys are errors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The name without a tag, such as `example.com/hello`.
    pub name: String,
    /// The version: the tag in OCI, the label `version` in ACI.
    #[serde(default)]
    pub version: String,
    /// The operating system by its OCI name.
    #[serde(default = "linux")]
    pub os: String,
    /// The architecture by its OCI name.
    #[serde(default = "amd64")]
    pub arch: String,
    /// The variant by its OCI name.
    #[serde(default)]
    pub variant: String,
    /// RFC 3339; OCI only.
    #[serde(default)]
    pub created: String,
    /// OCI only.
    #[serde(default)]
    pub author: String,
    /// The compression of each layer, or of the whole ACI.
    #[serde(default)]
    pub compression: Compression,
    /// The annotations of the OCI manifest.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The configuration for running the image.
    #[serde(default)]
    pub config: Config,
}

fn linux() -> String {
    "linux".into()
}

fn amd64() -> String {
    "amd64".into()
}

/// The compression of the built bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// Gzip of stored blocks: the bytes do not depend on a compressor.
    Gzip,
}

/// The part of `image.toml` with the configuration for running the image, by its OCI names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The part of the command line that stays.
    pub entrypoint: Vec<String>,
    /// The part that given arguments replace.
    pub cmd: Vec<String>,
    /// `USER[:GROUP]`.
    pub user: String,
    /// `NAME=VALUE`, in order.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: String,
    /// Such as `8080/tcp`.
    pub ports: Vec<String>,
    /// Paths.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Such as `SIGTERM`.
    pub stop_signal: String,
}

/// An image as text.
#[derive(Clone, Debug, Default)]
pub struct ImageRecipe {
    /// `image.toml`.
    pub head: Head,
    /// `manifest.json`: the ACI manifest, verbatim. Without this file a small manifest is made from
    /// the head.
    pub manifest: Option<String>,
    /// `layer-0.list` and so on, base first.
    pub layers: Vec<Vec<Item>>,
}

impl ImageRecipe {
    /// Makes an image of a name, a version and layers, each as the text of a recipe.
    ///
    /// # Panics
    /// If a layer is no recipe.
    #[allow(clippy::unwrap_used, reason = "a panic is how a fixture reports")]
    pub fn of(name: &str, version: &str, layers: &[&str]) -> Self {
        let mut image = Self::default();
        image.head.name = name.to_owned();
        image.head.version = version.to_owned();
        image.head.os = linux();
        image.head.arch = amd64();
        let items = |text: &&str| recipe::parse(text, "test").unwrap();
        image.layers = layers.iter().map(items).collect();
        image
    }

    /// Makes two images with different names that share their base layer; or
    /// have one layer each, as ACIs do.
    pub fn samples(one_layer: bool) -> [Self; 2] {
        let base = "dir etc\nfile etc/a \"aaa\"";
        ["1.0", "2.0"].map(|version| {
            let top = format!("file etc/version \"{version}\"");
            let layers: &[&str] = if one_layer { &[&top] } else { &[base, &top] };
            Self::of("example.com/app", version, layers)
        })
    }

    /// Reads the recipe in a folder.
    pub fn load(folder: &Path) -> Result<Self> {
        let text = crate::read_text(&folder.join("image.toml"))?;
        let head: Head = toml::from_str(&text)
            .map_err(|e| Failure::new(format!("{}: {e}", folder.join("image.toml").display())))?;
        let manifest = folder.join("manifest.json");
        let manifest = manifest
            .is_file()
            .then(|| crate::read_text(&manifest))
            .transpose()?;
        let mut layers = Vec::new();
        loop {
            let path = folder.join(format!("layer-{}.list", layers.len()));
            if !path.is_file() {
                break;
            }
            layers.push(recipe::parse(
                &crate::read_text(&path)?,
                &path.display().to_string(),
            )?);
        }
        let lists = fs::read_dir(folder)
            .map_err(|e| Failure::io(folder, &e))?
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "list"))
            .count();
        if lists != layers.len() {
            let place = folder.display();
            return Err(Failure::new(format!(
                "{place}: layers are numbered layer-0.list, layer-1.list and so on without a gap"
            )));
        }
        Ok(Self {
            head,
            manifest,
            layers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_becomes_a_recipe() {
        let folder = folder(&[
            (
                "image.toml",
                "name = \"example.com/a\"\n[config]\nentrypoint = [\"/x\"]\n",
            ),
            ("layer-0.list", "dir etc"),
            ("layer-1.list", "whiteout etc"),
        ]);
        let image = ImageRecipe::load(folder.path()).unwrap();
        assert_eq!((image.head.os.as_str(), image.layers.len()), ("linux", 2));
        assert_eq!(image.head.config.entrypoint, ["/x"]);
    }

    #[test]
    fn unknown_keys_bad_lines_and_gaps_are_refused() {
        let bad = [
            folder(&[("image.toml", "name = \"a\"\nfrob = 1")]),
            folder(&[("image.toml", "name = \"a\""), ("layer-0.list", "frob")]),
            folder(&[("image.toml", "name = \"a\""), ("layer-1.list", "dir a")]),
            folder(&[]),
        ];
        for (folder, message) in
            bad.iter()
                .zip(["frob", "layer-0.list:1: ", "without a gap", "image.toml"])
        {
            let error = ImageRecipe::load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
