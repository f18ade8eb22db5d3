//! The images of a registry: the `json` and the ancestors of each id.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_manifest::{
    TarSum,
    v1_image::{self, Chain, check_id},
    v1_layer,
};
use imgconv_model::{Code, Digest, Limits, Result};

use crate::session::Session;

/// An image of a chain.
#[derive(Debug)]
pub(crate) struct Step {
    /// The bytes of `json`, which the checksum covers.
    pub(crate) json: Vec<u8>,
    /// The number of bytes of the layer, if the registry says it.
    pub(crate) size: Option<u64>,
    sums: Vec<String>,
}

impl Step {
    /// Returns the checksum that the layer is verified by.
    pub(crate) fn checksum(&self) -> Option<Digest> {
        v1_layer::checksum(self.sums.iter().map(String::as_str))
    }

    /// Returns true if the registry has a sum over the members of the tar, which is not computed.
    pub(crate) fn has_tar_sum(&self) -> bool {
        self.sums.iter().any(|sum| TarSum::parse(sum).is_some())
    }
}

/// The images that were read.
#[derive(Debug)]
pub(crate) struct Images {
    session: Arc<Session>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    steps: BTreeMap<String, Arc<Step>>,
    bytes: u64,
}

impl Images {
    pub(crate) fn new(session: &Arc<Session>) -> Self {
        Self {
            session: Arc::clone(session),
            known: Mutex::default(),
        }
    }

    /// Requests the `json` of an image, once; `None` if there is no such image. Images share their bases, so
    /// what was read is kept, up to the limit on one archive's documents.
    pub(crate) fn step(&self, id: &str) -> Result<Option<Arc<Step>>> {
        check_id(id)?;
        if let Some(step) = self.known().steps.get(id) {
            return Ok(Some(Arc::clone(step)));
        }
        let limits = &self.session.env.limits;
        let response = match self.session.get(&format!("images/{id}/json"), None) {
            Err(error) if error.code() == Code::Missing => return Ok(None),
            response => response?,
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let size = response
            .header("x-docker-size")
            .filter(|text| digits(text))
            .and_then(|text| text.parse().ok());
        let mut sums = Vec::new();
        // Three names, by the age of the registry.
        for name in [
            "x-docker-checksum",
            "x-docker-checksum-payload",
            "x-docker-payload-checksum",
        ] {
            for text in response.headers(name) {
                sums.extend(v1_layer::checksums(text.as_bytes(), limits));
            }
        }
        let listed = self.session.access()?;
        sums.extend(listed.sums.get(id).into_iter().flatten().cloned());
        let json = response.into_bytes(("config", limits.config))?;
        let step = Arc::new(Step { json, size, sums });
        let mut known = self.known();
        let bytes = known.bytes + step.json.len() as u64;
        if bytes <= limits.archive_json {
            known.bytes = bytes;
            known.steps.insert(id.to_owned(), Arc::clone(&step));
        }
        Ok(Some(step))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Walks the chain of an image, and compares the chain with the list of ancestors.
    pub(crate) fn chain(&self, id: &str) -> Result<Chain> {
        check_id(id)?;
        let limits = &self.session.env.limits;
        let path = format!("images/{id}/ancestry");
        let response = self.session.get(&path, None)?;
        let bytes = response.into_bytes(("config", limits.config))?;
        let ancestry = v1_image::ancestry(&bytes, id, limits, &path)?;
        let chain = v1_image::chain(self, id, limits, &mut 0)?;
        chain.check_ancestry(&ancestry, &path)?;
        Ok(chain)
    }
}

impl v1_image::Images for Images {
    fn json(&self, id: &str, _: &Limits) -> Result<Option<Vec<u8>>> {
        Ok(self.step(id)?.map(|step| step.json.clone()))
    }

    fn json_name(&self, id: &str) -> String {
        format!("images/{id}/json")
    }

    fn layer_name(&self, id: &str) -> String {
        format!("images/{id}/layer")
    }

    fn is_remade(&self, _: &str) -> Result<bool> {
        Ok(false)
    }
}
