//! The honesty law: what comes back differs from what went in exactly where the report says so.

use std::collections::BTreeSet;

use imgconv_model::{
    Blob, Digest, Exec, Facts, FormatId, History, Image, Layer, Platform, Port, RunConfig,
};
use proptest::prelude::*;

use crate::{
    bundle::{Memory, Sealed, encode, env, image, kept, text},
    fixtures::{ID_A, dockerish},
};

const OCI: FormatId = FormatId("oci");

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
        Just(("oci", "config.Healthcheck", "[1]")),
        Just(("oci", "config.Healthcheck", "{")),
        Just(("oci", "config.Cmd", "[]")),
        Just(("oci", "config.\"a.b\"", "\"\"")),
        Just(("oci", "config.ExposedPorts.0", "{}")),
        Just(("oci", "os.version", "\"1\"")),
        Just(("oci", "rootfs.x", "1.0")),
        Just(("oci", "unknown", "null")),
        Just(("oci", "manifest.vendor", "[]")),
        Just(("oci", "manifest.layers.0.platform", "{}")),
        Just(("oci", "manifest.layers.9.x", "{}")),
        Just(("oci", "manifest.Config", "{}")),
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
        .filter(|(key, raw)| b.extensions.get(*key) != Some(raw))
        .map(|((_, path), _)| path.clone());
    fields.chain(annotations).chain(extensions).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_report_lists_exactly_what_differs((mut before, original) in images()) {
        let mut memory = Memory::default();
        for i in 0..3 {
            memory.put(&bytes(i));
        }
        let mut known = BTreeSet::new();
        if original {
            // An image with originals that say other things than it does.
            let manifest = dockerish(&mut memory);
            let (other, _) = image(&memory, &manifest);
            known.extend(other.extensions.keys().cloned());
            before.originals = other.originals;
        }
        let (config, root, report) = encode(&before, &kept(&before), &env());
        memory.put(&config.bytes);
        let (after, _) = image(&memory, text(&root));
        let listed: BTreeSet<String> = report.losses.iter().map(|loss| loss.field.clone()).collect();
        prop_assert_eq!(&listed, &differences(&before, &after), "{:?} {}", &report, text(&config));
        // Nothing appears from nowhere.
        for key in after.extensions.keys() {
            prop_assert!(before.extensions.contains_key(key) || known.contains(key), "{:?}", key);
        }
        prop_assert!(before.extensions.keys().all(|key| key.0 == OCI || listed.contains(&key.1)));
        let ids = |image: &Image| image.layers.iter().map(|l| (l.blob.facts.clone(), l.diff_id)).collect::<Vec<_>>();
        prop_assert_eq!(ids(&before), ids(&after));
        // What was written is copied without a change.
        let (again, copy, report) = encode(&after, &kept(&after), &env());
        prop_assert_eq!((text(&again), text(&copy)), (text(&config), text(&root)));
        prop_assert!(report.is_clean(), "{:?}", report);
    }
}
