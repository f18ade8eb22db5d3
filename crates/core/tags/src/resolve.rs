//! From a tag to labels: the whole chain of aliases, and the merging with the user's labels.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_model::{Code, Error, Result, quote};

use crate::{ImageTags, Labels, file::check_labels};

/// The most tags of a chain that an error shows.
const SHOWN: usize = 10;

/// The labels of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The tag and its aliases, in the order in which they were followed.
    pub chain: Vec<&'a str>,
    /// The labels of the last tag of the chain.
    pub labels: &'a Labels,
}

impl ImageTags {
    /// Lists every tag, sorted.
    pub fn tags(&self) -> BTreeSet<&str> {
        let all = self.aliases.keys().chain(self.labels.keys());
        all.map(String::as_str).collect()
    }

    /// Returns the tag that a tag is an alias of.
    pub fn alias(&self, tag: &str) -> Option<&str> {
        self.aliases.get(tag).map(String::as_str)
    }

    /// Follows aliases to the last one, then looks up the labels (`imagetags.md`, "Labels
    /// resolution"). The time is linear in the length of the chain.
    ///
    /// # Errors
    /// [`Code::Missing`] if the last tag has no labels, [`Code::Cycle`] if aliases form a circle.
    pub fn resolve(&self, tag: &str) -> Result<Resolved<'_>> {
        let absent = |tag: &str, message: String| {
            let some: Vec<&str> = self.tags().into_iter().take(20).collect();
            Error::new(Code::Missing, message)
                .at(format!("tag {}", quote(tag)))
                .hint(format!("available: {}", quote(some.join(", "))))
        };
        let Some(first) = self.known(tag) else {
            return Err(absent(tag, "there is no such tag".to_owned()));
        };
        let mut chain = vec![first];
        let mut seen = BTreeSet::from([first]);
        let mut last = first;
        while let Some(next) = self.alias(last) {
            chain.push(next);
            if !seen.insert(next) {
                return Err(cycle(tag, &chain));
            }
            last = next;
        }
        match self.labels.get(last) {
            Some(labels) => Ok(Resolved { chain, labels }),
            None => {
                let message = format!("its alias {} has neither an alias nor labels", quote(last));
                Err(absent(tag, message))
            }
        }
    }

    /// The file's own copy of a tag.
    fn known(&self, tag: &str) -> Option<&str> {
        let alias = self.aliases.get_key_value(tag).map(|(tag, _)| &**tag);
        alias.or_else(|| self.labels.get_key_value(tag).map(|(tag, _)| &**tag))
    }

    /// Resolves every tag, sorted. The time is linear in the size of the file, and the errors of
    /// [`ImageTags::resolve`] are short here.
    pub fn all(&self) -> BTreeMap<&str, Result<&Labels>> {
        // The last tag of the aliases of each tag; `None` for a circle.
        let mut ends: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for tag in self.tags() {
            let mut last = tag;
            let mut met = BTreeSet::new();
            let end = loop {
                if let Some(end) = ends.get(last) {
                    break *end;
                }
                if !met.insert(last) {
                    break None;
                }
                match self.alias(last) {
                    Some(next) => last = next,
                    None => break Some(last),
                }
            };
            ends.extend(met.into_iter().map(|tag| (tag, end)));
        }
        let meaning = |tag| match ends[tag] {
            None => Err(Error::new(Code::Cycle, "its aliases go in a circle")),
            Some(last) => self.labels.get(last).ok_or_else(|| {
                let message = format!("{} has neither an alias nor labels", quote(last));
                Error::new(Code::Missing, message)
            }),
        };
        let tags = self.tags().into_iter();
        tags.map(|tag| (tag, meaning(tag))).collect()
    }

    /// Returns all errors of the aliases, by tag: [`Code::Cycle`] once for each circle,
    /// [`Code::Missing`] for an alias of a missing tag, [`Code::Ambiguous`] for labels that can
    /// never be reached because their tag is an alias too. The time is linear in the size of the
    /// file.
    pub fn problems(&self) -> Vec<Error> {
        let mut problems = Vec::new();
        // The rest of a walk that reaches a tag of an earlier walk is known.
        let mut met = BTreeSet::new();
        for tag in self.aliases.keys() {
            let mut last = tag.as_str();
            let mut chain = Vec::new();
            while !met.contains(last)
                && let Some(next) = self.alias(last)
            {
                met.insert(last);
                chain.push(last);
                if !self.aliases.contains_key(next) && !self.labels.contains_key(next) {
                    let message =
                        format!("its alias {} has neither an alias nor labels", quote(next));
                    let place = format!("tag {}", quote(last));
                    problems.push(Error::new(Code::Missing, message).at(place));
                }
                last = next;
            }
            if let Some(start) = chain.iter().position(|tag| *tag == last) {
                chain.push(last);
                problems.push(cycle(last, &chain[start..]));
            }
        }
        for tag in self
            .labels
            .keys()
            .filter(|tag| self.aliases.contains_key(*tag))
        {
            let message = "it has labels and an alias; the alias counts";
            problems.push(Error::new(Code::Ambiguous, message).at(format!("tag {}", quote(tag))));
        }
        problems
    }
}

fn cycle(tag: &str, chain: &[&str]) -> Error {
    let mut shown: Vec<String> = chain.iter().take(SHOWN).map(quote).collect();
    if chain.len() > SHOWN {
        shown.push(format!("… {} more …", chain.len() - SHOWN));
        shown.extend(chain.last().map(quote));
    }
    let message = format!("the aliases go in a circle: {}", shown.join(" → "));
    Error::new(Code::Cycle, message).at(format!("tag {}", quote(tag)))
}

/// Merges the labels of a tag with the user's labels, which take precedence (`imagetags.md`,
/// "Labels merging"). Without a tag the given labels stay; without image tags the tag is the label
/// `version`.
///
/// # Errors
/// [`Code::Ambiguous`] if there are no image tags and `version` is given beside a tag;
/// [`Code::BadName`] if a given label is not valid; and the errors of [`ImageTags::resolve`].
pub fn merge(tags: Option<&ImageTags>, tag: Option<&str>, given: &Labels) -> Result<Labels> {
    check_labels(given)?;
    let mut merged = given.clone();
    let Some(tag) = tag else {
        return Ok(merged);
    };
    let Some(tags) = tags else {
        if let Some(version) = merged.insert("version".to_owned(), tag.to_owned()) {
            let message = format!(
                "without image tags the tag {} is the version, and the label `version` is {}",
                quote(tag),
                quote(version)
            );
            return Err(Error::new(Code::Ambiguous, message).hint("give one of the two"));
        }
        return Ok(merged);
    };
    for (name, value) in tags.resolve(tag)?.labels {
        merged.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgconv_model::Limits;

    fn tags(text: &str) -> ImageTags {
        ImageTags::parse(text.as_bytes(), &Limits::default(), "x").unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    fn example() -> ImageTags {
        tags(
            r#"{"aliases":{"latest":"3.x","3.x":"3.0.x","3.0.x":"3.0.1","3.0.1":"3.0.1-2"},
                "labels":{"3.0.1-2":{"version":"3.0.1","build":"2"},
                          "3.0.1-3":{"version":"3.0.1","build":"3"}}}"#,
        )
    }

    #[test]
    fn the_whole_chain_is_followed() {
        let example = example();
        let resolved = example.resolve("latest").unwrap();
        assert_eq!(
            resolved.chain,
            ["latest", "3.x", "3.0.x", "3.0.1", "3.0.1-2"]
        );
        let two = labels(&[("version", "3.0.1"), ("build", "2")]);
        assert_eq!(*resolved.labels, two);
        assert_eq!(example.resolve("3.0.1-3").unwrap().labels["build"], "3");
        assert!(example.problems().is_empty());
        let all = example.all();
        assert_eq!(all.len(), 6);
        assert_eq!(*all["3.x"].as_ref().unwrap(), &two);
    }

    #[test]
    fn a_tag_without_labels_is_an_error() {
        let error = example().resolve("4").unwrap_err();
        assert_eq!(error.code(), Code::Missing);
        assert!(error.advice().unwrap().contains("3.0.1-2"), "{error}");
        let dangling = tags(r#"{"aliases":{"a":"b"},"labels":{"c":{}}}"#);
        let error = dangling.resolve("a").unwrap_err();
        assert_eq!(error.code(), Code::Missing);
        assert!(error.to_string().contains(r#"alias "b""#), "{error}");
        // An empty set of labels is valid: any image of that name.
        assert!(dangling.resolve("c").unwrap().labels.is_empty());
    }

    #[test]
    fn a_circle_is_named() {
        let text = r#"{"aliases":{"a":"b","b":"c","c":"b","d":"d"},"labels":{"d":{}}}"#;
        let circles = tags(text);
        let error = circles.resolve("a").unwrap_err();
        assert_eq!(error.code(), Code::Cycle);
        assert!(
            error.message().ends_with(r#""a" → "b" → "c" → "b""#),
            "{error}"
        );
        let all = circles.all();
        let code = |tag: &str| all[tag].as_ref().unwrap_err().code();
        assert_eq!(
            (code("a"), code("c"), code("d")),
            (Code::Cycle, Code::Cycle, Code::Cycle)
        );
        let codes: Vec<Code> = circles.problems().iter().map(Error::code).collect();
        assert_eq!(codes, [Code::Cycle, Code::Cycle, Code::Ambiguous]);
        let first = circles.problems()[0].to_string();
        assert!(first.contains(r#""b" → "c" → "b""#), "{first}");
    }

    #[test]
    fn a_hundred_thousand_aliases_are_linear() {
        let last = 100_000;
        let mut long = ImageTags::default();
        for i in 0..last {
            long.aliases.insert(format!("t{i}"), format!("t{}", i + 1));
        }
        let bytes = long.to_bytes();
        let mut long = ImageTags::parse(&bytes, &Limits::default(), "x").unwrap();
        // Every chain ends at the same missing tag, and only one tag is reported.
        assert_eq!(long.problems().len(), 1);
        long.labels.insert(format!("t{last}"), Labels::new());
        assert_eq!(long.resolve("t0").unwrap().chain.len(), 100_001);
        assert!(long.all().values().all(Result::is_ok));
        assert!(long.problems().is_empty());
        long.aliases.insert(format!("t{last}"), "t0".to_owned());
        let error = long.resolve("t5").unwrap_err();
        assert_eq!(error.code(), Code::Cycle);
        assert!(error.to_string().len() < 400, "{error}");
        let problems = long.problems();
        assert_eq!(problems.len(), 2, "one circle, one tag with labels too");
    }

    #[test]
    fn merging_follows_the_proposal() {
        let example = example();
        let given = labels(&[("os", "linux"), ("build", "9")]);
        // No tag: the given labels.
        assert_eq!(merge(Some(&example), None, &given).unwrap(), given);
        assert_eq!(merge(None, None, &given).unwrap(), given);
        // No image tags: the tag is the version.
        let version = labels(&[("os", "linux"), ("build", "9"), ("version", "latest")]);
        assert_eq!(merge(None, Some("latest"), &given).unwrap(), version);
        let both = labels(&[("version", "1")]);
        let error = merge(None, Some("latest"), &both).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
        // Both: the given label wins.
        let expected = labels(&[("os", "linux"), ("build", "9"), ("version", "3.0.1")]);
        assert_eq!(
            merge(Some(&example), Some("latest"), &given).unwrap(),
            expected
        );
        let error = merge(Some(&example), Some("4"), &given).unwrap_err();
        assert_eq!(error.code(), Code::Missing);
        let error = merge(None, None, &labels(&[("A", "")])).unwrap_err();
        assert_eq!(error.code(), Code::BadName);
    }
}
