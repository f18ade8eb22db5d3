//! The image configuration that Docker introduced and OCI adopted (image-spec, config.md).
//!
//! The module converts between its JSON and the model's fields, both ways. It does not use
//! manifests, and keeps all of Docker's own fields: each format decides which of them it writes.

mod decode;
mod encode;
mod port;
mod types;

use std::collections::BTreeMap;

use imgconv_model::{Digest, History, Limits, Platform, RunConfig};

pub use decode::{decode, is_config};
pub use encode::{encode, loadable};

/// Fields of the whole configuration that the model has, in the order they are written in.
const TOP: &[&str] = &[
    "created",
    "author",
    "architecture",
    "os",
    "variant",
    "config",
    "rootfs",
    "history",
];

/// Other fields that some readers use.
const TOP_OTHER: &[&str] = &[
    "os.version",
    "os.features",
    "id",
    "parent",
    "comment",
    "container",
    "container_config",
    "docker_version",
];

/// Fields of `config` that the model has, in the order they are written in.
const RUN: &[&str] = &[
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
];

/// Other fields of `config` that Docker writes. Their zero values have no meaning and are not
/// listed as extensions; otherwise every image that Docker built would have a dozen of them.
const RUN_OTHER: &[&str] = &[
    "ArgsEscaped",
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "CpuShares",
    "Cpuset",
    "Domainname",
    "Entitlements",
    "Healthcheck",
    "Hostname",
    "Image",
    "MacAddress",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "NetworkDisabled",
    "OnBuild",
    "OpenStdin",
    "PortSpecs",
    "Shell",
    "StdinOnce",
    "StopTimeout",
    "Tty",
    "VolumesFrom",
];

const ROOTFS: &[&str] = &["type", "diff_ids"];

const HISTORY: &[&str] = &["created", "created_by", "author", "comment", "empty_layer"];

/// The content of an image configuration as fields of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The platform; parts that are absent are empty.
    pub platform: Platform,
    /// The date of creation; an empty or zero date is absent.
    pub created: Option<String>,
    /// The author.
    pub author: Option<String>,
    /// The run configuration.
    pub config: RunConfig,
    /// The digests of the uncompressed layers, base first.
    pub diff_ids: Vec<Digest>,
    /// The history; empty if it does not fit the layers.
    pub history: Vec<History>,
    /// All other fields: path (see [`imgconv_json::join`]) to JSON text, such as
    /// `config.Healthcheck`.
    pub extensions: BTreeMap<String, String>,
}

/// The values of fields that a new configuration needs and the image does not have.
#[derive(Clone, Debug)]
pub struct Defaults<'a> {
    /// The platform of an image without a platform.
    pub platform: &'a Platform,
    /// The date of an image without a date.
    pub created: Option<String>,
    /// The bounds on the JSON text of extensions.
    pub limits: &'a Limits,
}
