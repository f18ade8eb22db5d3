//! The honesty law of formats whose images are single streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgconv_model::{Blob, Env, Facts, Image, Layer, Port, Report, StreamFormat};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::honesty::{CASES, Case, Texts, cases};
use super::memory::env;
use super::transport::read;
use crate::build;

/// A format of streams under the honesty law.
#[derive(Clone, Copy, Debug)]
pub struct Streamed {
    /// The format.
    pub format: &'static dyn StreamFormat,
    /// The extensions of test images: format, path and JSON text, valid and invalid ones.
    pub extensions: Texts,
}

/// The fields of an image, and what a loss in each of them is called.
const FIELDS: [(&str, &[&str]); 14] = [
    ("name", &["name", "tag"]),
    ("platform", &["platform"]),
    ("created", &["created"]),
    ("author", &["author"]),
    ("exec", &["config.Entrypoint", "config.Cmd"]),
    ("user", &["config.User"]),
    ("env", &["config.Env"]),
    ("working_dir", &["config.WorkingDir"]),
    ("ports", &["config.ExposedPorts"]),
    ("volumes", &["config.Volumes"]),
    ("labels", &["config.Labels"]),
    ("stop_signal", &["config.StopSignal"]),
    ("history", &["history"]),
    ("annotations", &["annotations"]),
];

fn blob(bytes: Vec<u8>) -> Blob {
    Blob {
        facts: Facts::default(),
        bytes: Arc::new(Arc::<[u8]>::from(bytes)),
    }
}

/// The field of an image that a loss is about; `extensions` for all others.
fn field(loss: &str) -> &'static str {
    let is_about = |name: &&&str| {
        let rest = loss.strip_prefix(**name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let field = FIELDS
        .iter()
        .find(|(_, names)| names.iter().any(|name| is_about(&name)));
    field.map_or("extensions", |(field, _)| field)
}

impl Streamed {
    /// Tests many images of one layer at most. An image that the format refuses is no loss.
    ///
    /// # Panics
    /// If a loss of an image was not reported, or a loss was reported falsely.
    pub fn is_honest(&self) {
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        };
        let result = TestRunner::new(config).run(&cases(self.extensions), |case| self.check(&case));
        if let Err(failure) = result {
            panic!("{failure}");
        }
    }

    fn check(&self, case: &Case) -> Result<(), TestCaseError> {
        let tar = build::layer("dir etc\nfile etc/a \"aaa\"");
        let before = Image {
            layers: vec![Layer {
                blob: blob(tar.clone()),
                diff_id: None,
                kind: None,
                urls: Vec::new(),
                annotations: Default::default(),
            }],
            history: match case.image.layers.len() {
                1 => case.image.history.clone(),
                _ => Vec::new(),
            },
            ..case.image.clone()
        };
        let env = env();
        let Some((bytes, report)) = self.write(&before, &env)? else {
            return Ok(());
        };
        let after = self.format.decode(&blob(bytes.clone()), "test", &env);
        let after = after
            .map_err(|error| TestCaseError::fail(error.to_string()))?
            .image;
        let listed: BTreeSet<&str> = report
            .losses
            .iter()
            .map(|loss| field(&loss.field))
            .collect();
        prop_assert_eq!(&listed, &differences(&before, &after), "{:?}", report);
        let layer =
            read(&after.layers[0].blob).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let lines = |tar: &[u8]| crate::dump::tar_lines(&mut &*tar, "layer");
        let found = lines(&layer).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let wanted = lines(&tar).map_err(|error| TestCaseError::fail(error.to_string()))?;
        // The root directory may be added, which an ACI always has.
        let (root, rest) = found.split_at(found.len().saturating_sub(wanted.len()));
        prop_assert!(
            root.len() <= 1 && rest == wanted,
            "another layer: {:?}",
            found
        );
        // An image that was written is copied without a change.
        let again = self.write(&after, &env)?;
        let (again, report) = again.ok_or_else(|| TestCaseError::fail("the copy is refused"))?;
        prop_assert!(again == bytes, "the copy has other bytes");
        prop_assert!(report.is_clean(), "{:?}", report);
        Ok(())
    }

    /// Writes an image; `None` if the format refuses it.
    fn write(&self, image: &Image, env: &Env) -> Result<Option<(Vec<u8>, Report)>, TestCaseError> {
        let mut report = Report::default();
        let Ok(stream) = self.format.encode(image, None, env, &mut report) else {
            return Ok(None);
        };
        let blob = Blob {
            facts: Facts::default(),
            bytes: stream,
        };
        let bytes = read(&blob).map_err(|error| TestCaseError::fail(error.to_string()))?;
        Ok(Some((bytes, report)))
    }
}

/// Names every field that differs. Ports are the numbers that they stand for, and volumes are a set.
fn differences(a: &Image, b: &Image) -> BTreeSet<&'static str> {
    let ports = |items: &[Port]| -> BTreeSet<(u16, String)> {
        let all = items.iter().flat_map(|port| {
            let numbers = port.number..=port.number.saturating_add(port.count - 1);
            numbers.map(|number| (number, port.protocol.clone()))
        });
        all.collect()
    };
    let paths = |items: &[String]| items.iter().cloned().collect::<BTreeSet<_>>();
    let (run, other) = (&a.config, &b.config);
    let lost = |key| a.extensions.get(key) != b.extensions.get(key);
    let rows = [
        ("name", a.name != b.name),
        ("platform", a.platform != b.platform),
        ("created", a.created != b.created),
        ("author", a.author != b.author),
        ("exec", run.exec != other.exec),
        ("user", run.user != other.user),
        ("env", run.env != other.env),
        ("working_dir", run.working_dir != other.working_dir),
        ("ports", ports(&run.ports) != ports(&other.ports)),
        ("volumes", paths(&run.volumes) != paths(&other.volumes)),
        ("labels", run.labels != other.labels),
        ("stop_signal", run.stop_signal != other.stop_signal),
        ("history", a.history != b.history),
        ("annotations", a.annotations != b.annotations),
        ("extensions", a.extensions.keys().any(lost)),
    ];
    let fields = rows.into_iter().filter(|(_, differs)| *differs);
    fields.map(|(field, _)| field).collect()
}
