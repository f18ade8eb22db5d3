//! Typed fields, base64 and dates: robustness C4a, C5b and C10.

use imgconv_json::{
    Object, Value, base64, check_field_names, is_rfc3339, join, known_time, parse, rfc3339, split,
    within,
};
use imgconv_model::{Code, Error, Limits};

fn value(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::default(), "x").unwrap()
}

fn fails(error: Error, code: Code, part: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error} lacks {part}");
}

#[test]
fn c4a_sizes() {
    let size = |text: &str| {
        let value = value(&format!("{{\"size\":{text}}}"));
        Object::new(&value, "config").unwrap().size("size")
    };
    let wrong = [
        "-1",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "1.0",
        "1e3",
        "\"1\"",
        "null",
        "true",
        "[]",
        "{}",
        "-0",
    ];
    for text in wrong {
        fails(
            size(text).unwrap_err(),
            Code::BadManifest,
            "field config.size",
        );
    }
    fails(
        size("1e3").unwrap_err(),
        Code::BadManifest,
        "found \"1e+3\"",
    );
    let absent = value("{}");
    let error = Object::new(&absent, "config")
        .unwrap()
        .size("size")
        .unwrap_err();
    fails(
        error,
        Code::BadManifest,
        "config.size: is required, but absent",
    );
    assert_eq!(size("0").unwrap(), 0);
    assert_eq!(
        size("9223372036854775807").unwrap(),
        9_223_372_036_854_775_807
    );
    assert_eq!(size("9007199254740993").unwrap(), 9_007_199_254_740_993);
}

#[test]
fn c4a_sizes_within_a_limit() {
    fails(
        within(5, ("config", 4), "the config").unwrap_err(),
        Code::Limit,
        "the config of 5 bytes",
    );
    within(4, ("config", 4), "the config").unwrap();
}

#[test]
fn c5b_base64_is_strict() {
    for (text, bytes) in [
        ("", ""),
        ("e30=", "{}"),
        ("YQ==", "a"),
        ("YWJj", "abc"),
        ("+/+/", "\u{fb}"),
    ] {
        let found = base64(text).unwrap();
        assert!(
            found == bytes.as_bytes() || text == "+/+/" && found == [0xfb, 0xff, 0xbf],
            "{text}"
        );
    }
    for text in [
        "e30", "e30 ", "e3\n0=", "-_-_", "e30==", "====", "=e30", "YR==", "e31=", "é==",
    ] {
        assert_eq!(base64(text), None, "{text}");
    }
}

#[test]
fn c10_look_alikes() {
    let known = ["layers", "schemaVersion", "mediaType", "links"];
    for key in [
        "LAYERS",
        "Layers",
        "\u{17f}chemaVersion",
        "lin\u{212a}s",
        "MEDIATYPE",
        "layer\u{17f}",
    ] {
        let value = value(&format!("{{{}:1}}", Value::from(key)));
        let error = check_field_names(value.as_object().unwrap(), &known).unwrap_err();
        fails(error, Code::BadJson, "non-canonical field name");
        let object = Object::new(&value, "a.b").unwrap();
        fails(
            object.check_names(&known).unwrap_err(),
            Code::BadJson,
            "field a.b",
        );
    }
    // Both spellings may be known names; a name that only looks alike is another name.
    let value = value(r#"{"Size":1,"size":2,"laуers":3,"layers_":4}"#);
    check_field_names(value.as_object().unwrap(), &["Size", "size", "layers"]).unwrap();
}

#[test]
fn wrong_shapes_name_the_field_and_both_kinds() {
    let value = value(r#"{"a":1,"l":["x",2],"m":{"k.x":[]},"n":null}"#);
    let object = Object::new(&value, "config").unwrap();
    let rows = [
        (
            object.string("a").unwrap_err(),
            "field config.a: expected a string, found a number",
        ),
        (
            object.string_list("l").unwrap_err(),
            "field config.l[1]: expected a string, found a number",
        ),
        (
            object.string_map("m").unwrap_err(),
            "field config.m.\"k.x\": expected a string, found a list",
        ),
        (
            object.objects("l").unwrap_err(),
            "field config.l[0]: expected an object, found a string",
        ),
        (
            object.list("m").unwrap_err(),
            "field config.m: expected a list, found an object",
        ),
        (
            object.flag("a").unwrap_err(),
            "field config.a: expected `true` or `false`, found a number",
        ),
        (
            object.object("n").unwrap_err(),
            "field config.n: is required, but absent",
        ),
        (
            Object::new(&Value::Null, "").unwrap_err(),
            "the document: expected an object, found null",
        ),
    ];
    for (error, text) in rows {
        assert_eq!(
            (error.code(), error.to_string()),
            (Code::BadManifest, text.to_owned())
        );
    }
    // null is absent
    assert_eq!(object.opt_string("n").unwrap(), None);
    assert_eq!(object.string_list("n").unwrap(), Vec::<String>::new());
    assert!(
        object.opt_object("n").unwrap().is_none() && object.string_map("n").unwrap().is_empty()
    );
}

#[test]
fn paths_come_apart_as_they_were_joined() {
    for keys in [
        vec!["config", "Healthcheck"],
        vec!["a.b", "c\"d\\", ""],
        vec!["80/udp"],
        vec!["\n"],
    ] {
        let path = keys
            .iter()
            .fold(String::new(), |path, key| join(&path, key));
        assert_eq!(split(&path).unwrap(), keys, "{path}");
    }
    assert_eq!(join("config", "a.b"), r#"config."a.b""#);
    for path in ["", "a..b", "a.", ".a", "\"a\"", "\"a.b", "\"a.b\"c", "a b"] {
        assert_eq!(split(path), None, "{path}");
    }
}

#[test]
fn dates() {
    for text in [
        "2015-10-31T22:22:56.015925234Z",
        "2024-02-29T00:00:00Z",
        "1970-01-01T00:00:00+05:30",
        "0001-01-01T00:00:00Z",
        "2000-02-29T23:59:59.1-23:59",
    ] {
        assert!(is_rfc3339(text), "{text}");
    }
    for text in [
        "",
        "2015",
        "2015-10-31",
        "2015-13-31T00:00:00Z",
        "2015-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2015-10-31t00:00:00Z",
        "2015-10-31T00:00:00z",
        "2015-10-31 00:00:00Z",
        "2015-10-31T24:00:00Z",
        "2015-10-31T00:00:60Z",
        "2015-10-31T00:00:00",
        "2015-10-31T00:00:00.Z",
        "2015-10-31T00:00:00ZZ",
        "2015-10-31T00:00:00+0530",
        "2015-10-31T00:00:00+24:00",
        "2015-10-00T00:00:00Z",
        "+015-10-31T00:00:00Z",
        "2015-10-31T00:00:00é",
    ] {
        assert!(!is_rfc3339(text), "{text}");
    }
    assert_eq!(known_time("0001-01-01T00:00:00Z"), None);
    assert_eq!(known_time(""), None);
    let rows = [
        (0, "1970-01-01T00:00:00Z"),
        (1_700_000_000, "2023-11-14T22:13:20Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (-62_167_219_200, "0000-01-01T00:00:00Z"),
    ];
    for (seconds, text) in rows {
        assert_eq!(rfc3339(seconds).as_deref(), Some(text));
        assert!(is_rfc3339(text));
    }
    assert_eq!(rfc3339(i64::MAX), None);
    assert_eq!(rfc3339(i64::MIN), None);
}
