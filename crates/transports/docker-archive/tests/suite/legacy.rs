//! Archives from before Docker 1.10.

use imgconv_model::Code;

use crate::fixture::{Tar, id, member, roots};

fn json(id: &str, parent: &str, more: &str) -> String {
    let parent = match parent {
        "" => String::new(),
        parent => format!(r#","parent":"{parent}""#),
    };
    format!(r#"{{"id":"{id}"{parent}{more}}}"#)
}

fn layer(tar: Tar, id: &str, parent: &str, more: &str) -> Tar {
    tar.file(&format!("{id}/VERSION"), "1.0")
        .file(&format!("{id}/json"), json(id, parent, more))
        .file(&format!("{id}/layer.tar"), format!("layer of {}", &id[..1]))
}

fn repositories(name: &str, tag: &str, id: &str) -> Tar {
    let text = format!(r#"{{"{name}":{{"{tag}":"{id}"}}}}"#);
    Tar::default().file("repositories", text)
}

#[test]
fn a_chain_is_one_document_base_first() {
    let (a, b, c) = (id('a'), id('b'), id('c'));
    let tar = Tar::default().file(
        "repositories",
        format!(r#"{{"busybox":{{"1":"{b}","2":"{b}"}},"user/x":{{"latest":"{a}"}}}}"#),
    );
    let tar = layer(tar, &b, &a, r#","os":"linux""#);
    let tar = layer(tar, &c, &a, "");
    let tar = layer(tar, &a, "", "\n");
    let bundle = tar.open();
    let part = |id: &str, text: String| {
        let text = text.replace('"', "\\\"").replace('\n', "\\n");
        format!(r#"{{"id":"{id}","json":"{text}","layer":"{id}/layer.tar"}}"#)
    };
    let base = part(&a, json(&a, "", "\n"));
    let above = part(&b, json(&b, &a, r#","os":"linux""#));
    let of_a = format!(r#"{{"id":"{a}","layers":[{base}]}}"#);
    let of_b = format!(r#"{{"id":"{b}","layers":[{base},{above}]}}"#);
    let other = part(&c, json(&c, &a, ""));
    let of_c = format!(r#"{{"id":"{c}","layers":[{base},{other}]}}"#);
    let expected = [
        ("docker.io/library/busybox:1", 0, &of_b),
        ("docker.io/library/busybox:2", 1, &of_b),
        ("docker.io/user/x:latest", 2, &of_a),
        ("", 3, &of_c),
    ];
    let expected = expected.map(|(name, i, text)| (name.to_owned(), i, text.clone()));
    assert_eq!(roots(&*bundle), expected);
    let entries = bundle.roots().unwrap();
    assert_eq!(entries[0].texts, ["busybox:1", &*b]);
    assert_eq!(
        entries[0].child.as_ref().unwrap().kind,
        "application/vnd.imgconv.docker-v1.image.v1+json"
    );
    assert_eq!(
        member(&*bundle, &format!("{b}/layer.tar")).unwrap(),
        b"layer of b"
    );
}

#[test]
fn heads_without_names_are_found_without_repositories() {
    let tar = layer(Tar::default(), &id('a'), &id('b'), "");
    let bundle = layer(tar, &id('b'), "", "").open();
    let found = roots(&*bundle);
    assert_eq!(found.len(), 1);
    assert!(found[0].2.starts_with(&format!(r#"{{"id":"{}""#, id('a'))));
}

#[test]
fn a1a_what_is_no_id_is_refused_before_it_is_part_of_a_name() {
    let ids = [
        format!("../../../etc/{}", id('a')),
        String::new(),
        ".".into(),
        "..".into(),
        "/etc/passwd".into(),
        "a/b".into(),
        "A".repeat(64),
        "a".repeat(63),
        "a".repeat(65),
        "g".repeat(64),
        format!("{}\\n", id('a')),
        format!("{}\\u0000", id('a')),
        "a".repeat(1_000_000),
    ];
    for text in ids {
        let tar = repositories("x/y", "latest", &text);
        let tar = tar.file(&format!("./{}/json", id('a')), json(&id('a'), "", ""));
        tar.refused(Code::BadName, &["repositories", "64 lower-case hex digits"]);
    }
    let parent = layer(repositories("x", "1", &id('a')), &id('a'), "../../etc", "");
    parent.refused(Code::BadName, &["../../etc", "parent"]);
}

#[test]
fn a2a_a_circle_of_parents_is_refused_at_once() {
    let [a, b, c] = ['a', 'b', 'c'].map(id);
    let own = layer(repositories("x", "1", &a), &a, &a, "");
    own.refused(Code::Cycle, &[&a]);
    let two = layer(layer(repositories("x", "1", &a), &a, &b, ""), &b, &a, "");
    two.refused(Code::Cycle, &[&a]);
    let three = layer(layer(repositories("x", "1", &a), &a, &b, ""), &b, &c, "");
    layer(three, &c, &b, "").refused(Code::Cycle, &[&b]);
    let unnamed = layer(layer(Tar::default(), &a, &b, ""), &b, &a, "");
    unnamed.refused(Code::Cycle, &[&a]);
}

#[test]
fn a2b_a_chain_that_does_not_end_is_refused_and_a_long_one_in_one_pass() {
    let (a, b) = (id('a'), id('b'));
    let tar = layer(repositories("x", "1", &a), &a, &b, "");
    tar.refused(Code::Missing, &[&a, &b]);
    repositories("x", "1", &a).refused(Code::Missing, &["repositories", &a]);

    let name = |i: usize| format!("{i:064x}");
    let mut long = repositories("x", "1", &name(0));
    for i in 0..100_000 {
        let text = json(&name(i), &name(i + 1), "");
        long = long.file(&format!("{}/json", name(i)), text);
    }
    let last = json(&name(100_000), "", "");
    let long = long.file(&format!("{}/json", name(100_000)), last);
    long.refused(Code::Limit, &["layers", "1024"]);
}

/// What is wrong with one image is told of that one.
#[test]
fn a2b_a12_a_broken_image_does_not_keep_the_others() {
    let (a, b, c, lost) = (id('a'), id('b'), id('c'), id('f'));
    let text = format!(
        r#"{{"good":{{"1":"{a}"}},"broken":{{"1":"{b}"}},"Bad":{{"1":"{c}"}},"no":{{"1":"../x"}}}}"#
    );
    let tar = Tar::default().file("repositories", text);
    let tar = layer(layer(tar, &a, "", ""), &b, &lost, "");
    let saved = layer(tar, &c, "", "").save();
    let bundle = saved.open().unwrap();
    let found: Vec<_> = bundle
        .roots()
        .unwrap()
        .iter()
        .map(|entry| {
            let name = entry.name.as_ref().map(ToString::to_string);
            let bad = bundle.bad_name(entry).map(|error| error.code());
            (
                name,
                bad,
                bundle.root(entry).err().map(|error| error.code()),
            )
        })
        .collect();
    let name = |name: &str| Some(format!("docker.io/library/{name}:1"));
    assert_eq!(
        found,
        [
            (name("good"), None, None),
            (name("broken"), None, Some(Code::Missing)),
            (None, Some(Code::BadName), None),
            (name("no"), None, Some(Code::BadName)),
        ]
    );
}

#[test]
fn a3_words_that_would_be_paths_are_refused() {
    let a = id('a');
    for key in ["os", "architecture", "variant"] {
        let more = format!(r#","{key}":"q/../../escape/pwn""#);
        let tar = layer(repositories("x", "1", &a), &a, "", &more);
        tar.refused(Code::BadName, &["q/../../escape/pwn", key]);
    }
    let hidden = layer(repositories("x", "1", &a), &a, "", r#","os":".x""#);
    hidden.refused(Code::BadName, &[".x"]);
    for (name, tag) in [
        ("x", "q/../../escape/tag"),
        ("q/../../escape", "1"),
        ("x:1", "2"),
        ("x", ""),
    ] {
        let tar = layer(repositories(name, tag, &a), &a, "", "");
        tar.refused(Code::BadName, &[&format!("{name}:{tag}")]);
    }
}

#[test]
fn a4a_a_layer_may_be_a_link() {
    let (a, b) = (id('a'), id('b'));
    let tar = layer(repositories("x", "1", &a), &b, "", "")
        .file(&format!("{a}/json"), json(&a, &b, ""))
        .symlink(&format!("{a}/layer.tar"), &format!("../{b}/layer.tar"));
    let bundle = tar.open();
    assert_eq!(
        member(&*bundle, &format!("{a}/layer.tar")).unwrap(),
        b"layer of b"
    );
}

#[test]
fn a_directory_that_says_otherwise_is_refused() {
    let (a, b) = (id('a'), id('b'));
    let version = repositories("x", "1", &a)
        .file(&format!("{a}/VERSION"), "2.0")
        .file(&format!("{a}/json"), json(&a, "", ""));
    version.refused(Code::Unsupported, &["VERSION", "2.0"]);
    let other = repositories("x", "1", &a).file(&format!("{a}/json"), json(&b, "", ""));
    other.refused(Code::BadManifest, &[&a, &b]);
    let two = format!(r#"{{"x":{{"1":"{a}"}},"docker.io/library/x":{{"1":"{b}"}}}}"#);
    let two = layer(Tar::default().file("repositories", two), &a, "", "");
    layer(two, &b, "", "").refused(
        Code::Ambiguous,
        &["library/x:1", "#0 sha256:", "#1 sha256:"],
    );
}

#[test]
fn a2a_a_circle_without_a_name_is_listed_once_beside_good_images() {
    let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(id);
    let tar = layer(repositories("x", "1", &a), &a, "", "");
    let tar = layer(layer(tar, &b, &c, ""), &c, &b, "");
    let bundle = layer(tar, &d, &d, "").open();
    let found = bundle.roots().unwrap();
    let texts: Vec<_> = found.iter().map(|entry| entry.texts.concat()).collect();
    assert_eq!(texts, [format!("x:1{a}"), b, d]);
    bundle.root(&found[0]).unwrap();
    for entry in &found[1..] {
        assert_eq!(bundle.root(entry).unwrap_err().code(), Code::Cycle);
        assert!(bundle.bad_name(entry).is_none());
    }
}

#[test]
fn a2b_many_broken_chains_do_not_count_as_long_ones() {
    let mut tar = layer(repositories("x", "1", &id('a')), &id('a'), "", "");
    for i in 0..200 {
        let text = json(&format!("{i:064x}"), &id('f'), "");
        tar = tar.file(&format!("{i:064x}/json"), text);
    }
    let bundle = tar.open();
    let found = bundle.roots().unwrap();
    assert_eq!(found.len(), 201);
    bundle.root(&found[0]).unwrap();
    let error = bundle.root(&found[200]).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
}
