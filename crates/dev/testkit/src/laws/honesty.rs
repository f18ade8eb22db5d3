//! The honesty law: an image that was written and read again differs from the first one exactly in
//! the reported fields.

use std::collections::BTreeSet;
use std::sync::Arc;

use imgconv_model::{
    Blob, Digest, Document, Exec, Extensions, Facts, FormatId, History, Image, Layer, Name,
    Platform, Port, Report, RunConfig,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::memory::{ID_A, Memory, Sealed, text};
use crate::sha256_hex;

/// The number of tested images.
pub(super) const CASES: u32 = 400;
/// The most layers of an image, less one.
const LAYERS: usize = 3;

/// An image as a format wrote it.
#[derive(Debug)]
pub struct Written {
    /// The documents to which the root refers.
    pub documents: Vec<Document>,
    /// The root.
    pub root: Document,
    /// The losses.
    pub report: Report,
}

/// A format of documents under the honesty law.
pub trait Honest {
    /// The extensions of test images: format, path and JSON text, valid and invalid ones.
    const EXTENSIONS: &'static [(&'static str, &'static str, &'static str)];
    /// The formats whose extensions may appear without a report.
    const OWN: &'static [FormatId];
    /// The extensions that the format makes itself.
    const MADE: &'static [&'static str] = &[];

    /// Says whether an extension equals one that was read under another format.
    fn is_same(a: &(FormatId, String), b: &(FormatId, String)) -> bool {
        a == b
    }

    /// Says whether a layer that was read equals the layer that was written.
    fn is_same_layer(a: &Layer, b: &Layer) -> bool {
        a.blob.facts == b.blob.facts && a.diff_id == b.diff_id
    }

    /// Says whether the format's other promises hold.
    fn holds_too(_before: &Image, _after: &Image, _written: &Written) -> bool {
        true
    }

    /// Writes an image whose layers are kept.
    fn write(image: &Image) -> Written;

    /// Reads an image.
    fn read(memory: &Memory, root: &Document) -> Image;

    /// Reads an image with other content than the test images.
    fn other(memory: &mut Memory) -> Image;

    /// Tests many images.
    ///
    /// # Panics
    /// If a loss of an image was not reported, or a loss was reported falsely.
    fn is_honest()
    where
        Self: Sized,
    {
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        };
        let result =
            TestRunner::new(config).run(&cases(Self::EXTENSIONS), |case| check::<Self>(&case));
        if let Err(failure) = result {
            panic!("{failure}");
        }
    }
}

/// An image, with two flags: it has originals with other content, and it has their annotations.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) image: Image,
    original: bool,
    annotated: bool,
}

fn check<F: Honest>(case: &Case) -> Result<(), TestCaseError> {
    let mut memory = Memory::default();
    for i in 0..LAYERS {
        memory.put(&bytes(i));
    }
    let mut before = case.image.clone();
    let mut known = BTreeSet::new();
    if case.original {
        let other = F::other(&mut memory);
        known.extend(other.extensions.into_keys());
        before.originals = other.originals;
        if case.annotated {
            before.annotations.extend(other.annotations);
        }
    }
    let written = F::write(&before);
    let shown = || {
        let documents = written.documents.iter().chain([&written.root]);
        let texts = documents.map(|document| String::from_utf8_lossy(&document.bytes));
        format!("{:?} {:?}", written.report, texts.collect::<Vec<_>>())
    };
    for document in &written.documents {
        memory.put(&document.bytes);
    }
    let after = F::read(&memory, &written.root);
    let losses = written.report.losses.iter();
    let listed: BTreeSet<String> = losses.map(|loss| loss.field.clone()).collect();
    prop_assert_eq!(&listed, &differences::<F>(&before, &after), "{}", shown());
    // No extension appears without a source.
    for key in after.extensions.keys() {
        let mut given = before.extensions.keys().chain(&known);
        let made = F::MADE.contains(&&*key.1);
        prop_assert!(
            made || given.any(|other| F::is_same(other, key)),
            "{:?}",
            key
        );
    }
    let own = |key: &(FormatId, String)| F::OWN.contains(&key.0) || listed.contains(&key.1);
    prop_assert!(before.extensions.keys().all(own), "{}", shown());
    prop_assert_eq!(before.layers.len(), after.layers.len());
    let mut layers = before.layers.iter().zip(&after.layers);
    prop_assert!(layers.all(|(a, b)| F::is_same_layer(a, b)), "{}", shown());
    prop_assert!(F::holds_too(&before, &after, &written), "{}", shown());
    // An image that was written is copied without a change.
    let again = F::write(&after);
    prop_assert_eq!(text(&again.root), text(&written.root));
    let bytes = |documents: &[Document]| -> Vec<_> {
        let all = documents.iter().map(|document| document.bytes.clone());
        all.collect()
    };
    prop_assert_eq!(bytes(&again.documents), bytes(&written.documents));
    prop_assert!(again.report.is_clean(), "{:?}", again.report);
    Ok(())
}

fn texts(max: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z/=<\u{e9}\"\\\\\u{0}]{0,6}", 0..max)
}

fn word() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[a-z:< ]{0,6}")
}

fn date() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        Just(Some("2020-02-29T01:02:03.5+01:00".to_owned())),
        Just(Some("no date".to_owned())),
        Just(Some("0001-01-01T00:00:00Z".to_owned())),
    ]
}

fn run_config() -> impl Strategy<Value = RunConfig> {
    let exec = (texts(3), texts(3)).prop_map(|(entrypoint, cmd)| Exec { entrypoint, cmd });
    let port =
        (1..60_000u16, 1..4u16, "tcp|udp|TCP|a b").prop_map(|(number, count, protocol)| Port {
            number,
            count,
            protocol,
        });
    let labels = prop::collection::btree_map("[a-z.\"]{0,4}", "[a-z<]{0,4}", 0..3);
    (
        (prop::option::of(exec), word(), texts(4), word()),
        (prop::collection::vec(port, 0..3), texts(3), labels, word()),
    )
        .prop_map(
            |((exec, user, env, working_dir), (ports, volumes, labels, stop_signal))| RunConfig {
                exec: exec.filter(|exec| *exec != Exec::default()),
                user,
                env,
                working_dir,
                ports,
                volumes,
                labels,
                stop_signal,
            },
        )
}

/// Extensions of test images: format, path and JSON text.
pub(super) type Texts = &'static [(&'static str, &'static str, &'static str)];

fn extensions(texts: Texts) -> impl Strategy<Value = Extensions> {
    let entry = prop::sample::select(texts);
    prop::collection::vec(entry, 0..5).prop_map(|entries| {
        let entry =
            |(format, path, raw): (_, &str, &str)| ((FormatId(format), path.into()), raw.into());
        entries.into_iter().map(entry).collect()
    })
}

pub(super) fn cases(texts: Texts) -> impl Strategy<Value = Case> {
    let platform = ("(linux)?", "(arm)?", prop::option::of("v[67]")).prop_map(
        |(os, architecture, variant)| Platform {
            os,
            architecture,
            variant,
        },
    );
    let step = (date(), word(), word(), word(), any::<bool>()).prop_map(
        |(created, created_by, comment, author, empty_layer)| History {
            created,
            created_by,
            comment,
            author,
            empty_layer,
        },
    );
    (
        (platform, date(), word(), run_config()),
        (0..LAYERS, prop::collection::vec(step, 0..4)),
        prop::collection::btree_map("[a-z.]{1,4}|imgconv.aci.manifest", "[a-z<]{0,4}", 0..3),
        extensions(texts),
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(facts, (layers, history), annotations, extensions, more)| {
                let (platform, created, author, config) = facts;
                let named = history.iter().filter(|step| !step.empty_layer).count();
                let image = Image {
                    name: Some(Name::parse_reference("a/b:t").unwrap()),
                    platform,
                    created,
                    author,
                    config,
                    layers: (0..layers).map(layer).collect(),
                    history: if named == layers { history } else { Vec::new() },
                    annotations,
                    extensions,
                    originals: Vec::new(),
                };
                let (original, annotated) = more;
                Case {
                    image,
                    original,
                    annotated,
                }
            },
        )
}

fn bytes(i: usize) -> Vec<u8> {
    format!("layer {}", ["a", "b", "c"][i]).into_bytes()
}

fn layer(i: usize) -> Layer {
    let digest = format!("sha256:{}", sha256_hex(&bytes(i)));
    Layer {
        blob: Blob {
            facts: Facts {
                digest: Some(Digest::parse(&digest).unwrap()),
                size: Some(bytes(i).len() as u64),
            },
            bytes: Arc::new(Sealed),
        },
        diff_id: Some(Digest::parse(ID_A).unwrap()),
        kind: None,
        urls: Vec::new(),
        annotations: Default::default(),
    }
}

/// Names every field that differs, with the names of the report. Ports and volumes are sets.
fn differences<F: Honest>(a: &Image, b: &Image) -> BTreeSet<String> {
    let set = |items: &[Port]| items.iter().cloned().collect::<BTreeSet<_>>();
    let paths = |items: &[String]| items.iter().cloned().collect::<BTreeSet<_>>();
    let (run, other) = (&a.config, &b.config);
    let rows = [
        ("platform", a.platform != b.platform),
        ("created", a.created != b.created),
        ("author", a.author != b.author),
        ("exec", run.exec != other.exec),
        ("user", run.user != other.user),
        ("env", run.env != other.env),
        ("working_dir", run.working_dir != other.working_dir),
        ("ports", set(&run.ports) != set(&other.ports)),
        ("volumes", paths(&run.volumes) != paths(&other.volumes)),
        ("labels", run.labels != other.labels),
        ("stop_signal", run.stop_signal != other.stop_signal),
        ("history", a.history != b.history),
    ];
    let fields = rows.into_iter().filter(|(_, differs)| *differs);
    let fields = fields.map(|(field, _)| field.to_owned());
    let keys = a.annotations.keys().chain(b.annotations.keys());
    let changed = keys.filter(|key| a.annotations.get(*key) != b.annotations.get(*key));
    let annotations = changed.map(|key| format!("annotations.{key}"));
    let extensions = a.extensions.iter().filter(|(key, raw)| {
        let mut back = b.extensions.iter();
        !back.any(|(other, text)| F::is_same(key, other) && text == *raw)
    });
    let extensions = extensions.map(|((_, path), _)| path.clone());
    fields.chain(annotations).chain(extensions).collect()
}
