//! Signatures of a store are not read. A warning says how many an image has.

use imgconv_testkit::engines;
use serde_json::{Value, json};

use crate::store::{change_images, image, manifest, open_with_notes};

/// Reads an image of a store and returns the warnings about its signatures. `metadata` and `sizes` are
/// those of the image in the list of images.
fn warnings(metadata: Option<&str>, sizes: &Value) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let images = [image(&["x:1"], "/x"), image(&["y:1"], "/y")];
    engines::containers_storage(&images, "overlay", false, folder.path()).unwrap();
    change_images(folder.path(), |images| {
        if let Some(metadata) = metadata {
            images[0]["metadata"] = metadata.into();
        }
        images[0]["big-data-sizes"] = sizes.clone();
    });
    let (bundle, notes) = open_with_notes(folder.path()).unwrap();
    // The warning concerns the image that has the signatures, and no other one.
    manifest(&*bundle, "y:1").unwrap();
    assert!(notes.take().is_clean());
    manifest(&*bundle, "x:1").unwrap();
    let place = format!("image {}", images[0].id());
    let warnings = notes.take().warnings.into_iter();
    let warnings =
        warnings.inspect(|one| assert_eq!((one.code, &*one.at), ("signatures-ignored", &*place)));
    warnings.map(|warning| warning.message).collect()
}

// D16l
#[test]
fn signatures_of_an_image_are_counted() {
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let (of_a, of_b) = (format!("signature-{a}"), format!("signature-{b}"));
    let many = |count| format!("{count} signatures in the store are not read and not carried over");
    let one = "1 signature in the store is not read and not carried over".to_owned();
    // skopeo 1.9 writes the signatures of the last manifest twice.
    let both = format!(r#"{{"signature-sizes":[576],"signatures-sizes":{{"sha256:{a}":[576]}}}}"#);
    let two = format!(r#"{{"signatures-sizes":{{"sha256:{a}":[576,577],"sha256:{b}":[575]}}}}"#);
    let none = format!(r#"{{"signatures-sizes":{{"sha256:{a}":[]}}}}"#);
    for (metadata, sizes, expected) in [
        (
            Some(&*both),
            json!({"signatures": 576, &of_a: 576}),
            Some(&one),
        ),
        (Some(&two), json!({&of_a: 1153, &of_b: 575}), Some(&many(3))),
        (
            Some(r#"{"signature-sizes":[5,6]}"#),
            json!({"signatures": 11}),
            Some(&many(2)),
        ),
        // The metadata is gone, or damaged.
        (None, json!({&of_a: 576, "signatures": 576}), Some(&one)),
        (Some("{"), json!({&of_a: 576, &of_b: 575}), Some(&many(2))),
        (Some(&none), json!({&of_a: 576}), Some(&one)),
        // Images without signatures.
        (Some(&none), json!({&of_a: 0, "manifest": 576}), None),
        (Some("{}"), json!({"signatures": 0}), None),
        (None, Value::Null, None),
    ] {
        let found = warnings(metadata, &sizes);
        assert_eq!(found.first(), expected, "{metadata:?} {sizes}");
        assert!(found.len() < 2, "{found:?}");
    }
}
