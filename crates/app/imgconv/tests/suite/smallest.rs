//! Builds without a cargo feature refuse the affected work, and name the missing feature.

#[cfg(not(feature = "openpgp"))]
use std::sync::Arc;

use imgconv::{Code, Env, Error, Locator, Platform};

fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

fn advised(error: &Error, feature: &str) {
    assert_eq!(error.code(), Code::Unsupported, "{error:?}");
    assert!(
        error.message().starts_with("this build has no"),
        "{error:?}"
    );
    assert!(error.advice().unwrap().contains(feature), "{error:?}");
}

#[cfg(not(feature = "registry"))]
#[test]
fn a_server_is_not_reached() {
    for text in [
        "docker://127.0.0.1:1/app:1",
        "https://127.0.0.1:1/app.aci",
        "appc:example.com/app",
    ] {
        let locator = Locator::source(text).unwrap();
        advised(&imgconv::list(&locator, &env()).unwrap_err(), "`registry`");
    }
    let source = Locator::source("../../../testdata/hello.aci").unwrap();
    let destination = Locator::destination("docker://127.0.0.1:1/app:1").unwrap();
    let options = imgconv::Options::default();
    let error = imgconv::convert(&[source], &destination, &options, &env()).unwrap_err();
    advised(&error, "`registry`");
}

/// Makes an environment that trusts the keys of a file, so that signatures are verified.
#[cfg(not(feature = "openpgp"))]
fn trusting(insecure_image: bool) -> Env {
    let network = imgconv::Network {
        keyrings: vec!["keys.asc".into()],
        insecure_image,
        ..imgconv::Network::default()
    };
    Env {
        network: Arc::new(network),
        ..env()
    }
}

#[cfg(not(feature = "openpgp"))]
#[test]
fn a_signature_is_refused_and_not_accepted_unverified() {
    let folder = tempfile::tempdir().unwrap();
    let aci = folder.path().join("app.aci");
    std::fs::copy("../../../testdata/hello.aci", &aci).unwrap();
    std::fs::write(folder.path().join("app.aci.asc"), "any signature").unwrap();
    let source = Locator::source(aci.to_str().unwrap()).unwrap();
    let layout = folder.path().join("out");
    let destination = Locator::destination(layout.to_str().unwrap()).unwrap();
    let options = imgconv::Options::default();
    let sources = [source];
    let convert = |env: &Env| imgconv::convert(&sources, &destination, &options, env);
    advised(&convert(&trusting(false)).unwrap_err(), "`openpgp`");
    assert!(!layout.exists());
    let verdict = imgconv::verify(&sources[0], &trusting(false)).unwrap();
    assert_eq!(verdict.problems[0].code, "unsupported");
    convert(&trusting(true)).unwrap();
    assert!(layout.exists());
}

#[cfg(not(feature = "openpgp"))]
#[test]
fn nothing_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.asc");
    std::fs::write(&key, "any key").unwrap();
    let mut options = imgconv::PublishOptions::default();
    options.conversion.host = Some("example.com".to_owned());
    options.site.signing = Some(imgconv::Signing {
        key,
        passphrase: None,
        time: std::time::UNIX_EPOCH,
    });
    let source = Locator::source("../../../testdata/hello.aci").unwrap();
    let site = folder.path().join("site");
    let error = imgconv::publish(&[source], &site, &options, &env()).unwrap_err();
    advised(&error, "`openpgp`");
}
