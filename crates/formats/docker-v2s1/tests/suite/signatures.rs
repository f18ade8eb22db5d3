//! Robustness B1 to B5, and B11c: envelopes.

use imgconv_format_docker_v2s1::{
    DOCKER_V2S1, SignatureState, SigningKey, manifest_digest, sign, verify_document,
};
use imgconv_model::{Algorithm, Code, DocumentFormat};
use imgconv_stream::digest;
use p256::ecdsa::Signature;
use ring::{
    rand::SystemRandom,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};

use crate::{
    build::{
        Part, b64, blob, envelope, es256, jwk, key, manifest, minimal, point, protected, region,
        signed, v1,
    },
    bundle::{SIGNED, UNSIGNED, decode, decode_with, env, fails, image, memory, refuse, root},
};

fn good() -> (String, Part) {
    let payload = minimal();
    let part = es256(&payload, protected(&payload), &key());
    (payload, part)
}

/// Both entry points must refuse, since both are used.
fn bad(document: &str, code: Code, part: &str) {
    fails(verify_document(document.as_bytes()), code, part);
    refuse(document, code, part);
}

fn bad_part(change: impl FnOnce(&mut Part), part: &str) {
    let (payload, mut signature) = good();
    change(&mut signature);
    bad(
        &envelope(&payload, &[signature.print()]),
        Code::BadSignature,
        part,
    );
}

fn keys(document: &str) -> usize {
    match verify_document(document.as_bytes()).unwrap() {
        SignatureState::Valid(keys) => keys.len(),
        SignatureState::Unsigned => 0,
    }
}

#[test]
fn b1_data_outside_the_signed_region() {
    let document = signed(&minimal());
    assert_eq!(keys(&document), 1);
    let more = format!(r#""fsLayers":[{{"blobSum":"{}"}}]"#, blob('e'));
    for more in [
        more.clone(),
        more.replace("fsLayers", "FSLAYERS"),
        more.replace("fsLayers", r"fs\u004cayers"),
        r#""history":[]"#.into(),
        r#""name":"x/y""#.into(),
        r#""unknown":1"#.into(),
    ] {
        // After the signatures, and between them and the signed region.
        let after = format!("{},{more}\n}}", &document[..document.len() - 2]);
        bad(&after, Code::Ambiguous, "data outside the signed region");
        let between = document.replacen(
            ",\n   \"signatures\"",
            &format!(",{more},\"signatures\""),
            1,
        );
        assert_ne!(between, document);
        bad(&between, Code::Ambiguous, "data outside the signed region");
    }
    let twice = document.replacen(
        ",\n   \"signatures\"",
        ",\"signatures\":[],\n   \"signatures\"",
        1,
    );
    bad(&twice, Code::Ambiguous, "data outside the signed region");
    let inside = minimal().replace("\"tag\"", "\"Signatures\": [],\n   \"tag\"");
    bad(&signed(&inside), Code::Ambiguous, "outside the signed");
    let trailing = format!("{document} x");
    bad(&trailing, Code::Ambiguous, "data outside the signed region");
    let folded = document.replace("\"signatures\"", "\"Signatures\"");
    bad(&folded, Code::BadJson, "\"Signatures\"");
}

#[test]
fn b2_no_signatures() {
    for list in ["[]", "null", "{}"] {
        let payload = minimal();
        let (head, tail) = payload.split_at(payload.len() - 2);
        let document = format!("{head},\n   \"signatures\": {list}{tail}");
        bad(&document, Code::BadSignature, "no signature");
    }
    assert_eq!(
        verify_document(minimal().as_bytes()).unwrap(),
        SignatureState::Unsigned
    );
    assert_eq!(image(minimal()).layers.len(), 1);
}

#[test]
fn b3_the_signed_region() {
    let tail = b64(b"\n}");
    let document = signed(&minimal());
    let long = (document.len() + 1).to_string();
    for length in [
        "-1",
        "0",
        "1e300",
        &*long,
        "1.5",
        "\"3197\"",
        "null",
        "9223372036854775808",
    ] {
        let protected = format!(r#"{{"formatLength":{length},"formatTail":"{tail}"}}"#);
        bad_part(
            |part| part.protected = b64(protected.as_bytes()),
            "formatLength",
        );
    }
    let absent = format!(r#"{{"formatTail":"{tail}"}}"#);
    bad_part(
        |part| part.protected = b64(absent.as_bytes()),
        "formatLength",
    );
    let fl = minimal().len() - 2;
    for tail in [
        "Cn0=",
        "C+0",
        "",
        "Cn0 ",
        "fX0",
        &*b64(b",\"a\":1}"),
        &*b64(b"\x0b}"),
    ] {
        let protected = format!(r#"{{"formatLength":{fl},"formatTail":"{tail}"}}"#);
        bad_part(
            |part| part.protected = b64(protected.as_bytes()),
            "formatTail",
        );
    }
    let protected = format!(r#"{{"formatLength":{fl}}}"#);
    bad_part(
        |part| part.protected = b64(protected.as_bytes()),
        "formatTail",
    );
    bad_part(|part| part.protected = "!".into(), "protected");
    bad_part(|part| part.protected = b64(b"not json"), "protected");
    bad_part(
        |part| part.protected = b64(br#"{"crit":[],"formatLength":1}"#),
        "crit",
    );
    // The region reaches into the signatures.
    bad_part(
        |part| part.protected = region(fl + 30, "\n}"),
        "reaches into the signatures",
    );
}

#[test]
fn b3_a_tail_of_10_mb() {
    let (payload, mut part) = good();
    part.protected = region(payload.len() - 2, &format!("{}}}", " ".repeat(10 << 20)));
    let document = envelope(&payload, &[part.print()]);
    fails(
        verify_document(document.as_bytes()),
        Code::BadSignature,
        "at most 1024 bytes",
    );
    refuse(&document, Code::Limit, "`manifest`");
}

#[test]
fn b4_signatures_of_different_regions() {
    let (payload, part) = good();
    let other = |length: usize, tail: &str| {
        let part = es256(&payload, region(length, tail), &key());
        part.print()
    };
    let fl = payload.len() - 2;
    let document = envelope(&payload, &[other(0, ""), part.print()]);
    bad(&document, Code::BadSignature, "signatures[0]");
    for second in [other(fl - 1, "\n}"), other(fl, " }")] {
        let document = envelope(&payload, &[part.print(), second]);
        bad(&document, Code::BadSignature, "signatures[1]");
    }
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::from_der(include_bytes!("data/rsa-2048.der")).unwrap()
}

fn rsa_jwk(modulus: &[u8], exponent: &[u8]) -> String {
    format!(
        r#"{{"kty": "RSA", "n": "{}", "e": "{}"}}"#,
        b64(modulus),
        b64(exponent)
    )
}

fn rs256(payload: &str) -> Part {
    let pair = rsa();
    let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public_key().into();
    let protected = protected(payload);
    let signed = format!("{protected}.{}", b64(payload.as_bytes()));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .unwrap();
    Part {
        jwk: rsa_jwk(&public.n, &public.e),
        alg: "RS256",
        protected,
        signature,
        header_more: String::new(),
    }
}

#[test]
fn b5a_valid_signatures() {
    let (payload, part) = good();
    let rsa = rs256(&payload);
    let document = envelope(&payload, &[part.print(), rsa.print()]);
    assert_eq!(keys(&document), 2);
    assert_eq!(image(&document).layers.len(), 1);
    // n - s is as good as s.
    let mut low = part.clone();
    let (r, s) = Signature::from_slice(&part.signature)
        .unwrap()
        .split_scalars();
    let other = Signature::from_scalars(r, -s).unwrap();
    low.signature = other.to_bytes().to_vec();
    assert_ne!(low.signature, part.signature);
    assert_eq!(keys(&envelope(&payload, &[low.print()])), 1);
}

#[test]
fn b5b_wrong_signatures() {
    let wrong = "does not fit the payload";
    bad_part(|part| part.signature[40] ^= 1, wrong);
    let flipped = signed(&minimal()).replacen("\"a/b\"", "\"a/c\"", 1);
    bad(&flipped, Code::BadSignature, wrong);
    bad_part(
        |part| {
            part.signature.pop();
        },
        "63 bytes, expected 64",
    );
    bad_part(|part| part.signature.push(0), "65 bytes, expected 64");
    bad_part(|part| part.signature[..32].fill(0), "out of range");
    for alg in ["none", "HS256", "ES384", "RS256", ""] {
        bad_part(|part| part.alg = alg, "algorithm");
    }
    let (x, y) = point(&key());
    let swapped = format!(
        r#"{{"kty": "EC", "crv": "P-256", "x": "{}", "y": "{}"}}"#,
        b64(&y),
        b64(&x)
    );
    bad_part(|part| part.jwk = swapped, "no point of the curve");
    bad_part(
        |part| part.jwk = part.jwk.replace(&b64(&x), &b64(&x[1..])),
        "31 and the other 32 bytes",
    );
    bad_part(
        |part| part.jwk = part.jwk.replace("P-256", "P-384"),
        "\"P-384\"",
    );
    let other = p256::ecdsa::SigningKey::from_slice(&[8; 32]).unwrap();
    bad_part(|part| part.jwk = jwk(&other), wrong);
    let state = verify_document(signed(&minimal()).as_bytes()).unwrap();
    let SignatureState::Valid(ids) = state else {
        panic!("it is signed")
    };
    bad_part(
        |part| {
            part.jwk = jwk(&other).replacen('{', &format!(r#"{{"kid": "{}","#, ids[0]), 1);
        },
        "the key has the `kid`",
    );
    for chain in [
        "[\"!\"]".to_owned(),
        format!("[\"{}\"]", "A".repeat(10 << 20)),
    ] {
        let (payload, mut part) = good();
        part.header_more = format!(r#","x5c": {chain}"#);
        let document = envelope(&payload, &[part.print()]);
        fails(
            verify_document(document.as_bytes()),
            Code::BadSignature,
            "x5c",
        );
    }
    let (payload, part) = good();
    let mut second = part.clone();
    second.signature[3] ^= 1;
    let document = envelope(&payload, &[part.print(), second.print()]);
    bad(&document, Code::BadSignature, "signatures[1]");
}

#[test]
fn b5b_wrong_rsa_signatures() {
    let payload = minimal();
    let change = |change: &dyn Fn(&mut Part), message: &str| {
        let mut part = rs256(&payload);
        change(&mut part);
        bad(
            &envelope(&payload, &[part.print()]),
            Code::BadSignature,
            message,
        );
    };
    change(&|part| part.signature[9] ^= 1, "does not fit the payload");
    let short = [&[0x80], &[1; 127][..]].concat();
    change(&|part| part.jwk = rsa_jwk(&short, &[1, 0, 1]), "1024 bits");
    change(&|part| part.jwk = rsa_jwk(&[], &[1, 0, 1]), "0 bits");
    change(&|part| part.alg = "ES256", "\"ES256\"");
}

#[test]
fn b5c_limits() {
    let (payload, part) = good();
    let document = envelope(&payload, &vec![part.print(); 10_000]);
    fails(
        verify_document(document.as_bytes()),
        Code::Limit,
        "`jws_signatures` of 16",
    );
    assert_eq!(keys(&envelope(&payload, &vec![part.print(); 16])), 16);
    let long = format!(r#","comment":"{}""#, "x".repeat(5 << 20));
    let document = manifest(&[(blob('1'), v1('a', None, &long))]);
    refuse(&document, Code::Limit, "`manifest`");
    let mut env = env();
    env.limits.manifest = 64 << 20;
    let result = decode_with(&memory(), &root(UNSIGNED, document.as_bytes()), &env);
    fails(result, Code::Limit, "`config`");
}

// B10: the digest is that of the payload, computed.
#[test]
fn b10_the_digest_is_that_of_the_payload() {
    let payload = minimal();
    let wanted = digest(Algorithm::Sha256, payload.as_bytes());
    for document in [payload.clone(), signed(&payload)] {
        assert_eq!(manifest_digest(document.as_bytes()).unwrap(), wanted);
    }
    let outside = signed(&payload).replacen(
        ",\n   \"signatures\"",
        ",\"name\":\"x\",\n   \"signatures\"",
        1,
    );
    fails(
        manifest_digest(outside.as_bytes()),
        Code::Ambiguous,
        "outside",
    );
}

#[test]
fn b11c_kinds_and_white_space() {
    let tabs = minimal().replace("   ", "\t");
    let crlf = minimal().replace('\n', "\r\n");
    let one = minimal().replace("   ", " ");
    let compact = minimal().replace(['\n'], "").replace("   ", "");
    let utf8 = minimal().replace("linux\\\"", "linux\\\",\\\"author\\\":\\\"Zoë\\\"");
    assert!(utf8.contains("Zoë"));
    for payload in [tabs, crlf, one, compact, utf8] {
        let length = payload.trim_end_matches(['}', '\n', '\r']).len();
        let part = es256(&payload, region(length, &payload[length..]), &key());
        let document = format!(
            "{},\"signatures\":[{}]{}",
            &payload[..length],
            part.print(),
            &payload[length..]
        );
        assert_eq!(keys(&document), 1);
        for kind in [
            "",
            "application/json",
            "text/plain; charset=utf-8",
            "application/octet-stream",
            SIGNED,
            UNSIGNED,
        ] {
            let root = root(kind, document.as_bytes());
            assert!(DOCKER_V2S1.recognise(&root), "{kind}");
            let (image, _) = decode_with(&memory(), &root, &env()).unwrap();
            let original = &image.originals[0].document;
            assert_eq!(&*original.bytes, document.as_bytes());
            let known = [SIGNED, UNSIGNED].contains(&kind);
            assert_eq!(original.kind, if known { kind } else { SIGNED });
        }
    }
    for (kind, text) in [
        ("application/vnd.oci.image.manifest.v1+json", minimal()),
        ("", r#"{"schemaVersion":2,"fsLayers":[]}"#.into()),
        ("", r#"{"schemaVersion":1}"#.into()),
        ("", r#"[{"fsLayers":1}]"#.into()),
        (
            "",
            r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","fsLayers":[]}"#.into(),
        ),
    ] {
        assert!(
            !DOCKER_V2S1.recognise(&root(kind, text.as_bytes())),
            "{text}"
        );
    }
}

#[test]
fn what_is_signed_here_is_verified_and_stays_the_same() {
    let key = SigningKey::fresh().unwrap();
    assert_ne!(key.id(), SigningKey::fresh().unwrap().id());
    let payload = minimal();
    let document = sign(payload.as_bytes(), &key).unwrap();
    assert_eq!(
        verify_document(&document).unwrap(),
        SignatureState::Valid(vec![key.id()])
    );
    assert_eq!(document, sign(payload.as_bytes(), &key).unwrap());
    assert_eq!(
        manifest_digest(&document).unwrap(),
        digest(Algorithm::Sha256, payload.as_bytes())
    );
    decode(&document).unwrap();
    fails(sign(&document, &key), Code::Usage, "signed already");
    for text in ["{}", "[1]", "1", "x"] {
        assert_eq!(
            sign(text.as_bytes(), &key).unwrap_err().code(),
            Code::BadJson
        );
    }
    // Every byte of the payload counts; without their own name there are no signatures at all.
    for i in 0..document.len() {
        let mut flipped = document.clone();
        flipped[i] ^= 1;
        if manifest_digest(&flipped).ok() != manifest_digest(&document).ok() {
            let state = verify_document(&flipped).ok();
            assert!(
                state.is_none_or(|state| state == SignatureState::Unsigned),
                "byte {i}"
            );
        }
    }
}

#[test]
fn a_given_key() {
    let read = |more: &str, private: &str| {
        let text = format!(
            r#"{{"kty":"EC","crv":"P-256",{more}
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"{private}"}}"#
        );
        SigningKey::from_jwk(text.as_bytes())
    };
    let private = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
    let key = read("", private).unwrap();
    let kid = format!(r#""kid":"{}","#, key.id());
    assert_eq!(read(&kid, private).unwrap().id(), key.id());
    let debug = format!("{key:?}");
    assert!(debug.contains(key.id().as_str()) && debug.len() < 100);
    let other = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LM";
    let public = "the private part does not fit";
    fails(read("", other), Code::BadSignature, public);
    fails(read("", "AQ"), Code::BadSignature, public);
    fails(
        read(r#""kid":"ABCD","#, private),
        Code::BadSignature,
        "the key has the `kid`",
    );
}

#[test]
fn no_damage_of_a_signed_manifest_is_fatal() {
    imgconv_testkit::laws::hostile(signed(&minimal()).as_bytes(), |bytes| decode(bytes));
}
