//! Robustness B6 to B9 and B11, and the section C cases of these documents: what a payload says.

use imgconv_model::{Algorithm, Artifact, Code, Digest};
use imgconv_stream::digest;
use imgconv_testkit::laws::{StrictJson, shown};
use serde_json::json;

use crate::{
    build::{EMPTY, blob, id, manifest, minimal, raw_manifest, v1},
    bundle::{Memory, UNSIGNED, decode, decode_with, env, fails, image, memory, refuse, root},
};

fn change(from: &str, to: &str) -> String {
    let text = minimal();
    assert!(text.contains(from), "{text} lacks {from}");
    text.replacen(from, to, 1)
}

#[test]
fn b6_lengths_and_shapes() {
    let entry = format!(r#"{{"blobSum": "{}"}}"#, blob('1'));
    let two = change(&entry, &format!("{entry},{entry}"));
    refuse(two, Code::BadManifest, "2 fsLayers and 1 history");
    let none = change(&entry, "");
    refuse(none, Code::BadManifest, "0 fsLayers and 1 history");
    refuse(raw_manifest(&[]), Code::BadManifest, "no layer at all");
    let history = "history[0].v1Compatibility";
    for (value, part) in [
        ("5", "expected a string"),
        ("null", "is required"),
        (r#""""#, history),
        (r#""null""#, history),
        (r#""not json""#, "it is not JSON"),
        (r#""[]""#, history),
        (r#""{}""#, "field id"),
        (r#""{\"id\":5}""#, "field id"),
    ] {
        refuse(
            raw_manifest(&[(blob('1'), value.into())]),
            Code::BadManifest,
            part,
        );
    }
    refuse(
        change("v1Compatibility", "more"),
        Code::BadManifest,
        "history[0].v1Compatibility",
    );
    for version in ["\"1\"", "2", "null", "1.0", "-1", "true"] {
        let document = change(
            "\"schemaVersion\": 1",
            &format!("\"schemaVersion\": {version}"),
        );
        refuse(document, Code::BadManifest, "schemaVersion");
    }
    refuse(
        change("\"schemaVersion\": 1,", ""),
        Code::BadManifest,
        "schemaVersion",
    );
    refuse("[]", Code::BadManifest, "expected an object");
    refuse("", Code::BadJson, "");
    refuse("{\"schemaVersion\":1", Code::BadJson, "");
}

#[test]
fn b6_fields_of_other_documents() {
    for field in ["layers", "config", "manifests", "Layers"] {
        let document = change("\"tag\"", &format!("\"{field}\": [], \"tag\""));
        refuse(document, Code::Ambiguous, field);
    }
    refuse(change("\"tag\"", "\"TAG\""), Code::BadJson, "\"TAG\"");
    refuse(
        change("\"tag\"", "\"mediaType\": \"x/y\", \"tag\""),
        Code::Ambiguous,
        "mediaType",
    );
    let twice = change("\"tag\": \"t\"", "\"tag\": \"t\", \"tag\": \"u\"");
    refuse(twice, Code::BadJson, "tag");
    let known = change("\\\"os\\\"", "\\\"OS\\\"");
    refuse(known, Code::BadJson, "\"OS\"");
    let size = manifest(&[(blob('1'), v1('a', None, r#","size":0"#))]);
    refuse(size, Code::BadJson, "`Size`");
    // Nobody knows these, so they do no harm.
    assert_eq!(
        image(change("\"tag\"", "\"x\": 1, \"tag\"")).layers.len(),
        1
    );
}

fn three(top: (char, Option<char>), middle: (char, Option<char>)) -> String {
    manifest(&[
        (blob('3'), v1(top.0, top.1, "")),
        (blob('2'), v1(middle.0, middle.1, "")),
        (blob('1'), v1('a', None, "")),
    ])
}

#[test]
fn b7_chains() {
    let good = image(three(('c', Some('b')), ('b', Some('a'))));
    let digests: Vec<_> = good.layers.iter().map(|l| l.blob.facts.digest).collect();
    let wanted = ['1', '2', '3'].map(|digit| Some(Digest::parse(&blob(digit)).unwrap()));
    assert_eq!(digests, wanted);
    assert!(good.layers.iter().all(|l| l.blob.facts.size.is_none()));
    assert!(
        good.layers
            .iter()
            .all(|l| l.diff_id.is_none() && l.kind.is_none())
    );

    let twice = three(('a', Some('b')), ('b', Some('a')));
    refuse(twice, Code::BadManifest, "occurs twice in the chain");
    let wrong = three(('c', Some('a')), ('b', Some('a')));
    refuse(wrong, Code::BadManifest, "the parent is \"aaa");
    let none = three(('c', None), ('b', Some('a')));
    refuse(none, Code::BadManifest, "the parent is absent");
    let based = manifest(&[(blob('1'), v1('a', Some('b'), ""))]);
    refuse(based, Code::BadManifest, "the lowest entry has the parent");
    let own = three(('c', Some('c')), ('b', Some('a')));
    refuse(own, Code::Cycle, "is its own parent");
    let base = manifest(&[(blob('1'), v1('a', Some('a'), ""))]);
    refuse(base, Code::Cycle, "is its own parent");
    for text in ["", "a", "../../etc", &*id('A'), &id('a')[1..], &*id('g')] {
        let json = format!(r#"{{"id":"{text}"}}"#);
        let document = manifest(&[(blob('1'), json)]);
        refuse(document, Code::BadManifest, "64 lower-case hex digits");
    }
    let layers = manifest(&[
        (blob('2'), v1('a', None, "")),
        (blob('1'), v1('a', None, "")),
    ]);
    refuse(layers, Code::BadManifest, "but different layers");
    let says = manifest(&[
        (blob('1'), v1('a', None, r#","author":"x""#)),
        (blob('1'), v1('a', None, "")),
    ]);
    refuse(says, Code::Ambiguous, "but different configs");
}

#[test]
fn b7_a_repeated_entry_is_dropped() {
    let top = (blob('2'), v1('b', Some('a'), ""));
    let base = (blob('1'), v1('a', None, ""));
    for entries in [
        vec![top.clone(), top.clone(), base.clone()],
        vec![top.clone(), base.clone(), base.clone(), base.clone()],
    ] {
        let image = image(manifest(&entries));
        assert_eq!((image.layers.len(), image.history.len()), (2, 2));
    }
    // Equal blobs of different ids are layers of their own.
    let image = image(manifest(&[
        (blob('1'), v1('b', Some('a'), "")),
        (blob('1'), v1('a', None, "")),
    ]));
    assert_eq!(image.layers.len(), 2);
}

#[test]
fn b8a_b8c_empty_layers() {
    for (b8, more) in [
        ("b8a", r#","throwaway":true"#),
        ("b8c Size", r#","Size":0"#),
        ("b8c alone", ""),
        ("b8c false", r#","throwaway":false,"Size":5"#),
    ] {
        let document = manifest(&[
            (EMPTY.into(), v1('d', Some('c'), more)),
            (blob('1'), v1('c', Some('b'), "")),
            (EMPTY.into(), v1('b', Some('a'), more)),
            (EMPTY.into(), v1('a', None, more)),
        ]);
        let image = image(document);
        assert_eq!(image.layers.len(), 1, "{b8}");
        let empty: Vec<bool> = image.history.iter().map(|step| step.empty_layer).collect();
        assert_eq!(empty, [true, true, false, true], "{b8}");
    }
    let zero = image(manifest(&[(blob('1'), v1('a', None, r#","Size":0"#))]));
    assert_eq!(zero.layers.len(), 1);
    let nothing = image(manifest(&[(EMPTY.into(), v1('a', None, ""))]));
    assert_eq!((nothing.layers.len(), nothing.history.len()), (0, 1));
}

/// Podman replaces the digests of compressed layers by those of plain tars in the manifests that it
/// keeps, also the digest of the empty layer.
#[test]
fn b8a_the_plain_tar_of_the_empty_layer() {
    let plain = format!("sha256:{}", imgconv_testkit::sha256_hex(&[0; 1024]));
    let throwaway = r#","throwaway":true"#;
    let both = |more: &str| {
        image(manifest(&[
            (blob('1'), v1('b', Some('a'), "")),
            (plain.clone(), v1('a', None, more)),
        ]))
    };
    assert_eq!(both(throwaway).layers.len(), 1);
    // A layer that is not marked is a layer.
    assert_eq!(both("").layers.len(), 2);
}

#[test]
fn b8b_throwaway_of_a_real_layer() {
    let document = manifest(&[(blob('1'), v1('a', None, r#","throwaway":true"#))]);
    refuse(document, Code::Ambiguous, "`throwaway`");
}

#[test]
fn b8d_other_bytes_for_the_empty_layer() {
    let document = manifest(&[(EMPTY.into(), v1('a', None, ""))]);
    let mut memory = memory();
    let empty = Digest::parse(EMPTY).unwrap();
    let root = root(UNSIGNED, document.as_bytes());
    let good = b"\x1f\x8b\x08\x00\x00\x09\x6e\x88\x00\xff\x62\x18\x05\xa3\x60\x14\x8c\x58\x00\x08\x00\x00\xff\xff\x2e\xaf\xb5\xef\x00\x04\x00\x00";
    assert_eq!(digest(Algorithm::Sha256, good), empty);
    memory.blobs.insert(empty, good.to_vec());
    decode_with(&memory, &root, &env()).unwrap();
    memory.blobs.insert(empty, vec![0; 32]);
    fails(
        decode_with(&memory, &root, &env()),
        Code::Mismatch,
        "the empty layer",
    );
}

#[test]
fn b9_equal_ids_of_different_layers() {
    let (a, b) = (['1', '2'], ['1', '3']);
    let [a, b] = [a, b].map(|[low, high]| {
        image(manifest(&[
            (blob(high), v1('b', Some('a'), "")),
            (blob(low), v1('a', None, "")),
        ]))
    });
    let digest = |image: &imgconv_model::Image| image.layers[1].blob.facts.digest.unwrap();
    assert_ne!(digest(&a), digest(&b));
}

#[test]
fn b11a_digests() {
    for text in ["tarsum.dev+sha256:", "tarsum.v1+sha256:"] {
        let document = change(&blob('1'), &format!("{text}{}", id('1')));
        refuse(document, Code::Unsupported, "is named by the tar sum");
    }
    for text in ["sha256:../../x", "", "nocolon", &*blob('A')] {
        refuse(
            change(&blob('1'), text),
            Code::BadDigest,
            "fsLayers[0].blobSum",
        );
    }
}

#[test]
fn b11b_the_name_is_a_hint() {
    let name = |document: String| {
        let (image, report) = decode(document).unwrap();
        let codes: Vec<_> = report.warnings.iter().map(|w| w.code).collect();
        (image.name.map(|name| name.to_string()), codes.join(" "))
    };
    let some = |text: &str| (Some(text.to_owned()), String::new());
    assert_eq!(name(minimal()), some("docker.io/a/b:t"));
    let hosted = change("a/b", "h.example:5000/a");
    assert_eq!(name(hosted), some("h.example:5000/a:t"));
    assert_eq!(name(change("\"a/b\"", "\"\"")), some("t"));
    let tagless = change("\"t\"", "null");
    assert_eq!(name(tagless), some("docker.io/a/b"));
    for document in [change("a/b", "../../x"), change("\"t\"", "\"../t\"")] {
        assert_eq!(name(document), (None, "bad-name".to_owned()));
    }
}

// C11c, and A3 for what becomes part of names
#[test]
fn platforms() {
    let read = |top: &str, more: &str| {
        let document = manifest(&[(blob('1'), v1('a', None, more))]);
        decode(document.replace("\"amd64\"", top))
    };
    let (image, report) = read("\"arm64\"", "").unwrap();
    assert_eq!(image.platform.to_string(), "linux/arm64");
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].message.contains("operating system"));
    let (image, report) = read("null", "").unwrap();
    assert_eq!(image.platform.to_string(), "linux/amd64");
    assert_eq!(report.warnings.len(), 2);
    let own = r#","os":"windows","architecture":"arm","variant":"v7""#;
    let (image, report) = read("\"amd64\"", own).unwrap();
    assert_eq!(image.platform.to_string(), "windows/arm/v7");
    assert!(report.is_clean());
    for field in ["os", "architecture", "variant"] {
        let more = format!(r#","os":"linux","{field}":"q/../../escape/pwn""#);
        let more = more.replacen(r#""os":"linux","os""#, r#""os""#, 1);
        fails(read("\"amd64\"", &more), Code::BadName, field);
    }
    fails(read("\"a b\"", ""), Code::BadName, "architecture");
}

#[test]
fn what_the_entries_say() {
    let lower = r#","created":"2013-01-01T00:00:00Z","container_config":{"Cmd":["/bin/sh","-c","x"],"Memory":0},"author":"m","comment":"c","Size":3,"docker_version":"0.6""#;
    let top = r#","created":"2014-01-01T00:00:00Z","container":"f00","container_config":{"Cmd":["y"]},"docker_version":"1.4.1","config":{"Cmd":"run","Hostname":"h","OnBuild":["z"]},"Size":9,"new":1,"os":"linux""#;
    let document = manifest(&[
        (blob('2'), v1('b', Some('a'), top)),
        (blob('1'), v1('a', None, lower)),
    ]);
    let (image, report) = decode(document).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(image.created.as_deref(), Some("2014-01-01T00:00:00Z"));
    assert_eq!(image.config.exec.unwrap().cmd, ["run"]);
    let first = &image.history[0];
    assert_eq!(first.created_by.as_deref(), Some("/bin/sh -c x"));
    assert_eq!(first.author.as_deref(), Some("m"));
    assert_eq!(first.comment.as_deref(), Some("c"));
    assert_eq!(first.created.as_deref(), Some("2013-01-01T00:00:00Z"));
    assert_eq!(image.history[1].created_by.as_deref(), Some("y"));
    let extensions: Vec<String> = image
        .extensions
        .iter()
        .map(|((format, path), raw)| format!("{format} {path}={raw}"))
        .collect();
    let (a, b) = (id('a'), id('b'));
    assert_eq!(
        extensions,
        [
            "docker-v2s1 Size=9",
            "docker-v2s1 config.Hostname=\"h\"",
            "docker-v2s1 config.OnBuild=[\"z\"]",
            "docker-v2s1 container=\"f00\"",
            "docker-v2s1 docker_version=\"1.4.1\"",
            &*format!("docker-v2s1 id=\"{b}\""),
            "docker-v2s1 new=1",
            &*format!("docker-v2s1 parent=\"{a}\""),
            r#"docker-v2s1 v1Compatibility=[{"container_config":{"Cmd":["/bin/sh","-c","x"],"Memory":0},"Size":3,"docker_version":"0.6"}]"#,
        ]
    );
    for more in [r#","created":"today""#, r#","container_config":[]"#] {
        for document in [
            manifest(&[(blob('1'), v1('a', None, more))]),
            manifest(&[
                (blob('2'), v1('b', Some('a'), "")),
                (blob('1'), v1('a', None, more)),
            ]),
        ] {
            refuse(document, Code::BadManifest, "v1Compatibility");
        }
    }
}

#[test]
fn limits_and_missing_layers() {
    let root = root(UNSIGNED, minimal().as_bytes());
    let incomplete = Memory {
        missing: vec![Digest::parse(&blob('1')).unwrap()],
        ..memory()
    };
    let result = decode_with(&incomplete, &root, &env());
    fails(result, Code::Missing, "layer 0 (sha256:1111");
    let mut few = env();
    few.limits.layers = 2;
    let document = three(('c', Some('b')), ('b', Some('a')));
    let root = crate::bundle::root(UNSIGNED, document.as_bytes());
    let result = decode_with(&memory(), &root, &few);
    fails(result, Code::Limit, "3 layers");
    let deep = v1(
        'a',
        None,
        &format!(r#","x":{}1{}"#, "[".repeat(200), "]".repeat(200)),
    );
    refuse(manifest(&[(blob('1'), deep)]), Code::Limit, "json_depth");
}

#[test]
fn every_member_of_a_manifest_and_of_its_v1_images_is_strict() {
    let read = |text: &str| {
        let (image, report) = decode(text)?;
        shown(Ok((Artifact::Image(Box::new(image)), report)))
    };
    let outer = StrictJson {
        text: &minimal(),
        read: &read,
        free: &[],
        // Members that nobody knows do no harm, and a copy keeps them.
        dropped: &["", "fsLayers[]", "history[]"],
    };
    outer.is_strict();
    let v1 = json!({
        "id": id('a'), "created": "2020-01-01T00:00:00Z", "author": "a", "comment": "c",
        "architecture": "arm", "os": "linux", "docker_version": "1", "Size": 1, "throwaway": false,
        "config": {
            "User": "u", "ExposedPorts": { "80/tcp": {} }, "Env": ["A=1"], "Entrypoint": ["/a"],
            "Cmd": ["b"], "Volumes": { "/v": {} }, "WorkingDir": "/w", "Labels": { "l": "1" },
        },
    });
    let v1 = StrictJson {
        text: &v1.to_string(),
        read: &|text| read(&manifest(&[(blob('1'), text.to_owned())])),
        free: &["config.ExposedPorts", "config.Volumes", "config.Labels"],
        dropped: &[],
    };
    v1.is_strict();
}
