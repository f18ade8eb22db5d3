//! The places from which a repository is read: its mirrors in turn, and the registry itself last.
//!
//! A mirror is passed over if it does not answer, or does not give the image. A mirror that gives other
//! content than was asked for is an error and no reason to ask another place: whoever changed the content
//! must not be able to choose who is asked next. Everything that has a digest is verified by the callers,
//! wherever it is from.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use imgconv_containers_conf::{Place, Reading, Registries};
use imgconv_http::Client;
use imgconv_model::{Code, Env, Error, Event, Name, Result};

use crate::{
    location::{Location, server_of},
    session::Session,
};

/// The places of a repository.
pub(crate) struct Sources {
    client: Client,
    env: Env,
    /// The repository as the user names it.
    asked: String,
    /// The mirrors, and the registry itself last.
    places: Vec<Source>,
}

struct Source {
    place: Place,
    /// Whether the place is asked for lists of tags. Mirrors of `registries.conf` may have a part of the
    /// tags only.
    lists: bool,
    session: Mutex<Option<Arc<Session>>>,
    /// The error by which the place could not be reached; it is not asked again.
    down: Mutex<Option<String>>,
    /// Whether the user was told that the place is used, and that the place is passed over.
    told: (AtomicBool, AtomicBool),
}

/// A place that gave what was asked for.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) session: Arc<Session>,
    /// The place, if it is a mirror: `HOST/REPOSITORY`.
    pub(crate) mirror: Option<String>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places.iter().map(|source| &source.place.repository);
        f.debug_list().entries(places).finish()
    }
}

impl Source {
    fn new(place: Place, lists: bool) -> Self {
        Self {
            place,
            lists,
            session: Mutex::default(),
            down: Mutex::default(),
            told: Default::default(),
        }
    }

    fn down(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    /// Finds the places by `--mirror` and `registries.conf`. Connects to none.
    pub(crate) fn of(location: &Location, env: &Env) -> Result<Self> {
        let registries = Registries::of(&env.network)?;
        let asked = location.qualified();
        let mut places = Vec::new();
        for (host, mirror) in &env.network.mirrors {
            if *host != location.host {
                continue;
            }
            let name = format!("{}/{}", mirror.trim_end_matches('/'), location.repository);
            // The repository becomes a part of a URL.
            Name::parse_reference(&name)?;
            places.push(Source::new(registries.named(&name)?, true));
        }
        let Reading { mirrors, own } = registries.reading(&asked, location.digest.is_some())?;
        if let Some(refusal) = own
            .refusal()
            .filter(|_| mirrors.is_empty() && places.is_empty())
        {
            return Err(refusal);
        }
        places.extend(mirrors.into_iter().map(|place| Source::new(place, false)));
        places.push(Source::new(own, true));
        Ok(Self {
            client: Client::new(env)?,
            env: env.clone(),
            asked,
            places,
        })
    }

    /// Asks the places in turn for a document or a blob.
    pub(crate) fn first<T>(&self, work: impl Fn(&Session) -> Result<T>) -> Result<Found<T>> {
        self.first_of(|_| true, work)
    }

    /// Asks the places in turn that have a whole list of tags.
    pub(crate) fn list<T>(&self, work: impl Fn(&Session) -> Result<T>) -> Result<T> {
        let (own, _) = self.split();
        let all = own.place.blocked.is_some();
        let found = self.first_of(|source| source.lists || all, work)?;
        Ok(found.value)
    }

    fn split(&self) -> (&Source, &[Source]) {
        self.places
            .split_last()
            .expect("the registry itself is always there")
    }

    fn first_of<T>(
        &self,
        which: impl Fn(&Source) -> bool,
        work: impl Fn(&Session) -> Result<T>,
    ) -> Result<Found<T>> {
        let (own, mirrors) = self.split();
        let mut failed: Vec<(String, Error)> = Vec::new();
        for mirror in mirrors.iter().filter(|source| which(source)) {
            let name = &mirror.place.repository;
            if let Some(why) = &*mirror.down() {
                failed.push((name.clone(), Error::new(Code::Net, why.clone())));
                continue;
            }
            match self.ask(mirror, &work) {
                Ok((session, value)) => {
                    let mirror = Some(name.clone());
                    return Ok(Found {
                        value,
                        session,
                        mirror,
                    });
                }
                Err(error) if passes(&error) => {
                    if !mirror.told.1.swap(true, Ordering::Relaxed) {
                        self.tell(&format!("the mirror {name} is passed over: {error}"));
                    }
                    if error.code() == Code::Net {
                        *mirror.down() = Some(error.to_string());
                    }
                    failed.push((name.clone(), error));
                }
                Err(error) if error.code() == Code::Cancelled => return Err(error),
                Err(error) => return Err(error.at(format!("mirror {name}"))),
            }
        }
        let error = match self.ask(own, &work) {
            Ok((session, value)) => {
                let mirror = None;
                return Ok(Found {
                    value,
                    session,
                    mirror,
                });
            }
            Err(error) => error,
        };
        if failed.is_empty() || error.code() == Code::Cancelled {
            return Err(error);
        }
        if own.place.blocked.is_some() {
            // Only the mirrors were asked, so the last of them says what is wrong.
            let (name, last) = failed.pop().expect("the list is not empty");
            let why = format!("only mirrors are asked, since {}", error.message());
            return Err(advise(last.at(format!("mirror {name}")), &why, &failed));
        }
        Err(advise(error, "the mirrors were asked before", &failed))
    }

    /// Asks one place.
    fn ask<T>(
        &self,
        source: &Source,
        work: impl Fn(&Session) -> Result<T>,
    ) -> Result<(Arc<Session>, T)> {
        if let Some(refusal) = source.place.refusal() {
            return Err(refusal);
        }
        let session = self.session(source)?;
        let value = work(&session)?;
        let name = &source.place.repository;
        if *name != self.asked && !source.told.0.swap(true, Ordering::Relaxed) {
            self.tell(&format!("read from {name}"));
        }
        Ok((session, value))
    }

    /// Returns the session of a place. Credentials are those of the host that is asked.
    fn session(&self, source: &Source) -> Result<Arc<Session>> {
        let mut session = source
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let Place { repository, .. } = &source.place;
        let client = client_for(&source.place, &self.client);
        let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
        let place = (server_of(host), path);
        let made = Session::new(&client, place, repository.clone(), false, &self.env)?;
        Ok(Arc::clone(session.insert(Arc::new(made))))
    }

    fn tell(&self, what: &str) {
        let what = format!("docker://{}: {what}", self.asked);
        self.env.progress.event(Event::Chosen { what: &what });
    }
}

/// Returns the client for a place: one that needs no valid certificate for an insecure place.
pub(crate) fn client_for(place: &Place, client: &Client) -> Client {
    match place.insecure {
        true => client.lenient(),
        false => client.clone(),
    }
}

/// Says whether the next place is asked after an error of a mirror: the mirror lacks the content, does not
/// give it, or can't be reached.
fn passes(error: &Error) -> bool {
    matches!(error.code(), Code::Missing | Code::Denied | Code::Net)
}

/// Adds to an error what the mirrors answered before.
fn advise(error: Error, why: &str, failed: &[(String, Error)]) -> Error {
    let mut advice: Vec<String> = error.advice().map(str::to_owned).into_iter().collect();
    advice.push(why.to_owned());
    let told = failed
        .iter()
        .map(|(name, error)| format!("{name}: {error}"));
    advice.extend(told);
    error.hint(advice.join("; "))
}
