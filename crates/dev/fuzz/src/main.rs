//! `imgconv-fuzz`: the targets without libFuzzer.
//!
//! ```text
//! imgconv-fuzz list                    the names of the targets
//! imgconv-fuzz seeds TARGET DIR        write the seeds of a target as files
//! imgconv-fuzz run TARGET FILE…        call a target with files
//! imgconv-fuzz members FILE…           the members of tars as lines of JSON, for comparing with other readers
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for developers"
)]

use std::path::Path;
use std::process::ExitCode;

use imgconv_fuzz::{TARGETS, repair, run, target, targets};
use imgconv_testkit::sha256_hex;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match called(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn called(words: &[&str]) -> Result<(), String> {
    let named = |name: &str| target(name).ok_or_else(|| format!("there is no target {name}"));
    match words {
        ["list"] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        ["seeds", name, folder] => {
            std::fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
            for seed in (named(name)?.seeds)() {
                let path = Path::new(folder).join(&sha256_hex(&seed)[..16]);
                std::fs::write(&path, seed).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        ["run", name, files @ ..] => {
            for file in files {
                let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
                run(named(name)?, &bytes, true);
            }
        }
        ["members", files @ ..] => {
            for file in files {
                let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
                println!("{}", members(file, &repair::tar(&bytes)));
            }
        }
        _ => return Err("imgconv-fuzz list | seeds TARGET DIR | run TARGET FILE… | members FILE…".to_owned()),
    }
    Ok(())
}

/// The members of a tar as one line of JSON: names in hexadecimal digits, kind, mode, size, link, digest of the body.
fn members(file: &str, tar: &[u8]) -> serde_json::Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match targets::members(tar) {
        Err(error) => serde_json::json!({"file": file, "error": error.to_string()}),
        Ok(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(entry, body)| {
                    serde_json::json!([
                        hex(&entry.path),
                        format!("{:?}", entry.kind),
                        entry.mode,
                        entry.uid,
                        entry.gid,
                        entry.mtime.seconds,
                        entry.size,
                        hex(&entry.link),
                        sha256_hex(body),
                    ])
                })
                .collect();
            serde_json::json!({"file": file, "members": members})
        }
    }
}
