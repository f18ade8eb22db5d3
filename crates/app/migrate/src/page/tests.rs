//! Tests of the page: markup in reports, numbers, refusals, damage.

use std::path::Path;

use html5gum::{Token, Tokenizer};
use imgconv_model::Code;
use serde_json::{Value, json};

use super::*;
use crate::report::read_report;

const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=\"y\">'\u{202e}\u{1b}[2J\n&amp;";

fn layer(name: &str, size: u64) -> Value {
    json!({ "diff_id": name, "digest": name, "size": size, "compression": "gzip", "step": "keep", "source": name })
}

fn outcome(name: &str, layers: &[Value]) -> Value {
    json!({
        "source": "s", "destination": "d", "name": name, "format": "oci", "platform": "linux/amd64",
        "digest": format!("sha256:new-{name}"), "source_digest": format!("sha256:old-{name}"),
        "source_config": null, "config": null, "image_id": null, "layers": layers,
        "losses": [ { "field": "app.isolators[3]", "outcome": "dropped", "why": "no place for 7" } ],
        "warnings": [ { "code": "odd", "at": "x", "message": "m" } ],
    })
}

fn image(position: usize, name: &str, status: &str, outcomes: &[Value]) -> Value {
    let error = json!({ "code": "missing", "at": ["here"], "message": "gone", "hint": "look" });
    let mut image = json!({
        "position": position, "source": format!("store {name}"), "name": name,
        "destination": format!("oci:out:{name}"), "status": status, "digest": null,
        "notes": { "losses": 0, "warnings": 0 }, "outcomes": outcomes,
    });
    if status == "failed" || status == "left-out" {
        image["error"] = error;
    }
    image
}

fn report(images: &[Value]) -> Value {
    json!({
        "version": 1, "plan": "sha256:plan", "images": images,
        "totals": { "images": 9, "done": 9, "kept": 0, "failed": 0, "left_out": 0, "planned": 0, "bytes": 500 },
    })
}

/// Writes a report and reads it back.
fn read(text: &str) -> Result<Merged> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    std::fs::write(&path, text).unwrap();
    read_report(Path::new(&path))
}

fn page(report: &Value) -> String {
    report_page(&read(&report.to_string()).unwrap()).unwrap()
}

/// Asserts that every tag is closed, in order; returns the names of all tags.
fn tags(page: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for Ok(token) in Tokenizer::new(page) {
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                let empty = tag.self_closing || ["meta", "br"].contains(&&*name);
                all.push(name.clone());
                if !empty {
                    open.push(name);
                }
            }
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                assert_eq!(open.pop(), Some(name));
            }
            Token::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    assert_eq!(open, [""; 0]);
    all
}

#[test]
fn nothing_in_a_report_is_markup() {
    let hostile = |mut value: Value| {
        fn each(value: &mut Value) {
            match value {
                Value::String(text)
                    if !["done", "failed", "left-out", "dropped"].contains(&&**text) =>
                {
                    *text = HOSTILE.to_owned();
                }
                Value::Array(values) => values.iter_mut().for_each(each),
                Value::Object(map) => map.values_mut().for_each(each),
                _ => {}
            }
        }
        each(&mut value);
        value
    };
    let images = [
        image(0, "a", "done", &[outcome("a", &[layer("l", 1)])]),
        image(1, "b", "failed", &[]),
        image(2, "c", "left-out", &[]),
    ];
    let mut plain = report(&images);
    plain["shard"] = "1/2".into();
    plain["missing"] = json!(["2/2"]);
    plain["warnings"] = json!([{ "code": "c", "at": ["a"], "message": "m", "hint": "h" }]);
    plain["stopped"] = json!({ "code": "c", "at": ["a"], "message": "m" });
    let (plain, hostile) = (page(&plain), page(&hostile(plain)));
    assert_eq!(tags(&hostile), tags(&plain));
    assert_eq!(hostile.matches("<script").count(), 1);
    assert!(!hostile.contains("<img"));
    assert!(
        hostile.contains(
            "&lt;img src=x onerror=&quot;y&quot;&gt;&#39;\\u{202e}\\u{1b}[2J\\n&amp;amp;"
        )
    );
    let acts = |c: &char| *c != '\n' && imgconv_model::is_hidden(*c);
    assert_eq!(hostile.chars().find(acts), None);
}

#[test]
fn numbers_are_those_of_the_images() {
    let (base, own) = (layer("base", 100), layer("own", 10));
    let page = page(&report(&[
        image(
            0,
            "r/a:1",
            "done",
            &[outcome("r/a:1", &[base.clone(), own])],
        ),
        image(
            1,
            "r/a:2",
            "kept",
            &[outcome("r/a:2", std::slice::from_ref(&base))],
        ),
        image(
            2,
            "r/b:1",
            "done",
            &[outcome("r/b:1", std::slice::from_ref(&base))],
        ),
        image(3, "r/c:1", "failed", &[]),
    ]));
    for part in [
        "<title>Migration: 2 done, 1 kept, 1 failed</title>",
        "<b class=\"all\">4</b>images",
        "<summary>missing: 1 image</summary>",
        "<li><b>r/c:1</b><br><code>missing</code> here: gone. <span class=\"soft\">Hint: look.</span></li>",
        "<td>dropped</td><td><code>app.isolators[3]</code></td><td class=\"n\">3</td><td class=\"n\">3</td>",
        "Sharing layers saves 200 B (64 %).",
        "in 1 image: 1 layer, 10 B",
        "in 3 to 4 images: 1 layer, saves 200 B",
        "r/a: 2 images, 110 B",
        "r/b: 1 image, 100 B",
        "the destination those of 3 of 4",
        "<td class=\"d\">sha256:old-r/a:1</td><td class=\"d\">sha256:new-r/a:1</td>\
         <td class=\"n\" data-v=\"110\">110 B</td><td class=\"n\">1</td>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(tags(&page).contains(&"svg".to_owned()));

    // Files share no layers.
    let mut files = report(&[
        image(
            0,
            "r/a:1",
            "done",
            &[outcome("r/a:1", &[layer("base", 100)])],
        ),
        image(
            1,
            "r/a:2",
            "done",
            &[outcome("r/a:2", &[layer("base", 100)])],
        ),
    ]);
    files["images"][0]["file_bytes"] = 150.into();
    files["images"][1]["file_bytes"] = 160.into();
    let page = self::page(&files);
    assert!(page.contains("Sharing layers saves 0 B (0 %)."), "{page}");
    assert!(
        page.contains("<title>r/a: 2 images, 310 B</title>"),
        "{page}"
    );
}

#[test]
fn the_policy_names_the_style_and_the_script() {
    let page = page(&report(&[]));
    assert!(page.contains("default-src 'none'; style-src 'sha256-"));
    assert_eq!(
        source(""),
        "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    );
    for outside in ["http:", "https:", "style=", "onclick", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!SCRIPT.contains("</") && !STYLE.contains('<') && !SCRIPT.contains("innerHTML"));
}

#[test]
fn the_same_report_gives_the_same_page() {
    let report = report(&[image(0, "a", "done", &[outcome("a", &[layer("l", 1)])])]);
    assert_eq!(page(&report), page(&report));
}

#[test]
fn what_is_no_report_is_refused_by_name() {
    for (text, code, part) in [
        (
            "{\"version\":2}",
            Code::Unsupported,
            "the report has version 2",
        ),
        ("{\"version\":1}", Code::BadJson, "missing field"),
        ("[]", Code::BadJson, "no report of a migration"),
        ("", Code::BadJson, "no report of a migration"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.code(), code, "{text}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains("report.json"), "{error}");
    }
    let report = report(&[image(0, "odd", "done", &[json!({ "layers": 5 })])]);
    let error = report_page(&read(&report.to_string()).unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::BadJson);
    assert!(error.to_string().contains("\"odd\""), "{error}");
    // A report without a version is from before there were versions.
    let mut old = self::report(&[]);
    old.as_object_mut().unwrap().remove("version");
    assert!(page(&old).contains("no images"));
}

#[test]
fn no_damage_of_a_report_is_a_panic() {
    let (max, layers) = (u64::MAX, [layer("l", u64::MAX), layer("m", u64::MAX)]);
    let mut report = report(&[
        image(0, "a", "done", &[outcome("a", &layers)]),
        image(1, "b", "failed", &[outcome("b", &layers)]),
        image(2, "a", "done", &[outcome("a", &layers)]),
    ]);
    report["images"][0]["file_bytes"] = max.into();
    report["images"][2]["source_bytes"] = max.into();
    report["totals"]["bytes"] = max.into();
    assert!(page(&report).contains("saves"));
    let text = report.to_string();
    let mut state = 1u64;
    let mut next = |most: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % most
    };
    for _ in 0..2000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            bytes[at] = b"{}[]\",:0e-\\x"[next(12)];
        }
        if let Ok(report) = read(&String::from_utf8(bytes).unwrap()) {
            let _ = report_page(&report);
        }
    }
}
