//! `cargo xtask oracle`: independent tools read the output of imgconv, and make its input.
//!
//! Every check has a name and ends as `ok`, `FAIL` or `skip`; a missing tool is a skip, and with
//! `--require-all` a failure. All work happens in one temporary folder; servers are started in the
//! folder and ended by their process ids. The checks need root, because they compare owners,
//! devices and capabilities.

mod appc;
pub(crate) mod checks;
mod chunked;
mod codecs;
mod daemon;
mod docker;
mod docker_aci;
mod docker_reversal;
mod dozen;
pub(crate) mod engine;
mod engines;
mod from_aci;
mod from_oci;
mod inputs;
mod json;
mod kinds;
mod layers;
mod locks;
mod migrate;
mod mirrors;
mod registry;
mod registry_server;
mod reversal;
mod rootfs;
mod schema1;
mod serve;
mod slurm;
mod stores;

use serde_json::json;

use self::checks::Oracle;
use crate::assurance;
use crate::process::{Profile, Result, operands, program, value};

/// Runs all checks, or one group of checks.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let keep = arguments.contains(&"--keep");
    let work = tempfile::Builder::new().prefix("imgconv-oracle-").tempdir();
    let work = work.map_err(|e| e.to_string())?;
    let filter = operands("oracle", arguments)?
        .first()
        .copied()
        .unwrap_or_default();
    let require_all = arguments.contains(&"--require-all");
    let rounds = match value(arguments, "--rounds")? {
        Some(rounds) => rounds.parse().map_err(|e| format!("--rounds: {e}"))?,
        None => locks::ROUNDS,
    };
    let program = program(arguments, Profile::Dev)?;
    let mut oracle = Oracle::new(program, work.path(), require_all, filter)?;
    let groups = [
        &from_aci::GROUPS[..],
        &docker::GROUPS,
        &schema1::GROUPS,
        &registry::GROUPS,
        &docker_reversal::GROUPS,
    ];
    let needs_engine = groups.concat().iter().any(|group| oracle.wants(group));
    let engine = match needs_engine {
        true => engine::Engine::start(&mut oracle),
        false => None,
    };
    from_aci::run(&mut oracle, engine.as_ref());
    from_oci::run(&mut oracle);
    layers::run(&mut oracle);
    if codecs::run(&mut oracle) {
        chunked::run(&mut oracle);
    }
    if let Some(engine) = docker::run(&mut oracle, engine.as_ref())
        && oracle.wants("docker-aci")
    {
        docker_aci::run(&mut oracle, engine);
    }
    schema1::run(&mut oracle, engine.as_ref());
    registry::run(&mut oracle, engine.as_ref());
    appc::run(&mut oracle);
    reversal::run(&mut oracle);
    docker_reversal::run(&mut oracle, engine.as_ref());
    drop(engine);
    stores::run(&mut oracle);
    engines::run(&mut oracle);
    daemon::run(&mut oracle);
    serve::run(&mut oracle);
    rootfs::run(&mut oracle);
    json::run(&mut oracle);
    kinds::run(&mut oracle);
    migrate::run(&mut oracle);
    locks::run(&mut oracle, rounds);
    slurm::run(&mut oracle);
    if keep {
        println!("kept: {}", work.keep().display());
    } else if let Err(error) = work.close() {
        eprintln!("not everything could be removed: {error}");
    }
    let judges = oracle.versions()?;
    let Oracle {
        passed,
        failed,
        skipped,
        ..
    } = oracle;
    if arguments.contains(&"--record") {
        let results =
            json!({"passed": passed, "failed": failed, "skipped": skipped, "judges": judges});
        assurance::record("oracle", results)?;
    }
    println!("oracle: {passed} passed, {failed} failed, {skipped} skipped");
    match failed {
        0 if passed + skipped == 0 => Err("no group of checks has that name".into()),
        0 => Ok(()),
        _ => Err("a check of the oracle failed".into()),
    }
}
