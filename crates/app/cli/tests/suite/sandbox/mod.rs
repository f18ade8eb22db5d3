//! A folder in which the command runs, and the images that it is given there.

pub(crate) mod json;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use imgconv_testkit::{Head, ImageRecipe, build, recipe, snapshot};

/// An empty folder in which the command runs.
pub(crate) struct Sandbox {
    pub(crate) folder: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgconv"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("SOURCE_DATE_EPOCH")
            .env("CONTAINERS_REGISTRIES_CONF", "/dev/null");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.output(&mut self.command(args), args)
    }

    /// Runs a prepared command with those arguments, and validates its JSON.
    pub(crate) fn output(&self, command: &mut Command, args: &[&str]) -> Output {
        let output = command.output().unwrap();
        json::check(args, self.folder.path(), &output);
        output
    }

    /// Runs the command, asserts success, and returns the output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{args:?} failed: {stdout}{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the command and asserts an exit code and texts on standard error; nothing else may have
    /// changed.
    pub(crate) fn fails(&self, args: &[&str], exit: i32, texts: &[&str]) {
        let before = state(self.folder.path());
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {stderr}");
        for text in texts {
            assert!(
                stderr.contains(text),
                "{args:?}: {text:?} is not in: {stderr}"
            );
        }
        assert!(!stderr.contains("panicked at"), "{args:?}: {stderr}");
        assert_eq!(state(self.folder.path()), before, "{args:?} left something");
    }

    /// Writes an ACI with the manifest of `fields` (JSON members after the name) and a rootfs.
    pub(crate) fn aci(&self, file: &str, name: &str, fields: &str, rootfs: &str) {
        let manifest =
            format!(r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}"{fields}}}"#);
        let image = ImageRecipe {
            manifest: Some(manifest),
            layers: vec![recipe::parse(rootfs, file).unwrap()],
            ..ImageRecipe::default()
        };
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, build::aci_bytes(&image).unwrap()).unwrap();
    }

    /// Writes a layout with one image of several layers.
    pub(crate) fn layout(&self, folder: &str, name: &str, layers: &[&str]) {
        let head = Head {
            name: name.into(),
            version: "1.0".into(),
            os: "linux".into(),
            arch: "amd64".into(),
            ..Head::default()
        };
        let layers = layers
            .iter()
            .map(|text| recipe::parse(text, folder).unwrap())
            .collect();
        let image = ImageRecipe {
            head,
            layers,
            manifest: None,
        };
        build::layout(&[image], &self.path(folder)).unwrap();
    }
}

/// Every file below a folder with its contents; times are not compared.
pub(crate) fn state(folder: &Path) -> Vec<String> {
    let untimed = |line: String| -> String {
        line.split(' ')
            .filter(|word| !word.starts_with('@'))
            .collect::<Vec<_>>()
            .join(" ")
    };
    snapshot(folder).unwrap().into_iter().map(untimed).collect()
}

pub(crate) const LABELS: &str = r#","labels":[{"name":"version","value":"1.0"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}]"#;

pub(crate) fn labels(version: &str, arch: &str) -> String {
    LABELS.replace("1.0", version).replace("amd64", arch)
}

/// Returns the columns of a printed line.
pub(crate) fn columns(line: &str) -> Vec<&str> {
    line.split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect()
}
