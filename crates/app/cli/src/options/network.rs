//! The options of connections: TLS, plain http, mirrors, attempts and time limits.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args};
use imgconv::{CertificateDirectory, Code, Error, Limits, Network, Result};

use super::duration::{duration, some_duration};
use crate::environment;

/// Options of connections to servers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkOptions {
    /// Verify certificates; `false` accepts any certificate, and plain http
    ///
    /// Without this option certificates are verified, and a registry on this machine may speak plain
    /// http. `false` holds for the servers that the command line names.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
    /// Speak plain http with this host, `HOST[:PORT]` (repeatable)
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
    /// Trust the `*.crt` files of a directory, and use its client certificate (repeatable)
    ///
    /// The client certificate is `*.cert` with its key `*.key`. A certificate of an authority is
    /// trusted for every server that the authority has signed; any other certificate is trusted for
    /// the server that presents it. Certificates for a single host are also read from the
    /// directories of docker and podman, such as `/etc/docker/certs.d/HOST:PORT`.
    #[arg(long, value_name = "DIR")]
    cert_dir: Vec<PathBuf>,
    /// Ask another host first for the content of a host (repeatable)
    ///
    /// A registry is asked for the content that its mirror lacks. The mirror of an appc host replaces
    /// the host for discovery pages, and is asked first for the ACIs, signatures and keys to which
    /// the pages lead.
    #[arg(long, value_name = "HOST=HOST[/PREFIX]")]
    mirror: Vec<String>,
    /// The only `registries.conf` to read, as podman and skopeo have it; `/dev/null` for none
    ///
    /// Its tables say from which mirrors and from which other places images are read, and which places are
    /// insecure or blocked. See `imgconv help files` for the files that are read otherwise.
    #[arg(
        long,
        value_name = "FILE",
        env = "CONTAINERS_REGISTRIES_CONF",
        value_parser = environment::file_of_variable(),
        hide_env_values = true
    )]
    registries_conf: Option<PathBuf>,
    /// Repeat a failed request at most N times [default: 4]
    ///
    /// A request is sent again if the server can't be reached, does not answer in time, breaks off, or asks
    /// for patience (408, 429, and 5xx except 501 and 505). A transfer of a blob goes on where it broke off.
    /// `--limit retries=N` is the same number with the first attempt.
    #[arg(long, value_name = "N")]
    retry_times: Option<u64>,
    /// Wait before the second attempt [default: half a second]
    ///
    /// The wait doubles with each further attempt, up to ten minutes in all, and a part of it is random.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retry_delay: Option<Duration>,
    /// Longest time for finding a server and connecting to it, with TLS [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = some_duration)]
    connect_timeout: Option<Duration>,
    /// Longest time in which a server sends nothing: no answer, or no byte of a transfer [default: 60s]
    ///
    /// A running engine (`docker-daemon:`) has an hour, whatever this option says.
    #[arg(long, value_name = "DURATION", value_parser = some_duration)]
    stall_timeout: Option<Duration>,
}

impl NetworkOptions {
    /// Sets the options in the settings of the network.
    ///
    /// # Errors
    /// [`Code::Usage`] for a mirror that is not `HOST=HOST` or too many attempts, or the error of a
    /// certificate directory that can't be read.
    pub(crate) fn apply(&self, network: &mut Network, limits: &mut Limits) -> Result<()> {
        network.tls_verify = self.tls_verify;
        network.plain_http.clone_from(&self.plain_http);
        network.host_certificates = environment::certificates();
        for directory in &self.cert_dir {
            let found = CertificateDirectory::read(directory)?;
            network.ca_files.extend(found.ca_files);
            network.client_certificate = found.client.or(network.client_certificate.take());
        }
        network.mirrors = pairs("--mirror", &self.mirror)?;
        let only = self.registries_conf.as_ref();
        match only.filter(|path| !path.as_os_str().is_empty()) {
            Some(only) => network.registries.only = Some(only.clone()),
            None => network.registries = environment::registries(),
        }
        if let Some(more) = self.retry_times {
            let message = "`--retry-times` has a number that is too large";
            let attempts = more.checked_add(1);
            limits.retries = attempts.ok_or_else(|| Error::new(Code::Usage, message))?;
        }
        let timeouts = &mut network.timeouts;
        timeouts.first_wait = self.retry_delay.unwrap_or(timeouts.first_wait);
        timeouts.connect = self.connect_timeout.unwrap_or(timeouts.connect);
        if let Some(stall) = self.stall_timeout {
            (timeouts.response, timeouts.idle) = (stall, stall);
        }
        Ok(())
    }
}

/// Reads the values of an option that takes `HOST=HOST`.
///
/// # Errors
/// [`Code::Usage`] if a value has another form.
pub(super) fn pairs(option: &str, texts: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let pair = text
            .split_once('=')
            .filter(|(a, b)| !a.is_empty() && !b.is_empty());
        pair.map(|(a, b)| (a.to_owned(), b.to_owned()))
            .ok_or_else(|| Error::new(Code::Usage, format!("`{option} {text}` is not `HOST=HOST`")))
    };
    texts.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};
    use imgconv::Timeouts;

    use super::*;

    #[test]
    fn the_help_names_the_defaults_of_the_library() {
        let command = NetworkOptions::augment_args(Command::new("x"));
        let help = |name: &str| {
            let option = command.get_arguments().find(|it| it.get_id() == name);
            option.unwrap().get_help().unwrap().to_string()
        };
        let (limits, timeouts) = (Limits::default(), Timeouts::default());
        let retries = format!("[default: {}]", limits.retries - 1);
        assert!(help("retry_times").ends_with(&retries));
        assert_eq!(timeouts.first_wait, Duration::from_millis(500));
        for (name, default) in [
            ("connect_timeout", timeouts.connect),
            ("stall_timeout", timeouts.response),
            ("stall_timeout", timeouts.idle),
        ] {
            let text = format!("[default: {}s]", default.as_secs());
            assert!(help(name).ends_with(&text), "{name}");
        }
        assert_eq!(timeouts.total_wait, Duration::from_secs(600));
    }
}
