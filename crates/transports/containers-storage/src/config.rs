//! Where the stores are: `storage.conf` (containers-storage.conf(5)).

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use imgconv_model::{Code, Error, Result, StorageSettings, quote_path};
use imgconv_stream::read_to_limit;
use serde::Deserialize;

/// The most bytes of a configuration file.
const MAX: (&str, u64) = ("config", 1 << 20);

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
/// [`Code::BadManifest`] for a file that is no TOML, and the errors of reading it.
pub(crate) fn stores(settings: &StorageSettings) -> Result<Stores> {
    let mut storage = Storage::default();
    let mut of_user = false;
    for path in &settings.configs {
        if let Some(found) = read(path)? {
            of_user = settings.user_config.as_ref() == Some(path);
            storage = found;
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

fn read(path: &Path) -> Result<Option<Storage>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(error, quote_path(path))),
    };
    let place = format!("file {}", quote_path(path));
    let bytes = read_to_limit(file, MAX, &place)?;
    let text = String::from_utf8_lossy(&bytes);
    let document: Document = toml::from_str(&text).map_err(|error| {
        let message = format!("the configuration is no valid TOML: {}", error.message());
        Error::new(Code::BadManifest, message).at(place)
    })?;
    Ok(Some(document.storage))
}

/// Replaces the variables that a path in the configuration may have.
fn expand(path: &str, settings: &StorageSettings) -> String {
    let mut path = path.to_owned();
    for (name, value) in &settings.variables {
        path = path.replace(&format!("${name}"), value);
    }
    path
}
