//! Images that an engine loads.

use imgconv_model::{BundleSink, Child, Code, Digest, Name, Publication, Result, Transport as _};
use imgconv_testkit::{engine::refusal, server::Reply, sha256_hex};
use imgconv_transport_docker_archive::ARCHIVE_IMAGE;
use imgconv_transport_docker_daemon::DOCKER_DAEMON;

use crate::fixture::{Place, place, with};

fn digest(bytes: &[u8]) -> Digest {
    Digest::parse(&format!("sha256:{}", sha256_hex(bytes))).unwrap()
}

fn put(sink: &dyn BundleSink, bytes: &str) -> Digest {
    let digest = digest(bytes.as_bytes());
    let mut writer = sink.writer().unwrap();
    writer.write_all(bytes.as_bytes()).unwrap();
    writer.finish(&digest, bytes.len() as u64).unwrap();
    digest
}

/// Writes images of one layer each, with these names.
pub(crate) fn send(
    sink: Box<dyn BundleSink>,
    images: &[(&str, Option<&str>)],
) -> Result<Vec<String>> {
    let publication = |(layer, name): &(&str, Option<&str>)| {
        let layer = put(&*sink, layer);
        let config = format!(r#"{{"os":"linux","rootfs":{{"diff_ids":["{layer}"]}}}}"#);
        let config = put(&*sink, &config);
        let (layer, config) = (layer.hex(), config.hex());
        let document = format!(
            r#"{{"Config":"blobs/sha256/{config}","RepoTags":null,"Layers":["blobs/sha256/{layer}"]}}"#
        );
        let digest = put(&*sink, &document);
        Publication {
            root: Child::new(ARCHIVE_IMAGE, digest, document.len() as u64),
            name: name.map(|name| Name::parse_reference(name).unwrap()),
            reference: None,
            file_name: None,
        }
    };
    let publications: Vec<Publication> = images.iter().map(publication).collect();
    sink.commit(&publications)
}

fn load(place: &Place, images: &[(&str, Option<&str>)]) -> Result<Vec<String>> {
    let sent = send(DOCKER_DAEMON.create("", &place.env)?, images);
    let left = std::fs::read_dir(&place.env.tmpdir).unwrap().count();
    assert_eq!(left, 0, "nothing stays in the temporary directory");
    sent
}

// robustness Q13: images are loaded with their names, and found by the engine's own ID.
#[test]
fn q13_images_are_loaded_and_found() {
    let place = place(&[]);
    let long = "y".repeat(3 << 20);
    let images = [
        (&*long, Some("a:1")),
        ("z", Some("example.com/b:2")),
        ("z", Some("c")),
        ("w", None),
    ];
    let places = load(&place, &images).unwrap();
    let [a, b, c, nameless] = &places[..] else {
        panic!("{places:?}")
    };
    assert_eq!(
        [&**a, b, c],
        [
            "docker-daemon:a:1",
            "docker-daemon:example.com/b:2",
            "docker-daemon:c:latest"
        ]
    );
    assert!(nameless.starts_with("docker-daemon:@sha256:"), "{nameless}");
    let loaded = place.engine.images();
    let names: Vec<&[String]> = loaded.iter().map(|image| &image.names[..]).collect();
    assert_eq!(names.len(), 3);
    assert!(
        names
            .iter()
            .any(|names| *names == ["example.com/b:2", "c:latest"])
    );
    assert!(names.iter().any(|names| names.is_empty()));
}

// robustness Q14: an engine that refuses the images, in its status or in the lines of its answer.
#[test]
fn q14_a_refusal_is_an_error_that_quotes_the_engine() {
    let line = "{\"stream\":\"Loading\"}\r\n{\"errorDetail\":{\"message\":\"wrong diff id\"},\"error\":\"x\"}\r\n";
    let replies = [
        (refusal(500, "no space left"), "no space left"),
        (Reply::ok(line), "wrong diff id"),
        (Reply::ok("{\"error\":\"flat\"}\n"), "flat"),
        (Reply::ok("<html>"), "not that of an engine"),
        (
            Reply::ok(line).chunked().cut_after(30),
            "closed the connection",
        ),
        (Reply::hang_up(), "closed the connection"),
        (
            Reply::ok("{\"stream\":\"Loaded image: a:1\"}"),
            "no image \"a:1\" after it was loaded",
        ),
    ];
    for (reply, expected) in replies {
        let place = with(&[], move |request| {
            (request.path() == "/images/load").then(|| reply.clone())
        });
        let error = load(&place, &[("x", Some("a:1"))]).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(place.engine.images().is_empty());
    }
}

// robustness Q15: an engine that has another image under the name afterwards; one that knows images
// by their manifests.
#[test]
fn q15_the_image_in_the_engine_is_compared() {
    let answer = |layers: &str| {
        let id = "0".repeat(64);
        format!(r#"{{"Id":"sha256:{id}","RepoTags":["a:1"],"RootFS":{{"Layers":[{layers}]}}}}"#)
    };
    let layer = digest(b"x").to_string();
    for (layers, works) in [(format!("\"{layer}\""), true), (String::new(), false)] {
        let body = answer(&layers);
        let place = with(&[], move |request| {
            let describes = request.path() == "/images/a:1/json";
            describes.then(|| Reply::ok(body.clone()))
        });
        let loaded = load(&place, &[("x", Some("a:1"))]);
        match loaded {
            Ok(_) => assert!(works),
            Err(error) => {
                assert!(!works && error.code() == Code::Mismatch, "{error}");
            }
        }
    }
}
