//! Layers that are written to their places in the archive: the bytes are the same whatever was
//! expected before.

use std::{collections::BTreeMap, fs, path::Path};

use imgconv_model::{BundleSink, Digest, Document, Publication, Transport};
use imgconv_transport_docker_archive::{ARCHIVE_IMAGE, DOCKER_ARCHIVE};
use tempfile::TempDir;

use crate::{
    fixture::{env, sha256},
    write::{document, publication},
};

/// Layers of different sizes, also of whole blocks and of none.
fn layers() -> Vec<String> {
    [1, 511, 512, 513, 70_000, 0, 5000]
        .iter()
        .zip("abcdefg".chars())
        .map(|(count, letter)| letter.to_string().repeat(*count))
        .collect()
}

fn create(path: &Path) -> Box<dyn BundleSink> {
    DOCKER_ARCHIVE
        .create(path.to_str().unwrap(), &env())
        .unwrap()
}

fn put(sink: &dyn BundleSink, bytes: &str) {
    let digest = sha256(bytes);
    let mut writer = sink.writer_of(&digest).unwrap();
    // Several writes: a layer may leave its place in the middle.
    for piece in bytes.as_bytes().chunks(400) {
        writer.write_all(piece).unwrap();
    }
    writer.finish(&digest, bytes.len() as u64).unwrap();
}

type Sizes = BTreeMap<Digest, Option<u64>>;

fn sizes(change: impl Fn(usize, u64) -> Option<u64>) -> Sizes {
    let all = layers().into_iter().enumerate();
    let mut sizes: Sizes = all
        .map(|(i, layer)| (sha256(&layer), change(i, layer.len() as u64)))
        .collect();
    sizes.insert(sha256("config"), Some(6));
    sizes
}

/// Writes one image of all layers; `order` says in which order.
fn written(expected: Option<&Sizes>, order: impl Fn(usize) -> usize) -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("out.tar");
    let sink = create(&path);
    let layers = layers();
    let root = root(&layers);
    if let Some(sizes) = expected {
        expect(&*sink, &root, sizes);
    }
    for i in 0..layers.len() {
        put(&*sink, &layers[order(i)]);
    }
    put(&*sink, "config");
    put(&*sink, &root);
    for layer in &layers {
        let digest = sha256(layer);
        assert!(sink.has(&digest, layer.len() as u64).unwrap());
        assert!(!sink.has(&digest, layer.len() as u64 + 1).unwrap());
    }
    sink.commit(&[published(&root)]).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    fs::read(&path).unwrap()
}

fn root(layers: &[String]) -> String {
    let layers: Vec<&str> = layers.iter().map(|layer| &**layer).collect();
    document("config", &layers)
}

fn published(root: &str) -> Publication {
    publication(root, Some("busybox:1"))
}

fn expect(sink: &dyn BundleSink, root: &str, sizes: &Sizes) {
    let root = Document {
        kind: ARCHIVE_IMAGE.to_owned(),
        bytes: root.as_bytes().into(),
    };
    sink.extras()
        .places
        .unwrap()
        .expect(&[root], sizes)
        .unwrap();
}

#[test]
fn the_bytes_do_not_depend_on_what_was_expected() {
    let plain = written(None, |i| i);
    let check = |what: &str, sizes: &Sizes| {
        assert!(written(Some(sizes), |i| i) == plain, "{what}");
        assert!(
            written(Some(sizes), |i| 6 - i) == plain,
            "{what}, backwards"
        );
    };
    check("true sizes", &sizes(|_, size| Some(size)));
    check("no sizes", &sizes(|_, _| None));
    check("nothing known", &Sizes::new());
    for at in 0..7 {
        let other = |new: fn(u64) -> Option<u64>| {
            sizes(move |i, size| if i == at { new(size) } else { Some(size) })
        };
        check("one unknown", &other(|_| None));
        check("one too small", &other(|size| Some(size / 2)));
        check("one a byte too small", &other(|size| size.checked_sub(1)));
        check("one a byte too large", &other(|size| Some(size + 1)));
        check("one much too large", &other(|size| Some(size + (1 << 40))));
        check("one beyond everything", &other(|_| Some(u64::MAX)));
    }
    check("all too small", &sizes(|_, size| Some(size / 2)));
    check("all too large", &sizes(|_, size| Some(size + 9999)));
}

#[test]
fn a_layer_is_written_once_if_its_size_is_known() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("out.tar");
    let sink = create(&path);
    let layers = layers();
    expect(&*sink, &root(&layers), &sizes(|_, size| Some(size)));
    for layer in &layers {
        put(&*sink, layer);
    }
    // Beside the marker of the stage there is the archive alone.
    let stage = fs::read_dir(directory.path()).unwrap().next().unwrap();
    let files: Vec<u64> = fs::read_dir(stage.unwrap().path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .filter(|size| *size > 0)
        .collect();
    assert_eq!(files.len(), 1);
    assert!(files[0] > 76_000);
    assert!(!path.exists());
    drop(sink);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_layer_that_was_given_up_is_written_again_and_two_writers_do_not_meet() {
    let plain = written(None, |i| i);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("out.tar");
    let sink = create(&path);
    let layers = layers();
    let root = root(&layers);
    // The last layer by name has no size, so its first try reaches behind the end.
    let last = layers
        .iter()
        .max_by_key(|layer| sha256(layer).hex())
        .unwrap();
    let mut expected = sizes(|_, size| Some(size));
    expected.insert(sha256(last), None);
    expect(&*sink, &root, &expected);
    for layer in &layers {
        let mut given_up = sink.writer_of(&sha256(layer)).unwrap();
        given_up.write_all(&[b'!'; 100_000]).unwrap();
        drop(given_up);
        let mut first = sink.writer_of(&sha256(layer)).unwrap();
        first.write_all(b"?").unwrap();
        put(&*sink, layer);
    }
    put(&*sink, "config");
    put(&*sink, &root);
    sink.commit(&[published(&root)]).unwrap();
    assert!(fs::read(&path).unwrap() == plain);
}

#[test]
fn another_image_than_the_expected_one_is_written_whole() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("out.tar");
    let one = ["left".to_owned(), "both".to_owned()];
    let other = ["both".to_owned(), "right".to_owned()];
    let write = |expected: bool| {
        let sink = create(&path);
        if expected {
            let sizes = ["left", "both"].map(|layer| (sha256(layer), Some(layer.len() as u64)));
            expect(&*sink, &root(&one), &sizes.into());
        }
        for blob in ["left", "both", "right", "config", &root(&other)] {
            put(&*sink, blob);
        }
        sink.commit(&[published(&root(&other))]).unwrap();
        fs::read(&path).unwrap()
    };
    assert!(write(true) == write(false));
}

#[test]
fn a_digest_that_was_not_announced_is_refused() {
    let directory = TempDir::new().unwrap();
    let sink = create(&directory.path().join("out.tar"));
    let layers = layers();
    expect(&*sink, &root(&layers), &sizes(|_, size| Some(size)));
    let mut writer = sink.writer_of(&sha256(&layers[0])).unwrap();
    writer.write_all(b"x").unwrap();
    let error = writer.finish(&sha256("x"), 1).unwrap_err();
    assert_eq!(error.code(), imgconv_model::Code::Mismatch);
}

#[test]
fn a_compressed_archive_has_no_places() {
    let directory = TempDir::new().unwrap();
    for name in ["a.tar.gz", "a.tar.zst"] {
        let sink = create(&directory.path().join(name));
        assert!(sink.extras().places.is_none(), "{name}");
    }
}
