//! Layers that are read at once: errors, warnings and the cancel flag are as if they were read one
//! after the other.

use std::{
    io::{self, Read},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use imgconv_layer::Semantics;
use imgconv_model::{Code, Compression, Env, Error, Layer, Open, Reader, Result};
use imgconv_pipeline::squash;

use crate::memory::{compressed, env, layer, sha, tar, with_bytes};

/// An event that threads wait for.
#[derive(Debug, Default)]
struct Event(Mutex<bool>, Condvar);

impl Event {
    fn happen(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let mut happened = self.0.lock().unwrap();
        while !*happened {
            happened = self.1.wait(happened).unwrap();
        }
    }
}

/// Bytes whose first read waits for an event, or that can't be opened, after which it happens.
#[derive(Debug)]
struct Staged {
    inner: Option<Arc<dyn Open>>,
    event: Arc<Event>,
    /// The bytes are opened once to look at the first of them, and once to be read.
    looked: AtomicBool,
}

impl Open for Staged {
    fn open(&self) -> Result<Reader> {
        let Some(inner) = &self.inner else {
            self.event.happen();
            return Err(Error::new(Code::Missing, "no such blob"));
        };
        let reads = self.looked.swap(true, Ordering::Relaxed);
        let event = reads.then(|| Arc::clone(&self.event));
        Ok(Box::new(StagedReader {
            inner: inner.open()?,
            event,
        }))
    }
}

struct StagedReader {
    inner: Reader,
    event: Option<Arc<Event>>,
}

impl Read for StagedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(event) = &self.event {
            event.wait();
        }
        self.inner.read(buf)
    }
}

fn staged(layer: Layer, event: &Arc<Event>, fails: bool) -> Layer {
    let staged = Staged {
        inner: (!fails).then(|| Arc::clone(&layer.blob.bytes)),
        event: Arc::clone(event),
        looked: AtomicBool::new(false),
    };
    let mut layer = layer;
    layer.blob.bytes = Arc::new(staged);
    layer
}

fn five() -> Vec<Layer> {
    (0..5)
        .map(|i| layer(&tar(&[(&format!("file-{i}"), "x")]), Compression::Gzip))
        .collect()
}

#[test]
fn the_error_is_that_of_the_lowest_bad_layer_whichever_thread_was_faster() {
    for jobs in [2, 3, 8] {
        let env = Env { jobs, ..env() };
        let event = Arc::new(Event::default());
        let mut layers = five();
        // The diff ID of layer 1 is wrong, which shows only at its end; layer 2 fails at once, and
        // layer 1 waits for that.
        layers[1].diff_id = Some(sha(b"another"));
        layers[1] = staged(layers[1].clone(), &event, false);
        layers[2] = staged(layers[2].clone(), &event, true);
        let error = squash(&layers, Semantics::Layer, &env).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("layer 1 (") && text.contains("diff ID"),
            "{text}"
        );
        assert_eq!(error.code(), Code::Mismatch, "{jobs} jobs");
        // Without that fault, the one of layer 2 is reported.
        layers[1] = five().remove(1);
        let error = squash(&layers, Semantics::Layer, &env).unwrap_err();
        assert!(error.to_string().starts_with("layer 2 ("), "{error}");
    }
}

#[test]
fn a_damaged_layer_is_refused_though_nothing_of_it_is_kept() {
    let lower = compressed(&tar(&[("a", "old"), ("b", "old")]), Compression::None);
    let upper = layer(&tar(&[("a", "new"), ("b", "new")]), Compression::Gzip);
    for jobs in [1, 2, 4] {
        let env = Env { jobs, ..env() };
        let mut bytes = lower.clone();
        let facts = layer(&lower, Compression::None).blob.facts;
        // A byte of the content, which no check of the tar notices.
        bytes[512] ^= 1;
        let layers = [
            with_bytes(facts, &bytes, None),
            upper.clone(),
            upper.clone(),
        ];
        let error = squash(&layers, Semantics::Layer, &env).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch, "{error}");
        assert!(error.to_string().starts_with("layer 0 ("), "{error}");
    }
}

#[test]
fn an_entry_that_the_tree_refuses_is_not_blamed_for_damaged_bytes() {
    // The hard link leads nowhere, and the digest of the blob is wrong.
    let entry = imgconv_tar::Entry {
        link: b"nothing".to_vec(),
        ..imgconv_tar::Entry::new("link", imgconv_tar::EntryKind::HardLink)
    };
    let mut bytes = imgconv_tar::head(&entry).unwrap();
    bytes.extend(tar(&[("a", "1")]));
    for jobs in [1, 2] {
        let env = Env { jobs, ..env() };
        let sound = with_bytes(imgconv_model::Facts::default(), &bytes, None);
        let error = squash(&[sound], Semantics::Layer, &env).unwrap_err();
        assert_eq!(error.code(), Code::BadTar, "{error}");
        assert!(
            error.to_string().contains("hard link to \"nothing\""),
            "{error}"
        );
        let facts = imgconv_model::Facts {
            digest: Some(sha(b"another")),
            size: Some(bytes.len() as u64),
        };
        let damaged = with_bytes(facts, &bytes, None);
        let error = squash(&[damaged], Semantics::Layer, &env).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch, "{error}");
    }
}

#[test]
fn m6_all_threads_end_when_the_run_is_cancelled() {
    let env = Env { jobs: 3, ..env() };
    let event = Arc::new(Event::default());
    let mut layers = five();
    layers[0] = staged(layers[0].clone(), &event, false);
    let cancel = Arc::clone(&env.cancel);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cancel.store(true, Ordering::Relaxed);
            event.happen();
        });
        let error = squash(&layers, Semantics::Layer, &env).unwrap_err();
        assert_eq!(error.code(), Code::Cancelled, "{error}");
    });
}

#[test]
fn warnings_are_those_of_one_thread_in_the_same_order() {
    // Each layer has a file twice, and bytes after its end.
    let bytes = |i: usize| {
        let name = format!("file-{i}");
        let mut bytes = tar(&[(&name, "1"), (&name, "2")]);
        bytes.extend([1; 512]);
        bytes
    };
    let layers: Vec<Layer> = (0..60)
        .map(|i| layer(&bytes(i), Compression::Gzip))
        .collect();
    let warnings = |jobs| {
        let env = Env { jobs, ..env() };
        squash(&layers, Semantics::Layer, &env).unwrap();
        env.notes.take().warnings
    };
    let expected = warnings(1);
    assert_eq!(expected.len(), 120);
    for jobs in [2, 5] {
        assert_eq!(warnings(jobs), expected);
    }
}

#[test]
fn the_limit_of_an_image_is_met_in_the_same_layer_by_any_number_of_threads() {
    let layers = five();
    let one = tar(&[("file-0", "x")]).len() as u64;
    for jobs in [1, 2, 8] {
        let mut env = Env { jobs, ..env() };
        env.limits.image_bytes = 5 * one;
        squash(&layers, Semantics::Layer, &env).unwrap();
        env.limits.image_bytes = 3 * one;
        let error = squash(&layers, Semantics::Layer, &env).unwrap_err();
        assert_eq!(error.code(), Code::Limit);
        let text = error.to_string();
        assert!(
            text.starts_with("layer 3 (") && text.contains("`image_bytes`"),
            "{text}"
        );
    }
}
