//! Contents that stay in the tar they came from, beside those that are copied.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{env, layer};
use imgconv_layer::{ContentStore, Semantics, Spool, Tree};
use imgconv_model::ReadAt;

/// A tar in memory; with `spoilt`, it reads as if another program had changed the tar.
#[derive(Debug)]
struct Tar {
    bytes: Vec<u8>,
    spoilt: bool,
}

impl ReadAt for Tar {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.spoilt {
            return Err(io::Error::other("it was changed"));
        }
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }
}

const LAYERS: [&[&str]; 3] = [
    &["a=first", "b=second", "etc/c=third"],
    &["b=replaced"],
    &["d=fourth", "e=>a"],
];

/// Merges the layers, of which those at `in_place` are read by position, and writes the tree.
fn written(in_place: &[usize], spoilt: bool) -> io::Result<Vec<u8>> {
    let mut spool = Spool::new(&env()).unwrap();
    let mut tree = Tree::new(&env());
    for (i, entries) in LAYERS.into_iter().enumerate() {
        let bytes = layer(entries);
        let tar = Arc::new(Tar {
            bytes: bytes.clone(),
            spoilt,
        });
        spool.begin(in_place.contains(&i).then_some(tar));
        tree.apply(&mut &bytes[..], Semantics::Layer, &mut spool, "layer")
            .unwrap();
    }
    let mut out = Vec::new();
    Arc::new(tree)
        .into_tar(b"", spool.freeze().unwrap())
        .read_to_end(&mut out)?;
    Ok(out)
}

#[test]
fn contents_are_the_same_wherever_they_stay() {
    let copied = written(&[], false).unwrap();
    for in_place in [&[0][..], &[1], &[0, 1, 2], &[0, 2]] {
        assert!(written(in_place, false).unwrap() == copied, "{in_place:?}");
    }
    let text = String::from_utf8_lossy(&copied);
    for content in ["first", "replaced", "third", "fourth"] {
        assert!(text.contains(content), "{content}");
    }
}

#[test]
fn what_stays_is_not_copied_and_fails_where_its_tar_does() {
    assert!(written(&[], true).is_ok());
    let error = written(&[0], true).unwrap_err();
    assert!(error.to_string().contains("it was changed"), "{error}");
}

/// A tar in memory that counts the reads.
#[derive(Debug)]
struct Counting {
    bytes: Vec<u8>,
    reads: AtomicUsize,
}

impl ReadAt for Counting {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let start = usize::try_from(offset).unwrap();
        let found = self.bytes.get(start..start + buf.len());
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[test]
fn small_files_that_stand_together_are_read_together() {
    // Two layers whose files alternate in the order of the tree, one of them backwards; and files
    // that are larger than what is read at once.
    let name = |i: usize| format!("file-{i:05}");
    let text = |i: usize| format!("{}={}", name(i), format!("{i} ").repeat(i % 90));
    let mut lower: Vec<String> = (0..4000).step_by(2).map(text).collect();
    let upper: Vec<String> = (1..4000).step_by(2).rev().map(text).collect();
    lower.push(format!("large={}", "0123456789".repeat(60_000)));
    let (mut tree, mut spool) = (Tree::new(&env()), Spool::new(&env()).unwrap());
    let tars = [lower, upper].map(|entries| {
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        Arc::new(Counting {
            bytes: layer(&entries),
            reads: AtomicUsize::new(0),
        })
    });
    for tar in &tars {
        spool.begin(Some(Arc::clone(tar) as Arc<dyn ReadAt>));
        let mut source = &tar.bytes[..];
        tree.apply(&mut source, Semantics::Layer, &mut spool, "layer")
            .unwrap();
    }
    let (tree, contents) = (Arc::new(tree), spool.freeze().unwrap());
    let mut made = Vec::new();
    let mut tar = Arc::clone(&tree).into_tar(b"", Arc::clone(&contents));
    tar.read_to_end(&mut made).unwrap();
    let reads = tars.each_ref().map(|tar| tar.reads.load(Ordering::Relaxed));
    assert!(reads[0] < 40, "{reads:?}");
    let mut expected = Vec::new();
    for (path, node) in tree.iter() {
        let i: usize = match path.strip_prefix(b"file-") {
            Some(number) => str::from_utf8(number).unwrap().parse().unwrap(),
            None => continue,
        };
        let mut body = String::new();
        let mut reader = contents.open(node.content, node.size);
        reader.read_to_string(&mut body).unwrap();
        assert_eq!(body, format!("{i} ").repeat(i % 90));
        expected.push(body);
    }
    assert_eq!(expected.len(), 4000);
    // The archive has every body, whatever the order of the reads was.
    let text = String::from_utf8_lossy(&made);
    let mut rest = &*text;
    for body in expected.iter().filter(|body| !body.is_empty()) {
        let at = rest.find(&**body).expect("the body is there");
        rest = &rest[at + body.len()..];
    }
    assert!(text.contains(&"0123456789".repeat(60_000)));
}
