//! Locators as users write them, and their meaning.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use imgconv_model::Name;
use imgconv_testkit::{in_directory, unprivileged};
use proptest::prelude::*;

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn source(text: &str) -> Locator {
    Locator::source(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn failure(text: &str) -> Error {
    Locator::source(text).expect_err(text)
}

fn parts(locator: &Locator) -> (&str, &str, Option<String>, Option<&str>) {
    let reference = locator.reference.as_ref().map(ToString::to_string);
    let format = locator.format.map(|format| format.0);
    (
        locator.transport.place().scheme,
        &locator.location,
        reference,
        format,
    )
}

#[test]
fn the_everyday_spelling() {
    for (text, scheme, location, reference) in [
        ("aci:a:b.aci", "aci", "a:b.aci", None),
        ("oci:out", "oci", "out", None),
        ("oci:out:1.0", "oci", "out", Some("1.0")),
        (
            "oci:/out:example.com:5000/x:1",
            "oci",
            "/out",
            Some("example.com:5000/x:1"),
        ),
        ("oci:out:#2", "oci", "out", Some("#2")),
        ("oci:///abs", "oci", "///abs", None),
        ("oci-archive:x.tar:1", "oci-archive", "x.tar", Some("1")),
        ("docker-archive:x.tar", "docker-archive", "x.tar", None),
        ("dir:x", "dir", "x", None),
        (
            "rkt:/x:example.com/app",
            "rkt",
            "/x",
            Some("example.com/app"),
        ),
        ("registry-storage:x:1", "registry-storage", "x", Some("1")),
        ("tree:x", "tree", "x", None),
        ("aci-tree:x:#1", "aci-tree", "x", Some("#1")),
        (
            "docker://busybox",
            "docker",
            "//docker.io/library/busybox",
            None,
        ),
        (
            "docker:busybox:1",
            "docker",
            "//docker.io/library/busybox:1",
            None,
        ),
        (
            "https://a.example/x?y=1",
            "https",
            "//a.example/x?y=1",
            None,
        ),
        (
            "https://a.example/x#1.0",
            "https",
            "//a.example/x",
            Some("1.0"),
        ),
        (
            "https://a.example/x##1",
            "https",
            "//a.example/x",
            Some("#1"),
        ),
        ("http://a.example/x#", "http", "//a.example/x", None),
        (
            "appc:example.com/app:1,os=linux",
            "appc",
            "example.com/app:1,os=linux",
            None,
        ),
        ("appc://example.com/app", "appc", "example.com/app", None),
    ] {
        let found = source(text);
        let reference = reference.map(str::to_owned);
        assert_eq!(parts(&found), (scheme, location, reference, None), "{text}");
    }
}

#[test]
fn the_table_of_image_strings() {
    for (text, scheme, location, format, written) in [
        (
            "dockerv2://x",
            "docker",
            "//docker.io/library/x",
            None,
            Some("docker-v2s2"),
        ),
        (
            "oci://r.example/x:1",
            "docker",
            "//r.example/x:1",
            None,
            Some("oci"),
        ),
        (
            "oci+registry://r.example/x",
            "docker",
            "//r.example/x",
            Some("oci"),
            Some("oci"),
        ),
        (
            "docker-v2s1+registry:r.example/x",
            "docker",
            "//r.example/x",
            Some("docker-v2s1"),
            Some("docker-v2s1"),
        ),
        (
            "aci+https://a.example/x",
            "https",
            "//a.example/x",
            Some("aci"),
            Some("aci"),
        ),
        (
            "docker-v2s2+dir:x",
            "dir",
            "x",
            Some("docker-v2s2"),
            Some("docker-v2s2"),
        ),
    ] {
        let found = source(text);
        assert_eq!(parts(&found), (scheme, location, None, format), "{text}");
        let found = Locator::destination(text).unwrap();
        assert_eq!(parts(&found), (scheme, location, None, written), "{text}");
    }
    for (text, scheme) in [
        ("aci+file:x", "aci"),
        ("oci+file://x", "oci"),
        ("oci+file://x.tar", "oci-archive"),
        ("docker-archive+file:x", "docker-archive"),
        ("docker-v2s1+file:x", "dir"),
        ("x.aci", "aci"),
        ("x", "oci"),
    ] {
        let found = Locator::destination(text).unwrap();
        assert_eq!(found.transport.place().scheme, scheme, "{text}");
    }
}

#[test]
fn the_pair_can_be_given_apart() {
    let found = Locator::source_as(Some("oci"), Some("registry"), "r.example/x:1").unwrap();
    assert_eq!(
        parts(&found),
        ("docker", "//r.example/x:1", None, Some("oci"))
    );
    let found = Locator::source_as(Some("aci"), None, "https://a.example/x").unwrap();
    assert_eq!(parts(&found), ("https", "//a.example/x", None, Some("aci")));
    let found = Locator::destination_as(None, Some("oci-archive"), "x:1").unwrap();
    assert_eq!(parts(&found), ("oci-archive", "x", Some("1".into()), None));
    for (format, text) in [
        (Some("nope"), "oci:x"),
        (Some("aci"), "oci+registry://r.example/x"),
    ] {
        let error = Locator::source_as(format, None, text).unwrap_err();
        assert_eq!(error.code(), Code::Usage, "{text}");
    }
    let error = Locator::source_as(None, Some("nope"), "x").unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
}

#[test]
fn a_bare_text_is_a_path_first_and_a_name_of_appc_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("a:b"), [0; 512]).unwrap();
    assert_eq!(
        parts(&source(&path("a:b"))),
        ("aci", &*path("a:b"), None, None)
    );
    let referring = source(&path("a:b:c/d:e"));
    assert_eq!(
        parts(&referring),
        ("aci", &*path("a:b"), Some("c/d:e".into()), None)
    );
    assert_eq!(
        parts(&source(&format!("file:{}", path("a:b")))).1,
        path("a:b")
    );
    assert_eq!(
        parts(&source(&format!("file://{}", path("a%3Ab")))).1,
        path("a:b")
    );
    assert_eq!(parts(&source("example.com/app:1,os=linux")).0, "appc");
    assert_eq!(parts(&source("-")), ("aci", "-", None, None));
    for text in [
        "file:example.com/app",
        "./example.com/app",
        "example.com/app.aci",
        "busybox",
        "x.tar",
    ] {
        assert_eq!(failure(text).code(), Code::Missing, "{text}");
    }
}

#[test]
fn distribution_points_are_read_and_printed() {
    for (text, scheme, location, reference, format) in [
        (
            "cimd:appc:v=0:example.com/app01",
            "appc",
            "example.com/app01",
            None,
            None,
        ),
        (
            "cimd:appc:v=0:example.com/app01?label01=%3F%26%2A%2F&version=v1.0.0",
            "appc",
            "example.com/app01,label01=?&*/,version=v1.0.0",
            None,
            None,
        ),
        (
            "cimd:docker:v=0:docker.io/library/busybox:1",
            "docker",
            "//docker.io/library/busybox:1",
            None,
            None,
        ),
        (
            "cimd:aci-archive:v=0:https%3A%2F%2Fexample.com%2Fapp.aci%3Fx%3D1",
            "https",
            "//example.com/app.aci?x=1",
            None,
            Some("aci"),
        ),
    ] {
        let found = source(text);
        assert_eq!(
            parts(&found),
            (scheme, location, reference, format),
            "{text}"
        );
        assert_eq!(found.distribution_point().as_deref(), Some(text));
    }
    let tagged = source("appc:example.com/app:2,os=linux");
    assert_eq!(
        tagged.distribution_point().unwrap(),
        "cimd:appc:v=0:example.com/app?os=linux&version=2"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b%?:#.aci");
    std::fs::write(&path, [0; 512]).unwrap();
    let found = source(path.to_str().unwrap());
    let point = found.distribution_point().unwrap();
    assert!(
        point.starts_with("cimd:aci-archive:v=0:file%3A%2F%2F%2F"),
        "{point}"
    );
    assert_eq!(source(&point).location, path.to_str().unwrap());
    let layout = Locator::destination("oci:/x/y:1.0").unwrap();
    assert_eq!(
        layout.distribution_point().unwrap(),
        "cimd:oci-image-layout:v=0:file%3A%2F%2F%2Fx%2Fy?ref=1.0"
    );
    for text in [
        "cimd:",
        "cimd:appc:example.com",
        "cimd:appc:v=1:example.com",
        "cimd:nope:v=0:x",
        "cimd:aci-archive:v=0:ftp%3A%2F%2Fx",
        "cimd:aci-archive:v=0:%zz",
        "cimd:oci-image-layout:v=0:file%3A%2F%2F%2Fx?other=1",
        "cimd:appc:v=0:example.com?a=1&a=2",
    ] {
        assert_eq!(failure(text).code(), Code::Usage, "{text}");
    }
}

#[test]
fn l12_hostile_references() {
    let digest = format!("docker://h.example:5000/repo:tag@sha256:{HEX}");
    assert_eq!(source(&digest).exact(), digest);
    let absolute = "oci:///no/layout:name:1";
    assert_eq!(source(absolute).exact(), absolute);
    assert_eq!(source("docker://[::1]:5000/x").location, "//[::1]:5000/x");
    for text in [
        "docker://h.example/../x",
        "docker://h.example/a%2fb",
        "docker://h\u{f6}st.example/x",
        &format!("docker://h.example/{}", "a".repeat(256)),
        &format!("docker://h.example/a:{}", "t".repeat(129)),
        "appc:../x",
        "appc:a,x=..",
        "oci://h.example/A",
        "oci+registry://",
    ] {
        assert_eq!(failure(text).code(), Code::BadName, "{text}");
    }
    assert_eq!(failure("file://%zz").code(), Code::Usage);
    assert_eq!(failure("").code(), Code::Usage);
    assert_eq!(failure("oci:").code(), Code::Usage);
    assert_eq!(failure("nope+x:out").code(), Code::Unsupported);
    assert_eq!(failure("nope+file:out").code(), Code::Usage);
}

#[test]
fn l13_messages_have_no_secret_of_a_url() {
    let found = source("https://me:hunter2@a.example/x?sig=hunter2#1");
    assert_eq!(found.to_string(), "https://***@a.example/x?…#1");
    assert_eq!(
        found.exact(),
        "https://me:hunter2@a.example/x?sig=hunter2#1"
    );
}

proptest! {
    #[test]
    fn what_is_printed_reads_the_same(
        scheme in prop::sample::select(vec![
            "aci:", "oci:", "oci-archive:", "docker-archive:", "dir:", "oci+oci:", "docker-v2s2+dir:",
            "aci+aci:", "https://h/", "http://h/", "oci+https://h/",
        ]),
        location in "[^\\p{C}:#/@][^\\p{C}:#]{0,12}",
        reference in prop::option::of("[^\\p{C}#@:][^\\p{C}#]{0,12}"),
    ) {
        let text = format!("{scheme}{location}");
        let first = Locator::destination(&text).unwrap();
        prop_assert_eq!(first.exact(), text.clone());
        let reference = reference.filter(|_| first.takes_reference() || first.addressing() == Addressing::Fragment);
        if let Some(reference) = reference {
            let mark = if first.addressing() == Addressing::Fragment { '#' } else { ':' };
            let text = format!("{text}{mark}{reference}");
            prop_assert_eq!(Locator::destination(&text).unwrap().exact(), text);
        }
    }

    #[test]
    fn references_of_registries_read_the_same(
        host in prop::sample::select(vec!["", "h.example/", "h.example:5000/", "localhost/", "[::1]:5000/"]),
        path in "[a-z0-9]{1,4}([._/-][a-z0-9]{1,4}){0,3}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}"),
        digest in any::<bool>(),
    ) {
        let mut reference = format!("{host}{path}");
        if let Some(tag) = &tag {
            reference.push_str(&format!(":{tag}"));
        }
        if digest {
            reference.push_str(&format!("@sha256:{HEX}"));
        }
        prop_assume!(Name::parse_reference(&reference).is_ok());
        // A host without a repository (K18).
        prop_assume!(!host.is_empty() || path.contains('/'));
        let first = Locator::source(&format!("docker://{reference}")).unwrap();
        let again = Locator::source(&first.exact()).unwrap();
        prop_assert_eq!(parts(&again), parts(&first));
        let point = Locator::source(&first.distribution_point().unwrap()).unwrap();
        prop_assert_eq!(parts(&point), parts(&first));
    }

    #[test]
    fn no_text_is_a_panic(text in "(cimd:|docker://|oci:|appc:|file://|oci\\+)?[^\\p{C}]{0,24}") {
        let _ = Locator::source(&text).map(|locator| (locator.exact(), locator.distribution_point()));
        let _ = Locator::destination(&text).map(|locator| locator.exact());
    }
}

#[test]
fn skopeos_spelling_of_a_store_is_a_location_and_a_name() {
    let name = |text: &str| Some(Reference::Name(text.to_owned()));
    for (text, location, reference) in [
        ("containers-storage:busybox:1", "[]", name("busybox:1")),
        (
            "containers-storage:[overlay@/x+/run:a=b]localhost:5000/y:1",
            "[overlay@/x]",
            name("localhost:5000/y:1"),
        ),
        ("containers-storage:/x:busybox:1", "/x", name("busybox:1")),
        ("containers-storage:[overlay@/x]", "[overlay@/x]", None),
        (
            "containers-storage:[a:b@/x]:busybox:1",
            "[a:b@/x]",
            name("busybox:1"),
        ),
    ] {
        let locator = Locator::source(text).unwrap();
        assert_eq!(locator.location, location);
        assert_eq!(locator.reference, reference);
        let again = Locator::source(&locator.exact()).unwrap();
        assert_eq!(
            (again.location, again.reference),
            (locator.location, reference)
        );
    }
}

/// As `sudo -u USER` starts the program in a directory of mode 700.
#[test]
fn k50_names_are_no_paths_in_a_directory_that_cannot_be_searched() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
    let check = || {
        for (text, scheme, location) in [
            ("quay.io/coreos/etcd", "appc", "quay.io/coreos/etcd"),
            ("quay.io/coreos/etcd:3", "appc", "quay.io/coreos/etcd:3"),
            ("containers-storage:busybox:1", "containers-storage", "[]"),
            (
                "containers-storage:docker.io/library/busybox",
                "containers-storage",
                "[]",
            ),
        ] {
            let found = source(text);
            let (found_scheme, found_location, ..) = parts(&found);
            assert_eq!((found_scheme, found_location), (scheme, location), "{text}");
        }
        let error = failure("dockerhub:x");
        assert_eq!(error.code(), Code::Usage, "{error}");
        assert!(error.advice().unwrap().contains("`docker:x`"), "{error:?}");
        assert_eq!(directory("aci:site").unwrap(), "site");
        // A text that is no name, or is written as a path.
        for text in [
            "./quay.io/coreos/etcd",
            "./dockerhub:x",
            ".hidden/x:1",
            "busybox",
            "quay.io/app.aci",
            "file:quay.io/coreos/etcd",
        ] {
            let error = failure(text);
            assert_eq!(error.code(), Code::Io, "{text}: {error}");
            assert!(error.to_string().contains("Permission denied"), "{error}");
        }
    };
    in_directory(folder.path(), || {
        mode(0);
        unprivileged(check);
        mode(0o700);
    });
}

#[test]
fn k50_a_path_below_a_closed_folder_of_that_name_is_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("quay.io");
    fs::create_dir(&closed).unwrap();
    let mode = |mode| fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
    in_directory(folder.path(), || {
        mode(0);
        let error = unprivileged(|| failure("quay.io/coreos/etcd"));
        mode(0o700);
        assert_eq!(error.code(), Code::Io, "{error}");
    });
}

#[test]
fn a_store_whose_relative_path_has_a_colon_is_printed_as_the_same_place() {
    for (scheme, file) in [
        ("containers-storage", "overlay-images/images.json"),
        ("docker-root", "image/overlay2/imagedb/content"),
        (
            "containerd",
            "io.containerd.content.v1.content/blobs/sha256",
        ),
        ("registry-storage", "docker/registry/v2/repositories/x"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a:b").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "[]").unwrap();
        in_directory(folder.path(), || {
            for (text, reference) in [
                ("a:b", None),
                ("./a:b", None),
                ("a:b:busybox", Some("busybox")),
            ] {
                let found = source(text);
                let location = text.trim_end_matches(":busybox");
                let reference = reference.map(str::to_owned);
                let expected = (scheme, location, reference, None);
                assert_eq!(parts(&found), expected, "{text}");
                let exact = found.exact();
                assert_eq!(parts(&source(&exact)), expected, "{exact}");
            }
        });
    }
    let found = source("containers-storage:[overlay@/x]");
    assert_eq!(found.exact(), "containers-storage:[overlay@/x]");
}
