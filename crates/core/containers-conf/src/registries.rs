//! `registries.conf` with its additions, and what the settings mean for a repository.
//!
//! The rules are those of containers-registries.conf(5) and of the module `sysregistriesv2` of
//! containers/image. In two cases the manual counts and not that module: a table with `blocked` blocks the
//! names of its prefix also where `location` leads elsewhere, and a domain may occur twice in a host.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_model::{
    Code, Error, Name, Network, RegistriesFiles, Result, Shared, quote, quote_path,
};
use toml::Table;

use crate::{
    file::{place, read},
    parse::{Parsed, Registry, aliases, parse},
};

/// The settings of `registries.conf`.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// The tables by their prefixes.
    tables: BTreeMap<String, Registry>,
    search: Vec<String>,
    aliases: BTreeMap<String, String>,
}

/// A place where a repository is read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `HOST[:PORT]/PATH`, the name to ask the host for.
    pub repository: String,
    /// Whether certificates of the host are not verified, and plain http is allowed.
    pub insecure: bool,
    /// The reason why the place must not be asked, if the configuration blocks the place.
    pub blocked: Option<String>,
}

/// The places from which a repository is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The mirrors, in the order in which they are asked.
    pub mirrors: Vec<Place>,
    /// The place of the repository itself, which is asked last.
    pub own: Place,
}

/// The settings together with the list of their files.
#[derive(Debug)]
struct Known {
    files: RegistriesFiles,
    registries: Arc<Registries>,
}

impl Registries {
    /// Returns the settings of a run. The files are read once, when a caller needs them first.
    ///
    /// # Errors
    /// The errors of [`Registries::read`].
    pub fn of(network: &Network) -> Result<Arc<Self>> {
        let files = &network.registries;
        let known = files.shared.get_or_make(
            |known: &Known| known.files == *files,
            || -> Result<Known> {
                let mut own = files.clone();
                // The slot must not hold itself.
                own.shared = Shared::default();
                Ok(Known {
                    registries: Arc::new(Self::read(files)?),
                    files: own,
                })
            },
        )?;
        Ok(Arc::clone(&known.registries))
    }

    /// Reads the files that are there. A later file replaces the tables of the same prefix, the aliases of
    /// the same name, and the list of registries of an earlier file.
    ///
    /// # Errors
    /// [`Code::BadManifest`] with the file and the key for settings that are malformed or of version 1,
    /// [`Code::Missing`] if a file does not exist that the user named, and the errors of reading.
    pub fn read(files: &RegistriesFiles) -> Result<Self> {
        let mut all = Self::default();
        if let Some(only) = &files.only {
            if !all.add(only)? {
                return Err(Error::new(Code::Missing, "there is no such file")
                    .at(place(only))
                    .hint("`--registries-conf` and `CONTAINERS_REGISTRIES_CONF` name the file"));
            }
            return Ok(all);
        }
        let last = files.places.len().saturating_sub(1);
        for (i, (file, directories)) in files.places.iter().enumerate() {
            if all.add(file)? || i == last {
                for directory in directories {
                    for addition in additions(directory)? {
                        all.add(&addition)?;
                    }
                }
                break;
            }
        }
        if let Some(path) = &files.recorded_aliases
            && let Some(table) = read::<Table>(path)?
        {
            let found = aliases(&table).map_err(|error| error.at(place(path)))?;
            all.alias(found);
        }
        Ok(all)
    }

    /// Adds the settings of a file; returns false if the file does not exist.
    fn add(&mut self, path: &Path) -> Result<bool> {
        let Some(table) = read::<Table>(path)? else {
            return Ok(false);
        };
        let Parsed {
            registries,
            search,
            aliases,
        } = parse(&table, path)?;
        for registry in registries {
            self.tables.insert(registry.prefix.clone(), registry);
        }
        if let Some(search) = search {
            self.search = search;
        }
        self.alias(aliases);
        Ok(true)
    }

    fn alias(&mut self, found: BTreeMap<String, Option<String>>) {
        for (short, full) in found {
            match full {
                Some(full) => self.aliases.insert(short, full),
                None => self.aliases.remove(&short),
            };
        }
    }

    /// Returns the table with the longest prefix of a name; of two that are equally long the first in the
    /// order of their bytes.
    ///
    /// # Errors
    /// [`Code::Unsupported`] if a prefix is an image of this repository.
    fn table(&self, name: &str) -> Result<Option<&Registry>> {
        let mut best: Option<&Registry> = None;
        for registry in self.tables.values() {
            let prefix = &*registry.prefix;
            if is_image_of(prefix, name) {
                let message = format!(
                    "the prefix {} is an image, and a table is chosen by the name of a repository",
                    quote(prefix)
                );
                return Err(Error::new(Code::Unsupported, message)
                    .at(registry.file.clone())
                    .hint(
                        "write the prefix without tag and digest; podman and skopeo never use such a table",
                    ));
            }
            let longer = best.is_none_or(|best| prefix.len() > best.prefix.len());
            if longer && rest(name, prefix).is_some() {
                best = Some(registry);
            }
        }
        Ok(best)
    }

    /// Returns the places from which an image of a repository is read; `by_digest` says that the user named
    /// the image by its digest. The name is `HOST[:PORT]/PATH`.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if a table makes of the name something that is no name,
    /// [`Code::Unsupported`] for a table whose prefix is an image of the repository.
    pub fn reading(&self, repository: &str, by_digest: bool) -> Result<Reading> {
        let Some(table) = self.table(repository)? else {
            let own = Place {
                repository: repository.to_owned(),
                insecure: false,
                blocked: None,
            };
            let mirrors = Vec::new();
            return Ok(Reading { mirrors, own });
        };
        let mut mirrors = Vec::new();
        for mirror in &table.mirrors {
            if if by_digest {
                mirror.digests
            } else {
                mirror.tags
            } {
                let name = rewritten(repository, table, &mirror.location)?;
                mirrors.push(self.place(name, mirror.insecure)?);
            }
        }
        let name = rewritten(repository, table, &table.location)?;
        let mut own = self.place(name, table.insecure)?;
        if table.blocked {
            own.blocked = Some(why_blocked(repository, table));
        }
        Ok(Reading { mirrors, own })
    }

    /// Returns the place of a repository by its own name: where it is written, since neither mirrors nor
    /// `location` count for writing, and for a mirror that the user names.
    ///
    /// # Errors
    /// [`Code::Unsupported`] for a table whose prefix is an image of the repository.
    pub fn named(&self, repository: &str) -> Result<Place> {
        let insecure = self.table(repository)?.is_some_and(|it| it.insecure);
        self.place(repository.to_owned(), insecure)
    }

    /// Returns the host that lists the repositories of a registry, `HOST[:PORT]`.
    ///
    /// # Errors
    /// [`Code::Denied`] if the registry is blocked, [`Code::Unsupported`] if its repositories are below a
    /// path of another registry, which can't be listed.
    pub fn listing(&self, host: &str) -> Result<Place> {
        let Some(table) = self.table(host)? else {
            return Ok(Place {
                repository: host.to_owned(),
                insecure: false,
                blocked: None,
            });
        };
        if table.blocked {
            return Err(refusal(&why_blocked(host, table)));
        }
        let host = match &*table.location {
            "" => host.to_owned(),
            location => format!(
                "{location}{}",
                rest(host, &table.prefix).unwrap_or_default()
            ),
        };
        if host.contains('/') {
            let message = format!(
                "the table of the prefix {} leads to {}, a part of a registry, which can't be listed",
                quote(&table.prefix),
                quote(&host)
            );
            return Err(Error::new(Code::Unsupported, message)
                .at(table.file.clone())
                .hint("give each repository as a source, `docker://HOST/REPOSITORY`"));
        }
        let place = self.place(host, table.insecure)?;
        match &place.blocked {
            Some(why) => Err(refusal(why)),
            None => Ok(place),
        }
    }

    /// Makes the place of a name that is not rewritten any more. The table of that name says whether the
    /// place is blocked.
    fn place(&self, repository: String, insecure: bool) -> Result<Place> {
        let table = self.table(&repository)?.filter(|table| table.blocked);
        let blocked = table.map(|table| why_blocked(&repository, table));
        Ok(Place {
            repository,
            insecure,
            blocked,
        })
    }

    /// Returns the short names that mean a repository: aliases, and names to which a registry is added
    /// that is searched.
    pub fn short_names(&self, repository: &str) -> Vec<String> {
        let aliases = self.aliases.iter().filter(|(_, full)| *full == repository);
        let mut names: Vec<String> = aliases.map(|(short, _)| short.clone()).collect();
        for host in &self.search {
            let Some(path) = repository.strip_prefix(&**host) else {
                continue;
            };
            let Some(path) = path.strip_prefix('/') else {
                continue;
            };
            names.push(path.to_owned());
            let of_library = path.strip_prefix("library/");
            names.extend(
                of_library
                    .filter(|_| host == "docker.io")
                    .map(str::to_owned),
            );
        }
        names.sort();
        names.dedup();
        names
    }
}

/// Makes the error of a place that must not be asked.
fn refusal(why: &str) -> Error {
    Error::new(Code::Denied, why).hint(
        "`--registries-conf FILE` reads another configuration, and `--registries-conf /dev/null` none",
    )
}

impl Place {
    /// Returns the error of asking this place, if the configuration blocks the place.
    pub fn refusal(&self) -> Option<Error> {
        self.blocked.as_deref().map(refusal)
    }
}

fn why_blocked(repository: &str, table: &Registry) -> String {
    format!(
        "{} is blocked by `blocked` of the prefix {} in {}",
        quote(repository),
        quote(&table.prefix),
        table.file
    )
}

/// Returns the `*.conf` files of a directory, sorted; none if there is no such directory.
fn additions(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(error, format!("directory {}", quote_path(directory)));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let is_directory = entry.file_type().map_err(failed)?.is_dir();
        if !is_directory && path.as_os_str().as_encoded_bytes().ends_with(b".conf") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns what follows the prefix in a name; `None` if the name does not begin with the prefix. A prefix
/// ends where a part of the name ends. As in containers/image, a host without a port is a prefix of the host
/// with any port.
fn rest<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.find(['/', ':', '@']).unwrap_or(name.len());
        return name[..host].ends_with(domain).then(|| &name[host..]);
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(rest)
}

/// Says whether a prefix is an image, `REPOSITORY:TAG` or `REPOSITORY@DIGEST`.
fn is_image_of(prefix: &str, repository: &str) -> bool {
    let rest = prefix.strip_prefix(repository);
    repository.contains('/') && rest.is_some_and(|rest| rest.starts_with([':', '@']))
}

/// Replaces the prefix of a name by a location.
fn rewritten(repository: &str, table: &Registry, location: &str) -> Result<String> {
    let rest = rest(repository, &table.prefix).unwrap_or_default();
    let name = match location {
        "" => repository.to_owned(),
        location => format!("{location}{rest}"),
    };
    let parsed = Name::parse_reference(&name).ok();
    let is_repository = parsed.is_some_and(|parsed| {
        parsed.repository.as_ref() == Some(&name) && parsed.tag.is_none() && parsed.digest.is_none()
    });
    if !is_repository {
        let message = format!(
            "`location` {} of the prefix {} makes {} of {}, which is no full name of a repository",
            quote(location),
            quote(&table.prefix),
            quote(&name),
            quote(repository)
        );
        return Err(Error::new(Code::BadManifest, message).at(table.file.clone()));
    }
    Ok(name)
}
