//! Every target takes its seeds, simple changes of them, and the inputs of `testdata/fuzz` that once failed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::fs;
use std::path::Path;

use imgconv_fuzz::{TARGETS, run};

#[test]
fn every_target_takes_what_once_failed() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/fuzz");
    for target in TARGETS {
        let Ok(folder) = fs::read_dir(all.join(target.name)) else {
            continue;
        };
        for file in folder {
            run(target, &fs::read(file.unwrap().path()).unwrap(), false);
        }
    }
}

#[test]
fn every_target_takes_its_seeds_and_changes_of_them() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        run(target, b"", false);
        for seed in seeds.iter().take(6) {
            run(target, seed, false);
            for part in 1..4 {
                let at = seed.len() * part / 4;
                run(target, &seed[..at], false);
                let mut changed = seed.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= 1;
                }
                run(target, &changed, false);
            }
        }
    }
}
