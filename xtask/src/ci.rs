//! `cargo xtask ci`: every check that needs no other program. Stops at the first that fails.

use crate::process::{Result, cargo, installed, target};
use crate::{docs, faults, tidy};

/// The share of the faults: the same in each run, a two-hundredth of all, evenly over the jobs.
const FAULTS: &str = "1/200";

/// Runs the checks, the quickest first.
pub(crate) fn run() -> Result {
    cargo(&["fmt", "--all", "--check"])?;
    eprintln!("$ cargo xtask tidy");
    tidy::run(&[])?;
    packages()?;
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
    without_features()?;
    eprintln!("$ cargo xtask docs --check");
    // The tests have built the program, with additional features that they need.
    let program = target()?.join("debug/imgconv");
    docs::run(&["--check", "--program", &program.to_string_lossy()])?;
    eprintln!("$ cargo xtask faults --share {FAULTS}");
    faults::run(&["--share", FAULTS, "--program", &program.to_string_lossy()])?;
    println!("ci: all checks passed");
    Ok(())
}

/// Checks licences, sources and versions of the packages by the rules of `.cargo/deny.toml`. The
/// advisories are not checked: their database is fetched from the Internet.
fn packages() -> Result {
    if installed("cargo-deny") {
        return cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"]);
    }
    eprintln!(
        "skip  cargo deny: cargo-deny is not installed; `cargo install cargo-deny` brings it"
    );
    Ok(())
}

/// Checks the builds that leave out a cargo feature, and tests the smallest build of the library.
fn without_features() -> Result {
    for features in ["", "registry", "openpgp", "serve"] {
        cargo(&[
            "clippy",
            "--quiet",
            "--locked",
            "--package=imgconv-cli",
            "--no-default-features",
            &format!("--features={features}"),
            "--",
            "-D",
            "warnings",
        ])?;
    }
    let smallest = ["test", "--quiet", "--locked", "--no-default-features"];
    cargo(&[&smallest[..], &["--package=imgconv"]].concat())?;
    let parts = [
        "--package=imgconv-http",
        "--package=imgconv-openpgp",
        "--lib",
    ];
    cargo(&[&smallest[..], &parts].concat())
}
