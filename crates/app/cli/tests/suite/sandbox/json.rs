//! The JSON of every run of the tests is validated by `docs/schema`: standard output with `--json`,
//! errors and events on standard error, and the file of `--report`.

use std::{fs, path::Path, process::Output};

use imgconv_testkit::schema::Schema;

/// The commands whose document has the schema `result`.
const WRITERS: &[&str] = &[
    "aci-to-docker",
    "aci-to-oci",
    "convert",
    "copy",
    "docker-to-aci",
    "docker-to-oci",
    "oci-to-aci",
    "oci-to-docker",
    "publish",
    "recompress",
    "squash",
];

/// The other commands, each with the schema of its document.
const OTHERS: &[(&str, &str)] = &[
    ("diff", "diff"),
    ("formats", "formats"),
    ("inspect", "inspect"),
    ("layout gc", "layout-gc"),
    ("layout rm", "layout-rm"),
    ("layout tag", "layout-tag"),
    ("list", "ls"),
    ("ls", "ls"),
    ("migrate", "migration"),
    ("migrate merge-reports", "merge-reports"),
    ("serve", "serve"),
    ("tags export", "tags-export"),
    ("tags list", "tags-list"),
    ("tags resolve", "tags-resolve"),
    ("tags validate", "tags-validate"),
    ("unpack", "unpack"),
    ("verify", "verify"),
];

/// Commands and options whose output is no document of the program.
const FOREIGN: &[&str] = &[
    "--raw",
    "--help",
    "-h",
    "help",
    "man",
    "completions",
    "fetch",
];

/// Returns the schema of the document that a command prints.
fn schema(args: &[&str]) -> Option<&'static str> {
    let known = |word: &&str| {
        WRITERS.contains(word)
            || OTHERS
                .iter()
                .any(|(name, _)| name.split(' ').next() == Some(word))
    };
    let at = args.iter().position(known).unwrap_or(args.len());
    let mut words = args[at..].iter();
    let (first, second) = (words.next()?, words.next().unwrap_or(&""));
    if WRITERS.contains(first) {
        return Some("result");
    }
    let both = format!("{first} {second}");
    let found = OTHERS.iter().find(|(name, _)| *name == both);
    let found = found.or_else(|| OTHERS.iter().find(|(name, _)| name == first));
    found.map(|(_, schema)| *schema)
}

/// Validates all JSON that a run of the program printed and wrote.
pub(crate) fn check(args: &[&str], folder: &Path, output: &Output) {
    if let Err(error) = checked(args, folder, output) {
        panic!("{args:?}: {error}");
    }
}

fn checked(args: &[&str], folder: &Path, output: &Output) -> imgconv_testkit::Result<()> {
    let has = |words: &[&str]| args.windows(words.len()).any(|at| at == words);
    let json = has(&["--json"]);
    let own = !FOREIGN.iter().any(|word| args.contains(word));
    if json
        && own
        && let Some(schema) = schema(args)
    {
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.is_empty() {
            Schema::load(schema)?.check(&text)?;
        }
    }
    if json || has(&["--progress", "json"]) {
        let text = String::from_utf8_lossy(&output.stderr);
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let schema = match line.starts_with("{\"version\":1,\"time\"") {
                true => "progress",
                false => "error",
            };
            Schema::load(schema)?.check(line)?;
        }
    }
    let file = args.windows(2).find(|pair| pair[0] == "--report");
    if let (Some(pair), Some(schema)) = (file, schema(args))
        && folder.join(pair[1]).is_file()
        && let Ok(text) = fs::read_to_string(folder.join(pair[1]))
        && text.starts_with('{')
    {
        Schema::load(schema)?.check(&text)?;
    }
    Ok(())
}

#[test]
fn the_schema_of_a_command_is_found() {
    for (args, expected) in [
        (&["ls", "x", "--json"][..], Some("ls")),
        (
            &["--json", "--jobs", "2", "tags", "list", "x"],
            Some("tags-list"),
        ),
        (&["migrate", "a", "b"], Some("migration")),
        (&["migrate", "merge-reports", "b"], Some("merge-reports")),
        (&["copy", "ls", "b"], Some("result")),
        (&["man", "x"], None),
    ] {
        assert_eq!(schema(args), expected, "{args:?}");
    }
}
