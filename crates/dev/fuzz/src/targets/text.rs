//! Texts: JSON, names, image tags, discovery pages, signatures, configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use imgconv::{Locator, Reference, Shard};
use imgconv_containers_conf::Registries;
use imgconv_format_docker_v2s1::{SigningKey, manifest_digest, sign, verify_document};
use imgconv_http::Url;
use imgconv_json::Value;
use imgconv_model::{Code, Digest, PlatformSpec, Reader, RegistriesFiles, Result};
use imgconv_openpgp::Trust;
use imgconv_registry::{Host, Location, Protocol};
use imgconv_tags::ImageTags;
use imgconv_transport_appc::{AppImage, image_urls};

use crate::cage::{self, caged};

/// What the strict parser takes, serde_json takes with the same value; what serde_json takes and the strict parser
/// does not, has equal keys, is too deep or too large, or begins with a byte order mark. The canonical form has the
/// same value and is its own canonical form.
pub(super) fn json(bytes: &[u8]) {
    let limits = cage::limits();
    let strict = imgconv_json::parse(bytes, &limits, "text");
    let checked = imgconv_json::check(bytes, &limits, "text");
    if let Err(error) = &checked
        && strict.is_ok()
    {
        panic!("`check` refuses what `parse` takes: {error}");
    }
    let loose = serde_json::from_slice::<Value>(bytes);
    match (strict, loose) {
        (Ok(value), Ok(other)) => {
            assert!(checked.is_ok());
            assert!(
                value == other || has_private_key(bytes),
                "{value} is not {other}"
            );
            let canonical = imgconv_json::canonical(&value);
            let again = imgconv_json::parse(&canonical, &limits, "canonical").unwrap();
            assert!(again == value, "{again} is not {value}");
            assert_eq!(imgconv_json::canonical(&again), canonical);
        }
        (Ok(value), Err(error)) => {
            assert!(
                has_private_key(bytes),
                "serde_json refuses {value}: {error}"
            );
        }
        (Err(error), Ok(value)) => {
            let text = error.to_string();
            let known = error.code() == Code::Limit
                || text.contains("occurs twice")
                || text.contains("byte order mark")
                || text.contains("too large");
            assert!(
                known || has_private_key(bytes),
                "{text}, but serde_json reads {value}"
            );
        }
        (Err(_), Err(_)) => {}
    }
}

/// serde_json reads an object with a key of its own as a number or as raw text.
fn has_private_key(bytes: &[u8]) -> bool {
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    // The key may be spelled with escapes.
    has(b"$serde_json") || has(b"\\u")
}

pub(super) fn json_seeds() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"a":[1,-0,1.5,1e10,1E-7,true,false,null,"x\n\u00e9\ud83d\ude00",{}],"b":{"c":[[]]}}"#,
        r#"[123456789012345678901234567890,0.1e+300,-1.0]"#,
        r#" {"":"" , "\"":"\\\/\b\f\n\r\t"} "#,
        r#"{"a":1,"a":2}"#,
        "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
        "\"\u{e9}\u{1f600}\"",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A text that is read as a name is read again from what it is printed as.
pub(super) fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let place = match Locator::source(text) {
        Ok(locator) if text.contains(':') => Some(locator),
        _ => None,
    };
    if let Some(locator) = place {
        let exact = locator.exact();
        match Locator::source(&exact) {
            Ok(again) => assert_eq!(again.exact(), exact, "{text:?}"),
            Err(error) => panic!("{exact:?}, which {text:?} is printed as: {error}"),
        }
    }
    let _ = Locator::destination(text);
    let _ = Locator::dependencies(text);
    let _ = Reference::parse(text);
    let _ = Shard::parse(text);
    if text.len() < 40 {
        let _ = imgconv::Rules::read(&[], &[], &[text.to_owned()]);
    }
    let _ = Host::parse(text);
    for protocol in [Protocol::V1, Protocol::V2] {
        if let Ok(location) = Location::parse_as(protocol, text) {
            let _ = location.qualified();
        }
    }
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text);
    }
    let _ = PlatformSpec::parse(text);
    if let Ok(image) = text.parse::<AppImage>() {
        let shown = image.to_string();
        assert_eq!(shown.parse::<AppImage>().unwrap(), image, "{text:?}");
    }
    if let Ok(url) = Url::parse(text) {
        assert_eq!(Url::parse(url.as_str()).unwrap().as_str(), url.as_str());
    }
    let (base, reference) = text
        .split_once(' ')
        .unwrap_or(("https://example.com/a/b?c", text));
    if let Ok(base) = Url::parse(base)
        && let Ok(joined) = base.join(reference)
    {
        assert_eq!(
            Url::parse(joined.as_str()).unwrap().as_str(),
            joined.as_str()
        );
    }
    let escaped = imgconv::escape(text);
    assert!(!escaped.chars().any(char::is_control), "{escaped:?}");
}

pub(super) fn name_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "docker://example.com:5000/a/b:tag",
        "docker://example.com/a@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "docker://busybox",
        "dockerv1://index.docker.io/library/a:1",
        "oci:/nowhere/layout:name:1",
        "oci-archive:/nowhere/a.tar:@1",
        "docker-archive:/nowhere/a.tar:example.com/a:1",
        "docker-daemon:example.com/a:1",
        "aci:/nowhere/a.aci",
        "appc:example.com/app:1.0,os=linux,arch=amd64",
        "example.com/app:tag,a=b%2Cc",
        "containerd:/nowhere:default/example.com/a:1",
        "containers-storage:[overlay@/nowhere]example.com/a:1",
        "https://example.com/a.aci",
        "tree:/nowhere",
        "linux/arm64/v8:10.0.1[a,b]",
        "1/3",
        "https://user:pass@example.com:443/a/../b?c=d#e",
        "https://[::1]:5000/a ../b%2e",
        "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "^a(.*)=b$1",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// An image tags file that is written again has the same meaning.
pub(super) fn tags(bytes: &[u8]) {
    let limits = cage::limits();
    let Ok(tags) = ImageTags::parse(bytes, &limits, "tags") else {
        return;
    };
    let written = tags.to_bytes();
    let again = ImageTags::parse(&written, &limits, "written");
    let again = again.unwrap_or_else(|error| panic!("our own tags are refused: {error}"));
    assert_eq!(again.to_bytes(), written);
    let shown = |tags: &ImageTags| format!("{:?}", tags.all());
    assert_eq!(shown(&again), shown(&tags));
    let _ = tags.problems();
    let _ = tags.updated(&again);
}

pub(super) fn tag_seeds() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"aliases":{"latest":"2.x","2.x":"2.0"},"labels":{"2.0":{"version":"2.0","arch":"amd64"},"1.0":{"version":"1.0"}}}"#,
        r#"{"aliases":{"a":"b","b":"a"},"labels":{}}"#,
        r#"{"aliases":{},"labels":{}}"#,
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The templates of a discovery page lead to a web server, and no value changes the host.
pub(super) fn discovery(bytes: &[u8]) {
    let hostile = "../../@evil.example/?#".to_owned();
    let labels = ["version", "os", "arch"].map(|label| (label.to_owned(), hostile.clone()));
    let labels = BTreeMap::from(labels);
    for url in image_urls(bytes, "example.com/app", &labels) {
        let lower = url.to_ascii_lowercase();
        assert!(
            lower.starts_with("http://") || lower.starts_with("https://"),
            "{url}"
        );
        if let Ok(url) = Url::parse(&url) {
            let in_page = bytes
                .windows(12)
                .any(|part| part.eq_ignore_ascii_case(b"evil.example"));
            assert!(in_page || !url.host().contains("evil.example"), "{url:?}");
        }
    }
}

pub(super) fn discovery_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "<!DOCTYPE html><html><head><meta name=\"ac-discovery\" content=\"example.com \
         https://example.com/{name}-{version}-{os}-{arch}.{ext}\"><meta name='ac-discovery-pubkeys' \
         content='example.com https://example.com/keys.gpg'></head></html>",
        "<meta name=ac-discovery content='example.com http://{version}.x/{name}.{ext}?a=b&amp;c=d'>",
        "<!-- <meta name=ac-discovery> --><script><meta name=ac-discovery content='example.com https://x/{ext}'></script>\
         <title><meta></title><META NAME=ac-discovery-imagetags CONTENT=\"example.com/app https://x/{name}.{ext}\">",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

const SIGNED: &[u8] = b"the bytes of an ACI\n";

/// The bytes are read as keys and as signatures; and as keys, then signatures behind a line of `=`.
pub(super) fn openpgp(bytes: &[u8]) {
    let limits = cage::limits();
    let mut trust = Trust::nobody("example.com/app");
    let mark = b"\n=\n";
    let at = bytes.windows(mark.len()).position(|window| window == mark);
    let (keys, signature) = match at {
        Some(at) => (&bytes[..at], &bytes[at + mark.len()..]),
        None => (bytes, bytes),
    };
    let _ = trust.add(keys, &limits);
    let _ = imgconv_openpgp::SigningKey::read(keys, None);
    let open = || -> Result<Reader> { Ok(Box::new(Cursor::new(SIGNED))) };
    // 2026-06-01.
    let now = UNIX_EPOCH + Duration::from_secs(1_780_272_000);
    let verified = trust.verify(signature, &open, now, &limits);
    if let Ok(verified) = verified {
        assert!(
            !verified.signers.is_empty(),
            "a good signature has a signer"
        );
        // Other bytes have no good signature.
        let open = || -> Result<Reader> { Ok(Box::new(Cursor::new(b"other"))) };
        assert!(trust.verify(signature, &open, now, &limits).is_err());
    }
}

pub(super) fn openpgp_seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/openpgp/tests/data");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let mut seeds = Vec::new();
    for name in [
        "alice", "bob", "dora", "erin", "nora", "olga", "rita", "sven", "bruno",
    ] {
        let keys = read(&format!("{name}.pub.asc"));
        let signature = read(&format!("{name}.sig.asc"));
        seeds.push([&keys[..], b"\n=\n", &signature].concat());
    }
    seeds.push(read("inline.asc"));
    seeds.push(read("clear.asc"));
    seeds.push(read("bob.secret.asc"));
    seeds
}

/// A document whose signatures are good has a payload; and a payload that is signed has a good signature.
pub(super) fn jws(bytes: &[u8]) {
    if verify_document(bytes).is_ok() {
        assert!(manifest_digest(bytes).is_ok());
    }
    if let Ok(signed) = sign(bytes, &key()) {
        verify_document(&signed).unwrap();
        assert_eq!(
            manifest_digest(&signed).unwrap(),
            imgconv_stream::digest(imgconv_model::Algorithm::Sha256, bytes)
        );
    }
}

/// A key of the tests: the private number is 1 repeated.
pub(super) fn key() -> SigningKey {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"","y":"","d":""}"#;
    SigningKey::from_jwk(jwk.as_bytes()).unwrap_or_else(|_| SigningKey::fresh().unwrap())
}

/// Manifests of schema 1.
pub(super) fn manifests_v1() -> Vec<Vec<u8>> {
    let id = |digit: &str| digit.repeat(64);
    let empty = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
    let top = format!(
        r#"{{\"id\":\"{}\",\"parent\":\"{}\",\"created\":\"2016-01-01T00:00:00Z\",\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{\"Cmd\":[\"/bin/sh\"],\"Env\":[\"A=b\"]}},\"throwaway\":true}}"#,
        id("a"),
        id("b")
    );
    let base = format!(
        r#"{{\"id\":\"{}\",\"container_config\":{{\"Cmd\":[\"x\"]}}}}"#,
        id("b")
    );
    let manifest = format!(
        "{{\n   \"schemaVersion\": 1,\n   \"name\": \"a/b\",\n   \"tag\": \"t\",\n   \"architecture\": \"amd64\",\n   \
         \"fsLayers\": [\n      {{\"blobSum\": \"{empty}\"}},\n      {{\"blobSum\": \"sha256:{}\"}}\n   ],\n   \
         \"history\": [\n      {{\"v1Compatibility\": \"{top}\"}},\n      {{\"v1Compatibility\": \"{base}\"}}\n   ]\n}}",
        id("1"),
    );
    vec![manifest.into_bytes()]
}

pub(super) fn jws_seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let real = folder.join("../../formats/docker-v2s1/tests/suite/data/skopeo-v2s1.json");
    let mut seeds = vec![fs::read(real).unwrap()];
    for manifest in manifests_v1() {
        seeds.push(sign(&manifest, &key()).unwrap());
        seeds.push(manifest);
    }
    seeds
}

/// A configuration that is read has an answer for every repository, or an error.
pub(super) fn registries(bytes: &[u8]) {
    caged(|cage| {
        fs::write(cage.input(), bytes).unwrap();
        let files = RegistriesFiles {
            only: Some(cage.input()),
            ..RegistriesFiles::default()
        };
        let Ok(registries) = Registries::read(&files) else {
            return;
        };
        for repository in [
            "example.com/a",
            "docker.io/library/busybox",
            "localhost:5000/x/y",
        ] {
            for by_digest in [false, true] {
                let _ = registries.reading(repository, by_digest);
            }
            let _ = registries.named(repository);
        }
        let _ = registries.listing("example.com");
        let _ = registries.short_names("busybox");
    });
}

pub(super) fn registries_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "unqualified-search-registries = [\"docker.io\", \"quay.io\"]\nshort-name-mode = \"enforcing\"\n[aliases]\n\
         busybox = \"docker.io/library/busybox\"\n",
        "[[registry]]\nprefix = \"*.example.com\"\nlocation = \"example.com/mirror\"\ninsecure = true\nblocked = false\n\
         mirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"mirror.example.com/x\"\ninsecure = false\n\
         pull-from-mirror = \"digest-only\"\n[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \
         \"localhost:5000\"\n",
        "[registries.search]\nregistries = ['docker.io']\n[registries.block]\nregistries = []\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
