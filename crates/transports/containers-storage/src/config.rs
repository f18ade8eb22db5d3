//! Where the stores are: `storage.conf` (containers-storage.conf(5)).

use std::path::PathBuf;

use imgconv_containers_conf::read;
use imgconv_model::{Result, StorageSettings};
use serde::Deserialize;

/// The stores that are read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stores {
    /// The graph driver, if only its images count.
    pub(crate) driver: Option<String>,
    /// The roots: first the one that podman writes to.
    pub(crate) roots: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Document {
    #[serde(default)]
    storage: Storage,
}

#[derive(Default, Deserialize)]
struct Storage {
    graphroot: Option<String>,
    rootless_storage_path: Option<String>,
    imagestore: Option<String>,
    #[serde(default)]
    options: Options,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(default)]
    additionalimagestores: Vec<String>,
}

/// Finds the default store and its additional stores. The first configuration file that is there
/// counts; a file of the system moves the store of a user by `rootless_storage_path` only.
///
/// # Errors
/// [`Code::BadManifest`](imgconv_model::Code::BadManifest) for a file that is no TOML, and the errors of reading it.
pub(crate) fn stores(settings: &StorageSettings) -> Result<Stores> {
    let mut storage = Storage::default();
    let mut of_user = false;
    for path in &settings.configs {
        if let Some(found) = read::<Document>(path)? {
            of_user = settings.user_config.as_ref() == Some(path);
            storage = found.storage;
            break;
        }
    }
    let root = match settings.rootless && !of_user {
        true => storage.rootless_storage_path,
        false => storage.graphroot,
    };
    let root = root.filter(|root| !root.is_empty());
    let root = root.map_or_else(
        || settings.root.clone(),
        |root| PathBuf::from(expand(&root, settings)),
    );
    let others = storage.imagestore.into_iter();
    let others = others.chain(storage.options.additionalimagestores);
    let others = others.filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut roots = vec![root];
    for other in others {
        if !roots.contains(&other) {
            roots.push(other);
        }
    }
    Ok(Stores {
        driver: None,
        roots,
    })
}

/// Replaces the variables that a path in the configuration may have.
fn expand(path: &str, settings: &StorageSettings) -> String {
    let mut path = path.to_owned();
    for (name, value) in &settings.variables {
        path = path.replace(&format!("${name}"), value);
    }
    path
}
