//! Rules over the text of Rust files: a first line with the purpose of the file, a maximum length,
//! the only places of media types and of comparisons with schemes and format IDs, no `..` in
//! `encode.rs`, no file outside the module tree.

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
        findings.extend(compared_names(file));
        findings.extend(skipped_fields(file));
        findings.extend(skipped_extras(file));
        findings.extend(test_place(file));
        findings.extend(timed(file));
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

/// A busy machine makes every test slow: an assertion on elapsed time fails without a fault. A test
/// counts work, waits for an event, or has an input for which the fault would never end.
fn timed(file: &File) -> Vec<String> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code: Vec<&str> = file.text.lines().filter(is_code).collect();
    let code = code.join("\n");
    let code = match file.path.starts_with("xtask/") {
        true => "",
        false => &code,
    };
    let asserted = code.split("assert").skip(1);
    let asserted = asserted.filter_map(|rest| rest.split(';').next());
    let times = ["elapsed()", "Duration::from_", ".as_secs()", ".as_millis()"];
    let compares = |text: &&str| text.contains(" < ") || text.contains(" <= ");
    let timed = asserted.filter(|text| times.iter().any(|time| text.contains(time)));
    let found = timed.filter(compares).map(|text| {
        let line = text.lines().map(str::trim).find(|line| line.len() > 4);
        let path = &file.path;
        format!(
            "{path}: a test asserts on time: {}",
            line.unwrap_or_default()
        )
    });
    found.collect()
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

/// A media type is spelled once, so that a search finds who uses it; tests may spell it anywhere.
fn media_types(file: &File) -> Option<String> {
    let path = &file.path;
    let free = [
        "crates/core/manifest/src/media_type.rs",
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
        "{path}:{}: a media type is spelled in crates/core/manifest/src/media_type.rs only",
        line + 1
    ))
}

/// Ways to decide by the name of a scheme or a format. The facts of a `Place` and the constants of
/// `FormatId` decide instead, so that a new transport or format needs no change elsewhere.
const COMPARED_NAMES: &[&str] = &[
    "scheme ==",
    "scheme !=",
    "scheme() ==",
    "scheme() !=",
    "match scheme",
    "place().scheme {",
    "transport.scheme {",
    "contains(&scheme",
    "contains(&place.scheme",
    "contains(&transport.",
    "contains(&locator.transport.",
    "contains(&destination.transport.",
    "scheme, \"",
    "scheme.starts_with(",
    "id().0 ==",
    "id().0 !=",
    "id.0 ==",
    "id.0 !=",
    "format.0 ==",
    "format.0 !=",
    "id.0.starts_with(",
    "FormatId(\"",
    "catalog::format(\"",
    "catalog::transport(\"",
    "syntax.ends_with(",
];

/// Outside of the catalog, which looks names up, and the grammar of locators, which reads and prints
/// them, nothing decides by the name of a scheme or a format. URLs and credentials, whose schemes are
/// others, are the business of `crates/core`.
fn compared_names(file: &File) -> Vec<String> {
    let path = &file.path;
    let governed = ["crates/app/", "crates/transports/", "crates/formats/"];
    let free = [
        "crates/app/locate/src/catalog.rs",
        "crates/app/locate/src/locator/",
    ];
    let words = match governed.iter().any(|folder| path.starts_with(folder)) {
        true => COMPARED_NAMES,
        false => &["FormatId(\""],
    };
    let is_free = free.iter().any(|folder| path.starts_with(folder))
        || path.starts_with("crates/core/model/")
        || path.starts_with("xtask/");
    if is_free || is_test(path) {
        return Vec::new();
    }
    let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let found = code.lines().enumerate().filter_map(|(at, line)| {
        let line = line.trim_start();
        let item = ["static ", "const ", "pub ", "struct ", "fn ", "//"];
        let is_item = item.iter().any(|start| line.starts_with(start));
        let word = words.iter().find(|word| line.contains(**word))?;
        (!is_item).then(|| {
            format!(
                "{path}:{}: `{word}` decides by a name: use a fact of `Place` or a constant of `FormatId`",
                at + 1
            )
        })
    });
    found.collect()
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// In `encode.rs` of a format, a pattern of the model with `..` skips fields without a word.
fn skipped_fields(file: &File) -> Vec<String> {
    // Documents of the shape that OCI and Docker share are encoded in `core/manifest`.
    let shared = "crates/core/manifest/src/";
    let in_format =
        file.path.starts_with("crates/formats/") && file.path.ends_with("/src/encode.rs");
    if !in_format && !file.path.starts_with(shared) {
        return Vec::new();
    }
    skips(file, &["Image {", "RunConfig {"])
}

/// A bundle or sink of `crates/app` that shows another one may forget none of its capabilities
/// (robustness F11). A bundle that shows no other may leave out capabilities that it does not have.
fn skipped_extras(file: &File) -> Vec<String> {
    let shows_others = [
        "crates/app/locate/src/fetched.rs",
        "crates/app/locate/src/tree.rs",
        "crates/app/migrate/src/watch.rs",
    ];
    match shows_others.contains(&&*file.path) {
        true => skips(file, &["Extras {", "SinkExtras {"]),
        false => Vec::new(),
    }
}

/// Finds patterns and values of the named structs that leave fields out with `..`.
fn skips(file: &File, names: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for name in names {
        for (start, _) in file.text.match_indices(name) {
            let before = file.text[..start].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let body = inside_braces(&file.text[start..]).trim_end();
            if body.ends_with("..") || body.contains("..Extras") || body.contains("..SinkExtras") {
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
    fn an_assertion_on_time_is_found() {
        let file = |text: &str| file("crates/core/x/tests/suite/a.rs", text);
        for text in [
            "assert!(begun.elapsed() < Duration::from_secs(5));",
            "assert!(\n    took.as_secs() <= 5,\n    \"too slow\"\n);",
        ] {
            assert_eq!(timed(&file(text)).len(), 1, "{text}");
        }
        let fine =
            "let wait = Duration::from_secs(5);\nassert!(a < b);\n// assert on elapsed() < 5";
        assert!(timed(&file(fine)).is_empty());
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
        assert_eq!(found("crates/dev/testkit/src/lib.rs", text), [""; 0]);
        assert_eq!(found("crates/formats/oci/src/lib.rs", text).len(), 1);
        let test = "//! Why.\n#[cfg(test)]\nconst A: &str = \"application/vnd.x\";\n";
        assert_eq!(found("crates/core/pipeline/src/lib.rs", test), [""; 0]);
    }

    #[test]
    fn names_that_decide_are_found() {
        let app = "crates/app/imgconv/src/lib.rs";
        for line in [
            "if transport.place().scheme == \"oci\" {}",
            "match transport.place().scheme {",
            "let a = [\"oci\"].contains(&scheme);",
            "let a = [\"oci\"].contains(&transport.place().scheme);",
            "let a = matches!(place.scheme, \"oci\" | \"dir\");",
            "let aci = FormatId(\"aci\");",
            "if format.id().0 != \"oci\" {}",
        ] {
            let text = format!("//! Why.\n{line}\n");
            assert_eq!(found(app, &text).len(), 1, "{line}");
            let test = format!("//! Why.\n#[cfg(test)]\n{line}\n");
            assert_eq!(found(app, &test), [""; 0], "{line}");
            let catalog = "crates/app/locate/src/catalog.rs";
            let text = format!("//! Why.\nmod catalog;\n{line}\n");
            let lib = file(app, "//! Why.\nmod catalog;\n");
            assert_eq!(check(&[lib, file(catalog, &text)]), [""; 0], "{line}");
        }
        let printed = "//! Why.\nlet text = format!(\"{}:\", place.scheme);\n";
        assert_eq!(found(app, printed), [""; 0]);
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
    fn a_forgotten_capability_is_found() {
        let lib = file("crates/app/locate/src/lib.rs", "//! Why.\nmod tree;\n");
        let at = "crates/app/locate/src/tree.rs";
        let check = |text: &str| check(&[lib.clone(), file(at, &format!("//! Why.\n{text}"))]);
        assert_eq!(check("let Extras { parts, .. } = a.extras();").len(), 1);
        assert_eq!(check("Extras { parts, ..Extras::default() }").len(), 1);
        assert_eq!(check("SinkExtras { a, ..SinkExtras::default() }").len(), 1);
        assert_eq!(
            check("let Extras { parts, states: _ } = a.extras();"),
            [""; 0]
        );
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
