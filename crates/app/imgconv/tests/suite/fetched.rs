//! Images from servers: images found by name or URL, their signatures, and refusals.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use imgconv::{Locator, Options, Outcome, convert, verify};
use imgconv_model::{Code, Env, Error, Network, Platform, Result};
use imgconv_openpgp::SigningKey;
use imgconv_testkit::{
    Head, ImageRecipe, build, docker, recipe,
    server::{Reply, Server},
};

const BOB: &str = "0b4b189b245029b2b404bb7af4c8edf62616701a";

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../core/openpgp/tests/data")
        .join(name)
}

/// The signature of bob, as gpg writes it.
fn sign(bytes: &[u8]) -> Vec<u8> {
    let key = SigningKey::read(&fs::read(key("bob.secret.asc")).unwrap(), None).unwrap();
    let when = UNIX_EPOCH + Duration::from_secs(1_590_969_600);
    key.sign(Box::new(Cursor::new(bytes.to_vec())), when)
        .unwrap()
        .into_bytes()
}

fn image(name: &str, version: &str) -> ImageRecipe {
    let head = Head {
        name: name.into(),
        version: version.into(),
        os: "linux".into(),
        arch: "amd64".into(),
        ..Head::default()
    };
    let layers = vec![recipe::parse("dir etc\nfile etc/image \"hello\"", "layer").unwrap()];
    ImageRecipe {
        head,
        layers,
        manifest: None,
    }
}

fn aci() -> Vec<u8> {
    build::aci_bytes(&image("example.com/app", "1.0")).unwrap()
}

/// Serves an ACI with its signature, found by `example.com/…`, and an archive.
fn server(aci: Vec<u8>, signature: Option<Vec<u8>>) -> Server {
    let archive = docker::archive(&[image("example.com/app", "1.0")]).unwrap();
    Server::start(move |request| {
        let host = request.header("host").unwrap_or_default();
        match request.path() {
            "/app.aci" => Reply::ok(aci.clone()),
            "/app.aci.asc" => match &signature {
                Some(signature) => Reply::ok(signature.clone()),
                None => Reply::status(404),
            },
            "/archive" => Reply::ok(archive.clone()),
            "/keys" => Reply::ok(fs::read(key("bob.pub.asc")).unwrap()),
            "/" => Reply::ok(format!(
                "<meta name=ac-discovery content='example.com http://{host}/app.{{ext}}'>
                 <meta name=ac-discovery-pubkeys content='example.com http://{host}/keys'>"
            )),
            "/archived" => Reply::ok(format!(
                "<meta name=ac-discovery content='example.com http://{host}/archive?{{ext}}'>"
            )),
            _ => Reply::status(404),
        }
    })
}

struct Run {
    folder: tempfile::TempDir,
    network: Network,
}

impl Run {
    fn new(server: &Server) -> Self {
        let mut network = Network {
            mirrors: vec![("example.com".into(), server.authority())],
            keyrings: vec![key("bob.pub.asc")],
            ..Network::default()
        };
        network.timeouts.first_wait = Duration::from_millis(1);
        let folder = tempfile::tempdir().unwrap();
        Self { folder, network }
    }

    fn env(&self) -> Env {
        Env {
            network: Arc::new(self.network.clone()),
            ..Env::new(self.folder.path(), Platform::new("linux", "amd64"))
        }
    }

    fn convert(&self, source: &str) -> Result<Outcome> {
        let destination = self.folder.path().join("out");
        let _ = fs::remove_dir_all(&destination);
        let destination = format!("oci:{}", destination.display());
        let (source, destination) = (
            Locator::source(source)?,
            Locator::destination(&destination)?,
        );
        convert(&[source], &destination, &Options::default(), &self.env())
    }

    fn failure(&self, source: &str, code: Code) -> Error {
        let error = self.convert(source).expect_err(source);
        assert_eq!(error.code(), code, "{source}: {error}");
        assert!(!self.folder.path().join("out").exists());
        let left = fs::read_dir(self.folder.path()).unwrap().count();
        assert_eq!(left, 0, "temporary files are gone");
        error
    }
}

#[test]
fn a_signed_image_is_found_by_name_and_by_url() {
    let aci = aci();
    let signature = sign(&aci);
    let server = server(aci, Some(signature));
    let run = Run::new(&server);
    for source in [
        "appc:example.com/app,version=1.0".to_owned(),
        "example.com/app".to_owned(),
        "cimd:appc:v=0:example.com/app?version=1.0".to_owned(),
        server.url("/app.aci"),
        format!("aci+{}", server.url("/app.aci")),
    ] {
        let outcome = run.convert(&source).unwrap();
        assert_eq!(outcome.images.len(), 1, "{source}");
        assert_eq!(
            outcome.images[0].name.as_deref(),
            Some("example.com/app:1.0")
        );
        assert_eq!(outcome.images[0].source, server.url("/app.aci"));
        let fields: Vec<&str> = outcome.images[0]
            .losses
            .iter()
            .map(|loss| &*loss.field)
            .collect();
        assert!(fields.contains(&"signature"), "{fields:?}");
    }
}

#[test]
fn an_archive_is_read_from_a_server() {
    let server = server(Vec::new(), None);
    let run = Run::new(&server);
    let outcome = run
        .convert(&format!("{}#example.com/app:1.0", server.url("/archive")))
        .unwrap();
    assert_eq!(outcome.images[0].format, "oci");
    let error = run.failure(&format!("{}#nope", server.url("/archive")), Code::Missing);
    assert!(
        error.to_string().starts_with(&server.url("/archive")),
        "{error}"
    );
}

#[test]
fn a_stated_format_is_checked() {
    let server = server(aci(), None);
    let mut run = Run::new(&server);
    run.network.insecure_image = true;
    run.convert(&server.url("/app.aci")).unwrap();
    for source in [
        format!("oci+{}", server.url("/app.aci")),
        format!("aci+{}", server.url("/archive")),
        // An appc name finds only ACIs.
        "appc:example.com/archived".to_owned(),
    ] {
        run.failure(&source, Code::Mismatch);
    }
}

#[test]
fn h7b_a_changed_byte_another_key_and_no_signature_are_refused() {
    let aci = aci();
    let signature = sign(&aci);
    let mut changed = aci.clone();
    // A byte in the header of the last entry, far from the manifest.
    let at = changed.len() - 1;
    changed[at] ^= 1;
    let server_of_changed = server(changed, Some(signature.clone()));
    let run = Run::new(&server_of_changed);
    run.failure("appc:example.com/app", Code::BadSignature);
    run.failure(&server_of_changed.url("/app.aci"), Code::BadSignature);

    let unsigned = server(aci.clone(), None);
    let mut run = Run::new(&unsigned);
    for source in ["appc:example.com/app".to_owned(), unsigned.url("/app.aci")] {
        let error = run.failure(&source, Code::Denied);
        assert!(
            error.advice().unwrap().contains("--insecure-image"),
            "{error}"
        );
    }
    run.network.insecure_image = true;
    run.convert("appc:example.com/app").unwrap();

    let signed = server(aci, Some(signature));
    let mut run = Run::new(&signed);
    run.network.keyrings = vec![key("alice.pub.asc")];
    let error = run.failure("appc:example.com/app", Code::Denied);
    assert!(
        error
            .to_string()
            .contains("is not trusted for \"example.com/app\""),
        "{error}"
    );
    run.network.keyrings.clear();
    let error = run.failure("appc:example.com/app", Code::Denied);
    assert!(
        error.advice().unwrap().contains("--fetch-pubkeys"),
        "{error}"
    );
    run.network.fetch_pubkeys = true;
    run.convert("appc:example.com/app").unwrap();
}

#[test]
fn h7d_a_key_of_a_prefix_signs_for_that_prefix() {
    let aci = aci();
    let signature = sign(&aci);
    let server = server(aci, Some(signature));
    let mut run = Run::new(&server);
    let keys = tempfile::tempdir().unwrap();
    run.network.keyrings = vec![keys.path().to_owned()];
    let trust = |prefix: &str| {
        let folder = keys.path().join("prefix.d");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join(prefix)).unwrap();
        fs::copy(key("bob.pub.asc"), folder.join(prefix).join(BOB)).unwrap();
    };
    for (prefix, trusted) in [
        ("example.com/app", true),
        ("example.com", true),
        ("example.com/ap", false),
        ("other.example", false),
    ] {
        trust(prefix);
        for source in ["appc:example.com/app".to_owned(), server.url("/app.aci")] {
            match trusted {
                true => drop(run.convert(&source).unwrap()),
                false => drop(run.failure(&source, Code::Denied)),
            }
            let _ = fs::remove_dir_all(run.folder.path().join("out"));
        }
    }
}

#[test]
fn j5_another_name_or_label_than_was_asked_for_is_a_mismatch() {
    let aci = aci();
    let signature = sign(&aci);
    let signed = server(aci, Some(signature));
    let run = Run::new(&signed);
    let error = run.failure("appc:example.com/other", Code::Mismatch);
    assert!(error.to_string().contains("name of the image"), "{error}");
    let error = run.failure("appc:example.com/app,version=2.0", Code::Mismatch);
    assert!(error.to_string().contains("\"version\""), "{error}");
    run.failure("appc:example.com/app,channel=beta", Code::Mismatch);
    run.failure("appc:example.com/app,arch=i386", Code::Mismatch);
    // The signature is verified first: a file without a trusted signature is not parsed.
    let garbage = server(b"no ACI at all".to_vec(), Some(sign(b"other bytes")));
    let run = Run::new(&garbage);
    run.failure("appc:example.com/app", Code::BadSignature);
}

#[test]
fn a_local_signature_is_verified_if_keys_are_trusted() {
    let server = Server::start(|_| Reply::status(404));
    let mut run = Run::new(&server);
    let local = tempfile::tempdir().unwrap();
    let path = local.path().join("app.aci");
    fs::write(&path, aci()).unwrap();
    let source = path.to_str().unwrap();
    let check = |run: &Run| verify(&Locator::source(source).unwrap(), &run.env()).unwrap();
    assert!(check(&run).signatures.is_empty() && check(&run).problems.is_empty());
    fs::write(local.path().join("app.aci.asc"), sign(&aci())).unwrap();
    let verdict = check(&run);
    assert_eq!(verdict.problems, []);
    assert_eq!(verdict.signatures[0].fingerprint, BOB);
    assert_eq!(verdict.signatures[0].user_ids, ["Bob <bob@example.com>"]);
    fs::write(local.path().join("app.aci.asc"), sign(b"other bytes")).unwrap();
    assert_eq!(check(&run).problems[0].code, "bad-signature");
    run.failure(source, Code::BadSignature);
    // Without trusted keys the report has no signatures.
    run.network.keyrings.clear();
    assert_eq!(check(&run).problems, []);
}
