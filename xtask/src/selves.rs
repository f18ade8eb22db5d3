//! `cargo xtask selves`: keeps what the program of a release writes, so that the programs of later releases
//! are tested with it (`crates/app/cli/tests/suite/selves.rs`).
//!
//! Everything is small and made of recipes: the inputs, layouts with records of reversal, a migrated layout
//! with journals in several states, reports, a site with image tags, and a document of each kind of JSON. The
//! digests of the corpus are kept too. The files of a release are never made again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgconv_testkit::{ImageRecipe, build, docker};

use crate::process::{Profile, Result, call, program, raw, root};

/// The images of the source, recipes of `testdata/images`.
const IMAGES: [&str; 3] = ["minimal", "base", "whiteouts"];

/// The commands whose documents are kept: the name of the file, and the arguments.
const DOCUMENTS: [(&str, &[&str]); 9] = [
    ("ls", &["ls", "oci:source", "--json"]),
    ("inspect", &["inspect", "inputs/app.aci", "--json"]),
    ("verify", &["verify", "oci:source", "--json"]),
    (
        "diff",
        &["diff", "inputs/app.aci", "oci:reversible:app", "--json"],
    ),
    ("formats", &["formats", "--json"]),
    (
        "dry-run",
        &[
            "convert",
            "inputs/app.aci",
            "oci:never",
            "--dry-run",
            "--json",
        ],
    ),
    (
        "convert",
        &["convert", "inputs/app.aci", "oci:converted:app", "--json"],
    ),
    ("gc", &["layout", "gc", "source", "--dry-run", "--json"]),
    (
        "merged",
        &[
            "migrate",
            "merge-reports",
            "share-1.json",
            "share-2.json",
            "--json",
        ],
    ),
];

/// Makes the folder of the program's version, unless the folder exists.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let program = program(arguments, Profile::Release)?;
    let version = call(Command::new(&program).arg("--version"))?;
    let version = version.split_whitespace().nth(1).unwrap_or_default();
    let kept = root().join("testdata/selves").join(version);
    if version.is_empty() || kept.exists() {
        return Err(format!(
            "{} exists, and what a release wrote is never made again",
            kept.display()
        ));
    }
    let work = tempfile::tempdir().map_err(|e| e.to_string())?;
    let maker = Maker {
        program,
        folder: work.path().to_owned(),
    };
    maker.inputs()?;
    maker.outputs()?;
    let digests = root().join("testdata/digests.toml");
    fs::copy(digests, maker.at("digests.toml")).map_err(|e| e.to_string())?;
    for gone in ["converted", "never"] {
        let _ = fs::remove_dir_all(maker.at(gone));
    }
    copy(work.path(), &kept)?;
    println!("{}", kept.display());
    Ok(())
}

struct Maker {
    program: PathBuf,
    folder: PathBuf,
}

impl Maker {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result {
        let path = self.at(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        }
        fs::write(path, bytes).map_err(|e| format!("{name}: {e}"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder);
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        call(&mut self.command(arguments))
    }

    fn inputs(&self) -> Result {
        let load = |name: &str| ImageRecipe::load(&root().join("testdata/images").join(name));
        let made = || -> imgconv_testkit::Result<_> {
            let images = IMAGES.into_iter().map(load);
            let images = images.collect::<imgconv_testkit::Result<Vec<_>>>()?;
            build::layout(&images, &self.at("source"))?;
            Ok((
                build::aci_bytes(&images[0])?,
                docker::archive_v1(&images[1..2])?,
            ))
        };
        let (aci, archive) = made().map_err(|e| e.to_string())?;
        self.write("inputs/app.aci", aci)?;
        self.write("inputs/old.tar", archive)
    }

    fn outputs(&self) -> Result {
        self.run(&[
            "convert",
            "inputs/app.aci",
            "oci:reversible:app",
            "--reversible",
        ])?;
        let archive = [
            "convert",
            "inputs/old.tar",
            "oci:reversible-archive",
            "--reversible",
        ];
        self.run(&archive)?;
        let migrate = ["migrate", "oci:source"];
        let journal = ["--journal", "journal", "--report", "report.json"];
        self.run(&[&migrate[..], &["oci:migrated"], &journal].concat())?;
        for share in ["1", "2"] {
            let (part, report) = (format!("{share}/2"), format!("share-{share}.json"));
            let share = ["oci:never", "--shard", &part, "--report", &report];
            self.run(&[&migrate[..], &share].concat())?;
        }
        let lines =
            fs::read_to_string(self.at("journal/journal.jsonl")).map_err(|e| e.to_string())?;
        // The state of a run that was killed while it wrote its third line.
        let mut half: String = lines.split_inclusive('\n').take(2).collect();
        half += lines
            .lines()
            .nth(2)
            .and_then(|line| line.get(..40))
            .unwrap_or_default();
        self.write("journal-half/journal.jsonl", half)?;
        self.failed()?;
        let publish = [
            "publish",
            "oci:source",
            "site/",
            "--host",
            "example.com",
            "--image-tags",
        ];
        self.run(&publish)?;
        for (name, arguments) in DOCUMENTS {
            // Images that differ, and what can't be written, have other exit codes than 0.
            let output = raw(&mut self.command(arguments))?;
            self.write(&format!("json/{name}.json"), output.stdout)?;
        }
        Ok(())
    }

    /// The journal and the report of a migration of which an image fails.
    fn failed(&self) -> Result {
        copy(&self.at("source"), &self.at("damaged"))?;
        let blobs = fs::read_dir(self.at("damaged/blobs/sha256")).map_err(|e| e.to_string())?;
        let mut blobs: Vec<PathBuf> = blobs.flatten().map(|blob| blob.path()).collect();
        blobs.sort_by_key(|path| fs::metadata(path).map(|found| found.len()).unwrap_or(0));
        let largest = blobs.last().ok_or("the source has no blobs")?;
        fs::write(largest, "damaged").map_err(|e| e.to_string())?;
        let journal = ["--journal", "journal-failed", "--report", "failed.json"];
        let migrate = ["migrate", "oci:damaged", "oci:never-whole"];
        let output = raw(&mut self.command(&[&migrate[..], &journal].concat()))?;
        fs::remove_dir_all(self.at("never-whole")).map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Err("a damaged blob is no failure".into()),
            false => Ok(()),
        }
    }
}

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) -> Result {
    let failed = |e: std::io::Error| format!("{}: {e}", from.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        match entry.file_type().map_err(failed)?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop).map_err(failed)?,
        }
    }
    Ok(())
}
