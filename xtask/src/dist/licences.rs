//! `THIRD-PARTY.md`: the packages in the program, and the texts of their licences as they are in the
//! packages, each text once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::packages::Packages;
use super::program::Target;
use crate::process::Result;

/// How the names of licence files begin.
const NAMES: [&str; 6] = [
    "licence",
    "license",
    "copying",
    "copyright",
    "notice",
    "unlicense",
];
/// How they end.
const ENDS: [&str; 9] = [
    "",
    "txt",
    "md",
    "mit",
    "apache",
    "apache-2.0",
    "bsd",
    "bsd-3-clause",
    "0bsd",
];
/// Packages of C code keep its licence in a folder of it.
const DEPTH: usize = 3;
/// The licence of glibc, a part of a program that is linked with it statically.
const LGPL: &str = include_str!("LGPL-2.1.txt");

/// Makes the document.
pub(super) fn document(packages: &Packages, target: &Target) -> Result<String> {
    let mut out = "# Licences of the packages in imgconv\n\n\
        | package | licence |\n| --- | --- |\n"
        .to_owned();
    let mut texts = BTreeMap::<String, Vec<String>>::new();
    for package in packages.all.values() {
        let name = format!("{} {}", package.name, package.version);
        let mut found = Vec::new();
        collect(&package.folder, DEPTH, &mut found)?;
        let remark = if found.is_empty() {
            " (the package has no text of it)"
        } else {
            ""
        };
        out += &format!("| {name} | {}{remark} |\n", package.licence);
        for text in found {
            let users = texts.entry(text).or_default();
            if !users.contains(&name) {
                users.push(name.clone());
            }
        }
    }
    out += "| the standard library of Rust | MIT OR Apache-2.0 |\n";
    if target.is_glibc() {
        out += "| the GNU C Library, in programs for glibc | LGPL-2.1-or-later |\n\n\
            The programs are linked with the GNU C Library, which is not changed. You may change the library, and\n\
            link the program with it again: `cargo xtask dist` builds the program from its source.\n";
        texts.insert(tidied(LGPL), vec!["the GNU C Library".to_owned()]);
    }
    let mut sorted: Vec<_> = texts.into_iter().collect();
    sorted.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    for (text, users) in sorted {
        out += &format!("\n## {}\n\n````text\n{text}\n````\n", users.join(", "));
    }
    Ok(out)
}

/// Reads the licence files of a folder and of those in it, in the order of their names.
fn collect(folder: &Path, depth: usize, out: &mut Vec<String>) -> Result {
    let shown = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(shown)?;
    let mut entries = entries
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(shown)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let name_of = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().to_lowercase();
    // Beside a file LICENSE, the file COPYING names the choice, or has the licence that is not chosen (zstd).
    let chosen = entries
        .iter()
        .any(|entry| name_of(entry).starts_with("licen"));
    for entry in entries {
        let kind = entry.file_type().map_err(shown)?;
        let name = name_of(&entry);
        if chosen && name.starts_with("copying") {
            continue;
        }
        let tests = ["test", "tests", "examples", "benches", "contrib"];
        if kind.is_dir() && depth > 1 && !tests.contains(&&*name) {
            collect(&entry.path(), depth - 1, out)?;
        } else if kind.is_file() && is_licence(&name) {
            let bytes = fs::read(entry.path()).map_err(shown)?;
            out.push(tidied(&String::from_utf8_lossy(&bytes)));
        }
    }
    Ok(())
}

fn is_licence(name: &str) -> bool {
    let (stem, end) = name.split_once('.').unwrap_or((name, ""));
    NAMES.iter().any(|start| stem.starts_with(start)) && ENDS.contains(&end)
}

/// Ends of lines and blanks at them make no other text.
fn tidied(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_files_are_told_by_their_names() {
        for name in [
            "license",
            "license-mit",
            "license-apache.txt",
            "copying",
            "unlicense",
            "license.md",
        ] {
            assert!(is_licence(name), "{name}");
        }
        for name in [
            "license.rs",
            "licensing.py",
            "readme.md",
            "notice.html",
            "license.tmpl",
        ] {
            assert!(!is_licence(name), "{name}");
        }
        assert_eq!(tidied("\r\na \r\n b\n\n"), "a\n b");
    }

    #[test]
    fn texts_of_nested_folders_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "LICENSE-MIT",
            "zstd/LICENSE",
            "zstd/COPYING",
            "xz/COPYING",
            "tests/LICENSE",
            "a/b/c/LICENSE",
        ] {
            imgconv_testkit::write_file(&folder.path().join(name), name.as_bytes()).unwrap();
        }
        let mut found = Vec::new();
        collect(folder.path(), DEPTH, &mut found).unwrap();
        assert_eq!(found, ["LICENSE-MIT", "xz/COPYING", "zstd/LICENSE"]);
    }
}
