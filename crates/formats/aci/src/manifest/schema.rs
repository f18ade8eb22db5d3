//! The fields of a manifest, as the appc schema 0.8.11 has them.

use std::collections::BTreeMap;

use imgconv_json::Value;
use imgconv_model::Digest;

/// The version of the schema that is written, and the highest that is known.
pub const VERSION: &str = "0.8.11";

/// Bytes of an identifier beyond which it is no name but an attack (robustness H6c).
pub(super) const LONGEST_NAME: usize = 1024;

/// A checked image manifest (aci.md, "Image Manifest Schema").
#[derive(Clone, Debug)]
pub struct Manifest {
    /// `acVersion`, a semantic version.
    pub ac_version: String,
    /// `name`, an AC Identifier.
    pub name: String,
    /// `labels`, in their order; the names are unique.
    pub labels: Vec<Pair>,
    /// `app`.
    pub app: Option<App>,
    /// `dependencies`, in their order.
    pub dependencies: Vec<Dependency>,
    /// `pathWhitelist`: paths without slashes at their ends. Empty if everything is kept.
    pub path_whitelist: Vec<String>,
    /// `annotations`, in their order; the names are unique.
    pub annotations: Vec<Pair>,
    /// The paths and values of all fields that the schema does not know.
    pub unknown: Vec<(String, Value)>,
    /// The whole document, unknown fields included, in the words of today.
    pub raw: Value,
    /// Whether the document is written otherwise, as it was before appc 0.6.
    pub old: bool,
    /// The names that the rules forbid, and what stands for each.
    pub renamed: Vec<Renamed>,
}

/// A name that the rules forbid, and the one that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The field of `app`: `mountPoints`, `ports` or `isolators`.
    pub list: &'static str,
    /// The position there.
    pub index: usize,
    /// The name as it is written.
    pub was: String,
    /// The name that is read instead.
    pub is: String,
}

/// A `name` and a `value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Pairs as a map from their names to their values.
pub fn to_map(pairs: &[Pair]) -> BTreeMap<String, String> {
    let pairs = pairs.iter().cloned();
    pairs.map(|Pair { name, value }| (name, value)).collect()
}

/// How an image is run: `app`.
#[derive(Clone, Debug, Default)]
pub struct App {
    /// `exec`; may be empty.
    pub exec: Vec<String>,
    /// `user`, not empty.
    pub user: String,
    /// `group`, not empty.
    pub group: String,
    /// `supplementaryGIDs`.
    pub supplementary_gids: Vec<u32>,
    /// `eventHandlers`, at most one of a name.
    pub event_handlers: Vec<EventHandler>,
    /// `workingDirectory`, absolute.
    pub working_directory: Option<String>,
    /// `environment`, in its order; the names are unique.
    pub environment: Vec<Pair>,
    /// The names of the `isolators`, whose values are not looked at.
    pub isolators: Vec<String>,
    /// `mountPoints`, in their order; the names are unique.
    pub mount_points: Vec<MountPoint>,
    /// `ports`, in their order.
    pub ports: Vec<AppPort>,
    /// `userAnnotations`.
    pub user_annotations: BTreeMap<String, String>,
    /// `userLabels`.
    pub user_labels: BTreeMap<String, String>,
}

/// A command for a stage of an app's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHandler {
    /// `pre-start` or `post-stop`.
    pub name: String,
    /// The command line.
    pub exec: Vec<String>,
}

/// A place where an app expects data of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// An AC Name.
    pub name: String,
    /// The path in the root file system, as it is written.
    pub path: String,
    /// True if the app does not write there.
    pub read_only: bool,
}

/// A port, or a range of them, that an app listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPort {
    /// An AC Name.
    pub name: String,
    /// The protocol, as it is written.
    pub protocol: String,
    /// The first port, from 1.
    pub port: u16,
    /// How many there are, from 1; the last is at most 65535.
    pub count: u16,
    /// True if the app takes the sockets from whoever starts it.
    pub socket_activated: bool,
}

/// An image whose root file system lies below that of the one that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name, an AC Identifier.
    pub image_name: String,
    /// The image ID that it must have.
    pub image_id: Option<Digest>,
    /// Labels that it must have, names unique.
    pub labels: Vec<Pair>,
    /// A tag that image tags turn into more labels (appc/spec pull request 584).
    pub tag: Option<String>,
    /// The size in bytes that it must have.
    pub size: Option<u64>,
}

impl Manifest {
    /// Returns the value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        find(&self.labels, name)
    }

    /// Returns the value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        find(&self.annotations, name)
    }
}

/// Returns the value of the first pair of that name.
pub(crate) fn find<'a>(pairs: &'a [Pair], name: &str) -> Option<&'a str> {
    let pair = pairs.iter().find(|pair| pair.name == name)?;
    Some(&pair.value)
}
