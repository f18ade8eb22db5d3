//! The bytes of an image tags file: strict reading, canonical writing.

use imgconv_json::{Map, Object, Value, canonical, parse, within};
use imgconv_model::{Code, Error, Limits, Name, Result, quote};

use crate::{ImageTags, Labels};

/// The maximum length of a tag, a label name or a label value in bytes; other names of an ACI have the same maximum.
const LONGEST: usize = 1024;

impl ImageTags {
    /// Reads a file. `what` names the file in errors.
    ///
    /// The reader is strict: the two members of `imagetags.md` and no other, strict JSON (no key
    /// twice), label names that are AC Identifiers. Tags have no grammar of their own: any text of
    /// 1 to 1024 bytes without control characters.
    ///
    /// # Errors
    /// [`Code::Limit`] for `image_tags`; [`Code::BadJson`], [`Code::BadManifest`] or
    /// [`Code::BadName`] with the place of the first fault.
    pub fn parse(bytes: &[u8], limits: &Limits, what: &str) -> Result<Self> {
        let limit = ("image_tags", limits.image_tags);
        within(bytes.len() as u64, limit, "an image tags file").map_err(|error| error.at(what))?;
        let value = parse(bytes, limits, what)?;
        Self::read(&value).map_err(|error| error.at(what))
    }

    fn read(value: &Value) -> Result<Self> {
        let object = Object::new(value, "")?;
        known(&object)?;
        let mut tags = Self {
            aliases: object.string_map("aliases")?,
            ..Self::default()
        };
        for (tag, alias) in &tags.aliases {
            check_tag(tag).map_err(|error| error.at("field aliases"))?;
            check_tag(alias).map_err(|error| error.at(format!("alias of {}", quote(tag))))?;
        }
        let Some(all) = object.opt_object("labels")? else {
            return Ok(tags);
        };
        for tag in all.map().keys() {
            check_tag(tag).map_err(|error| error.at("field labels"))?;
            let labels = all.string_map(tag)?;
            check_labels(&labels).map_err(|error| error.at(format!("labels of {}", quote(tag))))?;
            tags.labels.insert(tag.clone(), labels);
        }
        Ok(tags)
    }

    /// Prints the file: compact, sorted by tag and label, empty members left out, one newline at
    /// the end. Equal files have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Map::new();
        if !self.aliases.is_empty() {
            file.insert("aliases".into(), texts(&self.aliases));
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter();
            let labels: Map<_, _> = labels
                .map(|(tag, labels)| (tag.clone(), texts(labels)))
                .collect();
            file.insert("labels".into(), labels.into());
        }
        let mut bytes = canonical(&file.into());
        bytes.push(b'\n');
        bytes
    }
}

fn texts(map: &Labels) -> Value {
    let pairs = map
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(&**value)));
    pairs.collect::<Map<_, _>>().into()
}

/// Refuses members that the proposal does not have: another reader could act on them.
fn known(object: &Object<'_>) -> Result<()> {
    const MEMBERS: [&str; 2] = ["aliases", "labels"];
    object.check_names(&MEMBERS)?;
    match object
        .map()
        .keys()
        .find(|key| !MEMBERS.contains(&key.as_str()))
    {
        None => Ok(()),
        Some(key) => {
            let message = format!(
                "{} is no member of an image tags file: it has `aliases` and `labels`",
                quote(key)
            );
            Err(Error::new(Code::BadManifest, message))
        }
    }
}

/// Refuses a text that can't be a tag.
pub(crate) fn check_tag(tag: &str) -> Result<()> {
    let why = if tag.is_empty() {
        "is empty"
    } else if tag.len() > LONGEST {
        "is longer than 1024 bytes"
    } else if tag.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(());
    };
    let message = format!("the tag {} {why}", quote(tag));
    Err(Error::new(Code::BadName, message))
}

/// Refuses labels that an image can't have.
pub(crate) fn check_labels(labels: &Labels) -> Result<()> {
    for (name, value) in labels {
        let message = if !Name::reads_as_ac_identifier(name) || name.len() > LONGEST {
            format!(
                "{} is no AC Identifier ([a-z0-9]+([-._~/][a-z0-9]+)*) of at most 1024 bytes",
                quote(name)
            )
        } else if name == "name" {
            "a label can't be called `name`: the file is for one image name".to_owned()
        } else if value.len() > LONGEST || value.chars().any(char::is_control) {
            format!(
                "the value {} of label `{name}` is longer than 1024 bytes, or holds a control \
                 character",
                quote(value)
            )
        } else {
            continue;
        };
        return Err(Error::new(Code::BadName, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ImageTags> {
        ImageTags::parse(text.as_bytes(), &Limits::default(), "x.json")
    }

    #[test]
    fn the_proposals_own_example_is_read_and_printed() {
        let text = r#"{ "aliases": { "latest": "3.x", "3.x": "3.0.x", "3.0.x": "3.0.1", "3.0.1": "3.0.1-2" },
            "labels": { "3.0.1-3": { "version": "3.0.1", "build": "3" },
                        "3.0.1-2": { "version": "3.0.1", "build": "2" } } }"#;
        let printed = read(text).unwrap().to_bytes();
        assert_eq!(
            String::from_utf8(printed.clone()).unwrap(),
            concat!(
                r#"{"aliases":{"3.0.1":"3.0.1-2","3.0.x":"3.0.1","3.x":"3.0.x","latest":"3.x"},"#,
                r#""labels":{"3.0.1-2":{"build":"2","version":"3.0.1"},"#,
                r#""3.0.1-3":{"build":"3","version":"3.0.1"}}}"#,
                "\n"
            )
        );
        let again = ImageTags::parse(&printed, &Limits::default(), "x").unwrap();
        assert_eq!(again.to_bytes(), printed);
        assert_eq!(read("{}").unwrap().to_bytes(), b"{}\n");
    }

    #[test]
    fn what_is_no_image_tags_file_is_refused_with_its_place() {
        let long = format!(r#"{{"aliases":{{"{}":"a"}}}}"#, "t".repeat(1025));
        for (text, code, place) in [
            ("[]", Code::BadManifest, "x.json"),
            (r#"{"aliases":[]}"#, Code::BadManifest, "field aliases"),
            (r#"{"Aliases":{}}"#, Code::BadJson, "Aliases"),
            (
                r#"{"version":"1"}"#,
                Code::BadManifest,
                "no member of an image tags file",
            ),
            (r#"{"aliases":{"a":1}}"#, Code::BadManifest, "aliases.a"),
            (
                r#"{"aliases":{"a":"b","a":"c"}}"#,
                Code::BadJson,
                "line 1, column 21",
            ),
            (r#"{"aliases":{"":"a"}}"#, Code::BadName, "is empty"),
            (r#"{"aliases":{"a":""}}"#, Code::BadName, r#"alias of "a""#),
            (
                r#"{"labels":{"a\u001b":{}}}"#,
                Code::BadName,
                "control character",
            ),
            (&long, Code::BadName, "longer than 1024"),
            (r#"{"labels":{"a":["b"]}}"#, Code::BadManifest, "labels.a"),
            (
                r#"{"labels":{"a":{"Version":"1"}}}"#,
                Code::BadName,
                r#"labels of "a""#,
            ),
            (
                r#"{"labels":{"a":{"x y":"1"}}}"#,
                Code::BadName,
                "AC Identifier",
            ),
            (r#"{"labels":{"a":{"name":"b"}}}"#, Code::BadName, "`name`"),
            (
                r#"{"labels":{"a":{"os":"\n"}}}"#,
                Code::BadName,
                "label `os`",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.code(), code, "{text}: {error}");
            assert!(error.to_string().contains(place), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_above_the_limit_is_refused_before_it_is_parsed() {
        let limits = Limits {
            image_tags: 10,
            ..Limits::default()
        };
        let error = ImageTags::parse(b"this is no JSON", &limits, "x").unwrap_err();
        assert_eq!(error.code(), Code::Limit);
        assert!(error.advice().unwrap().contains("image_tags"));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep).unwrap_err().code(), Code::Limit);
    }
}
