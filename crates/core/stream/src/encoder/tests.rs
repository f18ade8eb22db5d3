//! The failure of a worker: the run reports it without a hang, and reports the first failure in
//! order.

use std::{
    io::{self, Read},
    sync::atomic::{AtomicUsize, Ordering},
};

use imgconv_model::{Code, Env, Error, Platform, Result};

use super::{Reading, Shape, run};
use crate::{Pool, pool::InFlight};

/// Runs over 100 blocks of 1 KiB, each filled with its number.
fn run_with(
    jobs: usize,
    compress: impl Fn(u8, &mut Vec<u8>) -> Result<()> + Sync,
) -> (Result<u64>, Vec<u8>) {
    let content: Vec<u8> = (0..100).flat_map(|number| [number; 1024]).collect();
    let env = Env::new("/nonexistent", Platform::default());
    let shape = Shape {
        block_size: 1024,
        most: 4 * jobs * 1024,
        copies: false,
    };
    let mut source = &content[..];
    let mut sink = Vec::new();
    let in_flight = InFlight::default();
    let reading = Reading::new(&mut source, &env, 1, &shape, &in_flight);
    let compress = |content: &[u8], packed: &mut Vec<u8>| compress(content[0], packed);
    let pool = Pool::new(jobs).unwrap();
    let result = pool.install(|| run(reading, &mut sink, &[], &shape, &compress));
    (result.map(|encoded| encoded.size), sink)
}

#[test]
fn g7_output_keeps_its_order_when_blocks_do_not() {
    for jobs in [1, 2, 3, 8, 64] {
        let (result, sink) = run_with(jobs, |number, packed| {
            // A lower number takes longer.
            let turns = 3000 / (usize::from(number) % 8 + 1);
            let spun: usize = (0..turns).map(std::hint::black_box).sum();
            packed.clear();
            packed.push(if spun == usize::MAX { 0 } else { number });
            Ok(())
        });
        assert_eq!(result.unwrap(), 100);
        assert!(sink.iter().copied().eq(0..100), "{jobs}");
    }
}

#[test]
fn g7_a_worker_fails() {
    for jobs in [1, 2, 8, 64] {
        let calls = AtomicUsize::new(0);
        let (result, sink) = run_with(jobs, |number, packed| {
            calls.fetch_add(1, Ordering::Relaxed);
            packed.clear();
            packed.push(number);
            match number {
                37.. => Err(Error::new(Code::Limit, format!("block {number}"))),
                _ => Ok(()),
            }
        });
        assert_eq!(result.unwrap_err().to_string(), "block 37", "{jobs} jobs");
        assert!(sink.len() <= 37 && sink.iter().copied().eq(0..sink.len() as u8));
        assert!(
            calls.into_inner() <= 37 + 2 * jobs,
            "{jobs}: no batch after the bad one"
        );
    }
}

#[test]
fn g7_the_queue_is_bounded() {
    // The source measures its distance from the sink.
    struct Ahead<'a> {
        read: usize,
        written: &'a AtomicUsize,
        most: usize,
    }
    impl Read for Ahead<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(100 * 1024 - self.read);
            self.read += n;
            let written = self.written.load(Ordering::SeqCst) * 1024;
            self.most = self.most.max(self.read - written);
            Ok(n)
        }
    }
    struct Counter<'a>(&'a AtomicUsize);
    impl io::Write for Counter<'_> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.fetch_add(buf.len(), Ordering::SeqCst);
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let written = AtomicUsize::new(0);
    let mut source = Ahead {
        read: 0,
        written: &written,
        most: 0,
    };
    let env = Env::new("/nonexistent", Platform::default());
    let shape = Shape {
        block_size: 1024,
        most: 8 * 1024,
        copies: false,
    };
    let compress = |_: &[u8], packed: &mut Vec<u8>| {
        packed.clear();
        packed.push(0);
        Ok(())
    };
    let in_flight = InFlight::default();
    let reading = Reading::new(&mut source, &env, 1, &shape, &in_flight);
    let mut sink = Counter(&written);
    let pool = Pool::new(2).unwrap();
    pool.install(|| run(reading, &mut sink, &[], &shape, &compress))
        .unwrap();
    assert_eq!(written.load(Ordering::SeqCst), 100);
    assert!(
        source.most <= 8 * 1024,
        "two batches of four blocks, not {}",
        source.most
    );
}

#[test]
fn g7_streams_share_one_bound_and_each_gets_on() {
    let in_flight = InFlight::default();
    let shape = Shape {
        block_size: 1024,
        most: 8 * 1024,
        copies: false,
    };
    // Others hold all but one block of the bound, so only the first block of a batch is granted.
    in_flight.add(7 * 1024);
    let env = Env::new("/nonexistent", Platform::default());
    let content = vec![7; 100 * 1024];
    let (mut source, mut sink) = (&content[..], Vec::new());
    let reading = Reading::new(&mut source, &env, 1, &shape, &in_flight);
    let compress = |content: &[u8], packed: &mut Vec<u8>| {
        packed.clear();
        packed.extend_from_slice(content);
        Ok(())
    };
    let pool = Pool::new(2).unwrap();
    pool.install(|| run(reading, &mut sink, &[], &shape, &compress))
        .unwrap();
    assert!(sink == content);
    // The bytes that were counted for the failed stream were subtracted again.
    assert!(in_flight.try_add(1024, 8 * 1024));
    assert!(!in_flight.try_add(1, 8 * 1024));
}

/// A source that fails behind its bytes, and never returns more than a few at once.
struct Fails(Vec<u8>, usize);

impl Read for Fails {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = &self.0[self.1..];
        if left.is_empty() {
            return Err(io::Error::other("broken"));
        }
        let count = left.len().min(buf.len()).min(100_000);
        buf[..count].copy_from_slice(&left[..count]);
        self.1 += count;
        Ok(count)
    }
}

#[test]
fn a_copy_has_the_bytes_of_its_source_at_any_number_of_threads() {
    let env = Env::new("/nonexistent", Platform::default());
    for size in [0, 1, 1 << 20, (1 << 20) + 1, 40_000_000] {
        let content: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        for jobs in [1, 2, 8] {
            let pool = Pool::new(jobs).unwrap();
            let mut sink = Vec::new();
            let copied = super::copy(&mut &content[..], &mut sink, &pool, &env, 1).unwrap();
            assert_eq!(copied, size as u64);
            assert!(sink == content, "{size} {jobs}");
        }
    }
}

#[test]
fn a_copy_ends_with_the_error_of_its_source() {
    let env = Env::new("/nonexistent", Platform::default());
    let pool = Pool::new(2).unwrap();
    let mut sink = Vec::new();
    let mut source = Fails(vec![7; 9_000_000], 0);
    let error = super::copy(&mut source, &mut sink, &pool, &env, 1).unwrap_err();
    assert!(error.to_string().contains("broken"), "{error}");
}
