//! The option that says where dependencies of ACIs are.

use clap::Args;

/// Where dependencies of ACIs are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Dependencies {
    /// ACI or directory of ACIs with dependencies, or `appc:` (repeatable)
    ///
    /// `appc:` alone means discovery: a dependency that no other place holds is fetched by its name.
    /// Like every ACI that is fetched, it needs a trusted signature.
    #[arg(long, value_name = "LOCATOR")]
    pub(crate) deps: Vec<String>,
}
