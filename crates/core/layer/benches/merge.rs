//! Merging: a base of fifty thousand files, a layer that replaces some and one that deletes some;
//! and writing the merged tree.

use std::{io, sync::Arc};

use divan::{Bencher, counter::ItemsCount};
use imgconv_layer::{Discard, Semantics, Spool, Tree};
use imgconv_model::{Env, Platform};
use imgconv_tar::{END, Entry, EntryKind, head};

const FILES: usize = 50_000;

fn main() {
    divan::main();
}

/// A layer with the files of those numbers, each empty; with a `prefix` before the last part.
fn layer(numbers: impl Iterator<Item = usize>, prefix: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let entry = Entry::new(
            format!("usr/share/{}/{prefix}file-{number}", number / 100),
            EntryKind::Regular,
        );
        bytes.extend(head(&entry).expect("a name that can be written"));
    }
    bytes.extend(END);
    bytes
}

fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

fn merged(layers: &[Vec<u8>], env: &Env) -> Tree {
    let mut tree = Tree::new(env);
    for layer in layers {
        tree.apply(&mut &layer[..], Semantics::Layer, &mut Discard, "bench")
            .expect("a sound layer");
    }
    tree
}

fn layers() -> [Vec<u8>; 3] {
    [
        layer(0..FILES, ""),
        layer((0..FILES).step_by(10), ""),
        layer((0..FILES).step_by(5), ".wh."),
    ]
}

#[divan::bench(sample_count = 20)]
fn merging(bencher: Bencher<'_, '_>) {
    let (layers, env) = (layers(), env());
    bencher
        .counter(ItemsCount::new(FILES + FILES / 10 + FILES / 5))
        .bench_local(|| merged(&layers, &env));
}

#[divan::bench(sample_count = 20)]
fn writing(bencher: Bencher<'_, '_>) {
    let env = env();
    let tree = Arc::new(merged(&layers(), &env));
    let contents = Spool::new(&env)
        .and_then(Spool::freeze)
        .expect("a temporary file");
    bencher
        .counter(ItemsCount::new(FILES - FILES / 5))
        .bench_local(|| {
            let mut tar = Arc::clone(&tree).into_tar(b"", Arc::clone(&contents));
            io::copy(&mut tar, &mut io::sink()).expect("it is written")
        });
}
