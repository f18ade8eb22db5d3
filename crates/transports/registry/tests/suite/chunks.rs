//! Uploads to registries that take no chunks, or take them in a way of their own.

use super::*;

/// The bytes of a chunk of the client.
const CHUNK: usize = 8 << 20;

type Hook = fn(&Request, &mut Stored) -> Option<Reply>;

/// Bytes of a little more than two chunks.
fn layer(first: u8) -> Vec<u8> {
    let bytes = (0..2 * CHUNK as u32 + 5).map(|i| (i / 251) as u8);
    [first].into_iter().chain(bytes).collect()
}

/// An answer to a `PATCH`, with a number of received bytes if there is one.
fn taken(request: &Request, status: u16, range: Option<&str>) -> Option<Reply> {
    let reply = Reply::status(status).header("location", &*request.target);
    Some(match range {
        Some(range) => reply.header("range", range),
        None => reply,
    })
}

fn refused(status: u16, message: &str) -> Option<Reply> {
    let body = format!(r#"{{"errors":[{{"code":"UNSUPPORTED","message":"{message}"}}]}}"#);
    Some(Reply::status(status).body(body))
}

fn is_first(request: &Request) -> bool {
    let range = request.header("content-range").unwrap_or_default();
    range.starts_with("0-")
}

fn methods(registry: &Registry, method: &str) -> Vec<Request> {
    let seen = registry.server.requests().into_iter();
    seen.filter(|request| request.method == method && request.path().contains("/uploads/"))
        .collect()
}

fn is_stored(registry: &Registry, layer: &[u8]) -> bool {
    let key = ("x".to_owned(), digest_of(layer));
    registry
        .stored()
        .blobs
        .get(&key)
        .is_some_and(|b| b == layer)
}

#[test]
fn a_registry_that_takes_no_chunks_gets_the_whole_blob() {
    // A name, the answers, and the number of chunks that the client sends before it gives up.
    let registries: [(&str, Hook, usize); 12] = [
        // ghcr.io refuses chunks of more than 4 MiB.
        (
            "a limit, told by 416",
            |request, _| {
                let large = request.method == "PATCH" && request.body.len() > 4 << 20;
                large.then(|| refused(416, "the request body is too large"))?
            },
            1,
        ),
        (
            "a limit, and no answer about an upload",
            |request, _| match &*request.method {
                "PATCH" => refused(416, "the request body is too large"),
                "GET" if request.path().contains("/uploads/") => refused(405, "no"),
                _ => None,
            },
            1,
        ),
        (
            "a limit, told by 413",
            |request, _| match &*request.method {
                "PATCH" => Some(Reply::status(413).body("<html>too large</html>")),
                _ => None,
            },
            1,
        ),
        (
            "a limit, told by the end of the connection",
            |request, _| match &*request.method {
                "PATCH" => Some(Reply::hang_up()),
                _ => None,
            },
            2,
        ),
        // Google Artifact Registry.
        (
            "one chunk, and 405 to the next",
            |request, _| {
                let next = request.method == "PATCH" && !is_first(request);
                next.then(|| refused(405, "you must use monolithic uploads"))?
            },
            2,
        ),
        (
            "no PATCH",
            |request, _| match &*request.method {
                "PATCH" => refused(405, "no"),
                _ => None,
            },
            1,
        ),
        (
            "no PATCH, told by 501",
            |request, _| match &*request.method {
                "PATCH" => refused(501, "no"),
                _ => None,
            },
            1,
        ),
        // Amazon ECR.
        (
            "201, and the range of the first chunk",
            |request, stored| {
                let patch = request.method == "PATCH";
                let _ = patch.then(|| answer(request, stored))?;
                taken(request, 201, Some("0-8388607"))
            },
            2,
        ),
        (
            "202, and the range of the first chunk",
            |request, stored| {
                let patch = request.method == "PATCH";
                let _ = patch.then(|| answer(request, stored))?;
                taken(request, 202, Some("0-8388607"))
            },
            2,
        ),
        (
            "always the range 0-0",
            |request, stored| {
                let patch = request.method == "PATCH";
                let _ = patch.then(|| answer(request, stored))?;
                taken(request, 202, Some("0-0"))
            },
            1,
        ),
        (
            "a range that is none",
            |request, stored| {
                let patch = request.method == "PATCH";
                let _ = patch.then(|| answer(request, stored))?;
                taken(request, 202, Some("all"))
            },
            1,
        ),
        (
            "chunks of at least 9 MiB",
            |request, stored| {
                let post = request.method == "POST";
                let _ = post.then(|| answer(request, stored))?;
                let id = stored.uploads.keys().next_back()?;
                let place = format!("/v2/x/blobs/uploads/{id}");
                let reply = Reply::status(202).header("location", place);
                Some(reply.header("oci-chunk-min-length", (9 << 20).to_string()))
            },
            0,
        ),
    ];
    for (name, hook, chunks) in registries {
        let registry = Registry::start_with(None, hook);
        let sink = create(&registry, "x:t", &env());
        let bytes = layer(0);
        write_blob(&*sink, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_stored(&registry, &bytes), "{name}");
        assert!(registry.stored().uploads.is_empty(), "{name}");
        assert_eq!(methods(&registry, "PATCH").len(), chunks, "{name}");
        assert_eq!(methods(&registry, "POST").len(), 2, "{name}");
        let puts = methods(&registry, "PUT");
        assert_eq!(puts.len(), 1, "{name}");
        assert_eq!(puts[0].header("content-range"), None, "{name}");
        assert_eq!(puts[0].header("transfer-encoding"), None, "{name}");
        let length = bytes.len().to_string();
        assert_eq!(puts[0].header("content-length"), Some(&*length), "{name}");
    }
}

#[test]
fn a_registry_that_refused_chunks_is_sent_none_again() {
    let registry = Registry::start_with(None, |request, _| match &*request.method {
        "PATCH" => refused(405, "no"),
        _ => None,
    });
    let sink = create(&registry, "x:t", &env());
    for first in 0..3 {
        let bytes = layer(first);
        write_blob(&*sink, &bytes).unwrap();
        assert!(is_stored(&registry, &bytes));
    }
    assert_eq!(methods(&registry, "PATCH").len(), 1);
    assert_eq!(methods(&registry, "POST").len(), 4);
    assert_eq!(methods(&registry, "PUT").len(), 3);
}

#[test]
fn a_registry_that_reports_no_number_or_201_takes_chunks() {
    let registries: [Hook; 3] = [
        |request, stored| {
            let patch = request.method == "PATCH";
            let _ = patch.then(|| answer(request, stored))?;
            taken(request, 202, None)
        },
        |request, stored| {
            let patch = request.method == "PATCH";
            let _ = patch.then(|| answer(request, stored))?;
            taken(request, 201, None)
        },
        // Without the URL for the next bytes, the last one holds.
        |request, stored| {
            let patch = request.method == "PATCH";
            let _ = patch.then(|| answer(request, stored))?;
            Some(Reply::status(202))
        },
    ];
    for (i, hook) in registries.into_iter().enumerate() {
        let registry = Registry::start_with(None, hook);
        let sink = create(&registry, "x:t", &env());
        let bytes = layer(0);
        write_blob(&*sink, &bytes).unwrap();
        assert!(is_stored(&registry, &bytes), "{i}");
        assert_eq!(methods(&registry, "PATCH").len(), 3, "{i}");
        assert_eq!(methods(&registry, "POST").len(), 1, "{i}");
    }
}

#[test]
fn the_rest_of_a_chunk_that_was_cut_is_as_large_as_the_registry_wants() {
    let cuts = AtomicUsize::new(0);
    let registry = Registry::start_with(None, move |request, stored| {
        if request.method == "POST" {
            let _ = answer(request, stored);
            let reply = Reply::status(202).header("location", "/v2/x/blobs/uploads/1");
            return Some(reply.header("oci-chunk-min-length", (5 << 20).to_string()));
        }
        if request.method != "PATCH" || cuts.fetch_add(1, Ordering::Relaxed) != 0 {
            return None;
        }
        let half = &request.body[..request.body.len() / 2];
        stored.uploads.get_mut("1")?.extend(half);
        Some(Reply::hang_up())
    });
    let sink = create(&registry, "x:t", &env());
    let bytes = layer(0);
    write_blob(&*sink, &bytes).unwrap();
    assert!(is_stored(&registry, &bytes));
    let patches = methods(&registry, "PATCH");
    let ranges = patches.iter().map(|it| it.header("content-range").unwrap());
    let ranges: Vec<_> = ranges.collect();
    // The rest of 4 MiB waits for more bytes.
    assert_eq!(
        ranges,
        ["0-8388607", "4194304-12582911", "12582912-16777221"]
    );
}

#[test]
fn a_chunk_that_is_refused_after_others_is_an_error() {
    for status in [405, 413, 416] {
        let registry = Registry::start_with(None, move |request, _| {
            let range = request.header("content-range").unwrap_or_default();
            let third = request.method == "PATCH" && range.starts_with("16777216-");
            third.then(|| refused(status, "enough"))?
        });
        let sink = create(&registry, "x:t", &env());
        let error = write_blob(&*sink, &layer(0)).unwrap_err();
        assert_eq!(error.code(), Code::Net, "{error}");
        assert!(error.to_string().contains("enough"), "{error}");
        assert_eq!(methods(&registry, "PATCH").len(), 3);
        assert!(
            registry.stored().uploads.is_empty(),
            "what is given up is ended"
        );
    }
}

#[test]
fn a_registry_that_takes_a_chunk_in_small_parts_gets_a_few_requests() {
    let registry = Registry::start_with(None, |request, stored| {
        let id = request.path().rsplit('/').next()?.to_owned();
        let bytes = stored.uploads.get_mut(&id)?;
        if request.method != "PATCH" {
            return None;
        }
        bytes.extend(&request.body[..2]);
        let range = format!("0-{}", bytes.len() - 1);
        taken(request, 202, Some(&range))
    });
    let sink = create(&registry, "x:t", &env());
    let error = write_blob(&*sink, &layer(0)).unwrap_err();
    assert_eq!(error.code(), Code::Net, "{error}");
    assert_eq!(methods(&registry, "PATCH").len(), 6);
}

#[test]
fn a_whole_blob_whose_sending_was_cut_is_sent_anew_a_few_times() {
    for (cuts, attempts) in [(1, 2), (4, 5), (usize::MAX, 5)] {
        let count = AtomicUsize::new(0);
        let registry = Registry::start_with(None, move |request, _| match &*request.method {
            "PATCH" => refused(405, "no"),
            "PUT" if count.fetch_add(1, Ordering::Relaxed) < cuts => Some(Reply::hang_up()),
            _ => None,
        });
        let sink = create(&registry, "x:t", &env());
        let bytes = layer(0);
        let written = write_blob(&*sink, &bytes);
        assert_eq!(methods(&registry, "PUT").len(), attempts, "{cuts}");
        assert_eq!(is_stored(&registry, &bytes), attempts > cuts, "{cuts}");
        assert!(registry.stored().uploads.is_empty(), "{cuts}");
        match written {
            Ok(()) => assert!(attempts > cuts, "{cuts}"),
            Err(error) => {
                assert!(attempts <= cuts, "{cuts}: {error}");
                assert_eq!(error.code(), Code::Net, "{error}");
            }
        }
    }
    // An answer that is lost although the blob was stored does no harm.
    let registry = Registry::start_with(None, |request, stored| match &*request.method {
        "PATCH" => refused(405, "no"),
        "PUT" => {
            let _ = answer(request, stored);
            Some(Reply::hang_up())
        }
        _ => None,
    });
    let sink = create(&registry, "x:t", &env());
    write_blob(&*sink, &layer(0)).unwrap();
    assert_eq!(methods(&registry, "PUT").len(), 1);
}

#[test]
fn a_temporary_directory_that_is_missing_is_named() {
    let registry = Registry::start_with(None, |request, _| match &*request.method {
        "PATCH" => refused(405, "no"),
        _ => None,
    });
    let mut env = env();
    env.tmpdir = "/nonexistent/folder".into();
    let sink = create(&registry, "x:t", &env);
    let error = write_blob(&*sink, &layer(0)).unwrap_err();
    assert_eq!(error.code(), Code::Io, "{error}");
    assert!(error.to_string().contains("/nonexistent/folder"), "{error}");
    assert!(
        error
            .advice()
            .is_some_and(|it| it.contains("`--tmpdir DIR`"))
    );
}
