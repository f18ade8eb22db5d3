//! Making the file of a repository: choosing which of several tags of one image has the labels.

use std::{cmp::Reverse, collections::BTreeMap};

use imgconv_model::{Code, Error, Result, quote};

use crate::{
    ImageTags, Labels,
    file::{check_labels, check_tag},
};

impl ImageTags {
    /// Makes the file of tags whose labels are known. Of the tags with the same labels one has
    /// them, and the others are its aliases: the tag with the most numbers in it (`1.2.3` has
    /// three, `latest` none), of those the longest, of those the first in byte order.
    ///
    /// # Errors
    /// [`Code::BadName`] for a text that can't be a tag or label, [`Code::Ambiguous`] if one tag is
    /// given with different labels.
    pub fn of(images: impl IntoIterator<Item = (String, Labels)>) -> Result<Self> {
        let mut known: BTreeMap<String, Labels> = BTreeMap::new();
        for (tag, labels) in images {
            check_tag(&tag)?;
            check_labels(&labels).map_err(|error| error.at(format!("tag {}", quote(&tag))))?;
            match known.get(&tag) {
                Some(other) if *other != labels => {
                    let message = format!("the tag {} belongs to two images", quote(&tag));
                    return Err(Error::new(Code::Ambiguous, message)
                        .hint(format!("{other:?} and {labels:?}")));
                }
                _ => drop(known.insert(tag, labels)),
            }
        }
        let mut by_labels: BTreeMap<Labels, Vec<String>> = BTreeMap::new();
        for (tag, labels) in known {
            by_labels.entry(labels).or_default().push(tag);
        }
        let mut file = Self::default();
        for (labels, mut tags) in by_labels {
            // The sort is stable: of equal keys the first in byte order stays first.
            tags.sort_by_key(|tag| Reverse((numbers(tag), tag.len())));
            let mut tags = tags.into_iter();
            let Some(holder) = tags.next() else { continue };
            for tag in tags {
                file.aliases.insert(tag, holder.clone());
            }
            file.labels.insert(holder, labels);
        }
        Ok(file)
    }

    /// Returns the file in which the tags of `newer` have their labels from there, and the others
    /// their labels from here. The whole file is arranged anew, see [`ImageTags::of`].
    ///
    /// # Errors
    /// The errors of [`ImageTags::resolve`] for a tag of `newer`, or for a tag of this file that is
    /// not in `newer`.
    pub fn updated(&self, newer: &Self) -> Result<Self> {
        let mut all = newer.all();
        for (tag, labels) in self.all() {
            all.entry(tag).or_insert(labels);
        }
        let tags = all.into_iter().map(|(tag, labels)| {
            let labels = labels.map_err(|error| error.at(format!("tag {}", quote(tag))))?;
            Ok((tag.to_owned(), labels.clone()))
        });
        Self::of(tags.collect::<Result<Vec<_>>>()?)
    }
}

/// Returns the number of numbers in a tag: runs of digits.
fn numbers(tag: &str) -> usize {
    tag.split(|c: char| !c.is_ascii_digit())
        .filter(|run| !run.is_empty())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(id: &str) -> Labels {
        Labels::from([("dockerimageid".to_owned(), id.to_owned())])
    }

    fn of(images: &[(&str, &str)]) -> Result<ImageTags> {
        ImageTags::of(images.iter().map(|(tag, of)| ((*tag).to_owned(), id(of))))
    }

    #[test]
    fn the_most_exact_tag_holds_the_labels() {
        let file = of(&[
            ("latest", "a"),
            ("1", "a"),
            ("1.2", "a"),
            ("1.2.3", "a"),
            ("stable", "b"),
            ("v2", "c"),
            ("2x", "c"),
        ])
        .unwrap();
        let text = String::from_utf8(file.to_bytes()).unwrap();
        assert_eq!(
            text.trim_end(),
            concat!(
                r#"{"aliases":{"1":"1.2.3","1.2":"1.2.3","latest":"1.2.3","v2":"2x"},"#,
                r#""labels":{"1.2.3":{"dockerimageid":"a"},"2x":{"dockerimageid":"c"},"#,
                r#""stable":{"dockerimageid":"b"}}}"#
            )
        );
    }

    #[test]
    fn one_tag_for_two_images_is_refused() {
        let error = of(&[("a", "1"), ("a", "2")]).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
        assert_eq!(of(&[("a", "1"), ("a", "1")]).unwrap().tags().len(), 1);
        assert_eq!(of(&[("", "1")]).unwrap_err().code(), Code::BadName);
    }

    #[test]
    fn an_update_moves_tags_and_keeps_the_others() {
        let old = of(&[("1.0", "a"), ("latest", "a"), ("0.9", "b")]).unwrap();
        let new = of(&[("1.1", "c"), ("latest", "c")]).unwrap();
        let all = [("1.0", "a"), ("0.9", "b"), ("1.1", "c"), ("latest", "c")];
        assert_eq!(old.updated(&new).unwrap(), of(&all).unwrap());
        assert_eq!(old.updated(&ImageTags::default()).unwrap(), old);
        let broken = ImageTags {
            aliases: Labels::from([("x".to_owned(), "y".to_owned())]),
            ..ImageTags::default()
        };
        let error = broken.updated(&new).unwrap_err();
        assert_eq!(error.code(), Code::Missing);
    }

    proptest! {
        #[test]
        fn every_tag_finds_its_image_whatever_the_order(
            images in prop::collection::btree_map("[a-c0-2.]{1,4}", "[a-b]", 0..12)
        ) {
            let images: Vec<(String, Labels)> =
                images.iter().map(|(tag, of)| (tag.clone(), id(of))).collect();
            let file = ImageTags::of(images.clone()).unwrap();
            let reversed = ImageTags::of(images.iter().rev().cloned()).unwrap();
            prop_assert_eq!(file.to_bytes(), reversed.to_bytes());
            prop_assert!(file.problems().is_empty());
            for (tag, labels) in &images {
                prop_assert_eq!(file.resolve(tag).unwrap().labels, labels);
            }
        }
    }
}
