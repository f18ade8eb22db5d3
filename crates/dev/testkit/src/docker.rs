//! Files of `docker save` made from recipes: in the forms of engines before 1.10, and from 1.10 on.
//!
//! Written by hand, without the crates under test, like [`crate::build`]. An image without a name
//! has none in the archive; recipes that differ only in their names are one image with several
//! names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::build::{config, run_config, set, tar_bytes};
use crate::image::ImageRecipe;
use crate::recipe;
use crate::{Failure, Result, sha256_hex};

/// Makes an archive in the form of Docker 1.10 to 24: `manifest.json`, configs and layers by their
/// digests, each once.
///
/// # Errors
/// If a layer can't be written as a tar.
pub fn archive(images: &[ImageRecipe]) -> Result<Vec<u8>> {
    let mut with_tars = Vec::new();
    for image in images {
        let tars: Result<_> = image.layers.iter().map(|items| tar_bytes(items)).collect();
        with_tars.push((image.clone(), tars?));
    }
    archive_of_tars(&with_tars)
}

/// Makes an archive as [`archive`] does, of images whose layers are tars already; the layers of the
/// recipes are not used.
///
/// # Errors
/// If the archive can't be written as a tar.
pub fn archive_of_tars(images: &[(ImageRecipe, Vec<Vec<u8>>)]) -> Result<Vec<u8>> {
    let mut members = Members::default();
    let mut entries: Vec<Value> = Vec::new();
    for (image, tars) in images {
        let (mut layers, mut ids) = (Vec::new(), Vec::new());
        for tar in tars {
            let hex = sha256_hex(tar);
            ids.push(format!("sha256:{hex}"));
            layers.push(format!("{hex}/layer.tar"));
            members.put(format!("{hex}/layer.tar"), tar.clone());
        }
        let config = config(image, &ids).to_string().into_bytes();
        let path = format!("{}.json", sha256_hex(&config));
        let name = name(image).map(|(repository, tag)| format!("{repository}:{tag}"));
        match entries.iter_mut().find(|entry| entry["Config"] == *path) {
            Some(entry) => {
                if let (Some(list), Some(name)) = (entry["RepoTags"].as_array_mut(), name) {
                    list.push(json!(name));
                }
            }
            None => entries.push(json!({
                "Config": path, "RepoTags": name.map(|name| [name]), "Layers": layers,
            })),
        }
        members.put(path, config);
    }
    members.put("manifest.json".into(), json!(entries).to_string().into());
    members.tar()
}

/// Makes an archive in the form of engines before 1.10: `repositories`, and for each layer a
/// directory with `VERSION`, `json` and `layer.tar`, where `json` names the layer's parent.
///
/// # Errors
/// If a layer can't be written as a tar.
pub fn archive_v1(images: &[ImageRecipe]) -> Result<Vec<u8>> {
    let mut members = Members::default();
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for image in images {
        let steps = v1_steps(image)?;
        let top = steps.last().map(|step| step.id.clone()).unwrap_or_default();
        for step in steps {
            members.put(format!("{}/VERSION", step.id), b"1.0".into());
            members.put(format!("{}/json", step.id), step.json.into());
            members.put(format!("{}/layer.tar", step.id), step.tar);
        }
        if let Some((repository, tag)) = name(image) {
            repositories.entry(repository).or_default().insert(tag, top);
        }
    }
    if !repositories.is_empty() {
        let text = json!(repositories).to_string();
        members.put("repositories".into(), text.into());
    }
    members.tar()
}

/// An image of a chain of v1 images.
pub(crate) struct V1Step {
    pub(crate) id: String,
    pub(crate) json: String,
    pub(crate) tar: Vec<u8>,
}

/// Makes the chain of v1 images of a recipe, base first.
pub(crate) fn v1_steps(image: &ImageRecipe) -> Result<Vec<V1Step>> {
    let head = &image.head;
    let mut steps: Vec<V1Step> = Vec::new();
    for (i, items) in image.layers.iter().enumerate() {
        let tar = tar_bytes(items)?;
        let top = i + 1 == image.layers.len();
        let run = if top { run_config(image) } else { json!({}) };
        let parent = steps.last().map_or("", |below| &below.id);
        // Real ids were random; here they depend on the content.
        let seed = format!("{parent} {} {run} {}", sha256_hex(&tar), head.created);
        let id = sha256_hex(seed.as_bytes());
        let mut json = json!({
            "id": id, "created": head.created, "container_config": {}, "docker_version": "1.9.1",
            "architecture": head.arch, "os": head.os, "config": run, "Size": tar.len(),
        });
        set(&mut json, "parent", json!(parent));
        set(&mut json, "author", json!(head.author));
        let json = json.to_string();
        steps.push(V1Step { id, json, tar });
    }
    Ok(steps)
}

/// The repository and the tag, if the image has a name.
pub(crate) fn name(image: &ImageRecipe) -> Option<(String, String)> {
    let head = &image.head;
    let tag = match head.version.as_str() {
        "" => "latest",
        version => version,
    };
    (!head.name.is_empty()).then(|| (head.name.clone(), tag.to_owned()))
}

/// The members of an archive in the order in which they were first put.
#[derive(Default)]
struct Members {
    known: BTreeSet<String>,
    list: Vec<(String, Vec<u8>)>,
}

impl Members {
    fn put(&mut self, path: String, bytes: Vec<u8>) {
        if self.known.insert(path.clone()) {
            self.list.push((path, bytes));
        }
    }

    fn tar(self) -> Result<Vec<u8>> {
        let mut items = Vec::new();
        for (path, bytes) in self.list {
            let mut item = recipe::parse(&format!("file {path}"), "archive")?
                .pop()
                .ok_or_else(|| Failure::new(format!("no line for {path}")))?;
            item.entry.size = bytes.len() as u64;
            item.body = bytes;
            items.push(item);
        }
        tar_bytes(&items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, version: &str, file: &str) -> ImageRecipe {
        let mut image = ImageRecipe::default();
        image.head.name = name.into();
        image.head.version = version.into();
        image.layers = vec![
            recipe::parse("dir etc", "test").unwrap(),
            recipe::parse(&format!("file {file}"), "test").unwrap(),
        ];
        image
    }

    fn paths(tar: &[u8]) -> Vec<String> {
        let lines = crate::dump::tar_lines(&mut &tar[..], "test").unwrap();
        let path = |line: &String| line.split(' ').nth(1).unwrap().to_owned();
        lines.iter().map(path).collect()
    }

    #[test]
    fn equal_images_are_one_and_shared_layers_are_stored_once() {
        let images = [
            image("a", "1", "x"),
            image("b", "", "x"),
            image("", "", "y"),
        ];
        let tar = archive(&images).unwrap();
        let paths = paths(&tar);
        // Three different layers, two configs, and the list.
        assert_eq!(paths.len(), 6, "{paths:?}");
        let text = String::from_utf8_lossy(&tar);
        assert!(text.contains(r#""RepoTags":["a:1","b:latest"]"#));
        assert!(text.contains(r#""RepoTags":null"#));
    }

    #[test]
    fn old_archives_have_a_directory_for_each_layer() {
        let images = [image("a", "1", "x"), image("a", "2", "y")];
        let tar = archive_v1(&images).unwrap();
        let paths = paths(&tar);
        let count = |end: &str| paths.iter().filter(|path| path.ends_with(end)).count();
        assert_eq!(
            (count("/layer.tar"), count("/json"), count("/VERSION")),
            (3, 3, 3)
        );
        assert!(String::from_utf8_lossy(&tar).contains(r#"{"a":{"1":""#));
    }
}
