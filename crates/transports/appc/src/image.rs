//! The strings by which appc names images: `NAME[:TAG][,LABEL=VALUE…]`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use imgconv_model::{Code, Error, Name, Result, quote};

/// The longest name, tag or value in bytes.
const LONGEST: usize = 1024;

/// An image by its appc name, as `rkt fetch` accepts it.
///
/// The value after `:` is a tag (appc/spec pull request 584), not the label `version` as before.
/// Only one colon is allowed, right after the name, as in every client of appc. In a value `%2C`
/// stands for a comma, `%3A` for a colon and `%25` for a percent sign; every other character, and
/// every other escape, stands for itself, as before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppImage {
    /// The name, an AC Identifier such as `example.com/app`.
    pub name: String,
    /// The tag.
    pub tag: Option<String>,
    /// The labels: AC Identifier -> value.
    pub labels: BTreeMap<String, String>,
}

impl AppImage {
    /// Checks name, tag and labels, so that no value can change the host or the path of a template
    /// that it is put into (robustness J4b).
    ///
    /// # Errors
    /// [`Code::BadName`].
    pub fn check(&self) -> Result<()> {
        let bad = |message: String| {
            Error::new(Code::BadName, message).hint("write `NAME[:TAG][,LABEL=VALUE…]`")
        };
        if !is_identifier(&self.name) {
            return Err(bad(format!("{} is no appc image name", quote(&self.name))));
        }
        if let Some(tag) = &self.tag
            && !is_value(tag)
        {
            return Err(bad(format!("{} is no tag", quote(tag))));
        }
        check_labels(&self.labels)
    }
}

/// Checks labels before they are put into a template.
pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    for (label, value) in labels {
        let reserved = label == "name" || label == "ext";
        if reserved || !is_identifier(label) {
            let message = format!("{} can't be a label", quote(label));
            return Err(Error::new(Code::BadName, message));
        }
        if !is_value(value) {
            let message = format!("the label {} can't be {}", quote(label), quote(value));
            return Err(Error::new(Code::BadName, message));
        }
    }
    Ok(())
}

/// Says whether a text can name an image or a label. An empty component would be lost in a URL.
pub(crate) fn is_identifier(text: &str) -> bool {
    Name::reads_as_ac_identifier(text) && !text.contains("//") && text.len() <= LONGEST
}

fn is_value(value: &str) -> bool {
    let dots = value == "." || value == "..";
    (1..=LONGEST).contains(&value.len()) && !dots && !value.chars().any(char::is_control)
}

impl FromStr for AppImage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |message: String| {
            Error::new(Code::BadName, message).hint("write `NAME[:TAG][,LABEL=VALUE…]`")
        };
        let first = text.split(',').next().unwrap_or_default();
        if text.matches(':').count() > usize::from(first.contains(':')) {
            let message = format!(
                "{} has a colon that does not stand after the name",
                quote(text)
            );
            return Err(Error::new(Code::Usage, message)
                .hint("write `NAME[:TAG][,LABEL=VALUE…]`; in a value a colon is `%3A`"));
        }
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (name, tag) = match first.split_once(':') {
            Some((name, tag)) => (name, Some(unescape(tag))),
            None => (first, None),
        };
        let mut labels = BTreeMap::new();
        for part in parts {
            let Some((label, value)) = part.split_once('=') else {
                return Err(bad(format!("{} is not `LABEL=VALUE`", quote(part))));
            };
            if labels.insert(label.to_owned(), unescape(value)).is_some() {
                return Err(bad(format!("the label {} is given twice", quote(label))));
            }
        }
        let name = name.to_owned();
        let image = Self { name, tag, labels };
        image.check()?;
        Ok(image)
    }
}

impl fmt::Display for AppImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{}", escape(tag))?;
        }
        for (label, value) in &self.labels {
            write!(f, ",{label}={}", escape(value))?;
        }
        Ok(())
    }
}

fn escape(value: &str) -> String {
    value
        .replace('%', "%25")
        .replace(',', "%2C")
        .replace(':', "%3A")
}

fn unescape(value: &str) -> String {
    value
        .replace("%2C", ",")
        .replace("%2c", ",")
        .replace("%3A", ":")
        .replace("%3a", ":")
        .replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn image(text: &str) -> AppImage {
        text.parse().unwrap()
    }

    #[test]
    fn a_string_is_read_in_its_parts() {
        let found = image("example.com/app:1.0,os=linux,x=?&*/=");
        assert_eq!(found.name, "example.com/app");
        assert_eq!(found.tag.as_deref(), Some("1.0"));
        assert_eq!(found.labels["os"], "linux");
        assert_eq!(found.labels["x"], "?&*/=");
        assert_eq!(image("example-app01").tag, None);
        // A value may have characters that the first appc clients could not read.
        assert_eq!(image("a,id=sha256%3Ax").labels["id"], "sha256:x");
        assert_eq!(image("example.com/~bob/a__b").name, "example.com/~bob/a__b");
    }

    #[test]
    fn k33_a_colon_stands_once_after_the_name() {
        for text in [
            "example.com/app,channel=beta:1.2.3",
            "a:1:2",
            "a:1,x=y:z",
            "a,x:y=z",
            "a,:1",
        ] {
            let error = text.parse::<AppImage>().unwrap_err();
            assert_eq!(error.code(), Code::Usage, "{text}");
            assert!(error.to_string().contains("colon"), "{error}");
        }
        let found = image("a:1%3A2,x=y%3az");
        assert_eq!(
            (found.tag.as_deref(), &*found.labels["x"]),
            (Some("1:2"), "y:z")
        );
        assert_eq!(found.to_string(), "a:1%3A2,x=y%3Az");
    }

    #[test]
    fn only_commas_and_percent_signs_are_escaped() {
        let found = image("a,x=%2e%2e,y=1%2C2,z=100%25");
        assert_eq!(found.labels["x"], "%2e%2e");
        assert_eq!(found.labels["y"], "1,2");
        assert_eq!(found.labels["z"], "100%");
        assert_eq!(found.to_string(), "a,x=%252e%252e,y=1%2C2,z=100%25");
    }

    #[test]
    fn j4b_what_could_lead_elsewhere_is_refused() {
        let long = format!("a,x={}", "v".repeat(1 << 20));
        for text in [
            "",
            "A",
            "a//b",
            "../a",
            "a/",
            "a:",
            "a:.",
            "a:..",
            "a:1\n",
            "a,x",
            "a,x=",
            "a,x=.",
            "a,x=..",
            "a,x=\u{7}",
            "a,name=x",
            "a,ext=x",
            "a,X=y",
            "a,x=1,x=2",
            "a\n",
            &long,
        ] {
            let error = text.parse::<AppImage>().unwrap_err();
            assert_eq!(error.code(), Code::BadName, "{text}");
            assert!(error.to_string().len() < 2000);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(
            name in "[a-z0-9]{1,4}([-._~/][a-z0-9]{1,4}){0,3}",
            tag in proptest::option::of("[^\\p{C}]{1,12}"),
            values in proptest::collection::vec("[^\\p{C}]{1,12}", 0..4),
        ) {
            let named = |(i, value): (usize, String)| (format!("label{i}"), value);
            let labels = values.into_iter().enumerate().map(named).collect();
            let image = AppImage { name, tag, labels };
            prop_assume!(image.check().is_ok());
            prop_assert_eq!(image.to_string().parse::<AppImage>().unwrap(), image);
        }
    }
}
