//! Referrers that only the place itself finds: `migrate` carries them with their subjects.

use std::{collections::BTreeSet, fs};

use crate::sandbox::Sandbox;
use imgconv_testkit::{
    build,
    registry::{Registry, Stored, digest_of},
    server::Reply,
};
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The digests of a repository: an image with a chain of two referrers, and an index whose entry has
/// a referrer.
struct Repository {
    image: String,
    chain: [String; 2],
    index: String,
    below: String,
}

fn fill(stored: &mut Stored, repository: &str) -> Repository {
    let layer = |name: &str| build::layer(&format!("file own \"{name}\""));
    let image = stored.image(repository, "1", &layer("image"));
    let (_, entry) = stored.image_of(repository, &layer("entry"), None);
    let listed = stored.manifest(repository, &digest_of(&entry), MANIFEST, &entry);
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{
            "mediaType": MANIFEST, "digest": listed, "size": entry.len(),
            "platform": { "os": "linux", "architecture": "amd64" },
        }],
    });
    let index = stored.manifest(repository, "2", INDEX, index.to_string().as_bytes());
    let first = stored.referrer(repository, &image, "a note");
    let second = stored.referrer(repository, &first, "a note on the note");
    let below = stored.referrer(repository, &listed, "a note on the entry");
    Repository {
        image,
        chain: [first, second],
        index,
        below,
    }
}

fn registry(api: bool) -> Registry {
    let registry = Registry::start();
    registry.stored().referrers = api;
    registry
}

/// The digests in the `index.json` of a layout, in its order.
fn listed(sandbox: &Sandbox, layout: &str) -> Vec<String> {
    let bytes = fs::read(sandbox.path(layout).join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    let all = index["manifests"].as_array().unwrap().iter();
    all.map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect()
}

/// The digests in the `index.json` of a layout and in the indexes below.
fn reached(sandbox: &Sandbox, layout: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = listed(sandbox, layout);
    while let Some(digest) = open.pop() {
        let path = format!("{layout}/blobs/{}", digest.replace(':', "/"));
        let document: Value =
            serde_json::from_slice(&fs::read(sandbox.path(&path)).unwrap()).unwrap();
        let below = document["manifests"].as_array().into_iter().flatten();
        open.extend(below.map(|it| it["digest"].as_str().unwrap().to_owned()));
        found.insert(digest);
    }
    found
}

#[test]
fn a_layout_gets_every_referrer_of_a_registry() {
    for api in [true, false] {
        let registry = registry(api);
        let own = fill(&mut registry.stored(), "team/a");
        for (i, place) in ["team/a", ""].iter().enumerate() {
            let sandbox = Sandbox::new();
            let place = registry.locator(place);
            sandbox.ok(&["migrate", &place, "oci:all"]);
            sandbox.ok(&["verify", "all"]);
            let all = reached(&sandbox, "all");
            for digest in own.chain.iter().chain([&own.image, &own.index, &own.below]) {
                assert!(all.contains(digest), "API: {api}, place {i}: {digest}");
            }
            let list = listed(&sandbox, "all");
            let once: BTreeSet<&String> = list.iter().collect();
            assert_eq!(once.len(), list.len(), "API: {api}, place {i}");

            // A referrer is wanted as its subject is.
            let only = ["migrate", &place, "oci:one", "--only", "*team/a:1"];
            sandbox.ok(&only);
            let [first, second] = own.chain.clone();
            let expected = [own.image.clone(), first.clone(), second];
            assert_eq!(listed(&sandbox, "one"), expected, "API: {api}, place {i}");
            let without = format!("@{first}");
            sandbox.ok(&[
                "migrate",
                &place,
                "oci:two",
                "--only",
                "*team/a:1",
                "--exclude",
                &without,
            ]);
            assert!(!listed(&sandbox, "two").contains(&first));
        }
    }
}

#[test]
fn a_registry_gets_every_referrer_and_a_second_run_keeps_them() {
    for (from, to) in [(true, true), (true, false), (false, true), (false, false)] {
        let (source, target) = (registry(from), registry(to));
        let own = fill(&mut source.stored(), "team/a");
        let sandbox = Sandbox::new();
        let (source, destination) = (source.locator(""), target.locator("copy"));
        let args = ["migrate", &source, &destination, "--journal", "journal"];
        sandbox.ok(&args);
        let repository = "copy/team/a";
        let has = |name: &str| {
            let key = (repository.to_owned(), name.to_owned());
            target.stored().manifests.contains_key(&key)
        };
        for digest in own.chain.iter().chain([&own.image, &own.index, &own.below]) {
            assert!(has(digest), "{from} {to}: {digest}");
        }
        assert!(!has("latest"), "{from} {to}");
        let listed = |digest: &str| has(&digest.replace(':', "-"));
        assert_eq!(listed(&own.image), !to || !from, "{from} {to}");
        let before = target.server.requests().len();
        let said = sandbox.ok(&args);
        assert!(said.contains(" kept"), "{said}");
        let asked = target.server.requests().split_off(before);
        assert!(asked.iter().all(|it| it.method != "PUT"), "{from} {to}");
    }
}

#[test]
fn a_referrer_belongs_to_the_job_of_its_subject_in_every_share() {
    let registry = registry(true);
    let mut subjects = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let layer = build::layer(&format!("file own \"{name}\""));
        let image = registry.stored().image(name, "1", &layer);
        let note = registry.stored().referrer(name, &image, name);
        subjects.push((image, note));
    }
    let sandbox = Sandbox::new();
    let mut done = Vec::new();
    for share in ["1/3", "2/3", "3/3"] {
        let layout = format!("share{}", &share[..1]);
        let to = format!("oci:{layout}");
        sandbox.run(&["migrate", &registry.locator(""), &to, "--shard", share]);
        if sandbox.path(&layout).join("index.json").exists() {
            let list = listed(&sandbox, &layout);
            for (image, note) in &subjects {
                assert_eq!(list.contains(image), list.contains(note), "{share}");
            }
            done.extend(list);
        }
    }
    done.sort();
    let mut all: Vec<String> = subjects.into_iter().flat_map(|(a, b)| [a, b]).collect();
    all.sort();
    assert_eq!(done, all);
}

#[test]
fn one_image_in_two_repositories_has_the_referrers_of_each() {
    let source = registry(true);
    let layer = build::layer("file own \"same\"");
    let [image, _] = ["a", "b"].map(|name| source.stored().image(name, "1", &layer));
    let note = source.stored().referrer("b", &image, "in b");
    let (target, sandbox) = (registry(true), Sandbox::new());
    sandbox.ok(&["migrate", &source.locator(""), &target.locator("copy")]);
    let has = |name: &str| {
        let key = (format!("copy/{name}"), note.clone());
        target.stored().manifests.contains_key(&key)
    };
    assert_eq!(["a", "b"].map(has), [false, true]);
    sandbox.ok(&["migrate", &source.locator(""), "oci:one"]);
    let list = listed(&sandbox, "one");
    assert_eq!(list.iter().filter(|it| **it == note).count(), 1, "{list:?}");
}

/// The fields of all losses in a report.
fn losses(report: &Value) -> Vec<String> {
    let images = report["images"].as_array().unwrap().iter();
    let outcomes = images.flat_map(|image| match image["outcomes"].as_array() {
        Some(outcomes) => outcomes.clone(),
        None => vec![image.clone()],
    });
    let mut fields: Vec<String> = outcomes
        .flat_map(|outcome| outcome["losses"].as_array().cloned().unwrap_or_default())
        .map(|loss| loss["field"].as_str().unwrap().to_owned())
        .collect();
    fields.sort();
    fields
}

#[test]
fn a_destination_without_referrers_reports_them_as_convert_does() {
    let registry = registry(true);
    let own = fill(&mut registry.stored(), "a");
    for (scheme, file) in [("docker-archive", "x.tar"), ("aci", "x.aci")] {
        let sandbox = Sandbox::new();
        let image = registry.locator("a:1");
        let one = format!("{scheme}:{file}");
        let converted = sandbox.ok(&["convert", &image, &one, "--json"]);
        let converted: Value = serde_json::from_str(&converted).unwrap();
        let many = format!("{scheme}:many/");
        let place = registry.locator("a");
        let args = ["migrate", &place, &many, "--only", "*:1", "--json"];
        let migrated: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
        let lost = losses(&migrated);
        assert_eq!(lost, losses(&converted), "{scheme}");
        for digest in &own.chain {
            assert!(lost.iter().any(|field| field.contains(digest)), "{lost:?}");
        }
        let strict = [
            "migrate",
            &place,
            &format!("{scheme}:other/"),
            "--only",
            "*:1",
            "--strict",
        ];
        let output = sandbox.run(&strict);
        assert_eq!(output.status.code(), Some(3), "{scheme}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&own.chain[0]), "{said}");
    }
}

#[test]
fn referrers_of_an_image_that_is_not_wanted_are_left_out() {
    let source = registry(true);
    fill(&mut source.stored(), "a");
    let (target, sandbox) = (registry(true), Sandbox::new());
    let (from, to) = (source.locator("a"), target.locator("copy"));
    let args = ["migrate", &from, &to, "--platform", "linux/s390x"];
    for dry in [&["--dry-run"][..], &[]] {
        let said = sandbox.ok(&[&args[..], dry].concat());
        assert!(said.contains("2 left out"), "{said}");
    }
    assert!(target.stored().manifests.is_empty());
}

#[test]
fn a_referrer_that_is_gone_is_named_and_the_rest_arrives() {
    let registry = registry(true);
    let own = fill(&mut registry.stored(), "a");
    let gone = own.chain[1].clone();
    let registry = {
        let stored = registry.stored().clone();
        let path = format!("/v2/a/manifests/{gone}");
        let registry = Registry::start_with(None, move |request, _| {
            (request.path() == path).then(|| Reply::status(404))
        });
        *registry.stored() = stored;
        registry
    };
    let sandbox = Sandbox::new();
    let place = registry.locator("a");
    let args = ["migrate", &place, "oci:out", "--only", "*:1"];
    let output = sandbox.run(&args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&gone), "{said}");
    assert_eq!(listed(&sandbox, "out"), [own.image, own.chain[0].clone()]);
}

#[test]
fn referrers_that_go_round_end_and_too_many_are_an_error() {
    // Every document has the image as a referrer.
    let registry = Registry::start_with(None, |request, stored| {
        let key = ("a".to_owned(), "1".to_owned());
        let (_, image) = &stored.manifests[&key];
        request.path().contains("/referrers/").then(|| {
            let listed = json!({
                "mediaType": MANIFEST, "digest": digest_of(image), "size": image.len(),
            });
            let list = json!({ "schemaVersion": 2, "manifests": [listed] });
            Reply::ok(list.to_string()).header("content-type", INDEX)
        })
    });
    let layer = build::layer("file own \"a\"");
    registry.stored().image("a", "1", &layer);
    let sandbox = Sandbox::new();
    let place = registry.locator("a");
    sandbox.ok(&["migrate", &place, "oci:round"]);
    assert_eq!(listed(&sandbox, "round").len(), 1);

    // Every document has another referrer.
    let registry = Registry::start_with(None, |request, _| {
        let (_, subject) = request.path().split_once("/referrers/")?;
        let next = digest_of(subject.as_bytes());
        let listed = json!({ "mediaType": MANIFEST, "digest": next, "size": 10 });
        let list = json!({ "schemaVersion": 2, "manifests": [listed] });
        Some(Reply::ok(list.to_string()).header("content-type", INDEX))
    });
    registry.stored().image("a", "1", &layer);
    let place = registry.locator("a");
    for args in [
        ["migrate", &place, "oci:deep"],
        ["convert", &registry.locator("a:1"), "oci:deep"],
    ] {
        let output = sandbox.run(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("index_depth"), "{said}");
    }
    assert!(registry.server.requests().len() < 100);
}

#[test]
fn other_places_keep_referrers_without_a_name_with_their_subjects() {
    let registry = registry(true);
    let own = fill(&mut registry.stored(), "a");
    let sandbox = Sandbox::new();
    sandbox.ok(&["migrate", &registry.locator("a"), "oci:layout"]);
    // The referrers come before their subjects.
    let path = sandbox.path("layout/index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().reverse();
    fs::write(&path, index.to_string()).unwrap();
    imgconv_testkit::stores::registry_v2(&sandbox.path("layout"), &sandbox.path("store")).unwrap();
    for from in ["oci:layout", "registry-storage:store"] {
        for only in [&["--only", "*:1"][..], &[]] {
            let target = self::registry(true);
            let args = ["migrate", from, &target.locator("copy")];
            let output = sandbox.run(&[&args[..], only].concat());
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{from} {only:?}: {said}");
            let stored = target.stored();
            let all: BTreeSet<&String> = stored.manifests.keys().map(|(_, name)| name).collect();
            for digest in &own.chain {
                assert!(all.contains(digest), "{from} {only:?}: {digest}");
            }
            assert_eq!(all.contains(&own.below), only.is_empty(), "{from} {only:?}");
        }
    }
}

/// A layout with an image (`1`), its two referrers, and an index (`2`) whose entry has a referrer.
fn layout(sandbox: &Sandbox) -> (Repository, String) {
    let registry = registry(true);
    let own = fill(&mut registry.stored(), "a");
    sandbox.ok(&["migrate", &registry.locator("a"), "oci:layout"]);
    let lines = sandbox.ok(&["ls", "oci:layout", "--json"]);
    let name = lines.split('"').find(|text| text.ends_with("/a:1"));
    (own, name.expect("the image has a name").to_owned())
}

/// K51.
#[test]
fn an_image_that_is_chosen_in_a_place_comes_with_its_referrers() {
    let sandbox = Sandbox::new();
    let (own, one) = layout(&sandbox);
    let two = one.replace(":1", ":2");
    imgconv_testkit::stores::registry_v2(&sandbox.path("layout"), &sandbox.path("store")).unwrap();
    sandbox.ok(&["convert", "oci:layout", "oci-archive:archive.tar"]);
    let [first, second] = own.chain.clone();
    let by_digest = |digest: &str| format!("@{digest}");
    for (i, (from, texts)) in [
        ("oci:layout:", [one.clone(), two.clone()]),
        ("oci-archive:archive.tar:", [one.clone(), two.clone()]),
        (
            "registry-storage:store:",
            [by_digest(&own.image), by_digest(&own.index)],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let [text_one, text_two] = texts.map(|text| format!("{from}{text}"));
        let [to_one, to_two] = ["one", "two"].map(|name| format!("{name}{i}"));
        sandbox.ok(&["convert", &text_one, &format!("oci:{to_one}")]);
        let expected = [own.image.clone(), first.clone(), second.clone()];
        assert_eq!(listed(&sandbox, &to_one), expected, "{from}");
        sandbox.ok(&["verify", &to_one]);
        sandbox.ok(&["convert", &text_two, &format!("oci:{to_two}")]);
        let expected = [own.index.clone(), own.below.clone()];
        assert_eq!(listed(&sandbox, &to_two), expected, "{from}");
    }
    // A new name is that of the image alone.
    let registry = self::registry(true);
    let target = registry.locator("copy:new");
    sandbox.ok(&["convert", &format!("oci:layout:{one}"), &target]);
    let stored = registry.stored();
    for name in ["new", &first, &second] {
        let key = ("copy".to_owned(), name.to_owned());
        assert!(stored.manifests.contains_key(&key), "{name}");
    }
}

#[test]
fn referrers_of_a_chosen_image_that_no_longer_fit_are_a_loss() {
    let sandbox = Sandbox::new();
    let (own, one) = layout(&sandbox);
    let image = format!("oci:layout:{one}");
    for command in [
        &["convert", &image, "docker-archive:x.tar"][..],
        &["oci-to-aci", &image, "x.aci"],
        &["squash", &image, "oci:squashed"],
        &["recompress", &image, "oci:other", "--compression", "zstd"],
    ] {
        let report: Value =
            serde_json::from_str(&sandbox.ok(&[command, &["--json"]].concat())).unwrap();
        let lost = losses(&report);
        for digest in &own.chain {
            let told = lost.iter().any(|field| field.contains(digest));
            assert!(told, "{command:?}: {lost:?}");
        }
    }
}

/// K51.
#[test]
fn documents_that_only_a_tag_ties_to_a_chosen_image_are_told() {
    let sandbox = Sandbox::new();
    let (own, one) = layout(&sandbox);
    // The referrers stand in a list with the tag of the image only; another document has the tag of cosign.
    let path = sandbox.path("layout/index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    let is_first = |entry: &Value| entry["digest"] == own.chain[0];
    let at = entries.iter().position(is_first).unwrap();
    let first = entries.remove(at);
    let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [first] }).to_string();
    let config = json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2 });
    let signature = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x",
        "config": config, "layers": [config],
    })
    .to_string();
    let tag = own.image.replace(':', "-");
    let texts = [
        (INDEX, list, tag.clone()),
        (MANIFEST, signature, format!("{tag}.sig")),
    ];
    for (kind, text, tag) in texts {
        let digest = digest_of(text.as_bytes());
        entries.push(json!({
            "mediaType": kind, "digest": digest, "size": text.len(),
            "annotations": { "org.opencontainers.image.ref.name": tag },
        }));
        let blob = format!("layout/blobs/{}", digest.replace(':', "/"));
        fs::write(sandbox.path(&blob), text).unwrap();
    }
    fs::write(
        sandbox.path(&format!(
            "layout/blobs/{}",
            digest_of(b"{}").replace(':', "/")
        )),
        "{}",
    )
    .unwrap();
    fs::write(&path, index.to_string()).unwrap();
    let output = sandbox.run(&["convert", &format!("oci:layout:{one}"), "oci:out"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("document-left").count(), 1, "{said}");
    assert!(said.contains(&format!("{tag}.sig")), "{said}");
    let expected = [own.image, own.chain[0].clone(), own.chain[1].clone()];
    assert_eq!(listed(&sandbox, "out"), expected);
}
