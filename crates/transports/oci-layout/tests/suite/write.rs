//! Writing a layout directory: all at once, next to what is there (robustness D5 to D15).

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::Command,
};

use imgconv_model::{Code, Digest, FormatId, Name, Platform, Publication, Transport};
use imgconv_transport_oci_layout::{OCI_LAYOUT, RefName, create_with};
use tempfile::TempDir;

use crate::fixture::{
    Layout, MANIFEST, create, descriptor, env, publication, put, read, sha256, tree,
};

// sha256 of "one"
const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";

/// Adds one image to a layout.
fn add(path: &Path, bytes: &[u8], name: &str) -> Vec<String> {
    let sink = create(path);
    put(&*sink, bytes);
    sink.commit(&[publication(bytes, Some(name))]).unwrap()
}

fn index(path: &Path) -> String {
    fs::read_to_string(path.join("index.json")).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let bundle = OCI_LAYOUT.open(path.to_str().unwrap(), &env()).unwrap();
    let roots = bundle.roots().unwrap();
    for root in &roots {
        bundle.root(root).unwrap();
    }
    roots.iter().map(|root| root.texts[0].clone()).collect()
}

#[test]
fn a_new_layout_appears_at_the_commit() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new");
    let sink = create(&path);
    assert_eq!(OCI_LAYOUT.place().formats(), [FormatId::OCI]);
    assert!(!sink.has(&sha256(b"one"), 3).unwrap());
    put(&*sink, b"one");
    put(&*sink, b"layer");
    assert!(sink.has(&sha256(b"one"), 3).unwrap());
    assert!(!sink.has(&sha256(b"one"), 4).unwrap());
    assert!(!path.exists());
    let places = sink
        .commit(&[publication(b"one", Some("a.io/x:v1"))])
        .unwrap();
    assert_eq!(places, [format!("oci:{}:a.io/x:v1", path.display())]);
    let found = tree(dir.path());
    let layer = format!("new/blobs/sha256/{}", sha256(b"layer").hex());
    let expected: Vec<String> = [
        "new/",
        "new/blobs/",
        "new/blobs/sha256/",
        &format!("new/blobs/sha256/{ONE}"),
        &layer,
        "new/index.json",
        "new/oci-layout",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut sorted = expected.clone();
    sorted.sort();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), sorted);
    assert_eq!(found[&layer], b"layer");
    assert_eq!(
        found["new/oci-layout"],
        br#"{"imageLayoutVersion":"1.0.0"}"#
    );
    assert_eq!(
        index(&path),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"{MANIFEST}","digest":"sha256:{ONE}","size":3,"annotations":{{"io.containerd.image.name":"a.io/x:v1","org.opencontainers.image.ref.name":"a.io/x:v1"}}}}]}}"#
        )
    );
    assert_eq!(path.metadata().unwrap().mode() & 0o700, 0o700);
}

#[test]
fn names_are_written_as_asked() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new");
    let sink = create_with(path.to_str().unwrap(), &env(), RefName::Tag).unwrap();
    for bytes in [&b"one"[..], b"two", b"three", b"four"] {
        put(&*sink, bytes);
    }
    let given = Publication {
        reference: Some("Mine".into()),
        ..publication(b"three", Some("a.io/x:v1"))
    };
    let tag = Publication {
        name: Some(Name {
            tag: Some("t".into()),
            ..Name::default()
        }),
        ..publication(b"four", None)
    };
    let list = [
        publication(b"one", Some("a.io/x:v1")),
        publication(b"two", None),
        given,
        tag,
    ];
    let places = sink.commit(&list).unwrap();
    let digest = sha256(b"two");
    let expected = ["a.io/x:v1", &format!("@{digest}"), "a.io/x:Mine", "t"]
        .map(|text| format!("oci:{}:{text}", path.display()));
    assert_eq!(places, expected);
    let roots = OCI_LAYOUT
        .open(path.to_str().unwrap(), &env())
        .unwrap()
        .roots()
        .unwrap();
    let texts: Vec<String> = roots.iter().map(|root| root.texts.join(" ")).collect();
    assert_eq!(texts, ["v1 a.io/x:v1", "", "Mine a.io/x:Mine", "t"]);
    assert!(roots[1].child.as_ref().unwrap().annotations.is_empty());
}

#[test]
fn inv3_what_a_layout_holds_is_kept_byte_for_byte() {
    let layout = Layout::new();
    let path = layout.path("");
    layout.blob(b"old");
    let old = format!(
        "{{ \"digest\" : \"{}\",\n \"x\":1e3, \"mediaType\":\"a/\\u0062\",\t\"size\":3 }}",
        sha256(b"old")
    );
    layout.write(
        "index.json",
        format!("{{\"x-first\": [1.50], \"schemaVersion\":2,\n\"manifests\": [ {old} ] , \"annotations\":{{\"a\":\"\\u0062\"}}}}\n"),
    );
    layout.write("manifest.json", "[]");
    add(&path, b"one", "a.io/x:v1");
    let text = index(&path);
    let before =
        format!(r#"{{"x-first":[1.50],"schemaVersion":2,"manifests":[{old},{{"mediaType":"#);
    assert!(text.starts_with(&before), "{text}");
    assert!(
        text.ends_with(r#"}],"annotations":{"a":"\u0062"}}"#),
        "{text}"
    );
    assert!(layout.path("manifest.json").exists());
    assert_eq!(
        read(&layout.open().blob(&crate::fixture::facts(b"old")).unwrap()).unwrap(),
        b"old"
    );
}

#[test]
fn a_tag_that_moves_keeps_its_place() {
    let layout = Layout::new();
    let path = layout.path("");
    for (bytes, name) in [
        (&b"one"[..], "a.io/x:v1"),
        (b"two", "a.io/x:v2"),
        (b"one", "a.io/x:v3"),
    ] {
        add(&path, bytes, name);
    }
    assert_eq!(names(&path), ["a.io/x:v1", "a.io/x:v2", "a.io/x:v3"]);
    add(&path, b"three", "a.io/x:v2");
    assert_eq!(names(&path), ["a.io/x:v1", "a.io/x:v2", "a.io/x:v3"]);
    let roots = layout.open().roots().unwrap();
    assert_eq!(roots[1].child.as_ref().unwrap().digest, sha256(b"three"));
    // The same image under the same name changes nothing, not even the file.
    let inode = fs::metadata(layout.path("index.json")).unwrap().ino();
    add(&path, b"three", "a.io/x:v2");
    assert_eq!(
        fs::metadata(layout.path("index.json")).unwrap().ino(),
        inode
    );
    // Without a name it is listed once.
    for _ in 0..2 {
        let sink = create(&path);
        put(&*sink, b"four");
        sink.commit(&[publication(b"four", None)]).unwrap();
    }
    assert_eq!(layout.open().roots().unwrap().len(), 4);
}

#[test]
fn properties_of_a_descriptor_survive_a_copy() {
    let layout = Layout::new();
    let mut wanted = publication(b"one", Some("a.io/x:v1"));
    wanted.root.platform = Some(Platform::new("windows", "amd64"));
    wanted.root.raw = descriptor(
        b"one",
        r#","platform":{"os":"windows","os.version":"10.0","architecture":"amd64"},"artifactType":"a/b","annotations":{"org.opencontainers.image.ref.name":"old","k":"v"}"#,
    );
    wanted.root.annotations = [
        (
            "org.opencontainers.image.ref.name".to_owned(),
            "old".to_owned(),
        ),
        ("k".to_owned(), "v".to_owned()),
    ]
    .into();
    let sink = create(&layout.path(""));
    put(&*sink, b"one");
    sink.commit(&[wanted]).unwrap();
    let roots = layout.open().roots().unwrap();
    let raw = &roots[0].child.as_ref().unwrap().raw;
    assert_eq!(
        *raw,
        format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"sha256:{ONE}","size":3,"platform":{{"os":"windows","os.version":"10.0","architecture":"amd64"}},"artifactType":"a/b","annotations":{{"io.containerd.image.name":"a.io/x:v1","k":"v","org.opencontainers.image.ref.name":"a.io/x:v1"}}}}"#
        )
    );
}

#[test]
fn inv4_a_sink_that_is_dropped_leaves_no_trace() {
    let layout = Layout::new();
    fs::create_dir(layout.directory.path().join("empty")).unwrap();
    let before = tree(layout.directory.path());
    for name in ["layout", "empty", "new"] {
        let sink = create(&layout.directory.path().join(name));
        put(&*sink, b"complete");
        let mut writer = sink.writer().unwrap();
        writer.write_all(b"incomplete").unwrap();
        drop(sink);
        drop(writer);
        assert_eq!(tree(layout.directory.path()), before, "{name}");
    }
}

#[test]
fn inv4_a_commit_that_fails_leaves_no_trace() {
    let layout = Layout::new();
    let before = tree(layout.directory.path());
    for name in ["layout", "new"] {
        let sink = create(&layout.directory.path().join(name));
        put(&*sink, b"one");
        // A root that nobody wrote would dangle.
        let list = [
            publication(b"one", None),
            publication(b"absent", Some("a.io/x")),
        ];
        let error = sink.commit(&list).unwrap_err();
        assert_eq!(error.code(), Code::Missing, "{error}");
        assert!(
            error.message().contains(&sha256(b"absent").to_string()),
            "{error}"
        );
        assert_eq!(tree(layout.directory.path()), before, "{name}");
    }
    // A wrong size.
    let sink = create(&layout.path(""));
    let mut writer = sink.writer().unwrap();
    writer.write_all(b"abc").unwrap();
    let error = writer.finish(&sha256(b"abc"), 4).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    drop(sink);
    assert_eq!(tree(layout.directory.path()), before);
    // A name that can't be read back.
    let sink = create(&layout.path(""));
    put(&*sink, b"one");
    let bad = Publication {
        reference: Some("../x".into()),
        ..publication(b"one", None)
    };
    assert_eq!(sink.commit(&[bad]).unwrap_err().code(), Code::BadName);
    assert_eq!(tree(layout.directory.path()), before);
}

#[test]
fn what_is_no_layout_is_not_touched() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("full")).unwrap();
    fs::write(path("full/thesis.txt"), "x").unwrap();
    fs::write(path("file"), "x").unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    let before = tree(dir.path());
    for (name, code, what) in [
        ("full", Code::Denied, "thesis.txt"),
        ("file", Code::Denied, "file"),
        ("dangling", Code::Denied, "dangling"),
        ("absent/new", Code::Io, "absent"),
    ] {
        let error = OCI_LAYOUT
            .create(path(name).to_str().unwrap(), &env())
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(tree(dir.path()), before);
    }
    for name in ["", "-"] {
        assert_eq!(
            OCI_LAYOUT.create(name, &env()).unwrap_err().code(),
            Code::Usage
        );
    }
    // A layout that is damaged.
    let layout = Layout::new();
    for (name, text, code) in [
        ("index.json", "{", Code::BadJson),
        (
            "oci-layout",
            r#"{"imageLayoutVersion":"2.0.0"}"#,
            Code::Unsupported,
        ),
    ] {
        layout.write(name, text);
        let error = OCI_LAYOUT
            .create(layout.path("").to_str().unwrap(), &env())
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[test]
fn an_empty_directory_becomes_a_layout() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("empty");
    fs::create_dir(&path).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    add(&path, b"one", "a.io/x:v1");
    assert_eq!(names(&path), ["a.io/x:v1"]);
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    assert_eq!(
        tree(&path)
            .keys()
            .filter(|name| name.starts_with('.'))
            .count(),
        0
    );
}

#[test]
fn d5_a_damaged_blob_is_replaced() {
    for damaged in ["", "on", "xxx", "one and more"] {
        let layout = Layout::new();
        fs::write(layout.blob_path(b"one"), damaged).unwrap();
        let sink = create(&layout.path(""));
        assert!(!sink.has(&sha256(b"one"), 3).unwrap(), "{damaged}");
        put(&*sink, b"one");
        sink.commit(&[publication(b"one", Some("a.io/x:v1"))])
            .unwrap();
        assert_eq!(fs::read(layout.blob_path(b"one")).unwrap(), b"one");
        assert_eq!(names(&layout.path("")), ["a.io/x:v1"]);
    }
    // An intact one is found, and need not be written.
    let layout = Layout::new();
    layout.blob(b"one");
    let sink = create(&layout.path(""));
    assert!(sink.has(&sha256(b"one"), 3).unwrap());
    assert!(!sink.has(&sha256(b"one"), 2).unwrap());
    sink.commit(&[publication(b"one", Some("a.io/x:v1"))])
        .unwrap();
    assert_eq!(names(&layout.path("")), ["a.io/x:v1"]);
}

#[test]
fn d6_what_a_killed_run_leaves_is_no_obstacle() {
    let dir = TempDir::new().unwrap();
    // In the order in which a run makes them in an empty directory.
    let path = dir.path().join("out");
    for step in 0..4 {
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join(".imgconv-dead")).unwrap();
        fs::write(path.join(".imgconv-dead/0"), "x").unwrap();
        if step > 0 {
            fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        }
        if step > 1 {
            fs::write(path.join(format!("blobs/sha256/{ONE}")), "one").unwrap();
        }
        if step > 2 {
            fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        }
        add(&path, b"one", "a.io/x:v1");
        assert_eq!(names(&path), ["a.io/x:v1"], "step {step}");
    }
}

#[test]
fn d8_sixteen_writers_of_one_layout_lose_nothing() {
    for exists in ["layout", "empty", "absent"] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("out");
        match exists {
            "layout" => drop(add(&path, b"first", "a.io/x:first")),
            "empty" => fs::create_dir(&path).unwrap(),
            _ => {}
        }
        let sinks: Vec<_> = (0..16).map(|_| create(&path)).collect();
        std::thread::scope(|scope| {
            for (i, sink) in sinks.into_iter().enumerate() {
                scope.spawn(move || {
                    // All write this one, and two of them each of these.
                    put(&*sink, b"shared");
                    let bytes = format!("image {}", i / 2);
                    put(&*sink, bytes.as_bytes());
                    let name = format!("a.io/x:t{i}");
                    sink.commit(&[publication(bytes.as_bytes(), Some(&name))])
                        .unwrap();
                });
            }
        });
        let mut found = names(&path);
        found.retain(|name| name != "a.io/x:first");
        found.sort();
        let mut expected: Vec<String> = (0..16).map(|i| format!("a.io/x:t{i}")).collect();
        expected.sort();
        assert_eq!(found, expected, "{exists}");
        let left: Vec<String> = tree(dir.path())
            .into_keys()
            .filter(|name| name.contains("imgconv") || name.contains("partial"))
            .collect();
        assert_eq!(left, Vec::<String>::new(), "{exists}");
    }
}

/// D8b: another machine holds the lock of `oci-layout`, and no lock of the directory that is seen here.
#[test]
fn d8b_a_writer_waits_for_that_of_another_machine_and_reads_the_index_after_it() {
    let layout = Layout::new();
    let path = layout.path("");
    let marker = || {
        let options = fs::File::options().read(true).write(true).to_owned();
        options.open(layout.path("oci-layout")).unwrap()
    };
    let held = marker();
    assert!(imgconv_fs::try_lock_file(&held).unwrap());
    let sink = create(&path);
    put(&*sink, b"here");
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || sink.commit(&[publication(b"here", Some("a.io/x:here"))]));
        // The writer has the lock of the directory while it waits for the other one.
        let directory = fs::File::open(&path).unwrap();
        while !writer.is_finished() && directory.try_lock().is_ok() {
            directory.unlock().unwrap();
            std::thread::yield_now();
        }
        assert!(!writer.is_finished());
        let name = r#""org.opencontainers.image.ref.name":"there""#;
        let text = layout.manifest(b"there", name);
        layout.list(&[&text]);
        drop(held);
        writer.join().unwrap().unwrap();
    });
    let mut found = names(&path);
    found.sort();
    assert_eq!(found, ["a.io/x:here", "there"]);
    // The lock is free again, and the file was not replaced.
    assert!(imgconv_fs::try_lock_file(marker()).unwrap());
}

/// D8b: an empty directory gets its `oci-layout` before its lock; a commit that fails takes it away.
#[test]
fn d8b_a_commit_that_fails_leaves_an_empty_directory_empty() {
    let dir = TempDir::new().unwrap();
    let sink = create(dir.path());
    let error = sink.commit(&[publication(b"never", Some("a.io/x:v1"))]);
    assert_eq!(error.unwrap_err().code(), Code::Missing);
    assert_eq!(tree(dir.path()).len(), 0);
    add(dir.path(), b"one", "a.io/x:v1");
    assert_eq!(names(dir.path()), ["a.io/x:v1"]);
}

#[test]
fn d9_a_read_only_destination_is_an_error() {
    if rustix::process::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "skipped: root may write anywhere");
        return;
    }
    let dir = TempDir::new().unwrap();
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o500),
    )
    .unwrap();
    let path = dir.path().join("new");
    let error = OCI_LAYOUT
        .create(path.to_str().unwrap(), &env())
        .unwrap_err();
    assert_eq!(error.code(), Code::Io);
}

#[test]
fn d12_a_blob_with_two_links_is_never_opened_for_writing() {
    let layout = Layout::new();
    let other = layout.directory.path().join("other");
    fs::write(&other, "xxx").unwrap();
    fs::hard_link(&other, layout.blob_path(b"one")).unwrap();
    add(&layout.path(""), b"one", "a.io/x:v1");
    assert_eq!(fs::read(&other).unwrap(), b"xxx");
    assert_eq!(fs::read(layout.blob_path(b"one")).unwrap(), b"one");
}

#[test]
fn d13a_links_are_replaced_or_refused_and_their_targets_unchanged() {
    let layout = Layout::new();
    let outside = layout.directory.path().join("outside");
    fs::write(&outside, "one").unwrap();
    symlink(&outside, layout.blob_path(b"one")).unwrap();
    let sink = create(&layout.path(""));
    assert!(!sink.has(&sha256(b"one"), 3).unwrap());
    put(&*sink, b"one");
    fs::write(&outside, "untouched").unwrap();
    sink.commit(&[publication(b"one", Some("a.io/x:v1"))])
        .unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    assert!(!layout.blob_path(b"one").is_symlink());
    // A directory that leads out is never written to.
    for name in ["blobs/sha256", "blobs", "index.json", "oci-layout"] {
        let layout = Layout::new();
        let away = layout.directory.path().join("away");
        fs::rename(layout.path(name), &away).unwrap();
        symlink(&away, layout.path(name)).unwrap();
        let before = tree(layout.directory.path());
        let error = OCI_LAYOUT
            .create(layout.path("").to_str().unwrap(), &env())
            .unwrap_err();
        assert_eq!(error.code(), Code::Escape, "{name}: {error}");
        // The option that follows links is for reading.
        let advice = error.advice().unwrap();
        assert!(
            advice.contains("nothing is written through links"),
            "{advice}"
        );
        assert_eq!(tree(layout.directory.path()), before);
    }
    // The same, put there between the start and the commit.
    let layout = Layout::new();
    let sink = create(&layout.path(""));
    put(&*sink, b"one");
    let away = layout.directory.path().join("away");
    fs::rename(layout.path("blobs"), &away).unwrap();
    symlink(&away, layout.path("blobs")).unwrap();
    let error = sink.commit(&[publication(b"one", None)]).unwrap_err();
    assert_eq!(error.code(), Code::Escape, "{error}");
    assert_eq!(tree(&away).len(), 1, "only the empty directory sha256");
}

#[test]
fn d13b_one_name_for_two_images_is_ambiguous() {
    let layout = Layout::new();
    let before = tree(layout.directory.path());
    let sink = create(&layout.path(""));
    put(&*sink, b"one");
    put(&*sink, b"two");
    let list = [
        publication(b"one", Some("a.io/x:v1")),
        publication(b"two", Some("a.io/x:v1")),
    ];
    let error = sink.commit(&list).unwrap_err();
    assert_eq!(error.code(), Code::Ambiguous, "{error}");
    for what in ["a.io/x:v1", ONE, &sha256(b"two").to_string()] {
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(tree(layout.directory.path()), before);
}

#[test]
fn d15_modes_follow_the_umask_and_are_never_too_wide() {
    // The umask belongs to the whole process, so each one is tried in a process of its own.
    for (umask, directories, files) in [
        ("000", 0o755, 0o644),
        ("022", 0o755, 0o644),
        ("077", 0o700, 0o600),
        ("777", 0o700, 0o600),
    ] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("new");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "write::make_a_layout_here", "--nocapture"])
            .env("TEST_OUTPUT", &path)
            .env("TEST_UMASK", umask)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let mode = |name: &str| path.join(name).metadata().unwrap().mode() & 0o7777;
        for name in ["", "blobs", "blobs/sha256"] {
            assert_eq!(mode(name), directories, "umask {umask}, {name}");
        }
        for name in ["oci-layout", "index.json", &format!("blobs/sha256/{ONE}")] {
            assert_eq!(mode(name), files, "umask {umask}, {name}");
        }
        assert_eq!(names(&path), ["a.io/x:v1"]);
    }
}

#[test]
fn make_a_layout_here() {
    let Some(path) = std::env::var_os("TEST_OUTPUT") else {
        return;
    };
    let umask = std::env::var_os("TEST_UMASK").unwrap();
    let umask = u32::from_str_radix(umask.to_str().unwrap(), 8).unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    let path = Path::new(&path);
    let sink = create(path);
    // The work directory is nobody else's.
    let above = path.parent().unwrap();
    let work: Vec<u32> = fs::read_dir(above)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().mode() & 0o7777)
        .collect();
    assert_eq!(work, [0o700]);
    put(&*sink, b"one");
    sink.commit(&[publication(b"one", Some("a.io/x:v1"))])
        .unwrap();
}

#[test]
fn a_cancelled_commit_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    let env = env();
    let path = dir.path().join("new");
    let sink = OCI_LAYOUT.create(path.to_str().unwrap(), &env).unwrap();
    put(&*sink, b"one");
    env.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = sink.commit(&[publication(b"one", None)]).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    assert_eq!(tree(dir.path()).len(), 0);
}

#[test]
fn sha512_blobs_have_their_own_directory() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new");
    let sink = create(&path);
    let long: Digest = imgconv_stream::digest(imgconv_model::Algorithm::Sha512, b"long");
    let mut writer = sink.writer().unwrap();
    writer.write_all(b"long").unwrap();
    writer.finish(&long, 4).unwrap();
    sink.commit(&[]).unwrap();
    let bundle = OCI_LAYOUT.open(path.to_str().unwrap(), &env()).unwrap();
    assert_eq!(bundle.stored().unwrap().unwrap(), [long]);
}

#[test]
fn d7_a_full_disk_names_the_path_and_leaves_no_trace() {
    // A limit on the size of files stands for a small file system; its signal is ignored.
    for scheme in ["oci", "oci-archive"] {
        let layout = Layout::new();
        add(&layout.path(""), b"one", "a.io/x:v1");
        let name = if scheme == "oci" { "" } else { "a.tar" };
        let before = tree(layout.directory.path());
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "write::write_too_much_here", "--nocapture"])
            .env("TEST_SCHEME", scheme)
            .env("TEST_OUTPUT", layout.path(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("code io"), "{text}");
        let path = layout.path("").to_str().unwrap().to_owned();
        assert!(text.contains(&path), "{text}");
        assert_eq!(tree(layout.directory.path()), before);
    }
}

#[test]
fn write_too_much_here() {
    let (Some(scheme), Some(path)) = (
        std::env::var_os("TEST_SCHEME"),
        std::env::var_os("TEST_OUTPUT"),
    ) else {
        return;
    };
    let transport: &dyn Transport = if scheme == "oci" {
        &OCI_LAYOUT
    } else {
        &imgconv_transport_oci_layout::OCI_ARCHIVE
    };
    let sink = transport.create(path.to_str().unwrap(), &env()).unwrap();
    let mut writer = sink.writer().unwrap();
    let bytes = vec![7; 4 << 20];
    let written = writer
        .write_all(&bytes)
        .map_err(imgconv_model::Error::from_io);
    let error = written
        .and_then(|()| writer.finish(&sha256(&bytes), 4 << 20))
        .unwrap_err();
    let _ = writeln!(std::io::stderr(), "code {}: {error}", error.code());
}
