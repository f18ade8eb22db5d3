//! Registries that lie about ids, chains, checksums and sizes.

use imgconv_model::{Code, Limits};
use imgconv_testkit::server::Reply;
use serde_json::{Value, json};

use crate::{APP, Storage, env, layers, open, pull};

/// Pulls the first image, which must fail.
fn refused(storage: &Storage, code: Code, says: &str) {
    let registry = storage.serve();
    let error = pull(&registry, &format!("{APP}:1.0"), &env()).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(says), "{says}: {error}");
    // The caller names the place of a layer.
    let is_named = |place: &String| place.starts_with("dockerv1://127.0.0.1:");
    assert!(error.places().first().is_none_or(is_named), "{error}");
}

fn ancestry(ids: &[&str]) -> String {
    json!(ids).to_string()
}

#[test]
fn l19d_a_text_that_is_no_id_is_never_asked_for() {
    let storage = Storage::new();
    let long = "a".repeat(65);
    let upper = "A".repeat(64);
    for id in ["", "..", "../../x", "a/b", &long, &upper, "x\n"] {
        let bad = id.to_owned();
        let registry = storage.lying(move |request| {
            let path = request.path();
            (path.ends_with("/tags/1.0")).then(|| Reply::ok(json!(bad).to_string()))
        });
        let error = pull(&registry, &format!("{APP}:1.0"), &env()).unwrap_err();
        assert_eq!(error.code(), Code::BadName, "{id:?}: {error}");
        let asked = registry.server.requests();
        assert!(!asked.iter().any(|it| it.path().contains("/v1/images/")));
        let top = &storage.tops[0];
        storage.put(top, "ancestry", ancestry(&[top, id]));
        refused(&storage, Code::BadName, "image id");
    }
}

#[test]
fn l19d_the_ancestors_are_bounded_and_are_the_chain_of_parents() {
    let storage = Storage::new();
    let (top, base) = (storage.tops[0].clone(), storage.base());
    let other = &storage.tops[1];
    let long: Vec<String> = (0..2000).map(|i| format!("{i:064x}")).collect();
    for (list, code, says) in [
        (json!([top, base, top]), Code::Cycle, "comes back to"),
        (json!([top]), Code::Ambiguous, "chain of parents"),
        (json!([top, other]), Code::Ambiguous, "chain of parents"),
        (json!([base, top]), Code::Ambiguous, "begins with"),
        (json!([]), Code::Ambiguous, "begins with"),
        (json!({}), Code::BadManifest, "not a list"),
        (json!([5]), Code::BadName, "image id"),
        (json!(long), Code::Limit, "ancestors"),
    ] {
        storage.put(&top, "ancestry", list.to_string());
        refused(&storage, code, says);
    }
    storage.put(&top, "ancestry", "[".repeat(100));
    refused(&storage, Code::Limit, "json_depth");
    storage.put(&top, "ancestry", "{");
    refused(&storage, Code::BadJson, "ancestry");
    std::fs::remove_file(storage.file(&top, "ancestry")).unwrap();
    refused(&storage, Code::Missing, "404");
}

#[test]
fn l19d_a_circle_and_a_gap_of_parents_are_named() {
    let storage = Storage::new();
    let (top, base) = (storage.tops[0].clone(), storage.base());
    let mut json: Value = serde_json::from_slice(&storage.bytes(&base, "json")).unwrap();
    let missing = "0".repeat(64);
    for (parent, code) in [(&top, Code::Cycle), (&missing, Code::Missing)] {
        json["parent"] = json!(parent);
        storage.put(&base, "json", json.to_string());
        refused(&storage, code, parent);
    }
    json["id"] = json!(missing);
    storage.put(&base, "json", json.to_string());
    refused(&storage, Code::BadManifest, "id");
}

#[test]
fn l19d_documents_are_bounded() {
    let storage = Storage::new();
    for (end, limit) in [
        ("/images", "root_index"),
        ("/tags/1.0", "layout_file"),
        ("/ancestry", "config"),
        ("/json", "config"),
    ] {
        let registry = storage.lying(move |request| {
            let reply = || Reply::ok(vec![b' '; 1 << 16]).endless();
            request.path().ends_with(end).then(reply)
        });
        let mut env = env();
        env.limits.root_index = 1 << 20;
        let error = pull(&registry, &format!("{APP}:1.0"), &env).unwrap_err();
        assert_eq!(error.code(), Code::Limit, "{end}: {error}");
        assert!(error.to_string().contains(limit), "{end}: {error}");
    }
}

#[test]
fn l19e_the_checksum_covers_json_and_layer() {
    for name in ["json", "layer"] {
        let storage = Storage::new();
        let top = &storage.tops[0];
        let mut bytes = storage.bytes(top, name);
        match name {
            "json" => bytes.push(b'\n'),
            _ => *bytes.last_mut().unwrap() ^= 1,
        }
        storage.put(top, name, bytes);
        refused(&storage, Code::Mismatch, "digest of json and layer");
    }
    // The index may be the only one that has the checksum.
    let storage = Storage::new();
    let top = storage.tops[0].clone();
    std::fs::remove_file(storage.file(&top, "_checksum")).unwrap();
    let sum = format!("sha256:{}", "0".repeat(64));
    let list = json!([{ "id": top, "checksum": sum }]).to_string();
    let registry = storage.lying(move |request| {
        let list = list.clone();
        request.path().ends_with("/images").then(|| Reply::ok(list))
    });
    let error = pull(&registry, &format!("{APP}:1.0"), &env()).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch, "{error}");
}

#[test]
fn l19e_a_layer_of_another_size_is_refused_and_one_that_is_cut_is_continued() {
    let storage = Storage::new();
    let top = storage.tops[0].clone();
    std::fs::remove_file(storage.file(&top, "_checksum")).unwrap();
    let layer = storage.bytes(&top, "layer");
    for wrong in [&layer[..layer.len() - 1], &[&layer[..], b"x"].concat()] {
        let path = format!("/v1/images/{top}/layer");
        let wrong = wrong.to_vec();
        let registry = storage
            .lying(move |request| (request.path() == path).then(|| Reply::ok(wrong.clone())));
        let error = pull(&registry, &format!("{APP}:1.0"), &env()).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch, "{error}");
    }
    let big: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    storage.put(&top, "layer", &big);
    let (path, body) = (format!("/v1/images/{top}/layer"), big.clone());
    let registry = storage.lying(move |request| {
        let rest = request.header("range") == Some("bytes=4096-");
        (request.path() == path && rest).then(|| {
            Reply::status(206)
                .header("content-range", "bytes 4096-199999/200000")
                .body(&body[4096..])
                .cut_after(50_000)
        })
    });
    let layers = pull(&registry, &format!("{APP}:1.0"), &env()).unwrap();
    assert_eq!(layers[1], big);
}

#[test]
fn l19e_a_layer_without_an_end_is_bounded() {
    let storage = Storage::new();
    let top = storage.tops[0].clone();
    storage.put(&top, "_checksum", "[]");
    let json = storage.bytes(&top, "json");
    let registry = storage.lying(move |request| match request.path().rsplit('/').next() {
        // No size is said.
        Some("json") if request.path().contains(&top) => Some(Reply::ok(json.clone())),
        Some("layer") if request.path().contains(&top) => {
            Some(Reply::ok(vec![0; 1 << 16]).endless())
        }
        _ => None,
    });
    let mut env = env();
    env.limits = Limits {
        layer_bytes: 1 << 20,
        ..env.limits
    };
    let error = pull(&registry, &format!("{APP}:1.0"), &env).unwrap_err();
    assert_eq!(error.code(), Code::Limit, "{error}");
    // A size that is said is refused before the first byte is asked for.
    env.limits.layer_bytes = 10;
    let honest = storage.serve();
    let error = pull(&honest, &format!("{APP}:1.0"), &env).unwrap_err();
    assert_eq!(error.code(), Code::Limit, "{error}");
    let asked = honest.server.requests();
    assert!(!asked.iter().any(|it| it.path().ends_with("/layer")));
}

#[test]
fn l19f_one_bad_tag_is_one_bad_entry() {
    let storage = Storage::new();
    let top = storage.tops[0].clone();
    let list = json!({
        "1.0": top, "a b": top, "../x": top, "\u{1b}[2J": top, "nothing": null, "path": "../../x",
    });
    let list = list.to_string();
    let registry = storage.lying(move |request| {
        let list = list.clone();
        request.path().ends_with("/tags").then(|| Reply::ok(list))
    });
    let bundle = open(&registry, APP, &env()).unwrap();
    let entries = bundle.listing().unwrap();
    assert_eq!(entries.len(), 6);
    let (good, bad): (Vec<_>, Vec<_>) = entries.iter().partition(|it| it.error.is_none());
    assert_eq!(good.len(), 1);
    assert_eq!(layers(&*bundle, good[0]).unwrap().len(), 2);
    for entry in bad {
        let error = bundle.resolve(entry).unwrap_err();
        assert_eq!(error.code(), Code::BadName, "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        assert!(bundle.root(entry).is_err());
    }
}

#[test]
fn l19f_lists_that_are_no_lists_are_refused() {
    let storage = Storage::new();
    for (end, text, code) in [
        ("/tags", "[]", Code::BadManifest),
        ("/tags", "{", Code::BadJson),
        ("/images", "{}", Code::BadManifest),
        ("/images", "[{}]", Code::BadManifest),
        ("/images", "[{\"id\":\"..\"}]", Code::BadName),
        ("/images", "x", Code::BadJson),
    ] {
        let registry =
            storage.lying(move |request| request.path().ends_with(end).then(|| Reply::ok(text)));
        let bundle = open(&registry, APP, &env()).unwrap();
        let error = bundle.listing().unwrap_err();
        assert_eq!(error.code(), code, "{end} {text}: {error}");
    }
}
