//! Rules of the image specification that no reader here depends on: a document that breaks a rule
//! is read and carried, and `verify` reports it.

use imgconv_json::{is_rfc3339, join};
use serde_json::{Map, Value};

use crate::media_type;

/// A property that breaks a rule of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// The path of the property.
    pub field: String,
    /// The broken rule.
    pub message: String,
}

/// Lists the broken rules of a manifest or an index (image-spec, manifest.md and image-index.md).
/// The list is empty for the value of any other document.
pub fn lint(value: &Value) -> Vec<Odd> {
    let Value::Object(top) = value else {
        return Vec::new();
    };
    let mut lint = Lint::default();
    for key in ["config", "subject"] {
        if let Some(value) = top.get(key) {
            lint.descriptor(value, key);
        }
    }
    for key in ["layers", "blobs", "manifests"] {
        let items = top.get(key).and_then(Value::as_array);
        for (i, value) in items.into_iter().flatten().enumerate() {
            lint.descriptor(value, &format!("{key}[{i}]"));
        }
    }
    lint.kind(top, "", "mediaType");
    lint.kind(top, "", "artifactType");
    lint.annotations(top, "");
    let text = |map: &Map<String, Value>, key: &str| {
        map.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let config = top.get("config").and_then(Value::as_object);
    let empty = config.is_some_and(|config| text(config, "mediaType") == media_type::OCI_EMPTY);
    if empty && text(top, "artifactType").is_empty() {
        lint.add(
            "artifactType",
            "is required where the config is the empty descriptor",
        );
    }
    lint.0
}

/// Lists the broken rules of one descriptor (image-spec, descriptor.md). `path` leads to the
/// descriptor.
pub fn lint_descriptor(value: &Value, path: &str) -> Vec<Odd> {
    let mut lint = Lint::default();
    lint.descriptor(value, path);
    lint.0
}

#[derive(Default)]
struct Lint(Vec<Odd>);

impl Lint {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Odd {
            field: field.into(),
            message: message.into(),
        });
    }

    fn descriptor(&mut self, value: &Value, path: &str) {
        let Value::Object(map) = value else { return };
        self.kind(map, path, "mediaType");
        self.kind(map, path, "artifactType");
        self.annotations(map, path);
        let urls = map.get("urls").and_then(Value::as_array);
        for (i, url) in urls.into_iter().flatten().enumerate() {
            match url.as_str() {
                Some(url) if is_url(url) => {}
                Some(url) => self.add(
                    join_raw(path, &format!("urls[{i}]")),
                    format!("{} is no URL by RFC 3986", imgconv_model::quote(url)),
                ),
                None => self.add(join_raw(path, "urls"), "expected a list of strings"),
            }
        }
        if let Some(Value::Object(platform)) = map.get("platform") {
            self.platform(platform, &join_raw(path, "platform"));
        }
    }

    fn platform(&mut self, platform: &Map<String, Value>, path: &str) {
        for key in ["os", "architecture"] {
            let text = platform.get(key).and_then(Value::as_str);
            if text.is_none_or(str::is_empty) {
                let message = format!("a platform needs `{key}`, and this one has none");
                self.add(join_raw(path, key), message);
            }
        }
        for key in ["os.version", "variant"] {
            let value = platform.get(key);
            if value.is_some_and(|value| !value.is_null() && !value.is_string()) {
                self.add(join_raw(path, key), "expected a string");
            }
        }
        let is_list = |value: &Value| match value {
            Value::Null => true,
            Value::Array(items) => items.iter().all(Value::is_string),
            _ => false,
        };
        for key in ["os.features", "features"] {
            if platform.get(key).is_some_and(|value| !is_list(value)) {
                self.add(join_raw(path, key), "expected a list of strings");
            }
        }
    }

    fn kind(&mut self, map: &Map<String, Value>, path: &str, key: &str) {
        let Some(kind) = map.get(key).and_then(Value::as_str) else {
            return;
        };
        // An empty type is the same as an absent type.
        if !kind.is_empty() && !is_media_type(kind) {
            let kind = imgconv_model::quote(kind);
            let message =
                format!("{kind} is no media type by RFC 6838, such as `application/json`");
            self.add(join_raw(path, key), message);
        }
    }

    fn annotations(&mut self, map: &Map<String, Value>, path: &str) {
        let Some(Value::Object(annotations)) = map.get("annotations") else {
            return;
        };
        let path = join_raw(path, "annotations");
        for (key, value) in annotations {
            if key.is_empty() {
                self.add(&*path, "an annotation has an empty key");
            }
            let text = value.as_str().unwrap_or_default();
            if key == "org.opencontainers.image.created" && !is_rfc3339(text) {
                let text = imgconv_model::quote(text);
                self.add(join(&path, key), format!("{text} is no date by RFC 3339"));
            }
        }
    }
}

/// Appends a plain key to a path whose text is complete.
fn join_raw(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// Returns true if a text is a media type by RFC 6838, section 4.2: two names of at most 127
/// characters; parameters may follow.
pub(crate) fn is_media_type(kind: &str) -> bool {
    let bare = kind.split(';').next().unwrap_or("").trim_end();
    let name = |name: &str| {
        let first = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        first && name.len() <= 127 && name.bytes().all(rest)
    };
    let parts = bare.split_once('/');
    parts.is_some_and(|(kind, subtype)| name(kind) && name(subtype))
}

/// Returns true if a text is a URL: a scheme and more, of the characters that RFC 3986 allows.
fn is_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once(':') else {
        return false;
    };
    let scheme_ok = scheme
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic())
        && (scheme.bytes()).all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    // URLs of these schemes have a host.
    let web = ["http", "https", "ftp"]
        .iter()
        .any(|one| scheme.eq_ignore_ascii_case(one));
    let host = !web
        || rest
            .strip_prefix("//")
            .is_some_and(|host| !host.is_empty() && !host.starts_with(['/', '?', '#', ':']));
    let percent = rest.match_indices('%').all(|(at, _)| {
        let digits = rest.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    scheme_ok && !rest.is_empty() && rest.bytes().all(allowed) && host && percent
}

#[cfg(test)]
mod tests {
    use super::*;

    // robustness K37
    #[test]
    fn k37_media_types_and_urls() {
        for kind in [
            "application/json",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "text/plain; charset=utf-8",
            "A/b",
        ] {
            assert!(is_media_type(kind), "{kind}");
        }
        let long = format!("a/{}", "b".repeat(128));
        for kind in [
            "application",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "a/.b",
            "é/x",
            &long,
        ] {
            assert!(!is_media_type(kind), "{kind}");
        }
        for url in [
            "https://example.com/a?b#c",
            "http://[::1]/x",
            "urn:a:b",
            "ftp://h/%20",
        ] {
            assert!(is_url(url), "{url}");
        }
        for url in [
            "value",
            "",
            ":",
            "https:",
            "https://",
            "http:///x",
            "1a:b",
            "https://h/ x",
            "http://h/%2",
        ] {
            assert!(!is_url(url), "{url}");
        }
    }

    #[test]
    fn k37_every_descriptor_is_looked_at() {
        let text = r#"{"mediaType":"x","artifactType":"y","annotations":{"":"a"},
            "config":{"mediaType":"application"},
            "subject":{"annotations":{"org.opencontainers.image.created":"yesterday"}},
            "layers":[{"urls":["https://a","value"]},{"mediaType":"a/b","artifactType":"c"}],
            "manifests":[{"platform":{"os":"linux"}},
                {"platform":{"architecture":"amd64","os":"","os.features":"x","variant":1}}]}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        let found: Vec<String> = lint(&value).into_iter().map(|odd| odd.field).collect();
        assert_eq!(
            found,
            [
                "config.mediaType",
                "subject.annotations.\"org.opencontainers.image.created\"",
                "layers[0].urls[1]",
                "layers[1].artifactType",
                "manifests[0].platform.architecture",
                "manifests[1].platform.os",
                "manifests[1].platform.variant",
                "manifests[1].platform.os.features",
                "mediaType",
                "artifactType",
                "annotations",
            ]
        );
        let empty = r#"{"config":{"mediaType":"application/vnd.oci.empty.v1+json"}}"#;
        let found = lint(&serde_json::from_str(empty).unwrap());
        assert_eq!(found[0].field, "artifactType");
        assert!(lint(&Value::Null).is_empty());
    }
}
