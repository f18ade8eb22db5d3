//! Contents that stay in the tar they came from, beside those that are copied.

use std::{
    io::{self, Read},
    sync::Arc,
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
