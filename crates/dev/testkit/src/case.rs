//! One case of the corpus: inputs, a command line, and the results as text.
//!
//! A case runs in an empty folder. Recipes are built in `in/`, given files are copied there, and
//! the command writes to `out`; so paths in messages are the same on every machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::{Failure, ImageRecipe, Result, build, dump, schema::Schema, sha256_hex, write_file};

/// `case.toml`. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The purpose of the case, in a sentence.
    pub about: String,
    /// The place in a specification that demands this.
    #[serde(default)]
    pub spec: String,
    /// Recipes of `testdata/images` that are built as `in/NAME.aci`.
    #[serde(default)]
    pub aci: Vec<String>,
    /// Recipes of `testdata/images` that become images of the layout `in/layout`.
    #[serde(default)]
    pub oci: Vec<String>,
    /// Command lines that run first, and must exit with 0.
    #[serde(default)]
    pub before: Vec<Vec<String>>,
    /// The command line, without the program.
    pub command: Vec<String>,
    /// The exit code.
    #[serde(default)]
    pub exit: i32,
    /// The losses, each `OUTCOME FIELD`, sorted.
    #[serde(default)]
    pub losses: Vec<String>,
    /// The codes of the warnings, sorted, each once.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The reason why the case does not run yet.
    #[serde(default)]
    pub skip: String,
}

/// A case and its folder.
#[derive(Clone, Debug)]
pub struct Case {
    /// `GROUP/CASE`.
    pub id: String,
    /// The path of the folder.
    pub folder: PathBuf,
    /// The parsed `case.toml`.
    pub spec: Spec,
}

/// The results of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actual {
    /// The exit code; -1 after a signal.
    pub exit: i32,
    /// File name under `expect/` -> its text. Empty texts are left out.
    pub golden: BTreeMap<String, String>,
    /// The losses of the report, each `OUTCOME FIELD`, sorted.
    pub losses: Vec<String>,
    /// The codes of the warnings of the report, sorted, each once.
    pub warnings: Vec<String>,
    /// A digest over all names and bytes in `out`; `None` if there is no `out`.
    pub digest: Option<String>,
}

impl Case {
    /// Reads the case in a folder `testdata/corpus/GROUP/CASE`.
    pub fn load(folder: &Path) -> Result<Self> {
        let file = folder.join("case.toml");
        let spec = toml::from_str(&crate::read_text(&file)?)
            .map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let group = folder.parent().map(name).unwrap_or_default();
        Ok(Self {
            id: format!("{group}/{}", name(folder)),
            folder: folder.to_owned(),
            spec,
        })
    }

    /// Runs the case once with that many jobs.
    pub fn run(&self, testdata: &Path, program: &Path, jobs: u32) -> Result<Actual> {
        let place = tempfile::tempdir().map_err(|e| Failure::new(e.to_string()))?;
        let root = place.path();
        self.stage(testdata, root)?;
        for line in &self.spec.before {
            let (exit, _, stderr) = self.call(program, line, root, jobs)?;
            if exit != 0 {
                let line = line.join(" ");
                return Err(Failure::new(format!(
                    "`{line}` ended with {exit}: {stderr}"
                )));
            }
        }
        let _ = fs::remove_file(root.join("report.json"));
        let (exit, stdout, stderr) = self.call(program, &self.spec.command, root, jobs)?;
        let mut golden = BTreeMap::new();
        let mut keep = |name: &str, text: String| {
            if !text.is_empty() {
                golden.insert(name.to_owned(), text);
            }
        };
        keep("stdout.txt", stdout);
        keep("stderr.txt", stderr);
        let report = root.join("report.json");
        let (mut losses, mut warnings) = (Vec::new(), Vec::new());
        if report.is_file() {
            let text = crate::read_text(&report)?;
            let value: Value = serde_json::from_str(&text)
                .map_err(|e| Failure::new(format!("the report is not JSON: {e}")))?;
            if !value["version"].is_null() {
                let is_migration = !value["plan"].is_null();
                let schema = if is_migration { "migration" } else { "result" };
                Schema::load(schema)?.check(&text)?;
            }
            let mut lines = Vec::new();
            collect(&value, &mut losses, &mut warnings, &mut lines);
            lines.sort();
            keep(
                "report.txt",
                lines.iter().map(|line| format!("{line}\n")).collect(),
            );
            losses.sort();
            warnings.sort();
            warnings.dedup();
        }
        let out = root.join("out");
        let mut digest = None;
        if out.exists() {
            digest = Some(digest_of(&out)?);
            keep("output.tree", dump::output(&out)?);
        }
        Ok(Actual {
            exit,
            golden,
            losses,
            warnings,
            digest,
        })
    }

    /// Builds the inputs into `root/in`.
    fn stage(&self, testdata: &Path, root: &Path) -> Result<()> {
        let inputs = root.join("in");
        fs::create_dir(&inputs).map_err(|e| Failure::io(&inputs, &e))?;
        let recipe = |name: &String| ImageRecipe::load(&testdata.join("images").join(name));
        for name in &self.spec.aci {
            write_file(
                &inputs.join(format!("{name}.aci")),
                &build::aci_bytes(&recipe(name)?)?,
            )?;
        }
        if !self.spec.oci.is_empty() {
            let images = self
                .spec
                .oci
                .iter()
                .map(recipe)
                .collect::<Result<Vec<_>>>()?;
            build::layout(&images, &inputs.join("layout"))?;
        }
        let given = self.folder.join("input");
        if given.is_dir() {
            for path in files(&given)? {
                let bytes = fs::read(given.join(&path)).map_err(|e| Failure::io(&path, &e))?;
                write_file(&inputs.join(&path), &bytes)?;
            }
        }
        Ok(())
    }

    /// Runs one command line in `root` and returns its exit code and texts.
    fn call(
        &self,
        program: &Path,
        line: &[String],
        root: &Path,
        jobs: u32,
    ) -> Result<(i32, String, String)> {
        let mut command = Command::new(program);
        // Lines of progress would come in the order of the threads.
        command
            .args(line)
            .args(["--progress", "none"])
            .current_dir(root);
        let converts = line.first().is_some_and(|name| {
            matches!(name.as_str(), "convert" | "squash" | "recompress") || name.contains("-to-")
        });
        if converts {
            command.args(["--jobs", &jobs.to_string(), "--report", "report.json"]);
        }
        command
            .env_remove("SOURCE_DATE_EPOCH")
            .env("NO_COLOR", "1")
            .env("TMPDIR", root);
        let output = command.output().map_err(|e| Failure::io(program, &e))?;
        let root = root.to_string_lossy();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*root, "ROOT");
        Ok((
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        ))
    }
}

/// Finds the losses and warnings anywhere in a report.
fn collect(
    value: &Value,
    losses: &mut Vec<String>,
    warnings: &mut Vec<String>,
    lines: &mut Vec<String>,
) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(list) => open.extend(list),
            Value::Object(map) => {
                let text = |key: &str| value[key].as_str().unwrap_or_default();
                if map.contains_key("field") && map.contains_key("outcome") {
                    losses.push(format!("{} {}", text("outcome"), text("field")));
                    lines.push(format!(
                        "{} {}: {}",
                        text("outcome"),
                        text("field"),
                        text("why")
                    ));
                } else if map.contains_key("code") && map.contains_key("message") {
                    warnings.push(text("code").to_owned());
                    lines.push(format!(
                        "warning {} at {}: {}",
                        text("code"),
                        text("at"),
                        text("message")
                    ));
                }
                open.extend(map.values());
            }
            _ => {}
        }
    }
}

/// The files under a folder, relative, sorted.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut open, mut out) = (vec![PathBuf::new()], Vec::new());
    while let Some(path) = open.pop() {
        let full = folder.join(&path);
        let data = fs::symlink_metadata(&full).map_err(|e| Failure::io(&full, &e))?;
        if !data.is_dir() {
            out.push(path);
            continue;
        }
        for entry in fs::read_dir(&full).map_err(|e| Failure::io(&full, &e))? {
            let entry = entry.map_err(|e| Failure::io(&full, &e))?;
            open.push(path.join(entry.file_name()));
        }
    }
    out.sort();
    Ok(out)
}

/// One digest over the names and bytes of a file or a folder; a symbolic link counts with its
/// target, any other special file with nothing.
pub fn digest_of(path: &Path) -> Result<String> {
    let mut list = String::new();
    for name in files(path)? {
        let full = if name.as_os_str().is_empty() {
            path.to_owned()
        } else {
            path.join(&name)
        };
        let data = fs::symlink_metadata(&full).map_err(|e| Failure::io(&full, &e))?;
        let bytes = if data.is_symlink() {
            fs::read_link(&full)
                .map_err(|e| Failure::io(&full, &e))?
                .into_os_string()
                .into_encoded_bytes()
        } else if data.is_file() {
            fs::read(&full).map_err(|e| Failure::io(&full, &e))?
        } else {
            Vec::new()
        };
        list += &format!("{} {}\n", sha256_hex(&bytes), name.display());
    }
    Ok(format!("sha256:{}", sha256_hex(list.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_warnings_are_found_at_any_depth() {
        let value = serde_json::json!({ "images": [ {
            "losses": [ { "field": "app.isolators", "outcome": "dropped", "why": "w" } ],
            "warnings": [ { "code": "trailing-data", "at": "layer 1", "message": "m" } ],
        } ] });
        let (mut losses, mut warnings, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        collect(&value, &mut losses, &mut warnings, &mut lines);
        assert_eq!(losses, ["dropped app.isolators"]);
        assert_eq!(warnings, ["trailing-data"]);
        lines.sort();
        assert_eq!(
            lines,
            [
                "dropped app.isolators: w",
                "warning trailing-data at layer 1: m"
            ]
        );
    }

    #[test]
    fn the_digest_sees_names_and_bytes() {
        let root = tempfile::tempdir().unwrap();
        let digest = || digest_of(root.path()).unwrap();
        write_file(&root.path().join("a/b"), b"1").unwrap();
        let first = digest();
        write_file(&root.path().join("a/b"), b"2").unwrap();
        let second = digest();
        fs::rename(root.path().join("a/b"), root.path().join("a/c")).unwrap();
        let third = digest();
        assert!(first != second && second != third);
    }
}
