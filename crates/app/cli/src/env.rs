//! Everything that comes from outside: environment variables, processors, signals.

use std::{
    ffi::OsString,
    io::IsTerminal,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use imgconv_model::{
    Code, Env, Error, Network, Platform, ProxySetting, Result, Secret, password_in,
};

use crate::{
    args::{ProgressStyle, Shared},
    failure::Status,
    progress,
    render::keep_secret,
};

/// Makes the environment of a run.
pub(crate) fn make(shared: &Shared) -> Result<Env> {
    // An empty `TMPDIR` is none, as for every other program.
    let tmpdir = shared
        .tmpdir
        .clone()
        .filter(|path| !path.as_os_str().is_empty());
    let tmpdir = tmpdir.unwrap_or_else(|| PathBuf::from("/tmp"));
    let mut env = Env::new(tmpdir, host());
    env.jobs = match shared.jobs {
        Some(0) => return Err(Error::new(Code::Usage, "`--jobs` needs at least 1")),
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    for limit in &shared.limit {
        let parsed = limit
            .split_once('=')
            .and_then(|(name, n)| Some((name, n.parse().ok()?)));
        let (name, value) = parsed
            .ok_or_else(|| Error::new(Code::Usage, format!("`--limit {limit}` is not `NAME=N`")))?;
        env.limits.set(name, value)?;
    }
    env.epoch = epoch()?;
    env.follow_blob_links = shared.allow_symlinked_blobs;
    env.registry_host.clone_from(&shared.registry_host);
    env.namespace.clone_from(&shared.namespace);
    let mut network = shared.network.settings(auth_files(), certificates())?;
    proxies(&mut network);
    trusted(&mut network);
    env.network = Arc::new(network);
    for secret in secrets(shared) {
        env.secrets.add(&secret);
    }
    keep_secret(&env.secrets);
    env.cancel = cancel_on_signals();
    let style = match shared.progress {
        _ if shared.quiet => ProgressStyle::None,
        ProgressStyle::Auto if std::io::stderr().is_terminal() => ProgressStyle::Bar,
        ProgressStyle::Auto => ProgressStyle::Plain,
        style => style,
    };
    env.progress = progress::make(style);
    Ok(env)
}

/// Passwords that stand in arguments and in what the environment says of proxies.
fn secrets(shared: &Shared) -> Vec<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line reads the environment"
    )]
    let proxies = ["http_proxy", "https_proxy", "all_proxy"]
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_uppercase()])
        .filter_map(|name| std::env::var(name).ok());
    let mut found = passwords_in_arguments();
    found.extend(proxies.filter_map(|proxy| password_in(&proxy).map(str::to_owned)));
    let headers = shared.network.host_header.iter();
    found.extend(headers.filter_map(|text| {
        let (_, header) = text.split_once('=')?;
        Some(header.split_once(':')?.1.trim().to_owned())
    }));
    found
}

/// Passwords that stand in arguments: in locators and URLs, and those of `--creds`.
pub(crate) fn passwords_in_arguments() -> Vec<String> {
    let arguments: Vec<String> = std::env::args_os()
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    let mut found = Vec::new();
    for (i, text) in arguments.iter().enumerate() {
        // A path may have an `@`; a locator of a server has `//` before it.
        let server = text.contains("//").then(|| password_in(text)).flatten();
        found.extend(server.map(str::to_owned));
        let creds = match text.strip_prefix("--creds=") {
            None if i > 0 && arguments[i - 1] == "--creds" => Some(&**text),
            creds => creds,
        };
        let pair = creds.and_then(|creds| creds.split_once('='));
        let password = pair.and_then(|(_, pair)| pair.split_once(':'));
        found.extend(password.map(|(_, password)| password.to_owned()));
    }
    found
}

/// Reads `SOURCE_DATE_EPOCH` (reproducible-builds.org), seconds since 1970.
fn epoch() -> Result<Option<i64>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line reads the environment"
    )]
    let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Error::new(
            Code::Usage,
            format!("SOURCE_DATE_EPOCH is `{text}`, not a number of seconds"),
        )
    })
}

/// Reads a variable; an empty one is none.
fn value(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name);
    value.filter(|value| !value.is_empty())
}

/// Reads a variable that names a path.
fn variable(name: &str) -> Option<PathBuf> {
    value(name).map(PathBuf::from)
}

/// Reads the first of some variables that is set.
fn first(names: &[&str]) -> Option<(String, String)> {
    names.iter().find_map(|name| {
        let text = value(name)?.to_string_lossy().into_owned();
        Some(((*name).to_owned(), text))
    })
}

/// Reads the variables that name proxies, as curl does: the lower-case name first, and `ALL_PROXY`
/// where there is none for the scheme.
fn proxies(network: &mut Network) {
    let proxy = |names: &[&str]| {
        first(names).map(|(source, url)| ProxySetting {
            source,
            url: Secret::new(url),
        })
    };
    network.https_proxy = proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    // A web server that runs us as a CGI script sets `HTTP_PROXY` to a header of its client's
    // request (httpoxy): Go does not take it then, and curl never.
    network.http_proxy = match value("REQUEST_METHOD") {
        None => proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
        Some(_) => proxy(&["http_proxy", "all_proxy", "ALL_PROXY"]),
    };
    network.no_proxy = first(&["no_proxy", "NO_PROXY"]).map_or_else(String::new, |(_, text)| text);
}

/// Reads the variables that name what is trusted in the place of the system's certificates, as
/// OpenSSL does: one file, and directories with a colon between them.
fn trusted(network: &mut Network) {
    network.trust_files = variable("SSL_CERT_FILE").into_iter().collect();
    let directories = value("SSL_CERT_DIR").unwrap_or_default();
    let directories = std::env::split_paths(&directories);
    network.trust_directories = directories
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
}

/// The directory of the user's settings.
fn config() -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))
}

/// Where podman, skopeo and docker keep credentials, in the order in which podman looks
/// (containers-auth.json(5)).
fn auth_files() -> Vec<PathBuf> {
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    let podman = |folder: PathBuf| folder.join("containers/auth.json");
    [
        variable("XDG_RUNTIME_DIR").map(podman),
        config().map(podman),
        docker.map(|folder| folder.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Where podman, skopeo and docker keep certificates of registries (containers-certs.d(5)).
fn certificates() -> Vec<PathBuf> {
    let own = config().map(|folder| folder.join("containers/certs.d"));
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(system).collect()
}

/// The platform of this machine, in the words of Go.
fn host() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    };
    // Images run on Linux, wherever they are converted.
    Platform::new("linux", architecture)
}

/// Ends the work cleanly at the first signal, and at once at the second.
fn cancel_on_signals() -> Arc<AtomicBool> {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        flag,
    };
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal).unwrap_or(0);
        // A signal that can't be caught ends the program as it always did.
        let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&cancel));
        let _ = flag::register_usize(signal, Arc::clone(&SIGNAL), number);
        let _ = flag::register(signal, Arc::clone(&cancel));
    }
    cancel
}

/// The signal that ended the work, or 0.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// The exit code of work that did not end well: that of the signal, if one came.
pub(crate) fn ended(status: Status) -> ExitCode {
    signalled().map_or(status.into(), ExitCode::from)
}

/// The exit code of work that a signal ended, as shells count it: 130 for Ctrl-C, 143 for `kill`.
pub(crate) fn signalled() -> Option<u8> {
    let signal = SIGNAL.load(Ordering::Relaxed);
    let signal = u8::try_from(signal).ok().filter(|signal| *signal > 0);
    signal.and_then(|signal| signal.checked_add(128))
}
