//! `cargo xtask dist`: the files of a release, and `dist --check`: each of them installed and used.
//!
//! A run makes everything from the checkout, the packages of the lock file and the tools of Rust and C:
//! no Debian, no Python and no container engine. The same commit gives the same bytes, wherever the
//! checkout is: times are the time of the commit, members are sorted, owners and modes are fixed.

mod check;
mod deb;
mod image;
mod licences;
mod packages;
mod program;
mod release;
mod sbom;
mod tree;
mod wheel;
mod zip;

use std::fs;
use std::path::Path;
use std::process::Command;

use self::packages::Packages;
use self::program::Target;
use self::release::{Release, SUMS, read};
use self::tree::Tree;
use crate::process::{Result, call, root, target, value};

/// Makes the files, or checks those that are there.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let out = match value(arguments, "--out")? {
        Some(path) => std::path::absolute(path).map_err(|e| e.to_string())?,
        None => target()?.join("dist"),
    };
    match arguments.contains(&"--check") {
        true => check::run(arguments, &out),
        false => make(arguments, &out),
    }
}

fn make(arguments: &[&str], out: &Path) -> Result {
    let shown = |error: std::io::Error| format!("{}: {error}", out.display());
    fs::create_dir_all(out).map_err(shown)?;
    if fs::read_dir(out).map_err(shown)?.next().is_some() {
        if value(arguments, "--out")?.is_some() {
            return Err(format!("{} is not empty", out.display()));
        }
        fs::remove_dir_all(out).map_err(shown)?;
    }
    let programs = match value(arguments, "--program")? {
        Some(path) => {
            let path = std::path::absolute(path).map_err(|e| e.to_string())?;
            vec![(Target::of_this_machine(), path)]
        }
        None => {
            let profile = value(arguments, "--profile")?.unwrap_or("release");
            program::build_all(profile)?
        }
    };
    let (here, first) = programs.first().ok_or("no program was built")?;
    let triples: Vec<&str> = programs.iter().map(|(target, _)| target.triple).collect();
    let packages = Packages::of(&triples)?;
    let mut release = Release {
        version: packages.version.clone(),
        epoch: epoch()?,
        out: out.to_owned(),
        third_party: licences::document(&packages, here)?,
        pages: Tree::default(),
        completions: Tree::default(),
    };
    release.pages = pages(first)?;
    release.completions = completions(first)?;
    for (target, program) in &programs {
        let bytes = fs::read(program).map_err(|e| format!("{}: {e}", program.display()))?;
        program::demand_static(&bytes).map_err(|e| format!("{}: {e}", program.display()))?;
        archive(&release, target, &bytes)?;
        deb::write(&release, target, &bytes)?;
        wheel::write(&release, target, &bytes)?;
        image::write(&release, target, &bytes, first)?;
    }
    release.write("THIRD-PARTY.md", release.third_party.as_bytes())?;
    let name = format!("imgconv-{}.cdx.json", release.version);
    release.write(&name, &sbom::document(&release, &packages)?)?;
    sums(&release)
}

/// The archive for any Linux: the program with its documents in one directory.
fn archive(release: &Release, target: &Target, program: &[u8]) -> Result {
    let name = format!("imgconv-{}-{}-linux", release.version, target.arch);
    let mut tree = release.licences()?;
    tree.file("imgconv", 0o755, program);
    for name in ["README.md", "CHANGELOG.md"] {
        tree.file(name, 0o644, read(name)?);
    }
    tree.add("man/man1", &release.pages);
    tree.add("completions", &release.completions);
    let mut whole = Tree::default();
    whole.add(&name, &tree);
    let bytes = tree::gzip(&whole.tar("", release.epoch)?)?;
    release.write(&format!("{name}.tar.gz"), &bytes)
}

fn pages(program: &Path) -> Result<Tree> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    call(Command::new(program).arg("man").arg(folder.path()))?;
    let mut tree = Tree::default();
    for entry in fs::read_dir(folder.path()).map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let bytes = fs::read(entry.path()).map_err(|e| e.to_string())?;
        tree.file(&entry.file_name().to_string_lossy(), 0o644, bytes);
    }
    Ok(tree)
}

fn completions(program: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    for (shell, name) in [
        ("bash", "imgconv.bash"),
        ("fish", "imgconv.fish"),
        ("zsh", "_imgconv"),
    ] {
        let text = call(Command::new(program).args(["completions", shell]))?;
        tree.file(name, 0o644, text);
    }
    Ok(tree)
}

/// Writes the digests of all files in the form that `sha256sum -c` reads.
fn sums(release: &Release) -> Result {
    let mut names = Vec::new();
    for entry in fs::read_dir(&release.out).map_err(|e| e.to_string())? {
        let name = entry.map_err(|e| e.to_string())?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        let bytes = fs::read(release.out.join(&name)).map_err(|e| format!("{name}: {e}"))?;
        text += &format!("{}  {name}\n", imgconv_testkit::sha256_hex(&bytes));
    }
    release.write(SUMS, text.as_bytes())
}

/// The time for all members: `SOURCE_DATE_EPOCH`, else the time of the commit.
fn epoch() -> Result<u64> {
    let text = match std::env::var_os("SOURCE_DATE_EPOCH") {
        Some(text) => text.to_string_lossy().into_owned(),
        None => {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--format=%ct"]).current_dir(root());
            call(&mut git).map_err(|e| format!("{e}\nwithout git, set SOURCE_DATE_EPOCH"))?
        }
    };
    let text = text.trim();
    text.parse()
        .map_err(|_| format!("the time of the commit is `{text}`, expected seconds since 1970"))
}
