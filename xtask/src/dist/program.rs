//! The static program for each machine that this one can build for.
//!
//! musl is taken where Rust has its library for it, else glibc, linked statically. A static glibc looks
//! names up in `/etc/hosts` and DNS by itself, and loads other modules that `nsswitch.conf` names from
//! the system (`docs/install.md`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, call, installed, root, target};

/// A machine that the program is built for.
#[derive(Debug)]
pub(super) struct Target {
    /// As Rust calls it.
    pub(super) triple: &'static str,
    /// As Linux and Python call it.
    pub(super) arch: &'static str,
    /// As Debian calls it.
    pub(super) debian: &'static str,
    /// As image configs call it.
    pub(super) oci: &'static str,
    /// The C compiler and linker.
    cc: &'static str,
}

impl Target {
    const fn new(triple: &'static str, names: [&'static str; 3], cc: &'static str) -> Self {
        let [arch, debian, oci] = names;
        Self {
            triple,
            arch,
            debian,
            oci,
            cc,
        }
    }

    /// The target of this machine, for a program that was built elsewhere.
    pub(super) fn of_this_machine() -> &'static Self {
        let here = |target: &&Self| target.arch == std::env::consts::ARCH;
        TARGETS.iter().rev().find(here).unwrap_or(&TARGETS[1])
    }

    /// Says whether the C library is glibc.
    pub(super) fn is_glibc(&self) -> bool {
        self.triple.ends_with("-gnu")
    }

    /// Finds out why this machine can't build for the target.
    fn missing(&self) -> Result<Option<String>> {
        let mut rustc = Command::new("rustc");
        let folder = call(rustc.args(["--print", "target-libdir", "--target", self.triple]))?;
        if !Path::new(folder.trim()).is_dir() {
            return Ok(Some(format!("Rust has no library for {}", self.triple)));
        }
        Ok((!installed(self.cc)).then(|| format!("{} is not installed", self.cc)))
    }

    /// Builds the program, and returns its path.
    fn build(&self, profile: &str) -> Result<PathBuf> {
        let target = target()?;
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
        let cargo = home.or(user).ok_or("neither CARGO_HOME nor HOME is set")?;
        // Of several prefixes that fit, compilers take the last.
        let prefixes = [
            (&cargo, "/cargo"),
            (&root(), "/imgconv"),
            (&target, "/target"),
        ];
        let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
        let mut c_flags = Vec::new();
        for (from, to) in prefixes {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
            c_flags.push(format!("-ffile-prefix-map={}={to}", from.display()));
        }
        let name = self.triple.replace('-', "_");
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args([
                "build",
                "--locked",
                "--package=imgconv-cli",
                "--bin=imgconv",
            ])
            .args(["--profile", profile, "--target", self.triple])
            .current_dir(root())
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env(
                format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()),
                self.cc,
            )
            .env(format!("CC_{name}"), self.cc)
            .env(format!("CFLAGS_{name}"), c_flags.join(" "));
        eprintln!(
            "building the program for {} (profile {profile})",
            self.triple
        );
        let status = command.status().map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            return Err(format!("the build for {} failed: {status}", self.triple));
        }
        let folder = if profile == "dev" { "debug" } else { profile };
        Ok(target.join(self.triple).join(folder).join("imgconv"))
    }
}

/// For each kind of machine musl first, then glibc.
const TARGETS: [Target; 4] = [
    Target::new(
        "x86_64-unknown-linux-musl",
        ["x86_64", "amd64", "amd64"],
        "musl-gcc",
    ),
    Target::new(
        "x86_64-unknown-linux-gnu",
        ["x86_64", "amd64", "amd64"],
        "cc",
    ),
    Target::new(
        "aarch64-unknown-linux-musl",
        ["aarch64", "arm64", "arm64"],
        "aarch64-linux-musl-gcc",
    ),
    Target::new(
        "aarch64-unknown-linux-gnu",
        ["aarch64", "arm64", "arm64"],
        "aarch64-linux-gnu-gcc",
    ),
];

/// Builds the program for every machine that is possible, this one first, and says why others are not.
pub(super) fn build_all(profile: &str) -> Result<Vec<(&'static Target, PathBuf)>> {
    let mut programs: Vec<(&Target, PathBuf)> = Vec::new();
    for target in &TARGETS {
        if programs.iter().any(|(built, _)| built.arch == target.arch) {
            continue;
        }
        match target.missing()? {
            Some(reason) => println!("not built for {}: {reason}", target.triple),
            None => programs.push((target, target.build(profile)?)),
        }
    }
    programs.sort_by_key(|(target, _)| target.arch != std::env::consts::ARCH);
    Ok(programs)
}

/// Refuses a program that needs a loader: the header of an ELF file names it (ELF, `PT_INTERP`).
pub(super) fn demand_static(elf: &[u8]) -> Result {
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = elf.get(at..at + size)?.iter().rev();
        Some(bytes.fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let loader = || {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let mut kinds = (0..count).map(|i| number(table + i * size, 4));
        Some(kinds.any(|kind| kind == Some(3)))
    };
    match elf.starts_with(b"\x7fELF\x02\x01").then(loader).flatten() {
        Some(false) => Ok(()),
        Some(true) => Err("the program is not static: it names a loader".into()),
        None => Err("not an ELF file of 64 bits, little endian".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_with_a_loader_are_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(demand_static(&own).unwrap_err().contains("loader"));
        let mut head = own[..64].to_vec();
        head[56..58].fill(0);
        assert_eq!(demand_static(&head), Ok(()));
        assert!(demand_static(b"#!/bin/sh").is_err());
        assert!(demand_static(&own[..40]).is_err());
    }
}
