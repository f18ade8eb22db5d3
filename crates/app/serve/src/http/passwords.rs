//! The users of the server, by a file that `htpasswd -B` writes, and their passwords in requests
//! (RFC 7617).
//!
//! A bcrypt hash is slow by design. So few are computed at a time, on threads of their own; few requests
//! wait for that; and a password that was right is remembered by a keyed hash, whose key is made at the
//! start and never stored. An unknown user costs as much as a wrong password.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bcrypt::HashParts;
use hyper::{HeaderMap, header::AUTHORIZATION};
use imgconv_model::{Code, Error, Result, quote, quote_path};
use ring::{hmac, rand::SystemRandom};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// The most bytes of the file.
const FILE: u64 = 8 << 20;
/// The highest cost of a hash: each step doubles the time, and 17 takes seconds.
const COST: u32 = 17;
/// The hashes that are computed at a time.
const HASHERS: usize = 2;
/// The requests that wait for a hash at most. Others are told to come back later.
const WAITING: usize = 64;
/// The right passwords that are remembered.
const REMEMBERED: usize = 1024;
/// The longest header with a password.
const LONGEST: usize = 4096;

/// The reason why a request gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The request has no right password.
    Wrong,
    /// Too many requests wait for a hash.
    Busy,
}

/// The users.
pub(super) struct Passwords {
    /// User -> hash.
    users: BTreeMap<String, String>,
    /// A hash that no password has, with the highest cost of the file.
    nobody: String,
    key: hmac::Key,
    right: Mutex<Right>,
    hashers: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

/// The passwords that were right, by their keyed hashes; the last ones.
#[derive(Default)]
struct Right {
    known: BTreeSet<Vec<u8>>,
    order: VecDeque<Vec<u8>>,
}

impl Right {
    fn add(&mut self, tag: Vec<u8>) {
        if self.known.insert(tag.clone()) {
            self.order.push_back(tag);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

impl Passwords {
    /// Reads the file.
    ///
    /// # Errors
    /// If the file can't be read, has no user, or has a line that is not `USER:HASH` with a bcrypt hash;
    /// the error names the line.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>> {
        let at = |error: Error| error.at(quote_path(path));
        let bytes = imgconv_fs::read_given(path, ("key_file", FILE), "the file").map_err(at)?;
        Self::read(&bytes).map(Arc::new).map_err(at)
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let mut users = BTreeMap::new();
        let mut highest = 0;
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let at = |error: Error| error.at(format!("line {}", number + 1));
            let line = str::from_utf8(line)
                .map_err(|_| at(Error::new(Code::Usage, "the line is not UTF-8")))?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = entry(line).map_err(at)?;
            highest = highest.max(cost(hash).map_err(at)?);
            if users.insert(user.to_owned(), hash.to_owned()).is_some() {
                let message = format!("the user {} stands in the file twice", quote(user));
                return Err(at(Error::new(Code::Ambiguous, message)));
            }
        }
        if users.is_empty() {
            let message = "the file has no user, so nobody could pull";
            return Err(
                Error::new(Code::Usage, message).hint("`htpasswd -B -c FILE USER` adds one")
            );
        }
        let random = SystemRandom::new();
        let failed = |_| Error::new(Code::Io, "the system gives no random numbers");
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(failed)?;
        Ok(Self {
            users,
            nobody: format!("$2b${highest:02}${}", ".".repeat(53)),
            key,
            right: Mutex::default(),
            hashers: Arc::new(Semaphore::new(HASHERS)),
            waiting: Arc::new(Semaphore::new(WAITING)),
        })
    }

    /// Checks the password of a request.
    ///
    /// # Errors
    /// If the request has no right password, or can't be checked now.
    pub(super) async fn check(self: &Arc<Self>, headers: &HeaderMap) -> Result<(), Denied> {
        let Some((user, password)) = credentials(headers) else {
            return Err(Denied::Wrong);
        };
        let known = self.users.get(&user);
        let hash = known.unwrap_or(&self.nobody).clone();
        let tag = self.tag(&user, &password, &hash);
        if self.lock().known.contains(&tag) {
            return Ok(());
        }
        let waiting = Arc::clone(&self.waiting).try_acquire_owned();
        let waiting = waiting.map_err(|_| Denied::Busy)?;
        let hasher = Arc::clone(&self.hashers).acquire_owned().await;
        let hasher = hasher.map_err(|_| Denied::Busy)?;
        // A request that waited may be one of many with the same password.
        if self.lock().known.contains(&tag) {
            return Ok(());
        }
        // A client that went away ends this function, and not the hash: so the hash holds its place to its end.
        let checked = spawn_blocking(move || {
            let _places = (waiting, hasher);
            bcrypt::verify(password, &hash)
        });
        let right = matches!(checked.await, Ok(Ok(true))) && known.is_some();
        match right {
            true => {
                self.lock().add(tag);
                Ok(())
            }
            false => Err(Denied::Wrong),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Right> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keyed hash of user, password and stored hash. The stored hash has a fixed length, and a user
    /// has no colon, so no two triples are one text.
    fn tag(&self, user: &str, password: &[u8], hash: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [hash.as_bytes(), user.as_bytes(), b":", password] {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }
}

/// Reads a line.
fn entry(line: &str) -> Result<(&str, &str)> {
    let entry = line.split_once(':').filter(|(user, _)| !user.is_empty());
    entry.ok_or_else(|| Error::new(Code::Usage, "the line is not `USER:HASH`"))
}

/// Checks a hash, and returns its cost. Neither the message nor the hint has the hash.
fn cost(hash: &str) -> Result<u32> {
    let bcrypt = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|kind| hash.starts_with(kind));
    let parts: Option<HashParts> = hash.parse().ok().filter(|_| bcrypt);
    let Some(parts) = parts else {
        let message = "the hash of the password is not one of bcrypt";
        return Err(Error::new(Code::Unsupported, message).hint("`htpasswd -B` writes such hashes"));
    };
    match parts.get_cost() {
        cost @ 4..=COST => Ok(cost),
        cost => {
            let message = format!("the cost of the hash is {cost}, and must be 4 to {COST}");
            Err(Error::new(Code::Limit, message))
        }
    }
}

/// Reads user and password of a request; the password may be any bytes.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return None;
    };
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST)?;
    let (scheme, rest) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = BASE64_STANDARD.decode(rest.trim()).ok()?;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(bytes[..colon].to_vec()).ok()?;
    Some((user, bytes[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of `secret`, cost 4.
    fn hash() -> String {
        bcrypt::hash("secret", 4).unwrap()
    }

    #[test]
    fn a_file_of_htpasswd_is_read() {
        let text = format!("# users\n\nbob:{}\r\nal:{}\n", hash(), hash());
        let read = Passwords::read(text.as_bytes()).unwrap();
        assert_eq!(read.users.keys().collect::<Vec<_>>(), ["al", "bob"]);
        let nobody: HashParts = read.nobody.parse().unwrap();
        assert_eq!(nobody.get_cost(), 4);
    }

    /// V20. A hash that is computed for a client that went away holds its place.
    #[test]
    fn v20_a_hash_holds_its_place_when_its_client_has_gone() {
        let slow = bcrypt::hash("secret", 12).unwrap();
        let passwords = Arc::new(Passwords::read(format!("al:{slow}\n").as_bytes()).unwrap());
        let mut headers = HeaderMap::new();
        let wrong = BASE64_STANDARD.encode("al:wrong");
        headers.insert(AUTHORIZATION, format!("Basic {wrong}").parse().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = passwords.check(&headers) => panic!("a hash takes time"),
                () = std::future::ready(()) => {}
            }
            assert_eq!(passwords.hashers.available_permits(), HASHERS - 1);
            assert_eq!(passwords.waiting.available_permits(), WAITING - 1);
        });
    }

    #[test]
    fn v15_other_hashes_are_refused_with_their_line() {
        let good = hash();
        for (line, expected) in [
            (
                "bob:$apr1$x$y",
                "line 2: the hash of the password is not one of bcrypt",
            ),
            ("bob:{SHA}x", "line 2: the hash"),
            ("bob:plain", "line 2: the hash"),
            ("bob:", "line 2: the hash"),
            ("bob", "line 2: the line is not `USER:HASH`"),
            (":x", "line 2: the line is not `USER:HASH`"),
            (
                &format!("bob:{}", good.replace("$04$", "$31$")),
                "line 2: the cost",
            ),
            (
                &format!("bob:{}", good.replace("$04$", "$03$")),
                "line 2: the cost",
            ),
            (
                &format!("bob:{}", good.replace("$2b$", "$2x$")),
                "line 2: the hash",
            ),
            (
                &format!("al:{good}"),
                "line 2: the user \"al\" stands in the file twice",
            ),
        ] {
            let text = format!("al:{good}\n{line}\n");
            let error = Passwords::read(text.as_bytes()).unwrap_err().to_string();
            let error = error.replace(" › ", ": ");
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("$2") && !error.contains("apr1"), "{error}");
        }
        assert!(Passwords::read(b"\n# nobody\n").is_err());
        assert!(Passwords::read(b"a\xff:x\n").is_err());
    }

    #[test]
    fn few_passwords_are_remembered() {
        let mut right = Right::default();
        for i in 0..2 * REMEMBERED {
            right.add(i.to_be_bytes().to_vec());
            right.add(i.to_be_bytes().to_vec());
        }
        assert_eq!(
            (right.known.len(), right.order.len()),
            (REMEMBERED, REMEMBERED)
        );
        assert!(
            right
                .known
                .contains((2 * REMEMBERED - 1).to_be_bytes().as_slice())
        );
    }

    #[test]
    fn credentials_are_one_header_of_basic() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            credentials(&headers)
        };
        let encoded = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        let found = of(&[&encoded("al:a:b")]).unwrap();
        assert_eq!(found, ("al".to_owned(), b"a:b".to_vec()));
        assert!(of(&[&encoded("al:x").replace("Basic", "bAsIc")]).is_some());
        for values in [
            vec![],
            vec!["Bearer x".to_owned()],
            vec!["Basic".to_owned()],
            vec!["Basic ?".to_owned()],
            vec![encoded("al")],
            vec![encoded("al:x"), encoded("al:y")],
            vec![encoded(&format!("al:{}", "x".repeat(LONGEST)))],
        ] {
            let values: Vec<&str> = values.iter().map(|value| &**value).collect();
            assert_eq!(of(&values), None, "{values:?}");
        }
    }
}
