//! A target under libFuzzer, which keeps the inputs that reach new code. `cargo xtask fuzz` builds and calls this
//! program; the variable `IMGCONV_FUZZ_TARGET` names the target.
#![no_main]
#![allow(clippy::disallowed_methods, reason = "libFuzzer has the arguments; this is a program of developers")]

use std::sync::OnceLock;

use imgconv_fuzz::{Target, run, target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fn chosen() -> &'static Target {
    CHOSEN.get_or_init(|| {
        let name = std::env::var("IMGCONV_FUZZ_TARGET").unwrap_or_default();
        target(&name).unwrap_or_else(|| panic!("there is no target {name:?}"))
    })
}

fuzz_target!(|bytes: &[u8]| run(chosen(), bytes, true));
