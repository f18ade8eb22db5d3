//! Signatures that GnuPG made, by the rows of the robustness requirements (section H).

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use imgconv_model::{Code, Env, Error, Limits, Network, Platform, Reader, Result, Signature};
use imgconv_openpgp::{SigningKey, Trust, Verified, check};
use proptest::prelude::*;

const DATA: &[u8] = b"the bytes of an ACI\n";
const ALICE: &str = "b98a67be042a60c9485378219225bca9302b8814";
const BOB: &str = "0b4b189b245029b2b404bb7af4c8edf62616701a";

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// 2026-06-01.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_780_272_000)
}

fn trusting(keys: &[&str]) -> Trust {
    let mut trust = Trust::nobody("example.com/app");
    for key in keys {
        trust
            .add(&file(&format!("{key}.pub.asc")), &Limits::default())
            .unwrap();
    }
    trust
}

fn verify_bytes(trust: &Trust, signature: &[u8], data: &'static [u8]) -> Result<Verified> {
    let open = || -> Result<Reader> { Ok(Box::new(Cursor::new(data))) };
    trust.verify(signature, &open, now(), &Limits::default())
}

fn verify(trust: &Trust, signature: &str) -> Result<Verified> {
    verify_bytes(trust, &file(&format!("{signature}.asc")), DATA)
}

fn failure(trust: &Trust, signature: &str, code: Code) -> Error {
    let error = verify(trust, signature).expect_err(signature);
    assert_eq!(error.code(), code, "{signature}: {error}");
    error
}

fn signers(verified: &Verified) -> Vec<&str> {
    verified
        .signers
        .iter()
        .map(|signer| &*signer.fingerprint)
        .collect()
}

#[test]
fn h7a_a_good_signature_of_a_trusted_key_says_who_signed() {
    let verified = verify(&trusting(&["alice"]), "alice.sig").unwrap();
    assert_eq!(signers(&verified), [ALICE]);
    assert_eq!(verified.signers[0].user_ids, ["Alice <alice@example.com>"]);
    assert_eq!(verified.warnings, [""; 0]);
    let by_subkey = verify(&trusting(&["bob", "alice"]), "bob.sig").unwrap();
    assert_eq!(signers(&by_subkey), [BOB]);
    let both = verify(&trusting(&["alice", "bob"]), "alice-bob.sig").unwrap();
    assert_eq!(both.signers.len(), 2);
    // A stranger beside a trusted key does no harm.
    let one = verify(&trusting(&["bob"]), "alice-bob.sig").unwrap();
    assert_eq!(signers(&one), [BOB]);
}

#[test]
fn h7a_a_key_that_signed_itself_by_sha1_works_with_a_warning() {
    let verified = verify(&trusting(&["olga"]), "olga.sig").unwrap();
    assert_eq!(verified.warnings.len(), 1);
    assert!(
        verified.warnings[0].contains("SHA-1"),
        "{:?}",
        verified.warnings
    );
}

#[test]
fn h7b_one_changed_byte_or_another_key_is_refused() {
    let alice = trusting(&["alice"]);
    let signature = file("alice.sig.asc");
    for data in [&b"The bytes of an ACI\n"[..], b"the bytes of an ACI", b""] {
        let error = verify_bytes(&alice, &signature, data).unwrap_err();
        assert_eq!(error.code(), Code::BadSignature);
        assert!(error.advice().unwrap().contains("--insecure-image"));
    }
    let error = failure(&alice, "mallory.sig", Code::Denied);
    let mallory = "cb151556c6ca4c6a415d772fd3cb9a4147fcc7da";
    assert!(error.to_string().contains(mallory), "{error}");
    failure(&Trust::nobody("example.com/app"), "alice.sig", Code::Denied);
}

#[test]
fn h7b_every_signature_of_a_trusted_key_must_be_good() {
    failure(
        &trusting(&["alice", "bob"]),
        "alice-good-bob-bad.sig",
        Code::BadSignature,
    );
    failure(
        &trusting(&["bob"]),
        "alice-good-bob-bad.sig",
        Code::BadSignature,
    );
    verify(&trusting(&["alice"]), "alice-good-bob-bad.sig").unwrap();
}

#[test]
fn h7b_keys_and_signatures_that_are_no_longer_good() {
    let error = failure(&trusting(&["erin"]), "erin.sig", Code::BadSignature);
    assert!(error.to_string().contains("has expired"), "{error}");
    verify(&trusting(&["rita"]), "rita.sig").unwrap();
    let error = failure(&trusting(&["rita-revoked"]), "rita.sig", Code::BadSignature);
    assert!(error.to_string().contains("is revoked"), "{error}");
    let error = failure(&trusting(&["olga"]), "sha1.sig", Code::BadSignature);
    assert!(error.to_string().contains("SHA1"), "{error}");
    for signature in ["brief.sig", "future.sig", "text.sig"] {
        failure(&trusting(&["alice"]), signature, Code::BadSignature);
    }
}

#[test]
fn h7b_armour_that_is_none() {
    let alice = trusting(&["alice"]);
    let good = String::from_utf8(file("alice.sig.asc")).unwrap();
    for text in [
        String::new(),
        "garbage".to_owned(),
        good.replace("SIGNATURE", "PUBLIC KEY BLOCK"),
        format!("{good}{good}"),
        "-----BEGIN PGP SIGNATURE-----\n\n!!!!\n-----END PGP SIGNATURE-----\n".to_owned(),
        "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n".to_owned(),
        "-----BEGIN PGP SIGNATURE-----\n".to_owned(),
    ] {
        let error = verify_bytes(&alice, text.as_bytes(), DATA).expect_err(&text);
        assert_eq!(error.code(), Code::BadSignature, "{text}");
    }
    let binary = file("alice.sig.asc")[40..80].to_vec();
    assert_eq!(
        verify_bytes(&alice, &binary, DATA).unwrap_err().code(),
        Code::BadSignature
    );
}

#[test]
fn h7c_signed_messages_are_unsupported_and_huge_signatures_a_limit() {
    let alice = trusting(&["alice"]);
    failure(&alice, "inline", Code::Unsupported);
    failure(&alice, "clear", Code::Unsupported);
    let huge = vec![b'x'; 2 << 20];
    assert_eq!(
        verify_bytes(&alice, &huge, DATA).unwrap_err().code(),
        Code::Limit
    );
}

#[test]
fn h7d_trust_is_by_whole_path_components() {
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &str, bytes: &[u8]| {
        let path = folder.path().join("trustedkeys").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    place(
        &format!("prefix.d/example.com/foo/{ALICE}"),
        &file("alice.pub.asc"),
    );
    place(&format!("root.d/{BOB}"), &file("bob.pub.asc"));
    let places = [folder.path().to_owned()];
    let trusts = |name: &str, signature: &str| {
        let trust = Trust::load(&places, name, &Limits::default()).unwrap();
        verify(&trust, signature)
            .map(drop)
            .map_err(|error| error.code())
    };
    assert_eq!(trusts("example.com/foo", "alice.sig"), Ok(()));
    assert_eq!(trusts("example.com/foo/bar", "alice.sig"), Ok(()));
    assert_eq!(trusts("example.com/foobar", "alice.sig"), Err(Code::Denied));
    assert_eq!(trusts("example.com", "alice.sig"), Err(Code::Denied));
    assert_eq!(trusts("other.example/foo", "alice.sig"), Err(Code::Denied));
    assert_eq!(trusts("other.example/foo", "bob.sig"), Ok(()));
    assert_eq!(trusts("../../etc", "alice.sig"), Err(Code::Denied));
    // An empty file of a later place takes the trust away.
    let later = tempfile::tempdir().unwrap();
    fs::create_dir(later.path().join("root.d")).unwrap();
    fs::write(later.path().join("root.d").join(BOB), "").unwrap();
    let both = [places[0].clone(), later.path().to_owned()];
    let trust = Trust::load(&both, "x", &Limits::default()).unwrap();
    assert!(trust.is_empty());
}

#[test]
fn a_directory_without_keys_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| {
        let places = [PathBuf::from(path)];
        Trust::load(&places, "x", &Limits::default())
            .map(drop)
            .map_err(|error| error.code())
    };
    assert_eq!(load(&folder.path().join("none")), Err(Code::Io));
    assert_eq!(load(folder.path()), Err(Code::Usage));
    let path = folder.path().join("keys");
    fs::write(&path, "garbage").unwrap();
    assert_eq!(load(&path), Err(Code::BadSignature));
    fs::write(&path, file("bob.secret.asc")).unwrap();
    assert_eq!(load(&path), Err(Code::Denied));
    fs::write(&path, [file("alice.pub.asc"), file("bob.pub.asc")].concat()).unwrap();
    assert_eq!(load(&path), Ok(()));
    fs::create_dir(folder.path().join("root.d")).unwrap();
    fs::write(
        folder.path().join("root.d").join(ALICE),
        file("bob.pub.asc"),
    )
    .unwrap();
    assert_eq!(
        load(folder.path()),
        Err(Code::BadSignature),
        "another key than its name"
    );
    let limits = Limits {
        key_ring: 100,
        ..Limits::default()
    };
    let error = Trust::load(&[path], "x", &limits).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
}

#[test]
fn keys_of_the_place_itself_serve_only_if_they_were_fetched() {
    let network = Network::default();
    let env = Env {
        network: std::sync::Arc::new(network),
        ..Env::new("/tmp", Platform::new("linux", "amd64"))
    };
    let open = || -> Result<Reader> { Ok(Box::new(Cursor::new(DATA))) };
    let mut signature = Signature {
        bytes: file("alice.sig.asc"),
        offered: vec!["https://example.com/keys".into()],
        ..Signature::default()
    };
    let error = check(&signature, "example.com/app", &open, &env).unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    let advice = error.advice().unwrap();
    assert!(advice.contains("--fetch-pubkeys") && advice.contains("https://example.com/keys"));
    signature.keys = vec![file("alice.pub.asc")];
    assert_eq!(
        signers(&check(&signature, "example.com/app", &open, &env).unwrap()),
        [ALICE]
    );
}

// K45
#[test]
fn a_short_key_is_refused_in_every_place() {
    for (name, what) in [
        ("nora", "an RSA key of 1024 bits"),
        ("dora", "a DSA key of 1024 bits"),
        ("sven", "an RSA key of 1024 bits"),
    ] {
        let error = failure(
            &trusting(&[name]),
            &format!("{name}.sig"),
            Code::BadSignature,
        );
        assert!(error.to_string().contains(what), "{name}: {error}");
        assert!(error.advice().unwrap().contains("--insecure-image"));
        assert_eq!(
            error.to_string().contains("the subkey"),
            name == "sven",
            "{error}"
        );
    }
    // A short key that did not sign causes no warning.
    failure(&trusting(&["alice"]), "nora.sig", Code::Denied);
    let error = SigningKey::read(&file("nora.secret.asc"), None).unwrap_err();
    assert_eq!(error.code(), Code::BadSignature);
    assert!(error.to_string().contains("1024 bits"), "{error}");
}

// K45
#[test]
fn the_error_of_a_key_on_an_unsupported_curve_names_the_curve() {
    let error = failure(&trusting(&["bruno"]), "bruno.sig", Code::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("on the curve brainpoolP256r1, which is not supported"),
        "{text}"
    );
    assert!(!text.contains("self-signature"), "{text}");
    let error = SigningKey::read(&file("bruno.secret.asc"), None).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported, "{error}");
    assert!(error.to_string().contains("brainpoolP256r1"), "{error}");
}

#[test]
fn what_we_sign_is_verified() {
    let key = SigningKey::read(&file("bob.secret.asc"), None).unwrap();
    assert_eq!(key.fingerprint(), BOB);
    let sign = || key.sign(Box::new(Cursor::new(DATA)), now()).unwrap();
    let signature = sign();
    assert!(signature.starts_with("-----BEGIN PGP SIGNATURE-----\n"));
    assert_eq!(signature, sign(), "the same each time");
    let verified = verify_bytes(&trusting(&["bob"]), signature.as_bytes(), DATA).unwrap();
    assert_eq!(signers(&verified), [BOB]);
    let error = SigningKey::read(&file("bob.pub.asc"), None).unwrap_err();
    assert_eq!(error.code(), Code::Usage);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_is_never_accepted_and_never_a_panic(at in 0usize..300, byte in any::<u8>()) {
        let good = file("alice.sig.asc");
        let mut damaged = good.clone();
        let at = at % damaged.len();
        damaged[at] = byte;
        let trust = trusting(&["alice"]);
        if let Ok(verified) = verify_bytes(&trust, &damaged, DATA) {
            // Only bytes outside of the signature itself can change without an effect.
            prop_assert_eq!(signers(&verified), [ALICE]);
        }
        let mut keys = file("alice.pub.asc");
        let at = at % keys.len();
        keys[at] = byte;
        let _ = Trust::nobody("x").add(&keys, &Limits::default());
    }
}
