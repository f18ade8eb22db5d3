//! A target under libFuzzer, which keeps the inputs that reach new code. `cargo xtask fuzz` builds and calls this
//! program; the variable `IMGCONV_FUZZ_TARGET` names the target (without it the names of all targets are printed), and `IMGCONV_FUZZ_SEEDS` a folder that gets the seeds
//! before libFuzzer reads its folders. With the variable `IMGCONV_FUZZ_DIFFER`, a folder, the seeds and the folders that
//! are arguments are read as tars, see `differ.rs`.
#![no_main]
#![allow(
    clippy::disallowed_methods,
    clippy::exit,
    clippy::print_stdout,
    reason = "libFuzzer has the arguments and the end of this program of developers"
)]

use std::path::Path;
use std::sync::OnceLock;

use imgconv_fuzz::{TARGETS, Target, differ, run, target, write_seeds};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fn chosen() -> &'static Target {
    CHOSEN.get_or_init(|| {
        let name = std::env::var("IMGCONV_FUZZ_TARGET").unwrap_or_default();
        target(&name).unwrap_or_else(|| panic!("there is no target {name:?}"))
    })
}

/// Prints the names of the targets if none is chosen, and writes the seeds; a file that is there has the same bytes.
fn begin() {
    if std::env::var_os("IMGCONV_FUZZ_TARGET").is_none() {
        TARGETS
            .iter()
            .for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    }
    if let Some(folder) = std::env::var_os("IMGCONV_FUZZ_SEEDS") {
        let written = write_seeds(chosen(), Path::new(&folder));
        written.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    }
    if let Some(out) = std::env::var_os("IMGCONV_FUZZ_DIFFER") {
        let folders: Vec<_> = std::env::args_os().skip(1).collect();
        let folders: Vec<&Path> = folders.iter().map(Path::new).collect();
        println!("{}", differ::write(&folders, Path::new(&out)).unwrap());
        std::process::exit(0);
    }
}

fuzz_target!(init: begin(), |bytes: &[u8]| run(chosen(), bytes, true));
