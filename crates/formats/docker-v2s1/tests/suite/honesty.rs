//! The honesty law: what comes back differs from what went in exactly where the report says so.

use std::collections::BTreeSet;

use imgconv_model::{Exec, FormatId, History, Image, Name, Platform, Port, RunConfig};
use proptest::prelude::*;

use crate::{
    build::{EMPTY, blob, manifest, v1},
    bundle::{encode, image, kept, text},
    encode::layer,
};

const OWN: FormatId = FormatId("docker-v2s1");

fn texts(max: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z/=<\u{e9}\"\\\\\u{0}]{0,6}", 0..max)
}

fn optional() -> impl Strategy<Value = Option<String>> {
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
    let port = (1..60_000u16, 1..4u16, "tcp|udp|TCP").prop_map(|(number, count, protocol)| Port {
        number,
        count,
        protocol,
    });
    let labels = prop::collection::btree_map("[a-z.\"]{0,4}", "[a-z<]{0,4}", 0..3);
    (
        (prop::option::of(exec), optional(), texts(4)),
        (prop::collection::vec(port, 0..3), texts(3), labels),
    )
        .prop_map(|((exec, user, env), (ports, volumes, labels))| RunConfig {
            exec: exec.filter(|exec| *exec != Exec::default()),
            user,
            env,
            working_dir: None,
            ports,
            volumes,
            labels,
            stop_signal: None,
        })
}

fn extensions() -> impl Strategy<Value = imgconv_model::Extensions> {
    let entry = prop_oneof![
        Just(("docker-v2s1", "config.Healthcheck", "[1]")),
        Just(("docker-v2s1", "config.Healthcheck", "{")),
        Just(("docker-v2s1", "config.Cmd", "[]")),
        Just(("docker-v2s1", "Size", "1")),
        Just(("docker-v2s1", "size", "1")),
        Just(("docker-v2s1", "throwaway", "true")),
        Just(("docker-v2s1", "id", "\"x\"")),
        Just(("docker-v2s1", "comment", "\"x\"")),
        Just(("docker-v2s1", "rootfs", "{}")),
        Just(("docker-v2s1", "rootfs.x", "{}")),
        Just(("docker-v2s1", "container_config", "{\"Cmd\":[\"a\",\"b\"]}")),
        Just(("docker-v2s1", "container_config", "{\"Cmd\":[\"a\"]}")),
        Just(("docker-v2s1", "container_config", "[]")),
        Just((
            "docker-v2s1",
            "v1Compatibility",
            "[{\"container_config\":{\"Memory\":1},\"id\":\"x\"}]"
        )),
        Just((
            "docker-v2s1",
            "v1Compatibility",
            "[{\"os\":\"z\",\"Size\":2}]"
        )),
        Just((
            "docker-v2s1",
            "v1Compatibility",
            "[{\"container_config\":5}]"
        )),
        Just(("docker-v2s1", "v1Compatibility", "5")),
        Just(("docker-v2s1", "os.version", "\"1\"")),
        Just(("docker-v2s1", "unknown", "null")),
        Just(("docker-v2s1", "more", "{\"a\":[1]}")),
        Just(("aci", "app.isolators", "[]")),
    ];
    prop::collection::vec(entry, 0..5).prop_map(|entries| {
        let entry =
            |(format, path, raw): (_, &str, &str)| ((FormatId(format), path.into()), raw.into());
        entries.into_iter().map(entry).collect()
    })
}

fn images() -> impl Strategy<Value = (Image, bool)> {
    let step = (date(), optional(), optional(), optional(), any::<bool>()).prop_map(
        |(created, created_by, comment, author, empty_layer)| History {
            created,
            created_by,
            author,
            comment,
            empty_layer,
        },
    );
    (
        ("(linux)?", "(arm)?", prop::option::of("v[67]")),
        (date(), optional(), run_config()),
        (0..3usize, prop::collection::vec(step, 0..4)),
        prop::collection::btree_map("[a-z.]{1,4}", "[a-z<]{0,4}", 0..3),
        extensions(),
        any::<bool>(),
    )
        .prop_map(
            |(
                platform,
                (created, author, config),
                (layers, history),
                annotations,
                ext,
                original,
            )| {
                let digits = ['1', '2', 'e'];
                let layers: Vec<_> = (0..layers).map(|i| layer(&blob(digits[i]))).collect();
                let named = history.iter().filter(|step| !step.empty_layer).count();
                let image = Image {
                    name: Some(Name::parse_reference("a/b:t").unwrap()),
                    platform: Platform {
                        os: platform.0,
                        architecture: platform.1,
                        variant: platform.2,
                    },
                    created,
                    author,
                    config,
                    history: if named == layers.len() {
                        history
                    } else {
                        Vec::new()
                    },
                    layers,
                    annotations,
                    extensions: ext,
                    originals: Vec::new(),
                };
                (image, original)
            },
        )
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
    let annotations = a.annotations.keys().map(|key| format!("annotations.{key}"));
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
        if original {
            // An original that says other things than the image does.
            let other = image(manifest(&[
                (EMPTY.into(), v1('b', Some('a'), r#","os":"linux","docker_version":"1""#)),
                (blob('1'), v1('a', None, "")),
            ]));
            before.originals = other.originals;
        }
        let (root, documents, report) = encode(&before, &kept(&before));
        let after = image(text(&root));
        let listed: BTreeSet<String> = report.losses.iter().map(|loss| loss.field.clone()).collect();
        prop_assert_eq!(&listed, &differences(&before, &after), "{:?} {}", &report, text(&root));
        // Nothing appears from nowhere, but for the ids and the command of the last step.
        let made = ["id", "parent", "container_config"];
        for (format, path) in after.extensions.keys() {
            let known = before.extensions.contains_key(&(*format, path.clone()));
            prop_assert!(known || made.contains(&&**path), "{:?}", path);
        }
        prop_assert!(before.extensions.keys().all(|key| key.0 == OWN || listed.contains(&key.1)));
        let ids = |image: &Image| image.layers.iter().map(|l| l.blob.facts.digest).collect::<Vec<_>>();
        prop_assert_eq!(ids(&before), ids(&after));
        prop_assert_eq!(&before.name, &after.name);
        let empty = after.history.iter().any(|step| step.empty_layer);
        prop_assert_eq!(documents.len(), usize::from(empty));
        // What was written is copied without a change.
        let (again, _, report) = encode(&after, &kept(&after));
        prop_assert_eq!(text(&again), text(&root));
        prop_assert!(report.is_clean(), "{:?}", report);
    }
}
