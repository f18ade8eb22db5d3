//! Rules over the text of Rust files: a first line that says what the file is for, an upper bound on
//! length, where media types are spelled, what `encode.rs` may not skip, no file left out.

use super::files::File;

const LONG: usize = 600;
const TOO_LONG: usize = 900;
/// Tests that are a program of their own, for they measure the largest child of their process.
const ALONE: &[&str] = &[
    "crates/app/cli/tests/memory.rs",
    "crates/app/cli/tests/json_memory.rs",
];

/// Runs all rules of this file.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let rust: Vec<&File> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .collect();
    let mut findings = Vec::new();
    for file in &rust {
        findings.extend(first_line(file));
        findings.extend(too_long(file));
        findings.extend(media_types(file));
        findings.extend(skipped_fields(file));
        findings.extend(test_place(file));
    }
    findings.extend(forgotten(&rust, files));
    findings
}

/// The tests of a crate are one program, `tests/suite/main.rs` with a module for each part.
fn test_place(file: &File) -> Option<String> {
    let (_, rest) = split(&file.path)?;
    let elsewhere = rest.starts_with("tests/") && !rest.starts_with("tests/suite/");
    (elsewhere && !ALONE.contains(&&*file.path))
        .then(|| format!("{}: tests stand in `tests/suite/`", file.path))
}

/// Files that will soon be too long.
pub(super) fn long_files(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    let long = rust
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LONG);
    long.map(|(file, lines)| format!("{} has {lines} lines", file.path))
        .collect()
}

fn first_line(file: &File) -> Option<String> {
    let starts = file.text.starts_with("//! ");
    (!starts).then(|| {
        format!(
            "{}: the first line is not `//! …`: what the file is for",
            file.path
        )
    })
}

fn too_long(file: &File) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > TOO_LONG).then(|| format!("{}: {lines} lines, at most {TOO_LONG}", file.path))
}

/// Media types are the business of formats and transports; tests may spell them anywhere.
fn media_types(file: &File) -> Option<String> {
    let path = &file.path;
    let free = [
        "crates/formats/",
        "crates/transports/",
        "crates/core/wire/",
        "crates/dev/",
        "xtask/",
    ];
    if free.iter().any(|folder| path.starts_with(folder)) || is_test(path) {
        return None;
    }
    let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let line = code.lines().position(|line| {
        let line = line.trim_start();
        line.contains("application/vnd.") && !line.starts_with("//")
    })?;
    Some(format!(
        "{path}:{}: a media type outside formats, transports and core/wire",
        line + 1
    ))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// In `encode.rs` of a format, a pattern of the model with `..` skips fields without a word.
fn skipped_fields(file: &File) -> Vec<String> {
    // Documents of the shape that OCI and Docker share are encoded in `core/wire`.
    let shared = [
        "crates/core/wire/src/manifest/",
        "crates/core/wire/src/docker_config/",
    ];
    let in_format =
        file.path.starts_with("crates/formats/") && file.path.ends_with("/src/encode.rs");
    if !in_format && !shared.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for name in ["Image {", "RunConfig {"] {
        for (start, _) in file.text.match_indices(name) {
            let before = file.text[..start].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let body = inside_braces(&file.text[start..]);
            if body.trim_end().ends_with("..") {
                let line = file.text[..start].lines().count().max(1);
                let name = name.trim_end_matches(" {");
                findings.push(format!("{}:{line}: `..` in a pattern of {name}", file.path));
            }
        }
    }
    findings
}

fn inside_braces(text: &str) -> &str {
    let start = text.find('{').map_or(text.len(), |at| at + 1);
    let mut depth = 1;
    for (at, c) in text[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[start..start + at];
        }
    }
    &text[start..]
}

/// A file that no `mod` names is not compiled, and nobody notices.
fn forgotten(rust: &[&File], all: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in rust {
        let Some((package, rest)) = split(&file.path) else {
            continue;
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let reached = match parts.as_slice() {
            ["build.rs"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] => true,
            ["tests", _, "main.rs"] => true,
            ["tests", name] => {
                let manifest = all
                    .iter()
                    .find(|f| f.path == format!("{package}/Cargo.toml"));
                let text = manifest.map_or("", |manifest| manifest.text.as_str());
                !text.contains("autotests = false") || text.contains(&format!("tests/{name}"))
            }
            ["src" | "tests", .., folder, "mod.rs"] => named(rust, package, folder),
            ["src" | "tests", .., name] => named(rust, package, name.trim_end_matches(".rs")),
            _ => true,
        };
        if !reached {
            findings.push(format!(
                "{}: no `mod` names this file, so nothing compiles it",
                file.path
            ));
        }
    }
    findings
}

/// Splits a path into its package's folder and the rest.
fn split(path: &str) -> Option<(&str, &str)> {
    let at = [path.find("/src/"), path.find("/tests/")]
        .into_iter()
        .flatten()
        .min()?;
    Some((&path[..at], &path[at + 1..]))
}

fn named(rust: &[&File], package: &str, module: &str) -> bool {
    let words = [format!("mod {module};"), format!("/{module}.rs\"")];
    rust.iter()
        .filter(|file| split(&file.path).is_some_and(|(other, _)| other == package))
        .any(|file| words.iter().any(|word| file.text.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            text: text.into(),
        }
    }

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&[file(path, text)])
    }

    #[test]
    fn a_file_without_a_purpose_is_found() {
        assert_eq!(found("crates/core/x/src/lib.rs", "//! Why.\n"), [""; 0]);
        assert_eq!(found("crates/core/x/src/lib.rs", "fn a() {}\n").len(), 1);
    }

    #[test]
    fn long_files_are_found() {
        let lines = |n: usize| format!("//! Why.\n{}", "\n".repeat(n - 1));
        assert_eq!(found("crates/core/x/src/lib.rs", &lines(900)), [""; 0]);
        assert_eq!(found("crates/core/x/src/lib.rs", &lines(901)).len(), 1);
        assert_eq!(
            long_files(&[file("a.rs", &lines(601))]),
            ["a.rs has 601 lines"]
        );
    }

    #[test]
    fn media_types_in_the_wrong_place_are_found() {
        let text = "//! Why.\nconst A: &str = \"application/vnd.x\";\n";
        assert_eq!(found("crates/core/pipeline/src/lib.rs", text).len(), 1);
        assert_eq!(found("crates/formats/oci/src/lib.rs", text), [""; 0]);
        let test = "//! Why.\n#[cfg(test)]\nconst A: &str = \"application/vnd.x\";\n";
        assert_eq!(found("crates/core/pipeline/src/lib.rs", test), [""; 0]);
    }

    #[test]
    fn a_skipped_field_in_encode_is_found() {
        let at = "crates/formats/oci/src/encode.rs";
        let others = file("crates/formats/oci/src/lib.rs", "//! Why.\nmod encode;\n");
        let check = |text: &str| check(&[others.clone(), file(at, &format!("//! Why.\n{text}"))]);
        assert_eq!(check("let Image { name, .. } = image;").len(), 1);
        assert_eq!(check("let RunConfig {\n exec,\n ..\n} = config;").len(), 1);
        assert_eq!(
            check("let Image { config: RunConfig { exec, .. }, name } = image;").len(),
            1
        );
        assert_eq!(check("let Image { name, layers: _ } = image;"), [""; 0]);
        assert_eq!(check("Image { name, ..Image::default() }"), [""; 0]);
        assert_eq!(check("let OldImage { name, .. } = image;"), [""; 0]);
    }

    #[test]
    fn tests_outside_the_suite_are_found() {
        let text = "//! Why.\n";
        let wanted = "crates/core/x/tests/b.rs: tests stand in `tests/suite/`";
        assert_eq!(found("crates/core/x/tests/b.rs", text), [wanted]);
        assert_eq!(found("crates/app/cli/tests/memory.rs", text), [""; 0]);
    }

    #[test]
    fn files_that_nothing_compiles_are_found() {
        let lib = file("crates/core/x/src/lib.rs", "//! Why.\nmod a;\n");
        let check = |path: &str| check(&[lib.clone(), file(path, "//! Why.\n")]);
        assert_eq!(check("crates/core/x/src/a.rs"), [""; 0]);
        assert_eq!(check("crates/core/x/src/a/mod.rs"), [""; 0]);
        assert_eq!(check("crates/core/x/src/b.rs").len(), 1);
        assert_eq!(check("crates/core/x/tests/suite/main.rs"), [""; 0]);
        assert_eq!(check("crates/core/x/tests/suite/b.rs").len(), 1);
    }
}
