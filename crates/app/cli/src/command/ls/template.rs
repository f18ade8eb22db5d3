//! The template of `ls --format`: text with fields in the spelling of docker's `--format`.

use imgconv::{Code, Error, Listed, Result};

use super::table;
use crate::screen::clean;

/// Returns the text of a field for an image.
type Value = fn(&Listed) -> String;

/// The fields of a template, with their meaning.
const FIELDS: &[(&str, Value)] = &[
    ("Name", |image| image.name.clone().unwrap_or_default()),
    ("Repository", table::repository),
    ("Tag", |image| image.tag.clone().unwrap_or_default()),
    ("Labels", table::labels),
    ("Platform", |image| {
        image.platform.clone().unwrap_or_default()
    }),
    ("Format", |image| image.format.clone()),
    ("Digest", |image| image.digest.clone().unwrap_or_default()),
    ("ID", |image| image.image_id.clone().unwrap_or_default()),
    ("Size", |image| image.size.to_string()),
    ("HumanSize", |image| table::human(image.size)),
    ("File", |image| image.held_by.clone().unwrap_or_default()),
];

/// A part of a template.
enum Part {
    Text(String),
    Field(Value),
}

/// A parsed template.
pub(super) struct Template(Vec<Part>);

impl Template {
    /// Parses a template. `\t` and `\n` stand for a tabulator and a line end.
    ///
    /// # Errors
    /// [`Code::Usage`] for an unknown field and for a field without an end.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let (mut parts, mut rest) = (Vec::new(), &*text);
        while let Some((before, after)) = rest.split_once("{{") {
            let (field, after) = after.split_once("}}").ok_or_else(|| {
                let message = format!("`--format`: the field `{{{{{after}` has no end");
                Error::new(Code::Usage, message).hint("write a field as `{{.Name}}`")
            })?;
            parts.push(Part::Text(before.to_owned()));
            let name = field.trim();
            let known = FIELDS
                .iter()
                .find(|(known, _)| name.strip_prefix('.') == Some(known));
            let (_, value) = known.ok_or_else(|| {
                let known: Vec<String> =
                    FIELDS.iter().map(|(name, _)| format!(".{name}")).collect();
                let message = format!("`--format` has no field `{name}`");
                Error::new(Code::Usage, message).hint(format!("the fields: {}", known.join(", ")))
            })?;
            parts.push(Part::Field(*value));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// Returns the line of an image.
    pub(super) fn line(&self, image: &Listed) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(value) => clean(&value(image)),
        };
        self.0.iter().map(text).collect::<String>() + "\n"
    }
}
