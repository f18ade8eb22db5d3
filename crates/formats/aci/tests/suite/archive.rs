//! Rows H1, H2, H4, H7c and H8: the archive.

use std::io::Write;

use imgconv_format_aci::{Aci, ExpectedImage, decode_stream, recognise_bytes};
use imgconv_model::{Algorithm, Code, Digest, Error, StreamFormat};
use imgconv_stream::digest;
use imgconv_tar::EntryKind;

use crate::build::{
    SMALL, aci, blob, both, decode, decode_with, encode, env, layer, member, names, tar, tar_of,
    warnings,
};

fn fails(bytes: &[u8]) -> (Code, String) {
    let error: Error = both(bytes).unwrap_err();
    (error.code(), error.to_string())
}

#[track_caller]
fn refused(bytes: &[u8], code: Code, names: &str) {
    let (found, message) = fails(bytes);
    assert_eq!(found, code, "{message}");
    assert_eq!(message.matches("test.aci").count(), 1, "{message}");
    assert!(message.contains(names), "{message}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn h1a_duplicates_are_ambiguous() {
    let manifest = format!("manifest={SMALL}");
    for second in ["manifest=x", "rootfs/../manifest=x", "./manifest=x"] {
        refused(
            &tar(&[&manifest, "rootfs/", second]),
            Code::Ambiguous,
            second.split('=').next().unwrap(),
        );
        // The same before the manifest is known.
        refused(
            &tar(&["rootfs/", "rootfs/a=1", "rootfs/./a=2", &manifest]),
            Code::Ambiguous,
            "\"rootfs/a\"",
        );
    }
    refused(
        &aci(SMALL, &["rootfs/a=1", "rootfs/./a=2"]),
        Code::Ambiguous,
        "entry \"rootfs/./a\"",
    );
    refused(
        &aci(SMALL, &["rootfs/a=1", "rootfs/a/"]),
        Code::Ambiguous,
        "\"rootfs/a\"",
    );
    let twice = aci(SMALL, &["rootfs/d/", "rootfs/d/"]);
    assert_eq!(warnings(&twice), ["duplicate-entry"]);
}

#[test]
fn inv6_no_path_lies_below_what_is_no_directory() {
    // A reader that follows the link makes `etc/x`, one that replaces it `l/x`.
    for (members, named) in [
        (
            &["rootfs/l->/etc", "rootfs/l/x=1"][..],
            "\"rootfs/l/x\" lies below \"rootfs/l\"",
        ),
        (
            &["rootfs/l->/etc", "rootfs/l/a/b/x=1"],
            "\"rootfs/l/a/b/x\" lies below \"rootfs/l\"",
        ),
        (
            &["rootfs/f=1", "rootfs/f/x=1"],
            "\"rootfs/f/x\" lies below \"rootfs/f\"",
        ),
        (
            &["rootfs/d/x=1", "rootfs/d=2"],
            "\"rootfs/d\" is no directory and has entries below it",
        ),
        (
            &["rootfs/a/b/c/x=1", "rootfs/a->z"],
            "\"rootfs/a\" is no directory and has entries below it",
        ),
    ] {
        refused(&aci(SMALL, members), Code::Ambiguous, named);
    }
    // A directory may come after what lies in it.
    let late = aci(SMALL, &["rootfs/d/e/x=1", "rootfs/d/", "rootfs/d/e/"]);
    assert_eq!(both(&late).unwrap(), ["./", "d/e/x", "d/", "d/e/"]);
}

#[test]
fn hl_bad_in_the_stream() {
    for (members, named) in [
        (
            &["rootfs/h=>rootfs/nope"][..],
            "entry \"rootfs/h\" › hard link to \"rootfs/nope\": there is no such path",
        ),
        (
            &["rootfs/h=>rootfs/z", "rootfs/z=1"],
            "hard link to \"rootfs/z\": there is no such path before it",
        ),
        (
            &["rootfs/h=>rootfs/h"],
            "hard link to \"rootfs/h\": the hard link leads to itself",
        ),
        (
            &["rootfs/d/", "rootfs/h=>rootfs/d"],
            "a directory can't be the target",
        ),
        (
            &["rootfs/d/x=1", "rootfs/h=>rootfs/d"],
            "a directory can't be the target",
        ),
    ] {
        refused(&aci(SMALL, members), Code::BadTar, named);
    }
    let through = aci(
        SMALL,
        &["rootfs/d/f=1", "rootfs/l->d", "rootfs/h=>rootfs/l/f"],
    );
    refused(
        &through,
        Code::Ambiguous,
        "it leads through \"rootfs/l\", which is no directory",
    );
    let based = SMALL.replacen(
        '{',
        r#"{"dependencies":[{"imageName":"example.com/base"}],"#,
        1,
    );
    let stacked = aci(&based, &["rootfs/h=>rootfs/in-base"]);
    assert_eq!(both(&stacked).unwrap(), ["./", "h=>in-base"]);
}

#[test]
fn inv5_paths_are_bounded_with_the_directories_they_imply() {
    let mut env = env();
    env.limits.entries = 10;
    let deep = aci(SMALL, &["rootfs/1/2/3/4/5/6/7/8/9/10/x=1"]);
    let error = layer(&decode_with(&deep, &env).unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    assert!(error.to_string().contains("the number of paths"), "{error}");
}

#[test]
fn h1b_only_a_manifest_and_a_rootfs() {
    for (bad, what) in [
        ("manifest->x", "a symbolic link"),
        ("manifest=>x", "a hard link"),
        ("manifest/", "a directory"),
        ("manifest|", "a FIFO"),
    ] {
        refused(&tar(&["rootfs/", bad]), Code::BadTar, what);
    }
    let manifest = format!("manifest={SMALL}");
    for (bad, what) in [
        ("rootfs->x", "a symbolic link"),
        ("rootfs=x", "a regular file"),
        ("evil=x", "\"evil\""),
        ("rootfs2/x=x", "\"rootfs2/x\""),
        ("rootfsevil=x", "\"rootfsevil\""),
    ] {
        refused(&tar(&[&manifest, bad]), Code::BadTar, what);
        refused(&tar(&[bad, &manifest]), Code::BadTar, what);
    }
    let mut device = member("manifest");
    device.0.kind = EntryKind::CharDevice;
    refused(&tar_of(&[device]), Code::BadTar, "a character device");
    refused(
        &tar(&["rootfs/", "rootfs/a=1"]),
        Code::Missing,
        "`manifest`",
    );
    refused(&tar(&[&manifest]), Code::Missing, "`rootfs`");
    assert_eq!(
        warnings(&tar(&[&manifest, "rootfs/a=1"])),
        ["implied-rootfs"]
    );
}

#[test]
fn h1c_names_that_leave_the_archive() {
    refused(&tar(&["../manifest=x"]), Code::Escape, "../manifest");
    refused(&aci(SMALL, &["rootfs/../../x=x"]), Code::Escape, "../../x");
}

#[test]
fn h1d_spelling_place_and_size_of_the_manifest() {
    let manifest = format!("./manifest={SMALL}");
    let expected = ["./", "a", "d/", "d/b"];
    let members = ["./rootfs/", "./rootfs/a=1", "./rootfs/d/", "./rootfs/d/b=2"];
    let mut first = vec!["./", &*manifest];
    first.extend(members);
    assert_eq!(both(&tar(&first)).unwrap(), expected);
    let mut last = members.to_vec();
    last.push(&manifest);
    assert_eq!(both(&tar(&last)).unwrap(), expected);
    let mut env = env();
    env.limits.aci_manifest = 20;
    let error = decode_with(&aci(SMALL, &[]), &env).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    assert!(error.to_string().contains("aci_manifest"), "{error}");
}

#[test]
fn h2_names_that_leave_the_rootfs_on_the_way_in() {
    let mut image = decode(&aci(SMALL, &[])).unwrap().image;
    for bad in [
        "../manifest=x",
        "../../../../evil=x",
        "a=>../../../../../../etc/passwd",
    ] {
        image.layers[0].blob = blob(&tar(&["./", bad]));
        let error = encode(&image).unwrap_err();
        assert_eq!(error.code(), Code::Escape, "{error}");
        let (name, _) = bad.split_once('=').unwrap();
        assert!(
            error.to_string().contains(&format!("entry \"{name}\"")),
            "{error}"
        );
    }
}

#[test]
fn h2b_whiteout_names() {
    for bad in ["rootfs/.wh.x=", "rootfs/d/.wh..wh..opq=", "rootfs/.wh.d/x="] {
        let (name, _) = bad.split_once('=').unwrap();
        refused(&aci(SMALL, &[bad]), Code::Unsupported, name);
    }
    let mut image = decode(&aci(SMALL, &[])).unwrap().image;
    image.layers[0].blob = blob(&tar(&["d/.wh.x="]));
    assert_eq!(encode(&image).unwrap_err().code(), Code::Unsupported);
    image.layers[0].blob = blob(&tar(&["a=1", "./a=2"]));
    assert_eq!(encode(&image).unwrap_err().code(), Code::Ambiguous);
}

#[test]
fn the_rootfs_is_the_layer_and_comes_back() {
    let members = [
        "rootfs/bin/",
        "rootfs/bin/sh=#!",
        "rootfs/bin/ash=>rootfs/bin/sh",
        "rootfs/bin/x->../rootfs/y",
        "rootfs/manifest=inner",
        "rootfs/pipe|",
    ];
    let bytes = aci(SMALL, &members);
    let decoded = decode(&bytes).unwrap();
    let tar = layer(&decoded).unwrap();
    assert_eq!(
        names(&tar),
        [
            "./",
            "bin/",
            "bin/sh",
            "bin/ash=>bin/sh",
            "bin/x->../rootfs/y",
            "manifest",
            "pipe|"
        ]
    );
    let (again, report) = encode(&decoded.image).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(again, bytes, "the ACI comes back byte for byte");
}

#[test]
fn the_mode_of_the_rootfs_is_kept() {
    let mut root = member("rootfs/");
    (root.0.mode, root.0.uid) = (0o1750, 7);
    let bytes = tar_of(&[
        member(&format!("manifest={SMALL}")),
        root,
        member("rootfs/a=1"),
    ]);
    let decoded = decode(&bytes).unwrap();
    assert_eq!(encode(&decoded.image).unwrap().0, bytes);
    // A layer without a root entry, and one with a late one.
    let mut image = decoded.image;
    image.layers[0].blob = blob(&tar(&["a=1"]));
    let plain = encode(&image).unwrap().0;
    assert_eq!(names(&plain), ["manifest", "rootfs/", "rootfs/a"]);
    image.layers[0].blob = blob(&tar(&["a=1", "./"]));
    assert_eq!(encode(&image).unwrap().0, plain);
    image.layers.clear();
    assert_eq!(names(&encode(&image).unwrap().0), ["manifest", "rootfs/"]);
}

#[test]
fn hard_links_are_relative_to_the_archive() {
    for (target, warned) in [
        ("rootfs/a", false),
        ("./rootfs/a", false),
        ("/a", true),
        ("a", true),
    ] {
        let bytes = aci(SMALL, &["rootfs/a=1", &format!("rootfs/b=>{target}")]);
        assert_eq!(both(&bytes).unwrap(), ["./", "a", "b=>a"], "{target}");
        let expected = if warned {
            &["link-without-prefix"][..]
        } else {
            &[]
        };
        assert_eq!(warnings(&bytes), expected, "{target}");
    }
    for target in [
        "manifest",
        "rootfs",
        "rootfs/../manifest",
        "../x",
        "rootfs/../../x",
    ] {
        let bytes = aci(SMALL, &["rootfs/a=1", &format!("rootfs/b=>{target}")]);
        refused(&bytes, Code::Escape, "entry \"rootfs/b\"");
    }
}

#[test]
fn h4_the_image_id_is_the_sha512_of_the_uncompressed_tar() {
    let plain = aci(SMALL, &["rootfs/a=hello"]);
    let expected = digest(Algorithm::Sha512, &plain);
    let (begin, end) = plain.split_at(700);
    let members = [gzip(begin), gzip(end)].concat();
    for stored in [
        plain.clone(),
        gzip(&plain),
        members,
        bzip2(&plain),
        xz(&plain),
    ] {
        let decoded = decode(&stored).unwrap();
        assert_eq!(decoded.image_id.get(), None);
        assert_eq!(names(&layer(&decoded).unwrap()), ["./", "a"]);
        assert_eq!(decoded.image_id.get(), Some(&expected));
        assert_eq!(expected.image_id().len(), "sha512-".len() + 128);
        let wanted = ExpectedImage {
            id: Some(expected),
            size: Some(stored.len() as u64),
        };
        let decoded = decode_stream(&blob(&stored), "x", &wanted, &env()).unwrap();
        layer(&decoded).unwrap();
        assert!(Aci.recognise(&blob(&stored)));
    }
    // Zeros after the last member are no part of the image (G2a); anything else is refused (G2b).
    let decoded = decode(&[gzip(&plain), vec![0; 512]].concat()).unwrap();
    layer(&decoded).unwrap();
    assert_eq!(decoded.image_id.get(), Some(&expected));
    let garbage = [gzip(&plain), b"GARBAGE".to_vec()].concat();
    refused(&garbage, Code::BadCompression, "test.aci");
}

#[test]
fn h3c_image_id_and_size_are_verified_while_streaming() {
    let plain = aci(SMALL, &["rootfs/a=hello"]);
    let stored = gzip(&plain);
    let open = |expected: ExpectedImage| {
        let decoded = decode_stream(&blob(&stored), "x", &expected, &env())?;
        layer(&decoded)
    };
    let size = |size: usize| ExpectedImage {
        id: None,
        size: Some(size as u64),
    };
    open(size(stored.len())).unwrap();
    open(size(plain.len())).unwrap();
    for wrong in [1, stored.len() + 1, plain.len() - 1, plain.len() + 1] {
        let error = open(size(wrong)).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch);
        assert!(
            error
                .to_string()
                .contains(&format!("expected {wrong} bytes")),
            "{error}"
        );
    }
    let other = ExpectedImage {
        id: Some(Digest::new(Algorithm::Sha512, &[7; 64])),
        size: None,
    };
    let error = open(other).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    assert!(
        error
            .to_string()
            .contains("image ID does not match: expected sha512-0707"),
        "{error}"
    );
}

#[test]
fn h7c_h8_pgp_is_recognised_and_refused_by_name() {
    let encrypted: [&[u8]; 4] = [
        b"-----BEGIN PGP MESSAGE-----\n\nhQ",
        &[0x8c, 0x0d, 0x04, 0x09, 0x03, 0x02, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xc3, 0x0d, 0x04, 0x09, 0x03, 0x02, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x85, 0x01, 0x0c, 0x03, 1, 2, 3, 4, 5, 6, 7, 8],
    ];
    for bytes in encrypted {
        assert!(recognise_bytes(bytes));
        refused(bytes, Code::Unsupported, "encrypted");
    }
    let signed: [&[u8]; 3] = [
        b"-----BEGIN PGP SIGNED MESSAGE-----\n",
        &[0xa3, 0x01, 0x00, 0x01],
        &[0x90, 0x0d, 0x03, 0x00, 0x08],
    ];
    for bytes in signed {
        assert!(recognise_bytes(bytes));
        refused(bytes, Code::Unsupported, "inline-signed");
    }
    for length in [0, 1, 100, 511] {
        assert!(!recognise_bytes(&vec![b'x'; length]));
        let (code, message) = fails(&vec![b'x'; length]);
        assert_eq!(code, Code::BadTar, "{length}: {message}");
    }
}

#[test]
fn what_an_aci_is_and_what_not() {
    let manifest = format!("manifest={SMALL}");
    let yes = [
        aci(SMALL, &[]),
        tar(&[
            "./",
            &manifest.replace("manifest=", "./manifest="),
            "./rootfs/",
        ]),
        tar(&["rootfs/a=1"]),
        tar(&["evil=", &manifest]),
        gzip(&aci(SMALL, &[])),
        // A prefix of a large one.
        gzip(&aci(SMALL, &[&format!("rootfs/a={}", "x".repeat(1 << 20))]))[..400].to_vec(),
    ];
    for (i, bytes) in yes.iter().enumerate() {
        assert!(recognise_bytes(bytes), "{i}");
    }
    let no = [
        tar(&["oci-layout={}", "index.json={}", "blobs/"]),
        tar(&["manifest.json=[]", "repositories={}"]),
        tar(&["bin/", "bin/sh=x"]),
        b"{\"manifests\":[]}".to_vec(),
        b"\x28\xb5\x2f\xfd".to_vec(),
        vec![0; 2048],
        b"\x89PNG\r\n\x1a\n".to_vec(),
    ];
    for (i, bytes) in no.iter().enumerate() {
        assert!(!recognise_bytes(bytes), "{i}");
    }
    let mut broken = aci(SMALL, &[]);
    broken[148] = b'7';
    assert!(
        recognise_bytes(&broken),
        "the error shall say what is wrong with it"
    );
    refused(&broken, Code::BadTar, "checksum");
}

#[test]
fn a_user_that_is_a_path_is_the_owner_of_that_file() {
    let manifest = |user: &str, group: &str| {
        format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x","app":{{"exec":["/a"],"user":"{user}","group":"{group}"}}}}"#
        )
    };
    let archive = |user: &str, group: &str| {
        let mut ping = member("rootfs/usr/bin/ping=x");
        (ping.0.uid, ping.0.gid) = (12, 34);
        tar_of(&[
            member("rootfs/"),
            member("rootfs/bin->usr/bin"),
            ping,
            member("rootfs/usr/bin/ping6->/bin/ping"),
            member("rootfs/usr/bin/hard=>rootfs/usr/bin/ping"),
            member("rootfs/loop->loop"),
            member(&format!("manifest={}", manifest(user, group))),
        ])
    };
    for (user, group, expected) in [
        ("/usr/bin/ping", "/usr/bin/ping", "12:34"),
        ("/bin/ping6", "5", "12:5"),
        ("root", "/usr/bin/hard", "root:34"),
    ] {
        let decoded = decode(&archive(user, group)).unwrap();
        assert_eq!(decoded.image.config.user.as_deref(), Some(expected));
        let (again, report) = encode(&decoded.image).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert!(crate::build::manifest_of(&again).contains(&format!(r#""user":"{user}""#)));
    }
    let error = decode(&archive("/nope", "0")).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(
        error
            .to_string()
            .contains("field app.user: the file \"/nope\""),
        "{error}"
    );
    let error = decode(&archive("/loop", "0")).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
}

#[test]
fn no_damage_of_an_aci_is_fatal() {
    let bytes = aci(SMALL, &["rootfs/a=1", "rootfs/b=>rootfs/a"]);
    imgconv_testkit::laws::hostile(&bytes, both);
}
