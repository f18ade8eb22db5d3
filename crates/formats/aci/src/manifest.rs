//! The image manifest: every field of the appc schema 0.8.11, read and checked.
//!
//! The checks are those of `actool validate`, and those of the specification that `actool` leaves
//! out. Fields of tools before appc 0.6 are read by their later names, see `old.rs`. Fields beyond
//! the schema stay in [`Manifest::raw`], which is the document.

mod check;
mod isolator;
mod old;

use std::collections::BTreeMap;

use imgconv_json::Value;
use imgconv_model::{Digest, Error, Limits, Notes, Result, quote};

pub use self::old::Renamed;

/// The version of the schema that is written, and the highest that is supported.
pub const VERSION: &str = "0.8.11";

/// The longest identifier in bytes; a longer text is refused as an attack (robustness H6c).
const LONGEST_NAME: usize = 1024;

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
    /// The paths and values of all fields that are not in the schema.
    pub unknown: Vec<(String, Value)>,
    /// The whole document, unknown fields included, in the current schema.
    pub raw: Value,
    /// True if the document itself is in a schema before appc 0.6.
    pub old: bool,
    /// The names that the rules forbid, and the replacement of each.
    pub renamed: Vec<Renamed>,
}

/// A `name` and a `value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// The run configuration: `app`.
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
    /// The names of the `isolators`, whose values are not interpreted.
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

/// A place where an app expects data from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// An AC Name.
    pub name: String,
    /// The path in the root file system, as written.
    pub path: String,
    /// True if the app does not write there.
    pub read_only: bool,
}

/// A port, or a range of them, that an app listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPort {
    /// An AC Name.
    pub name: String,
    /// The protocol, as written.
    pub protocol: String,
    /// The first port, from 1.
    pub port: u16,
    /// The number of ports, from 1; the last port is at most 65535.
    pub count: u16,
    /// True if the app receives its sockets from the program that starts it.
    pub socket_activated: bool,
}

/// An image whose root file system lies below that of the image with the dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name, an AC Identifier.
    pub image_name: String,
    /// The required image ID.
    pub image_id: Option<Digest>,
    /// The required labels, names unique.
    pub labels: Vec<Pair>,
    /// A tag that image tags turn into more labels (appc/spec pull request 584).
    pub tag: Option<String>,
    /// The required size in bytes.
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

/// Reads and checks the bytes of a manifest.
///
/// # Errors
/// [`imgconv_model::Code::BadJson`] for text that is not strict JSON, and the errors of
/// [`validate`].
pub fn parse(bytes: &[u8], limits: &Limits, notes: &Notes) -> Result<Manifest> {
    let value = imgconv_json::parse(bytes, limits, "manifest")?;
    validate(&value, notes)
}

/// Checks a manifest. Irregularities with one reading go to `notes`.
///
/// # Errors
/// The first of [`violations`].
pub fn validate(value: &Value, notes: &Notes) -> Result<Manifest> {
    let (manifest, violations) = read(value, notes);
    match violations.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(manifest),
    }
}

fn read(value: &Value, notes: &Notes) -> (Manifest, Vec<Error>) {
    let Some(modern) = old::modern(value) else {
        return check::check(value, notes);
    };
    for Renamed {
        list,
        index,
        was,
        is,
    } in &modern.renamed
    {
        let message = format!("{} is no name by appc's rules; read as `{is}`", quote(was));
        notes.warn(
            "renamed",
            format!("manifest › app.{list}[{index}].name"),
            message,
        );
    }
    let (mut manifest, violations) = check::check(&modern.value, notes);
    (manifest.old, manifest.renamed) = (true, modern.renamed);
    (manifest, violations)
}

/// Returns all errors of a manifest, in the order of the schema. Each names the field, the expected
/// and the found value; the codes are `bad-manifest` for a wrong type or an impossible value,
/// `bad-name` for a broken grammar, `bad-digest` for a malformed image ID, `ambiguous` for
/// duplicates, and `bad-json` for a field name that differs from a known one in case only.
pub fn violations(value: &Value) -> Vec<Error> {
    read(value, &Notes::default()).1
}
