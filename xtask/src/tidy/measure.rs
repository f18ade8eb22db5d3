//! `cargo xtask tidy --measure`: numbers about the shape of the source, for comparing two states.
//!
//! The output is a list of Markdown tables and depends on the files of the repository alone. The
//! rules of the numbers are printed with them: see [`RULES`]. [`START`], [`END`] and [`SCOPE`] say
//! where the way of `aci-to-oci` begins and ends, and through which crates it leads.

mod graph;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use self::graph::{Circle, Graph};
use self::source::Workspace;
use super::files::{File, files};
use crate::process::{Result, metadata, root};

/// Where the way of `aci-to-oci` starts: the first function of this list that exists. The older
/// places come last.
const START: &[(&str, &str)] = &[
    ("crates/app/cli/src/command/pair.rs", "run"),
    ("crates/app/cli/src/command/aci_to_oci.rs", "run"),
    ("crates/app/cli/src/commands/aci_to_oci.rs", "run"),
    ("crates/app/cli/src/commands/pairs.rs", "run"),
    ("crates/app/cli/src/commands/pair.rs", "run"),
    ("crates/app/cli/src/commands/convert.rs", "run"),
    ("crates/app/cli/src/commands.rs", "convert"),
];

/// Where the way ends: the function that opens the file of a blob of a layout.
const END: &[(&str, &str)] = &[
    ("crates/core/fs/src/stage.rs", "writer"),
    ("crates/core/stream/src/stage.rs", "writer"),
];

/// The crates through which the way leads; the others read and write other kinds of images.
const SCOPE: &[&str] = &[
    "crates/app/",
    "crates/core/",
    "crates/formats/aci/",
    "crates/formats/oci/",
    "crates/transports/file/",
    "crates/transports/oci-layout/",
];

/// How many of the longest functions and files are printed.
const LONGEST: usize = 10;
/// The rules of the numbers, which are printed before the tables.
const RULES: &str = "\
- The way of `aci-to-oci`: the files with a function on a way of calls from the command to the
  function that opens a blob's file. Calls are found by names, so there are more of them than one
  run makes.
- Circles: files of one crate each of which refers to all others, by paths or by calls of inherent
  methods, directly or through others. A call counts if the receiver's type is written nearby, or if
  the file names the type and the method's name is none of the standard collections'.
- Lines: without blank lines. Tests: `tests/`, `benches/` and items under `#[cfg(test)]`.
- Functions: without tests. Parameters include `self`.
- Public items: items, re-exports and inherent methods with plain `pub`.
- Comparisons: `==`, `!=`, patterns and `[..].contains` with the text of a scheme or format, outside
  formats, transports, `core/http` and files of a catalog.
";
/// The number of parameters above which a function is listed.
const PARAMETERS: usize = 6;

/// Measures the repository and prints the tables.
///
/// # Errors
/// A file that can't be read or parsed.
pub(super) fn run() -> Result {
    let root = root();
    let workspace = source::parse(&root, &metadata()?)?;
    let files = files(&root)?;
    let rust: Vec<&File> = files.iter().filter(|f| f.path.ends_with(".rs")).collect();
    let graph = Graph::new(&workspace);
    let parts = [
        way(&workspace, &graph),
        circles(&workspace, &graph),
        lines(&workspace, &rust),
        longest(&workspace, &rust),
        parameters(&workspace),
        comparisons(&workspace),
        words(&rust),
    ];
    print!("{RULES}\n{}", parts.join("\n"));
    Ok(())
}

/// Returns a finding for each circle of files inside a crate.
///
/// # Errors
/// A file that can't be read or parsed.
pub(super) fn check(root: &Path, metadata: &Value) -> Result<Vec<String>> {
    let workspace = source::parse(root, metadata)?;
    let circles = Graph::new(&workspace).circles(true);
    Ok(circles.iter().map(finding).collect())
}

/// Describes a circle with the references that make it.
fn finding(circle: &Circle<'_>) -> String {
    let mut text = format!(
        "{}: these files refer to each other in a circle:",
        krate(circle.files[0])
    );
    for (from, targets) in &circle.references {
        for (to, names) in targets {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let short = |file| str::split_once(file, "/src/").map_or(file, |(_, inside)| inside);
            let _ = write!(
                text,
                "\n  {} uses {} of {}",
                short(from),
                names.join(", "),
                short(to)
            );
        }
    }
    text.push_str("\n  move what both sides use into a file that uses neither");
    text
}

fn way(workspace: &Workspace, graph: &Graph<'_>) -> String {
    let find = |places: &[(&str, &str)]| {
        places.iter().find_map(|(file, name)| {
            let functions = &workspace.functions;
            functions
                .iter()
                .position(|f| f.file == *file && f.name == *name)
        })
    };
    let mut text = "## The way of `aci-to-oci`\n\n".to_owned();
    let (Some(start), Some(end)) = (find(START), find(END)) else {
        text.push_str("The start or the end is not where `START` and `END` of this task say.\n");
        return text;
    };
    let in_scope = |file: &str| SCOPE.iter().any(|folder| file.starts_with(folder));
    let way = graph.way(start, end, &in_scope);
    let functions = &workspace.functions;
    let mut by_file: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for function in way.between.iter().map(|index| &functions[*index]) {
        let names = by_file.entry(&function.file).or_default();
        names.insert(&function.name);
    }
    let reached = way.reached.iter().map(|index| &functions[*index].file);
    let reached: BTreeSet<_> = reached.collect();
    let crates: BTreeSet<_> = by_file.keys().map(|file| krate(file)).collect();
    let show = |index: usize| format!("`{}` in {}", functions[index].name, functions[index].file);
    let _ = writeln!(
        text,
        "Functions on a way of calls from {} to {}: {} in {} files of {} crates; the shortest way \
         has {} calls. Calls lead from the start to {} functions in {} files.\n",
        show(start),
        show(end),
        way.between.len(),
        by_file.len(),
        crates.len(),
        way.shortest
            .map_or("no".to_owned(), |steps| steps.to_string()),
        way.reached.len(),
        reached.len(),
    );
    text.push_str("| file | functions |\n| --- | --- |\n");
    for (file, names) in by_file {
        let names: Vec<_> = names.into_iter().collect();
        let _ = writeln!(text, "| {file} | {} |", names.join(", "));
    }
    text
}

fn circles(workspace: &Workspace, graph: &Graph<'_>) -> String {
    let circles = graph.circles(true);
    let mut text = format!(
        "## Circles of files: {} by paths and methods, {} by paths alone\n\n",
        circles.len(),
        graph.circles(false).len()
    );
    text.push_str("| crate | files | names |\n| --- | --- | --- |\n");
    for krate in &workspace.crates {
        let inside = format!("{}/src/", place(&krate.folder));
        let here = (circles.iter()).filter(|circle| circle.files[0].starts_with(&inside));
        for circle in here {
            let names: Vec<_> = (circle.files.iter())
                .map(|file| &file[inside.len()..])
                .collect();
            let (folder, files) = (&krate.folder, names.len());
            let _ = writeln!(text, "| {folder} | {files} | {} |", names.join(", "));
        }
    }
    text
}

/// Counts the lines of one file: code, comments, tests.
fn count(file: &File, tests: Option<&BTreeSet<usize>>) -> [usize; 3] {
    let test_file = file.path.contains("/tests/") || file.path.contains("/benches/");
    let mut found = [0; 3];
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim_start();
        let kind = match line {
            "" => continue,
            _ if test_file || tests.is_some_and(|tests| tests.contains(&(index + 1))) => 2,
            _ if line.starts_with("//") => 1,
            _ => 0,
        };
        found[kind] += 1;
    }
    found
}

fn lines(workspace: &Workspace, rust: &[&File]) -> String {
    let mut text = "## Lines and public items\n\n\
        | crate | files | code | comments | tests | public items |\n\
        | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let mut all = [0; 5];
    for krate in &workspace.crates {
        let folder = format!("{}/", place(&krate.folder));
        let mut row = [0; 5];
        row[4] = krate.public;
        for file in rust.iter().filter(|file| file.path.starts_with(&folder)) {
            let [code, comments, tests] = count(file, krate.tests.get(&file.path));
            let add = [1, code, comments, tests, 0];
            row.iter_mut().zip(add).for_each(|(sum, n)| *sum += n);
        }
        all.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
        let _ = writeln!(text, "| {} | {} |", krate.folder, cells(row));
    }
    let _ = writeln!(text, "| all | {} |", cells(all));
    text
}

fn cells(numbers: [usize; 5]) -> String {
    numbers.map(|number| number.to_string()).join(" | ")
}

fn longest(workspace: &Workspace, rust: &[&File]) -> String {
    let mut functions: Vec<_> = workspace.functions.iter().collect();
    functions.sort_by_key(|f| (std::cmp::Reverse(f.lines), &f.file, f.line));
    let mut text =
        "## The longest functions\n\n| lines | function | file |\n| --- | --- | --- |\n".to_owned();
    for function in functions.iter().take(LONGEST) {
        let (lines, name, file) = (function.lines, &function.name, &function.file);
        let _ = writeln!(text, "| {lines} | `{name}` | {file} |");
    }
    let sources = rust.iter().filter(|file| file.path.contains("/src/"));
    let mut sources: Vec<_> = sources
        .map(|file| (file.text.lines().count(), &file.path))
        .collect();
    sources.sort_by_key(|(lines, path)| (std::cmp::Reverse(*lines), *path));
    text.push_str("\n## The longest files\n\n| lines | file |\n| --- | --- |\n");
    for (lines, path) in sources.iter().take(LONGEST) {
        let _ = writeln!(text, "| {lines} | {path} |");
    }
    text
}

fn parameters(workspace: &Workspace) -> String {
    let many = (workspace.functions.iter()).filter(|f| f.parameters > PARAMETERS);
    let many: Vec<_> = many.collect();
    let mut text = format!(
        "## Functions with more than {PARAMETERS} parameters: {}\n\n\
         | parameters | function | file |\n| --- | --- | --- |\n",
        many.len()
    );
    for function in many {
        let (n, name, file) = (function.parameters, &function.name, &function.file);
        let _ = writeln!(text, "| {n} | `{name}` | {file} |");
    }
    text
}

fn comparisons(workspace: &Workspace) -> String {
    let free = [
        "crates/formats/",
        "crates/transports/",
        // The schemes of URLs.
        "crates/core/http/",
        "crates/dev/",
        "xtask/",
    ];
    let found = workspace.comparisons.iter().filter(|(file, _, text)| {
        let free = free.iter().any(|folder| file.starts_with(folder));
        !free && !file.contains("/catalog") && workspace.ids.contains(text)
    });
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, line, text) in found {
        let place = format!("{line} `{text}`");
        by_file.entry(file).or_default().push(place);
    }
    let all: usize = by_file.values().map(Vec::len).sum();
    let mut text = format!(
        "## Comparisons of schemes and formats as texts: {all}\n\n\
         | file | number | line and text |\n| --- | --- | --- |\n"
    );
    for (file, places) in by_file {
        let _ = writeln!(
            text,
            "| {file} | {} | {} |",
            places.len(),
            places.join(", ")
        );
    }
    text
}

/// Texts that should have one home: the number of lines outside tests that have them, and the
/// number of files.
fn words(rust: &[&File]) -> String {
    let mut text = "## Texts that should have one home\n\n| text | lines | files |\n\
        | --- | --- | --- |\n"
        .to_owned();
    for word in [
        "..env.clone()",
        "\"application/vnd.oci.image.index.v1+json\"",
    ] {
        let has = |file: &&&File| file.path.contains("/src/") && !file.path.starts_with("xtask/");
        let count = |file: &&File| {
            let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
            code.lines().filter(|line| line.contains(word)).count()
        };
        let counts: Vec<usize> = rust.iter().filter(has).map(count).collect();
        let files = counts.iter().filter(|lines| **lines > 0).count();
        let _ = writeln!(
            text,
            "| `{word}` | {} | {files} |",
            counts.iter().sum::<usize>()
        );
    }
    text
}

/// Returns the crate of a file.
fn krate(file: &str) -> &str {
    file.split("/src/").next().unwrap_or_default()
}

/// Returns where a crate stands.
fn place(folder: &str) -> String {
    match folder {
        "xtask" => folder.to_owned(),
        _ => format!("crates/{folder}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_kind() {
        let file = |path: &str| File {
            path: path.into(),
            text: "//! Why.\n\nfn a() {}\n#[cfg(test)]\nmod tests {}\n".into(),
        };
        let tests = BTreeSet::from([4, 5]);
        assert_eq!(
            count(&file("crates/core/x/src/lib.rs"), Some(&tests)),
            [1, 1, 2]
        );
        assert_eq!(count(&file("crates/core/x/tests/a.rs"), None), [0, 0, 4]);
    }

    /// Parses a workspace of one crate, whose files are given by path and text.
    fn workspace(files: &[(&str, &str)]) -> Workspace {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join("crates/core/x/src").join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let target = folder.path().join("crates/core/x/src/lib.rs");
        let metadata = serde_json::json!({ "packages": [ {
            "source": null,
            "targets": [ { "kind": ["lib"], "name": "x", "src_path": target } ],
        } ] });
        source::parse(folder.path(), &metadata).expect("parsed")
    }

    #[test]
    fn a_circle_through_a_path_an_import_and_a_method_is_found() {
        let found = workspace(&[
            ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            (
                "a.rs",
                "pub struct A; impl A { pub fn go(&self) { crate::b::start(self) } }",
            ),
            ("b.rs", "use crate::A; pub fn start(a: &A) { a.more(); }"),
            (
                "c.rs",
                "use crate::A; impl A { pub fn more(&self) { self.go() } }",
            ),
        ]);
        let file = |name: &str| format!("crates/core/x/src/{name}.rs");
        let graph = Graph::new(&found);
        let circles = |methods| -> Vec<_> {
            let circles = graph.circles(methods).into_iter();
            circles.map(|circle| circle.files).collect()
        };
        assert_eq!(circles(false), [[file("a"), file("b")]]);
        assert_eq!(circles(true), [[file("a"), file("b"), file("c")]]);
        let text = finding(&graph.circles(true)[0]);
        assert!(text.starts_with("crates/core/x: "), "{text}");
        assert!(text.contains("\n  a.rs uses start of b.rs"), "{text}");
        assert!(text.contains("\n  b.rs uses more of c.rs"), "{text}");
    }

    #[test]
    fn a_method_of_another_type_with_the_same_name_is_no_reference() {
        let found = workspace(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            (
                "a.rs",
                "use crate::b::B; pub struct A { pub inner: B, pub list: Vec<B> }
                 impl A { pub fn go(&mut self, b: &B) {
                     self.inner.start(); b.start(); self.list.remove(0);
                 } }",
            ),
            (
                "b.rs",
                "pub struct B; impl B { pub fn start(&self) {} pub fn remove(&self) {} }",
            ),
            (
                "c.rs",
                "use crate::a::A; impl A { pub fn start(&self) {} pub fn remove(&self) {} }",
            ),
        ]);
        assert!(Graph::new(&found).circles(true).is_empty());
    }

    #[test]
    fn tests_variables_and_re_exports_are_no_references() {
        let found = workspace(&[
            ("lib.rs", "mod a; mod b; pub use b::run; pub struct L;"),
            (
                "a.rs",
                "#[cfg(test)] mod tests { use crate::b; } pub fn a(run: u8) -> u8 { run }",
            ),
            ("b.rs", "use crate::L; pub fn run(_: L) { crate::a::a(1); }"),
        ]);
        assert!(Graph::new(&found).circles(true).is_empty());
        assert_eq!(found.crates[0].public, 4);
    }

    #[test]
    fn the_repository_can_be_measured() {
        let workspace = source::parse(&root(), &metadata().expect("metadata")).expect("parsed");
        let graph = Graph::new(&workspace);
        let text = way(&workspace, &graph);
        assert!(text.contains("the shortest way has"), "{text}");
        assert!(!text.contains("has no calls"), "{text}");
        assert!(workspace.ids.contains("oci"));
    }
}
