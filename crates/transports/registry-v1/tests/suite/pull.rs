//! Images as registries of several ages serve them.

use imgconv_model::{Code, Notes};
use imgconv_testkit::registry_v1::RegistryV1;

use crate::{APP, Storage, env, layers, open, pull};

#[test]
fn every_tag_of_a_repository_is_listed_and_read() {
    let storage = Storage::new();
    let registry = storage.serve();
    let bundle = open(&registry, APP, &env()).unwrap();
    let entries = bundle.listing().unwrap();
    let names: Vec<String> = entries
        .iter()
        .map(|entry| entry.name.as_ref().unwrap().to_string())
        .collect();
    let host = registry.server.authority();
    assert_eq!(
        names,
        [format!("{host}/{APP}:1.0"), format!("{host}/{APP}:2.0")]
    );
    for (entry, top) in entries.iter().zip(&storage.tops) {
        assert!(bundle.resolve(entry).unwrap().child.is_some());
        let layers = layers(&*bundle, entry).unwrap();
        assert_eq!(layers.len(), 2);
        assert_eq!(layers[1], storage.bytes(top, "layer"));
    }
    // The images share the base, so its `json` is asked for once.
    let base = format!("/v1/images/{}/json", storage.base());
    let requests = registry.server.requests();
    let count = requests.iter().filter(|it| it.path() == base).count();
    assert_eq!(count, 1);
}

#[test]
fn a_registry_that_knows_no_single_tag_is_asked_for_all() {
    let storage = Storage::new();
    let mut settings = storage.settings();
    settings.only_lists = true;
    // An index that names no registry is the registry.
    settings.endpoints = Some(String::new());
    let registry = RegistryV1::start(settings);
    assert_eq!(
        pull(&registry, &format!("{APP}:2.0"), &env())
            .unwrap()
            .len(),
        2
    );
    let error = pull(&registry, &format!("{APP}:3"), &env()).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("tag \"3\""), "{error}");
}

#[test]
fn l19e_a_tar_sum_is_named_and_not_computed() {
    let storage = Storage::new();
    let registry = storage.serve();
    for (top, sums) in [
        (&storage.tops[0], r#"["tarsum+sha256:00"]"#),
        (&storage.tops[1], "[]"),
    ] {
        storage.put(top, "_checksum", sums);
    }
    for (tag, says) in [("1.0", "a tar sum"), ("2.0", "for 1 of 2 layers; their")] {
        let mut env = env();
        env.notes = Notes::default();
        let bundle = open(&registry, &format!("{APP}:{tag}"), &env).unwrap();
        let entries = bundle.roots().unwrap();
        assert_eq!(layers(&*bundle, &entries[0]).unwrap().len(), 2);
        bundle.root(&entries[0]).unwrap();
        let warnings = env.notes.take().warnings;
        assert_eq!(warnings.len(), 1, "an image is named once");
        let text = format!("{:?}", warnings[0]);
        assert!(text.contains(says), "{text}");
    }
}
