//! The options of every command.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use clap::{ArgAction, Args};
use imgconv::{Code, Env, Error, Result};

use crate::{
    environment,
    progress::{self, Style},
    screen,
};

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Print the result as one JSON document
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no warnings, no losses and no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print every warning and every loss, and the mirrors that are used
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Style of progress on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        hide_short_help = true,
        default_value_t = Style::Auto,
        value_name = "HOW"
    )]
    progress: Style,
    /// Number of worker threads [default: one per processor]
    ///
    /// `migrate` uses fewer threads if the limit on open files (`ulimit -Hn`) is too small for them.
    #[arg(long, global = true, hide_short_help = true, value_name = "N")]
    jobs: Option<usize>,
    /// Directory for temporary files
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "DIR",
        env = "TMPDIR",
        value_parser = environment::file_of_variable(),
        hide_env_values = true
    )]
    tmpdir: Option<PathBuf>,
    /// Set a limit on input, such as `layer_bytes=1000000` (repeatable)
    ///
    /// The error of an input that exceeds a limit names the limit. `imgconv help limits` lists all
    /// limits with their defaults.
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME=N")]
    limit: Vec<String>,
}

impl Common {
    /// Makes the environment of a run, without access to a network. `cancel` is set to end the work.
    ///
    /// # Errors
    /// [`Code::Usage`] if the value of an option or of `SOURCE_DATE_EPOCH` is wrong.
    pub(crate) fn env(&self, cancel: Arc<AtomicBool>) -> Result<Env> {
        // An empty `TMPDIR` counts as one that is not set, as for other programs.
        let tmpdir = self.tmpdir.clone();
        let tmpdir = tmpdir.filter(|path| !path.as_os_str().is_empty());
        let tmpdir = tmpdir.unwrap_or_else(|| PathBuf::from("/tmp"));
        let mut env = Env::new(tmpdir, environment::host());
        env.jobs = match self.jobs {
            Some(0) => return Err(Error::new(Code::Usage, "`--jobs` needs at least 1")),
            Some(jobs) => jobs,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        for limit in &self.limit {
            let parsed = limit
                .split_once('=')
                .and_then(|(name, n)| Some((name, n.parse().ok()?)));
            let (name, value) = parsed.ok_or_else(|| {
                Error::new(Code::Usage, format!("`--limit {limit}` is not `NAME=N`"))
            })?;
            env.limits.set(name, value)?;
        }
        env.epoch = environment::epoch()?;
        for secret in environment::passwords() {
            env.secrets.add(&secret);
        }
        screen::keep_secret(&env.secrets);
        env.cancel = cancel;
        env.progress = progress::make(self.style(), self.verbose > 0);
        Ok(env)
    }

    fn style(&self) -> Style {
        match self.progress {
            _ if self.quiet => Style::None,
            Style::Auto if environment::can_redraw(&std::io::stderr()) => Style::Bar,
            Style::Auto => Style::Plain,
            style => style,
        }
    }
}
