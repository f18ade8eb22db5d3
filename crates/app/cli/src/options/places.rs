//! The options about single kinds of places that are read.

use clap::Args;
use imgconv::Env;

use crate::environment;

/// Options of every command that reads a place.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Places")]
pub(crate) struct Places {
    /// Registry whose storage is read; image names begin with it
    ///
    /// The storage of a registry does not record the name of the registry. Without this option the
    /// names are read as docker reads them.
    #[arg(long, value_name = "HOST[:PORT]")]
    registry_host: Option<String>,
    /// Select a namespace of containerd [default: all]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Address of a running engine: `unix://PATH`, `tcp://HOST:PORT` [default: DOCKER_HOST, else docker's socket]
    #[arg(long, value_name = "URL")]
    docker_host: Option<String>,
    /// Make a layer anew from containerd's snapshot if its blob is gone
    ///
    /// The layer has the same files, but other bytes, so it gets another digest, which is reported as
    /// a loss.
    #[arg(long)]
    from_snapshots: bool,
    #[command(flatten)]
    blobs: SymlinkedBlobs,
}

/// The option of commands that read an OCI layout.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Places")]
pub(crate) struct SymlinkedBlobs {
    /// Follow symbolic links to blobs of an OCI layout
    #[arg(long)]
    allow_symlinked_blobs: bool,
}

impl Places {
    /// Sets the options in an environment.
    pub(crate) fn apply(&self, env: &mut Env) {
        env.places.registry_host.clone_from(&self.registry_host);
        env.places.namespace.clone_from(&self.namespace);
        env.places.docker_host = self.docker_host.clone().or_else(environment::docker_host);
        env.places.docker_certificates = environment::docker_certificates();
        env.places.from_snapshots = self.from_snapshots;
        environment::storage(&mut env.places.storage);
        self.blobs.apply(env);
    }
}

impl SymlinkedBlobs {
    /// Sets the option in an environment.
    pub(crate) fn apply(self, env: &mut Env) {
        env.places.follow_blob_links = self.allow_symlinked_blobs;
    }
}
