//! `index.json`: strictness and names (robustness C1, C3, C4, C8, C9, C10; users.md section 4).

use imgconv_model::{Code, RootEntry};

use crate::fixture::{Layout, MANIFEST, descriptor, sha256};

fn index_fails(text: impl AsRef<[u8]>) -> imgconv_model::Error {
    let layout = Layout::new();
    layout.write("index.json", text);
    let error = layout.fails();
    assert!(error.to_string().contains("index.json"), "{error}");
    error
}

/// The error of the only entry: it is that one's alone, and the layout is listed.
fn entry_fails(text: impl AsRef<[u8]>) -> imgconv_model::Error {
    let layout = Layout::new();
    layout.write("index.json", text);
    let entries = layout.open().roots().unwrap();
    assert_eq!(entries.len(), 1);
    let error = entries[0].check().unwrap_err();
    assert!(error.to_string().contains("index.json"), "{error}");
    error
}

#[test]
fn c1_an_index_that_could_be_a_manifest_is_ambiguous() {
    let hex = "a".repeat(64);
    for (more, what) in [
        (
            format!(r#","config":{{"digest":"sha256:{hex}"}}"#),
            "config",
        ),
        (r#","layers":[]"#.to_owned(), "layers"),
        (r#","Layers":[]"#.to_owned(), "Layers"),
        (r#","layer\u017f":[]"#.to_owned(), "layers"),
        (r#","fsLayers":[]"#.to_owned(), "fsLayers"),
        (r#","history":[]"#.to_owned(), "history"),
        (format!(r#","mediaType":"{MANIFEST}""#), MANIFEST),
        (
            r#","mediaType":"application/x""#.to_owned(),
            "application/x",
        ),
    ] {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[]{more}}}"#);
        let error = index_fails(text);
        assert_eq!(error.code(), Code::Ambiguous, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn the_shape_of_an_index() {
    for (text, what) in [
        ("[]", "object"),
        (r#"{"manifests":[]}"#, "schemaVersion"),
        (r#"{"schemaVersion":1,"manifests":[]}"#, "schemaVersion"),
        (r#"{"schemaVersion":"2","manifests":[]}"#, "schemaVersion"),
        (r#"{"schemaVersion":2}"#, "manifests"),
        (r#"{"schemaVersion":2,"manifests":{}}"#, "manifests"),
        (
            r#"{"schemaVersion":2,"manifests":[],"mediaType":1}"#,
            "mediaType",
        ),
    ] {
        let error = index_fails(text);
        assert_eq!(error.code(), Code::BadManifest, "{text}: {error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    for text in ["1", "null", "[]", "\"x\""] {
        let error = entry_fails(format!(r#"{{"schemaVersion":2,"manifests":[{text}]}}"#));
        assert_eq!(error.code(), Code::BadManifest, "{text}: {error}");
        assert!(error.to_string().contains("manifests[0]"), "{error}");
    }
    // What Go writes for an empty list.
    let layout = Layout::new();
    layout.write("index.json", r#"{"schemaVersion":2,"manifests":null}"#);
    assert!(layout.open().roots().unwrap().is_empty());
}

#[test]
fn c3a_digests_are_checked_before_any_path_is_made() {
    let hex = "0123456789abcdef".repeat(4);
    for digest in [
        "sha256".to_owned(),
        "sha256:".to_owned(),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{}", hex.to_uppercase()),
        "sha256:../../../../x".to_owned(),
        format!("sha256:{hex}/../.."),
        format!("sha512:{hex}"),
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a/b","size":1,"digest":"{digest}"}}]}}"#
        );
        let error = entry_fails(text);
        assert_eq!(error.code(), Code::BadDigest, "{error}");
        assert!(error.to_string().contains("manifests[0].digest"), "{error}");
    }
    let text =
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":1,"digest":"blake3:00"}]}"#;
    assert_eq!(entry_fails(text).code(), Code::Unsupported);
}

#[test]
fn c4a_sizes_are_checked_before_reading() {
    let hex = "a".repeat(64);
    for (size, code) in [
        ("-1", Code::BadManifest),
        ("-9223372036854775808", Code::BadManifest),
        ("9223372036854775808", Code::BadManifest),
        ("18446744073709551616", Code::BadManifest),
        ("1.0", Code::BadManifest),
        ("1e3", Code::BadManifest),
        ("\"1\"", Code::BadManifest),
        ("null", Code::BadManifest),
        ("true", Code::BadManifest),
        ("9007199254740993", Code::Limit),
        ("9223372036854775807", Code::Limit),
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a/b","digest":"sha256:{hex}","size":{size}}}]}}"#
        );
        let error = entry_fails(text);
        assert_eq!(error.code(), code, "{size}: {error}");
        assert!(error.to_string().contains("manifests[0].size"), "{error}");
    }
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"a/b","digest":"sha256:{hex}"}}]}}"#
    );
    assert_eq!(entry_fails(text).code(), Code::BadManifest);
    let text =
        format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{hex}","size":1}}]}}"#);
    let error = entry_fails(text);
    assert_eq!(error.code(), Code::BadManifest);
    assert!(
        error.to_string().contains("manifests[0].mediaType"),
        "{error}"
    );
}

#[test]
fn c9_the_index_is_strict_json() {
    let descriptor = descriptor(b"x", "");
    for text in [
        r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#
            .as_bytes()
            .to_vec(),
        format!(
            r#"{{"schemaVersion":2,"manifests":[{},"dig\u0065st":"x"}}]}}"#,
            &descriptor[..descriptor.len() - 1]
        )
        .into_bytes(),
        br#"{"schemaVersion":2,"manifests":[],"x":{"a":1,"a":2}}"#.to_vec(),
        br#"{"schemaVersion":2,"manifests":[],"x":"\ud800"}"#.to_vec(),
        b"{\"schemaVersion\":2,\"manifests\":[],\"x\":\"\xff\"}".to_vec(),
        b"\xef\xbb\xbf{\"schemaVersion\":2,\"manifests\":[]}".to_vec(),
        br#"{"schemaVersion":2,"manifests":[]}{}"#.to_vec(),
        br#"{"schemaVersion":2,"manifests":[],}"#.to_vec(),
    ] {
        let error = index_fails(&text);
        assert_eq!(error.code(), Code::BadJson, "{error}");
    }
    let deep = format!(
        r#"{{"schemaVersion":2,"manifests":[],"x":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(index_fails(deep).code(), Code::Limit);
}

#[test]
fn c10_a_name_that_only_folds_to_a_known_one_is_refused() {
    for text in [
        r#"{"schemaVersion":2,"Manifests":[]}"#.to_owned(),
        r#"{"\u017fchemaVersion":2,"manifests":[]}"#.to_owned(),
    ] {
        assert_eq!(index_fails(&text).code(), Code::BadJson, "{text}");
    }
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        descriptor(b"x", r#","Size":3"#)
    );
    assert_eq!(entry_fails(&text).code(), Code::BadJson, "{text}");
}

#[test]
fn a3_a_platform_is_never_a_path() {
    for platform in [
        r#"{"os":"q/../../escape","architecture":"amd64"}"#,
        r#"{"os":"linux","architecture":".."}"#,
        r#"{"os":"linux","architecture":"arm","variant":"v7\n"}"#,
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptor(b"x", &format!(r#","platform":{platform}"#))
        );
        let error = entry_fails(&text);
        assert_eq!(error.code(), Code::BadName, "{error}");
        assert!(
            error.to_string().contains("manifests[0].platform"),
            "{error}"
        );
    }
}

fn named(reference: &str, containerd: &str) -> String {
    let mut texts = Vec::new();
    if !reference.is_empty() {
        texts.push(format!(
            r#""org.opencontainers.image.ref.name":"{reference}""#
        ));
    }
    if !containerd.is_empty() {
        texts.push(format!(r#""io.containerd.image.name":"{containerd}""#));
    }
    texts.join(",")
}

fn layout_of(list: &[(&[u8], &str, &str)]) -> Layout {
    let layout = Layout::new();
    let descriptors: Vec<String> = list
        .iter()
        .map(|(bytes, reference, containerd)| layout.manifest(bytes, &named(reference, containerd)))
        .collect();
    let descriptors: Vec<&str> = descriptors.iter().map(|text| &**text).collect();
    layout.list(&descriptors);
    layout
}

fn roots(list: &[(&[u8], &str, &str)]) -> imgconv_model::Result<Vec<RootEntry>> {
    layout_of(list).open_with(&crate::fixture::env())?.roots()
}

#[test]
fn c8a_k12_one_name_for_two_images_is_ambiguous_and_nothing_else_is() {
    for list in [
        [
            (&b"one"[..], "v1", ""),
            (b"two", "v1", ""),
            (b"six", "v2", ""),
        ],
        [
            (b"one", "v1", "a.io/x:v1"),
            (b"two", "v1", "a.io/x:v1"),
            (b"six", "v1", "a.io/y:v1"),
        ],
    ] {
        let found = roots(&list).unwrap();
        assert_eq!(found.len(), 3);
        let error = found[0].ambiguous.clone().unwrap();
        assert_eq!(error.code(), Code::Ambiguous);
        for what in [
            "v1\"",
            &sha256(b"one").to_string(),
            &sha256(b"two").to_string(),
        ] {
            assert!(error.to_string().contains(what), "{error}");
        }
        assert_eq!(
            found[1].ambiguous.as_ref().unwrap().message(),
            error.message()
        );
        assert!(found[2].ambiguous.is_none());
        assert!(found.iter().all(|entry| entry.check().is_ok()));
    }
}

#[test]
fn c8a_one_name_for_two_platforms_is_not() {
    let layout = Layout::new();
    let with = |bytes: &[u8], architecture: &str| {
        layout.blob(bytes);
        let platform = format!(r#"{{"os":"linux","architecture":"{architecture}"}}"#);
        let annotations = named("v1", "");
        descriptor(
            bytes,
            &format!(r#","platform":{platform},"annotations":{{{annotations}}}"#),
        )
    };
    let ambiguous = |list: &[&str]| {
        layout.list(list);
        let roots = layout.open().roots().unwrap();
        assert_eq!(roots.len(), 2);
        roots.iter().all(|entry| entry.ambiguous.is_some())
    };
    assert!(!ambiguous(&[
        &with(b"one", "amd64"),
        &with(b"two", "arm64")
    ]));
    assert!(ambiguous(&[&with(b"one", "amd64"), &with(b"two", "amd64")]));
}

// K13
#[test]
fn an_entry_that_cannot_be_used_is_no_harm_to_the_others() {
    let layout = Layout::new();
    let good = layout.manifest(b"good", &named("good", ""));
    let odd = r#","platform":{"os":"linux","architecture":"x!"},"annotations":{"org.opencontainers.image.ref.name":"odd"}"#;
    let odd = descriptor(b"odd", odd);
    layout.list(&["null", &odd, &good, r#"{"digest":"x"}"#]);
    let bundle = layout.open();
    let entries = bundle.roots().unwrap();
    let wrong: Vec<bool> = entries.iter().map(|entry| entry.error.is_some()).collect();
    assert_eq!(wrong, [true, true, false, true]);
    // Its names and digest are known as far as they can be read.
    assert_eq!(entries[1].texts, ["odd"]);
    assert_eq!(entries[1].child.as_ref().unwrap().digest, sha256(b"odd"));
    assert!(bundle.root(&entries[2]).is_ok());
}

// K13: what is no descriptor takes more memory than text, so there may not be millions of it.
#[test]
fn a_list_of_nearly_nothing_but_bad_entries_is_refused() {
    let list = |count: usize| {
        let entries = vec!["{}"; count].join(",");
        format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#)
    };
    let layout = Layout::new();
    layout.write("index.json", list(1000));
    assert_eq!(layout.open().roots().unwrap().len(), 1000);
    let error = index_fails(list(100_000));
    assert_eq!(error.code(), Code::BadManifest, "{error}");
    assert!(error.to_string().contains("entries of the list"), "{error}");
}

#[test]
fn c8b_one_tag_of_two_repositories_is_two_images() {
    let found = roots(&[
        (b"one", "latest", "a.io/x:latest"),
        (b"two", "latest", "a.io/y:latest"),
    ]);
    let found = found.unwrap();
    assert_eq!(found.len(), 2);
    let names: Vec<String> = found
        .iter()
        .map(|root| root.name.clone().unwrap().to_string())
        .collect();
    assert_eq!(names, ["a.io/x:latest", "a.io/y:latest"]);
    assert_eq!(found[1].texts, ["latest", "a.io/y:latest"]);
}

#[test]
fn c8c_repeated_descriptors() {
    let found = roots(&[
        (b"one", "v1", ""),
        (b"one", "v2", ""),
        (b"one", "v1", ""),
        (b"two", "v3", ""),
    ])
    .unwrap();
    let found: Vec<(usize, &str)> = found
        .iter()
        .map(|root| (root.position, &*root.texts[0]))
        .collect();
    assert_eq!(found, [(0, "v1"), (1, "v2"), (3, "v3")]);
}

#[test]
fn c8d_images_without_a_name_are_listed() {
    let found = roots(&[(b"one", "", ""), (b"two", "", "")]).unwrap();
    assert_eq!(found.len(), 2);
    assert!(
        found
            .iter()
            .all(|root| root.name.is_none() && root.texts.is_empty())
    );
}

#[test]
fn c8e_a_malformed_name_is_quoted() {
    let long = "x".repeat(1 << 20);
    for (text, quoted) in [
        ("../../x", "\"../../x\""),
        ("a\\u0000b", "\"a\\u{0}b\""),
        ("\\u001b[2J", "\"\\u{1b}[2J\""),
        (&long, "\"xxxx"),
    ] {
        for (reference, containerd) in [(text, ""), ("v1", text)] {
            // It concerns its own image alone.
            let layout = layout_of(&[(b"one", reference, containerd), (b"two", "v2", "")]);
            let bundle = layout.open();
            let found = bundle.roots().unwrap();
            let error = bundle.bad_name(&found[0]).unwrap();
            assert_eq!(error.code(), Code::BadName);
            assert!(error.to_string().contains(quoted), "{error}");
            assert!(error.to_string().len() < 1000);
            assert!(found[0].name.is_none());
            assert!(bundle.bad_name(&found[1]).is_none());
        }
    }
}

#[test]
fn an_unknown_media_type_is_listed() {
    let layout = Layout::new();
    layout.list(&[&descriptor(b"x", "").replace(MANIFEST, "application/xml")]);
    let found = layout.open().roots().unwrap();
    assert_eq!(found[0].child.as_ref().unwrap().kind, "application/xml");
}
