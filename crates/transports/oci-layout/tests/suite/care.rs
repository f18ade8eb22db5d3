//! Changing a layout in place and freeing what nothing refers to, beside writers and after killed
//! ones (robustness D6, D8).

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use imgconv_model::{BundleSink, Code, Digest, Result};
use imgconv_transport_oci_layout::{LayoutSink, Sweep, Swept, edit, gc};

use crate::fixture::{Layout, create, descriptor, env, publication, put, sha256, tree};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[expect(clippy::disallowed_methods, reason = "blobs are as old as they are")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn sweep(path: &Path, min_age: u64, dry_run: bool) -> Result<Swept> {
    let sweep = Sweep {
        now: now(),
        min_age: Duration::from_secs(min_age),
        dry_run,
    };
    gc(path.to_str().unwrap(), &sweep, &env())
}

fn described(kind: &str, bytes: &[u8]) -> String {
    let (digest, size) = (sha256(bytes), bytes.len());
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

/// The text of a manifest of one layer that is about `subject`.
fn manifest(layer: &[u8], subject: Option<&str>) -> String {
    let subject = subject.map_or_else(String::new, |text| {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        format!(r#","subject":{}"#, described(kind, text.as_bytes()))
    });
    format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]{subject}}}"#,
        described(CONFIG, b"{}"),
        described(LAYER, layer)
    )
}

/// Stores an image of one layer, and returns its manifest.
fn image(layout: &Layout, layer: &[u8], subject: Option<&str>) -> String {
    let text = manifest(layer, subject);
    layout.blob(b"{}");
    layout.blob(layer);
    layout.blob(text.as_bytes());
    text
}

fn digests(swept: &Swept) -> Vec<Digest> {
    swept.blobs.iter().map(|(digest, _)| *digest).collect()
}

fn sorted(list: &[&[u8]]) -> Vec<Digest> {
    let mut list: Vec<Digest> = list.iter().map(|bytes| sha256(bytes)).collect();
    list.sort();
    list
}

#[test]
fn exactly_what_nothing_refers_to_is_removed() {
    let layout = Layout::new();
    let path = layout.path("");
    let one = image(&layout, b"layer 1", None);
    let two = image(&layout, b"layer 2", None);
    // A referrer that is listed keeps what it is about; one that is not listed is kept by nothing.
    let about = image(&layout, b"signature", Some(&two));
    let lost = image(&layout, b"lost signature", Some(&one));
    let dead = image(&layout, b"layer 3", None);
    let other = "application/x-other+json";
    let mentioned = format!(r#"{{"deep":[{{"x":"{}"}}]}}"#, sha256(b"mentioned"));
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        descriptor(one.as_bytes(), ""),
        described(other, mentioned.as_bytes())
    );
    for bytes in [
        index.as_bytes(),
        mentioned.as_bytes(),
        b"mentioned",
        b"nobody's",
    ] {
        layout.blob(bytes);
    }
    let listed = described("application/vnd.oci.image.index.v1+json", index.as_bytes());
    layout.list(&[&listed, &descriptor(about.as_bytes(), "")]);
    layout.write("blobs/sha256/README", "not a blob");
    fs::create_dir_all(layout.path("blobs/blake3")).unwrap();
    layout.write("blobs/blake3/x", "of an unknown kind");
    symlink(
        "/etc/passwd",
        layout.path(&format!("blobs/sha256/{}", "0".repeat(64))),
    )
    .unwrap();
    fs::create_dir_all(layout.path("blobs/sha512")).unwrap();
    let long = imgconv_stream::digest(imgconv_model::Algorithm::Sha512, b"long");
    layout.write(&format!("blobs/sha512/{}", long.hex()), "long");
    let before = tree(&path);

    // Everything is young.
    let swept = sweep(&path, 3600, false).unwrap();
    assert_eq!((swept.blobs.len(), swept.young), (0, 6));
    let mut expected = sorted(&[
        lost.as_bytes(),
        b"lost signature",
        dead.as_bytes(),
        b"layer 3",
        b"nobody's",
    ]);
    expected.push(long);
    let would = sweep(&path, 0, true).unwrap();
    assert_eq!(digests(&would), expected);
    assert_eq!(tree(&path), before);
    assert_eq!(sweep(&path, 0, false).unwrap(), would);
    let mut after = before;
    for digest in &expected {
        let name = format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex());
        assert!(after.remove(&name).is_some());
    }
    assert_eq!(tree(&path), after);
    assert_eq!(sweep(&path, 0, false).unwrap(), Swept::default());
}

#[test]
fn nothing_is_removed_if_what_is_reachable_is_not_as_it_should_be() {
    let layer_of = |layout: &Layout| layout.blob_path(b"layer 1");
    type Damage = (&'static str, Code, fn(&Layout, &str));
    let damages: [Damage; 6] = [
        ("missing layer", Code::Missing, |layout, _| {
            fs::remove_file(layout.blob_path(b"layer 1")).unwrap();
        }),
        ("missing manifest", Code::Missing, |layout, text| {
            fs::remove_file(layout.blob_path(text.as_bytes())).unwrap();
        }),
        ("damaged manifest", Code::Mismatch, |layout, text| {
            fs::write(
                layout.blob_path(text.as_bytes()),
                text.replace("layers", "LAYERS"),
            )
            .unwrap();
        }),
        ("malformed manifest", Code::BadJson, |layout, _| {
            layout.blob(b"{");
            layout.list(&[&descriptor(b"{", "")]);
        }),
        ("link", Code::Escape, |layout, _| {
            let path = layout.blob_path(b"layer 1");
            fs::rename(&path, layout.path("elsewhere")).unwrap();
            symlink(layout.path("elsewhere"), path).unwrap();
        }),
        ("index", Code::BadJson, |layout, _| {
            layout.write("index.json", "{")
        }),
    ];
    for (what, code, damage) in damages {
        let layout = Layout::new();
        let text = image(&layout, b"layer 1", None);
        layout.blob(b"nobody's");
        layout.list(&[&descriptor(text.as_bytes(), "")]);
        assert!(layer_of(&layout).exists());
        damage(&layout, &text);
        let before = tree(layout.directory.path());
        let error = sweep(&layout.path(""), 0, false).unwrap_err();
        assert_eq!(error.code(), code, "{what}: {error}");
        assert_eq!(tree(layout.directory.path()), before, "{what}");
    }
    // An archive can't be swept.
    let layout = Layout::new();
    layout.write("a.tar", "");
    let error = sweep(&layout.path("a.tar"), 0, false).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
}

fn dead_stage(path: &Path) {
    fs::create_dir_all(path.join("layout")).unwrap();
    fs::write(path.join("0"), "x").unwrap();
    fs::write(path.join("imgconv-stage"), "").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn d6_what_killed_writers_left_is_removed_and_live_ones_are_not() {
    let layout = Layout::new();
    let path = layout.path("");
    let beside = |name: &str| layout.directory.path().join(name);
    let plant = || {
        dead_stage(&layout.path(".imgconv-dead01"));
        dead_stage(&layout.path(".imgconv-migrate"));
        dead_stage(&beside(".layout.partial-dead02"));
        dead_stage(&beside(".other.partial-dead03"));
    };
    let left = || {
        let all = tree(layout.directory.path()).into_keys();
        let dead = all.filter(|name| name.contains("dead") && name.ends_with("/"));
        let top = dead.filter(|name| !name.ends_with("layout/"));
        top.collect::<Vec<_>>()
    };
    plant();
    let live = create(&path);
    // The next writer did it.
    assert_eq!(left(), [".other.partial-dead03/"]);
    plant();
    let swept = sweep(&path, 0, true).unwrap();
    assert_eq!(swept.directories.len(), 2, "{swept:?}");
    assert_eq!(left().len(), 3);
    assert_eq!(sweep(&path, 0, false).unwrap(), swept);
    assert_eq!(left(), [".other.partial-dead03/"]);
    assert!(layout.path(".imgconv-migrate/0").exists());
    put(&*live, b"one");
    live.commit(&[publication(b"one", Some("a.io/x:v1"))])
        .unwrap();
}

#[test]
fn an_edit_is_written_at_once_and_only_if_something_changed() {
    let layout = Layout::new();
    let path = layout.path("");
    let path = path.to_str().unwrap();
    let before = r#"{"schemaVersion":2, "x": 1.0 ,"manifests":[{"mediaType":"a/b", "digest":"#;
    let digest = sha256(b"one");
    layout.write("index.json", format!(r#"{before}"{digest}","size":3}}]}}"#));
    let bytes = || fs::read_to_string(layout.path("index.json")).unwrap();
    let untouched = bytes();
    edit(path, &env(), |index| {
        assert_eq!(index.items.len(), 1);
        Ok(())
    })
    .unwrap();
    assert_eq!(bytes(), untouched);
    edit(path, &env(), |index| {
        index.remove(&[0].into());
        Ok(())
    })
    .unwrap();
    assert_eq!(bytes(), r#"{"schemaVersion":2,"x":1.0,"manifests":[]}"#);
    let error = edit(path, &env(), |_| -> Result<()> {
        Err(imgconv_model::Error::new(Code::Usage, "no"))
    });
    assert_eq!(error.unwrap_err().code(), Code::Usage);
    assert!(
        tree(layout.directory.path())
            .keys()
            .all(|name| !name.contains("imgconv"))
    );
}

#[test]
fn a_blob_that_a_writer_relies_on_may_be_removed_meanwhile() {
    let layout = Layout::new();
    let path = layout.path("");
    layout.blob(b"one");
    let sink = create(&path);
    assert!(sink.has(&sha256(b"one"), 3).unwrap());
    assert_eq!(digests(&sweep(&path, 0, false).unwrap()), [sha256(b"one")]);
    assert!(!layout.blob_path(b"one").exists());
    sink.commit(&[publication(b"one", Some("a.io/x:v1"))])
        .unwrap();
    assert_eq!(fs::read(layout.blob_path(b"one")).unwrap(), b"one");
}

#[test]
fn while_blobs_wait_for_the_end_of_a_migration_nothing_is_swept() {
    let layout = Layout::new();
    let path = layout.path("");
    let growing = || LayoutSink::growing(path.to_str().unwrap(), &env()).unwrap();
    let text = manifest(b"layer", None);
    let all = [text.as_bytes(), b"{}", b"layer"];
    let sink = growing();
    for bytes in all {
        put(&sink, bytes);
        assert!(layout.blob_path(bytes).exists());
    }
    let error = sweep(&path, 0, false).unwrap_err();
    assert_eq!(error.code(), Code::Denied, "{error}");
    drop(sink);
    // It was ended before the commit: they are anybody's now.
    assert_eq!(digests(&sweep(&path, 0, false).unwrap()), sorted(&all));
    // One that is gone, whoever removed it, is an error of the commit.
    let sink = growing();
    for bytes in all {
        put(&sink, bytes);
    }
    fs::remove_file(layout.blob_path(b"layer")).unwrap();
    let mut list = [publication(text.as_bytes(), Some("a.io/x:v1"))];
    let error = Box::new(sink).finish(&mut list).unwrap_err();
    assert_eq!(error.code(), Code::Missing, "{error}");
    assert!(layout.open().roots().unwrap().is_empty());
    let sink = growing();
    put(&sink, b"layer");
    assert!(
        sink.has(&sha256(text.as_bytes()), text.len() as u64)
            .unwrap()
    );
    Box::new(sink).finish(&mut list).unwrap();
    assert_eq!(sweep(&path, 0, false).unwrap(), Swept::default());
}

#[test]
fn a_sweep_beside_writers_loses_nothing() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 8;
    let layout = Layout::new();
    let path = layout.path("");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            let mut removed = 0;
            while !done.load(Ordering::Relaxed) {
                removed += sweep(&path, 0, false).unwrap().blobs.len();
            }
            removed
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let path = &path;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let layer = format!("layer {round}");
                        let text = manifest(layer.as_bytes(), None);
                        let sink = create(path);
                        // All rely on each other's blobs, if they are there.
                        for bytes in [layer.as_bytes(), b"{}", text.as_bytes()] {
                            if !sink.has(&sha256(bytes), bytes.len() as u64).unwrap() {
                                put(&*sink, bytes);
                            }
                        }
                        let name = format!("a.io/x:{writer}-{round}");
                        let list = [publication(text.as_bytes(), Some(&name))];
                        sink.commit(&list).unwrap();
                        // What was published is gone again, but for the last round.
                        if round + 1 < ROUNDS {
                            edit(path.to_str().unwrap(), &env(), |index| {
                                let is_own = |at: &usize| {
                                    index.items[*at].names().reference.as_ref() == Some(&name)
                                };
                                let own = (0..index.items.len()).filter(is_own).collect();
                                index.remove(&own);
                                Ok(())
                            })
                            .unwrap();
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(sweeper.join().unwrap() > 0, "nothing was swept");
    });
    let last = manifest(format!("layer {}", ROUNDS - 1).as_bytes(), None);
    let layer = format!("layer {}", ROUNDS - 1);
    assert_eq!(layout.open().roots().unwrap().len(), WRITERS);
    sweep(&path, 0, false).unwrap();
    let left: Vec<Digest> = layout.open().stored().unwrap().unwrap();
    assert_eq!(left, sorted(&[last.as_bytes(), layer.as_bytes(), b"{}"]));
    for bytes in [last.as_bytes(), layer.as_bytes(), b"{}"] {
        assert_eq!(fs::read(layout.blob_path(bytes)).unwrap(), bytes);
    }
}
