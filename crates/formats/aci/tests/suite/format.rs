//! The format behind its trait, and what is left open for whoever merges dependencies.

use imgconv_format_aci::{Aci, FORMAT, resolve_user};
use imgconv_model::{Code, StreamFormat};

use crate::build::{SMALL, aci, blob, decode, encode, env, manifest_of, member, tar_of};

#[test]
fn decode_names_the_stream() {
    let decoded = Aci
        .decode(&blob(&aci(SMALL, &[])), "aci:lone.aci", &env())
        .unwrap();
    assert_eq!(decoded.image.name.unwrap().to_string(), "example.com/app");
    assert_eq!(decoded.digest.get(), None);
    decoded.image.layers[0].blob.open().unwrap();
    let error = Aci
        .decode(&blob(&[b'x'; 511]), "aci:lone.aci", &env())
        .unwrap_err();
    assert_eq!(error.code(), Code::BadTar);
    assert!(error.to_string().contains("aci:lone.aci"), "{error}");
}

#[test]
fn what_an_aci_is_not() {
    assert!(!Aci.recognise(&blob(SMALL.as_bytes())));
    let mut image = decode(&aci(SMALL, &[])).unwrap().image;
    image.layers.push(image.layers[0].clone());
    let error = encode(&image).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.message().contains("the image has 2"), "{error}");
}

#[test]
fn a_user_may_be_the_owner_of_a_file_of_a_dependency() {
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"x","app":{"exec":[],"user":"/bin/su","group":"/bin/su"},"dependencies":[{"imageName":"base"}]}"#;
    let mut decoded = decode(&aci(manifest, &[])).unwrap();
    assert_eq!(decoded.image.config.user, None);
    assert_eq!(
        decoded.image.extensions[&(FORMAT, "app.user".into())],
        "\"/bin/su\""
    );
    let missing = &mut |_: &str| Ok(None);
    let error = resolve_user(&mut decoded.image, &decoded.manifest, missing).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    resolve_user(&mut decoded.image, &decoded.manifest, &mut |path| {
        assert_eq!(path, "/bin/su");
        Ok(Some((3, 4)))
    })
    .unwrap();
    assert_eq!(decoded.image.config.user.as_deref(), Some("3:4"));
    assert_eq!(manifest_of(&encode(&decoded.image).unwrap().0), manifest);
}

#[test]
fn every_attribute_passes_both_ways() {
    let mut file = member("rootfs/f=x");
    (file.0.mode, file.0.uid, file.0.gid) = (0o6755, u32::MAX, 1 << 21);
    (file.0.mtime.seconds, file.0.mtime.nanos) = (-2, 500_000_000);
    file.0.pax = vec![(
        b"SCHILY.xattr.security.capability".to_vec(),
        b"\x01\n\x00=".to_vec(),
    )];
    let mut name = member("rootfs/x=y");
    name.0.path = b"rootfs/\xff\x1b".to_vec();
    let mut long = member("rootfs/l=y");
    long.0.path = [&b"rootfs/"[..], &[b'n'; 300]].concat();
    let begin = [member(&format!("manifest={SMALL}")), member("rootfs/")];
    let bytes = tar_of(&[&begin[..], &[file, name, long]].concat());
    let image = decode(&bytes).unwrap().image;
    assert_eq!(encode(&image).unwrap().0, bytes);
}
