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
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use imgconv_containers_conf::{Place, Reading, Registries};
use imgconv_http::Client;
use imgconv_model::{Code, Env, Error, Event, Name, Result};
use imgconv_registry::{Location, Protocol};

use crate::session::Session;

/// The places of a repository.
pub(crate) struct Sources {
    client: Client,
    env: Env,
    /// The repository as the user names it.
    asked: String,
    /// The mirrors, and the registry itself last.
    places: Vec<Source>,
    /// The position of the place that gave the last image, which is asked first for its parts.
    likely: AtomicUsize,
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
    /// The position of the place.
    pub(crate) at: usize,
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
            likely: AtomicUsize::new(0),
        })
    }

    /// Asks the places in turn for a document or a blob, beginning with the place that is the likely one.
    pub(crate) fn first<T>(&self, work: impl Fn(&Session) -> Result<T>) -> Result<Found<T>> {
        let start = self.likely.load(Ordering::Relaxed);
        self.in_turn((start..self.places.len()).chain(0..start), work)
    }

    /// Asks the places in turn for a tag, and takes the place that has the tag for the likely place of what
    /// the tag leads to.
    pub(crate) fn resolve<T>(&self, work: impl Fn(&Session) -> Result<T>) -> Result<Found<T>> {
        let found = self.in_turn(0..self.places.len(), work)?;
        self.prefer(found.at);
        Ok(found)
    }

    /// Takes a place for the likely place of what is asked for next.
    pub(crate) fn prefer(&self, at: usize) {
        self.likely.store(at, Ordering::Relaxed);
    }

    /// Asks the place that gave a document about the document, and the registry itself if that place fails.
    /// Another mirror may lack the document, and would answer that there is nothing about it.
    pub(crate) fn about<T>(&self, at: usize, work: impl Fn(&Session) -> Result<T>) -> Result<T> {
        let own = self.own();
        let found = self.in_turn([at].into_iter().chain((at != own).then_some(own)), work)?;
        Ok(found.value)
    }

    /// Asks the places in turn that have a whole list of tags.
    pub(crate) fn list<T>(&self, work: impl Fn(&Session) -> Result<T>) -> Result<T> {
        let all = self.places[self.own()].place.blocked.is_some();
        let which = |at: &usize| all || self.places[*at].lists;
        let found = self.in_turn((0..self.places.len()).filter(which), work)?;
        Ok(found.value)
    }

    /// Returns the position of the registry itself.
    fn own(&self) -> usize {
        self.places.len() - 1
    }

    /// Asks places in turn. If all of them fail, the error of the registry itself is returned.
    fn in_turn<T>(
        &self,
        order: impl Iterator<Item = usize>,
        work: impl Fn(&Session) -> Result<T>,
    ) -> Result<Found<T>> {
        let mut failed: Vec<(String, Error)> = Vec::new();
        let mut of_own = None;
        for at in order {
            let source = &self.places[at];
            let name = &source.place.repository;
            let is_mirror = at != self.own();
            if let Some(why) = source.down().as_ref().filter(|_| is_mirror) {
                failed.push((name.clone(), Error::new(Code::Net, why.clone())));
                continue;
            }
            let error = match self.ask(source, &work) {
                Ok((session, value)) => {
                    let mirror = is_mirror.then(|| name.clone());
                    return Ok(Found {
                        value,
                        session,
                        mirror,
                        at,
                    });
                }
                Err(error) => error,
            };
            if error.code() == Code::Cancelled || !is_mirror && !passes(&error) {
                return Err(error);
            }
            if !is_mirror {
                of_own = Some(error);
                continue;
            }
            if !passes(&error) {
                return Err(error.at(format!("mirror {name}")));
            }
            if !source.told.1.swap(true, Ordering::Relaxed) {
                self.tell(&format!("the mirror {name} is passed over: {error}"));
            }
            if error.code() == Code::Net {
                *source.down() = Some(error.to_string());
            }
            failed.push((name.clone(), error));
        }
        let own = &self.places[self.own()].place;
        let (error, why) = match (of_own, own.blocked.as_deref()) {
            (Some(error), None) if failed.is_empty() => return Err(error),
            (Some(error), None) => (error, "the mirrors were asked too".to_owned()),
            (_, why) => {
                // Only mirrors may be asked, so the last of them says what is wrong.
                let Some((name, last)) = failed.pop() else {
                    let message = "no place has lists of tags";
                    return Err(own
                        .refusal()
                        .unwrap_or_else(|| Error::new(Code::Missing, message)));
                };
                let why = why.unwrap_or("the registry itself was not asked");
                (
                    last.at(format!("mirror {name}")),
                    format!("only mirrors are asked, since {why}"),
                )
            }
        };
        Err(advise(error, &why, &failed))
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
        let place = (Protocol::V2.server(host), path);
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
