//! A registry as a whole: every repository that the registry lists, with every tag of each
//! (distribution's Registry HTTP API v2, "Listing Repositories"; no part of the OCI specification).

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use imgconv_containers_conf::Registries;
use imgconv_http::{Client, Request};
use imgconv_json::{Value, parse, within};
use imgconv_model::{
    Blob, Bundle, Code, Document, Env, Error, Extras, Facts, Limits, Listing, Parts, Referrers,
    Result, Root, RootEntry, TopLevel, quote,
};
use imgconv_registry::{Host, Location, Protocol};

use crate::{
    read::{RegistryBundle, Resolved},
    referrers::Pages,
    session::{Session, failure},
    sources::client_for,
};

/// The number of repositories in one page of the list.
const PAGE: &str = "1000";

/// The code of a registry that has nothing under the name of a repository (distribution-spec, "Error
/// Codes").
const UNKNOWN: &str = "NAME_UNKNOWN";

/// A registry whose repositories are all read.
///
/// Only the list of entries is kept, with the resolved tags. The last used repository stays open,
/// because callers ask for the entries of a repository one after another.
pub(crate) struct WholeRegistry {
    host: Host,
    client: Client,
    env: Env,
    listed: OnceLock<Listed>,
    /// The repository that was used last, by its position.
    opened: Mutex<Vec<(usize, Arc<RegistryBundle>)>>,
}

/// The entries of a registry.
#[derive(Default)]
struct Listed {
    repositories: Vec<Repository>,
    entries: Vec<RootEntry>,
    /// The position of the repository of each entry.
    of: Vec<usize>,
}

struct Repository {
    location: Location,
    /// The tags that were resolved: a tag that moves during a run means one image to the end.
    resolved: Resolved,
}

impl fmt::Debug for WholeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WholeRegistry")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl WholeRegistry {
    /// Connects at the first read.
    pub(crate) fn open(host: Host, env: &Env) -> Result<Self> {
        Ok(Self {
            host,
            client: Client::new(env)?,
            env: env.clone(),
            listed: OnceLock::new(),
            opened: Mutex::default(),
        })
    }

    /// Lists the paths of all repositories, sorted.
    fn catalog(&self) -> Result<Vec<String>> {
        let place = Registries::of(&self.env.network)?.listing(self.host.name())?;
        let client = client_for(&place, &self.client);
        let server = Protocol::V2.server(&place.repository);
        let session = Session::of_catalog(&client, server, place.repository.clone(), &self.env)?;
        let limits = &self.env.limits;
        let first = session.url("_catalog").with_query([("n", PAGE)]);
        let mut pages = Pages::new(first, &self.env);
        let mut paths = Vec::new();
        let mut total = 0;
        while let Some(url) = pages.next()? {
            self.env.check_cancelled()?;
            let request = Request::get(&url).whole(limits.manifest);
            let sent = session.send(&request, &url);
            let response = sent.map_err(|error| match error.code() {
                Code::Denied => self.refused(error),
                _ => error,
            })?;
            match response.status() {
                200 => {}
                401 | 403 | 404 | 405 => return Err(self.refused(failure(response))),
                _ => return Err(failure(response)),
            }
            pages.follow(&session, &response)?;
            let bytes = response.into_bytes(("manifest", limits.manifest))?;
            // The limit of all pages together is that of a layout's index with the same names.
            total += bytes.len() as u64;
            let what = "the list of repositories";
            within(total, ("root_index", limits.root_index), what)?;
            let page = parse(&bytes, limits, what)?;
            let listed = match page.get("repositories") {
                None | Some(Value::Null) => &[][..],
                Some(Value::Array(listed)) => listed,
                Some(_) => {
                    let message = "`repositories` is not a list";
                    return Err(Error::new(Code::BadManifest, message).at(what));
                }
            };
            for path in listed {
                let Some(path) = path.as_str() else {
                    let message = "an item of `repositories` is not a string";
                    return Err(Error::new(Code::BadManifest, message).at(what));
                };
                paths.push(path.to_owned());
                if paths.len() as u64 > limits.repositories {
                    let what = "the number of repositories";
                    return Err(Limits::exceeded("repositories", limits.repositories, what));
                }
            }
        }
        paths.sort_unstable();
        paths.dedup();
        Ok(paths)
    }

    /// Describes the refusal of a registry to list its repositories.
    fn refused(&self, error: Error) -> Error {
        let host = self.host.name();
        let message = format!(
            "{} does not list its repositories: {}",
            quote(host),
            error.message()
        );
        let login = match (error.code(), error.advice()) {
            (Code::Denied, Some(advice)) => format!("{advice}; "),
            (Code::Denied, None) => {
                format!("`docker login {host}` stores credentials that may allow it; ")
            }
            _ => String::new(),
        };
        Error::new(error.code(), message).hint(format!(
            "{login}otherwise give each repository as a source, `docker://{host}/REPOSITORY`; on the \
             registry's own machine `registry-storage:PATH` reads its disk"
        ))
    }

    /// Lists the tags of every repository. A repository that can't be listed becomes an entry with an
    /// error.
    fn read(&self) -> Result<Listed> {
        let mut found = Listed::default();
        let limits = &self.env.limits;
        for path in self.catalog()? {
            self.env.check_cancelled()?;
            let location = match self.host.repository(&path) {
                Ok(location) => location,
                Err(error) => {
                    found.unreadable(quote(&path), None, error);
                    continue;
                }
            };
            let resolved = Resolved::default();
            let tags = RegistryBundle::open(location.clone(), Arc::clone(&resolved), &self.env)
                .and_then(|bundle| bundle.listing());
            let at = found.repositories.len();
            match tags {
                Ok(tags) => {
                    for mut entry in tags {
                        entry.position = found.entries.len();
                        // A tag alone is not unique here.
                        entry.texts.remove(0);
                        found.entries.push(entry);
                        found.of.push(at);
                        if found.entries.len() as u64 > limits.registry_tags {
                            let what = "the number of tags of all repositories";
                            let limit = limits.registry_tags;
                            return Err(Limits::exceeded("registry_tags", limit, what));
                        }
                    }
                }
                Err(error) if error.code() == Code::Cancelled => return Err(error),
                // The list may hold repositories whose images were all deleted.
                Err(error)
                    if error.code() == Code::Missing && error.message().contains(UNKNOWN) => {}
                Err(error) => found.unreadable(location.qualified(), Some(at), error),
            }
            found.repositories.push(Repository { location, resolved });
        }
        Ok(found)
    }

    fn listed(&self) -> Result<&Listed> {
        if let Some(listed) = self.listed.get() {
            return Ok(listed);
        }
        let listed = self.read()?;
        Ok(self.listed.get_or_init(|| listed))
    }

    /// Opens the repository of an entry. Only the last ones stay open, one for each thread.
    fn repository(&self, at: usize) -> Result<Option<Arc<RegistryBundle>>> {
        let Some(repository) = self.listed()?.repositories.get(at) else {
            return Ok(None);
        };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let bundle = match opened.iter().position(|(known, _)| *known == at) {
            Some(known) => opened.remove(known).1,
            None => Arc::new(RegistryBundle::open(
                repository.location.clone(),
                Arc::clone(&repository.resolved),
                &self.env,
            )?),
        };
        opened.truncate(self.env.jobs.max(1) - 1);
        opened.insert(0, (at, Arc::clone(&bundle)));
        Ok(Some(bundle))
    }
}

impl Listed {
    /// Adds an entry for a repository that can't be read.
    fn unreadable(&mut self, text: String, at: Option<usize>, error: Error) {
        self.entries.push(RootEntry {
            position: self.entries.len(),
            texts: vec![text],
            error: Some(Arc::new(error)),
            ..RootEntry::only(None)
        });
        self.of.push(at.unwrap_or(usize::MAX));
    }
}

impl Bundle for WholeRegistry {
    fn locator(&self) -> String {
        self.host.to_string()
    }

    /// Fails: a registry as a whole can be listed, and is no image.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        Err(Location::parse(&format!("//{}/", self.host.name()))
            .err()
            .unwrap_or_else(|| Error::new(Code::BadName, "a registry names no repository")))
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        entry.check()?;
        match self.part(entry)? {
            Some((repository, inner)) => repository.root(&inner),
            None => Err(Error::new(Code::Missing, "the entry does not exist")),
        }
    }

    fn document(&self, _: &str, _: &Facts, _: (&'static str, u64)) -> Result<Document> {
        Err(no_repository())
    }

    fn blob(&self, _: &Facts) -> Result<Blob> {
        Err(no_repository())
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            listing: Some(self),
            parts: Some(self),
            referrers: Some(self),
            ..Extras::default()
        }
    }
}

/// The error of a question about data whose repository is not known.
fn no_repository() -> Error {
    let message = "data in a registry belong to a repository, and none is named";
    Error::new(Code::Missing, message)
}

impl Listing for WholeRegistry {
    fn listing(&self) -> Result<Vec<RootEntry>> {
        Ok(self.listed()?.entries.clone())
    }

    fn resolve(&self, entry: &RootEntry) -> Result<RootEntry> {
        entry.check()?;
        match self.part(entry)? {
            Some((repository, inner)) => repository.resolve(&inner),
            None => Ok(entry.clone()),
        }
    }
}

impl Referrers for WholeRegistry {
    fn referrers(&self, entry: &RootEntry) -> Result<Vec<RootEntry>> {
        match self.part(entry)? {
            Some((repository, inner)) => repository.referrers(&inner),
            None => Ok(Vec::new()),
        }
    }
}

impl Parts for WholeRegistry {
    fn part(&self, entry: &RootEntry) -> Result<Option<(Arc<dyn Bundle>, RootEntry)>> {
        let Some(at) = self.listed()?.of.get(entry.position) else {
            return Ok(None);
        };
        let bundle = self.repository(*at)?;
        Ok(bundle.map(|bundle| (bundle as Arc<dyn Bundle>, entry.clone())))
    }

    /// A repository has no fields of its own.
    fn top_levels(&self, _: &[RootEntry]) -> Vec<(String, TopLevel)> {
        Vec::new()
    }
}
