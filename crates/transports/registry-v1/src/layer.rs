//! The layer of an image, verified whenever it is read, as far as the registry has facts about the layer.

use std::{
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_http::{Beginning, Response};
use imgconv_manifest::v1_layer;
use imgconv_model::{Limits, Open, Reader, Result};

use crate::{images::Step, session::Session};

/// A layer where it is stored.
#[derive(Debug)]
pub(crate) struct Layer {
    session: Arc<Session>,
    id: String,
    step: Arc<Step>,
    beginning: Mutex<Option<Beginning>>,
}

impl Layer {
    /// Names the layer of an image; sends no request.
    pub(crate) fn new(session: &Arc<Session>, id: &str, step: Arc<Step>) -> Self {
        Self {
            session: Arc::clone(session),
            id: id.to_owned(),
            step,
            beginning: Mutex::default(),
        }
    }

    /// Requests the first bytes, once.
    fn beginning(&self) -> Result<Beginning> {
        let mut known = self
            .beginning
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let retries = self.session.env.limits.retries;
        let found = Beginning::request(asking(&self.session, &self.id), retries)?;
        Ok(known.insert(found).clone())
    }
}

/// Returns the function that requests a layer, or a part of the layer.
fn asking(
    session: &Arc<Session>,
    id: &str,
) -> impl FnMut(Option<&str>) -> Result<Response> + Send + use<> {
    let (session, path) = (Arc::clone(session), format!("images/{id}/layer"));
    move |range| {
        let sent = session.get(&path, range);
        sent.map_err(|error| session.at(error))
    }
}

impl Open for Layer {
    fn open(&self) -> Result<Reader> {
        let limits = &self.session.env.limits;
        let what = format!("json and layer of the image {}", self.id);
        if let Some(size) = self.step.size.filter(|size| *size > limits.layer_bytes) {
            let what = format!("the layer of {}, of {size} bytes", self.id);
            return Err(Limits::exceeded("layer_bytes", limits.layer_bytes, what));
        }
        let ask = asking(&self.session, &self.id);
        let layer = self
            .beginning()?
            .and_rest(ask, self.step.size, limits.retries);
        let layer = Bounded {
            inner: layer,
            left: limits.layer_bytes,
            limit: limits.layer_bytes,
            id: self.id.clone(),
        };
        let sum = self.step.checksum();
        let sum = sum.map(|digest| (digest, self.step.json.clone()));
        v1_layer::verified(layer, self.step.size, sum, what)
    }

    /// Repositories of a registry share their images.
    fn identity(&self) -> Option<String> {
        let sum = self.step.checksum();
        let sum = sum.map_or(String::new(), |sum| sum.to_string());
        let host = self.session.authority();
        Some(format!("{host} images/{}/layer {sum}", self.id))
    }
}

/// A body whose length no server has to announce.
struct Bounded {
    inner: Reader,
    left: u64,
    limit: u64,
    id: String,
}

impl Read for Bounded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => {
                let what = format!("the layer of {}", self.id);
                return Err(Limits::exceeded("layer_bytes", self.limit, what).into());
            }
        }
        Ok(n)
    }
}
