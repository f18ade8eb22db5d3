//! URL templates of discovery: `{name}`, `{ext}` and labels, replaced in one pass.
//!
//! Values are percent-encoded, so that scheme and host stay those of the template, and a value is
//! not expanded again. A template with anything in braces that has no value is not usable
//! (discovery.md); neither is a template without `{ext}`, which could not distinguish an image from
//! its signature.

use std::collections::BTreeMap;

use imgconv_http::escape;

/// A template in which everything except `{ext}` is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The text before, between and after each `{ext}`.
    around_ext: Vec<String>,
    /// The number of different labels in the template: the template with the most labels is chosen.
    pub(crate) labels: usize,
}

impl Rendered {
    /// The URL of one of the files, such as `aci` or `aci.asc`.
    pub(crate) fn url(&self, ext: &str) -> String {
        self.around_ext.join(ext)
    }
}

/// Replaces the name and the labels in a template; `None` if the template is not usable.
pub(crate) fn render(
    template: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Option<Rendered> {
    let mut around_ext = vec![String::new()];
    let mut used = Vec::new();
    let mut rest = template;
    loop {
        let (text, after) = rest.split_once('{').unwrap_or((rest, ""));
        let part = around_ext.last_mut()?;
        part.push_str(text);
        if text.len() == rest.len() {
            break;
        }
        let (variable, after) = after.split_once('}')?;
        match variable {
            "ext" => around_ext.push(String::new()),
            // A name has no character that needs an escape.
            "name" => part.push_str(name),
            label => {
                part.push_str(&escape(labels.get(label)?));
                if !used.contains(&label) {
                    used.push(label);
                }
            }
        }
        rest = after;
    }
    let labels = used.len();
    (around_ext.len() > 1).then_some(Rendered { around_ext, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(template: &str, value: &str) -> Option<String> {
        let labels = BTreeMap::from([("arch".to_owned(), value.to_owned())]);
        Some(render(template, "example.com/a~b", &labels)?.url("aci"))
    }

    #[test]
    fn j4a_values_are_encoded_and_looked_at_once() {
        let template = "https://x/{name}-{arch}.{ext}";
        for (value, expected) in [
            ("amd64", "amd64"),
            ("../../../x", "..%2F..%2F..%2Fx"),
            ("{arch}", "%7Barch%7D"),
            ("{ext}", "%7Bext%7D"),
            ("a?b#c@d", "a%3Fb%23c%40d"),
            ("%2e%2e", "%252e%252e"),
        ] {
            let expected = format!("https://x/example.com/a~b-{expected}.aci");
            assert_eq!(url(template, value), Some(expected), "{value}");
        }
    }

    #[test]
    fn j4c_a_template_without_a_value_is_not_usable() {
        for template in [
            "https://x/{foo}.{ext}",
            "https://x/{+path}.{ext}",
            "https://x/{}.{ext}",
            "https://x/{arch.{ext}",
            "https://x/{ext",
            "https://x/x.aci",
        ] {
            assert_eq!(url(template, "amd64"), None, "{template}");
        }
        assert_eq!(
            url("https://x/}{ext}", "1").as_deref(),
            Some("https://x/}aci")
        );
    }

    #[test]
    fn labels_are_counted_once() {
        let labels = BTreeMap::from([("os".to_owned(), "linux".to_owned())]);
        let count = |template| render(template, "a", &labels).unwrap().labels;
        assert_eq!(
            (count("{os}{os}.{ext}"), count("{name}.{ext}{ext}")),
            (1, 0)
        );
    }
}
