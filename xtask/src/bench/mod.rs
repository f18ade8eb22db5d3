//! `cargo xtask bench`: time, memory and bytes of the main jobs, compared with other programs.
//!
//! imgconv and the other programs run in turn, round by round, so that a busy machine affects all
//! of them; ratios are taken inside a round and their median is shown. Figures of two machines
//! cannot be compared; ratios can, roughly.

mod archive;
mod committed;
mod floor;
mod generated;
mod goals;
mod measure;
mod memory;
mod migrate;
mod model;
mod names;
mod packages;
mod puller;
mod scaling;
mod serve;
mod setting;
mod start;
mod store;
mod table;

use std::cell::Cell;
use std::path::PathBuf;

use serde_json::Value;

pub(crate) use self::floor::run as run_floor;
pub(crate) use self::measure::run_script;
use self::setting::Bench;
use crate::newer::Newer;
use crate::process::{Profile, Result, operands, program, value};

/// Runs the named benchmark; the default is `goals`.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let number = |name: &str, default: u64| match value(arguments, name)? {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{name} needs a number, not `{text}`")),
    };
    let subject = operands("bench", arguments)?
        .first()
        .copied()
        .unwrap_or("goals");
    let folder = value(arguments, "--folder")?.map_or_else(std::env::temp_dir, PathBuf::from);
    let bench = Bench {
        program: program(arguments, Profile::Release)?,
        work: tempfile::Builder::new()
            .prefix("imgconv-bench-")
            .tempdir_in(folder)
            .map_err(|e| e.to_string())?,
        rounds: number("--rounds", 5)?.max(1),
        runs: Cell::default(),
        keep_outputs: Cell::default(),
        newer: Newer::find(),
    };
    bench.wrap_newer_peers()?;
    let only = value(arguments, "--only")?.unwrap_or_default();
    let (text, json): (String, Value) = match subject {
        "all" => all(&bench, number("--size", 600)?)?,
        "start" => start::run(&bench)?,
        "goals" => goals::run(&bench, number("--size", 600)?, only)?,
        "scaling" if arguments.contains(&"--model") => model::run(&bench, number("--size", 200)?)?,
        "scaling" => scaling::run(&bench)?,
        "memory" => memory::run(&bench, only)?,
        "migrate" => migrate::run(&bench, number("--size", 80)?, only)?,
        "serve" => serve::run(&bench, number("--size", 80)?)?,
        "store" => store::run(&bench, number("--size", STORES)?, only)?,
        other => {
            return Err(format!(
                "there is no benchmark `{other}`; there are: all, goals, scaling, memory, migrate, serve, start, store"
            ));
        }
    };
    if arguments.contains(&"--save") {
        committed::save(&bench, &text)?;
    }
    if arguments.contains(&"--json") {
        println!("{json}");
    } else {
        print!("{text}");
    }
    Ok(())
}

/// The MB of a store of an engine: the goal is stated for that size.
const STORES: u64 = 5000;

/// Runs every benchmark that has a goal.
fn all(bench: &Bench, size: u64) -> Result<(String, Value)> {
    let parts = [
        ("Goals", goals::run(bench, size, "")?),
        ("Migration", migrate::run(bench, 80, "")?),
        ("Stores of engines", store::run(bench, STORES, "")?),
        ("Server", serve::run(bench, 80)?),
        ("Growth", scaling::run(bench)?),
        ("More cores", model::run(bench, 200)?),
        ("Start", start::run(bench)?),
    ];
    let text = parts
        .iter()
        .map(|(head, (text, _))| format!("## {head}\n\n{text}\n"));
    let text = text.collect::<String>().trim_end().to_owned() + "\n";
    Ok((
        text,
        parts.iter().map(|(_, (_, json))| json.clone()).collect(),
    ))
}
