//! Images as registries of version 1 had them: a chain of ids, each with a JSON and a layer. The chain is
//! that of the manifest of schema 1, whose entries hold these JSONs, with docker's own ids.

use std::sync::{Arc, PoisonError};

use imgconv_manifest::media_type;
use imgconv_model::{Code, Digest, Error, FormatId, Result};
use serde_json::Value;

use super::{
    contents::{Manifest, V1Image},
    forms::Want,
    opening::Stock,
    repository::Repository,
};

impl Stock {
    /// Returns the id of the top v1 image of a tag, after the image was made as schema 1.
    ///
    /// # Errors
    /// If the image can't be made as schema 1, or there is no such tag.
    pub fn v1_id(&self, repository: &Repository, tag: &str) -> Result<String> {
        let Some(item) = repository.tags.get(tag) else {
            return Err(Error::new(Code::Missing, "the repository has no such tag"));
        };
        let gone = || Error::new(Code::Missing, "the image was made and is gone");
        let usual = self
            .form(repository, *item, Want::USUAL, true)?
            .ok_or_else(gone)?;
        let manifest = match Manifest::is_schema1(usual.kind) {
            true => usual,
            false => {
                let want = Want {
                    format: Some(FormatId::DOCKER_V2S1),
                    one: usual.is_index(),
                };
                self.form(repository, *item, want, true)?.ok_or_else(gone)?
            }
        };
        let steps = steps(&manifest).ok_or_else(|| {
            let message = format!("{} has no chain of v1 images", media_type::DOCKER_SCHEMA1);
            Error::new(Code::BadManifest, message)
        })?;
        let ids: Vec<String> = steps.iter().map(|(id, _, _)| id.clone()).collect();
        let top = ids.first().cloned().ok_or_else(gone)?;
        let mut known = self.v1.write().unwrap_or_else(PoisonError::into_inner);
        for (i, (id, json, layer)) in steps.into_iter().enumerate() {
            let image = V1Image {
                json,
                ancestry: ids[i..].to_vec(),
                layer,
                repository: repository.number,
            };
            known.entry(id).or_insert_with(|| Arc::new(image));
        }
        Ok(top)
    }

    /// Returns a v1 image whose tag was asked for before.
    pub fn v1_image(&self, id: &str) -> Option<Arc<V1Image>> {
        let known = self.v1.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).map(Arc::clone)
    }

    /// Returns the repository with the layer of a v1 image.
    pub fn v1_repository(&self, image: &V1Image) -> &Repository {
        &self.repositories[image.repository]
    }
}

/// The steps of a manifest of schema 1, the top one first: id, JSON and layer.
fn steps(manifest: &Manifest) -> Option<Vec<(String, String, Digest)>> {
    let document: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    let history = document.get("history")?.as_array()?;
    let layers = document.get("fsLayers")?.as_array()?;
    if history.len() != layers.len() {
        return None;
    }
    let step = |(step, layer): (&Value, &Value)| {
        let text = step.get("v1Compatibility")?.as_str()?.to_owned();
        let json: Value = serde_json::from_str(&text).ok()?;
        let id = json.get("id")?.as_str()?.to_owned();
        let layer = Digest::parse(layer.get("blobSum")?.as_str()?).ok()?;
        Some((id, text, layer))
    };
    history.iter().zip(layers).map(step).collect()
}
