//! The layers of a rendered ACI, reduced to whitelists.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use imgconv_layer::{Discard, Semantics};
use imgconv_model::{Blob, Code, Compression, Layer, Open, Reader, Result};
use imgconv_pipeline::{listed, merge};
use imgconv_tar::{END, Entry, EntryKind, head};

use crate::memory::{env, layer, tar};

/// Bytes that count how often they are opened.
#[derive(Debug)]
struct Counted(Arc<dyn Open>, Arc<AtomicUsize>);

impl Open for Counted {
    fn open(&self) -> Result<Reader> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.open()
    }
}

/// Levels above a layer with the directory `d`. Each level but the last lists directories that it does not name: `d`, `s`, and
/// one of its own. Returns the layers and the number of times that stored bytes are opened.
fn levels(count: usize) -> (Vec<Layer>, Arc<AtomicUsize>) {
    let opened = Arc::new(AtomicUsize::new(0));
    let stored = |tar: &[u8]| {
        let layer = layer(tar, Compression::None);
        Layer {
            blob: Blob {
                bytes: Arc::new(Counted(layer.blob.bytes, Arc::clone(&opened))),
                facts: layer.blob.facts,
            },
            ..layer
        }
    };
    let mut levels = vec![(stored(&tar(&[("d/", "")])), None)];
    for level in 0..count {
        let own = format!("e{level}");
        let file = format!("{own}/x");
        let files = [("d/x", "1"), ("s/x", "2"), (&file, "3")];
        let list = ["d", "s", &own].map(|path| path.as_bytes().to_vec());
        levels.push((stored(&tar(&files)), Some(list.into())));
    }
    levels.push((stored(&tar(&[("top", "")])), None));
    (listed(levels, &env()), opened)
}

fn read(layer: &Layer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = layer.blob.open().unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn paths(layer: &Layer) -> Vec<String> {
    let tree = merge(
        std::slice::from_ref(layer),
        Semantics::Aci,
        &mut Discard,
        &env(),
    )
    .unwrap();
    let paths = tree
        .iter()
        .map(|(path, _)| String::from_utf8(path).unwrap());
    paths.filter(|path| !path.is_empty()).collect()
}

#[test]
fn a_directory_of_the_layers_below_is_left_to_them() {
    let (layers, _) = levels(3);
    let found: Vec<Vec<String>> = layers.iter().map(paths).collect();
    let expected: [&[&str]; 5] = [&["d"], &["e0", "s"], &["e1"], &["e2"], &["top"]];
    assert_eq!(found, expected);
}

#[test]
fn the_order_in_which_layers_are_opened_changes_nothing() {
    let read_in = |order: &[usize]| {
        let (layers, _) = levels(4);
        let mut all = vec![Vec::new(); layers.len()];
        for level in order {
            all[*level] = read(&layers[*level]);
        }
        all
    };
    let upwards = read_in(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(upwards, read_in(&[5, 4, 3, 2, 1, 0]));
    assert_eq!(upwards, read_in(&[2, 4, 1, 3, 0, 5, 2, 4]));
    let (layers, _) = levels(4);
    let at_once: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let read = |layer| scope.spawn(move || read(layer));
        let threads: Vec<_> = layers.iter().map(read).collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(upwards, at_once);
}

#[test]
fn the_number_of_reads_grows_with_the_number_of_layers() {
    for upwards in [true, false] {
        let reads = |count| {
            let (mut layers, opened) = levels(count);
            if !upwards {
                layers.reverse();
            }
            layers.iter().for_each(|layer| drop(read(layer)));
            opened.load(Ordering::Relaxed)
        };
        let of_one = reads(2) - reads(1);
        assert!(of_one <= 2, "{of_one}");
        assert_eq!(reads(60) - reads(30), 30 * of_one);
    }
}

#[test]
fn a_hard_link_of_a_listed_aci_leads_to_its_own_files_alone() {
    let link = |target: &[u8]| {
        let entry = Entry {
            link: target.to_vec(),
            ..Entry::new(b"hard".to_vec(), EntryKind::HardLink)
        };
        let own = tar(&[("own", "1")]);
        let mut bytes = own[..own.len() - END.len()].to_vec();
        bytes.extend(head(&entry).unwrap());
        bytes.extend(END);
        let below = layer(&tar(&[("below", "2")]), Compression::None);
        let paths = [b"hard".to_vec()].into();
        let own = layer(&bytes, Compression::None);
        let layers = listed(vec![(below, None), (own, Some(paths))], &env());
        layers[1].blob.open().map(drop)
    };
    link(b"own").unwrap();
    let error = link(b"below").unwrap_err();
    assert_eq!(error.code(), Code::BadTar);
    let text = error.to_string();
    assert!(text.contains("not exist earlier in this ACI"), "{text}");
    assert!(!text.contains("layers below"), "{text}");
}
