//! Everything that comes from outside: environment variables, processors, signals.

use std::{
    io::IsTerminal,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use imgconv_model::{Code, Env, Error, Platform, Result};

use crate::{
    args::{ProgressStyle, Shared},
    progress,
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
    env.network = Arc::new(shared.network.settings(auth_files(), certificates())?);
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

/// Reads a variable that names a path.
fn variable(name: &str) -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line reads the environment"
    )]
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map(PathBuf::from)
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
        // A signal that can't be caught ends the program as it always did.
        let _ = flag::register_conditional_shutdown(signal, 1, Arc::clone(&cancel));
        let _ = flag::register(signal, Arc::clone(&cancel));
    }
    cancel
}
