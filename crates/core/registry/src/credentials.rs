//! The user's credentials for a registry: those of the command line, docker's config file and
//! podman's `auth.json`, and the credential helpers that these files name.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_json::{Value, parse};
use imgconv_model::{Code, Credential, Env, Error, Result, Secret, quote};

/// The key of docker's own registry in docker's config file.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// The user name that marks an identity token, in files and from helpers.
const TOKEN_USER: &str = "<token>";

/// The most bytes of a config file, or of a helper's answer.
const MOST: u64 = 1 << 20;

/// The interval at which a wait for a helper checks whether the run was cancelled.
const TICK: Duration = Duration::from_millis(100);

/// Makes the value of `Authorization` for a name and a password (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

/// Finds the credentials for a repository, `HOST[:PORT]/PATH`; `None` if there are none. From then on no
/// message of the run shows the secrets in them.
///
/// # Errors
/// If a file or the answer of a helper is malformed, or a helper can't be run or does not end.
pub fn find_credential(env: &Env, repository: &str) -> Result<Option<Credential>> {
    let found = find(env, repository)?;
    match &found {
        Some(Credential::Basic { user, password }) => {
            env.secrets.add(password.expose());
            env.secrets.add(&basic(user, password.expose()));
        }
        Some(Credential::IdentityToken(token)) => env.secrets.add(token.expose()),
        None => {}
    }
    Ok(found)
}

fn find(env: &Env, repository: &str) -> Result<Option<Credential>> {
    let network = &env.network;
    let host = repository.split('/').next().unwrap_or_default();
    let given = network.credentials.iter().find(|(known, _)| known == host);
    if let Some((_, credential)) = given {
        return Ok(Some(credential.clone()));
    }
    for path in &network.auth_files {
        let found = from_file(path, repository, env);
        if let Some(found) = found.map_err(|error| error.at(path.display().to_string()))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn from_file(path: &Path, repository: &str, env: &Env) -> Result<Option<Credential>> {
    let file = match imgconv_fs::open_given(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from_io(error)),
    };
    let bytes = imgconv_stream::read_to_limit(file, ("key_file", MOST), "credentials")?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    // The parser's messages quote the text, which may be a password.
    let config = parse(&bytes, &env.limits, "credentials")
        .map_err(|error| Error::new(error.code(), "the file is no JSON object"))?;
    let host = repository.split('/').next().unwrap_or_default();
    let server = if host == "docker.io" {
        DOCKER_KEY
    } else {
        host
    };
    let helper = config
        .get("credHelpers")
        .and_then(|helpers| entry_of(helpers, repository))
        .or_else(|| config.get("credsStore"))
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    if let Some(helper) = helper
        && let Some(found) = from_helper(helper, server, env)?
    {
        return Ok(Some(found));
    }
    let entry = config
        .get("auths")
        .and_then(|auths| entry_of(auths, repository));
    entry.map_or(Ok(None), entry_credential)
}

/// Finds the closest entry for a repository. A key that is spelled as the repository wins over a key in docker's
/// older spelling, as in docker and podman.
fn entry_of<'a>(entries: &'a Value, repository: &str) -> Option<&'a Value> {
    let entries = entries.as_object()?;
    keys(repository).find_map(|key| {
        let older = || entries.iter().find(|(known, _)| normal(known) == key);
        entries.get(key).or_else(|| older().map(|(_, entry)| entry))
    })
}

/// The keys under which credentials may be stored, the closest first: podman's files name
/// namespaces, docker's only hosts.
fn keys(repository: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(repository), |key| {
        key.rsplit_once('/').map(|(shorter, _)| shorter)
    })
}

/// A key without the text that old versions of docker wrote around the host.
fn normal(key: &str) -> &str {
    if key == DOCKER_KEY || key == "index.docker.io" || key == "https://index.docker.io" {
        return "docker.io";
    }
    match key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
    {
        // Only the host counts in such a key: `https://HOST/v1/`.
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => key,
    }
}

fn entry_credential(entry: &Value) -> Result<Option<Credential>> {
    let text = |name: &str| {
        let text = entry.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credential::IdentityToken(Secret::new(token))));
    }
    if let Some(auth) = text("auth") {
        let bad = || Error::new(Code::BadJson, "`auth` is not base64 of `USER:PASSWORD`");
        let decoded = STANDARD.decode(auth).map_err(|_| bad())?;
        let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
        let (user, password) = decoded.split_once(':').ok_or_else(bad)?;
        // Some versions of docker pad with NUL bytes.
        return Ok(Some(credential_of(user, password.trim_end_matches('\0'))));
    }
    let pair = text("username").zip(text("password"));
    Ok(pair.map(|(user, password)| credential_of(user, password)))
}

fn credential_of(user: &str, password: &str) -> Credential {
    let (user, password) = (user.to_owned(), Secret::new(password));
    if user == TOKEN_USER {
        return Credential::IdentityToken(password);
    }
    Credential::Basic { user, password }
}

/// Asks `docker-credential-NAME` (docker-credential-helpers: `get`, the server on standard input).
fn from_helper(name: &str, server: &str, env: &Env) -> Result<Option<Credential>> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if !name.bytes().all(plain) {
        let message = format!("the credential helper {} has no plain name", quote(name));
        return Err(Error::new(Code::BadName, message));
    }
    let program = format!("docker-credential-{name}");
    let hint = "log in anew, or leave out the helper in the config file";
    let mut command = Command::new(&program);
    let answer = ask(command.arg("get"), server, env).map_err(|error| match error.code() {
        Code::Cancelled => error,
        _ => error.at(program.clone()).hint(hint),
    })?;
    // A helper fails if it has no credentials for the host, or has no key ring.
    let Some(answer) = answer else {
        return Ok(None);
    };
    let bad = || Error::new(Code::BadJson, "its answer is malformed").at(program.clone());
    let answer = parse(&answer, &env.limits, &program).map_err(|_| bad())?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let (user, secret) = text("Username").zip(text("Secret")).ok_or_else(bad)?;
    Ok(Some(credential_of(&user, &secret)))
}

/// Runs a program with a text on its standard input, and returns its output if the program
/// succeeds. The time limit is that of a server's answer, and a cancelled run ends the program.
fn ask(command: &mut Command, input: &str, env: &Env) -> Result<Option<Vec<u8>>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::from_io)?;
    let answer = answer_of(&mut child, input, env);
    // The helper may have exited already; then `kill` fails, which is fine.
    let _ = child.kill();
    let ended = child.wait().map_err(Error::from_io)?;
    Ok(Some(answer?).filter(|_| ended.success()))
}

fn answer_of(child: &mut Child, input: &str, env: &Env) -> Result<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let input = input.to_owned();
    let talk = move || {
        if let Some(mut stdin) = stdin {
            // A helper that does not read its input reports the reason in its answer.
            let _ = stdin.write_all(input.as_bytes());
        }
        let mut answer = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MOST).read_to_end(&mut answer));
        // The receiver may be gone already.
        let _ = sender.send(read.transpose().map(|_| answer));
    };
    thread::Builder::new()
        .name("imgconv-helper".into())
        .spawn(talk)
        .map_err(Error::from_io)?;
    let patience = env.network.timeouts.response;
    let deadline = Instant::now() + patience;
    let mut answer = None;
    loop {
        env.check_cancelled()?;
        if let Some(answer) = &mut answer
            && child.try_wait().map_err(Error::from_io)?.is_some()
        {
            return Ok(std::mem::take(answer));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let seconds = patience.as_secs();
            let message = format!("it did not answer in {seconds} seconds");
            return Err(Error::new(Code::Io, message));
        }
        if answer.is_some() {
            // The helper has closed its output, and is about to exit.
            thread::sleep(TICK.min(left) / 10);
            continue;
        }
        match receiver.recv_timeout(left.min(TICK)) {
            Ok(read) => answer = Some(read.map_err(Error::from_io)?),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(Code::Io, "its answer could not be read"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use imgconv_model::{Network, Platform};

    use super::*;

    fn env(network: Network) -> Env {
        let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        env.network = Arc::new(network);
        env
    }

    fn user(json: &str, repository: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, json).unwrap();
        let network = Network {
            auth_files: vec![folder.path().join("none.json"), path],
            ..Network::default()
        };
        let found = find_credential(&env(network), repository).unwrap();
        found.map(|found| match found {
            Credential::Basic { user, password } => format!("{user}/{}", password.expose()),
            Credential::IdentityToken(token) => format!("token {}", token.expose()),
        })
    }

    #[test]
    fn files_of_docker_and_podman_are_read() {
        // u:p, v:q
        let json = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"dTpw"},
            "https://old.example/v1/":{"auth":"dTpw"},
            "host.example:5000":{"auth":"dTpw"},
            "host.example:5000/team":{"auth":"djpx"},
            "https://both.example/v1/":{"auth":"dTpw"},
            "both.example":{"auth":"djpx"},
            "token.example":{"auth":"dTpw","identitytoken":"t"},
            "empty.example":{},
            "plain.example":{"username":"a","password":"b"}}}"#;
        for (repository, found) in [
            ("docker.io/library/x", Some("u/p")),
            ("old.example/x", Some("u/p")),
            ("host.example:5000/x", Some("u/p")),
            ("host.example:5000/team/x", Some("v/q")),
            ("host.example/x", None),
            ("both.example/x", Some("v/q")),
            ("token.example/x", Some("token t")),
            ("empty.example/x", None),
            ("plain.example/x", Some("a/b")),
            ("other.example/x", None),
        ] {
            assert_eq!(user(json, repository).as_deref(), found, "{repository}");
        }
    }

    #[test]
    fn a_helper_is_found_by_every_spelling_of_its_registry() {
        for (key, repository) in [
            ("docker.io", "docker.io/library/x"),
            ("https://index.docker.io/v1/", "docker.io/library/x"),
            ("index.docker.io", "docker.io/library/x"),
            ("https://host.example:5000", "host.example:5000/x"),
            ("host.example/team", "host.example/team/x"),
        ] {
            // The name of the helper is refused before any program runs, so the error says that it was found.
            let json = format!(r#"{{"credHelpers":{{"other.example":"x","{key}":"../x"}}}}"#);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.json");
            std::fs::write(&path, json).unwrap();
            let network = Network {
                auth_files: vec![path],
                ..Network::default()
            };
            let error = find_credential(&env(network), repository).unwrap_err();
            assert_eq!(error.code(), Code::BadName, "{key}: {error}");
        }
    }

    #[test]
    fn a_malformed_file_is_an_error_that_shows_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let network = Network {
            auth_files: vec![path.clone()],
            ..Network::default()
        };
        for text in [
            r#"{"auths":{"x.example":{"auth":"hunter2!"}}}"#,
            r#"{"auths": hunter2"#,
            r#"{"credsStore":"../hunter"}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            let error = find_credential(&env(network.clone()), "x.example/y").unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_was_said_outright_wins() {
        let network = Network {
            credentials: vec![("x.example".into(), credential_of("a", "b"))],
            ..Network::default()
        };
        let env = env(network);
        let found = find_credential(&env, "x.example/y").unwrap();
        assert_eq!(found, Some(credential_of("a", "b")));
        assert_eq!(find_credential(&env, "x.example:1/y").unwrap(), None);
    }

    /// Asks a shell script.
    fn script(text: &str, env: &Env) -> Result<Option<Vec<u8>>> {
        ask(Command::new("sh").args(["-c", text]), "server", env)
    }

    #[test]
    fn a_helper_is_told_the_server_and_believed_if_it_succeeds() {
        let env = env(Network::default());
        let said = |text| script(text, &env).unwrap();
        assert_eq!(said("cat; printf !").unwrap(), b"server!");
        assert_eq!(said("echo nobody; exit 1"), None);
        assert_eq!(said("exec <&-; printf x").unwrap(), b"x");
        assert_eq!(said("exec >&-; sleep 0.2").unwrap(), b"");
        let error = ask(&mut Command::new("/none/at/all"), "", &env).unwrap_err();
        assert_eq!(error.code(), Code::Io);
    }

    #[test]
    fn l8_a_helper_that_hangs_is_ended_in_time_and_with_the_run() {
        let mut network = Network::default();
        network.timeouts.response = Duration::from_millis(200);
        for text in ["exec sleep 600", "exec >&-; exec sleep 600"] {
            let error = script(text, &env(network.clone())).unwrap_err();
            assert!(error.to_string().contains("did not answer"), "{error}");
        }
        let env = env(Network::default());
        env.cancel.store(true, Ordering::Relaxed);
        let error = script("exec sleep 600", &env).unwrap_err();
        assert_eq!(error.code(), Code::Cancelled);
    }
}
