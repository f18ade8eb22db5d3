//! `cargo xtask ci`: every check that needs no other program. Stops at the first that fails.

use crate::process::{Result, cargo, target};
use crate::{docs, tidy};

/// Runs the checks, the quickest first.
pub(crate) fn run() -> Result {
    cargo(&["fmt", "--all", "--check"])?;
    eprintln!("$ cargo xtask tidy");
    tidy::run(&[])?;
    cargo(&[
        "clippy",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?;
    cargo(&["test", "--quiet", "--locked", "--workspace"])?;
    eprintln!("$ cargo xtask docs --check");
    // The tests have built it, with the features that they need besides.
    let program = target()?.join("debug/imgconv");
    docs::run(&["--check", "--program", &program.to_string_lossy()])?;
    println!("ci: all checks passed");
    Ok(())
}
