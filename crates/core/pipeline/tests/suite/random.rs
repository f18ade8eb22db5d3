//! Random images through the whole pipeline: any codec, any dialect, any number of threads, all
//! layers or only the last.

use std::{
    io::{self, Read},
    num::NonZeroUsize,
    sync::Arc,
    thread,
};

use imgconv_layer::{Semantics, Spool, Tree};
use imgconv_model::{Blob, Compression, Env, Layer, Open, Reader, Result};
use imgconv_pipeline::{Options, Squash, squash, squash_above};
use imgconv_testkit::{dump::tar_lines, random};

use crate::{
    memory::{Memory, env, layer},
    seal::run,
};

const CODECS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

fn tars(seed: u64) -> Vec<Vec<u8>> {
    random::image(seed).iter().map(random::Layer::tar).collect()
}

/// The tars as stored layers, each in another codec.
fn stored(tars: &[Vec<u8>]) -> Vec<Layer> {
    let codecs = CODECS.iter().cycle();
    tars.iter()
        .zip(codecs)
        .map(|(tar, codec)| layer(tar, *codec))
        .collect()
}

fn tar_of(layer: &Layer) -> Vec<u8> {
    let mut bytes = Vec::new();
    layer.blob.open().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn f_random_images_merge_like_their_layers_one_after_another() {
    for seed in 0..150 {
        let tars = tars(seed);
        let (mut tree, mut spool) = (Tree::new(&env()), Spool::new(&env()).unwrap());
        for tar in &tars {
            tree.apply(&mut &tar[..], Semantics::Layer, &mut spool, "layer")
                .unwrap();
        }
        let mut expected = Vec::new();
        Arc::new(tree)
            .into_tar(b"", spool.freeze().unwrap())
            .read_to_end(&mut expected)
            .unwrap();
        let merged = squash(&stored(&tars), Semantics::Layer, &env()).unwrap();
        assert!(tar_of(&merged.into_layer()) == expected, "seed {seed}");
    }
}

#[test]
fn f5_random_images_partly_squashed_are_the_same_image() {
    let lines = |layers: &[Layer]| {
        let merged = squash(layers, Semantics::Layer, &env()).unwrap();
        tar_lines(&mut &tar_of(&merged.into_layer())[..], "merged").unwrap()
    };
    for seed in 0..150 {
        let layers = stored(&tars(seed));
        let expected = lines(&layers);
        for from in 1..layers.len() {
            let upper = squash_above(&layers, from, Semantics::Layer, &env()).unwrap();
            let partly = [&layers[..from], &[upper.into_layer()]].concat();
            assert_eq!(lines(&partly), expected, "seed {seed}, from {from}");
        }
    }
}

/// Bytes that come in pieces of odd sizes, and let other threads go first.
#[derive(Debug)]
struct Hesitant(Blob);

impl Open for Hesitant {
    fn open(&self) -> Result<Reader> {
        struct Pieces(Reader, usize);
        impl Read for Pieces {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.1 = self.1 * 7919 % 10_007;
                for _ in 0..self.1 % 5 {
                    thread::yield_now();
                }
                let most = buf.len().min(1 + self.1);
                self.0.read(&mut buf[..most])
            }
        }
        Ok(Box::new(Pieces(self.0.open()?, 1)))
    }
}

#[test]
fn f10_threads_and_delays_do_not_change_the_bytes() {
    let squash = |which| Options {
        squash: Some(which),
        ..Options::default()
    };
    let recompress = Options {
        compression: Some(Compression::Zstd),
        ..Options::default()
    };
    let last = NonZeroUsize::new(2).unwrap();
    for seed in 0..12 {
        let mut layers = stored(&tars(seed));
        for options in [squash(Squash::All), squash(Squash::Last(last)), recompress] {
            let digests = |layers: &[Layer], jobs| {
                let env = Env { jobs, ..env() };
                let sealed = run(layers, options, &Memory::default(), &env).unwrap();
                let digests = sealed.iter().map(|layer| (layer.digest, layer.diff_id));
                digests.collect::<Vec<_>>()
            };
            let expected = digests(&layers, 1);
            for layer in &mut layers {
                layer.blob.bytes = Arc::new(Hesitant(layer.blob.clone()));
            }
            for jobs in [1, 2, 64] {
                assert_eq!(digests(&layers, jobs), expected, "seed {seed}, {jobs} jobs");
            }
        }
    }
}
