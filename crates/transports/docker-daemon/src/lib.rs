//! A running engine (docker, or podman by `podman system service`), by the HTTP API on its socket.
//!
//! The API (<https://docs.docker.com/reference/api/engine/>, unversioned paths) gives and takes docker
//! archives, so the transport reads and writes these:
//!
//! - `GET /images/json` lists the images; `GET /images/NAME/json` describes one;
//! - `GET /images/get?names=…` is `docker save`: the answer is copied to the temporary directory, and
//!   read as an archive, each layer verified against its diff ID;
//! - `POST /images/load` is `docker load`: the archive is sent while it is made, the answer is read to
//!   its end, and the engine is asked whether it has the images.

#![deny(missing_docs)]

mod api;
mod fetch;
mod read;
mod write;

use std::{path::Path, sync::Arc};

use imgconv_model::{
    Addressing, Bundle, BundleSink, Code, Env, Error, FormatFamily, FormatId, Names, Place, Result,
    Shape, Transport, Writes, quote,
};
use imgconv_transport_docker_archive::ArchiveSink;

use crate::{api::Engine, read::EngineBundle, write::Loader};

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "docker-daemon",
    syntax: "docker-daemon:NAME[:TAG|@ID]",
    about: "an image of a running engine (`--docker-host`); without a name all images, for `ls` and `migrate`",
    shape: Shape::Server,
    addressing: Addressing::Name,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Docker],
    writes: Some(Writes {
        formats: &[FormatId::DOCKER_ARCHIVE],
        names: Names::Repositories,
        descriptors: false,
        any_digest: true,
        shares_blobs: false,
    }),
};

/// The transport, as the catalog lists it.
pub static DOCKER_DAEMON: DockerDaemon = DockerDaemon;

/// See [`DOCKER_DAEMON`].
#[derive(Clone, Copy, Debug)]
pub struct DockerDaemon;

impl Transport for DockerDaemon {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    fn recognise(&self, _: &Path) -> Result<bool> {
        Ok(false)
    }

    /// Asks the engine for its list, or for the image of that name. No image is fetched yet.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(EngineBundle::open(rest, env)?))
    }

    /// Opens an engine for loading images; the names are given with the images.
    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        if !rest.is_empty() {
            let message = format!("{} is no place in an engine", quote(rest));
            return Err(Error::new(Code::Usage, message));
        }
        let engine = Engine::open(env)?;
        engine.ping()?;
        let loader = Arc::new(Loader::new(engine, env));
        Ok(Box::new(ArchiveSink::sent(PLACE.scheme, loader, env)?))
    }
}
