//! The image configuration that Docker invented and OCI took over (image-spec, config.md).
//!
//! Both directions between its JSON and the model's fields. It knows nothing of manifests, and
//! which of Docker's own fields a format may write is that format's business: here all are kept.

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

/// Other fields that readers are known to look at.
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

/// Other fields of `config` that Docker writes. Their zero values say nothing and are not listed
/// as extensions, or every image that Docker built would seem to hold a dozen of them.
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

/// What an image configuration says, in the model's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The platform; parts that are absent are empty.
    pub platform: Platform,
    /// When the image was made; an empty or zero date is absent.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// How it is run.
    pub config: RunConfig,
    /// The digests of the uncompressed layers, base first.
    pub diff_ids: Vec<Digest>,
    /// The history; empty if it does not fit the layers.
    pub history: Vec<History>,
    /// Everything else: path (see [`imgconv_json::join`]) to JSON text, such as `config.Healthcheck`.
    pub extensions: BTreeMap<String, String>,
}

/// What is written where a new configuration must say something and the image does not.
#[derive(Clone, Debug)]
pub struct Defaults<'a> {
    /// The platform of an image that names none.
    pub platform: &'a Platform,
    /// The date of an image that has none.
    pub created: Option<String>,
    /// The bounds on the JSON text of extensions.
    pub limits: &'a Limits,
}
