//! The options of a site for appc discovery, shared by `publish`, `migrate --site` and `serve`.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use imgconv::{Env, Signing, SiteOptions};

/// Options of a site for appc discovery.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Site")]
pub(crate) struct Site {
    /// Host of the site; it replaces the registry in image names
    ///
    /// An ACI with the name of another host is written anew, so that it gets another image ID and
    /// loses its signature.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// URL of the site [default: that of its host]
    ///
    /// The default is `https://HOST`; `serve` takes scheme and host of each request.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File of OpenPGP public keys that the discovery pages name
    #[arg(long, value_name = "FILE")]
    pubkeys: Option<PathBuf>,
    /// Sign ACIs and image tags files with the OpenPGP secret key in a file
    ///
    /// An ACI that has a signature keeps it.
    #[arg(long, value_name = "FILE")]
    pgp_key: Option<PathBuf>,
    /// File whose first line is the passphrase of the secret key
    #[arg(
        long,
        value_name = "FILE",
        requires = "pgp_key",
        hide_short_help = true
    )]
    pgp_passphrase: Option<PathBuf>,
}

impl Site {
    /// Says whether an option is given that has no effect without a site.
    pub(crate) fn is_given(&self) -> bool {
        self.url.is_some() || self.pubkeys.is_some() || self.pgp_key.is_some()
    }

    /// Returns the same options in the types of the library.
    pub(crate) fn options(&self, env: &Env) -> SiteOptions {
        SiteOptions {
            url: self.url.clone(),
            public_keys: self.pubkeys.clone(),
            signing: self.pgp_key.as_ref().map(|key| Signing {
                key: key.clone(),
                passphrase: self.pgp_passphrase.clone(),
                time: signing_time(env),
            }),
        }
    }
}

/// The time of signatures: `SOURCE_DATE_EPOCH`, else now.
fn signing_time(env: &Env) -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line asks for the time"
    )]
    let now = SystemTime::now;
    let epoch = env.epoch.and_then(|seconds| u64::try_from(seconds).ok());
    epoch.map_or_else(now, |seconds| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    })
}
