//! The inputs of the program besides its arguments: environment variables, and facts of this
//! machine.

use clap::builder::{OsStringValueParser, TypedValueParser};
use std::{
    ffi::OsString,
    io::IsTerminal,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use imgconv::{
    Code, Error, Network, Platform, ProxySetting, RegistriesFiles, Result, Secret, StorageSettings,
    password_in,
};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets the program open as many files as the system allows, because a folder of archives is open as a whole.
pub(crate) fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A system that refuses leaves the lower limit, which most commands do not reach.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Passwords in arguments and in the URLs of proxies.
pub(crate) fn passwords() -> Vec<String> {
    let proxies = ["http_proxy", "https_proxy", "all_proxy"]
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_uppercase()])
        .filter_map(|name| value(&name)?.into_string().ok());
    let mut found = passwords_in_arguments();
    found.extend(proxies.filter_map(|proxy| password_in(&proxy).map(str::to_owned)));
    found
}

/// Passwords in arguments: in locators and URLs, and in the values of `--creds`.
pub(crate) fn passwords_in_arguments() -> Vec<String> {
    let arguments: Vec<String> = std::env::args_os()
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    let mut found = Vec::new();
    for (i, text) in arguments.iter().enumerate() {
        // A path may contain an `@` too; only the locator of a server has `//` before the `@`.
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
///
/// # Errors
/// [`Code::Usage`] if the value is not a number.
pub(crate) fn epoch() -> Result<Option<i64>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line reads the environment"
    )]
    let text = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let message = format!("SOURCE_DATE_EPOCH is `{text}`, not a number of seconds");
        Error::new(Code::Usage, message)
    })
}

/// Reads the number of this pod in an Indexed Job of Kubernetes, from 0.
pub(crate) fn completion_index() -> Option<u64> {
    value("JOB_COMPLETION_INDEX")?.to_str()?.parse().ok()
}

/// Reads the path of an option that a variable can give. An empty variable is no error: it counts as one that is not
/// set.
pub(crate) fn file_of_variable() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Reads a variable. An empty variable counts as one that is not set.
fn value(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name);
    value.filter(|value| !value.is_empty())
}

/// Reads a variable that names a path.
fn variable(name: &str) -> Option<PathBuf> {
    value(name).map(PathBuf::from)
}

/// Reads the first variable of `names` that is set, and returns its name and its value.
fn first(names: &[&str]) -> Option<(String, String)> {
    names.iter().find_map(|name| {
        let text = value(name)?.to_string_lossy().into_owned();
        Some(((*name).to_owned(), text))
    })
}

/// Reads the variables that name proxies, in curl's order: the lower-case name first, and `ALL_PROXY`
/// if no variable of the scheme is set.
pub(crate) fn proxies(network: &mut Network) {
    let proxy = |names: &[&str]| {
        first(names).map(|(source, url)| ProxySetting {
            source,
            url: Secret::new(url),
        })
    };
    network.https_proxy = proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    // In a CGI script `HTTP_PROXY` is the client's header `Proxy` (httpoxy), so the variable can't be
    // trusted there. Go ignores it in CGI scripts, and curl ignores it always.
    network.http_proxy = match value("REQUEST_METHOD") {
        None => proxy(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
        Some(_) => proxy(&["http_proxy", "all_proxy", "ALL_PROXY"]),
    };
    network.no_proxy = first(&["no_proxy", "NO_PROXY"]).map_or_else(String::new, |(_, text)| text);
}

/// Reads the variables that replace the certificates of the system, as OpenSSL does: one file, and
/// directories separated by colons.
pub(crate) fn trusted(network: &mut Network) {
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

/// The files in which podman, skopeo and docker keep credentials, in podman's order
/// (containers-auth.json(5)).
pub(crate) fn auth_files() -> Vec<PathBuf> {
    let podman = |folder: PathBuf| folder.join("containers/auth.json");
    // `podman login` writes there where there is no such variable, as in a job of cron.
    let without = || PathBuf::from(format!("/run/containers/{}/auth.json", user()));
    let running = variable("XDG_RUNTIME_DIR").map(podman);
    [
        Some(running.unwrap_or_else(without)),
        config().map(podman),
        docker_directory().map(|folder| folder.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The address of a running engine (docker's `DOCKER_HOST`).
pub(crate) fn docker_host() -> Option<String> {
    Some(value("DOCKER_HOST")?.to_string_lossy().into_owned())
}

/// The directory of the certificates for an engine, if docker would use TLS (`DOCKER_TLS_VERIFY`).
pub(crate) fn docker_certificates() -> Option<PathBuf> {
    value("DOCKER_TLS_VERIFY")?;
    variable("DOCKER_CERT_PATH").or_else(docker_directory)
}

/// The directory of docker's own settings of the user.
fn docker_directory() -> Option<PathBuf> {
    variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")))
}

/// The directories in which podman, skopeo and docker keep certificates of registries
/// (containers-certs.d(5)).
pub(crate) fn certificates() -> Vec<PathBuf> {
    let own = config().map(|folder| folder.join("containers/certs.d"));
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(system).collect()
}

/// Finds out where podman and skopeo look for `registries.conf` (containers-registries.conf(5),
/// containers-registries.conf.d(5)). The folder of the user is `.config` also where `XDG_CONFIG_HOME` names
/// another one.
pub(crate) fn registries() -> RegistriesFiles {
    let additions = |file: &Path| file.with_added_extension("d");
    let system = PathBuf::from("/etc/containers/registries.conf");
    let own = variable("HOME").map(|home| home.join(".config/containers/registries.conf"));
    let of_system = [Some(&system), own.as_ref()];
    let of_system = of_system.into_iter().flatten().map(|file| additions(file));
    let mut places: Vec<(PathBuf, Vec<PathBuf>)> = Vec::new();
    if let Some(own) = &own {
        places.push((own.clone(), vec![additions(own)]));
    }
    places.push((system.clone(), of_system.collect()));
    let cache = match user() {
        0 => Some(PathBuf::from("/var/cache")),
        _ => variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache"))),
    };
    RegistriesFiles {
        places,
        recorded_aliases: cache.map(|cache| cache.join("containers/short-name-aliases.conf")),
        ..RegistriesFiles::default()
    }
}

/// Returns the number of the user.
fn user() -> u32 {
    std::fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid())
}

/// Finds out where podman looks for its default store (containers-storage.conf(5)).
pub(crate) fn storage(settings: &mut StorageSettings) {
    let user = user();
    settings.rootless = user != 0;
    let data = variable("XDG_DATA_HOME")
        .or_else(|| Some(variable("HOME")?.join(".local/share")))
        .filter(|_| settings.rootless)
        .unwrap_or_else(|| PathBuf::from("/var/lib"));
    settings.root = data.join("containers/storage");
    let own = variable("CONTAINERS_STORAGE_CONF").or_else(|| {
        let own = config()?.join("containers/storage.conf");
        settings.rootless.then_some(own)
    });
    settings.user_config.clone_from(&own);
    let system = [
        "/etc/containers/storage.conf",
        "/usr/share/containers/storage.conf",
    ];
    let system = system.map(PathBuf::from).into_iter();
    settings.configs = own.into_iter().chain(system).collect();
    let text = |name: &str| value(name)?.into_string().ok();
    let variables = [
        ("HOME", text("HOME")),
        ("UID", Some(user.to_string())),
        ("USER", text("USER")),
    ];
    settings.variables = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
}

/// Says whether messages to a stream may have colours: the stream is a terminal that has colours (`TERM`),
/// and the user has not refused them (`NO_COLOR`, no-color.org).
pub(crate) fn has_colour(stream: &impl IsTerminal) -> bool {
    value("NO_COLOR").is_none() && can_redraw(stream)
}

/// Says whether a stream is a terminal on which lines can be drawn again.
pub(crate) fn can_redraw(stream: &impl IsTerminal) -> bool {
    value("TERM").is_some_and(|term| term != "dumb") && stream.is_terminal()
}

/// The platform of this machine, with Go's names (image-spec, config.md).
pub(crate) fn host() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    };
    // Containers run on Linux, also where the converting machine has another system.
    Platform::new("linux", architecture)
}
