//! Descriptors: robustness C3, C4a and C5b.

use imgconv_json::{Value, parse};
use imgconv_manifest::descriptor;
use imgconv_model::{Code, Error, Limits};

fn value(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::default(), "x").unwrap()
}

fn fails(error: Error, code: Code, part: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error} lacks {part}");
}

#[test]
fn c4a_sizes_beyond_the_limits() {
    for size in ["9007199254740993", "9223372036854775807"] {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = format!(r#"{{"mediaType":"x","digest":"{digest}","size":{size}}}"#);
        let error = descriptor(&value(&text), "layers[0]", &Limits::default()).unwrap_err();
        fails(error, Code::Limit, "layers[0].size of 9");
    }
}

#[test]
fn c3_digests_name_their_field() {
    for (text, code) in [
        ("", Code::BadDigest),
        ("sha256:../../../../x", Code::BadDigest),
        ("sha1:0123", Code::Unsupported),
    ] {
        let value = value(&format!(r#"{{"digest":"{text}","size":1}}"#));
        let error = descriptor(&value, "layers[2]", &Limits::default()).unwrap_err();
        fails(error, code, "field layers[2].digest");
    }
}

#[test]
fn c5b_embedded_data_is_strict_base64() {
    for text in [
        "e30", "e30 ", "e3\n0=", "-_-_", "e30==", "====", "=e30", "YR==", "e31=", "é==",
    ] {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = Value::from(text);
        let text = format!(r#"{{"digest":"{digest}","size":2,"data":{text}}}"#);
        let error = descriptor(&value(&text), "config", &Limits::default()).unwrap_err();
        fails(error, Code::BadJson, "field config.data: expected base64");
    }
}
