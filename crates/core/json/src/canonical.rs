//! The only JSON writer: deterministic, compact, escaped as Go does it.
//!
//! The writer does not sort and does not indent: the caller that builds a document puts the keys in
//! their final order.

use serde_json::Value;

/// Prints a value: no white space, no final newline, keys in their order in the value, numbers with
/// the digits of the input.
///
/// Strings are escaped as Go's `encoding/json` does by default, because nearly every image document
/// was printed by it: `<`, `>` and `&` as `\u003c`, `\u003e` and `\u0026`, U+2028 and U+2029 as
/// `\u2028` and `\u2029`, control characters by their short form where there is one (`\b`, `\f`,
/// `\n`, `\r`, `\t`) and as `\u00xx` otherwise; all other characters unchanged.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    // A stack of the remaining work, the next item on top: no recursion on the depth of a document.
    let mut work = vec![Work::Value(value)];
    while let Some(next) = work.pop() {
        match next {
            Work::Text(text) => out.extend_from_slice(text.as_bytes()),
            Work::Key(key) => {
                write_string(&mut out, key);
                out.push(b':');
            }
            Work::Value(Value::Null) => out.extend_from_slice(b"null"),
            Work::Value(Value::Bool(value)) => {
                out.extend_from_slice(if *value { b"true" } else { b"false" });
            }
            Work::Value(Value::Number(number)) => {
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Work::Value(Value::String(text)) => write_string(&mut out, text),
            Work::Value(Value::Array(items)) => {
                out.push(b'[');
                work.push(Work::Text("]"));
                for (i, item) in items.iter().enumerate().rev() {
                    work.push(Work::Value(item));
                    if i > 0 {
                        work.push(Work::Text(","));
                    }
                }
            }
            Work::Value(Value::Object(map)) => {
                out.push(b'{');
                work.push(Work::Text("}"));
                for (i, (key, item)) in map.iter().enumerate().rev() {
                    work.push(Work::Value(item));
                    work.push(Work::Key(key));
                    if i > 0 {
                        work.push(Work::Text(","));
                    }
                }
            }
        }
    }
    out
}

enum Work<'a> {
    Value(&'a Value),
    Key(&'a str),
    Text(&'static str),
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
