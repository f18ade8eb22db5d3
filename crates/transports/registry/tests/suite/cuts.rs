//! Connections that break in the body of an answer.

use super::*;

/// A registry that breaks off after half of the body of an answer whose path has `part`, a number of times.
fn cutting(part: &'static str, times: usize) -> Registry {
    let count = AtomicUsize::new(0);
    Registry::start_with(None, move |request, _| {
        let is_cut = request.path().contains(part);
        if !is_cut || count.fetch_add(1, Ordering::Relaxed) >= times {
            return None;
        }
        Some(Reply::ok(vec![b'{'; 1000]).cut_after(500))
    })
}

/// The number of requests whose path has `part`.
fn count(registry: &Registry, part: &str) -> usize {
    let seen = registry.server.requests().into_iter();
    seen.filter(|request| request.path().contains(part)).count()
}

#[test]
fn a_document_whose_body_was_cut_is_asked_for_again() {
    for (times, attempts) in [(1, 2), (4, 5), (usize::MAX, 5)] {
        let registry = cutting("/manifests/", times);
        registry.stored().image("x", "t", b"layer");
        let read = manifest(&registry, "x:t", &env());
        assert_eq!(count(&registry, "/manifests/t"), attempts, "{times}");
        match read {
            Ok(_) => assert!(attempts > times, "{times}"),
            Err(error) => {
                assert!(attempts <= times, "{times}: {error}");
                assert_eq!(error.code(), Code::Net, "{error}");
            }
        }
    }
}

#[test]
fn a_list_whose_body_was_cut_is_asked_for_again() {
    let registry = cutting("/tags/", 2);
    registry.stored().image("x", "t", b"layer");
    let bundle = open(&registry, "x", &env()).unwrap();
    assert_eq!(bundle.listing().unwrap().len(), 1);
    assert_eq!(count(&registry, "/tags/"), 3);
}

#[test]
fn the_beginning_of_a_blob_that_was_cut_is_asked_for_again() {
    for (times, attempts) in [(1, 2), (4, 5), (usize::MAX, 5)] {
        let registry = cutting("/blobs/", times);
        registry.stored().image("x", "t", b"layer");
        let bundle = open(&registry, "x:t", &env()).unwrap();
        let read = read_blob(&*bundle, &facts(&digest_of(b"layer"), 5));
        assert_eq!(count(&registry, "/blobs/"), attempts, "{times}");
        match read {
            Ok(bytes) => assert!(attempts > times && bytes == b"layer", "{times}"),
            Err(error) => {
                assert!(attempts <= times, "{times}: {error}");
                assert_eq!(error.code(), Code::Net, "{error}");
            }
        }
    }
}
