//! The honesty law: what comes back differs from what went in exactly where the report says so.

use std::collections::BTreeSet;

use imgconv_model::{
    Blob, Digest, Exec, Facts, FormatId, History, Image, Layer, Platform, Port, RunConfig,
};
use proptest::prelude::*;

use crate::bundle::{ID_A, Memory, Sealed, encode, image, kept, pushed, text};

const OWN: &[FormatId] = imgconv_manifest::CONFIG_FORMATS;

fn texts(max: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z/=<\u{e9}\"\\\\\u{0}]{0,6}", 0..max)
}

fn optional() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[a-z:<]{1,6}")
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
        (prop::option::of(exec), optional(), texts(4), optional()),
        (
            prop::collection::vec(port, 0..3),
            texts(3),
            labels,
            optional(),
        ),
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

fn extensions() -> impl Strategy<Value = imgconv_model::Extensions> {
    let entry = prop_oneof![
        Just(("docker-v2s2", "config.Healthcheck", "[1]")),
        Just(("oci", "config.Healthcheck", "[2]")),
        Just(("docker-archive", "config.Healthcheck", "{")),
        Just(("oci", "config.StopTimeout", "1.0")),
        Just(("docker-v2s1", "config.Cmd", "[]")),
        Just(("oci", "config.\"a.b\"", "\"\"")),
        Just(("docker-v2s2", "os.version", "\"1\"")),
        Just(("oci", "unknown", "null")),
        Just(("oci", "manifest.vendor", "[]")),
        Just(("docker-v2s2", "manifest.vendor", "[]")),
        Just(("docker-v2s2", "manifest.layers.0.platform", "{}")),
        Just(("docker-v2s2", "manifest.layers.9.x", "{}")),
        Just(("docker-v2s2", "manifest.Config", "{}")),
        Just(("aci", "app.isolators", "[]")),
        Just(("other", "x.y", "1")),
    ];
    prop::collection::vec(entry, 0..5).prop_map(|entries| {
        let entry =
            |(format, path, raw): (_, &str, &str)| ((FormatId(format), path.into()), raw.into());
        entries.into_iter().map(entry).collect()
    })
}

fn images() -> impl Strategy<Value = (Image, bool)> {
    let platform = ("(linux)?", "(arm)?", prop::option::of("v[67]")).prop_map(
        |(os, architecture, variant)| Platform {
            os,
            architecture,
            variant,
        },
    );
    let step = (date(), optional(), optional(), any::<bool>()).prop_map(
        |(created, created_by, comment, empty_layer)| History {
            created,
            created_by,
            comment,
            empty_layer,
            author: None,
        },
    );
    (
        (platform, date(), optional(), run_config()),
        (0..3usize, prop::collection::vec(step, 0..4)),
        prop::collection::btree_map("[a-z.]{1,4}|imgconv.aci.manifest", "[a-z<]{0,4}", 0..3),
        extensions(),
        any::<bool>(),
    )
        .prop_map(
            |(
                (platform, created, author, config),
                (layers, history),
                annotations,
                extensions,
                original,
            )| {
                let layers: Vec<Layer> = (0..layers).map(layer).collect();
                let named = history.iter().filter(|step| !step.empty_layer).count();
                let history = if named == layers.len() {
                    history
                } else {
                    Vec::new()
                };
                let image = Image {
                    name: None,
                    platform,
                    created,
                    author,
                    config,
                    layers,
                    history,
                    annotations,
                    extensions,
                    originals: Vec::new(),
                };
                (image, original)
            },
        )
}

fn bytes(i: usize) -> Vec<u8> {
    format!("layer {}", ["a", "b", "c"][i]).into_bytes()
}

fn layer(i: usize) -> Layer {
    let digest = imgconv_stream::digest(imgconv_model::Algorithm::Sha256, &bytes(i));
    Layer {
        blob: Blob {
            facts: Facts {
                digest: Some(digest),
                size: Some(7),
            },
            bytes: std::sync::Arc::new(Sealed),
        },
        diff_id: Some(Digest::parse(ID_A).unwrap()),
        kind: None,
        urls: Vec::new(),
        annotations: Default::default(),
    }
}

/// Names every field that differs, in the words of the report. Ports and volumes are sets.
fn differences(a: &Image, b: &Image) -> BTreeSet<String> {
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
    let fields = rows
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(field, _)| field.to_owned());
    let annotations = a
        .annotations
        .keys()
        .chain(b.annotations.keys())
        .filter(|key| a.annotations.get(*key) != b.annotations.get(*key))
        .map(|key| format!("annotations.{key}"));
    let extensions = a
        .extensions
        .iter()
        .filter(|(key, raw)| {
            // A field of the config is the same field, whichever format it comes from.
            let same = |other: &(FormatId, String)| {
                let shared = OWN.contains(&key.0) && !key.1.starts_with("manifest.");
                other.1 == key.1 && (other.0 == key.0 || shared)
            };
            !b.extensions
                .iter()
                .any(|(other, text)| same(other) && text == *raw)
        })
        .map(|((_, path), _)| path.clone());
    fields.chain(annotations).chain(extensions).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_report_lists_exactly_what_differs((mut before, original) in images(), annotated in any::<bool>()) {
        let mut memory = Memory::default();
        for i in 0..3 {
            memory.put(&bytes(i));
        }
        let mut known = BTreeSet::new();
        if original {
            // An image with originals that say other things than it does.
            let manifest = pushed(&mut memory)
                .replacen('{', "{\"annotations\":{\"a\":\"\",\"own\":\"1\"},", 1);
            let (other, _) = image(&memory, &manifest);
            known.extend(other.extensions.keys().map(|key| key.1.clone()));
            before.originals = other.originals;
            if annotated {
                before.annotations.extend(other.annotations);
            }
        }
        let (config, root, report) = encode(&before, &kept(&before));
        memory.put(&config.bytes);
        let (after, _) = image(&memory, text(&root));
        let listed: BTreeSet<String> = report.losses.iter().map(|loss| loss.field.clone()).collect();
        prop_assert_eq!(&listed, &differences(&before, &after), "{:?} {}", &report, text(&config));
        // Nothing appears from nowhere.
        for key in after.extensions.keys() {
            let given = before.extensions.keys().any(|other| other.1 == key.1);
            prop_assert!(given || known.contains(&key.1), "{:?}", key);
        }
        prop_assert!(before.extensions.keys().all(|key| OWN.contains(&key.0) || listed.contains(&key.1)));
        let ids = |image: &Image| image.layers.iter().map(|l| (l.blob.facts.clone(), l.diff_id)).collect::<Vec<_>>();
        prop_assert_eq!(ids(&before), ids(&after));
        // What was written is copied without a change.
        let (again, copy, report) = encode(&after, &kept(&after));
        prop_assert_eq!((text(&again), text(&copy)), (text(&config), text(&root)));
        prop_assert!(report.is_clean(), "{:?}", report);
    }
}
