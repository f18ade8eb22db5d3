//! Strict reading and canonical writing: robustness C9a to C9d and H6f.

use imgconv_json::{canonical, check, parse};
use imgconv_model::{Code, Limits};
use proptest::prelude::*;

fn refuse(bytes: &[u8], code: Code, parts: &[&str]) {
    let error = parse(bytes, &Limits::default(), "manifest").unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    for part in ["manifest › line "].iter().chain(parts) {
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
}

fn reprint(text: &str) -> String {
    let value = parse(text.as_bytes(), &Limits::default(), "x").unwrap();
    String::from_utf8(canonical(&value)).unwrap()
}

#[test]
fn c9a_h6f_duplicate_keys() {
    let rows: [(&str, &str, &str); 6] = [
        (r#"{"a":1,"a":1}"#, "\"a\"", "line 1, column 8"),
        (
            r#"{"config":{"digest":1,"digest":1}}"#,
            "\"digest\"",
            "/config",
        ),
        (r#"{"l":[0,{"k":{},"k":{}}]}"#, "\"k\"", "\"/l/1\""),
        (
            r#"{"annotations":{"x":"1","x":"2"}}"#,
            "\"x\"",
            "/annotations",
        ),
        (
            r#"{"digest":1,"dig\u0065st":2}"#,
            "\"digest\"",
            "the document",
        ),
        (
            "{\"layers\":[],\n \"layers\":[]}",
            "\"layers\"",
            "line 2, column 2",
        ),
    ];
    for (text, key, place) in rows {
        refuse(
            text.as_bytes(),
            Code::BadJson,
            &["occurs twice", key, place],
        );
    }
}

#[test]
fn c9b_h6f_malformed_json_is_refused() {
    let rows: [(&[u8], &str); 27] = [
        (
            b"{\"a\":\"\xff\"}",
            "line 1, column 7: the text is not UTF-8",
        ),
        (b"{\"unknown\":\"\xc3\x28\"}", "not UTF-8"),
        (b"{\"\xed\xa0\x80\":1}", "not UTF-8"),
        (br#"{"a":"\ud800"}"#, "column 7: a lone surrogate"),
        (br#"{"a":"\ud800\u0041"}"#, "a lone surrogate"),
        (br#"{"a":"\udc00"}"#, "a lone surrogate"),
        (br#"{"\udfff":0}"#, "a lone surrogate"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"{}x", "expected nothing after the document, found \"x\""),
        (b"{} {}", "line 1, column 4: expected nothing after"),
        (b"{}\0", "expected nothing after"),
        (b"1e400", "the number \"1e400\" is too large"),
        (br#"{"ignored":[-1e999999999999]}"#, "too large"),
        (b"{} // no", "expected nothing after"),
        (b"{/**/}", "expected a key in double quotes"),
        (b"{'a':1}", "expected a key in double quotes"),
        (b"NaN", "expected a value"),
        (b"[Infinity]", "expected a value"),
        (b"[1,]", "expected a value, found \"]\""),
        (br#"{"a":1,}"#, "expected a key"),
        (br#"{"a" 1}"#, "expected `:`"),
        (b"[01]", "\"01\" is not a number"),
        (b"[1.]", "is not a number"),
        (b"[nulL]", "expected a value"),
        (b"[\"a\nb\"]", "an escaped control character"),
        (br#"["\x"]"#, "after `\\`"),
        (b"", "expected a value, found the end of the text"),
    ];
    for (bytes, message) in rows {
        refuse(bytes, Code::BadJson, &[message]);
    }
    for text in [
        "{", "[", "\"", "\"\\", "\"\\u12", "{\"a\"", "{\"a\":", "{\"a\":1", "-", "tru",
    ] {
        refuse(text.as_bytes(), Code::BadJson, &[]);
    }
}

#[test]
fn c9c_odd_but_right() {
    assert_eq!(reprint("-0\n"), "-0");
    assert_eq!(
        reprint("{\"l\":\"a\\u0000b\"} \r\n\t"),
        "{\"l\":\"a\\u0000b\"}"
    );
    assert_eq!(reprint(r#""\ud83d\ude00\/""#), "\"😀/\"");
}

#[test]
fn c9d_depth() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(reprint(&nested(64)), nested(64));
    for depth in [65, 200, 1_000_000] {
        refuse(
            nested(depth).as_bytes(),
            Code::Limit,
            &["json_depth", "64", "column 65"],
        );
    }
    let objects = "{\"a\":".repeat(65) + "1" + &"}".repeat(65);
    refuse(objects.as_bytes(), Code::Limit, &["json_depth"]);
    // No limit, however high, makes deep documents a danger.
    let limits = Limits {
        json_depth: u64::MAX,
        ..Limits::default()
    };
    let error = parse(nested(1_000_000).as_bytes(), &limits, "x").unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    let deep = parse(nested(1024).as_bytes(), &limits, "x").unwrap();
    assert_eq!(canonical(&deep).len(), 2048);
}

#[test]
fn numbers_keep_their_digits() {
    assert_eq!(reprint("1e3"), "1e+3");
    for text in [
        "1.0",
        "123456789012345678901234567890",
        "-0.10",
        "9007199254740993",
    ] {
        assert_eq!(reprint(text), text);
    }
    // A key that the number type uses inside is only a key.
    let text = r#"{"$serde_json::private::Number":"1"}"#;
    assert_eq!(reprint(text), text);
}

#[test]
fn canonical_prints_as_go_does() {
    let rows = [
        (
            "{ \"b\" : [ 1 , true , null ] , \"a\" : { } }",
            r#"{"b":[1,true,null],"a":{}}"#,
        ),
        (
            r#""<a href=\"x\">&""#,
            r#""\u003ca href=\"x\"\u003e\u0026""#,
        ),
        (
            "\"\u{2028}\u{2029}\u{7f}é\\u0001\\u001f\"",
            "\"\\u2028\\u2029\u{7f}é\\u0001\\u001f\"",
        ),
        (r#""\b\f\n\r\t\\\/""#, r#""\b\f\n\r\t\\/""#),
        ("[]", "[]"),
        ("[[],[{}]]", "[[],[{}]]"),
    ];
    for (text, printed) in rows {
        assert_eq!(reprint(text), printed);
    }
}

fn documents() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| imgconv_json::Value::from(text).to_string()),
    ];
    scalar.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|i| format!("[{}]", i.join(" , "))),
            prop::collection::btree_map("[a-c\u{e9}\"<]{0,3}", inner, 0..4).prop_map(|map| {
                let field =
                    |(k, v): (String, String)| format!("{} : {v}", imgconv_json::Value::from(k));
                format!(
                    "{{{}}}",
                    map.into_iter().map(field).collect::<Vec<_>>().join(",")
                )
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printing_and_parsing_are_inverse(text in documents()) {
        let value = parse(text.as_bytes(), &Limits::default(), "x").unwrap();
        let printed = canonical(&value);
        prop_assert_eq!(&parse(&printed, &Limits::default(), "x").unwrap(), &value);
        prop_assert_eq!(canonical(&value), printed);
        // An independent reader sees the same.
        prop_assert_eq!(text.parse::<imgconv_json::Value>().unwrap(), value);
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse(&bytes, &Limits::default(), "x");
    }

    #[test]
    fn no_near_json_causes_a_panic(text in "[\\[\\]{}\",:0-9eE.+\\-\\\\utrlnafsd8 ]{0,40}") {
        if let Ok(value) = parse(text.as_bytes(), &Limits::default(), "x") {
            prop_assert_eq!(text.parse::<imgconv_json::Value>().unwrap(), value);
        }
    }
}

// robustness K38
#[test]
fn k38_values_take_memory_by_the_size_of_the_text() {
    let limits = Limits::default();
    let list = |item: &str, count: usize| format!("[{}{item}]", format!("{item},").repeat(count));
    // Small documents are made of small values, and large ones of long texts.
    for text in [
        list("0", 20_000),
        list(r#"{"":{}}"#, 5000),
        list(&format!("{:?}", "x".repeat(60)), 500_000),
    ] {
        assert!(parse(text.as_bytes(), &limits, "x").is_ok());
    }
    let rows = [
        (list("0", 800_000), "json_ratio", 16),
        (list("[]", 800_000), "json_ratio", 16),
        (list(r#"{"":{}}"#, 400_000), "json_ratio", 16),
        (list("0", 6_000_000), "json_memory", 160 << 20),
    ];
    for (text, limit, value) in rows {
        let error = parse(text.as_bytes(), &limits, "x").unwrap_err();
        assert_eq!(error.code(), Code::Limit, "{error}");
        let says = format!("exceeds the limit `{limit}` of {value}");
        assert!(error.to_string().contains(&says), "{error}");
        // Values that are not kept take no memory.
        check(text.as_bytes(), &limits, "x").unwrap();
    }
    let mut raised = limits;
    raised.set("json_ratio", 100).unwrap();
    assert!(parse(list("0", 800_000).as_bytes(), &raised, "x").is_ok());
    // The keys of an open object are kept, to find one that occurs twice.
    let keys: Vec<String> = (0..200_000).map(|i| format!(r#""{i}":0"#)).collect();
    raised.set("json_memory", 1 << 20).unwrap();
    let error = check(format!("{{{}}}", keys.join(",")).as_bytes(), &raised, "x").unwrap_err();
    assert_eq!(error.code(), Code::Limit, "{error}");
    let error = check(br#"{"a":[{"b":1,"b":2}]}"#, &limits, "x").unwrap_err();
    assert!(
        error.to_string().contains("occurs twice in \"/a/0\""),
        "{error}"
    );
}
