//! Hashing, verifying and limiting bytes while they are read.

use std::io::{self, Read};

use imgconv_model::{Algorithm, Code, Digest, Error, Facts};
use imgconv_stream::{Hasher, HashingReader, Verified, digest, read_to_limit};

use crate::samples::{Breaks, Cut};

const ABC_256: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABC_512: &str = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

fn facts(digest: Option<&str>, size: Option<u64>) -> Facts {
    let digest = digest.map(|text| Digest::parse(text).unwrap());
    Facts { digest, size }
}

fn verify(bytes: &[u8], facts: &Facts) -> Result<Vec<u8>, Error> {
    let mut reader = Verified::new(Cut::new(bytes.to_vec(), 2), facts, "blob 7");
    let mut out = Vec::new();
    if let Err(error) = reader.read_to_end(&mut out) {
        let text = error.to_string();
        let again = reader.read(&mut [0; 8]).unwrap_err();
        assert_eq!(again.to_string(), text, "it keeps failing");
        return Err(Error::from_io(error));
    }
    Ok(out)
}

#[test]
fn digests_are_those_of_the_standard() {
    assert_eq!(digest(Algorithm::Sha256, b"abc").to_string(), ABC_256);
    assert_eq!(digest(Algorithm::Sha512, b"abc").to_string(), ABC_512);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(b"a");
    hasher.update(b"");
    hasher.update(b"bc");
    assert_eq!(hasher.finish().to_string(), ABC_512);
}

#[test]
fn a_hashing_reader_reads_the_rest() {
    let algorithms = [Algorithm::Sha512, Algorithm::Sha256, Algorithm::Sha512];
    let mut reader = HashingReader::new(&b"abc"[..], &algorithms);
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 1);
    assert_eq!(reader.count(), 1);
    let (digests, size) = reader.finish().unwrap();
    let digests: Vec<_> = digests.iter().map(Digest::to_string).collect();
    assert_eq!(digests, [ABC_512, ABC_256, ABC_512]);
    assert_eq!(size, 3);
    let broken = Breaks::new(vec![1], || Error::new(Code::Net, "gone").into());
    let error = HashingReader::new(broken, &[]).finish().unwrap_err();
    assert_eq!(Error::from_io(error).code(), Code::Net);
}

#[test]
fn what_is_as_claimed_passes() {
    for facts in [
        facts(None, None),
        facts(Some(ABC_256), None),
        facts(Some(ABC_512), Some(3)),
        facts(None, Some(3)),
    ] {
        assert_eq!(verify(b"abc", &facts).unwrap(), b"abc");
    }
    assert_eq!(verify(b"", &facts(None, Some(0))).unwrap(), b"");
}

#[test]
fn inv2_a_wrong_digest_or_size_is_a_mismatch() {
    let other = format!("sha256:{}", "0".repeat(64));
    let cases: [(&[u8], Facts, &str); 6] = [
        (
            b"abd",
            facts(Some(ABC_256), Some(3)),
            "digest of blob 7 does not match: expected sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad, found sha256:a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9",
        ),
        (
            b"abcd",
            facts(Some(ABC_256), Some(3)),
            "size of blob 7 does not match: expected 3 bytes, found more than 3 bytes",
        ),
        (
            b"ab",
            facts(Some(ABC_256), Some(3)),
            "size of blob 7 does not match: expected 3 bytes, found 2 bytes",
        ),
        (
            b"",
            facts(None, Some(3)),
            "size of blob 7 does not match: expected 3 bytes, found 0 bytes",
        ),
        (
            b"x",
            facts(None, Some(0)),
            "size of blob 7 does not match: expected 0 bytes, found more than 0 bytes",
        ),
        (
            b"abc",
            facts(Some(&other), None),
            "digest of blob 7 does not match: expected sha256:0000000000000000000000000000000000000000000000000000000000000000, found sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
    ];
    for (bytes, facts, message) in cases {
        let error = verify(bytes, &facts).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn no_more_than_one_byte_beyond_the_size_is_read() {
    let mut inner = io::repeat(b'x').take(1000);
    let mut reader = Verified::new(&mut inner, &facts(None, Some(10)), "blob");
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
    assert_eq!(inner.limit(), 989);
    // The largest size does not overflow.
    let facts = facts(None, Some(u64::MAX));
    let error = verify(b"abc", &facts).unwrap_err();
    assert!(error.message().contains("found 3 bytes"), "{error}");
}

#[test]
fn an_empty_buffer_is_not_the_end() {
    let mut reader = Verified::new(&b"abc"[..], &facts(Some(ABC_256), Some(3)), "blob");
    assert_eq!(reader.read(&mut []).unwrap(), 0);
    assert_eq!(io::read_to_string(reader).unwrap(), "abc");
}

#[test]
fn errors_of_the_source_come_out_unchanged() {
    let broken = || Breaks::new(vec![1], || Error::new(Code::Net, "gone").at("host").into());
    let mut reader = Verified::new(broken(), &facts(None, Some(3)), "blob");
    let error = Error::from_io(reader.read_to_end(&mut Vec::new()).unwrap_err());
    assert_eq!(
        (error.code(), error.to_string()),
        (Code::Net, "host: gone".into())
    );
    let again = Error::from_io(reader.read(&mut [0]).unwrap_err());
    assert_eq!(
        (again.code(), again.to_string()),
        (Code::Net, "host: gone".into())
    );
    let error = read_to_limit(broken(), ("config", 9), "config").unwrap_err();
    assert_eq!(
        (error.code(), error.to_string()),
        (Code::Net, "host: gone".into())
    );
    let broken = Breaks::new(vec![1], || io::Error::other("disk"));
    let error = read_to_limit(broken, ("config", 9), "config").unwrap_err();
    assert_eq!(
        (error.code(), error.to_string()),
        (Code::Io, "config: disk".into())
    );
}

#[test]
fn documents_end_at_their_limit() {
    assert_eq!(
        read_to_limit(&b"abc"[..], ("config", 3), "config").unwrap(),
        b"abc"
    );
    let mut inner = io::repeat(b' ').take(1 << 40);
    let error = read_to_limit(&mut inner, ("config", 100), "the config of \"x\"").unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    assert_eq!(
        error.to_string(),
        "the config of \"x\" exceeds the limit `config` of 100"
    );
    assert_eq!(error.advice(), Some("`--limit config=N` raises it"));
    assert_eq!(inner.limit(), (1 << 40) - 101);
    assert_eq!(
        read_to_limit(&b"abc"[..], ("config", u64::MAX), "config").unwrap(),
        b"abc"
    );
}
