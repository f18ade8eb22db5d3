//! `cargo xtask docs`: the parts of documents that the program itself knows, written or compared.
//!
//! The README's table of conversions comes from `imgconv formats --json`; `docs/cli.md` is every
//! help text. `--check` writes nothing and fails if they are stale.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::process::{Profile, Result, build_program, call, root};

const BEGIN: &str = "<!-- formats:begin -->";
const END: &str = "<!-- formats:end -->";

/// Writes or compares the generated documents.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let check = match arguments {
        [] => false,
        ["--check"] => true,
        _ => return Err("usage: cargo xtask docs [--check]".into()),
    };
    let program = build_program(Profile::Dev)?;
    let root = root();
    let formats = call(Command::new(&program).args(["formats", "--json"]))?;
    let formats = serde_json::from_str(&formats).map_err(|e| format!("formats --json: {e}"))?;
    let readme = root.join("README.md");
    let text = fs::read_to_string(&readme).map_err(|e| format!("README.md: {e}"))?;
    let documents = [
        (readme, replaced(&text, &table(&formats)?)?),
        (root.join("docs/cli.md"), manual(&program)?),
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

/// Puts `table` between the markers.
fn replaced(text: &str, table: &str) -> Result<String> {
    let missing = || format!("README.md: the markers {BEGIN} and {END} are missing");
    let (head, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{head}{BEGIN}\n\n{table}\n{END}{tail}"))
}

/// What converts to what: every format to every other, by way of the model; then where images are.
fn table(formats: &Value) -> Result<String> {
    let list = |key: &str| {
        let list = formats[key].as_array().filter(|list| !list.is_empty());
        list.ok_or_else(|| format!("`imgconv formats --json` lists no {key}"))
    };
    let text = |value: &Value, key: &str| {
        let text = value[key].as_str().map(|text| text.replace('|', "\\|"));
        text.ok_or_else(|| {
            format!("`imgconv formats --json` has an entry without `{key}`: {value}")
        })
    };
    let formats = list("formats")?;
    let mut out = String::from("| from \\ to |");
    for target in formats {
        out += &format!(" {} |", text(target, "id")?);
    }
    out += &format!("\n| --- |{}\n", " --- |".repeat(formats.len()));
    for source in formats {
        out += &format!(
            "| **{}**: {} |",
            text(source, "id")?,
            text(source, "about")?
        );
        out += &" yes |".repeat(formats.len());
        out.push('\n');
    }
    out += "\n| place | spelled | what is written there |\n| --- | --- | --- |\n";
    for transport in list("transports")? {
        out += &format!(
            "| {} | `{}` | {} |\n",
            text(transport, "about")?,
            text(transport, "syntax")?,
            text(transport, "writes")?,
        );
    }
    Ok(out)
}

/// Every help text, in the order in which the program lists its commands.
fn manual(program: &Path) -> Result<String> {
    let help = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--help")
            .env_remove("TMPDIR")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100");
        call(&mut command)
    };
    let main = help(&[])?;
    let mut out = String::from(
        "# The command line\n\nWritten by `cargo xtask docs` from the program's own help.\n",
    );
    let mut section = |title: &str, text: &str| {
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        out += &format!(
            "\n## {title}\n\n```text\n{}\n```\n",
            lines.join("\n").trim_end()
        );
    };
    section("imgconv", &main);
    for name in commands(&main) {
        section(&format!("imgconv {name}"), &help(&[&name])?);
    }
    Ok(out)
}

/// The names of the commands in a help text.
fn commands(help: &str) -> Vec<String> {
    let list = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1);
    list.take_while(|line| line.trim().is_empty() || line.starts_with(' '))
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_stands_between_the_markers() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replaced(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replaced(&new, "new\n").unwrap(), new);
        assert!(replaced("no markers", "new").is_err());
    }

    #[test]
    fn every_format_converts_to_every_format() {
        let formats = json!({
            "formats": [ { "id": "aci", "about": "A" }, { "id": "oci", "about": "O" } ],
            "transports": [ { "syntax": "oci:PATH[:REF]", "about": "a layout", "writes": "oci" } ],
        });
        let text = table(&formats).unwrap();
        let wanted =
            "| from \\ to | aci | oci |\n| --- | --- | --- |\n| **aci**: A | yes | yes |\n";
        assert!(text.starts_with(wanted), "{text}");
        assert!(
            text.contains("| a layout | `oci:PATH[:REF]` | oci |"),
            "{text}"
        );
        for bad in [
            json!({ "formats": [], "transports": [] }),
            json!({ "formats": [ { "id": "aci" } ], "transports": [] }),
        ] {
            assert!(table(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn commands_are_found_in_the_help() {
        let help = "Usage: x\n\nCommands:\n  convert  Converts\n             more\n  ls       Lists\n  help     Helps\n\nOptions:\n  -h\n";
        assert_eq!(commands(help), ["convert", "ls"]);
    }
}
