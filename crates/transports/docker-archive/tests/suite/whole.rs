//! Archives as a whole: their bytes, the places of their layers, and an archive that is restored.

use std::{collections::BTreeMap, fs, io::Read as _};

use imgconv_manifest::media_type::WHOLE_ARCHIVE;
use imgconv_model::{Child, Code, Compression, Publication, Transport};
use imgconv_transport_docker_archive::DOCKER_ARCHIVE;
use tempfile::TempDir;

use crate::fixture::{Tar, env, id, sha256};

/// An archive of two layers with two names of one image, and bytes behind the end.
fn old() -> Vec<u8> {
    let (a, b) = (id('a'), id('b'));
    let list = format!(r#"{{"team/app":{{"1":"{b}","2":"{b}"}}}}"#);
    let tar = Tar::default()
        .file(&format!("{b}/layer.tar"), "the upper layer")
        .file(
            &format!("{b}/json"),
            format!(r#"{{"id":"{b}","parent":"{a}"}}"#),
        )
        .file("repositories", list)
        .file(&format!("{a}/json"), format!(r#"{{"id":"{a}"}}"#))
        .file(&format!("{a}/layer.tar"), "the lower layer");
    [&tar.bytes(), &b"more"[..]].concat()
}

#[test]
fn the_bytes_and_the_layers_of_an_old_archive_are_given() {
    let bytes = old();
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("plain.tar");
    fs::write(&plain, &bytes).unwrap();
    let bundle = DOCKER_ARCHIVE
        .open(plain.to_str().unwrap(), &env())
        .unwrap();
    let roots = bundle.roots().unwrap();
    assert_eq!(roots.len(), 2);
    let whole = bundle.whole(&roots[0].digest().unwrap()).unwrap().unwrap();
    let [image] = &whole.images[..] else {
        panic!("{:?}", whole.images);
    };
    assert_eq!(Some(image.root), roots[0].digest());
    assert_eq!(image.names, ["team/app:1", "team/app:2"]);
    assert!(whole.unreadable.is_empty());
    assert_eq!(whole.compression, Compression::None);
    let found = image.layers.iter().map(|(offset, size)| {
        let begin = usize::try_from(*offset).unwrap();
        let end = begin + usize::try_from(*size).unwrap();
        &bytes[begin..end]
    });
    let found: Vec<&[u8]> = found.collect();
    assert_eq!(found, [&b"the lower layer"[..], b"the upper layer"]);
    let mut read = Vec::new();
    let mut reader = whole.tar.open().unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    assert_eq!(whole.tar.facts.size, Some(bytes.len() as u64));
    // A file that changes after it was opened is no longer the archive.
    fs::write(&plain, [&bytes[..], b"!"].concat()).unwrap();
    let mut reader = whole.tar.open().unwrap();
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
    // Images of later engines, and documents that are not there, have none.
    assert!(bundle.whole(&sha256("other")).unwrap().is_none());
}

#[test]
fn a_whole_archive_is_published_as_it_is() {
    let bytes = old();
    let digest = sha256(&bytes);
    let publication = |digest| Publication {
        root: Child {
            kind: WHOLE_ARCHIVE.into(),
            digest,
            size: bytes.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
            raw: String::new(),
        },
        name: None,
        reference: None,
        file_name: None,
    };
    let folder = TempDir::new().unwrap();
    let create = |name: &str| {
        let path = folder.path().join(name);
        let sink = DOCKER_ARCHIVE
            .create(path.to_str().unwrap(), &env())
            .unwrap();
        let mut writer = sink.writer().unwrap();
        writer.write_all(&bytes).unwrap();
        writer.finish(&digest, bytes.len() as u64).unwrap();
        (sink, path)
    };
    let (sink, path) = create("a.tar");
    let places = sink
        .commit(&[publication(digest), publication(digest)])
        .unwrap();
    assert_eq!(places.len(), 2);
    assert!(fs::read(&path).unwrap() == bytes);
    let (sink, path) = create("b.tar.gz");
    sink.commit(&[publication(digest)]).unwrap();
    assert_eq!(fs::read(&path).unwrap()[..2], [0x1f, 0x8b]);
    // The stream ends where the archive ends.
    let bundle = DOCKER_ARCHIVE.open(path.to_str().unwrap(), &env()).unwrap();
    let root = bundle.roots().unwrap()[0].digest().unwrap();
    let whole = bundle.whole(&root).unwrap().unwrap();
    assert_eq!(whole.compression, Compression::Gzip);
    assert_eq!(whole.tar.facts.size, Some(bytes.len() as u64));
    // Nothing else fits beside, and an archive that was not written is none.
    let (sink, path) = create("c.tar");
    let mut other = publication(digest);
    other.root.kind = "other".into();
    let error = sink.commit(&[publication(digest), other]).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(!path.exists());
    let (sink, path) = create("d.tar");
    let error = sink.commit(&[publication(sha256("gone"))]).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(!path.exists());
}
