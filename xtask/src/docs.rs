//! `cargo xtask docs`: writes the generated parts of documents, or compares them.
//!
//! The README's table of conversions comes from `imgconv formats --json` and from the results of the
//! matrix test, the table of `docs/places.md` from the first too; `docs/cli.md` is the output of
//! `imgconv help reference`, the schemas in `docs/schema` come from the types of the program, and the
//! tables of `docs/json.md` from the schemas; `docs/terminal.svg` shows a real run. The figures of
//! `docs/assurance.md` are counted, or come from recorded runs. `--check` writes nothing and fails
//! if a document is stale.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::process::{Profile, Result, call, cargo, program, root};
use crate::{assurance, members, picture};

/// The outcomes that `crates/app/cli/tests/suite/matrix.rs` expects.
const MATRIX: &str = "testdata/matrix.txt";

/// Writes or compares the generated documents.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let check = arguments.contains(&"--check");
    let program = program(arguments, Profile::Dev)?;
    let root = root();
    let formats = call(Command::new(&program).args(["formats", "--json"]))?;
    let formats = serde_json::from_str(&formats).map_err(|e| format!("formats --json: {e}"))?;
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}"))
    };
    let conversions = conversions(&formats, &read(MATRIX)?)?;
    let with = |name: &str, part: &str, table: &str| {
        let new = replaced(&read(name)?, part, table);
        new.map(|text| (root.join(name), text))
            .map_err(|error| format!("{name}: {error}"))
    };
    if !check {
        // A test of the program compares the schemas with the types, so a check is made already.
        schemas()?;
    }
    let members = members::of(&root.join("docs/schema"))?;
    let documents = [
        with("README.md", "formats", &conversions)?,
        with("docs/places.md", "places", &places(&formats)?)?,
        with("docs/json.md", "members", &members)?,
        with("docs/assurance.md", "figures", &assurance::tables()?)?,
        (root.join("docs/cli.md"), manual(&program)?),
        (
            root.join("docs/terminal.svg"),
            picture::of(&program, &root)?,
        ),
    ];
    let mut stale = Vec::new();
    for (path, wanted) in documents {
        if fs::read_to_string(&path).is_ok_and(|found| found == wanted) {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
        } else {
            imgconv_testkit::write_file(&path, wanted.as_bytes()).map_err(|e| e.to_string())?;
            println!("written: {}", path.display());
        }
    }
    match stale.as_slice() {
        [] => Ok(()),
        stale => Err(format!(
            "stale, run `cargo xtask docs`: {}",
            stale.join(", ")
        )),
    }
}

/// Writes the schemas, by a test of the program: only its tests know the schemas of the types.
fn schemas() -> Result {
    cargo(&[
        "test",
        "--quiet",
        "--locked",
        "--workspace",
        "--bin=imgconv",
        "--",
        "--ignored",
        "--exact",
        "schemas::write",
    ])
}

/// Puts `table` between the markers of a part.
fn replaced(text: &str, part: &str, table: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- {part}:begin -->"),
        format!("<!-- {part}:end -->"),
    );
    let missing = || format!("the markers {begin} and {end} are missing");
    let (head, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{head}{begin}\n\n{table}\n{end}{tail}"))
}

/// A list of `imgconv formats --json`.
fn list<'a>(formats: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    let list = formats[key].as_array().filter(|list| !list.is_empty());
    list.ok_or_else(|| format!("`imgconv formats --json` lists no {key}"))
}

/// A text of an entry, for a cell of a table.
fn text(value: &Value, key: &str) -> Result<String> {
    let text = value[key].as_str().map(|text| text.replace('|', "\\|"));
    text.ok_or_else(|| lacks(key, value))
}

/// The table of conversions with the outcomes of the matrix test.
fn conversions(formats: &Value, matrix: &str) -> Result<String> {
    let outcomes = outcomes(matrix)?;
    let mut ids = Vec::new();
    for format in list(formats, "formats")? {
        ids.push((text(format, "id")?, text(format, "about")?));
    }
    let mut out = String::from("| from \\ to |");
    for (target, _) in &ids {
        out += &format!(" {target} |");
    }
    out += &format!("\n| --- |{}\n", " --- |".repeat(ids.len()));
    for (source, about) in &ids {
        out += &format!("| **{source}**: {about} |");
        for (target, _) in &ids {
            let outcome = outcomes.get(&(source.as_str(), target.as_str()));
            let outcome = outcome.ok_or_else(|| format!("{MATRIX}: no {source} {target}"))?;
            out += &format!(" {} |", verdict(outcome));
        }
        out.push('\n');
    }
    out += &format!(
        "\nOne image with a value for every field goes through every cell in a test. In part: the \
         target can't hold\nall of them, and the report names those that [{MATRIX}]({MATRIX}) lists.\n"
    );
    Ok(out)
}

/// The table of places.
fn places(formats: &Value) -> Result<String> {
    let mut out =
        String::from("| place | spelled | what is written there |\n| --- | --- | --- |\n");
    for transport in list(formats, "transports")? {
        let writes = transport["writes"].as_array();
        let writes = writes.ok_or_else(|| lacks("writes", transport))?;
        let writes: Vec<&str> = writes.iter().filter_map(Value::as_str).collect();
        out += &format!(
            "| {} | `{}` | {} |\n",
            text(transport, "about")?,
            text(transport, "syntax")?,
            writes.join(", "),
        );
    }
    Ok(out)
}

fn lacks(key: &str, value: &Value) -> String {
    format!("`imgconv formats --json` has an entry without `{key}`: {value}")
}

/// The lines `FROM TO OUTCOME` of the matrix.
fn outcomes(matrix: &str) -> Result<BTreeMap<(&str, &str), &str>> {
    let lines = matrix.lines().filter(|line| !line.starts_with('#'));
    let cell = |line| {
        let mut words = str::splitn(line, 3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some(from), Some(to), Some(outcome)) => Ok(((from, to), outcome)),
            _ => Err(format!("{MATRIX}: `{line}` is not `FROM TO OUTCOME`")),
        }
    };
    lines.map(cell).collect()
}

/// An outcome in one word. A synthesised field is not a loss, because the source did not have the
/// field.
fn verdict(outcome: &str) -> &'static str {
    let lost = |part: &str| part.starts_with("dropped ") || part.starts_with("approximated ");
    if outcome.starts_with("refused ") {
        "no"
    } else if outcome.split(", ").any(lost) {
        "in part"
    } else {
        "yes"
    }
}

/// The reference of the command line, which the program makes itself.
fn manual(program: &Path) -> Result<String> {
    let mut command = Command::new(program);
    call(command.args(["help", "reference"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_stands_between_the_markers() {
        let text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n";
        let new = replaced(text, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- x:begin -->\n\nnew\n\n<!-- x:end -->\nb\n");
        assert_eq!(replaced(&new, "x", "new\n").unwrap(), new);
        assert!(replaced("no markers", "x", "new").is_err());
    }

    const CELLS: &str = "# about\naci aci whole\naci oci synthesised history, dropped app\n\
                         oci aci refused usage\noci oci synthesised name\n";

    #[test]
    fn the_table_has_what_the_matrix_saw() {
        let formats = json!({
            "formats": [ { "id": "aci", "about": "A" }, { "id": "oci", "about": "O" } ],
            "transports": [
                { "syntax": "oci:PATH[:REF]", "about": "a layout", "writes": ["oci", "x"] },
            ],
        });
        let text = conversions(&formats, CELLS).unwrap();
        let wanted = "| from \\ to | aci | oci |\n| --- | --- | --- |\n\
                      | **aci**: A | yes | in part |\n| **oci**: O | no | yes |\n";
        assert!(text.starts_with(wanted), "{text}");
        let text = places(&formats).unwrap();
        assert!(
            text.contains("| a layout | `oci:PATH[:REF]` | oci, x |"),
            "{text}"
        );
        for bad in [
            json!({ "formats": [], "transports": [] }),
            json!({ "formats": [ { "id": "aci" } ], "transports": [ { "syntax": "x", "about": "x", "writes": "oci" } ] }),
        ] {
            assert!(conversions(&bad, CELLS).is_err(), "{bad}");
            assert!(places(&bad).is_err(), "{bad}");
        }
        for (bad, part) in [("aci aci whole", "no aci oci"), ("aci aci", "`aci aci`")] {
            let error = conversions(&formats, bad).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
