//! Archives with `manifest.json`, and the links between their members.

use imgconv_model::{Code, Facts, Transport};
use imgconv_tar::EntryKind;
use imgconv_transport_docker_archive::DOCKER_ARCHIVE;

use crate::fixture::{Saved, Tar, env, hex, id, member, names, roots, sha256, warnings};

fn entry(tags: &str, layers: &str) -> String {
    format!(r#"{{"Config":"c.json","RepoTags":{tags},"Layers":{layers}}}"#)
}

fn list(entries: &str) -> Tar {
    Tar::default().file("manifest.json", format!("[{entries}]"))
}

#[test]
fn every_entry_is_an_image_under_each_of_its_names() {
    let one = entry(
        r#"["busybox:latest","user/x:1","localhost:5000/y:z"]"#,
        r#"["a.tar"]"#,
    );
    let two = entry("null", "[]");
    let tar = list(&format!("{one}, {two}"));
    let bundle = tar.open();
    let expected = [
        ("docker.io/library/busybox:latest", 0, &one),
        ("docker.io/user/x:1", 0, &one),
        ("localhost:5000/y:z", 0, &one),
        ("", 1, &two),
    ];
    let expected = expected.map(|(name, i, text)| (name.to_owned(), i, text.clone()));
    assert_eq!(roots(&*bundle), expected);
    let entries = bundle.roots().unwrap();
    assert_eq!(entries[0].texts, ["busybox:latest"]);
    assert_eq!(
        entries[0].child.as_ref().unwrap().kind,
        "application/vnd.imgconv.docker-archive.image.v1+json"
    );
    assert_eq!(bundle.stored().unwrap(), None);
}

#[test]
fn a_name_that_stands_twice_at_one_image_is_one_name() {
    let one = entry(r#"["x:1","docker.io/library/x:1"]"#, "[]");
    let two = entry(r#"["x:1","y:1"]"#, "[]");
    let found = roots(&*list(&format!("{one},{two}")).open());
    let names: Vec<_> = found.iter().map(|(name, i, _)| (&**name, *i)).collect();
    assert_eq!(
        names,
        [("docker.io/library/x:1", 0), ("docker.io/library/y:1", 1)]
    );
}

#[test]
fn k12_a_name_of_two_images_is_ambiguous_and_nothing_else_is() {
    let one = entry(r#"["x:1"]"#, "[]");
    let two = entry(r#"["docker.io/library/x:1"]"#, r#"["a.tar"]"#);
    let other = entry(r#"["y:1"]"#, r#"["b.tar"]"#);
    let bundle = list(&format!("{one},{two},{other}")).open();
    let entries = bundle.roots().unwrap();
    assert_eq!(entries.len(), 3);
    let error = entries[0].ambiguous.clone().unwrap();
    names(&error, Code::Ambiguous, &["library/x:1", "#0", "#1"]);
    assert!(entries[1].ambiguous.is_some() && entries[2].ambiguous.is_none());
}

#[test]
fn a4a_links_lead_to_other_members() {
    let other = format!("{}/layer.tar", id('b'));
    let tar = list(&entry("null", "[]"))
        .symlink("a/layer.tar", "../x.tar")
        .symlink("b/layer.tar", &format!("../{other}"))
        .hard_link("c/layer.tar", "x.tar")
        .hard_link("d/layer.tar", "../x.tar")
        .symlink("e/layer.tar", "../a/layer.tar")
        .file("x.tar", "x")
        .hard_link("f/layer.tar", "./x.tar")
        .file(&other, "other");
    let bundle = tar.open();
    for name in ["a", "c", "d", "e", "f", "./a", "e/../a"] {
        let found = member(&*bundle, &format!("{name}/layer.tar")).unwrap();
        assert_eq!(found, b"x", "{name}");
    }
    assert_eq!(member(&*bundle, "b/layer.tar").unwrap(), b"other");
    let blob = bundle.member("a/layer.tar", &Facts::default()).unwrap();
    assert_eq!(blob.facts.size, Some(1));
}

#[test]
fn a4b_a_target_at_the_root_is_found_where_a_config_verifies_it() {
    let tar = |tar: Tar| tar.symlink("a/layer.tar", ".X.tar").file(".X.tar", "x");
    let with_config = tar(list(&entry("null", r#"["a/layer.tar"]"#))).save();
    let env = env();
    let bundle = with_config.open_with(&env).unwrap();
    assert_eq!(member(&*bundle, "a/layer.tar").unwrap(), b"x");
    let report = env.notes.take();
    assert_eq!(report.warnings[0].code, "link-target-at-root");
    assert_eq!(report.warnings[0].at, r#"entry "a/layer.tar""#);

    let json = format!(r#"{{"id":"{}"}}"#, id('a'));
    let v1 = tar(Tar::default().file(&format!("{}/json", id('a')), json)).open();
    let error = member(&*v1, "a/layer.tar").unwrap_err();
    names(&error, Code::Missing, &["a/.X.tar"]);
}

#[test]
fn a4c_links_out_of_the_archive_are_refused() {
    for target in ["/etc/shadow", "../../../../etc/shadow", "../.."] {
        let tar = list(&entry("null", "[]")).symlink("a/layer.tar", target);
        let error = member(&*tar.open(), "a/layer.tar").unwrap_err();
        names(&error, Code::Escape, &["a/layer.tar", target]);
    }
    let tar = list(&entry("null", "[]")).hard_link("a/layer.tar", "/etc/shadow");
    let error = member(&*tar.open(), "a/layer.tar").unwrap_err();
    names(&error, Code::Escape, &["/etc/shadow"]);
}

#[test]
fn a4d_links_that_lead_nowhere_are_refused() {
    let mut tar = list(&entry("null", "[]"))
        .symlink("a", "b")
        .symlink("b", "a")
        .symlink("absent", "nothing")
        .symlink("to-directory", "directory")
        .directory("directory/")
        .file("l40", "x");
    for i in 0..40 {
        tar = tar.symlink(&format!("l{i}"), &format!("l{}", i + 1));
    }
    let bundle = tar.open();
    let rows: &[(&str, Code, &str)] = &[
        ("a", Code::Cycle, "\"a\""),
        ("l0", Code::Limit, "link_hops"),
        ("absent", Code::Missing, "nothing"),
        ("to-directory", Code::Missing, "a directory"),
    ];
    for (name, code, part) in rows {
        names(&member(&*bundle, name).unwrap_err(), *code, &[name, part]);
    }
    assert_eq!(member(&*bundle, "l32").unwrap(), b"x", "eight links");
    assert_eq!(member(&*bundle, "l31").unwrap_err().code(), Code::Limit);
}

#[test]
fn a5a_two_different_members_of_one_name_are_ambiguous() {
    let one = list(&entry("null", "[]"));
    let rows = [
        one.clone().file("manifest.json", "[]"),
        one.clone().file("./manifest.json", "[]"),
        one.clone().file("l.tar", "a").file("l.tar", "b"),
        one.clone().file("l.tar", "a").symlink("l.tar", "b"),
    ];
    for tar in rows {
        tar.refused(Code::Ambiguous, &["duplicate archive member"]);
    }
}

#[test]
fn a5b_the_same_member_twice_is_a_warning() {
    let tar = list(&entry("null", "[]"))
        .file("l.tar", "a")
        .file("./l.tar", "a")
        .directory("d/")
        .directory("d/");
    let code = "duplicate-member";
    let expected = [(code, r#"entry "l.tar""#), (code, r#"entry "d""#)];
    assert_eq!(
        warnings(&tar),
        expected.map(|(code, at)| (code, at.to_owned()))
    );
}

#[test]
fn a6_lists_that_are_too_large_are_not_read() {
    let spaces = format!("[{}]", " ".repeat(30_000_000));
    for name in ["manifest.json", "repositories"] {
        let tar = Tar::default().file(name, &spaces);
        tar.refused(Code::Limit, &["archive_json", name, "30000002"]);
    }
    // Sizes in base-256, and nothing behind them; the framing has a limit of its own too.
    for (size, parts) in [
        (1u64 << 35, ["manifest.json", "archive_json", "34359738368"]),
        (1 << 40, ["manifest.json", "layer_bytes", "1099511627776"]),
    ] {
        let mut huge = Tar::default().file("manifest.json", "").0;
        huge[124..136].fill(0);
        huge[124] = 0x80;
        huge[128..136].copy_from_slice(&size.to_be_bytes());
        sum(&mut huge);
        names(&Saved::new(&huge).open().unwrap_err(), Code::Limit, &parts);
    }
}

/// Makes the checksum of a header right.
fn sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

#[test]
fn a7a_a_list_of_the_wrong_shape_is_refused() {
    let rows = [
        ("null", "list"),
        ("{}", "list"),
        ("[null]", "[0]"),
        (r#"[{"Config":null,"Layers":null}]"#, "Config"),
        (r#"[{"Config":"","Layers":[]}]"#, "Config"),
        (r#"[{"Config":"c","Layers":[""]}]"#, "Layers"),
        (r#"[{"Config":"c","Layers":["a",1]}]"#, "Layers"),
        (r#"[{"Config":"c","RepoTags":"x:1"}]"#, "RepoTags"),
    ];
    for (text, part) in rows {
        let tar = Tar::default().file("manifest.json", text);
        tar.refused(Code::BadManifest, &["manifest.json", part]);
    }
    let folded = r#"[{"Config":"c","config":"c"}]"#;
    let folded = Tar::default().file("manifest.json", folded);
    folded.refused(Code::BadJson, &["config"]);
    let many = list(&entry(
        "null",
        &format!("[{}]", vec![r#""a""#; 1025].join(",")),
    ));
    many.refused(Code::Limit, &["layers", "1025"]);
}

#[test]
fn a7b_only_members_that_are_files_are_found() {
    assert_eq!(list("").open().roots().unwrap().len(), 0);
    let tar =
        list(&entry("null", "[]"))
            .directory("directory/")
            .entry("pipe", EntryKind::Fifo, "", b"");
    let bundle = tar.open();
    let rows = [
        ("/etc/passwd", Code::Missing),
        ("../../etc/passwd", Code::Missing),
        ("absent", Code::Missing),
        ("directory", Code::BadTar),
        ("pipe", Code::BadTar),
    ];
    for (name, code) in rows {
        names(&member(&*bundle, name).unwrap_err(), code, &[name]);
    }
}

#[test]
fn a9_a_member_is_what_was_claimed() {
    let bundle = list(&entry("null", "[]")).file("l.tar", "layer").open();
    let facts = |digest, size| Facts { digest, size };
    let read = |facts| crate::fixture::read(&bundle.member("l.tar", &facts).unwrap());
    assert_eq!(
        read(facts(Some(sha256("layer")), Some(5))).unwrap(),
        b"layer"
    );
    let error = read(facts(Some(sha256("other")), None)).unwrap_err();
    let (expected, found) = (hex("other"), hex("layer"));
    names(&error, Code::Mismatch, &["l.tar", &expected, &found]);
    let error = read(facts(None, Some(4))).unwrap_err();
    names(&error, Code::Mismatch, &["l.tar", "4 bytes"]);
}

#[test]
fn a10_a_whole_archive_may_be_compressed_once() {
    let bytes = list(&entry("null", "[]")).file("l.tar", "layer").bytes();
    for program in ["gzip", "xz", "bzip2", "zstd"] {
        let Some(compressed) = pipe(program, &bytes) else {
            continue;
        };
        let saved = Saved::new(&compressed);
        assert!(saved.recognised(), "{program}");
        let bundle = saved.open().unwrap();
        assert_eq!(member(&*bundle, "l.tar").unwrap(), b"layer", "{program}");
    }
    let twice = pipe("gzip", &bytes).and_then(|once| pipe("gzip", &once));
    if let Some(twice) = twice {
        let error = Saved::new(&twice).open().unwrap_err();
        assert_eq!(error.code(), Code::BadTar, "{error}");
    }
}

/// Runs a program over bytes; `None` if it is not installed.
fn pipe(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    Some(child.wait_with_output().unwrap().stdout)
}

#[test]
fn a12_what_is_no_name_is_refused_and_quoted() {
    let long = format!("x:{}", "t".repeat(300));
    let digest = "x@sha256:zz".to_owned();
    let rows = [
        ("../../x:latest", "../../x:latest"),
        ("x:../../y", "x:../../y"),
        (&digest, &digest),
        ("", "\"\""),
        ("X/Y:z", "X/Y:z"),
        (&long, "x:tttt"),
        ("x:a\\u001b[2J", "\\u{1b}"),
        ("x:a\\nb", "\\n"),
        ("x:a\\u202eb", "\\u{202e}"),
    ];
    for (text, part) in rows {
        let tar = list(&entry(&format!("[\"{text}\"]"), "[]"));
        tar.refused(Code::BadName, &["manifest.json", part]);
    }
}

#[test]
fn k14_a_digest_after_a_repository_is_no_tag() {
    let text = format!("x@sha256:{}", hex(""));
    let bundle = list(&entry(&format!("[\"{text}\"]"), "[]")).open();
    let name = bundle.roots().unwrap()[0].name.clone().unwrap();
    assert_eq!(name.to_string(), format!("docker.io/library/{text}"));
    assert_eq!(name.tag, None);
    // The ID of an image, as CRI names it, is no name, and not a wrong one.
    let id = format!("sha256:{}", hex(""));
    let bundle = list(&entry(&format!("[\"{id}\"]"), "[]")).open();
    let entry = &bundle.roots().unwrap()[0];
    assert_eq!((&entry.name, &entry.texts[..]), (&None, &[id][..]));
    assert!(bundle.bad_name(entry).is_none());
}

#[test]
fn a12_one_bad_name_is_not_that_of_the_others() {
    let tar = list(&format!(
        "{},{}",
        entry(r#"["X/Y:z","x:1"]"#, "[]"),
        entry(r#"["y:1"]"#, "[]")
    ));
    let bundle = tar.open();
    let found: Vec<_> = bundle
        .roots()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry.position,
                entry.texts.clone(),
                bundle.bad_name(entry).is_some(),
            )
        })
        .collect();
    let text = |text: &str| vec![text.to_owned()];
    assert_eq!(
        found,
        [
            (0, text("x:1"), false),
            (0, text("X/Y:z"), true),
            (1, text("y:1"), false),
        ]
    );
}

#[test]
fn a14_a_blob_is_what_its_name_says() {
    let wrong = format!("blobs/sha256/{}", hex("right"));
    let tar = list(&entry("null", "[]"))
        .file(&wrong, "wrong")
        .symlink("l.tar", &wrong);
    let bundle = tar.open();
    for name in [&*wrong, &format!("./{wrong}"), "l.tar"] {
        let error = member(&*bundle, name).unwrap_err();
        names(
            &error,
            Code::Mismatch,
            &[name, &hex("right"), &hex("wrong")],
        );
    }
}

#[test]
fn a15_a_truncated_archive_is_refused() {
    let bytes = list(&entry("null", "[]")).file("l.tar", [1; 2000]).bytes();
    for end in [1000, 1700, 2600] {
        let error = Saved::new(&bytes[..end]).open().unwrap_err();
        assert_eq!(error.code(), Code::BadTar, "{error}");
        assert!(error.to_string().starts_with("docker-archive:"), "{error}");
    }
}

#[test]
fn a15_the_list_may_come_last() {
    let tar = Tar::default()
        .file("l.tar", "layer")
        .file("manifest.json", format!("[{}]", entry("null", "[]")));
    assert_eq!(member(&*tar.open(), "l.tar").unwrap(), b"layer");
}

#[test]
fn a15_a_sparse_member_is_refused() {
    let mut bytes = list(&entry("null", "[]")).0;
    let mut sparse = Tar::default().file("l.tar", "").0;
    sparse[156] = b'S';
    sparse[257..265].copy_from_slice(b"ustar  \0");
    sparse[329..345].fill(0);
    // A hole of 512 bytes and nothing else.
    sparse[386..398].copy_from_slice(b"00000001000\0");
    sparse[398..410].copy_from_slice(b"00000000000\0");
    sparse[483..495].copy_from_slice(b"00000001000\0");
    sum(&mut sparse);
    bytes.extend(sparse);
    let error = Saved::new(&Tar(bytes).bytes()).open().unwrap_err();
    names(&error, Code::Unsupported, &["l.tar", "sparse"]);
}

#[test]
fn archives_are_recognised_by_their_members() {
    let v1 = |file: &str| Tar::default().file(&format!("{}/{file}", id('a')), "");
    let yes = [
        list(""),
        Tar::default().file("./manifest.json", "[]"),
        Tar::default().file("repositories", "{}"),
        v1("VERSION"),
        v1("json"),
        v1("layer.tar"),
        // Behind more than what is looked at of a compressed archive.
        Tar::default()
            .blob(vec![0; 3 << 20])
            .file("manifest.json", "[]"),
    ];
    for tar in yes {
        assert!(tar.save().recognised(), "{:?}", &tar.0[..20]);
    }
    let no = [
        Tar::default()
            .file("oci-layout", "{}")
            .file("index.json", "{}"),
        Tar::default().file("manifest", "{}").directory("rootfs"),
        Tar::default().file("x/manifest.json", "[]"),
        Tar::default().file(&format!("{}/json", "A".repeat(64)), ""),
        v1("other"),
        Tar::default().file(&format!("{}.jpg", id('a')), ""),
        Tar::default().file("é".repeat(40).as_str(), ""),
    ];
    for tar in no {
        assert!(!tar.save().recognised(), "{:?}", &tar.0[..20]);
    }
    assert!(!Saved::new(b"no tar").recognised());
    assert!(!DOCKER_ARCHIVE.recognise(std::path::Path::new("/")).unwrap());
}

#[test]
fn what_is_no_docker_archive_is_refused_with_advice() {
    Tar::default()
        .file("x", "")
        .refused(Code::Missing, &["manifest.json", "repositories"]);
    let layout = Tar::default()
        .file("oci-layout", "{}")
        .file("index.json", "{}");
    let error = layout.fails();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.advice().unwrap().contains("oci-archive:"), "{error}");
    Tar::default()
        .file("../x", "")
        .refused(Code::Escape, &["../x"]);
}

#[test]
fn a_huge_number_of_names_is_read() {
    let tags: Vec<String> = (0..100_000).map(|i| format!("\"x:{i}\"")).collect();
    let tar = list(&entry(&format!("[{}]", tags.join(",")), "[]"));
    assert_eq!(tar.open().roots().unwrap().len(), 100_000);
}
